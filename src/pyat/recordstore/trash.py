"""Deleting tables and fields, bringing them back, and what is done with them at last.

To delete is to mark a row: relations and columns stay, so it costs the same at any size. What is deleted keeps its row
for ever, as its number is never used again; when it is purged, what it holds goes. Whatever a deletion takes along (the
inverse of a link field, the fields that link to a table) names it in `deleted_with` and comes back with it.

Functions that change something expect that `ddl.begin_change` ran in their transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId, FieldId, TableId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.ddl import RELATION_LOCK_TIMEOUT_MS

TABLE, FIELD = "table", "field"


@dataclass(frozen=True, slots=True)
class Deleted:
    """A table or field in the trash."""

    item_id: str
    kind: str
    """`table` or `field`."""
    name: str
    table_id: TableId
    """Of a field, the table it belongs to; of a table, itself."""
    deleted_at: datetime
    deleted_by: str | None
    linked_table_id: TableId | None = None
    """Of a link field, the table it links to."""


async def delete_table(connection: Connection, base_id: BaseId, table_id: TableId, *, actor: str) -> list[FieldId]:
    """Hide a table and every field that links to it; gives the ids of those."""
    base = quote(base_id)
    await connection.run(
        Statement(
            "delete_table",
            f"UPDATE {base}.base_tables SET deleted_at = now(), deleted_by = $2 WHERE table_id = $1",
        ),
        table_id,
        actor,
    )
    # Fields of other tables that are deleted themselves count too, or they would come back with nowhere to lead.
    rows = await connection.rows(
        Statement(
            "delete_fields_with_table",
            f"UPDATE {base}.base_fields SET deleted_at = now(), deleted_by = $2, deleted_with = $1::text"
            " WHERE deleted_at IS NULL AND table_id <> $1 AND link IS NOT NULL AND options ->> 'linkedTableId' = $1"
            " RETURNING field_id",
        ),
        table_id,
        actor,
    )
    return [row["field_id"] for row in rows]


async def delete_field(
    connection: Connection, base_id: BaseId, field_id: FieldId, *, inverse_id: FieldId | None, actor: str
) -> None:
    """Hide a field and, of a link field, its inverse."""
    await connection.run(
        Statement(
            "delete_field",
            f"UPDATE {quote(base_id)}.base_fields SET deleted_at = now(), deleted_by = $3,"
            " deleted_with = CASE WHEN field_id <> $1 THEN $1::text END"
            " WHERE deleted_at IS NULL AND field_id = ANY (ARRAY[$1::text, $2::text])",
        ),
        field_id,
        inverse_id,
        actor,
    )


_LISTED = """
SELECT t.table_id AS item_id, 'table' AS kind, t.name, t.table_id, t.deleted_at, t.deleted_by, NULL AS linked
FROM {base}.base_tables t WHERE t.deleted_at IS NOT NULL AND t.purged_at IS NULL
UNION ALL
SELECT f.field_id, 'field', f.name, f.table_id, f.deleted_at, f.deleted_by,
    CASE WHEN f.link IS NOT NULL THEN f.options ->> 'linkedTableId' END
