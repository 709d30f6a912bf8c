"""A records service with a schema service beside it, and a base to write to."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId
from pyat.foundation.service import Peers, Resources
from pyat.foundation.settings import PlatformSettings
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore
from pyat.services.auth.service import AuthService
from pyat.services.auth.settings import AuthSettings
from pyat.services.auth.store import AuthStore, LoginAttempts
from pyat.services.file import app as file_app
from pyat.services.file.service import FilesService
from pyat.services.schema.contract import FieldDraft, Schema, TableDraft
from pyat.services.schema.service import SchemaService
from tests.support.schema import SIGNER, new_workspace, principal, schema_service

FIELDS = (
    FieldDraft("Name", "singleLineText"),
    FieldDraft("Age", "number", options={"precision": 0}),
    FieldDraft("Status", "singleSelect", options={"choices": [{"name": "Todo"}, {"name": "Done"}]}),
    FieldDraft("Tags", "multipleSelects", options={"choices": [{"name": "a"}, {"name": "b"}]}),
    FieldDraft("Number", "autoNumber"),
)


_FOLDER = tempfile.TemporaryDirectory(prefix="pyat-files-")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a test of records works with."""

    schema: SchemaService
    records: RecordsService
    base_id: BaseId


def auth_service(database: Database, cache: Cache) -> AuthService:
    """The service on a database, with passwords that cost nothing."""
    settings = AuthSettings(argon2_memory_kib=64, argon2_passes=1)
    attempts = LoginAttempts(cache, attempts_max=settings.login_attempts_max, window_s=settings.login_window_s)
    # Nobody listens for news here, so the address is never used.
    return AuthService(AuthStore(database), attempts, Bus(cache, "valkey://127.0.0.1:1"), SystemClock(), settings)


def records_service(database: Database, cache: Cache, schema: SchemaService) -> RecordsService:
    """The service on a database, with caches of its own: a second one is a second process."""
    auth = auth_service(database, cache)
    files = file_service(database, cache, schema)
    return RecordsService(RecordsStore(database), schema, cache, RecordsSettings(), auth=auth, files=files)


def file_service(database: Database, cache: Cache, schema: SchemaService) -> FilesService:
    """The file service on the same database, its files in a folder that ends with the test run; it fetches nothing."""
    settings = PlatformSettings(home=Path(_FOLDER.name))
    bus = Bus(cache, "valkey://127.0.0.1:1")
    resources = Resources(settings, database, cache, bus, SIGNER, SystemClock())
    found: FilesService = file_app.build(resources, Peers({Schema: schema})).implementation
    return found


async def make_bench(database: Database, cache: Cache) -> Bench:
    """Both services and a base with one table `T` of `FIELDS`."""
    schema = schema_service(database)
    base = await schema.create_base(
        principal=principal(),
        workspace_id=await new_workspace(schema),
        name="Base",
        tables=(TableDraft("T", FIELDS), TableDraft("Other", FIELDS[:1])),
    )
    return Bench(schema, records_service(database, cache, schema), base.base_id)


def decoded(body: bytes) -> list[dict[str, Any]]:
    """The records of an answer."""
    found: list[dict[str, Any]] = orjson.loads(b"[" + body + b"]")
    return found
