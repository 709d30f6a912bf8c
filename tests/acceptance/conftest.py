"""Started platforms for the acceptance tests: one in one process, one with a process for each service."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyairtable import Api

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, call

MODES = ("one-process", "processes")


@pytest.fixture(scope="session", params=MODES)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform without sample base, shared by all tests of a worker; nobody kills it."""
    home = tmp_path_factory.mktemp("home", numbered=True)
    with Platform(home, mode=request.param, env={"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}) as started:
        yield started


@pytest.fixture(scope="session")
def account(platform: Platform) -> Account:
    """The administrator of the first tenant."""
    return account_of(platform, platform.token)


def account_of(platform: Platform, token: str) -> Account:
    """Whose token it is, and a workspace of theirs."""
    who = call("GET", f"{platform.url}/v0/meta/whoami", token=token).body
    workspaces = call("GET", f"{platform.url}/api/v1/workspaces", token=token).body["workspaces"]
    return Account(token, who["id"], who["email"], workspaces[0]["id"])


@pytest.fixture
def api(platform: Platform, account: Account) -> Api:
    """pyairtable, with nothing changed but the URL."""
    return Api(account.token, endpoint_url=platform.url)


@pytest.fixture(scope="session")
def pyat(platform: Platform) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs the command `pyat` on the platform's home; fails the test when the command fails."""

    def run(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return platform.command(*words, cwd=cwd)

    return run
