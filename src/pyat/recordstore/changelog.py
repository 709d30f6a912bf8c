"""The change log of a base: one numbered entry for each change of a record, of structure, of a comment or attachment.

Entries are written in the transaction of the change itself. Their numbers come from the base's counter row, which stays
locked until that transaction ends: numbers have no gaps, and their order is the order of commits, so a reader that
remembers the last number it saw misses nothing. The entries of one operation stand together; `place` counts them from 0,
so `n - place` names the operation.

`cells` is compact JSON with the numbers of fields as keys and stored values (choice ids, not names): of a created record
the cells it got, of an updated one `[before, after]` for each cell that differs, of a deleted one the cells it had. Of
links it holds what was added and removed. Other kinds have what their writers say.

A partition holds a month of entries; whoever writes first in a month makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import orjson
from asyncpg import exceptions as pg

from pyat.foundation.db import Connection
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
    following = start.replace(year=start.year + 1, month=1) if start.month == 12 else start.replace(month=start.month + 1)
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


async def append(
    connection: Connection, base_id: BaseId, entries: Sequence[Entry], *, actor: str, source: Source = Source.API
) -> None:
    """Note changes of one operation in the transaction that makes them, in order; one statement.

    Take this step last in a transaction: from here until its end every other writer of the base waits.
    """
    if not entries:
        return
    base = quote(base_id)
    await connection.run(
        Statement(
            "append_changes",
            f"WITH log AS (UPDATE {base}.base_log SET last = last + $1 RETURNING last)"
            f" INSERT INTO {base}.base_changes (n, at, table_number, place, kind, source, actor, item, cells)"
            " SELECT log.last - $1 + e.place, now(), e.table_number, e.place - 1, e.kind, $2, $3, e.item, e.cells"
            " FROM log, unnest($4::int4[], $5::int2[], $6::text[], $7::text[])"
            " WITH ORDINALITY AS e(table_number, kind, item, cells, place)",
        ),
        len(entries),
        source,
        actor,
        [entry.table_number for entry in entries],
        [entry.kind for entry in entries],
        [entry.item for entry in entries],
        [None if entry.cells is None else orjson.dumps(entry.cells).decode() for entry in entries],
    )
