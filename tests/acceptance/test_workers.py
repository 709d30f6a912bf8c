"""Several application processes behind one port: whatever one has done, all the others know with the next request."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call

ROUNDS = 15
CONNECTIONS_MAX = 400
STORM_S = 5.0
STORM_WRITES_MAX = 600
UNKNOWN_FIELD, UNAVAILABLE = "UNKNOWN_FIELD_NAME", "RETRIABLE_ERROR"


class Connection:
    """One kept connection, and so one worker: it answers all that is sent here."""

    def __init__(self, platform: Platform) -> None:
        self._token = platform.token
        self._connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
        self.worker = ""
        self("GET", "/v0/meta/whoami")

    def __call__(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        """Send a request. Fails where another process than before answers, or none."""
        headers = {"authorization": f"Bearer {token or self._token}", "content-type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        answer = Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            json.loads(response.read()),
        )
        # Request ids are numbered by the process that gives them.
        worker = answer.headers["x-request-id"].rpartition("-")[0]
        assert worker == (self.worker or worker), "a connection stays with its worker"
        self.worker = worker
        return answer

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two workers."""
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}
    with Platform(tmp_path_factory.mktemp("workers"), mode="workers", env=env) as started:
        yield started


@pytest.fixture(scope="module")
def owner(workers: Platform) -> Account:
    return account_of(workers, workers.token)


@pytest.fixture
def pair(workers: Platform) -> Iterator[tuple[Connection, Connection]]:
    """A connection to each of the two workers."""
    found: dict[str, Connection] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            connection = Connection(workers)
            stack.callback(connection.close)
            found.setdefault(connection.worker, connection)
            if len(found) == 2:
                break
        first, second = found.values()
        yield first, second


