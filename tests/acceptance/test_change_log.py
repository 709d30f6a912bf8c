"""The change log and links while everything is killed: nothing is missed, both sides of every link agree."""

import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import call

WRITERS = 4
LOAD_S = 8.0
KILL_EVERY_S = 1.3
WRITES_MAX = 1_500
SEED = 20_261_123
CATCH_UP_S = 20.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this module's own, since it is killed."""
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}
    with Platform(tmp_path_factory.mktemp("log"), env=env) as started:
        yield started


def new_base(platform: Platform) -> tuple[str, dict[str, str]]:
    """A base with the tables Own and Other, linked by `Others` and `Own`; field ids by name."""
    token = platform.token
    workspace = call("GET", f"{platform.url}/api/v1/workspaces", token=token).body["workspaces"][0]["id"]
    tables = [
        {
            "name": name,
            "fields": [
                {"name": "Name", "type": "singleLineText"},
                {"name": "Turn", "type": "number", "options": {"precision": 0}},
            ],
        }
        for name in ("Own", "Other")
    ]
    body = {"name": "Log", "workspaceId": workspace, "tables": tables}
    base = call("POST", f"{platform.url}/v0/meta/bases", token=token, body=body).body
    link = {
        "name": "Others",
        "type": "multipleRecordLinks",
        "options": {"linkedTableId": base["tables"][1]["id"]},
    }
    url = f"{platform.url}/v0/meta/bases/{base['id']}/tables"
    answer = call("POST", f"{url}/{base['tables'][0]['id']}/fields", token=token, body=link)
    assert answer.status == 200, answer.body
    tables = call("GET", url, token=token).body["tables"]
    return base["id"], {
        f"{table['name']}.{field['name']}": field["id"] for table in tables for field in table["fields"]
    }


class Writer:
    """Creates, updates, links and deletes records of both tables; only declared refusals may come back."""

    def __init__(self, platform: Platform, base_id: str, number: int, shared: list[list[str]]) -> None:
        self._platform = platform
        self._base = base_id
        self._dice = random.Random(SEED + number)
        self._shared = shared
        self.acknowledged = 0

    def run(self, until_s: float) -> None:
        for turn in range(WRITES_MAX):
            if time.monotonic() > until_s:
                return
            side = self._dice.randrange(2)
            table, linking = ("Own", "Others") if side == 0 else ("Other", "Own")
            mine, others = self._shared[side], self._shared[1 - side]
            chosen = self._dice.sample(others, min(len(others), self._dice.randrange(4)))
            what = self._dice.random()
            if what < 0.4 or len(mine) < 3:
                made = self._send("POST", table, {"fields": {"Name": f"{turn}", linking: chosen}})
                if made is not None:
                    mine.append(made["id"])
            elif what < 0.9:
                record_id = self._dice.choice(mine)
                self._send("PATCH", f"{table}/{record_id}", {"fields": {"Turn": turn, linking: chosen}})
            elif len(mine) > 10:
                record_id = mine.pop(self._dice.randrange(len(mine)))
                self._send("DELETE", f"{table}/{record_id}", None)

    def _send(self, method: str, path: str, body: Any) -> Any:
        url = f"{self._platform.url}/v0/{self._base}/{path}"
        try:
            answer = call(method, url, token=self._platform.token, body=body)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            return None
        if answer.status == 200:
            self.acknowledged += 1
            return answer.body
        # Somebody else has deleted what this one names, or a part of the platform is starting again.
        kind = answer.body["error"]["type"]
        assert kind in ("ROW_DOES_NOT_EXIST", "MODEL_ID_NOT_FOUND", "RETRIABLE_ERROR"), answer.body
        return None


def listed(platform: Platform, base_id: str, table: str) -> dict[str, dict[str, Any]]:
    """Every record of a table by its id, cells by field id."""
    found: dict[str, dict[str, Any]] = {}
    offset = ""
    while True:
        url = f"{platform.url}/v0/{base_id}/{table}?returnFieldsByFieldId=true&offset={offset}"
        page = call("GET", url, token=platform.token).body
        found |= {record["id"]: record["fields"] for record in page["records"]}
        offset = page.get("offset", "")
        if not offset:
            return found


