"""How texts are read as dates, and reckoning with dates in UTC (formula reference, sections 5.4 and 12.1).

Instants are milliseconds since 1970, days are numbered from 1 for 0001-01-01, as `datetime.date.toordinal` does.
"""

import math
import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from pyat.formula.values import EPOCH, ERROR, MS_MAX, MS_MIN, SPACE, Error, Moment, Value, moment, scalar

DAY_MS: Final = 86_400_000
UNIT_MS: Final[Mapping[str, int]] = {
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": DAY_MS,
    "week": 7 * DAY_MS,
}
"""The units of fixed length."""
UNIT_MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}
"""The other units."""
WORKDAYS_MAX: Final = 4_000_000
"""More working days than the years 1 to 9999 have."""
_EPOCH_DAY: Final = EPOCH.toordinal()
_SHORT: Final[Mapping[str, str]] = {
    "ms": "millisecond",
    "s": "second",
    "h": "hour",
    "d": "day",
    "w": "week",
    "q": "quarter",
    "y": "year",
}

_TIME: Final = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
_ISO: Final = re.compile(
    rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)(?:(?:[Tt]|[ ]+){_TIME}[ ]*(?P<offset>[Zz]|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_US: Final = re.compile(
    rf"(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/(?P<year>\d{{4}}|\d\d)(?:,?[ ]+{_TIME}[ ]*(?P<half>[AaPp][Mm])?)?",
    re.ASCII,
)


# Texts


def parse_moment(text: str) -> Moment | None:
    """The instant that a whole text names, in ISO 8601 or as month/day/year; None where it names none. UTC without an offset."""
    trimmed = text.strip(SPACE)
    found = _ISO.fullmatch(trimmed) or _US.fullmatch(trimmed)
    if found is None:
        return None
    parts = found.groupdict()
    year, hour = int(parts["year"]), int(parts["hour"] or 0)
    if len(parts["year"]) == 2:
        year = year_of_two_digits(year)
    half = parts.get("half")
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half in ("pm", "PM", "Pm", "pM") else 0)
    try:
        instant = datetime(
            year,
            int(parts["month"]),
            int(parts["day"]),
            hour,
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            tzinfo=EPOCH.tzinfo,
        )
    except ValueError:
        return None
    # Milliseconds are cut, not rounded.
    ms = (instant - EPOCH) // timedelta(milliseconds=1) + int(((parts["fraction"] or "") + "000")[:3])
    offset = parts.get("offset") or "Z"
    if offset not in ("Z", "z"):
        hours, minutes = int(offset[1:3]), int(offset[-2:])
        if hours > 23 or minutes > 59:
            return None
        ms -= (1 if offset[0] == "+" else -1) * (hours * 60 + minutes) * 60_000
    made = moment(ms)
    return made if isinstance(made, Moment) else None


def year_of_two_digits(year: int) -> int:
    """00 to 68 are of this century, 69 to 99 of the last one."""
    return year + (2000 if year <= 68 else 1900)


def to_moment(value: Value) -> Moment | Error | None:
    """A date parameter: a date, a blank, or a text that is one; ERROR for all else."""
    found = scalar(value)
    if found is None or found == "":
        return None
    if isinstance(found, str):
        return parse_moment(found) or ERROR
    return found if isinstance(found, Moment) else ERROR


def unit_of(text: str) -> str | None:
    """The unit in the singular, such as `month`; None where there is no such unit. Case matters for `m` and `M` alone."""
    if text in ("m", "M"):
        return "minute" if text == "m" else "month"
    lower = text.lower()
    name = _SHORT.get(lower) or lower.removesuffix("s")
    return name if name in UNIT_MS or name in UNIT_MONTHS else None


# Reckoning


def day_of(ms: int) -> int:
    """The number of the day of an instant."""
    return ms // DAY_MS + _EPOCH_DAY


def ms_of_day(day: int) -> int:
    """Midnight of a day."""
    return (day - _EPOCH_DAY) * DAY_MS


def add(ms: int, count: float, unit: str) -> int | None:
    """An instant some units later; None where that leaves the years 1 to 9999.

    Days and longer units are counted whole. Months keep the day of the month, or take the month's last day.
    """
    if unit in UNIT_MONTHS:
        return _add_months(ms, math.trunc(count) * UNIT_MONTHS[unit])
    whole = math.trunc(count) if UNIT_MS[unit] >= DAY_MS else count
    # As floats, because PostgreSQL reckons so, too.
    added = float(whole) * UNIT_MS[unit]
    if abs(added) > MS_MAX - MS_MIN:
        return None
    made = ms + math.trunc(added)
    return made if MS_MIN <= made <= MS_MAX else None


def _add_months(ms: int, months: int) -> int | None:
    day = date.fromordinal(day_of(ms))
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        return None
    made = date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))
    return ms_of_day(made.toordinal()) + ms % DAY_MS


