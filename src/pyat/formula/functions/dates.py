"""Dates and times (formula reference, section 12). All of them reckon in UTC; only DATETIME_FORMAT heeds a time zone."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from pyat.formula import formats, moments
from pyat.formula.functions.base import Function, anything, date, number, text
from pyat.formula.types import BOOLEAN, DATE, DAY, NUMBER, TEXT, Kind, Type
from pyat.formula.values import ERROR, MS_MAX, MS_MIN, Error, Moment, Value, moment, moment_text, to_text
from pyat.foundation.sql import literal

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

_DAY_MS = moments.DAY_MS


class _Date(Function):
    category = "date"


def _sql(value: str, made_type: Type, error: str | None = None, *, is_filled: bool = False) -> "Sql":
    from pyat.formula.sql import Sql

    return Sql(value, made_type, error, is_filled=is_filled, is_finite=is_filled)


_DAY: Final = re.compile(r"""\(([a-z0-9]+\."[^"]+"::timestamp) AT TIME ZONE 'UTC'\)""")
"""A column of days as a moment."""


def _utc(given: "Sql") -> str:
    day = _DAY.fullmatch(given.value)
    return f"({given.value} AT TIME ZONE 'UTC')" if day is None else day[1]


def _is_blank(given: "Sql") -> str | None:
    return None if given.is_filled else f"({given.value} IS NULL)"


def _instant(ms: int) -> str:
    return f"'{moment_text(Moment(ms))}'::timestamptz"


def _text_of(given: "Sql | None") -> str | None:
    """A constant text, empty where the argument is left out; None where records differ."""
    if given is None:
        return ""
    return given.constant.value if given.constant is not None and isinstance(given.constant.value, str) else None


def _failed() -> "Sql":
    from pyat.formula.sql import constant

    made = constant(ERROR)
    assert made is not None, "ERROR is in SQL"
    return made


# Now


class NOW(_Date):
    """The instant of the request; the same everywhere within it.

    >>> DATETIME_DIFF(NOW(), NOW())
    0
    >>> IS_BEFORE(TODAY(), NOW()) + IS_SAME(TODAY(), NOW())
    1
    """

    result = DATE
    inputs = ("NOW",)

    @staticmethod
    def run(now: Moment) -> Value:
        """The instant."""
        return Moment(now.ms)

    @staticmethod
    def sql(context: "Context", now: "Sql") -> "Sql":
        """The instant."""
        return now


class TODAY(_Date):
    """The day of the request in UTC, at midnight.

    >>> HOUR(TODAY())
    0
    >>> IS_SAME(TODAY(), NOW(), "day")
    1
    """

    result = DAY
    inputs = ("NOW",)

    @staticmethod
    def run(now: Moment) -> Value:
        """Midnight."""
        return Moment(moments.start_of(now.ms, "day"))

    @staticmethod
    def sql(context: "Context", now: "Sql") -> "Sql":
        """Midnight."""
        return _sql(f"(date_trunc('day', {_utc(now)}) AT TIME ZONE 'UTC')", DAY, is_filled=now.is_filled)


# Reckoning


