"""From what a client asks for to tables and fields that fit: names, descriptions, types, options, bounds.

Source of the rules: wire reference, sections 7.3-7.8 and 4.3. Shapes are checked first, then names, then options; the
first bad one is reported.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import FieldId, TableId, ViewId, new_id
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.fieldtypes import REGISTRY, BadOptions, FieldType
from pyat.recordstore.links import junction_name
from pyat.recordstore.naming import free_name
from pyat.recordstore.structure import Base, Field, Link, Options, Table, View
from pyat.services.schema.contract import (
    DESCRIPTION_LENGTH_MAX,
    FIELDS_PER_TABLE_MAX,
    NAME_LENGTH_MAX,
    FieldDraft,
    InvalidPrimaryField,
    TableDraft,
)
from pyat.services.schema.service.references import settled

AIRTABLE_TYPES = frozenset(
    {
        "aiText",
        "autoNumber",
        "barcode",
        "button",
        "checkbox",
        "count",
        "createdBy",
        "createdTime",
        "currency",
        "date",
        "dateTime",
        "duration",
        "email",
        "externalSyncSource",
        "formula",
        "lastModifiedBy",
        "lastModifiedTime",
        "lookup",
        "manualSort",
        "multilineText",
        "multipleAttachments",
        "multipleCollaborators",
        "multipleLookupValues",
        "multipleRecordLinks",
        "multipleSelects",
        "number",
        "percent",
        "phoneNumber",
        "rating",
        "richText",
        "rollup",
        "singleCollaborator",
        "singleLineText",
        "singleSelect",
        "url",
    }
)
"""Every type name of the wire reference, section 6.1: what we lack of them is unsupported, anything else unknown."""

FIRST_VIEW_NAME = "Grid view"
LINK_TYPE = "multipleRecordLinks"
ALIASES = {"lookup": "multipleLookupValues"}
"""Type names that are taken for others."""


def name_of(what: str, text: str) -> str:
    """A name without surrounding space; `what` begins the sentence of a refusal. Raises InvalidRequest; may be empty."""
    check_text(what, text)
    name = text.strip()
    if len(name) > NAME_LENGTH_MAX:
        raise InvalidRequest(reason=f"{what} is longer than {NAME_LENGTH_MAX} characters.")
    return name


def filled_name_of(what: str, text: str) -> str:
    """As `name_of`, and not empty."""
    name = name_of(what, text)
    if not name:
        raise InvalidRequest(reason=f"{what} is empty.")
    return name


def description_of(what: str, text: str | None) -> str | None:
    """A description; None where it is empty. Raises InvalidRequest."""
    if not text:
        return None
    check_text(what, text)
    if len(text) > DESCRIPTION_LENGTH_MAX:
        raise InvalidRequest(reason=f"{what} is longer than {DESCRIPTION_LENGTH_MAX:,} characters.")
    return text


def check_text(what: str, text: str) -> None:
    """Refuse what PostgreSQL and UTF-8 cannot hold: NUL characters and halves of surrogate pairs."""
    if not _is_storable(text):
        raise InvalidRequest(reason=f"{what} holds a NUL character or half of a surrogate pair.")


def table_name(text: str, others: Iterable[Table]) -> str:
    """The name of a table beside `others`. Raises InvalidRequest, TableNameTaken."""
    name = filled_name_of("The table's name", text)
    folded = name.casefold()
    if any(other.name.casefold() == folded for other in others):
        raise TableNameTaken(name=name)
    return name


def field_name(text: str, others: Iterable[str]) -> str:
    """The name of a field beside others' names. Raises InvalidRequest, FieldNameTaken."""
    name = name_of("The field's name", text)
    folded = name.casefold()
    if not name or any(other.casefold() == folded for other in others):
        raise FieldNameTaken(name=name)
    return name


@dataclass(frozen=True, slots=True)
class PlannedLink:
    """A new link field; `inverse` is its pair in `other`, the linked table."""

    field: Field
    other: Table
    inverse: Field | None


