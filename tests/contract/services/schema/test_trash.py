"""What every peer may rely on about deleting and restoring structure, whichever binding it has."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, FieldId, TableId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import Kind
from pyat.recordstore.errors import InvalidOffset
from pyat.recordstore.structure import Base, Table
from pyat.services.schema.contract import FieldDraft, Schema
from tests.contract.conftest import Bind
from tests.support.schema import OTHER_TENANT, principal, schema_service, table_draft, text_field

WHO = principal()


@pytest_asyncio.fixture
async def schema(bind: Bind, database: Database) -> Schema:
    """The contract, as a peer gets it."""
    return await bind(Schema, schema_service(database))


@pytest_asyncio.fixture
async def base(schema: Schema) -> Base:
    """A base with two tables, the first linked to the second and counting its links."""
    workspace = await schema.create_workspace(principal=WHO, name="Work")
    made = await schema.create_base(
        principal=WHO,
        workspace_id=workspace.workspace_id,
        name="Base",
        tables=(table_draft("Tasks", text_field("Name"), text_field("Notes")), table_draft("People")),
    )
    link = await schema.create_field(
        principal=WHO,
        base_id=made.base_id,
        table="Tasks",
        field=FieldDraft("Owner", "multipleRecordLinks", options={"linkedTableId": made.tables[1].table_id}),
    )
    await schema.create_field(
        principal=WHO,
        base_id=made.base_id,
        table="Tasks",
        field=FieldDraft("Owners", "count", options={"recordLinkFieldId": link.field_id}),
    )
    return await schema.get_base(principal=WHO, base_id=made.base_id)


def table_of(base: Base, name: str) -> Table:
    """A table by its name."""
    found = base.find_table(name)
    assert found is not None
    return found


def names(base: Base) -> dict[str, list[str]]:
    """Names of fields by name of table."""
    return {table.name: [field.name for field in table.fields] for table in base.tables}


async def changes(database: Database, base_id: BaseId) -> list[tuple[int, str, Any]]:
    """Kind, item and cells of every entry of the change log, oldest first."""
    found = await database.rows(
        Statement("changes", f"SELECT kind, item, cells FROM {quote(base_id)}.base_changes ORDER BY n")
    )
    return [(row["kind"], row["item"], orjson.loads(row["cells"])) for row in found]


async def test_a_deleted_field_comes_back_to_its_place(schema: Schema, base: Base, database: Database) -> None:
    where, tasks = base.base_id, table_of(base, "Tasks")
    notes = tasks.fields_by_name["Notes"]
    await schema.delete_field(principal=WHO, base_id=where, table="Tasks", field_id=notes.field_id)
    after = await schema.get_base(principal=WHO, base_id=where)
    assert names(after)["Tasks"] == ["Name", "Owner", "Owners"]
    assert after.version == base.version + 1
    with pytest.raises(NotPermittedOrNotFound):
        await schema.update_field(
            principal=WHO, base_id=where, table="Tasks", field_id=notes.field_id, changes={"name": "X"}
        )
    (item,) = (await schema.list_trash(principal=WHO, base_id=where, kind=None, limit=10, offset=None)).items
    assert (item.item_id, item.kind, item.name, item.table_id) == (notes.field_id, "field", "Notes", tasks.table_id)
    assert item.deleted_by == WHO.user_id
    assert item.deleted_time is not None
    assert item.expires_time == item.deleted_time + timedelta(days=7)
    await schema.create_field(principal=WHO, base_id=where, table="Tasks", field=text_field("notes"))
    restored = await schema.restore(principal=WHO, base_id=where, item_id=notes.field_id)
    assert (restored.kind, restored.name) == ("field", "Notes 2")
    assert names(await schema.get_base(principal=WHO, base_id=where))["Tasks"] == [
        "Name",
        "Notes 2",
        "Owner",
        "Owners",
        "notes",
    ]
    assert (await schema.list_trash(principal=WHO, base_id=where, kind=None, limit=10, offset=None)).items == ()
    with pytest.raises(ModelNotFound):
        await schema.restore(principal=WHO, base_id=where, item_id=notes.field_id)
    log = await changes(database, where)
    assert [kind for kind, item, _ in log if item == notes.field_id] == [Kind.FIELD_DELETED, Kind.FIELD_RESTORED]
    assert log[-1][2]["after"]["name"] == "Notes 2"


async def test_a_link_goes_and_comes_back_with_its_inverse(schema: Schema, base: Base) -> None:
    where = base.base_id
    inverse = table_of(base, "People").fields_by_name["Tasks"]
    await schema.delete_field(principal=WHO, base_id=where, table="People", field_id=inverse.field_id)
    after = await schema.get_base(principal=WHO, base_id=where)
    assert names(after) == {"Tasks": ["Name", "Notes", "Owners"], "People": ["Name"]}
    assert table_of(after, "Tasks").fields_by_name["Owners"].options["isValid"] is False
    page = await schema.list_trash(principal=WHO, base_id=where, kind="field", limit=10, offset=None)
    assert [item.item_id for item in page.items] == [inverse.field_id]
    await schema.restore(principal=WHO, base_id=where, item_id=inverse.field_id)
    found = await schema.get_base(principal=WHO, base_id=where)
    assert found.tables == base.tables
    assert found.tables[0].fields_by_name["Owner"].link == base.tables[0].fields_by_name["Owner"].link


async def test_a_table_takes_the_fields_that_link_to_it(schema: Schema, base: Base, database: Database) -> None:
    where, people = base.base_id, table_of(base, "People")
    link = table_of(base, "Tasks").fields_by_name["Owner"]
    assert await schema.delete_table(principal=WHO, base_id=where, table="people") == people.table_id
    after = await schema.get_base(principal=WHO, base_id=where)
    assert names(after) == {"Tasks": ["Name", "Notes", "Owners"]}
    log = await changes(database, where)
    assert [(kind, item) for kind, item, _ in log[-2:]] == [
        (Kind.TABLE_DELETED, people.table_id),
        (Kind.FIELD_DELETED, link.field_id),
    ]
    with pytest.raises(InvalidRequest):
        await schema.delete_table(principal=WHO, base_id=where, table="Tasks")
    await schema.create_table(principal=WHO, base_id=where, table=table_draft("People"))
    # Deleting the other side too must not leave a field that leads nowhere, whatever comes back first.
    await schema.delete_table(principal=WHO, base_id=where, table="Tasks")
    tasks = table_of(base, "Tasks")
    assert [
        item.item_id
        for item in (await schema.list_trash(principal=WHO, base_id=where, kind=None, limit=10, offset=None)).items
    ] == [tasks.table_id, people.table_id]
    assert (await schema.restore(principal=WHO, base_id=where, item_id=people.table_id)).name == "People 2"
    assert names(await schema.get_base(principal=WHO, base_id=where)) == {"People 2": ["Name"], "People": ["Name"]}
    await schema.restore(principal=WHO, base_id=where, item_id=tasks.table_id)
    assert names(await schema.get_base(principal=WHO, base_id=where)) == {
        "Tasks": ["Name", "Notes", "Owner", "Owners"],
        "People 2": ["Name", "Tasks"],
        "People": ["Name"],
    }


async def test_a_link_waits_for_its_table(schema: Schema, base: Base) -> None:
    where, link = base.base_id, table_of(base, "Tasks").fields_by_name["Owner"]
    await schema.delete_field(principal=WHO, base_id=where, table="Tasks", field_id=link.field_id)
    await schema.delete_table(principal=WHO, base_id=where, table="People")
    with pytest.raises(InvalidRequest):
        await schema.restore(principal=WHO, base_id=where, item_id=link.field_id)
    await schema.restore(principal=WHO, base_id=where, item_id=table_of(base, "People").table_id)
    await schema.restore(principal=WHO, base_id=where, item_id=link.field_id)
    assert (await schema.get_base(principal=WHO, base_id=where)).tables == base.tables


async def test_a_base_is_renamed_deleted_and_restored(schema: Schema, base: Base, database: Database) -> None:
    where = base.base_id
    assert (await schema.update_base(principal=WHO, base_id=where, changes={"name": " Plans "})).name == "Plans"
    await schema.delete_base(principal=WHO, base_id=where)
    assert await schema.get_bases(base_ids=(where,)) == ()
    assert (await schema.list_bases(principal=WHO, offset=None)).bases == ()
    for call in (
        schema.get_base(principal=WHO, base_id=where),
        schema.delete_base(principal=WHO, base_id=where),
        schema.create_table(principal=WHO, base_id=where, table=table_draft("New")),
        schema.list_trash(principal=WHO, base_id=where, kind=None, limit=10, offset=None),
    ):
        with pytest.raises(NotPermittedOrNotFound):
            await call
    (item,) = (await schema.list_trash(principal=WHO, base_id=None, kind=None, limit=10, offset=None)).items
    assert (item.item_id, item.kind, item.name, item.base_id) == (where, "base", "Plans", where)
    with pytest.raises(ModelNotFound):
        await schema.restore(principal=principal(tenant_id=OTHER_TENANT), base_id=where, item_id=where)
    assert (await schema.restore(principal=WHO, base_id=where, item_id=where)).name == "Plans"
    assert (await schema.get_base(principal=WHO, base_id=where)).tables == base.tables
    log = await changes(database, where)
    assert (log[0][0], log[1][0]) == (Kind.BASE_CREATED, Kind.TABLE_CREATED)
    assert [kind for kind, item, _ in log if item == where][1:] == [
        Kind.BASE_UPDATED,
        Kind.BASE_DELETED,
        Kind.BASE_RESTORED,
    ]


async def test_the_trash_is_paged_newest_first(schema: Schema, base: Base) -> None:
    where = base.base_id
    made = [
        await schema.create_field(principal=WHO, base_id=where, table="People", field=text_field(f"F{number}"))
        for number in range(5)
    ]
    for field in made:
        await schema.delete_field(principal=WHO, base_id=where, table="People", field_id=field.field_id)
    seen: list[str] = []
    offset: str | None = None
    while True:
        page = await schema.list_trash(principal=WHO, base_id=where, kind="field", limit=2, offset=offset)
        seen += [item.item_id for item in page.items]
        offset = page.offset
        if offset is None:
            break
    assert seen == [field.field_id for field in reversed(made)]


async def test_bad_requests_are_refused(schema: Schema, base: Base) -> None:
    where, tasks = base.base_id, table_of(base, "Tasks")
    gone = FieldId(new_id("fld"))
    stranger = principal(tenant_id=OTHER_TENANT)
    cases: list[tuple[Any, type[Exception]]] = [
        (
            schema.delete_field(principal=WHO, base_id=where, table="Tasks", field_id=tasks.primary_field_id),
            InvalidRequest,
        ),
        (schema.delete_field(principal=WHO, base_id=where, table="Tasks", field_id=gone), NotPermittedOrNotFound),
        (
            schema.delete_field(principal=stranger, base_id=where, table="Tasks", field_id=tasks.fields[1].field_id),
            NotPermittedOrNotFound,
        ),
        (schema.delete_table(principal=stranger, base_id=where, table="Tasks"), NotPermittedOrNotFound),
        (schema.delete_table(principal=WHO, base_id=where, table="Nothing"), NotPermittedOrNotFound),
        (schema.delete_base(principal=stranger, base_id=where), NotPermittedOrNotFound),
        (schema.delete_base(principal=WHO, base_id=BaseId(new_id("app"))), NotPermittedOrNotFound),
        (schema.update_base(principal=stranger, base_id=where, changes={"name": "X"}), NotPermittedOrNotFound),
        (schema.update_base(principal=WHO, base_id=where, changes={"name": " "}), InvalidRequest),
        (schema.update_base(principal=WHO, base_id=where, changes={"colour": "red"}), InvalidRequest),
        (schema.list_trash(principal=stranger, base_id=where, kind=None, limit=1, offset=None), NotPermittedOrNotFound),
        (
            schema.list_trash(principal=WHO, base_id=BaseId("a\0b"), kind=None, limit=1, offset=None),
            NotPermittedOrNotFound,
        ),
        (schema.list_trash(principal=WHO, base_id=where, kind="record", limit=1, offset=None), InvalidRequest),
        (schema.list_trash(principal=WHO, base_id=None, kind="table", limit=1, offset=None), InvalidRequest),
        (schema.list_trash(principal=WHO, base_id=where, kind=None, limit=0, offset=None), InvalidRequest),
        (schema.list_trash(principal=WHO, base_id=where, kind=None, limit=1, offset="x"), InvalidOffset),
        (
            schema.list_trash(principal=WHO, base_id=where, kind=None, limit=1, offset=f"9{'9' * 17}/{gone}"),
            InvalidOffset,
        ),
        (schema.restore(principal=WHO, base_id=where, item_id="a\0b"), ModelNotFound),
        (schema.restore(principal=WHO, base_id=where, item_id=gone), ModelNotFound),
        (schema.restore(principal=WHO, base_id=where, item_id=TableId(tasks.table_id)), ModelNotFound),
        (schema.restore(principal=stranger, base_id=where, item_id=gone), NotPermittedOrNotFound),
        (schema.restore(principal=WHO, base_id=where, item_id=where), ModelNotFound),
    ]
    for call, expected in cases:
        with pytest.raises(expected):
            await call
    assert await schema.get_base(principal=WHO, base_id=where) == base
