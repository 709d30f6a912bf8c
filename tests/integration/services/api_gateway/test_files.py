"""What files need of the gateway: large bodies, lengths without bodies, bytes left as they are, and own OPTIONS."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio

from pyat.foundation.web import ServiceApp
from pyat.services.api_gateway.service.upstreams import RemoteUpstream
from tests.integration.services.api_gateway.harness import (
    ECHO_HANDLERS,
    ECHO_HEALTH,
    ECHO_OPERATIONS,
    LARGE_BYTES_MAX,
    SIGNER,
    UNLIMITED,
    Platform,
    platform,
    send_raw,
    served,
)


@dataclass
class Here:
    """A platform and somebody's token."""

    platform: Platform
    token: str


@pytest_asyncio.fixture(params=["local", "remote"])
async def here(request: pytest.FixtureRequest, postgres_url: str, valkey_url: str) -> AsyncIterator[Here]:
    """The service in the gateway's process, or in another one."""
    if request.param == "local":
        async with platform(postgres_url, valkey_url) as found:
            yield Here(found, await found.token(await found.account()))
        return
    echo = ServiceApp("echo", ECHO_OPERATIONS, ECHO_HANDLERS, SIGNER, ECHO_HEALTH)
    async with served(echo) as url, aiohttp.ClientSession() as session:
        upstream = RemoteUpstream(url, session, SIGNER, settings=UNLIMITED)
        async with platform(postgres_url, valkey_url, upstream=upstream) as found:
            yield Here(found, await found.token(await found.account()))


@pytest.mark.parametrize("is_declared", [True, False])
async def test_an_operation_takes_the_body_it_says(here: Here, is_declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LARGE_BYTES_MAX // 1_048_576):
            yield b"x" * 1_048_576

    data = io.BytesIO(b"x" * LARGE_BYTES_MAX) if is_declared else pieces()
    answer = await here.platform.ask("POST", "/api/v1/echo/count", token=here.token, data=data)
    assert (answer.status, answer.json) == (200, {"bytes": LARGE_BYTES_MAX})


async def test_a_longer_body_is_refused_before_it_is_sent(here: Here) -> None:
    head = (
        "POST /api/v1/echo/count HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        f"Authorization: Bearer {here.token}\r\nContent-Length: {10 * 1024**3}\r\n\r\n"
    )
    status, answer = await send_raw(here.platform.url, head.encode())
    assert status == 413
    assert b"REQUEST_TOO_LARGE" in answer


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 5_000_000_000])
async def test_a_length_without_a_body_stays(here: Here, size: int) -> None:
    for _ in range(3):  # the connection can be used again
        answer = await here.platform.ask("HEAD", f"/api/v1/echo/stream?bytes={size}", token=here.token)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(size))


@pytest.mark.parametrize("query", ["", "?whole"])
async def test_what_must_not_be_transformed_is_not_compressed(here: Here, query: str) -> None:
    headers = {"Accept-Encoding": "gzip"}
    answer = await here.platform.ask("GET", f"/api/v1/echo/untouched{query}", token=here.token, headers=headers)
    assert "content-encoding" not in answer.headers
    assert (len(answer.body), answer.headers["content-length"]) == (16_000, "16000")


async def test_an_operation_can_answer_options_itself(here: Here) -> None:
    own = await here.platform.ask("OPTIONS", "/api/v1/echo/stream")
    assert (own.status, own.headers["x-own"], own.headers["access-control-allow-origin"]) == (204, "yes", "*")
    other = await here.platform.ask("OPTIONS", "/api/v1/echo/count")
    assert (other.status, "x-own" in other.headers) == (200, False)
