"""Indexes that serve the lists of views: which one a view wants, and building and dropping them beside the traffic.

An index begins with the columns that the view's filter compares for equality, goes on with the keys of its order as
`recordstore.reading` writes them, and ends with `_n`. Of a text it holds the beginning alone, because an entry of an index
cannot be long: PostgreSQL sorts the few records that begin alike. Keys that need other relations, or change with a
field's options, end the index.

Names are made of the table and a digest of the definition: views that want the same share it.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import exceptions as pg

from pyat.foundation.db import Connection, Database
from pyat.foundation.ids import BaseId, TableId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import filters
from pyat.recordstore.columns import column_type
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Field, Table, View

_KEYS_MAX = 5
"""With beginnings of texts this stays below the 2,704 bytes that an entry may have."""
PREFIX_LENGTH = 100
_BUILD_TIME_S = 3_600.0
WATCH_INTERVAL_S = 0.01
"""Below the time that a change of structure waits for a table, see `ddl.RELATION_LOCK_TIMEOUT_MS`."""

_WHOLE = frozenset(
    {
        "autoNumber",
        "checkbox",
        "createdTime",
        "currency",
        "date",
        "dateTime",
        "duration",
        "lastModifiedTime",
        "number",
        "percent",
        "rating",
    }
)
_TEXTS = frozenset({"email", "multilineText", "phoneNumber", "richText", "singleLineText", "url"})
_COMPARED = {
    "is": frozenset({"singleSelect", "externalSyncSource", "singleCollaborator"}),
    "=": frozenset({"number", "currency", "percent", "duration"}),
}


@dataclass(frozen=True, slots=True)
class ViewIndex:
    """An index that a view wants; `keys` is the SQL between the brackets."""

    name: str
    table_id: TableId
    keys: str


@dataclass(frozen=True, slots=True)
class Found:
    """An index that is there; `is_used` says that PostgreSQL used it lately."""

    name: str
    table_id: TableId
    is_valid: bool
    is_used: bool


def has_index(field: Field) -> bool:
    """Whether an index can give an order by the field, or at least begin it."""
    return field.type in _TEXTS or field.type in _WHOLE


def prefix_sql(field: Field, column: str) -> str | None:
    """SQL of the beginning of a text, whose order is that of the field's first sort key; None for other types."""
    if field.type not in _TEXTS:
        return None
    first = find(field.type).sort_sql(field, column)[0].removesuffix(' COLLATE "C"')
    return f'left({first}, {PREFIX_LENGTH}) COLLATE "C"'


def index_of(table: Table, view: View) -> ViewIndex | None:
    """The index that serves lists of a view; None where none would. Made once for a structure."""
    key = ("view_index", view.view_id)
    if key not in table.plans:
        table.plans[key] = _index_of(table, view)
    found: ViewIndex | None = table.plans[key]
    return found


def _index_of(table: Table, view: View) -> ViewIndex | None:
    compared = [field for field in _compared(table, view) if column_type(field) is not None]
    keys = [quote(field.field_id) for field in compared][: _KEYS_MAX - 1]
    is_whole = True
    for field, is_descending in filters.order_of(view, table):
        column = quote(field.field_id)
        prefix = prefix_sql(field, column)
        if len(keys) == _KEYS_MAX or (prefix is None and field.type not in _WHOLE):
            is_whole = False
            break
        expression = find(field.type).sort_sql(field, column)[0] if prefix is None else prefix
        keys.append(f"({expression}) {'DESC NULLS LAST' if is_descending else 'ASC NULLS FIRST'}")
        if prefix is not None:
            is_whole = False
            break
    if not keys:
        return None
    text = ", ".join([*keys, "_n"] if is_whole else keys)
    types = [f"{field.field_id} {column_type(field)}" for field in table.fields if quote(field.field_id) in text]
    digest = hashlib.blake2b("\n".join([text, *types]).encode(), digest_size=6).hexdigest()
    return ViewIndex(f"view_{table.table_id}_{digest}", table.table_id, text)


