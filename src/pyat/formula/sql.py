"""Checked formulas as PostgreSQL expressions, or None where PostgreSQL cannot give exactly what `evaluation` gives.

An expression never raises an error in PostgreSQL, whatever the record holds. Blank is NULL. Numbers are float8 with
NaN and the infinities, texts are text, dates are timestamptz in whole milliseconds, arrays are arrays of those.
`#ERROR!` is told apart, by a second expression: a boolean that is true where the value is an error.

Functions get arguments that are converted already; `to_number`, `to_text`, `text_argument`, `to_date` and `truth` are
for those that take any kind of value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from pyat.formula import types, values
from pyat.formula.types import Kind, Type
from pyat.formula.values import ERROR, Moment, Value
from pyat.foundation.sql import literal

if TYPE_CHECKING:
    # `checking` imports the functions, and those import this module.
    from pyat.formula.checking import Constant, Formula, Input
    from pyat.formula.functions.base import Function

RUNTIME: Final = "pyat_formula"
"""The schema of the functions in `runtime/`."""
HEIGHT_MAX: Final = 60
"""PostgreSQL refuses expressions that nest too deep; deeper formulas are for Python."""
LENGTH_MAX: Final = 100_000
"""Of an expression with its error, in characters."""
ARGUMENTS_MAX: Final = 200
"""Of one call; each of them is written into the SQL of the next ones."""
MIXED_MAX: Final = 3
"""How many arguments of one call may be of a kind that is chosen record by record; each doubles the SQL."""
PG_TYPES: Final[Mapping[Kind, str]] = {
    Kind.NUMBER: "float8",
    Kind.TEXT: "text",
    Kind.DATE: "timestamptz",
    Kind.BLANK: "text",
}
_SCALAR_LENGTH_MAX: Final = 30
"""Of the text of a number or a date, in characters."""
INFINITY: Final = "'Infinity'::float8"
TRUE: Final = "true"
FALSE: Final = "false"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A number without its guards, which larger arithmetic takes over and writes once.

    Where all of `conditions` hold, `fast` neither overflows nor underflows, and its magnitude is 0 or between
    10^`low` and 10^`high`. `slow` is always right, through functions of the runtime.
    """

    fast: str
    slow: str
    conditions: frozenset[str]
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Pick:
    """Which of several expressions counts for a record.

    Either the one whose guard is the first to be true, the last one where none is; or, with a `selector`, the one whose
    position from 0 that SQL integer is, the last one for all others.
    """

    guards: tuple[str, ...] = ()
    selector: str | None = None

    def write(self, parts: Sequence[str]) -> str:
        """A CASE of one expression for each guard and one more."""
        if len(set(parts)) == 1:
            return parts[0]
        *chosen, last = parts
        if self.selector is not None:
            whens = " ".join(f"WHEN {number} THEN {part}" for number, part in enumerate(chosen))
            return f"CASE {self.selector} {whens} ELSE {last} END"
        whens = " ".join(f"WHEN {guard} THEN {part}" for guard, part in zip(self.guards, chosen, strict=True))
        return f"CASE {whens} ELSE {last} END"

    def write_boolean(self, parts: Sequence[str]) -> str:
        """As `write`, of conditions where NULL means false; shorter for IF."""
        if self.selector is None and len(self.guards) == 1 and parts[1] == FALSE and parts[0] != FALSE:
            return self.guards[0] if parts[0] == TRUE else f"({self.guards[0]} AND {parts[0]})"
        return self.write(parts)


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression of a type."""

    value: str
    """SQL of the value; anything where `error` is true."""
    type: Type
    """Of kind ANY only where `branches` are given; functions never get those."""
    error: str | None = None
    """SQL of a boolean, where NULL means false; None where the value is never `#ERROR!`."""
    condition: str | None = None
    """Of a boolean: the same as an SQL boolean, where NULL means false, as a WHERE clause wants it."""
    is_simple: bool = False
    """A column, a constant or a variable, or little more, which may be written several times."""
    is_filled: bool = False
    """Never NULL."""
    is_finite: bool = False
    """Of a number, or the items of an array of numbers: never NaN or infinite."""
    is_column: bool = False
    """A stored column as it is, so that an index of the column can serve a comparison with it."""
    constant: "Constant | None" = None
    """What it is, where it is the same for every record."""
    zone: str | None = None
    """Of a date: SQL of the time zone that SET_TIMEZONE gave it."""
    locale: str | None = None
    """Of a date: the locale that SET_LOCALE gave it."""
    arithmetic: Arithmetic | None = None
    length_max: int | None = None
    """Of a text: at most so many characters; None where that is not known."""
    pick: Pick | None = None
    """Of branches of different kinds: which one counts. `error` is then that of the choice alone."""
    branches: "tuple[Sql, ...]" = ()

    @property
    def length(self) -> int:
        """In characters, of all its parts."""
        guards = sum(map(len, self.pick.guards)) + len(self.pick.selector or "") if self.pick else 0
        own = len(self.value) + len(self.error or "") + len(self.condition or "") + guards
        return own + sum(branch.length for branch in self.branches)


class Source(Protocol):
    """What the expressions are made over: a record's columns."""

    def input(self, wanted: "Input") -> Sql | None:
        """The value of an input; None where SQL does not have it. NOW is an instant of the statement, in milliseconds."""
        ...


