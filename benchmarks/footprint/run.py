"""Memory (PSS of every process) and start-up time, in one process and in many.

`python -m benchmarks.footprint.run [--starts 5] [--record]`; Linux, because PSS comes from /proc.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import keep
from tests.acceptance.platform import Platform
from tests.acceptance.support import call

MEMORY_MB_MAX = 300
READY_S_MAX = 4.0


def pss_mb(pid: int) -> float:
    """Proportional set size of a process: what it owns, and its share of what it shares."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += tree(int(child))
    return found


def name_of(pid: int) -> str:
    """What a process is, in a word or two."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().split()
    if "pyat.assembly.supervise" in words:
        return "supervisor"
    if "pyat.assembly.process" in words:
        at = words.index("pyat.assembly.process") + 1
        return words[at] if at < len(words) and not words[at].startswith("-") else "platform"
    return "postgres" if "postgres" in words[0] else "valkey" if "valkey" in words[0] else words[0]


def memory(platform: Platform) -> dict[str, float]:
    """MB by kind of process, after a few requests and a moment of rest."""
    bases = call("GET", f"{platform.url}/v0/meta/bases", token=platform.token).body["bases"]
    for _ in range(20):
        call("GET", f"{platform.url}/v0/{bases[0]['id']}/Projects", token=platform.token)
    time.sleep(2)
    found: dict[str, float] = {}
    for pid in tree(platform.supervisor_pid):
        kind = name_of(pid)
        found[kind] = found.get(kind, 0.0) + pss_mb(pid)
    return found


def measure(mode: str, starts: int) -> dict[str, Any]:
    """One cold first start, then warm ones; memory in the last."""
    with tempfile.TemporaryDirectory(prefix="pyat-footprint-") as folder:
        Path(folder).chmod(0o711)
        platform = Platform(Path(folder) / "home", mode=mode)
        first_s = platform.start()
        platform.stop()
        warm, stops = [], []
        parts: dict[str, float] = {}
        for turn in range(starts):
            warm.append(platform.start())
            if turn == starts - 1:
                parts = memory(platform)
            stops.append(platform.stop())
    return {
        "first_start_s": round(first_s, 2),
        "warm_start_s": {
            "median": round(statistics.median(warm), 2),
            "spread": [round(min(warm), 2), round(max(warm), 2)],
        },
        "stop_s": round(statistics.median(stops), 2),
        "pss_mb": {name: round(size, 1) for name, size in sorted(parts.items())},
        "pss_total_mb": round(sum(parts.values()), 1),
    }


def main() -> None:
    """Measure, print, and with --record keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    chosen = parser.parse_args()
    results = {mode: measure(mode, chosen.starts) for mode in ("one-process", "processes")}
    table = Table(title=f"budget in one process: {MEMORY_MB_MAX} MB, ready in {READY_S_MAX} s ({os.cpu_count()} cores)")
    for heading in ("mode", "first start s", "warm start s", "stop s", "PSS MB", "of which"):
        table.add_column(heading)
    for mode, found in results.items():
        parts = ", ".join(f"{name} {size:.0f}" for name, size in found["pss_mb"].items())
        table.add_row(
            mode,
            str(found["first_start_s"]),
            str(found["warm_start_s"]["median"]),
            str(found["stop_s"]),
            str(found["pss_total_mb"]),
            parts,
        )
    Console().print(table)
    if chosen.record:
        keep(Path(__file__).parent, results, {"starts": chosen.starts})


if __name__ == "__main__":
    main()
