"""Types that hold numbers: IEEE doubles, which a precision shows rounded and never changes."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from pyat.recordstore.fieldtypes.base import BadValue, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat, amount_text, duration_text, rounded
from pyat.recordstore.fieldtypes.notation import read_amount, read_number, read_percentage, read_seconds
from pyat.recordstore.fieldtypes.options import BRIGHT_COLORS, members, one_of, short_text, whole_number
from pyat.recordstore.structure import Field, Options

RATING_ICONS = ("star", "heart", "thumbsUp", "flag", "dot")
CHECKBOX_ICONS = ("check", "xCheckbox", *RATING_ICONS)
DURATION_FORMATS = ("h:mm", "h:mm:ss", "h:mm:ss.S", "h:mm:ss.SS", "h:mm:ss.SSS")
NUMBER_PRECISION_MAX = 8
CURRENCY_PRECISION_MAX = 7
RATING_MAX = 10
SYMBOL_LENGTH_MAX = 100


class NumberType(FieldType):
    """A finite double. Integers beyond 2^53 become the nearest one, as every JSON number does at Airtable."""

    pg_type: ClassVar[str] = "float8"
    can_be_primary: ClassVar[bool] = True
    can_merge_on: ClassVar[bool] = True

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A number."""
        kind = type(value)
        if kind is int:
            try:
                value = float(value)
            except OverflowError:
                raise BadValue from None
        elif kind is not float:
            if is_blank(value):
                return None
            raise BadValue
        if value - value != 0.0:  # so it is for infinities and NaN alone
            raise BadValue
        return value + 0.0  # minus nought, which JSON would show, becomes nought

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """A text is read as a number; one that holds none clears the cell."""
        return self.read(value) if type(value) is str else self.parse(value, field)

    def read(self, text: str) -> float | None:
        """The number in a text, by the conventions of the type; None if there is none."""
        return read_amount(text)

    def json_sql(self, field: Field, column: str) -> str:
        """The shortest digits that read back as the same double; whole numbers below 1e21 are written out, as JavaScript does."""
        # PostgreSQL turns to 1e+15 earlier, which clients that expect an integer cannot read. The way by numeric is
        # exact because it starts from the text.
        return (
            f"CASE WHEN abs({column}) >= 1e15::float8 AND abs({column}) < 1e21::float8"
            f" THEN {column}::text::numeric::text ELSE {column}::text END"
        )


class Number(NumberType):
    """A number, shown with up to 8 decimals."""

    name: ClassVar[str] = "number"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"precision": 0 to 8}`."""
        found = members(options, "options", ("precision",))
        return {"precision": whole_number(found["precision"], "options.precision", 0, NUMBER_PRECISION_MAX)}

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """Rounded to the precision: `1234.50`."""
        return f"{rounded(column, field.options['precision'])}::text"


class Percent(Number):
    """A ratio: 0.5 is shown as 50 %."""

    name: ClassVar[str] = "percent"

    def read(self, text: str) -> float | None:
        """`12%` is 0.12; without the sign the number itself is the ratio."""
        return read_percentage(text)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """Of a hundred, rounded to the precision: `12.5%`."""
        return f"round({column}::text::numeric * 100, {field.options['precision']})::text || '%'"


class Currency(NumberType):
    """An amount of money, shown with up to 7 decimals."""

    name: ClassVar[str] = "currency"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"precision": 0 to 7, "symbol": "$"}`."""
        found = members(options, "options", ("precision", "symbol"))
        return {
            "precision": whole_number(found["precision"], "options.precision", 0, CURRENCY_PRECISION_MAX),
            "symbol": short_text(found["symbol"], "options.symbol", length_max=SYMBOL_LENGTH_MAX),
        }

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """The field's own symbol may stand beside the number, like that of any currency."""
        return read_amount(value, field.options["symbol"]) if type(value) is str else self.parse(value, field)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """With the symbol, by thousands: `$1,234.50`."""
        return amount_text(column, field.options["precision"], field.options["symbol"])


class Duration(NumberType):
    """A length of time in seconds."""

    name: ClassVar[str] = "duration"

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"durationFormat": "h:mm"}`."""
        found = members(options, "options", ("durationFormat",))
        return {"durationFormat": one_of(found["durationFormat"], "options.durationFormat", DURATION_FORMATS)}

    def read(self, text: str) -> float | None:
        """`1:30` is hours and minutes, whatever the format; `1:02:03.4`; a bare number counts seconds."""
        return read_seconds(text)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """By the format: `1:01:01.5`."""
        return duration_text(column, field.options["durationFormat"])


class Rating(FieldType):
    """A whole number from 1 to the field's maximum; 0 clears."""

    name: ClassVar[str] = "rating"
    pg_type: ClassVar[str] = "int2"
    can_merge_on: ClassVar[bool] = True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"icon": "star", "max": 1 to 10, "color": "yellowBright"}`."""
        found = members(options, "options", ("icon", "max", "color"))
        return {
            "icon": one_of(found["icon"], "options.icon", RATING_ICONS),
            "max": whole_number(found["max"], "options.max", 1, RATING_MAX),
            "color": one_of(found["color"], "options.color", BRIGHT_COLORS),
        }

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A whole number within the bounds, also as 3.0."""
        kind = type(value)
        if kind is int or (kind is float and value.is_integer()):
            if 0 <= value <= field.options["max"]:
                return int(value) or None
        elif is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Texts are read; fractions are rounded, and what is out of bounds is brought to the nearest bound."""
        if type(value) is str:
            value = read_number(value)
        if type(value) is int or (type(value) is float and math.isfinite(value)):
            value = math.floor(min(max(value, 0), field.options["max"]) + 0.5)
        return self.parse(value, field)

    def json_sql(self, field: Field, column: str) -> str:
        """A JSON number."""
        return f"{column}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The number."""
        return f"{column}::text"


class Checkbox(FieldType):
    """True or empty; false is never stored."""

    name: ClassVar[str] = "checkbox"
    pg_type: ClassVar[str] = "bool"
    can_merge_on: ClassVar[bool] = True

    _TRUE_WORDS: ClassVar[frozenset[str]] = frozenset({"true", "1", "yes", "checked"})

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"icon": "check", "color": "greenBright"}`."""
        found = members(options, "options", ("icon", "color"))
        return {
            "icon": one_of(found["icon"], "options.icon", CHECKBOX_ICONS),
            "color": one_of(found["color"], "options.color", BRIGHT_COLORS),
        }

    def parse(self, value: Any, field: Field) -> StoredValue:
        """true, or anything that clears."""
        if value is True:
            return True
        if is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """`true`, `1`, `yes` and `checked` in any case are true, other texts clear; so does the number 0, and no other."""
        if type(value) is str:
            return True if value.strip().lower() in self._TRUE_WORDS else None
        if type(value) is int or type(value) is float:
            return True if value else None
        return self.parse(value, field)

    def json_sql(self, field: Field, column: str) -> str:
        """`true`."""
        return f"CASE WHEN {column} THEN 'true' END"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """`checked`."""
        return f"CASE WHEN {column} THEN 'checked' END"
