"""Which of two values is equal or less, in both back-ends (formula reference, section 5.5)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from pyat.formula.moments import parse_moment
from pyat.formula.types import Kind
from pyat.formula.values import Moment, Value, number_of_text, scalar, to_text

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

Relation: TypeAlias = Literal["=", "<", "<="]


def is_equal(left: Value, right: Value) -> bool:
    """Blank is empty text, texts are numbers beside numbers, dates compare with texts that are dates."""
    if type(left) is float and type(right) is float:
        return left == right
    left, right = _single(left), _single(right)
    if isinstance(left, Moment) or isinstance(right, Moment):
        first, second = _instant(left), _instant(right)
        return first is not None and first == second
    left, right = left if left is not None else "", right if right is not None else ""
    if isinstance(left, str) and isinstance(right, str):
        return left == right
    return _number(left) == _number(right)


def is_less(left: Value, right: Value, *, or_equal: bool) -> bool:
    """The order of two values; what cannot be ordered is false either way."""
    if type(left) is float and type(right) is float:
        return left <= right if or_equal else left < right
    left, right = _single(left), _single(right)
    if isinstance(left, Moment) or isinstance(right, Moment):
        first, second = _instant(left), _instant(right)
        return first is not None and second is not None and (first <= second if or_equal else first < second)
    if isinstance(left, str | None) and isinstance(right, str | None):
        # Python orders by code point, JavaScript by the units of UTF-16.
        units = (left or "").encode("utf-16-be"), (right or "").encode("utf-16-be")
        return units[0] <= units[1] if or_equal else units[0] < units[1]
    first_number, second_number = _number(left), _number(right)
    return first_number <= second_number if or_equal else first_number < second_number


def _single(value: Value) -> Value:
    found = scalar(value)
    return to_text(found) if isinstance(found, tuple) else found


def _number(value: Value) -> float:
    if value is None:
        return 0.0
    if isinstance(value, str):
        return number_of_text(value)
    assert isinstance(value, float), "dates and arrays were taken out before"
    return value


def _instant(value: Value) -> int | None:
    if isinstance(value, str):
        value = parse_moment(value)
    return value.ms if isinstance(value, Moment) else None


# SQL


def compared(context: "Context", left: "Sql", right: "Sql", relation: Relation) -> "str | None":
    """An SQL condition, where NULL means false; None where the kinds of the values differ from record to record."""
    first, second = _scalar(context, left), _scalar(context, right)
    if first is None or second is None:
        return None
    kinds = first.type.kind, second.type.kind
    if kinds == (Kind.NUMBER, Kind.NUMBER):
        return _numbers(first, second, relation)
    if kinds == (Kind.TEXT, Kind.TEXT):
        return _texts(first, second, relation)
    if Kind.DATE in kinds:
        return _dates(context, first, second, relation)
    return _number_and_text(context, first, second, relation)


def _scalar(context: "Context", given: "Sql") -> "Sql | None":
    """A blank as empty text, a list of texts as text; None for other lists."""
    from pyat.formula import sql

    if given.type.kind is Kind.BLANK:
        return sql.constant("")
    if not given.type.is_array:
        return given
    return sql.to_text(context, given) if given.type.kind is Kind.TEXT else None


def _value(given: "Sql") -> Value:
    assert given.constant is not None, "only constants are asked for their value"
    return given.constant.value


def _numbers(left: "Sql", right: "Sql", relation: Relation) -> str:
    # A column that stands alone can be looked up in an index.
    for one, other in ((left, right), (right, left)):
        if one.constant is not None and not other.is_filled:
            bound = _value(one)
            assert isinstance(bound, float), "a constant number is a number"
            holds = is_equal(0.0, bound) if relation == "=" else _holds(0.0, bound, relation, is_left=other is left)
            plain = f"{left.value} {relation} {right.value}"
            if not holds:
                return f"({plain})"
            if other.is_simple:
                return f"({plain} OR {other.value} IS NULL)"
    return f"({_filled(left, '0')} {relation} {_filled(right, '0')})"


def _holds(value: float, bound: float, relation: Relation, *, is_left: bool) -> bool:
    first, second = (value, bound) if is_left else (bound, value)
    return is_less(first, second, or_equal=relation == "<=")


def _filled(given: "Sql", blank: str) -> str:
    return given.value if given.is_filled else f"COALESCE({given.value}, {blank})"


def _texts(left: "Sql", right: "Sql", relation: Relation) -> str:
    if relation != "=":
        first, second = _ordered(left, right)
        return f'({first} COLLATE "C" {relation} {second} COLLATE "C")'
    for one, other in ((left, right), (right, left)):
        if one.constant is not None and not other.is_filled and other.is_simple:
            plain = f"({other.value} = {one.value})"
            return plain if _value(one) else f"({other.value} IS NULL OR {plain})"
    empty = "''"
    return f"({_filled(left, empty)} = {_filled(right, empty)})"


def _ordered(left: "Sql", right: "Sql") -> tuple[str, str]:
    """Both texts, so that their bytes are in the order of UTF-16's units."""
    empty = "''"
    values = _filled(left, empty), _filled(right, empty)
    for one in (left, right):
        # A character below the surrogates comes before all that the two orders differ about.
        if one.constant is not None and max(str(_value(one)), default="") < "\ud800":
            return values
    return f"pyat_formula.unit_order({values[0]})", f"pyat_formula.unit_order({values[1]})"


