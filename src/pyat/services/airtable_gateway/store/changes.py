"""The change log of bases, and the transactions that take operations back or restore records."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from asyncpg import exceptions as pg

from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.sql import Statement
from pyat.recordstore import attachments, changelog, ddl, history, links, writing
from pyat.recordstore.changelog import Kind, Noted, Source
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import NothingToUndo
from pyat.recordstore.history import Names, Restorable
from pyat.recordstore.structure import Base, Table
from pyat.services.airtable_gateway.store.records import (
    GONE,
    RowsStore,
    attachment_fields,
    delete_records,
    existing_ids,
    structure_watched,
    update_records,
)

OPERATIONS_LOOKED_AT_MAX = 10_000
"""Entries back from the last one among which an operation to undo is looked for."""
UNDONE_ENTRIES_MAX = 5_000


_BASE_IDS = Statement(
    "all_bases",
    "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^app[0-9A-Za-z]{14}$' AND nspname > $1"
    " ORDER BY nspname LIMIT 1000",
)
_BEFORE = Statement("forget_before", "SELECT now() - $1::interval")


class ChangesStore(RowsStore):
    """Reads and uses the log. Methods that write raise StructureChanged where `base` is not the current structure."""

    async def changes(self, base_id: BaseId, *, after: int | None, rows_max: int) -> tuple[int, int, list[Noted]]:
        """The first number that is kept, the last one, and the entries after `after`; none where that is None."""
        async with structure_watched(), self.database.connection() as connection:
            entries = [] if after is None else await changelog.after(connection, base_id, after, rows_max=rows_max)
            first, last = await changelog.bounds(connection, base_id)
        # What a crash could still take back must not be seen: its numbers would come again with other changes.
        if entries or after is None:
            await self.database.flush()
        return first, last, entries

    async def history(self, base_id: BaseId, item: str, *, before: int | None, rows_max: int) -> list[Noted]:
        """The entries about one record, newest first."""
        async with structure_watched(), self.database.connection() as connection:
            return await changelog.of_item(connection, base_id, item, before=before, rows_max=rows_max)

    async def deleted(self, base_id: BaseId, *, since: timedelta, before: int | None, rows_max: int) -> list[Noted]:
        """The deletions of records that are not there again, newest first."""
        async with structure_watched(), self.database.connection() as connection:
            return await changelog.deleted_records(connection, base_id, since=since, before=before, rows_max=rows_max)

    async def deletions(
        self, base_id: BaseId, record_ids: Sequence[RecordId], *, since: timedelta
    ) -> dict[RecordId, Noted]:
        """The deletion of each of these records that is not there again."""
        async with structure_watched(), self.database.connection() as connection:
            found = await changelog.deletions_of(connection, base_id, record_ids, since=since)
            return {RecordId(entry.item): entry for entry in found}

    async def base_ids(self, *, after: str) -> list[BaseId]:
        """Bases of this database in order of their ids, at most a thousand."""
        rows = await self.database.rows(_BASE_IDS, after)
        return [BaseId(row["nspname"]) for row in rows]

    async def forget_changes(self, base_id: BaseId, *, kept: timedelta) -> int:
        """Drop the months of a base's log that ended longer ago than `kept`; how many, 0 where one is in use."""
        try:
            async with self.database.transaction() as connection:
                await connection.script("lock_timeout", f"SET LOCAL lock_timeout = {ddl.RELATION_LOCK_TIMEOUT_MS}")
                before = await connection.value(_BEFORE, kept)
                return await changelog.drop_partitions(connection, base_id, before=before)
        except (pg.LockNotAvailableError, *GONE):
            return 0

    async def restore(self, base: Base, items: Sequence[Restorable], *, user_id: str) -> list[RecordId]:
        """Bring deleted records back, those that are there already left out; their ids."""

        async def run(connection: Connection, base: Base, table: Table) -> list[RecordId]:
            restored = await _restore(connection, base, items, user_id, Source.RESTORE)
            await _link_one_way(connection, base, items, restored, user_id)
            return restored

        return await self.write(base, items[0].table, {}, run, in_transaction=True) if items else []

    async def undo(self, base: Base, *, user_id: str) -> list[Noted]:
        """Take the user's last operation on records back; its entries. Raises NothingToUndo.

        Cells get the values they had; records that others have deleted meanwhile stay deleted.
        """

        async def run(connection: Connection, base: Base, table: Table) -> list[Noted]:
            entries = await changelog.last_operation(
                connection,
                base.base_id,
                user_id,
                looked_at_max=OPERATIONS_LOOKED_AT_MAX,
                rows_max=UNDONE_ENTRIES_MAX + 1,
            )
            if not entries or len(entries) > UNDONE_ENTRIES_MAX:
                raise NothingToUndo
            await _take_back(connection, base, entries, user_id)
            await changelog.mark_undoing(connection, base.base_id, undoes=entries[0].n)
            return entries

        return await self.write(base, base.tables[0], {}, run, in_transaction=True)


