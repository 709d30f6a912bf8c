"""The views of a base: Airtable's operations (wire reference, section 7.9), and those that make and change them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.errors import AppError, InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.ids import ViewId
from pyat.foundation.web import (
    Handlers,
    JsonSchema,
    Operation,
    json_response,
    principal_of,
    read_json,
)
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.filters import CONDITIONS_MAX, DEPTH_MAX, DIRECTIONS, GROUPS_MAX, SORTS_MAX
from pyat.services.schema.contract import LastGridView, Schema, TableView, ViewNameTaken
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

# --- Shapes, as JSON schema ---------------------------------------------------------------------------------------

KINDS = ("grid", "kanban", "calendar", "gallery", "form", "timeline", "gantt", "list")
FILTER: JsonSchema = {
    "type": ["object", "null"],
    "description": (
        f"A group of at most {CONDITIONS_MAX} conditions, nested at most {DEPTH_MAX} deep: "
        '`{"conjunction": "and" or "or", "conditions": [{"fieldId", "operator", "value"} or group]}`. '
        "The operators depend on the type of the field."
    ),
}
_ORDER_ITEM = object_schema(
    {"fieldId": id_schema("fld"), "direction": {"type": "string", "enum": list(DIRECTIONS)}}, optional=("direction",)
)
_FIELD_IDS: JsonSchema = {"type": "array", "items": id_schema("fld"), "uniqueItems": True}
_DETAILS: dict[str, JsonSchema] = {
    "description": NEW_DESCRIPTION,
    "fieldIds": {**_FIELD_IDS, "description": "Every field of the table, in the order of the view."},
    "hiddenFieldIds": _FIELD_IDS,
    "filter": FILTER,
    "sorts": {"type": ["array", "null"], "items": _ORDER_ITEM, "maxItems": SORTS_MAX},
    "groups": {
        "type": ["array", "null"],
        "items": _ORDER_ITEM,
        "maxItems": GROUPS_MAX,
        "description": "Records are ordered by groups first, then by sorts.",
    },
    "settings": {
        "type": ["object", "null"],
        "description": (
            "kanban: `stackFieldId`; calendar: `dateFieldId`, `endDateFieldId`?; timeline and gantt: "
            "`startDateFieldId`, `endDateFieldId`; gallery: `coverFieldId`?, `coverFit`?; form: `title`?, "
            "`description`?, `requiredFieldIds`?; grid and list have none."
        ),
    },
}
DRAFT = object_schema(
    {"name": NAME, "type": {"type": "string", "enum": list(KINDS), "default": "grid"}, **_DETAILS},
    optional=("type", *_DETAILS),
    examples=[{"name": "Open", "type": "grid", "sorts": [{"fieldId": "fldAbCdEfGhIjKlMn", "direction": "desc"}]}],
)
CHANGES = object_schema(
    {"name": NAME, **_DETAILS},
    optional=("name", *_DETAILS),
    minProperties=1,
    examples=[{"name": "All", "filter": None}],
)
COPY = object_schema({"name": NAME}, optional=("name",), examples=[{"name": "Another"}, {}])
FULL_VIEW = object_schema(
    {
        "id": id_schema("viw"),
        "tableId": id_schema("tbl"),
        "name": {"type": "string"},
        "type": {"type": "string", "enum": list(KINDS)},
        "description": {"type": "string"},
        "fieldIds": _FIELD_IDS,
        "hiddenFieldIds": _FIELD_IDS,
        "filter": FILTER,
        "sorts": {"type": "array", "items": _ORDER_ITEM},
        "groups": {"type": "array", "items": _ORDER_ITEM},
        "settings": {"type": "object"},
    },
    optional=("description",),
)
DELETED = object_schema({"id": id_schema("viw"), "deleted": {"const": True}})

# --- Operations ---------------------------------------------------------------------------------------------------

_PATH = "/api/v1/bases/{base_id:app}/views/{view_id:viw}"
_WIRE_PATH = "/v0/meta/bases/{base_id:app}/views"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_views",
        method="GET",
        path=_WIRE_PATH,
        summary="List the views of a base",
        scope="workspacesAndBases:read",
        is_metadata=True,
        query=(INCLUDE,),
        answer=object_schema({"views": {"type": "array", "items": VIEW}}),
        description="Table by table, in order. A Gantt view has the type `block`.",
    ),
    Operation(
        name="get_view",
        method="GET",
        path=f"{_WIRE_PATH}/{{view_id:viw}}",
        summary="Get the name and type of a view",
        scope="workspacesAndBases:read",
        is_metadata=True,
        query=(INCLUDE,),
        answer=VIEW,
    ),
    Operation(
        name="delete_view",
        method="DELETE",
        path=f"{_WIRE_PATH}/{{view_id:viw}}",
        summary="Delete a view",
        scope="workspacesAndBases:write",
        is_metadata=True,
        answer=DELETED,
        errors=(LastGridView,),
    ),
    Operation(
        name="list_view_definitions",
        method="GET",
        path="/api/v1/bases/{base_id:app}/views",
        summary="List the views of a base with all that defines them",
        scope="schema.bases:read",
        is_metadata=True,
        answer=object_schema({"views": {"type": "array", "items": FULL_VIEW}}),
    ),
    Operation(
        name="get_view_definition",
        method="GET",
        path=_PATH,
        summary="Get a view with all that defines it",
        scope="schema.bases:read",
        is_metadata=True,
        answer=FULL_VIEW,
    ),
    Operation(
        name="create_view",
        method="POST",
        path="/api/v1/bases/{base_id:app}/tables/{table}/views",
        summary="Create a view",
        scope="schema.bases:write",
        is_metadata=True,
        body=DRAFT,
        answer=FULL_VIEW,
        errors=(ViewNameTaken, LimitReached),
        description="`table` is an id or a name. A new view shows every field unless the body says otherwise.",
    ),
    Operation(
        name="update_view",
        method="PATCH",
        path=_PATH,
        summary="Change a view's name, fields, filter, order or settings",
        scope="schema.bases:write",
        is_metadata=True,
        body=CHANGES,
        answer=FULL_VIEW,
        errors=(ViewNameTaken,),
        description="Each key that is present replaces what was there as a whole; null clears it.",
    ),
    Operation(
        name="remove_view",
        method="DELETE",
        path=_PATH,
        summary="Delete a view",
        scope="schema.bases:write",
        is_metadata=True,
        answer=DELETED,
        errors=(LastGridView,),
    ),
    Operation(
        name="duplicate_view",
        method="POST",
        path=f"{_PATH}/duplicate",
        summary="Make a view like another one",
        scope="schema.bases:write",
        is_metadata=True,
        body=COPY,
        answer=FULL_VIEW,
        errors=(ViewNameTaken, LimitReached),
    ),
)

# --- Handlers -----------------------------------------------------------------------------------------------------


class ViewRoutes:
    """Answers `OPERATIONS` through the contract."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def handlers(self) -> Handlers:
        """By the name of the operation."""
        return {
            "list_views": self.list_views,
            "get_view": self.get_view,
            "delete_view": self.delete_view,
            "list_view_definitions": self.list_view_definitions,
            "get_view_definition": self.get_view_definition,
            "create_view": self.create_view,
            "update_view": self.update_view,
            "remove_view": self.delete_view,
            "duplicate_view": self.duplicate_view,
        }

    async def list_views(self, request: Request) -> Response:
        """GET /v0/meta/bases/{base_id}/views"""
        found = await self._schema.list_views(principal=principal_of(request), base_id=base_id_of(request))
        with_visible_fields = asks_for_visible_fields(request)
        views = [view_json(item.view, None, with_visible_fields=with_visible_fields) for item in found]
        return json_response({"views": views})

    async def get_view(self, request: Request) -> Response:
        """GET /v0/meta/bases/{base_id}/views/{view_id}"""
        found = await self._view(request)
        return json_response(view_json(found.view, None, with_visible_fields=asks_for_visible_fields(request)))

    async def delete_view(self, request: Request) -> Response:
        """DELETE /v0/meta/bases/{base_id}/views/{view_id}, and the same at /api/v1/bases/{base_id}/views/{view_id}"""
        view_id = _view_id(request)
        await self._schema.delete_view(principal=principal_of(request), base_id=base_id_of(request), view_id=view_id)
        return json_response({"id": view_id, "deleted": True})

    async def list_view_definitions(self, request: Request) -> Response:
        """GET /api/v1/bases/{base_id}/views"""
        found = await self._schema.list_views(principal=principal_of(request), base_id=base_id_of(request))
        return json_response({"views": [full_view_json(item) for item in found]})

    async def get_view_definition(self, request: Request) -> Response:
        """GET /api/v1/bases/{base_id}/views/{view_id}"""
        return json_response(full_view_json(await self._view(request)))

    async def create_view(self, request: Request) -> Response:
        """POST /api/v1/bases/{base_id}/tables/{table}/views"""
        try:
            draft = await read_json(request)
            check_keys(draft, "a view", tuple(DRAFT["properties"]))
        except AppError:
            base = await self._schema.get_base(principal=principal_of(request), base_id=base_id_of(request))
            if base.find_table(request.path_params["table"]) is None:
                raise NotPermittedOrNotFound from None
            raise
        found = await self._schema.create_view(
            principal=principal_of(request),
            base_id=base_id_of(request),
            table=request.path_params["table"],
            draft=draft,
        )
        return json_response(full_view_json(found))

    async def update_view(self, request: Request) -> Response:
        """PATCH /api/v1/bases/{base_id}/views/{view_id}"""
        found = await self._schema.update_view(
            principal=principal_of(request),
            base_id=base_id_of(request),
            view_id=_view_id(request),
            changes=await self._body(request),
        )
        return json_response(full_view_json(found))

    async def duplicate_view(self, request: Request) -> Response:
        """POST /api/v1/bases/{base_id}/views/{view_id}/duplicate"""
        body = await self._body(request)
        try:
            check_keys(body, "a copy of a view", ("name",))
            name = body.get("name")
            if name is not None and not isinstance(name, str):
                raise InvalidRequest(reason="name must be a string.")
        except InvalidRequest:
            await self._view(request)
            raise
        found = await self._schema.duplicate_view(
            principal=principal_of(request), base_id=base_id_of(request), view_id=_view_id(request), name=name
        )
        return json_response(full_view_json(found))

    async def _view(self, request: Request) -> TableView:
        return await self._schema.get_view(
            principal=principal_of(request), base_id=base_id_of(request), view_id=_view_id(request)
        )

    async def _body(self, request: Request) -> dict[str, Any]:
        """The body; a bad one is only told to who may know that the view is there (wire reference, section 4.6)."""
        try:
            return await read_json(request)
        except AppError:
            await self._view(request)
            raise


def _view_id(request: Request) -> ViewId:
    return ViewId(request.path_params["view_id"])


def full_view_json(found: TableView) -> dict[str, Any]:
    """A view with all that defines it; only the description is absent where there is none."""
    view = found.view
    made: dict[str, Any] = {"id": view.view_id, "tableId": found.table_id, "name": view.name, "type": view.type}
    if view.description:
        made["description"] = view.description
    return made | {
        "fieldIds": list(view.field_ids),
        "hiddenFieldIds": list(view.hidden_field_ids),
        "filter": view.filter,
        "sorts": list(view.sorts),
        "groups": list(view.groups),
        "settings": view.settings,
    }
