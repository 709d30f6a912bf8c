"""Reading and writing plans against PostgreSQL: pages, order, batches, versions, concurrency."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyat.foundation.db import Connection, Database, recording
from pyat.foundation.ids import RecordId, new_ids
from pyat.recordstore import ddl, refilling
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import RowDoesNotExist
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.reading import SortKey
from pyat.recordstore.structure import Base, Table, View
from pyat.recordstore.writing import Change
from pyat.services.airtable_gateway.store import RecordsStore
from tests.integration.recordstore.bases import field, load_base, make_base

USER = "usr00000000000001"


async def create(
    store: RecordsStore, base: Base, table: Table, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Create records by field name; returns them as a client would see them."""
    body = await store.create(
        base,
        table,
        record_ids=[RecordId(record_id) for record_id in new_ids("rec", len(rows))],
        rows=[{table.fields_by_name[name].field_id: value for name, value in row.items()} for row in rows],
        new_choices={},
        user_id=USER,
        by_id=False,
    )
    return decode(body)


def decode(body: bytes) -> list[dict[str, Any]]:
    """The records of an answer."""
    records: list[dict[str, Any]] = orjson.loads(b"[" + body + b"]")
    return records


async def everything(
    store: RecordsStore,
    base: Base,
    table: Table,
    *,
    sort: Sequence[SortKey] = (),
    view: View | None = None,
    page_size: int = 100,
) -> list[dict[str, Any]]:
    """All records of a list, page by page."""
    records: list[dict[str, Any]] = []
    cursor = None
    for _ in range(1000):
        page = await store.page(
            base, table, fields=None, by_id=False, sort=sort, rows_max=page_size, cursor=cursor, view=view
        )
        assert page.row_count == len(decode(page.records))
        records += decode(page.records)
        cursor = page.cursor
        if cursor is None:
            return records
        assert page.last_id == records[-1]["id"]
    raise AssertionError("the list does not end")


@pytest.fixture
async def people(database: Database) -> tuple[RecordsStore, Base, Table]:
    base, table = await make_base(
        database, [field("Name", "singleLineText"), field("Age", "number", {"precision": 0}), field("No", "autoNumber")]
    )
    return RecordsStore(database), base, table