class DATEADD(_Date):
    """The date with a number of units added: years, quarters, months, weeks, days, hours, minutes, seconds, milliseconds.

    Where a month has no such day, it is the month's last one. Days and longer units are added whole.

    >>> DATEADD("2024-01-31", 1, "month")
    2024-02-29T00:00:00.000Z
    >>> DATEADD("2024-03-05", -1.5, "hours")
    2024-03-04T22:30:00.000Z
    >>> DATEADD("2024-03-05", 1, "fortnights")
    #ERROR!
    """

    parameters = (date("date"), number("count"), text("units"))
    result = DATE

    @staticmethod
    def run(given: Moment | None, count: float, units: str) -> Value:
        """The later date."""
        unit = moments.unit_of(units)
        if given is None or unit is None:
            return ERROR
        made = moments.add(given.ms, count, unit)
        return ERROR if made is None else Moment(made)

    @staticmethod
    def sql(context: "Context", given: "Sql", count: "Sql", units: "Sql") -> "Sql | None":
        """Plain where the count is constant; by the runtime else."""
        from pyat.formula.sql import RUNTIME

        name = _text_of(units)
        if name is None:
            return None
        unit = moments.unit_of(name)
        if unit is None:
            return _failed()
        if count.constant is not None and isinstance(count.constant.value, float):
            return _added(context, given, count.constant.value, unit)
        if unit in moments.UNIT_MONTHS:
            call = f"{RUNTIME}.add_months({given.value}, {count.value}, {moments.UNIT_MONTHS[unit]})"
        else:
            length = moments.UNIT_MS[unit]
            whole = f"trunc({count.value})" if length >= _DAY_MS else count.value
            call = f"{RUNTIME}.add_ms({given.value}, {whole}, {length})"
        return _sql(call, DATE, f"({call} IS NULL)")


def _added(context: "Context", given: "Sql", count: float, unit: str) -> "Sql":
    if not math.isfinite(count):
        return _failed()
    if unit in moments.UNIT_MONTHS:
        months = math.trunc(count) * moments.UNIT_MONTHS[unit]
        if abs(months) > 12 * 9999:
            return _failed()
        # Where the instants begin or end that stay within the years 1 to 9999.
        border = 12 + 12 * 9999 - months if months > 0 else 12 - months
        year, month = divmod(border, 12)
        if not 1 <= year <= 9999:
            return _failed() if months else _sql(given.value, DATE, _is_blank(given))
        limit = _instant(moments.ms_of_day(_first_of(year, month + 1)))
        later = f"((({{0}} AT TIME ZONE 'UTC') + interval '{months} months') AT TIME ZONE 'UTC')"
        sign = "<" if months > 0 else ">="
    else:
        length = moments.UNIT_MS[unit]
        added = float(math.trunc(count) if length >= _DAY_MS else count) * length
        if abs(added) > MS_MAX - MS_MIN:
            return _failed()
        ms = math.trunc(added)
        limit = _instant(MS_MAX - ms if ms > 0 else MS_MIN - ms)
        later = f"({{0}} + interval '{ms} milliseconds')"
        sign = "<=" if ms > 0 else ">="
    value = context.let([given], lambda v: f"CASE WHEN {v} {sign} {limit} THEN {later.format(v)} END")
    return _sql(value, DATE, f"(({given.value} {sign} {limit}) IS NOT TRUE)")


def _first_of(year: int, month: int) -> int:
    import datetime

    return datetime.date(year, month, 1).toordinal()


class DATETIME_DIFF(_Date):
    """How many whole units the first date is after the second; less than 0 where it is before. The unit is seconds if left out.

    >>> DATETIME_DIFF("2024-03-30", "2024-01-31", "months")
    1
    >>> DATETIME_DIFF("2024-03-05 10:00", "2024-03-05 11:30")
    -5400
    >>> DATETIME_DIFF("2024-03-05", BLANK(), "days")
    NaN
    """

    parameters = (date("date1"), date("date2"), text("units", optional=True))
    result = NUMBER

    @staticmethod
    def run(left: Moment | None, right: Moment | None, units: str = "") -> Value:
        """A whole number, or NaN."""
        unit = moments.unit_of(units or "second")
        if unit is None:
            return ERROR
        if left is None or right is None:
            return math.nan
        return float(moments.difference(left.ms, right.ms, unit))

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql", units: "Sql | None" = None) -> "Sql | None":
        """By the seconds between, or the runtime for months."""
        from pyat.formula.sql import RUNTIME

        name = _text_of(units)
        unit = None if name is None else moments.unit_of(name or "second")
        if name is None:
            return None
        if unit is None:
            return _failed()
        if unit in moments.UNIT_MONTHS:
            months = f"{RUNTIME}.months_between({left.value}, {right.value})"
            value = f"({months} / {moments.UNIT_MONTHS[unit]})::float8"
        else:
            seconds = f"date_part('epoch', {left.value} - {right.value})"
            length = moments.UNIT_MS[unit]
            # Adding 0 makes 0 of -0.
            made = f"round({seconds} * 1000)" if length == 1 else f"trunc({seconds} / {length // 1000})"
            value = f"({made} + 0)"
        is_filled = left.is_filled and right.is_filled
        value = value if is_filled else f"COALESCE({value}, 'NaN'::float8)"
        return replace(_sql(value, NUMBER, is_filled=True), is_finite=is_filled)


