"""Bounds on the head of a request, over real sockets; and that they are in nobody's way."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from pyat.assembly import connection
from pyat.assembly.connection import BoundedProtocol

SLOW_S = 0.3


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the size of the body; `/slow` takes its time."""
    body = await Request(scope, receive).body()
    if scope["path"] == "/slow":
        await asyncio.sleep(SLOW_S)
    await Response(str(len(body)))(scope, receive, send)


class Peer:
    """One connection to the server, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 10)


@asynccontextmanager
async def connected() -> AsyncIterator[Peer]:
    # With the protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, http=BoundedProtocol, ws="none", lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config=config, server_state=state, app_state={}), sock=listener
    )
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        server.close()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        for open_connection in list(state.connections):
            open_connection.transport.abort()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can wait for."""
    monkeypatch.setattr(connection, "HEAD_TIME_S", 0.1)
    monkeypatch.setattr(connection, "HEAD_BYTES_MAX", 2_000)


async def test_requests_on_one_connection() -> None:
    async with connected() as peer:
        for size in (0, 5, 300_000):
            await peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            assert await peer.answer() == (200, str(size).encode())


@pytest.mark.usefixtures("short")
async def test_a_body_beyond_the_heads_bound_is_none_of_its_business() -> None:
    async with connected() as peer:
        await peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 20_000)
        await asyncio.sleep(0.3)
        await peer.send(b"x" * 30_000)
        assert await peer.answer() == (200, b"50000")


@pytest.mark.usefixtures("short")
async def test_many_small_requests_do_not_add_up() -> None:
    async with connected() as peer:
        for _ in range(60):
            await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Filler: %s\r\n\r\n" % (b"x" * 100))
            assert await peer.answer() == (200, b"0")


@pytest.mark.usefixtures("short")
async def test_an_idle_connection_stays_after_an_answer() -> None:
    async with connected() as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await peer.answer() == (200, b"0")
        await asyncio.sleep(0.3)
        await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await peer.answer() == (200, b"0")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("line", [b"X-Short: " + b"x" * 50 + b"\r\n", b"x" * 60], ids=["many lines", "one line"])
async def test_a_head_without_end_is_refused(line: bytes) -> None:
    async with connected() as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: x" + (b"\r\n" if line.endswith(b"\n") else b""))
        await peer.send(line * 30)
        await asyncio.sleep(0.05)
        await peer.send(line * 10)
        status, body = await peer.answer()
        assert (status, orjson.loads(body)["error"]["type"]) == (431, "INVALID_REQUEST_UNKNOWN")
        assert await peer.rest() == b""


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["silent", "begun"])
async def test_a_head_that_does_not_arrive_is_not_waited_for(start: bytes) -> None:
    async with connected() as peer:
        await peer.send(start)
        assert await peer.rest() == b""


@pytest.mark.usefixtures("short")
async def test_a_second_head_that_does_not_arrive_is_not_waited_for_either() -> None:
    async with connected() as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await peer.answer() == (200, b"0")
        await peer.send(b"GET / HT")
        assert await peer.rest() == b""


@pytest.mark.usefixtures("short")
async def test_an_answer_under_way_is_not_cut_off_by_the_next_head() -> None:
    async with connected() as peer:
        await peer.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        await peer.send(b"GET / HT")
        assert await peer.answer() == (200, b"0")
        assert await peer.rest() == b""
