"""docs/compatibility.md against the code and the tests: nothing missing, nothing claimed that no test shows."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from pyat.foundation.web import Operation
from pyat.recordstore.fieldtypes import REGISTRY
from tests.docs import facts
from tests.docs.markdown import ROOT, Document, code, parse, read

PAGE = "docs/compatibility.md"
ENDPOINTS = ("endpoint", "status", "what to know", "tests")
TYPES = ("type", "status", "what to know", "tests")
SHOWN = ("same", "superset")
STATUSES = (*SHOWN, "not")

_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
_KIND = re.compile(r"\{(\w+):\w+\}")


def endpoint(operation: Operation) -> str:
    """Method and path as the page has them, without the kinds of ids."""
    path = _KIND.sub(r"{\1}", operation.path)
    return f"{operation.method} {path}"


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def problems(page: Document) -> list[str]:
    """What is wrong with the page, a line each."""
    endpoints = {endpoint(operation) for _, operation in facts.operations() if operation.path.startswith("/v0/")}
    found = _of_table(page, ENDPOINTS, endpoints)
    return found + _of_table(page, TYPES, set(REGISTRY))


def _of_table(page: Document, header: tuple[str, ...], existing: set[str]) -> list[str]:
    rows = page.rows(*header)
    names = Counter(name for row in rows for name in code(row[0]))
    found = [f"{name} has {count} rows" for name, count in names.items() if count > 1]
    found += [f"{name} has no row" for name in sorted(existing - names.keys())]
    for first, status, note, tests in rows:
        (name,) = code(first)
        if status not in STATUSES:
            found.append(f"{name} has the status {status}")
        if not note:
            found.append(f"{name} says nothing of what to know")
        if status in SHOWN and name not in existing:
            found.append(f"{name} is {status}, but the code has no such thing")
        named = code(tests)
        if status in SHOWN and not named:
            found.append(f"{name} is {status}, but no test shows it")
        if status == "not" and (named or tests != "none"):
            found.append(f"{name} is not there, but names tests")
        for test in named:
            match = _TEST.fullmatch(test)
            if match is None or match[2] not in _tests_in(ROOT / match[1]):
                found.append(f"{name} names {test}, which is no test")
    return found


def test_the_page_is_right() -> None:
    assert problems(read(PAGE)) == []


_WHOAMI = re.compile(r"\| `GET /v0/meta/whoami` \| same \| nothing \| [^|]*\|\n")
_ROW = "| `GET /v0/meta/whoami` | {} | {} | {} |\n"
_TESTED = "`tests/acceptance/test_pyairtable.py::test_the_token_says_who_it_is`"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("", "has no row"),
        (_ROW.format("same", "nothing", _TESTED) * 2, "has 2 rows"),
        (_ROW.format("similar", "nothing", _TESTED), "has the status similar"),
        (_ROW.format("same", "", _TESTED), "says nothing of what to know"),
        (_ROW.format("superset", "nothing", "none"), "is superset, but no test shows it"),
        (_ROW.format("not", "later", _TESTED), "is not there, but names tests"),
        (_ROW.format("same", "nothing", f"{_TESTED[:-1]}_not`"), "which is no test"),
        (_ROW.format("same", "nothing", "`tests/docs/test_none.py::test_a`"), "which is no test"),
        (
            _ROW.format("same", "nothing", _TESTED) + _ROW.replace("whoami", "who").format("same", "a", _TESTED),
            "no such",
        ),
    ],
)
def test_a_wrong_page_fails(row: str, said: str, tmp_path: Path) -> None:
    text, count = _WHOAMI.subn(row, read(PAGE).text)
    assert count == 1
    page = tmp_path / "compatibility.md"
    page.write_text(text, "utf-8")
    (problem,) = [problem for problem in problems(parse(page)) if problem not in problems(read(PAGE))]
    assert said in problem
