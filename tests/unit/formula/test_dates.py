"""Dates: reading, reckoning, formats and working days, case by case."""

import itertools
import random
from datetime import UTC, date, datetime, timedelta

import pytest

from pyat.formula import evaluation, formats, moments
from pyat.formula.checking import Scope
from pyat.formula.functions import dates
from pyat.formula.values import ERROR, MS_MAX, MS_MIN, Moment, Value, moment_text, number_text

NOW = Moment(1_709_647_629_045)
EXAMPLE = '"2024-03-05T14:07:09.045Z"'


def value_of(formula: str) -> Value:
    """Without fields, on 2024-03-05."""
    return evaluation.evaluate(formula, Scope(lambda name: None), {"NOW": NOW})


def told(value: Value) -> str:
    """As docstrings write values."""
    if value is None:
        return "blank"
    if isinstance(value, float):
        return number_text(value) if value == value else "NaN"
    if isinstance(value, Moment):
        return moment_text(value)
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _examples() -> list[tuple[str, str]]:
    found = []
    for function in dates.FUNCTIONS:
        lines = [line.strip() for line in (function.__doc__ or "").splitlines()]
        pairs = [(one[4:], two) for one, two in itertools.pairwise(lines) if one.startswith(">>> ")]
        assert pairs, f"{function.__name__} has no example"
        found += pairs
    return found


