"""Many changes of one structure at once, and changes that meet locks of others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyat.foundation.db import Connection, Database
from pyat.foundation.errors import AppError, ServiceUnavailable
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import ddl
from pyat.recordstore.errors import FieldNameTaken
from pyat.recordstore.structure import Base, Field
from pyat.services.schema import store
from pyat.services.schema.contract import FieldDraft
from pyat.services.schema.service import SchemaService
from tests.support.schema import principal, schema_service, table_draft, text_field


async def test_parallel_fields_of_one_table_all_land(
    service: SchemaService, base: Base, database: Database, postgres_url: str
) -> None:
    # Two processes, each with a pool of its own.
    elsewhere = await Database.open(postgres_url, connections_max=8)
    try:
        services = (service, schema_service(elsewhere))
        made = await asyncio.gather(
            *(
                services[number % 2].create_field(
                    principal=principal(), base_id=base.base_id, table="Tasks", field=text_field(f"F{number}")
                )
                for number in range(20)
            )
        )
    finally:
        await elsewhere.close()
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    (table,) = after.tables
    assert after.version == base.version + 20
    assert {field.name for field in table.fields} == {"Name", "Notes", *(f"F{number}" for number in range(20))}
    assert all(table.fields_by_id[field.field_id] == field for field in made)
    assert table.views[0].field_ids == tuple(field.field_id for field in table.fields)
    columns = await database.value(
        Statement(
            "columns",
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = $1"
            " AND table_name = $2 AND column_name LIKE 'fld%'",
        ),
        base.base_id,
        table.table_id,
    )
    assert columns == 22


async def test_of_parallel_fields_with_one_name_one_lands(service: SchemaService, base: Base) -> None:
    results = await asyncio.gather(
        *(
            service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field(name))
            for name in ("Same", "same", "SAME", " Same ") * 3
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Field) for result in results) == 1
    assert sum(isinstance(result, FieldNameTaken) for result in results) == 11
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert after.version == base.version + 1


async def test_parallel_changes_of_every_kind_all_land(service: SchemaService, base: Base) -> None:
    first, second = base.tables[0].fields
    who, where = principal(), base.base_id
    await asyncio.gather(
        *(service.create_table(principal=who, base_id=where, table=table_draft(f"T{n}")) for n in range(5)),
        *(
            service.create_field(principal=who, base_id=where, table=base.tables[0].table_id, field=text_field(f"F{n}"))
            for n in range(5)
        ),
        service.update_table(principal=who, base_id=where, table=base.tables[0].table_id, changes={"name": "Renamed"}),
        service.update_field(
            principal=who, base_id=where, table=base.tables[0].table_id, field_id=first.field_id, changes={"name": "A"}
        ),
        service.update_field(
            principal=who, base_id=where, table=base.tables[0].table_id, field_id=second.field_id, changes={"name": "B"}
        ),
    )
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert after.version == base.version + 13
    assert sorted(table.name for table in after.tables) == ["Renamed", "T0", "T1", "T2", "T3", "T4"]
    assert sorted(field.name for field in after.tables[0].fields) == ["A", "B", "F0", "F1", "F2", "F3", "F4"]


async def test_a_change_waits_for_a_reader_and_then_lands(
    service: SchemaService, base: Base, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "RELATION_LOCK_TIMEOUT_MS", 20)
    relation = quote(base.base_id, base.tables[0].table_id)
    async with asyncio.TaskGroup() as group, database.transaction() as reader:
        await reader.rows(Statement("read", f"SELECT * FROM {relation}"))
        change = group.create_task(
            service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("New"))
        )
        while not await database.value(_WAITING, base.tables[0].table_id):
            await asyncio.sleep(0.002)
    assert change.result().name == "New"
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert after.version == base.version + 1


_WAITING = Statement(
    "waiting",
    "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = $1 AND NOT l.granted)",
)


@pytest.mark.parametrize("held", ["relation", "structure"])
async def test_a_change_gives_up_in_time(
    service: SchemaService, base: Base, database: Database, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    monkeypatch.setattr(ddl, "LOCK_TIMEOUT_MS", 5)
    monkeypatch.setattr(ddl, "RELATION_LOCK_TIMEOUT_MS", 5)
    monkeypatch.setattr(store, "PAUSE_S", 0.0001)
    async with database.transaction() as other:
        if held == "structure":
            await ddl.hold(other, base.base_id)
        else:
            await other.rows(Statement("read", f"SELECT * FROM {quote(base.base_id, base.tables[0].table_id)}"))
        with pytest.raises(ServiceUnavailable):
            await service.create_field(
                principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("New")
            )
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert after == base


async def test_a_structure_that_changed_after_planning_is_planned_again(
    service: SchemaService, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes the name between our plan and our lock: we must see it."""
    begin: Any = ddl.begin_change
    others = [text_field("Mine")]

    async def begin_late(connection: Any, base_id: Any, *, expected_version: int) -> int:
        if others:
            await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=others.pop())
        version: int = await begin(connection, base_id, expected_version=expected_version)
        return version

    monkeypatch.setattr(ddl, "begin_change", begin_late)
    with pytest.raises(AppError) as raised:
        await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("mine"))
    assert isinstance(raised.value, FieldNameTaken)
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert after.version == base.version + 1


