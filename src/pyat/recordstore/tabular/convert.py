"""Cells as text to what COPY takes in, a column at a time.

A cell costs PostgreSQL about a third of a microsecond, and one call of a Python function costs as much. So each
converter first tries the whole column with a few calls that loop in C (join, split, replace, map over `float`), which
can only say yes or no; where the answer is no, cells are read one by one, each distinct text once. Texts that
PostgreSQL reads as Python does are passed on as they stand.
"""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from pyat.foundation.ids import ChoiceId, new_id
from pyat.recordstore.fieldtypes import NewChoices
from pyat.recordstore.fieldtypes.base import TEXT_LENGTH_MAX
from pyat.recordstore.fieldtypes.numbers import Duration
from pyat.recordstore.fieldtypes.selects import CHOICES_MAX, NAME_LENGTH_MAX
from pyat.recordstore.fieldtypes.text import RichText
from pyat.recordstore.structure import Field
from pyat.recordstore.tabular.formats import loses_digits, read_moment, read_number, split_money
from pyat.recordstore.tabular.plan import Reading

NULL = "\\N"
"""COPY's text for an empty cell."""

_SEPARATOR = "\x00"
"""Stands between the cells of a joined column; PostgreSQL's text cannot hold it, so no cell that fits does."""

_MEMO_MAX = 50_000
_FLOAT_LENGTH_MAX = 300
"""Digits up to this length without an exponent neither overflow a double nor vanish in it."""


class Converted(NamedTuple):
    """A column as COPY takes it, and the cells that do not fit (here NULL) with the reason for each text."""

    items: Sequence[str]
    refused: Mapping[str, str]


class Misfit(Exception):
    """A cell that the type does not take; `args[0]` ends the sentence "the cell …"."""


class Converter(ABC):
    """Turns the cells of one column into items of COPY's text format. Keeps what it learns between chunks."""

    @abstractmethod
    def convert(self, cells: Sequence[str]) -> Converted:
        """One item for each of `cells` (at least one), in order."""


class TextConverter(Converter):
    """Text as it stands; line ends become line feeds. Nothing but length and NUL characters is refused."""

    def __init__(self, *, is_stripped: bool = False) -> None:
        """`is_stripped` removes blanks around a cell: addresses have none, but files do."""
        self._is_stripped = is_stripped

    def convert(self, cells: Sequence[str]) -> Converted:
        refused: dict[str, str] = {}
        joined = _SEPARATOR.join(cells)
        is_long = len(joined) > TEXT_LENGTH_MAX and max(map(len, cells)) > TEXT_LENGTH_MAX
        if is_long or joined.count(_SEPARATOR) >= len(cells):
            for cell in cells:
                if _SEPARATOR in cell:
                    refused[cell] = "holds a NUL character"
                elif len(cell) > TEXT_LENGTH_MAX:
                    refused[cell] = f"is longer than {TEXT_LENGTH_MAX:,} characters"
            cells = ["" if cell in refused else cell for cell in cells]
            joined = _SEPARATOR.join(cells)
        items = cells
        plain = joined
        joined = self.normal(joined)
        if "\r" in joined:
            joined = joined.replace("\r\n", "\n").replace("\r", "\n")
        for special, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\t", "\\t")):
            if special in joined:
                joined = joined.replace(special, escaped)
        if joined is not plain:
            items = joined.split(_SEPARATOR)
        if "" in items:
            items = [item or NULL for item in items]
        return Converted(items, refused)

    def normal(self, joined: str) -> str:
        """The cells, joined by NUL, as the type stores them."""
        if self._is_stripped and " " in joined:
            return _SEPARATOR.join(map(str.strip, joined.split(_SEPARATOR)))
        return joined


class RichTextConverter(TextConverter):
    """Markdown, normalised as every write of it is."""

    _type = RichText()

    def __init__(self, field: Field) -> None:
        super().__init__()
        self._field = field

    def normal(self, joined: str) -> str:
        cells = joined.replace("\r\n", "\n").split(_SEPARATOR)
        return _SEPARATOR.join(self._type.parse(cell, self._field) if cell else cell for cell in cells)


