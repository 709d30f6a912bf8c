"""Calls between processes over real HTTP: who is heard, what is refused, and what a caller learns when things break."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import orjson
import pytest
import pytest_asyncio
import structlog

from pyat.foundation import rpc
from pyat.foundation.errors import AppError, InvalidRequest, ServerError, ServiceUnavailable
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import TenantId, UserId
from pyat.services.airtable_gateway.contract import Records
from pyat.services.auth.contract import Auth
from pyat.services.schema.contract import Schema
from tests.support.asgi import serving

SIGNER = Signer(b"the key of one installation, for tests")
CALL = "/internal/Counting/add"


class Counting(Protocol):
    """A contract of one number."""

    async def add(self, *, by: int) -> int: ...

    async def wait(self, *, time_s: float) -> float: ...

    async def text(self, *, length: int) -> str: ...

    async def wrong(self, *, how: str) -> int: ...


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.request_ids: list[object] = []
        self.peer: Counting | None = None

    async def add(self, *, by: int) -> int:
        self.total += by
        self.request_ids.append(structlog.contextvars.get_contextvars().get("request_id"))
        return self.total

    async def wait(self, *, time_s: float) -> float:
        if self.peer is not None:
            return await self.peer.wait(time_s=time_s)
        await asyncio.sleep(time_s)
        return time_s

    async def text(self, *, length: int) -> str:
        return "x" * length

    async def wrong(self, *, how: str) -> int:
        if how == "raise":
            raise LookupError("a secret value")
        if how == "timeout":
            raise TimeoutError
        return "not a number"  # type: ignore[return-value]


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest_asyncio.fixture
async def url(counter: Counter) -> AsyncIterator[str]:
    async with serving(rpc.Server({"counting": (Counting, counter)}, SIGNER)) as address:
        yield address


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with rpc.new_session() as opened:
        yield opened


@pytest.fixture
def client(url: str, session: aiohttp.ClientSession) -> Counting:
    return rpc.client(Counting, url, session=session, signer=SIGNER)


def _identity(kind: str, signer: Signer = SIGNER) -> dict[str, str]:
    principal = Principal(UserId("u"), TenantId("t"), "", "", None, kind, frozenset(), None)
    return {HEADER: signer.sign(principal, request_id="")}


async def test_calls_arrive_and_connections_are_kept(client: Counting, counter: Counter) -> None:
    assert [await client.add(by=2) for _ in range(5)] == [2, 4, 6, 8, 10]
    assert await asyncio.gather(*(client.text(length=length) for length in range(50))) == ["x" * n for n in range(50)]


async def test_a_request_id_travels_along(client: Counting, counter: Counter) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req-7"):
        await client.add(by=1)
    assert counter.request_ids == ["req-7"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({HEADER: "forged.abc"}, 401),
        (_identity("service", Signer(b"the key of another installation, tests")), 401),
        (_identity("token"), 401),
        (_identity("session"), 401),
        (_identity("service"), 200),
    ],
)
async def test_only_services_of_this_installation_are_heard(
    url: str, session: aiohttp.ClientSession, counter: Counter, headers: dict[str, str], status: int
) -> None:
    async with session.post(url + CALL, data=b'{"by":1}', headers=headers) as response:
        assert response.status == status
        assert ("result" in await response.json()) == (status == 200)
    assert counter.total == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/internal/Counting/nothing", 404),
        ("POST", "/internal/Other/add", 404),
        ("POST", "/internal/Counting/__init__", 404),
        ("POST", "/internal/", 404),
        ("GET", CALL, 405),
        ("PUT", CALL, 405),
    ],
)
async def test_other_paths_and_methods_are_refused(
    url: str, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with session.request(method, url + path, data=b"{}", headers=_identity("service")) as response:
        assert response.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"by":"1"}',
        b'{"by":1.5}',
        b'{"by":true}',
        b'{"by":null}',
        b'{"by":1,"more":2}',
        b'{"by":' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
async def test_arguments_of_other_types_do_not_reach_the_service(
    url: str, session: aiohttp.ClientSession, counter: Counter, body: bytes
) -> None:
    async with session.post(url + CALL, data=body, headers=_identity("service")) as response:
        assert response.status == 500
        assert (await response.json())["error"]["code"] == "SERVER_ERROR"
    assert counter.total == 0


async def test_a_body_over_the_bound_is_refused(
    url: str, session: aiohttp.ClientSession, client: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "BODY_BYTES_MAX", 1000)
    async with session.post(url + CALL, data=b" " * 1001, headers=_identity("service")) as response:
        assert response.status == 413
    with pytest.raises(ServiceUnavailable):
        await client.text(length=1001)


async def test_a_value_of_another_type_does_not_leave_the_caller(client: Any, counter: Counter) -> None:
    with pytest.raises(ValueError, match="Expected `int`"):
        await client.add(by="1")
    assert counter.total == 0


@pytest.mark.parametrize("how", ["raise", "timeout", "return"])
async def test_what_a_contract_does_not_declare_is_a_server_error(client: Counting, how: str) -> None:
    with pytest.raises(ServerError) as caught:
        await client.wrong(how=how)
    assert "secret" not in str(caught.value)


async def test_a_call_ends_at_its_deadline(client: Counting) -> None:
    with rpc.deadline(0.05), pytest.raises(ServiceUnavailable):
        await client.wait(time_s=30)
    assert await client.wait(time_s=0) == 0


async def test_an_outer_deadline_is_not_lengthened(client: Counting) -> None:
    with rpc.deadline(0.05), rpc.deadline(60), pytest.raises(ServiceUnavailable):
        await client.wait(time_s=30)


async def test_a_deadline_that_is_over_sends_nothing(client: Counting, counter: Counter) -> None:
    with rpc.deadline(0), pytest.raises(ServiceUnavailable):
        await client.add(by=1)
    assert counter.total == 0


async def test_a_deadline_travels_over_several_services(
    client: Counting, counter: Counter, session: aiohttp.ClientSession
) -> None:
    seen: list[bytes] = []

    class Behind:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(dict(scope["headers"])[rpc.DEADLINE_HEADER.encode()])
            await inner(scope, receive, send)

    inner = rpc.Server({"counting": (Counting, Counter())}, SIGNER)
    async with serving(Behind()) as behind:
        counter.peer = rpc.client(Counting, behind, session=session, signer=SIGNER)
        with rpc.deadline(5):
            await client.wait(time_s=0.05)
    assert 0 < int(seen[0]) < 5000


async def test_the_service_stops_working_when_the_time_is_over(url: str, session: aiohttp.ClientSession) -> None:
    headers = _identity("service") | {rpc.DEADLINE_HEADER: "50"}
    async with session.post(f"{url}/internal/Counting/wait", data=b'{"time_s":30}', headers=headers) as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "SERVICE_UNAVAILABLE"


@pytest.mark.parametrize("given", ["", "-5", "x", "²", "9" * 30])
async def test_a_strange_deadline_means_the_longest(url: str, session: aiohttp.ClientSession, given: str) -> None:
    headers = _identity("service") | {rpc.DEADLINE_HEADER: given}
    async with session.post(url + CALL, data=b'{"by":1}', headers=headers) as response:
        assert response.status == 200


async def test_a_peer_that_is_not_there_is_unavailable(session: aiohttp.ClientSession) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        client = rpc.client(Counting, url, session=session, signer=SIGNER)
        with pytest.raises(ServiceUnavailable):
            await client.add(by=1)


async def test_a_peer_that_starts_in_between_is_reached(
    session: aiohttp.ClientSession, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    client = rpc.client(Counting, f"http://127.0.0.1:{port}", session=session, signer=SIGNER)
    monkeypatch.setattr(rpc, "RECONNECT_AFTER_S", 0.3)
    call = asyncio.create_task(client.add(by=1))
    await asyncio.sleep(0.05)
    async with serving(rpc.Server({"counting": (Counting, counter)}, SIGNER), port=port):
        assert await call == 1


async def test_a_restarted_peer_is_reached_again(session: aiohttp.ClientSession, counter: Counter) -> None:
    server = rpc.Server({"counting": (Counting, counter)}, SIGNER)
    async with serving(server) as url:
        client = rpc.client(Counting, url, session=session, signer=SIGNER)
        await asyncio.gather(*(client.add(by=1) for _ in range(5)))
    await asyncio.sleep(0.01)
    with pytest.raises(ServiceUnavailable):
        await client.add(by=1)
    async with serving(server, port=int(url.rpartition(":")[2])):
        assert await asyncio.gather(*(client.text(length=1) for _ in range(5))) == ["x"] * 5
    assert counter.total == 5


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _saying(answer: bytes) -> tuple[Talk, list[bytes]]:
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"}"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return talk, requests


def _http(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nc\r\n" + b'{"result":1}' + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        _http(200, b""),
        _http(200, b"<html>"),
        _http(200, b'{"result":"1"}'),
        _http(200, b'{"result":1,"more":2}'),
        _http(200, b'{"error":{"code":"X","details":{}}}'),
        _http(302, b""),
        _http(401, b'{"refused":"no valid identity"}'),
        _http(401, b'{"error":{"type":"AUTHENTICATION_REQUIRED","message":"x"}}'),
        _http(404, b'{"error":"NOT_FOUND"}'),
        _http(502, b"Bad gateway"),
        _http(503, b'{"error":{"code":7}}'),
    ],
)
async def test_a_peer_that_talks_nonsense_is_unavailable_and_asked_once(
    session: aiohttp.ClientSession, answer: bytes
) -> None:
    talk, requests = _saying(answer)
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = rpc.client(Counting, url, session=session, signer=SIGNER)
    with pytest.raises(ServiceUnavailable):
        await client.add(by=1)
    assert len(requests) == 1
    server.close()


async def test_a_declared_error_of_an_unknown_release_is_a_server_error(session: aiohttp.ClientSession) -> None:
    talk, _ = _saying(_http(422, orjson.dumps({"error": {"code": "OF_THE_FUTURE", "details": {}}})))
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(ServerError):
        await rpc.client(Counting, url, session=session, signer=SIGNER).add(by=1)
    server.close()


async def test_a_cancelled_call_leaves_a_usable_client(client: Counting) -> None:
    task = asyncio.create_task(client.wait(time_s=30))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.add(by=1) == 1


def test_a_contract_is_checked_when_it_is_bound() -> None:
    class Plain(Protocol):
        def call(self, *, x: int) -> int: ...

    class Positional(Protocol):
        async def call(self, x: int) -> int: ...

    for contract, text in ((Plain, "is not async"), (Positional, "has positional parameters")):
        with pytest.raises(AssertionError, match=text):
            rpc.Server({"x": (contract, object())}, SIGNER)


def test_one_contract_has_one_implementation() -> None:
    with pytest.raises(AssertionError, match="two services implement Counting"):
        rpc.Server({"a": (Counting, Counter()), "b": (Counting, Counter())}, SIGNER)


def test_names_that_mean_something_to_pydantic_may_be_arguments() -> None:
    class Awkward(Protocol):
        async def call(self, *, schema: str, model_config: int, json: bool = False) -> None: ...

    codec = next(iter(rpc._methods(Awkward))).arguments
    values = {"schema": "s", "model_config": 1, "json": True}
    assert codec.load(codec.dump(values)) == values
    assert codec.load(codec.dump({"schema": "s", "model_config": 1})) == {"schema": "s", "model_config": 1}


@pytest.mark.parametrize("contract", [Auth, Records, Schema])
def test_every_contract_of_the_platform_can_be_called(contract: type[Any]) -> None:
    assert rpc.methods_of(contract)
    for method in rpc._methods(contract):
        with pytest.raises(ValueError, match="no_such_argument"):
            method.arguments.load(b'{"no_such_argument":1}')
        with pytest.raises(ValueError, match="result"):
            method.answer.load(b"{}")


def test_declared_errors_travel_with_details_that_are_no_json() -> None:
    class Odd(AppError):
        """Details of a type that JSON does not have."""

        code, status = "TEST_ODD", 422

    status, body = rpc._declared(Odd(value=frozenset({1})))
    assert (status, orjson.loads(body)["error"]["details"]) == (422, {"value": "frozenset({1})"})
    assert rpc._declared(InvalidRequest(reason="x"))[0] == 422