def _insert(base: Base) -> Statement:
    relation = quote(base.base_id, base.tables[0].table_id)
    return Statement("insert", f"INSERT INTO {relation} (_id, _created, _modified) VALUES ($1, now(), now())")


def _cells(base: Base, column: str) -> Statement:
    return Statement(
        "cells", f"SELECT _id, {column} AS cell FROM {quote(base.base_id, base.tables[0].table_id)} ORDER BY _n"
    )


async def _columns(database: Database, base: Base) -> list[str]:
    statement = Statement(
        "columns",
        "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2"
        " AND (column_name LIKE 'fld%' OR column_name LIKE 'cnv%') ORDER BY ordinal_position",
    )
    return [row["column_name"] for row in await database.rows(statement, base.base_id, base.tables[0].table_id)]


def _before_fill(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[object]]) -> None:
    """Let `act` run once, when the column of a filled field is there and its fill is about to begin."""
    hold, left = ddl.hold, [act]

    async def hold_later(connection: Connection, base_id: BaseId) -> None:
        if left:
            await left.pop()()
        await hold(connection, base_id)

    monkeypatch.setattr(ddl, "hold", hold_later)


@pytest.mark.parametrize("type_name", ["autoNumber", "lastModifiedTime"])
async def test_a_filled_field_keeps_no_reader_out_and_misses_no_record(
    service: SchemaService, base: Base, database: Database, monkeypatch: pytest.MonkeyPatch, type_name: str
) -> None:
    await database.run(_insert(base), "rec1")
    options = {"referencedFieldIds": [base.tables[0].primary_field_id]} if type_name == "lastModifiedTime" else None
    draft = FieldDraft("Filled", type_name, options=options)
    async with asyncio.TaskGroup() as group, database.transaction() as writer:
        _before_fill(monkeypatch, lambda: writer.run(_insert(base), "rec2"))
        change = group.create_task(
            service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=draft)
        )
        while not await database.value(_WAITING, base.tables[0].table_id):
            await asyncio.sleep(0.002)
        # The fill waits for the writer; readers and the structure are as they were.
        assert len(await _columns(database, base)) == 3
        assert [row["_id"] for row in await database.rows(_cells(base, "_n"))] == ["rec1"]
        assert await service.get_bases(base_ids=(base.base_id,)) == (base,)
    rows = await database.rows(_cells(base, quote(change.result().field_id)))
    assert [row["_id"] for row in rows] == ["rec1", "rec2"]
    assert all(row["cell"] is not None for row in rows)
    if type_name == "autoNumber":
        assert [row["cell"] for row in rows] == [1, 2]


async def test_a_filled_field_that_is_refused_in_the_end_takes_its_column_back(
    service: SchemaService, base: Base, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_the_name() -> Awaitable[object]:
        return service.create_field(
            principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("number")
        )

    _before_fill(monkeypatch, take_the_name)
    with pytest.raises(FieldNameTaken):
        await service.create_field(
            principal=principal(), base_id=base.base_id, table="Tasks", field=FieldDraft("Number", "autoNumber")
        )
    (after,) = await service.get_bases(base_ids=(base.base_id,))
    assert await _columns(database, base) == [field.field_id for field in after.tables[0].fields]
    assert [field.name for field in after.tables[0].fields] == ["Name", "Notes", "number"]


async def test_a_column_that_cannot_be_taken_back_is_in_nobodys_way(
    service: SchemaService, base: Base, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "LOCK_TIMEOUT_MS", 5)
    monkeypatch.setattr(ddl, "RELATION_LOCK_TIMEOUT_MS", 5)
    monkeypatch.setattr(store, "PAUSE_S", 0.0001)
    monkeypatch.setattr(store, "SWAP_ATTEMPTS_MAX", 5)
    draft = FieldDraft("Number", "autoNumber")
    async with database.transaction() as writer:
        _before_fill(monkeypatch, lambda: writer.run(_insert(base), "rec1"))
        with pytest.raises(ServiceUnavailable):
            await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=draft)
    assert await service.get_bases(base_ids=(base.base_id,)) == (base,)
    assert len(await _columns(database, base)) == 3
    field = await service.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=draft)
    assert [row["cell"] for row in await database.rows(_cells(base, quote(field.field_id)))] == [1]
