"""One process of the platform: builds the services that run here, binds their peers, and serves until told to stop.

`python -m pyat.assembly.process` runs every service; with names, those; `--at PEER=URL` says where others are.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import structlog
import uvicorn
import uvloop
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pyat import __version__
from pyat.assembly.catalog import BY_NAME, CATALOG, GATEWAY, GATEWAY_NEEDS, NAMES, port_of
from pyat.assembly.connection import BoundedProtocol
from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.parent import LISTEN_VARIABLE, watch_parent
from pyat.foundation import rpc
from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.identity import Signer
from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.telemetry import configure_logging
from pyat.foundation.web import Health, Operation, ServiceApp, internal_route, json_response

_log = structlog.get_logger("process")

STOP_AFTER_S = 5
"""How long running requests may take to finish when the process is told to stop."""
DATABASE_WAIT_S = 30.0
"""How long a database may take to answer: it may be starting, or be recovering from a crash."""
BUS_PAUSE_S = 1.0
LISTEN_BACKLOG = 2048
INTERNAL_KEY_BYTES_MIN = 32
HEAD_BYTES_MAX = 2 * 1024 * 1024
"""Of a request line and headers; beyond it the connection is closed. The gateway answers 414 and 431 far below."""
KEEP_ALIVE_S = 75
"""Longer than any client of ours keeps an unused connection; see `rpc.IDLE_CONNECTION_S`."""


@asynccontextmanager
async def open_resources(settings: PlatformSettings) -> AsyncIterator[Resources]:
    """Database, cache and bus of this process; waits a while for a database that is only starting."""
    assert settings.database_url is not None, "the command line or the supervisor sets PYAT_DATABASE_URL"
    assert settings.valkey_url is not None, "the command line or the supervisor sets PYAT_VALKEY_URL"
    assert settings.internal_key is not None, "the command line or the supervisor sets PYAT_INTERNAL_KEY"
    internal_key = settings.internal_key.get_secret_value().encode()
    if len(internal_key) < INTERNAL_KEY_BYTES_MIN:
        raise HomeError(f"PYAT_INTERNAL_KEY is too short: give it {INTERNAL_KEY_BYTES_MIN} bytes or more, all random.")
    async with AsyncExitStack() as stack:
        database = await _open_database(settings)
        stack.push_async_callback(database.close)
        valkey_url = settings.valkey_url.get_secret_value()
        valkey = Cache(valkey_url)
        stack.push_async_callback(valkey.close)
        yield Resources(
            settings=settings,
            database=database,
            cache=valkey,
            bus=Bus(valkey, valkey_url),
            signer=Signer(internal_key),
            clock=SystemClock(),
        )


async def _open_database(settings: PlatformSettings) -> Database:
    assert settings.database_url is not None, "checked by the caller"
    url = settings.database_url.get_secret_value()
    deadline_s = asyncio.get_running_loop().time() + DATABASE_WAIT_S
    while True:
        try:
            return await Database.open(
                url, connections_max=settings.database_pool_max, timeout_s=settings.database_timeout_s
            )
        except ServiceUnavailable as error:
            cause = error.__cause__ or error
            # An address that is none (a ValueError) does not become one by waiting.
            if isinstance(cause, ValueError) or asyncio.get_running_loop().time() > deadline_s:
                raise unreachable("PostgreSQL", url, "PYAT_DATABASE_URL", cause) from error
            await asyncio.sleep(0.1)
        except (asyncpg.PostgresError, OSError, ValueError) as error:
            # It answered, and refuses.
            raise unreachable("PostgreSQL", url, "PYAT_DATABASE_URL", error) from error


def unreachable(server: str, url: str, setting: str, cause: BaseException | str) -> HomeError:
    """The sentence for a server that cannot be used; names where it is looked for, without the password."""
    try:
        place = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        place = ""
    reason = " ".join(str(cause).split()) or type(cause).__name__
    where = f" at {place}" if place else ""
    return HomeError(f"{server}{where} cannot be used ({reason}): start it there, or correct {setting}.")


def build_local(resources: Resources, names: Sequence[str] = tuple(BY_NAME)) -> dict[str, Service]:
    """The named services with every peer in this process; what they need must be named too."""
    return _build(resources, names, {}, None)


def _build(
    resources: Resources, names: Sequence[str], at: Mapping[str, str], session: aiohttp.ClientSession | None
) -> dict[str, Service]:
    built: dict[str, Service] = {}
    for entry in CATALOG:
        if entry.name in names:
            peers = Peers(
                {BY_NAME[need].protocol(): _bind(need, built, at, session, resources) for need in entry.needs}
            )
            built[entry.name] = entry.build(resources, peers)
    return built


def _bind(
    name: str,
    built: Mapping[str, Service],
    at: Mapping[str, str],
    session: aiohttp.ClientSession | None,
    resources: Resources,
) -> Any:
    """A service's contract: the object itself where it runs here, a client of its process where it does not."""
    if name in built:
        return built[name].implementation
    assert session is not None, f"{name} does not run here and nobody said where it is"
    return rpc.client(BY_NAME[name].protocol(), at[name], session=session, signer=resources.signer)


