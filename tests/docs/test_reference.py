"""Every page of docs/reference against the code, in both directions: nothing missing, nothing stale, nothing wrong."""

import re
from collections import defaultdict
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import pytest

from pyat import redirect
from pyat.foundation.errors import AppError
from pyat.foundation.openapi import errors_of
from pyat.foundation.settings import PREFIX
from pyat.foundation.web import Operation
from pyat.recordstore import filters
from pyat.recordstore.fieldtypes import REGISTRY
from pyat.services.auth.contract import SCOPES
from pyat.services.schema.service import view_settings
from tests.docs import facts, markdown
from tests.docs.markdown import ROOT, check_rows, code, documents, parse, read

ERRORS = ("code", "type", "status", "message", "when, and what to do")
SETTINGS = ("variable", "default", "bounds", "meaning")
OTHER_VARIABLES = ("variable", "read by", "meaning")
COMMANDS = ("command", "what it does")
OPTIONS = ("option", "default", "meaning")
STAGES = ("stage", "what it runs")
OPERATIONS = ("operation", "method", "path", "scope", "summary")
PARAMETERS = ("parameter", "operations", "meaning")
OWN_ERRORS = ("operation", "errors of its own")
ASKED_SCOPES = ("scope", "asked for by")
FIELD_TYPES = ("type", "stored as", "primary field", "upsert key", "filled by")
WORDS = ("what", "words", "from")
OPERATORS = ("types", "operators")
VIEW_KINDS = ("kind", "settings it needs", "settings it may have")
MODES = ("value of", "mode")
BOUNDS = ("bound", "value", "from", "beyond it")

_VARIABLE = re.compile(r"\bPYAT_[A-Z][A-Z0-9_]*[A-Z0-9]\b")
_CODE = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
_PLACEHOLDERS = {"PYAT_NAME", "PYAT_NAME_FILE"}
"""Stand for any variable in the comments of the settings."""


# Errors


def error_facts(error: type[AppError]) -> tuple[str, ...]:
    """The cells of an error's row that the code determines."""
    message = "bare" if error.is_bare else "type alone" if error.template is None else f"`{error.template}`"
    return f"`{error.code}`", f"`{error.wire_type}`", str(error.status), message


def test_errors() -> None:
    check_rows(
        read("docs/reference/errors.md"), ERRORS, [error_facts(error) for error in facts.errors()], free=ERRORS[4:]
    )


@pytest.mark.parametrize("name", documents())
def test_errors_that_are_named_exist(name: str) -> None:
    known = set(chain.from_iterable((error.code, error.wire_type) for error in facts.errors()))
    named = {span for span in read(name).spans if _CODE.fullmatch(span) and not span.startswith(PREFIX)}
    variables = set(redirect.environment({}, url="http://a.example", token="pat"))
    assert sorted(named - known - variables) == []


def test_the_shapes_of_errors_are_real() -> None:
    shown = next(fence.text for fence in read("docs/reference/errors.md").fences if fence.info == "json")
    real = [error().body() for error in facts.errors() if error.template is None]
    real.append(facts.error("UNKNOWN_FIELD_NAME")(field="Nmae").body())
    for line in shown.splitlines():
        assert orjson.dumps(orjson.loads(line)) in real


# Settings


def test_settings() -> None:
    wanted = [(f"`{s.variable}`", s.default, s.bounds, s.meaning) for s in facts.settings()]
    check_rows(read("docs/reference/settings.md"), SETTINGS, wanted)


def _variables() -> set[str]:
    variables = {setting.variable for setting in facts.settings()}
    return variables | {f"{variable}_FILE" for variable in variables} | _PLACEHOLDERS


def test_variables_that_are_no_settings() -> None:
    """Whatever `PYAT_…` the code or a script speaks of is a setting, a setting's file, or in the table of the others."""
    paths = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").iterdir(), *ROOT.glob("*.sh"), *(ROOT / ".ci").iterdir()]
    spoken = set(chain.from_iterable(_VARIABLE.findall(path.read_text("utf-8")) for path in paths if path.is_file()))
    wanted = [(f"`{variable}`",) for variable in sorted(spoken - _variables())]
    check_rows(read("docs/reference/settings.md"), OTHER_VARIABLES, wanted, free=OTHER_VARIABLES[1:])


