"""Calls between processes: from a contract's Protocol, a client for one side and a server for the other.

A contract is a Protocol whose methods are `async`, take keyword-only arguments and are annotated. A call is
`POST /internal/<Contract>/<method>` with the arguments as one JSON object; the answer is `{"result": …}` or
`{"error": {"code", "details"}}`, from which the declared error is rebuilt. Both sides check values by the annotations,
without conversions, so that a call behaves as it would in one process.

A call is never repeated once a byte of it may have arrived. It has a deadline, which travels along and shrinks, and a
peer that is gone, silent or talks nonsense is one declared error: ServiceUnavailable.
"""

import asyncio
import inspect
import io
import math
import time
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, TypeVar, cast

import aiohttp
import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticSerializationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from pyat.foundation import telemetry
from pyat.foundation.errors import (
    AppError,
    AuthenticationRequired,
    BodyTooLarge,
    ServerError,
    ServiceUnavailable,
    rebuild,
)
from pyat.foundation.identity import HEADER, Principal, Signer
from pyat.foundation.ids import TenantId, UserId
from pyat.foundation.web import read_body

Contract = TypeVar("Contract")

PREFIX = "/internal/"
DEADLINE_HEADER = "x-pyat-deadline-ms"
REQUEST_ID_HEADER = "x-request-id"
CALL_TIME_S = 30.0
"""Longest a call may take where no deadline was set."""
CONNECT_TIME_S = 2.0
RECONNECT_AFTER_S = 0.05
BODY_BYTES_MAX = 64 * 1024 * 1024
"""Of a call and of an answer: the whole structure of a large base fits."""
CONNECTIONS_PER_PEER_MAX = 128
IDLE_CONNECTION_S = 30.0
"""How long a client keeps an unused connection. Servers must keep it longer (uvicorn's `timeout_keep_alive`), or a call
may go into a connection that is just being closed."""

_log = structlog.get_logger("rpc")
_deadline_s: ContextVar[float] = ContextVar("rpc_deadline_s", default=math.inf)
_SERVICE = Principal(
    user_id=UserId(""),
    tenant_id=TenantId(""),
    email="",
    name="",
    credential_id=None,
    kind="service",
    scopes=frozenset(),
    base_ids=None,
)


@contextmanager
def deadline(time_s: float) -> Iterator[None]:
    """Calls made inside fail when `time_s` is over, or sooner where an outer deadline is nearer."""
    token = _deadline_s.set(min(_deadline_s.get(), time.monotonic() + time_s))
    try:
        yield
    finally:
        _deadline_s.reset(token)


