"""The environment of a redirected program, and where its requests go."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyat import redirect
from pyat.redirect import NODE_FILE, PYTHON_FOLDER, checked_url, environment
from pyat.redirect.python import sitecustomize
from pyat.redirect.python.sitecustomize import Target

URL = "http://127.0.0.1:8080"


def test_what_is_set() -> None:
    current = {"PATH": "/bin"}
    changed = environment(current, url=URL, token="pat1.a")
    assert changed == {
        "PATH": "/bin",
        "AIRTABLE_ENDPOINT_URL": URL,
        "AIRTABLE_API_KEY": "pat1.a",
        "PYTHONPATH": str(PYTHON_FOLDER),
        "NODE_OPTIONS": f'--require "{NODE_FILE}"',
    }
    assert current == {"PATH": "/bin"}


def test_without_a_token_the_programs_own_stays() -> None:
    assert "AIRTABLE_API_KEY" not in environment({}, url=URL)
    assert environment({"AIRTABLE_API_KEY": "mine"}, url=URL)["AIRTABLE_API_KEY"] == "mine"


def test_what_was_set_before_stays() -> None:
    before = {"PYTHONPATH": os.pathsep.join(["one", "two"]), "NODE_OPTIONS": "--max-old-space-size=200"}
    once = environment(before, url=URL)
    assert once["PYTHONPATH"].split(os.pathsep) == [str(PYTHON_FOLDER), "one", "two"]
    assert once["NODE_OPTIONS"] == f'--require "{NODE_FILE}" --max-old-space-size=200'
    assert environment(once, url=URL) == once


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node_finds_the_file_in_a_folder_with_a_blank_and_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'a "b" \\c'
    folder.mkdir()
    monkeypatch.setattr(redirect, "NODE_FILE", Path(shutil.copy(NODE_FILE, folder)))
    finished = subprocess.run(
        ["node", "-e", "console.log(require('https').request.name, fetch.name)"],
        env=environment(os.environ, url=URL),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.stdout.split() == ["request", "fetch"], finished.stderr


@pytest.mark.parametrize(
    ("given", "url"),
    [(URL, URL), (f" {URL}/ ", URL), ("https://air.example/pre/fix/", "https://air.example/pre/fix")],
)
def test_urls_of_platforms(given: str, url: str) -> None:
    assert checked_url(given) == url


@pytest.mark.parametrize(
    "given",
    [
        "",
        "127.0.0.1:8080",
        "ftp://a.example",
        "http://",
        "http://a:b",
        "http://a.example:99999",
        "http://u:p@a.example",
        "http://a.example?x=1",
        "http://a.example/#x",
        "https://api.airtable.com",
        "https://CONTENT.airtable.com/v0",
    ],
)
def test_what_is_no_url_of_a_platform(given: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(given)} is "):
        checked_url(given)


@pytest.mark.parametrize(
    ("asked", "goes_to"),
    [
        ("https://api.airtable.com/v0/appX/T%2F1?a=%20b", "http://127.0.0.1:8080/v0/appX/T%2F1?a=%20b"),
        ("http://content.airtable.com/v0/a", "http://127.0.0.1:8080/v0/a"),
        ("HTTPS://AIRTABLE.com./oauth2/v1/token", "http://127.0.0.1:8080/oauth2/v1/token"),
        ("https://api.airtable.com:443", "http://127.0.0.1:8080"),
        ("https://xapi.airtable.com/v0/a", None),
        ("https://api.airtable.com.example/v0/a", None),
        ("https://example.com/?u=https://api.airtable.com/", None),
        ("ftp://api.airtable.com/v0", None),
        ("/v0/a", None),
        ("https://[", None),
    ],
)
def test_where_requests_go(asked: str, goes_to: str | None) -> None:
    assert Target(URL).url(asked) == goes_to


def test_a_prefix_comes_once() -> None:
    target = Target("https://air.example/behind/")
    assert target.url("https://api.airtable.com/v0/a") == "https://air.example/behind/v0/a"
    # pyairtable swaps only the host for its uploads.
    assert target.url("https://content.airtable.com/behind/v0/a") == "https://air.example/behind/v0/a"
    assert target.url("https://api.airtable.com/behindhand") == "https://air.example/behind/behindhand"


def test_both_files_know_the_same_hosts() -> None:
    node = re.search(r"HOSTS = new Set\(\[(.*)\]\)", NODE_FILE.read_text("utf-8"))
    assert node is not None
    assert set(re.findall(r"'([^']+)'", node[1])) == redirect.AIRTABLE_HOSTS == sitecustomize.HOSTS


@pytest.mark.parametrize("command", [[sys.executable, "-c", "print('ran')"], ["node", "-e", "console.log('ran')"]])
def test_a_url_that_cannot_be_used_is_told_and_the_program_runs(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip("Node is not installed")
    finished = subprocess.run(
        command, env=environment(os.environ, url="nonsense"), capture_output=True, text=True, timeout=30, check=False
    )
    assert finished.stdout.split() == ["ran"]
    assert "nothing is redirected: AIRTABLE_ENDPOINT_URL: nonsense is not the URL of a platform" in finished.stderr
