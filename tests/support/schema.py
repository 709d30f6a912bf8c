"""Principals, drafts and a served schema service for tests of structure."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jsonschema_rs
import orjson
from yarl import URL

from pyat.foundation.db import Database
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId, WorkspaceId
from pyat.foundation.openapi import errors_of
from pyat.foundation.web import Health, Operation, Router, ServiceApp
from pyat.services.schema.contract import FieldDraft, TableDraft
from pyat.services.schema.routes import OPERATIONS, handlers
from pyat.services.schema.service import SchemaService
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import SchemaStore
from tests.support.asgi import serving

SIGNER = Signer(b"k" * 32)
ROUTER = Router(OPERATIONS)
TENANT = TenantId("the-tenant")
OTHER_TENANT = TenantId("another-tenant")


def principal(*, tenant_id: TenantId = TENANT, base_ids: frozenset[BaseId] | None = None) -> Principal:
    """A caller with every scope; `base_ids` limits the credential."""
    return Principal(
        user_id=UserId("usr00000000000001"),
        tenant_id=tenant_id,
        email="ann@example.org",
        name="Ann",
        credential_id=TokenId("pat00000000000001"),
        kind="token",
        scopes=frozenset({"schema.bases:read", "schema.bases:write"}),
        base_ids=base_ids,
    )


def schema_service(database: Database, *, create_computed_fields: bool = True) -> SchemaService:
    """The service on a database."""
    return SchemaService(SchemaStore(database), SchemaSettings(create_computed_fields=create_computed_fields))


def text_field(name: str, **more: Any) -> FieldDraft:
    """A draft of a single line text field."""
    return FieldDraft(name, "singleLineText", **more)


def table_draft(name: str = "Tasks", *fields: FieldDraft, **more: Any) -> TableDraft:
    """A draft of a table; without fields it gets one, `Name`."""
    return TableDraft(name, fields or (text_field("Name"),), **more)


async def new_workspace(service: SchemaService, caller: Principal | None = None) -> WorkspaceId:
    """A workspace of the caller's tenant."""
    return (await service.create_workspace(principal=caller or principal(), name="Work")).workspace_id


class Client:
    """HTTP to a served service, schema unless another's `router` is given, as the gateway talks to it."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, *, router: Router = ROUTER) -> None:
        self._session = session
        self._origin = origin
        self._router = router

    async def send(
        self, method: str, target: str, body: Any = None, *, caller: Principal | None = None, raw: bytes | None = None
    ) -> tuple[int, Any]:
        """Status and JSON of one request; `target` is sent as it is, `raw` instead of a JSON body."""
        sent = raw if raw is not None else b"" if body is None else orjson.dumps(body)
        headers = {HEADER: SIGNER.sign(caller or principal(), request_id="req")}
        url = URL(self._origin + target, encoded=True)
        async with self._session.request(method, url, data=io.BytesIO(sent), headers=headers) as response:
            assert response.headers["content-type"] == "application/json; charset=utf-8"
            return response.status, orjson.loads(await response.read())

    async def ok(self, method: str, target: str, body: Any = None, *, caller: Principal | None = None) -> Any:
        """The JSON of a request that must succeed, as its operation documents it."""
        status, answer = await self.send(method, target, body, caller=caller)
        assert status == 200, answer
        documented = self._operation(method, target)
        assert documented.answer is not None
        jsonschema_rs.validate(dict(documented.answer), answer)
        if documented.body is not None:
            jsonschema_rs.validate(dict(documented.body), body)
        return answer

    async def refused(
        self, method: str, target: str, body: Any = None, *, caller: Principal | None = None, raw: bytes | None = None
    ) -> tuple[int, str, str]:
        """Status, type and message of a request that must fail, in a way that its operation documents."""
        status, answer = await self.send(method, target, body, caller=caller, raw=raw)
        kind = answer["error"]["type"]
        assert (status, kind) in {
            (error.status, error.wire_type) for error in errors_of(self._operation(method, target))
        }
        return status, kind, answer["error"]["message"]

    def _operation(self, method: str, target: str) -> Operation:
        return self._router.match(method, target.partition("?")[0].encode()).operation


@asynccontextmanager
async def served(service: SchemaService, database: Database) -> AsyncIterator[Client]:
    """The service's public operations over HTTP on a free port of this machine."""
    app = ServiceApp(
        "schema",
        OPERATIONS,
        handlers(service),
        SIGNER,
        Health("schema", {"database": database.is_ready}),
    )
    async with serving(app) as origin, aiohttp.ClientSession() as session:
        yield Client(session, origin)