@asynccontextmanager
async def serving(settings: PlatformSettings, names: Sequence[str], at: Mapping[str, str]) -> AsyncIterator[ASGIApp]:
    """The ASGI app of this process, with everything behind it open and running."""
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        session = await stack.enter_async_context(rpc.new_session())
        built = _build(resources, names, at, session)
        app = _gateway(resources, built, at, session) if GATEWAY in names else _services(resources, built)
        for service in built.values():
            if service.lifespan is not None:
                await stack.enter_async_context(service.lifespan())
        bus = asyncio.create_task(_listen(resources.bus), name="bus")
        stack.push_async_callback(_cancel, bus)
        yield app


async def _listen(bus: Bus) -> None:
    """Receive news until cancelled, whatever happens to it: without, a process would trust what it cached too long."""
    while True:
        try:
            await bus.run()
            return
        except Exception:
            _log.exception("bus_failed")
            await asyncio.sleep(BUS_PAUSE_S)


async def _cancel(task: "asyncio.Task[None]") -> None:
    # More than once, because valkey-py loses a cancellation that comes while it connects.
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


def _gateway(
    resources: Resources, built: Mapping[str, Service], at: Mapping[str, str], session: aiohttp.ClientSession
) -> ASGIApp:
    from pyat.services.api_gateway.app import Gateway
    from pyat.services.api_gateway.contract import Document, Route
    from pyat.services.api_gateway.service.upstreams import LocalUpstream, RemoteUpstream
    from pyat.services.api_gateway.settings import GatewaySettings

    gateway_settings = GatewaySettings()
    routes = []
    for entry in CATALOG:
        if entry.name in built:
            upstream: Any = LocalUpstream(built[entry.name].handlers, entry.name)
        else:
            upstream = RemoteUpstream(at[entry.name], session, resources.signer, settings=gateway_settings)
        routes.append(Route(entry.name, entry.operations(), upstream))
    # Without Valkey the gateway goes on, only without limits.
    own = Health(GATEWAY, {}, watched={"valkey": resources.cache.is_ready})
    remote = {name: at[name] for name in GATEWAY_NEEDS if name not in built}

    async def internal(scope: Scope) -> Response:
        if scope["path"] == "/health/ready" and remote:
            return await _ready(own, built, remote, session)
        found = await internal_route(scope, own, *(service.health for service in built.values()))
        assert found is not None, "the gateway asks for paths that internal_route has"
        return found

    async def document(scope: Scope) -> Response:
        body, content_type = _documents()[scope["path"]]
        return Response(body, headers={"content-type": content_type})

    return Gateway(
        resources,
        _bind("auth", built, at, session, resources) if "auth" not in built else built["auth"].implementation,
        routes,
        pages={
            "/health/live": internal,
            "/health/ready": internal,
            "/metrics": internal,
            "/openapi.json": document,
            "/docs": document,
            "/robots.txt": Document(b"User-agent: *\nDisallow: /\n", "text/plain; charset=utf-8"),
        },
        settings=gateway_settings,
    )


