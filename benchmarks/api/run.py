"""Measures the public records API beside the yardstick: same PostgreSQL, same columns, same load, taking turns.

`python -m benchmarks.api.run [--seconds 3] [--repetitions 3] [--connections 16] [--rows 10000] [--record]`
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.api.yardstick import COLUMNS, CREATE_TABLE, new_row_id, value_of
from benchmarks.results import keep
from tests.acceptance.platform import Platform, free_port
from tests.acceptance.support import call

SEED = 20_261_123
STATUSES = ("Todo", "In progress", "In review", "Done")
BUDGETS = {"list 100": 0.5, "get 1": 0.5, "create 1": 0.35, "create 10": 0.35, "update 10": 0.35}


def make_rows(count: int) -> list[dict[str, Any]]:
    """Rows with all ten columns, about a tenth of the cells blank; the same for everybody."""
    dice = random.Random(SEED)
    words = "amber basin cedar delta ember fjord grove haven inlet jetty knoll ledge mesa nook orbit pier".split()
    rows = []
    for number in range(count):
        row: dict[str, Any] = {
            "Name": f"{dice.choice(words)} {dice.choice(words)} {number}",
            "Notes": " ".join(dice.choices(words, k=12)),
            "Email": f"{dice.choice(words)}{number}@example.com",
            "Website": f"https://{dice.choice(words)}.example/{number}",
            "Amount": round(dice.uniform(-1000, 100_000), 2),
            "Count": dice.randrange(1000),
            "Done": dice.random() < 0.5,
            "Due": (date(2025, 1, 1) + timedelta(days=dice.randrange(700))).isoformat(),
            "Seen": (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(60_000_000))).strftime(
                "%Y-%m-%dT%H:%M:%S.000Z"
            ),
            "Status": dice.choice(STATUSES),
        }
        for name in list(row)[1:]:
            if dice.random() < 0.1:
                del row[name]
        rows.append(row)
    return rows


def fields() -> list[dict[str, Any]]:
    """The same ten columns as fields."""
    when = {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"}
    return [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Notes", "type": "multilineText"},
        {"name": "Email", "type": "email"},
        {"name": "Website", "type": "url"},
        {"name": "Amount", "type": "number", "options": {"precision": 2}},
        {"name": "Count", "type": "number", "options": {"precision": 0}},
        {"name": "Done", "type": "checkbox", "options": {"icon": "check", "color": "greenBright"}},
        {"name": "Due", "type": "date", "options": {"dateFormat": {"name": "iso"}}},
        {"name": "Seen", "type": "dateTime", "options": when},
        {"name": "Status", "type": "singleSelect", "options": {"choices": [{"name": name} for name in STATUSES]}},
    ]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two contestants: where it listens and what is sent to it, by the name of the work."""

    name: str
    port: int
    requests: dict[str, list[dict[str, Any]]]


def _request(method: str, path: str, headers: dict[str, str], body: Any = None) -> dict[str, Any]:
    return {"method": method, "path": path, "headers": headers, "body": None if body is None else json.dumps(body)}


