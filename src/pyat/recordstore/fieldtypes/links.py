"""Links to records of a table: the cell is a list of record ids, the links themselves lie in a junction relation."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pyat.foundation.ids import BaseId, is_id
from pyat.foundation.sql import quote
from pyat.recordstore.errors import InvalidRecordId
from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.options import members
from pyat.recordstore.fieldtypes.selects import split_names
from pyat.recordstore.links import PrimaryText, junction_of, relation_of
from pyat.recordstore.structure import Field, Link, Options

LINKS_PER_CELL_MAX = 100_000
"""As many as one write may put into a cell; what comes in from the other side is not bounded."""
_SHOWN_LENGTH_MAX = 100


class MultipleRecordLinks(FieldType):
    """Record ids in the order of the cell, each once. A field that was not read from a base cannot make SQL."""

    name: ClassVar[str] = "multipleRecordLinks"
    pg_type: ClassVar[str] = "text[]"

    def has_column_for(self, field: Field) -> bool:
        """Never: a link belongs to two cells."""
        return False

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"linkedTableId": "tbl…", "viewIdForRecordSelection"?: "viw…"}`; the rest is the platform's to say."""
        if options is None:
            raise BadOptions("options", "is missing")
        found = members(options, "options", ("linkedTableId",), ("viewIdForRecordSelection",))
        if not is_id("tbl", found["linkedTableId"]):
            raise BadOptions("options.linkedTableId", "is not the id of a table")
        view_id = found.get("viewIdForRecordSelection")
        if view_id is not None and not is_id("viw", view_id):
            raise BadOptions("options.viewIdForRecordSelection", "is not the id of a view")
        stored: dict[str, Any] = {
            "linkedTableId": found["linkedTableId"],
            "isReversed": False,
            "prefersSingleRecordLink": False,
        }
        if view_id is not None:
            stored["viewIdForRecordSelection"] = view_id
        return stored

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A list of record ids, or of objects with an `id`. Raises InvalidRecordId."""
        if type(value) is not list:
            if is_blank(value):
                return []
            raise BadValue
        return _unique([_record_id(item) for item in value])

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Also primary values of the linked table: a list of them, or one text with commas between them."""
        if type(value) is str:
            value = split_names(value)
        elif type(value) is not list:
            if is_blank(value):
                return []
            raise BadValue
        items: list[str] = []
        for item in value:
            if type(item) is str and not is_id("rec", item):
                if item.strip():
                    items.append(PrimaryText(item.strip()))
            else:
                items.append(_record_id(item))
        return _unique(items)

    def json_sql(self, field: Field, column: str) -> str:
        """The ids in the order of the cell."""
        rows = _rows(field, column)
        return (
            f"""(SELECT '[' || string_agg('"' || {rows.other}._id || '"', ',' ORDER BY {rows.order})"""
            f" || ']' {rows.sql})"
        )

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The primary values of the linked records; one with a comma or a quotation mark stands in quotation marks."""
        rows = _rows(field, column)
        shown = self._primary_sql(_link(field), rows.other, text)
        item = f"""CASE WHEN {shown} ~ '[,"]' THEN '"' || replace({shown}, '"', '""') || '"' ELSE {shown} END"""
        return f"(SELECT string_agg(coalesce({item}, ''), ', ' ORDER BY {rows.order}) {rows.sql})"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The primary values of the linked records, as text."""
        rows = _rows(field, column)
        shown = self._primary_sql(_link(field), rows.other, TextFormat("UTC", "YYYY-MM-DD"))
        return (f"(SELECT string_agg(coalesce({shown}, ''), ', ' ORDER BY {rows.order}) {rows.sql})",)

    def _primary_sql(self, link: Link, other: str, text: TextFormat) -> str:
        from pyat.recordstore.fieldtypes.registry import find  # it has an instance of this class

        if link.primary is None:
            return "NULL::text"
        return find(link.primary.type).text_sql(link.primary, f"{other}.{quote(link.primary.field_id)}", text)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Text."""
        return ("text",)


@dataclass(frozen=True, slots=True)
class LinkedRows:
    """The end of a subselect of the records that a record links to."""

    other: str
    """The name of the linked records' relation there."""
    joined: str
    where: str
    order: str
    """The order of the cell, for an ORDER BY."""

    @property
    def sql(self) -> str:
        """All of the end."""
        return f"{self.joined} {self.where}"


def linked_rows(base_id: BaseId, link: Link, relation: str) -> LinkedRows:
    """The records that a record of `relation` links to; subselects may nest, so each depth has names of its own."""
    depth = int(relation[1:]) + 1 if _NESTED.fullmatch(relation) else 1
    own, other = f"l{depth}", f"o{depth}"
    return LinkedRows(
        other,
        f"FROM {junction_of(base_id, link)} {own} JOIN {relation_of(base_id, link.linked_table_id)} {other}"
        f" ON {other}._n = {own}.{link.other}",
        f"WHERE {own}.{link.own} = {relation}._n",
        f"{own}.{link.place}, {own}.{link.other}",
    )


_NESTED = re.compile(r"o[0-9]+")


def _rows(field: Field, column: str) -> LinkedRows:
    return linked_rows(field.base_id, _link(field), column.rpartition(".")[0])


def _link(field: Field) -> Link:
    assert field.link is not None, "a link field that was read from a base knows its junction"
    return field.link


def _record_id(item: Any) -> str:
    if type(item) is dict:
        item = item.get("id")
    if not is_id("rec", item):
        raise InvalidRecordId(value=str(item)[:_SHOWN_LENGTH_MAX])
    assert isinstance(item, str)
    return item


def _unique(items: list[str]) -> list[str]:
    if len(items) > LINKS_PER_CELL_MAX:
        raise BadValue
    # A text that looks like a record id is a record id, so the two kinds never fall together.
    return list(dict.fromkeys(items))
