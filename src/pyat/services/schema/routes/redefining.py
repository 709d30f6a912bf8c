"""Fields that become something else: JSON in, contract call, JSON out."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.errors import AppError, InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.ids import FieldId
from pyat.foundation.web import Handlers, Operation, json_response, principal_of, read_json
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.fieldtypes import REGISTRY
from pyat.services.schema.contract import (
    LINKS_COPIED_MAX,
    RECORDS_COPIED_MAX,
    ConversionOvertaken,
    ConversionRefused,
    Schema,
)
from pyat.services.schema.routes.shapes import NAME, NEW_DESCRIPTION, base_id_of, check_keys, object_schema
from pyat.services.schema.routes.structure import FIELD, TABLE, field_json, table_json

CONVERSION_TIME_S = 1_800.0
"""A conversion writes every record of its table."""

_TABLE = "/api/v1/bases/{base_id:app}/tables/{table}"
_FIELD = f"{_TABLE}/fields/{{field_id:fld}}"

CHANGES = object_schema(
    {"name": NAME, "description": NEW_DESCRIPTION, "options": {"type": "object"}},
    optional=("name", "description", "options"),
    minProperties=1,
    examples=[
        {"name": "State", "options": {"choices": [{"id": "selAbCdEfGhIjKlMn", "name": "Open"}, {"name": "Done"}]}}
    ],
)
CONVERSION = object_schema(
    {
        "type": {"type": "string", "enum": sorted(REGISTRY)},
        "options": {
            "type": ["object", "null"],
            "description": "As a new field of the type takes them; selects may do without, and get the choices they need.",
        },
        "preview": {"type": "boolean", "default": False},
    },
    optional=("options", "preview"),
    examples=[{"type": "number", "options": {"precision": 2}, "preview": True}],
)
COPY = object_schema(
    {"name": {**NAME, "type": ["string", "null"]}, "withCells": {"type": "boolean", "default": False}},
    optional=("name", "withCells"),
    examples=[{"name": "Status before", "withCells": True}],
)
TABLE_COPY = object_schema(
    {"name": {**NAME, "type": ["string", "null"]}, "withRecords": {"type": "boolean", "default": True}},
    optional=("name", "withRecords"),
    examples=[{"name": "Tasks of May", "withRecords": False}],
)
COUNT = {"type": "integer", "minimum": 0}
PREVIEW = object_schema(
    {
        "total": COUNT,
        "converted": COUNT,
        "cleared": COUNT,
        "examples": {
            "type": "array",
            "items": object_schema({"recordId": {"type": "string"}, "before": {}, "after": {}}),
        },
    }
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="redefine_field",
        method="PATCH",
        path=_FIELD,
        summary="Change a field's name, description or options",
        scope="schema.bases:write",
        is_metadata=True,
        body=CHANGES,
        answer=FIELD,
        errors=(FieldNameTaken, InvalidFieldOptions),
        description=(
            "The type stays. `options` replaces all of them. Choices with an `id` may have another name, colour and place; "
            "choices that are left out are deleted, and cells that hold them read as empty."
        ),
    ),
    Operation(
        name="convert_field",
        method="POST",
        path=f"{_FIELD}/convert",
        summary="Give a field another type, or preview that",
        scope="schema.bases:write",
        is_metadata=True,
        body=CONVERSION,
        answer={"anyOf": [FIELD, PREVIEW]},
        errors=(ConversionRefused, ConversionOvertaken, UnsupportedFieldType, InvalidFieldOptions, LimitReached),
        answer_time_s=CONVERSION_TIME_S,
        description=(
            "With `preview` nothing changes: the answer counts cells with a value (`total`), those that keep one "
            "(`converted`) and those that would be empty (`cleared`), with up to 20 examples. Otherwise the answer is the "
            "field. Others read and write records meanwhile."
        ),
    ),
    Operation(
        name="duplicate_field",
        method="POST",
        path=f"{_FIELD}/duplicate",
        summary="Make a field like another one",
        scope="schema.bases:write",
        is_metadata=True,
        body=COPY,
        answer=FIELD,
        errors=(FieldNameTaken, LimitReached),
        answer_time_s=CONVERSION_TIME_S,
        description=(
            "The copy comes last in its table. With `withCells` every record gets the cell of the original; cells of links "
            "and attachments cannot be copied."
        ),
    ),
    Operation(
        name="duplicate_table",
        method="POST",
        path=f"{_TABLE}/duplicate",
        summary="Make a table like another one",
        scope="schema.bases:write",
        is_metadata=True,
        body=TABLE_COPY,
        answer=TABLE,
        errors=(TableNameTaken, InvalidFieldOptions, LimitReached),
        answer_time_s=CONVERSION_TIME_S,
        description=(
            "The copy has the fields, views and settings of the original, and unless `withRecords` is false its records: "
            f"up to {RECORDS_COPIED_MAX:,}, with up to {LINKS_COPIED_MAX:,} links. Cells of attachments are empty in it. A "
            "link field gets a new inverse in the linked table; one that links to its own table links to the copy."
        ),
    ),
)


class RedefiningRoutes:
    """Answers `OPERATIONS` through the contract."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {
            "redefine_field": self.redefine_field,
            "convert_field": self.convert_field,
            "duplicate_field": self.duplicate_field,
            "duplicate_table": self.duplicate_table,
        }

    async def redefine_field(self, request: Request) -> Response:
        """PATCH /api/v1/bases/{base_id}/tables/{table}/fields/{field_id}"""
        field = await self._schema.redefine_field(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            field_id=FieldId(request.path_params["field_id"]),
            changes=await self._body(request, _as_it_is),
        )
        return json_response(field_json(field))

    async def convert_field(self, request: Request) -> Response:
        """POST /api/v1/bases/{base_id}/tables/{table}/fields/{field_id}/convert"""
        body = await self._body(request, _conversion)
        arguments: dict[str, Any] = {
            "principal": principal_of(request),
            "base_id": base_id_of(request),
            "table": request.path_params["table"],
            "field_id": FieldId(request.path_params["field_id"]),
            "type_name": body["type"],
            "options": body.get("options"),
        }
        if not body.get("preview", False):
            return json_response(field_json(await self._schema.convert_field(**arguments)))
        preview = await self._schema.preview_conversion(**arguments)
        return json_response(
            {
                "total": preview.total,
                "converted": preview.converted,
                "cleared": preview.cleared,
                "examples": [
                    {"recordId": example.record_id, "before": example.before, "after": example.after}
                    for example in preview.examples
                ],
            }
        )

    async def duplicate_field(self, request: Request) -> Response:
        """POST /api/v1/bases/{base_id}/tables/{table}/fields/{field_id}/duplicate"""
        body = await self._body(request, _copy)
        field = await self._schema.duplicate_field(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            field_id=FieldId(request.path_params["field_id"]),
            name=body.get("name"),
            with_cells=body.get("withCells", False),
        )
        return json_response(field_json(field))

    async def duplicate_table(self, request: Request) -> Response:
        """POST /api/v1/bases/{base_id}/tables/{table}/duplicate"""
        body = await self._body(request, _table_copy)
        table = await self._schema.duplicate_table(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            name=body.get("name"),
            with_records=body.get("withRecords", True),
        )
        return json_response(table_json(table))

    async def _body(self, request: Request, check: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """The body; a bad one is only told to who may know that the table or field is there (wire reference, section 4.6)."""
        try:
            body = await read_json(request)
            check(body)
            return body
        except AppError:
            base = await self._schema.get_base(principal=principal_of(request), base_id=base_id_of(request))
            table = base.find_table(request.path_params["table"])
            field_id = request.path_params.get("field_id")
            if table is None or (field_id is not None and field_id not in table.fields_by_id):
                raise NotPermittedOrNotFound from None
            raise


def _as_it_is(body: dict[str, Any]) -> None:
    """Whoever plans the change checks it."""


def _conversion(body: dict[str, Any]) -> None:
    check_keys(body, "a conversion", ("type", "options", "preview"))
    if not isinstance(body.get("type"), str):
        raise InvalidRequest(reason="type must be the name of a field type.")
    if not isinstance(body.get("preview", False), bool):
        raise InvalidRequest(reason="preview must be true or false.")


def _copy(body: dict[str, Any]) -> None:
    check_keys(body, "a copy of a field", ("name", "withCells"))
    if not isinstance(body.get("name"), str | None):
        raise InvalidRequest(reason="name must be a string.")
    if not isinstance(body.get("withCells", False), bool):
        raise InvalidRequest(reason="withCells must be true or false.")


def _table_copy(body: dict[str, Any]) -> None:
    check_keys(body, "a copy of a table", ("name", "withRecords"))
    if not isinstance(body.get("name"), str | None):
        raise InvalidRequest(reason="name must be a string.")
    if not isinstance(body.get("withRecords", True), bool):
        raise InvalidRequest(reason="withRecords must be true or false.")
