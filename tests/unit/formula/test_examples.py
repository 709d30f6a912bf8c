"""The functions of the language: each is there with its arguments, and the examples of its help are right."""

import itertools
import math

import pytest

from pyat.formula import evaluation
from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.functions.base import Function
from pyat.formula.values import Moment, Value, moment_text, number_text
from tests.support.formula_corpus import Case, checked, record

EXAMPLES_MIN = 2
NAMES = """
ARRAYJOIN(1-2) CONCATENATE(1+) ENCODE_URL_COMPONENT(1) FIND(2-3) LEFT(2) LEN(1) LOWER(1) MID(3) REPLACE(4) REPT(2) RIGHT(2)
SEARCH(2-3) SUBSTITUTE(3-4) T(1) TRIM(1) UPPER(1)
AND(1+) BLANK(0) ERROR(0-1) FALSE(0) IF(2-3) ISERROR(1) NOT(1) OR(1+) SWITCH(3+) TRUE(0) XOR(1+)
ABS(1) AVERAGE(1+) CEILING(1-2) COUNT(1+) COUNTA(1+) COUNTALL(1+) EVEN(1) EXP(1) FLOOR(1-2) INT(1) LOG(1-2) MAX(1+) MIN(1+)
MOD(2) ODD(1) POWER(2) ROUND(2) ROUNDDOWN(2) ROUNDUP(2) SQRT(1) SUM(1+) VALUE(1)
DATEADD(3) DATESTR(1) DATETIME_DIFF(2-3) DATETIME_FORMAT(1-2) DATETIME_PARSE(1-3) DAY(1) FROMNOW(1) HOUR(1) IS_AFTER(2-3)
IS_BEFORE(2-3) IS_SAME(2-3) MINUTE(1) MONTH(1) NOW(0) SECOND(1) SET_LOCALE(2) SET_TIMEZONE(2) TIMESTR(1) TODAY(0) TONOW(1)
WEEKDAY(1-2) WEEKNUM(1-2) WORKDAY(2-3) WORKDAY_DIFF(2-3) YEAR(1)
ARRAYCOMPACT(1) ARRAYFLATTEN(1+) ARRAYSLICE(2-3) ARRAYUNIQUE(1)
CREATED_TIME(0) LAST_MODIFIED_TIME(0+) RECORD_ID(0) REGEX_EXTRACT(2) REGEX_MATCH(2) REGEX_REPLACE(3)
"""
"""Every function of the formula reference, section 20, and how many arguments it takes."""
SIGNS = "+ - * / & = != < <= > >= negate"


def counted(function: type[Function]) -> str:
    """How many arguments an entry takes, as in NAMES."""
    least, most = function.arity()
    return f"{least}+" if most is None else f"{least}" if least == most else f"{least}-{most}"


def examples(function: type[Function]) -> list[tuple[str, str]]:
    """The formulas of a docstring, each with the line after it."""
    lines = [line.strip() for line in (function.__doc__ or "").splitlines()]
    return [(one[4:], two) for one, two in itertools.pairwise(lines) if one.startswith(">>> ")]


def told(value: Value) -> str:
    """A value as docstrings write it."""
    if value is None:
        return "blank"
    if isinstance(value, float):
        special = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return "NaN" if math.isnan(value) else special.get(value) or number_text(value)
    if isinstance(value, Moment):
        return moment_text(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(told, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def test_every_function_is_there_with_its_arguments() -> None:
    assert {f"{name}({counted(function)})" for name, function in FUNCTIONS.items()} == set(NAMES.split())


def test_every_operator_is_there() -> None:
    assert set(OPERATORS) == set(SIGNS.split())
    assert {counted(function) for sign, function in OPERATORS.items() if sign != "negate"} == {"2"}
    assert counted(OPERATORS["negate"]) == "1"


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *OPERATORS.values()], ids=lambda one: one.__name__)
def test_the_examples_of_the_help_are_right(function: type[Function]) -> None:
    found = examples(function)
    assert len(found) >= EXAMPLES_MIN
    for formula, expected in found:
        case = Case("examples", formula, record({}), None, "")
        made = checked(case)
        value = evaluation.compile(made).run([case.value_of(one) for one in made.inputs])
        assert (formula, told(value)) == (formula, expected)


def test_help_begins_with_a_sentence_and_shows_the_function() -> None:
    for function in (*FUNCTIONS.values(), *OPERATORS.values()):
        assert (function.__doc__ or "").splitlines()[0].endswith(".")
        shown = function.symbol.replace("negate", "-") if function.is_operator else f"{function.__name__}("
        assert any(shown in formula for formula, _ in examples(function)), f"{function.__name__} shows itself"
