"""The doctor finds what is wrong with a machine, and says what to do about it."""

import os
import resource
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyat.assembly.catalog import GATEWAY
from pyat.assembly.embedded.home import Home
from pyat.assembly.embedded.programs import postgres_package
from pyat.cli import doctor
from pyat.cli.doctor import Finding, findings, show
from pyat.foundation.settings import PlatformSettings


@pytest.fixture
def port() -> int:
    """A port that nobody uses, with free ones after it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 60_000)


@pytest.fixture
def settings(place: Path, port: int) -> PlatformSettings:
    """A home of its own, and a port."""
    return PlatformSettings(home=place / "home", port=port)


def troubles(settings: PlatformSettings) -> list[Finding]:
    """What is vital and wrong."""
    return [finding for finding in findings(settings) if finding.advice and finding.is_vital]


def trouble(settings: PlatformSettings) -> Finding:
    """The only one."""
    (found,) = troubles(settings)
    return found


def test_a_machine_that_can_run_the_tests_has_what_it_takes(
    settings: PlatformSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert troubles(settings) == []
    assert show(settings) == 0
    shown = capsys.readouterr().out
    assert "postgres (PostgreSQL) 18" in shown
    assert "Valkey server" in shown
    assert shown.endswith("Nothing is wrong.\n")


def test_a_taken_port(settings: PlatformSettings, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port))
        taken.listen()
        found = trouble(settings)
        assert found.what == f"Port {settings.port} ({GATEWAY})"
        assert "set PYAT_PORT" in found.advice
        assert show(settings) == 1
    assert "One thing has to be mended." in capsys.readouterr().out


def test_a_taken_port_of_another_service_is_a_note(settings: PlatformSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port + 1))
        taken.listen()
        (note,) = [finding for finding in findings(settings) if finding.advice]
    assert not note.is_vital
    assert note.advice.endswith("Only --processes needs it.")


def test_a_home_that_is_a_file(settings: PlatformSettings) -> None:
    settings.home.write_text("")
    assert "set PYAT_HOME" in trouble(settings).advice


def test_a_full_disk(settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    assert {finding.advice for finding in troubles(settings)} == {
        "Free at least 1 GiB there: a full disk stops every write."
    }


def test_a_clock_that_went_back(settings: PlatformSettings) -> None:
    home = Home(settings.home)
    home.prepare()
    home.keep_prepared("")
    tomorrow = time.time() + 86_400
    os.utime(home.path / "prepared", (tomorrow, tomorrow))
    assert trouble(settings).advice == "Files of this installation are from later than that: set the clock."


def test_too_few_files_and_too_little_memory(settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 256))
    monkeypatch.setattr(os, "sysconf", lambda name: 4096)
    advice = [finding.advice for finding in troubles(settings)]
    assert advice[0] == "Give this machine 1 GiB of memory or more."
    assert advice[1].startswith("Run `ulimit -n 1024` before the platform")


@pytest.mark.parametrize(
    ("setting", "url", "where"),
    [
        ("database_url", "postgresql://ann:secret@127.0.0.1:1/pyat", "PostgreSQL at 127.0.0.1:1"),
        ("database_url", "postgresql:///pyat?host=/nowhere", "PostgreSQL at /nowhere/.s.PGSQL.5432"),
        ("valkey_url", "redis://:secret@127.0.0.1:1/0", "Valkey at 127.0.0.1:1"),
        ("valkey_url", "unix:///nowhere/valkey.sock", "Valkey at /nowhere/valkey.sock"),
        ("valkey_url", "redis://127.0.0.1:many", "Valkey is external"),
    ],
)
def test_an_external_server_that_is_not_there(settings: PlatformSettings, setting: str, url: str, where: str) -> None:
    changed: dict[str, Any] = {"home": settings.home, "port": settings.port, setting: url}
    found = trouble(PlatformSettings(**changed))
    assert found.what == where
    assert f"PYAT_{setting.upper()}" in found.advice
    assert "secret" not in f"{found}"


def test_a_program_that_does_not_run(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'error while loading shared libraries: libfoo.so.1' >&2\nexit 127\n")
    program.chmod(0o755)
    package = postgres_package()
    broken = type(package)(package.name, tmp_path, ".", "postgres", package.setting)
    monkeypatch.setattr(doctor, "postgres_package", lambda: broken)
    found = trouble(settings)
    assert "libfoo.so.1" in found.advice
    assert "PYAT_DATABASE_URL" in found.advice


def test_a_platform_that_was_killed_is_a_note(settings: PlatformSettings) -> None:
    home = Home(settings.home)
    home.prepare()
    home.keep_state({"pid": 12345, "url": "http://127.0.0.1:1", "children": {}})
    notes = [finding for finding in findings(settings) if finding.advice]
    assert [note.what for note in notes] == ["PyAirtable ended without a farewell (process 12345)"]
    assert not notes[0].is_vital


def test_a_running_platform_with_a_process_in_a_loop(settings: PlatformSettings) -> None:
    home = Home(settings.home)
    home.prepare()
    home.keep_state({"pid": 1, "url": "u", "children": {"schema": {"trouble": "ended 7 times in a row"}}})
    home.lock()
    try:
        found = trouble(settings)
    finally:
        home.unlock()
    assert found.what == "schema ended 7 times in a row"
    assert str(home.logs / "schema.log") in found.advice
