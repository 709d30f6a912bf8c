"""Fields that get another type while their table is in use: what cells become, and that no write is lost."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import FieldId, RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import refilling
from pyat.recordstore.errors import InvalidFieldOptions
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.schema.contract import ConversionOvertaken, ConversionRefused, FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import principal

WHO = principal()
ISO = {"dateFormat": {"name": "iso"}}
MOMENT = {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "Asia/Tokyo"}
STARS = {"icon": "star", "max": 5, "color": "yellowBright"}


class Cells:
    """One field of a table and its cells."""

    def __init__(self, bench: Bench, field_id: FieldId) -> None:
        self.bench = bench
        self.field_id = field_id
        self.to: dict[str, Any] = {"principal": WHO, "base_id": bench.base_id, "table": "T"}

    async def write(self, *values: Any, typecast: bool = True) -> list[RecordId]:
        """New records with these cells; their ids."""
        rows: tuple[Mapping[str, Any], ...] = tuple({} if value is None else {self.field_id: value} for value in values)
        made = await self.bench.records.create_records(**self.to, rows=rows, typecast=typecast, by_id=True)
        return [record["id"] for record in decoded(made)]

    async def change(self, record_id: RecordId, value: Any) -> None:
        """Another value for a cell."""
        await self.bench.records.update_records(
            **self.to,
            changes=(RecordChange(record_id, {self.field_id: value}),),
            is_replacing=False,
            typecast=True,
            by_id=True,
        )

    async def read(self) -> list[Any]:
        """All cells in order of creation, None where empty."""
        return [record["fields"].get(self.field_id) for record in await self.records()]

    async def records(self) -> list[dict[str, Any]]:
        """All records in order of creation."""
        found, offset = [], None
        while True:
            page = await self.bench.records.list_records(
                **self.to, query=ListQuery(by_id=True, page_size=100, offset=offset)
            )
            found += decoded(page.records)
            offset = page.offset
            if offset is None:
                return found

    async def convert(self, type_name: str, options: Any = None) -> Any:
        """The field after its conversion."""
        return await self.bench.schema.convert_field(
            **self.to, field_id=self.field_id, type_name=type_name, options=options
        )

    async def preview(self, type_name: str, options: Any = None) -> Any:
        """What the conversion would do."""
        return await self.bench.schema.preview_conversion(
            **self.to, field_id=self.field_id, type_name=type_name, options=options
        )


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    """A base with a table to write to."""
    return await make_bench(database, cache)


async def cells_of(bench: Bench, type_name: str, options: Any = None) -> Cells:
    """A new field of a type."""
    field = await bench.schema.create_field(
        principal=WHO, base_id=bench.base_id, table="T", field=FieldDraft("Cell", type_name, options=options)
    )
    return Cells(bench, field.field_id)


async def leftovers(database: Database, bench: Bench) -> list[str]:
    """Names of columns, relations and functions of refills that are still there."""
    rows = await database.rows(
        Statement(
            "refill_things",
            "SELECT a.attname AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND starts_with(a.attname, 'cnv') AND NOT a.attisdropped"
            " UNION ALL SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND starts_with(c.relname, 'cnv')"
            " UNION ALL SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname = $1 AND starts_with(p.proname, 'cnv')",
        ),
        bench.base_id,
    )
    return [row["name"] for row in rows]


CONVERSIONS: list[tuple[str, Any, str, Any, list[tuple[Any, Any]]]] = [
    (
        "singleLineText",
        None,
        "number",
        {"precision": 1},
        [("12.5", 12.5), ("$1,234", 1234), ("none", None), ("-3", -3)],
    ),
    ("number", {"precision": 2}, "singleLineText", None, [(1.5, "1.50"), (0, "0.00"), (-2, "-2.00")]),
    ("number", {"precision": 0}, "rating", STARS, [(3, 3), (9, 5), (0, None)]),
    ("percent", {"precision": 0}, "number", {"precision": 2}, [(0.5, 0.5)]),
    ("singleLineText", None, "percent", {"precision": 0}, [("50%", 0.5)]),
    ("checkbox", {"icon": "check", "color": "redBright"}, "number", {"precision": 0}, [(True, 1)]),
    ("checkbox", {"icon": "check", "color": "redBright"}, "multilineText", None, [(True, "checked")]),
    ("singleLineText", None, "checkbox", {"icon": "check", "color": "redBright"}, [("yes", True), ("no", None)]),
    ("singleLineText", None, "date", ISO, [("2024-03-01", "2024-03-01"), ("one day", None)]),
    ("date", ISO, "singleLineText", None, [("2024-03-01", "2024-03-01")]),
    ("date", ISO, "dateTime", MOMENT, [("2024-03-01", "2024-02-29T15:00:00.000Z")]),
    ("dateTime", MOMENT, "date", ISO, [("2024-02-29T15:00:00.000Z", "2024-03-01")]),
    ("dateTime", MOMENT, "singleLineText", None, [("2024-02-29T15:00:00.000Z", "2024-03-01 00:00")]),
    ("singleLineText", None, "singleSelect", None, [("a, b", "a, b"), (" a", "a"), ("a", "a")]),
    ("singleLineText", None, "multipleSelects", None, [("a, b", ["a", "b"]), ("b", ["b"])]),
    ("multipleSelects", {"choices": []}, "singleSelect", None, [(["a", "b"], "a")]),
    ("singleSelect", {"choices": []}, "multipleSelects", None, [("a, b", ["a, b"])]),
    ("multipleSelects", {"choices": []}, "singleLineText", None, [(["a", "b,c"], 'a, "b,c"')]),
    ("singleLineText", None, "richText", None, [("* x", "- x\n")]),
    ("richText", None, "singleLineText", None, [("- x", "- x")]),
    ("duration", {"durationFormat": "h:mm"}, "singleLineText", None, [(5400, "1:30")]),
    ("singleLineText", None, "duration", {"durationFormat": "h:mm"}, [("1:30", 5400)]),
    ("singleLineText", None, "barcode", None, [("123", {"text": "123"})]),
    ("barcode", None, "email", None, [({"text": "123", "type": "upce"}, "123")]),
    ("autoNumber", None, "singleLineText", None, [(None, "1"), (None, "2")]),
    ("rating", STARS, "rating", {**STARS, "max": 2}, [(4, 2), (1, 1)]),
]


@pytest.mark.parametrize(("source", "options", "target", "target_options", "cells"), CONVERSIONS)
async def test_cells_become_what_the_new_type_makes_of_them(
    bench: Bench,
    database: Database,
    source: str,
    options: Any,
    target: str,
    target_options: Any,
    cells: list[tuple[Any, Any]],
) -> None:
    field = await cells_of(bench, source, options)
    ids = await field.write(*[before for before, _ in cells])
    await field.write(None)
    wanted = [after for _, after in cells]
    shown = await field.read()
    preview = await field.preview(target, target_options)
    filled = [cell for cell in shown if cell is not None]
    assert (preview.total, preview.converted, preview.cleared) == (
        len(filled),
        sum(after is not None for after in wanted) + (source == "autoNumber"),
        wanted.count(None),
    )
    by_id = {example.record_id: (example.before, example.after) for example in preview.examples}
    for number, record_id in enumerate(ids):
        assert by_id[record_id] == (shown[number], wanted[number])
    assert await field.read() == shown
    made = await field.convert(target, target_options)
    assert (made.field_id, made.name, made.type) == (field.field_id, "Cell", target)
    assert (await field.read())[: len(cells)] == wanted
    found = (await bench.schema.get_base(principal=WHO, base_id=bench.base_id)).tables[0].fields_by_id[field.field_id]
    assert (found.type, found.options) == (target, made.options)
    assert await leftovers(database, bench) == []


async def test_choices_keep_their_ids_between_selects(bench: Bench) -> None:
    field = await cells_of(bench, "singleSelect", {"choices": [{"name": "a"}, {"name": "b"}]})
    await field.write("a", "new")
    before = (await bench.schema.get_base(principal=WHO, base_id=bench.base_id)).tables[0].fields_by_id[field.field_id]
    made = await field.convert("multipleSelects")
    assert made.options == before.options
    assert await field.read() == [["a"], ["new"]]


async def test_writers_lose_nothing_while_a_field_is_converted(
    bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small steps, so that there are many of them for writers to come between.
    monkeypatch.setattr(refilling, "CHUNK_ROWS", 50)
    monkeypatch.setattr(refilling, "LAST_ROWS", 20)
    field = await cells_of(bench, "singleLineText")
    ids: list[RecordId] = []
    for start in range(0, 500, 10):
        ids += await field.write(*[str(number) for number in range(start, start + 10)])
    expected = {record_id: str(number) for number, record_id in enumerate(ids)}
    is_done = asyncio.Event()

    async def write(own: list[RecordId]) -> None:
        number = 0
        while not is_done.is_set():
            for record_id in own:
                number += 1
                await field.change(record_id, str(number))
                expected[record_id] = str(number)
            (made,) = await field.write(str(number))
            expected[made] = str(number)

    async def convert() -> Any:
        try:
            return await field.convert("number", {"precision": 0})
        finally:
            is_done.set()

    *_, made = await asyncio.gather(write(ids[:5]), write(ids[200:205]), write(ids[-5:]), convert())
    assert made.type == "number"
    assert {record["id"]: str(record["fields"][field.field_id]) for record in await field.records()} == expected
    assert await leftovers(database, bench) == []


async def test_a_choice_that_joins_meanwhile_is_not_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    field = await cells_of(bench, "singleSelect", {"choices": [{"name": "a"}]})
    (first,) = await field.write("a")
    filled = refilling.fill

    async def fill(*arguments: Any) -> None:
        await filled(*arguments)
        await field.change(first, "quite new")

    monkeypatch.setattr(refilling, "fill", fill)
    await field.convert("singleLineText")
    assert await field.read() == ["quite new"]


async def test_a_choice_that_is_renamed_meanwhile_is_read_anew(
    bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = await cells_of(bench, "singleSelect", {"choices": [{"name": "a"}]})
    await field.write("a", "a")
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    choice_id = base.tables[0].fields_by_id[field.field_id].options["choices"][0]["id"]
    filled, calls = refilling.fill, []

    async def fill(*arguments: Any) -> None:
        await filled(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            await bench.schema.redefine_field(
                **field.to, field_id=field.field_id, changes={"options": {"choices": [{"id": choice_id, "name": "z"}]}}
            )
            await field.write("z")

    monkeypatch.setattr(refilling, "fill", fill)
    await field.convert("singleLineText")
    assert await field.read() == ["z", "z", "z"]
    assert len(calls) == 2
    assert await leftovers(database, bench) == []


async def test_the_newer_of_two_conversions_wins(
    bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = await cells_of(bench, "singleLineText")
    await field.write("1", "x")
    filled = refilling.fill

    async def fill(*arguments: Any) -> None:
        monkeypatch.setattr(refilling, "fill", filled)
        await field.convert("number", {"precision": 0})
        await filled(*arguments)

    monkeypatch.setattr(refilling, "fill", fill)
    with pytest.raises(ConversionOvertaken):
        await field.convert("checkbox", {"icon": "check", "color": "redBright"})
    assert await field.read() == [1, None]
    assert await leftovers(database, bench) == []


async def test_what_a_dead_conversion_left_is_removed(
    bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = await cells_of(bench, "singleLineText")
    await field.write("1")
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)

    async def die() -> None:
        dead = refilling.new(bench.base_id, base.tables[0].table_id, field.field_id, "int8", field.field_id)
        async with database.transaction() as connection:
            await refilling.begin(connection, dead)

    await die()
    await field.write("2")
    assert await leftovers(database, bench) != []
    await field.convert("number", {"precision": 0})
    assert await leftovers(database, bench) == []
    assert await field.read() == [1, 2]
    await die()
    assert await bench.schema.purge_trash() == 0
    monkeypatch.setattr(refilling, "STALE_AFTER", -refilling.STALE_AFTER)
    assert await bench.schema.purge_trash() == 1
    assert await leftovers(database, bench) == []


async def test_a_deleted_field_is_not_converted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    field = await cells_of(bench, "singleLineText")
    await field.write("1")
    filled = refilling.fill

    async def fill(*arguments: Any) -> None:
        await filled(*arguments)
        await bench.schema.delete_field(**field.to, field_id=field.field_id)

    monkeypatch.setattr(refilling, "fill", fill)
    with pytest.raises(Exception, match="not found"):
        await field.convert("number", {"precision": 0})
    assert await leftovers(database, bench) == []
    await bench.schema.restore(principal=WHO, base_id=bench.base_id, item_id=field.field_id)
    assert await field.read() == ["1"]


async def test_what_cannot_be_converted_is_refused(bench: Bench) -> None:
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    link = await cells_of(bench, "multipleRecordLinks", {"linkedTableId": base.tables[1].table_id})
    primary = Cells(bench, base.tables[0].primary_field_id)
    for cells, type_name, options in (
        (link, "singleLineText", None),
        (primary, "multipleSelects", None),
        (primary, "multipleRecordLinks", {"linkedTableId": base.tables[1].table_id}),
        (primary, "count", {"recordLinkFieldId": link.field_id}),
        (primary, "singleLineText", None),
    ):
        with pytest.raises(ConversionRefused):
            await cells.preview(type_name, options)
        with pytest.raises(ConversionRefused):
            await cells.convert(type_name, options)


async def test_the_change_log_tells_of_a_conversion(bench: Bench, database: Database) -> None:
    field = await cells_of(bench, "singleLineText")
    await field.convert("number", {"precision": 3})
    last = await database.row(
        Statement(
            "last_change",
            f"SELECT kind, item, cells FROM {quote(bench.base_id)}.base_changes ORDER BY n DESC LIMIT 1",
        )
    )
    assert last is not None
    assert (last["kind"], last["item"]) == (24, field.field_id)
    assert '"before":{"type":"singleLineText","options":{}}' in last["cells"]
    assert '"after":{"type":"number","options":{"precision":3}}' in last["cells"]


COPIED: list[tuple[str, Any, Any]] = [
    ("singleLineText", None, "a"),
    ("multipleSelects", {"choices": []}, ["a", 'b"{,}\\']),
    ("barcode", None, {"text": "1"}),
    ("dateTime", MOMENT, "2024-02-29T15:00:00.000Z"),
]


@pytest.mark.parametrize(("type_name", "options", "cell"), COPIED)
async def test_a_field_is_duplicated_with_its_cells(
    bench: Bench, database: Database, type_name: str, options: Any, cell: Any
) -> None:
    field = await cells_of(bench, type_name, options)
    await field.write(cell, None)
    copy = await bench.schema.duplicate_field(**field.to, field_id=field.field_id, name=None, with_cells=True)
    assert (copy.name, copy.type) == ("Cell copy", type_name)
    assert await Cells(bench, copy.field_id).read() == [cell, None]
    bare = await bench.schema.duplicate_field(**field.to, field_id=field.field_id, name="Bare", with_cells=False)
    assert await Cells(bench, bare.field_id).read() == [None, None]
    table = (await bench.schema.get_base(principal=WHO, base_id=bench.base_id)).tables[0]
    assert [item.name for item in table.fields][-3:] == ["Cell", "Cell copy", "Bare"]
    assert table.fields_by_id[copy.field_id].options == table.fields_by_id[field.field_id].options
    assert await leftovers(database, bench) == []


async def test_links_are_duplicated_without_cells(bench: Bench) -> None:
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    link = await cells_of(bench, "multipleRecordLinks", {"linkedTableId": base.tables[1].table_id})
    with pytest.raises(InvalidRequest):
        await bench.schema.duplicate_field(**link.to, field_id=link.field_id, name=None, with_cells=True)
    copy = await bench.schema.duplicate_field(**link.to, field_id=link.field_id, name="More", with_cells=False)
    after = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    inverse = after.tables[1].fields_by_id[copy.options["inverseLinkFieldId"]]
    assert inverse.options["inverseLinkFieldId"] == copy.field_id
    assert [field.name for field in after.tables[1].fields] == ["Name", "T", "T 2"]


async def test_records_that_come_while_numbers_are_given_get_the_next_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = Cells(bench, (await bench.schema.get_base(principal=WHO, base_id=bench.base_id)).tables[0].primary_field_id)
    await cells.write("a", "b")
    filled = refilling.fill

    async def fill(*arguments: Any) -> None:
        await filled(*arguments)
        await cells.write("c")

    monkeypatch.setattr(refilling, "fill", fill)
    numbers = await cells_of(bench, "autoNumber")
    await numbers.bench.records.create_records(**cells.to, rows=({cells.field_id: "d"},), typecast=False, by_id=True)
    assert await numbers.read() == [1, 2, 3, 4]


async def test_choices_are_renamed_moved_added_and_deleted(bench: Bench) -> None:
    field = await cells_of(bench, "singleSelect", {"choices": [{"name": "a"}, {"name": "b"}, {"name": "c"}]})
    await field.write("a", "b", "c")
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    ids = {choice["name"]: choice["id"] for choice in base.tables[0].fields_by_id[field.field_id].options["choices"]}
    choices = [{"name": "c"}, {"id": ids["a"], "name": "A", "color": "redBright"}, {"name": "new"}]
    made = await bench.schema.redefine_field(
        **field.to, field_id=field.field_id, changes={"options": {"choices": choices}}
    )
    assert [(choice["id"], choice["name"]) for choice in made.options["choices"][:2]] == [
        (ids["c"], "c"),
        (ids["a"], "A"),
    ]
    assert made.options["choices"][1]["color"] == "redBright"
    assert made.options["choices"][2]["id"] not in ids.values()
    assert await field.read() == ["A", None, "c"]
    for bad in (
        None,
        {"choices": [{"id": "selAAAAAAAAAAAAAA", "name": "x"}]},
        {"choices": [{"id": ids["a"]}, {"id": ids["a"]}]},
        {"choices": [{"id": ids["a"]}, {"name": "A", "id": 3}]},
        {"choices": [{"name": "x"}, {"name": "x"}]},
        {"choices": "none"},
        {"choices": [{"name": "\0"}]},
    ):
        with pytest.raises(InvalidFieldOptions):
            await bench.schema.redefine_field(**field.to, field_id=field.field_id, changes={"options": bad})


async def test_options_of_other_types_are_changed(bench: Bench) -> None:
    number = await cells_of(bench, "number", {"precision": 0})
    await number.write(1.25)
    made = await bench.schema.redefine_field(
        **number.to, field_id=number.field_id, changes={"options": {"precision": 2}, "name": "N", "description": "D"}
    )
    assert (made.name, made.description, made.options) == ("N", "D", {"precision": 2})
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    link = await cells_of(bench, "multipleRecordLinks", {"linkedTableId": base.tables[1].table_id})
    changed = await bench.schema.redefine_field(
        **link.to, field_id=link.field_id, changes={"options": {"prefersSingleRecordLink": True}}
    )
    assert changed.options["prefersSingleRecordLink"] is True
    assert changed.options["linkedTableId"] == base.tables[1].table_id
    for changes in (
        {"options": {"linkedTableId": base.tables[0].table_id}},
        {"options": {"viewIdForRecordSelection": base.tables[0].views[0].view_id}},
        {"options": {"prefersSingleRecordLink": 1}},
    ):
        with pytest.raises(InvalidFieldOptions):
            await bench.schema.redefine_field(**link.to, field_id=link.field_id, changes=changes)
