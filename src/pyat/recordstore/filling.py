"""Columns of computed cells, filled in the background while everybody reads and writes.

One level of dependencies after the other: new columns get their triggers, then every writer who began before that is
awaited, then records are filled in chunks, each in a transaction of its own, then readers use the columns. Until that
moment they compute the cells themselves, so they never see one that is not right. Whoever dies half-way is followed by
another one, who goes on where the last chunk ended.

What a write left to do because it reached too many records is made up for in the same way, for those records alone; the
triggers take it on to whatever depends on them.
"""

import asyncio
import functools
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyat.foundation.db import RETRIABLE, Connection, Database
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import computing, ddl, maintaining
from pyat.recordstore.maintaining import Cell, Group, Kept
from pyat.recordstore.structure import Base

CHUNK_ROWS: Final = 2_000
"""Records filled at once; as long as it takes to write them, nobody else can."""
PAUSE_SHARE: Final = 0.2
"""How long a chunk is rested after, as a share of the time it took: processors and disk are there for others first."""
NOTES_READ: Final = 20
"""Notes of what was missed that are taken up at once."""
RETRIES_MAX: Final = 60
_PAUSE_S: Final = 0.05

Load = Callable[[Connection], Awaitable[Base | None]]
"""The base's structure as a connection sees it; None where it is gone."""
Progress = Callable[[], Awaitable[None]]
"""Called after every chunk, by whoever holds a lease."""