@pytest.mark.parametrize("name", documents())
def test_variables_that_are_named_exist(name: str) -> None:
    others = {code(row[0])[0] for row in read("docs/reference/settings.md").rows(*OTHER_VARIABLES)}
    assert sorted(set(_VARIABLE.findall(read(name).text)) - _variables() - others) == []


# Commands


def test_commands() -> None:
    wanted = [(f"`pyat {' '.join(command.words)}`", command.summary) for command in facts.commands()]
    check_rows(read("docs/reference/commands.md"), COMMANDS, wanted)


def test_every_command_has_a_section() -> None:
    headings = [heading for heading in read("docs/reference/commands.md").headings if heading.startswith("pyat ")]
    assert sorted(headings) == sorted(f"pyat {' '.join(command.words)}" for command in facts.commands())


@pytest.mark.parametrize("command", list(facts.commands()), ids=lambda command: " ".join(command.words))
def test_options(command: facts.Command) -> None:
    section = f"pyat {' '.join(command.words)}"
    wanted = [(f"`{option.name}`", option.default, option.meaning) for option in command.options]
    check_rows(read("docs/reference/commands.md"), OPTIONS, wanted, section=section)


def test_stages() -> None:
    script = (ROOT / "test-all-services.sh").read_text("utf-8")
    listed = re.search(r'^all="([a-z ]+)"$', script, re.MULTILINE)
    assert listed is not None, "the script names its stages in `all`"
    wanted = [(f"`{stage}`",) for stage in listed[1].split()]
    check_rows(read("docs/reference/commands.md"), STAGES, wanted, free=STAGES[1:])


# Operations


def operation_facts(operation: Operation) -> tuple[str, ...]:
    """The row of an operation."""
    scope = "no token" if operation.is_public else f"`{operation.scope}`" if operation.scope else "any token"
    path = re.sub(r":[a-z]{3}\}", "}", operation.path)
    return f"`{operation.name}`", operation.method, f"`{path}`", scope, operation.summary


def parameter_rows() -> list[tuple[str, ...]]:
    """Query parameters, each with the operations that take it."""
    takers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, operation in facts.operations():
        for parameter in operation.query:
            takers[f"`{parameter.name}`", parameter.description].append(f"`{operation.name}`")
    return [(name, ", ".join(names), meaning) for (name, meaning), names in takers.items()]


def own_errors(operation: Operation) -> str:
    """The codes that set an operation apart: those that its path, body and token do not bring along."""
    common = {error for _, other in facts.operations() for error in set(errors_of(other)) - set(other.errors)}
    return ", ".join(f"`{error.code}`" for error in operation.errors if error not in common)


def scope_rows() -> list[tuple[str, ...]]:
    """Every scope, with the operations that ask for it."""
    asking: dict[str, list[str]] = {scope: [] for scope in sorted(SCOPES)}
    for _, operation in facts.operations():
        if operation.scope is not None:
            asking[operation.scope].append(f"`{operation.name}`")
    return [(f"`{scope}`", ", ".join(names) or "no operation") for scope, names in asking.items()]


def test_operations() -> None:
    wanted = [operation_facts(operation) for _, operation in facts.operations()]
    check_rows(read("docs/reference/api.md"), OPERATIONS, wanted)
    for service, operation in facts.operations():
        if not operation.is_public:
            assert operation.is_metadata == (service not in ("airtable_gateway", "file")), (
                "the page says what counts for which rate limit"
            )


def test_parameters() -> None:
    """A parameter may mean different things to different operations, so rows are compared whole."""
    assert sorted(read("docs/reference/api.md").rows(*PARAMETERS)) == sorted(parameter_rows())


def test_errors_of_operations() -> None:
    wanted = [(f"`{o.name}`", own) for _, o in facts.operations() if (own := own_errors(o))]
    check_rows(read("docs/reference/api.md"), OWN_ERRORS, wanted)


def test_scopes() -> None:
    check_rows(read("docs/reference/api.md"), ASKED_SCOPES, scope_rows())


# Field types


