"""The outgoing guard against real servers: what it refuses is never connected to, and what it reads is bounded."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from pyat.foundation.outgoing import (
    OutgoingAnswer,
    OutgoingClient,
    OutgoingFailed,
    OutgoingRefused,
    OutgoingTooLarge,
    _Gate,
    _Refusal,
    parse_allow,
    system_lookup,
)
from tests.support.asgi import serving

LIMIT = 100_000


class Recorder:
    """An ASGI app that answers by path and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.redirects: dict[str, tuple[int, str]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        path = request.url.path
        self.requests.append((request.method, path, dict(request.headers), await request.body()))
        response: Response
        if path in self.redirects:
            status, target = self.redirects[path]
            response = RedirectResponse(target, status)
        elif path == "/large":
            response = Response(b"x" * (LIMIT + 1))
        elif path == "/exact":
            response = Response(b"x" * LIMIT)
        elif path == "/endless":
            response = StreamingResponse(_endless())
        elif path == "/bomb":
            response = Response(gzip.compress(b"x" * (50 * LIMIT)), headers={"content-encoding": "gzip"})
        elif path == "/gzip":
            response = Response(gzip.compress(b"unpacked"), headers={"content-encoding": "gzip"})
        elif path == "/broken-gzip":
            response = Response(gzip.compress(b"unpacked" * 100)[:-20], headers={"content-encoding": "gzip"})
        elif path == "/no-gzip":
            response = Response(b"these are no gzip bytes", headers={"content-encoding": "gzip"})
        elif path == "/brotli":
            response = Response(b"??", headers={"content-encoding": "br"})
        elif path == "/close":
            response = Response(headers={"connection": "close"})
        elif path == "/silent":
            await asyncio.sleep(30)
            response = Response()
        else:
            response = Response(f"{request.method} {path}", 404 if path == "/missing" else 200)
        await response(scope, receive, send)


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b"x" * LIMIT


@asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server that talks as `handle` does; gives its port."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def port(recorder: Recorder) -> AsyncIterator[int]:
    async with serving(recorder) as url:
        yield int(url.rpartition(":")[2])


async def _lookup(host: str, port: int) -> list[str]:
    """Names below .test are this machine; others are as the system says."""
    return ["127.0.0.1"] if host.endswith(".test") else await system_lookup(host, port)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[OutgoingClient]:
    """May reach this machine by address."""
    made = OutgoingClient(parse_allow("127.0.0.1"), lookup=_lookup)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def strict() -> AsyncIterator[OutgoingClient]:
    """May reach public addresses only."""
    made = OutgoingClient(parse_allow(""), lookup=_lookup)
    yield made
    await made.close()


async def fetch(
    client: OutgoingClient, url: str, method: str = "GET", time_s: float = 10, **more: Any
) -> tuple[OutgoingAnswer, bytes]:
    return await client.request(method, url, bytes_max=LIMIT, time_s=time_s, **more)


async def test_an_allowed_address_is_reached(client: OutgoingClient, recorder: Recorder, port: int) -> None:
    answer, body = await fetch(client, f"http://127.0.0.1:{port}/x", "POST", body=b"{}", headers={"X-Sign": "s"})
    assert (answer.status, body) == (200, b"POST /x")
    method, _, headers, sent = recorder.requests[0]
    assert (method, sent, headers["x-sign"], headers["user-agent"]) == ("POST", b"{}", "s", "PyAirtable")


async def test_an_unwelcome_status_is_an_answer(client: OutgoingClient, port: int) -> None:
    answer, body = await fetch(client, f"http://127.0.0.1:{port}/missing")
    assert (answer.status, body) == (404, b"GET /missing")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST.",
        "inside.test",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "[fe80::1%lo]",
        "[::1%251]",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "1.1.1.1@127.0.0.1",
        "%31%32%37.0.0.1",
    ],
)
async def test_no_spelling_of_this_machine_is_reached(
    strict: OutgoingClient, recorder: Recorder, port: int, host: str
) -> None:
    with pytest.raises(OutgoingRefused):
        await fetch(strict, f"http://{host}:{port}/")
    assert recorder.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/relative",
        "//127.0.0.1/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user:secret@example.com/",
        "http://user@example.com/",
        "http://example.com:22/",
        "http://example.com:6379/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1/",
        "http://a b/",
        "http://" + "a" * 64 + ".example/",
        "http://example.com/" + "a" * 9000,
        "http://no-such-host.invalid/",
        "http://127.0.0.1\r\nX: y/",
    ],
)
async def test_what_is_no_usable_web_address_is_refused(strict: OutgoingClient, url: str) -> None:
    with pytest.raises(OutgoingRefused):
        await fetch(strict, url)


