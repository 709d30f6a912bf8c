"""Checked formulas are run: laziness, errors, conversion of arguments, sizes and traces. Single values are in the corpus."""

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyat.formula import evaluation, types
from pyat.formula.checking import Known, Scope, check
from pyat.formula.errors import FormulaProblem
from pyat.formula.evaluation import UNSEEN, converted
from pyat.formula.functions.base import ParameterKind
from pyat.formula.types import Kind, Type
from pyat.formula.values import (
    ERROR,
    MS_MAX,
    MS_MIN,
    Moment,
    Value,
    is_error,
    moment_text,
    number_of_text,
    number_text,
    to_boolean,
    to_number,
    to_text,
)
from tests.support import formulas
from tests.support.formulas import same

DAY = Moment(1_709_596_800_000)
NAMES = {
    "N": types.NUMBER,
    "M": types.NUMBER,
    "S": types.TEXT,
    "D": types.DATE,
    "L": types.NUMBER.array,
    "X": types.ANY,
}
SCOPE = Scope(lambda name: Known(f"fld{name}", name, NAMES[name]) if name in NAMES else None)


def value_of(text: str, **cells: Value) -> Value:
    """Of a formula over the fields above, which are blank unless they are given."""
    given: Mapping[str, Value] = {f"fld{name}": cells.get(name) for name in NAMES}
    return evaluation.evaluate(text, SCOPE, {**given, "NOW": formulas.NOW})


# Laziness and errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IF(1, 'a', ERROR())", "a"),
        ("IF(0, ERROR(), 'b')", "b"),
        ("SWITCH(1, 1, 'a', ERROR(), 'b')", "a"),
        ("SWITCH(2, 1, ERROR(), 2, 'b', ERROR())", "b"),
        ("IF(1, IF(0, ERROR(), SWITCH(3, 4, ERROR(), 'deep')), ERROR())", "deep"),
        ("AND(0, ERROR())", ERROR),
        ("OR(1, ERROR())", ERROR),
        ("IF(ISERROR(ERROR()), 'caught')", "caught"),
        ("ISERROR(1 / 0 - 1 / 0)", 1.0),
        ("LEN(1 / 0)", ERROR),
        ("LEFT('abc', 0 / 0)", ERROR),
        ("1 / 0 = 1 / 0", ERROR),
    ],
)
def test_only_what_is_chosen_is_computed_and_errors_pass_through_all_else(text: str, expected: Value) -> None:
    assert same(value_of(text), expected)


def test_a_program_runs_for_one_record_after_another() -> None:
    formula = check("IF(N > 1, S & N, M)", SCOPE)
    program = evaluation.compile(formula)
    assert [one.key for one in program.inputs] == ["fldN", "fldS", "fldM"]
    assert [program.run(row) for row in ((2.0, "a", 5.0), (0.0, "a", 5.0), (None, None, None), (ERROR, "a", 1.0), (3.0, None, 0.0))] == [
        "a2", 5.0, None, ERROR, "3",
    ]  # fmt: skip


def test_the_same_cell_is_read_wherever_it_is_named() -> None:
    assert value_of("N * N + {N}", N=3.0) == 12.0


# Fields


@pytest.mark.parametrize(
    ("text", "cells", "expected", "kind"),
    [
        ("IF(N, 1, 'a')", {"N": 1.0}, "1", types.TEXT),
        ("IF(N, 1, 'a')", {}, "a", types.TEXT),
        ("IF(N, D, 'a')", {"N": 1.0, "D": DAY}, "2024-03-05T00:00:00.000Z", types.TEXT),
        ("IF(N, L, 'a')", {"N": 1.0, "L": (1.0, 2.0)}, "1, 2", types.TEXT),
        ("IF(N, 1 / 0, 'a')", {"N": 1.0}, ERROR, types.TEXT),
        ("IF(N, BLANK(), IF(M, 1, 'a'))", {"N": 1.0}, None, types.TEXT),
        ("BLANK()", {}, None, types.TEXT),
        ("L", {"L": (1.0, ERROR)}, ERROR, types.NUMBER.array),
        ("L", {"L": (1.0, math.inf)}, (1.0, math.inf), types.NUMBER.array),
        ("N / M", {"N": 1.0}, math.inf, types.NUMBER),
        ("X", {"X": 2.5}, "2.5", types.TEXT),
    ],
)
def test_a_field_of_several_kinds_holds_text(
    text: str, cells: Mapping[str, Value], expected: Value, kind: Type
) -> None:
    formula = check(text, SCOPE)
    assert evaluation.result_type(formula) == kind
    assert same(evaluation.cell(formula, value_of(text, **cells)), expected)


