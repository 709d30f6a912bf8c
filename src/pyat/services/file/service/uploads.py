"""Resumable uploads: a file comes in pieces, each kept when it has come, until it is whole and becomes an attachment.

Pieces lie in the object store, so that any process may take the next one; each stands in the database before its client
hears of it. What came before a connection broke is kept.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

from starlette.requests import ClientDisconnect

from pyat.foundation.clock import Clock
from pyat.foundation.errors import AppError, BodyTooLarge, ModelNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, new_id, random_text
from pyat.services.file.contract import FileInfected
from pyat.services.file.service.keeping import Keeper
from pyat.services.file.store import FileStore, Part, Upload, UploadFinished
from pyat.services.file.store.objects import Missing, Objects

PART_BYTES = 8 * 1024 * 1024
"""Memory of one upload, and the most that is lost when a process is killed."""
UPLOAD_KEPT = timedelta(days=1)
"""After the last piece came."""
CHECKSUMS = ("sha1", "sha256", "md5")


class UploadOffsetWrong(AppError):
    """A piece of an upload does not begin where the last one ended; HEAD tells where that is."""

    code, status, wire_type = "UPLOAD_OFFSET_WRONG", 409, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the upload is at {offset}"


class ChecksumMismatch(AppError):
    """A piece of an upload is not what its checksum says; nothing of it was kept."""

    code, status, wire_type = "CHECKSUM_MISMATCH", 460, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the checksum does not match"


class Uploads:
    """The uploads of one service. Whoever began one, and nobody else, may go on with it."""

    def __init__(self, store: FileStore, objects: Objects, keeper: Keeper, clock: Clock, *, bytes_max: int) -> None:
        self._store = store
        self._objects = objects
        self._keeper = keeper
        self._clock = clock
        self.bytes_max = bytes_max

    async def create(
        self, principal: Principal, base_id: BaseId, *, filename: str, content_type: str | None, length: int
    ) -> Upload:
        """A new upload; an empty one is finished at once. Raises BodyTooLarge."""
        if length > self.bytes_max:
            raise BodyTooLarge
        now = self._clock.now()
        upload = Upload(
            upload_id=new_id("upl"),
            base_id=base_id,
            user_id=principal.user_id,
            filename=filename,
            content_type=content_type,
            length=length,
            position=0,
            attachment_id=None,
            expires_time=now + UPLOAD_KEPT,
        )
        await self._store.insert_upload(upload, now)
        return await self._finished(upload)

    async def find(self, principal: Principal, base_id: BaseId, upload_id: str) -> Upload:
        """The upload, finished if it is whole. Raises ModelNotFound, also when its time is over."""
        found = await self._store.upload(upload_id, base_id, principal.user_id)
        if found is None or found.expires_time <= self._clock.now():
            raise ModelNotFound(kind="Upload")
        return await self._finished(found)

    async def append(
        self,
        upload: Upload,
        pieces: AsyncIterator[bytes],
        *,
        offset: int,
        checksum: tuple[str, bytes] | None = None,
    ) -> Upload:
        """More of the file, from `offset` on; when it is whole, its attachment.

        Raises UploadOffsetWrong, BodyTooLarge (more than is missing), ChecksumMismatch, FileInfected, and
        ClientDisconnect, after what came was kept; with a checksum, all or nothing is kept.
        """
        if upload.position != offset:
            raise UploadOffsetWrong(offset=upload.position)
        digest = None if checksum is None else hashlib.new(checksum[0], usedforsecurity=False)
        receiving = _Receiving(self, upload, is_whole=digest is not None)
        try:
            async for piece in pieces:
                if digest is not None:
                    digest.update(piece)
                await receiving.take(piece)
            if digest is not None and checksum is not None and digest.digest() != checksum[1]:
                raise ChecksumMismatch
            await receiving.commit()
        except ClientDisconnect:
            if digest is None:
                await receiving.commit()
            raise
        finally:
            await receiving.clear()
        return await self._finished(receiving.upload)

    async def delete(self, principal: Principal, base_id: BaseId, upload_id: str) -> None:
        """Forget an upload; the attachment it has become stays. Raises ModelNotFound."""
        if not await self._store.delete_upload(upload_id, base_id, principal.user_id):
            raise ModelNotFound(kind="Upload")
        await self._objects.delete_under(part_prefix(upload_id))

    async def _finished(self, upload: Upload) -> Upload:
        if upload.attachment_id is not None or upload.position < upload.length:
            return upload
        parts = await self._store.parts(upload.upload_id)
        async with self._keeper.spooling(upload.length) as spool:
            try:
                for part in parts:
                    async for piece in self._objects.read(part.name, 0, part.size):
                        await spool.write(piece)
                is_whole = spool.size == upload.length
            except Missing:
                is_whole = False
            if is_whole:
                try:
                    content = await self._keeper.keep(
                        await spool.finish(), filename=upload.filename, declared=upload.content_type
                    )
                except FileInfected:
                    await self._store.delete_upload(upload.upload_id, upload.base_id, upload.user_id)
                    await self._objects.delete([part.name for part in parts])
                    raise
                try:
                    await self._store.finish_upload(upload, content, self._clock.now())
                    await self._objects.delete([part.name for part in parts])
                except UploadFinished:
                    pass
        # Another request may have finished it, and deleted the parts while this one read them.
        found = await self._store.upload(upload.upload_id, upload.base_id, upload.user_id)
        if found is None:
            raise ModelNotFound(kind="Upload")
        return found

    async def put_part(self, upload: Upload, data: bytes) -> Part:
        """Some bytes in the object store; not yet part of the upload."""
        part = Part(part_prefix(upload.upload_id) + random_text(16), len(data))
        await self._objects.put(part.name, data)
        return part

    async def add_parts(self, upload: Upload, parts: Sequence[Part]) -> Upload:
        """The parts are the upload's next. Raises UploadOffsetWrong where another request was faster."""
        expires_time = self._clock.now() + UPLOAD_KEPT
        if not await self._store.add_parts(upload, parts, expires_time):
            found = await self._store.upload(upload.upload_id, upload.base_id, upload.user_id)
            if found is None:
                raise ModelNotFound(kind="Upload")
            raise UploadOffsetWrong(offset=found.position)
        return replace(upload, position=upload.position + sum(part.size for part in parts), expires_time=expires_time)

    async def drop_parts(self, parts: Sequence[Part]) -> None:
        """They did not become part of an upload."""
        await self._objects.delete([part.name for part in parts])


