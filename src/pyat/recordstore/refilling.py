"""A new column of a table that is large and in use, filled in small steps while others read and write.

The column is made beside the others under a name that no field has, with a trigger that notes every record whose source
changes. Records are filled in chunks, each in a transaction of its own; then those that were noted, until few are left;
the last ones under a lock that keeps everybody out for some milliseconds, in the transaction that makes the column a
field's. A change of a record and its note commit together, so none is missed. Whoever dies half-way leaves the field as
it was: see `leftovers`.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from asyncpg import exceptions as pg

from pyat.foundation.db import DEFERRED, RETRIABLE, Connection, Database, Row
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore.ddl import RELATION_LOCK_TIMEOUT_MS, exclusively

PREFIX = "cnv"
CHUNK_ROWS = 200
"""Records filled at once; as long as it takes to write them, nobody else can."""
PAUSE_SHARE = 0.5
"""How long a chunk is rested after, as a share of the time it took: processors and disk are there for others first."""
READ_ROWS = 1_000
LAST_ROWS = 200
"""Records that may be left for the time in which nobody gets at the table."""
ROUNDS_MAX = 2_000
RETRIES_MAX = 20

STALE_AFTER = timedelta(hours=6)
"""No refill takes so long: one that was begun before is dead."""

_GENTLY = f"{DEFERRED} AND set_config('backend_flush_after', '256kB', true) <> ''"
"""Always true. A filler writes the whole table once: what it pushes out of the buffers goes to disk little by little, so
that the commits of others do not wait behind a heap of it."""

LOST = (pg.UndefinedTableError, pg.UndefinedColumnError, pg.InvalidSchemaNameError, pg.UndefinedObjectError)
"""What the filler meets where its column was taken away."""


class TooManyLeft(Exception):
    """Records changed faster than the last step allows; catch up and try again."""


@dataclass(frozen=True, slots=True)
class Refill:
    """A column being filled. The list of noted records, its trigger and its function have the column's name."""

    base_id: BaseId
    table_id: str
    column: str
    pg_type: str
    watched: str
    """The column that the values are made from; one that never changes where only new records count."""

    @property
    def relation(self) -> str:
        """The quoted relation of the table."""
        return quote(self.base_id, self.table_id)

    @property
    def noted(self) -> str:
        """The quoted relation of the noted records' numbers."""
        return quote(self.base_id, self.column)


@dataclass(frozen=True, slots=True)
class Source:
    """Where values come from: SQL of a select list over the relation `r`, and what makes a stored value of such a row.

    Each row also has `n`, the record's creation number.
    """

    columns: str
    value: Callable[[Row], Any]


Current: TypeAlias = Callable[[Connection], Awaitable[Source]]
"""Gives the source by the structure there is now: values written after a change of structure need that one."""


@dataclass(slots=True)
class Numbering:
    """Numbers for records in order of creation; those that come later get the next ones."""

    refill: Refill
    last: int = 0
    given: dict[int, int] = field(default_factory=dict)
    """What records of the last rounds got, by creation number: a round that is repeated gives the same."""

    def source(self, *, remembers: bool) -> Source:
        """Keeps numbers that records have; with `remembers` also those it gave and that were not written in the end."""
        return Source(
            f"r.{quote(self.refill.column)} AS value", self._remembered if remembers else lambda row: self._next()
        )

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _remembered(self, row: Row) -> int:
        found: int | None = row["value"] or self.given.get(row["n"])
        if found is None:
            found = self.given[row["n"]] = self._next()
        return found


def new(base_id: BaseId, table_id: str, field_id: str, pg_type: str, watched: str) -> Refill:
    """A refill for a field that is not begun yet."""
    return Refill(base_id, table_id, f"{PREFIX}{field_id[3:]}{secrets.token_hex(4)}", pg_type, watched)


