"""Resumable uploads by the protocol tus 1.0: core, creation, creation-with-upload, expiration, checksum, termination."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import AppError, BodyTooLarge, InvalidRequest, ModelNotFound
from pyat.foundation.ids import BaseId
from pyat.foundation.signing import PREFIX
from pyat.foundation.web import Handler, Handlers, Operation, error_response, json_response, principal_of
from pyat.services.file.contract import FileInfected, InvalidAttachment
from pyat.services.file.routes.bodies import UPLOAD_TIME_S, Body
from pyat.services.file.routes.uploads import SCOPE
from pyat.services.file.service import FilesService, checked_filename
from pyat.services.file.service.uploads import CHECKSUMS, ChecksumMismatch, UploadOffsetWrong, Uploads
from pyat.services.file.settings import FILE_BYTES_MAX
from pyat.services.file.store import Upload

VERSION = "1.0.0"
ATTACHMENT_HEADER = "x-attachment-id"
_PIECE_TYPE = "application/offset+octet-stream"
_EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
_METADATA_LENGTH_MAX = 8_192
_NUMBER_DIGITS_MAX = 18
_COLLECTION = PREFIX + "/bases/{base_id:app}/tus"
_ITEM = _COLLECTION + "/{upload_id:upl}"


class TusVersionNotSupported(AppError):
    """The header `Tus-Resumable` is missing or names another version than 1.0.0."""

    code, status, template = "TUS_VERSION_NOT_SUPPORTED", 412, "This server speaks tus 1.0.0."


class UploadTypeWrong(AppError):
    """A piece of an upload has another content type than tus demands."""

    code, status, wire_type = "UPLOAD_TYPE_WRONG", 415, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the content type of a piece is application/offset+octet-stream"


_PIECE_ERRORS = (UploadTypeWrong, UploadOffsetWrong, ChecksumMismatch, FileInfected)
_ABOUT = (
    "Speaks tus 1.0 (`Tus-Resumable: 1.0.0`), so any tus client can send large files and go on after a break. The whole "
    "upload becomes an attachment, named by the header `X-Attachment-Id` and by GET of the upload."
)
OPERATIONS = (
    Operation(
        "describe_resumable_uploads",
        "OPTIONS",
        _COLLECTION,
        "Say what the tus endpoint can do",
        is_public=True,
        description=_ABOUT,
    ),
    Operation(
        "create_resumable_upload",
        "POST",
        _COLLECTION,
        "Begin a resumable upload",
        scope=SCOPE,
        status=201,
        errors=(TusVersionNotSupported, InvalidAttachment, InvalidRequest, *_PIECE_ERRORS),
        body_bytes_max=FILE_BYTES_MAX,
        answer_time_s=UPLOAD_TIME_S,
        description=_ABOUT + " `Upload-Length` is needed; `Upload-Metadata` takes `filename` and `filetype`.",
    ),
    Operation(
        "describe_resumable_upload",
        "OPTIONS",
        _ITEM,
        "Say what can be done with an upload",
        is_public=True,
        description=_ABOUT,
    ),
    Operation(
        "get_resumable_upload_offset",
        "HEAD",
        _ITEM,
        "Ask how much of an upload has come",
        scope=SCOPE,
        errors=(TusVersionNotSupported, ModelNotFound, FileInfected),
        answer_time_s=UPLOAD_TIME_S,
    ),
    Operation(
        "get_resumable_upload",
        "GET",
        _ITEM,
        "Get an upload and the attachment it became",
        scope=SCOPE,
        errors=(ModelNotFound, FileInfected),
        answer_time_s=UPLOAD_TIME_S,
        answer={
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "filename": {"type": "string"},
                "length": {"type": "integer", "minimum": 0},
                "offset": {"type": "integer", "minimum": 0},
                "expiresTime": {"type": "string"},
                "attachmentId": {"type": ["string", "null"]},
            },
            "required": ["id", "filename", "length", "offset", "expiresTime", "attachmentId"],
        },
    ),
    Operation(
        "continue_resumable_upload",
        "PATCH",
        _ITEM,
        "Send the next piece of an upload",
        scope=SCOPE,
        status=204,
        errors=(TusVersionNotSupported, ModelNotFound, InvalidRequest, *_PIECE_ERRORS),
        body_bytes_max=FILE_BYTES_MAX,
        answer_time_s=UPLOAD_TIME_S,
        description="What came before a connection broke is kept, unless the piece has an `Upload-Checksum`.",
    ),
    Operation(
        "delete_resumable_upload",
        "DELETE",
        _ITEM,
        "Give an upload up",
        scope=SCOPE,
        status=204,
        errors=(TusVersionNotSupported, ModelNotFound),
        description="An attachment that it has become stays.",
    ),
)

_ALWAYS = {
    "tus-resumable": VERSION,
    "cache-control": "no-store",
    "access-control-expose-headers": (
        "location,tus-resumable,tus-version,tus-extension,tus-max-size,tus-checksum-algorithm,upload-offset,"
        "upload-length,upload-expires,upload-metadata,x-attachment-id,x-request-id"
    ),
}
_ALLOWED = {
    "access-control-allow-headers": "tus-resumable,upload-length,upload-offset,upload-metadata,upload-checksum,x-request-id"
}


class TusRoutes:
    """The handlers of `OPERATIONS`."""

    def __init__(self, service: FilesService, uploads: Uploads) -> None:
        self._service = service
        self._uploads = uploads

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {
            "describe_resumable_uploads": self._describe,
            "describe_resumable_upload": self._describe,
            "create_resumable_upload": _spoken(self._create),
            "get_resumable_upload_offset": _spoken(self._head),
            "get_resumable_upload": self._get,
            "continue_resumable_upload": _spoken(self._continue),
            "delete_resumable_upload": _spoken(self._delete),
        }

    async def _describe(self, request: Request) -> Response:
        headers = {
            **_ALWAYS,
            **_ALLOWED,
            "tus-version": VERSION,
            "tus-extension": _EXTENSIONS,
            "tus-max-size": str(self._uploads.bytes_max),
            "tus-checksum-algorithm": ",".join(CHECKSUMS),
        }
        # Not 204, because the gateway itself answers 200 for paths that no operation has.
        return Response(headers=headers)

    async def _create(self, request: Request, body: Body) -> Response:
        principal = principal_of(request)
        base_id = BaseId(request.path_params["base_id"])
        await self._service.permit(principal, base_id)
        if "upload-defer-length" in request.headers:
            raise InvalidRequest(reason="The length of an upload must be known when it begins.")
        length = _number(request, "upload-length")
        metadata = _metadata(request.headers.get("upload-metadata", ""))
        filename = checked_filename(metadata.get("filename") or metadata.get("name") or "file")
        content_type = metadata.get("filetype") or metadata.get("type")
        if _sends(request):
            _check_type(request)
        checksum = _checksum(request)
        upload = await self._uploads.create(
            principal, base_id, filename=filename, content_type=content_type, length=length
        )
        if _sends(request) and length:
            upload = await self._uploads.append(upload, body, offset=0, checksum=checksum)
        headers = {**_state(upload), "location": f"{PREFIX}/bases/{base_id}/tus/{upload.upload_id}"}
        return Response(status_code=201, headers=headers)

    async def _head(self, request: Request, body: Body) -> Response:
        upload = await self._find(request)
        return Response(status_code=200, headers={**_state(upload), "upload-length": str(upload.length)})

    async def _get(self, request: Request) -> Response:
        upload = await self._find(request)
        response = json_response(
            {
                "id": upload.upload_id,
                "filename": upload.filename,
                "length": upload.length,
                "offset": upload.position,
                "expiresTime": wire_time(upload.expires_time),
                "attachmentId": upload.attachment_id,
            }
        )
        response.headers["cache-control"] = "no-store"
        return response

    async def _continue(self, request: Request, body: Body) -> Response:
        _check_type(request)
        offset = _number(request, "upload-offset")
        checksum = _checksum(request)
        upload = await self._find(request)
        if int(request.headers.get("content-length", "0")) > upload.length - upload.position:
            if upload.position != offset:
                raise UploadOffsetWrong(offset=upload.position)
            raise BodyTooLarge
        upload = await self._uploads.append(upload, body, offset=offset, checksum=checksum)
        return Response(status_code=204, headers=_state(upload))

    async def _delete(self, request: Request, body: Body) -> Response:
        path = request.path_params
        await self._uploads.delete(principal_of(request), BaseId(path["base_id"]), path["upload_id"])
        return Response(status_code=204, headers=_ALWAYS)

    async def _find(self, request: Request) -> Upload:
        path = request.path_params
        return await self._uploads.find(principal_of(request), BaseId(path["base_id"]), path["upload_id"])


_Work = Callable[[Request, Body], Awaitable[Response]]


def _spoken(work: _Work) -> Handler:
    """The handler for a request that must speak tus 1.0; errors carry tus's headers, too."""

    async def answer(request: Request) -> Response:
        body = Body(request)
        try:
            if request.headers.get("tus-resumable") != VERSION:
                raise TusVersionNotSupported
            return await work(request, body)
        except AppError as error:
            await body.discard()
            response = error_response(error)
            response.headers.update(_ALWAYS)
            if isinstance(error, TusVersionNotSupported):
                response.headers["tus-version"] = VERSION
            return response

    return answer


