"""The object store: bytes by name, on the local disk or in an S3-compatible store; and the folder where files arrive."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from pyat.foundation.errors import ServiceUnavailable
from pyat.services.file.settings import FileSettings

_log = structlog.get_logger("file")

SLICE_BYTES = 1024 * 1024
"""What is read at once: the memory of a download, whatever the file's size."""
_CALL_TIME_S = 300.0
_CONNECT_TIME_S = 5.0
_READY_TIME_S = 2.0
_SPOOL = "spool"

_Result = TypeVar("_Result")


class Missing(Exception):
    """The store has no object of that name."""


class Objects:
    """Bytes by name. Names are made by us; every method raises ServiceUnavailable when the store does not answer."""

    def __init__(self, store: Callable[[], ObjectStore], folder: Path, *, is_local: bool) -> None:
        self._make_store = store
        self._is_local = is_local
        self._folder = folder

    @classmethod
    def open(cls, settings: FileSettings, home: Path) -> "Objects":
        """The store that the settings name; the folder `files` of `home` by default. Makes no folder before its first use."""
        folder = home.expanduser() / "files"
        url = urlsplit(settings.files_url)
        if url.scheme not in {"", "file"}:
            return cls(lambda: _remote(settings), folder, is_local=False)
        folder = Path(url.path) if url.scheme else folder
        return cls(lambda: LocalStore(folder, mkdir=True), folder, is_local=True)

    @cached_property
    def _store(self) -> ObjectStore:
        return self._make_store()

    @cached_property
    def spool(self) -> Path:
        """Where files lie while they arrive; on the same disk as a local store, so that they need only be renamed."""
        folder = self._folder / _SPOOL
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    async def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        await self._written(obstore.put_async(self._store, name, data))

    async def put_file(self, name: str, path: Path) -> None:
        """Make an object of a file in the spool, which is gone afterwards."""
        if self._is_local:
            await _in_thread(_move, path, self._folder / name)
        else:
            await self._written(obstore.put_async(self._store, name, path))
            await _in_thread(path.unlink)

    async def has(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            await self._answer(obstore.head_async(self._store, name))
        except Missing:
            return False
        return True

    async def read(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, in slices, each fetched when the one before was taken. Raises Missing."""
        while start < end:
            until = min(start + SLICE_BYTES, end)
            found = await self._answer(obstore.get_range_async(self._store, name, start=start, end=until))
            if len(found) != until - start:
                raise Missing(name)
            yield bytes(found)
            start = until

    async def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        for name in names:
            try:
                await self._answer(obstore.delete_async(self._store, name))
            except Missing:
                continue

    async def delete_under(self, prefix: str) -> None:
        """Remove every object below a prefix, which ends with a slash."""
        names = [item["path"] for page in await self._answer(_listed(self._store, prefix)) for item in page]
        await self.delete(names)

    async def is_ready(self) -> bool:
        """Whether the store answers within two seconds."""
        try:
            async with asyncio.timeout(_READY_TIME_S):
                await self.has("ready")
        except (ServiceUnavailable, TimeoutError):
            return False
        return True

    async def _written(self, call: Coroutine[Any, Any, Any]) -> None:
        try:
            await self._answer(call)
        except Missing as error:  # of the folder or the bucket
            raise ServiceUnavailable from error

    async def _answer(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            async with asyncio.timeout(_CALL_TIME_S):
                return await call
        except FileNotFoundError as error:
            raise Missing from error
        except (BaseError, OSError, TimeoutError) as error:
            _log.warning("object_store_failed", cause=type(error).__name__, reason=_first_line(error))
            raise ServiceUnavailable from error


def _remote(settings: FileSettings) -> S3Store:
    config: dict[str, Any] = {"region": settings.files_region}
    if settings.files_endpoint:
        config["endpoint"] = settings.files_endpoint
    if settings.files_access_key_id and settings.files_secret_access_key is not None:
        config["access_key_id"] = settings.files_access_key_id
        config["secret_access_key"] = settings.files_secret_access_key.get_secret_value()
    return S3Store.from_url(
        settings.files_url,
        **config,
        client_options={
            "allow_http": settings.files_endpoint.startswith("http://"),
            "timeout": timedelta(seconds=_CALL_TIME_S),
            "connect_timeout": timedelta(seconds=_CONNECT_TIME_S),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
    )


async def _listed(store: ObjectStore, prefix: str) -> list[Any]:
    return [page async for page in obstore.list(store, prefix=prefix)]


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    # Without this the name may be lost with the power, while the database remembers the file.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> None:
    try:
        await asyncio.to_thread(work, *arguments)
    except OSError as error:
        _log.warning("object_store_failed", cause=type(error).__name__, reason=_first_line(error))
        raise ServiceUnavailable from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
