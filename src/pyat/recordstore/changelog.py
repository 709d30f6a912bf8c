"""The change log of a base: one numbered entry for each change of a record, of structure, of a comment or attachment.

Entries are written in the transaction of the change itself. Their numbers come from the base's counter row, which stays
locked until that transaction ends: numbers have no gaps, and their order is the order of commits, so a reader that
remembers the last number it saw misses nothing. The entries of one transaction stand together and have one time.

`cells` is compact JSON with the numbers of fields as keys and stored values (choice ids, not names): of a created record
the cells it got, of an updated one `[before, after]` for each cell that differs, of a deleted one the cells it had. Of
links it holds the same for up to 100 of a cell, beyond that what was added ("+") and removed ("-"); the record on the
other side has an entry of what came "in" or went "out". Other kinds have what their writers say.

A table that an import makes is one entry, with the number of the records it was made with: what they were at first follows
from what they are and the entries since.

A partition holds a month of entries; whoever writes first in a month makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

import orjson
from asyncpg import exceptions as pg

from pyat.foundation.db import DEFERRED, Connection
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, literal, quote


class Kind(IntEnum):
    """What happened to an item. Numbers are stored: they never change and are never used again."""

    RECORD_CREATED = 1
    RECORD_UPDATED = 2
    RECORD_DELETED = 3
    RECORD_RESTORED = 4
    TABLE_CREATED = 10
    TABLE_UPDATED = 11
    TABLE_DELETED = 12
    TABLE_RESTORED = 13
    FIELD_CREATED = 20
    FIELD_UPDATED = 21
    FIELD_DELETED = 22
    FIELD_RESTORED = 23
    FIELD_CONVERTED = 24
    VIEW_CREATED = 30
    VIEW_UPDATED = 31
    VIEW_DELETED = 32
    COMMENT_CREATED = 40
    COMMENT_UPDATED = 41
    COMMENT_DELETED = 42
    ATTACHMENT_STORED = 50
    ATTACHMENT_FAILED = 51
    BASE_CREATED = 60
    BASE_UPDATED = 61
    BASE_DELETED = 62
    BASE_RESTORED = 63


class Source(IntEnum):
    """What made the change. Numbers are stored."""

    API = 1
    IMPORT = 2
    SYNC = 3
    UNDO = 4
    RESTORE = 5
    SYSTEM = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One change to note; `table_number` is None for what belongs to no table."""

    kind: Kind
    item: str
    """The id of the record, table, field, view, comment, attachment or base."""
    table_number: int | None = None
    cells: Mapping[str, Any] | None = None


NO_PARTITION = pg.CheckViolationError
"""What a write meets in a month that has no partition yet; see `add_partition`."""


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """The first moment of a moment's month and of the next one, in UTC."""
    start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (
        start.replace(year=start.year + 1, month=1) if start.month == 12 else start.replace(month=start.month + 1)
    )
    return start, following


async def add_partition(connection: Connection, base_id: BaseId, moment: datetime) -> None:
    """The partition for a moment's month, where it is not there yet."""
    start, following = month_of(moment)
    name = quote(base_id, f"base_changes_{start:%Y%m}")
    await connection.script(
        "add_changes_partition",
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {quote(base_id, 'base_changes')}"
        f" FOR VALUES FROM ({literal(start.isoformat())}) TO ({literal(following.isoformat())})",
    )


@dataclass(frozen=True, slots=True)
class TextEntry:
    """As `Entry`, with `cells` as JSON text."""

    kind: Kind
    item: str
    table_number: int | None = None
    cells: str | None = None


async def append(
    connection: Connection, base_id: BaseId, entries: Sequence[Entry], *, actor: str, source: Source = Source.API
) -> None:
    """Note changes of one operation in the transaction that makes them, in order; one statement.

    Take this step last in a transaction: from here until its end every other writer of the base waits.
    """
    texts = [
        TextEntry(
            entry.kind,
            entry.item,
            entry.table_number,
            None if entry.cells is None else orjson.dumps(entry.cells).decode(),
        )
        for entry in entries
    ]
    await append_texts(connection, base_id, texts, actor=actor, source=source)


