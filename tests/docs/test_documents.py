"""The documents as documents: links, commands, names of packages, the shape of decisions, the size of pages."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import pyat
from pyat.assembly.catalog import port_of
from pyat.cli.main import app
from pyat.recordstore.fieldtypes import REGISTRY
from tests.docs import facts
from tests.docs.commands import Shown, shown
from tests.docs.markdown import ROOT, code, documents, read

DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
_ADDRESS = re.compile(r"[a-z]+:")
_TREE = re.compile(r"(?:src|tests|docs|tools|requirements|benchmarks|\.ci)/[\w./-]*")
_SHOWN = list(dict.fromkeys(chain.from_iterable(shown(read(name)) for name in documents())))


# Links and names


@pytest.mark.parametrize("name", documents())
def test_links_resolve(name: str) -> None:
    document = read(name)
    broken = []
    for link in document.links:
        if _ADDRESS.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        if not target.exists() or (anchor and anchor not in read(target.relative_to(ROOT).as_posix()).slugs):
            broken.append(link)
    assert not broken, f"{name} links to what is not there: {', '.join(broken)}"


@pytest.mark.parametrize("name", documents())
def test_files_that_are_named_exist(name: str) -> None:
    missing = [span for span in read(name).spans if _TREE.fullmatch(span) and not (ROOT / span).exists()]
    assert not missing, f"{name} names what is not there: {', '.join(missing)}"


def test_the_index_names_every_page() -> None:
    index = read("docs/README.md")
    linked = {(index.path.parent / link).resolve() for link in index.links if not _ADDRESS.match(link)}
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {index.path.resolve()}
    assert sorted(page.name for page in pages - linked) == []


# Commands


@pytest.mark.parametrize("command", [c for c in _SHOWN if c.program in ("pyat", "start")], ids=str)
def test_commands_are_understood(command: Shown) -> None:
    """With its options a command has to be complete; without any, it only has to be one, or a group of some."""
    words = [word for word in command.words if word not in ("--help", "--version")]
    if command.program == "start":
        words = ["up", *words]
    known = {found.words for found in facts.commands()}
    groups = {found[:length] for found in known for length in range(len(found))}
    if tuple(words) not in known | groups:
        app.parse_args(words, exit_on_error=False, print_error=False)


def _stages() -> list[str]:
    script = (ROOT / "test-all-services.sh").read_text("utf-8")
    found = re.search(r'^all="([a-z ]+)"$', script, re.MULTILINE)
    assert found is not None, "the script names its stages in `all`"
    return found[1].split()


def _recipes() -> set[str]:
    return set(re.findall(r"^(\w+)(?: [^:=]*)?:", (ROOT / "justfile").read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("command", [c for c in _SHOWN if c.program in ("test", "just")], ids=str)
def test_stages_and_recipes_exist(command: Shown) -> None:
    if command.program == "test":
        assert set(command.words) <= set(_stages())
    else:
        assert command.words[0] in _recipes()
        if command.words[0] == "check":
            assert {word for word in command.words[1:] if word != "stage"} <= set(_stages())


def test_contributing_names_every_recipe_and_stage() -> None:
    document = read("CONTRIBUTING.md")
    named = {command.words[0] for command in shown(document) if command.program == "just"}
    assert named == _recipes() - {"default"}
    (stages,) = [line for line in document.text.splitlines() if line.startswith("Stages: ")]
    assert code(stages)[0].split() == _stages()


def test_the_script_names_its_own_stages() -> None:
    lines = (ROOT / "test-all-services.sh").read_text("utf-8").splitlines()
    assert f"# Stages: {' '.join(_stages())}" in lines


# Architecture


def test_the_architecture_is_one_page() -> None:
    assert len(read("ARCHITECTURE.md").text.splitlines()) <= 80


def test_the_code_map_is_the_tree() -> None:
    """Each layer below `pyat`, and each service, has a row; names of modules in a row are modules there."""
    rows = {code(row[0])[0]: (row[0], row[1]) for row in read("ARCHITECTURE.md").rows("package", "what it is")}
    source = ROOT / "src/pyat"
    layers = {f"pyat.{path.parent.name}" for path in source.glob("*/__init__.py")} - {"pyat.services"}
    services = {f"pyat.services.{path.parent.name}" for path in source.glob("services/*/__init__.py")}
    assert set(rows) == layers | services
    for package, (first, text) in rows.items():
        folder = ROOT / "src" / package.replace(".", "/")
        for name in code(text):
            there = folder / name
            is_command = name == "pyat"
            assert is_command or there.is_dir() or there.with_suffix(".py").exists(), f"{package} has no {name}"
        if package in services:
            assert f"({port_of(folder.name)})" in first, f"{package} has the port {port_of(folder.name)}"


def test_the_tree_of_the_readme_is_the_tree() -> None:
    rows = {row[0]: row[1] for row in read("README.md").rows("folder", "what is there")}
    (tests,) = [text for link, text in rows.items() if "(tests)" in link]
    kinds = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")} - {"support"}
    assert set(re.findall(r"\w+", tests)) == kinds


def test_the_readme_counts_the_field_types() -> None:
    counted = re.search(r"\[(\d+) types of fields\]", read("README.md").text)
    assert counted is not None
    assert int(counted[1]) == len(REGISTRY)


# Decisions


def test_decisions_are_numbered_in_a_row() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_one_page_with_three_parts(path: Path) -> None:
    document = read(path.relative_to(ROOT).as_posix())
    assert len(document.text.splitlines()) <= 60
    assert document.headings[0].startswith(f"{int(document.path.name[:4])}. ")
    parts = re.findall(r"^\*\*(\w+)\.\*\*", document.text, re.MULTILINE)
    assert parts == ["Context", "Decision", "Consequences"]


# Changelog


def test_the_changelog_has_the_current_version() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert told == pyat.__version__
    assert any(heading.split()[0] == told for heading in read("CHANGELOG.md").headings)
