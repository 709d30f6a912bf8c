"""Runs a supervisor for the tests: the plan as JSON on standard input, `ready` on standard output when all answer.

`--as NAME` gives root up first, as a normal user would run it. `--shared-root` replaces /var/lib/pyat. `--server NAME` starts
one embedded server without a supervisor and waits to be killed. Orphans become this process's children, as they become those
of the first process of a container.
"""

import argparse
import ctypes
import logging
import os
import pwd
import shutil  # noqa: F401 - imported while the interpreter's own files can still be read
import sys
import time
import zlib  # noqa: F401 - likewise
from pathlib import Path

import psutil  # noqa: F401 - likewise

from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import SHARED_ROOT, Home
from pyat.assembly.embedded.postgres import EmbeddedPostgres
from pyat.assembly.embedded.valkey import EmbeddedValkey
from pyat.assembly.supervisor import Plan, Supervisor

PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--as", dest="user")
    parser.add_argument("--shared-root", type=Path, default=SHARED_ROOT)
    parser.add_argument("--server", choices=("postgres", "valkey"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)d %(message)s")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    plan = Plan.from_json(sys.stdin.read())
    if options.user is not None:
        user = pwd.getpwnam(options.user)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    home = Home(Path(plan.home), shared_root=options.shared_root)
    try:
        if options.server is not None:
            home.prepare()
            home.lock()
            server = EmbeddedPostgres(home) if options.server == "postgres" else EmbeddedValkey(home)
            server.start()
            print("ready", flush=True)
            time.sleep(600)
        Supervisor(plan, environ=os.environ, on_ready=lambda: print("ready", flush=True), home=home).run()
    except HomeError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