def test_field_types() -> None:
    wanted = [
        (
            f"`{name}`",
            f"`{kind.pg_type}`",
            "yes" if kind.can_be_primary else "no",
            "yes" if kind.can_merge_on and not kind.is_computed else "no",
            "the platform" if kind.is_computed else "clients",
        )
        for name, kind in REGISTRY.items()
    ]
    check_rows(read("docs/reference/field-types.md"), FIELD_TYPES, wanted)


def test_every_field_type_has_a_section() -> None:
    """Types that behave alike share one; tests.docs.test_running runs its examples."""
    headings = read("docs/reference/field-types.md").headings
    assert sorted(chain.from_iterable(map(code, headings))) == sorted(REGISTRY)


def test_words_of_options() -> None:
    for what, words, source in read("docs/reference/field-types.md").rows(*WORDS):
        value = _named(source)
        # A mapping is shown as `name` (`format`), in turn.
        wanted = list(chain.from_iterable(value.items())) if isinstance(value, dict) else list(value)
        assert code(words) == wanted, what


# Views


def test_operators_of_filters() -> None:
    page = read("docs/reference/views.md")
    listed = {name: code(operators) for types, operators in page.rows(*OPERATORS) for name in code(types)}
    assert listed == {name: list(filters.operators_of(name)) for name in REGISTRY}
    assert sum(len(code(types)) for types, _ in page.rows(*OPERATORS)) == len(listed)


def test_modes_of_dates() -> None:
    days, periods = (code(modes) for _, modes in read("docs/reference/views.md").rows(*MODES))
    assert (days, periods) == (list(filters.DAYS), list(filters.PERIODS))


def test_kinds_of_views() -> None:
    wanted = [
        (f"`{kind}`", *(", ".join(f"`{key}`" for key in keys) or "none" for keys in view_settings.keys_of(kind)))
        for kind in view_settings.KINDS
    ]
    check_rows(read("docs/reference/views.md"), VIEW_KINDS, wanted)


# Bounds


def test_bounds_are_as_the_code_has_them() -> None:
    """`value` is what each constant or setting in `from` says; several of them say the same."""
    defaults = {setting.variable: setting.default.strip("`") for setting in facts.settings()}
    problems = []
    for bound, value, source, _ in read("docs/reference/limits.md").rows(*BOUNDS):
        for name in code(source):
            found = float(defaults[name]) if name in defaults else float(_named(f"`{name}`"))
            if facts.quantity(value, name) != found:
                problems.append(f"{bound}: the page says {value}, {name} says {found:,}")
    assert not problems, "\n".join(problems)


def test_every_bound_is_documented() -> None:
    named = set(chain.from_iterable(code(row[2]) for row in read("docs/reference/limits.md").rows(*BOUNDS)))
    missing = sorted(set(facts.constants()) - named)
    assert not missing, f"docs/reference/limits.md does not speak of {', '.join(missing)}"


def test_bounds_have_no_empty_cells() -> None:
    for row in read("docs/reference/limits.md").rows(*BOUNDS):
        assert all(row), f"docs/reference/limits.md: {row}"


def _named(source: str) -> Any:
    """The value of a constant by its full name, such as `pyat.recordstore.errors.RECORDS_PER_WRITE_MAX`."""
    module, _, name = code(source)[0].rpartition(".")
    return getattr(import_module(module), name)


# The checks themselves


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("| `AMBIGUOUS_UPSERT` |", "| `AMBIGUOUS_MERGE` |"), ["is missing:", "is of nothing:"]),
        (("| `NOT_FOUND` | 404 |", "| `NOT_FOUND` | 400 |"), ["is wrong:"]),
        (("| bare | No operation", "| type alone | No operation"), ["is wrong:"]),
    ],
)
def test_a_wrong_page_fails(
    change: tuple[str, str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = read("docs/reference/errors.md").text
    assert change[0] in text
    (tmp_path / "page.md").write_text(text.replace(*change), "utf-8")
    monkeypatch.setattr(markdown, "ROOT", tmp_path)
    wanted = [error_facts(error) for error in facts.errors()]
    with pytest.raises(AssertionError) as raised:
        check_rows(parse(tmp_path / "page.md"), ERRORS, wanted, free=ERRORS[4:])
    assert [word for word in ("is missing:", "is wrong:", "is of nothing:") if word in str(raised.value)] == said