class _Receiving:
    """The bytes of one request on their way into an upload."""

    def __init__(self, uploads: Uploads, upload: Upload, *, is_whole: bool) -> None:
        self._uploads = uploads
        self._is_whole = is_whole
        self.upload = upload
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._parts: list[Part] = []
        self._left = upload.length - upload.position

    async def take(self, piece: bytes) -> None:
        """Some more bytes. Raises BodyTooLarge where they are more than the upload misses."""
        self._left -= len(piece)
        if self._left < 0:
            raise BodyTooLarge
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= PART_BYTES:
            await self._put()
            if not self._is_whole:
                await self._add()

    async def commit(self) -> None:
        """All that came belongs to the upload now."""
        await self._put()
        await self._add()

    async def clear(self) -> None:
        """Delete what did not come to belong to the upload."""
        await self._uploads.drop_parts(self._parts)

    async def _put(self) -> None:
        if self._waiting_bytes:
            self._parts.append(await self._uploads.put_part(self.upload, b"".join(self._waiting)))
            self._waiting.clear()
            self._waiting_bytes = 0

    async def _add(self) -> None:
        if self._parts:
            self.upload = await self._uploads.add_parts(self.upload, self._parts)
            self._parts.clear()


def part_prefix(upload_id: str) -> str:
    """Where the parts of an upload lie."""
    return f"uploads/{upload_id}/"
