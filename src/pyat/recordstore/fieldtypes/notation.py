"""How people write numbers, lengths of time and moments, for typecast: one text is read as well as it can be.

Source: wire reference, section 6.4, where most is this project's choice. Every function takes time proportional to its
text and returns None for a text that it cannot read. (Whole columns of a file are read by stricter rules elsewhere:
there the other cells tell how a text is meant.)
"""

import math
import re
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal

_TEXT_LENGTH_MAX = 400
"""No number or moment is longer; a longer text is not looked at."""


def decimal_text(number: float) -> str:
    """A finite number in digits, without an exponent: the fewest that read back as the same double; 2.0 is `2`."""
    if isinstance(number, int):
        return str(number)
    text = repr(number + 0.0)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


# Numbers

_GROUP_SIGNS = ",'’ \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"(?P<sign>[-+−]?) ?(?P<digits>(?:\d{{1,3}}(?P<group>[{_GROUP_SIGNS}])\d{{3}}(?:(?P=group)\d{{3}})*|\d+)(?:\.\d*)?|\.\d+)"
    r"(?:[eE](?P<exponent>[-+]?\d{1,4}))?",
    re.ASCII,
)
_UNGROUPED = str.maketrans(dict.fromkeys(_GROUP_SIGNS))
_CURRENCY = r"(?:[A-Z]{0,2}[$¢£¤¥฿₠-⃏]|[A-Z]{3})"
_CURRENCY_AROUND = re.compile(rf"^{_CURRENCY}|{_CURRENCY}$")


def read_number(text: str, *, shift: int = 0) -> float | None:
    """The nearest double to a number such as `-1,234.5` or `1e3`, times ten to the power of `shift`.

    The decimal sign is a point; commas, blanks and apostrophes may group digits by three.
    """
    text = text.strip()
    found = _NUMBER.fullmatch(text) if len(text) <= _TEXT_LENGTH_MAX else None
    if found is None:
        return None
    sign = "" if found["sign"] in ("", "+") else "-"
    # The shift goes into the exponent: a division afterwards would round a second time.
    value = float(f"{sign}{found['digits'].translate(_UNGROUPED)}e{int(found['exponent'] or 0) + shift}")
    return value + 0.0 if math.isfinite(value) else None


def read_percentage(text: str) -> float | None:
    """`12%` is 0.12; without the sign the number itself is the ratio."""
    text = text.strip()
    return read_number(text[:-1], shift=-2) if text.endswith("%") else read_number(text)


def read_amount(text: str, symbol: str = "") -> float | None:
    """A number, maybe with a currency before or after it: `$1,234.50`, `-5 €`, `USD 12`, or the `symbol` given.

    Brackets around all of it mean minus.
    """
    text = text.strip()
    if len(text) > _TEXT_LENGTH_MAX:
        return None
    is_bracketed = text.startswith("(") and text.endswith(")")
    if is_bracketed:
        text = text[1:-1].strip()
    sign, text = (text[0], text[1:].lstrip()) if text.startswith(("+", "-", "−")) else ("", text)
    symbol = symbol.strip()
    if symbol and text.startswith(symbol):
        text = text.removeprefix(symbol)
    elif symbol and text.endswith(symbol):
        text = text.removesuffix(symbol)
    else:
        text = _CURRENCY_AROUND.sub("", text, count=1)
    value = read_number(sign + text.strip())
    if value is None or not is_bracketed:
        return value
    return 0.0 - value if value >= 0 else None


# Lengths of time

_CLOCK = re.compile(
    r"(?P<sign>[-+−]?)(?P<hours>\d{1,9}):(?P<minutes>\d{1,2})(?::(?P<seconds>\d{1,2})(?:\.(?P<part>\d{1,9}))?)?",
    re.ASCII,
)


