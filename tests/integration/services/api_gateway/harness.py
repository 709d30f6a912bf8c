"""A platform of auth, an echoing service and the gateway, served by uvicorn in the test's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp
from uvicorn.server import ServerState
from yarl import URL

from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import Clock, SystemClock
from pyat.foundation.db import Database
from pyat.foundation.identity import Signer
from pyat.foundation.ids import BaseId
from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.web import Handlers, Health, Operation, json_response, read_body
from pyat.services.api_gateway.app import Gateway
from pyat.services.api_gateway.contract import Page, Route, Upstream
from pyat.services.api_gateway.service.upstreams import LocalUpstream
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.auth import app as auth_app
from pyat.services.auth.contract import SCOPES, Account, Auth

BASE = BaseId("appAAAAAAAAAAAAAA")
OTHER_BASE = BaseId("appBBBBBBBBBBBBBB")
SIGNER = Signer(b"a key of the tests, thirty-two bytes or more")
PASSWORD = "correct horse battery"
UNLIMITED = GatewaySettings(rate_limits="off")

LARGE_BYTES_MAX = 20 * 1024 * 1024

ECHO_OPERATIONS = (
    Operation("echo_get", "GET", "/v0/{base_id:app}/{table}", "Says what arrived", scope="data.records:read"),
    Operation("echo_post", "POST", "/v0/{base_id:app}/{table}", "Says what arrived", scope="data.records:write"),
    Operation("echo_delete", "DELETE", "/v0/{base_id:app}/{table}", "Says what arrived", scope="data.records:write"),
    Operation("echo_metadata", "GET", "/v0/meta/bases/{base_id:app}/tables", "Is metadata", is_metadata=True),
    Operation("stream", "GET", "/api/v1/echo/stream", "Streams a body", is_metadata=True),
    Operation("bytes", "POST", "/api/v1/echo/bytes", "Sends the body back", is_metadata=True),
    Operation("fail", "GET", "/api/v1/echo/fail", "Breaks", is_metadata=True),
    Operation("sized", "HEAD", "/api/v1/echo/stream", "Says how long the stream is", is_metadata=True),
    Operation("own_options", "OPTIONS", "/api/v1/echo/stream", "Answers OPTIONS itself", is_public=True),
    Operation("untouched", "GET", "/api/v1/echo/untouched", "Must not be compressed", is_metadata=True),
    Operation(
        "count", "POST", "/api/v1/echo/count", "Counts a large body", is_metadata=True, body_bytes_max=LARGE_BYTES_MAX
    ),
    Operation("public", "GET", "/api/v1/echo/public", "Needs no credentials", is_public=True),
)


async def _echo(request: Request) -> Response:
    """What a service sees of a request."""
    state = request.scope["state"]
    principal = state.get("principal")
    return json_response(
        {
            "method": request.method,
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "query": request.scope["query_string"].decode("latin-1"),
            "parameters": request.path_params,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body_bytes": len(await read_body(request)),
            "request_id": state["request_id"],
            "user_id": None if principal is None else principal.user_id,
            "padding": request.query_params.get("pad", ""),
        }
    )


async def _stream(request: Request) -> Response:
    pieces, declared = int(request.query_params["pieces"]), "length" in request.query_params

    async def produce() -> AsyncIterator[bytes]:
        for number in range(pieces):
            yield b"%06d\n" % number * 1000
            await asyncio.sleep(0)

    headers = {"content-type": "text/plain", **({"content-length": str(pieces * 7000)} if declared else {})}
    return StreamingResponse(produce(), headers=headers)


async def _sized(request: Request) -> Response:
    return Response(headers={"content-length": request.query_params["bytes"], "content-type": "text/plain"})


async def _own_options(request: Request) -> Response:
    return Response(status_code=204, headers={"x-own": "yes"})


async def _untouched(request: Request) -> Response:
    text = b"again and again " * 1_000
    headers = {"content-type": "text/plain", "cache-control": "public, no-transform"}
    if "whole" in request.query_params:
        return Response(text, headers=headers)

    async def produce() -> AsyncIterator[bytes]:
        yield text

    return StreamingResponse(produce(), headers={**headers, "content-length": str(len(text))})


async def _count(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return json_response({"bytes": size})


async def _bytes(request: Request) -> Response:
    return Response(await read_body(request), headers={"content-type": "application/octet-stream"})


async def _fail(request: Request) -> Response:
    raise ZeroDivisionError(request.method)


ECHO_HANDLERS: Handlers = {
    "echo_get": _echo,
    "echo_post": _echo,
    "echo_delete": _echo,
    "echo_metadata": _echo,
    "stream": _stream,
    "bytes": _bytes,
    "fail": _fail,
    "sized": _sized,
    "own_options": _own_options,
    "untouched": _untouched,
    "count": _count,
    "public": _echo,
}


async def _always() -> bool:
    return True


ECHO_HEALTH = Health("echo", {"itself": _always})


@contextlib.asynccontextmanager
async def served(app: ASGIApp, *, port: int = 0) -> AsyncIterator[str]:
    """The address of `app`, answered by uvicorn's protocol on a free port of the loopback interface.

    Not by `uvicorn.Server`, which looks for signals and its end ten times a second: that would be most of a test's time.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none")
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), sock=listener
    )
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@dataclass
class Answer:
    """A response that was read whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as plain values."""
        return orjson.loads(self.body)


