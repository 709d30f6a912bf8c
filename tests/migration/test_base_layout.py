"""The layout of a base, recorded: bases that exist keep theirs, so a change of it needs a migration of them."""

import difflib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, FieldId, TableId, ViewId
from pyat.foundation.sql import Statement
from pyat.recordstore import ddl, layouts
from pyat.recordstore.fieldtypes import REGISTRY, find
from pyat.recordstore.structure import Field, Table, View
from pyat.recordstore.tabular.importing import import_as_table
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.sniff import sniff
from tests.acceptance.support import new_table_fields
from tests.migration.catalogue import structure

RECORDED = Path(__file__).with_name("base_layout.txt")
BASE = BaseId("app00000000000001")


OTHER = {"recordLinkFieldId": "fld00000000000001", "fieldIdInLinkedTable": "fld00000000000001"}
REFERRING: dict[str, Any] = {
    "count": {"recordLinkFieldId": "fld00000000000001"},
    "multipleLookupValues": OTHER,
    "rollup": {**OTHER, "formula": "1"},
    "multipleRecordLinks": {"linkedTableId": "tbl00000000000001"},
    "multipleAttachments": None,
}
"""Options that name other fields, which the layout does not look at."""


def every_field() -> tuple[Field, ...]:
    """A field of every type, its id made of the type's name."""
    options = {field["type"]: field.get("options") for field in new_table_fields()} | REFERRING
    return tuple(
        Field(
            FieldId(f"fld{name[:14]:0<14}"),
            name,
            name,
            find(name).parse_options(options[name], new_choice_id=lambda: "sel00000000000001"),
        )
        for name in sorted(REGISTRY, key=lambda name: (name != "singleLineText", name))
    )


def table_of(table_id: str, fields: tuple[Field, ...]) -> Table:
    ids = tuple(field.field_id for field in fields)
    view = View(ViewId(f"viw{table_id[3:]}"), "Grid view", "grid", ids)
    return Table(TableId(table_id), table_id, ids[0], fields, (view,))


async def make_base(database: Database, *tables: Table) -> None:
    async with database.transaction() as connection:
        await ddl.create_base(connection, BASE)
        await ddl.begin_change(connection, BASE, expected_version=1)
        for table in tables:
            await ddl.add_table(connection, BASE, table)


async def test_the_layout_is_the_recorded_one(database: Database, tmp_path: Path) -> None:
    await make_base(database, table_of("tbl00000000000001", every_field()))
    found = await structure(database, [BASE])
    recorded = RECORDED.read_text("utf-8")
    if found == recorded:
        return
    (tmp_path / RECORDED.name).write_text(found, "utf-8")
    difference = "".join(difflib.unified_diff(recorded.splitlines(True), found.splitlines(True), "recorded", "found"))
    pytest.fail(
        f"The layout of a base has changed:\n{difference}\nBases that exist do not change with it: write what changes them,"
        f" then copy {tmp_path / RECORDED.name} to {RECORDED}."
    )


async def test_a_field_added_later_lies_as_one_of_the_beginning(database: Database) -> None:
    first, *others = every_field()
    table = table_of("tbl00000000000001", (first,))
    await make_base(database, table)
    for version, field in enumerate(others, 2):
        async with database.transaction() as connection:
            await ddl.begin_change(connection, BASE, expected_version=version)
            await ddl.add_field(connection, BASE, table, field)
    assert await structure(database, [BASE]) == RECORDED.read_text("utf-8")


async def test_an_imported_table_lies_as_any_other(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "two.csv"
    file.write_text("Name,Count\na,1\nb,2\n")
    await make_base(database)
    plans = (ColumnPlan("Name", "singleLineText"), ColumnPlan("Count", "number", {"precision": 0}))
    now = datetime(2024, 5, 6, tzinfo=UTC)
    report = await import_as_table(database, BASE, "two", sniff(file), plans, user_id="usr00000000000001", now=now)
    assert report.rows == 2
    imported = await structure(database, [BASE])
    async with database.transaction() as connection:
        _, (table,) = await ddl.load(connection, BASE)
        await connection.run(Statement("drop", f'DROP SCHEMA "{BASE}" CASCADE'))
    await make_base(database, table)
    assert await structure(database, [BASE]) == imported


async def test_a_base_of_the_first_layout_becomes_one_of_today(database: Database) -> None:
    tables = (table_of("tbl00000000000001", every_field()),)
    async with database.transaction() as connection:
        await connection.script("first_layout", f'CREATE SCHEMA "{BASE}";' + layouts._STEPS[0].format(base=f'"{BASE}"'))
        assert await layouts.layout_of(connection, BASE) == 1
        assert await layouts.upgrade(connection, BASE)
        assert await layouts.layout_of(connection, BASE) == layouts.CURRENT
        assert not await layouts.upgrade(connection, BASE)
        await ddl.begin_change(connection, BASE, expected_version=1)
        for table in tables:
            await ddl.add_table(connection, BASE, table)
    upgraded = await structure(database, [BASE])
    async with database.transaction() as connection:
        await connection.run(Statement("drop", f'DROP SCHEMA "{BASE}" CASCADE'))
    await make_base(database, *tables)
    assert await structure(database, [BASE]) == upgraded