# Comparison


class _Comparison(_Date):
    parameters = (date("date1"), date("date2"), text("units", optional=True))
    result = BOOLEAN
    sign: ClassVar[str]
    mirrored: ClassVar[str]

    @classmethod
    def run(cls, left: Moment | None, right: Moment | None, units: str = "") -> Value:
        """1 or 0; 0 where a date is blank."""
        unit = moments.unit_of(units or "millisecond")
        if unit is None:
            return ERROR
        if left is None or right is None:
            return 0.0
        first, second = moments.start_of(left.ms, unit), moments.start_of(right.ms, unit)
        return float({"<": first < second, ">": first > second, "=": first == second}[cls.sign])

    @classmethod
    def sql(cls, context: "Context", left: "Sql", right: "Sql", units: "Sql | None" = None) -> "Sql | None":
        """A plain comparison where one date is constant, so that an index of the other one serves."""
        from pyat.formula.sql import boolean

        name = _text_of(units)
        unit = None if name is None else moments.unit_of(name or "millisecond")
        if name is None:
            return None
        if unit is None:
            return _failed()
        for one, other, sign in ((right, left, cls.sign), (left, right, cls.mirrored)):
            if one.constant is not None:
                found = one.constant.value
                return boolean(_condition(other.value, sign, found.ms, unit) if isinstance(found, Moment) else "false")
        if unit == "millisecond":
            return boolean(f"({left.value} {cls.sign} {right.value})")
        return boolean(f"({_start(left, unit)} {cls.sign} {_start(right, unit)})")


def _start(given: "Sql", unit: str) -> str:
    if unit == "week":
        return f"(date_trunc('week', {_utc(given)} + interval '1 day') - interval '1 day')"
    return f"date_trunc('{unit}', {_utc(given)})"


def _condition(value: str, sign: str, ms: int, unit: str) -> str:
    """Whether the unit of an instant comes before, after, or is that of `ms`."""
    start, end = moments.start_of(ms, unit), moments.end_of(ms, unit)
    # The first week begins before the first year.
    start = max(start, MS_MIN)
    from_end = "false" if end > MS_MAX else f"({value} >= {_instant(end)})"
    before_end = "true" if end > MS_MAX else f"{value} < {_instant(end)}"
    if sign == "<":
        return f"({value} < {_instant(start)})"
    if sign == ">":
        return from_end
    if unit == "millisecond":
        return f"({value} = {_instant(start)})"
    return f"({value} >= {_instant(start)} AND {before_end})"


class IS_BEFORE(_Comparison):
    """1 where the first date is before the second, with a unit where its unit is.

    >>> IS_BEFORE("2024-03-05", "2024-03-06")
    1
    >>> IS_BEFORE("2024-03-05", "2024-03-06", "month")
    0
    """

    sign = "<"
    mirrored = ">"


class IS_AFTER(_Comparison):
    """1 where the first date is after the second, with a unit where its unit is.

    >>> IS_AFTER("2024-03-05", "2024-03-06")
    0
    >>> IS_AFTER("2024-03-05", BLANK())
    0
    """

    sign = ">"
    mirrored = "<"