class BarcodeConverter(TextConverter):
    """Each text as a code of an unknown kind."""

    def normal(self, joined: str) -> str:
        cells = (cell.strip() for cell in joined.split(_SEPARATOR))
        return _SEPARATOR.join(orjson.dumps({"text": cell}).decode() if cell else cell for cell in cells)


class _Memo(dict[str, str]):
    """Items by cell; reads a cell when it is first asked for, and remembers why it could not be read."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self.refused: dict[str, str] = {}

    def __missing__(self, cell: str) -> str:
        text = cell.strip()
        try:
            item = self._read(text) if text else NULL
        except Misfit as misfit:
            self.refused[cell] = str(misfit.args[0])
            item = NULL
        self[cell] = item
        return item


class _ByText(Converter):
    """Reads each distinct text once."""

    def __init__(self) -> None:
        self._memo = _Memo(self.read)

    @abstractmethod
    def read(self, text: str) -> str:
        """The item for one cell without blanks around it, not empty. Raises Misfit."""

    def convert(self, cells: Sequence[str]) -> Converted:
        if len(self._memo) > _MEMO_MAX:
            self._memo = _Memo(self.read)
        return Converted(list(map(self._memo.__getitem__, cells)), self._memo.refused)


class _ByColumn(_ByText):
    """Converts the whole column at once where all its cells are of the simplest form, else each distinct text once."""

    @abstractmethod
    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        """The items for cells none of which is empty, or None if they are not all of the simplest form."""

    def convert(self, cells: Sequence[str]) -> Converted:
        if "" not in cells:
            items = self.bulk(cells)
        else:
            filled = list(filter(None, cells))
            found = self.bulk(filled) if filled else ()
            if found is None:
                items = None
            else:
                following = iter(found)
                items = [next(following) if cell else NULL for cell in cells]
        return super().convert(cells) if items is None else Converted(items, {})


# Numbers

_ZEROS_FIRST = re.compile(r"\x00-?0\d", re.ASCII)
_MANY_DIGITS = re.compile(r"\d{16}", re.ASCII)
_GROUPED = {
    decimal: re.compile(
        rf"(?:\A|\x00)(-?(?:\d{{1,3}}(?:{re.escape(group)}\d{{3}})+|\d+)(?:{re.escape(decimal)}\d+)?)(?=\x00|\Z)",
        re.ASCII,
    )
    for decimal, group in ((".", ","), (",", "."))
}


class NumberConverter(_ByColumn):
    """Numbers as doubles."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._decimal = reading.decimal
        self._is_exact = reading.is_exact

    def read(self, text: str) -> str:
        return self._item(text)

    def _item(self, text: str, *, shift: int = 0) -> str:
        if self._is_exact and loses_digits(text):
            raise Misfit("would lose leading zeros or digits as a number")
        value = read_number(text, self._decimal, shift=shift)
        if value is None:
            raise Misfit("is not a number")
        return repr(value)

    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        return self._plain(_SEPARATOR.join(cells), len(cells))

    def _plain(self, joined: str, count: int) -> list[str] | None:
        """The numbers in a joined column as PostgreSQL reads them, if all are of plain digits, signs and groups."""
        if self._decimal == "." and not joined.encode("utf-8").translate(None, b"0123456789.-\x00"):
            items = joined.split(_SEPARATOR)
        else:
            items = _GROUPED[self._decimal].findall(joined)
            if len(items) != count:
                return None
            joined = _SEPARATOR.join(items)
            joined = joined.replace(",", "") if self._decimal == "." else joined.replace(".", "").replace(",", ".")
            items = joined.split(_SEPARATOR)
        longest = max(map(len, items))
        if len(items) != count or longest > _FLOAT_LENGTH_MAX:
            return None
        if self._is_exact and (
            _ZEROS_FIRST.search(_SEPARATOR + joined) or (longest > 15 and _MANY_DIGITS.search(joined))
        ):
            return None
        try:
            # Consumed for its errors alone; a deque or a loop would be slower.
            list(map(float, items))
        except ValueError:
            return None
        return items


