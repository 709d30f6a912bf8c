"""An import as one transaction: structure and rows together, or nothing.

The base's structure is held while rows are loaded. Readers and writers of records go on; another change of structure
waits, and is told to try again where the load takes longer than it can wait.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pyat.foundation.db import Connection, Database
from pyat.foundation.ids import BaseId, FieldId, TableId, ViewId, new_id
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore import changelog, ddl, writing
from pyat.recordstore.fieldtypes import with_new_choices
from pyat.recordstore.structure import Field, Table, View
from pyat.recordstore.tabular.load import LoadReport, Progress, load, stamps_of
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.source import Source


async def import_as_table(
    database: Database,
    base_id: BaseId,
    name: str,
    source: Source,
    plans: Sequence[ColumnPlan],
    *,
    user_id: str,
    now: datetime,
    keep_going: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """A new table with the planned fields, the first of them primary, and the file's rows.

    `name` is one that the base can take. Raises what `load` raises, and StructureChanged where a table of that name
    came in between.
    """
    async with database.transaction() as connection:
        await ddl.hold(connection, base_id)
        version, tables = await ddl.load(connection, base_id)
        if any(other.name.casefold() == name.casefold() for other in tables):
            raise ddl.StructureChanged
        await ddl.begin_change(connection, base_id, expected_version=version)
        table = _table(name, plans)
        await ddl.add_table(connection, base_id, table)
        stamps = stamps_of(user_id, now)
        await _begin_bulk(connection, base_id, table, stamps)
        report = await load(
            connection.raw,
            source,
            base_id,
            table,
            plans,
            user_id=user_id,
            now=now,
            keep_going=keep_going,
            is_stamped=True,
            progress=progress,
        )
        await _end_bulk(connection, base_id, table, stamps)
        await _add_choices(connection, base_id, table, report)
        await _note(connection, base_id, table.table_id, report.rows, user_id=user_id, is_new=True)
    return report


async def import_into_table(
    database: Database,
    base_id: BaseId,
    table: Table,
    source: Source,
    plans: Sequence[ColumnPlan],
    *,
    user_id: str,
    now: datetime,
    keep_going: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """The file's rows behind those that `table` has; choices that are new join its fields.

    Raises what `load` raises, and StructureChanged where the table is not any more what the plans were made for.
    """
    async with database.transaction() as connection:
        await ddl.hold(connection, base_id)
        version, tables = await ddl.load(connection, base_id)
        if table not in tables:
            raise ddl.StructureChanged
        is_numbered = any(field.type == "autoNumber" for field in table.fields)
        report = await load(
            connection.raw,
            source,
            base_id,
            table,
            plans,
            user_id=user_id,
            now=now,
            keep_going=keep_going,
            auto_number=await _last_number(connection, base_id, table) if is_numbered else 0,
            progress=progress,
        )
        if is_numbered:
            await _take_numbers(connection, base_id, table, report.rows)
        if report.new_choices:
            await ddl.begin_change(connection, base_id, expected_version=version)
            await _add_choices(connection, base_id, table, report)
        await _note(connection, base_id, table.table_id, report.rows, user_id=user_id, is_new=False)
    return report


async def _note(
    connection: Connection, base_id: BaseId, table_id: TableId, count: int, *, user_id: str, is_new: bool
) -> None:
    """Put what this transaction has loaded into the base's change log.

    A new table is one entry with the number of its first records, which nobody could have followed before; to note each
    of them would double the time of an import. Rows of a table that was there are noted one by one.
    """
    _, tables = await ddl.load(connection, base_id)
    table = next(table for table in tables if table.table_id == table_id)
    if is_new:
        entry = changelog.Entry(
            changelog.Kind.TABLE_CREATED, table_id, table.number, {"name": table.name, "records": count}
        )
        await changelog.append(connection, base_id, [entry], actor=user_id, source=changelog.Source.IMPORT)
    else:
        await connection.run(writing.note_loaded(base_id, table, source=changelog.Source.IMPORT), user_id)


def _table(name: str, plans: Sequence[ColumnPlan]) -> Table:
    fields = tuple(Field(FieldId(new_id("fld")), plan.name, plan.type, plan.options) for plan in plans)
    field_ids = tuple(field.field_id for field in fields)
    view = View(ViewId(new_id("viw")), "Grid view", "grid", field_ids)
    return Table(TableId(new_id("tbl")), name, field_ids[0], fields, (view,))


# A table that nobody sees yet takes rows in half the time without its indexes, which are built at the end instead, and
# with what all rows have in common as defaults. Afterwards it is what `ddl.add_table` makes.
_BULK_STARTS = """
ALTER TABLE {relation}
    DROP CONSTRAINT {primary_key},
    DROP CONSTRAINT {unique},
    {defaults}
"""
_BULK_ENDS = """
ALTER TABLE {relation}
    ADD CONSTRAINT {primary_key} PRIMARY KEY (_n),
    ADD CONSTRAINT {unique} UNIQUE (_id),
    {defaults}
"""


async def _begin_bulk(connection: Connection, base_id: BaseId, table: Table, stamps: Mapping[str, str]) -> None:
    defaults = ",\n    ".join(f"ALTER COLUMN {name} SET DEFAULT {literal(text)}" for name, text in stamps.items())
    await connection.script("begin_bulk", _BULK_STARTS.format(defaults=defaults, **_names(base_id, table)))


async def _end_bulk(connection: Connection, base_id: BaseId, table: Table, stamps: Iterable[str]) -> None:
    defaults = ",\n    ".join(f"ALTER COLUMN {name} DROP DEFAULT" for name in stamps)
    await connection.script("end_bulk", _BULK_ENDS.format(defaults=defaults, **_names(base_id, table)))


def _names(base_id: BaseId, table: Table) -> dict[str, str]:
    """The relation, and the names that PostgreSQL gives to the constraints of one."""
    return {
        "relation": ddl.relation(base_id, table.table_id),
        "primary_key": quote(f"{table.table_id}_pkey"),
        "unique": quote(f"{table.table_id}__id_key"),
    }


async def _add_choices(connection: Connection, base_id: BaseId, table: Table, report: LoadReport) -> None:
    for field_id, new_choices in report.new_choices.items():
        field = table.fields_by_id[field_id]
        await ddl.update_field(connection, base_id, replace(field, options=with_new_choices(field, new_choices)))


async def _last_number(connection: Connection, base_id: BaseId, table: Table) -> int:
    """The last autonumber given out; the counter's row stays locked, so that no other write takes the next ones."""
    statement = Statement(
        "lock_counter", f"SELECT auto_number FROM {quote(base_id)}.base_tables WHERE table_id = $1 FOR NO KEY UPDATE"
    )
    number: int = await connection.value(statement, table.table_id)
    return number


async def _take_numbers(connection: Connection, base_id: BaseId, table: Table, count: int) -> None:
    statement = Statement(
        "take_numbers", f"UPDATE {quote(base_id)}.base_tables SET auto_number = auto_number + $2 WHERE table_id = $1"
    )
    await connection.run(statement, table.table_id, count)
