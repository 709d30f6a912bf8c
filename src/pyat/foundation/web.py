"""The HTTP shell: operations, a router on the still encoded path, bodies with bounds, errors in Airtable's shape.

A service declares `Operation`s (data, known to the gateway even where the service runs elsewhere) and has a handler for
each. In one process the gateway matches a request and calls `answer`; in its own process a service is a `ServiceApp`,
which does the same after it has checked the signed identity that the gateway sends along.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote_to_bytes

import orjson
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pyat.foundation import telemetry
from pyat.foundation.errors import (
    AppError,
    BodyTooLarge,
    InvalidBody,
    MethodNotAllowed,
    RouteNotFound,
    ServerError,
    ServiceUnavailable,
)
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import is_id
from pyat.foundation.query import Query

_log = structlog.get_logger("web")

JSON_TYPE = "application/json; charset=utf-8"
CLIENT_HEADER = "x-pyat-client"
"""The caller's network address, as the gateway tells it to a service in another process."""
BODY_BYTES_MAX = 6 * 1024 * 1024
BODY_TIME_S = 60.0
ANSWER_TIME_S = 90.0
CLIENT_GONE = 499
"""The status in logs and metrics for a client that went away before it had sent its request; nobody reads it."""

Handler = Callable[[Request], Awaitable[Response]]
Handlers = Mapping[str, Handler]
"""By the name of the operation."""
JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One documented query parameter."""

    name: str
    schema: JsonSchema
    description: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One public route: how it is reached, what it needs, and its documentation.

    `path` is a template such as `/v0/{base_id:app}/{table}`; a parameter with a prefix takes only ids of that prefix,
    and anything else there is an undefined route (bare 404), as Airtable answers it.
    """

    name: str
    method: str
    path: str
    summary: str
    scope: str | None = None
    """The token scope it needs; None needs any valid token."""
    is_public: bool = False
    """True needs no credentials at all."""
    is_metadata: bool = False
    """True is limited per user only, not per base (wire reference, section 3)."""
    query: tuple[Parameter, ...] = ()
    body: JsonSchema | None = None
    answer: JsonSchema | None = None
    status: int = 200
    """Of the answer where all goes well."""
    errors: tuple[type[AppError], ...] = ()
    description: str = ""
    body_bytes_max: int = BODY_BYTES_MAX
    """Largest body that the gateway lets through."""
    answer_time_s: float = ANSWER_TIME_S
    """Longest time until the answer begins, the arrival of the body included."""


class Match(NamedTuple):
    """An operation and its decoded path parameters."""

    operation: Operation
    parameters: dict[str, str]


class _Node:
    """What may follow one beginning of a path: literal segments, ids by their prefix, anything else; or its end."""

    __slots__ = ("anything", "ids", "literals", "methods")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.ids: dict[str, _Node] = {}
        self.anything: _Node | None = None
        self.methods: dict[str, tuple[Operation, tuple[str, ...]]] = {}
        """By method: the operation that ends here, and the names of the parameters on the way."""

    def child(self, segment: str) -> "_Node":
        """The node after a template's segment, made where there is none yet."""
        if not segment.startswith("{"):
            return self.literals.setdefault(segment, _Node())
        _, _, prefix = segment[1:-1].partition(":")
        if prefix:
            return self.ids.setdefault(prefix, _Node())
        if self.anything is None:
            self.anything = _Node()
        return self.anything