@dataclass(slots=True)
class Context:
    """Names for the variables of one expression."""

    source: Source
    variables: int = 0

    def name(self) -> str:
        """A new name for a relation of variables."""
        self.variables += 1
        return f"v{self.variables}"

    def let(self, given: Sequence[Sql], build: Callable[..., str]) -> str:
        """The expression that `build` makes of the values of `given`, each of which it may write several times.

        What is not simple is computed once, in a sub-select of its own that PostgreSQL does not merge.
        """
        bound = [number for number, one in enumerate(given) if not one.is_simple]
        if not bound:
            return build(*(one.value for one in given))
        relation = self.name()
        columns = ", ".join(f"{given[number].value} AS c{number}" for number in bound)
        names = [f"{relation}.c{number}" if number in bound else one.value for number, one in enumerate(given)]
        return f"(SELECT {build(*names)} FROM (SELECT {columns} OFFSET 0) {relation})"


def any_error(*errors: str | None) -> str | None:
    """True where one of the errors is; None where there is none at all."""
    known = list(dict.fromkeys(error for error in errors if error is not None and error != FALSE))
    if not known:
        return None
    if TRUE in known:
        return TRUE
    return known[0] if len(known) == 1 else f"({' OR '.join(known)})"


def number_constant(value: float) -> str:
    """SQL of a float."""
    text = repr(value).replace("inf", "Infinity").replace("nan", "NaN")
    return f"'{text}'::float8"


def text_constant(text: str) -> str:
    """SQL of a text without NUL."""
    return f"{literal(text)}::text"


def pg_type(given: Type) -> str:
    """The PostgreSQL type of the values of a type other than ANY."""
    return PG_TYPES[given.kind] + ("[]" if given.is_array else "")


def null(wanted: Type, error: str | None = None) -> Sql:
    """A blank of a type."""
    from pyat.formula.checking import Constant

    constant = Constant(None, wanted) if error is None else None
    return Sql(f"NULL::{pg_type(wanted)}", wanted, error, is_simple=True, is_finite=True, constant=constant)


