"""`filterByFormula`: a formula as a condition for PostgreSQL, or as a test in Python where PostgreSQL cannot tell."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyat.formula import checking, evaluation, sql
from pyat.formula.checking import Formula
from pyat.formula.errors import FormulaProblem, UnknownFields
from pyat.formula.values import Value, to_boolean
from pyat.recordstore import computing
from pyat.recordstore.errors import InvalidFilter
from pyat.recordstore.structure import Table

_KEPT_MAX = 100
"""Filters that are kept for a structure, each at most a few times as long as its text."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What lets records pass: `condition` over the relation `r`; without it, `test` of what `inputs` give."""

    condition: str | None
    inputs: Sequence[str] = ()
    test: Callable[[Sequence[Any]], bool] = bool


def filter_of(table: Table, text: str) -> Filter:
    """Of a client's formula; kept for the next page. Raises InvalidFilter."""
    kept: OrderedDict[str, Filter] = table.plans.setdefault("filters", OrderedDict())
    found = kept.get(text)
    if found is None:
        found = kept[text] = _made(table, text)
        if len(kept) > _KEPT_MAX:
            kept.popitem(last=False)
    return found


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a formula needs of a record: its inputs, SQL of a JSON text for each, and what makes values of those."""

    inputs: Sequence[checking.Input]
    sqls: Sequence[str]
    decoders: Sequence[Callable[[Any], Value]]


def inputs_of(table: Table, text: str) -> Inputs:
    """Of a formula over the records of a table; the time is none of them. Raises InvalidFilter."""
    wanted = [one for one in _checked(table, text).inputs if one.key != checking.NOW]
    source = computing.record_source(table)
    readers = [source.reader(one) for one in wanted]
    return Inputs(wanted, [one.sql for one in readers], [one.decode for one in readers])


def _made(table: Table, text: str) -> Filter:
    formula = _checked(table, text)
    source = computing.record_source(table)
    condition = sql.compile_filter(formula, source)
    if condition is not None:
        return Filter(condition)
    readers = [source.reader(one) for one in formula.inputs]
    program, decoders = evaluation.compile(formula), [one.decode for one in readers]

    def passes(given: Sequence[Any]) -> bool:
        found = program.run_until([decode(one) for decode, one in zip(decoders, given, strict=True)])
        return to_boolean(found) is True

    return Filter(None, [one.sql for one in readers], passes)


def _checked(table: Table, text: str) -> Formula:
    try:
        formula = checking.check(text, computing.scope_of(table))
        computing.check_inputs(formula, table)
    except UnknownFields as problem:
        raise InvalidFilter(reason=problem.message) from None
    except FormulaProblem as problem:
        reason = f"Invalid formula. Please check your formula text. {problem.message} (character {problem.start + 1})."
        if problem.suggestion is not None:
            reason = f"{reason[:-1]}, did you mean {problem.suggestion}?"
        raise InvalidFilter(reason=reason) from None
    return formula