class PercentConverter(NumberConverter):
    """`12.5%` as 0.125. A number without the sign is taken as it is: 0.125."""

    def read(self, text: str) -> str:
        if text.endswith("%"):
            return self._item(text[:-1].rstrip(), shift=-2)
        return self._item(text)

    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        joined = _SEPARATOR.join(cells) + _SEPARATOR
        if not joined.count(f"%{_SEPARATOR}") == joined.count("%") == len(cells):
            return None
        items = self._plain(joined.replace("%", "")[:-1], len(cells))
        if items is None:
            return None
        # The exponent keeps the nearest double, which a division would miss.
        return (_SEPARATOR.join(items).replace(_SEPARATOR, f"e-2{_SEPARATOR}") + "e-2").split(_SEPARATOR)


class CurrencyConverter(NumberConverter):
    """Amounts with the field's symbol before or after them, or without any."""

    def __init__(self, reading: Reading, symbol: str) -> None:
        super().__init__(reading)
        self._symbol = symbol

    def read(self, text: str) -> str:
        found = split_money(text)
        if found is None:
            raise Misfit("is not an amount")
        symbol, number = found
        if symbol and symbol != self._symbol:
            raise Misfit(f"is not in {self._symbol}")
        return self._item(number)

    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        symbol = self._symbol
        joined = _SEPARATOR.join(cells)
        count = joined.count(symbol) if symbol else 0
        if count:
            edged = f"{_SEPARATOR}{joined}{_SEPARATOR}"
            before = edged.count(_SEPARATOR + symbol) + edged.count(f"{_SEPARATOR}-{symbol}")
            if before == count == len(cells):
                joined = joined.replace(symbol, "")
            elif edged.count(f"\u00a0{symbol}{_SEPARATOR}") == count == len(cells):
                joined = joined.replace(f"\u00a0{symbol}", "")
            elif edged.count(f" {symbol}{_SEPARATOR}") == count == len(cells):
                joined = joined.replace(f" {symbol}", "")
            else:
                return None
        return self._plain(joined, len(cells))


class RatingConverter(_ByText):
    """Whole numbers from 1 to the field's maximum; 0 is blank."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def read(self, text: str) -> str:
        value = read_number(text, ".")
        if value is None or not value.is_integer() or not 0 <= value <= self._most:
            raise Misfit(f"is not a whole number from 1 to {self._most}")
        return str(int(value)) if value else NULL


class DurationConverter(_ByText):
    """`1:30` (hours and minutes), `1:02:03.4` or a number of seconds."""

    _type = Duration()

    def read(self, text: str) -> str:
        seconds = self._type.read(text)
        if seconds is None:
            raise Misfit("is not a duration")
        return repr(float(seconds))


# Checkboxes and choices

_YES = frozenset(("true", "yes", "y", "x", "checked", "1", "on", "✓", "✔"))
_NO = frozenset(("false", "no", "n", "unchecked", "0", "off"))


class CheckboxConverter(_ByText):
    """Words for yes and no in any case. No is blank, as Airtable stores it."""

    def read(self, text: str) -> str:
        word = text.casefold()
        if word in _YES:
            return "t"
        if word in _NO:
            return NULL
        raise Misfit("is neither yes nor no")


class SelectConverter(_ByText):
    """Names of choices as the choices' ids; a name that the field does not have becomes a new choice."""

    def __init__(self, choices: Collection[Mapping[str, str]]) -> None:
        super().__init__()
        self._ids_by_name = {choice["name"]: choice["id"] for choice in choices}
        self.added = NewChoices()

    def read(self, text: str) -> str:
        return self._id_of(text)

    def _id_of(self, name: str) -> str:
        found = self._ids_by_name.get(name)
        if found is not None:
            return found
        if len(self._ids_by_name) >= CHOICES_MAX:
            raise Misfit(f"would be one choice more than the {CHOICES_MAX:,} that a field can have")
        if len(name) > NAME_LENGTH_MAX or _SEPARATOR in name:
            raise Misfit("cannot be the name of a choice")
        made = ChoiceId(new_id("sel"))
        self._ids_by_name[name] = self.added.ids_by_name[name] = made
        return made


