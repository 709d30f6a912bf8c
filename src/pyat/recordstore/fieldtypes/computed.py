"""Types whose cells come from elsewhere: buttons, counts, lookups, rollups, formulas, and what other systems fill."""

from collections.abc import Callable
from typing import Any, ClassVar

import orjson

from pyat.foundation.ids import is_id
from pyat.foundation.sql import literal, quote
from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, NewChoices, StoredValue
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.options import array, members, short_text
from pyat.recordstore.fieldtypes.selects import SingleSelect
from pyat.recordstore.fieldtypes.system import SystemType
from pyat.recordstore.structure import Field, Options

LABEL_LENGTH_MAX = 100
URL_LENGTH_MAX = 2_000
FORMULA_LENGTH_MAX = 100_000
PROMPT_ITEMS_MAX = 1_000


class Unstored(SystemType):
    """A type without a column."""

    pg_type: ClassVar[str] = "text"

    def has_column_for(self, field: Field) -> bool:
        """Never."""
        return False


class Button(Unstored):
    """The same for every record: what the button says and where it leads."""

    name: ClassVar[str] = "button"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"label": "Open", "url"?: "https://…"}`."""
        found = members(options, "options", ("label",), ("url",))
        label = short_text(found["label"], "options.label", length_max=LABEL_LENGTH_MAX)
        if not label:
            raise BadOptions("options.label", "is empty")
        url = found.get("url")
        return {
            "label": label,
            "url": None if url is None else short_text(url, "options.url", length_max=URL_LENGTH_MAX) or None,
        }

    def json_sql(self, field: Field, column: str) -> str:
        """`{"label": "Open", "url": "https://…"}`, also in a record that is empty otherwise."""
        cell = {"label": field.options["label"], "url": field.options["url"]}
        return f"{literal(orjson.dumps(cell).decode())}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The label."""
        return f"{literal(field.options['label'])}::text"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """All are alike."""
        return ("NULL::text",)


class Count(Unstored):
    """How many records a cell of a link field links to."""

    name: ClassVar[str] = "count"
    pg_type: ClassVar[str] = "int8"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"recordLinkFieldId": "fld…"}`."""
        found = members(options, "options", ("recordLinkFieldId",))
        return {"recordLinkFieldId": _field_id(found, "recordLinkFieldId"), "isValid": True}

    def json_sql(self, field: Field, column: str) -> str:
        """A JSON number, 0 included; nothing where the link field is gone."""
        return f"{self._count(field, column)}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The number."""
        return self.json_sql(field, column)

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The number."""
        return (self._count(field, column),)

    def _count(self, field: Field, column: str) -> str:
        link = field.via
        if link is None:
            return "NULL::int8"
        relation, point, _ = column.rpartition(".")
        junction = quote(field.base_id, link.junction)
        return f"(SELECT count(*) FROM {junction} l WHERE l.{link.own} = {relation}{point}_n)"


class MadeOfOthers(Unstored):
    """A type whose cells are computed from other cells, by `recordstore.computing`, which in turn asks every type."""

    def json_sql(self, field: Field, column: str) -> str:
        """By the result type; `{"error": "#ERROR!"}` and `{"specialValue": "NaN"}` where it went wrong."""
        from pyat.recordstore import computing

        return computing.json_sql(field, column)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """By the formats of the result type."""
        from pyat.recordstore import computing

        return computing.text_sql(field, column, text)

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """As the result type sorts."""
        from pyat.recordstore import computing

        return tuple(sql for sql, _ in computing.sort_keys(field, column))

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Of the result."""
        from pyat.recordstore import computing

        return tuple(pg_type for _, pg_type in computing.sort_keys(field, "r.x"))


