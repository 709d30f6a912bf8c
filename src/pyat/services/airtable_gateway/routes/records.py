"""The records API on the wire: HTTP in, one call of the contract, HTTP out. Source: wire reference, section 5."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.errors import InvalidRequest, ModelNotFound
from pyat.foundation.ids import BaseId, RecordId, is_id
from pyat.foundation.web import (
    BODY_BYTES_MAX,
    Operation,
    Parameter,
    json_response,
    principal_of,
    query_of,
    read_json,
    ready_json,
)
from pyat.recordstore.errors import (
    RECORDS_PER_WRITE_MAX,
    AmbiguousUpsert,
    CellsTooSlow,
    ComputedValue,
    FilterTooSlow,
    InvalidAttachmentObject,
    InvalidFilter,
    InvalidOffset,
    InvalidRecordId,
    InvalidRecordsToCreate,
    InvalidRecordsToDelete,
    InvalidRecordsToUpdate,
    InvalidValue,
    IteratorNotAvailable,
    LimitReached,
    MissingFields,
    RowDoesNotExist,
    UnknownChoice,
    UnknownFieldName,
    UpsertKeyMissing,
    ViewIdNotFound,
    ViewNameNotFound,
    ViewOfOtherTable,
)
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange, RecordPage, Records, Sort
from pyat.services.file.contract import InvalidAttachment

PAGE_SIZE_MAX = 100

_SORT_KEYS = {
    "type": "object",
    "required": ["field"],
    "properties": {"field": {"type": "string"}, "direction": {"enum": ["asc", "desc"]}},
}
_CELLS = {"type": "object", "description": "Cell values by field name or id."}
_RECORD = {
    "type": "object",
    "required": ["id", "createdTime", "fields"],
    "properties": {
        "id": {"type": "string", "pattern": "^rec[0-9A-Za-z]{14}$"},
        "createdTime": {"type": "string", "format": "date-time"},
        "fields": _CELLS,
        "commentCount": {"type": "integer", "description": "Where recordMetadata asks for it."},
    },
}
_PAGE = {
    "type": "object",
    "required": ["records"],
    "properties": {"records": {"type": "array", "items": _RECORD}, "offset": {"type": "string"}},
}
_UPSERTED = {
    "type": "object",
    "required": ["records"],
    "properties": {
        "records": {"type": "array", "items": _RECORD},
        "createdRecords": {"type": "array", "items": {"type": "string"}},
        "updatedRecords": {"type": "array", "items": {"type": "string"}},
    },
}
_DELETED = {
    "type": "object",
    "required": ["id", "deleted"],
    "properties": {"id": {"type": "string"}, "deleted": {"const": True}},
}
_FLAGS = {"typecast": {"type": "boolean"}, "returnFieldsByFieldId": {"type": "boolean"}}
_LIST_PROPERTIES: dict[str, Any] = {
    "fields": {"type": "array", "items": {"type": "string"}},
    "sort": {"type": "array", "items": _SORT_KEYS},
    "view": {"type": "string"},
    "pageSize": {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX},
    "maxRecords": {"type": "integer", "minimum": 1},
    "offset": {"type": "string"},
    "returnFieldsByFieldId": {"type": "boolean"},
    "cellFormat": {"enum": ["json", "string"]},
    "timeZone": {"type": "string"},
    "userLocale": {"type": "string"},
    "recordMetadata": {"type": "array", "items": {"enum": ["commentCount"]}},
}
_CREATE_BODY = {
    "type": "object",
    "properties": {
        "fields": _CELLS,
        "records": {
            "type": "array",
            "minItems": 1,
            "maxItems": RECORDS_PER_WRITE_MAX,
            "items": {"type": "object", "required": ["fields"], "properties": {"fields": _CELLS}},
        },
        **_FLAGS,
    },
}
_UPDATE_BODY = {"type": "object", "required": ["fields"], "properties": {"fields": _CELLS, **_FLAGS}}
_UPDATE_MANY_BODY = {
    "type": "object",
    "required": ["records"],
    "properties": {
        "records": {
            "type": "array",
            "minItems": 1,
            "maxItems": RECORDS_PER_WRITE_MAX,
            "items": {
                "type": "object",
                "required": ["fields"],
                "properties": {"id": {"type": "string"}, "fields": _CELLS},
            },
        },
        "performUpsert": {
            "type": "object",
            "required": ["fieldsToMergeOn"],
            "properties": {
                "fieldsToMergeOn": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string"}}
            },
        },
        **_FLAGS,
    },
}
_ANSWER_QUERY = (Parameter("returnFieldsByFieldId", {"type": "boolean"}, "Key cells by field id instead of name."),)
_READ_QUERY = (
    *_ANSWER_QUERY,
    Parameter("cellFormat", {"enum": ["json", "string"]}, "`string` makes every cell the text that people read."),
    Parameter("timeZone", {"type": "string"}, "Where moments are shown as text, such as `Europe/Berlin`."),
    Parameter("userLocale", {"type": "string"}, "How dates are shown as text, such as `en-gb`."),
)
_WRITE_QUERY = (*_ANSWER_QUERY, Parameter("typecast", {"type": "boolean"}, "Convert strings as well as possible."))
_LIST_QUERY = (
    Parameter("fields[]", _LIST_PROPERTIES["fields"], "Only these cells, by name or id."),
    Parameter("sort[0][field]", {"type": "string"}, "Order by this field; further keys as sort[1]…"),
    Parameter(
        "sort[0][direction]", {"enum": ["asc", "desc"]}, "`asc` (blanks first) unless given; `desc` has blanks last."
    ),
    Parameter("view", {"type": "string"}, "Name or id of a view of this table."),
    Parameter("pageSize", _LIST_PROPERTIES["pageSize"], "Records in a page; 100 unless given."),
    Parameter("maxRecords", _LIST_PROPERTIES["maxRecords"], "Records in all pages together."),
    Parameter("offset", {"type": "string"}, "As the page before gave it."),
    Parameter("recordMetadata[]", _LIST_PROPERTIES["recordMetadata"], "`commentCount` adds the number of comments."),
    *_READ_QUERY,
)
_LIST_ERRORS = (
    UnknownFieldName,
    ViewNameNotFound,
    ViewIdNotFound,
    ViewOfOtherTable,
    InvalidOffset,
    IteratorNotAvailable,
    InvalidFilter,
    FilterTooSlow,
    CellsTooSlow,
    InvalidRequest,
)
_VALUE_ERRORS = (
    MissingFields,
    UnknownFieldName,
    InvalidValue,
    ComputedValue,
    UnknownChoice,
    InvalidRequest,
    LimitReached,
    InvalidRecordId,
    RowDoesNotExist,
    InvalidAttachmentObject,
    InvalidAttachment,
)
_UPDATE_MANY_ERRORS = (
    *_VALUE_ERRORS,
    InvalidRecordsToUpdate,
    AmbiguousUpsert,
    UpsertKeyMissing,
)

_READ, _WRITE = "data.records:read", "data.records:write"
_TABLE, _RECORD_PATH = "/v0/{base_id:app}/{table}", "/v0/{base_id:app}/{table}/{record_id:rec}"

OPERATIONS = (
    Operation(
        "list_records", "GET", _TABLE, "List records", _READ, query=_LIST_QUERY, answer=_PAGE, errors=_LIST_ERRORS
    ),
    Operation(
        "list_records_by_post",
        "POST",
        f"{_TABLE}/listRecords",
        "List records, parameters in the body",
        _READ,
        query=_READ_QUERY[1:],
        body={"type": "object", "properties": _LIST_PROPERTIES},
        answer=_PAGE,
        errors=_LIST_ERRORS,
    ),
    Operation(
        "get_record",
        "GET",
        _RECORD_PATH,
        "Get a record",
        _READ,
        query=_READ_QUERY,
        answer=_RECORD,
        errors=(ModelNotFound, InvalidRequest),
    ),
    Operation(
        "create_records",
        "POST",
        _TABLE,
        "Create one record or up to 10",
        _WRITE,
        query=_WRITE_QUERY,
        body=_CREATE_BODY,
        answer={"anyOf": [_RECORD, _PAGE]},
        errors=(*_VALUE_ERRORS, InvalidRecordsToCreate),
    ),
    *(
        Operation(
            name,
            method,
            _RECORD_PATH,
            summary,
            _WRITE,
            query=_WRITE_QUERY,
            body=_UPDATE_BODY,
            answer=_RECORD,
            errors=(*_VALUE_ERRORS, ModelNotFound),
        )
        for name, method, summary in (
            ("update_record", "PATCH", "Update a record, keep its other cells"),
            ("replace_record", "PUT", "Replace a record, clear its other cells"),
        )
    ),
    *(
        Operation(
            name,
            method,
            _TABLE,
            summary,
            _WRITE,
            query=_WRITE_QUERY,
            body=_UPDATE_MANY_BODY,
            answer=_UPSERTED,
            errors=_UPDATE_MANY_ERRORS,
        )
        for name, method, summary in (
            ("update_records", "PATCH", "Update or upsert up to 10 records"),
            ("replace_records", "PUT", "Replace or upsert up to 10 records"),
        )
    ),
    Operation(
        "delete_record", "DELETE", _RECORD_PATH, "Delete a record", _WRITE, answer=_DELETED, errors=(ModelNotFound,)
    ),
    Operation(
        "delete_records",
        "DELETE",
        _TABLE,
        "Delete up to 10 records",
        _WRITE,
        query=(Parameter("records[]", {"type": "array", "items": {"type": "string"}}, "Record ids."),),
        answer={
            "type": "object",
            "required": ["records"],
            "properties": {"records": {"type": "array", "items": _DELETED}},
        },
        errors=(InvalidRecordsToDelete, RowDoesNotExist),
    ),
)


class _Parameters(Protocol):
    """Parameters of a list, from a query string or a body."""

    def text(self, name: str) -> str | None: ...
    def texts(self, name: str) -> list[str] | None: ...
    def flag(self, name: str) -> bool: ...
    def whole(self, name: str) -> int | None: ...
    def objects(self, name: str) -> Sequence[Mapping[str, Any]] | None: ...


class BodyParameters:
    """The keys of a JSON body, read as strictly as their JSON types allow; null counts as absent."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def text(self, name: str) -> str | None:
        """A string; empty is absent."""
        value = self._body.get(name)
        if value is not None and not isinstance(value, str):
            raise InvalidRequest(reason=f"{name} must be a string.")
        return value or None

    def texts(self, name: str) -> list[str] | None:
        """A list of strings, or one string."""
        value = self._body.get(name)
        if value is None:
            return None
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise InvalidRequest(reason=f"{name} must be a list of strings.")
        return items

    def flag(self, name: str) -> bool:
        """A boolean; absent is False."""
        value = self._body.get(name)
        if value is not None and not isinstance(value, bool):
            raise InvalidRequest(reason=f"{name} must be true or false.")
        return bool(value)

    def whole(self, name: str) -> int | None:
        """A whole number."""
        value = self._body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise InvalidRequest(reason=f"{name} must be a whole number.")
        return value

    def objects(self, name: str) -> Sequence[Mapping[str, Any]] | None:
        """A list of objects."""
        value = self._body.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise InvalidRequest(reason=f"{name} must be a list of objects.")
        return value


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one request may ask for or bring."""

    page_size: int = PAGE_SIZE_MAX
    records: int = RECORDS_PER_WRITE_MAX
    body_bytes: int = BODY_BYTES_MAX


class RecordRoutes:
    """The handlers, by the names of their operations."""

    def __init__(self, records: Records, bounds: Bounds = Bounds()) -> None:
        self._records = records
        self._bounds = bounds

    async def list_records(self, request: Request) -> Response:
        return await self._list(request, query_of(request))

    async def list_records_by_post(self, request: Request) -> Response:
        # Clients put timeZone and userLocale in the query even here; whatever the body lacks is taken from there.
        body = BodyParameters(await read_json(request, bytes_max=self._bounds.body_bytes))
        return await self._list(request, body)

    async def _list(self, request: Request, parameters: _Parameters) -> Response:
        base_id, table = _base_and_table(request)
        page = await self._records.list_records(
            principal=principal_of(request),
            base_id=base_id,
            table=table,
            query=list_query(parameters, self._bounds.page_size, query_of(request)),
        )
        return ready_json(_page_body(page))

    async def get_record(self, request: Request) -> Response:
        base_id, table = _base_and_table(request)
        query = query_of(request)
        time_zone, locale = _text_format(query)
        body = await self._records.get_record(
            principal=principal_of(request),
            base_id=base_id,
            table=table,
            record_id=RecordId(request.path_params["record_id"]),
            by_id=query.flag("returnFieldsByFieldId"),
            time_zone=time_zone,
            locale=locale,
        )
        return ready_json(body)

    async def create_records(self, request: Request) -> Response:
        base_id, table = _base_and_table(request)
        body = await read_json(request, bytes_max=self._bounds.body_bytes)
        typecast, by_id = _flags(request, body)
        items = body.get("records")
        rows = (
            [_cells(body)]
            if items is None
            else [_new_row(item) for item in _items(items, InvalidRecordsToCreate, self._bounds.records)]
        )
        created = await self._records.create_records(
            principal=principal_of(request),
            base_id=base_id,
            table=table,
            rows=tuple(rows),
            typecast=typecast,
            by_id=by_id,
        )
        return ready_json(created if items is None else b'{"records":[' + created + b"]}")

    async def update_record(self, request: Request) -> Response:
        return await self._update_one(request, is_replacing=False)

    async def replace_record(self, request: Request) -> Response:
        return await self._update_one(request, is_replacing=True)

    async def _update_one(self, request: Request, *, is_replacing: bool) -> Response:
        base_id, table = _base_and_table(request)
        body = await read_json(request, bytes_max=self._bounds.body_bytes)
        typecast, by_id = _flags(request, body)
        change = RecordChange(RecordId(request.path_params["record_id"]), _cells(body))
        try:
            updated = await self._records.update_records(
                principal=principal_of(request),
                base_id=base_id,
                table=table,
                changes=(change,),
                is_replacing=is_replacing,
                typecast=typecast,
                by_id=by_id,
            )
        except RowDoesNotExist:
            raise ModelNotFound(kind="Record") from None
        return ready_json(updated)

    async def update_records(self, request: Request) -> Response:
        return await self._update_many(request, is_replacing=False)

    async def replace_records(self, request: Request) -> Response:
        return await self._update_many(request, is_replacing=True)

    async def _update_many(self, request: Request, *, is_replacing: bool) -> Response:
        base_id, table = _base_and_table(request)
        body = await read_json(request, bytes_max=self._bounds.body_bytes)
        typecast, by_id = _flags(request, body)
        merge_on = _merge_on(body)
        if "records" not in body:
            raise MissingFields(key="records")
        changes = tuple(
            _change(item, needs_id=merge_on is None)
            for item in _items(body["records"], InvalidRecordsToUpdate, self._bounds.records)
        )
        principal = principal_of(request)
        if merge_on is None:
            updated = await self._records.update_records(
                principal=principal,
                base_id=base_id,
                table=table,
                changes=changes,
                is_replacing=is_replacing,
                typecast=typecast,
                by_id=by_id,
            )
            return ready_json(b'{"records":[' + updated + b"]}")
        upserted = await self._records.upsert_records(
            principal=principal,
            base_id=base_id,
            table=table,
            merge_on=merge_on,
            changes=changes,
            is_replacing=is_replacing,
            typecast=typecast,
            by_id=by_id,
        )
        ids = b',"createdRecords":%b,"updatedRecords":%b}' % (
            orjson.dumps(upserted.created_ids),
            orjson.dumps(upserted.updated_ids),
        )
        return ready_json(b'{"records":[' + upserted.records + b"]" + ids)

    async def delete_record(self, request: Request) -> Response:
        record_id = request.path_params["record_id"]
        try:
            await self.delete(request, [record_id])
        except RowDoesNotExist:
            raise ModelNotFound(kind="Record") from None
        return json_response({"id": record_id, "deleted": True})

    async def delete_records(self, request: Request) -> Response:
        record_ids = query_of(request).texts("records")
        if record_ids is None or len(record_ids) > self._bounds.records:
            raise InvalidRecordsToDelete(limit=self._bounds.records)
        await self.delete(request, record_ids)
        return json_response({"records": [{"id": record_id, "deleted": True} for record_id in record_ids]})

    async def delete(self, request: Request, record_ids: Sequence[str]) -> None:
        base_id, table = _base_and_table(request)
        unique = tuple(RecordId(record_id) for record_id in dict.fromkeys(record_ids))
        await self._records.delete_records(
            principal=principal_of(request), base_id=base_id, table=table, record_ids=unique
        )


def list_query(parameters: _Parameters, page_size_max: int, query: _Parameters) -> ListQuery:
    """What to list; `query` may give the format of cells. Raises InvalidRequest for a value out of its bounds."""
    time_zone, locale = _text_format(parameters, query)
    # `limit` is what an old call of airtable.js sends for `pageSize`.
    page_size = parameters.whole("pageSize")
    if page_size is None:
        page_size = parameters.whole("limit")
    if page_size is None:
        page_size = PAGE_SIZE_MAX
    if not 1 <= page_size <= page_size_max:
        raise InvalidRequest(reason=f"pageSize must be between 1 and {page_size_max}.")
    records_max = parameters.whole("maxRecords")
    if records_max is not None and records_max < 1:
        raise InvalidRequest(reason="maxRecords must be at least 1.")
    metadata = parameters.texts("recordMetadata") or []
    if any(item != "commentCount" for item in metadata):
        raise InvalidRequest(reason="recordMetadata takes commentCount only.")
    fields = parameters.texts("fields")
    return ListQuery(
        fields=None if fields is None else tuple(fields),
        sort=tuple(_sort_key(key) for key in parameters.objects("sort") or ()),
        view=parameters.text("view"),
        filter=parameters.text("filterByFormula"),
        page_size=page_size,
        records_max=records_max,
        offset=parameters.text("offset"),
        by_id=parameters.flag("returnFieldsByFieldId"),
        time_zone=time_zone,
        locale=locale,
        counts_comments=bool(metadata),
    )


def _sort_key(key: Mapping[str, Any]) -> Sort:
    name, direction = key.get("field"), key.get("direction", "asc")
    if not isinstance(name, str) or not name or direction not in ("asc", "desc"):
        raise InvalidRequest(reason='sort takes objects with "field" and "direction" (asc or desc).')
    return Sort(name, direction == "desc")


def _text_format(*sources: _Parameters) -> tuple[str | None, str | None]:
    """Time zone and locale of cells as text, from the first source that has each; None where cells are JSON values."""

    def first(name: str) -> str | None:
        return next((text for source in sources if (text := source.text(name)) is not None), None)

    cell_format = first("cellFormat")
    if cell_format is None or cell_format == "json":
        return None, None
    if cell_format != "string":
        raise InvalidRequest(reason="cellFormat must be json or string.")
    return first("timeZone") or "", first("userLocale") or ""


def _page_body(page: RecordPage) -> bytes:
    if page.offset is None:
        return b'{"records":[' + page.records + b"]}"
    return b'{"records":[' + page.records + b'],"offset":"' + page.offset.encode() + b'"}'


def _base_and_table(request: Request) -> tuple[BaseId, str]:
    return request.path_params["base_id"], request.path_params["table"]


def _flags(request: Request, body: Mapping[str, Any]) -> tuple[bool, bool]:
    """`typecast` and `returnFieldsByFieldId`, from the body or, where it has none, from the query."""
    parameters = BodyParameters(body)
    if not request.scope["query_string"]:
        return parameters.flag("typecast"), parameters.flag("returnFieldsByFieldId")
    query = query_of(request)

    def flag(name: str) -> bool:
        return parameters.flag(name) if body.get(name) is not None else query.flag(name)

    return flag("typecast"), flag("returnFieldsByFieldId")


def _cells(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if "fields" not in body:
        raise MissingFields
    found = body["fields"]
    if not isinstance(found, dict):
        raise InvalidRequest(reason="fields must be an object.")
    return found


def _items(
    items: Any, error: type[InvalidRecordsToCreate] | type[InvalidRecordsToUpdate], records_max: int
) -> list[Any]:
    if not isinstance(items, list) or not 1 <= len(items) <= records_max:
        raise error(limit=records_max)
    return items


def _new_row(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, dict) or not isinstance(item.get("fields"), dict):
        raise InvalidRecordsToCreate
    row: Mapping[str, Any] = item["fields"]
    return row


def _change(item: Any, *, needs_id: bool) -> RecordChange:
    if not isinstance(item, dict) or not isinstance(item.get("fields"), dict):
        raise InvalidRecordsToUpdate
    record_id = item.get("id")
    if record_id is None:
        if needs_id:
            raise InvalidRecordsToUpdate
    elif not isinstance(record_id, str):
        raise InvalidRecordsToUpdate
    elif not is_id("rec", record_id):
        raise RowDoesNotExist(record_id=record_id[:100])
    return RecordChange(None if record_id is None else RecordId(record_id), item["fields"])


def _merge_on(body: Mapping[str, Any]) -> tuple[str, ...] | None:
    upsert = body.get("performUpsert")
    if upsert is None:
        return None
    names = upsert.get("fieldsToMergeOn") if isinstance(upsert, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InvalidRequest(reason="performUpsert takes an object with fieldsToMergeOn, a list of field names or ids.")
    return tuple(names)
