"""`pyat doctor`: looks at everything that the platform needs of a machine, and says what to do where it is missing."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyat
from pyat.assembly.catalog import CATALOG, GATEWAY, port_of
from pyat.assembly.embedded.accounts import run_as
from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.embedded.programs import Package, postgres_package, valkey_package
from pyat.foundation.settings import PlatformSettings

DISK_FREE_BYTES_MIN = 1024**3
MEMORY_BYTES_MIN = 1024**3
OPEN_FILES_MIN = 1024
CLOCK_TOLERANCE_S = 300.0
_MIB = 1024**2
_TRY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at; `advice` is what to do about it, empty where it is fine."""

    what: str
    advice: str = ""
    is_vital: bool = True
    """False where only some ways to run the platform need it."""


def show(settings: PlatformSettings) -> int:
    """Print every finding; 0 when nothing vital is wrong, 1 otherwise."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    failures = 0
    for finding in findings(settings):
        is_failure = bool(finding.advice) and finding.is_vital
        failures += is_failure
        mark, style = ("no", "red") if is_failure else ("note", "yellow") if finding.advice else ("ok", "green")
        console.print(Text.assemble((f"{mark:<5}", style), finding.what), soft_wrap=True)
        if finding.advice:
            console.print(Text(f"     → {finding.advice}"), soft_wrap=True)
    if failures:
        console.print("One thing has to be mended." if failures == 1 else f"{failures} things have to be mended.")
        return 1
    console.print("Nothing is wrong.")
    return 0


def findings(settings: PlatformSettings) -> Iterator[Finding]:
    """Each look at the machine, cheapest first."""
    has_python = sys.version_info >= (3, 11)
    yield Finding(
        f"Python {platform.python_version()}",
        "" if has_python else "Install Python 3.11 or newer, remove .venv and run ./start-all-services.sh again.",
    )
    yield _memory()
    yield _open_files()
    home = Home(settings.home)
    try:
        home.prepare()
        account = home.account()
    except HomeError as error:
        yield Finding(f"Home {home.path}", str(error))
        return
    yield _writable(home.path)
    yield _disk(home.path)
    yield _clock(home)
    if settings.database_url is None:
        where = home.postgres
        if account is not None:
            yield Finding(f"PostgreSQL runs as {account.name}, because root may not run it; its data lies in {where}")
        yield _runs("PostgreSQL", postgres_package, home)
        if home.postgres.exists() and not home.postgres.is_relative_to(home.path):
            yield _disk(home.postgres)
    else:
        yield _answers("PostgreSQL", settings.database_url.get_secret_value(), "PYAT_DATABASE_URL", 5432)
    if settings.valkey_url is None:
        yield _runs("Valkey", valkey_package, home)
    else:
        yield _answers("Valkey", settings.valkey_url.get_secret_value(), "PYAT_VALKEY_URL", 6379)
    if settings.database_url is None or settings.valkey_url is None:
        yield _sockets(home)
    yield from _running(settings, home)


def _memory() -> Finding:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    advice = "" if total >= MEMORY_BYTES_MIN else "Give this machine 1 GiB of memory or more."
    return Finding(f"{total // _MIB:,} MiB of memory", advice)


def _open_files() -> Finding:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_enough = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_MIN
    number = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    return Finding(
        f"A process may have {number} open files",
        "" if is_enough else f"Run `ulimit -n {OPEN_FILES_MIN}` before the platform: each client's connection is one.",
    )


def _writable(path: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"PyAirtable")
            file.flush()
    except OSError as error:
        return Finding(
            f"Home {path}", f"It cannot be written ({error.strerror}): give it to this user, or set PYAT_HOME."
        )
    return Finding(f"Home {path} can be written")


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    advice = "" if free >= DISK_FREE_BYTES_MIN else "Free at least 1 GiB there: a full disk stops every write."
    return Finding(f"{free // _MIB:,} MiB free on the disk of {path}", advice)


def _clock(home: Home) -> Finding:
    """A clock that went back makes tokens and identities invalid, and new records older than old ones."""
    newest = Path(pyat.__file__).stat().st_mtime
    for name in ("state.json", "credentials.json", "prepared"):
        if (home.path / name).exists():
            newest = max(newest, (home.path / name).stat().st_mtime)
    now_s = time.time()
    what = f"The clock says {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now_s))} UTC"
    if now_s < newest - CLOCK_TOLERANCE_S:
        return Finding(what, "Files of this installation are from later than that: set the clock.")
    return Finding(what)


def _runs(name: str, find: Callable[[], Package], home: Home) -> Finding:
    """Whether a server's program runs here, as the user it will run as; that fails where a shared library is missing."""
    try:
        package = find()
    except HomeError as error:
        return Finding(name, str(error))
    account = home.account()
    try:
        said = _version(package.path, run_as(account))
    except PermissionError:
        # Root's own folders are closed to the servers' user: for it the start makes a copy, and we try as ourselves.
        said = _version(package.path, {})
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(f"{name}: {package.path}", str(package.not_runnable(str(error))))
    if said.returncode != 0:
        reason = (said.stderr or said.stdout).strip().splitlines() or [f"it ended with status {said.returncode}"]
        return Finding(f"{name}: {package.path}", str(package.not_runnable(reason[-1])))
    return Finding(f"{said.stdout.strip().splitlines()[0]} runs here")


