"""Checks of the options that a client sends, each naming the place that is wrong."""

from collections.abc import Collection
from typing import Any

from pyat.recordstore.fieldtypes.base import BadOptions

_SHOWN_LENGTH_MAX = 100
"""How much of a key that nobody knows is repeated in a message."""

BRIGHT_COLORS = tuple(
    f"{hue}Bright" for hue in ("green", "teal", "cyan", "blue", "purple", "pink", "red", "orange", "yellow", "gray")
)
"""Colours of checkboxes and ratings (wire reference, section 6.2)."""


def members(value: Any, where: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """An object that has the `required` keys and no others but `optional` ones; None counts as missing."""
    if value is None:
        raise BadOptions(where, "is missing")
    if not isinstance(value, dict):
        raise BadOptions(where, "is not an object")
    for key in value:
        if key not in required and key not in optional:
            raise BadOptions(f"{where}.{key[:_SHOWN_LENGTH_MAX]}", "is not included in the schema")
    for key in required:
        if key not in value:
            raise BadOptions(f"{where}.{key}", "is missing")
    return value


def one_of(value: Any, where: str, allowed: Collection[str]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in allowed:
        raise BadOptions(where, f"is not one of {', '.join(allowed)}")
    return value


def whole_number(value: Any, where: str, low: int, high: int) -> int:
    """An integer from `low` to `high`; JSON's 2.0 and true are none."""
    if type(value) is not int or not low <= value <= high:
        raise BadOptions(where, f"is not a whole number from {low} to {high}")
    return value


def short_text(value: Any, where: str, *, length_max: int) -> str:
    """A string of at most `length_max` characters, possibly empty."""
    if not isinstance(value, str) or len(value) > length_max:
        raise BadOptions(where, f"is not a text of at most {length_max} characters")
    return value


def array(value: Any, where: str, *, length_max: int) -> list[Any]:
    """A list of at most `length_max` items."""
    if not isinstance(value, list):
        raise BadOptions(where, "is not an array")
    if len(value) > length_max:
        raise BadOptions(where, f"has more than {length_max} items")
    return value
