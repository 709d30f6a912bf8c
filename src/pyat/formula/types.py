"""What is known of a value before any record is read."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Kind(Enum):
    """The kinds of values. Every kind includes blank and error."""

    BLANK = "blank"
    """Blank or error, and nothing else."""
    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    ANY = "any"
    """More than one kind is possible; which one depends on the record."""


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an expression: one kind, or an array of that kind. What it says is always so: nothing is guessed."""

    kind: Kind
    is_array: bool = False
    is_boolean: bool = False
    """A number that is 1 or 0."""
    is_day: bool = False
    """A date without a time: midnight UTC."""

    @property
    def element(self) -> "Type":
        """Of an array's items; the type itself otherwise."""
        return replace(self, is_array=False)

    @property
    def array(self) -> "Type":
        """Of an array of such values."""
        return replace(self, is_array=True)


BLANK: Final = Type(Kind.BLANK)
NUMBER: Final = Type(Kind.NUMBER)
BOOLEAN: Final = Type(Kind.NUMBER, is_boolean=True)
TEXT: Final = Type(Kind.TEXT)
DATE: Final = Type(Kind.DATE)
DAY: Final = Type(Kind.DATE, is_day=True)
ANY: Final = Type(Kind.ANY)


def joined(*types: Type) -> Type:
    """The type of a value that is one of these: blanks do not count, different kinds make ANY."""
    # A list without items is no blank.
    found = [one for one in types if one.kind is not Kind.BLANK or one.is_array]
    if not found:
        return BLANK
    first = found[0]
    if any(one.kind is not first.kind or one.is_array != first.is_array for one in found):
        return ANY
    return replace(first, is_boolean=all(one.is_boolean for one in found), is_day=all(one.is_day for one in found))
