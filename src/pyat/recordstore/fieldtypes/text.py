"""Types that hold text. What an email, URL or phone number looks like is not checked, as Airtable does not."""

import math
import re
from typing import Any, ClassVar

from pyat.recordstore.fieldtypes.base import TEXT_LENGTH_MAX, BadValue, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.notation import decimal_text
from pyat.recordstore.structure import Field


class TextType(FieldType):
    """Any text of up to 100,000 characters without NUL, which PostgreSQL cannot hold."""

    pg_type: ClassVar[str] = "text"
    can_be_primary: ClassVar[bool] = True
    can_merge_on: ClassVar[bool] = True

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A string, kept as it is."""
        if type(value) is str:
            if len(value) <= TEXT_LENGTH_MAX and "\x00" not in value:
                return value or None
        elif is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Numbers become decimal text, arrays of texts and numbers are joined; true stays refused."""
        if type(value) is list:
            value = ", ".join(map(_plain, value))
        elif type(value) is not str and not is_blank(value):
            value = _plain(value)
        return self.parse(value, field)

    def json_sql(self, field: Field, column: str) -> str:
        """A JSON string."""
        return f"to_json({column})::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """As it is."""
        return column

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """Without regard to case first, then exactly."""
        # Bytes compare alike on every server, and fast; only which letters have a small form is the database's matter.
        return f'lower({column}) COLLATE "C"', f'{column} COLLATE "C"'

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Both keys are text."""
        return "text", "text"


def _plain(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return decimal_text(value)
    raise BadValue


class SingleLineText(TextType):
    """One line, though line breaks are kept when a client sends them."""

    name: ClassVar[str] = "singleLineText"


class MultilineText(TextType):
    """Long text."""

    name: ClassVar[str] = "multilineText"


class Email(TextType):
    """An email address."""

    name: ClassVar[str] = "email"


class Url(TextType):
    """A web address."""

    name: ClassVar[str] = "url"


class PhoneNumber(TextType):
    """A telephone number."""

    name: ClassVar[str] = "phoneNumber"


# A line of stars and blanks alone is a rule across the page, not a list.
_STAR_BULLET = re.compile(r"^([ \t]*)\*(?=[ \t])(?!(?:[ \t]*\*){2,}[ \t]*$)", re.MULTILINE)
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")


class RichText(TextType):
    """Long text in Markdown, normalised when written: `* item` becomes `- item`, and a line break ends the text.

    Clearing a cell stores that line break alone, and so it reads back (wire reference, section 6.3); a cell that was
    never written is NULL and left out like any other. Both sort as blanks.
    """

    name: ClassVar[str] = "richText"
    can_be_primary: ClassVar[bool] = False
    can_merge_on: ClassVar[bool] = False

    def parse(self, value: Any, field: Field) -> StoredValue:
        """Markdown; the line break at its end does not count as a character."""
        if type(value) is str and value.endswith("\n"):
            value = value[:-1]
        text: str | None = super().parse(value, field)
        return "\n" if text is None else f"{_dashed(text)}\n"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """As any text."""
        return super().sort_sql(field, f"nullif({column}, E'\\n')")


def _dashed(text: str) -> str:
    """`text` with dashes for the stars before list items, except in fenced code."""
    if "* " not in text and "*\t" not in text:
        return text
    lines = text.split("\n")
    is_code = False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            lines[number] = _STAR_BULLET.sub(r"\1-", line)
    return "\n".join(lines)
