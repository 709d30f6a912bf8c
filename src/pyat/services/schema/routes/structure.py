"""The metadata API: JSON in, contract call, JSON out. Shapes: wire reference, section 7.

`description` and `options` are absent where there is none: strict clients take a string or nothing, never null.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import FieldId, WorkspaceId
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
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    InvalidOffset,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.fieldtypes import REGISTRY, shown_options
from pyat.recordstore.structure import Field, Table
from pyat.services.schema.contract import (
    FIELDS_PER_TABLE_MAX,
    TABLES_PER_REQUEST_MAX,
    FieldDraft,
    InvalidPrimaryField,
    Schema,
    TableDraft,
    Workspace,
    WorkspaceMissing,
)
from pyat.services.schema.routes.shapes import (
    INCLUDE,
    NAME,
    NEW_DESCRIPTION,
    VIEW,
    asks_for_visible_fields,
    base_id_of,
    check_keys,
    id_schema,
    object_schema,
    view_json,
)

Parsed = TypeVar("Parsed")

# --- Shapes, as JSON schema ---------------------------------------------------------------------------------------


FIELD_DRAFT = object_schema(
    {
        "name": NAME,
        "type": {"type": "string", "enum": sorted({*REGISTRY, "lookup"})},
        "description": NEW_DESCRIPTION,
        "options": {
            "type": ["object", "null"],
            "description": "What the type needs, for example `precision` of a number; types without options take none.",
        },
    },
    optional=("description", "options"),
    examples=[{"name": "Status", "type": "singleSelect", "options": {"choices": [{"name": "Todo"}, {"name": "Done"}]}}],
)
TABLE_DRAFT = object_schema(
    {
        "name": NAME,
        "description": {**NEW_DESCRIPTION, "minLength": 1},
        "fields": {
            "type": "array",
            "items": FIELD_DRAFT,
            "minItems": 1,
            "maxItems": FIELDS_PER_TABLE_MAX,
            "description": "The first one becomes the primary field.",
        },
    },
    optional=("description",),
    examples=[
        {
            "name": "Tasks",
            "fields": [
                {"name": "Name", "type": "singleLineText"},
                {"name": "Hours", "type": "number", "options": {"precision": 1}},
            ],
        }
    ],
)
BASE_DRAFT = object_schema(
    {
        "name": NAME,
        "workspaceId": {"type": "string"},
        "tables": {"type": "array", "items": TABLE_DRAFT, "minItems": 1, "maxItems": TABLES_PER_REQUEST_MAX},
    },
    examples=[{"name": "Projects", "workspaceId": "wspAbCdEfGhIjKlMn", "tables": TABLE_DRAFT["examples"]}],
)
DATE_DEPENDENCY = object_schema(
    {
        "isEnabled": {"type": "boolean"},
        "startDateFieldId": id_schema("fld"),
        "endDateFieldId": id_schema("fld"),
        "durationFieldId": id_schema("fld"),
        "predecessorFieldId": {"type": ["string", "null"]},
        "reschedulingMode": {"type": "string", "enum": ["flexible", "fixed", "none"]},
        "shouldSkipWeekendsAndHolidays": {"type": "boolean"},
        "holidays": {"type": "array", "items": {"type": "string", "format": "date"}},
        "isForwardOnly": {"type": "boolean"},
    },
    optional=("predecessorFieldId", "holidays", "isForwardOnly"),
    description="Kept and shown; dates are not moved by it.",
)
TABLE_CHANGES = object_schema(
    {"name": NAME, "description": NEW_DESCRIPTION, "dateDependencySettings": DATE_DEPENDENCY},
    optional=("name", "description", "dateDependencySettings"),
    minProperties=1,
    examples=[{"name": "To do", "description": "What is left"}],
)
FIELD_CHANGES = object_schema(
    {"name": NAME, "description": NEW_DESCRIPTION},
    optional=("name", "description"),
    minProperties=1,
    examples=[{"name": "State", "description": "How far it is"}],
)
WORKSPACE_DRAFT = object_schema({"name": NAME}, examples=[{"name": "Sales"}])

FIELD = object_schema(
    {
        "id": id_schema("fld"),
        "name": {"type": "string"},
        "type": {"type": "string"},
        "description": {"type": "string"},
        "options": {"type": "object"},
    },
    optional=("description", "options"),
)
TABLE = object_schema(
    {
        "id": id_schema("tbl"),
        "name": {"type": "string"},
        "primaryFieldId": id_schema("fld"),
        "description": {"type": "string"},
        "fields": {"type": "array", "items": FIELD},
        "views": {"type": "array", "items": VIEW},
        "dateDependencySettings": DATE_DEPENDENCY,
    },
    optional=("description", "dateDependencySettings"),
)
TABLES: JsonSchema = {"type": "array", "items": TABLE}
BASE_PAGE = object_schema(
    {
        "bases": {
            "type": "array",
            "items": object_schema(
                {
                    "id": id_schema("app"),
                    "name": {"type": "string"},
                    "permissionLevel": {"type": "string", "enum": ["none", "read", "comment", "edit", "create"]},
                }
            ),
        },
        "offset": {"type": "string"},
    },
    optional=("offset",),
)
WORKSPACE = object_schema(
    {"id": id_schema("wsp"), "name": {"type": "string"}, "createdTime": {"type": "string", "format": "date-time"}}
)

# --- Operations ---------------------------------------------------------------------------------------------------

# What every path, body and credential can bring along (foundation.openapi.errors_of) is not named again here.
_NEW_FIELD = (FieldNameTaken, UnsupportedFieldType, InvalidFieldOptions, LimitReached)
_NEW_TABLE = (*_NEW_FIELD, TableNameTaken, InvalidPrimaryField)

FILL_TIME_S = 1_800.0
"""An autonumber or a modified time of chosen fields writes every record there is: minutes for a million."""

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_bases",
        method="GET",
        path="/v0/meta/bases",
        summary="List the bases you can reach",
        scope="schema.bases:read",
        is_metadata=True,
        query=(Parameter("offset", {"type": "string"}, "From the previous page, unchanged."),),
        answer=BASE_PAGE,
        errors=(InvalidOffset,),
        description="Oldest first, 1,000 a page; `offset` is absent on the last page. There is no `pageSize` here.",
    ),
    Operation(
        name="create_base",
        method="POST",
        path="/v0/meta/bases",
        summary="Create a base with its tables",
        scope="schema.bases:write",
        is_metadata=True,
        body=BASE_DRAFT,
        answer=object_schema({"id": id_schema("app"), "tables": TABLES}),
        errors=(*_NEW_TABLE, WorkspaceMissing, ModelNotFound),
        description="All or nothing. Names of bases need not be unique.",
    ),
    Operation(
        name="get_base_schema",
        method="GET",
        path="/v0/meta/bases/{base_id:app}/tables",
        summary="Get the tables, fields and views of a base",
        scope="schema.bases:read",
        is_metadata=True,
        query=(INCLUDE,),
        answer=object_schema({"tables": TABLES}),
    ),
    Operation(
        name="create_table",
        method="POST",
        path="/v0/meta/bases/{base_id:app}/tables",
        summary="Create a table",
        scope="schema.bases:write",
        is_metadata=True,
        body=TABLE_DRAFT,
        answer=TABLE,
        errors=_NEW_TABLE,
        description="The table gets one grid view named `Grid view`.",
    ),
    Operation(
        name="update_table",
        method="PATCH",
        path="/v0/meta/bases/{base_id:app}/tables/{table}",
        summary="Change a table's name, description or date dependency settings",
        scope="schema.bases:write",
        is_metadata=True,
        body=TABLE_CHANGES,
        answer=TABLE,
        errors=(TableNameTaken,),
        description="`table` is an id or a name. An empty `description` clears it.",
    ),
    Operation(
        name="create_field",
        method="POST",
        path="/v0/meta/bases/{base_id:app}/tables/{table}/fields",
        summary="Create a field",
        scope="schema.bases:write",
        is_metadata=True,
        body=FIELD_DRAFT,
        answer=FIELD,
        errors=_NEW_FIELD,
        description=(
            "`table` is an id or a name. The field is shown last in every grid view. Beyond Airtable's API, `autoNumber`, "
            "`createdTime` and `lastModifiedTime` can be created unless the operator has switched that off."
        ),
        answer_time_s=FILL_TIME_S,
    ),
    Operation(
        name="update_field",
        method="PATCH",
        path="/v0/meta/bases/{base_id:app}/tables/{table}/fields/{field_id:fld}",
        summary="Change a field's name or description",
        scope="schema.bases:write",
        is_metadata=True,
        body=FIELD_CHANGES,
        answer=FIELD,
        errors=(FieldNameTaken,),
        description="Type and options cannot be changed here. An empty `description` clears it.",
    ),
    Operation(
        name="list_workspaces",
        method="GET",
        path="/api/v1/workspaces",
        summary="List the workspaces of your organisation",
        scope="schema.bases:read",
        is_metadata=True,
        answer=object_schema({"workspaces": {"type": "array", "items": WORKSPACE}}),
        description="Oldest first. `id` is what Create base takes as `workspaceId`.",
    ),
    Operation(
        name="create_workspace",
        method="POST",
        path="/api/v1/workspaces",
        summary="Create a workspace",
        scope="schema.bases:write",
        is_metadata=True,
        body=WORKSPACE_DRAFT,
        answer=WORKSPACE,
        errors=(LimitReached,),
    ),
)

# --- Handlers -----------------------------------------------------------------------------------------------------


class SchemaRoutes:
    """Answers `OPERATIONS` through the contract."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {
            "list_bases": self.list_bases,
            "create_base": self.create_base,
            "get_base_schema": self.get_base_schema,
            "create_table": self.create_table,
            "update_table": self.update_table,
            "create_field": self.create_field,
            "update_field": self.update_field,
            "list_workspaces": self.list_workspaces,
            "create_workspace": self.create_workspace,
        }

    async def list_bases(self, request: Request) -> Response:
        """GET /v0/meta/bases"""
        query = query_of(request)
        if "pageSize" in query:
            raise InvalidRequest(reason="pageSize is not a parameter of this list.")
        page = await self._schema.list_bases(principal=principal_of(request), offset=query.text("offset"))
        bases = [
            {"id": base.base_id, "name": base.name, "permissionLevel": base.permission_level} for base in page.bases
        ]
        return json_response({"bases": bases} if page.offset is None else {"bases": bases, "offset": page.offset})

    async def create_base(self, request: Request) -> Response:
        """POST /v0/meta/bases"""
        body = await read_json(request)
        if body.get("workspaceId") is None:
            raise WorkspaceMissing
        check_keys(body, "a base", ("name", "workspaceId", "tables"))
        base = await self._schema.create_base(
            principal=principal_of(request),
            workspace_id=WorkspaceId(_text(body, "workspaceId")),
            name=_text(body, "name"),
            tables=tuple(_table_draft(item) for item in _list(body, "tables")),
        )
        return json_response({"id": base.base_id, "tables": [table_json(table) for table in base.tables]})

    async def get_base_schema(self, request: Request) -> Response:
        """GET /v0/meta/bases/{base_id}/tables"""
        base = await self._schema.get_base(principal=principal_of(request), base_id=base_id_of(request))
        with_visible_fields = asks_for_visible_fields(request)
        tables = [table_json(table, with_visible_fields=with_visible_fields) for table in base.tables]
        return json_response({"tables": tables})

    async def create_table(self, request: Request) -> Response:
        """POST /v0/meta/bases/{base_id}/tables"""
        table = await self._schema.create_table(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=await self._parsed(request, _table_draft),
        )
        return json_response(table_json(table))

    async def update_table(self, request: Request) -> Response:
        """PATCH /v0/meta/bases/{base_id}/tables/{table}"""
        table = await self._schema.update_table(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            changes=await self._parsed(request, _as_it_is),
        )
        return json_response(table_json(table))

    async def create_field(self, request: Request) -> Response:
        """POST /v0/meta/bases/{base_id}/tables/{table}/fields"""
        field = await self._schema.create_field(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            field=await self._parsed(request, _field_draft),
        )
        return json_response(field_json(field))

    async def update_field(self, request: Request) -> Response:
        """PATCH /v0/meta/bases/{base_id}/tables/{table}/fields/{field_id}"""
        field = await self._schema.update_field(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            field_id=FieldId(request.path_params["field_id"]),
            changes=await self._parsed(request, _as_it_is),
        )
        return json_response(field_json(field))

    async def list_workspaces(self, request: Request) -> Response:
        """GET /api/v1/workspaces"""
        workspaces = await self._schema.list_workspaces(principal=principal_of(request))
        return json_response({"workspaces": [_workspace_json(workspace) for workspace in workspaces]})

    async def create_workspace(self, request: Request) -> Response:
        """POST /api/v1/workspaces"""
        body = await read_json(request)
        check_keys(body, "a workspace", ("name",))
        workspace = await self._schema.create_workspace(principal=principal_of(request), name=_text(body, "name"))
        return json_response(_workspace_json(workspace))

    async def _parsed(self, request: Request, parse: Callable[[Any], Parsed]) -> Parsed:
        """The body, parsed. A bad one is only told to who may know that base, table and field are there (section 4.6)."""
        try:
            return parse(await read_json(request))
        except AppError:
            base = await self._schema.get_base(principal=principal_of(request), base_id=base_id_of(request))
            if "table" in request.path_params:
                table = base.find_table(request.path_params["table"])
                field_id = request.path_params.get("field_id")
                if table is None or (field_id is not None and field_id not in table.fields_by_id):
                    raise NotPermittedOrNotFound from None
            raise


