"""Numbers and dates as people write them: read one text, or find out how a whole column is written.

Nothing here guesses about a single value: `1,234` and `3/4/2024` have two readings, and the caller says which one holds.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum

# Numbers

DECIMALS = (".", ",")
"""The decimal signs. The other one may group digits by three, and so may a blank or an apostrophe."""

_BLANKS = " \u00a0\u202f\u2009"
_GROUPS = {".": f",'’{_BLANKS}", ",": f".'’{_BLANKS}"}
_FRACTIONS = {".": r"\.\d*", ",": r",\d+"}
_NUMBERS = {
    decimal: re.compile(
        rf"[+\-−]?(?:(?:\d{{1,3}}(?P<group>[{_GROUPS[decimal]}])\d{{3}}(?:(?P=group)\d{{3}})*|\d+)"
        rf"(?:{_FRACTIONS[decimal]})?|[{decimal}]\d+)(?:[eE][+-]?\d{{1,4}})?",
        re.ASCII,
    )
    for decimal in DECIMALS
}
_CANONICAL = {
    decimal: str.maketrans({**dict.fromkeys(_GROUPS[decimal]), "+": None, "−": "-", decimal: "."})
    for decimal in DECIMALS
}


def plain_number(text: str, decimal: str) -> str | None:
    """A number without groups, with a point and a plain sign, as `float` reads it; None where `text` is not a number."""
    if _NUMBERS[decimal].fullmatch(text) is None:
        return None
    return text.translate(_CANONICAL[decimal])


def read_number(text: str, decimal: str, *, shift: int = 0) -> float | None:
    """The nearest double to the number that `text` holds, times ten to the power of `shift`; None if there is none."""
    plain = plain_number(text, decimal)
    if plain is None:
        return None
    if shift:
        mantissa, _, exponent = plain.lower().partition("e")
        plain = f"{mantissa}e{int(exponent or 0) + shift}"
    value = float(plain)
    return value if math.isfinite(value) else None


_CODES = re.compile(r"[+\-−]*(?:0\d|\d{16})", re.ASCII)


def loses_digits(text: str) -> bool:
    """Whether a number would not give the text back: codes such as 00123 and whole numbers of more than 15 digits."""
    return _CODES.match(text) is not None


# Dates


class DateOrder(StrEnum):
    """Which of day and month comes first in `3/4/2024`. Between points, as in `3.4.2024`, it is always the day."""

    MONTH_FIRST = "month first"
    DAY_FIRST = "day first"


_MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "jan january",
            "feb february",
            "mar march",
            "apr april",
            "may",
            "jun june",
            "jul july",
            "aug august",
            "sep sept september",
            "oct october",
            "nov november",
            "dec december",
        ],
        1,
    )
    for name in names.split()
}
_TIME = (
    r"(?:(?:[Tt]|[ \u00a0]+|, ?)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?:[ \u00a0\u202f]?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?"
)
_DATES = re.compile(
    r"(?:(?P<year>\d{4})(?P<sign>[-/.])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})"
    r"|(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second_>\d{1,2})(?P=mark)(?P<year_>\d{4})"
    r"|(?P<day_a>\d{1,2})(?:st|nd|rd|th)?[ -](?P<name_a>[A-Za-z]{3,9})\.?,?[ -](?P<year_a>\d{4})"
    r"|(?P<name_b>[A-Za-z]{3,9})\.? (?P<day_b>\d{1,2})(?:st|nd|rd|th)?,? (?P<year_b>\d{4}))" + _TIME,
    re.ASCII,
)


def read_moment(text: str, order: DateOrder) -> datetime | date | None:
    """A date, or a datetime where `text` holds a time of day (aware where it names a zone); None for anything else.

    Years have four digits. Month names are English. Fractions are cut to milliseconds.
    """
    found = _DATES.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    if part["year"] is not None:
        year, month, day = int(part["year"]), int(part["month"]), int(part["day"])
    elif part["year_"] is not None:
        year, month, day = int(part["year_"]), int(part["first"]), int(part["second_"])
        if order is DateOrder.DAY_FIRST or part["mark"] == ".":
            month, day = day, month
    else:
        name = part["name_a"] or part["name_b"]
        year, day = int(part["year_a"] or part["year_b"]), int(part["day_a"] or part["day_b"])
        month = _MONTHS.get(name.lower(), 0)
    try:
        read = date(year, month, day)
        return read if part["hour"] is None else datetime.combine(read, _time(part), _zone(part["zone"]))
    except ValueError:
        return None


def _time(part: dict[str, str | None]) -> time:
    hour = int(part["hour"] or 0)
    if part["half"] is not None:
        if not 1 <= hour <= 12:
            raise ValueError("a twelve-hour clock goes from 1 to 12")
        hour = hour % 12 + (12 if part["half"] in "Pp" else 0)
    milliseconds = int((part["fraction"] or "0").ljust(3, "0")[:3])
    return time(hour, int(part["minute"] or 0), int(part["second"] or 0), milliseconds * 1000)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in ("Z", "z", "UTC", "GMT"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


class DateStyle(StrEnum):
    """The form of a date's text."""

    ISO = "2024-01-31"
    NUMBERS = "31/1/2024"
    POINTS = "31.1.2024"
    NAMES = "31 January 2024"


