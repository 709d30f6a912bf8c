"""Orders, filters, groups and exports by cells that only Python computes: in the transaction they become columns.

The cells are computed for all records that matter, with the values as they are in its snapshot, and lie in a temporary
relation that the statement joins; for the statement they are columns like those of computed cells that are kept.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson

from pyat.formula import sql
from pyat.formula.evaluation import EvaluationTooLong
from pyat.formula.values import ERROR, Moment, Value
from pyat.foundation.db import Connection, Database
from pyat.foundation.ids import FieldId
from pyat.recordstore import reading
from pyat.recordstore.computing import Reader, error_column
from pyat.recordstore.ddl import StructureChanged, relation
from pyat.recordstore.errors import CellsTooSlow
from pyat.recordstore.exporting import Form
from pyat.recordstore.structure import Base, Field, Stored, Table, View
from pyat.services.airtable_gateway.store.python_cells import until

TIME_MAX_S: Final = 20.0
"""For all cells that a statement needs as columns."""
_CHUNK_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Records:
    """Which records matter: all of a view, or a page of its own."""

    view: View | None = None
    sort: Sequence[reading.SortKey] = ()
    cursor: reading.Cursor | None = None
    rows_max: int | None = None
    """None for all of the view's."""


def needed(fields: Iterable[Field]) -> list[Field]:
    """Those whose cells only Python computes."""
    return [one for one in fields if one.computed is not None and one.computed.sql("r") is None]


def ordering(table: Table, sort: Sequence[reading.SortKey], view: View | None) -> list[Field]:
    """The fields that decide which records a list has, and in which order."""
    if not sort and (view is None or view.filter is None):
        return []
    found = {key.field.field_id: table.fields_by_id[key.field.field_id] for key in sort}
    groups = [] if view is None or view.filter is None else [view.filter]
    while groups:
        for one in groups.pop()["conditions"]:
            if "conditions" in one:
                groups.append(one)
            elif one["fieldId"] in table.fields_by_id:
                found[one["fieldId"]] = table.fields_by_id[one["fieldId"]]
    return list(found.values())


def sorted_in(table: Table, sort: Sequence[reading.SortKey]) -> list[reading.SortKey]:
    """The same order by the fields of `table`."""
    return [replace(key, field=table.fields_by_id[key.field.field_id]) for key in sort]


@asynccontextmanager
async def joined(
    database: Database, base: Base, table: Table, fields: Sequence[Field], records: Records
) -> AsyncIterator[tuple[Connection, Table]]:
    """A connection, and the table with columns for `fields`, as long as the block lasts; as it is without any field.

    Raises StructureChanged, CellsTooSlow.
    """
    async with database.connection() as connection:
        if not fields:
            yield connection, table
            return
        async with connection.raw.transaction(isolation="repeatable_read"):
            yield connection, await _joined(connection, base, table, fields, records)


async def _joined(connection: Connection, base: Base, table: Table, fields: Sequence[Field], records: Records) -> Table:
    ends_s = time.monotonic() + TIME_MAX_S
    columns = {field.field_id: f"python_{number}" for number, field in enumerate(fields)}
    names = [name for column in columns.values() for name in (column, error_column(column))]
    types = {
        column: sql.pg_type(field.computed.type)
        for field, column in zip(fields, columns.values(), strict=True)
        if field.computed
    }
    made = ", ".join(f"{column} {types[column]}, {error_column(column)} bool" for column in columns.values())
    # The same name always means the same types, because connections remember what they prepared.
    temporary = f"python_cells_{hashlib.sha256(made.encode()).hexdigest()[:16]}"
    await connection.script(
        "make_python_cells", f"CREATE TEMP TABLE {temporary} (_n int8 PRIMARY KEY, {made}) ON COMMIT DROP"
    )
    readers = [field.computed.reader("r") for field in fields if field.computed is not None]
    given = " || ',' || ".join(one.sql for one in readers)
    form = Form(f"'[' || r._n || ',' || {given} || ']'")
    at = records.cursor
    while True:
        statement, arguments = reading.page(
            base.base_id,
            table,
            fields=None,
            by_id=True,
            sort=records.sort,
            rows_max=records.rows_max or _CHUNK_ROWS,
            cursor=at,
            form=form,
            view=records.view,
        )
        left_s = ends_s - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            row = await connection.row(statement, *arguments, timeout_s=left_s)
            assert row is not None, "an aggregate has one row"
            if row["version"] != base.version:
                raise StructureChanged
            rows = await until(ends_s, partial(_values, row["body"] or b"", readers))
        except (TimeoutError, EvaluationTooLong) as error:
            raise CellsTooSlow(time_s=TIME_MAX_S) from error
        await connection.raw.copy_records_to_table(temporary, records=rows, columns=["_n", *names])
        if records.rows_max is not None or row["row_count"] <= _CHUNK_ROWS:
            break
        n_max = row["n_max"] if at is None else at.n_max
        at = reading.Cursor(tuple(row["last_keys"] or ()), row["last_n"], n_max)
    await connection.script("analyze_python_cells", f"ANALYZE {temporary}")
    name = relation(base.base_id, table.table_id)
    shown = ", ".join(f"p.{name}" for name in names)
    return replace(
        table,
        fields=tuple(_stored(one, columns) for one in table.fields),
        joined=f"(SELECT r.*, {shown} FROM {name} r LEFT JOIN {temporary} p ON p._n = r._n)",
    )


def _stored(one: Field, columns: Mapping[FieldId, str]) -> Field:
    """A field as if its cells were kept, where they have a column."""
    if one.computed is None or one.field_id not in columns:
        return one
    shape = {"error": True, "finite": False, "filled": False}
    stored = Stored(columns[one.field_id], "", {}, shape, is_ready=True)
    return replace(one, computed=replace(one.computed, stored=stored, sqls={}))


def _values(body: bytes, readers: Sequence[Reader]) -> list[tuple[Any, ...]]:
    """Number, and value and whether it is an error of each field, of some records."""
    decoders: list[Callable[[Any], Value]] = [one.decode for one in readers]
    found = []
    for n, *given in orjson.loads(b"[" + body + b"]"):
        row = [n]
        for decode, one in zip(decoders, given, strict=True):
            value = decode(one)
            row += [None, True] if value is ERROR else [_plain(value), False]
        found.append(tuple(row))
    return found


def _plain(value: Value) -> Any:
    if type(value) is Moment:
        return value.datetime()
    if type(value) is tuple:
        return [_plain(one) for one in value]
    # Half of a pair is no character for PostgreSQL.
    return value.encode("utf-8", "ignore").decode() if type(value) is str else value