class Router:
    """Finds the operation for a method and a raw path; literal segments win over ids, ids over other parameters.

    Cost: 2 to 3 µs for a path of four segments, however many operations there are.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            node, names = self._root, []
            for segment in operation.path.rstrip("/").split("/")[1:]:
                node = node.child(segment)
                if segment.startswith("{"):
                    names.append(segment[1:-1].partition(":")[0])
            assert operation.method not in node.methods, f"two operations for {operation.method} {operation.path}"
            node.methods[operation.method] = (operation, tuple(names))

    def match(self, method: str, raw_path: bytes) -> Match:
        """Raises RouteNotFound or MethodNotAllowed. A trailing slash means nothing; `%2F` stays inside its segment."""
        try:
            parts = raw_path.decode("ascii").rstrip("/").split("/")
        except UnicodeDecodeError:
            raise RouteNotFound from None
        if parts[0]:  # no path at all, such as the `*` of OPTIONS
            raise RouteNotFound
        allowed: set[str] = set()
        found = _find(self._root, parts, 1, [], method, allowed)
        if found is not None:
            return found
        if allowed:
            raise MethodNotAllowed(method=method, allowed=", ".join(sorted(allowed)))
        raise RouteNotFound

    def answers(self, method: str, raw_path: bytes) -> bool:
        """Whether an operation has this path and method."""
        try:
            self.match(method, raw_path)
        except (MethodNotAllowed, RouteNotFound):
            return False
        return True

    def allowed(self, raw_path: bytes) -> bool:
        """Whether any operation has this path."""
        try:
            self.match("OPTIONS", raw_path)
        except MethodNotAllowed:
            return True
        except RouteNotFound:
            return False
        return True


def _find(node: _Node, parts: list[str], at: int, values: list[str], method: str, allowed: set[str]) -> Match | None:
    """The match below `node` for the segments from `at` on; collects the methods of paths that match otherwise.

    Calls itself only where a segment may be read in two ways.
    """
    while at < len(parts):
        part = parts[at]
        at += 1
        following = node.literals.get(part)
        if following is not None:
            if not node.ids and node.anything is None:
                node = following
                continue
            match = _find(following, parts, at, [*values], method, allowed)
            if match is not None:
                return match
        if "%" in part:
            try:
                part = unquote_to_bytes(part).decode("utf-8")
            except UnicodeDecodeError:
                return None
            if "\x00" in part:
                return None
        elif not part:
            return None
        following = node.ids.get(part[:3])
        if following is not None and is_id(part[:3], part):
            if node.anything is None:
                node = following
                values.append(part)
                continue
            match = _find(following, parts, at, [*values, part], method, allowed)
            if match is not None:
                return match
        if node.anything is None:
            return None
        node = node.anything
        values.append(part)
    found = node.methods.get(method)
    if found is None:
        allowed.update(node.methods)
        return None
    return Match(found[0], dict(zip(found[1], values, strict=True)))


def json_response(value: Any, *, status: int = 200) -> Response:
    """A JSON answer from plain values."""
    return ready_json(orjson.dumps(value), status=status)


def ready_json(body: bytes, *, status: int = 200) -> Response:
    """A JSON answer from finished bytes."""
    return Response(body, status_code=status, headers={"content-type": JSON_TYPE})


def error_response(error: AppError) -> Response:
    """Any declared error as an answer, with `Retry-After` and `Allow` where they belong."""
    response = ready_json(error.body(), status=error.status)
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(error.details.get("retry_after_s", error.retry_after_s))
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = error.details["allowed"]
    return response


async def read_body(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. Raises BodyTooLarge before reading on, ServiceUnavailable when it takes longer than a minute."""
    declared = request.headers.get("content-length", "0")
    # Not isdigit(): it is true for signs such as ² that are no numbers.
    if not declared.isdecimal() or int(declared) > bytes_max:
        raise BodyTooLarge
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIME_S):
            async for piece in request.stream():
                size += len(piece)
                if size > bytes_max:
                    raise BodyTooLarge
                pieces.append(piece)
    except TimeoutError:
        raise ServiceUnavailable from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_json(request: Request, *, bytes_max: int = BODY_BYTES_MAX) -> dict[str, Any]:
    """The body as a JSON object, whatever the content type says. Raises InvalidBody, BodyTooLarge."""
    try:
        value = orjson.loads(await read_body(request, bytes_max=bytes_max))
    except (orjson.JSONDecodeError, RecursionError):
        raise InvalidBody from None
    if not isinstance(value, dict):
        raise InvalidBody
    return value


def query_of(request: Request) -> Query:
    """The request's query parameters."""
    return Query(request.scope["query_string"])


def principal_of(request: Request) -> Principal:
    """The checked caller. Only operations that are not public may ask."""
    return cast("Principal", request.scope["state"]["principal"])


def request_id_of(scope: Scope) -> str:
    """The request's id, as answered in `x-request-id` and written to every log line."""
    return cast("str", scope["state"]["request_id"])


