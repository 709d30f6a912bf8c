"""What Airtable's records API does not have, below `/api/v1/bases`: large batches and pages, aggregates, exports."""

import asyncio
import concurrent.futures
import hashlib
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast, get_args
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from pyat.foundation.errors import BodyTooLarge, InvalidRequest, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.web import (
    Handler,
    Handlers,
    JsonSchema,
    Operation,
    Parameter,
    json_response,
    principal_of,
    query_of,
    read_body,
    read_json,
    ready_json,
)
from pyat.recordstore.aggregates import Function
from pyat.recordstore.errors import (
    RECORDS_PER_WRITE_MAX,
    CellsTooSlow,
    InvalidRecordsToDelete,
    LimitReached,
    RowDoesNotExist,
    UnknownChoice,
    UnknownFieldName,
    ViewIdNotFound,
    ViewNameNotFound,
    ViewOfOtherTable,
)
from pyat.recordstore.exporting import Kind
from pyat.recordstore.tabular import parquet
from pyat.recordstore.tabular.sheets import SHEET_ROWS_MAX, SheetWriter
from pyat.services.airtable_gateway.contract import (
    REJECTED,
    Aggregate,
    AggregateQuery,
    Column,
    ExportForm,
    ExportQuery,
    IdempotencyKeyBusy,
    IdempotencyKeyReused,
    Imported,
    ImportRejected,
    InvalidAggregate,
    InvalidFile,
    RecordChanged,
    Records,
    TooManyRecords,
)
from pyat.services.airtable_gateway.routes import records as airtable
from pyat.services.airtable_gateway.routes.records import BodyParameters, Bounds, RecordRoutes
from pyat.services.airtable_gateway.service.imports import ImportFormat
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import terms
from pyat.services.airtable_gateway.store.terms import Once, Terms, Unchanged

RECORDS_PER_BATCH_MAX = 1_000
BATCH_PAGE_SIZE_MAX = 1_000
BATCH_BODY_BYTES_MAX = 20 * 1024 * 1024
IMPORT_TIME_MAX_S = 3_600.0
"""Longest time of an import, from its first byte to the answer."""
_IMPORT_BYTES_MAX = 16 * 1024**3
"""The setting may ask for less; this is what the gateway lets through."""
_PIECE_TIME_S = 60.0
"""Longest silence of a client that sends a file."""
_WRITE_BYTES = 1024 * 1024
_PIECES_MAX = 8
"""Pieces of a file that wait to be sent."""

Item = TypeVar("Item")

_TABLE = "/api/v1/bases/{base_id:app}/tables/{table}"
_RECORDS = f"{_TABLE}/records"
_READ, _WRITE = "data.records:read", "data.records:write"
_BY_ID_QUERY = Parameter("returnFieldsByFieldId", {"type": "boolean"}, "Key cells by field id instead of name.")
_BOUNDS = Bounds(BATCH_PAGE_SIZE_MAX, RECORDS_PER_BATCH_MAX, BATCH_BODY_BYTES_MAX)

_WIDE = {
    "list_records": ("batch_list_records", _RECORDS, "List records, up to 1,000 in a page"),
    "list_records_by_post": ("batch_list_records_by_post", f"{_RECORDS}/list", "The same, parameters in the body"),
    "create_records": ("batch_create_records", _RECORDS, "Create up to 1,000 records"),
    "update_records": ("batch_update_records", _RECORDS, "Update or upsert up to 1,000 records"),
    "replace_records": ("batch_replace_records", _RECORDS, "Replace or upsert up to 1,000 records"),
    "delete_records": ("batch_delete_records", _RECORDS, "Delete records that the query names"),
}
"""Airtable's operations that come again with wider bounds: their names, paths and summaries here."""


def _widened(schema: Any) -> Any:
    """A JSON schema with our bounds in place of Airtable's."""
    if isinstance(schema, Mapping):
        found = {key: _widened(value) for key, value in schema.items()}
        if found.get("maxItems") == RECORDS_PER_WRITE_MAX:
            found["maxItems"] = RECORDS_PER_BATCH_MAX
        if found.get("maximum") == airtable.PAGE_SIZE_MAX:
            found["maximum"] = BATCH_PAGE_SIZE_MAX
        return found
    if isinstance(schema, list):
        return [_widened(item) for item in schema]
    return schema


