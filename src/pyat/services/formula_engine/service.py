"""Formulas over the fields of a table, or over fields that are given with them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

from pyat.formula import checking, evaluation, explaining, translating, types, wire
from pyat.formula.checking import Formula, Known, Scope
from pyat.formula.errors import FormulaProblem
from pyat.formula.evaluation import EvaluationTooLarge, EvaluationTooLong
from pyat.formula.functions.base import Function
from pyat.formula.types import Type
from pyat.formula.values import Value
from pyat.foundation.errors import InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import FieldId, RecordId
from pyat.recordstore import computing
from pyat.recordstore.structure import Table
from pyat.services.airtable_gateway.contract import Records
from pyat.services.formula_engine.contract import (
    Checked,
    Explained,
    FormulaTooLarge,
    FormulaTooSlow,
    InvalidFormula,
    Part,
    Problem,
    Subject,
    TypeName,
)
from pyat.services.formula_engine.settings import FormulaSettings
from pyat.services.schema.contract import Schema

Result = TypeVar("Result")

_TYPES: Final[Mapping[TypeName, Type]] = {
    "number": types.NUMBER,
    "text": types.TEXT,
    "date": types.DATE,
    "checkbox": types.BOOLEAN,
    "numbers": types.NUMBER.array,
    "texts": types.TEXT.array,
    "dates": types.DATE.array,
}
_REQUEST_INPUTS: Final = frozenset({"RECORD_ID", "CREATED_TIME", "LAST_MODIFIED_TIME"})


class FormulaService:
    """Implements the contract `Formulas`."""

    def __init__(self, schema: Schema, records: Records, settings: FormulaSettings) -> None:
        self._schema = schema
        self._records = records
        self._settings = settings

    async def check(self, *, principal: Principal, subject: Subject, formula: str) -> Checked:
        """See the contract."""
        table = await self._table(principal, subject)
        try:
            found = await asyncio.to_thread(_checked, formula, subject, table)
        except FormulaProblem as problem:
            return Checked(Problem(problem.message, problem.start, problem.end, problem.suggestion))
        functions = [node.source for node in found.nodes if isinstance(node.source, type)]
        return Checked(
            None,
            found.type.kind.value,
            found.type.is_array,
            tuple(FieldId(field_id) for field_id in _references(found)),
            tuple(dict.fromkeys(_name(function) for function in functions if not function.is_operator)),
            found.is_volatile,
        )

    async def evaluate(
        self,
        *,
        principal: Principal,
        subject: Subject,
        formula: str,
        record_id: RecordId | None,
        values: Mapping[str, Any],
    ) -> Any:
        """See the contract."""
        found, given = await self._prepared(principal, subject, formula, record_id, values)
        ends_s = time.monotonic() + self._settings.formula_time_s
        return wire.shown(await self._bounded(lambda: _value(found, given, ends_s)))

    async def explain(
        self,
        *,
        principal: Principal,
        subject: Subject,
        formula: str,
        record_id: RecordId | None,
        values: Mapping[str, Any],
    ) -> Explained:
        """See the contract."""
        found, given = await self._prepared(principal, subject, formula, record_id, values)
        ends_s = time.monotonic() + self._settings.formula_time_s
        explained = await self._bounded(lambda: explaining.explained(found, given, ends_s=ends_s))
        parts = tuple(
            Part(
                part.text,
                part.start,
                part.end,
                part.name,
                part.type.kind.value,
                part.type.is_array,
                wire.shown(part.value),
                part.is_cut,
                part.was_seen,
                part.parts,
            )
            for part in explained.parts
        )
        return Explained(parts, explained.is_cut)

    async def translate(
        self, *, principal: Principal, subject: Subject, formula: str, to: Literal["ids", "names"]
    ) -> str:
        """See the contract."""
        table = await self._table(principal, subject)
        fields = () if table is None else table.fields
        by_name = {one.name: one.field_id for one in fields}
        by_id = {one.field_id: one.name for one in fields}
        try:
            if to == "names":
                return translating.to_names(formula, {str(field_id): name for field_id, name in by_id.items()})
            return translating.to_ids(formula, lambda name: by_name.get(name) or (name if name in by_id else None))
        except FormulaProblem as problem:
            raise _invalid(problem) from None

    async def field_names(self, *, principal: Principal, subject: Subject) -> tuple[tuple[str, str], ...]:
        """See the contract."""
        table = await self._table(principal, subject)
        own = [] if table is None else [(one.name, one.type) for one in table.fields]
        return (*own, *((name, str(kind)) for name, kind in subject.fields.items()))

    async def _table(self, principal: Principal, subject: Subject) -> Table | None:
        if subject.base_id is None or subject.table is None:
            return None
        base = await self._schema.get_base(principal=principal, base_id=subject.base_id)
        table = computing.with_computed(base).find_table(subject.table)
        if table is None:
            raise NotPermittedOrNotFound
        return table

    async def _prepared(
        self,
        principal: Principal,
        subject: Subject,
        formula: str,
        record_id: RecordId | None,
        values: Mapping[str, Any],
    ) -> tuple[Formula, list[Value]]:
        """The checked formula and the values of its inputs."""
        table = await self._table(principal, subject)
        try:
            found = await asyncio.to_thread(_checked, formula, subject, table)
        except FormulaProblem as problem:
            raise _invalid(problem) from None
        known: dict[tuple[str, tuple[str, ...]], Value] = {}
        if subject.base_id is not None and subject.table is not None and record_id is not None:
            asked = await self._records.formula_inputs(
                principal=principal, base_id=subject.base_id, table=subject.table, record_id=record_id, formula=formula
            )
            known = {(one.key, one.field_ids): wire.unpacked(one.value) for one in asked}
        for name, value in values.items():
            try:
                known[name, ()] = wire.given(value)
            except ValueError as error:
                raise InvalidRequest(reason=f'The value of "{name[:100]}" cannot be used: {error}.') from None
        now = evaluation.now()
        given: list[Value] = []
        for one in found.inputs:
            if one.key == checking.NOW:
                given.append(now)
            elif (one.key, one.field_ids) in known:
                given.append(known[one.key, one.field_ids])
            elif record_id is None and one.key in _REQUEST_INPUTS:
                raise InvalidRequest(reason=f"{one.key}() needs a record: give recordId.")
            else:
                given.append(None)
        return found, given

    async def _bounded(self, work: Callable[[], Result]) -> Result:
        """The result of some work in a thread of its own, while others are answered."""
        try:
            return await asyncio.to_thread(work)
        except EvaluationTooLarge:
            raise FormulaTooLarge(size=evaluation.SIZE_MAX) from None
        except EvaluationTooLong:
            raise FormulaTooSlow(time_s=self._settings.formula_time_s) from None


def _checked(formula: str, subject: Subject, table: Table | None) -> Formula:
    values = None if subject.values is None else _TYPES[subject.values]
    if table is None:
        given = {name: Known(name, name, _TYPES[kind]) for name, kind in subject.fields.items()}
        return checking.check(formula, Scope(given.get, lambda: tuple(given), values))
    scope = computing.scope_of(table)
    found = checking.check(formula, Scope(scope.find, scope.names, values))
    computing.check_inputs(found, table)
    return found


def _value(found: Formula, given: list[Value], ends_s: float) -> Value:
    return evaluation.cell(found, evaluation.compile(found).trace(given, ends_s=ends_s)[-1])


def _references(found: Formula) -> list[str]:
    beside = _REQUEST_INPUTS | {checking.NOW, checking.VALUES}
    watched = [field_id for one in found.inputs for field_id in one.field_ids]
    return list(dict.fromkeys([*(one.key for one in found.inputs if one.key not in beside), *watched]))


def _name(function: type[Function]) -> str:
    return function.__name__


def _invalid(problem: FormulaProblem) -> InvalidFormula:
    reason = f"{problem.message} (character {problem.start + 1})."
    if problem.suggestion is not None:
        reason = f"{reason[:-1]}, did you mean {problem.suggestion}?"
    return InvalidFormula(reason=reason)
