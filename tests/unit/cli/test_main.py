"""The command line: help everywhere, and one sentence with status 1 for everything that is wrong with a command."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pyat
from pyat.assembly import process
from pyat.cli.main import PORT_MAX, app, main
from pyat.foundation.errors import ServiceUnavailable

Pyat = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path) -> Pyat:
    """Run `pyat` in this process, in a home of its own; gives exit status (or sentence), output and error output."""
    for name in os.environ:
        if name.startswith("PYAT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYAT_HOME", str(place / "home"))

    def run(*words: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["pyat", *words])
        try:
            main()
        except SystemExit as end:
            return (end.code, *capsys.readouterr())
        return (0, *capsys.readouterr())

    return run


def groups() -> list[tuple[str, ...]]:
    """The words of every command and group of commands."""
    found: list[tuple[str, ...]] = [()]
    for name in app:
        if not name.startswith("-"):
            found.append((name,))
            found += [(name, inner) for inner in app[name] if not inner.startswith("-")]
    return found


@pytest.mark.parametrize("words", groups(), ids=" ".join)
def test_every_command_has_help(run: Pyat, words: tuple[str, ...]) -> None:
    status, shown, _ = run(*words, "--help")
    assert status == 0
    assert shown.startswith(f"Usage: pyat {' '.join(words)}".rstrip())
    assert "--no-" not in shown, "options have one form"
    assert "--empty-" not in shown, "options have one form"


def test_the_version(run: Pyat) -> None:
    assert run("--version")[1].strip() == pyat.__version__


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fly"], 'Unknown command "fly"'),
        (["token", "revoke"], "--token-id"),
        (["token", "create", "--nmae", "x"], "--nmae"),
        (["up", "--port", "abc"], "--port"),
        (["up", "--workers", "0"], "--workers is 0: give a number from 1 to 64."),
        (["up", "--workers", "2", "--processes"], "exclude each other"),
        (["up", "--port", "70000"], "PYAT_PORT cannot be used"),
        (["up", "--processes", "--port", str(PORT_MAX)], "set PYAT_PORT to a lower one"),
        (["serve", "nobody"], "There is no service nobody. There are: api_gateway"),
        (["serve", "auth"], "Set PYAT_DATABASE_URL, PYAT_VALKEY_URL, PYAT_INTERNAL_KEY first"),
    ],
)
def test_a_wrong_command_is_one_sentence(run: Pyat, words: list[str], sentence: str) -> None:
    said, shown, _ = run(*words)
    assert isinstance(said, str), "sys.exit prints it to the error output and ends with status 1"
    assert said.startswith("pyat: ")
    assert sentence in said
    assert "\n" not in said
    assert not shown


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ([], "airtable_gateway calls auth, schema, file: say where, with --at auth=http://HOST:PORT."),
        (["--at", "schema"], "--at schema does not fit"),
        (["--at", "schema=localhost:1"], "--at schema=localhost:1 does not fit"),
        (["--at", "auth=http://localhost:1"], "airtable_gateway calls schema, file: say where"),
    ],
)
def test_serve_asks_for_peers(run: Pyat, monkeypatch: pytest.MonkeyPatch, at: list[str], sentence: str) -> None:
    for name in ("PYAT_DATABASE_URL", "PYAT_VALKEY_URL", "PYAT_INTERNAL_KEY"):
        monkeypatch.setenv(name, "x" * 32)
    assert sentence in str(run("serve", "airtable_gateway", *at)[0])


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PYAT_PORT", "nought", "The setting PYAT_PORT cannot be used: "),
        ("PYAT_SAMPLE", "maybe", "The setting PYAT_SAMPLE cannot be used: "),
        ("PYAT_LOG_LEVEL", "loud", "The setting PYAT_LOG_LEVEL cannot be used: "),
        ("PYAT_RATE_LIMITS", "fast", "The setting PYAT_RATE_LIMITS cannot be used: "),
        ("PYAT_ADMIN_TOKEN_FILE", "/nowhere/token", "PYAT_ADMIN_TOKEN_FILE names /nowhere/token, which cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    run: Pyat, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    said = str(run("up")[0])
    assert sentence in said
    assert "\n" not in said


def test_a_setting_that_is_wrong_is_not_shown(run: Pyat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYAT_DATABASE_POOL_MAX", "hunter2hunter2")
    assert "hunter2" not in str(run("up")[0])


def test_a_declared_error_of_a_service_is_its_own_sentence(run: Pyat, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, object]:
        raise ServiceUnavailable

    monkeypatch.setattr(process, "openapi_document", refuse)
    said = run("export-openapi")[0]
    assert said == f"pyat: {ServiceUnavailable()}"


def test_a_fault_of_ours_is_not_hidden(run: Pyat, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, object]:
        raise KeyError("surprise")

    monkeypatch.setattr(process, "openapi_document", fail)
    with pytest.raises(KeyError, match="surprise"):
        run("export-openapi")


def test_the_document_goes_to_a_file(run: Pyat, tmp_path: Path) -> None:
    assert run("export-openapi", str(tmp_path / "openapi.json")) == (0, "", "")
    assert '"openapi": "3.1' in (tmp_path / "openapi.json").read_text()


def test_a_file_that_cannot_be_written_is_one_sentence(run: Pyat, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "openapi.json"
    assert run("export-openapi", str(missing))[0] == (
        f"pyat: {missing} cannot be written (No such file or directory): name another file."
    )


def test_nothing_runs_on_an_empty_home(run: Pyat) -> None:
    status, shown, _ = run("status")
    assert status == 1
    assert "PyAirtable does not run on" in shown
    assert "./start-all-services.sh" in shown