def _wide(operation: Operation) -> Operation:
    name, path, summary = _WIDE[operation.name]
    return replace(
        operation,
        name=name,
        path=path,
        summary=summary,
        query=tuple(replace(parameter, schema=_widened(parameter.schema)) for parameter in operation.query),
        body=_widened(operation.body),
        body_bytes_max=BATCH_BODY_BYTES_MAX,
    )


_TAGGED = {
    "get_record": ("get_tagged_record", "Get a record with an ETag, or 304 where `If-None-Match` names that"),
    "update_record": ("update_tagged_record", "Update a record, where `If-Match` names its ETag"),
    "replace_record": ("replace_tagged_record", "Replace a record, where `If-Match` names its ETag"),
    "delete_record": ("delete_tagged_record", "Delete a record, where `If-Match` names its ETag"),
}
"""Airtable's operations on one record, here with entity tags."""


def _tagged(operation: Operation) -> Operation:
    name, summary = _TAGGED[operation.name]
    operation = replace(operation, name=name, path=f"{_RECORDS}/{{record_id:rec}}", summary=summary)
    if operation.scope == _READ:
        return replace(operation, query=(_BY_ID_QUERY,))
    return replace(operation, errors=(*operation.errors, RecordChanged))


_RECORD_IDS: JsonSchema = {
    "type": "object",
    "required": ["records"],
    "properties": {
        "records": {
            "type": "array",
            "minItems": 1,
            "maxItems": RECORDS_PER_BATCH_MAX,
            "items": {"type": "string"},
        }
    },
}

_SUMS: JsonSchema = {
    "type": "object",
    "required": ["aggregates"],
    "properties": {
        "aggregates": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "type": "object",
                "required": ["function"],
                "properties": {"function": {"enum": list(Function)}, "field": {"type": "string"}},
            },
        },
        "groupBy": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
        "view": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
        "returnFieldsByFieldId": {"type": "boolean"},
    },
}
_GROUPS: JsonSchema = {
    "type": "object",
    "required": ["groups", "hasMore"],
    "properties": {
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "values"],
                "properties": {
                    "key": {"type": "object", "description": "The value of each field of `groupBy`, null where blank."},
                    "values": {"type": "array", "description": "The results, in the order of `aggregates`."},
                },
            },
        },
        "hasMore": {"type": "boolean", "description": "Whether there are more groups than `limit`."},
    },
}
_IMPORTED: JsonSchema = {
    "type": "object",
    "required": ["created", "rejectedCount", "rejected", "ignored"],
    "properties": {
        "created": {"type": "integer"},
        "rejectedCount": {"type": "integer"},
        "rejected": REJECTED,
        "ignored": {"type": "array", "items": {"type": "string"}, "description": "Columns of computed fields."},
    },
}
_VIEW_ERRORS = (ViewNameNotFound, ViewIdNotFound, ViewOfOtherTable)

Format = Literal["ndjson", "csv", "xlsx", "parquet"]
_TYPES: Mapping[str, str] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
}

_DELETE = next(operation for operation in airtable.OPERATIONS if operation.name == "delete_records")

