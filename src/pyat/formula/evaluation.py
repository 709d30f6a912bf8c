"""Checked formulas as programs for Python: the meaning of the language, which compiled SQL has to match.

A program is a flat list of steps over registers, so no formula is too deep for it. IF and SWITCH are jumps.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pyat.formula.checking import Constant, Formula, Input, Scope, Typed, check
from pyat.formula.functions import OPERATORS
from pyat.formula.functions.base import Function, ParameterKind
from pyat.formula.moments import to_moment
from pyat.formula.types import TEXT, Kind, Type
from pyat.formula.values import ERROR, Error, Moment, Value, text_argument, to_boolean, to_number, to_text

Run: TypeAlias = Callable[..., Any]
Registers: TypeAlias = list[Any]
Step: TypeAlias = tuple[Run, int, tuple[int, ...]]
"""What runs, the register of its value, and those of its arguments; with a negative register it is a jump, see `_JUMP`."""

_JUMP: Final = -1
"""Steps with this register get all registers, and give the number of the step that is next."""


class _Unseen:
    """The type of UNSEEN."""

    def __repr__(self) -> str:
        return "UNSEEN"


UNSEEN: Final = _Unseen()
"""In a trace: the value of what was not computed, because another branch was taken."""


class EvaluationTooLong(Exception):
    """A formula took longer than it may."""


class EvaluationTooLarge(EvaluationTooLong):
    """A formula made more than `SIZE_MAX`."""


SIZE_MAX: Final = 50_000_000
"""Characters of texts and items of lists that an evaluation with an end makes: all of them are held until it ends."""


ENDS_S: Final[ContextVar[float]] = ContextVar("formulas_end_s", default=math.inf)
"""When `Program.run_until` ends, as `time.monotonic()` tells time."""


def now() -> Moment:
    """What NOW() is at this moment."""
    return Moment(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Program:
    """A formula that can be run for one record after another; `inputs` say which values `run` wants, in order."""

    inputs: tuple[Input, ...]
    constants: tuple[Value, ...]
    steps: tuple[Step, ...]
    result: int
    registers: Mapping[int, int]
    """By the position of a node in `Formula.nodes`: the register of its value."""
    blanks: tuple[None, ...]
    """The registers of values, before any is computed."""

    def run(self, values: Sequence[Value]) -> Value:
        """The value for a record. Never raises. About 0.3 µs a step."""
        registers: Registers = [*values, *self.constants, *self.blanks]
        steps, end, at = self.steps, len(self.steps), 0
        while at < end:
            run, out, slots = steps[at]
            at += 1
            if out < 0:
                at = run(registers)
            elif len(slots) == 2:
                registers[out] = run(registers[slots[0]], registers[slots[1]])
            else:
                registers[out] = run(*[registers[slot] for slot in slots])
        found: Value = registers[self.result]
        return found

    def run_until(self, values: Sequence[Value]) -> Value:
        """As `run`, with the bound that `ENDS_S` sets. Raises EvaluationTooLong."""
        ends_s = ENDS_S.get()
        return self.run(values) if ends_s == math.inf else self.trace(values, ends_s=ends_s)[-1]

    def trace(self, values: Sequence[Value], *, ends_s: float = math.inf) -> list[Any]:
        """The value of every node of the formula, in the order of `Formula.nodes`; UNSEEN for branches not taken.

        Raises EvaluationTooLong once `time.monotonic()` is past `ends_s`; one step takes some tenths of a second at most.
        Raises EvaluationTooLarge.
        """
        size = 0
        registers: Registers = [*values, *self.constants, *([UNSEEN] * len(self.blanks))]
        at = 0
        while at < len(self.steps):
            if time.monotonic() > ends_s:
                raise EvaluationTooLong
            run, out, slots = self.steps[at]
            at += 1
            if out < 0:
                at = run(registers)
            else:
                registers[out] = made = run(*[registers[slot] for slot in slots])
                if type(made) is str or type(made) is tuple:
                    size += len(made)
                    if size > SIZE_MAX:
                        raise EvaluationTooLarge
        return [registers[slot] for _, slot in sorted(self.registers.items())]


# Calls


def converted(kind: ParameterKind, value: Value) -> Value:
    """An argument as a parameter of that kind takes it; ERROR where it cannot be that."""
    if kind == "number":
        return to_number(value)
    if kind == "text":
        return text_argument(value)
    if kind == "date":
        return to_moment(value)
    return ERROR if type(value) is tuple and ERROR in value else value


def call(function: type[Function], count: int) -> Run:
    """A function of `count` written arguments, with their conversion and the rules about errors."""
    run: Run = function.run
    takes_infinite = function.takes_infinite
    if count + len(function.inputs) == 0 or function.takes_errors:
        return run
    kinds: list[ParameterKind] = [function.parameter(position).kind for position in range(count)]
    kinds += ["date"] * len(function.inputs)
    if takes_infinite and kinds == ["number", "number"]:

        def two_numbers(left: Value, right: Value) -> Value:
            first = left if type(left) is float else to_number(left)
            second = right if type(right) is float else to_number(right)
            if first is ERROR or second is ERROR:
                return ERROR
            made: Value = run(first, second)
            return made

        return two_numbers

    def any_arguments(*given: Value) -> Value:
        found = []
        for kind, value in zip(kinds, given, strict=True):
            made = converted(kind, value)
            if made is ERROR or (not takes_infinite and _is_infinite(made)):
                return ERROR
            found.append(made)
        result: Value = run(*found)
        return result

    on_numbers = function.on_numbers
    if on_numbers is None:
        return any_arguments

    def two_values(left: Value, right: Value) -> Value:
        if type(left) is float and type(right) is float and left - left == 0.0 and right - right == 0.0:
            return 1.0 if on_numbers(left, right) else 0.0
        return any_arguments(left, right)

    return two_values


def _is_infinite(value: Value) -> bool:
    if type(value) is float:
        return not math.isfinite(value)
    return type(value) is tuple and any(_is_infinite(item) for item in value)


def _same(value: Value) -> Value:
    return value


def _blank() -> None:
    return None


_EQUAL: Final = call(OPERATORS["="], 2)
"""What SWITCH compares with."""


# Compilation


@dataclass(slots=True)
class _Choice:
    """An IF or SWITCH on its way: where its value goes, and the steps that jump, whose targets are known later."""

    out: int
    is_switch: bool
    subject: int = -1
    tests: list[tuple[int, int]] = field(default_factory=list)
    """The step of each test, and the register of what it tests."""
    ends: list[int] = field(default_factory=list)
    """For each test: the step that leaves the choice after its branch."""


class _Compiler:
    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.inputs = {one: number for number, one in enumerate(formula.inputs)}
        constants = [node for node in formula.nodes if isinstance(node.source, Constant)]
        self.slots = {id(node): len(self.inputs) + number for number, node in enumerate(constants)}
        self.constants = [node.source.value for node in constants if isinstance(node.source, Constant)]
        self.blanks = 0
        self.steps: list[Step | None] = []
        self.done: list[int] = []
        """The registers of finished nodes whose call is not yet written."""
        self.work: list[Typed | Callable[[], None]] = [formula.root]

    def compile(self) -> Program:
        while self.work:
            item = self.work.pop()
            if isinstance(item, Typed):
                self._open(item)
            else:
                item()
        steps = [step for step in self.steps if step is not None]
        assert len(steps) == len(self.steps), "every jump got its target"
        return Program(
            self.formula.inputs,
            tuple(self.constants),
            tuple(steps),
            self.done[0],
            {number: self.slots[id(node)] for number, node in enumerate(self.formula.nodes)},
            (None,) * self.blanks,
        )

    def _register(self, node: Typed) -> int:
        slot = len(self.inputs) + len(self.constants) + self.blanks
        self.blanks += 1
        self.slots[id(node)] = slot
        return slot

    def _taken(self, count: int) -> tuple[int, ...]:
        start = len(self.done) - count
        found = tuple(self.done[start:])
        del self.done[start:]
        return found

    def _open(self, node: Typed) -> None:
        source = node.source
        if isinstance(source, Input):
            self.slots[id(node)] = self.inputs[source]
            self.done.append(self.inputs[source])
        elif isinstance(source, Constant):
            self.done.append(self.slots[id(node)])
        elif source.is_lazy:
            self._open_choice(node, is_switch=source.__name__ == "SWITCH")
        else:
            self.work.append(lambda: self._close(node, source))
            self.work.extend(reversed(node.arguments))

    def _close(self, node: Typed, function: type[Function]) -> None:
        slots = self._taken(len(node.arguments))
        out = self._register(node)
        self.steps.append((call(function, len(slots) - len(function.inputs)), out, slots))
        self.done.append(out)

    def _open_choice(self, node: Typed, *, is_switch: bool) -> None:
        choice = _Choice(self._register(node), is_switch)
        arguments = list(node.arguments)
        plan: list[Typed | Callable[[], None]] = []
        if is_switch:
            plan += [arguments.pop(0), lambda: self._set_subject(choice)]
        for tested, branch in zip(arguments[0::2], arguments[1::2], strict=False):
            plan += [tested, lambda: self._test(choice), branch, lambda: self._leave(choice)]
        has_default = len(arguments) % 2 == 1
        plan += arguments[-1:] if has_default else []
        plan.append(lambda: self._end(choice, has_default=has_default))
        self.work.extend(reversed(plan))

    def _set_subject(self, choice: _Choice) -> None:
        choice.subject = self.done.pop()

    def _test(self, choice: _Choice) -> None:
        choice.tests.append((len(self.steps), self.done.pop()))
        self.steps.append(None)

    def _leave(self, choice: _Choice) -> None:
        self.steps.append((_same, choice.out, (self.done.pop(),)))
        choice.ends.append(len(self.steps))
        self.steps.append(None)

    def _end(self, choice: _Choice, *, has_default: bool) -> None:
        self.steps.append((_same, choice.out, (self.done.pop(),)) if has_default else (_blank, choice.out, ()))
        after = len(self.steps)
        for (at, slot), end in zip(choice.tests, choice.ends, strict=True):
            if choice.is_switch:
                self.steps[at] = (
                    _jump_unless_equal(choice.subject, slot, choice.out, at + 1, end + 1, after),
                    _JUMP,
                    (),
                )
            else:
                self.steps[at] = (_jump_unless(slot, choice.out, at + 1, end + 1, after), _JUMP, ())
            self.steps[end] = (_jump(after), _JUMP, ())
        self.done.append(choice.out)


def _jump(target: int) -> Run:
    return lambda _: target


def _jump_unless(slot: int, out: int, then: int, otherwise: int, after: int) -> Run:
    def jump(registers: Registers) -> int:
        value = registers[slot]
        if type(value) is float and value - value == 0.0:
            return then if value else otherwise
        truth = to_boolean(value)
        if type(truth) is Error:
            registers[out] = ERROR
            return after
        return then if truth else otherwise

    return jump


def _jump_unless_equal(subject: int, slot: int, out: int, then: int, otherwise: int, after: int) -> Run:
    def jump(registers: Registers) -> int:
        truth = _EQUAL(registers[subject], registers[slot])
        if truth is ERROR:
            registers[out] = ERROR
            return after
        return then if truth else otherwise

    return jump


def compile(formula: Formula) -> Program:  # noqa: A001
    """The program of a checked formula. Cost: linear in its nodes."""
    return _Compiler(formula).compile()


# Fields


def result_type(formula: Formula) -> Type:
    """The type of a field with this formula: one of several kinds is text."""
    return TEXT if formula.type.kind in (Kind.ANY, Kind.BLANK) else formula.type


def cell(formula: Formula, value: Value) -> Value:
    """A value as a field with this formula holds it: text where the formula gives several kinds, no list with errors."""
    if type(value) is tuple and ERROR in value:
        return ERROR
    return value if value is None or formula.type.kind not in (Kind.ANY, Kind.BLANK) else to_text(value)


def evaluate(text: str, scope: Scope, values: Mapping[str, Value]) -> Value:
    """Check and run a formula once, with the values of its inputs by their keys. Raises FormulaProblem."""
    formula = check(text, scope)
    return compile(formula).run([values[one.key] for one in formula.inputs])
