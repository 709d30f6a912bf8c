"""Results with machine, date and commit, beside the script that measured them."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def keep(folder: Path, results: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    """Write `results/DATE.json` in `folder`; a second run of a day takes the first one's place."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    day = datetime.now(UTC).date().isoformat()
    document = {
        "date": day,
        "commit": commit.stdout.strip(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "settings": dict(settings),
        "results": dict(results),
    }
    path = folder / "results" / f"{day}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return path