_OPERATIONS = (
    *(_wide(operation) for operation in airtable.OPERATIONS if operation.name in _WIDE),
    *(_tagged(operation) for operation in airtable.OPERATIONS if operation.name in _TAGGED),
    Operation(
        "batch_delete_records_by_post",
        "POST",
        f"{_RECORDS}/delete",
        "Delete up to 1,000 records",
        _WRITE,
        body=_RECORD_IDS,
        answer=_DELETE.answer,
        errors=(InvalidRecordsToDelete, RowDoesNotExist),
        body_bytes_max=BATCH_BODY_BYTES_MAX,
    ),
    Operation(
        "aggregate_records",
        "POST",
        f"{_TABLE}/aggregate",
        "Count, sum and compare records by group",
        _READ,
        body=_SUMS,
        answer=_GROUPS,
        errors=(InvalidAggregate, CellsTooSlow, UnknownFieldName, *_VIEW_ERRORS, InvalidRequest),
    ),
    Operation(
        "export_records",
        "GET",
        f"{_TABLE}/export",
        "Stream all records as a file",
        _READ,
        query=(
            Parameter("format", {"enum": list(get_args(Format))}, "What the file is; `ndjson` unless given."),
            Parameter("fields[]", {"type": "array", "items": {"type": "string"}}, "Only these cells, by name or id."),
            Parameter("view", {"type": "string"}, "Name or id of a view of this table."),
            Parameter(
                "cellFormat",
                {"enum": ["json", "string"]},
                "`string` fills a CSV file with what people read instead of typed values; it needs the next two.",
            ),
            Parameter("timeZone", {"type": "string"}, "Where moments are shown, such as `Europe/Berlin`."),
            Parameter("userLocale", {"type": "string"}, "How dates are shown, such as `de`."),
            _BY_ID_QUERY,
        ),
        errors=(UnknownFieldName, CellsTooSlow, *_VIEW_ERRORS, TooManyRecords, InvalidRequest),
        description="Records that were there when it began. Where it fails in the middle, the connection breaks off.",
    ),
    Operation(
        "import_records",
        "POST",
        f"{_TABLE}/import",
        "Make records from the rows of a file",
        _WRITE,
        query=(
            Parameter("format", {"enum": list(get_args(ImportFormat))}, "What the body is."),
            Parameter(
                "invalid",
                {"enum": ["refuse", "blank"]},
                "What to do when cells do not fit: import nothing, which is the default, or leave them blank.",
            ),
        ),
        answer=_IMPORTED,
        errors=(
            InvalidFile,
            ImportRejected,
            UnknownFieldName,
            UnknownChoice,
            RowDoesNotExist,
            LimitReached,
            BodyTooLarge,
            InvalidRequest,
        ),
        description="The body is the file itself. Columns are fields by name; those of computed fields are left out.",
        body_bytes_max=_IMPORT_BYTES_MAX,
        answer_time_s=IMPORT_TIME_MAX_S,
    ),
)


def with_keys(operation: Operation) -> Operation:
    """An operation's documentation, where it minds `Idempotency-Key`."""
    if operation.scope != _WRITE:
        return operation
    text = "With the header `Idempotency-Key`, a repeat within 24 h gets the first answer and writes nothing."
    return replace(
        operation,
        errors=(*operation.errors, IdempotencyKeyReused, IdempotencyKeyBusy),
        description=f"{operation.description} {text}".strip(),
    )


OPERATIONS = tuple(with_keys(operation) for operation in _OPERATIONS)


class Exchanging(Records, Protocol):
    """The contract, and what a service in this process does beside it."""

    settings: RecordsSettings

    async def import_file(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        path: Path,
        file_format: ImportFormat,
        keeps_going: bool,
    ) -> Imported:
        """See `service.imports`."""
        ...

    async def has_answer(self, once: Once) -> bool:
        """Whether a request that is to happen once has happened. Raises IdempotencyKeyReused."""
        ...


