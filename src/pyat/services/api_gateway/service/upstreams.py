"""The two ways to a service: a call in this process, or a request to another one."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from yarl import URL

from pyat.foundation import web
from pyat.foundation.errors import AppError, BodyTooLarge, ServiceUnavailable
from pyat.foundation.identity import HEADER, Signer
from pyat.foundation.rpc import DEADLINE_HEADER, REQUEST_ID_HEADER
from pyat.foundation.web import Handlers, Match
from pyat.services.api_gateway.service.breaker import Breaker
from pyat.services.api_gateway.settings import GatewaySettings

_log = structlog.get_logger("api_gateway")

_WHOLE_BYTES_MAX = 1024 * 1024
"""Bodies up to this size travel in one piece; larger ones, and those of unknown size, are passed on as they come."""

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The service gets the signed identity instead of the credential, and answers uncompressed: the gateway compresses.
# The client's Host goes on: URLs of files in answers begin with it.
_NOT_SENT_ON: Final = _HOP_BY_HOP | {
    "content-length",
    "expect",
    "authorization",
    "accept-encoding",
    "x-request-id",
}
_NOT_SENT_BACK: Final = _HOP_BY_HOP | {"content-length", "date", "server"}
_OURS: Final = "x-pyat-"


class LocalUpstream:
    """A service of this process: its handler is called."""

    def __init__(self, handlers: Handlers, service: str) -> None:
        self._handlers = handlers
        self._service = service

    async def answer(self, match: Match, request: Request) -> Response:
        """See the contract; every failure of a handler is an answer already."""
        return await web.answer(match, request, self._handlers, service=self._service)


class _ConnectionBroke(Exception):
    """The connection ended before an answer came; whether the service saw the request is not known."""


async def _break_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    # aiohttp repeats every "idempotent" request itself, also DELETE; but a record deleted twice is answered as missing.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionBroke from error


class RemoteUpstream:
    """A service of another process: the request is sent on with a signed identity, the answer comes back as it is.

    A connection that cannot be made, breaks, or stays silent too long becomes ServiceUnavailable. A GET is sent once
    more when its connection breaks: the service may have closed it, unused, at that moment.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession, signer: Signer, *, settings: GatewaySettings) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._signer = signer
        self._timeout_s = settings.upstream_timeout_s
        # Also the longest wait for a free connection of the session's pool.
        self._connect_timeout_s = settings.upstream_connect_timeout_s
        self._breaker = Breaker(failures_max=settings.upstream_failures_max, pause_ms=settings.upstream_pause_ms)

    async def answer(self, match: Match, request: Request) -> Response:
        """See the contract."""
        self._breaker.enter()
        body = await _Body.of(request)
        url = URL(self._url + _target(request), encoded=True)
        headers = self._headers(match, request, body)
        try:
            response = await self._send(request.method, url, headers, body, self._time_s(match))
        except (aiohttp.ClientError, OSError, TimeoutError, _ConnectionBroke) as error:
            if body.error is not None:
                # The client's side failed, not the service's.
                raise body.error from error
            self._breaker.failed()
            _log.warning("upstream_failed", operation=match.operation.name, cause=_cause(error))
            raise ServiceUnavailable from error
        self._breaker.succeeded()
        return await self._received(response, has_body=request.method != "HEAD")

    def _time_s(self, match: Match) -> float:
        """The longest silence of the service: an operation that may take longer than others is given as much more."""
        return self._timeout_s + max(0.0, match.operation.answer_time_s - web.ANSWER_TIME_S)

    async def _send(
        self, method: str, url: URL, headers: list[tuple[str, str]], body: "_Body", time_s: float
    ) -> ClientResponse:
        timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s, sock_read=time_s)
        for is_last in (False, True):
            try:
                return await self._session.request(
                    method,
                    url,
                    headers=headers,
                    data=body.data(),
                    allow_redirects=False,
                    auto_decompress=False,
                    skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
                    timeout=timeout,
                    middlewares=(_break_once,),
                )
            except _ConnectionBroke:
                if is_last or method != "GET" or not body.is_empty:
                    raise
        raise AssertionError("the second try returns or raises")

    def _headers(self, match: Match, request: Request, body: "_Body") -> list[tuple[str, str]]:
        state = request.scope["state"]
        named = request.headers.get("connection", "")
        dropped = {name.strip().lower() for name in named.split(",")} if named else frozenset()
        headers = [
            (name, value)
            for name, value in request.headers.items()
            if name not in _NOT_SENT_ON and name not in dropped and not name.startswith(_OURS)
        ]
        headers.append((REQUEST_ID_HEADER, state["request_id"]))
        headers.append((web.CLIENT_HEADER, state["client"]))
        headers.append((DEADLINE_HEADER, str(int(self._time_s(match) * 1000))))
        if not match.operation.is_public:
            headers.append((HEADER, self._signer.sign(state["principal"], request_id=state["request_id"])))
        if body.length is not None:
            headers.append(("content-length", str(body.length)))
        return headers

    async def _received(self, response: ClientResponse, *, has_body: bool) -> Response:
        headers = [
            (name.lower(), value)
            for name, value in response.raw_headers
            if name.lower().decode("latin-1") not in _NOT_SENT_BACK
        ]
        length = response.content_length
        answer: Response
        if not has_body:
            response.release()
            answer = Response(status_code=response.status)
            answer.raw_headers = headers if length is None else [*headers, (b"content-length", b"%d" % length)]
        elif length is not None and length <= _WHOLE_BYTES_MAX:
            try:
                # Reading to the end gives the connection back; anything else closes it.
                content = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._breaker.failed()
                raise ServiceUnavailable from error
            answer = Response(content, response.status)
            answer.raw_headers = [*headers, (b"content-length", b"%d" % len(content))]
        else:
            answer = StreamingResponse(_pieces(response), response.status)
            answer.raw_headers = headers if length is None else [*headers, (b"content-length", b"%d" % length)]
        return answer


class _Body:
    """A request's body on its way to a service: empty, whole, or read as it is sent."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._whole: bytes | None = None
        self.length: int | None = None
        self.error: AppError | ClientDisconnect | None = None
        """What went wrong on the client's side, where anything did."""

    @classmethod
    async def of(cls, request: Request) -> "_Body":
        """Read it where it is small; bodies larger than declared do not exist, the server cuts them off."""
        body = cls(request)
        declared = request.headers.get("content-length")
        if declared is not None:
            body.length = int(declared)
        elif "transfer-encoding" not in request.headers:
            body.length = 0
        if body.length is not None and body.length <= _WHOLE_BYTES_MAX:
            body._whole = await web.read_body(request) if body.length else b""
        if body.length == 0 and request.method in ("GET", "DELETE"):
            body.length = None
        return body

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send, so that a second try sends the same."""
        return self._whole == b""

    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """As aiohttp takes it."""
        if self._whole is not None:
            return self._whole or None
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._request.stream():
                if piece:
                    yield piece
        except (BodyTooLarge, ClientDisconnect) as error:
            self.error = error
            raise


async def _pieces(response: ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_any():
            yield piece
    finally:
        # Broken off in the middle, the connection cannot be used again; `close` knows whether it was the middle.
        response.close()


def _target(request: Request) -> str:
    """Path and query as the client wrote them; the server lets only ASCII through."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("ascii")


def _cause(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, _ConnectionBroke) else error
    return type(cause).__name__