async def test_unknown_and_internal_names_are_refused_alike(strict: OutgoingClient) -> None:
    texts = set()
    for url in ("http://no-such-host.invalid/", "http://inside.test/", "http://10.0.0.1/"):
        with pytest.raises(OutgoingRefused) as caught:
            await fetch(strict, url)
        texts.add(caught.value.message)
    assert len(texts) == 1


async def test_a_name_is_looked_up_once_and_what_was_checked_is_what_is_reached(recorder: Recorder, port: int) -> None:
    answers = [["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]]
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    client = OutgoingClient(parse_allow("127.0.0.1"), lookup=rebinding)
    try:
        await fetch(client, f"http://rebind.test:{port}/")
        assert (asked, len(recorder.requests)) == (["rebind.test"], 1)
    finally:
        await client.close()


async def test_a_name_that_turns_inside_is_refused_at_its_next_connection(recorder: Recorder, port: int) -> None:
    client = OutgoingClient(parse_allow("127.0.0.1"), lookup=_turning(["127.0.0.1"], ["127.0.0.2"]))
    try:
        await fetch(client, f"http://rebind.test:{port}/close")
        with pytest.raises(OutgoingRefused):
            await fetch(client, f"http://rebind.test:{port}/")
        assert len(recorder.requests) == 1
    finally:
        await client.close()


def _turning(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    left = list(answers)

    async def lookup(host: str, port: int) -> list[str]:
        return left.pop(0)

    return lookup


async def test_of_several_addresses_only_permitted_ones_are_tried(recorder: Recorder, port: int) -> None:
    client = OutgoingClient(parse_allow("127.0.0.1"), lookup=_turning(["127.0.0.9", "127.0.0.1", "::1"]))
    try:
        answer, _ = await fetch(client, f"http://many.test:{port}/")
        assert answer.status == 200
    finally:
        await client.close()


async def test_a_host_allowed_by_name_is_reached_by_that_name_only(recorder: Recorder, port: int) -> None:
    client = OutgoingClient(parse_allow("inside.test"), lookup=_lookup)
    try:
        assert (await fetch(client, f"http://inside.test:{port}/"))[0].status == 200
        for host in ("outside.test", "127.0.0.1", "localhost"):
            with pytest.raises(OutgoingRefused):
                await fetch(client, f"http://{host}:{port}/")
        assert len(recorder.requests) == 1
    finally:
        await client.close()


async def test_the_last_gate_opens_no_socket_to_an_address_inside() -> None:
    gate = _Gate(parse_allow(""), system_lookup)
    for target in (("127.0.0.1", 80), ("::1", 80, 0, 0), ("2130706433", 80), ("localhost", 80), ("8.8.8.8", 22)):
        with pytest.raises(_Refusal):
            gate.open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", target))
    gate.open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))).close()


async def test_a_proxy_of_the_environment_is_not_used(
    client: OutgoingClient, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await fetch(client, f"http://127.0.0.1:{port}/"))[0].status == 200


async def test_three_redirects_are_followed(client: OutgoingClient, recorder: Recorder, port: int) -> None:
    recorder.redirects = {"/1": (302, "/2"), "/2": (301, f"http://127.0.0.1:{port}/3"), "/3": (307, "end?q=1")}
    answer, body = await fetch(client, f"http://127.0.0.1:{port}/1")
    assert (answer.status, body, answer.url) == (200, b"GET /end", f"http://127.0.0.1:{port}/end?q=1")


async def test_a_fourth_redirect_is_refused(client: OutgoingClient, recorder: Recorder, port: int) -> None:
    recorder.redirects = {"/loop": (302, "/loop")}
    with pytest.raises(OutgoingRefused, match="redirects more than 3 times"):
        await fetch(client, f"http://127.0.0.1:{port}/loop")
    assert len(recorder.requests) == 4


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:{port}/", "//localhost:{port}/", "file:///etc/passwd", "http://u:p@1.1.1.1/"]
)
async def test_a_redirect_is_checked_like_the_first_address(
    client: OutgoingClient, recorder: Recorder, port: int, target: str
) -> None:
    recorder.redirects = {"/away": (302, target.format(port=port))}
    strict = OutgoingClient(parse_allow("127.0.0.1"), lookup=_inside_lookup)
    try:
        with pytest.raises(OutgoingRefused):
            await fetch(strict, f"http://127.0.0.1:{port}/away")
    finally:
        await strict.close()
    assert [path for _, path, _, _ in recorder.requests] == ["/away"]