class ExchangeRoutes:
    """The handlers that are not Airtable's with wider bounds."""

    def __init__(self, records: Exchanging) -> None:
        self._records = records
        self._imports = 0
        self.wide = RecordRoutes(records, _BOUNDS)

    async def get_tagged_record(self, request: Request) -> Response:
        by_id = query_of(request).flag("returnFieldsByFieldId")
        found = await self._records.get_tagged_record(
            principal=principal_of(request),
            base_id=request.path_params["base_id"],
            table=request.path_params["table"],
            record_id=RecordId(request.path_params["record_id"]),
            by_id=by_id,
        )
        headers = {"etag": f'"{found.tag}{_BY_ID if by_id else ""}"'}
        wanted = request.headers.get("if-none-match")
        if wanted is not None and (wanted.strip() == "*" or headers["etag"] in _quoted(wanted)):
            return Response(status_code=304, headers=headers)
        response = ready_json(found.record)
        response.headers.update(headers)
        return response

    async def update_tagged_record(self, request: Request) -> Response:
        return await self._tagged(request, self.wide.update_record)

    async def replace_tagged_record(self, request: Request) -> Response:
        return await self._tagged(request, self.wide.replace_record)

    async def delete_tagged_record(self, request: Request) -> Response:
        return await self._tagged(request, self.wide.delete_record)

    async def _tagged(self, request: Request, handler: Handler) -> Response:
        wanted = request.headers.get("if-match")
        if wanted is None:
            return await handler(request)
        tags = None if wanted.strip() == "*" else frozenset(tag[1:-1].removesuffix(_BY_ID) for tag in _quoted(wanted))
        known = terms.current()
        unchanged = Unchanged(RecordId(request.path_params["record_id"]), tags)
        with terms.under(Terms(None if known is None else known.once, unchanged)):
            return await handler(request)

    async def batch_delete_records_by_post(self, request: Request) -> Response:
        record_ids = (await read_json(request, bytes_max=BATCH_BODY_BYTES_MAX)).get("records")
        if not isinstance(record_ids, list) or not 1 <= len(record_ids) <= RECORDS_PER_BATCH_MAX:
            raise InvalidRecordsToDelete(limit=RECORDS_PER_BATCH_MAX)
        if not all(isinstance(record_id, str) for record_id in record_ids):
            raise InvalidRequest(reason="records must be a list of record ids.")
        await self.wide.delete(request, record_ids)
        return json_response({"records": [{"id": record_id, "deleted": True} for record_id in record_ids]})

    async def aggregate_records(self, request: Request) -> Response:
        body = await read_json(request)
        parameters = BodyParameters(body)
        limit = parameters.whole("limit")
        groups = await self._records.aggregate(
            principal=principal_of(request),
            base_id=request.path_params["base_id"],
            table=request.path_params["table"],
            query=AggregateQuery(
                aggregates=tuple(_aggregate(item) for item in parameters.objects("aggregates") or ()),
                group_by=tuple(parameters.texts("groupBy") or ()),
                view=parameters.text("view"),
                groups_max=1_000 if limit is None else limit,
                by_id=parameters.flag("returnFieldsByFieldId"),
            ),
        )
        return ready_json(b'{"groups":[%b],"hasMore":%b}' % (groups.groups, b"true" if groups.has_more else b"false"))

    async def export_records(self, request: Request) -> Response:
        query = query_of(request)
        file_format = query.text("format") or "ndjson"
        if file_format not in get_args(Format):
            raise InvalidRequest(reason=f"format must be one of {', '.join(get_args(Format))}.")
        cell_format = query.text("cellFormat") or "json"
        if cell_format not in ("json", "string") or (cell_format == "string" and file_format != "csv"):
            raise InvalidRequest(reason="cellFormat must be json, or string for a CSV file.")
        fields = query.texts("fields")
        is_shown = cell_format == "string"
        wanted = ExportQuery(
            form=_FORMS[file_format],
            fields=None if fields is None else tuple(fields),
            view=query.text("view"),
            by_id=query.flag("returnFieldsByFieldId"),
            time_zone=query.text("timeZone") or "" if is_shown else None,
            locale=query.text("userLocale") or "" if is_shown else None,
        )
        table = request.path_params["table"]
        export = _Export(self._records, principal_of(request), request.path_params["base_id"], table, wanted)
        # What is wrong with the request shows with the first page, while there is still an answer to give.
        await export.begin()
        name = quote(f"{table}.{file_format}", safe="")
        if file_format == "xlsx":
            await export.check_count(SHEET_ROWS_MAX - 1)
        return StreamingResponse(
            _STREAMS[file_format](export),
            headers={
                "content-type": _TYPES[file_format],
                "content-disposition": f"attachment; filename*=UTF-8''{name}",
                "cache-control": "no-store",
            },
        )

    async def import_records(self, request: Request) -> Response:
        query = query_of(request)
        file_format = query.text("format")
        if file_format not in get_args(ImportFormat):
            raise InvalidRequest(reason=f"format must be one of {', '.join(get_args(ImportFormat))}.")
        invalid = query.text("invalid") or "refuse"
        if invalid not in ("refuse", "blank"):
            raise InvalidRequest(reason="invalid must be refuse or blank.")
        settings = self._records.settings
        if self._imports >= settings.imports_max:
            raise ServiceUnavailable
        self._imports += 1
        try:
            with tempfile.TemporaryDirectory(prefix="pyat-import-", ignore_cleanup_errors=True) as folder:
                path = Path(folder, f"The file.{file_format}")
                digest = await _save(request, path, settings.import_bytes_max)

                async def run() -> Response:
                    found = await self._records.import_file(
                        principal=principal_of(request),
                        base_id=request.path_params["base_id"],
                        table=request.path_params["table"],
                        path=path,
                        file_format=cast("ImportFormat", file_format),
                        keeps_going=invalid == "blank",
                    )
                    return json_response(
                        {
                            "created": found.created,
                            "rejectedCount": found.rejected_count,
                            "rejected": found.rejected,
                            "ignored": found.ignored,
                        }
                    )

                return await answered_once(self._records, request, digest, run)
        finally:
            self._imports -= 1


_BY_ID = "-id"
"""The end of the tags of answers with cells by field id."""
_QUOTED = re.compile(r'"[^"]*"')