_HORIZON = Statement("horizon", "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8")
_OLDEST = Statement("oldest_writer", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int8")


@dataclass(frozen=True, slots=True)
class _Column:
    """What a column was when its filling began."""

    field_id: str
    generation: str
    filled: int
    misses: int


async def fill(database: Database, base_id: BaseId, load: Load, progress: Progress) -> int:
    """Bring everything that is to be kept of a base into columns; how many became ready.

    Raises what PostgreSQL does where the tables stay in use by others for longer than all attempts.
    """
    count = 0
    while True:
        added = await _retried(lambda: _add_columns(database, base_id, load))
        caught_up, ready = await _fill_level(database, base_id, load, progress)
        count += ready
        if not added and not caught_up and not ready:
            return count


async def _add_columns(database: Database, base_id: BaseId, load: Load) -> int:
    async with database.transaction() as connection:
        await ddl.hold(connection, base_id)
        base = await load(connection)
        return 0 if base is None else await maintaining.add_columns(connection, base, secrets.token_hex(4))


async def _await_writers(database: Database, progress: Progress) -> None:
    """Wait until nobody writes who may have begun before now: such a write knows nothing of the new triggers."""
    async with database.connection() as connection:
        horizon = await connection.value(_HORIZON)
    while True:
        async with database.connection() as connection:
            if await connection.value(_OLDEST) >= horizon:
                return
        await progress()
        await asyncio.sleep(_PAUSE_S)


async def _fill_level(database: Database, base_id: BaseId, load: Load, progress: Progress) -> tuple[int, int]:
    """Make up for what was missed, and fill the columns whose inputs are ready; how many notes, and how many columns."""
    async with database.connection() as connection:
        base = await load(connection)
        if base is None:
            return 0, 0
        made = await maintaining.kept_of(base)
        # In this order: whoever leaves a note later makes the misses of these columns out of date.
        columns = await _columns(connection, base_id)
        missed = await connection.rows(
            Statement("missed", f"SELECT * FROM {quote(base_id)}.base_missed ORDER BY id LIMIT {NOTES_READ}")
        )
    if columns or missed:
        await _await_writers(database, progress)
    await _catch_up(database, made, missed, progress)
    ready = 0
    for table_id, cells in made.cells.items():
        level = [cell for cell in cells if cell.field.field_id in columns and _can_be_filled(cell)]
        if level:
            every = [columns[cell.field.field_id] for cell in level]
            partly = [cell for cell in level if columns[cell.field.field_id].filled < maintaining.FILLED]
            wanted = [columns[cell.field.field_id] for cell in partly]
            if partly:
                await _fill_table(database, made, table_id, partly, wanted, progress)
            ready += await _retried(functools.partial(_set_ready, database, base_id, every))
    return len(missed), ready


async def _catch_up(database: Database, made: Kept, missed: Sequence[Any], progress: Progress) -> None:
    """Set the cells that notes of `base_missed` are about, and forget the notes.

    Everybody has ended who may have written without seeing what the notes are about.
    """
    base_id = made.base.base_id
    groups = {(group.table_id, group.way.junction, group.way.own): group for group in made.groups()}
    changed: dict[tuple[str, str, str], set[int]] = {}
    affected: dict[tuple[str, str, str], set[int]] = {}
    for note in missed:
        key = note["table_id"], note["junction"], note["own"]
        changed.setdefault(key, set()).update(note["changed"] or ())
        affected.setdefault(key, set()).update(note["affected"] or ())
    for key, numbers in affected.items():
        if key not in groups:
            continue
        group = groups[key]
        way = group.way
        async with database.connection() as connection:
            reached = await connection.value(
                Statement(
                    "reached",
                    f"SELECT array_agg(DISTINCT l.{way.own}) FROM {quote(base_id, way.junction)} l"
                    f" WHERE l.{way.other} = ANY ($1::int8[])",
                ),
                list(changed[key]),
            )
        wanted = sorted(numbers.union(reached or ()))
        await _set_some(database, base_id, group, wanted, progress)
    if missed:
        forget = Statement("forget_missed", f"DELETE FROM {quote(base_id)}.base_missed WHERE id = ANY ($1::int8[])")
        await _retried(lambda: database.run(forget, [note["id"] for note in missed]))


async def _set_some(
    database: Database, base_id: BaseId, group: Group, numbers: Sequence[int], progress: Progress
) -> None:
    """Set the cells of a group in the records with some creation numbers."""
    relation = quote(base_id, group.table_id)
    take = Statement(
        "take_some", f"SELECT FROM {relation} r WHERE r._n = ANY ($1::int8[]) ORDER BY r._n FOR NO KEY UPDATE"
    )
    write = Statement("set_some", maintaining.set_sql(base_id, group.table_id, group.cells, "$1::int8[]"))

    async def chunk(some: Sequence[int]) -> None:
        async with database.transaction() as connection:
            await connection.run(take, some)
            await connection.run(write, some)

    for start in range(0, len(numbers), CHUNK_ROWS):
        began = time.monotonic()
        await _retried(functools.partial(chunk, numbers[start : start + CHUNK_ROWS]))
        await progress()
        await asyncio.sleep((time.monotonic() - began) * PAUSE_SHARE)


def _can_be_filled(cell: Cell) -> bool:
    inputs = maintaining.inputs_of(cell.field)
    return all(other.computed and other.computed.stored and other.computed.stored.is_ready for other in inputs)


async def _columns(connection: Connection, base_id: BaseId) -> dict[str, _Column]:
    """The columns that are not ready, by the ids of their fields."""
    rows = await connection.rows(
        Statement(
            "unready_columns",
            f"SELECT field_id, generation, filled, misses FROM {quote(base_id)}.base_computed"
            " WHERE field_id IS NOT NULL AND NOT is_ready",
        )
    )
    return {row["field_id"]: _Column(**row) for row in rows}


async def _fill_table(
    database: Database,
    made: Kept,
    table_id: str,
    cells: Sequence[Cell],
    columns: Sequence[_Column],
    progress: Progress,
) -> None:
    base_id = made.base.base_id
    relation, names = quote(base_id, table_id), quote(base_id)
    take = Statement(
        "take_chunk",
        f"SELECT array_agg(_n) FROM (SELECT r._n FROM {relation} r WHERE r._n > $1 ORDER BY r._n LIMIT {CHUNK_ROWS}"
        " FOR NO KEY UPDATE) r",
    )
    write = Statement("fill_chunk", maintaining.set_sql(base_id, table_id, cells, "$1::int8[]"))
    note = Statement(
        "note_chunk",
        f"UPDATE {names}.base_computed SET filled = $2 WHERE generation = ANY ($1::text[]) AND NOT is_ready",
    )
    generations = [column.generation for column in columns]
    after = min(column.filled for column in columns)
    reach = Statement(
        "reach_of_chunk",
        f"SELECT max(r._n) FROM (SELECT r._n FROM {relation} r WHERE r._n > $1 ORDER BY r._n LIMIT {CHUNK_ROWS}) r",
    )
    write_own = Statement("fill_own_chunk", maintaining.set_own_sql(base_id, table_id, cells))

    async def own_chunk() -> int | None:
        async with database.transaction() as connection:
            last: int | None = await connection.value(reach, after)
            if last is not None:
                await connection.run(write_own, after, last)
                await connection.run(note, generations, last)
            return last

    async def linked_chunk() -> int | None:
        async with database.transaction() as connection:
            numbers = await connection.value(take, after)
            if numbers is None:
                return None
            await connection.run(write, numbers)
            last: int = numbers[-1]
            await connection.run(note, generations, last)
            return last

    chunk = linked_chunk if any(maintaining.ways_of(cell.field) for cell in cells) else own_chunk
    while True:
        began = time.monotonic()
        last = await _retried(chunk)
        if last is None:
            return
        after = last
        await progress()
        await asyncio.sleep((time.monotonic() - began) * PAUSE_SHARE)


async def _set_ready(database: Database, base_id: BaseId, columns: Sequence[_Column]) -> int:
    """Let readers use columns, but for those that missed a change since their filling began; how many they were."""
    async with database.transaction() as connection:
        await ddl.hold(connection, base_id)
        rows = await connection.rows(
            Statement(
                "set_ready",
                f"UPDATE {quote(base_id)}.base_computed c SET is_ready = true"
                " FROM unnest($1::text[], $2::text[], $3::int8[]) AS u(field_id, generation, misses)"
                " WHERE c.field_id = u.field_id AND c.generation = u.generation AND c.misses = u.misses"
                f" AND NOT EXISTS (SELECT FROM {quote(base_id)}.base_missed m WHERE m.table_id = c.table_id)"
                " RETURNING c.field_id",
            ),
            [column.field_id for column in columns],
            [column.generation for column in columns],
            [column.misses for column in columns],
        )
        if rows:
            version = await connection.value(
                Statement("structure_version", f"SELECT version FROM {quote(base_id)}.base_state")
            )
            await ddl.begin_change(connection, base_id, expected_version=version)
        return len(rows)


async def _retried(work: Callable[[], Awaitable[Any]]) -> Any:
    for attempt in range(RETRIES_MAX):
        try:
            return await work()
        except RETRIABLE:
            if attempt == RETRIES_MAX - 1:
                raise
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("the loop returns or raises")


# Checking


@dataclass(frozen=True, slots=True)
class Difference:
    """A column whose cells are not what computing them anew gives."""

    field_id: str
    table: str
    field: str
    count: int
    record_ids: Sequence[str]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check looked at: records, columns that are ready, fields that are computed whenever they are read."""

    records: int
    columns: int
    uncached: int
    differences: Sequence[Difference]


async def check(
    database: Database, base_id: BaseId, load: Load, progress: Callable[[int, int], None] = lambda done, total: None
) -> Checked | None:
    """Compute all that is kept of a base anew, in one snapshot, and compare; None where there is no such base.

    `progress` is told how many columns are done, of how many.
    Each cell is computed from what its inputs' columns hold, and those are checked too, so all agree only where a
    computation from the bottom does.
    """
    async with (
        database.connection() as connection,
        connection.raw.transaction(isolation="repeatable_read", readonly=True),
    ):
        base = await load(connection)
        if base is None:
            return None
        made = await maintaining.kept_of(base)
        differences, records, columns = [], 0, 0
        total = sum(map(len, made.cells.values()))
        for table in base.tables:
            records += await connection.value(
                Statement("count_records", f"SELECT count(*) FROM {quote(base_id, table.table_id)}")
            )
            for cell in made.cells[table.table_id]:
                stored = cell.field.stored
                if stored is None or not stored.is_ready:
                    continue
                progress(columns, total)
                columns += 1
                own = [f"r.{quote(stored.name)}"]
                new = ["x.v"]
                if cell.shape["error"]:
                    own.append(f"r.{quote(computing.error_column(stored.name))}")
                    new.append("x.e")
                row = await connection.row(
                    Statement(
                        "check_column",
                        "SELECT count(*) AS count, (array_agg(r._id ORDER BY r._n))[1:5] AS record_ids"
                        f" FROM {quote(base_id, table.table_id)} r,"
                        f" LATERAL (SELECT {cell.value} AS v, {cell.error} AS e OFFSET 0) x"
                        f" WHERE ROW({', '.join(own)})::record *<> ROW({', '.join(new)})::record",
                    )
                )
                assert row is not None, "an aggregate has one row"
                if row["count"]:
                    found = (cell.field.field_id, table.name, cell.field.name, row["count"], row["record_ids"])
                    differences.append(Difference(*found))
        every = [one for table in base.tables for one in table.fields if one.computed is not None]
        return Checked(records, columns, len(every) - columns, differences)


async def fill_anew(database: Database, base_id: BaseId, load: Load, field_ids: Sequence[str]) -> None:
    """Have columns filled again, with those that depend on them; until then the cells are computed when they are read."""
    async with database.transaction() as connection:
        base = await load(connection)
        if base is not None:
            missed = maintaining.dependents(field_ids, await maintaining.kept_of(base))
            await connection.run(Statement("fill_anew", maintaining.unfilled_sql(base_id, missed)))
