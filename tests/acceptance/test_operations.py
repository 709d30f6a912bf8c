"""What an operator does with a platform: commands beside the running one, a stop, another start; and what the logs keep.

The tests of this file share one platform and follow its life: they run in order.
"""

import http.client
import json
import secrets
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyat.assembly.catalog import NAMES
from tests.acceptance.commands import log_texts, refusal, run
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Answer, call, new_table_fields

STOP_WITHIN_S = 10.0
PASSWORD = f"pass-{secrets.token_hex(12)}"
MARK = f"zq{secrets.token_hex(6)}"
"""In every cell value, name of a file and wrong input of these tests; it has no business in any log."""

Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that writes as much to its logs as can be asked for."""
    env = {"PYAT_ADMIN_PASSWORD": PASSWORD, "PYAT_LOG_LEVEL": "debug", "PYAT_LOG_REQUESTS": "1", "PYAT_SAMPLE": "0"}
    with Platform(tmp_path_factory.mktemp("operations") / "home", env=env) as started:
        yield started


@pytest.fixture(scope="module")
def base_id(home: Platform) -> str:
    """A base with a field of every type, in the table T."""
    body = {
        "name": f"Base {MARK}",
        "workspaceId": account_of(home, home.token).workspace_id,
        "tables": [{"name": "T", "fields": new_table_fields()}],
    }
    made = call("POST", f"{home.url}/v0/meta/bases", token=home.token, body=body)
    assert made.status == 200, made.body
    found: str = made.body["id"]
    return found


def whoami(home: Platform, token: str) -> int:
    return call("GET", f"{home.url}/v0/meta/whoami", token=token).status


# Beside the running platform


def test_status_shows_every_service(home: Platform) -> None:
    shown = home.command("status").stdout
    lines = {line.strip("│ ").split(" ")[0]: line for line in shown.splitlines() if "│" in line}
    assert home.url in shown
    for name in NAMES:
        assert "ready" in lines[name]
        assert str(home.port) in lines[name]
    for name in ("postgres", "valkey"):
        assert str(home.children()[name]["pid"]) in lines[name]


def test_the_doctor_finds_nothing_wrong(home: Platform) -> None:
    shown = home.command("doctor").stdout
    assert "Nothing is wrong." in shown
    assert home.url in shown


def test_a_second_start_says_that_the_first_one_runs(home: Platform) -> None:
    before = home.children()
    said = refusal(home, "up", env={"PYAT_PORT": str(home.port + 1)})
    assert len(said.strip().splitlines()) == 1, said
    assert "already runs" in said
    assert home.url in said
    assert str(home.supervisor_pid) in said
    assert home.children() == before
    assert whoami(home, home.token) == 200


def test_nothing_is_left_to_migrate(home: Platform) -> None:
    assert "Nothing to apply." in home.command("migrate").stdout


def test_a_token_is_made_listed_and_revoked(home: Platform, base_id: str) -> None:
    secret = home.command(
        "token", "create", "--name", "[script] one", "--scope", "data.records:read", "--base", base_id
    ).stdout.strip()
    url = f"{home.url}/v0/{base_id}/T"
    assert call("GET", url, token=secret).status == 200
    assert call("POST", url, token=secret, body={"fields": {}}).status == 403
    listed = run(home, "token", "list").stdout
    (line,) = [line for line in listed.splitlines() if "[script] one" in line]
    for told in (secret.partition(".")[0], "data.records:read", base_id):
        assert told in line
    assert secret.partition(".")[2] not in listed

    assert whoami(home, secret) == 200
    home.command("token", "revoke", secret.partition(".")[0])
    # The platform knew it until now, and refuses it from now on.
    assert whoami(home, secret) == 401
    assert call("GET", url, token=secret).status == 401
    assert refusal(home, "token", "revoke", secret.partition(".")[0]).startswith("pyat: ")


def test_an_organisation_sees_its_own_bases_alone(home: Platform, base_id: str) -> None:
    email = f"{MARK}@tenant.example"
    shown = home.command("tenant", "create", "Another one", "--admin-email", email).stdout
    told = {line.split()[0]: line.split()[-1] for line in shown.splitlines()}
    login = {"email": told["administrator"], "password": told["password"]}
    assert told["administrator"] == email
    assert call("POST", f"{home.url}/api/v1/auth/login", body=login).status == 200
    assert call("GET", f"{home.url}/v0/meta/bases", token=told["token"]).body == {"bases": []}
    assert call("GET", f"{home.url}/v0/{base_id}/T", token=told["token"]).status == 403
    workspaces = call("GET", f"{home.url}/api/v1/workspaces", token=told["token"]).body["workspaces"]
    assert [found["id"] for found in workspaces] == [told["workspace"]]


# Secrets and what people wrote


def make_noise(home: Platform, base_id: str) -> None:
    """Requests of every kind of success and failure, all of them with the mark in them."""
    url, token = f"{home.url}/v0/{base_id}/T", home.token
    texts = ("Name", "Notes", "Rich", "Email", "Site", "Phone")
    cells: dict[str, Any] = {**dict.fromkeys(texts, MARK), "Status": f"{MARK} choice", "Tags": [f"{MARK} tag"]}
    made = call("POST", url, token=token, body={"fields": cells, "typecast": True})
    assert made.status == 200, made.body
    record = f"{url}/{made.body['id']}"
    expected = {
        (422, "PATCH", record): {"fields": {"Amount": MARK}},
        (422, "PATCH", f"{record}?x={MARK}"): {"fields": {"Status": f"{MARK} not there"}},
        (422, "PUT", record): {"fields": {MARK: 1}},
        (422, "PATCH", url): {"records": [{"id": MARK, "fields": {"Name": MARK}}]},
        (422, "GET", f"{url}?sort[0][field]={MARK}"): None,
        (422, "GET", f"{url}?offset={MARK}"): None,
        (422, "GET", f"{url}?filterByFormula={MARK}"): None,
        (422, "GET", f"{url}?view={MARK}"): None,
        (403, "GET", f"{home.url}/v0/{base_id}/{MARK}"): None,
        (404, "GET", f"{home.url}/{MARK}"): None,
        (422, "POST", f"{home.url}/v0/meta/bases/{base_id}/tables"): {"name": MARK, "fields": [{"name": MARK}]},
        (401, "POST", f"{home.url}/api/v1/auth/login"): {"email": f"{MARK}@example.com", "password": MARK},
    }
    for (status, method, target), body in expected.items():
        assert call(method, target, token=token, body=body).status == status, target
    assert call("POST", url, token=token, raw=f'{{"fields": {{"{MARK}'.encode()).status == 422
    assert call("GET", url, token=f"pat{MARK}.{MARK}").status == 401
    assert call("GET", url, headers={"cookie": MARK, "x-api-key": MARK}).status == 401
    login = {"email": home.home.credentials()["email"], "password": PASSWORD}
    session = call("POST", f"{home.url}/api/v1/auth/login", body=login)
    assert session.status == 200
    assert call("POST", f"{home.url}/api/v1/auth/logout", token=session.body["token"]).status == 200


def break_and_write(home: Platform, base_id: str) -> None:
    """Writes with the mark while the servers are killed: failures in the middle of a statement."""
    url = f"{home.url}/v0/{base_id}/T"
    statuses: list[int] = []

    def write() -> None:
        rows = [{"fields": {"Name": MARK, "Notes": MARK * 200}} for _ in range(10)]
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            statuses.append(call("POST", url, token=home.token, body={"records": rows}).status)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    for name in ("valkey", "postgres"):
        home.kill(name)
    for thread in threads:
        thread.join(60)
    assert 200 in statuses
    assert set(statuses) <= {200, 503}
    deadline_s = time.monotonic() + 20
    while call("GET", url, token=home.token).status != 200:
        assert time.monotonic() < deadline_s, home.logs()
        time.sleep(0.05)


def kept_out(home: Platform) -> dict[str, str]:
    """What must never be in a log, by what it is."""
    own = home.home.secrets()
    return {"mark": MARK, "password": PASSWORD, "token": home.token.partition(".")[2], **own}


def test_no_secret_and_no_cell_value_gets_into_a_log(home: Platform, base_id: str) -> None:
    make_noise(home, base_id)
    break_and_write(home, base_id)
    logs = log_texts(home.home.path)
    assert "unexpected_error" not in logs["platform.log"]
    assert '"operation":"create_records"' in logs["platform.log"].replace(" ", ""), "requests are logged"
    assert logs["postgres.log"], "the kill was logged"
    for what, secret in kept_out(home).items():
        for name, text in logs.items():
            lines = [line for line in text.splitlines() if secret in line]
            assert not lines, f"{what} is in {name}: {lines[:3]}"


def test_no_secret_can_be_seen_from_outside(home: Platform) -> None:
    supervisor = psutil.Process(home.supervisor_pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        words = " ".join(process.cmdline())
        for what, secret in kept_out(home).items():
            assert secret not in words, f"{what} is in the command line of {process.name()}"
    for path in home.home.path.iterdir():
        if path.is_file() and path != home.output:
            text = path.read_text("utf-8", "replace")
            if any(secret in text for secret in kept_out(home).values()):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((home.home.path / "logs").stat().st_mode) == 0o700


# Its end, and its life afterwards


@pytest.fixture(scope="module")
def stopped(home: Platform, base_id: str) -> dict[str, Any]:
    """The platform stopped in the middle of its work: what was acknowledged until then, and how the stop went."""
    acknowledged: list[str] = []
    failures: list[str] = []

    def write(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", home.port, timeout=30)
        for turn in range(10_000):
            name = f"writer {number}-{turn}"
            try:
                answer = _post(connection, home, base_id, json.dumps({"fields": {"Name": name}}).encode())
            except (OSError, http.client.HTTPException):
                break
            if answer == 200:
                acknowledged.append(name)
            else:
                failures.append(f"{name}: {answer}")
        connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    # A request that the platform has begun to read when it is told to stop.
    body = json.dumps({"fields": {"Name": "in flight"}}).encode()
    late = http.client.HTTPConnection("127.0.0.1", home.port, timeout=30)
    late.putrequest("POST", f"/v0/{base_id}/T")
    late.putheader("authorization", f"Bearer {home.token}")
    late.putheader("content-length", str(len(body)))
    late.endheaders(body[:10])
    time.sleep(0.5)
    processes = [home.supervisor_pid, *(child["pid"] for child in home.children().values())]
    took: list[float] = []
    stopping = threading.Thread(target=lambda: took.append(home.stop()))
    stopping.start()
    time.sleep(0.7)
    late.send(body[10:])
    status = late.getresponse().status
    late.close()
    for thread in (stopping, *threads):
        thread.join(30)
    return {
        "processes": processes,
        "took_s": took[0],
        "in_flight": status,
        "acknowledged": acknowledged,
        "failures": failures,
    }


def _post(connection: http.client.HTTPConnection, home: Platform, base_id: str, body: bytes) -> int:
    connection.request("POST", f"/v0/{base_id}/T", body, {"authorization": f"Bearer {home.token}"})
    response = connection.getresponse()
    response.read()
    return response.status


def test_a_stop_finishes_what_is_under_way(home: Platform, stopped: dict[str, Any]) -> None:
    assert stopped["took_s"] < STOP_WITHIN_S
    assert home.wait() == 0
    assert stopped["in_flight"] == 200
    assert len(stopped["acknowledged"]) > 10
    assert stopped["failures"] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", home.port), timeout=5)
    assert not [pid for pid in stopped["processes"] if psutil.pid_exists(pid)]


def test_commands_work_while_nothing_runs(home: Platform, stopped: dict[str, Any]) -> None:
    assert "does not run" in refusal(home, "status")
    secret = home.command("token", "create", "--name", "made while stopped").stdout.strip()
    assert secret.startswith("pat")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", home.port))
        taken.listen()
        assert f"Port {home.port}" in refusal(home, "doctor")
        said = refusal(home, "up")
        assert len(said.strip().splitlines()) == 1, said
        assert f"Port {home.port}" in said
        assert "PYAT_PORT" in said
    stopped["secret"] = secret


def test_another_start_keeps_everything_and_makes_nothing_anew(
    home: Platform, base_id: str, stopped: dict[str, Any]
) -> None:
    kept = {name: (home.home.path / name).read_bytes() for name in ("credentials.json", "secrets.json", "prepared")}
    prepared = (home.home.path / "logs" / "prepare.log").stat()
    installed = _installed()
    home.start()
    assert {name: (home.home.path / name).read_bytes() for name in kept} == kept
    # Neither migrations nor the first start's work ran again, and no package came or went.
    after = (home.home.path / "logs" / "prepare.log").stat()
    assert (after.st_mtime_ns, after.st_size) == (prepared.st_mtime_ns, prepared.st_size)
    assert _installed() == installed
    assert whoami(home, home.token) == 200
    assert whoami(home, stopped["secret"]) == 200
    login = {"email": home.home.credentials()["email"], "password": PASSWORD}
    assert call("POST", f"{home.url}/api/v1/auth/login", body=login).status == 200

    names: list[str] = []
    offset = ""
    while True:
        page = call("GET", f"{home.url}/v0/{base_id}/T?fields[]=Name&offset={offset}", token=home.token).body
        names += [record["fields"].get("Name", "") for record in page["records"]]
        offset = page.get("offset", "")
        if not offset:
            break
    expected = {*stopped["acknowledged"], "in flight"}
    assert expected <= set(names)
    # A write that nobody heard of may be there too, once: that of each writer when the connection ended.
    others = [name for name in names if name.startswith("writer") and name not in expected]
    assert len(others) <= 3
    assert len([name for name in names if name in expected]) == len(expected)


def _installed() -> dict[str, int]:
    """The installed distributions and when they were."""
    finished = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {path.name: path.stat().st_mtime_ns for path in Path(finished.stdout.strip()).glob("*.dist-info")}


def test_the_logs_still_hold_no_secret(home: Platform) -> None:
    for what, secret in kept_out(home).items():
        for name, text in log_texts(home.home.path).items():
            lines = [line for line in text.splitlines() if secret in line]
            assert not lines, f"{what} is in {name}: {lines[:3]}"