async def append_texts(
    connection: Connection,
    base_id: BaseId,
    entries: Sequence[TextEntry],
    *,
    actor: str,
    source: Source = Source.API,
    is_deferred: bool = False,
) -> None:
    """As `append`; with `is_deferred` the transaction does not wait for the disk: see `foundation.db.DEFERRED`."""
    if not entries:
        return
    base, condition = quote(base_id), f" WHERE {DEFERRED}" if is_deferred else ""
    await connection.run(
        Statement(
            "append_changes",
            f"WITH log AS (UPDATE {base}.base_log SET last = last + $1{condition} RETURNING last)"
            f" INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
            " SELECT log.last - $1 + e.place, now(), e.table_number, e.kind, $2, $3, e.item, e.cells"
            " FROM log, unnest($4::int4[], $5::int2[], $6::text[], $7::text[])"
            " WITH ORDINALITY AS e(table_number, kind, item, cells, place)",
        ),
        len(entries),
        source,
        actor,
        [entry.table_number for entry in entries],
        [entry.kind for entry in entries],
        [entry.item for entry in entries],
        [entry.cells for entry in entries],
    )


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry as it lies in the log."""

    n: int
    at: datetime
    kind: Kind
    source: Source
    actor: str | None
    item: str
    table_number: int | None
    cells: str | None
    """JSON text."""
    undoes: int | None
    """The number of the first entry of the operation that this entry's operation took back."""

    @property
    def operation(self) -> str:
        """The same for all entries of one transaction, and in a base for no other of the same actor."""
        return f"{round(self.at.timestamp() * 1_000_000):x}"


_COLUMNS = "n, at, kind, source, actor, item, table_number, cells, undoes"
RECORD_KINDS = (Kind.RECORD_CREATED, Kind.RECORD_UPDATED, Kind.RECORD_DELETED, Kind.RECORD_RESTORED)


async def _read(connection: Connection, statement: Statement, *arguments: Any) -> list[Noted]:
    return [
        Noted(
            row["n"],
            row["at"],
            Kind(row["kind"]),
            Source(row["source"]),
            row["actor"],
            row["item"],
            row["table_number"],
            row["cells"],
            row["undoes"],
        )
        for row in await connection.rows(statement, *arguments)
    ]


async def after(connection: Connection, base_id: BaseId, n: int, *, rows_max: int) -> list[Noted]:
    """The entries after number `n`, oldest first. Cost: one look-up in the index of each month."""
    statement = Statement(
        "changes_after",
        f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_changes WHERE n > $1 ORDER BY n LIMIT $2",
    )
    return await _read(connection, statement, n, rows_max)


async def bounds(connection: Connection, base_id: BaseId) -> tuple[int, int]:
    """The numbers of the oldest entry that is kept (the next one's where none is) and of the last one."""
    base = quote(base_id)
    row = await connection.row(
        Statement(
            "changes_bounds",
            f"SELECT l.last, coalesce((SELECT min(n) FROM {base}.base_changes), l.last + 1) AS first"
            f" FROM {base}.base_log l",
        )
    )
    assert row is not None, "every base has its counter"
    return row["first"], row["last"]


async def of_item(
    connection: Connection, base_id: BaseId, item: str, *, before: int | None, rows_max: int
) -> list[Noted]:
    """The entries about one record, field or other item, newest first, older than number `before`."""
    statement = Statement(
        "changes_of_item",
        f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_changes"
        " WHERE item = $1 AND ($2::int8 IS NULL OR n < $2) ORDER BY n DESC LIMIT $3",
    )
    return await _read(connection, statement, item, before, rows_max)


