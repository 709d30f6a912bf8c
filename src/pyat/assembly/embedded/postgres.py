"""Embedded PostgreSQL: set up once, started from any state that kill -9 can leave, watched, stopped."""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pyat.assembly.embedded.accounts import make_folder, run_as
from pyat.assembly.embedded.errors import Cancelled, HomeError, ServerFailed
from pyat.assembly.embedded.files import log_lines, size_bytes, sync_folder, write_private
from pyat.assembly.embedded.home import Home, unwritable
from pyat.assembly.embedded.processes import Found, Running, Started, end, find, spawn, wait_until
from pyat.assembly.embedded.programs import postgres_package

MAJOR_VERSION = "18"
CONNECTIONS_MAX = 60
"""Every connection that is open takes about 14 KB for each table it has touched; one that may be opened about 60 KB."""

_SETTINGS = {
    # Reached by a Unix socket in a private folder alone.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # An acknowledged commit is on the disk: fsync, full_page_writes and synchronous_commit keep their default, on.
    # What a crash leaves to replay is bounded, so that the server is back in seconds.
    "max_wal_size": "256MB",
    "min_wal_size": "48MB",
    "checkpoint_timeout": "5min",
    # Small: shared memory counts when it is touched, and helper processes count always.
    "shared_buffers": "64MB",
    # Writers that wait for each other in a circle are found sooner; one of them is tried again.
    "deadlock_timeout": "200ms",
    "huge_pages": "off",
    "io_method": "sync",
    "max_wal_senders": "0",
    "max_replication_slots": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_locks_per_transaction": "128",
    "autovacuum_max_workers": "2",
    "autovacuum_worker_slots": "2",
    "autovacuum_naptime": "30s",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    # Compiling costs more than it saves on statements of milliseconds. Disks are not spinning.
    "jit": "off",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # Logs hold no cell value: neither statements nor the details of errors.
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}

_SETUP = "2"
"""Changes with `_SETUP_PLATFORM` and `_SETUP_DATABASE`, which are then run again on an existing cluster."""
_SETUP_PLATFORM = (
    # Errors of the platform's own sessions are reported by the platform, without the values that they speak of.
    "ALTER ROLE pyat SET log_min_messages = 'log'",
)
_SETUP_DATABASE = ("CREATE EXTENSION IF NOT EXISTS vector",)

_SETUP_BYTES_MIN = 160 * 1024 * 1024
_FULL_BYTES = 1024 * 1024
_SETUP_TIMEOUT_S = 120.0
_CANCEL_CHECK_S = 0.1
_LEFTOVER_PATIENCE_S = 0.2
_ANSWER_TIMEOUT_S = 2.0
_SHARED_MEMORY_PATIENCE_S = 10.0
_KILLED_MAX = 3
_PORT = 5432
"""Part of the socket's name; nothing listens on it."""
_FAST, _IMMEDIATE = signal.SIGINT, signal.SIGQUIT

_NOT_ACCEPTING = b"57P03"
"""SQLSTATE of a server that starts, recovers or shuts down."""


