"""What every peer may rely on about views, whichever binding it has."""

from typing import Any

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.ids import FieldId, ViewId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import Kind
from pyat.recordstore.structure import Base
from pyat.services.schema.contract import FieldDraft, LastGridView, Schema, ViewNameTaken
from tests.contract.conftest import Bind
from tests.support.schema import OTHER_TENANT, principal, schema_service, table_draft, text_field

CHOICES = {"choices": [{"name": "Todo"}, {"name": "Done"}]}
ISO = {"dateFormat": {"name": "iso"}}


@pytest_asyncio.fixture
async def schema(bind: Bind, database: Database) -> Schema:
    """The contract, as a peer gets it."""
    return await bind(Schema, schema_service(database))


@pytest_asyncio.fixture
async def base(schema: Schema) -> Base:
    """A base with a table of a few types, and another table."""
    workspace = await schema.create_workspace(principal=principal(), name="Work")
    return await schema.create_base(
        principal=principal(),
        workspace_id=workspace.workspace_id,
        name="Base",
        tables=(
            table_draft(
                "Tasks",
                text_field("Name"),
                FieldDraft("Status", "singleSelect", options=CHOICES),
                FieldDraft("Start", "date", options=ISO),
                FieldDraft("End", "date", options=ISO),
                FieldDraft("No", "autoNumber"),
            ),
            table_draft("Other"),
        ),
    )


def ids(base: Base) -> dict[str, FieldId]:
    """Ids of the first table's fields by name."""
    return {field.name: field.field_id for field in base.tables[0].fields}


async def test_a_view_is_made_changed_copied_and_deleted(schema: Schema, base: Base) -> None:
    who, where, field_ids = principal(), base.base_id, ids(base)
    wanted = {
        "conjunction": "and",
        "conditions": [{"fieldId": field_ids["Name"], "operator": "contains", "value": "x"}],
    }
    made = await schema.create_view(
        principal=who,
        base_id=where,
        table="tasks",
        draft={
            "name": " Open ",
            "type": "grid",
            "description": "What is left",
            "filter": wanted,
            "sorts": [{"fieldId": field_ids["No"]}],
            "groups": [{"fieldId": field_ids["Status"], "direction": "desc"}],
            "hiddenFieldIds": [field_ids["No"]],
        },
    )
    view = made.view
    assert (view.name, view.type, view.description, view.filter) == ("Open", "grid", "What is left", wanted)
    assert list(view.field_ids) == list(field_ids.values())
    assert list(view.hidden_field_ids) == [field_ids["No"]]
    assert list(view.sorts) == [{"fieldId": field_ids["No"], "direction": "asc"}]
    assert list(view.groups) == [{"fieldId": field_ids["Status"], "direction": "desc"}]
    assert await schema.get_view(principal=who, base_id=where, view_id=view.view_id) == made

    order = list(reversed(field_ids.values()))
    changed = await schema.update_view(
        principal=who,
        base_id=where,
        view_id=view.view_id,
        changes={"name": "Done", "description": None, "fieldIds": order, "filter": None, "sorts": None, "groups": []},
    )
    assert (changed.view.name, changed.view.description, changed.view.filter) == ("Done", None, None)
    assert (list(changed.view.field_ids), list(changed.view.sorts), list(changed.view.groups)) == (order, [], [])
    assert list(changed.view.hidden_field_ids) == [field_ids["No"]]

    copies = [
        await schema.duplicate_view(principal=who, base_id=where, view_id=view.view_id, name=name)
        for name in (None, None, "Mine")
    ]
    assert [copy.view.name for copy in copies] == ["Done copy", "Done copy 2", "Mine"]
    assert all(copy.view.field_ids == changed.view.field_ids for copy in copies)
    assert len({copy.view.view_id for copy in copies} | {view.view_id}) == 4

    await schema.delete_view(principal=who, base_id=where, view_id=view.view_id)
    listed = await schema.list_views(principal=who, base_id=where)
    assert [item.view.name for item in listed] == ["Grid view", "Done copy", "Done copy 2", "Mine", "Grid view"]
    assert [item.table_id for item in listed] == [base.tables[0].table_id] * 4 + [base.tables[1].table_id]
    assert listed[1:4] == tuple(copies)
    after = await schema.get_base(principal=who, base_id=where)
    assert after.version == base.version + 6
    assert [item.name for item in after.tables[0].views] == ["Grid view", "Done copy", "Done copy 2", "Mine"]