@pytest.mark.parametrize(("formula", "expected"), _examples())
def test_the_examples_of_the_help_are_right(formula: str, expected: str) -> None:
    assert told(value_of(formula)) == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ('DATEADD("2023-01-31", 1, "M")', "2023-02-28T00:00:00.000Z"),
        ('DATEADD("2024-03-31", -1, "month")', "2024-02-29T00:00:00.000Z"),
        ('DATEADD("2024-02-29", 1, "years")', "2025-02-28T00:00:00.000Z"),
        ('DATEADD("2023-11-30", 1, "quarter")', "2024-02-29T00:00:00.000Z"),
        ('DATEADD("2024-03-05", 1.9, "days")', "2024-03-06T00:00:00.000Z"),
        ('DATEADD("2024-03-05", -1.9, "d")', "2024-03-04T00:00:00.000Z"),
        ('DATEADD("2024-03-05", 1, "m")', "2024-03-05T00:01:00.000Z"),
        ('DATEADD("2024-03-05", 1.5, "ms")', "2024-03-05T00:00:00.001Z"),
        ('DATEADD("9999-12-31", 1, "day")', "#ERROR!"),
        ('DATEADD("9999-12-31", POWER(10, 305), "second")', "#ERROR!"),
        ('DATEADD("0001-01-31", -1, "month")', "#ERROR!"),
        ('DATEADD(BLANK(), 1, "day")', "#ERROR!"),
        ('DATEADD("2024-03-05", "x", "day")', "#ERROR!"),
        ('DATETIME_DIFF("2024-03-31", "2024-02-29", "M")', "1"),
        ('DATETIME_DIFF("2024-02-29", "2024-01-31", "months")', "1"),
        ('DATETIME_DIFF("2024-02-28", "2024-01-31", "months")', "0"),
        ('DATETIME_DIFF("2024-01-31", "2024-02-29", "months")', "-1"),
        ('DATETIME_DIFF("2024-01-15", "2024-03-14", "months")', "-1"),
        ('DATETIME_DIFF("2025-02-28", "2024-02-29", "years")', "1"),
        ('DATETIME_DIFF("2024-12-31", "2024-01-01", "Q")', "3"),
        ('DATETIME_DIFF("2024-03-05", "2024-03-11", "weeks")', "0"),
        ('DATETIME_DIFF("2024-03-05", "2024-03-06", "x")', "#ERROR!"),
        ('IS_SAME("2024-03-03", "2024-03-09", "week")', "1"),
        ('IS_SAME("2024-03-02", "2024-03-03", "week")', "0"),
        ('IS_SAME("2024-03-02", "2024-03-03", "eon")', "#ERROR!"),
        ("IS_SAME(BLANK(), BLANK())", "0"),
        ('WEEKNUM("2024-01-01")', "1"),
        ('WEEKNUM("2023-01-01")', "1"),
        ('WEEKNUM("2023-01-01", "monday")', "1"),
        ('WEEKNUM("2000-12-31")', "54"),
        ('WEEKNUM("2024-01-01", "Friday")', "#ERROR!"),
        ('WORKDAY("2024-03-09", 1)', "2024-03-11T00:00:00.000Z"),
        ('WORKDAY("2024-03-10", -1)', "2024-03-08T00:00:00.000Z"),
        ('WORKDAY("2024-03-09T10:30:00Z", 0)', "2024-03-09T10:30:00.000Z"),
        ('WORKDAY("2024-03-08", 1000000000000)', "#ERROR!"),
        ('WORKDAY("2024-03-08", 1, "soon")', "#ERROR!"),
        ('WORKDAY("2024-03-08", 1, "2024-03-11,2024-03-11, 2024-03-10")', "2024-03-12T00:00:00.000Z"),
        ('WORKDAY_DIFF("2024-03-09", "2024-03-10")', "0"),
        ('WORKDAY_DIFF("2024-03-11", "2024-03-08")', "-2"),
        ("YEAR(12)", "#ERROR!"),
        ("TODAY()", "2024-03-05T00:00:00.000Z"),
        ("DATETIME_FORMAT(BLANK())", "#ERROR!"),
        ('DATETIME_PARSE("5 March 2024", "D MMMM YYYY")', "2024-03-05T00:00:00.000Z"),
        ('DATETIME_PARSE("5 marzo 2024", "D MMMM YYYY", "es")', "2024-03-05T00:00:00.000Z"),
        ('DATETIME_PARSE("5 Foo 2024", "D MMM YYYY")', "#ERROR!"),
        ('DATETIME_PARSE("31/02/2024", "DD/MM/YYYY")', "#ERROR!"),
        ('DATETIME_PARSE("2024-03-05 2:07 PM", "YYYY-MM-DD h:mm a")', "2024-03-05T14:07:00.000Z"),
        ('DATETIME_PARSE("2024-03-05 12:07 am", "YYYY-MM-DD h:mm A")', "2024-03-05T00:07:00.000Z"),
        ('DATETIME_PARSE("2024-03-05 10:00 +02:00", "YYYY-MM-DD HH:mm Z")', "2024-03-05T08:00:00.000Z"),
        ('DATETIME_PARSE("2024-03-05 10:00 +02:00", "YYYY-MM-DD HH:mm")', "2024-03-05T10:00:00.000Z"),
        ('DATETIME_PARSE("05/03/70", "DD/MM/YY")', "1970-03-05T00:00:00.000Z"),
        ('DATETIME_PARSE("1709647629", "X")', "2024-03-05T14:07:09.000Z"),
        ('DATETIME_PARSE("2024", "YYYY")', "2024-01-01T00:00:00.000Z"),
        ('DATETIME_PARSE("2024-W10-2", "GGGG-[W]WW-E")', "2024-03-05T00:00:00.000Z"),
        ('DATETIME_PARSE("none", "YYYY")', "#ERROR!"),
        ("DATETIME_PARSE(BLANK())", "#ERROR!"),
        ('DATETIME_FORMAT(SET_LOCALE(SET_TIMEZONE("2024-07-01 12:00", "europe/london"), "fr"), "LT z")', '"13:00 BST"'),
        ('DATETIME_FORMAT(SET_LOCALE("2024-03-05", "xx"), "MMMM")', '"March"'),
        ('DAY(SET_TIMEZONE("2024-03-05", "America/New_York"))', "5"),
        ('SET_TIMEZONE("2024-03-05", "+02:00")', "#ERROR!"),
        ('DATETIME_FORMAT("2024-03-05", REPT("Y", 10001))', "#ERROR!"),
        ('DATETIME_PARSE("2024" & REPT("-", 10001), REPT("Y", 9999))', "#ERROR!"),
        ('DATETIME_FORMAT(SET_TIMEZONE("0001-01-01", "America/New_York"), "L")', "#ERROR!"),
    ],
)
def test_formulas(formula: str, expected: str) -> None:
    assert told(value_of(formula)) == expected


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("M Mo MM MMM MMMM", "3 3rd 03 Mar March"),
        ("Q Qo D Do DD", "1 1st 5 5th 05"),
        ("DDD DDDo DDDD", "65 65th 065"),
        ("d do dd ddd dddd e E", "2 2nd Tu Tue Tuesday 2 2"),
        ("w wo ww W Wo WW", "10 10th 10 10 10th 10"),
        ("YY YYYY Y gg gggg GG GGGG", "24 2024 2024 24 2024 24 2024"),
        ("H HH h hh k kk m mm s ss", "14 14 2 02 14 14 7 07 9 09"),
        ("S SS SSS SSSS", "0 04 045 0450"),
        ("A a Z ZZ z zz X x", "PM pm +00:00 +0000 UTC UTC 1709647629 1709647629045"),
        ("LT|LTS|L|l", "2:07 PM|2:07:09 PM|03/05/2024|3/5/2024"),
        ("LL|ll", "March 5, 2024|Mar 5, 2024"),
        ("LLL|lll", "March 5, 2024 2:07 PM|Mar 5, 2024 2:07 PM"),
        ("LLLL|llll", "Tuesday, March 5, 2024 2:07 PM|Tue, Mar 5, 2024 2:07 PM"),
        ("[at] H [o'clock]", "at 14 o'clock"),
        ("YYYY年M月", "2024年3月"),
        ("\\Y\\\\", "Y\\"),
        ("[HH", "[14"),
    ],
)
def test_every_token_of_formats(format_: str, expected: str) -> None:
    given = moments.parse_moment(EXAMPLE.strip('"'))
    assert given is not None
    assert formats.write(given, format_) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (31, "31st"),
        (112, "112th"),
    ],
)
def test_ordinals(number: int, expected: str) -> None:
    assert formats.ENGLISH.ordinal(number) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-05", "2024-03-05T00:00:00.000Z"),
        (" 2024-03-05 14:07 ", "2024-03-05T14:07:00.000Z"),
        ("2024-03-05T14:07:09.0459Z", "2024-03-05T14:07:09.045Z"),
        ("2024-03-05T14:07:09+05:30", "2024-03-05T08:37:09.000Z"),
        ("2024-03-05T14:07-0530", "2024-03-05T19:37:00.000Z"),
        ("3/5/68", "2068-03-05T00:00:00.000Z"),
        ("3/5/69", "1969-03-05T00:00:00.000Z"),
        ("07/10/19 12:30 AM", "2019-07-10T00:30:00.000Z"),
        ("02/17/2013, 1:05 pm", "2013-02-17T13:05:00.000Z"),
        ("2023-02-29", None),
        ("13/1/2024", None),
        ("2024-03-05 25:00", None),
        ("3/5/2024 13:00 pm", None),
        ("0001-01-01T00:00+01:00", None),
        ("0000-01-01", None),
        ("٢٠٢٤-03-05", None),
        ("2024", None),
        ("", None),
    ],
)
def test_texts_are_read_as_dates(text: str, expected: str | None) -> None:
    found = moments.parse_moment(text)
    assert (None if found is None else moment_text(found)) == expected


