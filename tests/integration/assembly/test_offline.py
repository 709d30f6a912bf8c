"""Commands of the operator on a home whose platform runs, and on one where nothing does."""

from pathlib import Path

import pytest

from pyat.assembly.embedded.errors import AlreadyRunning, HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.offline import offline, servers
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.sql import Statement
from pyat.services.auth.contract import Auth


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command sets for its own process ends with the test."""
    for name in ("PYAT_DATABASE_URL", "PYAT_VALKEY_URL", "PYAT_INTERNAL_KEY"):
        monkeypatch.setenv(name, "")


async def test_servers_run_for_as_long_as_a_command_needs_them(home: Path) -> None:
    settings = PlatformSettings(home=home)
    async with offline(settings) as platform:
        assert Home(home).is_locked()
        auth: Auth = platform.contract("auth")
        account = await auth.create_account(
            email="ann@example.org", name="Ann", password="correct horse", tenant_name="Ann's"
        )
        assert await platform.resources.cache.is_ready()
    assert not Home(home).is_locked()
    async with offline(settings) as platform:
        assert (await platform.contract("auth").get_account(email="ann@example.org")) == account


async def test_migrations_that_are_missing_are_applied_first(home: Path) -> None:
    async with offline(PlatformSettings(home=home)) as platform:
        applied = await platform.resources.database.value(Statement("count", "SELECT count(*) FROM pyat.migrations"))
    assert applied > 0


def test_two_commands_do_not_start_the_same_servers(home: Path) -> None:
    with servers(PlatformSettings(home=home)) as (complete, _):
        assert complete.database_url is not None
        other = Home(home)
        with pytest.raises(AlreadyRunning, match="A command of PyAirtable"):
            other.lock()


def test_a_running_platforms_external_server_has_to_be_named(home: Path) -> None:
    running = Home(home)
    running.lock(url="http://127.0.0.1:8080")
    running.keep_state({"pid": 1, "url": "http://127.0.0.1:8080", "children": {"platform": {}, "valkey": {}}})
    try:
        with (
            pytest.raises(HomeError, match="set PYAT_DATABASE_URL to the same one"),
            servers(PlatformSettings(home=home)),
        ):
            pass
    finally:
        running.unlock()