class IS_SAME(_Comparison):
    """1 where both dates are the same, with a unit where they are within the same one. Weeks begin on Sunday.

    >>> IS_SAME("2024-03-05", "2024-03-31", "month")
    1
    >>> IS_SAME("2024-03-05 10:00", "2024-03-05")
    0
    """

    sign = "="
    mirrored = "="


# Parts


class _Part(_Date):
    parameters = (date("date"),)
    result = NUMBER
    part: ClassVar[str]

    @classmethod
    def run(cls, given: Moment | None) -> Value:
        """A whole number."""
        if given is None:
            return ERROR
        found: int = getattr(given.datetime(), cls.part)
        return float(found)

    @classmethod
    def sql(cls, context: "Context", given: "Sql") -> "Sql":
        """A whole number."""
        from pyat.formula.sql import Arithmetic, Sql

        value = f"date_part('{cls.part}', {_utc(given)})"
        value = f"floor({value})" if cls.part == "second" else value
        # Where it is NULL it is an error; years have four digits.
        small = Arithmetic(value, value, frozenset(), 0, 4)
        return Sql(value, NUMBER, _is_blank(given), is_filled=True, is_finite=True, arithmetic=small)


class YEAR(_Part):
    """The year.

    >>> YEAR("2024-03-05")
    2024
    >>> YEAR(BLANK())
    #ERROR!
    """

    part = "year"


class MONTH(_Part):
    """The month, from 1 to 12.

    >>> MONTH("2024-03-05")
    3
    >>> MONTH("12/31/99")
    12
    """

    part = "month"


class DAY_(_Part):
    """The day of the month, from 1 to 31.

    >>> DAY("2024-03-05")
    5
    >>> DAY("2024-03-05T23:30:00-05:00")
    6
    """

    part = "day"


DAY_.__name__ = "DAY"


class HOUR(_Part):
    """The hour in UTC, from 0 to 23.

    >>> HOUR("2024-03-05T14:07:09Z")
    14
    >>> HOUR("3/5/2024 2:07 pm")
    14
    """

    part = "hour"


class MINUTE(_Part):
    """The minute, from 0 to 59.

    >>> MINUTE("2024-03-05T14:07:09Z")
    7
    >>> MINUTE("2024-03-05")
    0
    """

    part = "minute"


class SECOND(_Part):
    """The second, from 0 to 59.

    >>> SECOND("2024-03-05T14:07:09.999Z")
    9
    >>> SECOND("2024-03-05")
    0
    """

    part = "second"


def _first_day(start: str) -> int | None:
    """1 where weeks begin on Monday, 0 on Sunday."""
    return {"": 0, "sunday": 0, "monday": 1}.get(start.lower())


class WEEKDAY(_Date):
    """The day of the week: 0 is Sunday, or Monday where that is given as the first day.

    >>> WEEKDAY("2024-03-05")
    2
    >>> WEEKDAY("2024-03-10", "Monday")
    6
    """

    parameters = (date("date"), text("start", optional=True))
    result = NUMBER

    @staticmethod
    def run(given: Moment | None, start: str = "") -> Value:
        """From 0 to 6."""
        first = _first_day(start)
        return ERROR if given is None or first is None else float((moments.day_of(given.ms) - first) % 7)

    @staticmethod
    def sql(context: "Context", given: "Sql", start: "Sql | None" = None) -> "Sql | None":
        """From 0 to 6."""
        name = _text_of(start)
        first = None if name is None else _first_day(name)
        if name is None:
            return None
        if first is None:
            return _failed()
        value = f"(date_part('isodow', {_utc(given)}) - 1)" if first else f"date_part('dow', {_utc(given)})"
        return replace(_sql(value, NUMBER, _is_blank(given), is_filled=given.is_filled), is_finite=True)


