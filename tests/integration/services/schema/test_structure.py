"""Bases, tables and fields through the service, on PostgreSQL."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyat.foundation.db import Database, recording
from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, WorkspaceId, new_id
from pyat.foundation.sql import Statement
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    InvalidOffset,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.structure import Base, Table
from pyat.services.schema.contract import FieldDraft
from pyat.services.schema.service import SchemaService
from tests.support.schema import (
    OTHER_TENANT,
    new_workspace,
    principal,
    schema_service,
    table_draft,
    text_field,
)

COLUMNS = Statement(
    "columns",
    "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2"
    " AND column_name LIKE 'fld%' ORDER BY ordinal_position",
)
SCHEMAS = Statement("schemas", "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'app%'")


async def stored(service: SchemaService, base_id: BaseId) -> Base:
    """What is stored of a base."""
    (base,) = await service.get_bases(base_ids=(base_id,))
    return base


async def columns(database: Database, base: Base, table: Table) -> dict[str, str]:
    """PostgreSQL's types of a table's cells, by field id."""
    rows = await database.rows(COLUMNS, base.base_id, table.table_id)
    return {row["column_name"]: row["udt_name"] for row in rows}


async def test_a_new_base_reads_back_as_it_was_answered(service: SchemaService, database: Database) -> None:
    workspace_id = await new_workspace(service)
    base = await service.create_base(
        principal=principal(),
        workspace_id=workspace_id,
        name="  CRM  ",
        tables=(
            table_draft(
                "Contacts",
                text_field("Name", description="Full name"),
                FieldDraft("Age", "number", options={"precision": 0}),
            ),
            table_draft("Deals", FieldDraft("Title", "multilineText"), description="Open and closed"),
        ),
    )
    assert base == await stored(service, base.base_id)
    assert (base.name, base.workspace_id, base.tenant_id, base.version) == ("CRM", workspace_id, "the-tenant", 1)
    assert [table.name for table in base.tables] == ["Contacts", "Deals"]
    assert [field.description for field in base.tables[0].fields] == ["Full name", None]
    assert base.tables[1].description == "Open and closed"
    for table in base.tables:
        assert table.primary_field_id == table.fields[0].field_id
        (view,) = table.views
        assert (view.name, view.type, view.hidden_field_ids) == ("Grid view", "grid", ())
        assert view.field_ids == tuple(field.field_id for field in table.fields)
    age = base.tables[0].fields[1]
    assert (await columns(database, base, base.tables[0]))[age.field_id] == "float8"


async def test_a_base_that_fails_leaves_nothing_behind(service: SchemaService, database: Database) -> None:
    workspace_id = await new_workspace(service)
    with pytest.raises(InvalidFieldOptions):
        await service.create_base(
            principal=principal(),
            workspace_id=workspace_id,
            name="Half",
            tables=(table_draft("Good"), table_draft("Bad", text_field("Name"), FieldDraft("Age", "number"))),
        )
    assert await database.value(SCHEMAS) == 0
    assert (await service.list_bases(principal=principal(), offset=None)).bases == ()


async def test_a_base_whose_last_statement_fails_leaves_nothing_behind(
    service: SchemaService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace_id = await new_workspace(service)
    # The same table twice: PostgreSQL refuses the second one after everything else was written.
    table = service._planner.table(table_draft("Twice"), ())
    monkeypatch.setattr(service._planner, "table", lambda draft, others: table)
    with pytest.raises(Exception, match="already exists"):
        await service.create_base(
            principal=principal(),
            workspace_id=workspace_id,
            name="Half",
            tables=(table_draft("Twice"), table_draft("Twice")),
        )
    assert await database.value(SCHEMAS) == 0
    assert (await service.list_bases(principal=principal(), offset=None)).bases == ()


@pytest.mark.parametrize(
    ("field", "error"),
    [
        (text_field("name"), FieldNameTaken),
        (text_field("  "), FieldNameTaken),
        (text_field("x" * 256), InvalidRequest),
        (text_field("a\x00b"), InvalidRequest),
        (text_field("a\ud800b"), InvalidRequest),
        (text_field("Big", description="x" * 20_001), InvalidRequest),
        (text_field("Nul", description="\x00"), InvalidRequest),
        (FieldDraft("Long", "longText"), InvalidRequest),
        (FieldDraft("Order", "manualSort"), UnsupportedFieldType),
        (FieldDraft("Number", "number"), InvalidFieldOptions),
        (FieldDraft("Number", "number", options={"precision": 9}), InvalidFieldOptions),
        (FieldDraft("Text", "singleLineText", options={"precision": 1}), InvalidFieldOptions),
        (FieldDraft("Price", "currency", options={"precision": 2, "symbol": "\x00"}), InvalidFieldOptions),
        (FieldDraft("Price", "currency", options={"precision": 2, "symbol": "\ud800"}), InvalidFieldOptions),
        (FieldDraft("Pick", "singleSelect", options={"choices": [{"name": "a\x00"}]}), InvalidFieldOptions),
    ],
)
async def test_a_refused_field_changes_nothing(
    service: SchemaService, base: Base, database: Database, field: FieldDraft, error: type[Exception]
) -> None:
    table = base.tables[0]
    with pytest.raises(error):
        await service.create_field(principal=principal(), base_id=base.base_id, table=table.table_id, field=field)
    with pytest.raises(error):
        await service.create_table(
            principal=principal(), base_id=base.base_id, table=table_draft("New", text_field("Name"), field)
        )
    assert await stored(service, base.base_id) == base
    assert list(await columns(database, base, table)) == [own.field_id for own in table.fields]


async def test_new_tables_and_fields_join_the_structure(service: SchemaService, base: Base, database: Database) -> None:
    table = await service.create_table(
        principal=principal(), base_id=base.base_id, table=table_draft(" Deals ", text_field(" Title "))
    )
    field = await service.create_field(
        principal=principal(),
        base_id=base.base_id,
        table="deals",
        field=FieldDraft("Done", "checkbox", options={"icon": "check", "color": "greenBright"}),
    )
    after = await stored(service, base.base_id)
    assert after.version == base.version + 2
    assert after.tables[0] == base.tables[0]
    grown = after.tables[1]
    assert (grown.table_id, grown.name, grown.fields) == (table.table_id, "Deals", (*table.fields, field))
    assert grown.views[0].field_ids == tuple(own.field_id for own in grown.fields)
    assert await columns(database, after, grown) == {table.fields[0].field_id: "text", field.field_id: "bool"}


@pytest.mark.parametrize("name", ["Tasks", "TASKS", " tasks "])
async def test_names_of_tables_are_unique_without_regard_to_case(service: SchemaService, base: Base, name: str) -> None:
    with pytest.raises(TableNameTaken):
        await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft(name))
    other = await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("Other"))
    with pytest.raises(TableNameTaken):
        await service.update_table(
            principal=principal(), base_id=base.base_id, table=other.table_id, changes={"name": name}
        )


async def test_names_that_differ_in_unicode_case_are_the_same(service: SchemaService, base: Base) -> None:
    table = await service.create_table(
        principal=principal(), base_id=base.base_id, table=table_draft("Straße", text_field("ÄPFEL"))
    )
    with pytest.raises(TableNameTaken):
        await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("STRASSE"))
    with pytest.raises(FieldNameTaken):
        await service.create_field(
            principal=principal(), base_id=base.base_id, table=table.table_id, field=text_field("äpfel")
        )
    with pytest.raises(FieldNameTaken):
        await service.create_table(
            principal=principal(), base_id=base.base_id, table=table_draft("X", text_field("ä"), text_field("Ä"))
        )


async def test_renames_touch_metadata_only(service: SchemaService, base: Base, database: Database) -> None:
    table = base.tables[0]
    before = await columns(database, base, table)
    renamed = await service.update_table(
        principal=principal(),
        base_id=base.base_id,
        table="tasks",
        changes={"name": " TASKS ", "description": "All of them"},
    )
    assert (renamed.name, renamed.description) == ("TASKS", "All of them")
    notes = table.fields[1].field_id
    field = await service.update_field(
        principal=principal(),
        base_id=base.base_id,
        table="TASKS",
        field_id=notes,
        changes={"name": "NOTES", "description": "Free text"},
    )
    assert (field.field_id, field.name, field.type, field.description) == (
        notes,
        "NOTES",
        "singleLineText",
        "Free text",
    )
    after = await stored(service, base.base_id)
    assert after.version == base.version + 2
    assert after.tables[0].fields[1] == field
    assert await columns(database, after, after.tables[0]) == before

    for cleared in ("", None):
        await service.update_table(
            principal=principal(), base_id=base.base_id, table="TASKS", changes={"description": cleared}
        )
        await service.update_field(
            principal=principal(),
            base_id=base.base_id,
            table="TASKS",
            field_id=notes,
            changes={"description": cleared},
        )
        (kept,) = (await stored(service, base.base_id)).tables
        assert (kept.description, kept.fields[1].description, kept.name) == (None, None, "TASKS")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"type": "number"},
        {"name": "X", "options": {"precision": 1}},
        {"name": None},
        {"name": 5},
        {"name": "x" * 256},
        {"description": 5},
        {"description": "x" * 20_001},
        {"description": "\x00"},
    ],
)
async def test_other_changes_are_refused(service: SchemaService, base: Base, changes: dict[str, Any]) -> None:
    table = base.tables[0]
    with pytest.raises(InvalidRequest):
        await service.update_table(principal=principal(), base_id=base.base_id, table=table.table_id, changes=changes)
    with pytest.raises(InvalidRequest):
        await service.update_field(
            principal=principal(),
            base_id=base.base_id,
            table=table.table_id,
            field_id=table.primary_field_id,
            changes=changes,
        )
    assert await stored(service, base.base_id) == base


async def test_names_that_are_empty_or_taken_are_refused_on_update(service: SchemaService, base: Base) -> None:
    table = base.tables[0]
    for name in ("", "  ", "notes"):
        with pytest.raises(FieldNameTaken):
            await service.update_field(
                principal=principal(),
                base_id=base.base_id,
                table=table.table_id,
                field_id=table.primary_field_id,
                changes={"name": name},
            )
    with pytest.raises(InvalidRequest):
        await service.update_table(
            principal=principal(), base_id=base.base_id, table=table.table_id, changes={"name": " "}
        )
    assert await stored(service, base.base_id) == base


async def test_date_dependency_settings_are_kept(service: SchemaService, base: Base) -> None:
    day = {"dateFormat": {"name": "iso"}}
    table = await service.create_table(
        principal=principal(),
        base_id=base.base_id,
        table=table_draft(
            "Plan",
            text_field("Name"),
            FieldDraft("Start", "date", options=day),
            FieldDraft("End", "date", options=day),
            FieldDraft("Days", "number", options={"precision": 0}),
        ),
    )
    _, start, end, days = (field.field_id for field in table.fields)
    settings = {
        "isEnabled": True,
        "startDateFieldId": start,
        "endDateFieldId": end,
        "durationFieldId": days,
        "reschedulingMode": "flexible",
        "shouldSkipWeekendsAndHolidays": True,
        "holidays": ["2026-12-25"],
    }
    changed = await service.update_table(
        principal=principal(), base_id=base.base_id, table="Plan", changes={"dateDependencySettings": settings}
    )
    assert changed.date_dependency == {**settings, "predecessorFieldId": None}
    assert (await stored(service, base.base_id)).tables[1] == changed
    # A later change of something else keeps them.
    renamed = await service.update_table(
        principal=principal(), base_id=base.base_id, table="Plan", changes={"name": "Gantt"}
    )
    assert renamed.date_dependency == changed.date_dependency


async def test_a_modified_time_may_watch_fields_of_its_table_only(service: SchemaService, base: Base) -> None:
    table = base.tables[0]
    watched = table.fields[1].field_id
    field = await service.create_field(
        principal=principal(),
        base_id=base.base_id,
        table=table.table_id,
        field=FieldDraft("Touched", "lastModifiedTime", options={"referencedFieldIds": [watched]}),
    )
    assert field.options["referencedFieldIds"] == [watched]
    for wrong in (FieldId(new_id("fld")), field.field_id):
        with pytest.raises(InvalidFieldOptions):
            await service.create_field(
                principal=principal(),
                base_id=base.base_id,
                table=table.table_id,
                field=FieldDraft("Other", "lastModifiedTime", options={"referencedFieldIds": [wrong]}),
            )


@pytest.mark.parametrize("type_name", ["autoNumber", "createdTime", "lastModifiedTime"])
async def test_computed_fields_are_a_switch_of_the_operator(
    service: SchemaService, base: Base, database: Database, type_name: str
) -> None:
    strict = schema_service(database, create_computed_fields=False)
    draft = FieldDraft("Computed", type_name)
    table = base.tables[0].table_id
    with pytest.raises(UnsupportedFieldType):
        await strict.create_field(principal=principal(), base_id=base.base_id, table=table, field=draft)
    field = await service.create_field(principal=principal(), base_id=base.base_id, table=table, field=draft)
    assert (await stored(service, base.base_id)).tables[0].fields[-1] == field


async def test_a_table_holds_500_fields(service: SchemaService, base: Base) -> None:
    fields = [text_field(f"F{number}") for number in range(501)]
    with pytest.raises(LimitReached):
        await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("Wide", *fields))
    await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("Wide", *fields[:500]))
    with pytest.raises(LimitReached):
        await service.create_field(
            principal=principal(), base_id=base.base_id, table="Wide", field=text_field("One more")
        )


async def test_a_base_holds_1000_tables(service: SchemaService, base: Base, database: Database) -> None:
    insert = (
        f'INSERT INTO "{base.base_id}".base_tables (table_id, name, primary_field_id)'
        " SELECT 'tbl' || lpad(n::text, 14, '0'), 'T' || n, 'fld' FROM generate_series(1, $1::int) n"
    )
    await database.run(Statement("fill", insert), 998)
    await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("The last"))
    with pytest.raises(LimitReached):
        await service.create_table(principal=principal(), base_id=base.base_id, table=table_draft("One more"))


async def test_a_request_creates_up_to_100_tables(service: SchemaService) -> None:
    workspace_id = await new_workspace(service)
    drafts = tuple(table_draft(f"T{number}") for number in range(101))
    with pytest.raises(LimitReached):
        await service.create_base(principal=principal(), workspace_id=workspace_id, name="Big", tables=drafts)
    base = await service.create_base(principal=principal(), workspace_id=workspace_id, name="Big", tables=drafts[:100])
    assert await stored(service, base.base_id) == base


async def test_bases_are_listed_in_pages_of_1000(service: SchemaService, database: Database) -> None:
    workspace_id = await new_workspace(service)
    insert = (
        "INSERT INTO schema.bases (base_id, tenant_id, workspace_id, name)"
        " SELECT 'app' || lpad(n::text, 14, '0'), 'the-tenant', $1, 'B' || n FROM generate_series(2001, 1, -1) n"
    )
    await database.run(Statement("fill", insert), workspace_id)
    names: list[str] = []
    offsets: list[str] = []
    offset = None
    while True:
        page = await service.list_bases(principal=principal(), offset=offset)
        names += [base.name for base in page.bases]
        offset = page.offset
        if offset is None:
            break
        offsets.append(offset)
    assert names == [f"B{number}" for number in range(2001, 0, -1)]
    assert [text[:4] for text in offsets] == ["itr" + text[3] for text in offsets]
    assert [text[18:] for text in offsets] == ["app00000000001002", "app00000000000002"]
    assert offsets[0][:17] == offsets[1][:17]
    limited = principal(base_ids=frozenset({BaseId("app00000000000007"), BaseId("app00000000002000")}))
    page = await service.list_bases(principal=limited, offset=None)
    assert [base.name for base in page.bases] == ["B2000", "B7"]
    assert (await service.list_bases(principal=principal(tenant_id=OTHER_TENANT), offset=None)).bases == ()
    with pytest.raises(InvalidOffset):
        await service.list_bases(principal=principal(tenant_id=OTHER_TENANT), offset=offsets[0])


@pytest.mark.parametrize(
    "offset", ["x", "itr00000000000001", "itr00000000000001/app00000000000009", "/app", "x" * 9999]
)
async def test_an_offset_that_nobody_gave_out_is_refused(service: SchemaService, offset: str) -> None:
    with pytest.raises(InvalidOffset):
        await service.list_bases(principal=principal(), offset=offset)


async def test_workspaces_belong_to_a_tenant(service: SchemaService) -> None:
    stranger = principal(tenant_id=OTHER_TENANT)
    ours = [await service.create_workspace(principal=principal(), name=name) for name in (" One ", "Two")]
    theirs = await service.create_workspace(principal=stranger, name="One")
    assert [workspace.name for workspace in ours] == ["One", "Two"]
    assert list(await service.list_workspaces(principal=principal())) == ours
    assert list(await service.list_workspaces(principal=stranger)) == [theirs]
    base = await service.create_base(
        principal=principal(), workspace_id=ours[1].workspace_id, name="B", tables=(table_draft(),)
    )
    limited = principal(base_ids=frozenset({base.base_id}))
    assert list(await service.list_workspaces(principal=limited)) == [ours[1]]
    for unknown in (theirs.workspace_id, WorkspaceId(new_id("wsp")), WorkspaceId("x"), WorkspaceId("")):
        with pytest.raises(ModelNotFound):
            await service.create_base(principal=principal(), workspace_id=unknown, name="B", tables=(table_draft(),))
    for name in ("", " ", "x" * 256, "\x00"):
        with pytest.raises(InvalidRequest):
            await service.create_workspace(principal=principal(), name=name)


async def test_a_tenant_has_up_to_1000_workspaces(service: SchemaService, database: Database) -> None:
    insert = (
        "INSERT INTO schema.workspaces (workspace_id, tenant_id, name)"
        " SELECT 'wsp' || lpad(n::text, 14, '0'), 'the-tenant', 'W' FROM generate_series(1, 999) n"
    )
    await database.run(Statement("fill", insert))
    await service.create_workspace(principal=principal(), name="The last")
    with pytest.raises(LimitReached):
        await service.create_workspace(principal=principal(), name="One more")


async def test_a_limited_credential_makes_no_bases(service: SchemaService, base: Base) -> None:
    limited = principal(base_ids=frozenset({base.base_id}))
    with pytest.raises(NotPermittedOrNotFound):
        await service.create_workspace(principal=limited, name="W")
    with pytest.raises(NotPermittedOrNotFound):
        await service.create_base(principal=limited, workspace_id=base.workspace_id, name="B", tables=(table_draft(),))


def _all_calls(
    service: SchemaService, caller: Principal, base_id: BaseId, table: Table
) -> list[Callable[[], Awaitable[object]]]:
    where: dict[str, Any] = {"principal": caller, "base_id": base_id}
    primary = table.primary_field_id
    return [
        lambda: service.get_base(**where),
        lambda: service.create_table(**where, table=table_draft("New")),
        lambda: service.update_table(**where, table=table.table_id, changes={"name": "X"}),
        lambda: service.update_table(**where, table="Tasks", changes={}),
        lambda: service.create_field(**where, table=table.table_id, field=text_field("X")),
        lambda: service.create_field(**where, table=table.table_id, field=text_field("")),
        lambda: service.update_field(**where, table=table.table_id, field_id=primary, changes={"name": "X"}),
        lambda: service.update_field(**where, table=table.table_id, field_id=primary, changes={}),
    ]


async def test_strangers_learn_nothing_of_a_base(service: SchemaService, base: Base) -> None:
    out_of_reach = principal(base_ids=frozenset({BaseId("app00000000000000")}))
    for caller, base_id in (
        (principal(tenant_id=OTHER_TENANT), base.base_id),
        (out_of_reach, base.base_id),
        (principal(), BaseId(new_id("app"))),
    ):
        for call in _all_calls(service, caller, base_id, base.tables[0]):
            with pytest.raises(NotPermittedOrNotFound):
                await call()
    assert await stored(service, base.base_id) == base


async def test_tables_and_fields_that_are_not_there(service: SchemaService, base: Base) -> None:
    table = base.tables[0]
    for call in (
        service.update_table(principal=principal(), base_id=base.base_id, table="Nope", changes={"name": "X"}),
        service.create_field(principal=principal(), base_id=base.base_id, table="Nope", field=text_field("X")),
        service.update_field(
            principal=principal(),
            base_id=base.base_id,
            table="Nope",
            field_id=table.primary_field_id,
            changes={"name": "X"},
        ),
        service.update_field(
            principal=principal(),
            base_id=base.base_id,
            table=table.table_id,
            field_id=FieldId(new_id("fld")),
            changes={"name": "X"},
        ),
    ):
        with pytest.raises(NotPermittedOrNotFound):
            await call


async def test_get_bases_leaves_out_what_is_not_there(service: SchemaService, base: Base, database: Database) -> None:
    other = await service.create_base(
        principal=principal(), workspace_id=base.workspace_id, name="Other", tables=(table_draft(),)
    )
    assert await service.get_bases(base_ids=(BaseId(new_id("app")),)) == ()
    assert await service.get_bases(base_ids=()) == ()
    found = await service.get_bases(base_ids=(other.base_id, BaseId(new_id("app")), base.base_id))
    assert found == (base, other)
    # Gone between the registry and its own schema, as a base that is being deleted is.
    await database.run(Statement("drop", f'DROP SCHEMA "{other.base_id}" CASCADE'))
    assert await service.get_bases(base_ids=(other.base_id, base.base_id)) == (base,)
    with pytest.raises(NotPermittedOrNotFound):
        await service.create_table(principal=principal(), base_id=other.base_id, table=table_draft("New"))


async def test_reading_a_structure_takes_two_statements(service: SchemaService, base: Base) -> None:
    with recording() as statements:
        await service.get_base(principal=principal(), base_id=base.base_id)
    assert statements.names == ["find_bases", "load_base"]
    with recording() as statements:
        await service.get_bases(base_ids=(base.base_id,))
    assert statements.names == ["find_bases", "load_base"]
    with recording() as statements:
        await service.list_bases(principal=principal(), offset=None)
    assert statements.names == ["list_bases"]


async def test_a_change_takes_a_fixed_number_of_statements(service: SchemaService, base: Base) -> None:
    planned = ["find_bases", "load_base", "lock_timeout", "begin_structure_change"]
    with recording() as statements:
        await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("More"))
    assert statements.names == [*planned, "add_column", "insert_fields", "show_field", "append_changes", "is_computing"]
    with recording() as statements:
        await service.create_table(
            principal=principal(),
            base_id=base.base_id,
            table=table_draft("Wide", *(text_field(f"F{number}") for number in range(50))),
        )
    created = ["create_relation", "insert_table", "insert_fields", "insert_view"]
    assert statements.names == [*planned, *created, "table_number", "append_changes", "is_computing"]
    with recording() as statements, pytest.raises(FieldNameTaken):
        await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("Name"))
    assert statements.names == ["find_bases", "load_base"], "a refused request takes no lock"
