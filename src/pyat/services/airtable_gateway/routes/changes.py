"""The change log on the wire: pages, a stream that can be resumed, history, undo, and the trash of records."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId, is_id
from pyat.foundation.query import Query
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
from pyat.recordstore.errors import ChangesGone, InvalidOffset, NothingToUndo
from pyat.services.airtable_gateway.contract import Records

CHANGES_PER_PAGE_MAX = 1_000
RESTORED_MAX = 100
STREAMS_MAX = 200
"""Streams of one process at a time."""
STREAM_CHECK_S = 0.25
STREAM_BEAT_S = 15.0
"""A line that says nothing keeps proxies from closing a silent stream."""
STREAM_TIME_S = 3_600.0
"""After which a stream ends; clients go on by themselves after the last number they got."""

_READ, _WRITE = "data.records:read", "data.records:write"
_BASE = "/api/v1/bases/{base_id:app}"
_ENTRY: dict[str, Any] = {
    "type": "object",
    "required": ["number", "operation", "time", "actor", "source", "type", "item"],
    "properties": {
        "number": {"type": "integer"},
        "operation": {"type": "string", "description": "The same for all entries of one transaction."},
        "time": {"type": "string", "format": "date-time"},
        "actor": {"anyOf": [{"type": "object", "properties": {"id": {"type": "string"}}}, {"type": "null"}]},
        "source": {"enum": ["api", "import", "sync", "undo", "restore", "system"]},
        "type": {"type": "string", "description": "For example `record.updated`, `field.created`."},
        "item": {"type": "string", "description": "The id of what changed."},
        "tableId": {"type": "string"},
        "cells": {
            "type": "object",
            "description": "By field id: `before` and `after`, or links `added` and `removed`.",
        },
        "change": {"description": "Of what is no record."},
        "undoes": {"type": "integer", "description": "The first number of the operation that was taken back."},
    },
}
_CHANGES = {
    "type": "object",
    "required": ["changes", "nextAfter", "last"],
    "properties": {
        "changes": {"type": "array", "items": _ENTRY},
        "nextAfter": {"type": "integer"},
        "last": {"type": "integer"},
    },
}
_LIMIT = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": CHANGES_PER_PAGE_MAX}, "Entries in a page; 100 unless given."
)
_OFFSET = Parameter("offset", {"type": "string"}, "As the page before gave it.")


def _entries(key: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"type": "array", "items": _ENTRY}, "offset": {"type": "string"}},
    }


OPERATIONS = (
    Operation(
        "list_changes",
        "GET",
        f"{_BASE}/changes",
        "Read the change log",
        _READ,
        query=(
            Parameter(
                "after",
                {"type": "integer", "minimum": 0},
                "Only changes after this number; without it none, and `last` says where the log stands.",
            ),
            _LIMIT,
        ),
        answer=_CHANGES,
        errors=(ChangesGone, InvalidRequest),
        description="With `Accept: text/event-stream` a stream: each event's id is the change's number, so a client that "
        "reconnects with `Last-Event-ID` (or `after`) misses nothing and gets nothing twice.",
    ),
    Operation(
        "record_history",
        "GET",
        f"{_BASE}/tables/{{table}}/records/{{record_id:rec}}/history",
        "Read the history of a record",
        _READ,
        query=(_LIMIT, _OFFSET),
        answer=_entries("entries"),
        errors=(InvalidOffset, InvalidRequest),
    ),
    Operation(
        "undo",
        "POST",
        f"{_BASE}/undo",
        "Take back the caller's last operation on records",
        _WRITE,
        answer={"type": "object", "required": ["undone"], "properties": {"undone": {"type": "array", "items": _ENTRY}}},
        errors=(NothingToUndo,),
        description="Cells get the values they had before, created records go, deleted ones come back.",
    ),
    Operation(
        "list_deleted_records",
        "GET",
        "/api/v1/trash/records",
        "List deleted records",
        _READ,
        query=(Parameter("baseId", {"type": "string"}, "The base; needed."), _LIMIT, _OFFSET),
        answer=_entries("entries"),
        errors=(InvalidOffset, InvalidRequest),
    ),
    Operation(
        "restore_records",
        "POST",
        "/api/v1/trash/records/restore",
        "Restore up to 100 deleted records",
        _WRITE,
        body={
            "type": "object",
            "required": ["baseId", "records"],
            "properties": {
                "baseId": {"type": "string"},
                "records": {"type": "array", "minItems": 1, "maxItems": RESTORED_MAX, "items": {"type": "string"}},
            },
        },
        answer={"type": "object", "required": ["records"], "properties": {"records": {"type": "array"}}},
        errors=(InvalidRequest, ModelNotFound),
    ),
)


class ChangeRoutes:
    """The handlers, by the names of their operations."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._streams = 0

    async def list_changes(self, request: Request) -> Response:
        query, base_id = query_of(request), BaseId(request.path_params["base_id"])
        principal = principal_of(request)
        after = query.whole("after")
        if after is not None and after < 0:
            raise InvalidRequest(reason="after must not be negative.")
        if "text/event-stream" in request.headers.get("accept", ""):
            return await self._stream(request, principal, base_id, after)
        page = await self._records.list_changes(
            principal=principal, base_id=base_id, after=after, rows_max=_limit(query)
        )
        return ready_json(b'{"changes":[%b],"nextAfter":%d,"last":%d}' % (page.changes, page.next_after, page.last))

    async def _stream(self, request: Request, principal: Principal, base_id: BaseId, after: int | None) -> Response:
        resumed = request.headers.get("last-event-id", "")
        if resumed:
            if not resumed.isascii() or not resumed.isdigit() or len(resumed) > 18:
                raise InvalidRequest(reason="Last-Event-ID must be the number of a change.")
            after = int(resumed)
        # The first page is read before the answer begins, so that whoever may not read gets an error and no stream.
        page = await self._records.list_changes(
            principal=principal, base_id=base_id, after=after, rows_max=CHANGES_PER_PAGE_MAX
        )
        if self._streams >= STREAMS_MAX:
            raise ServiceUnavailable

        async def events() -> AsyncIterator[bytes]:
            self._streams += 1
            try:
                current, ends_s, beat_s = page, time.monotonic() + STREAM_TIME_S, time.monotonic()
                yield b"retry: 1000\n\n"
                while time.monotonic() < ends_s:
                    if current.changes:
                        beat_s = time.monotonic()
                        for change in orjson.loads(b"[" + current.changes + b"]"):
                            yield b"id: %d\nevent: change\ndata: %b\n\n" % (change["number"], orjson.dumps(change))
                    elif time.monotonic() - beat_s > STREAM_BEAT_S:
                        beat_s = time.monotonic()
                        yield b": still here\n\n"
                    if current.next_after >= current.last:
                        await asyncio.sleep(STREAM_CHECK_S)
                    try:
                        current = await self._records.list_changes(
                            principal=principal,
                            base_id=base_id,
                            after=current.next_after,
                            rows_max=CHANGES_PER_PAGE_MAX,
                        )
                    except ServiceUnavailable:
                        await asyncio.sleep(STREAM_CHECK_S)
                    except AppError:
                        # The base is gone, or the caller's rights to it; the client learns which when it reconnects.
                        return
            finally:
                self._streams -= 1

        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    async def record_history(self, request: Request) -> Response:
        query = query_of(request)
        page = await self._records.record_history(
            principal=principal_of(request),
            base_id=BaseId(request.path_params["base_id"]),
            table=request.path_params["table"],
            record_id=RecordId(request.path_params["record_id"]),
            offset=query.text("offset"),
            rows_max=_limit(query),
        )
        return _page(page.entries, page.offset)

    async def undo(self, request: Request) -> Response:
        undone = await self._records.undo(
            principal=principal_of(request), base_id=BaseId(request.path_params["base_id"])
        )
        return ready_json(b'{"undone":[' + undone + b"]}")

    async def list_deleted_records(self, request: Request) -> Response:
        query = query_of(request)
        page = await self._records.list_deleted_records(
            principal=principal_of(request),
            base_id=_base_id(query.text("baseId")),
            offset=query.text("offset"),
            rows_max=_limit(query),
        )
        return _page(page.entries, page.offset)

    async def restore_records(self, request: Request) -> Response:
        body = await read_json(request)
        record_ids = body.get("records")
        if (
            not isinstance(record_ids, list)
            or not 1 <= len(record_ids) <= RESTORED_MAX
            or not all(is_id("rec", item) for item in record_ids)
        ):
            raise InvalidRequest(reason=f"records must be a list of 1 to {RESTORED_MAX} record ids.")
        restored = await self._records.restore_records(
            principal=principal_of(request),
            base_id=_base_id(body.get("baseId")),
            record_ids=tuple(RecordId(record_id) for record_id in dict.fromkeys(record_ids)),
        )
        return json_response({"records": [{"id": record_id, "restored": True} for record_id in restored]})


def handlers(records: Records) -> Handlers:
    """The handler of every operation."""
    routes = ChangeRoutes(records)
    return {operation.name: getattr(routes, operation.name) for operation in OPERATIONS}


def _limit(query: Query) -> int:
    limit = query.whole("limit")
    if limit is None:
        return 100
    if not 1 <= limit <= CHANGES_PER_PAGE_MAX:
        raise InvalidRequest(reason=f"limit must be between 1 and {CHANGES_PER_PAGE_MAX}.")
    return limit


def _base_id(value: Any) -> BaseId:
    if not is_id("app", value):
        raise InvalidRequest(reason="baseId must be the id of a base.")
    assert isinstance(value, str)
    return BaseId(value)


def _page(entries: bytes, offset: str | None) -> Response:
    if offset is None:
        return ready_json(b'{"entries":[' + entries + b"]}")
    return ready_json(b'{"entries":[' + entries + b'],"offset":' + orjson.dumps(offset) + b"}")
