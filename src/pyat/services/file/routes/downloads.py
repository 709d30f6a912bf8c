"""Signed downloads: ranges, validators, headers for caches, and names and types that cannot turn into script."""

import re
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pyat.foundation.clock import Clock
from pyat.foundation.errors import AppError, ModelNotFound
from pyat.foundation.ids import BaseId
from pyat.foundation.signing import PREFIX, FileUrlExpired, FileUrlInvalid
from pyat.foundation.web import Handlers, Operation, error_response
from pyat.services.file.service import Download, FilesService
from pyat.services.file.service.content_type import is_inline_safe

_PATH = PREFIX + "/{base_id:app}/{attachment_id:att}/{variant}/{expires}/{signature}/{filename}"

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~()\[\],;=@-]")


class RangeNotSatisfiable(AppError):
    """A range of bytes was asked for that begins behind the end of the file."""

    code, status, wire_type = "RANGE_NOT_SATISFIABLE", 416, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the file has {size} bytes"


_ERRORS = (FileUrlInvalid, FileUrlExpired, ModelNotFound)
_ABOUT = (
    "The URLs that attachments are shown with lead here; they need no token and expire. `{filename}` means nothing. "
    "One range of bytes is answered; several at once are answered with the whole file."
)
OPERATIONS = (
    Operation(
        "download_file",
        "GET",
        _PATH,
        "Download an attachment or a thumbnail",
        is_public=True,
        errors=(*_ERRORS, RangeNotSatisfiable),
        description=_ABOUT,
    ),
    Operation(
        "download_file_head",
        "HEAD",
        _PATH,
        "Get the headers of a download",
        is_public=True,
        errors=(*_ERRORS, RangeNotSatisfiable),
        description=_ABOUT,
    ),
)


class DownloadRoutes:
    """The handlers of `OPERATIONS`."""

    def __init__(self, service: FilesService, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {"download_file": self._download, "download_file_head": self._download}

    async def _download(self, request: Request) -> Response:
        path = request.path_params
        download = await self._service.find(
            base_id=BaseId(path["base_id"]),
            attachment_id=path["attachment_id"],
            variant=path["variant"],
            expires=path["expires"],
            signature=path["signature"],
        )
        headers = self._headers(download)
        if _matches(request.headers.get("if-none-match"), download.etag):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = _content_type(download.type)
        headers["content-disposition"] = disposition(download.type, download.filename)
        start, end, status = 0, download.size, 200
        asked = request.headers.get("range")
        # A range of another version than the client has is of no use to it: it gets the whole file.
        if asked is not None and request.headers.get("if-range", download.etag) == download.etag:
            try:
                found = range_of(asked, download.size)
            except RangeNotSatisfiable as error:
                response = error_response(error)
                response.headers["content-range"] = f"bytes */{download.size}"
                return response
            if found is not None:
                start, end = found
                status = 206
                headers["content-range"] = f"bytes {start}-{end - 1}/{download.size}"
        headers["content-length"] = str(end - start)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._service.read(download, start, end), status, headers=headers)

    def _headers(self, download: Download) -> dict[str, str]:
        left_s = max(0, int((download.expires_time - self._clock.now()).total_seconds()))
        return {
            "etag": download.etag,
            "accept-ranges": "bytes",
            # The URL is the permission, so whoever has it may also keep the answer, as long as the URL lives. Compressed
            # on the way, ranges and validators would not fit the bytes.
            "cache-control": f"public, max-age={left_s}, immutable, no-transform",
            "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "cross-origin-resource-policy": "cross-origin",
            "referrer-policy": "no-referrer",
        }


def range_of(text: str, size: int) -> tuple[int, int] | None:
    """The one range of bytes of a Range header, as start and end (exclusive); None asks for the whole file.

    Raises RangeNotSatisfiable. Several ranges, other units and nonsense mean the whole file, as HTTP allows.
    """
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise RangeNotSatisfiable(size=size)
        return size - length, size
    start = int(first)
    end = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(size=size)
    return start, end


def disposition(kind: str, filename: str) -> str:
    """The Content-Disposition of a file: shown only where its type is safe; the name in ASCII and in full."""
    how = "inline" if is_inline_safe(kind) else "attachment"
    plain = _PLAIN_NAME.sub("_", filename)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _content_type(kind: str) -> str:
    # Text is stored as it came; UTF-8 is what it nearly always is, and saying so keeps browsers from guessing.
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    return any(part.strip().removeprefix("W/") in {etag, "*"} for part in header.split(","))