def difference(left: int, right: int, unit: str) -> int:
    """How many whole units the first instant is after the second; less than 0 where it is before."""
    if unit in UNIT_MONTHS:
        return _truncated(_months_between(left, right), UNIT_MONTHS[unit])
    return _truncated(left - right, UNIT_MS[unit])


def _truncated(number: int, divisor: int) -> int:
    return number // divisor if number >= 0 else -(-number // divisor)


def _months_between(left: int, right: int) -> int:
    first, second = date.fromordinal(day_of(left)), date.fromordinal(day_of(right))
    if first.day < second.day:
        return -_months_between(right, left)
    months = (first.year - second.year) * 12 + first.month - second.month
    # The first instant moved into the second one's month says whether the last month is a whole one.
    anchor = _add_months(left, -months)
    assert anchor is not None, "the month of an instant is within the years 1 to 9999"
    if anchor > right and months < 0:
        return months + 1
    if anchor < right and months > 0:
        return months - 1
    return months


def start_of(ms: int, unit: str) -> int:
    """Where the unit of an instant begins, in UTC; weeks begin on Sunday."""
    if unit == "week":
        day = day_of(ms)
        return ms_of_day(day - day % 7)
    if unit in UNIT_MS:
        return ms - ms % UNIT_MS[unit]
    found = date.fromordinal(day_of(ms))
    month = 1 + (found.month - 1) // UNIT_MONTHS[unit] * UNIT_MONTHS[unit]
    return ms_of_day(date(found.year, month, 1).toordinal())


def end_of(ms: int, unit: str) -> int:
    """Where the next unit begins."""
    start = start_of(ms, unit)
    if unit in UNIT_MS:
        return start + UNIT_MS[unit]
    made = _add_months(start, UNIT_MONTHS[unit])
    return MS_MAX + 1 if made is None else made


# Working days


def workdays_until(day: int) -> int:
    """How many days from Monday to Friday there are up to a day, with itself, since the year 1 began on a Monday."""
    return 5 * (day // 7) + min(day % 7, 5)


def workday(start: int, count: int, holidays: Sequence[int]) -> int | None:
    """The day that is a number of working days after a day, or before it; None beyond the years 1 to 9999.

    `holidays` are days from Monday to Friday, in order and each once.
    """
    if count == 0:
        return start
    if abs(count) > WORKDAYS_MAX:
        return None
    if count > 0:
        wanted = workdays_until(start) + count
        for holiday in holidays[bisect_right(holidays, start) :]:
            if workdays_until(holiday) > wanted:
                break
            wanted += 1
    else:
        wanted = workdays_until(start - 1) + 1 + count
        for holiday in reversed(holidays[: bisect_left(holidays, start)]):
            if workdays_until(holiday) < wanted:
                break
            wanted -= 1
    weeks, rest = divmod(wanted - 1, 5)
    day = 7 * weeks + rest + 1
    return day if 1 <= day <= date.max.toordinal() else None


def workdays_between(start: int, end: int, holidays: Sequence[int]) -> int:
    """How many working days there are from a day to another one, with both; less than 0 where the second is earlier."""
    if end < start:
        return -workdays_between(end, start, holidays)
    skipped = bisect_right(holidays, end) - bisect_left(holidays, start)
    return workdays_until(end) - workdays_until(start - 1) - skipped


def holidays_of(value: Value) -> list[int] | Error:
    """Holidays on days from Monday to Friday, in order and each once: a text with commas, dates, or a list of those."""
    found: set[int] = set()
    for item in value if isinstance(value, tuple) else (value,):
        parts: Sequence[Value] = item.split(",") if isinstance(item, str) else (item,)
        for part in parts:
            made = to_moment(part.strip(SPACE) if isinstance(part, str) else part)
            if isinstance(made, Error):
                return ERROR
            if made is not None:
                found.add(day_of(made.ms))
    return sorted(day for day in found if 1 <= day % 7 <= 5)
