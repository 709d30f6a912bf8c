"""Numbers (formula reference, section 11, and VALUE of section 9).

Rounding works on 15 significant digits, so that ROUND(1.005, 2) is 1.01: what binary fractions add beyond those is noise.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_UP, Decimal
from decimal import Context as DecimalContext
from typing import TYPE_CHECKING, ClassVar

from pyat.formula.functions import arithmetic
from pyat.formula.functions.base import Function, anything, items, number
from pyat.formula.types import DATE, DAY, NUMBER, Kind, Type
from pyat.formula.values import ERROR, Moment, Value, items_of

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

_EXACT = DecimalContext(prec=400, Emin=-400, Emax=400, traps=[])
_DIGITS = 15
_PRECISION_MAX = 330
"""Beyond it every double is either untouched or rounded away."""
_SQL_PLACES_MAX = 30
_HALF = Decimal("0.5")


def _decimal(value: float) -> Decimal:
    """A finite number by its first 15 significant digits."""
    return Decimal(f"{value:.{_DIGITS - 1}e}")


def _places(precision: float) -> int:
    return int(max(-_PRECISION_MAX, min(_PRECISION_MAX, precision)))


def _rounded(value: float, precision: float, rounding: str, more: Decimal = Decimal(0)) -> float:
    """`more` is added before, in steps of the precision."""
    if not math.isfinite(value):
        return value
    if math.isnan(precision):
        return math.nan
    exact, places = _decimal(value), _places(precision)
    if exact.adjusted() >= _DIGITS - places:
        # The step is finer than what is known of the number.
        return value
    step = Decimal(1).scaleb(-places)
    # Zero has no sign.
    return float(_EXACT.add(exact, _EXACT.multiply(more, step)).quantize(step, rounding, _EXACT)) + 0.0


def _sql(value: str, *, is_finite: bool = False) -> "Sql":
    from pyat.formula.sql import Sql

    return Sql(value, NUMBER, is_filled=True, is_finite=is_finite)


def _round_sql(number: "Sql", precision: "Sql", form: str) -> "Sql | None":
    """`form` makes a whole `numeric` of one, called n; None for a precision that differs from record to record."""
    if precision.constant is None or not isinstance(precision.constant.value, float):
        return None
    places = precision.constant.value
    if not abs(places) <= _SQL_PLACES_MAX:
        return None
    count = int(places)
    up, down = f"1e{count}::numeric", f"1e{-count}::numeric"
    whole = form.format(n=f"a.n * {up}")
    # A cast keeps 15 digits.
    value = (
        f"(SELECT CASE WHEN abs(a.n) >= 1e{_DIGITS - count}::numeric THEN a.v ELSE ({whole} * {down})::float8 END"
        f" FROM (SELECT b.v, b.v::numeric AS n FROM (SELECT {number.value} AS v OFFSET 0) b OFFSET 0) a)"
    )
    return _sql(value, is_finite=number.is_finite)


class _Number(Function):
    category = "numeric"
    result = NUMBER
    takes_infinite = True


class ABS(_Number):
    """The number without its sign.

    >>> ABS(-3.5)
    3.5
    >>> ABS(BLANK())
    0
    """

    parameters = (number("number"),)

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """Never goes wrong."""
        return _sql(f"abs({number.value})", is_finite=number.is_finite)

    @staticmethod
    def run(number: float) -> float:
        """Its magnitude."""
        return abs(number)


class ROUND(_Number):
    """The number rounded to so many decimal places; halves go up, also below zero.

    >>> ROUND(2.5, 0)
    3
    >>> ROUND(-2.5, 0)
    -2
    >>> ROUND(1.005, 2)
    1.01
    >>> ROUND(16.8, -1)
    20
    """

    parameters = (number("number"), number("precision"))

    @staticmethod
    def sql(context: "Context", number: "Sql", precision: "Sql") -> "Sql | None":
        """For a precision that is the same for all."""
        return _round_sql(number, precision, "floor({n} + 0.5)")

    @staticmethod
    def run(number: float, precision: float) -> float:
        """The nearest multiple of ten to the power of -precision."""
        return _rounded(number, precision, ROUND_FLOOR, _HALF)


class ROUNDUP(_Number):
    """The number rounded away from zero to so many decimal places.

    >>> ROUNDUP(-1.1, 0)
    -2
    >>> ROUNDUP(1.21, 1)
    1.3
    """

    parameters = (number("number"), number("precision"))

    @staticmethod
    def sql(context: "Context", number: "Sql", precision: "Sql") -> "Sql | None":
        """For a precision that is the same for all."""
        return _round_sql(number, precision, "(sign({n}) * ceil(abs({n})))")

    @staticmethod
    def run(number: float, precision: float) -> float:
        """The next multiple away from zero."""
        return _rounded(number, precision, ROUND_UP)


class ROUNDDOWN(_Number):
    """The number rounded toward zero to so many decimal places.

    >>> ROUNDDOWN(-1.9, 0)
    -1
    >>> ROUNDDOWN(1.29, 1)
    1.2
    """

    parameters = (number("number"), number("precision"))

    @staticmethod
    def sql(context: "Context", number: "Sql", precision: "Sql") -> "Sql | None":
        """For a precision that is the same for all."""
        return _round_sql(number, precision, "trunc({n})")

    @staticmethod
    def run(number: float, precision: float) -> float:
        """The next multiple toward zero."""
        return _rounded(number, precision, ROUND_DOWN)


def _multiple(value: float, significance: float, rounding: str) -> Value:
    if significance == 0:
        return ERROR
    if not math.isfinite(value) or not math.isfinite(significance):
        return math.nan if math.isnan(value) or math.isnan(significance) else value
    exact, step = _decimal(value), Decimal(repr(abs(significance)))
    if abs(exact) >= step.scaleb(_DIGITS):
        return value
    rest = _EXACT.remainder(exact, step)
    found = _EXACT.subtract(exact, rest)
    if rest > 0 and rounding == ROUND_CEILING:
        found = _EXACT.add(found, step)
    if rest < 0 and rounding == ROUND_FLOOR:
        found = _EXACT.subtract(found, step)
    return float(found) + 0.0


def _multiple_sql(number: "Sql", significance: "Sql | None", *, is_up: bool) -> "Sql | None":
    step = 1.0
    if significance is not None:
        if significance.constant is None or not isinstance(significance.constant.value, float):
            return None
        step = abs(significance.constant.value)
    if not 1e-30 <= step <= 1e30:
        return None
    size = f"{Decimal(repr(step)):f}::numeric"
    more = f"CASE WHEN a.m > 0 THEN {size} ELSE 0 END" if is_up else f"CASE WHEN a.m < 0 THEN -{size} ELSE 0 END"
    value = (
        f"(SELECT CASE WHEN abs(a.n) >= {size} * 1e{_DIGITS}::numeric THEN a.v ELSE (a.n - a.m + {more})::float8 END"
        f" FROM (SELECT b.v, b.v::numeric AS n, mod(b.v::numeric, {size}) AS m"
        f" FROM (SELECT {number.value} AS v OFFSET 0) b OFFSET 0) a)"
    )
    return _sql(value, is_finite=number.is_finite)


class CEILING(_Number):
    """The smallest multiple of the significance (1 where none is given) that is not below the number.

    >>> CEILING(1.01, 0.1)
    1.1
    >>> CEILING(-1.5)
    -1
    """

    parameters = (number("number"), number("significance", optional=True))

    @staticmethod
    def sql(context: "Context", number: "Sql", significance: "Sql | None" = None) -> "Sql | None":
        """For a significance that is the same for all."""
        return _multiple_sql(number, significance, is_up=True)

    @staticmethod
    def run(number: float, significance: float = 1.0) -> Value:
        """The multiple; an error for a significance of zero."""
        return _multiple(number, significance, ROUND_CEILING)


class FLOOR(_Number):
    """The largest multiple of the significance (1 where none is given) that is not above the number.

    >>> FLOOR(1.99, 0.1)
    1.9
    >>> FLOOR(-1.5)
    -2
    """

    parameters = (number("number"), number("significance", optional=True))

    @staticmethod
    def sql(context: "Context", number: "Sql", significance: "Sql | None" = None) -> "Sql | None":
        """For a significance that is the same for all."""
        return _multiple_sql(number, significance, is_up=False)

    @staticmethod
    def run(number: float, significance: float = 1.0) -> Value:
        """The multiple; an error for a significance of zero."""
        return _multiple(number, significance, ROUND_FLOOR)


class INT(_Number):
    """The largest whole number that is not above the number.

    >>> INT(1.99)
    1
    >>> INT(-1.99)
    -2
    """

    parameters = (number("number"),)

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """Zero has no sign."""
        return _sql(f"(floor({number.value}) + 0)", is_finite=number.is_finite)

    @staticmethod
    def run(number: float) -> float:
        """Its floor."""
        return float(math.floor(number)) + 0.0 if math.isfinite(number) else number


def _away_from_zero(value: float, odd: int) -> float:
    """The next whole number away from zero that is odd (1), or even (0)."""
    if not math.isfinite(value) or abs(value) >= 2**53:
        return value
    count = math.ceil(abs(value))
    count += (count + odd) % 2
    return float(-count if value < 0 else count)


def _away_sql(context: "Context", number: "Sql", odd: int) -> "Sql":
    value = context.let(
        [number],
        lambda v: (
            f"CASE WHEN abs({v}) >= 9007199254740992 THEN {v} ELSE CASE WHEN {v} < 0 THEN -1 ELSE 1 END"
            f" * (ceil(abs({v})) + (ceil(abs({v}))::int8 + {odd}) % 2) END"
        ),
    )
    return _sql(value, is_finite=number.is_finite)


class EVEN(_Number):
    """The next even number away from zero.

    >>> EVEN(2.2)
    4
    >>> EVEN(-1.1)
    -2
    """

    parameters = (number("number"),)

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """By whole numbers."""
        return _away_sql(context, number, 0)

    @staticmethod
    def run(number: float) -> float:
        """Itself where it is even."""
        return _away_from_zero(number, 0)


class ODD(_Number):
    """The next odd number away from zero.

    >>> ODD(1.1)
    3
    >>> ODD(-1.1)
    -3
    >>> ODD(0)
    1
    """

    parameters = (number("number"),)

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """By whole numbers."""
        return _away_sql(context, number, 1)

    @staticmethod
    def run(number: float) -> float:
        """Itself where it is odd."""
        return _away_from_zero(number, 1)


class EXP(_Number):
    """Euler's number to the power of the number.

    >>> EXP(0)
    1
    >>> EXP(1)
    2.718281828459045
    """

    parameters = (number("power"),)

    @staticmethod
    def run(power: float) -> float:
        """Infinite where it is too large."""
        try:
            return math.exp(power)
        except OverflowError:
            return math.inf


class POWER(_Number):
    """The base to the power of the exponent.

    >>> POWER(2, 10)
    1024
    >>> POWER(-8, 0.5)
    NaN
    """

    parameters = (number("base"), number("exponent"))

    @staticmethod
    def run(base: float, exponent: float) -> float:
        """As JavaScript: 1 to an infinite power is not a number."""
        if math.isnan(exponent) or (abs(base) == 1 and math.isinf(exponent)):
            return math.nan
        try:
            return math.pow(base, exponent)
        except OverflowError:
            is_odd = exponent % 2 == 1
            return -math.inf if base < 0 and is_odd else math.inf
        except ValueError:
            if base == 0:
                is_odd = exponent % 2 == 1
                return math.copysign(math.inf, base) if is_odd else math.inf
            return math.nan


class SQRT(_Number):
    """The square root; of a number below zero not a number.

    >>> SQRT(16)
    4
    >>> SQRT(-1)
    NaN
    """

    parameters = (number("number"),)

    @staticmethod
    def sql(context: "Context", number: "Sql") -> "Sql":
        """Not a number below zero."""
        return _sql(context.let([number], lambda v: f"CASE WHEN {v} >= 0 THEN sqrt({v}) ELSE 'NaN'::float8 END"))

    @staticmethod
    def run(number: float) -> float:
        """Its root."""
        return math.sqrt(number) if number >= 0 else math.nan


class LOG(_Number):
    """The logarithm to a base, or to base 10.

    >>> LOG(1024, 2)
    10
    >>> LOG(1000)
    3
    >>> LOG(0)
    -Infinity
    """

    parameters = (number("number"), number("base", optional=True))

    @staticmethod
    def run(number: float, base: float = 10.0) -> float:
        """Not a number where the number or the base is below zero."""
        if math.isnan(number) or math.isnan(base) or number < 0 or base < 0:
            return math.nan
        if base == 2:
            return _log(number, math.log2)
        if base == 10:
            return _log(number, math.log10)
        below = _log(base, math.log)
        above = _log(number, math.log)
        if below == 0:
            return math.nan if above == 0 else math.copysign(math.inf, above)
        if math.isinf(above) and math.isinf(below):
            return math.nan
        return above / below


def _log(value: float, of: Callable[[float], float]) -> float:
    return -math.inf if value == 0 else of(value)


class MOD(_Number):
    """What is left of the number after division; it has the sign of the number.

    >>> MOD(7, 3)
    1
    >>> MOD(-7, 3)
    -1
    >>> MOD(1, 0)
    NaN
    """

    parameters = (number("number"), number("divisor"))

    @staticmethod
    def sql(context: "Context", number: "Sql", divisor: "Sql") -> "Sql":
        """By a function of the runtime."""
        return _sql(f"pyat_formula.mod({number.value}, {divisor.value})")

    @staticmethod
    def run(number: float, divisor: float) -> float:
        """Not a number for a divisor of zero."""
        if divisor == 0 or math.isinf(number) or math.isnan(number) or math.isnan(divisor):
            return math.nan
        return math.fmod(number, divisor)


_KEPT = re.compile(r"[0-9.]")
_VALUE = re.compile(r"[0-9]*\.?[0-9]*")
_SIGNED = re.compile(r"[ \t\n\r\f\v]*[^A-Za-z0-9_ \t\n\r\f\v.,-]?[ \t\n\r\f\v]*-")


class VALUE(_Number):
    """The number that a text shows: currency signs, thousands separators and letters are left aside.

    >>> VALUE("$1,000.50")
    1000.5
    >>> VALUE("-3 pieces")
    -3
    >>> VALUE("none")
    NaN
    """

    parameters = (anything("text"),)
    takes_infinite = True

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql | None":
        """A number stays, a text is read by a function of the runtime."""
        from pyat.formula.sql import to_number

        if text.type.is_array or text.type.kind is Kind.DATE:
            return None
        if text.type.kind is not Kind.TEXT:
            return to_number(context, text)
        return _sql(f"pyat_formula.value_of({text.value})")

    @staticmethod
    def run(text: Value) -> Value:
        """A number stays; a blank is 0; a text without a digit is not a number."""
        if isinstance(text, tuple):
            text = text[0] if len(text) == 1 else None if not text else ERROR
        if isinstance(text, float | None):
            return 0.0 if text is None else text
        if not isinstance(text, str):
            return ERROR
        if not text:
            return 0.0
        digits = _VALUE.match("".join(_KEPT.findall(text)))
        if digits is None or not digits[0].strip("."):
            return math.nan
        found = float(digits[0])
        return -found if _SIGNED.match(text) else found


# Aggregates


def _numbers(given: Iterable[Value]) -> list[float]:
    return [item for item in items_of(given) if isinstance(item, float)]


def _total(context: "Context", given: "Sequence[Sql]") -> "Sql":
    from pyat.formula.sql import constant, to_number

    total = constant(0.0)
    assert total is not None, "zero is in SQL"
    for one in given:
        if one.type.kind is not Kind.NUMBER:
            continue
        if one.type.is_array:
            total = _sql(f"pyat_formula.sum_of({one.value}, {total.value})")
        else:
            total = arithmetic.add(context, total, to_number(context, one))
    return total


def _count_sql(given: "Sql", test: str) -> str:
    """How many items of an argument pass a test over {v}."""
    if not given.type.is_array:
        return f"({test.format(v=given.value)} IS TRUE)::int"
    found = f"(SELECT count(*) FROM unnest({given.value}) AS x(item) WHERE {test.format(v='x.item')})"
    if given.is_filled:
        return found
    # A blank in the place of a list is one item.
    return f"CASE WHEN {given.value} IS NULL THEN ({test.format(v='NULL::text')} IS TRUE)::int ELSE {found} END"


class _Aggregate(_Number):
    parameters = (items("value"),)


class SUM(_Aggregate):
    """The sum of all numbers; texts and blanks are left aside.

    >>> SUM(1, 2, 3.5)
    6.5
    >>> SUM("4", BLANK(), 1)
    1
    """

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql":
        """A chain of additions."""
        return _total(context, given)

    @staticmethod
    def run(*given: Value) -> float:
        """Added one after the other from the left."""
        total = 0.0
        for item in _numbers(given):
            total += item
        return total


class AVERAGE(_Aggregate):
    """The mean of all numbers; of none it is not a number.

    >>> AVERAGE(1, 2, 6)
    3
    >>> AVERAGE(BLANK())
    NaN
    """

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql":
        """The sum over the count."""
        return arithmetic.divide(context, _total(context, given), COUNT.sql(context, *given))

    @staticmethod
    def run(*given: Value) -> float:
        """The sum over the count."""
        found = _numbers(given)
        total = 0.0
        for item in found:
            total += item
        return total / len(found) if found else math.nan


class _Extreme(_Aggregate):
    of_dates: "ClassVar[type[Function]]"
    is_of_dates: ClassVar[bool] = False

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """A date where every argument is one, else a number."""
        kinds = {one.kind for one in arguments if one.kind is not Kind.BLANK}
        if kinds == {Kind.DATE}:
            return DAY if all(one.is_day for one in arguments if one.kind is Kind.DATE) else DATE
        return NUMBER if Kind.DATE not in kinds and Kind.ANY not in kinds else Type(Kind.ANY)

    @classmethod
    def variant(cls, arguments: Sequence[Type]) -> type[Function]:
        """Of no date at all, the extreme is blank."""
        return cls.of_dates if cls.result_of(arguments).kind is Kind.DATE else cls

    @classmethod
    def extreme_sql(cls, given: "Sequence[Sql]", scalar: str, aggregate: str) -> "Sql | None":
        """Of dates where all of them are; where other kinds are possible, the extreme of no date is 0, which is none."""
        if not cls.is_of_dates and any(one.type.kind is Kind.DATE for one in given):
            return None
        return _extreme_sql(given, scalar, aggregate)


def _extreme(given: tuple[Value, ...], *, is_largest: bool) -> Value:
    found = [item for item in items_of(given) if isinstance(item, float | Moment)]
    moments = [item for item in found if isinstance(item, Moment)]
    if moments:
        # Beside dates numbers mean nothing.
        if len(moments) != len(found):
            return ERROR
        return (max if is_largest else min)(moments, key=lambda one: one.ms)
    numbers = [item for item in found if isinstance(item, float)]
    if any(math.isnan(one) for one in numbers):
        return math.nan
    if not numbers:
        return 0.0
    # Zero has no sign.
    return (max(numbers) if is_largest else min(numbers)) + 0.0


def _extreme_sql(given: "Sequence[Sql]", scalar: str, aggregate: str) -> "Sql | None":
    from pyat.formula.sql import Sql

    kinds = {one.type.kind for one in given if one.type.kind in (Kind.NUMBER, Kind.DATE)}
    if len(kinds) > 1:
        return None
    counted = [one for one in given if one.type.kind in kinds]
    if any(one.zone is not None or one.locale is not None for one in counted):
        return None
    is_finite = all(one.is_finite for one in counted)
    if scalar == "LEAST" and not is_finite and kinds == {Kind.NUMBER}:
        return None  # NaN is the greatest number of PostgreSQL, and has to win here too
    parts = [
        f"(SELECT {aggregate}(x.item) FROM unnest({one.value}) AS x(item))" if one.type.is_array else one.value
        for one in counted
    ]
    value = parts[0] if len(parts) == 1 else f"{scalar}({', '.join(parts)})" if parts else "NULL::float8"
    if kinds == {Kind.DATE}:
        return Sql(value, _Extreme.result_of([one.type for one in counted]).element)
    return _sql(f"(COALESCE({value}, 0) + 0)", is_finite=is_finite)


class MAX(_Extreme):
    """The largest number, or the latest date; 0 where there is none.

    >>> MAX(3, 7, "9")
    7
    >>> MAX(BLANK())
    0
    """

    @classmethod
    def sql(cls, context: "Context", *given: "Sql") -> "Sql | None":
        """Blanks and texts do not count."""
        return cls.extreme_sql(given, "GREATEST", "max")

    @staticmethod
    def run(*given: Value) -> Value:
        """Numbers beside dates are an error."""
        return _extreme(given, is_largest=True)


class MIN(_Extreme):
    """The smallest number, or the earliest date; 0 where there is none.

    >>> MIN(3, 7, -1)
    -1
    >>> MIN("a")
    0
    """

    @classmethod
    def sql(cls, context: "Context", *given: "Sql") -> "Sql | None":
        """Blanks and texts do not count."""
        return cls.extreme_sql(given, "LEAST", "min")

    @staticmethod
    def run(*given: Value) -> Value:
        """Numbers beside dates are an error."""
        return _extreme(given, is_largest=False)


def _of_dates(function: type[_Extreme], *, is_largest: bool) -> type[Function]:
    def run(*given: Value) -> Value:
        found = _extreme(given, is_largest=is_largest)
        return None if found == 0.0 else found

    return type(function.__name__, (function,), {"run": staticmethod(run), "is_of_dates": True})


MAX.of_dates = _of_dates(MAX, is_largest=True)
MIN.of_dates = _of_dates(MIN, is_largest=False)


class COUNT(_Aggregate):
    """How many values are numbers.

    >>> COUNT(1, 2, 3, "", "four")
    3
    >>> COUNT(BLANK())
    0
    """

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql":
        """Of what is known to be numbers."""
        counted = [_count_sql(one, "{v} IS NOT NULL") for one in given if one.type.kind is Kind.NUMBER]
        return _sql(f"({' + '.join(counted)})::float8" if counted else "0::float8", is_finite=True)

    @staticmethod
    def run(*given: Value) -> float:
        """A whole number."""
        return float(len(_numbers(given)))


class COUNTA(_Aggregate):
    """How many values are not empty.

    >>> COUNTA(1, 2, 3, "", "four")
    4
    >>> COUNTA(0, BLANK())
    1
    """

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql":
        """Neither blank nor empty text."""
        tests = {Kind.TEXT: "{v} <> ''", Kind.BLANK: "false"}
        counted = [_count_sql(one, tests.get(one.type.kind, "{v} IS NOT NULL")) for one in given]
        return _sql(f"({' + '.join(counted)})::float8", is_finite=True)

    @staticmethod
    def run(*given: Value) -> float:
        """A whole number."""
        return float(sum(item is not None and item != "" for item in items_of(given)))


class COUNTALL(_Aggregate):
    """How many values there are, blanks included.

    >>> COUNTALL(1, 2, 3, "", "four")
    5
    >>> COUNTALL(BLANK())
    1
    """

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql":
        """Every one."""
        counted = [_count_sql(one, "true") for one in given]
        return _sql(f"({' + '.join(counted)})::float8", is_finite=True)

    @staticmethod
    def run(*given: Value) -> float:
        """A whole number."""
        return float(sum(1 for _ in items_of(given)))


FUNCTIONS: Sequence[type[Function]] = (
    ABS,
    AVERAGE,
    CEILING,
    COUNT,
    COUNTA,
    COUNTALL,
    EVEN,
    EXP,
    FLOOR,
    INT,
    LOG,
    MAX,
    MIN,
    MOD,
    ODD,
    POWER,
    ROUND,
    ROUNDDOWN,
    ROUNDUP,
    SQRT,
    SUM,
    VALUE,
)
