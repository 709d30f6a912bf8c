"""The operators (formula reference, sections 5.5 and 6)."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pyat.formula.functions import arithmetic, texts_sql
from pyat.formula.functions.base import Function, anything, number
from pyat.formula.functions.comparison import Relation, compared, is_equal, is_less
from pyat.formula.types import ANY, BOOLEAN, NUMBER, TEXT
from pyat.formula.values import ERROR, Error, Value, to_text

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

_LENGTH_MAX = 10_000_000


class Operator(Function):
    """What stands between two operands, or before one."""

    is_operator = True
    category = "operator"


class _Arithmetic(Operator):
    parameters = (number("left"), number("right"))
    result = NUMBER
    takes_infinite = True


class Add(_Arithmetic):
    """The sum of two numbers; it never joins texts.

    >>> 1 + 2.5
    3.5
    >>> "3" + BLANK()
    3
    >>> "three" + 1
    NaN
    """

    symbol = "+"

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql") -> "Sql":
        """With a guard against overflow."""
        return arithmetic.add(context, left, right)

    @staticmethod
    def run(left: float, right: float) -> float:
        """The sum."""
        return left + right


class Subtract(_Arithmetic):
    """The first number less the second.

    >>> 5 - 7
    -2
    >>> BLANK() - 1
    -1
    """

    symbol = "-"

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql") -> "Sql":
        """With a guard against overflow."""
        return arithmetic.subtract(context, left, right)

    @staticmethod
    def run(left: float, right: float) -> float:
        """The difference."""
        return left - right


class Multiply(_Arithmetic):
    """The product of two numbers.

    >>> 6 * 7
    42
    >>> "1.5" * 2
    3
    """

    symbol = "*"

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql") -> "Sql":
        """With a guard against overflow."""
        return arithmetic.multiply(context, left, right)

    @staticmethod
    def run(left: float, right: float) -> float:
        """The product."""
        return left * right


class Divide(_Arithmetic):
    """The first number divided by the second; by zero it is infinite, or not a number.

    >>> 10 / 4
    2.5
    >>> 1 / 0
    Infinity
    >>> 0 / 0
    NaN
    """

    symbol = "/"

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql") -> "Sql":
        """With a guard against overflow."""
        return arithmetic.divide(context, left, right)

    @staticmethod
    def run(left: float, right: float) -> float:
        """The quotient, as IEEE 754 has it."""
        if right == 0:
            if left == 0 or math.isnan(left) or math.isnan(right):
                return math.nan
            return math.copysign(math.inf, left) * math.copysign(1.0, right)
        return left / right


class Negate(Operator):
    """The number with its sign changed.

    >>> -(2 + 3)
    -5
    >>> --4
    4
    """

    symbol = "negate"
    parameters = (number("number"),)
    result = NUMBER
    takes_infinite = True

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """Never goes wrong."""
        return arithmetic.negate(number)

    @staticmethod
    def run(number: float) -> float:
        """The opposite."""
        return -number


class Join(Operator):
    """Both values as one text.

    >>> "Total: " & 12.50
    "Total: 12.5"
    >>> 1 & BLANK() & 2
    "12"
    """

    symbol = "&"
    parameters = (anything("left"), anything("right"))
    result = TEXT

    @staticmethod
    def sql(context: "Context", left: "Sql", right: "Sql") -> "Sql":
        """Texts are joined with ||; a bound on their length keeps PostgreSQL's memory."""
        return texts_sql.joined(context, [left, right])

    @staticmethod
    def run(left: Value, right: Value) -> Value:
        """The texts of both, at most 10,000,000 characters."""
        first, second = to_text(left), to_text(right)
        if isinstance(first, Error) or isinstance(second, Error) or len(first) + len(second) > _LENGTH_MAX:
            return ERROR
        return first + second


# Comparison


class _Comparison(Operator):
    parameters = (anything("left"), anything("right"))
    result = BOOLEAN
    relation: ClassVar[Relation]
    is_turned: ClassVar[bool] = False
    """The operands change places."""

    @classmethod
    def sql(cls, context: "Context", left: "Sql", right: "Sql") -> "Sql | None":
        """A condition."""
        from pyat.formula.sql import boolean

        first, second = (right, left) if cls.is_turned else (left, right)
        condition = compared(context, first, second, cls.relation)
        return None if condition is None else boolean(condition)


class Equal(_Comparison):
    """1 where both values are the same: a text beside a number counts as that number, a blank as empty text and 0.

    >>> "4" = 4
    1
    >>> BLANK() = 0
    1
    >>> "a" = "A"
    0
    """

    symbol = "="
    on_numbers = operator.eq
    relation = "="

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 1.0 if is_equal(left, right) else 0.0


class NotEqual(_Comparison):
    """1 where the values differ.

    >>> 1 != 2
    1
    >>> BLANK() != ""
    0
    """

    symbol = "!="
    on_numbers = operator.ne
    relation = "="

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 0.0 if is_equal(left, right) else 1.0

    @classmethod
    def sql(cls, context: "Context", left: "Sql", right: "Sql") -> "Sql | None":
        """The contrary of a condition."""
        from pyat.formula.sql import boolean

        condition = compared(context, left, right, cls.relation)
        return None if condition is None else boolean(f"({condition} IS NOT TRUE)")


class Less(_Comparison):
    """1 where the first value comes before the second.

    >>> BLANK() < 30
    1
    >>> "b" < "a"
    0
    """

    symbol = "<"
    on_numbers = operator.lt
    relation = "<"

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 1.0 if is_less(left, right, or_equal=False) else 0.0


class LessOrEqual(_Comparison):
    """1 where the first value comes before the second or is the same.

    >>> 2 <= 2
    1
    >>> 3 <= 2
    0
    """

    symbol = "<="
    on_numbers = operator.le
    relation = "<="

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 1.0 if is_less(left, right, or_equal=True) else 0.0


class Greater(_Comparison):
    """1 where the first value comes after the second.

    >>> 3 > 2
    1
    >>> "10" > 9
    1
    """

    symbol = ">"
    on_numbers = operator.gt
    relation = "<"
    is_turned = True

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 1.0 if is_less(right, left, or_equal=False) else 0.0


class GreaterOrEqual(_Comparison):
    """1 where the first value comes after the second or is the same.

    >>> 2 >= 2
    1
    >>> "a" >= "b"
    0
    """

    symbol = ">="
    on_numbers = operator.ge
    relation = "<="
    is_turned = True

    @staticmethod
    def run(left: Value, right: Value) -> float:
        """1 or 0."""
        return 1.0 if is_less(right, left, or_equal=True) else 0.0


def _each(function: type[Function]) -> type[Function]:
    """The comparison as rollups have it: of a list of several with a single value, one for each item."""

    def run(left: Value, right: Value) -> Value:
        if isinstance(left, tuple) and len(left) > 1 and not isinstance(right, tuple):
            return tuple(function.run(item, right) for item in left)
        if isinstance(right, tuple) and len(right) > 1 and not isinstance(left, tuple):
            return tuple(function.run(left, item) for item in right)
        found: Value = function.run(left, right)
        return found

    return type(function.__name__, (function,), {"run": staticmethod(run), "sql": None, "result": ANY})


IN_ROLLUPS: Mapping[type[Function], type[Function]] = {
    one: _each(one) for one in (Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual)
}
"""What stands for a comparison of a list with a single value."""

FUNCTIONS: Sequence[type[Function]] = (
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
    Join,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
)