def field_json(field: Field) -> dict[str, Any]:
    """The field model of wire reference, section 7.6."""
    found: dict[str, Any] = {"id": field.field_id, "name": field.name, "type": field.type}
    if field.description:
        found["description"] = field.description
    if field.options:
        found["options"] = shown_options(field.options)
    return found


def table_json(table: Table, *, with_visible_fields: bool = False) -> dict[str, Any]:
    """The table model of wire reference, section 7.2."""
    found: dict[str, Any] = {"id": table.table_id, "name": table.name, "primaryFieldId": table.primary_field_id}
    if table.description:
        found["description"] = table.description
    found["fields"] = [field_json(field) for field in table.fields]
    found["views"] = [view_json(view, table, with_visible_fields=with_visible_fields) for view in table.views]
    if table.date_dependency is not None:
        found["dateDependencySettings"] = dict(table.date_dependency)
    return found


def _workspace_json(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": workspace.workspace_id,
        "name": workspace.name,
        "createdTime": wire_time(workspace.created_time),
    }


def _as_it_is(body: dict[str, Any]) -> dict[str, Any]:
    return body


def _table_draft(item: Any) -> TableDraft:
    check_keys(item, "a table", ("name", "description", "fields"))
    return TableDraft(
        name=_text(item, "name"),
        fields=tuple(_field_draft(field) for field in _list(item, "fields")),
        description=_optional_text(item, "description"),
    )


def _field_draft(item: Any) -> FieldDraft:
    check_keys(item, "a field", ("name", "type", "description", "options"))
    return FieldDraft(
        name=_text(item, "name"),
        type=_text(item, "type"),
        description=_optional_text(item, "description"),
        options=item.get("options"),
    )


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(reason=f"{key} must be a string.")
    return value


def _optional_text(item: dict[str, Any], key: str) -> str | None:
    return None if item.get(key) is None else _text(item, key)


def _list(item: dict[str, Any], key: str) -> list[Any]:
    value = item.get(key)
    if not isinstance(value, list):
        raise InvalidRequest(reason=f"{key} must be a list.")
    return value
