"""Values as JSON: as records show them, and as they go from one process to another without losing what they are."""

from typing import Any

from pyat.formula.moments import parse_moment
from pyat.formula.values import ERROR, Error, Moment, Value, moment_text


def shown(value: Value) -> Any:
    """As the cell of a record: dates as ISO texts, `{"error": "#ERROR!"}`, `{"specialValue": "NaN"}`; None is blank."""
    if type(value) is Error:
        return {"error": "#ERROR!"}
    if type(value) is float:
        if value - value != 0:
            return {"specialValue": _name(value)}
        return int(value) if value == int(value) and abs(value) < 1e15 else value
    if type(value) is Moment:
        return moment_text(value)
    return [shown(item) for item in value] if type(value) is tuple else value


def packed(value: Value) -> Any:
    """JSON from which `unpacked` makes the same value; a date's own time zone is not part of it."""
    if type(value) is float and value - value == 0:
        return value
    if type(value) is Moment:
        return {"date": value.ms}
    if type(value) is tuple:
        return [packed(item) for item in value]
    return shown(value)


def unpacked(given: Any) -> Value:
    """The value of JSON that `packed` made."""
    if isinstance(given, list):
        return tuple(unpacked(item) for item in given)
    if isinstance(given, dict):
        if "date" in given:
            return Moment(given["date"])
        return ERROR if "error" in given else float(given["specialValue"])
    return float(given) if isinstance(given, int | float) else given


def given(value: Any) -> Value:
    """What somebody gives a formula as JSON: numbers, texts, booleans, null, lists, `{"date": "2026-01-31"}`.

    Raises ValueError for anything else.
    """
    if isinstance(value, list):
        found = tuple(given(item) for item in value)
        if any(isinstance(item, tuple) for item in found):
            raise ValueError("lists hold no lists")
        return found
    if isinstance(value, dict) and set(value) == {"date"} and isinstance(value["date"], str):
        moment = parse_moment(value["date"])
        if moment is None:
            raise ValueError("not a date such as 2026-01-31 or 2026-01-31T12:00:00Z")
        return moment
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return float(value)
    raise ValueError("a value is a number, a text, a boolean, null, a list, or an object with a date")


def _name(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