async def _take_back(connection: Connection, base: Base, entries: Sequence[Noted], user_id: str) -> None:
    names = Names(base)
    created: dict[int, list[RecordId]] = defaultdict(list)
    cells: dict[int, dict[RecordId, dict[str, Any]]] = defaultdict(dict)
    restored = []
    for entry in reversed(entries):
        if entry.table_number is None or entry.table_number not in names.tables:
            continue
        record_id = RecordId(entry.item)
        match entry.kind:
            case Kind.RECORD_CREATED | Kind.RECORD_RESTORED:
                created[entry.table_number].append(record_id)
            case Kind.RECORD_UPDATED:
                found = history.taken_back(entry, names)
                cells[entry.table_number].setdefault(record_id, {}).update(found)
            case Kind.RECORD_DELETED:
                item = history.restorable(entry, names)
                restored += [] if item is None else [item]
    await _restore(connection, base, restored, user_id, Source.UNDO)
    for number, changed in cells.items():
        table = names.tables[number]
        there = await existing_ids(connection, base, table, list(changed))
        changes = [
            writing.Change(record_id, await _with_links(connection, base, table, record_id, own))
            for record_id, own in changed.items()
            if own and record_id in there and record_id not in created[number]
        ]
        if changes:
            await update_records(
                connection, base, table, changes, is_replacing=False, user_id=user_id, by_id=True, source=Source.UNDO
            )
    for number, record_ids in created.items():
        table = names.tables[number]
        there = await existing_ids(connection, base, table, record_ids)
        if there:
            await delete_records(connection, base, table, sorted(there), user_id, source=Source.UNDO)


async def _with_links(
    connection: Connection, base: Base, table: Table, record_id: RecordId, cells: dict[str, Any]
) -> dict[str, Any]:
    """The cells with links as whole lists of records that are there."""
    found = dict(cells)
    for field_id, value in cells.items():
        field = table.fields_by_id[field_id]
        if field.link is None:
            continue
        wanted = value
        if isinstance(value, dict):
            current = await links.current_ids(connection, base.base_id, table, field, record_id)
            wanted = [item for item in current if item not in value.get("+", ())] + value.get("-", [])
        other = base.tables_by_id.get(field.link.linked_table_id)
        there = set() if other is None else await existing_ids(connection, base, other, wanted)
        found[field_id] = [item for item in wanted if item in there]
    return found


async def _restore(
    connection: Connection, base: Base, items: Sequence[Restorable], user_id: str, source: Source
) -> list[RecordId]:
    """Insert the records first, so that links among them find both ends; then their links."""
    if await ddl.version_of(connection, base.base_id) != base.version:
        raise StructureChanged
    made = []
    for item in items:
        statement, arguments = writing.restore(base.base_id, item.table, version=base.version, record=item.record)
        if await connection.value(statement, *arguments):
            made.append(item)
    entries = [
        changelog.TextEntry(
            Kind.RECORD_RESTORED,
            item.record.record_id,
            item.table.number,
            writing.created_cells(writing.stored_columns(item.table, [item.record.cells]), item.record.cells),
        )
        for item in made
    ]
    await changelog.append_texts(connection, base.base_id, entries, actor=user_id, source=source)
    held = [
        attachment_id
        for item in made
        for field in attachment_fields(item.table)
        for attachment_id in item.record.cells.get(field.field_id) or ()
    ]
    if held:
        await attachments.reclaim(connection, base.base_id, held)
    for item in made:
        cells = await _with_links(connection, base, item.table, item.record.record_id, dict(item.links))
        if any(cells.values()):
            change = writing.Change(item.record.record_id, cells)
            await update_records(
                connection, base, item.table, [change], is_replacing=False, user_id=user_id, by_id=True, source=source
            )
    return [item.record.record_id for item in made]


async def _link_one_way(
    connection: Connection, base: Base, items: Sequence[Restorable], restored: Sequence[RecordId], user_id: str
) -> None:
    """Put restored records back into the cells of others that no field of theirs shows."""
    names = Names(base)
    for item in items:
        record_id = item.record.record_id
        if record_id not in restored:
            continue
        entries = await changelog.beside(connection, base.base_id, item.deletion, rows_max=OPERATIONS_LOOKED_AT_MAX)
        for table, field, other_id in history.linked_one_way(item.deletion, entries, names):
            if not await existing_ids(connection, base, table, [other_id]):
                continue
            current = await links.current_ids(connection, base.base_id, table, field, other_id)
            if record_id not in current:
                change = writing.Change(other_id, {field.field_id: [*current, record_id]})
                await update_records(
                    connection,
                    base,
                    table,
                    [change],
                    is_replacing=False,
                    user_id=user_id,
                    by_id=True,
                    source=Source.RESTORE,
                )
