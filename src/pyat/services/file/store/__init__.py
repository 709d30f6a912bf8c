"""The PostgreSQL schema `file`, and the attachments in the schemas of bases. The object store is in `store.objects`."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from asyncpg import exceptions as pg

from pyat.foundation.db import Connection, Database, Row
from pyat.foundation.errors import NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, UserId
from pyat.foundation.sql import Statement, load_statements
from pyat.recordstore import attachments
from pyat.recordstore.attachments import Attachment, Content
from pyat.recordstore.changelog import NO_PARTITION, add_partition

_SQL = load_statements("pyat.services.file")
_NOW = Statement("now", "SELECT now()")


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file that a worker has taken; `attempt` counts from 1 and says which worker has it."""

    attachment_id: str
    base_id: BaseId
    url: str
    filename: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A resumable upload; `position` bytes of `length` have come."""

    upload_id: str
    base_id: BaseId
    user_id: UserId
    filename: str
    content_type: str | None
    length: int
    position: int
    attachment_id: str | None
    expires_time: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of an upload: its name in the object store."""

    name: str
    size: int


class FileStore:
    """Every method is one statement or one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Attachments

    async def insert_urls(
        self, base_id: BaseId, files: Sequence[tuple[str, str]], *, actor: str, now: datetime
    ) -> list[str]:
        """Pending attachments of (URL, filename) and their fetches. Raises NotPermittedOrNotFound without such a base."""
        async with self._base_transaction() as connection:
            ids = await attachments.insert_pending(connection, base_id, files, actor=actor, now=now)
            await connection.run(
                _SQL["file_insert_fetches"],
                ids,
                base_id,
                [url for url, _ in files],
                [filename for _, filename in files],
                now,
            )
            return ids

    async def insert_stored(
        self, base_id: BaseId, filename: str, content: Content, *, actor: str, now: datetime
    ) -> str:
        """An attachment of a stored content. Raises NotPermittedOrNotFound without such a base."""
        async with self._base_transaction() as connection:
            return await attachments.insert_stored(connection, base_id, filename, content, actor=actor, now=now)

    async def has_base(self, base_id: BaseId) -> bool:
        """Whether there is such a base."""
        try:
            await self.attachment(base_id, "")
        except NotPermittedOrNotFound:
            return False
        return True

    async def attachment(self, base_id: BaseId, attachment_id: str) -> Attachment | None:
        """One row, or None. Raises NotPermittedOrNotFound without such a base."""
        async with _of_base(), self._database.connection() as connection:
            return (await attachments.read(connection, base_id, [attachment_id])).get(attachment_id)

    @asynccontextmanager
    async def _base_transaction(self) -> AsyncIterator[Connection]:
        async with _of_base(), self._database.transaction() as connection:
            yield connection

    # Contents

    async def touch_content(self, content_hash: str, now: datetime) -> Content | None:
        """The content, which is not deleted for the next day; None where it is not known."""
        row = await self._database.row(_SQL["file_touch_content"], content_hash, now)
        if row is None:
            return None
        thumbnails = orjson.loads(row["thumbnails"])
        return Content(content_hash, row["size"], row["type"], row["width"], row["height"], thumbnails)

    async def put_content(self, content: Content, now: datetime) -> None:
        """Know a content, so that it is deleted in time where nothing comes to refer to it."""
        await self._database.run(
            _SQL["file_put_content"],
            content.content_hash,
            content.size,
            content.type,
            content.width,
            content.height,
            orjson.dumps(content.thumbnails or {}).decode(),
            now,
        )

    async def old_contents(self, before: datetime, count_max: int) -> list[str]:
        """Hashes of contents last used, or looked at, before a moment."""
        rows = await self._database.rows(_SQL["file_old_contents"], before, count_max)
        return [row["content_hash"] for row in rows]

    async def mark_contents(self, hashes: Sequence[str], now: datetime) -> None:
        """They were looked at, and are used."""
        await self._database.run(_SQL["file_mark_contents"], list(hashes), now)

    async def contents_in_use(self, base_id: BaseId, hashes: Sequence[str]) -> frozenset[str]:
        """Those that attachments of a base refer to; none where the base is gone."""
        try:
            async with _of_base(), self._database.connection() as connection:
                return await attachments.contents_in_use(connection, base_id, hashes)
        except NotPermittedOrNotFound:
            return frozenset()

    @asynccontextmanager
    async def deleting_content(self, content_hash: str, before: datetime) -> AsyncIterator[Mapping[str, Any] | None]:
        """Delete a content at the end of the block, in which its objects go; gives its thumbnails.

        None where it was used since `before`: then nothing is deleted. Whoever would use it waits for the end.
        """
        async with self._database.transaction() as connection:
            thumbnails = await connection.value(_SQL["file_lock_content"], content_hash, before)
            if thumbnails is None:
                yield None
                return
            yield orjson.loads(thumbnails)
            await connection.run(_SQL["file_delete_content"], content_hash)

    async def bases(self) -> list[BaseId]:
        """Every base that can have attachments."""
        return [BaseId(row["base_id"]) for row in await self._database.rows(_SQL["file_bases"])]

    async def release_orphans(self, base_id: BaseId, now: datetime) -> None:
        """Let go of a base's attachments whose fields are gone for good."""
        with contextlib.suppress(NotPermittedOrNotFound):
            async with self._base_transaction() as connection:
                await attachments.release_of_missing_fields(connection, base_id, now=now)

    async def delete_orphans(self, base_id: BaseId, now: datetime, count_max: int) -> int:
        """Delete a base's attachments that nobody needs any more, with their fetches; returns how many."""
        try:
            async with self._base_transaction() as connection:
                ids = await attachments.delete_orphans(connection, base_id, now=now, count_max=count_max)
                await connection.run(_SQL["file_delete_fetches"], ids)
                return len(ids)
        except NotPermittedOrNotFound:
            return 0

    # Fetches

    async def take_fetches(self, now: datetime, lease: timedelta, count_max: int) -> list[Fetch]:
        """Files that are due; nobody else gets them until the lease ends."""
        rows = await self._database.rows(_SQL["file_take_fetches"], now, now + lease, count_max)
        return [
            Fetch(row["attachment_id"], BaseId(row["base_id"]), row["url"], row["filename"], row["attempts"])
            for row in rows
        ]

    async def put_fetch_off(self, fetch: Fetch, until: datetime) -> bool:
        """Move a fetch that this worker has; False where it has lost it."""
        return bool(await self._database.value(_SQL["file_put_fetch_off"], fetch.attachment_id, fetch.attempt, until))

    async def give_back_fetch(self, fetch: Fetch, now: datetime) -> None:
        """This worker will not do it; the try does not count."""
        await self._database.run(_SQL["file_give_back_fetch"], fetch.attachment_id, fetch.attempt, now)

    async def complete_fetch(self, fetch: Fetch, content: Content) -> None:
        """The file is there: the attachment and the change log say so, unless another worker has the fetch now."""
        await self._end_fetch(fetch, content, "")

    async def fail_fetch(self, fetch: Fetch, reason: str) -> None:
        """The file will not come: the attachment and the change log say so."""
        await self._end_fetch(fetch, None, reason)

    async def _end_fetch(self, fetch: Fetch, content: Content | None, reason: str) -> None:
        for is_second in (False, True):
            try:
                async with self._base_transaction() as connection:
                    if not await connection.value(_SQL["file_end_fetch"], fetch.attachment_id, fetch.attempt):
                        return
                    if content is None:
                        await attachments.fail(connection, fetch.base_id, fetch.attachment_id, reason)
                    else:
                        await attachments.complete(connection, fetch.base_id, fetch.attachment_id, content)
                return
            except NO_PARTITION:
                if is_second:
                    raise
                async with self._database.transaction() as connection:
                    now = await connection.value(_NOW)
                    await add_partition(connection, fetch.base_id, now)
            except NotPermittedOrNotFound:
                # The base is gone, and with it whoever waited.
                await self._database.run(_SQL["file_delete_fetches"], [fetch.attachment_id])
                return

    async def count_fetches(self) -> int:
        """How many files are yet to be fetched."""
        return int(await self._database.value(_SQL["file_count_fetches"]))

    # Uploads

    async def insert_upload(self, upload: Upload, now: datetime) -> None:
        """A new upload, of which nothing has come yet."""
        await self._database.run(
            _SQL["file_insert_upload"],
            upload.upload_id,
            upload.base_id,
            upload.user_id,
            upload.filename,
            upload.content_type,
            upload.length,
            now,
            upload.expires_time,
        )

    async def upload(self, upload_id: str, base_id: BaseId, user_id: UserId) -> Upload | None:
        """A user's upload to a base, or None."""
        row = await self._database.row(_SQL["file_upload"], upload_id, base_id, user_id)
        return None if row is None else _upload(row)

    async def add_parts(self, upload: Upload, parts: Sequence[Part], expires_time: datetime) -> bool:
        """More of an upload has come, from its position on; False where it does not stand there any more."""
        async with self._database.transaction() as connection:
            size = sum(part.size for part in parts)
            moved = await connection.value(
                _SQL["file_move_upload"], upload.upload_id, upload.position, size, expires_time
            )
            if not moved:
                return False
            start = upload.position
            for part in parts:
                await connection.run(_SQL["file_insert_part"], upload.upload_id, start, part.size, part.name)
                start += part.size
            return True

    async def parts(self, upload_id: str) -> list[Part]:
        """What has come, in order."""
        return [Part(row["name"], row["size"]) for row in await self._database.rows(_SQL["file_parts"], upload_id)]

    async def finish_upload(self, upload: Upload, content: Content, now: datetime) -> None:
        """The upload becomes an attachment, unless it has become one already."""
        async with self._base_transaction() as connection:
            attachment_id = await attachments.insert_stored(
                connection, upload.base_id, upload.filename, content, actor=upload.user_id, now=now
            )
            if not await connection.value(_SQL["file_finish_upload"], upload.upload_id, attachment_id):
                # The other one's attachment counts; this one never was.
                raise UploadFinished
            await connection.run(_SQL["file_delete_parts"], upload.upload_id)

    async def delete_upload(self, upload_id: str, base_id: BaseId, user_id: UserId) -> bool:
        """Forget an upload; whether it was there."""
        return bool(await self._database.value(_SQL["file_delete_upload"], upload_id, base_id, user_id))

    async def expired_uploads(self, now: datetime, count_max: int) -> list[str]:
        """Ids of uploads whose time is over."""
        rows = await self._database.rows(_SQL["file_expired_uploads"], now, count_max)
        return [row["upload_id"] for row in rows]

    async def delete_expired_upload(self, upload_id: str, now: datetime) -> bool:
        """Forget an upload whose time is still over; whether it was."""
        return bool(await self._database.value(_SQL["file_delete_expired_upload"], upload_id, now))


class UploadFinished(Exception):
    """An upload became an attachment while this request was making one of it, too."""


@asynccontextmanager
async def _of_base() -> AsyncIterator[None]:
    try:
        yield
    except (pg.UndefinedTableError, pg.InvalidSchemaNameError) as error:
        raise NotPermittedOrNotFound from error


def _upload(row: Row) -> Upload:
    return Upload(
        upload_id=row["upload_id"],
        base_id=BaseId(row["base_id"]),
        user_id=UserId(row["user_id"]),
        filename=row["filename"],
        content_type=row["content_type"],
        length=row["length"],
        position=row["position"],
        attachment_id=row["attachment_id"],
        expires_time=row["expires_time"],
    )