class MultipleSelectsConverter(SelectConverter):
    """Names separated by commas; quotes protect a comma. Repeated names count once."""

    def read(self, text: str) -> str:
        names = next(csv.reader([text.replace("\n", " ").replace("\r", " ")], skipinitialspace=True), [])
        ids = [self._id_of(name.strip()) for name in names if name.strip()]
        return "{" + ",".join(dict.fromkeys(ids)) + "}" if ids else NULL


# Dates


class DateConverter(_ByColumn):
    """Calendar days."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self._reading = reading

    def read(self, text: str) -> str:
        moment = read_moment(text, self._reading.order)
        if moment is None:
            raise Misfit(f"is not a date (read {self._reading.order})")
        if isinstance(moment, datetime):
            if self._reading.is_exact and moment.time() != time():
                raise Misfit("has a time of day, which a date does not keep")
            moment = moment.date()
        return moment.isoformat()

    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        if set(map(len, cells)) != {10} or "W" in "".join(cells):
            return None
        try:
            list(map(date.fromisoformat, cells))
        except ValueError:
            return None
        return cells


class DateTimeConverter(_ByColumn):
    """Moments in UTC, to the millisecond. A text without a zone is read in the field's zone."""

    def __init__(self, reading: Reading, zone: tzinfo) -> None:
        super().__init__()
        self._order = reading.order
        self._zone = zone

    def read(self, text: str) -> str:
        moment = read_moment(text, self._order)
        if moment is None:
            raise Misfit(f"is not a date or time (read {self._order})")
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        try:
            return moment.astimezone(UTC).isoformat(timespec="milliseconds")
        except OverflowError as error:
            raise Misfit("is not a date or time of the years 1 to 9999") from error

    def bulk(self, cells: Sequence[str]) -> Sequence[str] | None:
        """Timestamps of one ISO form. A slice with the form's width as its step is one character of every cell."""
        (width, *others) = set(map(len, cells))
        joined = "".join(cells)
        has_zone = width in (20, 24) and set(joined[width - 1 :: width]) == {"Z"}
        if others or width not in (19, 23, 20, 24) or not (has_zone or (width in (19, 23) and self._zone is UTC)):
            return None
        marks = [(4, "-"), (7, "-"), (13, ":"), (16, ":")]
        if width >= 23:
            marks.append((19, "."))
        if not set(joined[10::width]) <= {"T", " "} or any(set(joined[at::width]) != {mark} for at, mark in marks):
            return None
        try:
            list(map(datetime.fromisoformat, cells))
        except ValueError:
            return None
        return cells if has_zone else [cell + "Z" for cell in cells]


def _zone_of(field: Field) -> tzinfo:
    """Where texts without a zone are read: the field's, or UTC for `utc` and `client` (wire reference, section 6.3)."""
    name = field.options["timeZone"]
    return UTC if name in ("utc", "client") else ZoneInfo(name)


CONVERTERS: Mapping[str, Callable[[Field, Reading], Converter]] = {
    "singleLineText": lambda field, reading: TextConverter(),
    "multilineText": lambda field, reading: TextConverter(),
    "richText": lambda field, reading: RichTextConverter(field),
    "email": lambda field, reading: TextConverter(is_stripped=True),
    "url": lambda field, reading: TextConverter(is_stripped=True),
    "phoneNumber": lambda field, reading: TextConverter(is_stripped=True),
    "barcode": lambda field, reading: BarcodeConverter(is_stripped=True),
    "number": lambda field, reading: NumberConverter(reading),
    "percent": lambda field, reading: PercentConverter(reading),
    "currency": lambda field, reading: CurrencyConverter(reading, field.options["symbol"]),
    "duration": lambda field, reading: DurationConverter(),
    "rating": lambda field, reading: RatingConverter(field.options["max"]),
    "checkbox": lambda field, reading: CheckboxConverter(),
    "singleSelect": lambda field, reading: SelectConverter(field.options["choices"]),
    "multipleSelects": lambda field, reading: MultipleSelectsConverter(field.options["choices"]),
    "date": lambda field, reading: DateConverter(reading),
    "dateTime": lambda field, reading: DateTimeConverter(reading, _zone_of(field)),
}
"""How to make the converter of a field, by its type. Fields of other types take no values from a file."""
