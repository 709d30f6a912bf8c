"""What every peer may rely on about tables made like others, whichever binding it has."""

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.ids import new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import Kind
from pyat.recordstore.errors import TableNameTaken
from pyat.recordstore.structure import Base
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
    """A base with two tables, the first linked to the second."""
    workspace = await schema.create_workspace(principal=WHO, name="Work")
    made = await schema.create_base(
        principal=WHO,
        workspace_id=workspace.workspace_id,
        name="Base",
        tables=(table_draft("Tasks", text_field("Name"), text_field("Notes")), table_draft("People")),
    )
    await schema.create_field(
        principal=WHO,
        base_id=made.base_id,
        table="Tasks",
        field=FieldDraft("Owner", "multipleRecordLinks", options={"linkedTableId": made.tables[1].table_id}),
    )
    return await schema.get_base(principal=WHO, base_id=made.base_id)


async def test_a_table_is_made_like_another_one(schema: Schema, base: Base, database: Database) -> None:
    where = base.base_id
    await database.run(
        Statement(
            "two_records",
            f"INSERT INTO {quote(where, base.tables[0].table_id)} (_n, _id, _created, _modified)"
            f" VALUES (3, '{new_id('rec')}', now(), now()), (7, '{new_id('rec')}', now(), now())",
        )
    )
    copy = await schema.duplicate_table(principal=WHO, base_id=where, table="Tasks", name=None, with_records=True)
    bare = await schema.duplicate_table(principal=WHO, base_id=where, table="tasks", name=" Bare ", with_records=False)
    again = await schema.duplicate_table(principal=WHO, base_id=where, table="Tasks", name=None, with_records=False)
    after = await schema.get_base(principal=WHO, base_id=where)
    assert [table.name for table in after.tables] == ["Tasks", "People", "Tasks copy", "Bare", "Tasks copy 2"]
    assert after.tables[2:] == (copy, bare, again)
    assert after.version == base.version + 3
    assert [field.name for field in after.tables[1].fields] == ["Name", "Tasks", "Tasks copy", "Bare", "Tasks copy 2"]
    for made in (copy, bare, again):
        assert [field.name for field in made.fields] == ["Name", "Notes", "Owner"]
        assert made.primary_field_id == made.fields[0].field_id
        inverse = after.tables[1].fields_by_id[made.fields[2].options["inverseLinkFieldId"]]
        assert inverse.options["inverseLinkFieldId"] == made.fields[2].field_id
        assert inverse.options["linkedTableId"] == made.table_id
    changes = await database.rows(
        Statement("changes", f"SELECT kind, item, cells, actor FROM {quote(where)}.base_changes ORDER BY n")
    )
    kinds = [row["kind"] for row in changes]
    created, inverted, record = Kind.TABLE_CREATED, Kind.FIELD_CREATED, Kind.RECORD_CREATED
    assert kinds[-8:] == [created, inverted, record, record, created, inverted, created, inverted]
    assert [changes[-8]["item"], changes[-7]["item"]] == [copy.table_id, copy.fields[2].options["inverseLinkFieldId"]]
    assert orjson.loads(changes[-8]["cells"])["after"]["name"] == "Tasks copy"
    assert {row["actor"] for row in changes} == {WHO.user_id}


async def test_what_cannot_be_duplicated_is_refused_and_changes_nothing(schema: Schema, base: Base) -> None:
    where = base.base_id
    with pytest.raises(TableNameTaken):
        await schema.duplicate_table(principal=WHO, base_id=where, table="Tasks", name="people", with_records=True)
    for name in ("", "a\x00b", "x" * 256):
        with pytest.raises(InvalidRequest):
            await schema.duplicate_table(principal=WHO, base_id=where, table="Tasks", name=name, with_records=True)
    stranger = principal(tenant_id=OTHER_TENANT)
    for caller, base_id, table in ((WHO, where, "Other"), (stranger, where, "Tasks"), (WHO, new_id("app"), "Tasks")):
        with pytest.raises(NotPermittedOrNotFound):
            await schema.duplicate_table(
                principal=caller,
                base_id=type(where)(base_id),
                table=table,
                name=None,
                with_records=True,
            )
    assert await schema.get_base(principal=WHO, base_id=where) == base
