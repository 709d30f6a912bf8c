"""Lists (formula reference, section 13). A single value is a list of one, a blank an empty one."""

from collections.abc import Sequence

from pyat.formula.functions.base import Function, anything, items, number
from pyat.formula.types import Type, joined
from pyat.formula.values import Value, items_of


class _Array(Function):
    category = "array"

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """A list of what the arguments hold."""
        return joined(*(one.element for one in arguments[:1])).array


def _list(value: Value) -> tuple[Value, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


class ARRAYCOMPACT(_Array):
    """The list without blanks and empty texts.

    >>> ARRAYCOMPACT("")
    []
    >>> ARRAYCOMPACT("a")
    ["a"]
    """

    parameters = (anything("array"),)

    @staticmethod
    def run(array: Value) -> Value:
        """Texts of white space stay, and so does false."""
        return tuple(item for item in _list(array) if item is not None and item != "")


class ARRAYFLATTEN(_Array):
    """All values as one list, without lists in it.

    >>> ARRAYFLATTEN(1, 2, 3)
    [1, 2, 3]
    >>> ARRAYFLATTEN("a")
    ["a"]
    """

    parameters = (items("array"),)

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """A list of what all the arguments hold."""
        return joined(*(one.element for one in arguments)).array

    @staticmethod
    def run(*given: Value) -> Value:
        """A blank argument is an empty list."""
        return tuple(items_of(value for value in given if value is not None))


class ARRAYUNIQUE(_Array):
    """The list with each value once, where it comes first.

    >>> ARRAYUNIQUE("a")
    ["a"]
    >>> ARRAYUNIQUE(BLANK())
    []
    """

    parameters = (anything("array"),)

    @staticmethod
    def run(array: Value) -> Value:
        """Texts that differ in case are different."""
        found: dict[tuple[type, Value], Value] = {}
        for item in _list(array):
            found.setdefault((type(item), item), item)
        return tuple(found.values())


class ARRAYSLICE(_Array):
    """The items from one position to another, both included; positions count from 1, below zero from the end.

    >>> ARRAYSLICE("a", 1)
    ["a"]
    >>> ARRAYSLICE("a", 2)
    []
    """

    parameters = (anything("array"), number("start"), number("end", optional=True))

    @staticmethod
    def run(array: Value, start: float, end: float | None = None) -> Value:
        """What is outside of the list is left out."""
        found = _list(array)
        first, last = _position(start, len(found)), len(found) if end is None else _position(end, len(found))
        return found[max(first - 1, 0) : max(last, 0)]


def _position(number: float, length: int) -> int:
    whole = int(max(-1e9, min(number, 1e9)))
    return length + 1 + whole if whole < 0 else whole


FUNCTIONS: Sequence[type[Function]] = (ARRAYCOMPACT, ARRAYFLATTEN, ARRAYSLICE, ARRAYUNIQUE)
