"""Rate limits at work: what a refusal looks like, and that the real clients wait and come through with every request."""

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyairtable import Api

from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Answer, call
from tests.acceptance.test_airtable_js import CLIENTS, _modules

USER_PER_S = 30
BASE_PER_S = 5
REFUSAL = {"error": {"type": "RATE_LIMIT_REACHED", "message": "Rate limit exceeded. Please try again later"}}
BURST_MAX = 500
"""Far more than a second's worth: a burst that has not been refused by then never is."""


def start(home: Path, **env: str) -> Platform:
    return Platform(home, env={"PYAT_SAMPLE": "0", **env})


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with low limits."""
    limits = {"PYAT_RATE_LIMIT_USER_PER_S": str(USER_PER_S), "PYAT_RATE_LIMIT_BASE_PER_S": str(BASE_PER_S)}
    with start(tmp_path_factory.mktemp("limited"), **limits) as started:
        yield started


def new_base(platform: Platform) -> str:
    """The id of a new base with the table T, of which nothing of the limit is used up."""
    body = {
        "name": "Limits",
        "workspaceId": account_of(platform, platform.token).workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "singleLineText"}]}],
    }
    made = call("POST", f"{platform.url}/v0/meta/bases", token=platform.token, body=body)
    assert made.status == 200, made.body
    base_id: str = made.body["id"]
    return base_id


def burst(platform: Platform, path: str) -> tuple[list[Answer], Answer]:
    """GET until the first refusal: the answers before it, and the refusal."""
    passed: list[Answer] = []
    for _ in range(BURST_MAX):
        answer = call("GET", platform.url + path, token=platform.token)
        if answer.status != 200:
            return passed, answer
        passed.append(answer)
    raise AssertionError("no request was refused")


def refusals(platform: Platform) -> float:
    """How many requests were refused since the platform started."""
    found = re.search(
        r'^pyat_rate_limited_total\{service="api_gateway"\} (\S+)$',
        call("GET", f"{platform.url}/metrics").body,
        re.MULTILINE,
    )
    return float(found[1]) if found else 0.0


def names(platform: Platform, base_id: str) -> list[str]:
    """What the table holds."""
    time.sleep(1)
    answer = call("GET", f"{platform.url}/v0/{base_id}/T", token=platform.token)
    assert answer.status == 200, answer.body
    return [record["fields"]["Name"] for record in answer.body["records"]]


def test_a_refusal_is_airtables_with_standard_headers(limited: Platform) -> None:
    base_id = new_base(limited)
    passed, refusal = burst(limited, f"/v0/{base_id}/T")
    assert len(passed) >= BASE_PER_S
    first = passed[0].headers
    assert (first["ratelimit-limit"], first["ratelimit-remaining"]) == (str(BASE_PER_S), str(BASE_PER_S - 1))
    assert "retry-after" not in first
    assert passed[-1].headers["ratelimit-remaining"] == "0"
    assert refusal.status == 429
    assert refusal.body == REFUSAL
    assert refusal.headers["retry-after"] == "1"
    assert refusal.headers["ratelimit-limit"] == str(BASE_PER_S)
    assert refusal.headers["ratelimit-remaining"] == "0"
    assert refusal.headers["ratelimit-reset"] == "1"
    assert refusal.headers["content-type"] == "application/json; charset=utf-8"
    assert refusal.headers["access-control-allow-origin"] == "*"
    assert refusal.headers["x-request-id"]


def test_a_bases_limit_leaves_other_bases_and_metadata_alone(limited: Platform) -> None:
    time.sleep(1)
    base_id, other_id = new_base(limited), new_base(limited)
    burst(limited, f"/v0/{base_id}/T")
    for path in (f"/v0/{other_id}/T", f"/v0/meta/bases/{base_id}/tables", "/v0/meta/whoami"):
        assert call("GET", limited.url + path, token=limited.token).status == 200


def test_a_refused_write_writes_nothing_and_passes_once_it_waited(limited: Platform) -> None:
    base_id = new_base(limited)
    url = f"{limited.url}/v0/{base_id}/T"
    acknowledged: Counter[int] = Counter()
    for number in range(BURST_MAX):
        body = {"fields": {"Name": str(number)}}
        answer = call("POST", url, token=limited.token, body=body)
        acknowledged[answer.status] += 1
        if answer.status == 429:
            break
    time.sleep(int(answer.headers["retry-after"]))
    assert call("POST", url, token=limited.token, body=body).status == 200
    assert names(limited, base_id) == [str(n) for n in range(acknowledged[200] + 1)]
    assert acknowledged.keys() == {200, 429}


def test_a_users_limit_counts_requests_of_every_kind(limited: Platform) -> None:
    time.sleep(1)
    passed, refusal = burst(limited, "/v0/meta/whoami")
    assert len(passed) >= USER_PER_S
    assert passed[-1].headers["ratelimit-limit"] == str(USER_PER_S)
    assert (refusal.status, refusal.body) == (429, REFUSAL)
    time.sleep(1)


def test_pyairtable_waits_and_succeeds(limited: Platform) -> None:
    base_id = new_base(limited)
    before = refusals(limited)
    table = Api(limited.token, endpoint_url=limited.url).table(base_id, "T")
    wanted = [f"py {number}" for number in range(3 * BASE_PER_S)]
    for name in wanted:
        assert table.create({"Name": name})["fields"] == {"Name": name}
    assert [record["fields"]["Name"] for page in table.iterate(page_size=5) for record in page] == wanted
    assert refusals(limited) > before


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed; airtable.js cannot run")
@pytest.mark.skipif(
    _modules() is None, reason="airtable.js is not installed: run ./test-all-services.sh with npm on the PATH"
)
def test_airtable_js_waits_and_succeeds(limited: Platform) -> None:
    base_id = new_base(limited)
    before = refusals(limited)
    node = shutil.which("node")
    assert node is not None
    env: dict[str, Any] = {
        **os.environ,
        "NODE_PATH": str(_modules()),
        "AIRTABLE_ENDPOINT_URL": limited.url,
        "AIRTABLE_API_KEY": limited.token,
        "BASE_ID": base_id,
        "TABLE_NAME": "T",
        "REQUESTS": str(BASE_PER_S + 3),
    }
    finished = subprocess.run(
        [node, str(CLIENTS / "retries.test.cjs")], env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    acknowledged = json.loads(finished.stdout.splitlines()[-1])["names"]
    assert acknowledged == [f"js {number}" for number in range(BASE_PER_S + 3)]
    assert sorted(names(limited, base_id)) == sorted(acknowledged)
    assert refusals(limited) > before


def test_airtables_own_limits_can_be_asked_for(tmp_path: Path) -> None:
    with start(tmp_path / "home", PYAT_RATE_LIMITS="airtable") as platform:
        path = f"/v0/{new_base(platform)}/T"
        passed, refusal = burst(platform, path)
        assert len(passed) >= 5
        assert (refusal.status, refusal.body) == (429, REFUSAL)
        assert refusal.headers["retry-after"] == "30"
        # Waiting a second is not enough: requests keep failing for half a minute.
        time.sleep(1)
        again = call("GET", platform.url + path, token=platform.token)
        assert again.status == 429
        assert 1 <= int(again.headers["retry-after"]) <= 29
