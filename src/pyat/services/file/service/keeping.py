"""From arriving bytes to a stored content: written to a file, hashed, looked at, named by the hash."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from pyat.foundation.clock import Clock
from pyat.foundation.errors import BodyTooLarge, ServiceUnavailable
from pyat.foundation.ids import random_text
from pyat.recordstore.attachments import Content
from pyat.services.file.service.imaging import Thumbnail
from pyat.services.file.service.looking import Looker
from pyat.services.file.store import FileStore
from pyat.services.file.store.objects import Objects

_log = structlog.get_logger("file")

_WRITE_BYTES = 512 * 1024
"""What is collected before a thread writes it."""
_HEAD_BYTES = 64 * 1024
"""What the type is told from."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A whole file in the spool."""

    path: Path
    content_hash: str
    size: int
    head: bytes


class Spool:
    """A file that is arriving; see `spooling`. Memory: half a megabyte."""

    def __init__(self, path: Path, file: BinaryIO, bytes_max: int) -> None:
        self._path = path
        self._file = file
        self._bytes_max = bytes_max
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._head = b""
        self.size = 0

    async def write(self, data: bytes) -> None:
        """More of the file. Raises BodyTooLarge beyond the bound, ServiceUnavailable when the disk is full."""
        self.size += len(data)
        if self.size > self._bytes_max:
            raise BodyTooLarge
        if len(self._head) < _HEAD_BYTES:
            self._head += data[: _HEAD_BYTES - len(self._head)]
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _WRITE_BYTES:
            await self._flush()

    async def finish(self) -> Spooled:
        """The file is whole, and on the disk for good."""
        await self._flush()
        await _on_disk(self._sync)
        return Spooled(self._path, self._hash.hexdigest(), self.size, self._head)

    async def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        await _on_disk(lambda: self._write(data))

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


class Keeper:
    """Makes contents of files."""

    def __init__(self, store: FileStore, objects: Objects, looker: Looker, clock: Clock) -> None:
        self._store = store
        self._objects = objects
        self._looker = looker
        self._clock = clock

    async def close(self) -> None:
        """End what looking at files has started."""
        await self._looker.close()

    @asynccontextmanager
    async def spooling(self, bytes_max: int) -> AsyncIterator[Spool]:
        """A place for an arriving file; what is left of it at the end of the block is deleted."""
        path = self._objects.spool / random_text(20)
        file = await asyncio.to_thread(path.open, "xb")
        try:
            yield Spool(path, file, bytes_max)
        finally:
            file.close()
            path.unlink(missing_ok=True)

    async def keep(self, spooled: Spooled, *, filename: str, declared: str | None) -> Content:
        """Store the file unless its content is there already. Raises FileInfected, ServiceUnavailable.

        From the return on, the content stays for a day without anybody referring to it.
        """
        name = object_name(spooled.content_hash)
        kind = self._looker.type_of(spooled.head, filename=filename, declared=declared)
        known = await self._store.touch_content(spooled.content_hash, self._clock.now())
        if known is not None and await self._objects.has(name):
            return replace(known, type=kind)
        look = await self._looker.look(spooled.path, kind)
        content = Content(
            spooled.content_hash,
            spooled.size,
            kind,
            look.width,
            look.height,
            {name: _facts(thumbnail) for name, thumbnail in look.thumbnails.items()},
        )
        # Known first: whatever of it gets stored is then found, and deleted, should nothing come to refer to it.
        await self._store.put_content(content, self._clock.now())
        for variant, thumbnail in look.thumbnails.items():
            await self._objects.put(thumbnail_name(spooled.content_hash, variant), thumbnail.data)
        await self._objects.put_file(name, spooled.path)
        return content


def _facts(thumbnail: Thumbnail) -> Mapping[str, Any]:
    """What is kept of a thumbnail beside its bytes."""
    size = len(thumbnail.data)
    return {"width": thumbnail.width, "height": thumbnail.height, "size": size, "type": thumbnail.type}


def object_name(content_hash: str) -> str:
    """Where a content lies."""
    return f"contents/{content_hash[:2]}/{content_hash}"


def thumbnail_name(content_hash: str, variant: str) -> str:
    """Where a thumbnail of a content lies."""
    return f"thumbnails/{content_hash[:2]}/{content_hash}/{variant}"


async def _on_disk(work: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(work)
    except OSError as error:
        _log.warning("spool_failed", cause=type(error).__name__, reason=str(error))
        raise ServiceUnavailable from error
