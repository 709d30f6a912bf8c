"""Links between records: both directions, order, replacement, typecast, deletion, and what the change log says of them."""

import asyncio
from typing import Any

import orjson
import pytest

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.errors import InvalidFieldOptions, InvalidRecordId, RowDoesNotExist
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.schema.contract import FieldDraft, TableDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import principal


class Linked:
    """A base with the tables T and Other, and a link field `Others` of T with its inverse `T`."""

    def __init__(self, bench: Bench, database: Database, ids: dict[str, str]) -> None:
        self.bench = bench
        self.database = database
        self.ids = ids

    async def create(self, table: str, *rows: dict[str, Any], typecast: bool = False) -> list[dict[str, Any]]:
        body = await self.bench.records.create_records(
            principal=principal(),
            base_id=self.bench.base_id,
            table=table,
            rows=rows,
            typecast=typecast,
            by_id=False,
        )
        return decoded(body)

    async def update(
        self, table: str, record_id: str, cells: dict[str, Any], *, is_replacing: bool = False, typecast: bool = False
    ) -> dict[str, Any]:
        body = await self.bench.records.update_records(
            principal=principal(),
            base_id=self.bench.base_id,
            table=table,
            changes=(RecordChange(RecordId(record_id), cells),),
            is_replacing=is_replacing,
            typecast=typecast,
            by_id=False,
        )
        return decoded(body)[0]

    async def delete(self, table: str, *record_ids: str) -> None:
        await self.bench.records.delete_records(
            principal=principal(),
            base_id=self.bench.base_id,
            table=table,
            record_ids=tuple(RecordId(record_id) for record_id in record_ids),
        )

    async def cells(self, table: str, field: str) -> dict[str, list[str]]:
        """The link cells of a table by record id; records without links have none."""
        page = await self.bench.records.list_records(
            principal=principal(), base_id=self.bench.base_id, table=table, query=ListQuery()
        )
        return {record["id"]: record["fields"][field] for record in decoded(page.records) if field in record["fields"]}

    async def log(self) -> list[dict[str, Any]]:
        """The entries of the change log about records, in order."""
        rows = await self.database.rows(
            Statement(
                "log",
                f"SELECT n, kind, item, cells FROM {quote(self.bench.base_id)}.base_changes WHERE kind < 10 ORDER BY n",
            )
        )
        return [{**dict(row), "cells": orjson.loads(row["cells"])} for row in rows]


@pytest.fixture
async def linked(database: Database, cache: Cache) -> Linked:
    bench = await make_bench(database, cache)
    base = await bench.schema.get_base(principal=principal(), base_id=bench.base_id)
    other = base.tables[1]
    made = await bench.schema.create_field(
        principal=principal(),
        base_id=bench.base_id,
        table="T",
        field=FieldDraft("Others", "multipleRecordLinks", options={"linkedTableId": other.table_id}),
    )
    base = await bench.schema.get_base(principal=principal(), base_id=bench.base_id)
    fields = {f"{table.name}.{field.name}": str(field.number) for table in base.tables for field in table.fields}
    assert made.options["inverseLinkFieldId"] == base.tables[1].fields_by_name["T"].field_id
    return Linked(bench, database, fields)


async def test_both_sides_show_a_link_in_the_order_it_was_written(linked: Linked) -> None:
    a, b, c = [record["id"] for record in await linked.create("Other", {"Name": "a"}, {"Name": "b"}, {"Name": "c"})]
    first, second = await linked.create("T", {"Name": "1", "Others": [c, a]}, {"Others": [a, {"id": b}, a]})
    assert first["fields"]["Others"] == [c, a]
    assert second["fields"]["Others"] == [a, b]
    assert await linked.cells("Other", "T") == {
        a: [first["id"], second["id"]],
        b: [second["id"]],
        c: [first["id"]],
    }


