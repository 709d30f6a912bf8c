"""The catalogue: what it names exists, its order is one of need, and looking at it loads no service."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyat.services
from pyat.assembly.catalog import BY_NAME, CATALOG, GATEWAY, NAMES, port_of, preparation_stamp, settings_classes
from pyat.foundation.rpc import methods_of
from pyat.foundation.web import Router


def test_every_service_is_in_the_catalogue() -> None:
    folders = {module.name for module in pkgutil.iter_modules(pyat.services.__path__)}
    assert set(NAMES) == folders
    assert len(NAMES) == len(set(NAMES))


def test_a_service_comes_after_those_it_needs() -> None:
    seen: set[str] = set()
    for entry in CATALOG:
        assert set(entry.needs) <= seen, f"{entry.name} needs what is built after it"
        seen.add(entry.name)


@pytest.mark.parametrize("name", BY_NAME)
def test_contract_and_operations_are_where_the_catalogue_says(name: str) -> None:
    assert methods_of(BY_NAME[name].protocol())
    assert BY_NAME[name].operations()


def test_all_operations_fit_one_router_and_have_names_of_their_own() -> None:
    operations = [operation for entry in CATALOG for operation in entry.operations()]
    Router(operations)
    names = [operation.name for operation in operations]
    assert len(names) == len(set(names))


def test_ports_are_the_charters_and_move_together() -> None:
    assert [port_of(name) for name in (GATEWAY, "auth", "airtable_gateway", "schema")] == [8080, 8081, 8093, 8094]
    assert len({port_of(name) for name in NAMES}) == len(NAMES)
    for name in NAMES:
        assert port_of(name, public_port=9000) - port_of(name) == 920


def test_the_settings_of_every_service_are_found() -> None:
    found = {kind.__name__ for kind in settings_classes()}
    assert {"AuthSettings", "GatewaySettings", "RecordsSettings", "SchemaSettings"} <= found
    assert "Settings" not in found


def test_the_stamp_changes_with_a_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "services" / "auth" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_first.sql").write_text("SELECT 1")
    layouts = tmp_path / "recordstore" / "layouts.py"
    layouts.parent.mkdir()
    layouts.write_text("one")
    monkeypatch.setattr(pyat, "__file__", str(tmp_path / "__init__.py"))
    first = preparation_stamp()
    assert preparation_stamp() == first
    layouts.write_text("one and two")
    assert preparation_stamp() != first
    (folder / "0002_second.sql").write_text("SELECT 2")
    second = preparation_stamp()
    (folder / "0002_second.sql").write_text("SELECT 3")
    third = preparation_stamp()
    monkeypatch.setattr(pyat, "__version__", "99.0.0")
    assert len({first, second, third, preparation_stamp()}) == 4


def loaded_by(code: str) -> set[str]:
    """The modules in memory after running `code` in a fresh interpreter."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.split())


HEAVY = {"aiohttp", "argon2", "asyncpg", "starlette", "structlog", "uvicorn", "valkey"}


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import pyat.assembly.supervise", {*HEAVY, "asyncio", "pydantic", "ssl"}),
        ("import pyat.cli.main", {*HEAVY, "asyncio", "pydantic", "rich.table"}),
        ("import pyat.assembly.plan", HEAVY),
        ("from pyat.assembly.catalog import *; settings_classes(); preparation_stamp()", HEAVY),
        (
            "from pyat.assembly.catalog import *; BY_NAME['schema'].operations()",
            {"pyat.services.auth.routes", "argon2"},
        ),
    ],
)
def test_a_start_loads_only_what_it_uses(code: str, never: set[str]) -> None:
    assert not loaded_by(code) & never
