"""Two processes and one base: what one changes, the other sees with its next request; and upserts never double."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database, recording
from pyat.foundation.errors import NotPermittedOrNotFound
from pyat.recordstore.errors import UnknownChoice
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.schema.contract import FieldDraft
from tests.support.records import Bench, decoded, make_bench, records_service
from tests.support.schema import principal, table_draft


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    return await make_bench(database, cache)


@pytest_asyncio.fixture
async def second(bench: Bench, database: Database, cache: Cache) -> RecordsService:
    """Another process, whose copy of the structure is warm."""
    service = records_service(database, cache, bench.schema)
    await service.list_records(**to(bench), query=ListQuery())
    return service


def to(bench: Bench, table: str = "T") -> dict[str, Any]:
    """The principal and the table of a call."""
    return {"principal": principal(), "base_id": bench.base_id, "table": table}


async def create(service: RecordsService, bench: Bench, cells: dict[str, Any], **options: Any) -> dict[str, Any]:
    """One new record."""
    how = {"typecast": False, "by_id": False, "table": "T", **options}
    target = to(bench, how.pop("table"))
    return decoded(await service.create_records(**target, rows=(cells,), **how))[0]


async def test_a_request_on_known_structure_is_one_statement(bench: Bench, second: RecordsService) -> None:
    await create(second, bench, {})  # a user's first write notes who that is
    with recording() as statements:
        made = await create(second, bench, {"Name": "x", "Status": "Todo"})
        await second.list_records(**to(bench), query=ListQuery())
        await second.get_record(**to(bench), record_id=made["id"], by_id=False)
    assert statements.names == ["create_records", "page", "get_record"]


async def test_new_tables_fields_and_choices_are_seen_at_once(bench: Bench, second: RecordsService) -> None:
    with pytest.raises(NotPermittedOrNotFound):
        await create(second, bench, {}, table="New")
    await bench.schema.create_table(principal=principal(), base_id=bench.base_id, table=table_draft("New"))
    await create(second, bench, {"Name": "there"}, table="New")
    await bench.schema.create_field(
        principal=principal(), base_id=bench.base_id, table="T", field=FieldDraft("Fresh", "multilineText")
    )
    assert (await create(second, bench, {"Fresh": "text"}))["fields"]["Fresh"] == "text"
    with pytest.raises(UnknownChoice):
        await create(second, bench, {"Status": "Newest"})
    await create(bench.records, bench, {"Status": "Newest"}, typecast=True)
    assert (await create(second, bench, {"Status": "Newest"}))["fields"]["Status"] == "Newest"


async def test_a_renamed_field_is_answered_by_its_new_name(bench: Bench, second: RecordsService) -> None:
    await create(second, bench, {"Name": "x"})
    (base,) = await bench.schema.get_bases(base_ids=(bench.base_id,))
    await bench.schema.update_field(
        principal=principal(),
        base_id=bench.base_id,
        table="T",
        field_id=base.tables[0].primary_field_id,
        changes={"name": "Title"},
    )
    page = await second.list_records(**to(bench), query=ListQuery())
    assert decoded(page.records)[0]["fields"]["Title"] == "x"


async def test_concurrent_typecasts_add_a_choice_once(bench: Bench, second: RecordsService) -> None:
    made = await asyncio.gather(
        *(
            create(service, bench, {"Status": f"Choice {number % 3}"}, typecast=True)
            for number in range(12)
            for service in (bench.records, second)
        )
    )
    assert {record["fields"]["Status"] for record in made} == {"Choice 0", "Choice 1", "Choice 2"}
    (base,) = await bench.schema.get_bases(base_ids=(bench.base_id,))
    names = [choice["name"] for choice in base.tables[0].fields_by_name["Status"].options["choices"]]
    assert sorted(names) == ["Choice 0", "Choice 1", "Choice 2", "Done", "Todo"]


async def test_concurrent_upserts_of_one_key_make_one_record(bench: Bench, second: RecordsService) -> None:
    async def upsert(service: RecordsService, age: int) -> None:
        await service.upsert_records(
            **to(bench),
            merge_on=("Name",),
            changes=(RecordChange(None, {"Name": "same", "Age": age}),),
            is_replacing=False,
            typecast=False,
            by_id=False,
        )

    await asyncio.gather(*(upsert(service, age) for age in range(10) for service in (bench.records, second)))
    page = await second.list_records(**to(bench), query=ListQuery())
    assert [record["fields"]["Name"] for record in decoded(page.records)] == ["same"]


async def test_writes_under_changing_structure_are_never_misapplied(bench: Bench, second: RecordsService) -> None:
    async def add_fields() -> None:
        for number in range(8):
            await bench.schema.create_field(
                principal=principal(),
                base_id=bench.base_id,
                table="T",
                field=FieldDraft(f"Extra {number}", "singleLineText"),
            )

    async def write(service: RecordsService, number: int) -> None:
        for turn in range(6):
            await create(service, bench, {"Name": f"{number}-{turn}", "Age": turn})

    await asyncio.gather(
        add_fields(), *(write(service, number) for number, service in enumerate([bench.records, second]))
    )
    page = await second.list_records(**to(bench), query=ListQuery())
    found = {record["fields"]["Name"]: record["fields"]["Age"] for record in decoded(page.records)}
    assert found == {f"{number}-{turn}": turn for number in range(2) for turn in range(6)}