def _compared(table: Table, view: View) -> list[Field]:
    """The fields whose values the filter fixes."""
    if view.filter is None:
        return []
    conditions = view.filter["conditions"]
    if view.filter["conjunction"] == "or" and len(conditions) > 1:
        return []
    found: dict[str, Field] = {}
    for item in conditions:
        field = None if "conditions" in item else table.fields_by_id.get(item["fieldId"])
        if field is None:
            continue
        is_checked = field.type == "checkbox" and item.get("value") is True
        if is_checked or field.type in _COMPARED.get(item["operator"], ()):
            found[field.field_id] = field
    return list(found.values())


# What is there

_LARGE = Statement(
    "large_tables",
    "SELECT n.nspname AS base_id, c.relname AS table_id FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind = 'r' AND c.relname ~ '^tbl' AND n.nspname ~ '^app[0-9A-Za-z]{14}$' AND c.reltuples >= $1",
)
_FOUND = Statement(
    "view_indexes",
    "SELECT n.nspname AS base_id, i.relname AS name, t.relname AS table_id, x.indisvalid AS is_valid,"
    " coalesce(s.last_idx_scan >= now() - $1::float8 * interval '1 second', false) AS is_used"
    " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
    " JOIN pg_namespace n ON n.oid = i.relnamespace"
    " LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = x.indexrelid"
    " WHERE i.relname ~ '^view_tbl[0-9A-Za-z]{14}_[0-9a-f]{12}$' AND n.nspname ~ '^app[0-9A-Za-z]{14}$'",
)


async def large_tables(connection: Connection, *, rows_min: int) -> dict[BaseId, set[TableId]]:
    """The tables that have about so many records or more, by base; as of their last analysis."""
    found: dict[BaseId, set[TableId]] = {}
    for row in await connection.rows(_LARGE, rows_min):
        found.setdefault(row["base_id"], set()).add(row["table_id"])
    return found


async def indexes(connection: Connection, *, idle_s: float) -> dict[BaseId, list[Found]]:
    """The views' indexes that are there, by base; invalid ones are what is left of a build that was cut short.

    `idle_s` is how long ago a use counts as lately.
    """
    found: dict[BaseId, list[Found]] = {}
    for row in await connection.rows(_FOUND, idle_s):
        index = Found(row["name"], row["table_id"], row["is_valid"], row["is_used"])
        found.setdefault(row["base_id"], []).append(index)
    return found


# Changes


async def build(database: Database, base_id: BaseId, index: ViewIndex) -> bool:
    """Build an index while readers and writers go on; False where it gave way to a change of the table's structure.

    What is left of a build that ended early is an invalid index; see `drop`. Raises ServiceUnavailable.
    """
    relation = quote(base_id, index.table_id)
    text = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quote(index.name)} ON {relation} ({index.keys})"

    async def create() -> None:
        async with database.connection() as connection:
            await connection.script("build_view_index", text, timeout_s=_BUILD_TIME_S)

    building = asyncio.create_task(create())
    try:
        while not building.done():
            await asyncio.wait([building], timeout=WATCH_INTERVAL_S)
            if not building.done() and await _is_awaited(database, relation):
                return False
        await building
    except (pg.UndefinedTableError, pg.UndefinedColumnError, pg.InvalidSchemaNameError, pg.DeadlockDetectedError):
        return False  # the structure changed since it was planned, or is about to
    finally:
        building.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await building
    return True


async def _is_awaited(database: Database, relation: str) -> bool:
    """Whether a change of structure waits for the table."""
    found: bool = await database.value(
        Statement(
            "view_index_awaited",
            "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = to_regclass($1) AND NOT granted"
            " AND mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock'))",
        ),
        relation,
    )
    return found


async def drop(database: Database, base_id: BaseId, names: Sequence[str]) -> None:
    """Drop indexes while readers and writers go on; those that are gone already are passed over."""
    for name in names:
        async with database.connection() as connection:
            with contextlib.suppress(pg.InvalidSchemaNameError):
                await connection.script(
                    "drop_view_index",
                    f"DROP INDEX CONCURRENTLY IF EXISTS {quote(base_id, name)}",
                    timeout_s=_BUILD_TIME_S,
                )