def test_working_days_are_those_of_counting_day_by_day() -> None:
    chosen = random.Random(3)
    for _ in range(400):
        start = date(2024, 1, 1).toordinal() + chosen.randrange(400)
        drawn = {start + chosen.randrange(-60, 60) for _ in range(chosen.randrange(12))}
        holidays = sorted(day for day in drawn if 1 <= day % 7 <= 5)
        count = chosen.randrange(-40, 41)
        step, left, day = (1 if count > 0 else -1), abs(count), start
        while left:
            day += step
            left -= date.fromordinal(day).weekday() < 5 and day not in holidays
        assert moments.workday(start, count, holidays) == day
        end = start + chosen.randrange(50)
        counted = sum(date.fromordinal(one).weekday() < 5 and one not in holidays for one in range(start, end + 1))
        assert moments.workdays_between(start, end, holidays) == counted
        assert moments.workdays_between(end, start, holidays) == (-counted if end > start else counted)


def test_weeks_of_locales_are_iso_weeks_where_they_follow_iso() -> None:
    german = formats.language_of("de")
    day = datetime(1999, 12, 20, tzinfo=UTC)
    for _ in range(4000):
        assert formats.week_of(day, german) == tuple(day.isocalendar())[:2]
        day += timedelta(days=1)


def test_differences_undo_additions() -> None:
    chosen = random.Random(4)
    units = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
    for _ in range(2000):
        # Days that every month has: there nothing is clamped.
        start = datetime(2000 + chosen.randrange(60), chosen.randrange(1, 13), chosen.randrange(1, 29), 9, tzinfo=UTC)
        ms = int(start.timestamp()) * 1000
        unit, count = chosen.choice(units), chosen.randrange(-100, 100)
        made = moments.add(ms, count, unit)
        assert made is not None
        assert moments.difference(made, ms, unit) == count
        assert moments.difference(ms, made, unit) == -count


