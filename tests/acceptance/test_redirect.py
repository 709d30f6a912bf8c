"""Programs that hard-code Airtable's hosts, run by `pyat run` against a started platform, in one process and in many."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, call
from tests.acceptance.test_airtable_js import CLIENTS, _modules

PREFIX = "/behind/a/proxy"


@pytest.fixture(scope="module")
def base_id(platform: Platform, account: Account) -> str:
    """A base with the table that the programs use."""
    fields = [{"name": "Name", "type": "singleLineText"}, {"name": "Files", "type": "multipleAttachments"}]
    created = call(
        "POST",
        f"{platform.url}/v0/meta/bases",
        token=account.token,
        body={
            "name": "Hard-coded",
            "workspaceId": account.workspace_id,
            "tables": [{"name": "Things", "fields": fields}],
        },
    )
    assert created.status == 200, created.body
    return str(created.body["id"])


def _run(
    platform: Platform, *words: str, options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    given = {name: value for name, value in platform.env.items() if not name.startswith("AIRTABLE_")}
    return subprocess.run(
        [sys.executable, "-m", "pyat", "run", *options, "--", *words],
        env={**given, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _answer(finished: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _is_file_of(platform: Platform, file: dict[str, str]) -> None:
    """What was uploaded can be fetched from the platform under the URL in its cell."""
    assert file["filename"] == "hello.txt"
    assert file["url"].startswith(platform.url)
    assert call("GET", file["url"]).raw == b"hello, platform\n"


def test_python_programs_reach_the_platform(platform: Platform, account: Account, base_id: str) -> None:
    found = _answer(
        _run(platform, sys.executable, str(CLIENTS / "hard_coded.py"), base_id, options=("--token", account.token))
    )
    assert found["table"] == {"Name": "by the table"}
    assert {"by the table", "by the model"} <= set(found["names"])
    assert found["model"] == {"Name": "by the model"}
    assert found["uploaded"] == [1]
    assert found["by_model"] == ["hello.txt", "again.txt"]
    _is_file_of(platform, found["file"])
    who = call("GET", f"{platform.url}/v0/meta/whoami", token=account.token).body
    assert set(found["asked"]) == {"requests", "urllib3", "urllib", "http.client", "aiohttp", "httpx"}
    assert all(answer == who for answer in found["asked"].values()), found["asked"]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed; airtable.js cannot run")
@pytest.mark.skipif(
    _modules() is None, reason="airtable.js is not installed: run ./test-all-services.sh with npm on the PATH"
)
def test_node_programs_reach_the_platform(platform: Platform, account: Account, base_id: str) -> None:
    found = _answer(
        _run(
            platform,
            "node",
            str(CLIENTS / "hard_coded.test.cjs"),
            base_id,
            options=("--token", account.token),
            env={"NODE_PATH": str(_modules())},
        )
    )
    assert found["made"] == "by airtable.js"
    assert "by airtable.js" in found["names"]
    assert found["requested"] == "by a request"
    _is_file_of(platform, found["file"])
    who = call("GET", f"{platform.url}/v0/meta/whoami", token=account.token).body
    assert len(found["asked"]) == 8
    assert all(answer == who for answer in found["asked"].values()), found["asked"]


def test_the_homes_token_is_handed_over(platform: Platform) -> None:
    program = "import os; print(os.environ['AIRTABLE_API_KEY'])"
    finished = _run(platform, sys.executable, "-c", program)
    assert finished.stdout.strip() == platform.token
    own = _run(platform, sys.executable, "-c", program, env={"AIRTABLE_API_KEY": "my own"})
    assert own.stdout.strip() == "my own"


def test_a_token_never_goes_to_another_platform(platform: Platform) -> None:
    program = "import os; print(os.environ.get('AIRTABLE_API_KEY'))"
    finished = _run(platform, sys.executable, "-c", program, options=("--url", "http://127.0.0.1:9"))
    assert finished.stdout.strip() == "None"


def test_the_status_is_that_of_the_program(platform: Platform) -> None:
    assert _run(platform, sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_an_existing_sitecustomize_still_runs(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.was_here = __file__\n")
    program = "import sitecustomize, urllib.request; print(was_here, sitecustomize.__file__); print(urllib.request.OpenerDirector.open.__name__)"
    finished = _run(platform, sys.executable, "-c", program, env={"PYTHONPATH": str(tmp_path)})
    ours = str(tmp_path / "sitecustomize.py")
    assert finished.stdout.split() == [ours, ours, "opened"], finished.stderr


def test_other_hosts_are_left_alone(platform: Platform) -> None:
    """A host that only looks like one of Airtable's is asked itself: here there is none, so the name is not found."""
    program = (
        "import urllib.request, urllib.error\n"
        "for host in ('api.airtable.com.invalid', 'xapi.airtable.com.invalid'):\n"
        "    try:\n"
        "        urllib.request.urlopen(f'https://{host}/v0/meta/whoami', timeout=20)\n"
        "    except urllib.error.HTTPError as error:\n"
        "        print('answered', error.code)\n"
        "    except urllib.error.URLError as error:\n"
        "        print('unreachable')\n"
    )
    env = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    finished = _run(platform, sys.executable, "-c", program, env=env)
    assert finished.stdout.split() == ["unreachable", "unreachable"], finished.stderr