def _dates(context: "Context", left: "Sql", right: "Sql", relation: Relation) -> str | None:
    is_turned = left.type.kind is not Kind.DATE
    date, other = (right, left) if is_turned else (left, right)
    if other.type.kind is Kind.DATE:
        plain = f"({left.value} {relation} {right.value})"
        if relation == "<" or left.is_filled or right.is_filled:
            return plain
        return context.let([left, right], lambda a, b: f"({a} {relation} {b} OR ({a} IS NULL AND {b} IS NULL))")
    if other.type.kind is Kind.NUMBER:
        if date.is_filled:
            return "false"
        # A blank date counts as 0 beside a number.
        zero = _constant(0.0)
        pair = (other, zero) if is_turned else (zero, other)
        return f"({date.value} IS NULL AND {_numbers(*pair, relation)})"
    blank = _constant("")
    pair = (other, blank) if is_turned else (blank, other)
    as_texts = _texts(*pair, relation)
    if other.constant is not None:
        moment = parse_moment(str(_value(other)))
        if moment is None:
            return "false" if date.is_filled else f"({date.value} IS NULL AND {as_texts})"
        bound = _constant(moment).value
        plain = f"({bound} {relation} {date.value})" if is_turned else f"({date.value} {relation} {bound})"
        is_true = (
            is_equal("", _value(other)) if relation == "=" else _is_less_text(other, relation, is_turned=is_turned)
        )
        return plain if date.is_filled or not is_true else f"({plain} OR {date.value} IS NULL)"
    read = f"pyat_formula.date_of_text({other.value})"
    plain = f"{read} {relation} {date.value}" if is_turned else f"{date.value} {relation} {read}"
    return f"(({plain}) IS TRUE OR ({date.value} IS NULL AND {as_texts}))"


def _is_less_text(other: "Sql", relation: Relation, *, is_turned: bool) -> bool:
    text = _value(other)
    pair = (text, "") if is_turned else ("", text)
    return is_less(*pair, or_equal=relation == "<=")


def _constant(value: Value) -> "Sql":
    from pyat.formula import sql

    made = sql.constant(value)
    assert made is not None, "it is in SQL"
    return made


def _number_and_text(context: "Context", left: "Sql", right: "Sql", relation: Relation) -> str:
    is_turned = left.type.kind is Kind.TEXT
    number, text = (right, left) if is_turned else (left, right)
    blank = _constant("")
    as_texts = _texts(*((text, blank) if is_turned else (blank, text)), relation)
    if text.constant is not None:
        read = number_of_text(str(_value(text)))
        if read != read:
            plain = "false"
        else:
            bound = _constant(read)
            filled = replace(number, is_filled=True)
            plain = _numbers(*((bound, filled) if is_turned else (filled, bound)), relation)
    else:

        def written(t: str) -> str:
            pair = f"{t} {relation} {number.value}" if is_turned else f"{number.value} {relation} {t}"
            return f"({t} < 'NaN'::float8 AND {pair})"

        read_sql = f"pyat_formula.number_of_text({text.value})"
        plain = context.let([replace(text, value=read_sql, is_simple=False)], written)
    if number.is_filled:
        return plain
    return f"CASE WHEN {number.value} IS NULL THEN {as_texts} ELSE {plain} END"
