"""The values of formulas and how one kind becomes another, as Airtable does it (formula reference, sections 4 and 5).

A value is a float, a str, a Moment, a tuple (array), None (blank) or ERROR. Booleans are 1.0 and 0.0. Among floats NaN
and the infinities are errors for every consumer that is not arithmetic.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias


class Error:
    """The type of ERROR."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "#ERROR!"


ERROR: Final = Error()
"""The value of what cannot be computed. Functions return it; it passes through all but ISERROR."""


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant in milliseconds since 1970 in UTC, and how DATETIME_FORMAT is to show it."""

    ms: int
    zone: str | None = None
    locale: str | None = None

    def datetime(self) -> datetime:
        """In UTC."""
        return EPOCH + timedelta(milliseconds=self.ms)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_MIN = -62_135_596_800_000
MS_MAX = 253_402_300_799_999
"""The years 1 to 9999; what leaves them is an error."""

Value: TypeAlias = "float | str | Moment | tuple[Value, ...] | Error | None"


def moment_of(instant: datetime) -> Moment:
    """An instant with a time zone, cut to milliseconds."""
    return Moment((instant - EPOCH) // timedelta(milliseconds=1))


def moment(ms: int) -> Moment | Error:
    """The instant, or ERROR where it leaves the years 1 to 9999."""
    return Moment(ms) if MS_MIN <= ms <= MS_MAX else ERROR


_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
SPACE = " \t\n\v\f\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
"""White space as JavaScript trims it."""


def number_of_text(text: str) -> float:
    """The number that the whole trimmed text is, as a plain decimal; 0 for an empty text, else NaN."""
    trimmed = text.strip(SPACE)
    if not text:
        return 0.0
    return float(trimmed) if _NUMBER.fullmatch(trimmed) else math.nan


def to_number(value: Value) -> float | Error:
    """Section 5.1. Never ERROR but for ERROR; what is no number is NaN."""
    if type(value) is float:
        return value
    if value is None:
        return 0.0
    if type(value) is str:
        return number_of_text(value)
    if type(value) is tuple:
        return to_number(_scalar(value)) if len(value) < 2 else (ERROR if ERROR in value else math.nan)
    return ERROR if value is ERROR else math.nan


def number_text(number: float) -> str:
    """A finite number as JavaScript writes it: the shortest text that reads back the same."""
    if number == 0:
        return "0"
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    mantissa, _, exponent = repr(number).partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits, point = (whole + fraction).lstrip("0"), len(whole) + int(exponent or 0)
    point -= len(whole + fraction) - len((whole + fraction).lstrip("0"))
    digits = digits.rstrip("0")
    if -6 < point <= 21:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        if point >= len(digits):
            return f"{sign}{digits}{'0' * (point - len(digits))}"
        return f"{sign}{digits[:point]}.{digits[point:]}"
    power = point - 1
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{'+' if power > 0 else '-'}{abs(power)}"


def moment_text(value: Moment) -> str:
    """`2024-03-05T14:07:09.045Z`."""
    return value.datetime().strftime("%Y-%m-%dT%H:%M:%S.").zfill(20) + f"{value.ms % 1000:03d}Z"


def to_text(value: Value) -> str | Error:
    """Section 5.2: what `&` and CONCATENATE join. A number that is not finite is an error."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is float:
        return number_text(value) if math.isfinite(value) else ERROR
    if type(value) is Moment:
        return moment_text(value)
    if type(value) is tuple:
        texts = [to_text(item) for item in value if item is not None]
        return ERROR if ERROR in texts else ", ".join(texts)  # type: ignore[arg-type]
    return ERROR


def text_argument(value: Value) -> str | Error:
    """A *text* parameter (section 9): a text, a blank, or an array of one; numbers and dates are errors."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is tuple:
        # Several values act as joined text.
        return text_argument(_scalar(value)) if len(value) < 2 else to_text(value)
    return ERROR


def to_boolean(value: Value) -> bool | Error:
    """Section 5.3."""
    if type(value) is float:
        return value != 0 if math.isfinite(value) else ERROR
    if is_error(value):
        return ERROR
    return bool(value) if type(value) is not Moment else True


def is_error(value: Value) -> bool:
    """Whether ISERROR says so: ERROR, NaN, the infinities, or an array with one of them."""
    if type(value) is float:
        return not math.isfinite(value)
    return value is ERROR or (type(value) is tuple and any(is_error(item) for item in value))


def items_of(values: Iterable[Value]) -> Iterator[Value]:
    """The arguments of an aggregate: arrays flattened, blanks kept."""
    for value in values:
        if type(value) is tuple:
            yield from items_of(value)
        else:
            yield value


def scalar(value: Value) -> Value:
    """An array of none or one as what it holds; others as they are (section 5.6)."""
    return _scalar(value) if type(value) is tuple and len(value) < 2 else value


def _scalar(value: tuple[Value, ...]) -> Value:
    return scalar(value[0]) if value else None