def new_session() -> aiohttp.ClientSession:
    """The HTTP session that all clients of a process share; whoever opens it closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=CONNECTIONS_PER_PEER_MAX, keepalive_timeout=IDLE_CONNECTION_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIME_S),
    )


class _Method:
    """One method of a contract: its path, and the codecs made from its annotations at its first call."""

    def __init__(self, contract: type[Any], name: str, function: Any) -> None:
        self.label = f"{contract.__name__}.{name}"
        self.path = f"{PREFIX}{contract.__name__}/{name}"
        self.name = name
        self._function = function
        parameters = list(inspect.signature(function).parameters.values())[1:]
        assert inspect.iscoroutinefunction(function), f"{self.label} of a contract is not async"
        assert all(item.kind is item.KEYWORD_ONLY for item in parameters), f"{self.label} has positional parameters"
        self.names = frozenset(item.name for item in parameters)
        self.required = frozenset(item.name for item in parameters if item.default is item.empty)

    @cached_property
    def arguments(self) -> "_Codec":
        """JSON object ↔ keyword arguments; those with a default may be absent, the implementation has it."""
        return _Codec(self.label, {name: self._hints[name] for name in sorted(self.names)}, self.required)

    @cached_property
    def answer(self) -> "_Codec":
        """`{"result": …}` ↔ result."""
        return _Codec(self.label, {"result": self._hints["return"]}, frozenset({"result"}))

    @cached_property
    def _hints(self) -> dict[str, Any]:
        hints = typing.get_type_hints(self._function, include_extras=True)
        missing = (self.names | {"return"}) - hints.keys()
        assert not missing, f"{self.label} has no annotation for {', '.join(sorted(missing))}"
        return hints


class _Codec:
    """Writes and reads JSON objects with keys of annotated types (2 to 6 µs for small ones).

    Strict: what is not of the annotated type is refused, never converted. Bytes are any bytes, not only text.
    """

    def __init__(self, label: str, annotations: Mapping[str, Any], required: frozenset[str]) -> None:
        # Keys are aliases of numbered fields, because some names, such as `schema`, mean something to pydantic.
        self._names = {f"value_{number}": name for number, name in enumerate(annotations)}
        fields: dict[str, Any] = {
            field: (annotations[name], Field(alias=name) if name in required else Field(default=None, alias=name))
            for field, name in self._names.items()
        }
        config = ConfigDict(
            strict=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
        )
        self._model: type[BaseModel] = create_model(label.replace(".", "_"), __config__=config, **fields)

    def dump(self, values: Mapping[str, Any]) -> bytes:
        """The JSON text. Raises PydanticSerializationError for a value of another type than annotated."""
        return self._model.__pydantic_serializer__.to_json(
            self._model.model_construct(**values), by_alias=True, exclude_unset=True, warnings="error"
        )

    def load(self, body: bytes) -> dict[str, Any]:
        """The values. Raises ValidationError."""
        found = self._model.model_validate_json(body)
        return {self._names[field]: getattr(found, field) for field in found.model_fields_set}


def methods_of(contract: type[Any]) -> tuple[str, ...]:
    """The names of a contract's methods, those of Protocols it is put together from included."""
    parts = [part for part in contract.__mro__ if part.__module__ not in ("typing", "builtins")]
    return tuple(
        sorted(
            {name for part in parts for name, item in vars(part).items() if inspect.isfunction(item) and name[0] != "_"}
        )
    )


def _methods(contract: type[Any]) -> list[_Method]:
    return [_Method(contract, name, getattr(contract, name)) for name in methods_of(contract)]


class _Peer:
    """The other process, as one contract sees it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, signer: Signer) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._signer = signer

    async def call(self, method: _Method, arguments: dict[str, Any]) -> Any:
        """The result. Raises the peer's declared error, or ServiceUnavailable."""
        if not (method.required <= arguments.keys() <= method.names):
            raise TypeError(f"{method.label} takes {sorted(method.names)}, not {sorted(arguments)}")
        body = method.arguments.dump(arguments)
        started_s = time.monotonic()
        ends_s = min(_deadline_s.get(), started_s + CALL_TIME_S)
        try:
            async with asyncio.timeout(max(0.0, ends_s - started_s)):
                status, answer = await self._post(method, body, ends_s)
        except (aiohttp.ClientError, OSError) as cause:  # a TimeoutError is an OSError
            _log.warning("peer_unavailable", call=method.label, peer=self._url, cause=type(cause).__name__)
            raise ServiceUnavailable from cause
        try:
            if status == 200:
                return method.answer.load(answer)["result"]
            content = orjson.loads(answer)["error"]
            declared = rebuild(content["code"], content["details"])
        except (ValueError, TypeError, KeyError) as cause:  # a ValidationError is a ValueError
            # Neither a result nor a declared error: another program, another release, or we were not believed.
            _log.error(
                "peer_not_understood", call=method.label, peer=self._url, status=status, cause=type(cause).__name__
            )
            raise ServiceUnavailable from cause
        raise declared

    async def _post(self, method: _Method, body: bytes, ends_s: float) -> tuple[int, bytes]:
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        headers = {
            "content-type": "application/json",
            HEADER: self._signer.sign(_SERVICE, request_id=request_id),
            DEADLINE_HEADER: "",
            REQUEST_ID_HEADER: request_id,
        }
        for is_last in (False, True):
            headers[DEADLINE_HEADER] = str(int((ends_s - time.monotonic()) * 1000))
            try:
                async with self._session.post(
                    self._url + method.path, data=io.BytesIO(body), headers=headers, allow_redirects=False
                ) as response:
                    if response.content_length is None or response.content_length > BODY_BYTES_MAX:
                        raise aiohttp.ClientPayloadError("an answer without a length, or too long")
                    return response.status, await response.read()
            except aiohttp.ClientConnectorError:
                # Nothing was sent, so any call may try again: the peer may be starting, or have a replica.
                if is_last:
                    raise
                await asyncio.sleep(RECONNECT_AFTER_S)
        raise AssertionError("the loop returns or raises")


