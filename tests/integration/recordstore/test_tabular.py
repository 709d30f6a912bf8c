"""Files into real tables: what stands in the file stands in PostgreSQL afterwards, all of it or nothing."""

import asyncio
import csv
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, FieldId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.ddl import relation
from pyat.recordstore.fieldtypes import find, with_new_choices
from pyat.recordstore.structure import Base, Field, Table
from pyat.recordstore.tabular import load as load_module
from pyat.recordstore.tabular.errors import FileRefused, RowsRejected
from pyat.recordstore.tabular.infer import infer, match
from pyat.recordstore.tabular.load import LoadReport, Rejection, load
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.sample import take_sample
from pyat.recordstore.tabular.sniff import sniff
from pyat.recordstore.tabular.source import Source
from tests.integration.recordstore.bases import field, make_base

NOW = datetime(2024, 5, 6, 7, 8, 9, 987_654, tzinfo=UTC)
USER = "usr00000000000001"

CHINOOK = Path(__file__).parents[3].parent / "shared" / "data" / "chinook"


async def imported(
    database: Database, path: Path, **how: Any
) -> tuple[Base, Table, LoadReport, tuple[ColumnPlan, ...]]:
    """A file as a new table of a new base."""
    source = sniff(path)
    plans = infer(source, take_sample(source))
    fields = [Field(FieldId(new_id("fld")), plan.name, plan.type, plan.options) for plan in plans]
    base, table = await make_base(database, fields)
    report = await loaded(database, source, base, table, plans, **how)
    return base, table, report, plans


async def loaded(
    database: Database, source: Source, base: Base, table: Table, plans: Sequence[ColumnPlan], **how: Any
) -> LoadReport:
    async with database.transaction() as connection:
        return await load(connection.raw, source, base.base_id, table, plans, user_id=USER, now=NOW, **how)


async def added(database: Database, path: Path, base: Base, table: Table, **how: Any) -> LoadReport:
    """A file into an existing table."""
    source = sniff(path)
    return await loaded(database, source, base, table, match(source, take_sample(source), table), **how)


async def stored(database: Database, base_id: BaseId, table: Table, *names: str) -> list[tuple[Any, ...]]:
    """Values of some fields or system columns, in order of creation."""
    columns = ", ".join(
        quote(table.fields_by_name[name].field_id if name in table.fields_by_name else name) for name in names
    )
    rows = await database.rows(
        Statement("stored", f"SELECT {columns} FROM {relation(base_id, table.table_id)} ORDER BY _n")
    )
    return [tuple(row.values()) for row in rows]


def written(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


# Real data


def chinook_files() -> list[Any]:
    if not CHINOOK.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(f"the sample data is not at {CHINOOK}"))]
    return [pytest.param(path, id=path.stem) for path in sorted(CHINOOK.glob("*.csv"))]


def meaning(cell: str, kind: Field) -> Any:
    """What a cell of the sample data means in a field of this type, worked out without the import's own code."""
    if not cell:
        return None
    match kind.type:
        case "number":
            return float(cell)
        case "dateTime":
            return datetime.fromisoformat(cell).replace(tzinfo=UTC)
        case "singleSelect":
            (choice_id,) = [choice["id"] for choice in kind.options["choices"] if choice["name"] == cell]
            return choice_id
    return cell


@pytest.mark.parametrize("path", chinook_files())
async def test_the_sample_data_is_imported_whole(path: Path, database: Database) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    base, table, report, _ = await imported(database, path)
    assert (report.rows, report.rejected, report.new_choices) == (len(rows), 0, {})
    assert [item.name for item in table.fields] == header
    expected = [tuple(meaning(cell, kind) for cell, kind in zip(row, table.fields, strict=True)) for row in rows]
    assert await stored(database, base.base_id, table, *header) == expected


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("Track", {"TrackId": "number", "Name": "singleLineText", "Composer": "singleLineText", "UnitPrice": "number"}),
        ("Customer", {"Email": "email", "Phone": "phoneNumber", "Fax": "phoneNumber", "PostalCode": "singleLineText"}),
        ("Employee", {"BirthDate": "dateTime", "ReportsTo": "number", "Title": "singleLineText"}),
        ("Invoice", {"InvoiceDate": "dateTime", "BillingCountry": "singleSelect", "BillingCity": "singleLineText"}),
    ],
)
def test_the_sample_data_gets_sensible_types(name: str, types: dict[str, str]) -> None:
    if not CHINOOK.is_dir():
        pytest.skip(f"the sample data is not at {CHINOOK}")
    source = sniff(CHINOOK / f"{name}.csv")
    found = {plan.name: plan.type for plan in infer(source, take_sample(source))}
    assert {column: found[column] for column in types} == types


