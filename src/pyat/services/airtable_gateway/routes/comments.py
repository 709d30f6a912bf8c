"""Comments on the wire (wire reference, section 8.1), and reactions to them, which are our own addition."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.errors import InvalidRequest, ModelNotFound, OperationNotPermitted
from pyat.foundation.ids import BaseId, RecordId, is_id
from pyat.foundation.web import (
    Handlers,
    Operation,
    Parameter,
    json_response,
    principal_of,
    query_of,
    read_json,
    ready_json,
)
from pyat.recordstore.errors import InvalidOffset, LimitReached
from pyat.services.airtable_gateway.contract import Records

COMMENTS_PER_PAGE_MAX = 100

_READ, _WRITE = "data.recordComments:read", "data.recordComments:write"
_COMMENTS = "/v0/{base_id:app}/{table}/{record_id:rec}/comments"
_REACTION = "/api/v1/bases/{base_id:app}/comments/{comment_id:com}/reactions/{emoji}"
_USER = {
    "type": "object",
    "required": ["id", "email"],
    "properties": {key: {"type": "string"} for key in ("id", "email", "name")},
}
_COMMENT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "text", "createdTime", "lastUpdatedTime", "author"],
    "properties": {
        "id": {"type": "string"},
        "text": {"type": "string", "description": "A mention is `@[usr…]`."},
        "createdTime": {"type": "string", "format": "date-time"},
        "lastUpdatedTime": {"type": ["string", "null"], "format": "date-time"},
        "author": _USER,
        "mentioned": {"type": "object", "description": "By id: `type`, `id`, `displayName`, `email`."},
        "parentCommentId": {"type": "string"},
        "reactions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "emoji": {"type": "object", "properties": {"unicodeCharacter": {"type": "string"}}},
                    "reactingUser": {
                        "type": "object",
                        "properties": {key: {"type": "string"} for key in ("userId", "email", "name")},
                    },
                },
            },
        },
    },
}
_PAGE = {
    "type": "object",
    "required": ["comments", "offset"],
    "properties": {"comments": {"type": "array", "items": _COMMENT}, "offset": {"type": ["string", "null"]}},
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 100_000}

OPERATIONS = (
    Operation(
        "list_comments",
        "GET",
        _COMMENTS,
        "List the comments of a record, newest first",
        _READ,
        query=(
            Parameter(
                "pageSize",
                {"type": "integer", "minimum": 1, "maximum": COMMENTS_PER_PAGE_MAX},
                "Comments in a page; 100 unless given.",
            ),
            Parameter("offset", {"type": "string"}, "As the page before gave it."),
        ),
        answer=_PAGE,
        errors=(InvalidOffset, InvalidRequest, ModelNotFound),
    ),
    Operation(
        "create_comment",
        "POST",
        _COMMENTS,
        "Comment on a record, or reply to a comment",
        _WRITE,
        body={
            "type": "object",
            "required": ["text"],
            "properties": {"text": _TEXT, "parentCommentId": {"type": "string"}},
        },
        answer=_COMMENT,
        errors=(InvalidRequest, ModelNotFound),
    ),
    Operation(
        "update_comment",
        "PATCH",
        f"{_COMMENTS}/{{comment_id:com}}",
        "Change the text of your comment",
        _WRITE,
        body={"type": "object", "required": ["text"], "properties": {"text": _TEXT}},
        answer=_COMMENT,
        errors=(InvalidRequest, ModelNotFound, OperationNotPermitted),
    ),
    Operation(
        "delete_comment",
        "DELETE",
        f"{_COMMENTS}/{{comment_id:com}}",
        "Delete your comment",
        _WRITE,
        answer={
            "type": "object",
            "required": ["id", "deleted"],
            "properties": {"id": {"type": "string"}, "deleted": {"const": True}},
        },
        errors=(ModelNotFound, OperationNotPermitted),
    ),
    Operation(
        "add_reaction",
        "PUT",
        _REACTION,
        "React to a comment",
        _WRITE,
        answer=_COMMENT,
        errors=(InvalidRequest, LimitReached, ModelNotFound),
        description="`{emoji}` are hexadecimal code points joined by `-`, such as `2764-fe0f`.",
    ),
    Operation(
        "remove_reaction",
        "DELETE",
        _REACTION,
        "Take your reaction to a comment away",
        _WRITE,
        answer=_COMMENT,
        errors=(InvalidRequest, ModelNotFound),
    ),
)


class CommentRoutes:
    """The handlers, by the names of their operations."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def list_comments(self, request: Request) -> Response:
        query = query_of(request)
        rows_max = query.whole("pageSize")
        if rows_max is not None and not 1 <= rows_max <= COMMENTS_PER_PAGE_MAX:
            raise InvalidRequest(reason=f"pageSize must be between 1 and {COMMENTS_PER_PAGE_MAX}.")
        page = await self._records.list_comments(
            **_record(request), offset=query.text("offset"), rows_max=rows_max or COMMENTS_PER_PAGE_MAX
        )
        # Unlike in other lists, the key is there on the last page too.
        return ready_json(b'{"comments":[%b],"offset":%b}' % (page.comments, orjson.dumps(page.offset)))

    async def create_comment(self, request: Request) -> Response:
        body = await read_json(request)
        parent_id = body.get("parentCommentId")
        if parent_id is not None and not isinstance(parent_id, str):
            raise InvalidRequest(reason="parentCommentId must be a string.")
        if parent_id is not None and not is_id("com", parent_id):
            raise ModelNotFound(kind="Comment")
        return ready_json(await self._records.create_comment(**_record(request), text=_text(body), parent_id=parent_id))

    async def update_comment(self, request: Request) -> Response:
        text = _text(await read_json(request))
        comment_id = request.path_params["comment_id"]
        return ready_json(await self._records.update_comment(**_record(request), comment_id=comment_id, text=text))

    async def delete_comment(self, request: Request) -> Response:
        comment_id = request.path_params["comment_id"]
        await self._records.delete_comment(**_record(request), comment_id=comment_id)
        return json_response({"id": comment_id, "deleted": True})

    async def add_reaction(self, request: Request) -> Response:
        return await self._react(request, is_there=True)

    async def remove_reaction(self, request: Request) -> Response:
        return await self._react(request, is_there=False)

    async def _react(self, request: Request, *, is_there: bool) -> Response:
        comment = await self._records.react(
            principal=principal_of(request),
            base_id=BaseId(request.path_params["base_id"]),
            comment_id=request.path_params["comment_id"],
            emoji=request.path_params["emoji"],
            is_there=is_there,
        )
        return ready_json(comment)


def handlers(records: Records) -> Handlers:
    """The handler of every operation."""
    routes = CommentRoutes(records)
    return {operation.name: getattr(routes, operation.name) for operation in OPERATIONS}


def _record(request: Request) -> dict[str, Any]:
    return {
        "principal": principal_of(request),
        "base_id": BaseId(request.path_params["base_id"]),
        "table": request.path_params["table"],
        "record_id": RecordId(request.path_params["record_id"]),
    }


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(reason="text must be a string.")
    return text