async def test_a_written_cell_replaces_and_reorders(linked: Linked) -> None:
    a, b, c = [record["id"] for record in await linked.create("Other", {"Name": "a"}, {"Name": "b"}, {"Name": "c"})]
    (first,) = await linked.create("T", {"Others": [a, b]})
    updated = await linked.update("T", first["id"], {"Others": [c, b]})
    assert updated["fields"]["Others"] == [c, b]
    assert (await linked.update("T", first["id"], {"Others": [b, c]}))["fields"]["Others"] == [b, c]
    assert await linked.cells("Other", "T") == {b: [first["id"]], c: [first["id"]]}
    # What comes in from the other side goes last.
    await linked.update("Other", a, {"T": [first["id"]]})
    assert await linked.cells("T", "Others") == {first["id"]: [b, c, a]}
    assert "Others" not in (await linked.update("T", first["id"], {"Others": None}))["fields"]
    assert await linked.cells("Other", "T") == {}


async def test_put_clears_links_and_patch_keeps_them(linked: Linked) -> None:
    (a,) = await linked.create("Other", {"Name": "a"})
    (first,) = await linked.create("T", {"Name": "1", "Others": [a["id"]]})
    kept = await linked.update("T", first["id"], {"Name": "2"})
    assert kept["fields"]["Others"] == [a["id"]]
    replaced = await linked.update("T", first["id"], {"Name": "3"}, is_replacing=True)
    assert replaced["fields"] == {"Name": "3", "Number": 1}
    assert await linked.cells("Other", "T") == {}


async def test_a_self_link_has_no_inverse_and_keeps_its_order(linked: Linked) -> None:
    base = await linked.bench.schema.get_base(principal=principal(), base_id=linked.bench.base_id)
    field = await linked.bench.schema.create_field(
        principal=principal(),
        base_id=linked.bench.base_id,
        table="T",
        field=FieldDraft("Parts", "multipleRecordLinks", options={"linkedTableId": base.tables[0].table_id}),
    )
    assert "inverseLinkFieldId" not in field.options
    one, two, three = [record["id"] for record in await linked.create("T", {"Name": "1"}, {"Name": "2"}, {"Name": "3"})]
    await linked.update("T", one, {"Parts": [three, one, two]})
    assert await linked.cells("T", "Parts") == {one: [three, one, two]}
    await linked.delete("T", three)
    assert await linked.cells("T", "Parts") == {one: [one, two]}
    assert (await linked.log())[-1]["item"] == one


async def test_deleting_a_record_takes_its_links_along(linked: Linked) -> None:
    a, b = [record["id"] for record in await linked.create("Other", {"Name": "a"}, {"Name": "b"})]
    first, second = await linked.create("T", {"Others": [a, b]}, {"Others": [b]})
    await linked.delete("Other", b)
    assert await linked.cells("T", "Others") == {first["id"]: [a]}
    entries = (await linked.log())[-3:]
    own, inverse = linked.ids["Other.T"], linked.ids["T.Others"]
    assert [entry["item"] for entry in entries] == [b, first["id"], second["id"]]
    assert entries[0]["cells"][own] == [first["id"], second["id"]]
    assert [entry["cells"] for entry in entries[1:]] == [{inverse: {"out": [b]}}] * 2
    with pytest.raises(RowDoesNotExist):
        await linked.delete("Other", a, b)
    assert await linked.cells("T", "Others") == {first["id"]: [a]}


async def test_what_is_no_record_is_refused_and_nothing_is_written(linked: Linked) -> None:
    (a,) = await linked.create("Other", {"Name": "a"})
    (first,) = await linked.create("T", {"Name": "1", "Others": [a["id"]]})
    for wrong, error in (
        (["nothing"], InvalidRecordId),
        ([17], InvalidRecordId),
        (["recAAAAAAAAAAAAAA"], RowDoesNotExist),
        ([a["id"], first["id"]], RowDoesNotExist),
        ("recAAAAAAAAAAAAAA", AppError),
    ):
        with pytest.raises(error):
            await linked.update("T", first["id"], {"Name": "2", "Others": wrong})
        with pytest.raises(error):
            await linked.create("T", {"Name": "2"}, {"Others": wrong})
    assert await linked.cells("T", "Others") == {first["id"]: [a["id"]]}
    assert len(await linked.log()) == 3


