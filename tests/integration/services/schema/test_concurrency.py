"""Many changes of one structure at once, and changes that meet locks of others."""

import asyncio
from typing import Any

import pytest

from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, ServiceUnavailable
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import ddl
from pyat.recordstore.errors import FieldNameTaken
from pyat.recordstore.structure import Base, Field
from pyat.services.schema import store
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
    monkeypatch.setattr(ddl, "LOCK_TIMEOUT_MS", 20)
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
