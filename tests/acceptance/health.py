"""Starts the platform in both modes and prints the health of every service; status 1 when one is not ready.

The last step of ./test-all-services.sh: `python -m tests.acceptance.health`.
"""

import sys
import tempfile
from pathlib import Path

from pyat.assembly.catalog import NAMES
from tests.acceptance.platform import Platform
from tests.acceptance.support import call


def main() -> int:
    """Both modes, one after the other."""
    failures = 0
    for mode in ("one-process", "processes"):
        with tempfile.TemporaryDirectory(prefix="pyat-health-") as folder:
            # The database's user passes through the folder of a root user's home.
            Path(folder).chmod(0o711)
            platform = Platform(Path(folder) / "home", mode=mode)
            started_s = platform.start()
            try:
                report = call("GET", f"{platform.url}/health/ready")
                print(f"{mode}: ready after {started_s:.1f} s, status {report.status}")
                for name in NAMES:
                    found = report.body["services"].get(name, {"ready": False, "checks": {}, "latency_ms": 0})
                    failures += not found["ready"]
                    checks = ", ".join(
                        f"{check} {'ok' if fine else 'FAILED'}" for check, fine in found["checks"].items()
                    )
                    print(
                        f"  {name:<20} {'ready' if found['ready'] else 'NOT READY':<10} {found['latency_ms']:>8} ms  {checks}"
                    )
            finally:
                print(f"  stopped after {platform.stop():.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