def _version(program: Path, how: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    words = [str(program), "--version"]
    return subprocess.run(words, capture_output=True, text=True, timeout=_TRY_TIMEOUT_S, check=False, **how)  # type: ignore[call-overload,no-any-return]


def _answers(name: str, url: str, setting: str, port: int) -> Finding:
    """Whether somebody listens at an external server's address."""
    from urllib.parse import parse_qs, urlsplit

    try:
        parts = urlsplit(url)
        folder = parse_qs(parts.query).get("host", [""])[0]
        host, port = parts.hostname or "", parts.port or port
    except ValueError:
        return Finding(f"{name} is external", f"{setting} is no URL: correct it.")
    if parts.scheme == "unix" or folder.startswith("/"):
        path = Path(parts.path if parts.scheme == "unix" else f"{folder}/.s.PGSQL.{port}")
        is_there = path.is_socket()
        return Finding(
            f"{name} at {path}", "" if is_there else f"Nobody listens there: start it, or correct {setting}."
        )
    try:
        socket.create_connection((host or "localhost", port), timeout=3).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return Finding(
            f"{name} at {host}:{port}", f"It does not answer ({reason}): start it there, or correct {setting}."
        )
    return Finding(f"{name} answers at {host}:{port}")


def _sockets(home: Home) -> Finding:
    try:
        home.make_parts()
    except HomeError as error:
        return Finding(f"Sockets in {home.sockets}", str(error))
    return Finding(f"Sockets in {home.sockets}")


def _running(settings: PlatformSettings, home: Home) -> Iterator[Finding]:
    """What runs on this home, or whether its ports are free."""
    state = home.state()
    if home.is_locked():
        children = state.get("children", {})
        yield Finding(f"PyAirtable runs on this home (process {state.get('pid')}, {state.get('url')})")
        for name, child in children.items():
            if child.get("trouble"):
                log = home.logs / f"{name}.log"
                yield Finding(f"{name} {child['trouble']}", f"Its log says why: {log}")
        return
    if state.get("pid"):
        yield Finding(
            f"PyAirtable ended without a farewell (process {state['pid']})",
            "Nothing is lost; the next start mends what is left over.",
            is_vital=False,
        )
    yield _port(settings.host, settings.port, GATEWAY)
    for entry in CATALOG:
        port = port_of(entry.name, public_port=settings.port)
        found = _port("127.0.0.1", port, entry.name)
        yield Finding(found.what, found.advice and f"{found.advice} Only --processes needs it.", is_vital=False)


def _port(host: str, port: int, name: str) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return Finding(
                f"Port {port} ({name})", f"It cannot be used ({reason}): stop what uses it, or set PYAT_PORT."
            )
    return Finding(f"Port {port} ({name}) is free")
