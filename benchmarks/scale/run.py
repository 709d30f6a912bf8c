"""Measures work on a large table beside hand-written SQL for the same, on the same PostgreSQL.

`python -m benchmarks.scale.run [--rows 100000] [--repetitions 5] [--record]`
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.results import keep
from benchmarks.scale.generate import FIELDS, Generated, generate
from tests.acceptance.platform import Platform
from tests.acceptance.support import call

SEED = 20_261_123
DEPTH = 0.9
"""Where in the table the deep page is: record 900,000 of a million."""
BULK_PAGE = 1_000


class Client:
    """One kept connection to the platform."""

    def __init__(self, platform: Platform) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=600)
        self._headers = {"authorization": f"Bearer {platform.token}", "content-type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        response = self._asked(method, path, None if body is None else json.dumps(body))
        content = response.read()
        assert response.status == 200, (method, path, content[:500])
        return json.loads(content)

    def _asked(self, method: str, path: str, body: str | None) -> http.client.HTTPResponse:
        try:
            self._connection.request(method, path, body, self._headers)
            return self._connection.getresponse()
        except http.client.RemoteDisconnected:
            # The connection was idle for too long; the request was not taken.
            self._connection.close()
            self._connection.request(method, path, body, self._headers)
            return self._connection.getresponse()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def drain(self, path: str) -> int:
        """Read a streamed answer to its end; how many bytes."""
        response = self._asked("GET", path, None)
        assert response.status == 200, response.read()[:500]
        count = 0
        while chunk := response.read(1_048_576):
            count += len(chunk)
        return count


class Stalls:
    """A reader and a writer at work beside something; the longest either of them had to wait."""

    def __init__(self, platform: Platform, base: Generated, record_ids: list[str]) -> None:
        self._platform, self._base, self._ids = platform, base, record_ids
        self.longest_ms = {"read": 0.0, "write": 0.0}
        self.requests = {"read": 0, "write": 0}
        self._is_over = False
        self._failures: list[BaseException] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._run, args=(kind,)) for kind in self.longest_ms]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        try:
            yield
        finally:
            time.sleep(0.3)
            self._is_over = True
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _run(self, kind: str) -> None:
        try:
            self._go_on(kind)
        except BaseException as error:
            self._failures.append(error)

    def _go_on(self, kind: str) -> None:
        client, dice = Client(self._platform), random.Random(SEED)
        path = f"/v0/{self._base.base_id}/{self._base.table_id}"
        with contextlib.closing(client):
            self._ask(kind, client, dice, path)

    def _ask(self, kind: str, client: Client, dice: random.Random, path: str) -> None:
        for turn in range(100_000):
            if self._is_over:
                return
            record_id = dice.choice(self._ids)
            begun = time.perf_counter()
            if kind == "read":
                client("GET", f"{path}?pageSize=1&fields[]=Name")
            else:
                client("PATCH", f"{path}/{record_id}", {"fields": {"Notes": f"turn {turn}"}})
            self.requests[kind] += 1
            self.longest_ms[kind] = max(self.longest_ms[kind], (time.perf_counter() - begun) * 1000)
            time.sleep(0.002)


def median_ms(work: Callable[[], Any], repetitions: int) -> float:
    """Median time of one call, after one that warms up."""
    work()
    times = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


class Sql:
    """Hand-written statements on a connection of their own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(asyncpg.connect(url))

    def __call__(self, work: "Callable[[asyncpg.Connection[Any]], Awaitable[Any]]") -> Any:
        return self._loop.run_until_complete(work(self._connection))

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()