def _quoted(header: str) -> list[str]:
    """The strong entity tags that a header lists, with their quotation marks."""
    return [item.strip() for item in header.split(",") if _QUOTED.fullmatch(item.strip())]


# Once

KEY_LENGTH_MAX = 255
KEY_HEADER = "idempotency-key"
REPLAYED_HEADER = "idempotency-replayed"


async def answered_once(
    records: Exchanging, request: Request, digest: bytes, run: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer of `run`, or of an earlier request with the same key. Raises IdempotencyKeyReused, IdempotencyKeyBusy."""
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return await run()
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        raise InvalidRequest(reason=f"Idempotency-Key takes 1 to {KEY_LENGTH_MAX} printable ASCII characters.")
    once = Once(principal_of(request).user_id, request.path_params["base_id"], key, digest)
    await records.has_answer(once)
    with terms.under(Terms(once)):
        response = await run()
    if once.is_replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def minding_keys(records: Exchanging, operations: Iterable[Operation], found: Handlers) -> Handlers:
    """The handlers of operations; those that write mind the header `Idempotency-Key`."""
    return {
        operation.name: (
            _once(records, found[operation.name], body_bytes_max=operation.body_bytes_max)
            if operation.scope == _WRITE
            else found[operation.name]
        )
        for operation in operations
    }


def _once(records: Exchanging, handler: Handler, *, body_bytes_max: int) -> Handler:
    async def answer(request: Request) -> Response:
        if KEY_HEADER not in request.headers:
            return await handler(request)
        body = await read_body(request, bytes_max=body_bytes_max)
        is_given = False

        async def receive() -> Message:
            nonlocal is_given
            if is_given:
                return await request.receive()
            is_given = True
            return {"type": "http.request", "body": body, "more_body": False}

        again = Request(request.scope, receive)
        return await answered_once(records, request, _digest(request, (body,)), lambda: handler(again))

    return answer


def _digest(request: Request, pieces: Iterable[bytes]) -> bytes:
    """SHA-256 of what a request asks for."""
    found = hashlib.sha256()
    scope = request.scope
    for part in (request.method.encode(), scope["raw_path"], scope["query_string"]):
        found.update(b"%d " % len(part) + part)
    for name in ("if-match",):
        found.update(f"{request.headers.get(name, '')} ".encode())
    for piece in pieces:
        found.update(piece)
    return found.digest()


async def _save(request: Request, path: Path, bytes_max: int) -> bytes:
    """The body as a file; a digest of the request. Raises BodyTooLarge, and ServiceUnavailable when nothing comes any more."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > bytes_max:
        raise BodyTooLarge
    size = 0
    digest = hashlib.sha256(_digest(request, ()))
    pieces: list[bytes] = []
    stream = request.stream()
    with path.open("wb") as file:
        try:
            while True:
                async with asyncio.timeout(_PIECE_TIME_S):
                    piece = await anext(stream, None)
                size += len(piece or b"")
                if size > bytes_max:
                    raise BodyTooLarge
                pieces.append(piece or b"")
                if piece is None or sum(map(len, pieces)) >= _WRITE_BYTES:
                    whole = b"".join(pieces)
                    await asyncio.to_thread(file.write, whole)
                    digest.update(whole)
                    pieces = []
                if piece is None:
                    return digest.digest()
        except TimeoutError:
            raise ServiceUnavailable from None
        except OSError as error:  # no room on the disk
            raise ServiceUnavailable from error


_FORMS: Mapping[str, ExportForm] = {"ndjson": "json", "csv": "csv", "xlsx": "xlsx", "parquet": "values"}


class _Export:
    """The pages of an export, each asked for when the one before has been sent."""

    def __init__(self, records: Records, principal: Principal, base_id: BaseId, table: str, query: ExportQuery) -> None:
        self._records = records
        self._to: dict[str, Any] = {"principal": principal, "base_id": base_id, "table": table}
        self._query = query
        self.columns: tuple[Column, ...] = ()
        self.count = 0

    async def begin(self) -> None:
        """The first page, and with it the columns, which stay those for all pages."""
        self._page = await self._records.export_page(**self._to, query=self._query, after=None)
        self.columns = self._page.columns
        self._query = replace(self._query, fields=tuple(column.field_id for column in self.columns))

    async def check_count(self, records_max: int) -> None:
        """Raises TooManyRecords where there are more than the file can hold."""
        counted = AggregateQuery((Aggregate("countAll"),), view=self._query.view)
        groups = await self._records.aggregate(**self._to, query=counted)
        self.count = orjson.loads(groups.groups)["values"][0]
        if self.count > records_max:
            raise TooManyRecords(count=self.count, limit=records_max)

    @property
    def bytes_expected(self) -> int:
        """About how long all pages are together, as the first one goes."""
        return len(self._page.body) * self.count // max(1, self._page.row_count)

    async def pages(self) -> AsyncIterator[bytes]:
        """The records of each page that has any."""
        page = self._page
        while True:
            if page.row_count:
                yield page.body
            if page.after is None:
                return
            page = await self._records.export_page(**self._to, query=self._query, after=page.after)


async def _ndjson(export: _Export) -> AsyncIterator[bytes]:
    async for page in export.pages():
        yield page
        yield b"\n"


async def _csv(export: _Export) -> AsyncIterator[bytes]:
    names = ",".join('"' + column.name.replace('"', '""') + '"' for column in export.columns)
    yield names.encode() + b"\r\n"
    async for page in export.pages():
        yield page
        yield b"\r\n"


async def _xlsx(export: _Export) -> AsyncIterator[bytes]:
    # As text a row is about a third longer than its cells; the bound that this serves is not exact either.
    writer = SheetWriter([column.name for column in export.columns], bytes_expected=export.bytes_expected)
    try:
        async for page in export.pages():
            yield await asyncio.to_thread(writer.rows, page)
        yield await asyncio.to_thread(writer.end)
    finally:
        writer.close()


async def _parquet(export: _Export) -> AsyncIterator[bytes]:
    """The library wants to be called once and asks for pages itself, so it runs in a thread that waits for this one."""
    loop = asyncio.get_running_loop()
    pages = export.pages()
    ready: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=_PIECES_MAX)
    link = _Link(loop)

    async def next_page() -> bytes | None:
        return await anext(pages, None)

    def all_pages() -> Iterator[bytes]:
        while (page := link.wait(next_page())) is not None:
            yield page

    def take(piece: bytes) -> None:
        link.wait(ready.put(piece))

    def run() -> None:
        names = [column.name for column in export.columns]
        kinds = [Kind(column.kind) for column in export.columns]
        try:
            parquet.write(names, kinds, all_pages(), take)
        finally:
            link.wait(ready.put(None))

    task = asyncio.create_task(asyncio.to_thread(run))
    try:
        while (piece := await ready.get()) is not None:
            yield piece
        await task
    finally:
        # A client that has gone: the thread fails at its next question, and nobody has to hear of it.
        link.stop()
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


