"""A file service with a schema service beside it, a base to attach to, and its public operations over HTTP."""

import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SteppedClock
from pyat.foundation.db import Database
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import BaseId
from pyat.foundation.outgoing import OutgoingClient, parse_allow
from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.signing import FileUrls
from pyat.foundation.sql import Statement, quote
from pyat.foundation.web import ServiceApp
from pyat.recordstore import attachments
from pyat.recordstore.attachments import Attachment
from pyat.services.file import app
from pyat.services.file.service import FilesService
from pyat.services.file.service.imaging import Renderer
from pyat.services.file.service.keeping import Keeper
from pyat.services.file.service.looking import Looker
from pyat.services.file.service.scan import Scanner
from pyat.services.file.service.sweeping import Sweeper
from pyat.services.file.service.uploads import Uploads
from pyat.services.file.settings import FILE_BYTES_MAX, FileSettings
from pyat.services.file.store import FileStore
from pyat.services.file.store.objects import Objects
from pyat.services.schema.contract import Schema, TableDraft
from pyat.services.schema.service import SchemaService
from tests.support.asgi import serving
from tests.support.schema import new_workspace, principal, schema_service, text_field

SIGNER = Signer(b"a key of the tests, thirty-two bytes or more")
NOW = datetime(2030, 5, 1, 12, 30, tzinfo=UTC)
LIFETIME_S = 7_200
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c626001000000ffff03000006000557bfabd40000000049454e44ae426082"
)


@dataclass(slots=True)
class Bench:
    """What a test of files works with."""

    schema: SchemaService
    database: Database
    service: Service
    base_id: BaseId
    field_id: str
    """Of some field of the base."""
    clock: SteppedClock
    home: Path
    urls: FileUrls = field(default_factory=lambda: FileUrls.of(SIGNER, LIFETIME_S))

    @property
    def files(self) -> FilesService:
        """The contract's implementation."""
        found: FilesService = self.service.implementation
        return found

    async def close(self) -> None:
        """End what the service has started."""
        await self.files.close()

    @property
    def sweeper(self) -> Sweeper:
        """What deletes what nobody needs."""
        return Sweeper(self.store, self.object_store, self.clock)

    @property
    def uploads(self) -> Uploads:
        """Resumable uploads, as another process has them."""
        keeper = Keeper(self.store, self.object_store, Looker(Renderer(), Scanner("")), self.clock)
        return Uploads(self.store, self.object_store, keeper, self.clock, bytes_max=FILE_BYTES_MAX)

    @property
    def store(self) -> FileStore:
        """The database."""
        return FileStore(self.database)

    @property
    def object_store(self) -> Objects:
        """The object store that the settings name."""
        return Objects.open(FileSettings(), self.home)

    async def row(self, attachment_id: str) -> Attachment | None:
        """The attachment's row."""
        async with self.database.connection() as connection:
            return (await attachments.read(connection, self.base_id, [attachment_id])).get(attachment_id)

    def url(self, attachment_id: str, variant: str = "original", filename: str = "cat.png") -> str:
        """A signed path."""
        return self.urls.url("", self.base_id, attachment_id, variant, filename, self.clock.now())

    def later(self, **by: float) -> None:
        """Move the clock."""
        self.clock.set(self.clock.now() + timedelta(**by))

    async def fetch_due(self, allow: str = "127.0.0.1") -> int:
        """Do what the worker does with what is due now, once; returns how many files it took."""
        outgoing = OutgoingClient(parse_allow(allow))
        fetcher = self.files.fetcher
        try:
            taken = await fetcher.take(100)
            for fetch in taken:
                await fetcher.fetch(fetch, outgoing)
        finally:
            await outgoing.close()
        return len(taken)

    async def changes(self) -> list[Mapping[str, Any]]:
        """What the change log says of attachments, in order."""
        statement = Statement(
            "changes", f"SELECT * FROM {quote(self.base_id, 'base_changes')} WHERE kind IN (50, 51) ORDER BY n"
        )
        return list(await self.database.rows(statement))

    def objects(self) -> list[str]:
        """What lies in the store on the local disk, by name."""
        folder = self.home / "files"
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def built(
    database: Database, cache: Cache, schema: Schema, home: Path, clock: SteppedClock, **settings: Any
) -> Service:
    """The service itself; a second one on the same database is a second process."""
    resources = Resources(
        PlatformSettings(home=home, **settings), database, cache, Bus(cache, "valkey://127.0.0.1:1"), SIGNER, clock
    )
    return app.build(resources, Peers({Schema: schema}))


async def make_bench(database: Database, cache: Cache, home: Path, **settings: Any) -> Bench:
    """Both services and a base with one table."""
    schema = schema_service(database)
    base = await schema.create_base(
        principal=principal(),
        workspace_id=await new_workspace(schema),
        name="Base",
        tables=(TableDraft("T", (text_field("Name"),)),),
    )
    clock = SteppedClock(NOW)
    service = built(database, cache, schema, home, clock, **settings)
    field_id = base.tables[0].fields[0].field_id
    return Bench(schema, database, service, base.base_id, field_id, clock, home)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as plain values."""
        return orjson.loads(self.body)


class Client:
    """HTTP to a served file service, as the gateway talks to it."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self.origin = origin

    async def send(self, method: str, path: str, *, caller: Principal | None = None, **options: Any) -> Answer:
        """One request; `path` is sent as it is."""
        headers = {"accept-encoding": "identity", **options.pop("headers", {})}
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
        headers[HEADER] = SIGNER.sign(caller or principal(), request_id="req")
        async with self._session.request(
            method, URL(self.origin + path, encoded=True), headers=headers, **options
        ) as response:
            return Answer(response.status, response.headers, await response.read())


@asynccontextmanager
async def served(bench: Bench) -> AsyncIterator[Client]:
    """The service's public operations over HTTP on a free port of this machine."""
    service = bench.service
    web = ServiceApp(service.name, service.operations, service.handlers, SIGNER, service.health)
    async with serving(web) as origin, aiohttp.ClientSession() as session:
        yield Client(session, origin)
