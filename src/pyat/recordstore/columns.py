"""From fields to SQL: the column of a field, the JSON of a record, the order of a sort.

The alias `r` is the record's relation everywhere. System columns: `_n` order of creation, `_id`, `_created` (whole
seconds), `_modified`, `_created_by`, `_modified_by`.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import orjson

from pyat.foundation.ids import BaseId
from pyat.foundation.sql import literal, quote
from pyat.recordstore.computing import mark_sql
from pyat.recordstore.fieldtypes import TextFormat, find
from pyat.recordstore.structure import Field, Table

Item = TypeVar("Item")

_ARGUMENTS_MAX = 90
"""PostgreSQL functions take at most 100 arguments."""


def column_type(field: Field) -> str | None:
    """The PostgreSQL type of a field's own column; None where the value comes from the record's system columns."""
    kind = find(field.type)
    return kind.pg_type if kind.has_column_for(field) else None


def column(field: Field) -> str:
    """The quoted column of a field, qualified by `r`; for field types without one, types know what to read."""
    return f"r.{quote(field.field_id)}"


def record_json(
    table: Table,
    *,
    by_id: bool,
    fields: Sequence[Field] | None = None,
    text: TextFormat | None = None,
    comments_of: BaseId | None = None,
) -> str:
    """SQL text of one record as JSON: `{"id":…,"createdTime":…,"fields":{…}}`, empty cells left out.

    Built by concatenation: a NULL cell makes its `,"key":value` NULL, which concat() skips, so that nothing has to be
    removed afterwards; it also takes keys of any length, and costs less than json_build_object and a strip.
    Cells that Python computes come as marks, which `computing.filled` replaces.
    `fields` limits the cells; None is all of the table's. With `text` every cell is the text that people read. With
    `comments_of`, the table's base, the record has its `commentCount`.
    """
    if comments_of is not None:
        record = record_json(table, by_id=by_id, fields=fields, text=text)
        count = f"(SELECT count(*) FROM {quote(comments_of)}.base_comments c WHERE c.record_id = r._id)"
        return f"""left({record}, -1) || ',"commentCount":' || {count} || '}}'"""
    if text is not None:
        # Not kept: clients choose from hundreds of time zones.
        return _record_json(table.fields if fields is None else fields, by_id=by_id, text=text)
    key = ("record_json", by_id, None if fields is None else tuple(field.field_id for field in fields))
    sql: str | None = table.plans.get(key)
    if sql is None:
        sql = table.plans[key] = _record_json(table.fields if fields is None else fields, by_id=by_id)
    return sql


def _record_json(fields: Sequence[Field], *, by_id: bool, text: TextFormat | None = None) -> str:
    marks = {field.field_id: mark_sql(field, "r") for field in fields}
    cells = [_cell(field, by_id=by_id, text=text) for field in fields if marks[field.field_id] is None]
    inner = f"ltrim({concat(cells)}, ',')" if cells else "''"
    if len(cells) < len(marks):
        # Last, because whoever puts cells in their places writes the commas between them.
        inner = " || ".join([inner, *(mark for mark in marks.values() if mark is not None)])
    # The cut text begins with its quotation mark and ends after the seconds, which is all there is of a created time.
    created = "to_json(r._created)::text::varchar(20)"
    return f"""'{{"id":"' || r._id || '","createdTime":' || {created} || '.000Z","fields":{{' || {inner} || '}}}}'"""


def _cell(field: Field, *, by_id: bool, text: TextFormat | None) -> str:
    key = orjson.dumps(field.field_id if by_id else field.name).decode()
    kind = find(field.type)
    if text is None:
        value = kind.json_sql(field, column(field))
    else:
        value = f"to_json({kind.text_sql(field, column(field), text)})::text"
    return f"{literal(f',{key}:')} || {value}"


def concat(parts: Sequence[str]) -> str:
    """SQL of concat() over any number of parts; NULL ones are skipped."""
    while len(parts) > _ARGUMENTS_MAX:
        parts = [concat(chunk) for chunk in _chunks(parts, _ARGUMENTS_MAX)]
    return f"concat({', '.join(parts)})"


def _chunks(items: Sequence[Item], size: int) -> Iterable[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