def read_seconds(text: str) -> float | None:
    """`1:30` is hours and minutes, `1:02:03.4` hours, minutes and seconds; a bare number counts seconds."""
    text = text.strip()
    found = _CLOCK.fullmatch(text)
    if found is None:
        return read_number(text)
    whole_s = int(found["hours"]) * 3600 + int(found["minutes"]) * 60 + int(found["seconds"] or 0)
    value = float(f"{whole_s}.{found['part'] or 0}")
    return value if found["sign"] in ("", "+") else 0.0 - value


# Moments

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MOMENT = re.compile(
    r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? )?"
    r"(?:(?P<year_first>\d{4})(?P<mark>[-/.])(?P<month_second>\d{1,2})(?P=mark)(?P<day_third>\d{1,2})"
    r"|(?P<one>\d{1,2})(?P<sign>[-/.])(?P<other>\d{1,2})(?P=sign)(?P<year_third>\d{4}|\d\d)"
    r"|(?P<day_named>\d{1,2})(?:st|nd|rd|th)?[ -]?(?P<name_second>[a-z]{3,9})\.?,?[ -]?(?P<year_after_name>\d{4}|\d\d)"
    r"|(?P<name_first>[a-z]{3,9})\.? ?(?P<day_second>\d{1,2})(?:st|nd|rd|th)?,? (?P<year_last>\d{4}))"
    r"(?:(?:t|,? | at )(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<part>\d{1,9}))?)?)?"
    r" ?(?P<half>[ap]\.?m\.?)? ?(?P<zone>z|utc|gmt|[-+]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)


def read_moment(text: str, *, is_day_first: bool) -> datetime | None:
    """A date, or a date and a time of day, with English names of months; midnight where there is no time.

    The result is aware only where the text names an offset. `3/1/2024` is read by `is_day_first`, or the other way round
    where that is no date; `3.1.2024` is the third of January. Two digits of a year, as in `3/1/24`, mean 1969 to 2068.
    A month may be cut to its first three letters or more.
    Fractions of a second are cut to milliseconds.
    """
    found = _MOMENT.fullmatch(" ".join(text.split())) if len(text) <= _TEXT_LENGTH_MAX else None
    if found is None:
        return None
    try:
        moment = _day(found.groupdict(), is_day_first=is_day_first)
        return moment if found["hour"] is None else datetime.combine(moment, _time(found.groupdict()))
    except ValueError:
        return None


def _day(part: dict[str, str | None], *, is_day_first: bool) -> datetime:
    """Midnight of the day. Raises ValueError where the calendar has no such day."""
    if part["year_first"]:
        return _date(part["year_first"], part["month_second"], part["day_third"])
    if part["year_third"]:
        if len(part["year_third"]) == 2 and part["sign"] == "-":
            raise ValueError("any of the three numbers could be the year")
        day, month = part["one"], part["other"]
        if not is_day_first and part["sign"] != ".":
            day, month = month, day
        if int(month or 0) > 12:
            day, month = month, day
        return _date(part["year_third"], month, day)
    name = (part["name_second"] or part["name_first"] or "").lower()
    month_number = next((number for number, month in enumerate(_MONTHS, 1) if month.startswith(name)), None)
    return _date(part["year_after_name"] or part["year_last"], month_number, part["day_named"] or part["day_second"])


def _date(year: str | None, month: str | int | None, day: str | None) -> datetime:
    if not (year and month and day):
        raise ValueError("a part of the date is missing")
    century = 0 if len(year) == 4 else 1900 if int(year) > 68 else 2000
    return datetime(century + int(year), int(month), int(day))  # noqa: DTZ001 -- the text names no zone


def _time(part: dict[str, str | None]) -> time:
    """The time of day. Raises ValueError where the clock has no such time."""
    hour, half = int(part["hour"] or 0), (part["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError("a twelve-hour clock goes from 1 to 12")
        hour = hour % 12 + (12 if half[0] == "p" else 0)
    elif part["minute"] is None:
        raise ValueError("a lone number is not a time")
    milliseconds = int((part["part"] or "0").ljust(3, "0")[:3])
    return time(hour, int(part["minute"] or 0), int(part["second"] or 0), milliseconds * 1000, _zone(part["zone"]))


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
