"""What the routes of structure and of views share: shapes as JSON schema, and how a view is written."""

from typing import Any

from starlette.requests import Request

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import BaseId
from pyat.foundation.web import JsonSchema, Parameter, query_of
from pyat.recordstore.structure import Table, View
from pyat.services.schema.contract import DESCRIPTION_LENGTH_MAX, NAME_LENGTH_MAX

VISIBLE_FIELDS = "visibleFieldIds"
WIRE_TYPES = {"gantt": "block"}
"""Kinds of views that Airtable's API calls otherwise."""


def object_schema(properties: dict[str, Any], *, optional: tuple[str, ...] = (), **more: Any) -> JsonSchema:
    """The schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        **more,
    }


def id_schema(prefix: str) -> JsonSchema:
    """The schema of an id."""
    return {"type": "string", "pattern": f"^{prefix}[0-9A-Za-z]{{14}}$"}


NAME: JsonSchema = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH_MAX, "pattern": "\\S"}
NEW_DESCRIPTION: JsonSchema = {"type": ["string", "null"], "maxLength": DESCRIPTION_LENGTH_MAX}
VIEW = object_schema(
    {
        "id": id_schema("viw"),
        "name": {"type": "string"},
        "type": {
            "type": "string",
            "enum": ["grid", "form", "calendar", "gallery", "kanban", "timeline", "block", "list"],
        },
        VISIBLE_FIELDS: {"type": "array", "items": id_schema("fld")},
    },
    optional=(VISIBLE_FIELDS,),
)
INCLUDE = Parameter(
    "include",
    {"type": "array", "items": {"type": "string", "enum": [VISIBLE_FIELDS]}},
    "`visibleFieldIds` adds to every grid view the fields it shows, in order.",
)


def asks_for_visible_fields(request: Request) -> bool:
    """Whether `include` asks for them. Raises InvalidRequest for anything else it holds."""
    query = query_of(request)
    included = query.texts("include") or []
    if any(name != VISIBLE_FIELDS for name in included) or ("include" in query and not included):
        raise InvalidRequest(reason=f"include takes only {VISIBLE_FIELDS}.")
    return bool(included)


def view_json(view: View, table: Table | None, *, with_visible_fields: bool) -> dict[str, Any]:
    """The view of wire reference, section 7.2; fields that `table` does not have any more are left out."""
    found: dict[str, Any] = {"id": view.view_id, "name": view.name, "type": WIRE_TYPES.get(view.type, view.type)}
    if with_visible_fields and view.type == "grid":
        hidden = set(view.hidden_field_ids)
        found[VISIBLE_FIELDS] = [
            field_id
            for field_id in dict.fromkeys(view.field_ids)
            if field_id not in hidden and (table is None or field_id in table.fields_by_id)
        ]
    return found


def base_id_of(request: Request) -> BaseId:
    """The base that the path names."""
    return BaseId(request.path_params["base_id"])


def check_keys(item: Any, what: str, known: tuple[str, ...]) -> None:
    """Refuse what is no object, or has other keys than `known`. Raises InvalidRequest."""
    if not isinstance(item, dict):
        raise InvalidRequest(reason=f"{what.capitalize()} must be an object.")
    for key in item:
        if key not in known:
            raise InvalidRequest(reason=f'"{key[:100]}" is not a key of {what}.')