async def test_typecast_links_by_primary_value_and_makes_what_is_missing(linked: Linked) -> None:
    a, again = await linked.create("Other", {"Name": "a"}, {"Name": "a"})
    first, second = await linked.create(
        "T", {"Others": ["a", "new", again["id"]]}, {"Others": 'new, "x, y"'}, typecast=True
    )
    others = await linked.bench.records.list_records(
        principal=principal(), base_id=linked.bench.base_id, table="Other", query=ListQuery()
    )
    names = {record["id"]: record["fields"]["Name"] for record in decoded(others.records)}
    assert [names[record_id] for record_id in first["fields"]["Others"]] == ["a", "new", "a"]
    assert first["fields"]["Others"][0] == a["id"]
    assert [names[record_id] for record_id in second["fields"]["Others"]] == ["new", "x, y"]
    assert first["fields"]["Others"][1] == second["fields"]["Others"][0]
    assert len(names) == 4


async def test_the_log_has_both_sides_without_gaps(linked: Linked) -> None:
    a, b = [record["id"] for record in await linked.create("Other", {"Name": "a"}, {"Name": "b"})]
    (first,) = await linked.create("T", {"Name": "1", "Others": [a]})
    await linked.update("T", first["id"], {"Name": "2", "Others": [b]})
    await linked.update("T", first["id"], {"Name": "2", "Others": [b]})
    entries = await linked.log()
    own, inverse, name = linked.ids["T.Others"], linked.ids["Other.T"], linked.ids["T.Name"]
    assert [(entry["kind"], entry["item"], entry["cells"]) for entry in entries[2:]] == [
        (1, first["id"], {name: "1", own: [a]}),
        (2, a, {inverse: {"in": [first["id"]]}}),
        (2, first["id"], {name: ["1", "2"], own: [[a], [b]]}),
        (2, b, {inverse: {"in": [first["id"]]}}),
        (2, a, {inverse: {"out": [first["id"]]}}),
    ]
    numbers = [entry["n"] for entry in entries]
    assert numbers == list(range(numbers[0], numbers[0] + len(entries)))


async def test_concurrent_writers_of_both_sides_agree(linked: Linked) -> None:
    others = [record["id"] for record in await linked.create("Other", *({"Name": str(n)} for n in range(6)))]
    owns = [record["id"] for record in await linked.create("T", *({"Name": str(n)} for n in range(6)))]

    async def write(turn: int) -> None:
        one, two = others[turn % 6], others[(turn * 5 + 1) % 6]
        if turn % 3:
            await linked.update("T", owns[turn % 6], {"Others": [one, two]})
        else:
            await linked.update("Other", one, {"T": [owns[(turn + 1) % 6], owns[(turn * 7) % 6]]})

    await asyncio.gather(*(write(turn) for turn in range(60)))
    here, there = await linked.cells("T", "Others"), await linked.cells("Other", "T")
    assert {(own, other) for own, cell in here.items() for other in cell} == {
        (own, other) for other, cell in there.items() for own in cell
    }
    # What the log adds up to is what there is.
    state: dict[str, list[str]] = {}
    for entry in await linked.log():
        change = entry["cells"].get(linked.ids["T.Others"])
        if isinstance(change, list):
            state[entry["item"]] = change if entry["kind"] == 1 else change[1]
        elif change is not None:
            cell = [item for item in state.get(entry["item"], []) if item not in change.get("out", ())]
            state[entry["item"]] = cell + [item for item in change.get("in", ()) if item not in cell]
    assert {key: sorted(cell) for key, cell in state.items() if cell} == {
        key: sorted(cell) for key, cell in here.items()
    }


