"""The functions and operators as people look them up: signature, what it does, examples. All of it is their docstrings."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.functions.base import Function


@dataclass(frozen=True, slots=True)
class Example:
    """A formula and its value, written as in a docstring."""

    formula: str
    value: str


@dataclass(frozen=True, slots=True)
class Help:
    """What there is to know of a function or operator."""

    name: str
    category: str
    signature: str
    parameters: tuple[str, ...]
    summary: str
    text: str
    examples: tuple[Example, ...]
    is_operator: bool


@cache
def every() -> Mapping[str, Help]:
    """All of them by name, functions first, each in alphabetical order."""
    functions = {name: _help(name, FUNCTIONS[name]) for name in sorted(FUNCTIONS)}
    return functions | {name: _help(name, OPERATORS[name]) for name in sorted(OPERATORS)}


def signature_of(function: type[Function]) -> tuple[str, tuple[str, ...]]:
    """`ROUND(number, [precision])`, and its parameters as they stand there."""
    parameters = []
    for parameter in function.parameters:
        name = f"{parameter.name}, …" if parameter.is_repeated else parameter.name
        parameters.append(f"[{name}]" if parameter.is_optional else name)
    return f"{function.__name__}({', '.join(parameters)})", tuple(parameters)


def _help(name: str, function: type[Function]) -> Help:
    signature, parameters = signature_of(function)
    if function.is_operator:
        signature = f"-{parameters[0]}" if len(parameters) == 1 else f" {function.symbol} ".join(parameters)
    lines = (inspect.getdoc(function) or "").splitlines()
    examples = []
    prose = []
    following = iter(lines)
    for line in following:
        if line.startswith(">>> "):
            examples.append(Example(line[4:], next(following, "")))
        else:
            prose.append(line)
    text = "\n".join(prose).strip()
    summary = text.split("\n\n")[0].replace("\n", " ")
    return Help(name, function.category, signature, parameters, summary, text, tuple(examples), function.is_operator)