def date_style(text: str) -> DateStyle | None:
    """The form of a date, without asking which date it is; None where `text` has none of these forms."""
    found = _DATES.fullmatch(text)
    if found is None:
        return None
    if found["year"] is not None:
        return DateStyle.ISO
    if found["year_"] is None:
        return DateStyle.NAMES
    return DateStyle.POINTS if found["mark"] == "." else DateStyle.NUMBERS


def possible_orders(values: Iterable[str]) -> frozenset[DateOrder] | None:
    """The orders under which every value is a date: both where they agree on every value, None where they do not.

    Empty where some value is no date either way.
    """
    items = list(values)
    if all(date_style(item) is DateStyle.ISO for item in items):
        fits = all(read_moment(item, DateOrder.MONTH_FIRST) is not None for item in items)
        return frozenset(DateOrder) if fits else frozenset()
    read = {order: [read_moment(item, order) for item in items] for order in DateOrder}
    fitting = frozenset(order for order, moments in read.items() if None not in moments)
    if len(fitting) > 1 and read[DateOrder.MONTH_FIRST] != read[DateOrder.DAY_FIRST]:
        return None
    return fitting


def possible_decimals(values: Collection[str]) -> frozenset[str]:
    """The decimal signs under which every value is a number; they may read a value differently."""
    return frozenset(decimal for decimal in DECIMALS if all(plain_number(value, decimal) for value in values))


# Money

_WORDS_FOR_MONEY = frozenset(
    [
        "AUD",
        "BRL",
        "CAD",
        "CHF",
        "CNY",
        "CZK",
        "DKK",
        "EUR",
        "GBP",
        "HKD",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "JPY",
        "KRW",
        "MXN",
        "NOK",
        "NZD",
        "PHP",
        "PLN",
        "RON",
        "RUB",
        "SEK",
        "SGD",
        "THB",
        "TRY",
        "TWD",
        "UAH",
        "USD",
        "ZAR",
        "kr",
        "zł",
        "Kč",
        "Ft",
        "lei",
    ]
)
_SYMBOL = r"[^\d\s.,'’()+\-−%]{1,4}"
_MONEY = re.compile(
    rf"(?P<open>\()?(?P<sign>[-−+])?(?P<before>{_SYMBOL})?[{_BLANKS}]?(?P<inner>[-−])?"
    rf"(?P<number>[\d.,][\d.,'’{_BLANKS}]*?)[{_BLANKS}]?(?P<after>{_SYMBOL})?(?P<close>\))?",
    re.ASCII,
)


def split_money(text: str) -> tuple[str, str] | None:
    """The currency symbol (blank if there is none) and the signed number of an amount such as `-$5.00` or `5,00 €`.

    Brackets around an amount mean that it is negative. None where `text` is not of this form.
    """
    found = _MONEY.fullmatch(text)
    if found is None:
        return None
    before, after = found["before"] or "", found["after"] or ""
    symbol = before or after
    if (before and after) or (found["open"] is None) != (found["close"] is None):
        return None
    if symbol and symbol not in _WORDS_FOR_MONEY and not any(unicodedata.category(each) == "Sc" for each in symbol):
        return None
    signs = [sign for sign in (found["open"], found["sign"], found["inner"]) if sign]
    if len(signs) > 1:
        return None
    is_negative = bool(signs) and signs[0] != "+"
    return symbol, f"-{found['number']}" if is_negative else found["number"]