# Values


async def test_every_inferred_type_is_stored_as_meant(database: Database, tmp_path: Path) -> None:
    header = ["Name", "N", "P", "C", "D", "T", "Done", "Status", "Mail", "Notes"]
    first = ["Ann", "1,234,567.5", "12.5%", "-$1,234.50", "12/31/2024", "2024-02-29T23:59:59.999Z", "yes", "Open"]
    second = ["", "", "", "", "", "", "no", ""]
    rows = [header, [*first, "a@b.co", "one,\r\n\ttwo \\N"], [*second, "", ""]]
    rows += [["=1+1", "5", "5%", "$5", "1/1/2024", "2024-01-01T00:00:00Z", "no", "Closed", "c@d.co", ""]] * 9
    rows += [["Bob", "5", "5%", "$5", "1/1/2024", "2024-01-01T00:00:00Z", "no", "Open", "c@d.co", ""]]
    base, table, report, plans = await imported(database, written(tmp_path / "x.csv", rows))
    assert [plan.type for plan in plans] == (
        "singleLineText number percent currency date dateTime checkbox singleSelect email multilineText".split()
    )
    assert (report.rows, report.rejected) == (12, 0)
    ids = {choice["name"]: choice["id"] for choice in table.fields_by_name["Status"].options["choices"]}
    found = await stored(database, base.base_id, table, *header)
    assert found[:3] == [
        (
            *("Ann", 1_234_567.5, 0.125, -1_234.5, date(2024, 12, 31)),
            *(datetime(2024, 2, 29, 23, 59, 59, 999_000, UTC), True, ids["Open"], "a@b.co", "one,\n\ttwo \\N"),
        ),
        (None,) * 10,
        (
            "=1+1",
            5.0,
            0.05,
            5.0,
            date(2024, 1, 1),
            datetime(2024, 1, 1, tzinfo=UTC),
            None,
            ids["Closed"],
            "c@d.co",
            None,
        ),
    ]


async def test_system_columns(database: Database, tmp_path: Path) -> None:
    rows = [["Name"], *([f"name {number}"] for number in range(3_000))]
    base, table, _, _ = await imported(database, written(tmp_path / "x.csv", rows))
    columns = ("_id", "_created", "_modified", "_created_by", "_modified_by")
    found = await stored(database, base.base_id, table, *columns, "Name")
    assert len({row[0] for row in found}) == 3_000
    assert all(len(row[0]) == 17 and row[0].startswith("rec") for row in found)
    created, modified = NOW.replace(microsecond=0), NOW.replace(microsecond=987_000)
    assert {row[1:5] for row in found} == {(created, modified, USER, USER)}
    assert [row[5] for row in found] == [row[0] for row in rows[1:]]


async def test_any_text_survives(database: Database, tmp_path: Path) -> None:
    dice = random.Random(7)
    alphabet = ["\\", "\t", "\n", '"', ",", ";", "N", ".", "é", "字", "\U0001f600", "\u2028", "\x01", "\x7f", " ", "'"]
    cells = ["".join(dice.choices(alphabet, k=dice.randrange(6))) for _ in range(6_000)]
    rows = [["a", "b", "c"], *(cells[place : place + 3] for place in range(0, 6_000, 3))]
    base, table = await make_base(database, [field(name, "multilineText") for name in "abc"])
    report = await added(database, written(tmp_path / "x.csv", rows), base, table)
    assert (report.rows, report.rejected) == (2_000, 0)
    found = await stored(database, base.base_id, table, "a", "b", "c")
    assert found == [tuple(cell or None for cell in row) for row in rows[1:]]


