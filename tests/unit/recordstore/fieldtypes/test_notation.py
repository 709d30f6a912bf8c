"""Numbers and moments as people write them; single texts are in the corpus of values."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.recordstore.fieldtypes.notation import (
    decimal_text,
    read_amount,
    read_moment,
    read_number,
    read_percentage,
    read_seconds,
)

doubles = st.floats(allow_nan=False, allow_infinity=False)
MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
MONTHS += ["August", "September", "October", "November", "December"]


@given(doubles | st.integers(-(2**63), 2**64))
def test_decimal_text_is_exact_and_plain(number: float) -> None:
    text = decimal_text(number)
    assert type(number)(text) == number
    assert set(text) <= set("-.0123456789")
    assert not text.endswith(".0")
    assert text != "-0"


@given(doubles)
def test_numbers_are_read_as_python_writes_them(number: float) -> None:
    for text in (repr(number), decimal_text(number), f"  {number!r}\n", f"{number:,}"):
        read = read_number(text)
        assert read == number
        assert math.copysign(1, read) == (math.copysign(1, number) if number else 1)


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_percentages_are_the_nearest_double(digits: int, decimals: int) -> None:
    """12.3 % is what 0.123 is, and not what 12.3 / 100 is."""
    text = f"{digits}e-{decimals}%"
    assert read_percentage(text) == float(f"{digits}e-{decimals + 2}")


@given(st.floats(0, 1e12), st.sampled_from(["$", "€", "kr", "US$", "CHF"]), st.booleans())
def test_amounts(number: float, symbol: str, is_before: bool) -> None:
    text = f"{symbol} {number:,}" if is_before else f"{number:,} {symbol}"
    assert read_amount(text, "kr") == number
    assert read_amount(f"-{text}", "kr") == 0 - number
    assert read_amount(f"({text})", "kr") == 0 - number


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_lengths_of_time(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    whole = hours * 3600 + minutes * 60
    assert read_seconds(f"{hours}:{minutes:02}") == whole
    assert read_seconds(f"{hours}:{minutes:02}:{seconds:02}") == whole + seconds
    exact = float(f"{whole + seconds}.{milliseconds:03}")
    assert read_seconds(f"{hours}:{minutes:02}:{seconds:02}.{milliseconds:03}") == exact


@given(st.datetimes(), st.booleans())
def test_moments_in_every_form(moment: datetime, is_day_first: bool) -> None:
    moment = moment.replace(microsecond=0)
    year, month, day = f"{moment.year:04}", moment.month, moment.day
    name = MONTHS[month - 1]
    days = [
        f"{year}/{month}/{day}",
        f"{day}.{month}.{year}",
        f"{day}/{month}/{year}" if is_day_first else f"{month}/{day}/{year}",
        f"{day} {name} {year}",
        f"{day}-{name[:3]}-{year}",
        f"{name.upper()} {day}, {year}",
        f"{name[:3]}. {day} {year}",
    ]
    half = "am" if moment.hour < 12 else "PM"
    times = [
        f" {moment.hour}:{moment.minute:02}:{moment.second:02}",
        f", {(moment.hour + 11) % 12 + 1}:{moment.minute:02}:{moment.second:02} {half}",
    ]
    midnight = moment.replace(hour=0, minute=0, second=0)
    for text in days:
        assert read_moment(text, is_day_first=is_day_first) == midnight
        for time in times:
            assert read_moment(text + time, is_day_first=is_day_first) == moment


@pytest.mark.parametrize(
    ("zone", "offset_minutes"),
    [("Z", 0), (" UTC", 0), (" gmt", 0), ("+02", 120), ("-0330", -210), (" +05:45", 345)],
)
def test_offsets(zone: str, offset_minutes: int) -> None:
    read = read_moment(f"3/1/2024 08:00{zone}", is_day_first=False)
    assert read == datetime(2024, 3, 1, 8, tzinfo=UTC) - timedelta(minutes=offset_minutes)


@given(st.text(max_size=30) | st.text("0123456789-:/.,+TZ %$€()eapm", max_size=40), st.booleans())
def test_any_text_is_read_or_not(text: str, is_day_first: bool) -> None:
    for read in (read_number, read_percentage, read_amount, read_seconds):
        value = read(text)
        assert value is None or math.isfinite(value)
        assert str(value) != "-0.0"
    moment = read_moment(text, is_day_first=is_day_first)
    assert moment is None or moment.microsecond % 1000 == 0


@pytest.mark.parametrize(
    "text", ["9" * 100_000, " " * 100_000 + "x", "1," * 50_000, "1 " * 50_000, "$" * 100_000, "a" * 100_000]
)
def test_long_texts_are_not_looked_at(text: str) -> None:
    for read in (read_number, read_percentage, read_amount, read_seconds):
        assert read(text) is None
    assert read_moment(text, is_day_first=True) is None
