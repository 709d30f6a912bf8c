"""Uploads in one request: a form with a file."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.errors import AppError, BodyTooLarge, InvalidRequest
from pyat.foundation.ids import BaseId
from pyat.foundation.signing import PREFIX
from pyat.foundation.web import Handlers, Operation, json_response, principal_of
from pyat.services.file.contract import FileInfected, InvalidAttachment
from pyat.services.file.routes.bodies import FORM_BYTES_MAX, UPLOAD_TIME_S, Body, FormFile
from pyat.services.file.service import FilesService, Kept, checked_filename
from pyat.services.file.settings import FILE_BYTES_MAX

SCOPE = "data.records:write"
_SIZE = {"type": "integer", "minimum": 0}

OPERATIONS = (
    Operation(
        "upload_file",
        "POST",
        PREFIX + "/bases/{base_id:app}/uploads",
        "Upload a file in one request",
        scope=SCOPE,
        errors=(InvalidAttachment, InvalidRequest, FileInfected),
        body_bytes_max=FILE_BYTES_MAX + FORM_BYTES_MAX,
        answer_time_s=UPLOAD_TIME_S,
        description=(
            "The body is `multipart/form-data` with one file. Write the answer's id into a cell of an attachment field, "
            'as `{"id": "att…"}`, within a day. The type is told by the content.'
        ),
        answer={
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "filename": {"type": "string"},
                "size": _SIZE,
                "type": {"type": "string"},
                "width": _SIZE,
                "height": _SIZE,
            },
            "required": ["id", "filename", "size", "type"],
        },
    ),
)


class UploadRoutes:
    """The handlers of `OPERATIONS`."""

    def __init__(self, service: FilesService) -> None:
        self._service = service

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {"upload_file": self._upload}

    async def _upload(self, request: Request) -> Response:
        body = Body(request)
        try:
            return json_response(shown(await self._receive(request, body)))
        except AppError:
            await body.discard()
            raise

    async def _receive(self, request: Request, body: Body) -> Kept:
        principal = principal_of(request)
        base_id = BaseId(request.path_params["base_id"])
        await self._service.permit(principal, base_id)
        if int(request.headers.get("content-length", "0")) > self._service.bytes_max + FORM_BYTES_MAX:
            raise BodyTooLarge
        form = FormFile(body, request.headers.get("content-type", ""))
        head = await form.head()
        filename = checked_filename(head.filename)
        async with self._service.spooling() as spool:
            async for piece in form.pieces():
                await spool.write(piece)
            return await self._service.keep(
                spool, base_id=base_id, filename=filename, content_type=head.content_type, actor=principal.user_id
            )


def shown(kept: Kept) -> dict[str, Any]:
    """A new attachment as JSON."""
    content = kept.content
    found: dict[str, Any] = {
        "id": kept.attachment_id,
        "filename": kept.filename,
        "size": content.size,
        "type": content.type,
    }
    if content.width is not None and content.height is not None:
        found.update(width=content.width, height=content.height)
    return found