def constant(value: Value) -> Sql | None:
    """A value that is the same for every record; None where PostgreSQL cannot hold it (NUL, halves of surrogate pairs)."""
    from pyat.formula.checking import Constant

    if value is None:
        return null(types.BLANK)
    if value is ERROR:
        made = Constant(ERROR, types.BLANK)
        return Sql("NULL::text", types.BLANK, TRUE, is_simple=True, is_finite=True, constant=made)
    if isinstance(value, tuple):
        items = [constant(item) for item in value]
        if any(item is None or item.type.is_array for item in items):
            return None
        kinds = types.joined(*(item.type for item in items if item is not None))
        if kinds.kind is Kind.ANY:
            return None
        found = [item for item in items if item is not None]
        made_type = (kinds if kinds.kind is not Kind.BLANK else types.TEXT).array
        return Sql(
            f"ARRAY[{', '.join(item.value for item in found)}]::{pg_type(made_type)}",
            made_type,
            TRUE if any(item.error for item in found) else None,
            is_simple=True,
            is_filled=True,
            is_finite=all(item.is_finite for item in found),
            constant=Constant(value, made_type),
        )
    if isinstance(value, Moment):
        return Sql(
            f"'{values.moment_text(value)}'::timestamptz",
            types.DATE,
            is_simple=True,
            is_filled=True,
            constant=Constant(value, types.DATE),
            zone=None if value.zone is None else text_constant(value.zone),
            locale=value.locale,
        )
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
            return None
        return Sql(
            text_constant(value),
            types.TEXT,
            is_simple=True,
            is_filled=True,
            constant=Constant(value, types.TEXT),
            length_max=len(value),
        )
    assert isinstance(value, float), f"{value!r} is no value of a formula"
    return Sql(
        number_constant(value),
        types.NUMBER,
        condition=(TRUE if value else FALSE) if value in (0, 1) else None,
        is_simple=True,
        is_filled=True,
        is_finite=math.isfinite(value),
        constant=Constant(value, types.NUMBER),
    )


def boolean(condition: str, error: str | None = None) -> Sql:
    """A boolean that is 1 where an SQL condition is true, and 0 where that is false or NULL."""
    value = f"CASE WHEN {condition} THEN 1::float8 ELSE 0::float8 END"
    return Sql(value, types.BOOLEAN, error, condition, is_filled=True, is_finite=True)


def infinite(given: Sql) -> str | None:
    """True where a number or an item of an array of numbers is NaN or infinite; None where it never is."""
    if given.type.kind is not Kind.NUMBER or given.is_finite:
        return None
    if given.type.is_array:
        return f"({given.value} && '{{NaN,Infinity,-Infinity}}'::float8[])"
    # NaN is the greatest number in PostgreSQL.
    return f"(abs({given.value}) >= {INFINITY})"


def condition_of(given: Sql) -> str:
    """Section 5.3 as an SQL condition, where NULL means false; anything where the value is an error or not finite."""
    if given.branches:
        assert given.pick is not None, "branches come with what picks one"
        return given.pick.write_boolean([condition_of(branch) for branch in given.branches])
    if given.constant is not None:
        return TRUE if values.to_boolean(given.constant.value) is True else FALSE
    if given.condition is not None:
        return given.condition
    if given.type.kind is Kind.BLANK:
        return FALSE
    if given.type.is_array:
        return f"(cardinality({given.value}) > 0)"
    if given.type.kind is Kind.NUMBER:
        return f"({given.value} <> 0)"
    return f"({given.value} <> '')" if given.type.kind is Kind.TEXT else f"({given.value} IS NOT NULL)"


def truth_error(given: Sql) -> str | None:
    """Where a condition is an error: so is its value, or it is a number that is not finite."""
    if given.branches:
        assert given.pick is not None, "branches come with what picks one"
        own = given.pick.write_boolean([truth_error(branch) or FALSE for branch in given.branches])
        return any_error(given.error, own)
    return any_error(given.error, infinite(given))


def truth(given: Sql) -> Sql:
    """Section 5.3 as a boolean with its error."""
    return boolean(condition_of(given), truth_error(given))


def filter_condition(given: Sql) -> str:
    """The WHERE condition that a record passes with this value (section 17): neither empty, nor zero, nor an error."""
    condition, error = condition_of(given), truth_error(given)
    if error is None:
        return condition
    return FALSE if error == TRUE else f"({condition} AND {error} IS NOT TRUE)"


