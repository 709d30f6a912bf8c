"""A service in another process: what reaches it, what comes back, and what happens while it is not there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from pyat.foundation.web import BODY_BYTES_MAX, ServiceApp
from pyat.services.api_gateway.service.upstreams import RemoteUpstream
from pyat.services.api_gateway.settings import GatewaySettings
from tests.integration.services.api_gateway.harness import (
    BASE,
    ECHO_HANDLERS,
    ECHO_HEALTH,
    ECHO_OPERATIONS,
    SIGNER,
    Platform,
    platform,
    send_raw,
    served,
    until,
)

PATH = f"/v0/{BASE}/T"
ECHO = ServiceApp("echo", ECHO_OPERATIONS, ECHO_HANDLERS, SIGNER, ECHO_HEALTH)
RETRIABLE = "RETRIABLE_ERROR"


@dataclass
class Remote:
    """A platform whose echoing service is somewhere else."""

    platform: Platform
    token: str
    port: int


@contextlib.asynccontextmanager
async def remote(
    postgres_url: str, valkey_url: str, url: str, settings: GatewaySettings | None = None
) -> AsyncIterator[Remote]:
    """A gateway whose echoing service is at `url`."""
    settings = settings or GatewaySettings(rate_limits="off")
    async with aiohttp.ClientSession() as session:
        upstream = RemoteUpstream(url, session, SIGNER, settings=settings)
        async with platform(postgres_url, valkey_url, settings=settings, upstream=upstream) as found:
            token = await found.token(await found.account())
            yield Remote(found, token, int(url.rpartition(":")[2]))


@pytest_asyncio.fixture
async def far(postgres_url: str, valkey_url: str) -> AsyncIterator[Remote]:
    """The echoing service in a server of its own."""
    async with served(ECHO) as url, remote(postgres_url, valkey_url, url) as found:
        yield found


async def test_path_and_query_arrive_as_the_client_wrote_them(far: Remote) -> None:
    target = f"/v0/{BASE}/A%2FB%20%C3%A9+(x)/"
    query = "fields%5B%5D=a&fields[]=b&q=1+2%20%253&empty=&u=%E2%82%AC"
    answer = await far.platform.ask("GET", f"{target}?{query}", token=far.token)
    assert answer.status == 200
    assert (answer.json["raw_path"], answer.json["query"]) == (target, query)
    assert answer.json["parameters"]["table"] == "A/B \u00e9+(x)"


async def test_the_service_gets_an_identity_instead_of_the_credential(far: Remote) -> None:
    answer = await far.platform.ask(
        "GET",
        PATH,
        token=far.token,
        headers={
            "X-Pyat-Identity": "forged",
            "X-Pyat-Deadline-Ms": "1",
            "X-Request-Id": "abc",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "TE": "trailers",
            "X-Api-Version": "0.1.0",
        },
    )
    seen = answer.json["headers"]
    principal = SIGNER.verify(seen["x-pyat-identity"])
    assert principal.user_id == answer.json["user_id"]
    assert principal.credential_id == far.token[:17]
    assert seen["x-request-id"] == answer.json["request_id"] == answer.headers["x-request-id"] == "abc"
    assert seen["x-pyat-deadline-ms"] == "95000"
    assert seen["x-api-version"] == "0.1.0"
    assert not {"authorization", "x-hop", "te", "accept-encoding"} & set(seen)


async def test_a_public_operation_carries_no_identity(far: Remote) -> None:
    answer = await far.platform.ask("GET", "/api/v1/echo/public", headers={"X-Pyat-Identity": "forged"})
    assert "x-pyat-identity" not in answer.json["headers"]
    assert answer.json["headers"]["x-pyat-client"] == "127.0.0.1"


async def test_answers_come_back_with_the_gateways_headers_once(far: Remote) -> None:
    async with far.platform.session.get(
        far.platform.url + "/api/v1/echo/fail", headers={"Authorization": f"Bearer {far.token}"}
    ) as response:
        assert response.status == 500
        names = [name.lower() for name, _ in response.headers.items()]
        assert len(names) == len(set(names))
        assert (await response.json())["error"]["type"] == "SERVER_ERROR"


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_bodies_pass_both_ways(far: Remote, size: int, is_chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {} if is_chunked else {"Content-Length": str(size)}
    answer = await far.platform.ask("POST", "/api/v1/echo/bytes", token=far.token, data=pieces(), headers=headers)
    assert (answer.status, answer.body == body) == (200, True)


async def test_a_chunked_body_over_the_limit_is_answered_413(far: Remote) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {far.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    status, answer = await send_raw(far.platform.url, head.encode(), *[chunk] * (BODY_BYTES_MAX // 0x100000 + 1))
    assert (status, b"REQUEST_TOO_LARGE" in answer) == (413, True)
    assert (await far.platform.ask("GET", PATH, token=far.token)).status == 200


async def test_streams_pass(far: Remote) -> None:
    for query in ("pieces=500", "pieces=500&length=1"):
        answer = await far.platform.ask("GET", f"/api/v1/echo/stream?{query}", token=far.token)
        assert (answer.status, len(answer.body)) == (200, 500 * 7_000)


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_the_service(far: Remote) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {far.token}\r\nContent-Length: 3000000\r\n\r\nhalf"
    )
    for _ in range(8):
        with pytest.raises(TimeoutError):
            await send_raw(far.platform.url, head.encode(), limit_s=0.02)
    assert (await far.platform.ask("GET", PATH, token=far.token)).status == 200


async def test_a_service_that_is_away_is_answered_503_and_works_again_once_it_is_back(
    postgres_url: str, valkey_url: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(contextlib.AsyncExitStack())
        url = await service.enter_async_context(served(ECHO))
        found = await stack.enter_async_context(remote(postgres_url, valkey_url, url))
        assert (await found.platform.ask("GET", PATH, token=found.token)).status == 200
        await service.aclose()
        for method in ("GET", "POST", "DELETE") * 4:
            answer = await found.platform.ask(method, PATH, token=found.token)
            assert (answer.status, answer.json["error"]["type"]) == (503, RETRIABLE)
            assert answer.headers["retry-after"] == "1"
        assert (await found.platform.ask("GET", "/v0/meta/whoami", token=found.token)).status == 200
        await stack.enter_async_context(served(ECHO, port=found.port))

        async def works() -> bool:
            return (await found.platform.ask("GET", PATH, token=found.token)).status == 200

        await until(works)


NextRequest = Callable[[], Awaitable[None]]
Script = Callable[[int, NextRequest, asyncio.StreamWriter], Awaitable[None]]
"""What a bad server does with a connection: its number, a function that waits for a request, where to write."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server that behaves as written, and the first lines of the requests that it got."""
    lines: list[bytes] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def request() -> None:
            lines.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])

        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(number, request, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(len(tasks) + 1, reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closes_after_one(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
    """Answers one request on a connection; reads the next and closes, as a server does whose patience ended just then."""
    await request()
    writer.write(OK)
    if number == 1:
        await request()
    else:
        while True:
            await request()
            writer.write(OK)


async def test_a_get_is_sent_once_more_when_an_idle_connection_breaks(postgres_url: str, valkey_url: str) -> None:
    async with scripted(_closes_after_one) as (url, lines), remote(postgres_url, valkey_url, url) as found:
        for _ in range(2):
            assert (await found.platform.ask("GET", PATH, token=found.token)).status == 200
        assert lines == [f"GET {PATH} HTTP/1.1".encode()] * 3


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_write_is_never_sent_twice(postgres_url: str, valkey_url: str, method: str) -> None:
    async with scripted(_closes_after_one) as (url, lines), remote(postgres_url, valkey_url, url) as found:
        assert (await found.platform.ask("GET", PATH, token=found.token)).status == 200
        answer = await found.platform.ask(method, PATH, token=found.token)
        assert (answer.status, answer.json["error"]["type"]) == (503, RETRIABLE)
        assert len(lines) == 2


async def test_a_service_that_says_nothing_is_answered_503(postgres_url: str, valkey_url: str) -> None:
    async def silent(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
        await request()
        await asyncio.sleep(30)

    settings = GatewaySettings(rate_limits="off", upstream_timeout_s=0.2)
    async with scripted(silent) as (url, _), remote(postgres_url, valkey_url, url, settings) as found:
        answer = await found.platform.ask("GET", PATH, token=found.token)
        assert (answer.status, answer.json["error"]["type"]) == (503, RETRIABLE)


async def test_an_answer_that_breaks_off_is_answered_503_and_never_as_if_it_were_whole(
    postgres_url: str, valkey_url: str
) -> None:
    async def half(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
        await request()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    async with scripted(half) as (url, _), remote(postgres_url, valkey_url, url) as found:
        answer = await found.platform.ask("GET", PATH, token=found.token)
        assert (answer.status, answer.json["error"]["type"]) == (503, RETRIABLE)


async def test_a_large_answer_that_breaks_off_breaks_off_for_the_client(postgres_url: str, valkey_url: str) -> None:
    async def half(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
        await request()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 2_000_000)
        await writer.drain()

    async with scripted(half) as (url, _), remote(postgres_url, valkey_url, url) as found:
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.platform.ask("GET", PATH, token=found.token)


async def test_what_is_not_http_is_answered_503(postgres_url: str, valkey_url: str) -> None:
    async def nonsense(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
        await request()
        writer.write(b"SSH-2.0-nothing\r\n\r\n")
        await writer.drain()

    async with scripted(nonsense) as (url, _), remote(postgres_url, valkey_url, url) as found:
        answer = await found.platform.ask("GET", PATH, token=found.token)
        assert (answer.status, answer.json["error"]["type"]) == (503, RETRIABLE)


async def test_after_five_failures_a_service_is_left_alone_for_a_moment(postgres_url: str, valkey_url: str) -> None:
    is_broken = True

    async def script(number: int, request: NextRequest, writer: asyncio.StreamWriter) -> None:
        while True:
            await request()
            if is_broken:
                return
            writer.write(OK)

    settings = GatewaySettings(rate_limits="off", upstream_pause_ms=1_000)
    async with scripted(script) as (url, lines), remote(postgres_url, valkey_url, url, settings) as found:
        for _ in range(5):
            assert (await found.platform.ask("DELETE", PATH, token=found.token)).status == 503
        assert len(lines) == 5
        answers = await asyncio.gather(*(found.platform.ask("DELETE", PATH, token=found.token) for _ in range(20)))
        assert {answer.status for answer in answers} == {503}
        assert len(lines) <= 6, "at most a probe"
        is_broken = False

        async def works() -> bool:
            return (await found.platform.ask("DELETE", PATH, token=found.token)).status == 200

        await until(works)
        answers = await asyncio.gather(*(found.platform.ask("DELETE", PATH, token=found.token) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