async def _ready(
    own: Health, built: Mapping[str, Service], remote: Mapping[str, str], session: aiohttp.ClientSession
) -> Response:
    """Readiness of every service, those of other processes included."""

    async def ask(name: str, url: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(2), session.get(f"{url}/health/ready") as response:
                found: dict[str, Any] = (await response.json())["services"][name]
                return {"service": name, **found}
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError):
            return {"service": name, "ready": False, "checks": {"process": False}, "latency_ms": 0}

    reports = await asyncio.gather(
        own.report(),
        *(service.health.report() for service in built.values()),
        *(ask(name, url) for name, url in remote.items()),
    )
    is_ready = all(report["ready"] for report in reports)
    services = {report.pop("service"): report for report in reports}
    return json_response(
        {"status": "ready" if is_ready else "starting", "services": services}, status=200 if is_ready else 503
    )


def all_operations() -> tuple[Operation, ...]:
    """The public operations of the whole platform."""
    return tuple(operation for entry in CATALOG for operation in entry.operations())


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of the whole platform."""
    from pyat.foundation import openapi

    return openapi.document(all_operations(), title="PyAirtable", version=__version__, components={})


@cache
def _documents() -> dict[str, tuple[bytes, str]]:
    """`/openapi.json` and `/docs`, made when first asked for."""
    import orjson

    from pyat.foundation import openapi

    document = openapi_document()
    return {
        "/openapi.json": (orjson.dumps(document), "application/json; charset=utf-8"),
        "/docs": (openapi.html(document).encode(), "text/html; charset=utf-8"),
    }


def _services(resources: Resources, built: Mapping[str, Service]) -> ASGIApp:
    """One service in a process of its own: its public operations for the gateway, its contract for its peers."""
    (service,) = built.values()
    entry = BY_NAME[service.name]
    protocol = entry.protocol()
    public = ServiceApp(service.name, service.operations, service.handlers, resources.signer, service.health)
    internal = rpc.Server({protocol.__name__: (protocol, service.implementation)}, resources.signer)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (internal if scope["path"].startswith(rpc.PREFIX) else public)(scope, receive, send)

    return app


class _BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol with an end to how much of a request's head it keeps; the gateway's own limit is lower."""

    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._fits(len(url)):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._fits(len(name) + len(value)):
            super().on_header(name, value)

    def _fits(self, size: int) -> bool:
        self._head_bytes += size
        if self._head_bytes <= HEAD_BYTES_MAX:
            return True
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()
        return False


async def run(names: Sequence[str], at: Mapping[str, str], *, host: str, port: int) -> None:
    """Serve until SIGTERM, SIGINT or the supervisor's death; requests under way are answered first.

    Listens on the socket that the supervisor handed down, else on `host` and `port`. Raises HomeError.
    """
    settings = PlatformSettings()
    configure_logging(level=settings.log_level, service=names[0] if len(names) == 1 else "all")
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    listener = _listener(host, port)
    async with serving(settings, names, at) as app:
        # What lives until the end of the process is not looked at again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        await _serve(app, listener)


async def _serve(app: ASGIApp, listener: socket.socket) -> None:
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_AFTER_S,
        backlog=LISTEN_BACKLOG,
    )
    server = uvicorn.Server(config)

    def stop(*_: Any) -> None:
        server.should_exit = True

    # When uvicorn has stopped it raises the signal again, for whoever had it before. Python's own answer would end the
    # process there and then, and the services would never leave their lifespans, where they write what is left.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    await server.serve(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    inherited = os.environ.get(LISTEN_VARIABLE)
    if inherited is not None:
        return socket.socket(fileno=int(inherited))
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise HomeError(
            f"Port {port} of {host} cannot be used ({error.strerror or error}): stop what uses it, or choose another one"
            " with --port."
        ) from error
    listener.listen(LISTEN_BACKLOG)
    return listener


def main() -> None:
    """The command line of a process; what keeps it from starting is one sentence and status 1."""
    parser = argparse.ArgumentParser(prog="python -m pyat.assembly.process")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="services to run; all when none is named")
    parser.add_argument("--at", action="append", default=[], metavar="PEER=URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    chosen = parser.parse_args()
    names = chosen.names or NAMES
    at = dict(item.split("=", 1) for item in chosen.at)
    port = chosen.port or port_of(names[0])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(names, at, host=chosen.host, port=port))
    except HomeError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