def measure(platform: Platform, base: Generated, repetitions: int, found: dict[str, dict[str, float]]) -> None:
    """Everything, by kind of work: milliseconds here and by hand, and their ratio; noted as it comes."""
    client, sql, dice = Client(platform), Sql(platform.server_addresses()["database_url"]), random.Random(SEED)
    path = f"/v0/{base.base_id}/{base.table_id}"
    wide = f"/api/v1/bases/{base.base_id}/tables/{base.table_id}"
    name = f'"{base.base_id}"."{base.table_id}"'
    hubs = f'"{base.base_id}"."{base.hubs_id}"'
    junction = f'"{base.base_id}"."lnk{base.fields["Hub"][3:]}"'
    columns = {field: f'r."{base.fields[field]}"' for field, _, _, text in FIELDS if text}

    def note(kind: str, ours_ms: float, by_hand_ms: float | None = None) -> None:
        found[kind] = {"ms": ours_ms}
        if by_hand_ms is not None:
            found[kind] |= {"by hand ms": by_hand_ms, "ratio": ours_ms / by_hand_ms}

    record = "json_strip_nulls(json_build_object('id', r._id, 'createdTime', r._created, 'fields', json_build_object("
    record += ", ".join(f"'{field}', {column}" for field, column in columns.items())
    record += (
        f", 'Hub', (SELECT json_agg(h._id ORDER BY l.a_place) FROM {junction} l JOIN {hubs} h ON h._n = l.b"
        " WHERE l.a = r._n))))"
    )

    def page_by_hand(order: str, condition: str = "true") -> float:
        text = f"SELECT json_agg({record})::text FROM (SELECT * FROM {name} r WHERE {condition} ORDER BY {order} LIMIT 100) r"
        return median_ms(lambda: sql(lambda connection: connection.fetchval(text)), repetitions)

    ids = sql(lambda connection: connection.fetch(f"SELECT _id FROM {name} WHERE _n % 97 = 0 LIMIT 5000"))
    record_ids = [row["_id"] for row in ids]

    first = median_ms(lambda: client("GET", path), repetitions)
    note("first page", first, page_by_hand("r._n"))
    # To the deep place by large pages of a few cells, then on from there as before.
    offset, depth = "", int(base.rows * DEPTH)
    for _ in range(depth // BULK_PAGE):
        page = client("GET", f"{wide}/records?pageSize={BULK_PAGE}&fields[]=Done&offset={offset}")
        offset = page["offset"]
    deep = median_ms(lambda: client("GET", f"{path}?offset={offset}"), repetitions)
    note(f"page at {depth:,}", deep, page_by_hand("r._n", f"r._n > {depth}"))
    found[f"page at {depth:,}"]["to first page"] = deep / first

    note(
        "sort, no index",
        median_ms(lambda: client("GET", f"{path}?sort[0][field]=Rank"), repetitions),
        page_by_hand(f"{columns['Rank']} NULLS FIRST, r._n"),
    )
    view = client(
        "POST",
        f"/api/v1/bases/{base.base_id}/tables/{base.table_id}/views",
        {"name": "By score", "type": "grid", "sorts": [{"fieldId": base.fields["Score"], "direction": "asc"}]},
    )
    client("GET", f"{path}?view={view['id']}")
    begun = time.perf_counter()
    made_by_itself = wait_for_index(sql, base)
    if made_by_itself:
        found["index for a view's sort made by itself"] = {"s after the view": time.perf_counter() - begun}
    note(
        "sort of a view, its index" if made_by_itself else "sort of a view, no index yet",
        median_ms(lambda: client("GET", f"{path}?view={view['id']}"), repetitions),
        page_by_hand(f"{columns['Score']} NULLS FIRST, r._n"),
    )
    filtered = client(
        "POST",
        f"/api/v1/bases/{base.base_id}/tables/{base.table_id}/views",
        {
            "name": "Dear",
            "type": "grid",
            "filter": {
                "conjunction": "and",
                "conditions": [
                    {"fieldId": base.fields["Price"], "operator": ">", "value": 4990},
                    {"fieldId": base.fields["Done"], "operator": "is", "value": True},
                ],
            },
        },
    )
    note(
        "filter of a view",
        median_ms(lambda: client("GET", f"{path}?view={filtered['id']}"), repetitions),
        page_by_hand("r._n", f"{columns['Price']} > 4990 AND {columns['Done']}"),
    )

    get = f"SELECT {record}::text FROM {name} r WHERE r._id = $1"
    note(
        "get 1",
        median_ms(lambda: client("GET", f"{path}/{dice.choice(record_ids)}"), repetitions * 4),
        median_ms(lambda: sql(lambda c: c.fetchval(get, dice.choice(record_ids))), repetitions * 4),
    )
    update = f'UPDATE {name} r SET "{base.fields["Amount"]}" = $2 WHERE r._id = ANY($1) RETURNING {record}::text'

    def update_10() -> None:
        chosen = dice.sample(record_ids, 10)
        records = [{"id": item, "fields": {"Amount": round(dice.uniform(0, 9), 2)}} for item in chosen]
        client("PATCH", path, {"records": records})

    note(
        "update 10",
        median_ms(update_10, repetitions * 4),
        median_ms(
            lambda: sql(lambda c: c.fetch(update, dice.sample(record_ids, 10), dice.uniform(0, 9))), repetitions * 4
        ),
    )
    made: list[str] = []

    def create_10() -> None:
        rows = [{"fields": {"Name": f"new {turn}", "Amount": turn, "Status": "Todo"}} for turn in range(10)]
        made.extend(item["id"] for item in client("POST", path, {"records": rows})["records"])

    insert = (
        f'INSERT INTO {name} (_id, _created, _modified, "{base.fields["Name"]}", "{base.fields["Amount"]}")'
        " SELECT 'rec' || left(md5(random()::text || n), 14), now(), now(), 'new ' || n, n FROM generate_series(1, 10) n"
        " RETURNING _id"
    )
    by_hand_ids: list[str] = []

    def create_by_hand() -> None:
        by_hand_ids.extend(row["_id"] for row in sql(lambda c: c.fetch(insert)))

    note("create 10", median_ms(create_10, repetitions * 4), median_ms(create_by_hand, repetitions * 4))
    link = f"INSERT INTO {junction} (a, b, a_place) SELECT r._n, 1, 1 FROM {name} r WHERE r._id = $1"
    note(
        f"link 1 to a hub of {base.rows // 10:,}",
        median_ms(lambda: client("PATCH", f"{path}/{made.pop()}", {"fields": {"Hub": [base.hub_id]}}), repetitions * 2),
        median_ms(lambda: sql(lambda c: c.execute(link, by_hand_ids.pop())), repetitions * 2),
    )

    def delete_10() -> None:
        chosen = "&".join(f"records[]={made.pop()}" for _ in range(10))
        client("DELETE", f"{path}?{chosen}")

    note(
        "delete 10",
        median_ms(delete_10, repetitions),
        median_ms(
            lambda: sql(
                lambda c: c.execute(f"DELETE FROM {name} WHERE _id = ANY($1)", [by_hand_ids.pop() for _ in range(10)])
            ),
            repetitions,
        ),
    )
    structure(platform, base, client, record_ids, found)
    begun = time.perf_counter()
    size = client.drain(f"{wide}/export?format=ndjson")
    ours_s = time.perf_counter() - begun
    begun = time.perf_counter()
    copy = f"COPY (SELECT {record} FROM {name} r ORDER BY r._n) TO STDOUT"
    with tempfile.TemporaryFile() as file:
        sql(lambda c: c.copy_from_query(copy[6:-11], output=file))
        by_hand_s = time.perf_counter() - begun
    found["export all, NDJSON"] = {
        "s": ours_s,
        "by hand s": by_hand_s,
        "ratio": ours_s / by_hand_s,
        "MB": size / 1_000_000,
    }
    sql.close()


def wait_for_index(sql: Sql, base: Generated, *, seconds_max: float = 90.0) -> bool:
    """Whether an index on the table's score is there and whole within the time."""
    ends = time.perf_counter() + seconds_max
    text = (
        "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
        " WHERE t.relname = $1 AND i.indisvalid AND pg_get_indexdef(i.indexrelid) LIKE '%' || $2 || '%'"
    )
    while time.perf_counter() < ends:
        if sql(lambda connection: connection.fetchval(text, base.table_id, base.fields["Score"])):
            return True
        time.sleep(0.5)
    return False


def structure(
    platform: Platform, base: Generated, client: Client, record_ids: list[str], found: dict[str, dict[str, float]]
) -> None:
    """Changes of structure under load: how long each took, and the longest wait of a reader and of a writer."""
    meta = f"/v0/meta/bases/{base.base_id}/tables/{base.table_id}/fields"
    own = f"/api/v1/bases/{base.base_id}/tables/{base.table_id}/fields"
    added: dict[str, Any] = {}

    def add() -> None:
        added.update(client("POST", meta, {"name": "Added", "type": "number", "options": {"precision": 0}}))

    work: dict[str, Callable[[], Any]] = {
        "add a field": add,
        "rename a field": lambda: client("PATCH", f"{meta}/{base.fields['City']}", {"name": "Town"}),
        "delete a field": lambda: client("DELETE", f"{own}/{added['id']}"),
        "convert text to number": lambda: client(
            "POST", f"{own}/{base.fields['Digits']}/convert", {"type": "number", "options": {"precision": 0}}
        ),
        "add an autonumber": lambda: client("POST", meta, {"name": "No", "type": "autoNumber"}),
    }
    for kind, change in work.items():
        stalls = Stalls(platform, base, record_ids)
        with stalls.watched():
            begun = time.perf_counter()
            change()
            took_ms = (time.perf_counter() - begun) * 1000
        found[kind] = {
            "ms": took_ms,
            "longest read ms": stalls.longest_ms["read"],
            "longest write ms": stalls.longest_ms["write"],
        }


def memory_mb(platform: Platform) -> float:
    """Resident memory of the application process."""
    return float(psutil.Process(platform.children()["platform"]["pid"]).memory_info().rss) / 1_000_000


def main() -> None:
    """Run and print; `--record` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="keep the figures in results/")
    arguments = parser.parse_args()
    console = Console()
    env = {
        "PYAT_SAMPLE": "0",
        "PYAT_RATE_LIMITS": "off",
        "PYAT_DATABASE_TIMEOUT_S": "120",
        "PYAT_VIEW_INDEX_INTERVAL_S": "5",
    }
    found: dict[str, dict[str, float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder, Platform(Path(folder) / "home", env=env) as platform:
            with console.status(f"making {arguments.rows:,} records"):
                base = generate(platform, arguments.rows)
            before_mb = memory_mb(platform)
            with console.status("measuring"):
                measure(platform, base, arguments.repetitions, found)
            found["memory of the application"] = {"MB before": before_mb, "MB after": memory_mb(platform)}
            assert call("GET", f"{platform.url}/health/ready").status == 200
    finally:
        table = Table("work", "figures", title=f"{arguments.rows:,} records")
        for kind, figures in found.items():
            table.add_row(kind, ", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))
        console.print(table)
    if arguments.record:
        settings = {"rows": arguments.rows, "repetitions": arguments.repetitions}
        keep(Path(__file__).parent / f"{arguments.rows}", found, settings)


if __name__ == "__main__":
    main()
