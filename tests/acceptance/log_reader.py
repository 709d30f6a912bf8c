"""A reader of a base's change log that may be killed at any moment: it goes on after the last line of its own journal.

`python -m tests.acceptance.log_reader URL TOKEN BASE JOURNAL`
"""

import json
import sys
import time
from pathlib import Path

from tests.acceptance.support import call

PAGE_ROWS = 50


def after_of(journal: Path) -> int:
    """The number of the last whole line; a line that a kill cut off is removed."""
    if not journal.exists():
        return 0
    whole, _, _ = journal.read_bytes().rpartition(b"\n")
    journal.write_bytes(whole + b"\n" if whole else b"")
    return int(json.loads(whole.rpartition(b"\n")[2])["number"]) if whole else 0


def main() -> None:
    """Read for ever."""
    url, token, base_id, path = sys.argv[1:]
    journal = Path(path)
    after = after_of(journal)
    while True:
        try:
            page = call("GET", f"{url}/api/v1/bases/{base_id}/changes?after={after}&limit={PAGE_ROWS}", token=token)
        except OSError:
            time.sleep(0.05)
            continue
        if page.status != 200:
            time.sleep(0.05)
            continue
        with journal.open("a") as file:
            for change in page.body["changes"]:
                file.write(json.dumps(change) + "\n")
        after = page.body["nextAfter"]
        if after >= page.body["last"]:
            time.sleep(0.02)


if __name__ == "__main__":
    main()
