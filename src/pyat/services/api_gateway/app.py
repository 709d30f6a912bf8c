"""The gateway as the root ASGI application of a process."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pyat.foundation.errors import (
    AppError,
    BodyTooLarge,
    HeadersTooLarge,
    MethodNotAllowed,
    NotPermittedOrNotFound,
    RateLimitReached,
    ServerError,
    UrlTooLong,
)
from pyat.foundation.ids import BaseId
from pyat.foundation.service import Resources
from pyat.foundation.telemetry import REQUEST_SECONDS, REQUESTS
from pyat.foundation.web import Operation, Router, error_response
from pyat.services.api_gateway.contract import Document, Page, Route, Upstream
from pyat.services.api_gateway.routes import CORS_HEADERS, Sender, bounded, discard, request_id, wants_gzip
from pyat.services.api_gateway.service.limits import Headers, Limits, rates_of
from pyat.services.api_gateway.service.principals import Principals
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.api_gateway.store import LimitStore
from pyat.services.auth.contract import Auth

_log = structlog.get_logger("api_gateway")

_SERVICE = "api_gateway"
_HEADER_OVERHEAD_BYTES = 4
"""The colon, the blank and the end of line of a header."""
_PREFLIGHT = {"type": "http.response.start", "status": 200, "headers": [*CORS_HEADERS, (b"content-length", b"0")]}
_EMPTY = {"type": "http.response.body", "body": b""}


class Gateway:
    """The public entry of the platform: matches, authenticates, limits and permits a request, then asks the service.

    Which error wins follows the wire reference, section 4.6. Construct it before the bus runs, since it listens there.
    `scope["state"]` afterwards holds `request_id`, `client` and, unless the operation is public, `principal`.
    """

    def __init__(
        self,
        resources: Resources,
        auth: Auth,
        routes: Iterable[Route],
        *,
        pages: Mapping[str, Page],
        settings: GatewaySettings | None = None,
    ) -> None:
        """`pages` answer GET without credentials, by exact path (such as `/health/live`, `/openapi.json`)."""
        settings = GatewaySettings() if settings is None else settings
        self._settings = settings
        self._log_requests = resources.settings.log_requests
        self._principals = Principals(
            auth,
            resources.bus,
            resources.clock,
            remember_s=settings.principal_cache_s,
            remembered_max=settings.principal_cache_max,
        )
        rates = rates_of(settings)
        self._limits = None if rates is None else Limits(LimitStore(resources.cache, rates))
        self._sender = Sender(settings)
        self._pages = {path.encode("ascii"): page for path, page in pages.items()}
        self._upstreams: dict[tuple[str, str], Upstream] = {}
        operations: list[Operation] = []
        for route in routes:
            operations.extend(route.operations)
            for operation in route.operations:
                self._upstreams[operation.method, operation.path] = route.upstream
        self._router = Router(operations)
        self._metrics: dict[tuple[str, int], Any] = {}
        self._times: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; a WebSocket is closed, the process's lifespan belongs to the assembly."""
        if scope["type"] != "http":
            assert scope["type"] == "websocket", "the assembly answers lifespan events itself"
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        started_s = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        client = scope["client"]
        state: dict[str, Any] = {
            "request_id": request_id(headers.get(b"x-request-id")),
            "client": client[0] if client else "",
        }
        scope["state"] = state
        try:
            response = await self._answer(scope, receive, headers, state)
        except AppError as error:
            response = error_response(error)
        except ClientDisconnect:
            return
        except Exception:
            _log.exception("unexpected_error", operation=_name(state), request_id=state["request_id"])
            response = error_response(ServerError())
        if response is None:
            await send(_PREFLIGHT)
            await send(_EMPTY)
            return
        extra: Headers = ((b"x-request-id", state["request_id"].encode("ascii")), *state.get("limits", ()))
        await self._sender.send(
            response,
            extra,
            is_gzip_wanted=wants_gzip(headers.get(b"accept-encoding", b"")),
            scope=scope,
            receive=receive,
            send=send,
        )
        self._record(state, response.status_code, time.perf_counter() - started_s)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], state: dict[str, Any]
    ) -> Response | None:
        """The answer, or None for a pre-flight request. Raises every AppError that ends a request early."""
        settings = self._settings
        raw_path: bytes = scope["raw_path"]
        if len(raw_path) + 1 + len(scope["query_string"]) > settings.url_length_max:
            raise UrlTooLong(limit=settings.url_length_max)
        size = 0
        for name, value in scope["headers"]:
            size += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        if size > settings.header_bytes_max:
            raise HeadersTooLarge(limit=settings.header_bytes_max)
        method: str = scope["method"]
        if method == "OPTIONS" and not self._router.answers(method, raw_path):
            return None
        page = self._pages.get(raw_path)
        if page is not None:
            return await _show(page, method, scope)

        match = self._router.match(method, raw_path)
        operation = match.operation
        state["operation"] = operation.name
        if not operation.is_public:
            principal = await self._principals.find(headers.get(b"authorization"))
            state["principal"] = principal
            base_id = match.parameters.get("base_id")
            if self._limits is not None:
                state["limits"], wait_s = await self._limits.check(
                    principal, None if operation.is_metadata else base_id
                )
                if wait_s:
                    raise RateLimitReached(retry_after_s=wait_s)
            if operation.scope is not None and operation.scope not in principal.scopes:
                raise NotPermittedOrNotFound
            if base_id is not None and not principal.reaches(BaseId(base_id)):
                raise NotPermittedOrNotFound

        declared = headers.get(b"content-length")
        if declared is not None:
            if not declared.isdigit() or int(declared) > operation.body_bytes_max:
                # A client that asked first has sent nothing yet, and reads our answer.
                if b"expect" not in headers:
                    await discard(receive)
                raise BodyTooLarge
        elif b"transfer-encoding" in headers:
            receive = bounded(receive, operation.body_bytes_max)
        return await self._upstreams[operation.method, operation.path].answer(match, Request(scope, receive))

    def _record(self, state: dict[str, Any], status: int, duration_s: float) -> None:
        operation = _name(state)
        count = self._metrics.get((operation, status))
        if count is None:
            # `labels` takes a lock and builds strings; its result is kept.
            count = self._metrics[operation, status] = REQUESTS.labels(_SERVICE, operation, status)
            self._times[operation] = REQUEST_SECONDS.labels(_SERVICE, operation)
        count.inc()
        self._times[operation].observe(duration_s)
        if status >= 500 or self._log_requests:
            principal = state.get("principal")
            log = _log.error if status >= 500 else _log.info
            log(
                "request",
                operation=operation,
                status=status,
                duration_ms=round(duration_s * 1000, 2),
                request_id=state["request_id"],
                user_id=None if principal is None else principal.user_id,
            )


async def _show(page: Page, method: str, scope: Scope) -> Response:
    if method not in ("GET", "HEAD"):
        raise MethodNotAllowed(method=method, allowed="GET, HEAD")
    if isinstance(page, Document):
        return Response(page.body, headers={"content-type": page.content_type})
    return await page(scope)


def _name(state: dict[str, Any]) -> str:
    # One name for all that matched nothing: a name for each would be a metric for whatever strangers type.
    name: str = state.get("operation", "none")
    return name