def work(
    path: str, ids: list[str], rows: list[dict[str, Any]], headers: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """The requests of each kind of work, against a collection at `path`."""
    dice = random.Random(SEED + 1)

    def batch(size: int) -> dict[str, Any]:
        return {"records": [{"fields": row} for row in dice.choices(rows, k=size)]}

    def change() -> dict[str, Any]:
        chosen = dice.sample(ids, 10)
        return {
            "records": [
                {"id": row_id, "fields": {"Amount": round(dice.uniform(0, 1000), 2), "Status": dice.choice(STATUSES)}}
                for row_id in chosen
            ]
        }

    return {
        "list 100": [_request("GET", path, headers)],
        "get 1": [_request("GET", f"{path}/{row_id}", headers) for row_id in dice.sample(ids, 200)],
        "create 1": [_request("POST", path, headers, batch(1)) for _ in range(50)],
        "create 10": [_request("POST", path, headers, batch(10)) for _ in range(50)],
        "update 10": [_request("PATCH", path, headers, change()) for _ in range(200)],
    }


def measure(side: Side, kind: str, *, connections: int, seconds: float) -> dict[str, Any]:
    """One run of the load generator in a process of its own."""
    plan = {
        "host": "127.0.0.1",
        "port": side.port,
        "connections": connections,
        "seconds": seconds,
        "requests": side.requests[kind],
    }
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=json.dumps(plan), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    assert set(found["statuses"]) == {"200"}, f"{side.name}, {kind}: {found['statuses']}"
    return found


async def fill_yardstick(url: str, rows: list[dict[str, Any]]) -> list[str]:
    """The plain table with the rows; returns their ids."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(CREATE_TABLE)
        ids = [new_row_id() for _ in rows]
        records = [
            (row_id, *(value_of(pg_type, row.get(name)) for name, pg_type in COLUMNS.items()))
            for row_id, row in zip(ids, rows, strict=True)
        ]
        await connection.copy_records_to_table("plain", records=records, columns=["id", *COLUMNS])
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return ids


def fill_platform(platform: Platform, rows: list[dict[str, Any]], tick: Callable[[], None]) -> tuple[str, list[str]]:
    """The same rows through the public API; returns the path of the table and the ids."""
    token = platform.token
    workspace = call("GET", f"{platform.url}/api/v1/workspaces", token=token).body["workspaces"][0]["id"]
    tables = [{"name": "Plain", "fields": fields()}]
    body = {"name": "Benchmark", "workspaceId": workspace, "tables": tables}
    base = call("POST", f"{platform.url}/v0/meta/bases", token=token, body=body).body
    path = f"/v0/{base['id']}/{base['tables'][0]['id']}"
    ids: list[str] = []
    for start in range(0, len(rows), 10):
        made = call(
            "POST",
            platform.url + path,
            token=token,
            body={"records": [{"fields": r} for r in rows[start : start + 10]]},
        )
        ids += [record["id"] for record in made.body["records"]]
        tick()
    return path, ids


def main() -> None:
    """Run, print, and with --record keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--only", action="append", choices=list(BUDGETS))
    parser.add_argument("--record", action="store_true", help="write the results beside this file")
    chosen = parser.parse_args()
    console = Console()
    rows = make_rows(chosen.rows)
    limits = {"PYAT_RATE_LIMIT_USER_PER_S": "1000000", "PYAT_RATE_LIMIT_BASE_PER_S": "1000000", "PYAT_SAMPLE": "0"}
    with tempfile.TemporaryDirectory(prefix="pyat-benchmark-") as folder, Progress(console=console) as progress:
        Path(folder).chmod(0o711)
        task = progress.add_task("filling", total=chosen.rows // 10)
        with Platform(Path(folder) / "home", env=limits) as platform:
            url = platform.server_addresses()["database_url"]
            path, ids = fill_platform(platform, rows, lambda: progress.advance(task))
            yardstick_ids = asyncio.run(fill_yardstick(url, rows))
            port = free_port()
            yardstick = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "uvicorn",
                    "benchmarks.api.yardstick:app",
                    "--port",
                    str(port),
                    "--log-level",
                    "warning",
                    "--no-access-log",
                ],
                env={**os.environ, "YARDSTICK_DATABASE_URL": url},
            )
            try:
                time.sleep(2)
                headers = {"authorization": f"Bearer {platform.token}"}
                sides = (
                    Side("platform", platform.port, work(path, ids, rows, headers)),
                    Side("yardstick", port, work("/plain", yardstick_ids, rows, {})),
                )
                results = compare(sides, chosen, progress)
            finally:
                yardstick.terminate()
                yardstick.wait()
    show(console, results)
    if chosen.record:
        names = ("seconds", "repetitions", "connections", "rows")
        keep(Path(__file__).parent, results, {name: getattr(chosen, name) for name in names})


def compare(sides: tuple[Side, Side], chosen: argparse.Namespace, progress: Progress) -> dict[str, dict[str, Any]]:
    """Both sides in turn, each kind of work, so many times."""
    kinds = chosen.only or list(BUDGETS)
    task = progress.add_task("measuring", total=len(kinds) * chosen.repetitions * 2)
    results: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        for side in sides:
            measure(side, kind, connections=chosen.connections, seconds=0.5)
        pairs = []
        for _ in range(chosen.repetitions):
            found = {}
            for side in sides:
                found[side.name] = measure(side, kind, connections=chosen.connections, seconds=chosen.seconds)
                progress.advance(task)
            pairs.append(found)
        ratios = [pair["platform"]["requests_per_s"] / pair["yardstick"]["requests_per_s"] for pair in pairs]
        results[kind] = {
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
            "budget": BUDGETS[kind],
            **{
                name: {
                    "requests_per_s": statistics.median(pair[name]["requests_per_s"] for pair in pairs),
                    "median_ms": statistics.median(pair[name]["median_ms"] for pair in pairs),
                    "p99_ms": statistics.median(pair[name]["p99_ms"] for pair in pairs),
                }
                for name in ("platform", "yardstick")
            },
        }
    return results


def show(console: Console, results: dict[str, dict[str, Any]]) -> None:
    """A table of medians."""
    table = Table(title="requests per second, platform beside yardstick")
    for heading in ("work", "platform", "yardstick", "ratio", "spread", "budget", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for kind, found in results.items():
        ours, theirs = found["platform"], found["yardstick"]
        low, high = found["spread"]
        mark = "[green]" if found["ratio"] >= found["budget"] else "[red]"
        table.add_row(
            kind,
            f"{ours['requests_per_s']:.0f}",
            f"{theirs['requests_per_s']:.0f}",
            f"{mark}{found['ratio']:.2f}[/]",
            f"{low:.2f}-{high:.2f}",
            f"{found['budget']}",
            f"{ours['median_ms']:.1f} / {theirs['median_ms']:.1f}",
            f"{ours['p99_ms']:.1f} / {theirs['p99_ms']:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