class _Stopped(Exception):
    """Nobody waits for the file any more."""


class _Link:
    """What a thread asks of the event loop that started it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._is_stopped = False
        self._asked: concurrent.futures.Future[Any] | None = None

    def wait(self, question: Coroutine[Any, Any, Item]) -> Item:
        """Run a coroutine in the loop, from the thread. Raises _Stopped."""
        with self._lock:
            if self._is_stopped:
                question.close()
                raise _Stopped
            asked = asyncio.run_coroutine_threadsafe(question, self._loop)
            self._asked = asked
        try:
            return asked.result()
        except concurrent.futures.CancelledError:
            raise _Stopped from None

    def stop(self) -> None:
        """End what the thread waits for, from the loop."""
        with self._lock:
            self._is_stopped = True
            if self._asked is not None:
                self._asked.cancel()


_STREAMS: Mapping[str, Callable[[_Export], AsyncIterator[bytes]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "xlsx": _xlsx,
    "parquet": _parquet,
}


def _aggregate(item: Mapping[str, Any]) -> Aggregate:
    function, field = item.get("function"), item.get("field")
    if not isinstance(function, str) or not (field is None or isinstance(field, str)):
        raise InvalidRequest(reason='aggregates takes objects with "function" and, but for countAll, "field".')
    return Aggregate(function, field)


def handlers(records: Exchanging) -> Handlers:
    """The handler of every operation of this module."""
    routes = ExchangeRoutes(records)
    wide = {name: getattr(routes.wide, original) for original, (name, _, _) in _WIDE.items()}
    found = {operation.name: wide.get(operation.name) or getattr(routes, operation.name) for operation in _OPERATIONS}
    # An import reads its body itself, and only once.
    return {**minding_keys(records, _OPERATIONS, found), "import_records": routes.import_records}