FROM {base}.base_fields f JOIN {base}.base_tables t USING (table_id)
WHERE f.deleted_at IS NOT NULL AND f.deleted_with IS NULL AND f.purged_at IS NULL AND t.deleted_at IS NULL
"""


def _deleted(row: Any) -> Deleted:
    return Deleted(
        row["item_id"],
        row["kind"],
        row["name"],
        row["table_id"],
        row["deleted_at"],
        row["deleted_by"],
        row["linked"],
    )


async def listed(
    connection: Connection,
    base_id: BaseId,
    *,
    kind: str | None,
    since: timedelta,
    before: tuple[datetime, str] | None,
    rows_max: int,
) -> list[Deleted]:
    """Tables and fields that were deleted in the last `since`, newest first; fields of deleted tables come with those.

    `kind` limits the list; `before` is time and id of the last item of the page before.
    """
    statement = Statement(
        "list_trash",
        f"SELECT * FROM ({_LISTED.format(base=quote(base_id))}) d"
        " WHERE ($1::text IS NULL OR kind = $1) AND deleted_at > now() - $2::interval"
        " AND ($3::timestamptz IS NULL OR (deleted_at, item_id) < ($3, $4::text))"
        " ORDER BY deleted_at DESC, item_id DESC LIMIT $5",
    )
    moment, item_id = before or (None, None)
    return [_deleted(row) for row in await connection.rows(statement, kind, since, moment, item_id, rows_max)]


async def find(connection: Connection, base_id: BaseId, item_id: str, *, since: timedelta) -> Deleted | None:
    """A table or field that `listed` lists."""
    statement = Statement(
        "find_in_trash",
        f"SELECT * FROM ({_LISTED.format(base=quote(base_id))}) d"
        " WHERE item_id = $1 AND deleted_at > now() - $2::interval",
    )
    row = await connection.row(statement, item_id, since)
    return None if row is None else _deleted(row)


async def restore_table(connection: Connection, base_id: BaseId, table_id: TableId) -> list[str]:
    """Show a deleted table again, and the fields that were deleted with it; gives the ids of those."""
    base = quote(base_id)
    await connection.run(
        Statement(
            "restore_table",
            f"UPDATE {base}.base_tables SET deleted_at = NULL, deleted_by = NULL WHERE table_id = $1",
        ),
        table_id,
    )
    return await _restore_with(connection, base_id, table_id)


async def restore_field(connection: Connection, base_id: BaseId, field_id: FieldId) -> list[str]:
    """Show a deleted field again, and what was deleted with it; gives the ids of all of them."""
    await connection.run(
        Statement(
            "restore_field",
            f"UPDATE {quote(base_id)}.base_fields SET deleted_at = NULL, deleted_by = NULL WHERE field_id = $1",
        ),
        field_id,
    )
    return [field_id, *await _restore_with(connection, base_id, field_id)]


async def _restore_with(connection: Connection, base_id: BaseId, item_id: str) -> list[str]:
    rows = await connection.rows(
        Statement(
            "restore_fields_with",
            f"UPDATE {quote(base_id)}.base_fields SET deleted_at = NULL, deleted_by = NULL, deleted_with = NULL"
            " WHERE deleted_with = $1 AND purged_at IS NULL RETURNING field_id",
        ),
        item_id,
    )
    return [row["field_id"] for row in rows]


async def rename(connection: Connection, base_id: BaseId, kind: str, item_id: str, *, name: str) -> None:
    """Another name for a table or field that came back beside one that has its name."""
    await connection.run(
        Statement(f"rename_{kind}", f"UPDATE {quote(base_id)}.base_{kind}s SET name = $2 WHERE {kind}_id = $1"),
        item_id,
        name,
    )


# Purging


async def old(connection: Connection, base_id: BaseId, *, age: timedelta, rows_max: int) -> list[Deleted]:
    """What has been in the trash for longer than `age`, oldest first; also fields that were deleted with others."""
    statement = Statement(
        "old_trash",
        f"SELECT * FROM (SELECT table_id AS item_id, 'table' AS kind, name, table_id, deleted_at, deleted_by,"
        f" NULL AS linked FROM {quote(base_id)}.base_tables WHERE deleted_at <= now() - $1::interval AND purged_at IS NULL"
        f" UNION ALL SELECT field_id, 'field', name, table_id, deleted_at, deleted_by, NULL"
        f" FROM {quote(base_id)}.base_fields WHERE deleted_at <= now() - $1::interval AND purged_at IS NULL) d"
        # Tables last: what links to them is gone by then.
        " ORDER BY kind, deleted_at LIMIT $2",
    )
    return [_deleted(row) for row in await connection.rows(statement, age, rows_max)]


async def is_old(connection: Connection, base_id: BaseId, item: Deleted, *, age: timedelta) -> bool:
    """Whether the item is still in the trash, and has been for longer than `age`."""
    statement = Statement(
        f"is_old_{item.kind}",
        f"SELECT EXISTS (SELECT FROM {quote(base_id)}.base_{item.kind}s WHERE {item.kind}_id = $1"
        " AND deleted_at <= now() - $2::interval AND purged_at IS NULL)",
    )
    return bool(await connection.value(statement, item.item_id, age))


async def purge(connection: Connection, base_id: BaseId, item: Deleted) -> None:
    """Drop what a deleted table or field held; its row stays, marked.

    Raises LockNotAvailableError after `RELATION_LOCK_TIMEOUT_MS`: try again later.
    """
    await connection.script("purge_lock_timeout", f"SET LOCAL lock_timeout = {RELATION_LOCK_TIMEOUT_MS}")
    await (_purge_table if item.kind == TABLE else _purge_field)(connection, base_id, item)


async def _purge_table(connection: Connection, base_id: BaseId, item: Deleted) -> None:
    base = quote(base_id)
    found = await connection.rows(
        Statement(
            "purged_junctions",
            f"SELECT DISTINCT link ->> 'junction' AS junction FROM {base}.base_fields"
            " WHERE link IS NOT NULL AND (table_id = $1 OR options ->> 'linkedTableId' = $1)",
        ),
        item.table_id,
    )
    names = [row["junction"] for row in found]
    await _drop_relations(connection, base_id, [*names, item.table_id])
    for name in ("base_views", "base_comments", "base_syncs"):
        await connection.run(
            Statement(f"purge_{name}", f"DELETE FROM {base}.{name} WHERE table_id = $1"), item.table_id
        )
    await connection.run(
        Statement(
            "purge_table_fields",
            f"UPDATE {base}.base_fields SET deleted_at = coalesce(deleted_at, now()), purged_at = now()"
            " WHERE purged_at IS NULL AND (table_id = $1 OR (link IS NOT NULL AND options ->> 'linkedTableId' = $1))",
        ),
        item.table_id,
    )
    await connection.run(
        Statement("purge_table", f"UPDATE {base}.base_tables SET purged_at = now() WHERE table_id = $1"),
        item.table_id,
    )
    await _release_attachments(connection, base_id, "table_id", item.table_id)


async def _purge_field(connection: Connection, base_id: BaseId, item: Deleted) -> None:
    base = quote(base_id)
    link: str | None = await connection.value(
        Statement("purged_junction", f"SELECT link ->> 'junction' FROM {base}.base_fields WHERE field_id = $1"),
        item.item_id,
    )
    if link is not None:
        await _drop_relations(connection, base_id, [link])
    else:
        await connection.script(
            "purge_column",
            f"ALTER TABLE IF EXISTS {quote(base_id, item.table_id)} DROP COLUMN IF EXISTS {quote(item.item_id)}",
        )
    await connection.run(
        Statement("purge_field", f"UPDATE {base}.base_fields SET purged_at = now() WHERE field_id = $1"),
        item.item_id,
    )
    await _release_attachments(connection, base_id, "field_id", item.item_id)


async def _release_attachments(connection: Connection, base_id: BaseId, column: str, item_id: str) -> None:
    await connection.run(
        Statement(
            "release_purged_attachments",
            f"UPDATE {quote(base_id, 'base_attachments')} SET released_at = now()"
            f" WHERE {column} = $1 AND released_at IS NULL",
        ),
        item_id,
    )


async def _drop_relations(connection: Connection, base_id: BaseId, names: Sequence[str]) -> None:
    for name in names:
        await connection.script("drop_relation", f"DROP TABLE IF EXISTS {quote(base_id, name)} CASCADE")


RELATIONS_A_STEP = 100
"""Relations that one transaction drops: PostgreSQL holds several locks for each of them until its end."""


async def drop_some(connection: Connection, base_id: BaseId) -> bool:
    """Drop some relations of a base that nobody sees any more, at last its schema; False when nothing is left.

    Raises LockNotAvailableError after `RELATION_LOCK_TIMEOUT_MS`.
    """
    await connection.script("drop_lock_timeout", f"SET LOCAL lock_timeout = {RELATION_LOCK_TIMEOUT_MS}")
    found = await connection.rows(
        Statement(
            "relations_of_base",
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            # Junctions sort before tables, and the base's own relations are last but for those: keys point that way.
            " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
            " ORDER BY c.relname LIKE 'base\\_%', c.relname LIMIT $2",
        ),
        base_id,
        RELATIONS_A_STEP,
    )
    if found:
        await _drop_relations(connection, base_id, [row["relname"] for row in found])
        return True
    await connection.script("drop_base", f"DROP SCHEMA IF EXISTS {quote(base_id)} CASCADE")
    return False