async def begin(connection: Connection, refill: Refill) -> None:
    """The empty column and all that notes changes; nobody else's statements see any of it.

    Raises LockNotAvailableError after `RELATION_LOCK_TIMEOUT_MS`.
    """
    name = quote(refill.column)
    began = literal(datetime.now(UTC).isoformat())
    await connection.script(
        "begin_refill",
        f"{exclusively(refill.relation)}ALTER TABLE {refill.relation} ADD COLUMN {name} {refill.pg_type};"
        f"CREATE TABLE {refill.noted} (n int8 NOT NULL); COMMENT ON TABLE {refill.noted} IS {began};"
        f"CREATE FUNCTION {refill.noted}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $note$ BEGIN INSERT INTO {refill.noted} VALUES (NEW._n); RETURN NULL; END $note$;"
        f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE OF {quote(refill.watched)} ON {refill.relation}"
        f" FOR EACH ROW EXECUTE FUNCTION {refill.noted}()",
    )


async def drop(connection: Connection, refill: Refill) -> None:
    """Take everything back. Raises LockNotAvailableError after `RELATION_LOCK_TIMEOUT_MS`."""
    column = f"SET LOCAL lock_timeout = {RELATION_LOCK_TIMEOUT_MS};"
    if refill.table_id:
        column = (
            exclusively(refill.relation)
            + f"ALTER TABLE IF EXISTS {refill.relation} DROP COLUMN IF EXISTS {quote(refill.column)};"
        )
    await connection.script(
        "drop_refill",
        f"{column}{_stop_noting(refill)}",
    )


def _stop_noting(refill: Refill) -> str:
    # The trigger goes with its function.
    return f"DROP FUNCTION IF EXISTS {refill.noted}() CASCADE; DROP TABLE IF EXISTS {refill.noted}"


async def leftovers(
    connection: Connection, base_id: BaseId, *, field_id: str | None = None, age: timedelta | None = None
) -> list[Refill]:
    """Refills that were begun and neither finished nor dropped: of one field, or begun longer than `age` ago."""
    rows = await connection.rows(
        Statement(
            "refill_leftovers",
            "SELECT c.relname, d.description, r.relname AS table_id FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass"
            " LEFT JOIN pg_trigger t ON t.tgname = c.relname"
            " LEFT JOIN pg_class r ON r.oid = t.tgrelid AND r.relnamespace = n.oid"
            " WHERE n.nspname = $1 AND c.relkind = 'r' AND starts_with(c.relname, $2)",
        ),
        base_id,
        PREFIX if field_id is None else f"{PREFIX}{field_id[3:]}",
    )
    latest = None if age is None else datetime.now(UTC) - age
    return [
        Refill(base_id, row["table_id"] or "", row["relname"], "", "")
        for row in rows
        if latest is None or datetime.fromisoformat(row["description"]) < latest
    ]


# Filling


async def cells_after(connection: Connection, base_id: BaseId, table_id: str, columns: str, after: int) -> list[Row]:
    """`READ_ROWS` records or fewer after a creation number: `n`, `id` and a select list over the relation `r`."""
    statement = Statement(
        "cells_after",
        f"SELECT r._n AS n, r._id AS id, {columns} FROM {quote(base_id, table_id)} r"
        f" WHERE r._n > $1 ORDER BY r._n LIMIT {READ_ROWS}",
    )
    return await connection.rows(statement, after)


def _read(refill: Refill, source: Source, condition: str) -> Statement:
    return Statement(
        "read_refill",
        f"SELECT r._n AS n, {source.columns} FROM {refill.relation} r WHERE {condition} ORDER BY r._n LIMIT {READ_ROWS}",
    )


async def _write(
    connection: Connection, refill: Refill, pairs: Sequence[tuple[int, Any]], *, is_deferred: bool = False
) -> None:
    array_type, values = array_of(refill.pg_type, [value for _, value in pairs])
    # Rows are locked in one order everywhere, so that nobody waits in a circle.
    await connection.run(
        Statement(
            "write_refill",
            f"WITH locked AS MATERIALIZED (SELECT r._n FROM {refill.relation} r WHERE r._n = ANY ($1::int8[])"
            " ORDER BY r._n FOR NO KEY UPDATE)"
            f" UPDATE {refill.relation} r SET {quote(refill.column)} = u.value::{refill.pg_type}"
            f" FROM locked l JOIN unnest($1::int8[], $2::{array_type}) AS u(n, value) ON u.n = l._n"
            # A filler that dies begins anew, so no chunk has to wait for the disk; the last commit waits for all of them.
            f" WHERE r._n = l._n AND {_GENTLY if is_deferred else 'true'}",
        ),
        [number for number, _ in pairs],
        values,
    )


