"""The change log: numbers, pages, history, undo, restore; readers and writers at the same time."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database, recording
from pyat.foundation.errors import ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import changelog
from pyat.recordstore.errors import ChangesGone, InvalidOffset, NothingToUndo
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.schema.contract import FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import OTHER_TENANT, principal


@pytest.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    return await make_bench(database, cache)


async def create(bench: Bench, *rows: dict[str, Any], table: str = "T") -> list[dict[str, Any]]:
    body = await bench.records.create_records(
        principal=principal(), base_id=bench.base_id, table=table, rows=rows, typecast=False, by_id=False
    )
    return decoded(body)


async def update(bench: Bench, record_id: str, cells: dict[str, Any], *, table: str = "T") -> None:
    await bench.records.update_records(
        principal=principal(),
        base_id=bench.base_id,
        table=table,
        changes=(RecordChange(RecordId(record_id), cells),),
        is_replacing=False,
        typecast=False,
        by_id=False,
    )


async def delete(bench: Bench, *record_ids: str, table: str = "T") -> None:
    ids = tuple(RecordId(record_id) for record_id in record_ids)
    await bench.records.delete_records(principal=principal(), base_id=bench.base_id, table=table, record_ids=ids)


async def listed(bench: Bench, table: str = "T") -> list[dict[str, Any]]:
    page = await bench.records.list_records(
        principal=principal(), base_id=bench.base_id, table=table, query=ListQuery()
    )
    return decoded(page.records)


async def changes(bench: Bench, after: int, *, rows_max: int = 1_000) -> list[dict[str, Any]]:
    """The changes of records after a number."""
    page = await bench.records.list_changes(
        principal=principal(), base_id=bench.base_id, after=after, rows_max=rows_max
    )
    return [entry for entry in decoded(page.changes) if entry["type"].startswith("record.")]


async def last(bench: Bench) -> int:
    page = await bench.records.list_changes(principal=principal(), base_id=bench.base_id, after=None, rows_max=1)
    assert page.changes == b""
    return page.last


async def field_ids(bench: Bench) -> dict[str, str]:
    base = await bench.schema.get_base(principal=principal(), base_id=bench.base_id)
    return {field.name: field.field_id for field in base.tables[0].fields}


async def link_field(bench: Bench) -> None:
    base = await bench.schema.get_base(principal=principal(), base_id=bench.base_id)
    await bench.schema.create_field(
        principal=principal(),
        base_id=bench.base_id,
        table="T",
        field=FieldDraft("Others", "multipleRecordLinks", options={"linkedTableId": base.tables[1].table_id}),
    )


async def test_every_change_has_the_next_number_and_says_what_was_before(bench: Bench) -> None:
    begun, ids = await last(bench), await field_ids(bench)
    first, second = await create(bench, {"Name": "a", "Age": 1, "Status": "Todo", "Tags": ["b", "a"]}, {})
    await update(bench, first["id"], {"Name": "b", "Age": 1, "Status": "Done", "Tags": None})
    await delete(bench, second["id"], first["id"])
    entries = await changes(bench, begun)
    assert [entry["number"] for entry in entries] == list(range(begun + 1, begun + 6))
    assert [(entry["type"], entry["item"]) for entry in entries] == [
        ("record.created", first["id"]),
        ("record.created", second["id"]),
        ("record.updated", first["id"]),
        ("record.deleted", first["id"]),
        ("record.deleted", second["id"]),
    ]
    assert entries[0]["actor"] == {"id": "usr00000000000001"}
    assert entries[0]["source"] == "api"
    assert entries[0]["operation"] == entries[1]["operation"] != entries[2]["operation"]
    cells = entries[0]["cells"]
    assert cells[ids["Name"]] == {"after": "a"}
    assert cells[ids["Age"]] == {"after": 1.0}
    assert cells[ids["Status"]]["after"]["name"] == "Todo"
    assert [choice["name"] for choice in cells[ids["Tags"]]["after"]] == ["b", "a"]
    assert entries[1]["cells"] == {}
    updated = entries[2]["cells"]
    assert updated.keys() == {ids["Name"], ids["Status"], ids["Tags"]}
    assert updated[ids["Name"]] == {"before": "a", "after": "b"}
    assert (updated[ids["Status"]]["before"]["name"], updated[ids["Status"]]["after"]["name"]) == ("Todo", "Done")
    assert updated[ids["Tags"]]["after"] is None
    assert entries[3]["cells"][ids["Name"]] == {"before": "b"}


async def test_what_changes_nothing_is_not_noted(bench: Bench) -> None:
    (first,) = await create(bench, {"Name": "a", "Tags": ["a"]})
    begun = await last(bench)
    await update(bench, first["id"], {"Name": "a", "Age": None, "Tags": ["a"]})
    await update(bench, first["id"], {})
    assert await last(bench) == begun
    with pytest.raises(Exception, match="Unknown field"):
        await update(bench, first["id"], {"Nothing": 1})
    assert await last(bench) == begun


async def test_a_write_with_its_entry_is_one_statement(bench: Bench) -> None:
    (first,) = await create(bench, {"Name": "a"})
    await update(bench, first["id"], {"Name": "b"})
    with recording() as statements:
        (second,) = await create(bench, {"Name": "c"})
        await update(bench, second["id"], {"Name": "d"})
        await delete(bench, second["id"])
    assert [name for name in statements.names if "records" in name] == [
        "create_records",
        "update_records",
        "delete_records",
    ]


async def test_pages_go_on_where_the_last_one_ended(bench: Bench) -> None:
    begun = await last(bench)
    for number in range(12):
        await create(bench, {"Name": str(number)})
    found: list[int] = []
    after = begun
    while True:
        page = await bench.records.list_changes(principal=principal(), base_id=bench.base_id, after=after, rows_max=5)
        found += [entry["number"] for entry in decoded(page.changes)]
        if page.next_after == page.last:
            break
        after = page.next_after
    assert found == list(range(begun + 1, begun + 13))
    page = await bench.records.list_changes(principal=principal(), base_id=bench.base_id, after=begun + 12, rows_max=5)
    assert (page.changes, page.next_after) == (b"", begun + 12)


async def test_a_reader_misses_nothing_while_many_write(bench: Bench) -> None:
    begun = await last(bench)
    seen: list[dict[str, Any]] = []
    is_done = False

    async def read() -> None:
        after = begun
        while True:
            was_done = is_done
            page = await bench.records.list_changes(
                principal=principal(), base_id=bench.base_id, after=after, rows_max=7
            )
            seen.extend(decoded(page.changes))
            after = page.next_after
            if was_done and page.next_after == page.last:
                return

    async def write(writer: int) -> list[str]:
        ids = []
        for turn in range(15):
            (made,) = await create(bench, {"Name": f"{writer}-{turn}", "Age": turn})
            await update(bench, made["id"], {"Age": turn + 1})
            if turn % 5 == 4:
                await delete(bench, made["id"])
            ids.append(made["id"])
        return ids

    reader = asyncio.create_task(read())
    written = await asyncio.gather(*(write(writer) for writer in range(6)))
    is_done = True
    await reader
    assert [entry["number"] for entry in seen] == list(range(begun + 1, begun + 1 + len(seen)))
    kinds: dict[str, list[str]] = {}
    for entry in seen:
        kinds.setdefault(entry["item"], []).append(entry["type"])
    for ids in written:
        for turn, record_id in enumerate(ids):
            expected = ["record.created", "record.updated", *(["record.deleted"] if turn % 5 == 4 else [])]
            assert kinds[record_id] == expected


async def test_the_history_of_a_record_outlives_it(bench: Bench) -> None:
    (first,) = await create(bench, {"Name": "a"})
    for name in "bcde":
        await update(bench, first["id"], {"Name": name})
    await delete(bench, first["id"])
    found: list[str] = []
    offset = None
    while True:
        page = await bench.records.record_history(
            principal=principal(),
            base_id=bench.base_id,
            table="T",
            record_id=RecordId(first["id"]),
            offset=offset,
            rows_max=2,
        )
        found += [entry["type"] for entry in decoded(page.entries)]
        offset = page.offset
        if offset is None:
            break
    assert found == ["record.deleted", *["record.updated"] * 4, "record.created"]
    with pytest.raises(InvalidOffset):
        await bench.records.record_history(
            principal=principal(),
            base_id=bench.base_id,
            table="T",
            record_id=RecordId(first["id"]),
            offset="x",
            rows_max=2,
        )


async def test_undo_takes_operations_back_one_after_the_other(bench: Bench) -> None:
    await link_field(bench)
    (other,) = await create(bench, {"Name": "o"}, table="Other")
    (kept,) = await create(bench, {"Name": "kept", "Age": 1, "Tags": ["b"]})
    before = await listed(bench)
    await update(bench, kept["id"], {"Name": "changed", "Age": None, "Tags": None, "Others": [other["id"]]})
    changed = await listed(bench)
    await delete(bench, kept["id"])
    await create(bench, {"Name": "1"}, {"Name": "2"})
    undo = bench.records.undo
    assert len(decoded(await undo(principal=principal(), base_id=bench.base_id))) == 2
    assert await listed(bench) == []
    assert (await listed(bench, "Other"))[0]["fields"] == {"Name": "o"}
    await undo(principal=principal(), base_id=bench.base_id)
    assert await listed(bench) == changed
    assert (await listed(bench, "Other"))[0]["fields"] == {"Name": "o", "T": [kept["id"]]}
    await undo(principal=principal(), base_id=bench.base_id)
    assert await listed(bench) == before
    entries = await changes(bench, 0)
    assert {entry["source"] for entry in entries if "undoes" in entry} == {"undo"}
    await undo(principal=principal(), base_id=bench.base_id)
    await undo(principal=principal(), base_id=bench.base_id)
    assert await listed(bench) == await listed(bench, "Other") == []
    with pytest.raises(NothingToUndo):
        await undo(principal=principal(), base_id=bench.base_id)


async def test_undo_takes_a_whole_upsert_back(bench: Bench) -> None:
    (first,) = await create(bench, {"Name": "a", "Age": 1})
    before = await listed(bench)
    await bench.records.upsert_records(
        principal=principal(),
        base_id=bench.base_id,
        table="T",
        merge_on=("Name",),
        changes=(RecordChange(None, {"Name": "a", "Age": 2}), RecordChange(None, {"Name": "b"})),
        is_replacing=False,
        typecast=False,
        by_id=False,
    )
    assert len(await listed(bench)) == 2
    await bench.records.undo(principal=principal(), base_id=bench.base_id)
    assert await listed(bench) == before
    assert before[0]["id"] == first["id"]


async def test_deleted_records_come_back_as_they_were(bench: Bench) -> None:
    await link_field(bench)
    others = await create(bench, {"Name": "o"}, {"Name": "p"}, table="Other")
    ids = [other["id"] for other in others]
    made = await create(
        bench,
        {"Name": "1", "Age": 1.5, "Status": "Done", "Tags": ["b", "a"], "Others": ids[::-1]},
        {"Name": "2", "Others": ids[:1]},
        {"Name": "3"},
    )
    before = await listed(bench)
    await delete(bench, made[0]["id"], made[1]["id"])
    trash = await bench.records.list_deleted_records(
        principal=principal(), base_id=bench.base_id, offset=None, rows_max=10
    )
    assert {entry["item"] for entry in decoded(trash.entries)} == {made[0]["id"], made[1]["id"]}
    wanted = (RecordId(made[0]["id"]), RecordId(made[1]["id"]))
    restored = await bench.records.restore_records(principal=principal(), base_id=bench.base_id, record_ids=wanted)
    assert set(restored) == set(wanted)
    assert await listed(bench) == before
    trash = await bench.records.list_deleted_records(
        principal=principal(), base_id=bench.base_id, offset=None, rows_max=10
    )
    assert trash.entries == b""
    with pytest.raises(ModelNotFound):
        await bench.records.restore_records(principal=principal(), base_id=bench.base_id, record_ids=wanted)
    (later,) = await create(bench, {"Name": "4"})
    assert later["fields"]["Number"] == 4


async def test_another_tenant_sees_no_log(bench: Bench) -> None:
    stranger = principal(tenant_id=OTHER_TENANT)
    (first,) = await create(bench, {"Name": "a"})
    await delete(bench, first["id"])
    calls = (
        bench.records.list_changes(principal=stranger, base_id=bench.base_id, after=0, rows_max=10),
        bench.records.undo(principal=stranger, base_id=bench.base_id),
        bench.records.list_deleted_records(principal=stranger, base_id=bench.base_id, offset=None, rows_max=10),
        bench.records.restore_records(principal=stranger, base_id=bench.base_id, record_ids=(RecordId(first["id"]),)),
        bench.records.record_history(
            principal=stranger,
            base_id=bench.base_id,
            table="T",
            record_id=RecordId(first["id"]),
            offset=None,
            rows_max=10,
        ),
    )
    for call in calls:
        with pytest.raises(NotPermittedOrNotFound):
            await call
    assert await listed(bench) == []


async def test_a_month_without_partition_gets_one(bench: Bench, database: Database) -> None:
    month = f"base_changes_{datetime.now(UTC):%Y%m}"
    await database.run(Statement("drop", f"DROP TABLE {quote(bench.base_id, month)}"))
    begun = await last(bench)
    made = await create(bench, {"Name": "a"})
    assert len(await changes(bench, begun)) == 1
    assert await listed(bench) == made


async def test_numbers_that_are_gone_are_told_apart_from_none(bench: Bench, database: Database) -> None:
    await create(bench, {"Name": "a"}, {"Name": "b"})
    number = await last(bench)
    await database.run(Statement("forget", f"DELETE FROM {quote(bench.base_id)}.base_changes WHERE n < {number}"))
    with pytest.raises(ChangesGone):
        await changes(bench, number - 2)
    assert [entry["number"] for entry in await changes(bench, number - 1)] == [number]
    assert orjson.loads(b"[]") == await changes(bench, number)


async def test_months_are_forgotten_when_their_time_is_over(bench: Bench, database: Database) -> None:
    base = quote(bench.base_id)
    async with database.transaction() as connection:
        await changelog.add_partition(connection, bench.base_id, datetime(2020, 2, 29, tzinfo=UTC))
        await changelog.add_partition(connection, bench.base_id, datetime(2020, 12, 1, tzinfo=UTC))
        await connection.run(
            Statement(
                "old",
                f"INSERT INTO {base}.base_changes (n, at, kind, source) VALUES (-2, '2020-02-10Z', 1, 1), (-1, '2020-12-31Z', 1, 1)",
            )
        )
    (made,) = await create(bench, {"Name": "a"})
    assert await bench.records.forget_changes() == 2
    assert await bench.records.forget_changes() == 0
    remaining = await database.rows(Statement("left", f"SELECT item FROM {base}.base_changes WHERE kind = 1"))
    assert [row["item"] for row in remaining] == [made["id"]]
