"""kill -9 under a bounded load of writes: no acknowledged write is lost, no retry doubles a record, back within 5 s."""

import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import call

WRITERS = 4
LOAD_S = 4.0
KILL_AFTER_S = 1.0
BACK_WITHIN_S = 5.0
RETRY_FOR_S = 20.0
WRITES_MAX = 2_000


@dataclass
class Writer:
    """Creates records, with and without a key, and upserts others; each has a name of its own. Remembers what was
    acknowledged."""

    number: int
    platform: Platform
    path: str
    until_s: float
    acknowledged: set[str] = field(default_factory=set)
    upserted: dict[str, int] = field(default_factory=dict)
    successes_s: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    _connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Write until the time is over. An unacknowledged create is given up; an upsert and one with a key are sent again."""
        try:
            self._write()
        finally:
            if self._connection is not None:
                self._connection.close()

    def _write(self) -> None:
        for turn in range(WRITES_MAX):
            if time.monotonic() > self.until_s:
                return
            name = f"create {self.number}-{turn}"
            if self._send("POST", {"records": [{"fields": {"Name": name, "Turn": turn}}]}):
                self.acknowledged.add(name)
            self._upsert(f"upsert {self.number}-{turn // 3}", turn)
            keyed = f"keyed {self.number}-{turn}"
            self._repeat("POST", {"records": [{"fields": {"Name": keyed, "Turn": turn}}]}, key=keyed)
            self.acknowledged.add(keyed)

    def _upsert(self, name: str, turn: int) -> None:
        fields = {"Name": name, "Turn": turn}
        self._repeat("PATCH", {"performUpsert": {"fieldsToMergeOn": ["Name"]}, "records": [{"fields": fields}]})
        self.upserted[name] = turn

    def _repeat(self, method: str, body: Any, *, key: str | None = None) -> None:
        deadline_s = time.monotonic() + RETRY_FOR_S
        while not self._send(method, body, key=key):
            assert time.monotonic() < deadline_s, f"{body} was never acknowledged: {self.refusals}"
            time.sleep(0.02)

    def _send(self, method: str, body: Any, *, key: str | None = None) -> bool:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, timeout=10)
        headers = {"authorization": f"Bearer {self.platform.token}", "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        try:
            self._connection.request(method, self.path if key is None else self.wide_path, json.dumps(body), headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.refusals[type(error).__name__] += 1
            self._connection.close()
            self._connection = None
            time.sleep(0.02)
            return False
        if response.status == 200:
            self.successes_s.append(time.monotonic())
            return True
        # While something restarts, the only answer is the declared one.
        kind = json.loads(answer)["error"]["type"]
        self.refusals[f"{response.status} {kind}"] += 1
        # A key may still be held by a transaction of the process that was killed.
        assert response.status == (409 if kind == "IDEMPOTENCY_KEY_BUSY" else 503), answer
        time.sleep(0.02)
        return False

    @property
    def wide_path(self) -> str:
        """The same table where keys are minded."""
        _, _, base_id, table_id = self.path.split("/")
        return f"/api/v1/bases/{base_id}/tables/{table_id}/records"


def new_table(platform: Platform) -> str:
    """The path of a new table; an autonumber shows that a failed request consumes none."""
    token = platform.token
    workspace = call("GET", f"{platform.url}/api/v1/workspaces", token=token).body["workspaces"][0]["id"]
    fields = [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Turn", "type": "number", "options": {"precision": 0}},
        {"name": "Number", "type": "autoNumber"},
    ]
    body = {"name": "Crash", "workspaceId": workspace, "tables": [{"name": "T", "fields": fields}]}
    base = call("POST", f"{platform.url}/v0/meta/bases", token=token, body=body).body
    return f"/v0/{base['id']}/{base['tables'][0]['id']}"


def all_records(platform: Platform, path: str) -> list[dict[str, Any]]:
    """Every record of the table."""
    records: list[dict[str, Any]] = []
    offset = ""
    while True:
        page = call("GET", f"{platform.url}{path}?offset={offset}", token=platform.token).body
        records += [record["fields"] for record in page["records"]]
        offset = page.get("offset", "")
        if not offset:
            return records


def check(platform: Platform, path: str, writers: list[Writer]) -> None:
    """What was acknowledged is there once, what was retried is there once, and numbers have no gaps."""
    records = all_records(platform, path)
    names = Counter(record["Name"] for record in records)
    assert not [name for name, count in names.items() if count > 1]
    for writer in writers:
        assert writer.acknowledged <= names.keys()
        last = {record["Name"]: record["Turn"] for record in records}
        assert {key: last.get(key) for key in writer.upserted} == writer.upserted
    assert sorted(record["Number"] for record in records) == list(range(1, len(records) + 1))


def load_with_kill(platform: Platform, name: str) -> None:
    """Writers at work, one kill in the middle, and everything checked afterwards."""
    path = new_table(platform)
    until_s = time.monotonic() + LOAD_S
    writers = [Writer(number, platform, path, until_s) for number in range(WRITERS)]
    failures: list[BaseException] = []

    def run(writer: Writer) -> None:
        try:
            writer.run()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(KILL_AFTER_S)
    killed_s = time.monotonic()
    platform.kill(name)
    for thread in threads:
        thread.join(LOAD_S + RETRY_FOR_S + 10)
        assert not thread.is_alive()
    assert not failures, failures
    successes_s = sorted(moment for writer in writers for moment in writer.successes_s)
    later_s = [moment - killed_s for moment in successes_s if moment > killed_s + 0.05]
    gaps_s = [after - before for before, after in zip([0.0, *later_s], later_s, strict=False)]
    assert later_s, f"no write was acknowledged after the kill: {platform.logs()}"
    assert max(gaps_s) < BACK_WITHIN_S, f"writes stood still for {max(gaps_s):.1f} s: {platform.logs()}"
    check(platform, path, writers)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with _platform(tmp_path_factory.mktemp("crash") / "home", "one-process") as started:
        yield started


@pytest.fixture(scope="module")
def many_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with _platform(tmp_path_factory.mktemp("crash") / "home", "processes") as started:
        yield started


def _platform(home: Path, mode: str) -> Platform:
    return Platform(home, mode=mode, env={"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"})


@pytest.mark.parametrize("name", ["platform", "postgres", "valkey"])
def test_one_process_survives_kill_9(one_process: Platform, name: str) -> None:
    load_with_kill(one_process, name)


@pytest.mark.parametrize("name", ["airtable_gateway", "schema", "auth", "api_gateway", "postgres"])
def test_many_processes_survive_kill_9(many_processes: Platform, name: str) -> None:
    load_with_kill(many_processes, name)


def test_a_killed_service_leaves_the_others_answering(many_processes: Platform) -> None:
    token = many_processes.token
    os.kill(many_processes.children()["airtable_gateway"]["pid"], signal.SIGSTOP)
    try:
        assert call("GET", f"{many_processes.url}/v0/meta/bases", token=token).status == 200
        assert call("GET", f"{many_processes.url}/v0/meta/whoami", token=token).status == 200
        ready = call("GET", f"{many_processes.url}/health/ready")
        assert ready.status == 503
        assert ready.body["services"]["airtable_gateway"]["ready"] is False
        assert ready.body["services"]["schema"]["ready"] is True
    finally:
        os.kill(many_processes.children()["airtable_gateway"]["pid"], signal.SIGCONT)


def test_a_killed_supervisor_is_replaced_by_a_new_start(tmp_path: Path) -> None:
    platform = _platform(tmp_path / "home", "one-process")
    platform.start()
    try:
        path = new_table(platform)
        made = call("POST", platform.url + path, token=platform.token, body={"fields": {"Name": "kept"}})
        assert made.status == 200
        before = platform.children()
        os.kill(platform.supervisor_pid, signal.SIGKILL)
        platform.wait()
        platform.start()
        assert [record["Name"] for record in all_records(platform, path)] == ["kept"]
        # The application of the killed supervisor ended with it; servers that it left may be taken over.
        after = platform.children()
        for name, child in before.items():
            if after[name]["pid"] != child["pid"]:
                _wait_until_gone(child["pid"])
        assert after["platform"]["pid"] != before["platform"]["pid"]
    finally:
        platform.stop()


def _wait_until_gone(pid: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} was left behind")