def client(contract: type[Contract], url: str, *, session: aiohttp.ClientSession, signer: Signer) -> Contract:
    """An object with the methods of `contract` that calls the process at `url`, such as `http://127.0.0.1:8094`."""
    peer = _Peer(url, session, signer)

    def bound(method: _Method) -> Any:
        async def call(_: object, **arguments: Any) -> Any:
            return await peer.call(method, arguments)

        call.__name__ = call.__qualname__ = method.name
        return call

    made = type(f"{contract.__name__}Client", (), {method.name: bound(method) for method in _methods(contract)})
    return cast("Contract", made())


class Server:
    """An ASGI app that answers calls of the contracts it was given; only processes with the shared key are heard."""

    def __init__(self, bound: Mapping[str, tuple[type[Any], Any]], signer: Signer) -> None:
        """`bound`: service name → (contract, implementation). Names are for logs and metrics only."""
        self._signer = signer
        self._methods: dict[str, tuple[str, _Method, Any]] = {}
        for service, (contract, implementation) in bound.items():
            for method in _methods(contract):
                assert method.path not in self._methods, f"two services implement {contract.__name__}"
                self._methods[method.path] = (service, method, getattr(implementation, method.name))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below `/internal/`."""
        assert scope["type"] == "http", "lifespan and WebSocket are the assembly's"
        status, body = await self._respond(scope, Request(scope, receive))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Scope, request: Request) -> tuple[int, bytes]:
        started_s = time.monotonic()
        found = self._methods.get(scope["path"])
        try:
            if self._signer.verify(request.headers.get(HEADER, "")).kind != "service":
                return _refusal(401, "the identity is not that of a service")
            if found is None:
                return _refusal(404, "no such call")
            if request.method != "POST":
                return _refusal(405, "calls are POST")
            body = await read_body(request, bytes_max=BODY_BYTES_MAX)
        except AuthenticationRequired:
            return _refusal(401, "no valid identity")
        except (BodyTooLarge, ServiceUnavailable, ClientDisconnect):
            return _refusal(413, "the body is too large or did not arrive")
        service, method, implementation = found
        request_id = request.headers.get(REQUEST_ID_HEADER, "")
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            status, answer = await _run(method, implementation, body, _time_left_s(request), service=service)
        telemetry.REQUEST_SECONDS.labels(service, method.label).observe(time.monotonic() - started_s)
        telemetry.REQUESTS.labels(service, method.label, status).inc()
        return status, answer


async def _run(method: _Method, implementation: Any, body: bytes, time_s: float, *, service: str) -> tuple[int, bytes]:
    try:
        arguments = method.arguments.load(body)
        with deadline(time_s):
            async with asyncio.timeout(time_s) as limit:
                result = await implementation(**arguments)
        return 200, method.answer.dump({"result": result})
    except AppError as error:
        return _declared(error)
    except TimeoutError:
        if limit.expired():
            return _declared(ServiceUnavailable())
        _log.exception("unexpected_error", service=service, call=method.label)
    except ValidationError as error:
        # Only where and what kind: the values themselves may be a user's.
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors(include_input=False)]
        _log.error("arguments_refused", service=service, call=method.label, problems=problems[:10])
    except PydanticSerializationError:
        _log.error("result_refused", service=service, call=method.label)
    except Exception:  # whatever it is, the caller gets a declared error and the log the cause
        _log.exception("unexpected_error", service=service, call=method.label)
    return _declared(ServerError())


def _time_left_s(request: Request) -> float:
    given = request.headers.get(DEADLINE_HEADER, "")
    return min(int(given) / 1000, CALL_TIME_S) if given.isdecimal() else CALL_TIME_S


def _declared(error: AppError) -> tuple[int, bytes]:
    return error.status, orjson.dumps({"error": {"code": error.code, "details": error.details}}, default=str)


def _refusal(status: int, reason: str) -> tuple[int, bytes]:
    return status, orjson.dumps({"refused": reason})
