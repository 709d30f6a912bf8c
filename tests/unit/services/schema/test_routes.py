"""The operations of the metadata API as data, and the JSON of structures."""

from dataclasses import replace
from typing import Any, cast

import jsonschema_rs
import orjson
import pytest

from pyat.foundation.ids import FieldId, TableId, ViewId
from pyat.foundation.web import Operation
from pyat.recordstore.structure import Field, Table, View
from pyat.services.schema.contract import Schema
from pyat.services.schema.routes import OPERATIONS, handlers
from pyat.services.schema.routes.structure import field_json, table_json
from pyat.services.schema.routes.views import KINDS
from pyat.services.schema.service import view_settings

FIELD = Field(FieldId("fld00000000000001"), "Name", "singleLineText")
OTHER = replace(FIELD, field_id=FieldId("fld00000000000002"), name="Other")
GONE = FieldId("fld00000000000003")
VIEW = View(ViewId("viw00000000000001"), "Grid view", "grid", (GONE, OTHER.field_id, FIELD.field_id), (FIELD.field_id,))
TABLE = Table(TableId("tbl00000000000001"), "Tasks", FIELD.field_id, (FIELD, OTHER), (VIEW,))


def test_every_operation_has_a_handler() -> None:
    assert set(handlers(cast("Schema", None))) == {operation.name for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation.name))
def test_operations_are_documented(operation: Operation) -> None:
    assert operation.is_metadata
    action = "read" if operation.method == "GET" else "write"
    # Airtable asks for scopes of their own where it answers about views and deletes bases.
    of_airtables_views = operation.path.startswith("/v0/meta/bases/{base_id:app}/views")
    expected = f"{'workspacesAndBases' if of_airtables_views else 'schema.bases'}:{action}"
    assert operation.scope == ("workspacesAndBases:manage" if operation.name == "delete_base" else expected)
    assert operation.summary
    assert operation.answer is not None
    assert (operation.body is None) == (operation.method in ("GET", "DELETE"))
    for schema in (operation.answer, operation.body, *(parameter.schema for parameter in operation.query)):
        if schema is not None:
            # Plain data, and a schema that validators accept.
            validator = jsonschema_rs.validator_for(orjson.loads(orjson.dumps(schema)))
            assert all(validator.is_valid(example) for example in schema.get("examples", ()))
    assert operation.body is None or operation.body["examples"]


def test_what_is_not_there_is_absent() -> None:
    assert field_json(FIELD) == {"id": "fld00000000000001", "name": "Name", "type": "singleLineText"}
    assert field_json(replace(FIELD, description="D", options={"precision": 0})) == {
        "id": "fld00000000000001",
        "name": "Name",
        "type": "singleLineText",
        "description": "D",
        "options": {"precision": 0},
    }
    assert table_json(replace(TABLE, views=(), fields=())) == {
        "id": "tbl00000000000001",
        "name": "Tasks",
        "primaryFieldId": "fld00000000000001",
        "fields": [],
        "views": [],
    }


def test_visible_fields_are_in_the_order_of_the_view_without_hidden_and_deleted_ones() -> None:
    hidden: dict[str, Any] = table_json(TABLE)
    shown: dict[str, Any] = table_json(TABLE, with_visible_fields=True)
    assert hidden["views"] == [{"id": "viw00000000000001", "name": "Grid view", "type": "grid"}]
    assert shown["views"] == [{**hidden["views"][0], "visibleFieldIds": [OTHER.field_id]}]
    form = table_json(replace(TABLE, views=(replace(VIEW, type="form"),)), with_visible_fields=True)
    assert form["views"] == [{"id": "viw00000000000001", "name": "Grid view", "type": "form"}]


def test_a_gantt_view_is_a_block_on_the_wire() -> None:
    table = table_json(replace(TABLE, views=(replace(VIEW, type="gantt"),)))
    assert table["views"] == [{"id": "viw00000000000001", "name": "Grid view", "type": "block"}]
    assert set(view_settings.KINDS) == set(KINDS)
