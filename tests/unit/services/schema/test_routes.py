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
from pyat.services.schema.routes import OPERATIONS, SchemaRoutes, field_json, table_json

FIELD = Field(FieldId("fld00000000000001"), "Name", "singleLineText")
VIEW = View(ViewId("viw00000000000001"), "Grid view", "grid", (FieldId("fld1"), FieldId("fld2")), (FieldId("fld1"),))
TABLE = Table(TableId("tbl00000000000001"), "Tasks", FIELD.field_id, (FIELD,), (VIEW,))


def test_every_operation_has_a_handler() -> None:
    handlers = SchemaRoutes(cast("Schema", None)).handlers()
    assert set(handlers) == {operation.name for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation.name))
def test_operations_are_documented(operation: Operation) -> None:
    assert operation.is_metadata
    assert operation.scope == ("schema.bases:read" if operation.method == "GET" else "schema.bases:write")
    assert operation.summary
    assert operation.answer is not None
    assert (operation.body is None) == (operation.method == "GET")
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


def test_visible_fields_are_in_the_order_of_the_view_without_hidden_ones() -> None:
    hidden: dict[str, Any] = table_json(TABLE)
    shown: dict[str, Any] = table_json(TABLE, with_visible_fields=True)
    assert hidden["views"] == [{"id": "viw00000000000001", "name": "Grid view", "type": "grid"}]
    assert shown["views"] == [{**hidden["views"][0], "visibleFieldIds": ["fld2"]}]
    form = table_json(replace(TABLE, views=(replace(VIEW, type="form"),)), with_visible_fields=True)
    assert form["views"] == [{"id": "viw00000000000001", "name": "Grid view", "type": "form"}]