# Arguments


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("number", None, 0.0),
        ("number", "12", 12.0),
        ("number", "x", math.nan),
        ("number", DAY, math.nan),
        ("number", (5.0,), 5.0),
        ("number", ((5.0,),), 5.0),
        ("number", (), 0.0),
        ("number", (1.0, 2.0), math.nan),
        ("number", (1.0, ERROR), ERROR),
        ("number", ERROR, ERROR),
        ("text", None, ""),
        ("text", "a", "a"),
        ("text", 1.0, ERROR),
        ("text", DAY, ERROR),
        ("text", ("a",), "a"),
        ("text", ("a", "b"), "a, b"),
        ("text", (1.0,), ERROR),
        ("text", (), ""),
        ("date", None, None),
        ("date", DAY, DAY),
        ("date", "2024-03-05", DAY),
        ("date", "", None),
        ("date", "soon", ERROR),
        ("date", 1.0, ERROR),
        ("date", (DAY,), DAY),
        ("date", (DAY, DAY), ERROR),
        ("any", (1.0, ERROR), ERROR),
        ("any", (1.0, None), (1.0, None)),
        ("items", "a", "a"),
    ],
)
def test_arguments_become_what_a_parameter_takes(kind: ParameterKind, value: Value, expected: Value) -> None:
    assert same(converted(kind, value), expected)


# Values

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
MOMENTS = st.integers(MS_MIN, MS_MAX).map(Moment)
VALUES: st.SearchStrategy[Value] = st.one_of(st.none(), st.floats(), TEXTS, MOMENTS, st.just(ERROR))
CELLS: st.SearchStrategy[Value] = st.one_of(VALUES, st.lists(VALUES, max_size=3).map(tuple))


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200)
def test_the_text_of_a_number_reads_back_the_same(number: float) -> None:
    text = number_text(number)
    assert float(text) == number
    assert "e" in text or number_of_text(text) == number


@given(MOMENTS)
def test_the_text_of_an_instant_reads_back_the_same(moment: Moment) -> None:
    assert value_of(f"DATEADD('{moment_text(moment)}', 0, 'ms')") == moment


@given(CELLS)
@settings(max_examples=100)
def test_conversions_never_raise_and_agree_on_errors(value: Value) -> None:
    assert isinstance(to_number(value), float) or to_number(value) is ERROR
    assert isinstance(to_text(value), str) or is_error(value)
    assert isinstance(to_boolean(value), bool) or is_error(value)


@given(CELLS, CELLS)
@settings(max_examples=100)
def test_comparisons_agree_with_each_other(left: Value, right: Value) -> None:
    found = [value_of(f"X {sign} IF(1, L)", X=left, L=right) for sign in ("=", "!=", "<", ">", "<=", ">=")]
    if is_error(left) or is_error(right):
        assert found == [ERROR] * 6
        return
    equal, unequal, less, more, least, most = found
    assert {equal, unequal} == {0.0, 1.0}
    assert less != 1.0 or (least == 1.0 and more == 0.0)
    assert more != 1.0 or (most == 1.0 and less == 0.0)


@given(st.integers(0, 10**6))
@settings(max_examples=100)
def test_what_a_formula_gives_is_of_its_type(seed: int) -> None:
    chosen = random.Random(seed)
    formula = formulas.Maker(chosen).formula(3)
    for row in formulas.draw_rows(chosen, 3):
        value = evaluation.compile(formula).run([row[one.key] for one in formula.inputs])
        assert is_of(formula.type, value), f"{formula.text} is {formula.type} and gives {value!r}"
        assert is_of(evaluation.result_type(formula), evaluation.cell(formula, value))


