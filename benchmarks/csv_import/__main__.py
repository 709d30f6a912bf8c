"""Time the CSV import and plain COPY of the same rows in turn: `python -m benchmarks.csv_import --url postgresql://…`.

Without `--url` a PostgreSQL of its own is started, as the tests do.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.csv_import.data import PLAIN_COLUMNS, write
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, new_id
from pyat.recordstore import ddl
from pyat.recordstore.tabular.importing import import_as_table
from pyat.recordstore.tabular.infer import infer
from pyat.recordstore.tabular.sample import take_sample
from pyat.recordstore.tabular.sniff import sniff
from tests.support.servers import Run


async def plain_copy(database: Database, path: Path) -> float:
    """Seconds to COPY a ready file into a plain table with typed columns and no index."""
    start_s = time.perf_counter()
    async with database.transaction() as connection:
        await connection.script("create_plain", f"CREATE TABLE plain ({PLAIN_COLUMNS})")
        await connection.raw.copy_to_table("plain", source=path, timeout=600)
    return time.perf_counter() - start_s


async def whole_import(database: Database, base_id: BaseId, path: Path) -> tuple[float, int]:
    """Seconds from the bare file to committed records of a new table, and the records."""
    start_s = time.perf_counter()
    source = sniff(path)
    plans = infer(source, take_sample(source))
    report = await import_as_table(
        database, base_id, path.stem, source, plans, user_id="usr00000000000001", now=datetime.now(UTC)
    )
    return time.perf_counter() - start_s, report.rows


async def measure(url: str, rows: int, repetitions: int) -> None:
    """Print each repetition and the ratio."""
    database = await Database.open(url, connections_max=2)
    plain: list[float] = []
    ours: list[float] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            csv_path, copy_path = write(Path(folder), rows)
            print(f"{rows:,} rows, {csv_path.stat().st_size / 1e6:.1f} MB of CSV, Python {platform.python_version()}")
            # The first repetition warms caches and is not counted.
            for repetition in range(repetitions + 1):
                base_id = BaseId(new_id("app"))
                async with database.transaction() as connection:
                    await ddl.create_base(connection, base_id)
                plain_s = await plain_copy(database, copy_path)
                ours_s, loaded = await whole_import(database, base_id, csv_path)
                assert loaded == rows, f"{loaded} of {rows} rows were loaded"
                async with database.transaction() as connection:
                    await connection.script("drop", f'DROP TABLE plain; DROP SCHEMA "{base_id}" CASCADE')
                if repetition:
                    plain.append(plain_s)
                    ours.append(ours_s)
                    print(f"plain COPY {plain_s:.3f} s   import {ours_s:.3f} s   ratio {plain_s / ours_s:.2f}")
    finally:
        await database.close()
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    print(
        f"median: plain COPY {statistics.median(plain):.3f} s, import {statistics.median(ours):.3f} s"
        f" ({rows / statistics.median(ours):,.0f} rows/s)"
    )
    print(f"ratio: median {statistics.median(ratios):.2f}, spread {min(ratios):.2f} to {max(ratios):.2f}; budget 0.20")


@contextmanager
def _server() -> Iterator[str]:
    run = Run.begin()
    try:
        yield run.postgres().url()
    finally:
        run.end()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.csv_import", description=__doc__)
    parser.add_argument("--url", help="PostgreSQL to use; its user must be allowed to create schemas")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.url is not None:
        uvloop.run(measure(arguments.url, arguments.rows, arguments.repetitions))
    else:
        with _server() as url:
            uvloop.run(measure(url, arguments.rows, arguments.repetitions))


if __name__ == "__main__":
    main()
