"""The corpus of formulas: cases as data, in `tests/corpus/formula`, with what the language's specification says of each.

A file is a list of groups; a group has a `source` and `cases`, and a case may have a `source` of its own. A case has a
`formula`, the cells of the record in `fields` (by the names of the test table in `tests.support.formulas`; others are
empty), and what it gives: `expected`, or `invalid` with the message, `at` with the position and maybe `suggestion`.

Values are written as JSON has them, null is a blank, and as the API writes errors: `{"error": "#ERROR!"}`,
`{"specialValue": "NaN"}`. A date is `{"date": "2024-03-05T14:07:09.045Z"}`. Now is the instant of that example.
In a rollup, `values` names the field of the test table whose cell they are.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from pyat.formula import checking, evaluation, sql
from pyat.formula.checking import Formula, Input, Known, Scope
from pyat.formula.errors import FormulaProblem
from pyat.formula.values import ERROR, Value, moment_of
from tests.support import formulas

FOLDER: Final = Path(__file__).parent.parent / "corpus" / "formula"
CASES_MIN: Final = 1_500
_ALIASES: Final = {
    "Unit price": "Price",
    "Ünïcode": "Text",
    "名前": "Name",
    "_hidden2": "Number",
    "2nd": "Number",
    "SUM": "Number",
    "if": "Number",
    "Is it done?": "Box",
    "a}b": "Text",
    "}{": "Name",
    "back\\slash": "Text",
    " padded ": "Text",
    "😀": "Number",
    'say "hi"': "Text",
    "it's": "Text",
    "line\nbreak": "Text",
    "number": "Price",
    "Values": "Numbers",
    "a, b (c) + 1": "Number",
}
"""Other names for fields of the test table, to refer to."""
_COLUMNS: Final = {one.known.name: one for one in formulas.COLUMNS}
_DEFAULTS: Final[Mapping[str, Value]] = {
    "Box": 0.0,
    "RECORD_ID": "rec00000000000001",
    "CREATED_TIME": moment_of(datetime.fromisoformat("2024-01-31T08:30:00Z")),
    "LAST_MODIFIED_TIME": moment_of(datetime.fromisoformat("2024-03-01T23:59:59.999Z")),
    checking.NOW: formulas.NOW,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is expected of a formula that is refused."""

    message: str
    at: tuple[int, int]
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """`values` are the cells by the names of the test table, and what else a record gives."""

    file: str
    formula: str
    values: Mapping[str, Value]
    expected: "Value | Problem"
    source: str
    rollup: str | None = None

    @property
    def scope(self) -> Scope:
        """The test table, and its other names."""
        return replace(SCOPE, values=None if self.rollup is None else _COLUMNS[self.rollup].known.type)

    def value_of(self, wanted: Input) -> Value:
        """What the record gives."""
        key = f"fld{self.rollup}" if wanted.key == checking.VALUES else wanted.key
        return self.values[key.removeprefix("fld")]

    @property
    def row(self) -> formulas.Row:
        """The record, as `formulas.install_rows` takes it."""
        return {name if name.isupper() else f"fld{name}": value for name, value in self.values.items()}


def _find(name: str) -> Known | None:
    column = _COLUMNS.get(_ALIASES.get(name, name.removeprefix("fld")))
    if column is None or column.known.name.isupper():
        return None
    return replace(column.known, is_computed=column.is_computed)


SCOPE: Final = Scope(_find, lambda: (*(one.known.name for one in formulas.FIELDS), *_ALIASES))


class Source(formulas.TableSource):
    """The test table, with one of its columns for the values of a rollup."""

    def __init__(self, rollup: str | None) -> None:
        self.rollup = rollup

    def input(self, wanted: Input) -> sql.Sql | None:
        """As the test table has it."""
        return super().input(replace(wanted, key=f"fld{self.rollup}") if wanted.key == checking.VALUES else wanted)


def record(cells: Mapping[str, Value]) -> Mapping[str, Value]:
    """A record of the test table, where what is not among the cells is empty."""
    assert cells.keys() <= _COLUMNS.keys(), f"{cells} are fields of the test table"
    return {**dict.fromkeys(_COLUMNS), **_DEFAULTS, **cells}


@cache
def corpus() -> tuple[Case, ...]:
    """Every case of every file."""
    return tuple(case for file in sorted(FOLDER.glob("*.json")) for case in _cases_of(file))


def _cases_of(file: Path) -> list[Case]:
    found = []
    for group in json.loads(file.read_text("utf-8")):
        assert group.keys() == {"source", "cases"}, f"a group of {file.name} has a source and cases"
        for case in group["cases"]:
            assert case.keys() <= {"formula", "fields", "values", "expected", "invalid", "at", "suggestion", "source"}
            cells = {name: _value(written) for name, written in case.get("fields", {}).items()}
            expected: Value | Problem
            if "invalid" in case:
                expected = Problem(case["invalid"], (case["at"][0], case["at"][1]), case.get("suggestion"))
            else:
                expected = _value(case["expected"])
            source = case.get("source", group["source"])
            found.append(Case(file.stem, case["formula"], record(cells), expected, source, case.get("values")))
    return found


def _value(written: Any) -> Value:
    if isinstance(written, bool | int | float):
        return float(written)
    if isinstance(written, list):
        return tuple(map(_value, written))
    if not isinstance(written, dict):
        assert written is None or isinstance(written, str), f"{written!r} is a value"
        return written
    ((kind, text),) = written.items()
    if kind == "date":
        return moment_of(datetime.fromisoformat(text))
    if kind == "error":
        assert text == "#ERROR!", "there is one error"
        return ERROR
    assert kind == "specialValue", f"{kind} is a kind of value"
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[text]


def checked(case: Case, formula: str | None = None) -> Formula:
    """The case's formula, or another one over its record. Raises FormulaProblem."""
    return checking.check(formula or case.formula, case.scope)


def computed(case: Case, formula: Formula) -> Value:
    """What Python says: the cell of a field with the formula."""
    values = [case.value_of(one) for one in formula.inputs]
    return evaluation.cell(formula, evaluation.compile(formula).run(values))


def problem_of(case: Case) -> Problem | None:
    """Why the formula is refused; None where it is not."""
    try:
        checked(case)
    except FormulaProblem as problem:
        return Problem(problem.message, (problem.start, problem.end), problem.suggestion)
    return None