def is_of(kind: Type, value: Value) -> bool:
    """Whether a value is of a type; blanks and errors are of any."""
    if value is None or value is ERROR or kind.kind is Kind.ANY:
        return True
    if kind.is_array:
        return isinstance(value, tuple) and all(is_of(kind.element, item) for item in value)
    if isinstance(value, Moment):
        return kind.kind is Kind.DATE and (not kind.is_day or value.ms % 86_400_000 == 0)
    if isinstance(value, float):
        return kind.kind is Kind.NUMBER and (not kind.is_boolean or value in (0.0, 1.0))
    return isinstance(value, str) and kind.kind is Kind.TEXT


# Sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+".join(["1"] * 50_000), 50_000.0),
        ("&".join(["'x'"] * 5_000), "x" * 5_000),
        ("ABS(" * 16_000 + "-1" + ")" * 16_000, 1.0),
        ("-" * 5_001 + "1", -1.0),
        ("IF(0,1," * 1_000 + "'end'" + ")" * 1_000, "end"),
        ("SWITCH(" * 1_000 + "1" + ",0,0,1)" * 1_000, 1.0),
        ("SUM(" + ",".join(["1"] * 10_000) + ")", 10_000.0),
    ],
    ids=["chain", "texts", "levels", "signs", "choices", "switches", "arguments"],
)
def test_size_is_bounded_by_the_length_alone(text: str, expected: Value) -> None:
    assert value_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "REPT(REPT('x', 10000000), 2)",
        "REPT('x', 9000000) & REPT('x', 9000000)",
        "CONCATENATE(REPT('x', 9000000), REPT('x', 9000000))",
        "SUBSTITUTE(REPT('x', 100000), 'x', REPT('y', 1000))",
        "REPLACE(REPT('x', 9000000), 1, 0, REPT('y', 9000000))",
        "ENCODE_URL_COMPONENT(REPT('ü', 4000000))",
        "REGEX_REPLACE(REPT('x', 100000), 'x', REPT('y', 1000))",
        "REPT('x', POWER(10, 300))",
    ],
)
def test_a_text_that_grows_too_long_is_an_error(text: str) -> None:
    assert value_of(text) is ERROR


# Traces


def test_a_trace_has_the_value_of_every_node_and_of_branches_not_taken_none() -> None:
    formula = check("IF(N > 1, S & N, M / 0)", SCOPE)
    program = evaluation.compile(formula)
    found = program.trace([2.0, "a", 5.0])
    by_text = {
        formula.text[node.node.start : node.node.end]: value for node, value in zip(formula.nodes, found, strict=True)
    }
    assert by_text["N > 1"] == 1.0
    assert by_text["S & N"] == "a2"
    assert by_text["M / 0"] is UNSEEN
    assert by_text[formula.text] == "a2"
    assert program.run([2.0, "a", 5.0]) == "a2"


def test_a_trace_of_a_switch_shows_what_was_compared() -> None:
    formula = check("SWITCH(N + 1, 2, 'two', 1 + 2, 'three', 'more')", SCOPE)
    found = evaluation.compile(formula).trace([2.0])
    by_text = {
        formula.text[node.node.start : node.node.end]: value for node, value in zip(formula.nodes, found, strict=True)
    }
    assert by_text["N + 1"] == by_text["1 + 2"] == 3.0
    assert by_text[formula.text] == "three"


@given(st.text(st.sampled_from("N S L(),+-*&<='12 IF"), max_size=20))
@settings(max_examples=100)
def test_any_text_is_computed_or_refused(text: str) -> None:
    try:
        value = value_of(text, N=2.0, S="a", L=(1.0, 2.0))
    except FormulaProblem:
        return
    assert value is None or isinstance(value, float | str | tuple | Moment) or value is ERROR
