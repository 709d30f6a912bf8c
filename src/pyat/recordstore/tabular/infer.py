"""Field types from cells. A type is chosen only if every cell of the sample has exactly one reading under it.

What can be read in two ways (`1,234`, `3/4/2024`) is decided by the other columns of the file, which were written by
the same hand; where they do not tell either, the column stays text, which loses nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyat.foundation.ids import new_id
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.fieldtypes.dates import DATE_FORMATS, TIME_FORMATS
from pyat.recordstore.fieldtypes.selects import COLOR_CYCLE
from pyat.recordstore.structure import Field, Table
from pyat.recordstore.tabular.convert import CONVERTERS
from pyat.recordstore.tabular.errors import ColumnsRefused
from pyat.recordstore.tabular.formats import (
    DateOrder,
    DateStyle,
    date_style,
    loses_digits,
    plain_number,
    possible_decimals,
    possible_orders,
    split_money,
)
from pyat.recordstore.tabular.plan import ColumnPlan, Reading
from pyat.recordstore.tabular.sample import Sample
from pyat.recordstore.tabular.source import Source

NUMBER_PRECISION_MAX = 8
CURRENCY_PRECISION_MAX = 7

CHOICES_INFERRED_MAX = 50
CHOICE_LENGTH_INFERRED_MAX = 50
SELECT_ROWS_MIN = 10
SELECT_REPEATS_MIN = 4
"""How often a choice occurs on average. Fewer repeats look like names that happen to occur twice."""

_CHECKBOX_WORDS = (
    # Words for true, words for false, and whether the true one says enough alone only beside blank cells.
    ({"true"}, {"false"}, False),
    ({"yes"}, {"no"}, False),
    ({"checked"}, {"unchecked"}, False),
    ({"x"}, set[str](), True),
    ({"✓"}, set[str](), True),
    ({"✔"}, set[str](), True),
)
_EMAIL = re.compile(r"[^\s@,;:<>()\"]+@[^\s@,;:<>()\"]+\.[^\s@,;:<>()\".\d]{2,}")
_URL = re.compile(r"(?:(?:https?|ftp)://[^\s/]\S*|www\.\S+\.\S{2,})", re.IGNORECASE)
_PHONE = re.compile(r"\+?[\d()][\d\s()./\-\u2010-\u2013]*\d(?:\s?(?:x|ext\.?)\s?\d{1,6})?", re.ASCII | re.IGNORECASE)
_PHONE_NAME = re.compile(r"\b(?:tele)?(?:phone|fax)\b|\b(?:tel|mobile|gsm)\b", re.IGNORECASE)
_POSTAL_NAME = re.compile(r"\bzip\b|\bpost(?:al)? ?codes?\b|\bpostcode\b", re.IGNORECASE)
_WORDS_IN_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-.]+")
_PHONE_DIGITS = range(7, 16)
"""E.164 allows 15 digits."""


class _Open(Exception):
    """A column has two readings and nothing in the file has told yet which one holds."""


@dataclass(slots=True)
class _Habits:
    """How numbers and dates are written in the columns that leave no choice."""

    decimals: set[str] = field(default_factory=set)
    orders: set[DateOrder] = field(default_factory=set)
    is_complete: bool = False
    """All columns were looked at once."""


class _Column:
    """The cells of a column, once each, without the blanks around them."""

    def __init__(self, name: str, cells: Sequence[str]) -> None:
        self.name = name
        self.words = _WORDS_IN_NAME.sub(" ", name)
        self.counts = Counter(filter(None, map(str.strip, cells)))
        self.values: Collection[str] = self.counts.keys()
        self.filled = self.counts.total()
        self.has_blanks = self.filled < len(cells)

    def all(self, test: Callable[[str], Any]) -> bool:
        return all(map(test, self.values))


def infer(source: Source, sample: Sample) -> tuple[ColumnPlan, ...]:
    """A plan for a new table, one for each column. The first column becomes the primary field."""
    columns = _columns(source, sample)
    habits = _Habits()
    plans: dict[int, ColumnPlan] = {}
    for is_complete in (False, True):
        habits.is_complete = is_complete
        for place, column in enumerate(columns):
            if place not in plans:
                try:
                    plans[place] = _plan(column, habits)
                except _Open:
                    continue
    first = plans[0]
    if not find(first.type).can_be_primary:
        plans[0] = ColumnPlan(first.name, "singleLineText")
    return tuple(plans[place] for place in range(len(columns)))


def match(source: Source, sample: Sample, table: Table) -> tuple[ColumnPlan, ...]:
    """A plan for an existing table: each column goes to the field of its name, exact or else without regard to case.

    Raises ColumnsRefused for columns without a field and for fields that take no values.
    """
    fields = [_field_for(name, table) for name in source.header]
    unknown = [name for name, found in zip(source.header, fields, strict=True) if found is None]
    if unknown:
        raise ColumnsRefused(
            f"The table {table.name!r} has no field for {_named(unknown)}. Rename or remove the columns, or add fields.",
            columns=unknown,
        )
    known = [found for found in fields if found is not None]
    computed = [found.name for found in known if found.type not in CONVERTERS]
    if computed:
        raise ColumnsRefused(f"These fields take no values from a file: {_named(computed)}.", columns=computed)
    columns = _columns(source, sample)
    habits = _Habits()
    readings: dict[int, Reading] = {}
    for is_complete in (False, True):
        habits.is_complete = is_complete
        for place, (column, found) in enumerate(zip(columns, known, strict=True)):
            if place not in readings:
                try:
                    readings[place] = _reading_for(column, found, habits)
                except _Open:
                    continue
    return tuple(
        ColumnPlan(found.name, found.type, found.options, readings[place]) for place, found in enumerate(known)
    )


def _named(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _field_for(name: str, table: Table) -> Field | None:
    exact = table.fields_by_name.get(name)
    if exact is not None:
        return exact
    folded = name.casefold()
    return next((found for found in table.fields if found.name.casefold() == folded), None)


def _columns(source: Source, sample: Sample) -> list[_Column]:
    return [_Column(name, cells) for name, cells in zip(source.header, sample.columns, strict=True)]


# One column


def _plan(column: _Column, habits: _Habits) -> ColumnPlan:
    for guess in _GUESSES:
        plan = guess(column, habits)
        if plan is not None:
            return plan
    return ColumnPlan(column.name, "singleLineText")


def _guess_text(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if not column.filled:
        return ColumnPlan(column.name, "singleLineText")
    if any("\n" in value for value in column.values):
        return ColumnPlan(column.name, "multilineText")
    return None


def _guess_checkbox(column: _Column, habits: _Habits) -> ColumnPlan | None:
    words = {value.casefold() for value in column.values} if len(column.values) <= 6 else set()
    for yes, no, needs_blanks in _CHECKBOX_WORDS:
        if not words or words - yes - no or (needs_blanks and not column.has_blanks):
            continue
        # Where "no" is written out, a blank cell says something else, which a checkbox cannot hold.
        if words & no and column.has_blanks:
            continue
        return ColumnPlan(column.name, "checkbox", {"icon": "check", "color": "greenBright"}, Reading(is_exact=True))
    return None


def _guess_by_name(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if _PHONE_NAME.search(column.words) and column.all(_is_phone):
        return ColumnPlan(column.name, "phoneNumber")
    if _POSTAL_NAME.search(column.words):
        # Some country's codes begin with zeros, even if none of the sample's do.
        return ColumnPlan(column.name, "singleLineText")
    return None


def _guess_number(column: _Column, habits: _Habits) -> ColumnPlan | None:
    decimal = _decimal(column.values, habits)
    if decimal is None:
        return None
    options = {"precision": _precision(column.values, decimal, NUMBER_PRECISION_MAX)}
    return ColumnPlan(column.name, "number", options, Reading(decimal, is_exact=True))


def _guess_percent(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if not column.all(lambda value: value.endswith("%")):
        return None
    numbers = [value[:-1].rstrip() for value in column.values]
    decimal = _decimal(numbers, habits)
    if decimal is None:
        return None
    options = {"precision": _precision(numbers, decimal, NUMBER_PRECISION_MAX)}
    return ColumnPlan(column.name, "percent", options, Reading(decimal, is_exact=True))


def _guess_currency(column: _Column, habits: _Habits) -> ColumnPlan | None:
    symbols = set()
    numbers = []
    for value in column.values:
        found = split_money(value)
        if found is None or not found[0]:
            return None
        symbols.add(found[0])
        numbers.append(found[1])
    if len(symbols) > 1:
        return None
    decimal = _decimal(numbers, habits)
    if decimal is None:
        return None
    options = {"precision": _precision(numbers, decimal, CURRENCY_PRECISION_MAX), "symbol": symbols.pop()}
    return ColumnPlan(column.name, "currency", options, Reading(decimal, is_exact=True))


def _guess_date(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if not column.all(date_style):
        return None
    order = _order(column.values, habits)
    if order is None:
        return None
    date_format = _date_format(column.values, order)
    # A date is a datetime's base class, so the other way round tells nothing.
    if not any(":" in value for value in column.values):
        return ColumnPlan(column.name, "date", {"dateFormat": date_format}, Reading(order=order, is_exact=True))
    clock = "12hour" if any(value[-1] in "mM." for value in column.values) else "24hour"
    options = {
        "dateFormat": date_format,
        "timeFormat": {"name": clock, "format": TIME_FORMATS[clock]},
        "timeZone": "utc",
    }
    return ColumnPlan(column.name, "dateTime", options, Reading(order=order, is_exact=True))


def _guess_link(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if column.all(_EMAIL.fullmatch):
        return ColumnPlan(column.name, "email")
    if column.all(_URL.fullmatch):
        return ColumnPlan(column.name, "url")
    return None


def _guess_phone(column: _Column, habits: _Habits) -> ColumnPlan | None:
    if not column.all(_is_phone):
        return None
    # Codes of other kinds (ISBN, parcel numbers) hold digits and dashes too; a plus or a bracketed prefix is a phone's.
    marked = sum(value.startswith(("+", "(")) for value in column.values)
    return ColumnPlan(column.name, "phoneNumber") if marked >= 0.8 * len(column.values) else None


def _is_phone(value: str) -> bool:
    return _PHONE.fullmatch(value) is not None and sum(map(str.isdigit, value)) in _PHONE_DIGITS


def _guess_select(column: _Column, habits: _Habits) -> ColumnPlan | None:
    choices = len(column.values)
    if (
        column.filled < SELECT_ROWS_MIN
        or choices > CHOICES_INFERRED_MAX
        or column.filled < SELECT_REPEATS_MIN * choices
    ):
        return None
    once = sum(count == 1 for count in column.counts.values())
    if once * 5 > choices or max(map(len, column.values)) > CHOICE_LENGTH_INFERRED_MAX:
        return None
    # Codes of digits are text, and a date with two readings is better read by a person than chosen from a list.
    if not any(map(str.isalpha, "".join(column.values))) or column.all(date_style):
        return None
    listed = [
        {"id": new_id("sel"), "name": name, "color": COLOR_CYCLE[place % len(COLOR_CYCLE)]}
        for place, name in enumerate(column.values)
    ]
    return ColumnPlan(column.name, "singleSelect", {"choices": listed})


_GUESSES = (
    _guess_text,
    _guess_checkbox,
    _guess_by_name,
    _guess_number,
    _guess_percent,
    _guess_currency,
    _guess_date,
    _guess_link,
    _guess_phone,
    _guess_select,
)


# Numbers and dates


def _decimal(values: Collection[str], habits: _Habits) -> str | None:
    """The decimal sign of a column of numbers; None where it is not one, or where nothing tells."""
    first = next(iter(values))
    if not any(map(str.isdigit, first)) or any(map(loses_digits, values)):
        return None
    possible = possible_decimals(values)
    if not possible or not _is_plainly_numeric(values):
        return None
    text = "".join(values)
    if "," not in text and "." not in text:
        return "."
    if len(possible) == 1:
        (decimal,) = possible
        habits.decimals.add(decimal)
        return decimal
    # 1.234 or 1,234 in every cell: a thousand or a fraction.
    if not habits.is_complete:
        raise _Open
    if len(habits.decimals) == 1:
        return next(iter(habits.decimals))
    return None if "," in text else "."


def _is_plainly_numeric(values: Collection[str]) -> bool:
    """False for what may well be codes: `12E4`, `+4912345`, `110 001`."""
    has_minus = any(value[0] in "-−" for value in values)
    for value in values:
        if value[0] == "+" and not has_minus:
            return False
        mantissa, exponent_sign, exponent = value.lower().partition("e")
        if exponent_sign and not (set(mantissa) & {".", ","} or exponent[0] in "+-"):
            return False
    groups = [value.lstrip("-−").split()[0] for value in values if len(value.split()) > 1]
    return not groups or len(set(map(len, groups))) > 1 or any(set(value) & {".", ","} for value in values)


def _precision(values: Iterable[str], decimal: str, most: int) -> int:
    precision = 0
    for value in values:
        plain = plain_number(value, decimal) or ""
        mantissa, _, exponent = plain.lower().partition("e")
        precision = max(precision, len(mantissa.partition(".")[2]) - int(exponent or 0))
    return min(precision, most)


def _order(values: Collection[str], habits: _Habits) -> DateOrder | None:
    """The order of day and month in a column of dates; None where it is not one, or where nothing tells."""
    possible = possible_orders(values)
    if possible is None:
        if not habits.is_complete:
            raise _Open
        return next(iter(habits.orders)) if len(habits.orders) == 1 else None
    if len(possible) == 1:
        (order,) = possible
        habits.orders.add(order)
        return order
    # Every value reads the same either way: 2024-01-31.
    return DateOrder.MONTH_FIRST if possible else None


def _date_format(values: Collection[str], order: DateOrder) -> Mapping[str, str]:
    """The field's format that is nearest to how the first date is written."""
    match date_style(next(iter(values))):
        case DateStyle.ISO:
            name = "iso"
        case DateStyle.NAMES:
            name = "friendly"
        case DateStyle.POINTS:
            name = "european"
        case _:
            name = "european" if order is DateOrder.DAY_FIRST else "us"
    return {"name": name, "format": DATE_FORMATS[name]}


def _reading_for(column: _Column, found: Field, habits: _Habits) -> Reading:
    """How a column is written whose field is given. Raises _Open."""
    if not column.filled:
        return Reading()
    if found.type in ("number", "percent", "currency"):
        numbers = []
        for value in column.values:
            money = split_money(value.removesuffix("%").rstrip())
            numbers.append(value if money is None else money[1])
        return Reading(_decimal(numbers, habits) or ".")
    if found.type in ("date", "dateTime"):
        dates = [value for value in column.values if date_style(value) is not None]
        order = _order(dates, habits) if dates else None
        # Where the file does not tell, cells are read as the field shows them.
        if order is None or len(possible_orders(dates) or ()) > 1:
            is_european = found.options.get("dateFormat", {}).get("name") == "european"
            order = DateOrder.DAY_FIRST if is_european else DateOrder.MONTH_FIRST
        return Reading(order=order)
    return Reading()
