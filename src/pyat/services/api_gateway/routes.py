"""The outer side of the gateway: what it takes from a request, and how an answer goes out."""

import asyncio
import contextlib
import itertools
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pyat.foundation.errors import BodyTooLarge
from pyat.foundation.ids import random_text
from pyat.services.api_gateway.settings import GatewaySettings

RawHeaders = Iterable[tuple[bytes, bytes]]

CORS_HEADERS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"DELETE,GET,OPTIONS,PATCH,POST,PUT"),
    (
        b"access-control-allow-headers",
        (
            b"authorization,content-length,content-type,user-agent,x-airtable-application-id,x-airtable-user-agent,"
            b"x-api-version,x-requested-with"
        ),
    ),
)
"""Wire reference, section 1.5."""

ANSWER_HEADERS: Final = (
    *CORS_HEADERS,
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"vary", b"Accept-Encoding"),
)
"""What every answer carries (wire reference, section 1.5)."""

DISCARDED_BYTES_MAX: Final = 64 * 1024 * 1024
DISCARD_TIME_S: Final = 5.0
"""How much of a refused body is read, and for how long, so that its sender gets to read the answer."""

_COMPRESSIBLE: Final = (b"application/json", b"text/", b"application/javascript", b"application/xml", b"image/svg+xml")
_COMPRESS_APART_BYTES: Final = 256 * 1024
"""Bodies from this size on are compressed in a thread: a megabyte takes about 10 ms, in which nobody else is answered."""

_GZIP_WINDOW = 31
"""zlib's largest window, written with gzip's header."""

_ID_CHARACTERS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_."
_ID_LENGTH_MAX = 128

_process = random_text(8)
_numbers = itertools.count(1)


def request_id(given: bytes | None) -> str:
    """The caller's own request id where it is one word of at most 128 plain characters, else a new one."""
    if given and len(given) <= _ID_LENGTH_MAX and not given.translate(None, _ID_CHARACTERS):
        return given.decode("ascii")
    return f"{_process}-{next(_numbers)}"


@lru_cache(maxsize=256)
def wants_gzip(accept_encoding: bytes) -> bool:
    """Whether an Accept-Encoding header names gzip, and not with quality 0."""
    for part in accept_encoding.lower().split(b","):
        coding, _, quality = part.partition(b";")
        if coding.strip() == b"gzip":
            return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def bounded(receive: Receive, bytes_max: int) -> Receive:
    """`receive` for a body of unknown length, which raises BodyTooLarge once more than `bytes_max` bytes came."""
    size = 0

    async def receive_bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > bytes_max:
            if message.get("more_body"):
                await discard(receive)
            raise BodyTooLarge
        return message

    return receive_bounded


async def discard(receive: Receive) -> None:
    """Read the rest of a body that is refused, within bounds: a client that is still sending would miss the answer."""
    left = DISCARDED_BYTES_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_TIME_S):
            while left > 0:
                message = await receive()
                if not message.get("more_body"):
                    return
                left -= len(message["body"])


class Sender:
    """Sends answers with the gateway's own headers, compressed where the client asked for it and it pays."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._gzip_bytes_min = settings.gzip_bytes_min
        self._gzip_level = settings.gzip_level

    async def send(
        self, response: Response, extra: RawHeaders, *, is_gzip_wanted: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send `response`; `extra` are further header lines."""
        body: bytes | None = getattr(response, "body", None)
        if body is None:
            # A stream. Starlette sends it and stops when the client goes away; what is sent passes through us.
            stream = _Stream(
                send, (*ANSWER_HEADERS, *extra), self._gzip_bytes_min, self._gzip_level if is_gzip_wanted else 0
            )
            await response(scope, receive, stream.send)
            return
        headers = response.raw_headers
        if is_gzip_wanted and len(body) >= self._gzip_bytes_min and _is_compressible(headers):
            if len(body) < _COMPRESS_APART_BYTES:
                body = zlib.compress(body, self._gzip_level, _GZIP_WINDOW)
            else:
                body = await asyncio.to_thread(zlib.compress, body, self._gzip_level, _GZIP_WINDOW)
            headers = [header for header in headers if header[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(body)))
            headers.append((b"content-encoding", b"gzip"))
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": [*headers, *ANSWER_HEADERS, *extra],
            }
        )
        await send({"type": "http.response.body", "body": body})
        if response.background is not None:
            await response.background()


def _is_compressible(headers: RawHeaders) -> bool:
    found = False
    for name, value in headers:
        if name == b"content-encoding" or (name == b"cache-control" and b"no-transform" in value):
            return False
        if name == b"content-type":
            found = value.startswith(_COMPRESSIBLE)
    return found


class _Stream:
    """An answer of which the length is known only to its sender, or is large.

    Compressed only where a length was declared: pieces of an endless stream must not wait in a compressor.
    """

    def __init__(self, send: Send, extra: RawHeaders, gzip_bytes_min: int, gzip_level: int) -> None:
        self._send = send
        self._extra = extra
        self._gzip_bytes_min = gzip_bytes_min
        self._gzip_level = gzip_level
        self._gzip: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        """Pass on one ASGI message."""
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            length = int(dict(headers).get(b"content-length", b"-1"))
            if self._gzip_level and length >= self._gzip_bytes_min and _is_compressible(headers):
                self._gzip = zlib.compressobj(self._gzip_level, zlib.DEFLATED, _GZIP_WINDOW)
                headers = [header for header in headers if header[0] != b"content-length"]
                headers.append((b"content-encoding", b"gzip"))
            message = {**message, "headers": [*headers, *self._extra]}
        elif self._gzip is not None:
            is_last = not message.get("more_body", False)
            body = self._gzip.compress(message.get("body", b""))
            if is_last:
                body += self._gzip.flush()
            elif not body:
                return
            message = {**message, "body": body}
        await self._send(message)