async def _inside_lookup(host: str, port: int) -> list[str]:
    return ["127.0.0.3"]


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(303, "PUT", "GET"), (302, "POST", "GET"), (307, "POST", "POST"), (308, "PATCH", "PATCH")],
)
async def test_a_redirect_keeps_or_drops_the_body_as_its_status_says(
    client: OutgoingClient, recorder: Recorder, port: int, status: int, method: str, then: str
) -> None:
    recorder.redirects = {"/from": (status, "/to")}
    headers = {"authorization": "Bearer x", "content-type": "text/plain"}
    await fetch(client, f"http://127.0.0.1:{port}/from", method, body=b"data", headers=headers)
    got_method, _, got_headers, got_body = recorder.requests[1]
    assert (got_method, got_body) == (then, b"" if then == "GET" else b"data")
    assert got_headers["authorization"] == "Bearer x"  # the same host
    assert ("content-type" in got_headers) == (then != "GET")


async def test_credentials_stay_with_the_host_they_were_meant_for(
    recorder: Recorder, client: OutgoingClient, port: int
) -> None:
    recorder.redirects = {"/from": (307, f"http://other.test:{port}/to")}
    headers = {
        "authorization": "Bearer x",
        "cookie": "a=b",
        "x-api-key": "k",
        "webhook-signature": "s",
        "accept": "a/b",
    }
    await fetch(client, f"http://127.0.0.1:{port}/from", "POST", body=b"data", headers=headers)
    got = recorder.requests[1][2]
    assert got["host"] == f"other.test:{port}"
    assert got["accept"] == "a/b"
    assert not got.keys() & {"authorization", "cookie", "x-api-key", "webhook-signature"}


@pytest.mark.parametrize("path", ["/large", "/endless", "/bomb"])
async def test_a_large_answer_is_not_read_to_its_end(client: OutgoingClient, port: int, path: str) -> None:
    with pytest.raises(OutgoingTooLarge):
        await fetch(client, f"http://127.0.0.1:{port}{path}")


async def test_an_answer_of_just_the_allowed_size_is_read(client: OutgoingClient, port: int) -> None:
    _, body = await fetch(client, f"http://127.0.0.1:{port}/exact")
    assert len(body) == LIMIT


async def test_an_answer_can_be_streamed_in_pieces(client: OutgoingClient, port: int) -> None:
    async with client.stream("GET", f"http://127.0.0.1:{port}/exact", bytes_max=LIMIT, time_s=10) as answer:
        sizes = [len(piece) async for piece in answer.chunks()]
    assert sum(sizes) == LIMIT


async def test_a_compressed_answer_is_unpacked(client: OutgoingClient, port: int) -> None:
    _, body = await fetch(client, f"http://127.0.0.1:{port}/gzip")
    assert body == b"unpacked"


@pytest.mark.parametrize("path", ["/broken-gzip", "/no-gzip", "/brotli"])
async def test_an_answer_that_cannot_be_unpacked_is_a_failure(client: OutgoingClient, port: int, path: str) -> None:
    with pytest.raises(OutgoingFailed):
        await fetch(client, f"http://127.0.0.1:{port}{path}")


async def test_a_silent_server_is_given_up(client: OutgoingClient, port: int) -> None:
    with pytest.raises(OutgoingFailed, match=r"longer than 0\.05 seconds"):
        await fetch(client, f"http://127.0.0.1:{port}/silent", time_s=0.05)


async def test_a_server_that_drips_is_given_up(client: OutgoingClient) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip) as port:
        with pytest.raises(OutgoingFailed, match="longer than"):
            await fetch(client, f"http://127.0.0.1:{port}/", time_s=0.1)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)
async def test_a_server_that_does_not_speak_http_is_a_failure(client: OutgoingClient, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with raw_server(talk) as port:
        with pytest.raises(OutgoingFailed):
            await fetch(client, f"http://127.0.0.1:{port}/")


async def test_a_closed_port_is_a_failure(client: OutgoingClient) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OutgoingFailed, match="cannot be reached"):
            await fetch(client, f"http://127.0.0.1:{taken.getsockname()[1]}/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "internal"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("connection", "upgrade"),
        ("bad name", "x"),
        ("x\r\ny", "z"),
        ("x", "a\r\nb: c"),
        ("", "x"),
    ],
)
async def test_headers_that_change_the_framing_are_refused(
    client: OutgoingClient, port: int, name: str, value: str
) -> None:
    with pytest.raises(OutgoingRefused):
        await fetch(client, f"http://127.0.0.1:{port}/", headers={name: value})


async def test_what_the_reader_raises_inside_the_block_is_not_changed(client: OutgoingClient, port: int) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with client.stream("GET", f"http://127.0.0.1:{port}/", bytes_max=LIMIT, time_s=10):
            raise TimeoutError("mine")
