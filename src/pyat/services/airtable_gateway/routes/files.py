"""Files on the wire: the upload of an attachment, and signed URLs in the place of marks in every answer with records."""

import base64
import binascii
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pyat.foundation.clock import Clock
from pyat.foundation.errors import InvalidRequest, ModelNotFound
from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Handler, Handlers, Operation, principal_of, read_json, ready_json
from pyat.recordstore.attachments import with_urls
from pyat.recordstore.errors import InvalidValue, UnknownFieldName
from pyat.services.airtable_gateway.contract import FileTooLarge, Records
from pyat.services.file.contract import FileInfected, InvalidAttachment

BODY_BYTES_MAX = 8 * 1024 * 1024
"""5 MB in base 64, with its line breaks, and the rest of the body."""

_HOST = re.compile(r"[A-Za-z0-9.\-_:\[\]]{1,255}")

OPERATIONS = (
    Operation(
        "upload_attachment",
        "POST",
        "/v0/{base_id:app}/{record_id:rec}/{field}/uploadAttachment",
        "Upload an attachment of up to 5 MB",
        "data.records:write",
        body={
            "type": "object",
            "required": ["contentType", "filename", "file"],
            "properties": {
                "contentType": {"type": "string"},
                "filename": {"type": "string"},
                "file": {"type": "string", "description": "The bytes in base 64; white space is skipped."},
            },
        },
        answer={
            "type": "object",
            "required": ["id", "createdTime", "fields"],
            "properties": {
                "id": {"type": "string"},
                "createdTime": {"type": "string", "format": "date-time"},
                "fields": {"type": "object", "description": "The cell by the id of its field."},
            },
        },
        errors=(
            InvalidRequest,
            ModelNotFound,
            UnknownFieldName,
            InvalidValue,
            FileTooLarge,
            InvalidAttachment,
            FileInfected,
        ),
        body_bytes_max=BODY_BYTES_MAX,
    ),
)


class FileRoutes:
    """The handlers, by the names of their operations."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def upload_attachment(self, request: Request) -> Response:
        body = await read_json(request, bytes_max=BODY_BYTES_MAX)
        uploaded = await self._records.upload_attachment(
            principal=principal_of(request),
            base_id=BaseId(request.path_params["base_id"]),
            record_id=RecordId(request.path_params["record_id"]),
            field=request.path_params["field"],
            filename=_text(body, "filename"),
            content_type=_text(body, "contentType"),
            data=_bytes(_text(body, "file")),
        )
        return ready_json(uploaded)


def handlers(records: Records) -> Handlers:
    """The handler of every operation."""
    routes = FileRoutes(records)
    return {operation.name: getattr(routes, operation.name) for operation in OPERATIONS}


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(reason=f"{key} must be a string that is not empty.")
    return value


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(reason="file must be base 64.") from None


_MARKED_TYPES = ("application/json", "application/x-ndjson", "text/event-stream")


class Urls:
    """Puts URLs into answers. They begin with the address the client itself has used."""

    def __init__(self, urls: FileUrls, clock: Clock) -> None:
        self._urls = urls
        self._clock = clock

    def wrapped(self, handler: Handler) -> Handler:
        """The same handler, whose answers hold URLs instead of marks."""

        async def handle(request: Request) -> Response:
            response = await handler(request)
            if isinstance(response, StreamingResponse):
                # In other files than those of JSON, texts stand as they are, and could look like marks.
                if not response.headers.get("content-type", "").startswith(_MARKED_TYPES):
                    return response
                response.body_iterator = self._each(request, response.body_iterator)
            elif b"\x01" in response.body:
                response.body = self._replaced(request, bytes(response.body))
                response.headers["content-length"] = str(len(response.body))
            return response

        return handle

    async def _each(self, request: Request, chunks: Any) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            yield self._replaced(request, chunk if isinstance(chunk, bytes) else chunk.encode())

    def _replaced(self, request: Request, body: bytes) -> bytes:
        base_id, origin, now = request.path_params["base_id"], origin_of(request), self._clock.now()
        return with_urls(
            body,
            lambda attachment_id, variant, filename: self._urls.url(
                origin, base_id, attachment_id, variant, filename, now
            ),
        )


def origin_of(request: Request) -> str:
    """The address that the client used, as far as its request tells: `https://host:port`.

    A host that could end a JSON text is not repeated; URLs are then relative to whatever the client knows.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        return ""
    forwarded = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return f"{forwarded if forwarded in ('http', 'https') else request.url.scheme}://{host}"