class WEEKNUM(_Date):
    """The number of the week in the year. The first one holds 1 January; weeks begin on Sunday, or on Monday if given.

    >>> WEEKNUM("02/17/2013")
    8
    >>> WEEKNUM("2024-12-31")
    53
    >>> WEEKNUM("2023-01-02", "Monday")
    2
    """

    parameters = (date("date"), text("start", optional=True))
    result = NUMBER

    @staticmethod
    def run(given: Moment | None, start: str = "") -> Value:
        """From 1 to 54."""
        first = _first_day(start)
        if given is None or first is None:
            return ERROR
        weekday = (moments.day_of(given.ms) - first) % 7
        return float((given.datetime().timetuple().tm_yday + 12 - weekday) // 7)

    @staticmethod
    def sql(context: "Context", given: "Sql", start: "Sql | None" = None) -> "Sql | None":
        """From 1 to 54."""
        name = _text_of(start)
        first = None if name is None else _first_day(name)
        if name is None:
            return None
        if first is None:
            return _failed()

        def build(v: str) -> str:
            utc = f"({v} AT TIME ZONE 'UTC')"
            weekday = f"(date_part('isodow', {utc}) - 1)" if first else f"date_part('dow', {utc})"
            return f"floor((date_part('doy', {utc}) + 12 - {weekday}) / 7)"

        value = context.let([given], build)
        return replace(_sql(value, NUMBER, _is_blank(given), is_filled=given.is_filled), is_finite=True)


# Working days


class WORKDAY(_Date):
    """The date that is a number of working days later, or earlier: from Monday to Friday, without the holidays.

    >>> WORKDAY("2020-10-16", 10, "2020-10-16, 2020-10-19")
    2020-11-02T00:00:00.000Z
    >>> WORKDAY("2024-03-08", 1)
    2024-03-11T00:00:00.000Z
    >>> WORKDAY("2024-03-11", -1)
    2024-03-08T00:00:00.000Z
    """

    parameters = (date("start"), number("count"), anything("holidays", optional=True))
    result = DATE

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """A day where the start is one: the time of day is kept."""
        return _same_date(arguments[0])

    @staticmethod
    def run(given: Moment | None, count: float, holidays: Value = None) -> Value:
        """The later date."""
        skipped = moments.holidays_of(holidays)
        if given is None or isinstance(skipped, Error):
            return ERROR
        day = moments.workday(moments.day_of(given.ms), math.trunc(count), skipped)
        return ERROR if day is None else moment(moments.ms_of_day(day) + given.ms % _DAY_MS)

    @staticmethod
    def sql(context: "Context", given: "Sql", count: "Sql", holidays: "Sql | None" = None) -> "Sql | None":
        """By the runtime, where the holidays are constant."""
        from pyat.formula.sql import RUNTIME

        skipped = _holidays(holidays)
        if skipped is None:
            return None
        if isinstance(skipped, Error):
            return _failed()
        call = f"{RUNTIME}.workday({given.value}, {count.value}, {skipped})"
        return _sql(call, _same_date(given.type), f"({call} IS NULL)")


class WORKDAY_DIFF(_Date):
    """How many working days there are from one date to another, with both; less than 0 where the second is earlier.

    >>> WORKDAY_DIFF("2020-10-16", "2020-11-02", "2020-10-16, 2020-10-19")
    10
    >>> WORKDAY_DIFF("2024-03-04", "2024-03-04")
    1
    """

    parameters = (date("start"), date("end"), anything("holidays", optional=True))
    result = NUMBER

    @staticmethod
    def run(start: Moment | None, end: Moment | None, holidays: Value = None) -> Value:
        """A whole number."""
        skipped = moments.holidays_of(holidays)
        if start is None or end is None or isinstance(skipped, Error):
            return ERROR
        return float(moments.workdays_between(moments.day_of(start.ms), moments.day_of(end.ms), skipped))

    @staticmethod
    def sql(context: "Context", start: "Sql", end: "Sql", holidays: "Sql | None" = None) -> "Sql | None":
        """By the runtime, where the holidays are constant."""
        from pyat.formula.sql import RUNTIME, any_error

        skipped = _holidays(holidays)
        if skipped is None:
            return None
        if isinstance(skipped, Error):
            return _failed()
        value = f"{RUNTIME}.workdays_between({start.value}, {end.value}, {skipped})"
        error = any_error(_is_blank(start), _is_blank(end))
        return replace(_sql(value, NUMBER, error, is_filled=error is None), is_finite=True)


def _holidays(given: "Sql | None") -> str | Error | None:
    """SQL of constant holidays as numbers of days; None where records differ."""
    if given is not None and given.constant is None:
        return None
    found = moments.holidays_of(given.constant.value if given is not None and given.constant is not None else None)
    return found if isinstance(found, Error) else f"'{{{','.join(map(str, found))}}}'::int[]"


def _same_date(given: Type) -> Type:
    return DAY if given.kind is Kind.DATE and given.is_day and not given.is_array else DATE


# Texts


class DATESTR(_Date):
    """The day as a text such as 2024-03-05.

    >>> DATESTR("3/5/2024 2:07 pm")
    "2024-03-05"
    >>> DATESTR(BLANK())
    blank
    """

    parameters = (date("date"),)
    result = TEXT

    @staticmethod
    def run(given: Moment | None) -> Value:
        """A text or a blank."""
        return None if given is None else formats.write(Moment(given.ms), "YYYY-MM-DD")

    @staticmethod
    def sql(context: "Context", given: "Sql") -> "Sql":
        """A text or a blank."""
        return _sql(f"to_char({_utc(given)}, 'YYYY-MM-DD')", TEXT, is_filled=given.is_filled)


class TIMESTR(_Date):
    """The time in UTC as a text such as 14:07:09.

    >>> TIMESTR("3/5/2024 2:07 pm")
    "14:07:00"
    >>> TIMESTR("2024-03-05")
    "00:00:00"
    """

    parameters = (date("date"),)
    result = TEXT

    @staticmethod
    def run(given: Moment | None) -> Value:
        """A text or a blank."""
        return None if given is None else formats.write(Moment(given.ms), "HH:mm:ss")

    @staticmethod
    def sql(context: "Context", given: "Sql") -> "Sql":
        """A text or a blank."""
        return _sql(f"to_char({_utc(given)}, 'HH24:MI:SS')", TEXT, is_filled=given.is_filled)


class DATETIME_FORMAT(_Date):
    """The date as a text in a format of tokens such as YYYY, MMM or h:mm a, in the zone and locale that it was given.

    >>> DATETIME_FORMAT("2024-03-05 14:07", "dddd, MMMM Do YYYY, h:mm a")
    "Tuesday, March 5th 2024, 2:07 pm"
    >>> DATETIME_FORMAT(SET_TIMEZONE("2024-03-05 14:07", "America/New_York"), "HH:mm z")
    "09:07 EST"
    >>> DATETIME_FORMAT("2024-03-05")
    "2024-03-05T00:00:00+00:00"
    """

    parameters = (date("date"), text("format", optional=True))
    result = TEXT

    @staticmethod
    def run(given: Moment | None, format_: str = "") -> Value:
        """A text."""
        return ERROR if given is None else formats.write(given, format_)

    @staticmethod
    def sql(context: "Context", given: "Sql", format_: "Sql | None" = None) -> "Sql | None":
        """By `to_char`, for the tokens that it has."""
        wanted = _text_of(format_)
        if wanted is None or given.locale is not None or len(wanted) > formats.FORMAT_MAX:
            return None
        parts = _to_char(wanted or formats.DEFAULT, has_zone=given.zone is not None)
        if parts is None:
            return None
        local = _utc(given) if given.zone is None else f"({given.value} AT TIME ZONE {given.zone})"
        value = context.let(
            [given],
            lambda v: (
                "("
                + " || ".join(part.replace("$instant", v).replace("$local", _at(v, given.zone)) for part in parts)
                + ")"
            ),
        )
        if given.zone is None:
            return _sql(value, TEXT, _is_blank(given), is_filled=given.is_filled)
        # A zone may lead out of the years 1 to 9999.
        error = f"(({local} >= '0001-01-01' AND {local} < '10000-01-01') IS NOT TRUE)"
        return _sql(value, TEXT, error)


def _at(value: str, zone: str | None) -> str:
    return f"({value} AT TIME ZONE {zone or chr(39) + 'UTC' + chr(39)})"


_PATTERNS = {
    "YYYY": "YYYY", "YY": "YY", "M": "FMMM", "MM": "MM", "MMM": "Mon", "MMMM": "FMMonth", "Mo": "FMMMth", "Q": "Q", "Qo": "Qth",
    "D": "FMDD", "DD": "DD", "Do": "FMDDth", "DDD": "FMDDD", "DDDD": "DDD", "ddd": "Dy", "dddd": "FMDay", "H": "FMHH24", "HH": "HH24",
    "h": "FMHH12", "hh": "HH12", "m": "FMMI", "mm": "MI", "s": "FMSS", "ss": "SS", "SSS": "MS", "A": "AM", "a": "am",
}  # fmt: skip


def _to_char(format_: str, *, has_zone: bool) -> list[str] | None:
    """SQL texts to join, over `$local` and `$instant`; None where a token is not among those of PostgreSQL."""
    made: list[str] = []
    pattern = ""

    def flush() -> None:
        nonlocal pattern
        if pattern:
            made.append(f"to_char($local, {literal(pattern)})")
        pattern = ""

    for part, is_token in formats.tokens_of(format_):
        if not is_token:
            # Dollars would be taken for the places of the date, and PostgreSQL has no NUL and no halves of pairs.
            if any(one in "$\0" or "\ud800" <= one <= "\udfff" for one in part):
                return None
            if part:
                escaped = part.replace("\\", "\\\\").replace('"', '\\"')
                pattern += f'"{escaped}"'
        elif part in _PATTERNS:
            pattern += _PATTERNS[part]
        elif part in ("Z", "ZZ", "z", "zz") and not has_zone:
            pattern += '"' + {"Z": "+00:00", "ZZ": "+0000"}.get(part, "UTC") + '"'
        elif part in ("d", "dd", "X", "x"):
            flush()
            made.append(
                {
                    "d": "date_part('dow', $local)::text",
                    "dd": "left(to_char($local, 'Dy'), 2)",
                    "X": "floor(extract(epoch FROM $instant))::int8::text",
                    "x": "(extract(epoch FROM $instant) * 1000)::int8::text",
                }[part]
            )
        else:
            return None
    flush()
    return made


class DATETIME_PARSE(_Date):
    """The date of a text, in a format of tokens and in a locale where those are given.

    Without a year the format takes the one of the clock.

    >>> DATETIME_PARSE("01/01/202313:30", "DD-MM-YYYY HH:mm")
    2023-01-01T13:30:00.000Z
    >>> DATETIME_PARSE("2024-03-05 14:07")
    2024-03-05T14:07:00.000Z
    >>> DATETIME_PARSE("soon")
    #ERROR!
    """

    parameters = (anything("date"), text("format", optional=True), text("locale", optional=True))
    result = DATE

    @staticmethod
    def run(given: Value, format_: str = "", locale: str = "") -> Value:
        """An instant."""
        if not format_:
            found = moments.to_moment(given)
            return ERROR if not isinstance(found, Moment) else Moment(found.ms)
        written = to_text(given)
        return (
            ERROR
            if isinstance(written, Error)
            else formats.read(written, format_, formats.locale_of(locale), formats.now())
        )

    @staticmethod
    def sql(
        context: "Context", given: "Sql", format_: "Sql | None" = None, locale: "Sql | None" = None
    ) -> "Sql | None":
        """Without a format alone."""
        from pyat.formula.sql import any_error, to_date

        if _text_of(format_) != "" or given.branches:
            return None
        found = to_date(context, given)
        return _sql(found.value, DATE, any_error(found.error, _is_blank(found)), is_filled=found.is_filled)


class SET_TIMEZONE(_Date):
    """The same date, which DATETIME_FORMAT writes as clocks in that time zone show it.

    >>> DATETIME_FORMAT(SET_TIMEZONE("2024-07-01 12:00", "Asia/Kolkata"), "HH:mm Z")
    "17:30 +05:30"
    >>> SET_TIMEZONE("2024-07-01", "Nowhere/Town")
    #ERROR!
    """

    parameters = (date("date"), text("time_zone"))
    result = DATE

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """That of the date."""
        return _same_date(arguments[0])

    @staticmethod
    def run(given: Moment | None, name: str) -> Value:
        """The date, or a blank."""
        zone = formats.zone_of(name)
        return ERROR if zone is None else None if given is None else replace(given, zone=zone)

    @staticmethod
    def sql(context: "Context", given: "Sql", name: "Sql") -> "Sql | None":
        """The date with the zone beside it."""
        from pyat.formula.sql import text_constant

        wanted = _text_of(name)
        if wanted is None:
            return None
        zone = formats.zone_of(wanted)
        if zone is None:
            return _failed()
        if zone.partition("/")[0] not in _AREAS:
            # Not every PostgreSQL knows the old names.
            return None
        return replace(given, type=_same_date(given.type), zone=text_constant(zone), error=None, constant=None)


_AREAS = frozenset("UTC Africa America Antarctica Asia Atlantic Australia Europe Indian Pacific Etc".split())


class SET_LOCALE(_Date):
    """The same date, which DATETIME_FORMAT writes in that language.

    >>> DATETIME_FORMAT(SET_LOCALE("2024-03-05", "es"), "MMMM")
    "marzo"
    >>> DATETIME_FORMAT(SET_LOCALE("2024-03-05", "en-gb"), "L")
    "05/03/2024"
    """

    parameters = (date("date"), text("locale"))
    result = DATE

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """That of the date."""
        return _same_date(arguments[0])

    @staticmethod
    def run(given: Moment | None, code: str) -> Value:
        """The date, or a blank."""
        return None if given is None else replace(given, locale=formats.locale_of(code))

    @staticmethod
    def sql(context: "Context", given: "Sql", code: "Sql") -> "Sql | None":
        """The date with the locale beside it."""
        wanted = _text_of(code)
        if wanted is None:
            return None
        return replace(given, type=_same_date(given.type), locale=formats.locale_of(wanted), error=None, constant=None)


class _Distance(_Date):
    parameters = (date("date"),)
    result = TEXT
    inputs = ("NOW",)

    @staticmethod
    def run(given: Moment | None, now: Moment) -> Value:
        """A text."""
        return ERROR if given is None else formats.in_words(given.ms - now.ms)


class TONOW(_Distance):
    """How far away a date is from now, in words.

    >>> TONOW(DATEADD(NOW(), 25, "days"))
    "25 days"
    >>> TONOW(NOW())
    "a few seconds"
    """


class FROMNOW(_Distance):
    """How far away a date is from now, in words.

    >>> FROMNOW(DATEADD(NOW(), -2, "years"))
    "2 years"
    >>> FROMNOW(DATEADD(NOW(), -1, "hour"))
    "an hour"
    """


FUNCTIONS: Sequence[type[Function]] = (
    DATEADD,
    DATESTR,
    DATETIME_DIFF,
    DATETIME_FORMAT,
    DATETIME_PARSE,
    DAY_,
    FROMNOW,
    HOUR,
    IS_AFTER,
    IS_BEFORE,
    IS_SAME,
    MINUTE,
    MONTH,
    NOW,
    SECOND,
    SET_LOCALE,
    SET_TIMEZONE,
    TIMESTR,
    TODAY,
    TONOW,
    WEEKDAY,
    WEEKNUM,
    WORKDAY,
    WORKDAY_DIFF,
    YEAR,
)
