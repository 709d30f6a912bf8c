"""From cells to what COPY takes: the quick way and the careful way agree, and nothing is changed on the way."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.ids import FieldId, is_id
from pyat.recordstore.fieldtypes import REGISTRY, find
from pyat.recordstore.structure import Field
from pyat.recordstore.tabular.convert import CONVERTERS, NULL, Converter, Misfit, NumberConverter, SelectConverter
from pyat.recordstore.tabular.formats import DateOrder
from pyat.recordstore.tabular.plan import Reading

ISO = {"name": "iso", "format": "YYYY-MM-DD"}
OPTIONS: dict[str, Any] = {
    "number": {"precision": 0},
    "percent": {"precision": 0},
    "currency": {"precision": 2, "symbol": "$"},
    "duration": {"durationFormat": "h:mm"},
    "rating": {"icon": "star", "max": 5, "color": "yellowBright"},
    "checkbox": {"icon": "check", "color": "greenBright"},
    "singleSelect": {"choices": [{"name": "Open"}, {"name": "Closed"}]},
    "multipleSelects": {"choices": [{"name": "Open"}, {"name": "Closed, late"}]},
    "date": {"dateFormat": ISO},
    "dateTime": {"dateFormat": ISO, "timeFormat": {"name": "24hour"}, "timeZone": "utc"},
}


def converter(type_name: str, reading: Reading | None = None, **options: Any) -> Converter:
    given_options = {**OPTIONS.get(type_name, {}), **options} or None
    parsed = find(type_name).parse_options(given_options, new_choice_id=iter(("selA", "selB", "selC")).__next__)
    return CONVERTERS[type_name](Field(FieldId("fld00000000000001"), "F", type_name, parsed), reading or Reading())


def items(type_name: str, cells: Sequence[str], reading: Reading | None = None, **options: Any) -> list[str]:
    """The items of cells that all fit."""
    converted = converter(type_name, reading, **options).convert(cells)
    assert not converted.refused
    return list(converted.items)


def refused(type_name: str, cells: Sequence[str], reading: Reading | None = None, **options: Any) -> dict[str, str]:
    converted = converter(type_name, reading, **options).convert(cells)
    assert all(item == NULL for cell, item in zip(cells, converted.items, strict=True) if cell in converted.refused)
    return dict(converted.refused)


def unescaped(item: str) -> str:
    """COPY's text format, read as PostgreSQL's documentation describes it."""
    assert "\n" not in item
    assert "\t" not in item
    text = ""
    rest = iter(item)
    for character in rest:
        text += character if character != "\\" else {"n": "\n", "t": "\t", "\\": "\\"}[next(rest)]
    return text


def test_every_type_whose_values_are_texts_has_a_converter() -> None:
    others = {"singleCollaborator", "multipleCollaborators", "multipleRecordLinks", "multipleAttachments"}
    assert set(CONVERTERS) == {name for name, kind in REGISTRY.items() if not kind.is_computed} - others


# Text

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8) | st.sampled_from(
    ["\\", "\\N", "\\.", "\t", "\n", "a\\nb", "=1+1", "é\\", "\u2028"]
)


@given(st.lists(texts, min_size=1))
def test_text_comes_back_as_it_was(cells: list[str]) -> None:
    found = items("singleLineText", cells)
    expected = [cell.replace("\r\n", "\n").replace("\r", "\n") for cell in cells]
    assert [None if item == NULL else unescaped(item) for item in found] == [cell or None for cell in expected]


def test_addresses_lose_the_blanks_around_them() -> None:
    assert items("email", [" a@b.c ", "d@e.f", "  "]) == ["a@b.c", "d@e.f", NULL]
    assert items("singleLineText", [" a "]) == [" a "]


def test_text_that_a_field_cannot_hold_is_refused() -> None:
    fits, long, nul = "x" * 100_000, "x" * 100_001, "a\x00b"
    for type_name in ("singleLineText", "richText", "url"):
        found = refused(type_name, [fits, long, nul, "ok"])
        assert found == {long: "is longer than 100,000 characters", nul: "holds a NUL character"}


def test_rich_text_is_normalised_as_any_write_is() -> None:
    assert items("richText", ["x" * 100_000]) == ["x" * 100_000 + "\\n"]
    assert items("richText", ["* a\n * b\\", "", "done\n"]) == ["- a\\n - b\\\\\\n", NULL, "done\\n"]


def test_barcodes_are_objects_with_a_text() -> None:
    assert items("barcode", [" 012 ", "", 'a"\\\n']) == ['{"text":"012"}', NULL, r'{"text":"a\\"\\\\"}']


# Numbers

plain = st.from_regex(r"-?\d{1,18}(\.\d{0,10})?", fullmatch=True)
awkward = st.sampled_from(
    ["", " ", *"0 -0 007 1e5 1e-400 1e400 nan 1_0 .5 -.5 . - 1,234 1,23 1.234,5 12% 1,234.5% % $5 -$5 $-5 5$".split()]
) | st.sampled_from(["$1,234.50", "$ 5", "($5)", "€5", "5 $", "5$6", "x", "²", "9" * 310])


@pytest.mark.parametrize("is_exact", [False, True])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("type_name", ["number", "percent", "currency"])
@given(cells=st.lists(plain | awkward, min_size=1, max_size=6) | st.lists(plain, min_size=1, max_size=6))
def test_columns_of_numbers_read_as_their_cells_do(
    type_name: str, decimal: str, is_exact: bool, cells: list[str]
) -> None:
    made = converter(type_name, Reading(decimal, is_exact=is_exact))
    converted = made.convert(cells)
    for cell, item in zip(cells, converted.items, strict=True):
        expected, reason = alone(made, cell)
        assert converted.refused.get(cell) == reason
        assert (item == NULL) == (expected == NULL)
        if item != NULL:
            assert float(item) == float(expected)
            assert math.isfinite(float(item))


def alone(made: Converter, cell: str) -> tuple[str, str | None]:
    """What a cell is without its neighbours, the careful way: its item and why it is refused."""
    assert isinstance(made, NumberConverter)
    try:
        return made.read(cell.strip()) if cell.strip() else NULL, None
    except Misfit as misfit:
        return NULL, misfit.args[0]


@pytest.mark.parametrize(
    ("type_name", "decimal", "cells", "values"),
    [
        ("number", ".", ["1", "", "-2.5"], [1, None, -2.5]),
        ("number", ".", ["1,234", "999", "1,234,567.5"], [1_234, 999, 1_234_567.5]),
        ("number", ",", ["1.234", "999", "1.234.567,5"], [1_234, 999, 1_234_567.5]),
        ("number", ".", [" 12 ", "1e3", "+5"], [12, 1_000, 5]),
        ("percent", ".", ["12.5%", "100%", ""], [0.125, 1, None]),
        ("percent", ".", ["12.5 %", "0.5"], [0.125, 0.5]),
        ("percent", ",", ["1.234,5%"], [12.345]),
        ("percent", ".", ["29%", "0.07%"], [0.29, 0.0007]),
        ("currency", ".", ["$1,234.50", "-$5", "$-6", ""], [1_234.5, -5, -6, None]),
        ("currency", ".", ["$5", "6", "($7.50)"], [5, 6, -7.5]),
        ("duration", ".", ["1:30", "1:02:03.4", "90", "-0:30", "1.5"], [5_400, 3_723.4, 90, -1_800, 1.5]),
        ("rating", ".", ["3", "5.0", "0", ""], [3, 5, None, None]),
    ],
)
def test_numbers(type_name: str, decimal: str, cells: list[str], values: list[float | None]) -> None:
    found = items(type_name, cells, Reading(decimal))
    assert [None if item == NULL else float(item) for item in found] == values


@pytest.mark.parametrize(
    ("symbol", "decimal", "cells", "values"),
    [
        ("€", ",", ["5,00 €", "1.234,50 €"], [5, 1_234.5]),
        ("€", ",", ["5,00\u00a0€", "-1.234,50\u00a0€"], [5, -1_234.5]),
        ("€", ".", ["€5", "5€"], [5, 5]),
        ("CHF", ".", ["CHF 5.50", "CHF 1'000"], [5.5, 1_000]),
        ("", ".", ["5"], [5]),
    ],
)
def test_amounts(symbol: str, decimal: str, cells: list[str], values: list[float]) -> None:
    assert [float(item) for item in items("currency", cells, Reading(decimal), symbol=symbol)] == values


def test_the_reasons_of_numbers() -> None:
    assert refused("number", ["1", "x", "1e400"]) == {"x": "is not a number", "1e400": "is not a number"}
    assert refused("currency", ["$1", "€1", "$x"]) == {"€1": "is not in $", "$x": "is not an amount"}
    assert refused("rating", ["6", "1.5", "x"]).keys() == {"6", "1.5", "x"}
    assert refused("duration", ["soon", "1:2:3:4"]).keys() == {"soon", "1:2:3:4"}


def test_an_inferred_number_never_swallows_a_code() -> None:
    exact = Reading(is_exact=True)
    reason = "would lose leading zeros or digits as a number"
    codes = ["00123", "-01", "1234567890123456", "01.5"]
    assert refused("number", ["5", *codes], exact) == dict.fromkeys(codes, reason)
    assert refused("currency", ["$5", "$007"], exact) == {"$007": reason}
    assert items("number", ["00123", "1234567890123456"]) == ["00123", "1234567890123456"]
    assert items("number", ["0", "-0.5", "100", "123456789012345.25"], exact)


# Checkboxes and choices


def test_checkboxes() -> None:
    cells = ["true", "FALSE", "Yes", "no", "x", "", " ", "1", "0", "checked", "✓"]
    assert items("checkbox", cells) == ["t", NULL, "t", NULL, "t", NULL, NULL, "t", NULL, "t", "t"]
    assert refused("checkbox", ["true", "maybe"]) == {"maybe": "is neither yes nor no"}


def test_choices_are_found_by_name_and_new_ones_collected() -> None:
    made = converter("singleSelect")
    assert isinstance(made, SelectConverter)
    assert list(made.convert(["Open", " Closed ", ""]).items) == ["selA", "selB", NULL]
    assert not made.added.ids_by_name
    first = made.convert(["open", "New", "New"]).items
    second = made.convert(["New", "Open"]).items
    assert list(made.added.ids_by_name) == ["open", "New"]
    assert list(second) == [made.added.ids_by_name["New"], "selA"]
    assert first[1] == first[2] == second[0]
    assert is_id("sel", second[0])


def test_choices_are_bounded() -> None:
    made = converter("singleSelect")
    converted = made.convert([f"choice {number}" for number in range(10_001)])
    assert len(converted.refused) == 3
    assert converted.refused["choice 9998"] == "would be one choice more than the 10,000 that a field can have"
    assert refused("singleSelect", ["x" * 10_001]).keys() == {"x" * 10_001}


def test_several_choices_in_a_cell() -> None:
    made = converter("multipleSelects")
    assert isinstance(made, SelectConverter)
    found = list(made.convert(["Open", '"Closed, late", Open,Open', ",", "", "New\nline,"]).items)
    assert found == ["{selA}", "{selB,selA}", NULL, NULL, "{" + made.added.ids_by_name["New line"] + "}"]


# Dates


@pytest.mark.parametrize(
    ("cells", "order", "dates"),
    [
        (["2024-02-29", "", "1999-12-31"], DateOrder.MONTH_FIRST, ["2024-02-29", NULL, "1999-12-31"]),
        (["3/4/2024", "12/31/2024"], DateOrder.MONTH_FIRST, ["2024-03-04", "2024-12-31"]),
        (["3/4/2024", "31.12.2024"], DateOrder.DAY_FIRST, ["2024-04-03", "2024-12-31"]),
        ([" 2024-02-29 ", "4 July 2024"], DateOrder.MONTH_FIRST, ["2024-02-29", "2024-07-04"]),
        (["0001-01-01", "9999-12-31"], DateOrder.MONTH_FIRST, ["0001-01-01", "9999-12-31"]),
    ],
)
def test_dates(cells: list[str], order: DateOrder, dates: list[str]) -> None:
    assert items("date", cells, Reading(order=order)) == dates


@pytest.mark.parametrize("cell", ["2023-02-29", "2024-W05-1", "20240229", "29/2/2024", "soon", "2024-02-2x"])
def test_what_is_no_date_is_refused(cell: str) -> None:
    assert refused("date", ["2024-02-29", cell]) == {cell: "is not a date (read month first)"}


def test_a_date_drops_a_time_only_where_its_type_was_chosen() -> None:
    cells = ["2024-02-29T00:00:00", "2024-02-29 08:30"]
    assert items("date", cells) == ["2024-02-29", "2024-02-29"]
    assert refused("date", cells, Reading(is_exact=True)) == {cells[1]: "has a time of day, which a date does not keep"}


def moments(cells: Sequence[str], **options: Any) -> list[datetime | None]:
    found = items("dateTime", cells, **options)
    return [None if item == NULL else datetime.fromisoformat(item) for item in found]


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-02-29T08:30:00", "2024-02-29 08:30:00"],
        ["2024-02-29T08:30:00Z", ""],
        ["2024-02-29T08:30:00.123Z", "2024-02-29T08:30:00.123Z"],
        ["2024-02-29T08:30:00.123", "2024-02-29T08:30:00.123"],
        ["2024-02-29T08:30:00Z", "2024-02-29", "2/29/2024 8:30 am", "2024-02-29T10:30+02:00"],
    ],
)
def test_moments(cells: list[str]) -> None:
    half_past_eight = datetime(2024, 2, 29, 8, 30, tzinfo=UTC)
    for cell, moment in zip(cells, moments(cells), strict=True):
        if "." in cell:
            assert moment == half_past_eight.replace(microsecond=123_000)
        elif len(cell) == 10:
            assert moment == half_past_eight.replace(hour=0, minute=0)
        else:
            assert moment == (half_past_eight if cell else None)


def test_moments_without_a_zone_are_read_in_the_fields() -> None:
    found = moments(["2024-07-01T08:00:00", "2024-07-01T08:00:00Z", "2024-01-01"], timeZone="Europe/Paris")
    assert found == [
        datetime(2024, 7, 1, 6, tzinfo=UTC),
        datetime(2024, 7, 1, 8, tzinfo=UTC),
        datetime(2023, 12, 31, 23, tzinfo=UTC),
    ]


@given(
    st.lists(st.datetimes(), min_size=1, max_size=5),
    st.sampled_from(["%sT%s", "%s %s"]),
    st.sampled_from(["", "Z"]),
    st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes"]),
)
def test_iso_moments_come_back_to_the_millisecond(values: list[datetime], form: str, zone: str, precision: str) -> None:
    cells = [form % (value.date().isoformat(), value.time().isoformat(timespec=precision)) + zone for value in values]
    for cell, moment in zip(cells, moments(cells), strict=True):
        assert moment is not None
        expected = datetime.fromisoformat(cell).replace(tzinfo=UTC)
        assert moment == expected.replace(microsecond=expected.microsecond // 1000 * 1000)


shapes = st.lists(st.sampled_from("2024-01:59TZ.W/ "), min_size=10, max_size=24).map("".join)


@given(st.lists(shapes, min_size=1, max_size=2))
def test_whatever_has_the_width_of_a_date_is_read_or_refused(cells: list[str]) -> None:
    for type_name in ("date", "dateTime"):
        converted = converter(type_name).convert(cells)
        for cell, item in zip(cells, converted.items, strict=True):
            if item != NULL:
                assert len(item) >= 10
                assert item[4] == item[7] == "-"
                date.fromisoformat(item[:10])
                if type_name == "dateTime":
                    assert datetime.fromisoformat(item).tzinfo is not None
            else:
                assert cell in converted.refused or not cell.strip()


@pytest.mark.parametrize("cell", ["2024-02-29T24:00:00", "2024-02-30T08:00:00Z", "0001-01-01T00:00:00+01:00", "soon"])
def test_what_is_no_moment_is_refused(cell: str) -> None:
    assert refused("dateTime", ["2024-02-29T08:00:00Z", cell]).keys() == {cell}


# Memory


@pytest.mark.parametrize("type_name", ["checkbox", "number"])
def test_refusals_are_told_again_in_later_chunks(type_name: str) -> None:
    made = converter(type_name)
    assert made.convert(["bad", "1"]).refused
    assert made.convert(["bad"]).refused
    made.convert([f"bad {number}" for number in range(60_000)])
    converted = made.convert(["bad", "1"])
    assert converted.refused.keys() == {"bad"}
