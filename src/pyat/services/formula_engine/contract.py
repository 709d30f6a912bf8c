"""What other services may see of formula_engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, RecordId

FIELDS_MAX = 500
"""Fields that are given with a formula."""

TypeName = Literal["number", "text", "date", "checkbox", "numbers", "texts", "dates"]


class InvalidFormula(AppError):
    """A formula that cannot be evaluated; `reason` says why and where."""

    code, status, template = "INVALID_FORMULA", 422, "The formula is invalid: {reason}"


class FormulaTooSlow(AppError):
    """A formula whose evaluation takes longer than it may."""

    code, status, template = "FORMULA_TOO_SLOW", 422, "Evaluating the formula takes longer than {time_s} s."


class FormulaTooLarge(AppError):
    """A formula whose parts make more text than may be held."""

    code, status, template = "FORMULA_TOO_LARGE", 422, "Evaluating the formula makes more than {size} characters."


@dataclass(frozen=True, slots=True)
class Subject:
    """What the names of a formula mean: the fields of a table, or fields that are given by name with their types.

    `values` is the type of a rollup's values, where the formula is one's.
    """

    base_id: BaseId | None = None
    table: str | None = None
    fields: Mapping[str, TypeName] = field(default_factory=dict)
    values: TypeName | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a formula is invalid. Positions count characters."""

    message: str
    start: int
    end: int
    suggestion: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of a formula before any record is read; of an invalid one, its problem alone."""

    problem: Problem | None
    type: str | None = None
    """`number`, `text`, `date`, `blank`, or `any` where it differs from record to record."""
    is_list: bool = False
    field_ids: tuple[FieldId, ...] = ()
    """What it refers to; names where fields were given."""
    functions: tuple[str, ...] = ()
    is_volatile: bool = False
    """Whether its value changes with time alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a formula with its value as a record shows it, and the places of its own parts in the list."""

    text: str
    start: int
    end: int
    name: str | None
    type: str
    is_list: bool
    value: Any
    is_cut: bool
    """Whether the value is longer than what is shown of it."""
    was_seen: bool
    """False for a branch that was not taken, which has no value."""
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Explained:
    """Parts of a formula, the whole one first; `is_cut` where some are left out because there are too many."""

    parts: tuple[Part, ...]
    is_cut: bool


class Formulas(Protocol):
    """Formulas for editors, chats and programs.

    Every method raises NotPermittedOrNotFound for a base or table that is not there or not the caller's.
    """

    async def check(self, *, principal: Principal, subject: Subject, formula: str) -> Checked:
        """Errors, type and references."""
        ...

    async def evaluate(
        self,
        *,
        principal: Principal,
        subject: Subject,
        formula: str,
        record_id: RecordId | None,
        values: Mapping[str, Any],
    ) -> Any:
        """The value as a record shows it, for a record, or for `values` of the given fields (see `pyat.formula.wire.given`).

        Raises InvalidFormula, FormulaTooSlow, FormulaTooLarge, InvalidRequest (values that are none), ModelNotFound (the record).
        """
        ...

    async def explain(
        self,
        *,
        principal: Principal,
        subject: Subject,
        formula: str,
        record_id: RecordId | None,
        values: Mapping[str, Any],
    ) -> Explained:
        """The value of every part of the formula. Raises as `evaluate`."""
        ...

    async def translate(
        self, *, principal: Principal, subject: Subject, formula: str, to: Literal["ids", "names"]
    ) -> str:
        """The formula with ids for the names of fields, or names for ids. Raises InvalidFormula."""
        ...

    async def field_names(self, *, principal: Principal, subject: Subject) -> tuple[tuple[str, str], ...]:
        """The names that a formula may refer to, each with the type of its field."""
        ...
