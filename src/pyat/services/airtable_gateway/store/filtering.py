"""Lists whose filter PostgreSQL cannot decide: records are read in order, and Python tells which of them count."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import orjson

from pyat.formula.evaluation import EvaluationTooLong
from pyat.foundation.db import Connection
from pyat.foundation.sql import Statement
from pyat.recordstore import reading
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import FilterTooSlow
from pyat.recordstore.exporting import Form
from pyat.recordstore.fieldtypes import TextFormat
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.airtable_gateway.store import python_columns
from pyat.services.airtable_gateway.store.python_cells import filled, until
from pyat.services.airtable_gateway.store.records import Page, RowsStore, structure_watched

CHUNK_ROWS = 1_000
"""Records read at once; Python tests them in a thread, so that others get their turn."""

Test = Callable[[Sequence[Any]], bool]
"""Whether a record counts, by what the inputs' SQL gave for it."""


async def matching_page(
    store: RowsStore,
    base: Base,
    table: Table,
    *,
    inputs: Sequence[str],
    test: Test,
    time_s: float,
    fields: Sequence[Field] | None,
    by_id: bool,
    sort: Sequence[reading.SortKey],
    rows_max: int,
    cursor: reading.Cursor | None,
    view: View | None,
    text: TextFormat | None,
    counts_comments: bool,
) -> Page:
    """As `RowsStore.page`, of the records for which `test` is true; `inputs` are SQL of JSON texts over the relation `r`.

    All of it sees the same moment. Cost: every record up to the last one of the page. Raises FilterTooSlow after `time_s`.
    """
    ends_s = time.monotonic() + time_s
    given = " || ',' || ".join(inputs) or "''"
    decisive = python_columns.needed(python_columns.ordering(table, sort, view))
    found: list[tuple[int, list[str | None]]] = []
    at = cursor
    async with (
        structure_watched(),
        python_columns.joined(store.database, base, table, decisive, python_columns.Records()) as (connection, source),
        nullcontext() if decisive else connection.raw.transaction(isolation="repeatable_read", readonly=True),
    ):
        sort = python_columns.sorted_in(source, sort)
        form = Form(f"'[' || r._n || ',' || {reading.keys_json(sort)}::text || ',[' || {given} || ']]'")
        while True:
            statement, arguments = reading.page(
                base.base_id,
                source,
                fields=None,
                by_id=True,
                sort=sort,
                rows_max=CHUNK_ROWS,
                cursor=at,
                form=form,
                view=view,
            )
            row = await _row(connection, statement, arguments, ends_s, time_s)
            if row["version"] != base.version:
                raise StructureChanged
            try:
                found += await until(ends_s, partial(_passing, row["body"] or b"", test, rows_max + 1 - len(found)))
            except EvaluationTooLong as error:
                raise FilterTooSlow(time_s=time_s) from error
            n_max = row["n_max"] if at is None else at.n_max
            if len(found) > rows_max or row["row_count"] <= CHUNK_ROWS:
                break
            at = reading.Cursor(tuple(row["last_keys"] or ()), row["last_n"], n_max)
        shown = found[:rows_max]
        numbers = ",".join(str(n) for n, _ in shown)
        statement, arguments = reading.page(
            base.base_id,
            source,
            fields=fields,
            by_id=by_id,
            sort=sort,
            rows_max=rows_max,
            cursor=None,
            text=text,
            counts_comments=counts_comments,
            matching=f"r._n = ANY ('{{{numbers}}}'::int8[])",
        )
        row = await _row(connection, statement, arguments, ends_s, time_s)
    body = await filled(row["body"] or b"", table, by_id=by_id, as_text=text is not None)
    if len(found) <= rows_max:
        return Page(body, len(shown), None, None)
    n, keys = shown[-1]
    return Page(body, rows_max, reading.Cursor(tuple(keys), n, n_max), _last_id(body))


def _passing(body: bytes, test: Test, most: int) -> list[tuple[int, list[str | None]]]:
    """Number and sort keys of the first records of a chunk that count."""
    found: list[tuple[int, list[str | None]]] = []
    for n, keys, values in orjson.loads(b"[" + body + b"]"):
        if len(found) == most:
            break
        if test(values):
            found.append((n, keys))
    return found


def _last_id(body: bytes) -> str:
    """The id of the last of some records as JSON."""
    found: str = orjson.loads(b"[" + body + b"]")[-1]["id"]
    return found


async def _row(
    connection: Connection, statement: Statement, arguments: tuple[Any, ...], ends_s: float, time_s: float
) -> Any:
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise FilterTooSlow(time_s=time_s)
    try:
        row = await connection.row(statement, *arguments, timeout_s=left_s)
    except TimeoutError as error:
        raise FilterTooSlow(time_s=time_s) from error
    assert row is not None, "an aggregate has one row"
    return row
