"""Every case of the corpus, in Python: what it gives, and that names turned to ids and back change nothing."""

from collections import Counter

import pytest

from pyat.formula import translating
from tests.support.formula_corpus import CASES_MIN, Case, Problem, checked, computed, corpus, problem_of
from tests.support.formulas import same

FILES = sorted({case.file for case in corpus()})


def cases_of(file: str) -> list[Case]:
    """Those of a file, valid formulas alone."""
    return [case for case in corpus() if case.file == file and not isinstance(case.expected, Problem)]


def test_there_are_many_cases_and_each_is_there_once() -> None:
    counted = Counter((case.formula, repr(sorted(case.values.items())), case.rollup) for case in corpus())
    assert [formula for (formula, _, _), count in counted.items() if count > 1] == []
    assert len(counted) >= CASES_MIN


def test_every_case_says_where_it_comes_from() -> None:
    known = ("formula reference, section ", "Airtable's documentation of ", "design choice")
    assert {case.source for case in corpus() if not case.source.startswith(known)} == set()


@pytest.mark.parametrize("file", FILES)
def test_a_formula_gives_what_is_expected(file: str) -> None:
    wrong = []
    for case in cases_of(file):
        assert not isinstance(case.expected, Problem)
        found = computed(case, checked(case))
        if not same(found, case.expected):
            wrong.append((case.formula, found, case.expected))
    assert wrong == []


@pytest.mark.parametrize("file", FILES)
def test_a_formula_by_ids_and_back_by_names_gives_the_same(file: str) -> None:
    wrong = []
    for case in cases_of(file):
        assert not isinstance(case.expected, Problem)
        ids: dict[str, str] = {}

        def find(name: str, case: Case = case, ids: dict[str, str] = ids) -> str | None:
            known = case.scope.find(name)
            if known is None or (name == "values" and case.rollup is not None):
                return None
            ids[known.field_id] = known.name
            return known.field_id

        stored = translating.to_ids(case.formula, find)
        shown = translating.to_names(stored, ids)
        if (
            not all(same(computed(case, checked(case, text)), case.expected) for text in (stored, shown))
            or translating.to_ids(shown, find) != stored
        ):
            wrong.append((case.formula, stored, shown))
    assert wrong == []


def test_invalid_formulas_are_refused_with_message_and_position() -> None:
    refused = [case for case in corpus() if isinstance(case.expected, Problem)]
    assert len(refused) > 100
    wrong = [(case.formula, problem_of(case), case.expected) for case in refused if problem_of(case) != case.expected]
    assert wrong == []
