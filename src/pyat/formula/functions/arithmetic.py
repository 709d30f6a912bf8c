"""Arithmetic in SQL exactly as IEEE 754 has it, where PostgreSQL raises errors for overflow, underflow and division by zero.

A chain of operators is written twice under one guard: plainly, for operands of ordinary magnitude, which nearly all
are; and by functions of the runtime, which are right for any. See `sql.Arithmetic`.
"""

import math
from typing import TYPE_CHECKING, Final

from pyat.formula.types import NUMBER

if TYPE_CHECKING:
    from pyat.formula.sql import Arithmetic, Context, Sql

_LEAF: Final = 20
"""Operands are ordinary where they are 0 or between 1e-20 and 1e20."""
_MOST: Final = 290
_LENGTH_MAX: Final = 8_000


def negate(given: "Sql") -> "Sql":
    """The opposite."""
    from pyat.formula.sql import Arithmetic

    own = given.arithmetic
    if own is not None:
        return _made(
            Arithmetic(f"(- {own.fast})", f"(- {own.slow})", own.conditions, own.low, own.high), given.is_finite
        )
    return _plain(f"(- {given.value})", is_finite=given.is_finite)


def add(context: "Context", left: "Sql", right: "Sql") -> "Sql":
    """The sum."""
    return _sum(context, left, right, "+", "add")


def subtract(context: "Context", left: "Sql", right: "Sql") -> "Sql":
    """The difference."""
    return _sum(context, left, right, "-", "subtract")


def _sum(context: "Context", left: "Sql", right: "Sql", sign: str, name: str) -> "Sql":
    def write(a: "Arithmetic", b: "Arithmetic") -> "tuple[str, int, int, frozenset[str]]":
        # What is left after digits cancel is at least a unit in the last place.
        return f"({a.fast} {sign} {b.fast})", min(a.low, b.low) - 17, max(a.high, b.high) + 1, frozenset()

    return _chained(context, left, right, name, write)


def multiply(context: "Context", left: "Sql", right: "Sql") -> "Sql":
    """The product."""

    def write(a: "Arithmetic", b: "Arithmetic") -> "tuple[str, int, int, frozenset[str]]":
        return f"({a.fast} * {b.fast})", a.low + b.low - 1, a.high + b.high + 1, frozenset()

    return _chained(context, left, right, "multiply", write)


def divide(context: "Context", left: "Sql", right: "Sql") -> "Sql":
    """The quotient."""
    if right.constant is None and not right.is_simple:
        # The guard says that the divisor is not zero, for which it is needed by itself.
        return _bound(context, left, right, "divide", lambda a, b: divide(context, a, b))

    def write(a: "Arithmetic", b: "Arithmetic") -> "tuple[str, int, int, frozenset[str]]":
        is_zero = frozenset({f"{right.value} <> 0"}) if right.constant is None else frozenset[str]()
        return f"({a.fast} / {b.fast})", a.low - b.high - 1, a.high - b.low + 1, is_zero

    if right.constant is not None and right.constant.value == 0:
        return _plain(f"pyat_formula.divide({left.value}, {right.value})")
    return _chained(context, left, right, "divide", write)


def _chained(context: "Context", left: "Sql", right: "Sql", name: str, write: "object") -> "Sql":
    from pyat.formula.sql import Arithmetic

    assert callable(write), "what writes the plain form"
    first, second = _operand(left), _operand(right)
    if first is not None and second is not None:
        fast, low, high, more = write(first, second)
        slow = f"pyat_formula.{name}({first.slow}, {second.slow})"
        if low > -_MOST and high < _MOST and len(fast) + len(slow) < _LENGTH_MAX:
            return _made(Arithmetic(fast, slow, first.conditions | second.conditions | more, low, high))
    if left.is_simple and right.is_simple:
        return _plain(f"pyat_formula.{name}({left.value}, {right.value})")
    return _bound(context, left, right, name, lambda a, b: _chained(context, a, b, name, write))


def _bound(context: "Context", left: "Sql", right: "Sql", name: str, again: "object") -> "Sql":
    """The operands computed first, by themselves, and then what is made of them."""
    from pyat.formula.sql import Sql

    assert callable(again), "what writes it with simple operands"

    def build(a: str, b: str) -> str:
        given = [
            one if one.is_simple else Sql(value, NUMBER, is_simple=True, is_filled=True)
            for one, value in ((left, a), (right, b))
        ]
        found: Sql = again(*given)
        return found.value

    return _plain(context.let([left, right], build))


def _operand(given: "Sql") -> "Arithmetic | None":
    from pyat.formula.sql import Arithmetic

    if given.arithmetic is not None:
        return given.arithmetic
    if given.constant is not None:
        value = given.constant.value
        assert isinstance(value, float), "an operand is a number"
        if value == 0:
            return Arithmetic(given.value, given.value, frozenset(), 0, 0)
        if not math.isfinite(value) or not 1e-100 < abs(value) < 1e100:
            return None
        power = math.floor(math.log10(abs(value)))
        return Arithmetic(given.value, given.value, frozenset(), power - 1, power + 2)
    if not given.is_simple:
        return None
    size = f"abs({given.value})"
    condition = f"({size} < 1e{_LEAF} AND ({size} > 1e-{_LEAF} OR {given.value} = 0))"
    return Arithmetic(given.value, given.value, frozenset({condition}), -_LEAF, _LEAF)


def _made(arithmetic: "Arithmetic", is_finite: bool = False) -> "Sql":
    from pyat.formula.sql import Sql

    value = arithmetic.fast
    if arithmetic.conditions:
        guard = " AND ".join(sorted(arithmetic.conditions))
        value = f"CASE WHEN {guard} THEN {arithmetic.fast} ELSE {arithmetic.slow} END"
    is_finite = is_finite or not arithmetic.conditions
    return Sql(value, NUMBER, is_filled=True, is_finite=is_finite, arithmetic=arithmetic)


def _plain(value: str, *, is_finite: bool = False) -> "Sql":
    from pyat.formula.sql import Sql

    return Sql(value, NUMBER, is_filled=True, is_finite=is_finite)
