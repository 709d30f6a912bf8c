"""Which types columns get, and how existing fields are matched."""

import csv
from pathlib import Path
from typing import Any

import pytest

from pyat.foundation.ids import FieldId, TableId, is_id
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Field, Table
from pyat.recordstore.tabular import sample as sample_module
from pyat.recordstore.tabular.errors import ColumnsRefused
from pyat.recordstore.tabular.formats import DateOrder
from pyat.recordstore.tabular.infer import infer, match
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.sample import take_sample
from pyat.recordstore.tabular.sniff import sniff

NUMBER = "number"
TEXT = "singleLineText"


def plans_of(tmp_path: Path, columns: dict[str, list[str]]) -> dict[str, ColumnPlan]:
    """The plans of a file with these columns behind one of unique names; all are as long as the longest."""
    length = max(map(len, columns.values()))
    filled = {name: cells + [""] * (length - len(cells)) for name, cells in columns.items()}
    path = tmp_path / "file.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Key", *filled])
        writer.writerows([f"key {number}", *row] for number, row in enumerate(zip(*filled.values(), strict=True)))
    source = sniff(path)
    return {plan.name: plan for plan in infer(source, take_sample(source))}


def plan_of(tmp_path: Path, cells: list[str], name: str = "Column") -> ColumnPlan:
    return plans_of(tmp_path, {name: cells})[name]


@pytest.mark.parametrize(
    ("cells", "type_name"),
    [
        (["", ""], TEXT),
        (["a", "b"], TEXT),
        (["a\nb", "c"], "multilineText"),
        (["a\r\nb", "c"], "multilineText"),
        (["1", "2", ""], NUMBER),
        (["1.5", "-2", ".25"], NUMBER),
        (["1", "2", "three"], TEXT),
        (["00123", "00456"], TEXT),
        (["123", "0456"], TEXT),
        (["1234567890123456", "1"], TEXT),
        (["1e5", "2e5"], TEXT),
        (["1.5e5", "2"], NUMBER),
        (["1e-7", "0"], NUMBER),
        (["+49123456", "+49123457"], "phoneNumber"),
        (["+1.5", "-2"], NUMBER),
        (["1,234", "2,345"], TEXT),
        (["1,234", "1,234,567"], NUMBER),
        (["1,234.5", "2"], NUMBER),
        (["3,14", "2,7"], NUMBER),
        (["1.234", "2.345"], NUMBER),
        (["1.234.567", "2"], NUMBER),
        (["1 234", "2 345"], TEXT),
        (["110 001", "110 002"], TEXT),
        (["12 345", "1 234"], NUMBER),
        (["1'234.50", "2"], NUMBER),
        (["1.2.3", "1.3"], TEXT),
        (["5%", "12.5 %"], "percent"),
        (["5%", "12"], TEXT),
        (["$5", "$1,234.50", "-$3"], "currency"),
        (["5,00 €", "1.234,50 €"], "currency"),
        (["$5", "€5"], TEXT),
        (["$5", "5"], TEXT),
        (["$5", "$007"], TEXT),
        (["2024-01-31", "2024-02-01", ""], "date"),
        (["1/31/2024", "2/1/2024"], "date"),
        (["31.1.2024", "1.2.2024"], "date"),
        (["1 March 2024", "2 Apr 2024"], "date"),
        (["1/2/2024", "3/4/2024"], TEXT),
        (["2024-02-30", "2024-01-01"], TEXT),
        (["1/2/24", "3/4/24"], TEXT),
        (["2024-01-31T08:00:00Z", "2024-02-01T08:00:00+02:00"], "dateTime"),
        (["2024-01-31 08:00", "2024-02-01"], "dateTime"),
        (["1962-02-18T00:00:00"], "dateTime"),
        (["8:00", "9:30"], TEXT),
        (["true", "false", "TRUE"], "checkbox"),
        (["Yes", "No"], "checkbox"),
        (["checked", ""], "checkbox"),
        (["x", "", "X"], "checkbox"),
        (["x", "x"], TEXT),
        (["yes", "no", ""], TEXT),
        (["yes", "maybe"], TEXT),
        (["0", "1", "0"], NUMBER),
        (["a@b.co", "Ann.Lee+x@mail.example.com"], "email"),
        (["a@b", "b@c"], TEXT),
        (["a@b.co, c@d.co"], TEXT),
        (["https://a.b/c?d=e", "http://localhost:80/"], "url"),
        (["www.example.com", "https://example.com"], "url"),
        (["example.com", "https://example.com"], TEXT),
        (["+1 (780) 428-9482", "+420 2 4172 5555"], "phoneNumber"),
        (["(11) 3033-5446", "(12) 345-6789"], "phoneNumber"),
        (["978-3-16-148410-0", "978-0-306-40615-7"], TEXT),
        (["123-45-6789", "987-65-4321"], TEXT),
        (["=1+1", "=SUM(A1:A2)"], TEXT),
        (["N/A", "1"], TEXT),
        (["Open", "Closed"] * 5, "singleSelect"),
        (["Open", "Closed"] * 4, TEXT),
        ([f"city {number % 20}" for number in range(60)], TEXT),
        ([f"city {number % 20}" for number in range(80)], "singleSelect"),
        ([f"city {number % 51}" for number in range(510)], TEXT),
        (["common"] * 50 + ["rare", "rarer"], TEXT),
        (["01", "02"] * 20, TEXT),
        (["1/2/2024", "3/4/2024"] * 20, TEXT),
        (["x" * 51, "y"] * 20, TEXT),
    ],
)
def test_types_of_columns(cells: list[str], type_name: str, tmp_path: Path) -> None:
    assert plan_of(tmp_path, cells).type == type_name