class Planner:
    """Makes the structures of new tables and fields, with new ids."""

    def __init__(self, *, creates_computed_fields: bool) -> None:
        self._creates_computed_fields = creates_computed_fields

    def table(self, draft: TableDraft, others: Collection[Table]) -> Table:
        """A new table with one grid view, beside `others`.

        Raises InvalidRequest, LimitReached, TableNameTaken, FieldNameTaken, UnsupportedFieldType, InvalidPrimaryField,
        InvalidFieldOptions.
        """
        if not draft.fields:
            raise InvalidRequest(reason="A table needs at least one field.")
        if draft.description == "":
            raise InvalidRequest(reason="The table's description is empty.")
        for wanted in draft.fields:
            _check_known(wanted.type)
        if len(draft.fields) > FIELDS_PER_TABLE_MAX:
            raise LimitReached(what="A table", limit=FIELDS_PER_TABLE_MAX, things="fields")
        description = description_of("The table's description", draft.description)
        name = table_name(draft.name, others)
        names = _field_names(draft.fields)
        kinds = [self._kind(name, own, field.type) for own, field in zip(names, draft.fields, strict=True)]
        if not kinds[0].can_be_primary:
            raise InvalidPrimaryField(table=name, field=names[0], type=draft.fields[0].type)
        fields = tuple(
            _field(name, own, field, kind) for own, field, kind in zip(names, draft.fields, kinds, strict=True)
        )
        fields = tuple(settled(name, field, {other.field_id: other for other in fields}, others) for field in fields)
        field_ids = tuple(field.field_id for field in fields)
        return Table(
            table_id=TableId(new_id("tbl")),
            name=name,
            primary_field_id=field_ids[0],
            fields=fields,
            views=(View(ViewId(new_id("viw")), FIRST_VIEW_NAME, "grid", field_ids),),
            description=description,
        )

    def links_of(self, table: Table, others: Collection[Table]) -> "tuple[Table, tuple[PlannedLink, ...]]":
        """A planned table with its link fields paired with inverses in `others`. Raises as `link`."""
        planned: list[PlannedLink] = []
        known = {other.table_id: other for other in others}
        fields = []
        for field in table.fields:
            if field.type != LINK_TYPE:
                fields.append(field)
                continue
            pair = _paired(field, table, known.values())
            if pair.inverse is not None:
                # The next link to the same table gives its inverse another name.
                known[pair.other.table_id] = replace(pair.other, fields=(*pair.other.fields, pair.inverse))
            planned.append(pair)
            fields.append(pair.field)
        return replace(table, fields=tuple(fields)), tuple(planned)

    def field(self, draft: FieldDraft, table: Table, tables: Collection[Table] = ()) -> Field:
        """A new field of `table`; `tables` are all of the base.

        Raises InvalidRequest, LimitReached, FieldNameTaken, UnsupportedFieldType, InvalidFieldOptions.
        """
        _check_known(draft.type)
        if len(table.fields) >= FIELDS_PER_TABLE_MAX:
            raise LimitReached(what="A table", limit=FIELDS_PER_TABLE_MAX, things="fields")
        name = field_name(draft.name, table.fields_by_name)
        field = _field(table.name, name, draft, self._kind(table.name, name, draft.type))
        return settled(table.name, field, table.fields_by_id, tables)

    def link(self, draft: FieldDraft, table: Table, base: Base) -> "PlannedLink":
        """A new link field of `table`, and its inverse in the linked table; a link to the own table has none.

        Raises what `field` raises, and InvalidFieldOptions for a table or view that is not there.
        """
        return _paired(self.field(draft, table), table, base.tables)

    def _kind(self, table: str, field: str, type_name: str) -> FieldType:
        kind = REGISTRY.get(ALIASES.get(type_name, type_name))
        if kind is None or (kind.is_computed and not self._creates_computed_fields):
            raise UnsupportedFieldType(table=table, field=field, type=type_name)
        return kind


def link_like(field: Field, name: str, table: Table, base: Base) -> PlannedLink:
    """A new link field of `table` called `name`, otherwise like another one. Raises as `Planner.link`."""
    options = {key: value for key, value in field.options.items() if key != "inverseLinkFieldId"}
    return _paired(Field(FieldId(new_id("fld")), name, field.type, options, field.description), table, base.tables)


def _paired(field: Field, table: Table, tables: Iterable[Table]) -> PlannedLink:
    other = next((other for other in tables if other.table_id == field.options["linkedTableId"]), None)
    if other is None:
        raise _refused(table, field, "linkedTableId is not the id of a table of this base")
    view_id = field.options.get("viewIdForRecordSelection")
    if view_id is not None and not any(view.view_id == view_id for view in other.views):
        raise _refused(table, field, "viewIdForRecordSelection is not the id of a view of the linked table")
    junction = junction_name(field.field_id)
    if other.table_id == table.table_id:
        return PlannedLink(replace(field, link=Link(junction, table.table_id, True)), other, None)
    if len(other.fields) >= FIELDS_PER_TABLE_MAX:
        raise LimitReached(what="The linked table", limit=FIELDS_PER_TABLE_MAX, things="fields")
    inverse_id = FieldId(new_id("fld"))
    inverse_options = {
        "linkedTableId": table.table_id,
        "isReversed": False,
        "prefersSingleRecordLink": False,
        "inverseLinkFieldId": field.field_id,
    }
    inverse = Field(
        inverse_id,
        free_name(table.name, other.fields_by_name, length_max=NAME_LENGTH_MAX),
        field.type,
        inverse_options,
        link=Link(junction, table.table_id, False, field.field_id),
    )
    own = replace(
        field,
        options={**field.options, "inverseLinkFieldId": inverse_id},
        link=Link(junction, other.table_id, True, inverse_id),
    )
    return PlannedLink(own, other, inverse)


def _refused(table: Table, field: Field, problem: str) -> InvalidFieldOptions:
    return InvalidFieldOptions(table=table.name, field=field.name, reason=f"{field.name}.options.{problem}")


def _check_known(type_name: str) -> None:
    if type_name not in AIRTABLE_TYPES:
        raise InvalidRequest(reason=f'There is no field type "{type_name[:100]}".')


def _field_names(drafts: Iterable[FieldDraft]) -> list[str]:
    names: dict[str, str] = {}
    for draft in drafts:
        name = name_of("The field's name", draft.name)
        if not name or name.casefold() in names:
            raise FieldNameTaken(name=name)
        names[name.casefold()] = name
    return list(names.values())


def _field(table: str, name: str, draft: FieldDraft, kind: FieldType) -> Field:
    description = description_of("The field's description", draft.description)
    options = options_of(table, name, lambda: kind.parse_options(draft.options, new_choice_id=lambda: new_id("sel")))
    return Field(FieldId(new_id("fld")), name, kind.name, options, description)


def options_of(table: str, name: str, parse: Callable[[], Options]) -> Options:
    """The options that `parse` gives for the field `name` of the table called `table`. Raises InvalidFieldOptions."""
    try:
        options = parse()
    except BadOptions as error:
        raise InvalidFieldOptions(table=table, field=name, reason=error.reason(name)) from None
    if not all(_is_storable(text) for text in _texts(options)):
        reason = f"{name}.options holds a NUL character or half of a surrogate pair"
        raise InvalidFieldOptions(table=table, field=name, reason=reason)
    return options


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _is_storable(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


__all__ = ["AIRTABLE_TYPES", "Options", "Planner", "description_of", "field_name", "filled_name_of", "table_name"]
