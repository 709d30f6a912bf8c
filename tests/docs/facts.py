"""What the code says about itself: its errors, settings, commands, operations and bounds."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from cyclopts import App
from pydantic import SecretStr
from pydantic.fields import FieldInfo

import pyat
from pyat.assembly.catalog import CATALOG
from pyat.cli.main import app
from pyat.foundation.errors import AppError
from pyat.foundation.settings import PREFIX, Settings
from pyat.foundation.web import Operation


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the package, loaded."""
    names = sorted(module.name for module in pkgutil.walk_packages(pyat.__path__, "pyat."))
    return tuple(importlib.import_module(name) for name in names if not name.endswith(".__main__"))


@cache
def errors() -> tuple[type[AppError], ...]:
    """Every error of the platform; those that tests declare are not."""
    modules()
    return tuple(error for error in AppError.all() if error.__module__.startswith("pyat."))


def error(code: str) -> type[AppError]:
    """The error with that code."""
    return next(error for error in errors() if error.code == code)


def operations() -> Iterator[tuple[str, Operation]]:
    """Every public operation with the service that answers it."""
    for entry in CATALOG:
        for operation in entry.operations():
            yield entry.name, operation


# Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as an operator sees it."""

    variable: str
    default: str
    bounds: str
    meaning: str


@cache
def settings() -> tuple[Setting, ...]:
    """Every setting of every settings class."""
    modules()
    return tuple(
        Setting(
            f"{PREFIX}{name.upper()}",
            _default(field.default),
            _bounds(field),
            " ".join((field.description or "").split()),
        )
        for kind in _subclasses(Settings)
        if kind.__module__.startswith("pyat.")
        for name, field in kind.model_fields.items()
    )


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _default(value: Any) -> str:
    assert not isinstance(value, SecretStr), "a secret has no default"
    if value is None:
        return "unset"
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return "`1`" if value else "`0`"
    # Where the fraction is nought, people write none.
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    if words:
        return ", ".join(f"`{word}`" for word in words)
    if field.annotation is bool:
        return "`1` or `0`"
    least = most = ""
    for bound in field.metadata:
        if (low := getattr(bound, "ge", None)) is not None:
            least = f"{low}"
        if (low := getattr(bound, "gt", None)) is not None:
            least = f"over {low}"
        if (high := getattr(bound, "le", None)) is not None:
            most = f"{high}"
    return f"{least} to {most}" if least and most else least or most or "any"


# Commands


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter of a command, under the name that help shows first."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command of `pyat`, with its words after that."""

    words: tuple[str, ...]
    summary: str
    options: tuple[Option, ...]


def commands(within: App = app, words: tuple[str, ...] = ()) -> Iterator[Command]:
    """Every command that does something, in the order of `--help`."""
    for name in within:
        if name.startswith("-"):
            continue
        found = within[name]
        if found.default_command is None:
            yield from commands(found, (*words, name))
            continue
        options = []
        for argument in found.assemble_argument_collection():
            parameter = argument.field_info
            is_positional = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            option = argument.names[0].removeprefix("--").upper() if is_positional else argument.names[0]
            options.append(Option(option, _option_default(argument), argument.parameter.help or ""))
        summary = (found.help or "").strip().partition("\n")[0]
        yield Command((*words, name), summary, tuple(options))


def _option_default(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required or default is argument.field_info.empty:
        return "required"
    if default is None:
        return "none"
    return "off" if default is False else f"`{default}`"


# Bounds

_BYTES = {"bytes": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_NAMED_UNITS = {"_MS": 0.001, "_S": 1.0, "_H": 3600.0, "_KIB": 1024.0}


def quantity(text: str, name: str) -> float:
    """What a document writes as `16,384`, `6 MiB` or `90 s`, in the unit that the end of a constant's name tells."""
    number, _, word = text.partition(" ")
    factor = {**_BYTES, **_SECONDS}.get(word.partition(" ")[0], 1.0)
    own = next((unit for end, unit in _NAMED_UNITS.items() if name.endswith(end)), 1.0)
    return float(number.replace(",", "")) * factor / own


def constants() -> dict[str, float]:
    """Public bounds by their full names: module-level numbers with MAX in their names.

    Left out are the command line and the assembly, whose bounds no client and no data meets.
    """
    found: dict[str, float] = {}
    for module in modules():
        if module.__name__.startswith(("pyat.assembly", "pyat.cli")):
            continue
        for name, value in vars(module).items():
            is_bound = name.isupper() and "MAX" in name.split("_") and not name.startswith("_")
            if is_bound and isinstance(value, int | float) and f"\n{name}" in _source(module):
                found[f"{module.__name__}.{name}"] = float(value)
    return found


@cache
def _source(module: ModuleType) -> str:
    """Tells a module's own names from those that it imports: they begin a line."""
    assert module.__file__ is not None, f"{module.__name__} is a module with a file"
    return Path(module.__file__).read_text("utf-8")
