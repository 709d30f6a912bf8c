"""What nobody needs any more is deleted: attachments without a cell, contents without an attachment, dead uploads."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from pyat.foundation.clock import Clock
from pyat.services.file.service.keeping import object_name, thumbnail_name
from pyat.services.file.service.uploads import part_prefix
from pyat.services.file.store import FileStore
from pyat.services.file.store.objects import Objects

CONTENT_KEPT = timedelta(days=1)
"""How long a content stays without an attachment; time for whoever stores the same bytes again."""
BATCH = 500
BATCHES_MAX = 20
"""Of contents in one sweep: the next one goes on where it ended."""
_SPOOL_KEPT_S = 86_400.0


class Sweeper:
    """Deletes in small steps, each of which holds for itself; several processes may sweep at the same time."""

    def __init__(self, store: FileStore, objects: Objects, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._clock = clock

    async def sweep(self) -> None:
        """Delete what is due now. Raises ServiceUnavailable; the next sweep goes on."""
        await self.delete_uploads()
        bases = await self._store.bases()
        for base_id in bases:
            await self._store.release_orphans(base_id, self._clock.now())
            while await self._store.delete_orphans(base_id, self._clock.now(), BATCH) == BATCH:
                pass
        for _ in range(BATCHES_MAX):
            before = self._clock.now() - CONTENT_KEPT
            old = await self._store.old_contents(before, BATCH)
            used: set[str] = set()
            for base_id in bases:
                used |= await self._store.contents_in_use(base_id, [hash_ for hash_ in old if hash_ not in used])
            if used:
                await self._store.mark_contents(sorted(used), self._clock.now())
            for content_hash in old:
                if content_hash not in used:
                    await self._delete_content(content_hash)
            if len(old) < BATCH:
                break
        await asyncio.to_thread(_clear, self._objects.spool)

    async def delete_uploads(self) -> None:
        """Forget uploads whose time is over, and what came of them."""
        now = self._clock.now()
        for upload_id in await self._store.expired_uploads(now, BATCH):
            if await self._store.delete_expired_upload(upload_id, now):
                await self._objects.delete_under(part_prefix(upload_id))

    async def _delete_content(self, content_hash: str) -> None:
        before = self._clock.now() - CONTENT_KEPT
        async with self._store.deleting_content(content_hash, before) as thumbnails:
            if thumbnails is not None:
                names = [thumbnail_name(content_hash, name) for name in thumbnails]
                await self._objects.delete([*names, object_name(content_hash)])


def _clear(spool: Path) -> None:
    """Delete files of processes that died while they wrote them."""
    before_s = time.time() - _SPOOL_KEPT_S
    for path in spool.iterdir():
        if path.stat().st_mtime < before_s:
            path.unlink(missing_ok=True)