def new_base(workers: Platform, owner: Account, *fields: dict[str, Any]) -> dict[str, Any]:
    """A base with one table, T."""
    body = {
        "name": "Workers",
        "workspaceId": owner.workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "singleLineText"}, *fields]}],
    }
    answer = call("POST", f"{workers.url}/v0/meta/bases", token=workers.token, body=body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


def number(name: str) -> dict[str, Any]:
    return {"name": name, "type": "number", "options": {"precision": 0}}


def select(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "options": {"choices": [{"name": "first"}]}}


def test_both_workers_answer_on_fresh_connections(workers: Platform) -> None:
    seen = Counter[str]()
    for _ in range(CONNECTIONS_MAX):
        answer = call("GET", f"{workers.url}/v0/meta/whoami", token=workers.token)
        seen[answer.headers["x-request-id"].rpartition("-")[0]] += 1
        if len(seen) == 2:
            break
    assert len(seen) == 2, seen
    assert {"platform-1", "platform-2"} <= workers.children().keys()


def test_records_are_read_after_write(workers: Platform, owner: Account, pair: tuple[Connection, Connection]) -> None:
    base = new_base(workers, owner, number("Turn"))
    path = f"/v0/{base['id']}/T"
    for turn in range(ROUNDS):
        one, other = pair if turn % 2 else pair[::-1]
        made = one("POST", path, {"fields": {"Name": "made", "Turn": turn}}).body
        assert other("GET", f"{path}/{made['id']}").body == made
        changed = other("PATCH", f"{path}/{made['id']}", {"fields": {"Name": "changed"}}).body
        assert one("GET", path).body["records"] == [changed]
        assert one("DELETE", f"{path}/{made['id']}").status == 200
        assert other("GET", path).body["records"] == []


def test_structure_is_read_after_write(workers: Platform, owner: Account, pair: tuple[Connection, Connection]) -> None:
    base = new_base(workers, owner, number("n0"))
    table = base["tables"][0]
    path, fields_path = f"/v0/{base['id']}/T", f"/v0/meta/bases/{base['id']}/tables/T/fields"
    turned = table["fields"][1]["id"]
    for turn in range(ROUNDS):
        one, other = pair if turn % 2 else pair[::-1]
        # Both know the structure as it is before.
        for connection in pair:
            assert connection("POST", path, {"fields": {f"n{turn}": turn}}).status == 200
        assert one("PATCH", f"{fields_path}/{turned}", {"name": f"n{turn + 1}"}).status == 200
        made = other("POST", path, {"fields": {f"n{turn + 1}": turn}})
        assert (made.status, made.body.get("fields")) == (200, {f"n{turn + 1}": turn})
        refused = other("POST", path, {"fields": {f"n{turn}": turn}})
        assert (refused.status, refused.body["error"]["type"]) == (422, UNKNOWN_FIELD)
        assert all(record["fields"].keys() == {f"n{turn + 1}"} for record in other("GET", path).body["records"])

        added = one("POST", fields_path, {"name": f"added {turn}", "type": "singleLineText"})
        assert added.status == 200
        assert other("POST", path, {"fields": {f"added {turn}": "x"}}).status == 200
        shown = other("GET", f"/v0/meta/bases/{base['id']}/tables").body["tables"][0]["fields"]
        assert shown[-1] == added.body
        for record in one("GET", path).body["records"]:
            one("DELETE", f"{path}/{record['id']}")


def test_new_tables_and_bases_are_there_at_once(
    workers: Platform, owner: Account, pair: tuple[Connection, Connection]
) -> None:
    base = new_base(workers, owner)
    for turn in range(ROUNDS):
        one, other = pair if turn % 2 else pair[::-1]
        # The other worker has just looked for it in vain.
        assert other("GET", f"/v0/{base['id']}/New%20{turn}").status == 403
        body = {"name": f"New {turn}", "fields": [{"name": "Name", "type": "singleLineText"}]}
        table = one("POST", f"/v0/meta/bases/{base['id']}/tables", body).body
        assert other("POST", f"/v0/{base['id']}/New%20{turn}", {"fields": {"Name": "x"}}).status == 200
        assert one("PATCH", f"/v0/meta/bases/{base['id']}/tables/{table['id']}", {"name": f"Old {turn}"}).status == 200
        assert other("GET", f"/v0/{base['id']}/New%20{turn}").status == 403
        assert len(other("GET", f"/v0/{base['id']}/Old%20{turn}").body["records"]) == 1
        made = new_base(workers, owner)
        for connection in pair:
            assert connection("GET", f"/v0/{made['id']}/T").body == {"records": []}


def test_choices_that_a_write_adds_are_choices_everywhere(
    workers: Platform, owner: Account, pair: tuple[Connection, Connection]
) -> None:
    base = new_base(workers, owner, select("Status", "singleSelect"))
    path = f"/v0/{base['id']}/T"
    for turn in range(ROUNDS):
        one, other = pair if turn % 2 else pair[::-1]
        cells = {"Status": f"choice {turn}"}
        assert other("POST", path, {"fields": cells}).status == 422
        assert one("POST", path, {"fields": cells, "typecast": True}).status == 200
        assert other("POST", path, {"fields": cells}).body["fields"] == cells
        assert other("POST", path, {"fields": cells, "typecast": True}).body["fields"] == cells
    options = pair[0]("GET", f"/v0/meta/bases/{base['id']}/tables").body["tables"][0]["fields"][1]["options"]
    assert [choice["name"] for choice in options["choices"]] == ["first", *(f"choice {n}" for n in range(ROUNDS))]


def test_a_revoked_token_is_refused_by_every_worker_at_once(pair: tuple[Connection, Connection]) -> None:
    for turn in range(ROUNDS):
        one, other = pair if turn % 2 else pair[::-1]
        body = {"name": f"short {turn}", "scopes": ["data.records:read"]}
        token = one("POST", "/api/v1/auth/tokens", body).body
        for connection in pair:
            assert connection("GET", "/v0/meta/whoami", token=token["token"]).status == 200
        assert one("DELETE", f"/api/v1/auth/tokens/{token['id']}").status == 200
        answers = [connection("GET", "/v0/meta/whoami", token=token["token"]) for connection in (other, one)]
        assert [answer.status for answer in answers] == [401, 401]


def test_a_session_that_ended_is_refused_by_every_worker_at_once(
    workers: Platform, pair: tuple[Connection, Connection]
) -> None:
    known = workers.home.credentials()
    body = {"email": known["email"], "password": known["password"]}
    for one, other in (pair, pair[::-1]):
        session = one("POST", "/api/v1/auth/login", body).body["token"]
        for connection in pair:
            assert connection("GET", "/v0/meta/whoami", token=session).status == 200
        assert one("POST", "/api/v1/auth/logout", token=session).status == 200
        for connection in (other, one):
            assert connection("GET", "/v0/meta/whoami", token=session).status == 401


def test_an_offset_works_on_every_worker(
    workers: Platform, owner: Account, pair: tuple[Connection, Connection]
) -> None:
    path = f"/v0/{new_base(workers, owner, number('n'))['id']}/T"
    for start in range(0, 30, 10):
        rows = [{"fields": {"n": start + step}} for step in range(10)]
        assert pair[0]("POST", path, {"records": rows}).status == 200
    found: list[int] = []
    offset = ""
    for turn in range(10):
        page = pair[turn % 2]("GET", f"{path}?pageSize=3&sort[0][field]=n&sort[0][direction]=desc&offset={offset}").body
        found += [record["fields"]["n"] for record in page["records"]]
        offset = page.get("offset", "")
    assert found == list(range(29, -1, -1))
    assert offset == ""


@dataclass
class Storm:
    """Writers and changers of structure at the same time, on connections of their own, and what they were told."""

    workers: Platform
    base: dict[str, Any]
    until_s: float = field(default_factory=lambda: time.monotonic() + STORM_S)
    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Acknowledged cells by record id, by field id."""
    refused: Counter[str] = field(default_factory=Counter)
    unacknowledged: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    """The latest name of each renamed field, by its id."""
    changes: Counter[str] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/v0/{self.base['id']}/T"

    @property
    def fields_path(self) -> str:
        return f"/v0/meta/bases/{self.base['id']}/tables/T/fields"

    def run(self, *jobs: Callable[[Connection], None]) -> None:
        """Every job in a thread until the time is over."""

        def guarded(job: Callable[[Connection], None]) -> None:
            connection = Connection(self.workers)
            try:
                job(connection)
            except BaseException as error:
                self.failures.append(error)
                raise
            finally:
                connection.close()

        threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(STORM_S + 40)
            assert not thread.is_alive()
        assert not self.failures, self.failures

    def rename(self, field_id: str, prefix: str) -> Callable[[Connection], None]:
        """Renames a field again and again, never twice to the same name."""

        def job(connection: Connection) -> None:
            turn = 0
            while time.monotonic() < self.until_s:
                turn += 1
                answer = connection("PATCH", f"{self.fields_path}/{field_id}", {"name": f"{prefix}{turn}"})
                self._count("rename", answer)
                if answer.status == 200:
                    self.names[field_id] = f"{prefix}{turn}"
                time.sleep(0.01)

        return job

    def add_fields(self, connection: Connection) -> None:
        """Adds fields, some of which number the records there are."""
        for turn in range(40):
            if time.monotonic() > self.until_s:
                return
            kind = {"type": "autoNumber"} if turn % 10 == 9 else {"type": "checkbox", "options": _CHECKBOX}
            self._count("add", connection("POST", self.fields_path, {"name": f"more {turn}", **kind}))
            time.sleep(0.05)

    def _count(self, what: str, answer: Answer) -> None:
        assert answer.status == 200 or answer.status == 503, answer.body
        self.changes[f"{what} {answer.status}"] += 1

    def write(self, number: int) -> Callable[[Connection], None]:
        """Creates and updates records by the fields' names of the moment; each cell says which field it is meant for."""

        def job(connection: Connection) -> None:
            left, right = (self.base["tables"][0]["fields"][place]["id"] for place in (1, 2))
            status, tags = (self.base["tables"][0]["fields"][place]["id"] for place in (3, 4))
            record_id = ""
            for turn in range(STORM_WRITES_MAX):
                if time.monotonic() > self.until_s:
                    return
                mark = f"{number}-{turn}"
                cells = {
                    left: f"left {mark}",
                    right: f"right {mark}",
                    status: f"status {number}-{turn // 8}",
                    tags: [f"tag {number}-{turn // 8}", f"tag {turn // 8}"],
                }
                named = {
                    "Name": mark,
                    self.names[left]: cells[left],
                    self.names[right]: cells[right],
                    "Status": cells[status],
                    "Tags": cells[tags],
                }
                body = {"fields": named, "typecast": True, "returnFieldsByFieldId": True}
                is_update = bool(record_id) and turn % 3 == 0
                if is_update:
                    answer = connection("PATCH", f"{self.path}/{record_id}", body)
                else:
                    answer = connection("POST", self.path, body)
                if answer.status == 200:
                    record_id = answer.body["id"]
                    assert {key: answer.body["fields"].get(key) for key in cells} == cells
                    self.written[record_id] = cells
                else:
                    kind = answer.body["error"]["type"]
                    self.refused[kind] += 1
                    # The name was taken away meanwhile, or the structure changed all the time: nothing else may happen.
                    assert kind in (UNKNOWN_FIELD, UNAVAILABLE), answer.body
                    self.unacknowledged.add(mark)

        return job


_CHECKBOX = {"icon": "check", "color": "greenBright"}


def test_no_write_is_misapplied_while_the_structure_changes(workers: Platform, owner: Account) -> None:
    base = new_base(
        workers,
        owner,
        {"name": "left 0", "type": "singleLineText"},
        {"name": "right 0", "type": "singleLineText"},
        select("Status", "singleSelect"),
        select("Tags", "multipleSelects"),
        {"name": "Number", "type": "autoNumber"},
    )
    left, right = (base["tables"][0]["fields"][place]["id"] for place in (1, 2))
    storm = Storm(workers, base, names={left: "left 0", right: "right 0"})
    storm.run(storm.rename(left, "left "), storm.rename(right, "right "), storm.add_fields, *map(storm.write, range(4)))
    told = f"{len(storm.written)} records, refused {storm.refused}, changes {storm.changes}"
    assert len(storm.written) > 20, told
    assert storm.changes["rename 200"] > 5, told
    assert storm.changes["add 200"] > 5, told

    records: list[dict[str, Any]] = []
    offset = ""
    while True:
        url = f"{workers.url}{storm.path}?returnFieldsByFieldId=true&offset={offset}"
        page = call("GET", url, token=workers.token).body
        records += page["records"]
        offset = page.get("offset", "")
        if not offset:
            break
    found = {record["id"]: record["fields"] for record in records}
    assert found.keys() == storm.written.keys(), told
    for record_id, cells in storm.written.items():
        assert {key: found[record_id].get(key) for key in cells} == cells, told
    name_id, number_id = (base["tables"][0]["fields"][place]["id"] for place in (0, 5))
    assert not storm.unacknowledged & {cells[name_id] for cells in found.values()}, told
    assert sorted(cells[number_id] for cells in found.values()) == list(range(1, len(found) + 1)), told

    fields = call("GET", f"{workers.url}/v0/meta/bases/{base['id']}/tables", token=workers.token).body["tables"][0][
        "fields"
    ]
    assert {found["id"]: found["name"] for found in fields if found["id"] in storm.names} == storm.names
    assert sum(found["name"].startswith("more ") for found in fields) == storm.changes["add 200"]
    for select_field in (found for found in fields if found["name"] in ("Status", "Tags")):
        choices = select_field["options"]["choices"]
        for key in ("id", "name"):
            assert len({choice[key] for choice in choices}) == len(choices), told
    for added in (
        found["id"] for found in fields if found["name"].startswith("more ") and found["type"] == "autoNumber"
    ):
        assert sorted(cells[added] for cells in found.values()) == list(range(1, len(found) + 1)), told


def test_a_killed_worker_is_replaced_while_the_other_answers(workers: Platform) -> None:
    before = workers.children()["platform-1"]["pid"]
    os.kill(before, signal.SIGKILL)
    deadline_s = time.monotonic() + 20
    answered = 0
    while workers.children()["platform-1"]["pid"] in (before, None) or answered < 50:
        assert time.monotonic() < deadline_s, workers.logs()
        # A connection that the killed worker had accepted just before is lost; a new one is not.
        with contextlib.suppress(ConnectionError, http.client.RemoteDisconnected):
            assert call("GET", f"{workers.url}/v0/meta/whoami", token=workers.token).status == 200
            answered += 1
    while len({_worker(workers) for _ in range(20)}) < 2:
        assert time.monotonic() < deadline_s, workers.logs()


def _worker(workers: Platform) -> str:
    answer = call("GET", f"{workers.url}/v0/meta/whoami", token=workers.token)
    assert answer.status == 200
    return answer.headers["x-request-id"].rpartition("-")[0]