def to_number(context: Context, given: Sql) -> Sql:
    """Section 5.1: never NULL. Its errors are those of `given`; what is no number is NaN."""
    if given.branches:
        return _spread(given, lambda branch: to_number(context, branch))
    if given.type.kind is Kind.BLANK:
        return _replaced(given, 0.0)
    if given.type.is_array:
        item = Sql("", given.type.element, is_simple=True, is_finite=given.is_finite)
        value = context.let(
            [given],
            lambda v: (
                f"CASE WHEN cardinality({v}) > 1 THEN 'NaN'::float8 "
                f"ELSE {to_number(context, replace(item, value=f'({v})[1]')).value} END"
            ),
        )
        return Sql(value, types.NUMBER, given.error, is_filled=True)
    if given.type.kind is Kind.NUMBER:
        if given.is_filled:
            return given
        return replace(given, value=f"COALESCE({given.value}, 0)", is_filled=True, is_column=False, arithmetic=None)
    if given.type.kind is Kind.TEXT:
        return Sql(f"{RUNTIME}.number_of_text({given.value})", types.NUMBER, given.error, is_filled=True)
    if given.is_filled:
        return replace(_replaced(given, math.nan), error=given.error)
    value = f"CASE WHEN {given.value} IS NULL THEN 0::float8 ELSE 'NaN'::float8 END"
    return Sql(value, types.NUMBER, given.error, is_filled=True)


def to_text(context: Context, given: Sql) -> Sql:
    """Section 5.2: never NULL. An error where `given` is, or a number in it is not finite."""
    if given.branches:
        return _spread(given, lambda branch: to_text(context, branch))
    if given.type.kind is Kind.BLANK:
        return _replaced(given, "")
    if given.constant is not None:
        text = values.to_text(given.constant.value)
        made = constant(text)
        assert made is not None, "the text of what is in SQL is in SQL"
        return replace(made, error=any_error(given.error, made.error))
    if given.type.kind is Kind.TEXT and not given.type.is_array:
        if given.is_filled:
            return given
        return replace(given, value=f"COALESCE({given.value}, '')", is_filled=True, is_column=False)
    error = any_error(given.error, infinite(given))
    if given.type.is_array:
        value = f"COALESCE({_joined_items(given.type, given.value)}, '')"
    elif given.condition is not None and given.is_filled and given.type.is_boolean:
        value = f"CASE WHEN {given.condition} THEN '1' ELSE '0' END"
    else:
        value = number_text(given) if given.type.kind is Kind.NUMBER else f"{RUNTIME}.moment_text({given.value})"
        value = value if given.is_filled else f"COALESCE({value}, '')"
    return Sql(value, types.TEXT, error, is_filled=True, length_max=None if given.type.is_array else _SCALAR_LENGTH_MAX)


def text_argument(context: Context, given: Sql) -> Sql:
    """A *text* parameter (section 9): never NULL; a number or a date is an error, several values are joined."""
    if given.branches:
        return _spread(given, lambda branch: text_argument(context, branch))
    kind = given.type.kind
    if kind is Kind.BLANK or kind is Kind.TEXT:
        return to_text(context, given)
    empty = replace(_replaced(given, ""), error=given.error)
    if not given.type.is_array:
        own = TRUE if given.is_filled else f"({given.value} IS NOT NULL)"
        return replace(empty, error=any_error(given.error, own), constant=None)
    own = infinite(given) or FALSE
    value = context.let(
        [given], lambda v: f"CASE WHEN cardinality({v}) > 1 THEN {_joined_items(given.type, v)} ELSE '' END"
    )
    error = context.let(
        [given],
        lambda v: (
            f"CASE WHEN cardinality({v}) > 1 THEN {own if own == FALSE else infinite(replace(given, value=v))} "
            f"ELSE ({v})[1] IS NOT NULL END"
        ),
    )
    return Sql(value, types.TEXT, any_error(given.error, error), is_filled=True)