async def test_every_change_is_in_the_change_log(schema: Schema, base: Base, database: Database) -> None:
    who, where = principal(), base.base_id
    made = await schema.create_view(principal=who, base_id=where, table="Tasks", draft={"name": "A"})
    view_id = made.view.view_id
    await schema.update_view(principal=who, base_id=where, view_id=view_id, changes={"name": "B", "filter": None})
    await schema.delete_view(principal=who, base_id=where, view_id=view_id)
    statement = Statement(
        "changes",
        f"SELECT kind, actor, table_number, cells FROM {quote(where, 'base_changes')} WHERE item = $1 ORDER BY n",
    )
    async with database.connection() as connection:
        rows = await connection.rows(statement, view_id)
    assert [row["kind"] for row in rows] == [Kind.VIEW_CREATED, Kind.VIEW_UPDATED, Kind.VIEW_DELETED]
    table = (await schema.get_base(principal=who, base_id=where)).tables[0]
    assert {(row["actor"], row["table_number"]) for row in rows} == {(who.user_id, table.number)}
    cells = [orjson.loads(row["cells"]) for row in rows]
    assert (cells[0]["after"]["name"], cells[2]["before"]["name"]) == ("A", "B")
    assert cells[1] == {"before": {"name": "A"}, "after": {"name": "B"}}


async def test_a_new_field_joins_every_view(schema: Schema, base: Base) -> None:
    who, where = principal(), base.base_id
    made = await schema.create_view(principal=who, base_id=where, table="Tasks", draft={"name": "A"})
    field = await schema.create_field(principal=who, base_id=where, table="Tasks", field=text_field("New"))
    found = await schema.get_view(principal=who, base_id=where, view_id=made.view.view_id)
    assert found.view.field_ids == (*made.view.field_ids, field.field_id)


async def test_each_kind_has_its_settings(schema: Schema, base: Base) -> None:
    who, where, field_ids = principal(), base.base_id, ids(base)
    period = {"startDateFieldId": field_ids["Start"], "endDateFieldId": field_ids["End"]}
    for kind, settings in {
        "list": {},
        "kanban": {"stackFieldId": field_ids["Status"]},
        "calendar": {"dateFieldId": field_ids["Start"]},
        "timeline": period,
        "gantt": period,
        "gallery": {"coverFit": "crop"},
        "form": {"title": "Tell us", "description": "", "requiredFieldIds": [field_ids["Name"]]},
    }.items():
        draft: dict[str, Any] = {"name": kind, "type": kind, "settings": settings}
        made = await schema.create_view(principal=who, base_id=where, table="Tasks", draft=draft)
        assert (made.view.type, made.view.settings) == (kind, settings)
    refused: list[tuple[Any, Any]] = [
        ("grid", {"stackFieldId": field_ids["Status"]}),
        ("kanban", {}),
        ("kanban", None),
        ("kanban", {"stackFieldId": field_ids["Name"]}),
        ("kanban", {"stackFieldId": 5}),
        ("calendar", {"dateFieldId": field_ids["Status"]}),
        ("timeline", {"startDateFieldId": field_ids["Start"]}),
        ("gallery", {"coverFieldId": field_ids["Name"]}),
        ("gallery", {"coverFit": "stretch"}),
        ("form", {"title": "x" * 256}),
        ("form", {"title": "\x00"}),
        ("form", {"requiredFieldIds": [field_ids["No"]]}),
        ("form", {"requiredFieldIds": [["x"]]}),
        ("form", []),
        ("mosaic", {}),
        ([], {}),
    ]
    for number, (wrong_kind, wrong) in enumerate(refused):
        draft = {"name": f"View {number}", "type": wrong_kind, "settings": wrong}
        with pytest.raises(InvalidRequest):
            await schema.create_view(principal=who, base_id=where, table="Tasks", draft=draft)


