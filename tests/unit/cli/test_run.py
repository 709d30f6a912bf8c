"""What `pyat run` gives to a program, and what it says where it cannot."""

import json
from pathlib import Path

import pytest

from pyat.assembly.embedded.home import Home
from pyat.cli.run import become, prepared
from pyat.foundation.settings import PlatformSettings
from pyat.redirect import environment

TOKEN = "pat00000000000001.aa"
URL = "http://127.0.0.1:8081"


@pytest.fixture
def settings(place: Path) -> PlatformSettings:
    """Of a home that has been started before."""
    made = PlatformSettings(home=place / "home")
    home = Home(made.home)
    home.prepare()
    home.keep_credentials({"token": TOKEN})
    home.keep_state({"url": "http://0.0.0.0:8081", "pid": 1})
    return made


@pytest.fixture
def running(settings: PlatformSettings) -> PlatformSettings:
    """Of a home on which a platform runs, at every address of the machine."""
    # The lock lives as long as what holds its descriptor, which is this process.
    Home(settings.home).lock(url="http://0.0.0.0:8081")
    return settings


def test_a_platform_that_runs_is_found_with_its_token(running: PlatformSettings) -> None:
    assert prepared(running, url=None, token=None, environ={"A": "b"}) == environment({"A": "b"}, url=URL, token=TOKEN)


def test_the_programs_own_token_and_the_one_given_win(running: PlatformSettings) -> None:
    own = prepared(running, url=None, token=None, environ={"AIRTABLE_API_KEY": "own"})
    assert own["AIRTABLE_API_KEY"] == "own"
    assert prepared(running, url=None, token="given", environ=own)["AIRTABLE_API_KEY"] == "given"


def test_another_platform_gets_no_token_of_this_home(running: PlatformSettings, settings: PlatformSettings) -> None:
    found = prepared(running, url="https://air.example/x/", token=None, environ={})
    assert found["AIRTABLE_ENDPOINT_URL"] == "https://air.example/x"
    assert "AIRTABLE_API_KEY" not in found


def test_the_running_one_may_be_named_too(running: PlatformSettings) -> None:
    assert prepared(running, url=f"{URL}/", token=None, environ={})["AIRTABLE_API_KEY"] == TOKEN


def test_without_a_platform(settings: PlatformSettings) -> None:
    with pytest.raises(
        ValueError, match=r"does not run on .*: start it with `pyat up`, or name a platform with --url\."
    ):
        prepared(settings, url=None, token=None, environ={})
    assert json.loads((settings.home / "state.json").read_text())["url"], (
        "what an earlier run left behind is no platform"
    )


@pytest.mark.parametrize(("command", "said"), [((), "Name the program"), (("no-such-program-here",), "cannot be run")])
def test_what_cannot_be_run(command: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        become(command, {})