async def test_a_write_is_one_statement(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    with recording() as statements:
        made = await create(store, base, table, [{"Name": "a"}, {"Name": "b", "Age": 2.0}])
    assert statements.names == ["create_records"]
    name = table.fields_by_name["Name"].field_id
    with recording() as statements:
        await store.update(
            base,
            table,
            changes=[Change(RecordId(record["id"]), {name: "c"}) for record in made],
            answer_ids=[RecordId(record["id"]) for record in made],
            is_replacing=False,
            new_choices={},
            user_id=USER,
            by_id=False,
        )
        await store.page(base, table, fields=None, by_id=False, sort=[], rows_max=100, cursor=None)
        await store.get(base, table, RecordId(made[0]["id"]), by_id=True)
        await store.delete(base, table, [RecordId(made[0]["id"])], user_id=USER)
    assert statements.names == ["update_records", "page", "get_record", "delete_records"]


async def test_records_keep_the_order_they_were_created_in(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    for start in range(0, 35, 10):
        await create(store, base, table, [{"Name": str(number)} for number in range(start, start + 10)])
    listed = await everything(store, base, table, page_size=7)
    assert [record["fields"]["Name"] for record in listed] == [str(number) for number in range(40)]
    assert [record["fields"]["No"] for record in listed] == list(range(1, 41))


async def test_a_list_is_frozen_at_its_first_page(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    made = await create(store, base, table, [{"Name": str(number)} for number in range(6)])
    first = await store.page(base, table, fields=None, by_id=False, sort=[], rows_max=2, cursor=None)
    await create(store, base, table, [{"Name": "later"}])
    await store.delete(base, table, [RecordId(made[2]["id"]), RecordId(made[5]["id"])], user_id=USER)
    second = await store.page(base, table, fields=None, by_id=False, sort=[], rows_max=10, cursor=first.cursor)
    assert [record["fields"]["Name"] for record in decode(second.records)] == ["3", "4"]
    assert second.cursor is None


async def test_a_missing_record_undoes_the_batch(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    made = await create(store, base, table, [{"Name": "a"}])
    name = table.fields_by_name["Name"].field_id
    here, absent = RecordId(made[0]["id"]), RecordId("recAAAAAAAAAAAAAA")
    with pytest.raises(RowDoesNotExist, match=absent):
        await store.update(
            base,
            table,
            changes=[Change(here, {name: "changed"}), Change(absent, {name: "x"})],
            answer_ids=[here, absent],
            is_replacing=False,
            new_choices={},
            user_id=USER,
            by_id=False,
        )
    with pytest.raises(RowDoesNotExist, match=absent):
        await store.delete(base, table, [here, absent], user_id=USER)
    assert [record["fields"]["Name"] for record in await everything(store, base, table)] == ["a"]


async def test_a_write_planned_on_an_old_structure_writes_nothing(
    database: Database, people: tuple[RecordsStore, Base, Table]
) -> None:
    store, base, table = people
    made = await create(store, base, table, [{"Name": "a"}])
    async with database.transaction() as connection:
        await ddl.begin_change(connection, base.base_id, expected_version=base.version)
        await ddl.add_field(connection, base.base_id, table, field("New", "singleLineText"))
    with pytest.raises(StructureChanged):
        await create(store, base, table, [{"Name": "b"}])
    with pytest.raises(StructureChanged):
        await store.update(
            base,
            table,
            changes=[Change(RecordId(made[0]["id"]), {table.primary_field_id: "c"})],
            answer_ids=[RecordId(made[0]["id"])],
            is_replacing=True,
            new_choices={},
            user_id=USER,
            by_id=False,
        )
    current, its_table = await load_base(database, base.base_id)
    assert current.version == base.version + 1
    records = await everything(store, current, its_table)
    assert [record["fields"] for record in records] == [{"Name": "a", "No": 1}]
    assert its_table.views[0].field_ids[-1] == its_table.fields_by_name["New"].field_id


async def test_autonumbers_have_no_gaps_under_concurrency(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    batches = [create(store, base, table, [{"Name": f"{number}-{row}"} for row in range(3)]) for number in range(20)]
    numbers = [record["fields"]["No"] for made in await asyncio.gather(*batches) for record in made]
    assert sorted(numbers) == list(range(1, 61))


async def test_an_autonumber_added_later_counts_the_records_there_are(database: Database) -> None:
    base, table = await make_base(database, [field("Name", "singleLineText")])
    store = RecordsStore(database)
    await create(store, base, table, [{"Name": "a"}, {"Name": "b"}])
    new = field("No", "autoNumber")
    refill = refilling.new(base.base_id, table.table_id, new.field_id, "int8", "_id")
    numbering = refilling.Numbering(refill)
    async with database.transaction() as connection:
        await refilling.begin(connection, refill)
    await refilling.fill(database, refill, numbering.source(remembers=False))

    async def current(_: Connection) -> refilling.Source:
        return numbering.source(remembers=True)

    async with database.transaction() as connection:
        await ddl.begin_change(connection, base.base_id, expected_version=base.version)
        await refilling.finish(connection, refill, current, name=new.field_id, replaces=False)
        await ddl.raise_auto_number(connection, base.base_id, table.table_id, last=numbering.last)
        await ddl.add_field(connection, base.base_id, table, new, has_column=True)
    base, table = await load_base(database, base.base_id)
    await create(store, base, table, [{"Name": "c"}])
    listed = await everything(store, base, table)
    assert [(record["fields"]["Name"], record["fields"]["No"]) for record in listed] == [("a", 1), ("b", 2), ("c", 3)]


async def test_crossing_batches_do_not_deadlock(people: tuple[RecordsStore, Base, Table]) -> None:
    store, base, table = people
    made = await create(store, base, table, [{"Name": str(number)} for number in range(10)])
    ids = [RecordId(record["id"]) for record in made]
    age = table.fields_by_name["Age"].field_id

    async def write(order: Sequence[RecordId], value: float) -> None:
        await store.update(
            base,
            table,
            changes=[Change(record_id, {age: value}) for record_id in order],
            answer_ids=order,
            is_replacing=False,
            new_choices={},
            user_id=USER,
            by_id=False,
        )

    await asyncio.gather(*(write(ids if number % 2 else ids[::-1], float(number)) for number in range(40)))
    assert len({record["fields"]["Age"] for record in await everything(store, base, table)}) == 1


async def test_a_write_that_changes_nothing_keeps_the_modified_time(database: Database) -> None:
    watched = field("Watched", "singleLineText")
    other = field("Other", "singleLineText")
    own = field("Own", "lastModifiedTime")
    own = replace(own, options={**own.options, "referencedFieldIds": [watched.field_id]})
    base, table = await make_base(database, [watched, other, field("Any", "lastModifiedTime"), own])
    store = RecordsStore(database)
    made = (await create(store, base, table, [{"Watched": "a", "Other": "b"}]))[0]

    async def write(cells: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.003)
        body = await store.update(
            base,
            table,
            changes=[Change(RecordId(made["id"]), cells)],
            answer_ids=[RecordId(made["id"])],
            is_replacing=False,
            new_choices={},
            user_id=USER,
            by_id=False,
        )
        fields: dict[str, Any] = decode(body)[0]["fields"]
        return fields

    assert made["fields"]["Any"] == made["fields"]["Own"]
    assert await write({watched.field_id: "a"}) == made["fields"]
    touched = await write({other.field_id: "c"})
    assert touched["Any"] > made["fields"]["Any"]
    assert touched["Own"] == made["fields"]["Own"]
    assert (await write({watched.field_id: "z"}))["Own"] > touched["Any"]


_CELLS = {
    "Text": st.none() | st.sampled_from(["", "a", "A", "b", "Ä", "ä", "10", "9", "z'\"\\", "🐍"]),
    "Number": st.none() | st.sampled_from([0.0, -1.0, 1.5, 2.0, 1e300]),
    "Check": st.none() | st.just(True),
    "Day": st.none() | st.sampled_from(["2024-01-01", "2023-12-31"]),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.fixed_dictionaries(_CELLS), max_size=23),
    names=st.permutations(list(_CELLS)).flatmap(lambda names: st.integers(0, 3).map(lambda count: names[:count])),
    directions=st.lists(st.booleans(), min_size=3, max_size=3),
    page_size=st.integers(1, 9),
)
def test_pages_of_any_order_give_each_record_once(
    postgres_url: str, rows: list[dict[str, Any]], names: list[str], directions: list[bool], page_size: int
) -> None:
    asyncio.run(_check_pages(postgres_url, rows, list(zip(names, directions, strict=False)), page_size))


async def _check_pages(url: str, rows: list[dict[str, Any]], order: list[tuple[str, bool]], page_size: int) -> None:
    """Pages together equal one big page, which is in order and has every record."""
    database = await Database.open(url, connections_max=2)
    try:
        base, table = await make_base(
            database,
            [
                field("Text", "singleLineText"),
                field("Number", "number", {"precision": 1}),
                field("Check", "checkbox", {"icon": "check", "color": "greenBright"}),
                field("Day", "date", {"dateFormat": {"name": "iso"}}),
            ],
        )
        store = RecordsStore(database)
        for start in range(0, len(rows), 10):
            await create(store, base, table, [_stored(table, row) for row in rows[start : start + 10]])
        sort = [SortKey(table.fields_by_name[name], is_descending) for name, is_descending in order]
        whole = await everything(store, base, table, sort=sort, page_size=100)
        assert len(whole) == len(rows)
        assert await everything(store, base, table, sort=sort, page_size=page_size) == whole
        by_index = [replace(key, by_index=True) for key in sort]
        assert await everything(store, base, table, sort=by_index, page_size=100) == whole
        assert await everything(store, base, table, sort=by_index, page_size=page_size) == whole
        for before, after in itertools.pairwise(whole):
            assert _in_order(before["fields"], after["fields"], order)
    finally:
        await database.close()


def _stored(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    fields = table.fields_by_name
    return {name: find(fields[name].type).parse(value, fields[name]) for name, value in row.items()}


def _in_order(before: Mapping[str, Any], after: Mapping[str, Any], order: Sequence[tuple[str, bool]]) -> bool:
    for name, is_descending in order:
        a, b = before.get(name), after.get(name)
        if name == "Text":
            a, b = (None if cell is None else (cell.lower(), cell) for cell in (a, b))
        if a == b:
            continue
        if a is None or b is None:
            return (a is None) != is_descending
        return bool(a > b if is_descending else a < b)
    return True
