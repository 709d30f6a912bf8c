"""`pyat doctor`: looks at everything that the platform needs of a machine, and says what to do where it is missing."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from pyat.assembly.catalog import CATALOG, GATEWAY, port_of
from pyat.assembly.home import SOCKET_PATH_MAX, Home, HomeError, can_reach, server_user
from pyat.assembly.servers import postgres_programs, valkey_program
from pyat.foundation.settings import PlatformSettings

DISK_FREE_MIN = 1024**3
MEMORY_MIN = 1024**3

Finding = tuple[bool, str, str]
"""Whether it is fine, what was looked at, and what to do (empty when fine)."""


def show(settings: PlatformSettings) -> int:
    """Print every finding; 0 when nothing is wrong."""
    console = Console(highlight=False)
    failures = 0
    for is_fine, what, advice in findings(settings):
        mark = "[green]ok[/green]  " if is_fine else "[red]no[/red]  "
        console.print(f"{mark} {what}")
        if not is_fine:
            failures += 1
            console.print(f"      → {advice}")
    console.print("Nothing is wrong." if failures == 0 else f"{failures} thing(s) to mend.")
    return 1 if failures else 0


def findings(settings: PlatformSettings) -> Iterator[Finding]:
    """Each look at the machine, cheapest first."""
    yield (
        sys.version_info >= (3, 11),
        f"Python {platform.python_version()}",
        "Install Python 3.11 or newer and remove .venv.",
    )
    home = Home(settings.home)
    try:
        home.prepare()
    except HomeError as error:
        yield False, f"Home {home.path}", str(error)
        return
    yield True, f"Home {home.path} can be written", ""
    yield _disk(home.path)
    yield _memory()
    if settings.database_url is None:
        yield from _postgres(home)
    else:
        yield True, "PostgreSQL is external (PYAT_DATABASE_URL)", ""
    if settings.valkey_url is None:
        yield _runs("Valkey", valkey_program)
    else:
        yield True, "Valkey is external (PYAT_VALKEY_URL)", ""
    length = len(os.fsencode(home.sockets / "postgres" / ".s.PGSQL.5432"))
    yield (
        length <= SOCKET_PATH_MAX + 14,
        f"Socket folder {home.sockets}",
        "Set TMPDIR to a shorter folder: a Unix socket's path has at most about 100 bytes.",
    )
    if home.is_locked():
        state = home.state()
        yield True, f"PyAirtable runs on this home (process {state.get('pid')}, {state.get('url')})", ""
    else:
        for name in (GATEWAY, *(entry.name for entry in CATALOG)):
            yield _port(settings.host, port_of(name, public_port=settings.port), name)


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    return free >= DISK_FREE_MIN, f"{free // 1024**2} MiB free on the disk of the home", "Free at least 1 GiB there."


def _memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total >= MEMORY_MIN, f"{total // 1024**2} MiB of memory", "The platform wants 1 GiB of memory or more."


def _postgres(home: Home) -> Iterator[Finding]:
    try:
        user = server_user()
    except HomeError as error:
        yield False, "User for PostgreSQL", str(error)
        return
    yield _runs("PostgreSQL", lambda: postgres_programs() / "postgres")
    if user is not None:
        where = home.postgres
        yield True, f"PostgreSQL runs as {user.name}, because root may not run it; its data lies in {where}", ""
        if not can_reach(postgres_programs(), user):
            yield True, f"{user.name} cannot read PostgreSQL's programs in place; a copy is made for it", ""


def _runs(name: str, program: Callable[[], Path]) -> Finding:
    try:
        path = program()
        finished = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (HomeError, OSError, subprocess.TimeoutExpired) as error:
        return False, name, f"{error} Run ./start-all-services.sh to install the packages again."
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip().splitlines()
        return False, name, f"It does not run here: {said[-1] if said else 'no reason given'}"
    return True, f"{finished.stdout.strip().splitlines()[0]}", ""


def _port(host: str, port: int, name: str) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return (
                False,
                f"Port {port} ({name})",
                f"It cannot be used ({error.strerror}): stop what uses it or set PYAT_PORT.",
            )
    return True, f"Port {port} ({name}) is free", ""