@dataclass
class Platform:
    """One process: its resources, auth, and a gateway at `url`."""

    url: str
    resources: Resources
    auth: Auth
    gateway: Gateway
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=lambda: {"Accept-Encoding": "identity"})
    """Sent with every request unless it says otherwise."""

    async def ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Answer:
        """One request; `path` is sent as it is written here."""
        headers = {**self.headers, **options.pop("headers", {})}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(
            method, URL(self.url + path, encoded=True), headers=headers, allow_redirects=False, **options
        ) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, found, await response.read())

    async def account(self, email: str = "ada@example.com") -> Account:
        """A new user of a new tenant."""
        return await self.auth.create_account(email=email, name="Ada", password=PASSWORD, tenant_name="Analysts")

    async def token(
        self, account: Account, *, scopes: frozenset[str] = SCOPES, base_ids: tuple[BaseId, ...] | None = None
    ) -> str:
        """A new personal access token, whole."""
        issued = await self.auth.create_token(
            user_id=account.user_id,
            name="test",
            scopes=tuple(scopes),
            base_ids=base_ids,
            expires_time=None,
            secret=None,
        )
        return issued.secret


def build_auth(resources: Resources) -> Service:
    """The real auth service."""
    return auth_app.build(resources, Peers({}))


@contextlib.asynccontextmanager
async def platform(
    postgres_url: str,
    valkey_url: str,
    *,
    settings: GatewaySettings = UNLIMITED,
    upstream: Upstream | None = None,
    pages: dict[str, Page] | None = None,
    clock: Clock | None = None,
    platform_settings: PlatformSettings | None = None,
    wrap_auth: Callable[[Auth], Auth] = lambda auth: auth,
) -> AsyncIterator[Platform]:
    """A process with a gateway, auth and the echoing service (here, or wherever `upstream` leads)."""
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(postgres_url, connections_max=4)
        stack.push_async_callback(database.close)
        cache = Cache(valkey_url)
        stack.push_async_callback(cache.close)
        bus = Bus(cache, valkey_url)
        resources = Resources(
            platform_settings or PlatformSettings(), database, cache, bus, SIGNER, clock or SystemClock()
        )
        auth = build_auth(resources)
        assert auth.lifespan is not None
        routes = [
            Route("auth", auth.operations, LocalUpstream(auth.handlers, "auth")),
            Route("echo", ECHO_OPERATIONS, upstream or LocalUpstream(ECHO_HANDLERS, "echo")),
        ]
        gateway = Gateway(resources, wrap_auth(auth.implementation), routes, pages=pages or {}, settings=settings)
        connected = asyncio.Event()
        bus.on_gap(connected.set)
        news = asyncio.create_task(bus.run())
        stack.push_async_callback(_cancel, news)
        await stack.enter_async_context(auth.lifespan())
        await asyncio.wait_for(connected.wait(), 5)
        url = await stack.enter_async_context(served(gateway))
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield Platform(url, resources, auth.implementation, gateway, session)


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(what: Callable[[], Awaitable[bool]], *, limit_s: float = 10) -> None:
    """Wait until `what` holds; fails after `limit_s`, which only says that it never will."""
    async with asyncio.timeout(limit_s):
        while not await what():
            await asyncio.sleep(0.01)


async def send_raw(url: str, *pieces: bytes, limit_s: float = 10) -> tuple[int, bytes]:
    """Write bytes to a server as they are; returns the status and the whole answer. Raises TimeoutError."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), limit_s)
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        return int(head.split(b" ", 2)[1]), head + await reader.readexactly(length)
    finally:
        writer.close()