def to_date(context: Context, given: Sql) -> Sql:
    """Section 5.4, NULL for a blank. A text is read as a date; what is no date is an error."""
    if given.branches:
        return _spread(given, lambda branch: to_date(context, branch))
    kind = given.type.kind
    if kind is Kind.BLANK:
        return null(types.DATE, given.error)
    if given.type.is_array:
        item = replace(given, type=given.type.element, is_simple=True, is_filled=False, error=None, constant=None)

        def part(v: str, name: str) -> str:
            made = to_date(context, replace(item, value=f"({v})[1]"))
            return made.value if name == "value" else made.error or FALSE

        value = context.let([given], lambda v: f"CASE WHEN cardinality({v}) < 2 THEN {part(v, 'value')} END")
        error = context.let([given], lambda v: f"CASE WHEN cardinality({v}) > 1 THEN true ELSE {part(v, 'error')} END")
        return Sql(value, types.DATE, any_error(given.error, error))
    if kind is Kind.DATE:
        return given
    if kind is Kind.NUMBER:
        own = TRUE if given.is_filled else f"({given.value} IS NOT NULL)"
        return null(types.DATE, any_error(given.error, own))
    value = f"{RUNTIME}.date_of_text({given.value})"
    error = context.let([given], lambda v: f"({v} <> '' AND {RUNTIME}.date_of_text({v}) IS NULL)")
    return Sql(value, types.DATE, any_error(given.error, error))


def number_text(given: Sql) -> str:
    """SQL of the text of a number, NULL for a blank; anything where it is not finite."""
    slow = f"{RUNTIME}.number_text({given.value})"
    if not given.is_simple:
        return slow
    # Here PostgreSQL writes numbers as JavaScript does.
    return (
        f"CASE WHEN abs({given.value}) >= 1e-4 AND abs({given.value}) < 1e15 THEN {given.value}::text ELSE {slow} END"
    )


def _joined_items(given: Type, value: str) -> str:
    if given.kind is Kind.TEXT:
        return f"array_to_string({value}, ', ')"
    return f"{RUNTIME}.{'numbers' if given.kind is Kind.NUMBER else 'moments'}_text({value})"


def _replaced(given: Sql, value: Value) -> Sql:
    """A constant with the errors of `given`."""
    made = constant(value)
    assert made is not None, "zero, NaN and the empty text are in SQL"
    return made if given.error is None else replace(made, error=given.error, constant=None)


def _spread(given: Sql, convert: Callable[[Sql], Sql]) -> Sql:
    assert given.pick is not None, "branches come with what picks one"
    made = joined(given.pick, given.error, [convert(branch) for branch in given.branches])
    assert made is not None and not made.branches, "a conversion gives one kind"
    return made


def joined(pick: Pick, error: str | None, branches: Sequence[Sql]) -> Sql | None:
    """The branch that is picked, with its error and one of picking. Of different kinds they stay apart: `branches`."""
    dates = {(one.zone, one.locale) for one in branches if one.type.kind is Kind.DATE}
    if len(dates) > 1:
        return None
    made_type = types.joined(*(branch.type for branch in branches))
    if made_type.kind is Kind.ANY:
        if dates - {(None, None)}:
            # A text that is read as a date has no zone and no locale.
            return None
        return Sql("NULL::text", made_type, error, pick=pick, branches=tuple(branches))
    parts = [null(made_type, branch.error) if branch.type.kind is Kind.BLANK else branch for branch in branches]
    zone, locale = next(iter(dates), (None, None))
    errors = pick.write_boolean([part.error or FALSE for part in parts])
    has_conditions = made_type.kind is Kind.NUMBER and all(
        part.condition is not None or branch.type.kind is Kind.BLANK
        for part, branch in zip(parts, branches, strict=True)
    )
    return Sql(
        pick.write([part.value for part in parts]),
        made_type,
        any_error(error, errors),
        pick.write_boolean([part.condition or FALSE for part in parts]) if has_conditions else None,
        is_filled=all(part.is_filled for part in parts),
        is_finite=all(part.is_finite for part in parts),
        zone=zone,
        locale=locale,
    )


def compile(formula: "Formula", source: Source) -> Sql | None:  # noqa: A001
    """The value of a formula field, of the type that `evaluation.result_type` says."""
    context = Context(source)
    made = _Compiler(context).compile(formula)
    if made is None:
        return None
    if formula.type.kind in (Kind.ANY, Kind.BLANK):
        return _cell_text(context, made)
    if made.type.kind is Kind.BLANK:
        made = null(formula.type, made.error)
    if made.type.is_array and made.type.kind is not formula.type.kind:
        # A constant list without items has no kind of its own.
        made = replace(made, value=f"{made.value}::{pg_type(formula.type)}")
    return replace(made, type=formula.type)