async def test_what_does_not_fit_is_refused_and_changes_nothing(schema: Schema, base: Base) -> None:
    who, where, field_ids = principal(), base.base_id, ids(base)
    view = base.tables[0].views[0]
    every = list(field_ids.values())
    refusals: list[tuple[dict[str, Any], type[AppError]]] = [
        ({}, InvalidRequest),
        ({"type": "form"}, InvalidRequest),
        ({"name": " "}, InvalidRequest),
        ({"name": None}, InvalidRequest),
        ({"name": "x" * 256}, InvalidRequest),
        ({"name": "TAKEN"}, ViewNameTaken),
        ({"description": 5}, InvalidRequest),
        ({"fieldIds": every[1:]}, InvalidRequest),
        ({"fieldIds": [*every, every[0]]}, InvalidRequest),
        ({"fieldIds": None}, InvalidRequest),
        ({"hiddenFieldIds": [every[0]]}, InvalidRequest),
        ({"hiddenFieldIds": [new_id("fld")]}, InvalidRequest),
        ({"hiddenFieldIds": [[]]}, InvalidRequest),
        ({"filter": {"conjunction": "and"}}, InvalidRequest),
        ({"sorts": [{"fieldId": new_id("fld")}]}, InvalidRequest),
        ({"groups": [{"fieldId": every[0], "direction": "up"}]}, InvalidRequest),
        ({"settings": {"rowHeight": "tall"}}, InvalidRequest),
    ]
    await schema.create_view(principal=who, base_id=where, table="Tasks", draft={"name": "Taken"})
    before = await schema.get_base(principal=who, base_id=where)
    for changes, error in refusals:
        with pytest.raises(error):
            await schema.update_view(principal=who, base_id=where, view_id=view.view_id, changes=changes)
    for draft in ({"type": "grid"}, {"name": "A", "color": "red"}, {"name": "A", "type": None}):
        with pytest.raises(InvalidRequest):
            await schema.create_view(principal=who, base_id=where, table="Tasks", draft=draft)
    with pytest.raises(ViewNameTaken):
        await schema.duplicate_view(principal=who, base_id=where, view_id=view.view_id, name="taken")
    assert await schema.get_base(principal=who, base_id=where) == before


async def test_the_last_grid_of_a_table_stays(schema: Schema, base: Base) -> None:
    who, where = principal(), base.base_id
    first = base.tables[0].views[0].view_id
    form = await schema.create_view(principal=who, base_id=where, table="Tasks", draft={"name": "F", "type": "form"})
    with pytest.raises(LastGridView):
        await schema.delete_view(principal=who, base_id=where, view_id=first)
    await schema.delete_view(principal=who, base_id=where, view_id=form.view.view_id)
    second = await schema.create_view(principal=who, base_id=where, table="Tasks", draft={"name": "G"})
    await schema.delete_view(principal=who, base_id=where, view_id=first)
    with pytest.raises(LastGridView):
        await schema.delete_view(principal=who, base_id=where, view_id=second.view.view_id)


async def test_who_does_not_reach_a_base_learns_nothing_of_its_views(schema: Schema, base: Base) -> None:
    view_id = base.tables[0].views[0].view_id
    strangers = (principal(tenant_id=OTHER_TENANT), principal(base_ids=frozenset()))
    for who, where, its_view in (
        *((stranger, base.base_id, view_id) for stranger in strangers),
        (principal(), base.base_id, ViewId(new_id("viw"))),
    ):
        for call in (
            schema.get_view(principal=who, base_id=where, view_id=its_view),
            schema.update_view(principal=who, base_id=where, view_id=its_view, changes={"color": "red"}),
            schema.delete_view(principal=who, base_id=where, view_id=its_view),
            schema.duplicate_view(principal=who, base_id=where, view_id=its_view, name=""),
        ):
            with pytest.raises(NotPermittedOrNotFound):
                await call
    for who in strangers:
        with pytest.raises(NotPermittedOrNotFound):
            await schema.list_views(principal=who, base_id=base.base_id)
        with pytest.raises(NotPermittedOrNotFound):
            await schema.create_view(principal=who, base_id=base.base_id, table="Tasks", draft={})
    with pytest.raises(NotPermittedOrNotFound):
        await schema.create_view(principal=principal(), base_id=base.base_id, table="Nothing", draft={})