ISO = {"name": "iso", "format": "YYYY-MM-DD"}


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (["1", "2"], {"precision": 0}),
        (["1.50", "2"], {"precision": 2}),
        (["1.123456789", "2"], {"precision": 8}),
        (["1.5e-7", "2"], {"precision": 8}),
        (["1,5", "2,25"], {"precision": 2}),
        (["5.5%", "1%"], {"precision": 1}),
        (["$1,234.50", "$2"], {"precision": 2, "symbol": "$"}),
        (["1,123456789 €"], {"precision": 7, "symbol": "€"}),
        (["true", "false"], {"icon": "check", "color": "greenBright"}),
        (["2024-01-31"], {"dateFormat": ISO}),
        (["1/31/2024"], {"dateFormat": {"name": "us", "format": "M/D/YYYY"}}),
        (["31/1/2024"], {"dateFormat": {"name": "european", "format": "D/M/YYYY"}}),
        (["31.1.2024"], {"dateFormat": {"name": "european", "format": "D/M/YYYY"}}),
        (["Jan 31, 2024"], {"dateFormat": {"name": "friendly", "format": "LL"}}),
        (
            ["2024-01-31T08:00Z"],
            {"dateFormat": ISO, "timeFormat": {"name": "24hour", "format": "HH:mm"}, "timeZone": "utc"},
        ),
        (
            ["1/31/2024 8:00 PM"],
            {
                "dateFormat": {"name": "us", "format": "M/D/YYYY"},
                "timeFormat": {"name": "12hour", "format": "h:mma"},
                "timeZone": "utc",
            },
        ),
        (["text"], {}),
    ],
)
def test_options_of_columns(cells: list[str], options: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_of(tmp_path, cells)
    assert plan.options == options
    # The same options come back from the check that a create request goes through.
    assert find(plan.type).parse_options(dict(plan.options) or None, new_choice_id=str) == options


def test_choices_stand_in_order_of_appearance_with_the_colours_in_turn(tmp_path: Path) -> None:
    cells = [f"choice {number % 12}" for number in range(60)]
    choices = plan_of(tmp_path, [" choice 3 ", *cells]).options["choices"]
    assert [choice["name"] for choice in choices][:4] == ["choice 3", "choice 0", "choice 1", "choice 2"]
    assert [choice["color"] for choice in choices][:2] == ["blueLight2", "cyanLight2"]
    assert [choice["color"] for choice in choices][10:] == ["blueLight1", "cyanLight1"]
    assert all(is_id("sel", choice["id"]) for choice in choices)
    assert len({choice["id"] for choice in choices}) == 12


@pytest.mark.parametrize(
    ("other", "column", "type_name", "decimal"),
    [
        (["12.50"], ["1,234"], NUMBER, "."),
        (["12,50"], ["1,234"], NUMBER, ","),
        (["12,50"], ["1.234"], NUMBER, ","),
        (["$1.50"], ["1,234"], NUMBER, "."),
        (["5"], ["1.234"], NUMBER, "."),
        (["5"], ["1,234"], TEXT, "."),
    ],
)
def test_other_columns_decide_what_a_number_leaves_open(
    other: list[str], column: list[str], type_name: str, decimal: str, tmp_path: Path
) -> None:
    for columns in ({"Open": column, "Other": other}, {"Other": other, "Open": column}):
        plan = plans_of(tmp_path, columns)["Open"]
        assert (plan.type, plan.reading.decimal) == (type_name, decimal)


def test_columns_that_disagree_decide_nothing(tmp_path: Path) -> None:
    plans = plans_of(tmp_path, {"Open": ["1,234"], "One": ["12.5"], "Two": ["12,5"]})
    assert [plans[name].type for name in ("Open", "One", "Two")] == [TEXT, NUMBER, NUMBER]


@pytest.mark.parametrize(
    ("other", "type_name", "order"),
    [
        ("31/1/2024", "date", DateOrder.DAY_FIRST),
        ("1/31/2024 8:00", "date", DateOrder.MONTH_FIRST),
        ("2024-01-31", TEXT, DateOrder.MONTH_FIRST),
    ],
)
def test_other_columns_decide_what_a_date_leaves_open(
    other: str, type_name: str, order: DateOrder, tmp_path: Path
) -> None:
    plan = plans_of(tmp_path, {"Open": ["3/4/2024"], "Other": [other]})["Open"]
    assert (plan.type, plan.reading.order) == (type_name, order)


@pytest.mark.parametrize(
    ("name", "cells", "type_name"),
    [
        ("Phone", ["5551234567", "5559876543"], "phoneNumber"),
        ("mobilePhone", ["555-1234"], "phoneNumber"),
        ("work_tel", ["555 1234"], "phoneNumber"),
        ("Phone", ["call me"], TEXT),
        ("Telegrams", ["5551234567"], NUMBER),
        ("ZIP", ["12345", "67890"], TEXT),
        ("BillingPostalCode", ["1000", "2000"] * 20, TEXT),
        ("postal_code", ["1000"], TEXT),
        ("Unzipped", ["1000"], NUMBER),
    ],
)
def test_names_tell_phones_and_postal_codes(name: str, cells: list[str], type_name: str, tmp_path: Path) -> None:
    assert plan_of(tmp_path, cells, name).type == type_name


@pytest.mark.parametrize(
    ("cells", "type_name"),
    [
        (["1", "2"], NUMBER),
        (["true", "false"], TEXT),
        (["Open", "Closed"] * 20, TEXT),
        (["a@b.co"], "email"),
        (["2024-01-31T08:00Z"], "dateTime"),
    ],
)
def test_the_first_column_gets_a_type_that_a_primary_field_may_have(
    cells: list[str], type_name: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.csv"
    path.write_text("First,Second\n" + "".join(f"{cell},x\n" for cell in cells))
    source = sniff(path)
    first = infer(source, take_sample(source))[0]
    assert first.type == type_name
    assert find(first.type).can_be_primary


def test_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("a,b\n")
    source = sniff(path)
    assert [plan.type for plan in infer(source, take_sample(source))] == [TEXT, TEXT]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_sample_reaches_to_the_end_of_a_large_file(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    rows = [f"é {number},{number},{'x' * 20}" for number in range(40_000)]
    rows[30_000:] = [f"é {number},none,{'x' * 20}" for number in range(30_000, 40_000)]
    path.write_text("\n".join(["a,b,c", *rows]), encoding=encoding)
    source = sniff(path)
    sample = take_sample(source)
    assert 2_000 <= sample.head_rows < 5_000
    assert sample.rows == sample.head_rows + 8 * 250
    assert sample.columns[0][0] == "é 0"
    assert [plan.type for plan in infer(source, sample)][:2] == [TEXT, TEXT]


def test_the_sample_keeps_to_the_beginning_where_cells_hold_line_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_module, "SMALL_BYTES", 1000)
    path = tmp_path / "file.csv"
    path.write_text('a,b\n"1\n2",3\n' + '4,"x,y\n5,6"\n' * 40_000)
    source = sniff(path)
    assert take_sample(source).rows == take_sample(source).head_rows


# Existing tables


def a_table(*fields: tuple[str, str, Any]) -> Table:
    made = tuple(
        Field(FieldId(f"fld{number:014d}"), name, type_name, find(type_name).parse_options(options, new_choice_id=str))
        for number, (name, type_name, options) in enumerate(fields)
    )
    return Table(TableId("tbl00000000000001"), "People", made[0].field_id, made, ())


def matched(tmp_path: Path, text: str, table: Table) -> tuple[ColumnPlan, ...]:
    path = tmp_path / "file.csv"
    path.write_text(text)
    source = sniff(path)
    return match(source, take_sample(source), table)


def test_columns_go_to_fields_of_their_name(tmp_path: Path) -> None:
    table = a_table(
        ("name", "singleLineText", None),
        ("NAME", "email", None),
        ("Age", "number", {"precision": 0}),
        ("X", "url", None),
    )
    plans = matched(tmp_path, "age,NAME\n1,a\n", table)
    assert [(plan.name, plan.type) for plan in plans] == [("Age", "number"), ("NAME", "email")]
    assert not plans[0].reading.is_exact


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ColumnsRefused, match=r'has no field for "Ag", "City"') as caught:
        matched(tmp_path, "Name,Ag,City\n", a_table(("Name", "singleLineText", None)))
    assert caught.value.columns == ("Ag", "City")


def test_computed_fields_are_refused(tmp_path: Path) -> None:
    table = a_table(("Name", "singleLineText", None), ("No", "autoNumber", None), ("Made", "createdTime", None))
    with pytest.raises(ColumnsRefused, match='take no values from a file: "No", "Made"'):
        matched(tmp_path, "Name,no,made\n", table)


def test_a_file_fits_the_table_that_was_made_of_it(tmp_path: Path) -> None:
    text = "Name,name,,Name 2\na,b,c,d\n"
    plans = matched(tmp_path, text, a_table(*((name, TEXT, None) for name in ("Name", "name 3", "Field 3", "Name 2"))))
    assert [plan.name for plan in plans] == ["Name", "name 3", "Field 3", "Name 2"]


US = {"dateFormat": {"name": "us"}}
EUROPEAN = {"dateFormat": {"name": "european"}}


@pytest.mark.parametrize(
    ("cells", "type_name", "options", "decimal", "order"),
    [
        (["1,234"], "number", {"precision": 0}, ".", DateOrder.MONTH_FIRST),
        (["12,5"], "number", {"precision": 0}, ",", DateOrder.MONTH_FIRST),
        (["12,5 €", "x"], "currency", {"precision": 2, "symbol": "€"}, ".", DateOrder.MONTH_FIRST),
        (["12,5 €", "1,0 €"], "currency", {"precision": 2, "symbol": "€"}, ",", DateOrder.MONTH_FIRST),
        (["12,5 %"], "percent", {"precision": 0}, ",", DateOrder.MONTH_FIRST),
        ([""], "number", {"precision": 0}, ".", DateOrder.MONTH_FIRST),
        (["3/4/2024"], "date", US, ".", DateOrder.MONTH_FIRST),
        (["3/4/2024"], "date", EUROPEAN, ".", DateOrder.DAY_FIRST),
        (["3/13/2024"], "date", EUROPEAN, ".", DateOrder.MONTH_FIRST),
        (["2024-01-31", "soon"], "date", EUROPEAN, ".", DateOrder.DAY_FIRST),
        (["soon"], "date", EUROPEAN, ".", DateOrder.DAY_FIRST),
    ],
)
def test_cells_for_existing_fields_are_read_as_they_are_written(
    cells: list[str], type_name: str, options: Any, decimal: str, order: DateOrder, tmp_path: Path
) -> None:
    text = "Key,Value\n" + "".join(f'k,"{cell}"\n' for cell in cells)
    table = a_table(("Key", "singleLineText", None), ("Value", type_name, options))
    reading = matched(tmp_path, text, table)[1].reading
    assert (reading.decimal, reading.order) == (decimal, order)
