"""kill -9 while columns of computed cells are filled: cells read right at every moment, and after it all are filled."""

import asyncio
import http.client
import json
import random
import re
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.commands import run
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import call

ROWS = 40_000
GROUPS = 10
LINKS_EACH = 200
HUB_LINKS = 12_000
"""More than a write sets itself."""
FILLED_WITHIN_S = 150.0
"""Of which whoever was killed holds its lease for 30 s."""
BEGUN_WITHIN_S = 60.0
RETRY_FOR_S = 20.0
SEEN_AT_ONCE = 40
RATIO = "IF(MOD({Number}, 5) = 1, ERROR(), {Price} / MOD({Number}, 5))"
"""A number, an infinite one, or an error. Prices are above 0."""


@dataclass
class Large:
    """A large table, whose rows are known by their number, and one that sums parts of it up."""

    platform: Platform
    base_id: str
    name: str
    columns: int = 0
    """Computed fields so far; all of them are to have columns."""

    def add(self, table: str, name: str, kind: str, **options: Any) -> str:
        """A new computed field; its id."""
        url = f"{self.platform.url}/v0/meta/bases/{self.base_id}/tables/{self.tables()[table]['id']}/fields"
        answer = call("POST", url, token=self.platform.token, body={"name": name, "type": kind, "options": options})
        assert answer.status == 200, answer.body
        self.columns += 1
        return str(answer.body["id"])

    def tables(self) -> dict[str, Any]:
        """The structure now, by table name."""
        url = f"{self.platform.url}/v0/meta/bases/{self.base_id}/tables"
        return {table["name"]: table for table in call("GET", url, token=self.platform.token).body["tables"]}

    def records(self, table: str, formula: str) -> list[dict[str, Any]]:
        """A page of the records that a formula chooses."""
        query = urllib.parse.urlencode({"filterByFormula": formula})
        url = f"{self.platform.url}/v0/{self.base_id}/{table}?{query}"
        answer = call("GET", url, token=self.platform.token)
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.body["records"]
        return found

    def progress(self) -> dict[str, int]:
        """How far the columns that are not ready are filled, by field: the creation number of the last record."""
        unready = (
            f'SELECT field_id, filled FROM "{self.base_id}".base_computed WHERE NOT is_ready AND field_id IS NOT NULL'
        )
        return {row["field_id"]: row["filled"] for row in self._rows(unready)}

    def notes(self) -> int:
        """How many writes have left something to do."""
        return len(self._rows(f'SELECT id FROM "{self.base_id}".base_missed'))

    def _rows(self, statement: str) -> list[asyncpg.Record]:
        async def read() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.platform.server_addresses()["database_url"])
            try:
                rows: list[asyncpg.Record] = await connection.fetch(statement)
                return rows
            finally:
                await connection.close()

        ends_s = time.monotonic() + RETRY_FOR_S
        while True:
            try:
                return asyncio.run(read())
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
                # It was killed, or starts again.
                assert time.monotonic() < ends_s
                time.sleep(0.05)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Imported, and some of it linked; no computed field yet."""
    folder = tmp_path_factory.mktemp("computed")
    with Platform(folder / "home", env={"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}) as platform:
        first = [{"name": "Groups", "fields": [{"name": "Name", "type": "singleLineText"}]}]
        body = {"name": "Large", "workspaceId": account_of(platform, platform.token).workspace_id, "tables": first}
        base_id = call("POST", f"{platform.url}/v0/meta/bases", token=platform.token, body=body).body["id"]
        path = _file(folder)
        platform.command("import", "csv", str(path), "--base", "Large", "--yes")
        made = Large(platform, base_id, "Large")
        _link(made)
        yield made


def _file(folder: Path) -> Path:
    path = folder / "Rows.csv"
    with path.open("w") as text:
        text.write("Name,Number,Price,Day\n")
        text.writelines(f"row {n},{n},{n % 97}.25,2024-{n % 12 + 1:02}-{n % 28 + 1:02}\n" for n in range(ROWS))
    return path


def _link(large: Large) -> None:
    """Each group has some records."""
    options = {"linkedTableId": large.tables()["Rows"]["id"]}
    meta = f"{large.platform.url}/v0/meta/bases/{large.base_id}/tables/{large.tables()['Groups']['id']}/fields"
    body: dict[str, Any] = {"name": "Rows", "type": "multipleRecordLinks", "options": options}
    assert call("POST", meta, token=large.platform.token, body=body).status == 200
    url = f"{large.platform.url}/api/v1/bases/{large.base_id}/tables/Rows/records"
    for group in range(GROUPS):
        name = f"{large.platform.url}/v0/{large.base_id}/Groups"
        made = call("POST", name, token=large.platform.token, body={"fields": {"Name": f"group {group}"}}).body["id"]
        ids: list[str] = []
        while len(ids) < LINKS_EACH:
            low = group * LINKS_EACH + len(ids)
            ids += [record["id"] for record in large.records("Rows", f"AND({{Number}}>={low},{{Number}}<{low + 100})")]
        changes = [{"id": one, "fields": {"Groups": [made]}} for one in ids]
        answer = call("PATCH", url, token=large.platform.token, body={"records": changes})
        assert answer.status == 200, answer.body


@dataclass
class Watcher:
    """Reads and edits records all the time; every record that comes back has to agree with itself."""

    large: Large
    seed: int
    names: tuple[str, ...]
    stopped: threading.Event = field(default_factory=threading.Event)
    seen: int = 0
    edits: int = 0
    prices: dict[int, float] = field(default_factory=dict)
    """Acknowledged, by the number of the record."""
    refusals: Counter[str] = field(default_factory=Counter)
    failure: BaseException | None = None

    def run(self) -> None:
        """Until `stopped` is set."""
        chosen = random.Random(self.seed)
        try:
            while not self.stopped.is_set():
                self._turn(chosen)
        except BaseException as error:
            self.failure = error

    def _turn(self, chosen: random.Random) -> None:
        low = chosen.randrange(ROWS - SEEN_AT_ONCE)
        formula = f"AND({{Number}}>={low},{{Number}}<{low + SEEN_AT_ONCE})"
        path = f"/v0/{self.large.base_id}/Rows"
        page = self._send("GET", f"{path}?{urllib.parse.urlencode({'filterByFormula': formula})}")
        records = page["records"]
        assert len(records) == SEEN_AT_ONCE
        for record in records:
            check_row(record["fields"], self.names)
        self.seen += len(records)
        some = chosen.sample(records, 5)
        # A price is a function of nothing but this turn, so a repeated request changes nothing.
        price = chosen.randrange(1, 900) / 4
        changes = [{"id": record["id"], "fields": {"Price": price}} for record in some]
        changed = self._send("PATCH", path, {"records": changes})
        for record in changed["records"]:
            check_row(record["fields"], self.names)
            assert record["fields"]["Price"] == price
            self.prices[record["fields"]["Number"]] = price
        self.edits += len(changed["records"])
        for record in self._send("GET", f"/v0/{self.large.base_id}/Groups")["records"]:
            assert record["fields"]["Rows"]

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        """Repeat a request until it is answered: only a server that restarts may refuse it."""
        deadline_s = time.monotonic() + RETRY_FOR_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.large.platform.port, timeout=15)
            headers = {
                "authorization": f"Bearer {self.large.platform.token}",
                "content-type": "application/json",
            }
            try:
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.refusals[type(error).__name__] += 1
            else:
                if response.status == 200:
                    return answer
                assert response.status == 503, answer
                self.refusals[answer["error"]["type"]] += 1
            finally:
                connection.close()
            assert time.monotonic() < deadline_s, f"{method} {path} was never answered: {self.refusals}"
            time.sleep(0.02)


def expected(cells: dict[str, Any], name: str) -> Any:
    """What a computed field of the large table has to say, from the cells that people write."""
    number, price = cells["Number"], cells["Price"]
    month, day = (int(part) for part in cells["Day"].split("-")[1:])
    kind = re.sub(r" \d+$", "", name)
    match kind:
        case "Total":
            return price * number
        case "Label":
            return f"{cells['Name'].upper()} of {day}.{month}."
        case "Size":
            return "large" if price * number > 1_000_000 else "small"
        case "Ratio":
            match number % 5:
                case 0:
                    return {"specialValue": "Infinity"}
                case 1:
                    return {"error": "#ERROR!"}
            return price / (number % 5)
    raise AssertionError(f"no field is called {name}")


def check_row(cells: dict[str, Any], names: tuple[str, ...]) -> None:
    """Every computed cell of a record agrees with its other cells."""
    for name in names:
        assert cells[name] == expected(cells, name), (name, cells)


def add_formulas(large: Large, turn: int) -> tuple[str, ...]:
    """Fields of two levels, an error in some of the cells, and a rollup of one of them; the names in the large table."""
    total, label, size, ratio = names = tuple(f"{kind} {turn}" for kind in ("Total", "Label", "Size", "Ratio"))
    source = large.add("Rows", total, "formula", formula="{Price} * {Number}")
    large.add("Rows", label, "formula", formula="UPPER({Name}) & ' of ' & DAY({Day}) & '.' & MONTH({Day}) & '.'")
    large.add("Rows", size, "formula", formula=f"IF({{{total}}} > 1000000, 'large', 'small')")
    large.add("Rows", ratio, "formula", formula=RATIO)
    way = next(one["id"] for one in large.tables()["Groups"]["fields"] if one["name"] == "Rows")
    options = {"recordLinkFieldId": way, "fieldIdInLinkedTable": source}
    large.add("Groups", f"Sum {turn}", "rollup", **options, formula="SUM(values)")
    return names


def await_half(large: Large) -> None:
    """Wait until columns are filled in part."""
    ends_s = time.monotonic() + BEGUN_WITHIN_S
    while time.monotonic() < ends_s:
        if any(ROWS * 0.1 < filled < ROWS * 0.9 for filled in large.progress().values()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no column was seen half filled: {large.progress()}")


def await_back(large: Large) -> None:
    """Wait until requests are answered again."""
    ends_s = time.monotonic() + RETRY_FOR_S
    while time.monotonic() < ends_s:
        try:
            if call("GET", f"{large.platform.url}/v0/meta/bases", token=large.platform.token).status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise AssertionError(f"nobody answered: {large.platform.logs()}")


def check_columns(large: Large) -> tuple[int, int]:
    """Fields with columns, and fields without, as the check of the base says, which finds no difference at any time."""
    done = run(large.platform, "check", "base", large.name)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Nothing differs." in said
    match = re.search(r"([\d,]+) records, (\d+) computed fields with columns, (\d+) computed when", said)
    assert match is not None, said
    assert int(match[1].replace(",", "")) >= ROWS + GROUPS
    return int(match[2]), int(match[3])


def await_filled(large: Large) -> None:
    """Wait until every column is filled."""
    ends_s = time.monotonic() + FILLED_WITHIN_S
    while left := large.progress():
        assert time.monotonic() < ends_s, f"the columns were not filled: {left} {large.platform.logs()}"
        time.sleep(0.2)


def check_whole(large: Large, names: tuple[str, ...], turn: int) -> None:
    """No record of the whole table has a cell that computing it in the request does not give."""
    total, label, size, ratio = names
    wrong = [
        f"{{{total}}} != {{Price}} * {{Number}}",
        f"{{{label}}} != UPPER({{Name}}) & ' of ' & DAY({{Day}}) & '.' & MONTH({{Day}}) & '.'",
        f"{{{size}}} != IF({{Price}} * {{Number}} > 1000000, 'large', 'small')",
        f"ISERROR({{{ratio}}}) != (MOD({{Number}}, 5) < 2)",
        f"IF(MOD({{Number}}, 5) < 2, FALSE(), {{{ratio}}} != {{Price}} / MOD({{Number}}, 5))",
    ]
    for formula in wrong:
        assert large.records("Rows", formula) == [], formula
    for group in large.records("Groups", "TRUE()"):
        number = int(group["fields"]["Name"].split()[1])
        low, high = number * LINKS_EACH, (number + 1) * LINKS_EACH
        rows: list[dict[str, Any]] = []
        for start in range(low, high, 100):
            rows += large.records("Rows", f"AND({{Number}}>={start},{{Number}}<{start + 100})")
        assert len(rows) == LINKS_EACH
        sums = sum(row["fields"]["Price"] * row["fields"]["Number"] for row in rows)
        assert group["fields"][f"Sum {turn}"] == sums


@pytest.mark.parametrize(("turn", "killed"), [(1, "platform"), (2, "postgres")])
def test_filling_goes_on_after_kill_9(large: Large, turn: int, killed: str) -> None:
    names = add_formulas(large, turn)
    watcher = Watcher(large, turn, names)
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        await_half(large)
        seen = watcher.seen
        large.platform.kill(killed)
        await_back(large)
        assert large.progress(), "everything was filled before the kill"
        check_columns(large)
        await_filled(large)
    finally:
        watcher.stopped.set()
        thread.join(RETRY_FOR_S + 10)
    assert watcher.failure is None, watcher.failure
    assert not thread.is_alive()
    assert watcher.seen > seen > 0
    assert watcher.refusals, "the watcher was there while the server was not"
    for number, price in random.Random(turn).sample(sorted(watcher.prices.items()), min(20, len(watcher.prices))):
        (record,) = large.records("Rows", f"{{Number}} = {number}")
        assert record["fields"]["Price"] == price
        check_row(record["fields"], names)
    check_whole(large, names, turn)
    assert check_columns(large) == (large.columns, 0)


def add_hub(large: Large) -> str:
    """A group that many records show: its id."""
    large.add("Groups", "Rate", "number", precision=0)
    large.columns -= 1
    way = next(one["id"] for one in large.tables()["Rows"]["fields"] if one["name"] == "Groups")
    source = next(one["id"] for one in large.tables()["Groups"]["fields"] if one["name"] == "Rate")
    large.add("Rows", "Rates", "rollup", recordLinkFieldId=way, fieldIdInLinkedTable=source, formula="SUM(values)")
    large.add("Rows", "Tenfold", "formula", formula="{Rates} * 10")
    url = f"{large.platform.url}/v0/{large.base_id}/Groups"
    body = {"fields": {"Name": "hub 0", "Rate": 1}}
    hub_id: str = call("POST", url, token=large.platform.token, body=body).body["id"]
    url = f"{large.platform.url}/api/v1/bases/{large.base_id}/tables/Rows/records"
    for low in range(ROWS - HUB_LINKS, ROWS, 1_000):
        ids: list[str] = []
        while len(ids) < 1_000:
            start = low + len(ids)
            ids += [
                record["id"] for record in large.records("Rows", f"AND({{Number}}>={start},{{Number}}<{start + 100})")
            ]
        changes = [{"id": one, "fields": {"Groups": [hub_id]}} for one in ids]
        assert call("PATCH", url, token=large.platform.token, body={"records": changes}).status == 200
    return hub_id


def test_what_a_far_reaching_write_left_to_do_is_done_after_kill_9(large: Large) -> None:
    hub_id = add_hub(large)
    await_filled(large)
    url = f"{large.platform.url}/v0/{large.base_id}/Groups/{hub_id}"
    of_hub = f"{{Number}} >= {ROWS - HUB_LINKS}"
    for turn, (killed, delay_s) in enumerate([("platform", 0.0), ("platform", 0.6), ("postgres", 0.3)], 2):
        answer = call("PATCH", url, token=large.platform.token, body={"fields": {"Rate": turn}})
        assert answer.status == 200, answer.body
        assert delay_s or large.notes() == 1
        time.sleep(delay_s)
        large.platform.kill(killed)
        await_back(large)
        for wrong in (f"{{Rates}} != {turn}", f"{{Tenfold}} != {turn * 10}"):
            assert large.records("Rows", f"AND({of_hub}, {wrong})") == []
        check_columns(large)
        await_filled(large)
        assert large.notes() == 0
        for wrong in (f"{{Rates}} != {turn}", f"{{Tenfold}} != {turn * 10}"):
            assert large.records("Rows", f"AND({of_hub}, {wrong})") == []
    assert check_columns(large) == (large.columns, 0)
