"""The change log for callers: pages of it, the history of a record, undo, and the trash of records."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import orjson

from pyat.foundation.errors import ModelNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore import history
from pyat.recordstore.changelog import Noted
from pyat.recordstore.errors import ChangesGone, InvalidOffset
from pyat.recordstore.history import Names
from pyat.recordstore.structure import Base
from pyat.services.airtable_gateway.contract import Changes, Entries
from pyat.services.airtable_gateway.service.calls import Calls, table_of

TRASH_DAYS = 7


class ChangeCalls(Calls):
    """The part of the contract about the change log."""

    async def list_changes(self, *, principal: Principal, base_id: BaseId, after: int | None, rows_max: int) -> Changes:
        """See the contract."""

        async def work(base: Base) -> Changes:
            first, last, entries = await self.store.changes(base_id, after=after, rows_max=rows_max)
            if after is None:
                return Changes(b"", last, last)
            if after < first - 1:
                raise ChangesGone(after=after, last=last)
            return Changes(_json(entries, base), entries[-1].n if entries else after, last)

        return await self.planned(principal, base_id, work)

    async def record_history(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        offset: str | None,
        rows_max: int,
    ) -> Entries:
        """See the contract."""

        async def work(base: Base) -> Entries:
            table_of(base, table)
            entries = await self.store.history(base_id, record_id, before=_before(offset), rows_max=rows_max + 1)
            return _page(entries, base, rows_max)

        return await self.planned(principal, base_id, work)

    async def undo(self, *, principal: Principal, base_id: BaseId) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            return _json(await self.store.undo(base, user_id=principal.user_id), base)

        return await self.planned(principal, base_id, work)

    async def list_deleted_records(
        self, *, principal: Principal, base_id: BaseId, offset: str | None, rows_max: int
    ) -> Entries:
        """See the contract."""

        async def work(base: Base) -> Entries:
            entries = await self.store.deleted(
                base_id, since=timedelta(days=TRASH_DAYS), before=_before(offset), rows_max=rows_max + 1
            )
            return _page(entries, base, rows_max)

        return await self.planned(principal, base_id, work)

    async def restore_records(
        self, *, principal: Principal, base_id: BaseId, record_ids: tuple[RecordId, ...]
    ) -> tuple[RecordId, ...]:
        """See the contract."""

        async def work(base: Base) -> tuple[RecordId, ...]:
            names, items = Names(base), []
            found = await self.store.deletions(base_id, record_ids, since=timedelta(days=TRASH_DAYS))
            for record_id in record_ids:
                item = history.restorable(found[record_id], names) if record_id in found else None
                if item is None:
                    raise ModelNotFound(kind="Record")
                items.append(item)
            return tuple(await self.store.restore(base, items, user_id=principal.user_id))

        return await self.planned(principal, base_id, work)

    async def forget_changes(self) -> int:
        """Drop the months of every base's log that ended before the kept time; how many.

        Several processes may do this at the same time: a month is dropped once. One that is in use stays until the next
        time.
        """
        dropped, after = 0, ""
        while True:
            base_ids = await self.store.base_ids(after=after)
            for base_id in base_ids:
                after = base_id
                dropped += await self.store.forget_changes(
                    base_id, kept=timedelta(days=self.settings.changes_kept_days)
                )
            if not base_ids:
                return dropped


def _json(entries: Iterable[Noted], base: Base) -> bytes:
    names = Names(base)
    return b",".join(orjson.dumps(history.shown(entry, names)) for entry in entries)


def _before(offset: str | None) -> int | None:
    if offset is None:
        return None
    if not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        raise InvalidOffset(offset=offset[:100])
    return int(offset)


def _page(entries: Sequence[Noted], base: Base, rows_max: int) -> Entries:
    shown = entries[:rows_max]
    return Entries(_json(shown, base), str(shown[-1].n) if len(entries) > rows_max else None)
