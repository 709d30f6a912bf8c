"""The HTTP shell of a service in its own process, over real HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation import telemetry, web
from pyat.foundation.errors import AppError, ModelNotFound, ServiceUnavailable
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import TenantId, UserId
from pyat.foundation.web import (
    Health,
    Operation,
    ServiceApp,
    json_response,
    principal_of,
    query_of,
    read_body,
    read_json,
)
from tests.support.asgi import serving

SIGNER = Signer(b"the key of one installation, for tests")
CALLER = Principal(UserId("usr1"), TenantId("ten1"), "a@b.example", "Ada", None, "token", frozenset(), None)
OPERATIONS = (
    Operation("echo", "POST", "/v0/echo", "Echo"),
    Operation("raw", "PUT", "/v0/echo", "Echo bytes"),
    Operation("who", "GET", "/v0/who/{name}", "Who"),
    Operation("open", "GET", "/v0/open", "Open", is_public=True),
    Operation("fail", "GET", "/v0/fail/{how}", "Fail", is_public=True),
)


def _identity() -> dict[str, str]:
    """Signed anew for every request: it is valid for a few seconds only, and a run takes minutes."""
    return {HEADER: SIGNER.sign(CALLER, request_id="r")}


class Handlers:
    def __init__(self) -> None:
        self.bodies: list[object] = []

    async def echo(self, request: Request) -> Response:
        value = await read_json(request, bytes_max=1000)
        self.bodies.append(value)
        return json_response(value)

    async def raw(self, request: Request) -> Response:
        return Response(await read_body(request))

    async def who(self, request: Request) -> Response:
        name = request.path_params["name"]
        return json_response([principal_of(request).email, name, query_of(request).texts("x")])

    async def open(self, request: Request) -> Response:
        return json_response(request.scope["state"])

    async def fail(self, request: Request) -> Response:
        errors: dict[str, Exception] = {
            "declared": ModelNotFound(kind="Thing"),
            "away": ServiceUnavailable(),
            "bug": LookupError("a secret value"),
            "slow": TimeoutError(),
        }
        raise errors[request.path_params["how"]]


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def checks() -> dict[str, bool | Exception]:
    return {"database": True, "other": True}


@pytest_asyncio.fixture
async def http(handlers: Handlers, checks: dict[str, bool | Exception]) -> AsyncIterator[aiohttp.ClientSession]:
    def check(name: str) -> web.HealthCheck:
        async def run() -> bool:
            answer = checks[name]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return run

    health = Health("demo", {name: check(name) for name in checks})
    named = {operation.name: getattr(handlers, operation.name) for operation in OPERATIONS}
    app = ServiceApp("demo", OPERATIONS, named, SIGNER, health)
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


async def _answer(http: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with http.request(method, path, **more) as response:
        return response.status, await response.json()


async def test_a_signed_caller_is_known_to_the_handler(http: aiohttp.ClientSession) -> None:
    assert await _answer(http, "GET", "/v0/who/%C3%89?x[]=1&x[]=2", headers=_identity()) == (
        200,
        ["a@b.example", "É", ["1", "2"]],
    )


@pytest.mark.parametrize("headers", [{}, {HEADER: ""}, {HEADER: "a.b"}, {"authorization": "Bearer pat.x"}])
async def test_an_unsigned_caller_is_nobody(
    http: aiohttp.ClientSession, handlers: Handlers, headers: dict[str, str]
) -> None:
    status, body = await _answer(http, "POST", "/v0/echo", json={}, headers=headers)
    assert (status, body["error"]["type"]) == (401, "AUTHENTICATION_REQUIRED")
    assert handlers.bodies == []


async def test_a_public_operation_asks_for_nobody(http: aiohttp.ClientSession) -> None:
    status, state = await _answer(http, "GET", "/v0/open", headers={"x-request-id": "r-1"})
    assert (status, state["request_id"]) == (200, "r-1")
    assert "principal" not in state


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [("GET", "/v0/nothing", 404, "NOT_FOUND"), ("DELETE", "/v0/echo", 405, {"type": "METHOD_NOT_ALLOWED"})],
)
async def test_other_paths_and_methods_have_the_wire_shape(
    http: aiohttp.ClientSession, method: str, path: str, status: int, error: Any
) -> None:
    got, body = await _answer(http, method, path, headers=_identity())
    assert got == status
    assert body["error"] == error if isinstance(error, str) else body["error"]["type"] == error["type"]


@pytest.mark.parametrize(
    ("how", "status", "kind"),
    [
        ("declared", 404, "MODEL_ID_NOT_FOUND"),
        ("away", 503, "RETRIABLE_ERROR"),
        ("bug", 500, "SERVER_ERROR"),
        ("slow", 503, "RETRIABLE_ERROR"),
    ],
)
async def test_every_failure_is_an_answer(http: aiohttp.ClientSession, how: str, status: int, kind: str) -> None:
    got, body = await _answer(http, "GET", f"/v0/fail/{how}")
    assert (got, body["error"]["type"]) == (status, kind)
    assert "secret" not in str(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff", b'{"a":NaN}', b'{"a":"\\ud800"}', b"[" * 900, b'{"a":01}'],
)
async def test_what_is_no_json_object_is_refused(http: aiohttp.ClientSession, handlers: Handlers, body: bytes) -> None:
    status, answer = await _answer(http, "POST", "/v0/echo", data=body, headers=_identity())
    assert (status, answer["error"]["type"]) == (422, "INVALID_REQUEST_BODY")
    assert handlers.bodies == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_body_is_json_whatever_it_is_called(http: aiohttp.ClientSession, content_type: str) -> None:
    headers = _identity() | {"content-type": content_type}
    assert await _answer(http, "POST", "/v0/echo", data=b'{"a": "\xc3\xa9"}', headers=headers) == (200, {"a": "é"})


async def test_a_body_at_the_bound_is_read_and_one_over_it_is_not(http: aiohttp.ClientSession) -> None:
    for size, status in ((1000, 200), (1001, 413)):
        body = b'{"a":"' + b"x" * (size - 8) + b'"}'
        assert len(body) == size
        got, _ = await _answer(http, "POST", "/v0/echo", data=body, headers=_identity())
        assert got == status


async def test_a_body_of_unknown_length_is_bounded_too(http: aiohttp.ClientSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    got, body = await _answer(http, "POST", "/v0/echo", data=endless(), headers=_identity())
    assert (got, body["error"]["type"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_body_that_does_not_arrive_is_given_up(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BODY_TIME_S", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    got, _ = await _answer(http, "POST", "/v0/echo", data=stuck(), headers=_identity())
    assert got == 503


async def test_a_client_that_goes_away_while_it_sends_is_no_error_of_ours(http: aiohttp.ClientSession) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    before = _count(web.CLIENT_GONE)
    with contextlib.suppress(TimeoutError):
        await _answer(http, "POST", "/v0/echo", data=stuck(), headers=_identity(), timeout=aiohttp.ClientTimeout(0.1))
    for _ in range(100):
        if _count(web.CLIENT_GONE) > before:
            break
        await asyncio.sleep(0.01)
    assert _count(web.CLIENT_GONE) == before + 1


def _count(status: int) -> float:
    labels = {"service": "demo", "operation": "echo", "status": str(status)}
    return telemetry.REGISTRY.get_sample_value("pyat_requests_total", labels) or 0.0


async def test_health_and_metrics_need_no_identity(
    http: aiohttp.ClientSession, checks: dict[str, bool | Exception]
) -> None:
    assert await _answer(http, "GET", "/health/live") == (200, {"status": "live"})
    status, body = await _answer(http, "GET", "/health/ready")
    assert (status, body["status"], body["services"]["demo"]["checks"]) == (
        200,
        "ready",
        {"database": True, "other": True},
    )
    for failing in (False, LookupError()):
        checks["database"] = failing
        status, body = await _answer(http, "GET", "/health/ready")
        assert (status, body["status"]) == (503, "starting")
        assert body["services"]["demo"]["checks"] == {"database": False, "other": True}
    async with http.get("/metrics") as response:
        assert b"pyat_requests_total" in await response.read()


async def test_every_answer_is_counted_by_status(http: aiohttp.ClientSession) -> None:
    before = _count(200), _count(422)
    await _answer(http, "POST", "/v0/echo", data=b"{}", headers=_identity())
    await _answer(http, "POST", "/v0/echo", data=b"{", headers=_identity())
    assert (_count(200), _count(422)) == (before[0] + 1, before[1] + 1)


def test_a_declared_length_that_is_no_number_is_too_large() -> None:
    scope = {"type": "http", "method": "POST", "headers": [(b"content-length", "²".encode("latin-1"))]}

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    with pytest.raises(AppError, match="too large"):
        asyncio.run(read_body(Request(scope, receive)))
