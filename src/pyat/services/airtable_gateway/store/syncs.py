"""CSV syncs of bases, and the transaction that makes a table's records those of a file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyat.foundation.db import Connection
from pyat.foundation.errors import ModelNotFound
from pyat.foundation.ids import BaseId, RecordId, new_id, new_ids
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import ddl, writing
from pyat.recordstore.changelog import Source
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import AmbiguousUpsert, LimitReached
from pyat.recordstore.fieldtypes import NewChoices
from pyat.recordstore.structure import Base, Field, Table
from pyat.services.airtable_gateway.contract import Sync
from pyat.services.airtable_gateway.store.records import (
    RowsStore,
    create_records,
    delete_records,
    structure_watched,
    update_records,
)

SYNCS_PER_TABLE_MAX = 20
SYNC_DELETIONS_MAX = 100_000
"""Records that one file may delete."""

_PORTION_ROWS = 1_000
_COLUMNS = "s.sync_id, s.table_id, s.key_field_id, s.is_deleting, s.created_at"


class SyncsStore(RowsStore):
    """Syncs of all bases. Methods that take a base raise StructureChanged where it is not the current structure."""

    async def add_sync(self, base: Base, table: Table, key: Field, *, is_deleting: bool) -> Sync:
        """Set a sync up. Raises LimitReached."""
        syncs = f"{quote(base.base_id)}.base_syncs"

        async def run(connection: Connection, base: Base, table: Table) -> Sync:
            # Two requests take turns here, so that they cannot exceed the bound together.
            version = await connection.value(
                Statement("lock_syncs", f"SELECT version FROM {quote(base.base_id)}.base_state FOR NO KEY UPDATE")
            )
            if version != base.version:
                raise StructureChanged
            count = await connection.value(
                Statement("count_syncs", f"SELECT count(*) FROM {syncs} WHERE table_id = $1"), table.table_id
            )
            if count >= SYNCS_PER_TABLE_MAX:
                raise LimitReached(what="A table", limit=SYNCS_PER_TABLE_MAX, things="syncs")
            row = await connection.row(
                Statement(
                    "add_sync",
                    f"INSERT INTO {syncs} AS s (sync_id, table_id, key_field_id, is_deleting, created_at)"
                    f" VALUES ($1, $2, $3, $4, now()) RETURNING {_COLUMNS}",
                ),
                new_id("syn"),
                table.table_id,
                key.field_id,
                is_deleting,
            )
            assert row is not None, "an INSERT without a condition gives its row"
            return Sync(**row)

        return await self.write(base, table, {}, run, in_transaction=True)

    async def syncs(self, base_id: BaseId, table: Table) -> tuple[Sync, ...]:
        """The syncs of a table, oldest first."""
        async with structure_watched():
            rows = await self.database.rows(
                Statement(
                    "list_syncs",
                    f"SELECT {_COLUMNS} FROM {quote(base_id)}.base_syncs s WHERE s.table_id = $1"
                    " ORDER BY s.created_at, s.sync_id",
                ),
                table.table_id,
            )
        return tuple(Sync(**row) for row in rows)

    async def remove_sync(self, base: Base, sync_id: str) -> None:
        """Delete a sync. Raises ModelNotFound."""
        async with structure_watched():
            found = await self.database.value(
                Statement(
                    "remove_sync", f"DELETE FROM {quote(base.base_id)}.base_syncs WHERE sync_id = $1 RETURNING sync_id"
                ),
                sync_id,
            )
        if found is None:
            raise ModelNotFound(kind="Sync")

    async def sync(
        self,
        base: Base,
        table: Table,
        key: Field,
        *,
        rows: Sequence[Mapping[str, Any]],
        new_choices: Mapping[str, NewChoices],
        is_deleting: bool,
        user_id: str,
        position: Callable[[int], int],
    ) -> None:
        """Update the records whose `key` a row has, create the others and, with `is_deleting`, delete those no row has.

        No key of `rows` is blank or there twice. `position` tells for a place among them what to call it in an error.
        Raises AmbiguousUpsert, LimitReached and what `create_records` raises.
        """

        async def run(connection: Connection, base: Base, table: Table) -> None:
            await connection.run(writing.UPSERT_LOCK, table.table_id)
            found: dict[int, RecordId] = {}
            if rows:
                statement, arguments = writing.matches(base.base_id, table, merge_on=[key], keys=rows)
                for match in await connection.rows(statement, *arguments):
                    if match["count"] > 1:
                        raise AmbiguousUpsert(position=position(match["place"] - 1), count=match["count"])
                    found[match["place"] - 1] = match["record_id"]
            if is_deleting:
                await _delete_others(connection, base, table, list(found.values()), user_id)
            changes = [writing.Change(record_id, rows[place]) for place, record_id in sorted(found.items())]
            for start in range(0, len(changes), _PORTION_ROWS):
                portion = changes[start : start + _PORTION_ROWS]
                await update_records(connection, base, table, portion, False, user_id, by_id=True, source=Source.SYNC)
            new = [row for place, row in enumerate(rows) if place not in found]
            for start in range(0, len(new), _PORTION_ROWS):
                made = new[start : start + _PORTION_ROWS]
                record_ids = [RecordId(record_id) for record_id in new_ids("rec", len(made))]
                await create_records(connection, base, table, record_ids, made, user_id, by_id=True, source=Source.SYNC)

        await self.write(base, table, new_choices, run, in_transaction=True)


async def _delete_others(
    connection: Connection, base: Base, table: Table, kept: Sequence[RecordId], user_id: str
) -> None:
    rows = await connection.rows(
        Statement(
            "records_beside",
            f"SELECT r._id FROM {ddl.relation(base.base_id, table.table_id)} r"
            " WHERE NOT EXISTS (SELECT FROM unnest($1::text[]) AS k(id) WHERE k.id = r._id)"
            " ORDER BY r._n LIMIT $2",
        ),
        list(kept),
        SYNC_DELETIONS_MAX + 1,
    )
    if len(rows) > SYNC_DELETIONS_MAX:
        raise LimitReached(what="A sync's deletions", limit=SYNC_DELETIONS_MAX, things="records")
    record_ids = [RecordId(row["_id"]) for row in rows]
    for start in range(0, len(record_ids), _PORTION_ROWS):
        portion = record_ids[start : start + _PORTION_ROWS]
        await delete_records(connection, base, table, portion, user_id, source=Source.SYNC)
