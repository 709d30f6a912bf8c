"""Numbers, dates and amounts as people write them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.recordstore.tabular.formats import (
    DateOrder,
    DateStyle,
    date_style,
    loses_digits,
    possible_decimals,
    possible_orders,
    read_moment,
    read_number,
    split_money,
)


@pytest.mark.parametrize(
    ("text", "decimal", "value"),
    [
        ("0", ".", 0.0),
        ("-1.5", ".", -1.5),
        ("+7", ".", 7.0),
        ("−3", ".", -3.0),
        (".5", ".", 0.5),
        ("5.", ".", 5.0),
        ("1,234,567.89", ".", 1_234_567.89),
        ("1 234 567", ".", 1_234_567.0),
        ("1\u202f234,5", ",", 1_234.5),
        ("1'234.50", ".", 1_234.5),
        ("1.234.567,89", ",", 1_234_567.89),
        ("3,14", ",", 3.14),
        ("1.5e-7", ".", 1.5e-7),
        ("2E3", ".", 2_000.0),
        ("1,234", ".", 1_234.0),
        ("1,234", ",", 1.234),
        ("1e-400", ".", 0.0),
        ("00123", ".", 123.0),
    ],
)
def test_numbers_are_read(text: str, decimal: str, value: float) -> None:
    assert read_number(text, decimal) == value


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("", "."),
        ("-", "."),
        (".", "."),
        ("1,23", "."),
        ("1,2345", "."),
        ("1,234 567", "."),
        ("12,34,567", "."),
        ("1234,567", "."),
        (",5,", ","),
        ("5,", ","),
        ("1e", "."),
        ("1e400", "."),
        ("nan", "."),
        ("inf", "."),
        ("1_000", "."),
        ("0x10", "."),
        ("١٢", "."),
        ("1.2.3", "."),
        ("--5", "."),
        ("5-", "."),
        ("5 %", "."),
        ("1\n", "."),
    ],
)
def test_what_is_no_number_is_refused(text: str, decimal: str) -> None:
    assert read_number(text, decimal) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_read_back(value: float) -> None:
    assert read_number(repr(value), ".") == value


@given(st.integers(-(10**12), 10**12), st.integers(0, 8))
def test_a_shift_is_exact_to_the_last_bit(digits: int, decimals: int) -> None:
    text = f"{digits}e-{decimals}"
    assert read_number(text, ".", shift=-2) == float(f"{digits}e-{decimals + 2}")


@pytest.mark.parametrize("text", ["00123", "-007", "0171", "1234567890123456", "00.5"])
def test_codes_would_lose_digits(text: str) -> None:
    assert loses_digits(text)


@pytest.mark.parametrize("text", ["0", "0.5", "-0,25", "123456789012345", "1234567.12345678901", "10"])
def test_numbers_lose_nothing(text: str) -> None:
    assert not loses_digits(text)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        (["1", "25"], {".", ","}),
        (["1.5", "25"], {"."}),
        (["1,5", "25"], {","}),
        (["1,234"], {".", ","}),
        (["1,234", "1,234,567"], {"."}),
        (["1.234", "1,5"], {","}),
        (["1.234", "5.678"], {".", ","}),
        (["1.5", "1,5"], set()),
        (["1", "x"], set()),
    ],
)
def test_decimal_signs_of_a_column(values: list[str], decimals: set[str]) -> None:
    assert possible_decimals(values) == decimals


FIVE_PAST_EIGHT = datetime(2024, 3, 1, 8, 5)


@pytest.mark.parametrize(
    ("text", "order", "moment"),
    [
        ("2024-03-01", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("2024/3/1", DateOrder.DAY_FIRST, date(2024, 3, 1)),
        ("3/1/2024", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("1/3/2024", DateOrder.DAY_FIRST, date(2024, 3, 1)),
        ("01-03-2024", DateOrder.DAY_FIRST, date(2024, 3, 1)),
        ("1.3.2024", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("1 March 2024", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("March 1st, 2024", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("01-Mar-2024", DateOrder.MONTH_FIRST, date(2024, 3, 1)),
        ("2024-02-29", DateOrder.MONTH_FIRST, date(2024, 2, 29)),
        ("2024-03-01T08:05", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT),
        ("2024-03-01 08:05:00", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT),
        ("3/1/2024 8:05 AM", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT),
        ("3/1/2024, 8:05:00 a.m.", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT),
        ("3/1/2024 8:05pm", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT.replace(hour=20)),
        ("3/1/2024 12:05 am", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT.replace(hour=0)),
        ("2024-03-01T08:05:00Z", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT.replace(tzinfo=UTC)),
        ("2024-03-01 08:05:00 UTC", DateOrder.MONTH_FIRST, FIVE_PAST_EIGHT.replace(tzinfo=UTC)),
        (
            "2024-03-01T08:05:00.123456+05:45",
            DateOrder.MONTH_FIRST,
            FIVE_PAST_EIGHT.replace(microsecond=123_000, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        ),
        (
            "2024-03-01T08:05-0330",
            DateOrder.MONTH_FIRST,
            FIVE_PAST_EIGHT.replace(tzinfo=timezone(-timedelta(hours=3, minutes=30))),
        ),
    ],
)
def test_moments_are_read(text: str, order: DateOrder, moment: date) -> None:
    read = read_moment(text, order)
    assert read == moment
    assert type(read) is type(moment)


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2024-13-01",
        "0000-01-01",
        "13/13/2024",
        "3/1/24",
        "12.31.2024",
        "2024-03-01T24:00",
        "2024-03-01T08:60",
        "3/1/2024 13:00 PM",
        "3/1/2024 0:30 am",
        "2024-03-01T08:00+25:00",
        "1 Smarch 2024",
        "2024-03/01",
        "yesterday",
        "20240301",
        "2024-03-01T",
        "2024-03-01\n",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    assert read_moment(text, DateOrder.MONTH_FIRST) is None


@given(st.datetimes(timezones=st.timezones()))
def test_iso_timestamps_are_read_to_the_millisecond(moment: datetime) -> None:
    offset = moment.utcoffset() or timedelta()
    if offset % timedelta(minutes=1):
        return  # ISO offsets of old local mean times have seconds, which nobody writes
    expected = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    read = read_moment(moment.isoformat(), DateOrder.DAY_FIRST)
    assert isinstance(read, datetime)
    assert read.replace(tzinfo=None) == expected.replace(tzinfo=None)
    assert read.utcoffset() == offset


@pytest.mark.parametrize(
    ("values", "orders"),
    [
        (["2024-01-31", "2024-02-01"], set(DateOrder)),
        (["1/31/2024", "2/1/2024"], {DateOrder.MONTH_FIRST}),
        (["31/1/2024", "2/1/2024"], {DateOrder.DAY_FIRST}),
        (["5/5/2024"], set(DateOrder)),
        (["31.1.2024", "1.2.2024"], set(DateOrder)),
        (["1/2/2024"], None),
        (["1/31/2024", "31/1/2024"], set()),
        (["2024-01-31", "2024-02-31"], set()),
    ],
)
def test_orders_of_a_column(values: list[str], orders: set[DateOrder] | None) -> None:
    assert possible_orders(values) == orders


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("2024-1-5 8:00", DateStyle.ISO),
        ("99/99/2024", DateStyle.NUMBERS),
        ("1.2.2024", DateStyle.POINTS),
        ("Jan 5, 2024", DateStyle.NAMES),
        ("1/2", None),
    ],
)
def test_styles_of_dates(text: str, style: DateStyle | None) -> None:
    assert date_style(text) == style


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("$5", ("$", "5")),
        ("-$5.00", ("$", "-5.00")),
        ("$-5.00", ("$", "-5.00")),
        ("($1,234.50)", ("$", "-1,234.50")),
        ("€ 1.234,50", ("€", "1.234,50")),
        ("1 234,50 €", ("€", "1 234,50")),
        ("12.50 kr", ("kr", "12.50")),
        ("CHF 5", ("CHF", "5")),
        ("R$ 10,00", ("R$", "10,00")),
        ("5", ("", "5")),
    ],
)
def test_amounts_are_split(text: str, amount: tuple[str, str]) -> None:
    assert split_money(text) == amount


@pytest.mark.parametrize("text", ["$", "$5$", "-($5)", "($5", "--$5", "5 km", "abc", "$ five", "A5", "=1+1", "5%"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    assert split_money(text) is None