async def test_a_link_field_needs_a_table_of_the_base(linked: Linked) -> None:
    for options in (
        None,
        {},
        {"linkedTableId": "tblAAAAAAAAAAAAAA"},
        {"linkedTableId": 1},
        {"linkedTableId": "tblAAAAAAAAAAAAAA", "isReversed": True},
        {"linkedTableId": "tblAAAAAAAAAAAAAA", "inverseLinkFieldId": "fldAAAAAAAAAAAAAA"},
    ):
        with pytest.raises(InvalidFieldOptions):
            await linked.bench.schema.create_field(
                principal=principal(),
                base_id=linked.bench.base_id,
                table="T",
                field=FieldDraft("More", "multipleRecordLinks", options=options),
            )
        with pytest.raises(AppError):
            await linked.bench.schema.create_table(
                principal=principal(),
                base_id=linked.bench.base_id,
                table=TableDraft(
                    "New", (FieldDraft("Name", "singleLineText"), FieldDraft("L", "multipleRecordLinks", None, options))
                ),
            )


async def test_a_table_can_be_made_with_links(linked: Linked) -> None:
    base = await linked.bench.schema.get_base(principal=principal(), base_id=linked.bench.base_id)
    options = {"linkedTableId": base.tables[0].table_id}
    table = await linked.bench.schema.create_table(
        principal=principal(),
        base_id=linked.bench.base_id,
        table=TableDraft(
            "New",
            (
                FieldDraft("Name", "singleLineText"),
                FieldDraft("A", "multipleRecordLinks", options=options),
                FieldDraft("B", "multipleRecordLinks", options=options),
            ),
        ),
    )
    (one,) = await linked.create("T", {"Name": "1"})
    (new,) = await linked.create("New", {"A": [one["id"]], "B": [one["id"]]})
    assert new["fields"] == {"A": [one["id"]], "B": [one["id"]]}
    assert await linked.cells("T", "New") == {one["id"]: [new["id"]]}
    assert await linked.cells("T", "New 2") == {one["id"]: [new["id"]]}
    assert [field.name for field in table.fields] == ["Name", "A", "B"]


async def test_undoing_a_deletion_brings_links_without_an_inverse_back(linked: Linked) -> None:
    base = await linked.bench.schema.get_base(principal=principal(), base_id=linked.bench.base_id)
    await linked.bench.schema.create_field(
        principal=principal(),
        base_id=linked.bench.base_id,
        table="T",
        field=FieldDraft("Parts", "multipleRecordLinks", options={"linkedTableId": base.tables[0].table_id}),
    )
    one, two, three = [record["id"] for record in await linked.create("T", {"Name": "1"}, {"Name": "2"}, {"Name": "3"})]
    await linked.update("T", one, {"Parts": [two, three]})
    await linked.delete("T", three)
    await linked.bench.records.undo(principal=principal(), base_id=linked.bench.base_id)
    assert await linked.cells("T", "Parts") == {one: [two, three]}


async def test_a_restored_record_is_in_the_self_links_of_others_again(linked: Linked) -> None:
    base = await linked.bench.schema.get_base(principal=principal(), base_id=linked.bench.base_id)
    await linked.bench.schema.create_field(
        principal=principal(),
        base_id=linked.bench.base_id,
        table="T",
        field=FieldDraft("Parts", "multipleRecordLinks", options={"linkedTableId": base.tables[0].table_id}),
    )
    one, two = [record["id"] for record in await linked.create("T", {"Name": "1"}, {"Name": "2"})]
    await linked.update("T", one, {"Parts": [one, two]})
    await linked.update("T", two, {"Parts": [two]})
    before = await linked.cells("T", "Parts")
    await linked.delete("T", two)
    await linked.bench.records.restore_records(
        principal=principal(), base_id=linked.bench.base_id, record_ids=(RecordId(two),)
    )
    assert await linked.cells("T", "Parts") == before
