"""What every peer of the schema service may rely on, whichever binding it has."""

from datetime import UTC
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, FieldId, WorkspaceId, new_id
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    InvalidOffset,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.structure import Base
from pyat.services.schema.contract import FieldDraft, InvalidPrimaryField, Schema, TableDraft
from tests.contract.conftest import Bind
from tests.support.schema import OTHER_TENANT, principal, schema_service, table_draft, text_field

SELECT = FieldDraft("Status", "singleSelect", "How far", {"choices": [{"name": "Todo"}, {"name": "Done"}]})


@pytest_asyncio.fixture
async def schema(bind: Bind, database: Database) -> Schema:
    """The contract, as a peer gets it."""
    return await bind(Schema, schema_service(database))


@pytest_asyncio.fixture
async def base(schema: Schema) -> Base:
    """A base with one table."""
    workspace = await schema.create_workspace(principal=principal(), name="Work")
    return await schema.create_base(
        principal=principal(),
        workspace_id=workspace.workspace_id,
        name="Base",
        tables=(table_draft("Tasks", text_field("Name"), SELECT, description="To do"),),
    )


async def test_bases_come_back_whole(schema: Schema, base: Base) -> None:
    (found,) = await schema.get_bases(base_ids=(base.base_id, BaseId(new_id("app"))))
    assert found == base
    assert await schema.get_base(principal=principal(), base_id=base.base_id) == base
    (table,) = found.tables
    assert found.find_table("tasks") == table
    assert [field.name for field in table.fields] == ["Name", "Status"]
    assert [choice["name"] for choice in table.fields[1].options["choices"]] == ["Todo", "Done"]
    assert isinstance(table.views, tuple)
    assert isinstance(table.views[0].field_ids, tuple)
    assert (found.version, table.description, table.fields[1].description) == (1, "To do", "How far")


async def test_changes_are_seen_by_the_next_call(schema: Schema, base: Base) -> None:
    who, where = principal(), base.base_id
    table = await schema.create_table(principal=who, base_id=where, table=table_draft("Deals"))
    field = await schema.create_field(
        principal=who,
        base_id=where,
        table="Deals",
        field=FieldDraft("Sum", "currency", None, {"precision": 2, "symbol": "€"}),
    )
    assert field.options == {"precision": 2, "symbol": "€"}
    renamed = await schema.update_field(
        principal=who, base_id=where, table="Deals", field_id=field.field_id, changes={"name": "Amount"}
    )
    changed = await schema.update_table(
        principal=who, base_id=where, table=table.table_id, changes={"name": "Sales", "description": "Won"}
    )
    assert changed.fields == (*table.fields, renamed)
    after = await schema.get_base(principal=who, base_id=where)
    assert after.version == base.version + 4
    assert after.tables == (base.tables[0], changed)


async def test_bases_and_workspaces_are_listed(schema: Schema, base: Base) -> None:
    page = await schema.list_bases(principal=principal(), offset=None)
    (summary,) = page.bases
    assert page.offset is None
    assert (summary.base_id, summary.name, summary.workspace_id, summary.permission_level) == (
        base.base_id,
        "Base",
        base.workspace_id,
        "create",
    )
    (workspace,) = await schema.list_workspaces(principal=principal())
    assert (workspace.workspace_id, workspace.name) == (base.workspace_id, "Work")
    assert workspace.created_time.tzinfo is not None
    assert workspace.created_time.astimezone(UTC) == workspace.created_time
    assert (await schema.list_bases(principal=principal(tenant_id=OTHER_TENANT), offset=None)).bases == ()


async def _raised(call: Any) -> AppError:
    with pytest.raises(AppError) as raised:
        await call
    return raised.value


async def test_declared_errors_arrive_as_they_are(schema: Schema, base: Base) -> None:
    where: dict[str, Any] = {"principal": principal(), "base_id": base.base_id}

    def table(*fields: FieldDraft, name: str = "New") -> TableDraft:
        return table_draft(name, *fields)

    cases: list[tuple[Any, AppError]] = [
        (schema.create_table(**where, table=table(name="TASKS")), TableNameTaken(name="TASKS")),
        (schema.create_table(**where, table=table(text_field("A"), text_field("a"))), FieldNameTaken(name="a")),
        (
            schema.create_table(**where, table=table(SELECT)),
            InvalidPrimaryField(table="New", field="Status", type="singleSelect"),
        ),
        (
            schema.create_table(**where, table=table(*(text_field(f"F{number}") for number in range(501)))),
            LimitReached(what="A table", limit=500, things="fields"),
        ),
        (
            schema.create_field(**where, table="Tasks", field=FieldDraft("F", "number")),
            InvalidFieldOptions(table="Tasks", field="F", reason="F.options is missing"),
        ),
        (
            schema.create_field(**where, table="Tasks", field=FieldDraft("F", "manualSort")),
            UnsupportedFieldType(table="Tasks", field="F", type="manualSort"),
        ),
        (schema.create_field(**where, table="Nope", field=text_field("F")), NotPermittedOrNotFound()),
        (schema.list_bases(principal=principal(), offset="nope"), InvalidOffset(offset="nope")),
        (
            schema.create_base(
                principal=principal(), workspace_id=WorkspaceId("wsp00000000000000"), name="B", tables=(table(),)
            ),
            ModelNotFound(kind="Workspace"),
        ),
        (
            schema.update_field(
                **where, table="Tasks", field_id=FieldId(base.tables[0].primary_field_id), changes={"type": "number"}
            ),
            InvalidRequest(reason='"type" cannot be changed.'),
        ),
        (
            schema.update_table(**where, table="Tasks", changes={"name": 5}),
            InvalidRequest(reason="name must be a string."),
        ),
        (schema.get_base(principal=principal(tenant_id=OTHER_TENANT), base_id=base.base_id), NotPermittedOrNotFound()),
    ]
    for call, expected in cases:
        error = await _raised(call)
        assert (type(error), error.message) == (type(expected), expected.message)
    (after,) = await schema.get_bases(base_ids=(base.base_id,))
    assert after == base
