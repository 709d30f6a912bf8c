"""CSV sync on the wire (wire reference, section 8.3), and how a sync is set up, which is our own addition."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import InvalidRequest, ModelNotFound, RateLimitReached
from pyat.foundation.ids import BaseId
from pyat.foundation.web import Handlers, Operation, json_response, principal_of, read_body, read_json
from pyat.recordstore.errors import AmbiguousUpsert, ComputedValue, InvalidValue, LimitReached, UnknownFieldName
from pyat.services.airtable_gateway.contract import InvalidFile, Records, Sync

SYNC_BYTES_MAX = 2 * 1024 * 1024

_READ, _WRITE = "schema.bases:read", "schema.bases:write"
_SYNCS = "/api/v1/bases/{base_id:app}/tables/{table}/syncs"
_SYNC = {
    "type": "object",
    "required": ["id", "tableId", "keyFieldId", "deletesMissing", "createdTime"],
    "properties": {
        "id": {"type": "string"},
        "tableId": {"type": "string"},
        "keyFieldId": {"type": "string"},
        "deletesMissing": {"type": "boolean"},
        "createdTime": {"type": "string", "format": "date-time"},
    },
}

OPERATIONS = (
    Operation(
        "sync_csv",
        "POST",
        "/v0/{base_id:app}/{table}/sync/{sync_id}",
        "Make the records of a table those of a CSV file",
        "data.records:write",
        answer={"type": "object", "required": ["success"], "properties": {"success": {"const": True}}},
        errors=(
            InvalidRequest,
            ModelNotFound,
            RateLimitReached,
            InvalidFile,
            UnknownFieldName,
            InvalidValue,
            ComputedValue,
            AmbiguousUpsert,
            LimitReached,
        ),
        description="The body is `text/csv` with a header line: at most 2 MB, 10,000 rows, 500 columns. Needs the scope "
        "`schema.bases:write` too.",
        body_bytes_max=SYNC_BYTES_MAX,
    ),
    Operation(
        "create_sync",
        "POST",
        _SYNCS,
        "Set up a CSV sync into a table",
        _WRITE,
        body={
            "type": "object",
            "required": ["keyField"],
            "properties": {
                "keyField": {"type": "string", "description": "Name or id of the field that tells records apart."},
                "deletesMissing": {
                    "type": "boolean",
                    "description": "Whether records that a file lacks are deleted; false unless given.",
                },
            },
        },
        answer=_SYNC,
        errors=(InvalidRequest, UnknownFieldName, LimitReached),
    ),
    Operation(
        "list_syncs",
        "GET",
        _SYNCS,
        "List the CSV syncs into a table",
        _READ,
        answer={
            "type": "object",
            "required": ["syncs"],
            "properties": {"syncs": {"type": "array", "items": _SYNC}},
        },
    ),
    Operation(
        "delete_sync",
        "DELETE",
        "/api/v1/bases/{base_id:app}/syncs/{sync_id:syn}",
        "Delete a CSV sync; records stay",
        _WRITE,
        answer={
            "type": "object",
            "required": ["id", "deleted"],
            "properties": {"id": {"type": "string"}, "deleted": {"const": True}},
        },
        errors=(ModelNotFound,),
    ),
)


class SyncRoutes:
    """The handlers, by the names of their operations."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def sync_csv(self, request: Request) -> Response:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "text/csv":
            raise InvalidRequest(reason="The body must be text/csv.")
        data = await read_body(request, bytes_max=SYNC_BYTES_MAX)
        await self._records.sync_csv(**_table(request), sync_id=request.path_params["sync_id"], data=data)
        return json_response({"success": True})

    async def create_sync(self, request: Request) -> Response:
        body = await read_json(request)
        key_field, is_deleting = body.get("keyField"), body.get("deletesMissing", False)
        if not isinstance(key_field, str) or not key_field:
            raise InvalidRequest(reason="keyField must be the name or id of a field.")
        if not isinstance(is_deleting, bool):
            raise InvalidRequest(reason="deletesMissing must be true or false.")
        sync = await self._records.create_sync(**_table(request), key_field=key_field, is_deleting=is_deleting)
        return json_response(_shown(sync))

    async def list_syncs(self, request: Request) -> Response:
        syncs = await self._records.list_syncs(**_table(request))
        return json_response({"syncs": [_shown(sync) for sync in syncs]})

    async def delete_sync(self, request: Request) -> Response:
        sync_id = request.path_params["sync_id"]
        await self._records.delete_sync(
            principal=principal_of(request), base_id=BaseId(request.path_params["base_id"]), sync_id=sync_id
        )
        return json_response({"id": sync_id, "deleted": True})


def handlers(records: Records) -> Handlers:
    """The handler of every operation."""
    routes = SyncRoutes(records)
    return {operation.name: getattr(routes, operation.name) for operation in OPERATIONS}


def _table(request: Request) -> dict[str, Any]:
    return {
        "principal": principal_of(request),
        "base_id": BaseId(request.path_params["base_id"]),
        "table": request.path_params["table"],
    }


def _shown(sync: Sync) -> dict[str, Any]:
    return {
        "id": sync.sync_id,
        "tableId": sync.table_id,
        "keyFieldId": sync.key_field_id,
        "deletesMissing": sync.is_deleting,
        "createdTime": wire_time(sync.created_at),
    }
