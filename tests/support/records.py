"""A records service with a schema service beside it, and a base to write to."""

from dataclasses import dataclass
from typing import Any

import orjson

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore
from pyat.services.schema.contract import FieldDraft, TableDraft
from pyat.services.schema.service import SchemaService
from tests.support.schema import new_workspace, principal, schema_service

FIELDS = (
    FieldDraft("Name", "singleLineText"),
    FieldDraft("Age", "number", options={"precision": 0}),
    FieldDraft("Status", "singleSelect", options={"choices": [{"name": "Todo"}, {"name": "Done"}]}),
    FieldDraft("Tags", "multipleSelects", options={"choices": [{"name": "a"}, {"name": "b"}]}),
    FieldDraft("Number", "autoNumber"),
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a test of records works with."""

    schema: SchemaService
    records: RecordsService
    base_id: BaseId


def records_service(database: Database, cache: Cache, schema: SchemaService) -> RecordsService:
    """The service on a database, with caches of its own: a second one is a second process."""
    return RecordsService(RecordsStore(database), schema, cache, RecordsSettings())


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