async def test_extreme_numbers_and_dates_are_taken(database: Database, tmp_path: Path) -> None:
    numbers = [
        "1e308",
        "-1e308",
        "5e-324",
        "1e-400",
        "0",
        "-0",
        "9007199254740993",
        "0.1",
        "." + "0" * 290 + "1",
        "9" * 308,
    ]
    dates = ["0001-01-01", "9999-12-31", "1582-10-10", "2000-02-29", *["1900-01-01"] * 6]
    moments = [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00.001Z",
        *["1900-01-01T00:00:00Z"] * 7,
    ]
    base, table = await make_base(
        database,
        [
            field("n", "number", {"precision": 0}),
            field("d", "date", {"dateFormat": {"name": "iso"}}),
            field(
                "t", "dateTime", {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"}
            ),
        ],
    )
    report = await added(
        database,
        written(tmp_path / "x.csv", [["n", "d", "t"], *zip(numbers, dates, moments, strict=True)]),
        base,
        table,
    )
    assert report.rows == 10
    assert await stored(database, base.base_id, table, "n", "d", "t") == [
        (float(number), date.fromisoformat(day), datetime.fromisoformat(moment))
        for number, day, moment in zip(numbers, dates, moments, strict=True)
    ]


# What does not fit

NUMBERS = [["Name", "N", "D"], *([f"name {number}", str(number), "2024-01-01"] for number in range(2_500))]


async def a_target(database: Database) -> tuple[Base, Table]:
    return await make_base(
        database,
        [
            field("Name", "singleLineText"),
            field("N", "number", {"precision": 0}),
            field("D", "date", {"dateFormat": {"name": "iso"}}),
        ],
    )


def spoilt(path: Path) -> Path:
    rows = [list(row) for row in NUMBERS]
    rows[3][0] = "two\nlines"
    rows[5][2] = "2024-02-30"
    rows[5][1] = "five"
    rows[7] = ["", "", ""]
    rows[8].append("too much")
    rows[2_400][1] = "x" * 500
    return written(path, rows)


REJECTIONS = (
    Rejection(7, "N", "five", "is not a number"),
    Rejection(7, "D", "2024-02-30", "is not a date (read month first)"),
    Rejection(10, None, "name 7 | 7 | 2024-01-01 | too much", "has 4 cells, but there are 3 columns"),
    Rejection(2_402, "N", "x" * 79 + "…", "is not a number"),
)


async def test_nothing_is_loaded_where_something_does_not_fit(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    with pytest.raises(RowsRejected, match="4 cells or rows do not fit, so nothing was imported") as caught:
        await added(database, spoilt(tmp_path / "x.csv"), base, table)
    assert caught.value.report == LoadReport(rows=0, rejected=4, rejections=REJECTIONS, new_choices={})
    assert await stored(database, base.base_id, table, "N") == []


async def test_keeping_going_leaves_cells_blank_and_rows_out(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    report = await added(database, spoilt(tmp_path / "x.csv"), base, table, keep_going=True)
    assert report == LoadReport(rows=2_499, rejected=4, rejections=REJECTIONS, new_choices={})
    found = await stored(database, base.base_id, table, "Name", "N", "D")
    assert len(found) == 2_499
    assert found[4] == ("name 4", None, None)
    assert found[6] == (None, None, None)
    assert found[7] == ("name 8", 8.0, date(2024, 1, 1))
    assert found[-1] == ("name 2499", 2_499.0, date(2024, 1, 1))


async def test_the_list_of_rejections_is_bounded_and_in_order(database: Database, tmp_path: Path) -> None:
    rows = [["Name", "N", "D"], *([f"a\n{number}", "bad", "bad"] for number in range(6_000))]
    base, table = await a_target(database)
    report = await added(database, written(tmp_path / "x.csv", rows), base, table, keep_going=True)
    assert (report.rows, report.rejected, len(report.rejections)) == (6_000, 12_000, load_module.REJECTIONS_KEPT_MAX)
    places = [(rejection.line, rejection.column) for rejection in report.rejections]
    assert places == [(2 + 2 * number, column) for number in range(500) for column in ("N", "D")]


async def test_an_inferred_code_is_not_swallowed_by_a_number(database: Database, tmp_path: Path) -> None:
    # The sample misses the row, so the column is taken for numbers.
    rows = [["Key", "Code"], *([f"key {number} {'x' * 20}", str(10_000 + number)] for number in range(40_000))]
    rows[5_000][1] = "00123"
    path = written(tmp_path / "x.csv", rows)
    with pytest.raises(RowsRejected) as caught:
        await imported(database, path)
    assert caught.value.report.rejections == (
        Rejection(5_001, "Code", "00123", "would lose leading zeros or digits as a number"),
    )


async def test_a_file_that_breaks_off_loads_nothing(database: Database, tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", NUMBERS)
    path.write_bytes(path.read_bytes() + b'"open,1,\n')
    base, table = await a_target(database)
    with pytest.raises(FileRefused, match="opens in line 2502 is never closed"):
        await added(database, path, base, table, keep_going=True)
    assert await stored(database, base.base_id, table, "N") == []


async def test_a_cancelled_load_leaves_nothing(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    path = written(tmp_path / "x.csv", NUMBERS * 20)
    began = asyncio.Event()
    task = asyncio.create_task(
        added(database, path, base, table, keep_going=True, progress=lambda done, rows: began.set())
    )
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(database, base.base_id, table, "N") == []


async def test_the_callers_transaction_decides(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    source = sniff(written(tmp_path / "x.csv", NUMBERS))
    plans = match(source, take_sample(source), table)

    async def change_of_mind() -> None:
        async with database.transaction() as connection:
            report = await load(connection.raw, source, base.base_id, table, plans, user_id=USER, now=NOW)
            assert report.rows == 2_500
            raise LookupError

    with pytest.raises(LookupError):
        await change_of_mind()
    assert await stored(database, base.base_id, table, "N") == []


async def test_progress_reaches_the_end(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    path = written(tmp_path / "x.csv", NUMBERS * 3)
    seen: list[tuple[int, int]] = []
    await added(database, path, base, table, keep_going=True, progress=lambda *so_far: seen.append(so_far))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, 7_502)


async def test_other_tasks_run_during_a_load(database: Database, tmp_path: Path) -> None:
    base, table = await a_target(database)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    seen: list[int] = []
    await added(
        database,
        written(tmp_path / "x.csv", NUMBERS * 20),
        base,
        table,
        keep_going=True,
        progress=lambda done, rows: seen.append(turns),
    )
    counting.cancel()
    assert len(set(seen)) == len(seen) > 5


# Existing tables


async def test_columns_join_the_fields_of_an_existing_table(database: Database, tmp_path: Path) -> None:
    base, table = await make_base(
        database,
        [
            field("Name", "singleLineText"),
            field("Tags", "multipleSelects", {"choices": [{"name": "old"}]}),
            field("State", "singleSelect", {"choices": [{"name": "Open"}]}),
            field("Stars", "rating", {"icon": "star", "max": 5, "color": "yellowBright"}),
            field("Took", "duration", {"durationFormat": "h:mm"}),
            field("Text", "richText"),
            field("Left out", "number", {"precision": 0}),
        ],
    )
    rows = [["TEXT", "name", "Took", "Stars", "State", "Tags"]]
    rows += [["* a", "Ann", "1:30", "4", "Open", "new, old"], ["", "Bob", "", "", "Shut", '"x, y"']]
    report = await added(database, written(tmp_path / "x.csv", rows), base, table)
    tags, state = table.fields_by_name["Tags"], table.fields_by_name["State"]
    assert list(report.new_choices[tags.field_id].ids_by_name) == ["new", "x, y"]
    assert list(report.new_choices[state.field_id].ids_by_name) == ["Shut"]
    tag_ids = {
        choice["name"]: choice["id"] for choice in with_new_choices(tags, report.new_choices[tags.field_id])["choices"]
    }
    state_ids = {
        choice["name"]: choice["id"]
        for choice in with_new_choices(state, report.new_choices[state.field_id])["choices"]
    }
    assert await stored(
        database, base.base_id, table, "Name", "Tags", "State", "Stars", "Took", "Text", "Left out"
    ) == [
        ("Ann", [tag_ids["new"], tag_ids["old"]], state_ids["Open"], 4, 5_400.0, "- a\n", None),
        ("Bob", [tag_ids["x, y"]], state_ids["Shut"], None, None, None, None),
    ]


async def test_fields_that_the_platform_fills_are_filled(database: Database, tmp_path: Path) -> None:
    name = field("Name", "singleLineText")
    changed = find("lastModifiedTime").parse_options({"referencedFieldIds": [name.field_id]}, new_choice_id=str)
    base, table = await make_base(
        database,
        [
            name,
            field("No", "autoNumber"),
            field("Made", "createdTime"),
            Field(FieldId(new_id("fld")), "Changed", "lastModifiedTime", changed),
            field("Any change", "lastModifiedTime"),
        ],
    )
    path = written(tmp_path / "x.csv", [["Name"], *([f"name {number}"] for number in range(9_000))])
    await added(database, path, base, table, auto_number=41)
    found = await stored(database, base.base_id, table, "No", "Changed")
    assert [row[0] for row in found] == list(range(42, 9_042))
    assert {row[1] for row in found} == {NOW.replace(microsecond=987_000)}
