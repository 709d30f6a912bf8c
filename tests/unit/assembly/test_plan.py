"""The plans of `pyat up`: processes, ports, arguments, and whether there is something to prepare."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pyat.assembly import plan
from pyat.assembly.catalog import CATALOG, GATEWAY, NAMES, port_of, preparation_stamp
from pyat.assembly.embedded.home import Home
from pyat.assembly.supervisor import Plan, ProcessSpec
from pyat.foundation.settings import PlatformSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose first start is over."""
    # The home notes where its parts lie, so whoever opens it by its path alone finds them there too.
    home = Home(tmp_path / "home", shared_root=tmp_path / "shared")
    home.prepare()
    (home.postgres / "data").mkdir(parents=True)
    home.keep_credentials({"email": "ann@example.org"})
    home.keep_prepared(preparation_stamp())
    return home


def make(home: Home, *, workers: int = 1, is_many: bool = False, **settings: Any) -> Plan:
    return plan.make(PlatformSettings(home=home.path, **settings), workers=workers, is_many=is_many)


def at(spec: ProcessSpec) -> dict[str, str]:
    """Where a process is told to look for its peers."""
    words = spec.argv[spec.argv.index("pyat.assembly.process") + 1 :]
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_one_process_runs_everything(home: Home) -> None:
    made = make(home, port=9000)
    (only,) = made.processes
    assert (only.name, only.port, only.argv) == ("platform", 9000, (sys.executable, "-m", "pyat.assembly.process"))
    assert (made.mode, made.url) == ("one-process", "http://127.0.0.1:9000")


def test_workers_share_one_port(home: Home) -> None:
    made = make(home, workers=3)
    assert [spec.name for spec in made.processes] == ["platform-1", "platform-2", "platform-3"]
    assert {(spec.host, spec.port) for spec in made.processes} == {("127.0.0.1", 8080)}
    assert made.mode == "workers"


def test_many_processes_know_each_other(home: Home) -> None:
    made = make(home, is_many=True, port=9000, host="0.0.0.0")
    assert made.mode == "processes"
    by_name = {spec.name: spec for spec in made.processes}
    assert set(by_name) == set(NAMES)
    for entry in CATALOG:
        spec = by_name[entry.name]
        assert (spec.host, spec.port) == ("127.0.0.1", port_of(entry.name, public_port=9000))
        assert at(spec) == {need: f"http://127.0.0.1:{by_name[need].port}" for need in entry.needs}
        assert not spec.is_entry
    gateway = by_name[GATEWAY]
    assert (gateway.host, gateway.port, gateway.is_entry) == ("0.0.0.0", 9000, True)
    assert set(at(gateway)) == {entry.name for entry in CATALOG}


def test_every_process_finds_its_connections_to_postgresql(home: Home) -> None:
    made = make(home, workers=4, database_pool_max=50)
    assert made.connections_max > 4 * 50


def test_ipv6_addresses_are_bracketed_in_urls(home: Home) -> None:
    assert make(home, host="::1").url == "http://[::1]:8080"


def test_a_prepared_home_prepares_nothing(home: Home) -> None:
    assert make(home).prepare is None


@pytest.mark.parametrize("missing", ["prepared", "credentials.json"])
def test_a_home_that_forgot_is_prepared(home: Home, missing: str) -> None:
    (home.path / missing).unlink()
    assert make(home).prepare is not None


def test_a_home_without_data_is_prepared(home: Home) -> None:
    (home.postgres / "data").rmdir()
    assert make(home).prepare is not None


def test_another_version_prepares(home: Home) -> None:
    home.keep_prepared("of another version")
    assert make(home).prepare is not None


@pytest.mark.parametrize(
    ("settings", "servers"),
    [
        ({"database_url": "postgresql://ann@db.example.org/pyat"}, (False, True)),
        ({"valkey_url": "redis://cache.example.org"}, (True, False)),
    ],
)
def test_an_external_server_is_looked_at_every_time(
    home: Home, settings: dict[str, Any], servers: tuple[bool, bool]
) -> None:
    made = make(home, **settings)
    assert made.prepare is not None
    assert (made.has_postgres, made.has_valkey) == servers


def test_a_wrong_setting_of_a_service_is_found_before_anything_starts(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYAT_RATE_LIMITS", "fast")
    with pytest.raises(ValidationError):
        make(home)


def test_the_highest_port() -> None:
    assert plan.highest_port(8080) == max(port_of(entry.name) for entry in CATALOG)