class Lookup(MadeOfOthers):
    """The cells of a field in the linked records."""

    name: ClassVar[str] = "multipleLookupValues"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"recordLinkFieldId": "fld…", "fieldIdInLinkedTable": "fld…"}`."""
        found = members(options, "options", ("recordLinkFieldId", "fieldIdInLinkedTable"))
        return {**_route(found), "isValid": True, "result": None}


class Rollup(MadeOfOthers):
    """One value made from the cells of a field in the linked records, by a formula over `values`."""

    name: ClassVar[str] = "rollup"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"recordLinkFieldId": "fld…", "fieldIdInLinkedTable": "fld…", "formula": "SUM(values)"}`."""
        found = members(options, "options", ("recordLinkFieldId", "fieldIdInLinkedTable", "formula"))
        return {
            **_route(found),
            "formula": _formula(found),
            "referencedFieldIds": [],
            "isValid": True,
            "result": None,
        }


class Formula(MadeOfOthers):
    """A value made from other cells of the record."""

    name: ClassVar[str] = "formula"
    can_be_primary: ClassVar[bool] = True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"formula": "{Name} & 1"}`; whoever knows the table's fields puts ids for names: see `computing.proposed`."""
        found = members(options, "options", ("formula",))
        return {"formula": _formula(found), "isValid": True, "referencedFieldIds": [], "result": None}


class AiText(SystemType):
    """A text that a model writes from a prompt: `{"state": "generated", "isStale": false, "value": "…"}`."""

    name: ClassVar[str] = "aiText"
    pg_type: ClassVar[str] = "jsonb"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"prompt": ["Sum up ", {"field": {"fieldId": "fld…"}}]}`."""
        found = members(options, "options", ("prompt",))
        items = array(found["prompt"], "options.prompt", length_max=PROMPT_ITEMS_MAX)
        prompt: list[Any] = []
        field_ids: dict[str, None] = {}
        for number, item in enumerate(items):
            where = f"options.prompt[{number}]"
            if isinstance(item, str):
                prompt.append(short_text(item, where, length_max=FORMULA_LENGTH_MAX))
                continue
            named = members(members(item, where, ("field",))["field"], f"{where}.field", ("fieldId",))
            field_id = _field_id(named, "fieldId", f"{where}.field")
            field_ids[field_id] = None
            prompt.append({"field": {"fieldId": field_id}})
        return {"prompt": prompt, "referencedFieldIds": list(field_ids)}

    def json_sql(self, field: Field, column: str) -> str:
        """The object as it is stored."""
        return f"{column}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The value."""
        return f"({column} ->> 'value')"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The value without regard to case."""
        return (f"""lower({column} ->> 'value') COLLATE "C\"""",)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """A text."""
        return ("text",)


class ExternalSyncSource(SingleSelect):
    """Which of several sources a synchronised record came from."""

    name: ClassVar[str] = "externalSyncSource"
    is_computed: ClassVar[bool] = True
    can_merge_on: ClassVar[bool] = False

    def parse(self, value: Any, field: Field) -> StoredValue:
        """Takes nothing."""
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Takes nothing."""
        raise BadValue


# Options


def shown_options(options: Options) -> dict[str, Any]:
    """A field's options as clients read them: a field that lacks what it depends on names none of it."""
    is_blind = not options.get("isValid", True)
    return {key: None if is_blind and key in _NEEDED else value for key, value in options.items()}


_NEEDED = ("recordLinkFieldId", "fieldIdInLinkedTable")


def _field_id(found: dict[str, Any], key: str, where: str = "options") -> str:
    value = found[key]
    if not is_id("fld", value):
        raise BadOptions(f"{where}.{key}", "is not the id of a field")
    text: str = value
    return text


def _route(found: dict[str, Any]) -> dict[str, str]:
    return {key: _field_id(found, key) for key in ("recordLinkFieldId", "fieldIdInLinkedTable")}


def _formula(found: dict[str, Any]) -> str:
    text = short_text(found["formula"], "options.formula", length_max=FORMULA_LENGTH_MAX)
    if not text.strip():
        raise BadOptions("options.formula", "is empty")
    return text
