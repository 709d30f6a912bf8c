"""Bodies of uploads: read as they come, never held whole, and not for ever."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from pyat.foundation.errors import InvalidRequest

IDLE_TIME_S = 60.0
"""How long a sender may be silent."""
UPLOAD_TIME_S = 7_200.0
"""How long one request may take: 5 GiB at 750 kB/s. Slower senders use resumable uploads."""
FORM_BYTES_MAX = 64 * 1024
"""What a form may have beside its file: boundaries, headers, other fields."""
_DISCARDED_BYTES_MAX = 64 * 1024 * 1024
_DISCARD_TIME_S = 5.0
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]*)", re.IGNORECASE)


class Body:
    """A request's body, read once, piece by piece."""

    def __init__(self, request: Request) -> None:
        self._stream = request.stream()
        # A client that asked first has sent nothing yet, and reads our answer.
        self._is_held_back = "expect" in request.headers

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        """The next piece, not empty. Raises ClientDisconnect, also for a sender that is silent for too long."""
        while True:
            try:
                self._is_held_back = False
                async with asyncio.timeout(IDLE_TIME_S):
                    piece = await anext(self._stream)
            except TimeoutError:
                raise ClientDisconnect from None
            if piece:
                return piece

    async def discard(self) -> None:
        """Read on a little after a refusal: a sender that is still busy sending would miss the answer."""
        if self._is_held_back:
            return
        left = _DISCARDED_BYTES_MAX
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_DISCARD_TIME_S):
                async for piece in self:
                    left -= len(piece)
                    if left < 0:
                        return


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a form says of its file before the file itself."""

    filename: str
    content_type: str | None


class FormFile:
    """The one file of a form (`multipart/form-data`); other fields are read over.

    Raises InvalidRequest for what is no form, and for a form with no file or several.
    """

    def __init__(self, body: Body, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
            raise InvalidRequest(reason="The body must be multipart/form-data with a boundary.")
        self._body = body
        self._events: list[PartHead | bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""
        self._is_in_file = False
        self._has_file = False
        self._has_ended = False
        self._other_bytes = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    async def head(self) -> PartHead:
        """The head of the file; ask for it first."""
        while not self._events:
            await self._read()
        found = self._events.pop(0)
        assert isinstance(found, PartHead), "a file begins with its head"
        return found

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file's bytes, and then nothing else up to the end of the form."""
        while True:
            for event in self._events:
                if isinstance(event, PartHead):
                    raise InvalidRequest(reason="Only one file can be uploaded at a time.")
                yield event
            self._events.clear()
            if self._has_ended:
                return
            await self._read()

    async def _read(self) -> None:
        try:
            piece = await anext(self._body)
        except StopAsyncIteration:
            raise InvalidRequest(
                reason="The form ends too early." if self._has_file else "The form has no file."
            ) from None
        if self._has_ended:
            return
        before = sum(len(event) for event in self._events if isinstance(event, bytes))
        try:
            self._parser.write(piece)
        except FormParserError:
            raise InvalidRequest(reason="The body is not a well-formed form.") from None
        after = sum(len(event) for event in self._events if isinstance(event, bytes))
        self._other_bytes += len(piece) - (after - before)
        if self._other_bytes > FORM_BYTES_MAX:
            raise InvalidRequest(reason="The form has too much beside its file.")

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        filename = _filename(self._headers.get(b"content-disposition", b""))
        self._is_in_file = filename is not None
        if filename is not None:
            self._has_file = True
            declared = self._headers.get(b"content-type", b"").decode("latin-1")
            self._events.append(PartHead(filename, declared or None))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._events.append(data[start:end])

    def _on_end(self) -> None:
        self._has_ended = True


def _filename(disposition: bytes) -> str | None:
    """The name in a Content-Disposition, or None where it has none and so is no file's."""
    found = _EXTENDED_NAME.search(disposition)
    if found is not None:
        return unquote_to_bytes(found[1]).decode("utf-8", "replace")
    _, options = parse_options_header(disposition)
    if b"filename" not in options:
        return None
    # Browsers write a quotation mark so, and nothing else.
    return options[b"filename"].replace(b"%22", b'"').decode("utf-8", "replace")
