"""The rules of file: what may become an attachment, and who may read one."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote, urlsplit

import structlog

from pyat.foundation.clock import Clock
from pyat.foundation.errors import BodyTooLarge, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId
from pyat.foundation.outgoing import URL_LENGTH_MAX
from pyat.foundation.signing import FileUrls
from pyat.recordstore.attachments import STORED, Content
from pyat.services.file.contract import (
    FILENAME_LENGTH_MAX,
    ITEMS_MAX,
    STORED_BYTES_MAX,
    InvalidAttachment,
    UrlItem,
)
from pyat.services.file.service.fetching import Fetcher
from pyat.services.file.service.keeping import Keeper, Spool, object_name, thumbnail_name
from pyat.services.file.settings import FileSettings
from pyat.services.file.store import FileStore
from pyat.services.file.store.objects import Objects
from pyat.services.schema.contract import Schema

_log = structlog.get_logger("file")

ORIGINAL = "original"
"""The variant of a URL that is the file itself; the others are names of thumbnails."""


@dataclass(frozen=True, slots=True)
class Download:
    """What a signed URL leads to."""

    object_name: str
    size: int
    type: str
    filename: str
    etag: str
    """Quoted, strong: names the very bytes."""
    expires_time: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """A new attachment that is there."""

    attachment_id: str
    filename: str
    content: Content


class FilesService:
    """Implements the contract `Files`, and what only the public routes use."""

    def __init__(
        self,
        store: FileStore,
        objects: Objects,
        keeper: Keeper,
        fetcher: Fetcher,
        schema: Schema,
        urls: FileUrls,
        clock: Clock,
        settings: FileSettings,
    ) -> None:
        self._store = store
        self._objects = objects
        self._keeper = keeper
        self.fetcher = fetcher
        self._schema = schema
        self._urls = urls
        self._clock = clock
        self.bytes_max = settings.file_bytes_max

    async def register_urls(self, *, base_id: BaseId, items: tuple[UrlItem, ...], actor: str) -> tuple[str, ...]:
        """See the contract."""
        if len(items) > ITEMS_MAX:
            raise InvalidAttachment(reason=f"no more than {ITEMS_MAX} at a time")
        files = [(_checked_url(item.url), checked_filename(item.filename or _name_in(item.url))) for item in items]
        ids = await self._store.insert_urls(base_id, files, actor=actor, now=self._clock.now())
        self.fetcher.woken.set()
        return tuple(ids)

    async def store_bytes(
        self, *, base_id: BaseId, filename: str, content_type: str | None, data: bytes, actor: str
    ) -> str:
        """See the contract."""
        checked_filename(filename)
        if len(data) > STORED_BYTES_MAX:
            raise BodyTooLarge
        if not await self._store.has_base(base_id):
            raise NotPermittedOrNotFound
        async with self._keeper.spooling(STORED_BYTES_MAX) as spool:
            await spool.write(data)
            kept = await self.keep(spool, base_id=base_id, filename=filename, content_type=content_type, actor=actor)
        return kept.attachment_id

    def spooling(self) -> AbstractAsyncContextManager[Spool]:
        """A place for a file that arrives, up to the largest there may be."""
        return self._keeper.spooling(self.bytes_max)

    async def keep(self, spool: Spool, *, base_id: BaseId, filename: str, content_type: str | None, actor: str) -> Kept:
        """Make an attachment of a file that has arrived. Raises FileInfected, NotPermittedOrNotFound."""
        content = await self._keeper.keep(await spool.finish(), filename=filename, declared=content_type)
        attachment_id = await self._store.insert_stored(base_id, filename, content, actor=actor, now=self._clock.now())
        return Kept(attachment_id, filename, content)

    async def close(self) -> None:
        """End what looking at files has started; for owners that do no background work."""
        await self._keeper.close()

    async def waiting(self) -> int:
        """How many files are yet to be fetched."""
        return await self._store.count_fetches()

    async def permit(self, principal: Principal, base_id: BaseId) -> None:
        """Whether the caller reaches the base. Raises NotPermittedOrNotFound."""
        await self._schema.get_base(principal=principal, base_id=base_id)

    async def find(
        self, *, base_id: BaseId, attachment_id: str, variant: str, expires: str, signature: str
    ) -> Download:
        """What a URL leads to. Raises FileUrlInvalid, FileUrlExpired, ModelNotFound."""
        expires_time = self._urls.verify(base_id, attachment_id, variant, expires, signature, self._clock.now())
        try:
            found = await self._store.attachment(base_id, attachment_id)
        except NotPermittedOrNotFound:
            found = None
        if found is None or found.state != STORED or found.content is None:
            raise ModelNotFound(kind="Attachment")
        content = found.content
        if variant == ORIGINAL:
            return Download(
                object_name(content.content_hash),
                content.size,
                content.type,
                found.filename,
                f'"{content.content_hash}"',
                expires_time,
            )
        thumbnail = (content.thumbnails or {}).get(variant)
        if thumbnail is None:
            raise ModelNotFound(kind="Thumbnail")
        return Download(
            thumbnail_name(content.content_hash, variant),
            thumbnail["size"],
            thumbnail["type"],
            f"{variant}-{found.filename}",
            f'"{content.content_hash}-{variant}"',
            expires_time,
        )

    def read(self, download: Download, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`."""
        return self._objects.read(download.object_name, start, end)


def checked_filename(filename: str) -> str:
    """The name itself. Raises InvalidAttachment."""
    if not filename or len(filename) > FILENAME_LENGTH_MAX or not filename.isprintable():
        raise InvalidAttachment(
            reason=f"a filename has 1 to {FILENAME_LENGTH_MAX} characters, none of them a control character"
        )
    try:
        filename.encode()
    except UnicodeEncodeError:
        raise InvalidAttachment(reason="the filename is not Unicode text") from None
    return filename


def _checked_url(text: str) -> str:
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
        text.encode()
    except ValueError:
        is_usable = False
    if not is_usable or not text.isprintable() or len(text) > URL_LENGTH_MAX:
        raise InvalidAttachment(
            reason=f"only http and https addresses of at most {URL_LENGTH_MAX} characters can be fetched"
        )
    return text


def _name_in(url: str) -> str:
    """The last part of a URL's path, as a name."""
    try:
        last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    except ValueError:
        last = ""
    name = "".join(character for character in last if character.isprintable() and character not in "/\\")
    return name[-FILENAME_LENGTH_MAX:] or "file"
