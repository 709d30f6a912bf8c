"""Truth, choice, blanks and errors (formula reference, sections 7, 8 and 10)."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyat.formula.functions.base import Function, anything, items
from pyat.formula.types import BLANK as NOTHING
from pyat.formula.types import BOOLEAN, Type, joined
from pyat.formula.values import ERROR, Error, Value, is_error, items_of, to_boolean

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql


class _Logic(Function):
    category = "logical"
    result = BOOLEAN


class IF(_Logic):
    """The second value where the condition is true, else the third, or a blank where there is none.

    Only the value that is chosen is computed.

    >>> IF(3 > 2, "yes", "no")
    "yes"
    >>> IF(0, 1)
    blank
    >>> IF(1, "safe", ERROR())
    "safe"
    """

    parameters = (anything("condition"), anything("value"), anything("otherwise", optional=True))
    is_lazy = True

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """One of both branches."""
        return joined(*arguments[1:])


class SWITCH(_Logic):
    """The value behind the first pattern that equals the expression, else the last value where it has no pattern.

    >>> SWITCH(2, 1, "one", 2, "two")
    "two"
    >>> SWITCH("x", "y", 1, "none of them")
    "none of them"
    >>> SWITCH(3, 1, "one")
    blank
    """

    parameters = (
        anything("expression"),
        anything("pattern"),
        anything("value"),
        anything("more", optional=True, repeated=True),
    )
    is_lazy = True

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """One of the values."""
        rest = arguments[1:]
        return joined(*rest[1::2], *(rest[-1:] if len(rest) % 2 else ()))


def _truths(given: tuple[Value, ...]) -> list[bool] | None:
    found = [to_boolean(item) for item in items_of(given)]
    return None if any(isinstance(one, Error) for one in found) else [one is True for one in found]


def _item_truths(context: "Context", given: "Sql", sign: str) -> str | None:
    """Of a list: whether all of its items are true (AND), or one of them is (OR)."""
    from pyat.formula.types import Kind

    if given.type.kind is Kind.NUMBER:
        # NULL is a blank, which is false.
        test = "x.item IS NULL OR x.item = 0" if sign == "AND" else "x.item <> 0"
    elif given.type.kind is Kind.TEXT:
        test = "x.item IS NULL OR x.item = ''" if sign == "AND" else "x.item <> ''"
    else:
        test = "x.item IS NULL" if sign == "AND" else "x.item IS NOT NULL"
    found = f"EXISTS (SELECT FROM unnest({given.value}) AS x(item) WHERE {test})"
    if sign == "OR":
        return found
    # A blank in the place of a list is false.
    return f"(NOT {found})" if given.is_filled else f"({given.value} IS NOT NULL AND NOT {found})"


def _joined(context: "Context", given: "Sequence[Sql]", sign: str) -> "Sql | None":
    from pyat.formula.sql import any_error, boolean, condition_of, truth_error

    parts = []
    for one in given:
        part = _item_truths(context, one, sign) if one.type.is_array else condition_of(one)
        if part is None:
            return None
        parts.append(part)
    errors = any_error(*(truth_error(one) for one in given))
    return boolean(f"({f' {sign} '.join(_as_ranges(parts) if sign == 'AND' else parts)})", errors)


_COLUMN, _BOUND = r'[a-z0-9]+\."[^"]+"', r"'[^']+'::(?:float8|timestamptz)"
_SIGN = "(?:=|<|<=|>|>=)"
_COMPARED = re.compile(rf"\((?:({_COLUMN}) {_SIGN} {_BOUND}|{_BOUND} {_SIGN} ({_COLUMN}))\)")
_OR_BLANK = re.compile(
    rf"\(\(?((?:{_COLUMN}) {_SIGN} {_BOUND}|{_BOUND} {_SIGN} (?:{_COLUMN}))\)? OR ({_COLUMN}) IS NULL\)"
)


def _as_ranges(conditions: Sequence[str]) -> list[str]:
    """The same conditions together, without the blanks that one of them excludes: an index serves a bare comparison."""
    found = [_COMPARED.fullmatch(condition) for condition in conditions]
    filled = {one[1] or one[2] for one in found if one is not None}
    made = []
    for condition in conditions:
        blank = _OR_BLANK.fullmatch(condition)
        made.append(condition if blank is None or blank[2] not in filled else f"({blank[1]})")
    return made


def _odd(given: "Sequence[Sql]") -> "Sql | None":
    from pyat.formula.sql import any_error, boolean, condition_of, truth_error

    if any(one.type.is_array for one in given):
        return None
    errors = any_error(*(truth_error(one) for one in given))
    counted = " + ".join(f"({condition_of(one)} IS TRUE)::int" for one in given)
    return boolean(f"(({counted}) % 2 = 1)", errors)


class AND(_Logic):
    """1 where every value is true; lists count item by item.

    >>> AND(1, "text", 2 > 1)
    1
    >>> AND(1, BLANK())
    0
    """

    parameters = (items("value"),)

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql | None":
        """A condition of conditions."""
        return _joined(context, given, "AND")

    @staticmethod
    def run(*given: Value) -> Value:
        """1, 0 or an error."""
        truths = _truths(given)
        return ERROR if truths is None else float(all(truths))


class OR(_Logic):
    """1 where at least one value is true.

    >>> OR(0, "", 3)
    1
    >>> OR(FALSE(), BLANK())
    0
    """

    parameters = (items("value"),)

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql | None":
        """A condition of conditions."""
        return _joined(context, given, "OR")

    @staticmethod
    def run(*given: Value) -> Value:
        """1, 0 or an error."""
        truths = _truths(given)
        return ERROR if truths is None else float(any(truths))


class XOR(_Logic):
    """1 where an odd number of values is true.

    >>> XOR(TRUE(), FALSE(), TRUE())
    0
    >>> XOR(1, 0)
    1
    """

    parameters = (items("value"),)

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql | None":
        """Whether the number of true conditions is odd."""
        return _odd(given)

    @staticmethod
    def run(*given: Value) -> Value:
        """1, 0 or an error."""
        truths = _truths(given)
        return ERROR if truths is None else float(sum(truths) % 2)


class NOT(_Logic):
    """1 where the value is false, 0 where it is true.

    >>> NOT(0)
    1
    >>> NOT("a")
    0
    """

    parameters = (anything("value"),)

    @staticmethod
    def sql(context: "Context", value: "Sql") -> "Sql":
        """The contrary of a condition."""
        from pyat.formula.sql import boolean, condition_of, truth_error

        return boolean(f"({condition_of(value)} IS NOT TRUE)", truth_error(value))

    @staticmethod
    def run(value: Value) -> Value:
        """1, 0 or an error."""
        truth = to_boolean(value)
        return ERROR if isinstance(truth, Error) else float(not truth)


class TRUE(_Logic):
    """1.

    >>> TRUE()
    1
    >>> TRUE() + 1
    2
    """

    @staticmethod
    def run() -> float:
        """1."""
        return 1.0


class FALSE(_Logic):
    """0.

    >>> FALSE()
    0
    >>> FALSE() = BLANK()
    1
    """

    @staticmethod
    def run() -> float:
        """0."""
        return 0.0


class BLANK(_Logic):
    """Nothing, as an empty cell has it.

    >>> BLANK()
    blank
    >>> BLANK() & "x"
    "x"
    """

    result = NOTHING

    @staticmethod
    def run() -> None:
        """Nothing."""


class ERROR_(_Logic):
    """An error. A message is taken and left aside.

    >>> ERROR()
    #ERROR!
    >>> ISERROR(ERROR("too late"))
    1
    """

    parameters = (anything("message", optional=True),)
    result = NOTHING

    @staticmethod
    def run(message: Value = None) -> Error:
        """Always an error."""
        return ERROR


ERROR_.__name__ = "ERROR"


class ISERROR(_Logic):
    """1 where the value is an error, not a number, or infinite.

    >>> ISERROR(2 / 0)
    1
    >>> ISERROR("#ERROR!")
    0
    """

    parameters = (anything("value"),)
    takes_errors = True
    takes_infinite = True

    @staticmethod
    def sql(context: "Context", value: "Sql") -> "Sql":
        """Whether it is an error."""
        from pyat.formula.sql import boolean, truth_error

        return boolean(f"({truth_error(value) or 'false'} IS TRUE)")

    @staticmethod
    def run(value: Value) -> float:
        """1 or 0."""
        return float(is_error(value))


FUNCTIONS: Sequence[type[Function]] = (IF, SWITCH, AND, OR, XOR, NOT, TRUE, FALSE, BLANK, ERROR_, ISERROR)