async def answer(match: Match, request: Request, handlers: Handlers, *, service: str) -> Response:
    """Run an operation; every failure becomes an answer, undeclared ones a logged 500."""
    operation = match.operation
    request.scope["path_params"] = match.parameters
    started_s = time.perf_counter()
    meters = _meters(service, operation.name)
    meters.in_flight.inc()
    try:
        async with asyncio.timeout(operation.answer_time_s):
            response = await handlers[operation.name](request)
    except AppError as error:
        response = error_response(error)
    except TimeoutError:
        response = error_response(ServiceUnavailable())
    except ClientDisconnect:
        response = Response(status_code=CLIENT_GONE)
    except Exception:
        _log.exception(
            "unexpected_error", service=service, operation=operation.name, request_id=request_id_of(request.scope)
        )
        response = error_response(ServerError())
    finally:
        meters.in_flight.dec()
    meters.seconds.observe(time.perf_counter() - started_s)
    meters.count(response.status_code)
    return response


class _Meters:
    """The metrics of one operation; finding them by their labels each time would take a lock and build strings."""

    __slots__ = ("_by_status", "_labels", "in_flight", "seconds")

    def __init__(self, service: str, operation: str) -> None:
        self.in_flight = telemetry.IN_FLIGHT.labels(service)
        self.seconds = telemetry.REQUEST_SECONDS.labels(service, operation)
        self._labels = (service, operation)
        self._by_status: dict[int, Any] = {}

    def count(self, status: int) -> None:
        """One more answer with this status."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = telemetry.REQUESTS.labels(*self._labels, status)
        counter.inc()


@cache
def _meters(service: str, operation: str) -> _Meters:
    return _Meters(service, operation)


HealthCheck = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Health:
    """Named checks of one service; all `checks` must hold for it to be ready.

    `watched` are shown beside them: what the service can go on without, such as Valkey for rate limits.
    """

    service: str
    checks: Mapping[str, HealthCheck]
    watched: Mapping[str, HealthCheck] = field(default_factory=dict)

    async def report(self) -> dict[str, Any]:
        """`{"service", "ready", "checks": {name: bool}, "latency_ms"}`."""
        started_s = time.perf_counter()
        every = {**self.checks, **self.watched}
        answers = await asyncio.gather(*(check() for check in every.values()), return_exceptions=True)
        # A check that fails is a check that does not hold.
        results = {name: answer is True for name, answer in zip(every, answers, strict=True)}
        return {
            "service": self.service,
            "ready": all(results[name] for name in self.checks),
            "checks": results,
            "latency_ms": round((time.perf_counter() - started_s) * 1000, 2),
        }


class ServiceApp:
    """The ASGI app of one service in a process of its own; only peers with the shared key are heard."""

    def __init__(
        self, service: str, operations: Iterable[Operation], handlers: Handlers, signer: Signer, health: Health
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._router = Router(operations)
        self._signer = signer
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        assert scope["type"] == "http", "lifespan and WebSocket are the assembly's"
        request = Request(scope, receive)
        response = await internal_route(scope, self._health) or await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        try:
            match = self._router.match(request.method, request.scope["raw_path"])
            state: dict[str, Any] = {
                "request_id": request.headers.get("x-request-id", ""),
                "client": request.headers.get(CLIENT_HEADER, ""),
            }
            request.scope["state"] = state
            if not match.operation.is_public:
                state["principal"] = self._signer.verify(request.headers.get(HEADER, ""))
        except AppError as error:
            return error_response(error)
        return await answer(match, request, self._handlers, service=self._service)


async def internal_route(scope: Scope, *healths: Health) -> Response | None:
    """`/health/live`, `/health/ready` and `/metrics`, which every process answers; None for other paths."""
    path = scope["path"]
    if path == "/health/live":
        return json_response({"status": "live"})
    if path == "/health/ready":
        reports = await asyncio.gather(*(health.report() for health in healths))
        ready = all(report["ready"] for report in reports)
        services = {report.pop("service"): report for report in reports}
        return json_response(
            {"status": "ready" if ready else "starting", "services": services}, status=200 if ready else 503
        )
    if path == "/metrics":
        return Response(telemetry.metrics_text(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
    return None