def array_of(pg_type: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The type and the items of a parameter that is an array of values of a type."""
    if not pg_type.endswith("[]"):
        return f"{pg_type}[]", list(values)
    # There are no arrays of arrays, so those travel as text.
    return "text[]", [None if value is None else _array_text(value) for value in values]


def _array_text(items: Sequence[str]) -> str:
    quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    return "{" + ",".join(quoted) + "}"


async def fill(database: Database, refill: Refill, source: Source) -> None:
    """Give every record there is its value; one statement for each chunk."""
    read = _read(refill, source, "r._n > $1")
    after = -(2**63)
    while True:
        async with database.connection() as connection:
            rows = await connection.rows(read, after)
        if not rows:
            return
        after = rows[-1]["n"]
        pairs = [(row["n"], value) for row in rows if (value := source.value(row)) is not None]
        for start in range(0, len(pairs), CHUNK_ROWS):
            await _write_alone(database, refill, pairs[start : start + CHUNK_ROWS])


async def _write_alone(database: Database, refill: Refill, pairs: Sequence[tuple[int, Any]]) -> None:
    for attempt in range(RETRIES_MAX):
        try:
            began = time.monotonic()
            async with database.connection() as connection:
                await _write(connection, refill, pairs, is_deferred=True)
            await asyncio.sleep((time.monotonic() - began) * PAUSE_SHARE)
            return
        except RETRIABLE:
            if attempt == RETRIES_MAX - 1:
                raise


async def catch_up(database: Database, refill: Refill, current: Current) -> None:
    """Give the records that changed meanwhile their values anew, until few are left."""
    for _ in range(ROUNDS_MAX):
        async with database.transaction() as connection:
            if await _refresh(connection, refill, current, rows_max=CHUNK_ROWS) < LAST_ROWS:
                return


async def _refresh(connection: Connection, refill: Refill, current: Current, *, rows_max: int) -> int:
    found = await connection.rows(
        Statement(
            "take_noted",
            f"DELETE FROM {refill.noted} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {refill.noted} LIMIT {rows_max}))"
            " RETURNING n",
        )
    )
    numbers = sorted({row["n"] for row in found})
    if numbers:
        # Read after the notes were taken: the structure and the records are at least as new as what was noted.
        source = await current(connection)
        rows = await connection.rows(_read(refill, source, "r._n = ANY ($1::int8[])"), numbers)
        await _write(connection, refill, [(row["n"], source.value(row)) for row in rows])
    return len(found)


async def finish(connection: Connection, refill: Refill, current: Current, *, name: str, replaces: bool) -> None:
    """Fill the last records and call the column `name`; with `replaces` that column's present owner is dropped.

    Everybody else is kept out of the table from here to the end of the transaction: do little after it. Raises
    LockNotAvailableError after `RELATION_LOCK_TIMEOUT_MS`, TooManyLeft.
    """
    await connection.script(
        "lock_refilled",
        f"{exclusively(refill.relation)}LOCK TABLE {refill.relation} IN ACCESS EXCLUSIVE MODE",
    )
    if await _refresh(connection, refill, current, rows_max=LAST_ROWS + 1) > LAST_ROWS:
        raise TooManyLeft
    old = f"ALTER TABLE {refill.relation} DROP COLUMN {quote(name)};" if replaces else ""
    await connection.script(
        "finish_refill",
        f"{_stop_noting(refill)};{old}"
        f"ALTER TABLE {refill.relation} RENAME COLUMN {quote(refill.column)} TO {quote(name)}",
    )