def _state(upload: Upload) -> dict[str, str]:
    headers = {
        **_ALWAYS,
        "upload-offset": str(upload.position),
        "upload-expires": _http_time(upload.expires_time),
    }
    if upload.attachment_id is not None:
        headers[ATTACHMENT_HEADER] = upload.attachment_id
    return headers


def _http_time(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _sends(request: Request) -> bool:
    """Whether a POST brings a first piece along."""
    return int(request.headers.get("content-length", "0")) > 0 or "transfer-encoding" in request.headers


def _check_type(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _PIECE_TYPE:
        raise UploadTypeWrong


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS_MAX):
        raise InvalidRequest(reason=f"The header {header} must be a whole number.")
    return int(text)


def _checksum(request: Request) -> tuple[str, bytes] | None:
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, digest = text.strip().partition(" ")
    try:
        found = base64.b64decode(digest.strip(), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if algorithm not in CHECKSUMS or not found:
        raise InvalidRequest(reason=f"The header upload-checksum is one of {', '.join(CHECKSUMS)}, a blank and base64.")
    return algorithm, found


def _metadata(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    if len(text) > _METADATA_LENGTH_MAX:
        raise InvalidRequest(reason=f"The header upload-metadata has at most {_METADATA_LENGTH_MAX} characters.")
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidRequest(reason="The header upload-metadata is a list of keys and base64 texts.") from None
    return found