@dataclass(frozen=True, slots=True)
class _PidFile:
    """What a postmaster says about itself in its data folder."""

    pid: int
    status: str

    @classmethod
    def read(cls, data: Path) -> "_PidFile | None":
        """None where there is none, or one that is being written."""
        try:
            lines = (data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
            return cls(int(lines[0]), lines[7].strip() if len(lines) > 7 else "")
        except (OSError, ValueError, IndexError):
            return None


class _SetupKilled(ServerFailed):
    """Somebody killed a program of the setup: that is no reason to give up at once."""


class EmbeddedPostgres:
    """PostgreSQL of a home, as the home's account. One thread at a time may use it, and the home has to be locked.

    `url` is for services: the role `pyat`, no superuser, which owns the database `pyat`. `admin_url` is the superuser's.
    """

    name = "postgres"

    def __init__(self, home: Home, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self._home = home
        self._connections_max = connections_max
        self._data = home.postgres / "data"
        self._sockets = home.sockets / "postgres"
        self._log = home.logs / "postgres.log"
        self._running: Running | None = None
        self.is_adopted = False
        """Whether the running server was left by a supervisor that was killed."""

    @property
    def url(self) -> str:
        """How services connect: role and database `pyat`."""
        return self._url("pyat", self._home.secrets()["postgres_password"])

    @property
    def admin_url(self) -> str:
        """The superuser's connection to the same database."""
        return self._url("postgres", self._home.secrets()["postgres_admin_password"])

    def _url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@/pyat?host={quote(str(self._sockets))}"

    @property
    def running(self) -> Running | None:
        """The postmaster, until `stop`."""
        return self._running

    def start(self, *, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Bring it up and wait until it accepts connections, however long its recovery takes.

        A server that a killed supervisor left is taken over when it answers and has our settings; else it is replaced.
        Raises HomeError; Cancelled when `is_cancelled` says so, with nothing left running but a setup that ends by itself.
        """
        self._is_cancelled = is_cancelled
        self._home.make_parts()
        self._account = self._home.account()
        # PostgreSQL notes its own program without links; see _has_our_options.
        self._program = os.path.realpath(postgres_package().runnable(self._account, self._home.programs))
        try:
            make_folder(self._sockets, self._account)
            make_folder(self._data.parent, self._account)
        except OSError as error:
            raise unwritable(error=error, path=self._data.parent) from error
        if self._adopt():
            return
        self._set_up()
        self._launch()

    # Setting up

    def _set_up(self) -> None:
        """Make the cluster, once, whole: a first start that was killed leaves only a draft, which is thrown away."""
        stamp = self._home.path / "postgres-setup"
        version = self._data / "PG_VERSION"
        is_new = not version.exists()
        if not is_new:
            found = version.read_text("utf-8").strip()
            if found != MAJOR_VERSION:
                raise ServerFailed(
                    f"The data in {self._data} was written by PostgreSQL {found}, but this is {MAJOR_VERSION}: go back to the"
                    " release of PyAirtable that made it, or dump it there and load it into a new home."
                )
            with contextlib.suppress(OSError):
                if stamp.read_text("utf-8") == _SETUP:
                    return
        self._end_leftovers()
        with self._setup_lock() as lock:
            for attempt in range(_KILLED_MAX + 1):
                try:
                    if is_new:
                        self._make_cluster(lock)
                    else:
                        self._amend_cluster(self._data, lock)
                    break
                except _SetupKilled:
                    if attempt == _KILLED_MAX:
                        raise
                except OSError as error:
                    raise unwritable(self._data.parent, error) from error
        try:
            write_private(stamp, _SETUP)
        except OSError as error:
            raise unwritable(self._home.path, error) from error

    @contextmanager
    def _setup_lock(self) -> Iterator[int]:
        """Held by the programs of a setup as well: those of a killed supervisor end by themselves, and are waited for."""
        descriptor = os.open(self._home.path / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:

            def is_claimed() -> bool:
                if self._is_cancelled():
                    raise Cancelled
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not wait_until(is_claimed, timeout_s=_SETUP_TIMEOUT_S):
                raise ServerFailed(
                    f"An earlier start is still setting up PostgreSQL in {self._data.parent}: end its process initdb, then"
                    " start again."
                )
            yield descriptor
        finally:
            os.close(descriptor)

    def _make_cluster(self, lock: int) -> None:
        import shutil

        folder = self._data.parent
        if _free_bytes(folder) < _SETUP_BYTES_MIN:
            raise ServerFailed(
                f"The disk of {folder} is full: PostgreSQL needs {_SETUP_BYTES_MIN // 1024**2} MiB there for a start, so free"
                " some space, or set PYAT_HOME to a larger disk."
            )
        # initdb would say of a program that cannot be loaded that it is not there.
        self._run(lock, [self._program, "--version"])
        draft, password_file = folder / "draft", folder / "password"
        for process in self._processes(draft):
            end(process, ((signal.SIGKILL, 3.0),))
        for left in (draft, password_file):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
        secrets = self._home.secrets()
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets["postgres_admin_password"])
            if self._account is not None:
                os.fchown(descriptor, self._account.uid, self._account.gid)
        initdb = str(Path(self._program).with_name("initdb"))
        # All of it is brought to the disk at the end, in one go.
        self._run(
            lock, [initdb, "-D", str(draft), "-U", "postgres", "-E", "UTF8", "--locale=C", "--locale-provider=builtin",
                   "--builtin-locale=C.UTF-8", "--data-checksums", "--auth-local=scram-sha-256", "--auth-host=reject",
                   f"--pwfile={password_file}", "--no-instructions", "--no-sync"],
        )  # fmt: skip
        password_file.unlink()
        self._run_sql(
            lock,
            draft,
            "postgres",
            f"CREATE ROLE pyat LOGIN PASSWORD '{secrets['postgres_password']}'",
            "CREATE DATABASE pyat OWNER pyat",
        )
        self._amend_cluster(draft, lock)
        self._run(lock, [initdb, "--sync-only", *_sync_method("--sync-method=syncfs"), "-D", str(draft)])
        draft.rename(self._data)
        sync_folder(folder)

    def _amend_cluster(self, data: Path, lock: int) -> None:
        self._run_sql(lock, data, "postgres", *_SETUP_PLATFORM)
        self._run_sql(lock, data, "pyat", *_SETUP_DATABASE)

    def _run_sql(self, lock: int, data: Path, database: str, *statements: str) -> None:
        """Run statements before any socket is open. Each stands on a line of its own, as single-user mode wants it."""
        words = [self._program, "--single", "-D", str(data), "-c", "log_min_messages=error", "-c", "exit_on_error=on"]
        if data != self._data:
            words.append("-F")  # the draft is brought to the disk as a whole
        self._run(lock, [*words, database], text="".join(f"{statement}\n" for statement in statements))

    def _run(self, lock: int, words: list[str], *, text: str = "") -> None:
        process = spawn(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            **run_as(self._account),
        )
        deadline_s = time.monotonic() + _SETUP_TIMEOUT_S
        rest: bytes | None = text.encode()
        while True:
            try:
                output, _ = process.communicate(rest, timeout=_CANCEL_CHECK_S)
                break
            except subprocess.TimeoutExpired:
                rest = None
                if self._is_cancelled() or time.monotonic() > deadline_s:
                    process.kill()
        if self._is_cancelled():
            raise Cancelled
        lines = output.decode("utf-8", "replace").splitlines()
        if process.returncode == -signal.SIGKILL or any("signal 9" in line for line in lines):
            raise _SetupKilled("PostgreSQL cannot be set up: its programs are killed again and again.")
        if process.returncode != 0:
            raise self._failure(lines, process.returncode, "be set up")

    # Starting

    @property
    def _title(self) -> str:
        """Marks every process of this server in the list of processes."""
        return f"pyat-{self._home.digest}"

    def _words(self) -> list[str]:
        settings = {
            **_SETTINGS,
            "max_connections": str(self._connections_max),
            "unix_socket_directories": str(self._sockets),
            "cluster_name": self._title,
            "dynamic_shared_memory_type": _dynamic_memory_type(),
            **({"recovery_init_sync_method": "syncfs"} if _sync_method("syncfs") else {}),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._program, "-D", str(self._data), *words]

    def _launch(self) -> None:
        killed = 0
        deadline_s = time.monotonic() + _SHARED_MEMORY_PATIENCE_S
        while True:
            self._end_leftovers()
            self._forget_dead_postmaster()
            log_start = size_bytes(self._log)
            self._running, self.is_adopted = self._spawn(), False
            if self._is_up(self._running):
                return
            lines = log_lines(self._log, since_bytes=log_start)
            status = self._running.status
            # Somebody killed it while it started: that is no reason to give up.
            if status == -signal.SIGKILL and killed < _KILLED_MAX:
                killed += 1
                continue
            # A backend of a killed postmaster may have come late to its end.
            if any("still in use" in line for line in lines) and time.monotonic() < deadline_s:
                time.sleep(0.05)
                continue
            raise self._failure(lines, status, "start")

    def _spawn(self) -> Running:
        try:
            with self._log.open("ab") as log:
                return Started(spawn(self._words(), stdout=log, stderr=log, **run_as(self._account)))
        except OSError as error:
            if error.filename == str(self._log):
                raise unwritable(self._log, error) from error
            raise postgres_package().not_runnable(error.strerror or str(error)) from error

    def _is_up(self, process: Running) -> bool:
        """Wait until it accepts connections; False when it ended instead. Recovery may take its time."""
        while process.status is None:
            if self._is_cancelled():
                self.stop()
                raise Cancelled
            found = _PidFile.read(self._data)
            if found is not None and found.pid == process.pid and found.status == "ready":
                return True
            time.sleep(0.005)
        return False

    def _adopt(self) -> bool:
        """Take over a server that runs on our data already, if it answers and is as we would start it."""
        known = _PidFile.read(self._data)
        if known is None:
            return False
        ours = {process.pid: process for process in self._processes()}
        master = ours.get(known.pid)
        if master is None:
            return False
        if not self._has_our_options() or known.status == "stopping" or not self._answers(master):
            end(master, ((_FAST, 5.0), (_IMMEDIATE, 1.0), (signal.SIGKILL, 2.0)))
            return False
        self._running, self.is_adopted = master, True
        return True

    def _answers(self, master: Running) -> bool:
        while master.status is None:
            if self._is_cancelled():
                raise Cancelled
            answer = _ask(self._sockets / f".s.PGSQL.{_PORT}")
            if answer != _NOT_ACCEPTING:
                return answer == b"R"
            time.sleep(0.02)
        return False

    def _has_our_options(self) -> bool:
        words = self._words()
        with contextlib.suppress(OSError):
            found = (self._data / "postmaster.opts").read_text("utf-8", "replace").rstrip("\n")
            return found == words[0] + "".join(f' "{word}"' for word in words[1:])
        return False

    def _processes(self, folder: Path | None = None) -> list[Found]:
        """Every process that works on our data, or in another folder, whoever started it."""
        uid = os.geteuid() if self._account is None else self._account.uid
        title = self._title if folder is None else str(folder)
        return find("postgres", uid=uid, folder=Path(os.path.realpath(folder or self._data)), title=title)

    def _end_leftovers(self) -> None:
        """End what a killed postmaster left: its processes hold the shared memory that a new one waits for."""
        left = self._processes()
        if left:
            # They notice by themselves, but one that computes does so late.
            wait_until(lambda: all(process.status is not None for process in left), timeout_s=_LEFTOVER_PATIENCE_S)
            for process in self._processes():
                end(process, ((signal.SIGKILL, 3.0),))

    def _forget_dead_postmaster(self) -> None:
        """Remove lock files of a postmaster that is gone, where its process id belongs to somebody else by now.

        Nobody works on the data (that was looked at just before), yet PostgreSQL would take that process for a postmaster.
        Where nobody has the id, PostgreSQL sees so itself. Its own look at the shared memory is not touched.
        """
        for path in (self._data / "postmaster.pid", self._sockets / f".s.PGSQL.{_PORT}.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                # A server in single-user mode notes its id as a negative number.
                os.kill(abs(int(path.read_text("utf-8", "replace").splitlines()[0])), 0)
                path.unlink()

    # Stopping

    def stop(self, *, fast_s: float = 2.5) -> None:
        """Shut down cleanly within `fast_s`, else at once: the log makes up for it at the next start."""
        if self._running is not None:
            end(self._running, ((_FAST, fast_s), (_IMMEDIATE, 0.5), (signal.SIGKILL, 1.0)))
            self._running = None

    # Explaining

    def _failure(self, lines: list[str], status: int | None, what: str) -> HomeError:
        said = _reason(lines) or f"it ended with status {status}"
        text = "\n".join(lines)
        if "shared libraries" in text or "dyld" in text or "GLIBC" in text:
            return postgres_package().not_runnable(said)
        if "semaphore" in text or "shared memory segment" in text:
            advice = "this machine allows too little shared memory or too few semaphores, so raise these limits"
        elif (
            "No space left on device" in text
            or "quota exceeded" in text
            or _free_bytes(self._data.parent) < _FULL_BYTES
        ):
            # A full disk takes no log either.
            advice = f"the disk of {self._data.parent} is full, so free some space there"
        elif "Cannot allocate memory" in text:
            advice = "this machine has too little free memory, so end something else"
        elif "Permission denied" in text or "wrong ownership" in text or "invalid permissions" in text:
            who = "this user" if self._account is None else self._account.name
            advice = f"give {self._data.parent} and all in it back to {who}"
        else:
            advice = f"its log is {self._log}"
        return ServerFailed(f"PostgreSQL cannot {what}: {advice}. It said: {said}")


def _reason(lines: list[str]) -> str:
    """The line that says why it ended: the last fatal one, else the last one, without its prefix."""
    for line in reversed(lines):
        for mark in ("PANIC:", "FATAL:", "error:", "ERROR:"):
            if mark in line:
                return line.partition(mark)[2].strip()
    return lines[-1].strip() if lines else ""


def _sync_method(word: str) -> list[str]:
    """[word] where one call writes a whole file system and says whether that went well (Linux 5.8), else nothing.

    The other way is one call for each of a thousand files: seconds on a busy disk, at first start and after each crash.
    """
    if sys.platform != "linux":
        return []
    major, minor = os.uname().release.split(".")[:2]
    return [word] if (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 8) else []


def _free_bytes(folder: Path) -> int:
    """What others than root may still write on the disk of `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _dynamic_memory_type() -> str:
    """What parallel queries share memory by: containers often give /dev/shm 64 MB, which a large join outgrows."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            found = os.statvfs("/dev/shm")  # noqa: S108 - looked at, not written to
            if found.f_blocks * found.f_frsize >= 256 * 1024 * 1024:
                return "posix"
        return "sysv"
    return "posix"


def _ask(path: Path) -> bytes:
    """What a server says to somebody who wants to connect: b"R" when it accepts connections, an SQLSTATE, or nothing."""
    parameters = b"user\0pyat\0database\0pyat\0\0"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(struct.pack("!ii", 8 + len(parameters), 196608) + parameters)
        answer = connection.recv(4096)
        if answer[:1] != b"E":
            return answer[:1]
        fields = {field[:1]: field[1:] for field in answer[5:].split(b"\0")}
        return fields.get(b"C", b"")
    return b""