def _cell_text(context: Context, given: Sql) -> Sql:
    """The text of one of several kinds. Other than for `to_text`, a blank stays blank."""
    if given.branches:
        return _spread(given, lambda branch: _cell_text(context, branch))
    if given.type.kind is Kind.BLANK:
        return null(types.TEXT, given.error)
    if given.is_filled or given.constant is not None:
        return to_text(context, given)
    if given.type.is_array:
        error = any_error(given.error, infinite(given))
        return Sql(_joined_items(given.type, given.value), types.TEXT, error)
    # What makes texts of numbers and dates leaves NULL as it is.
    return replace(to_text(context, replace(given, is_filled=True, condition=None)), is_filled=False)


def compile_filter(formula: "Formula", source: Source) -> str | None:
    """The condition that a record passes a formula."""
    made = _Compiler(Context(source)).compile(formula)
    return None if made is None else filter_condition(made)


class _Compiler:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.inputs: dict[Input, Sql | None] = {}

    def compile(self, formula: "Formula") -> Sql | None:
        from pyat.formula.checking import Constant, Input

        done: dict[int, tuple[Sql | None, int]] = {}
        for node in formula.nodes:
            given = [done.pop(id(argument)) for argument in node.arguments]
            height = 1 + max((height for _, height in given), default=0)
            if isinstance(node.source, Constant):
                made = constant(node.source.value)
            elif isinstance(node.source, Input):
                made = self._input(node.source)
            elif height > HEIGHT_MAX:
                made = None
            else:
                made = self._call(node.source, [one for one, _ in given])
            if made is not None and made.length > LENGTH_MAX:
                made = None
            done[id(node)] = made, 0 if made is not None and made.constant is not None else height
        return done[id(formula.root)][0]

    def _input(self, wanted: "Input") -> Sql | None:
        if wanted not in self.inputs:
            self.inputs[wanted] = self.context.source.input(wanted)
        return self.inputs[wanted]

    def _call(self, function: "type[Function]", given: Sequence[Sql | None]) -> Sql | None:
        if function.is_lazy:
            return self._if(given) if function.__name__ == "IF" else self._switch(given)
        lengths = [one.length for one in given if one is not None and one.constant is None]
        if len(lengths) > ARGUMENTS_MAX or sum(lengths) > LENGTH_MAX:
            return None
        written = len(given) - len(function.inputs)
        arguments: list[Sql] = []
        for position, one in enumerate(given):
            kind = function.parameter(position).kind if position < written else "any"
            converted = None if one is None else self._convert(kind, one)
            if converted is None:
                return None
            arguments.append(converted)
        if sum(bool(one.branches) for one in arguments) > MIXED_MAX:
            return None
        return self._apply(function, arguments)

    def _convert(self, kind: str, given: Sql) -> Sql | None:
        if kind not in _CONVERSIONS:
            return given
        if given.constant is None:
            return _CONVERSIONS[kind](self.context, given)
        made = constant(_converted(kind, given.constant.value))
        is_blank = made is not None and made.type.kind is Kind.BLANK and made.error is None
        return null(types.DATE) if is_blank else made

    def _apply(self, function: "type[Function]", arguments: Sequence[Sql]) -> Sql | None:
        """A call with converted arguments; one of several kinds gives a result for each."""
        for position, one in enumerate(arguments):
            if one.pick is not None:
                results = []
                for branch in one.branches:
                    part = branch
                    if function.takes_errors and one.error is not None:
                        part = replace(branch, error=any_error(one.error, branch.error), constant=None)
                    result = self._apply(function, [*arguments[:position], part, *arguments[position + 1 :]])
                    if result is None:
                        return None
                    results.append(result)
                return joined(one.pick, None if function.takes_errors else one.error, results)
        if all(one.constant is not None for one in arguments):
            return constant(_run(function, [one.constant.value for one in arguments if one.constant is not None]))
        if not function.takes_errors and any(one.error == TRUE for one in arguments):
            return constant(ERROR)
        made = None if function.sql is None else function.sql(self.context, *arguments)
        if made is None:
            return None
        errors = [made.error]
        if not function.takes_errors:
            errors += [one.error for one in arguments]
        if not function.takes_infinite:
            errors += [infinite(one) for one in arguments]
        error = any_error(*errors)
        return replace(made, error=error, constant=made.constant if error is None else None)

    def _if(self, given: Sequence[Sql | None]) -> Sql | None:
        test, then, *rest = given
        otherwise = rest[0] if rest else null(types.BLANK)
        if test is None:
            return None
        if test.constant is not None:
            chosen = values.to_boolean(test.constant.value)
            return constant(ERROR) if not isinstance(chosen, bool) else then if chosen else otherwise
        if then is None or otherwise is None:
            return None
        return joined(Pick((condition_of(test),)), truth_error(test), [then, otherwise])

    def _switch(self, given: Sequence[Sql | None]) -> Sql | None:
        tested, *rest = given
        if tested is None:
            return None
        default = rest.pop() if len(rest) % 2 else null(types.BLANK)
        pairs = list(zip(rest[::2], rest[1::2], strict=True))
        if tested.pick is None:
            return self._switch_of(tested, pairs, default)
        results = []
        for branch in tested.branches:
            result = self._switch_of(branch, pairs, default)
            if result is None:
                return None
            results.append(result)
        return joined(tested.pick, tested.error, results)

    def _switch_of(
        self, tested: Sql, pairs: Sequence[tuple[Sql | None, Sql | None]], default: Sql | None
    ) -> Sql | None:
        if tested.branches:
            return None
        error = truth_error(tested)
        if error == TRUE:
            return constant(ERROR)
        variable = tested
        if tested.constant is None:
            name = tested.value if tested.is_simple else f"{self.context.name()}.c"
            variable = Sql(
                name,
                tested.type,
                is_simple=True,
                is_filled=tested.is_filled,
                is_finite=True,
                is_column=tested.is_column,
                zone=tested.zone,
                locale=tested.locale,
            )
        failed = constant(ERROR)
        assert failed is not None, "ERROR is in SQL"
        guards: list[str] = []
        branches: list[Sql] = []
        for pattern, result in pairs:
            equal = None if pattern is None else self._equal(variable, pattern)
            if equal is None:
                return None
            wrong = truth_error(equal)
            if wrong is not None:
                guards.append(wrong)
                branches.append(failed)
            condition = condition_of(equal)
            if condition == TRUE and wrong is None:
                default = result
                break
            if condition != FALSE:
                if result is None:
                    return None
                guards.append(condition)
                branches.append(result)
        if default is None:
            return None
        if not guards:
            return default if error is None else joined(Pick((FALSE,)), error, [default, default])
        branches.append(default)
        pick = Pick(tuple(guards))
        if not tested.is_simple:
            relation = variable.value.partition(".")[0]
            chosen = pick.write([str(number) for number in range(len(branches))])
            pick = Pick(selector=f"(SELECT {chosen} FROM (SELECT {tested.value} AS c OFFSET 0) {relation})")
        return joined(pick, error, branches)

    def _equal(self, left: Sql, right: Sql) -> Sql | None:
        from pyat.formula.functions import OPERATORS

        return self._apply(OPERATORS["="], [left, right])


_CONVERSIONS: Final[Mapping[str, Callable[[Context, Sql], Sql]]] = {
    "number": to_number,
    "text": text_argument,
    "date": to_date,
}


def _converted(kind: str, value: Value) -> Value:
    if kind == "number":
        return values.to_number(value)
    if kind == "text":
        return values.text_argument(value)
    from pyat.formula import moments

    return moments.to_moment(value) if kind == "date" else value


def _run(function: "type[Function]", arguments: Sequence[Value]) -> Value:
    """What a function gives for converted constants."""
    if not function.takes_errors and any(_has(one, lambda item: item is ERROR) for one in arguments):
        return ERROR
    if not function.takes_infinite and any(_has(one, _is_infinite) for one in arguments):
        return ERROR
    made: Value = function.run(*arguments)
    return made


def _has(value: Value, test: Callable[[Value], bool]) -> bool:
    return any(test(item) for item in values.items_of((value,)))


def _is_infinite(value: Value) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
