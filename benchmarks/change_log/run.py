"""Measures writes with the change log and, by the same build, without it: same base, same rows, taking turns.

`python -m benchmarks.change_log.run [--seconds 3] [--repetitions 5] [--writers 16] [--record]`
"""

import argparse
import asyncio
import functools
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.api.run import fields, make_rows
from benchmarks.results import keep
from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import writing
from pyat.services.airtable_gateway.contract import RecordChange
from pyat.services.schema.contract import FieldDraft, TableDraft
from tests.acceptance.platform import Platform
from tests.support.records import Bench, records_service
from tests.support.schema import new_workspace, principal, schema_service

SEED = 20_261_123
COST_MAX = 0.25
"""Of the throughput without the log."""


@contextmanager
def without_log() -> Iterator[None]:
    """The same statements without the part that notes the change."""
    known = writing.create, writing.update
    writing.create = functools.partial(known[0], logs=False)
    writing.update = functools.partial(known[1], logs=False)
    try:
        yield
    finally:
        writing.create, writing.update = known


async def make_bench(database: Database, cache: Cache) -> Bench:
    """A base with one table of the ten columns of the API's benchmark."""
    schema = schema_service(database)
    drafts = tuple(FieldDraft(item["name"], item["type"], options=item.get("options")) for item in fields())
    base = await schema.create_base(
        principal=principal(),
        workspace_id=await new_workspace(schema),
        name="Base",
        tables=(TableDraft("T", drafts),),
    )
    return Bench(schema, records_service(database, cache, schema), base.base_id)


async def throughput(write: Callable[[], Awaitable[Any]], *, writers: int, seconds: float) -> float:
    """Requests per second of `writers` tasks that write one request after the other."""
    done, ends = 0, time.perf_counter() + seconds

    async def job() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await write()
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(job() for _ in range(writers)))
    return done / (time.perf_counter() - begun)


def work(bench: Bench, rows: list[dict[str, Any]], ids: list[str]) -> dict[str, Callable[[], Awaitable[Any]]]:
    """One request of each kind."""
    dice = random.Random(SEED)
    common: dict[str, Any] = {
        "principal": principal(),
        "base_id": bench.base_id,
        "table": "T",
        "typecast": False,
        "by_id": False,
    }

    def create(size: int) -> Callable[[], Awaitable[Any]]:
        return lambda: bench.records.create_records(rows=tuple(dice.choices(rows, k=size)), **common)

    def update() -> Awaitable[Any]:
        changes = tuple(
            RecordChange(RecordId(record_id), {"Amount": round(dice.uniform(0, 1000), 2), "Count": dice.randrange(99)})
            for record_id in dice.sample(ids, 10)
        )
        return bench.records.update_records(changes=changes, is_replacing=False, **common)

    return {"create 1": create(1), "create 10": create(10), "update 10": update}


async def bytes_per_cell(database: Database, bench: Bench, kind: int) -> float:
    """Bytes on disk of a changed cell's share of the log: rows with their headers, and the indexes."""
    base = quote(bench.base_id)
    statement = Statement("cells", f"SELECT cells FROM {base}.base_changes WHERE kind = $1 LIMIT 10000")
    cells = [len(orjson.loads(row["cells"])) for row in await database.rows(statement, kind)]
    size = Statement(
        "size",
        f"SELECT avg(pg_column_size(c.*)) + 4 + 20 * 2 FROM {base}.base_changes c WHERE kind = $1",
    )
    return float(await database.value(size, kind)) / statistics.mean(cells)


async def measure(arguments: argparse.Namespace, url: str, valkey_url: str) -> dict[str, Any]:
    """Everything, by kind of work."""
    database, cache = await Database.open(url, connections_max=8), Cache(valkey_url)
    bench = await make_bench(database, cache)
    rows = make_rows(1_000)
    ids: list[str] = []
    for start in range(0, 1_000, 10):
        made = await bench.records.create_records(
            principal=principal(),
            base_id=bench.base_id,
            table="T",
            rows=tuple(rows[start : start + 10]),
            typecast=False,
            by_id=False,
        )
        ids += [record["id"] for record in orjson.loads(b"[" + made + b"]")]
    found: dict[str, Any] = {}
    for kind, write in work(bench, rows, ids).items():
        ratios, rates = [], []
        for turn in range(arguments.repetitions):
            sides = {}
            for side in ("with", "without") if turn % 2 else ("without", "with"):
                if side == "with":
                    sides[side] = await throughput(write, writers=arguments.writers, seconds=arguments.seconds)
                else:
                    with without_log():
                        sides[side] = await throughput(write, writers=arguments.writers, seconds=arguments.seconds)
            ratios.append(sides["with"] / sides["without"])
            rates.append(sides["with"])
        found[kind] = {
            "ratio": statistics.median(ratios),
            "spread": [min(ratios), max(ratios)],
            "requests_per_s": statistics.median(rates),
        }
    found["bytes_per_created_cell"] = await bytes_per_cell(database, bench, 1)
    found["bytes_per_updated_cell"] = await bytes_per_cell(database, bench, 2)
    await database.close()
    await cache.close()
    return found


def main() -> None:
    """Run and print; `--record` keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="of each run")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--writers", type=int, default=16, help="tasks that write at the same time")
    parser.add_argument("--record", action="store_true", help="keep the figures in results/")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Platform(Path(folder) / "home", env={"PYAT_SAMPLE": "0"}) as platform,
    ):
        # Its own PostgreSQL, which writes to disk before it confirms, and nobody else at work.
        addresses = platform.server_addresses()
        found = asyncio.run(measure(arguments, addresses["database_url"], addresses["valkey_url"]))
    table = Table("work", "ratio to the same without the log", "spread", "requests/s", "budget")
    for kind, figures in found.items():
        if isinstance(figures, dict):
            spread = " to ".join(f"{value:.2f}" for value in figures["spread"])
            budget = f"{1 - COST_MAX:.2f}"
            table.add_row(kind, f"{figures['ratio']:.2f}", spread, f"{figures['requests_per_s']:,.0f}", budget)
        else:
            table.add_row(kind, f"{figures:.0f}", "", "", "")
    Console().print(table)
    if arguments.record:
        settings = {"writers": arguments.writers, "seconds": arguments.seconds, "repetitions": arguments.repetitions}
        keep(Path(__file__).parent, found, settings)


if __name__ == "__main__":
    main()