@pytest.mark.parametrize("text", ["months", "MONTH", "M", "Months"])
def test_units_in_any_case(text: str) -> None:
    assert moments.unit_of(text) == "month"


def test_minutes_and_unknown_units() -> None:
    assert moments.unit_of("m") == "minute"
    assert moments.unit_of("S") == "second"
    assert [moments.unit_of(text) for text in ("", "ss", "dayss", "fortnight", "ms ")] == [None] * 5


def test_every_locale_writes_and_nothing_raises() -> None:
    chosen = random.Random(5)
    every = "LLLL|llll|LTS|L|l|Mo MMM MMMM Do ddd dddd dd w ww gggg e A a"
    for code in sorted(formats._LOCALES):
        locale = formats.locale_of(code)
        for ms in (MS_MIN, MS_MAX, NOW.ms):
            assert formats.write(Moment(ms, locale=locale), every) != ERROR
        written = formats.write(Moment(NOW.ms, locale=locale), "LLLL")
        assert isinstance(written, str)
        for _ in range(20):
            text = "".join(chosen.choices("0123456789/-: apmMarch+Z.é日", k=chosen.randrange(25)))
            format_ = "".join(chosen.choices("YMDHhmsSAaZXxQwWEedLgG[]-/ \\", k=chosen.randrange(15)))
            found = formats.read(text, format_, locale, datetime(2024, 3, 5, tzinfo=UTC))
            assert found is ERROR or isinstance(found, Moment)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "a few seconds"), (44, "a few seconds"), (46, "a minute"), (89, "a minute"), (90, "2 minutes"), (44 * 60, "44 minutes"),
        (45 * 60, "an hour"), (89 * 60, "an hour"), (90 * 60, "2 hours"), (21 * 3600, "21 hours"), (22 * 3600, "a day"),
        (35 * 3600, "a day"), (36 * 3600, "2 days"), (25 * 86400, "25 days"), (26 * 86400, "a month"), (46 * 86400, "2 months"),
        (319 * 86400, "10 months"), (320 * 86400, "a year"), (547 * 86400, "a year"), (730 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_distances_in_words(seconds: int, expected: str) -> None:
    assert formats.in_words(seconds * 1000) == formats.in_words(-seconds * 1000) == expected
