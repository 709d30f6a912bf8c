"""An import as one transaction with the base's structure."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, TableId
from pyat.foundation.sql import Statement
from pyat.recordstore import changelog, ddl
from pyat.recordstore.changelog import Kind
from pyat.recordstore.structure import Table
from pyat.recordstore.tabular.errors import RowsRejected
from pyat.recordstore.tabular.importing import import_as_table, import_into_table
from pyat.recordstore.tabular.infer import infer, match
from pyat.recordstore.tabular.load import LoadReport
from pyat.recordstore.tabular.sample import take_sample
from pyat.recordstore.tabular.sniff import sniff
from tests.integration.recordstore.bases import field, make_base

_ISO = {"dateFormat": {"name": "iso"}}
HOW: dict[str, Any] = {"user_id": "usr00000000000001", "now": datetime(2024, 5, 6, 7, 8, 9, 987_654, tzinfo=UTC)}

# Everything that PostgreSQL knows of a relation, names of tables and fields left out.
SHAPE = Statement(
    "shape",
    """
    SELECT json_build_object(
        'columns', (SELECT json_agg(json_build_array(
                CASE WHEN a.attname ~ '^fld' THEN 'field' ELSE a.attname END, format_type(a.atttypid, a.atttypmod),
                a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid), a.attcollation) ORDER BY a.attnum)
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
            WHERE a.attrelid = c.oid AND a.attnum > 0),
        'constraints', (SELECT json_agg(json_build_array(
                replace(conname, c.relname, 'table'), pg_get_constraintdef(oid), conislocal) ORDER BY conname)
            FROM pg_constraint WHERE conrelid = c.oid),
        'indexes', (SELECT json_agg(json_build_array(
                replace(replace(pg_get_indexdef(indexrelid), c.relname, 'table'), n.nspname, 'base'),
                indisunique, indisprimary, indisvalid) ORDER BY indexrelid)
            FROM pg_index WHERE indrelid = c.oid)
    )::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::regclass
    """,
)


async def shape(database: Database, base_id: BaseId, table_id: TableId) -> str:
    found: str = await database.value(SHAPE, ddl.relation(base_id, table_id))
    return found


async def tables_of(database: Database, base_id: BaseId) -> tuple[Table, ...]:
    async with database.connection() as connection:
        _, tables = await ddl.load(connection, base_id)
    return tables


async def imported(database: Database, base_id: BaseId, path: Path, name: str = "New") -> LoadReport:
    source = sniff(path)
    return await import_as_table(database, base_id, name, source, infer(source, take_sample(source)), **HOW)


async def test_a_table_from_a_file_is_like_any_other(database: Database, tmp_path: Path) -> None:
    fields = [field("Name", "singleLineText"), field("Age", "number", {"precision": 0})]
    base, usual = await make_base(database, fields)
    path = tmp_path / "x.csv"
    path.write_text("Name,Age\nAnn,1\nBob,2\n")
    assert (await imported(database, base.base_id, path)).rows == 2
    _, made = await tables_of(database, base.base_id)
    assert [(each.name, each.type, each.options) for each in made.fields] == [
        (each.name, each.type, each.options) for each in usual.fields
    ]
    assert made.primary_field_id == made.fields[0].field_id
    assert [(view.name, view.type) for view in made.views] == [("Grid view", "grid")]
    assert await shape(database, base.base_id, made.table_id) == await shape(database, base.base_id, usual.table_id)
    rows = await database.rows(
        Statement(
            "rows",
            "SELECT _n, _created, _modified, _created_by, _modified_by"
            f" FROM {ddl.relation(base.base_id, made.table_id)} ORDER BY _n",
        )
    )
    stamps = (
        HOW["now"].replace(microsecond=0),
        HOW["now"].replace(microsecond=987_000),
        HOW["user_id"],
        HOW["user_id"],
    )
    assert [tuple(row.values()) for row in rows] == [(1, *stamps), (2, *stamps)]


async def test_readers_do_not_wait_and_see_all_or_nothing(database: Database, tmp_path: Path) -> None:
    base, table = await make_base(database, [field("Name", "singleLineText")])
    path = tmp_path / "x.csv"
    path.write_text("Name,Age\n" + "".join(f"name {number},{number}\n" for number in range(20_000)))
    count = Statement("count", f"SELECT count(*) FROM {ddl.relation(base.base_id, table.table_id)}")
    seen: list[tuple[int, int]] = []
    importing = asyncio.create_task(imported(database, base.base_id, path))
    async with database.connection() as reader:
        while True:
            is_over = importing.done()
            version, tables = await ddl.load(reader, base.base_id)
            assert await reader.value(count) == 0
            seen.append((version, len(tables)))
            if is_over:
                break
    assert (await importing).rows == 20_000
    before, after = (base.version, 1), (base.version + 1, 2)
    assert len(seen) > 2
    assert seen == [before] * seen.count(before) + [after] * seen.count(after)
    assert (seen[0], seen[-1]) == (before, after)


async def test_a_name_that_is_taken_changes_nothing(database: Database, tmp_path: Path) -> None:
    base, _ = await make_base(database, [field("Name", "singleLineText")], name="Tasks")
    path = tmp_path / "x.csv"
    path.write_text("Name,Age\nAnn,1\n")
    with pytest.raises(ddl.StructureChanged):
        await imported(database, base.base_id, path, "tasks")
    assert len(await tables_of(database, base.base_id)) == 1


async def test_a_rejection_leaves_no_table_behind(database: Database, tmp_path: Path) -> None:
    base, _ = await make_base(database, [field("Name", "singleLineText")])
    path = tmp_path / "x.csv"
    path.write_text("Name,Age\nAnn,1\nBob,2,3\n")
    with pytest.raises(RowsRejected):
        await imported(database, base.base_id, path)
    async with database.connection() as connection:
        version, tables = await ddl.load(connection, base.base_id)
    assert (version, len(tables)) == (base.version, 1)


async def test_a_table_that_is_gone_is_not_loaded_into(database: Database, tmp_path: Path) -> None:
    base, table = await make_base(database, [field("Name", "singleLineText")])
    other, _ = await make_base(database, [field("Name", "singleLineText")])
    path = tmp_path / "x.csv"
    path.write_text("Name\nAnn\n")
    source = sniff(path)
    plans = match(source, take_sample(source), table)
    with pytest.raises(ddl.StructureChanged):
        await import_into_table(database, other.base_id, table, source, plans, **HOW)
    report = await import_into_table(database, base.base_id, table, source, plans, **HOW)
    assert report.rows == 1


async def test_what_is_loaded_is_in_the_change_log(database: Database, tmp_path: Path) -> None:
    base, table = await make_base(database, [field("Name", "singleLineText"), field("Due", "date", _ISO)])
    path = tmp_path / "x.csv"
    path.write_text("Name,Due\nAnn,2024-01-02\n,2024-01-03\nBob,\n")
    await imported(database, base.base_id, path)
    source = sniff(path)
    plans = match(source, take_sample(source), table)
    await import_into_table(database, base.base_id, table, source, plans, **HOW)
    async with database.connection() as connection:
        entries = await changelog.after(connection, base.base_id, 0, rows_max=100)
    first, *rows = entries
    assert (first.kind, orjson.loads(first.cells or "")) == (Kind.TABLE_CREATED, {"name": "New", "records": 3})
    name, due = (str(each.number) for each in table.fields)
    assert [orjson.loads(row.cells or "") for row in rows] == [
        {name: "Ann", due: "2024-01-02"},
        {due: "2024-01-03"},
        {name: "Bob"},
    ]
    assert {(row.kind, row.source, row.actor, row.table_number) for row in rows} == {
        (Kind.RECORD_CREATED, changelog.Source.IMPORT, HOW["user_id"], table.number)
    }
    assert [entry.n for entry in entries] == list(range(1, 5))