def replayed(changes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records that the log adds up to; links as sets."""
    state: dict[str, dict[str, Any]] = {}
    for change in changes:
        record_id, cells = change["item"], change.get("cells", {})
        if change["type"] == "record.created":
            assert record_id not in state, "created once"
            state[record_id] = {key: value for key, value in _after(cells).items() if value not in ([], None)}
        elif change["type"] == "record.deleted":
            del state[record_id]
        elif change["type"] == "record.updated":
            own = state[record_id]
            for key, cell in cells.items():
                if "after" in cell:
                    own[key] = cell["after"]
                else:
                    kept = [item for item in own.get(key, []) if item not in cell.get("removed", ())]
                    own[key] = kept + [item for item in cell.get("added", ()) if item not in kept]
                if own[key] in (None, []):
                    del own[key]
    return state


def _after(cells: dict[str, Any]) -> dict[str, Any]:
    return {key: cell["after"] for key, cell in cells.items()}


def comparable(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Links compare as sets: the log says of the other side what came, not where."""
    return {
        record_id: {key: frozenset(cell) if isinstance(cell, list) else cell for key, cell in cells.items()}
        for record_id, cells in records.items()
    }


def test_killed_readers_and_writers_miss_nothing_and_links_agree(platform: Platform, tmp_path: Path) -> None:
    base_id, fields = new_base(platform)
    shared: list[list[str]] = [[], []]
    writers = [Writer(platform, base_id, number, shared) for number in range(WRITERS)]
    failures: list[BaseException] = []
    until_s = time.monotonic() + LOAD_S

    def run(writer: Writer) -> None:
        try:
            writer.run(until_s)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(writer,)) for writer in writers]
    journal = tmp_path / "journal"
    reader = start_reader(platform, base_id, journal)
    dice = random.Random(SEED)
    kills = 0
    try:
        for thread in threads:
            thread.start()
        while time.monotonic() < until_s - 1:
            time.sleep(KILL_EVERY_S)
            reader.kill()
            reader.wait()
            with contextlib.suppress(ProcessLookupError):
                platform.kill(dice.choice(("platform", "postgres", "platform")))
            kills += 1
            reader = start_reader(platform, base_id, journal)
        for thread in threads:
            thread.join(LOAD_S + 40)
            assert not thread.is_alive()
        assert not failures, failures
        last = caught_up(platform, base_id, journal)
    finally:
        reader.kill()
        reader.wait()
    assert kills >= 4
    assert sum(writer.acknowledged for writer in writers) > 50

    changes = [json.loads(line) for line in journal.read_text().splitlines()]
    # A reader keeps its place in the journal itself, so that it repeats nothing at all.
    assert [change["number"] for change in changes] == list(range(1, last + 1))
    own, other = listed(platform, base_id, "Own"), listed(platform, base_id, "Other")
    assert comparable(replayed(changes)) == comparable({**own, **other})
    here = {(record, item) for record, cells in own.items() for item in cells.get(fields["Own.Others"], ())}
    there = {(item, record) for record, cells in other.items() for item in cells.get(fields["Other.Own"], ())}
    assert here == there


def start_reader(platform: Platform, base_id: str, journal: Path) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "tests.acceptance.log_reader", platform.url, platform.token, base_id, str(journal)]
    return subprocess.Popen(words, env=os.environ)


def caught_up(platform: Platform, base_id: str, journal: Path) -> int:
    """Wait until the reader has everything; the number of the last change."""
    ends_s = time.monotonic() + CATCH_UP_S
    while True:
        assert time.monotonic() < ends_s, platform.logs()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = call("GET", f"{platform.url}/api/v1/bases/{base_id}/changes", token=platform.token)
            if answer.status == 200:
                last: int = answer.body["last"]
                lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
                if lines and lines[-1].endswith(b"\n") and json.loads(lines[-1])["number"] == last:
                    return last
        time.sleep(0.1)


def test_a_stream_can_be_resumed(platform: Platform) -> None:
    base_id, _ = new_base(platform)
    path = f"/api/v1/bases/{base_id}/changes"
    begun = call("GET", f"{platform.url}{path}", token=platform.token).body["last"]
    made = [
        call("POST", f"{platform.url}/v0/{base_id}/Own", token=platform.token, body={"fields": {"Name": str(turn)}})
        for turn in range(3)
    ]
    first = events(platform, f"{path}?after={begun}", {}, count=2)
    rest = events(platform, path, {"last-event-id": first[-1][0]}, count=1)
    assert [number for number, _ in first + rest] == [str(begun + turn) for turn in (1, 2, 3)]
    assert [change["item"] for _, change in first + rest] == [answer.body["id"] for answer in made]


def events(platform: Platform, path: str, headers: dict[str, str], *, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The first events of a stream: id and data."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)
    sent = {"authorization": f"Bearer {platform.token}", "accept": "text/event-stream", **headers}
    connection.request("GET", path, headers=sent)
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    found: list[tuple[str, dict[str, Any]]] = []
    number = ""
    while len(found) < count:
        line = response.readline().decode().rstrip("\n")
        if line.startswith("id: "):
            number = line[4:]
        elif line.startswith("data: "):
            found.append((number, json.loads(line[6:])))
    connection.close()
    return found
