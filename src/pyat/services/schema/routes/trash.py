"""Deleting structure, and the trash: JSON in, contract call, JSON out."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound
from pyat.foundation.ids import BaseId, FieldId, is_id
from pyat.foundation.web import (
    Handlers,
    JsonSchema,
    Operation,
    Parameter,
    json_response,
    principal_of,
    query_of,
    read_json,
)
from pyat.recordstore.errors import InvalidOffset, LimitReached
from pyat.services.schema.contract import TRASH_PAGE_MAX, Schema, TrashItem
from pyat.services.schema.routes.shapes import NAME, base_id_of, check_keys, id_schema, object_schema

_BASE = "/api/v1/bases/{base_id:app}"
_TABLE = f"{_BASE}/tables/{{table}}"


def _deleted(prefix: str) -> JsonSchema:
    return object_schema({"id": id_schema(prefix), "deleted": {"const": True}})


ITEM = object_schema(
    {
        "id": {"type": "string", "pattern": "^(app|tbl|fld)[0-9A-Za-z]{14}$"},
        "type": {"type": "string", "enum": ["base", "table", "field"]},
        "name": {"type": "string"},
        "baseId": id_schema("app"),
        "tableId": id_schema("tbl"),
        "deletedTime": {"type": "string", "format": "date-time"},
        "deletedByUserId": {"type": "string"},
        "expiresTime": {"type": "string", "format": "date-time"},
    },
    optional=("tableId", "deletedTime", "deletedByUserId", "expiresTime"),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="rename_base",
        method="PATCH",
        path=_BASE,
        summary="Change a base's name",
        scope="schema.bases:write",
        is_metadata=True,
        body=object_schema({"name": NAME}, examples=[{"name": "Projects"}]),
        answer=object_schema({"id": id_schema("app"), "name": {"type": "string"}}),
    ),
    Operation(
        name="delete_base",
        method="DELETE",
        path="/v0/meta/bases/{base_id:app}",
        summary="Delete a base",
        scope="workspacesAndBases:manage",
        is_metadata=True,
        answer=_deleted("app"),
        description="It can be restored from the trash.",
    ),
    Operation(
        name="delete_table",
        method="DELETE",
        path=_TABLE,
        summary="Delete a table",
        scope="schema.bases:write",
        is_metadata=True,
        answer=_deleted("tbl"),
        errors=(InvalidRequest,),
        description=(
            "`table` is an id or a name. Fields of other tables that link to it are deleted with it. It can be restored "
            "from the trash. The last table of a base stays."
        ),
    ),
    Operation(
        name="delete_field",
        method="DELETE",
        path=f"{_TABLE}/fields/{{field_id:fld}}",
        summary="Delete a field",
        scope="schema.bases:write",
        is_metadata=True,
        answer=_deleted("fld"),
        errors=(InvalidRequest,),
        description="With a link field its inverse is deleted. It can be restored from the trash. A primary field stays.",
    ),
    Operation(
        name="list_trash",
        method="GET",
        path="/api/v1/trash",
        summary="List deleted bases, or deleted tables and fields of a base",
        scope="schema.bases:read",
        is_metadata=True,
        query=(
            Parameter(
                "baseId", {"type": "string"}, "The base whose tables and fields are listed; without it bases are."
            ),
            Parameter("type", {"type": "string", "enum": ["base", "table", "field"]}, "Only things of this type."),
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": TRASH_PAGE_MAX}, "Items a page."),
            Parameter("offset", {"type": "string"}, "From the previous page, unchanged."),
        ),
        answer=object_schema(
            {"items": {"type": "array", "items": ITEM}, "offset": {"type": "string"}}, optional=("offset",)
        ),
        errors=(InvalidOffset, InvalidRequest),
        description="Newest first. What went along with something else is restored with that and not listed.",
    ),
    Operation(
        name="restore_from_trash",
        method="POST",
        path="/api/v1/trash/{item_id}/restore",
        summary="Restore a deleted base, table or field",
        scope="schema.bases:write",
        is_metadata=True,
        body=object_schema({"baseId": id_schema("app")}, examples=[{"baseId": "appAbCdEfGhIjKlMn"}]),
        answer=ITEM,
        errors=(ModelNotFound, LimitReached),
        description="It comes back to its place with all it held; where its name is taken, a number is added to it.",
    ),
)


class TrashRoutes:
    """Answers `OPERATIONS` through the contract."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {
            "rename_base": self.rename_base,
            "delete_base": self.delete_base,
            "delete_table": self.delete_table,
            "delete_field": self.delete_field,
            "list_trash": self.list_trash,
            "restore_from_trash": self.restore_from_trash,
        }

    async def rename_base(self, request: Request) -> Response:
        """PATCH /api/v1/bases/{base_id}"""
        try:
            changes = await read_json(request)
            check_keys(changes, "a base", ("name",))
        except AppError:
            await self._schema.get_base(principal=principal_of(request), base_id=base_id_of(request))
            raise
        base = await self._schema.update_base(
            principal=principal_of(request), base_id=base_id_of(request), changes=changes
        )
        return json_response({"id": base.base_id, "name": base.name})

    async def delete_base(self, request: Request) -> Response:
        """DELETE /v0/meta/bases/{base_id}"""
        base_id = base_id_of(request)
        await self._schema.delete_base(principal=principal_of(request), base_id=base_id)
        return json_response({"id": base_id, "deleted": True})

    async def delete_table(self, request: Request) -> Response:
        """DELETE /api/v1/bases/{base_id}/tables/{table}"""
        table_id = await self._schema.delete_table(
            principal=principal_of(request), base_id=base_id_of(request), table=request.path_params["table"]
        )
        return json_response({"id": table_id, "deleted": True})

    async def delete_field(self, request: Request) -> Response:
        """DELETE /api/v1/bases/{base_id}/tables/{table}/fields/{field_id}"""
        field_id = FieldId(request.path_params["field_id"])
        await self._schema.delete_field(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            field_id=field_id,
        )
        return json_response({"id": field_id, "deleted": True})

    async def list_trash(self, request: Request) -> Response:
        """GET /api/v1/trash"""
        query = query_of(request)
        limit = query.text("limit")
        if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
            raise InvalidRequest(reason=f"limit is a number from 1 to {TRASH_PAGE_MAX}.")
        base_id = query.text("baseId")
        page = await self._schema.list_trash(
            principal=principal_of(request),
            base_id=None if base_id is None else BaseId(base_id),
            kind=query.text("type"),
            limit=TRASH_PAGE_MAX if limit is None else int(limit),
            offset=query.text("offset"),
        )
        answer: dict[str, Any] = {"items": [_item_json(item) for item in page.items]}
        return json_response(answer if page.offset is None else answer | {"offset": page.offset})

    async def restore_from_trash(self, request: Request) -> Response:
        """POST /api/v1/trash/{item_id}/restore"""
        body = await read_json(request)
        check_keys(body, "a restore request", ("baseId",))
        base_id = body.get("baseId")
        if not isinstance(base_id, str) or not is_id("app", base_id):
            raise InvalidRequest(reason="baseId must be the id of a base.")
        item = await self._schema.restore(
            principal=principal_of(request), base_id=BaseId(base_id), item_id=request.path_params["item_id"]
        )
        return json_response(_item_json(item))


def _item_json(item: TrashItem) -> dict[str, Any]:
    found: dict[str, Any] = {"id": item.item_id, "type": item.kind, "name": item.name, "baseId": item.base_id}
    if item.table_id is not None:
        found["tableId"] = item.table_id
    if item.deleted_time is not None:
        found["deletedTime"] = wire_time(item.deleted_time)
    if item.deleted_by is not None:
        found["deletedByUserId"] = item.deleted_by
    if item.expires_time is not None:
        found["expiresTime"] = wire_time(item.expires_time)
    return found