async def last_operation(
    connection: Connection, base_id: BaseId, actor: str, *, looked_at_max: int, rows_max: int
) -> list[Noted]:
    """The entries of the actor's last operation on records that was not taken back, in order; empty where there is none.

    Looks at the base's last `looked_at_max` entries, and gives at most `rows_max` of the operation's.
    """
    base = quote(base_id)
    kinds = ", ".join(str(int(kind)) for kind in RECORD_KINDS)
    statement = Statement(
        "last_operation",
        f"WITH recent AS (SELECT n, at, kind, source, actor, undoes FROM {base}.base_changes"
        f" WHERE n > (SELECT last FROM {base}.base_log) - $2::int8),"
        f" own AS (SELECT at, min(n) AS first FROM recent WHERE actor = $1 AND kind IN ({kinds})"
        f" AND source <> {Source.UNDO:d} GROUP BY at),"
        " found AS (SELECT at, first FROM own WHERE first NOT IN (SELECT undoes FROM recent WHERE undoes IS NOT NULL)"
        " ORDER BY first DESC LIMIT 1)"
        f" SELECT {', '.join(f'c.{name}' for name in _COLUMNS.split(', '))} FROM {base}.base_changes c JOIN found f"
        " ON c.n >= f.first AND c.at = f.at AND c.actor = $1 ORDER BY c.n LIMIT $3",
    )
    return await _read(connection, statement, actor, looked_at_max, rows_max)


async def beside(connection: Connection, base_id: BaseId, entry: Noted, *, rows_max: int) -> list[Noted]:
    """The entries of the same transaction after this one, in order."""
    statement = Statement(
        "changes_beside",
        f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_changes WHERE n > $1 AND n <= $1 + $3 AND at = $2 ORDER BY n",
    )
    return await _read(connection, statement, entry.n, entry.at, rows_max)


async def mark_undoing(connection: Connection, base_id: BaseId, *, undoes: int) -> None:
    """Say of the entries that this transaction wrote that they take back the operation that began with this number."""
    await connection.run(
        Statement(
            "mark_undoing",
            f"UPDATE {quote(base_id)}.base_changes SET undoes = $1"
            " WHERE at = now() AND xmin = pg_current_xact_id()::xid",
        ),
        undoes,
    )


_NOT_THERE_AGAIN = (
    "d.kind = {deleted:d} AND d.at >= now() - $1::interval AND NOT EXISTS (SELECT FROM {base}.base_changes l"
    " WHERE l.item = d.item AND l.n > d.n AND l.kind IN ({created:d}, {restored:d}, {deleted:d}))"
)


def _not_there_again(base_id: BaseId) -> str:
    return _NOT_THERE_AGAIN.format(
        base=quote(base_id),
        deleted=Kind.RECORD_DELETED,
        created=Kind.RECORD_CREATED,
        restored=Kind.RECORD_RESTORED,
    )


async def deleted_records(
    connection: Connection, base_id: BaseId, *, since: timedelta, before: int | None, rows_max: int
) -> list[Noted]:
    """The deletions of the last `since` that were the last thing that happened to their record, newest first."""
    statement = Statement(
        "deleted_records",
        f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_changes d WHERE {_not_there_again(base_id)}"
        " AND ($2::int8 IS NULL OR d.n < $2) ORDER BY d.n DESC LIMIT $3",
    )
    return await _read(connection, statement, since, before, rows_max)


async def deletions_of(
    connection: Connection, base_id: BaseId, items: Sequence[str], *, since: timedelta
) -> list[Noted]:
    """As `deleted_records`, of these records."""
    statement = Statement(
        "deletions_of",
        f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_changes d WHERE {_not_there_again(base_id)}"
        " AND d.item = ANY ($2::text[])",
    )
    return await _read(connection, statement, since, list(items))


async def drop_partitions(connection: Connection, base_id: BaseId, *, before: datetime) -> int:
    """Drop the months that ended before a moment; how many. Raises LockNotAvailableError where one is in use."""
    names = await connection.rows(
        Statement(
            "changes_partitions",
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass($1) ORDER BY c.relname",
        ),
        quote(base_id, "base_changes"),
    )
    last_kept = f"base_changes_{before.astimezone(UTC):%Y%m}"
    old = [row["relname"] for row in names if row["relname"] < last_kept]
    for name in old:
        await connection.script("drop_changes_partition", f"DROP TABLE {quote(base_id, name)}")
    return len(old)
