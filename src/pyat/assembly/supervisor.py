"""The supervisor: keeps the embedded servers and the application processes alive, and stops them in order.

One small process of the standard library alone, so that it has nothing to fail at. One loop looks at everything that may
have changed; what takes time (a server's start, the wait for an answer) runs in a thread and wakes the loop at its end.
"""

import contextlib
import errno
import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyat import __version__
from pyat.assembly.embedded.errors import Cancelled, HomeError, PortTaken, ProcessFailed
from pyat.assembly.embedded.files import log_tail, rotate_logs, size_bytes
from pyat.assembly.embedded.home import Home, unwritable
from pyat.assembly.embedded.postgres import CONNECTIONS_MAX, EmbeddedPostgres
from pyat.assembly.embedded.processes import Started, end, reap, spawn
from pyat.assembly.embedded.valkey import EmbeddedValkey
from pyat.assembly.parent import LISTEN_VARIABLE, PIPE_VARIABLE

_log = logging.getLogger("pyat.supervisor")

PAUSES_S = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Before the first, second, … restart in a row of something that keeps dying."""
STEADY_S = 30.0
"""After running this long, something has no history of failures any more."""
FAILURES_BEFORE_READY_MAX = 3
"""Ends of one process during the start after which the start is given up."""
LOOP_FAILURES = 5
"""Ends in a row after which the log says that something is in a loop, and how its own log ends."""
READY_TIMEOUT_S = 120.0
PREPARE_ATTEMPTS_MAX = 3
DRAIN_S = 5.5
"""How long applications may finish what they answer; with the servers' time below, a stop takes less than 10 s."""
DRAIN_OTHERS_S = 1.0
"""What is left at least to those that stop after the entry: nothing is asked of them any more."""
PORT_PATIENCE_S = 8.0
PROBE_TIMEOUT_S = 2.0
PROBE_PAUSE_S = 0.02
LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_CHECK_S = 10.0
LISTEN_BACKLOG = 2048
UNWATCHED_PAUSE_S = 0.15
"""How often a server is looked at that we did not start, where the system cannot wake us at its end."""

Server = EmbeddedPostgres | EmbeddedValkey


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """An application process. Several may have the same host and port: they share one listening socket."""

    name: str
    argv: tuple[str, ...]
    port: int
    host: str = "127.0.0.1"
    env: Mapping[str, str] = field(default_factory=dict)
    health_path: str = "/health/ready"
    """Answers 200 when the process is ready."""
    needs: tuple[str, ...] = ()
    """Processes, `postgres` and `valkey` among them, that have to be ready before this one is started the first time.

    Without any it starts beside the servers and waits for them by itself: loading its libraries takes longer than they do.
    """
    is_entry: bool = False
    """Takes requests that other processes help to answer, so it stops before those."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Travels as JSON, see `to_json`."""

    home: str
    url: str
    """Where the platform is reached, as told to people."""
    mode: str
    """The topology's name, for `pyat status`."""
    processes: tuple[ProcessSpec, ...]
    prepare: tuple[str, ...] | None = None
    """A command that has to succeed between the servers' start and the processes'; it may be repeated."""
    has_postgres: bool = True
    has_valkey: bool = True
    connections_max: int = CONNECTIONS_MAX
    """Connections that the embedded PostgreSQL accepts."""

    def to_json(self) -> str:
        """The plan as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """The plan that `to_json` wrote."""
        known = json.loads(text)
        known["prepare"] = None if known["prepare"] is None else tuple(known["prepare"])
        known["processes"] = tuple(
            ProcessSpec(**row | {"argv": tuple(row["argv"]), "needs": tuple(row["needs"])})
            for row in known["processes"]
        )
        return cls(**known)


@dataclass(slots=True)
class _History:
    """How often something ended, and when it may be started again."""

    failures: int = 0
    """Ends in a row."""
    restarts: int = 0
    started_s: float = 0.0
    start_at_s: float = 0.0

    def has_started(self) -> None:
        """It was just started."""
        self.started_s = time.monotonic()

    def has_ended(self) -> float:
        """It just ended, or could not be started; returns the pause before the next try."""
        now_s = time.monotonic()
        if self.started_s and now_s - self.started_s > STEADY_S:
            self.failures = 0
        pause_s = PAUSES_S[min(self.failures, len(PAUSES_S) - 1)]
        self.failures += 1
        self.start_at_s = now_s + pause_s
        return pause_s


@dataclass(slots=True)
class _Application:
    """An application process and its history."""

    spec: ProcessSpec
    history: _History = field(default_factory=_History)
    process: "subprocess.Popen[bytes] | None" = None
    log_start: int = 0
    is_ready: bool = False


@dataclass(slots=True)
class _Embedded:
    """An embedded server and its history. `thread` is there while it starts; `error` is why it did not."""

    server: Server
    history: _History = field(default_factory=_History)
    thread: threading.Thread | None = None
    error: Exception | None = None
    has_returned: bool = False
    """Set by the thread as its last act but one; it lives on for an instant after it wakes us."""
    is_up: bool = False


class Supervisor:
    """Runs a plan. `run` is called once, in the main thread."""

    def __init__(
        self,
        plan: Plan,
        *,
        environ: Mapping[str, str],
        on_ready: Callable[[], None] = lambda: None,
        home: Home | None = None,
    ) -> None:
        """`environ` is what children inherit, besides their addresses; `on_ready` is called once, when all answer."""
        self._plan = plan
        self._environ = dict(environ)
        self._on_ready = on_ready
        self._home = home or Home(Path(plan.home))
        self._applications = [_Application(spec) for spec in plan.processes]
        self._servers: list[_Embedded] = []
        self._listeners: dict[tuple[str, int], socket.socket] = {}
        self._prepare: subprocess.Popen[bytes] | None = None
        self._prepare_attempts = 0
        self._prepare_log_start = 0
        self._prepare_server_ends = 0
        self._server_ends = 0
        self._ready_deadline_s = 0.0
        self._has_prepared = plan.prepare is None
        self._is_stopping = False
        self._is_hurried = False
        self._is_ready = False
        self._is_announced = False
        self._started_at = time.time()
        self._probes: dict[tuple[str, int, str], threading.Thread] = {}
        self._answered: deque[tuple[str, int, str]] = deque()
        self._wake_read = self._wake_write = self._parent_read = self._parent_write = -1

    def run(self) -> None:
        """Until SIGTERM, SIGINT or SIGHUP. Raises HomeError where it cannot start; nothing is left running then.

        A second signal while it stops gives applications no more time.
        """
        self._home.prepare()
        self._home.lock(url=self._plan.url)
        with contextlib.ExitStack() as stack:
            stack.callback(self._home.unlock)
            self._open_pipes(stack)
            self._take_signals(stack)
            self._listen(stack)
            if self._plan.has_valkey:
                self._servers.append(_Embedded(EmbeddedValkey(self._home)))
            if self._plan.has_postgres:
                postgres = EmbeddedPostgres(self._home, connections_max=self._plan.connections_max)
                self._servers.append(_Embedded(postgres))
            if self._servers:
                self._home.make_parts()
            stack.callback(self._stop)
            self._set_environment()
            self._keep_state()
            self._loop()

    def _open_pipes(self, stack: contextlib.ExitStack) -> None:
        self._wake_read, self._wake_write = os.pipe()
        # Nobody writes to this one: children that hold its other end see it close when we are gone, however that came.
        self._parent_read, self._parent_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write, self._parent_read, self._parent_write):
            stack.callback(os.close, descriptor)
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def _take_signals(self, stack: contextlib.ExitStack) -> None:
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False))
        stack.callback(signal.signal, signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Under nohup a closed terminal is no reason to stop.
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, self._stop_wanted))

    def _stop_wanted(self, *_: Any) -> None:
        self._is_hurried = self._is_stopping
        self._is_stopping = True

    def _listen(self, stack: contextlib.ExitStack) -> None:
        """Take every port before anything is started; children inherit them, so a restart refuses no connection."""
        # Children of a supervisor that was killed may still finish what they answer, and hold the ports until then.
        deadline_s = time.monotonic() + (PORT_PATIENCE_S if self._home.state().get("pid") else 0.0)
        for application in self._applications:
            host, port = application.spec.host, application.spec.port
            while (host, port) not in self._listeners:
                try:
                    self._listeners[host, port] = stack.enter_context(_listener(host, port))
                except PortTaken:
                    if self._is_stopping:
                        return
                    if time.monotonic() > deadline_s:
                        raise
                    self._sleep(0.05)

    def _set_environment(self) -> None:
        self._environ["PYAT_HOME"] = str(self._home.path)
        for embedded in self._servers:
            variable = "PYAT_DATABASE_URL" if embedded.server.name == "postgres" else "PYAT_VALKEY_URL"
            self._environ[variable] = embedded.server.url
        if not (self._environ.get("PYAT_INTERNAL_KEY") or self._environ.get("PYAT_INTERNAL_KEY_FILE")):
            self._environ["PYAT_INTERNAL_KEY"] = self._home.secrets()["internal_key"]
        self._environ[PIPE_VARIABLE] = str(self._parent_read)

    # The loop

    def _loop(self) -> None:
        logs_checked_s = time.monotonic()
        while not self._is_stopping:
            reap()
            has_changed = self._look_at_servers()
            if not self._has_prepared and self._are_servers_up:
                has_changed |= self._look_at_prepare()
            if self._has_prepared:
                has_changed |= self._look_at_applications()
            if not self._is_ready and self._has_prepared and self._are_servers_up:
                has_changed |= self._look_at_readiness()
            if has_changed:
                self._keep_state()
                if self._is_ready and not self._is_announced:
                    self._is_announced = True
                    with contextlib.suppress(OSError):  # whoever listened may be gone
                        self._on_ready()
            if time.monotonic() - logs_checked_s > LOG_CHECK_S:
                logs_checked_s = time.monotonic()
                rotate_logs(self._home.logs, bytes_max=LOG_BYTES_MAX)
            self._sleep(self._pause_s())

    @property
    def _are_servers_up(self) -> bool:
        return all(embedded.is_up for embedded in self._servers)

    def _look_at_readiness(self) -> bool:
        """Whether everything answers for the first time. A server's recovery does not count against the bound."""
        late = [application.spec.name for application in self._applications if not application.is_ready]
        now_s = time.monotonic()
        self._ready_deadline_s = self._ready_deadline_s or now_s + READY_TIMEOUT_S
        if late and now_s > self._ready_deadline_s:
            raise ProcessFailed(
                f"The platform was not ready within {READY_TIMEOUT_S:.0f} s (waiting for {', '.join(late)}): see its logs in"
                f" {self._home.logs}."
            )
        self._is_ready = not late
        return self._is_ready

    def _pause_s(self) -> float:
        """Until something may be started, or is to be looked at although nothing wakes us."""
        now_s = time.monotonic()
        pauses = [LOG_CHECK_S if self._is_ready else 1.0]
        pauses += [e.history.start_at_s - now_s for e in self._servers if not e.is_up and e.thread is None]
        if self._has_prepared:
            pauses += [
                a.history.start_at_s - now_s for a in self._applications if a.process is None and self._may_start(a)
            ]
        if any(
            e.is_up and e.server.is_adopted and e.server.running is not None and e.server.running.end_descriptor is None
            for e in self._servers
        ):
            pauses.append(UNWATCHED_PAUSE_S)
        return max(0.0, min(pauses))

    def _sleep(self, seconds: float) -> None:
        """That long, or until a child ends, a signal comes or a thread is done."""
        watched = [self._wake_read]
        for embedded in self._servers:
            running = embedded.server.running
            if embedded.is_up and running is not None and running.end_descriptor is not None:
                watched.append(running.end_descriptor)
        select.select(watched, [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._wake_write, b"\0")

    # Servers

    def _look_at_servers(self) -> bool:
        """Take in what started or ended, and start what may be started; whether anything changed."""
        has_changed = False
        for embedded in self._servers:
            server, running = embedded.server, embedded.server.running
            if embedded.thread is not None and embedded.has_returned:
                embedded.thread.join()
                embedded.thread, has_changed = None, True
                self._has_been_started(embedded)
            if embedded.is_up and running is not None and running.status is not None:
                embedded.is_up, has_changed = False, True
                self._server_ends += 1
                pause_s = embedded.history.has_ended()
                _log.warning(
                    "%s ended with status %s; starting it again%s.", server.name, running.status, _after(pause_s)
                )
            is_due = time.monotonic() >= embedded.history.start_at_s
            if not embedded.is_up and embedded.thread is None and is_due and not self._is_stopping:
                has_changed = True
                embedded.error, embedded.has_returned = None, False
                embedded.thread = threading.Thread(target=self._start_server, args=(embedded,), name=server.name)
                embedded.thread.start()
        return has_changed

    def _start_server(self, embedded: _Embedded) -> None:
        """In a thread of its own: a recovery may take its time, and the others are not to wait for it."""
        try:
            embedded.server.start(is_cancelled=lambda: self._is_stopping)
        except Exception as error:
            embedded.error = error
        embedded.has_returned = True
        self._wake()

    def _has_been_started(self, embedded: _Embedded) -> None:
        server, error = embedded.server, embedded.error
        if error is None:
            embedded.is_up = True
            if embedded.history.failures:
                embedded.history.restarts += 1
            embedded.history.has_started()
            _log.info("%s %s.", server.name, "runs still and is taken over" if server.is_adopted else "is up")
        elif not isinstance(error, Cancelled):
            if not self._is_ready:
                raise error
            pause_s = embedded.history.has_ended()
            _log.error("%s Trying again%s.", error, _after(pause_s))

    # Preparing

    def _look_at_prepare(self) -> bool:
        """Run the command that prepares the database; again where it was disturbed. Whether anything changed."""
        assert self._plan.prepare is not None, "without a command everything is prepared"
        if self._prepare is None:
            self._prepare_attempts += 1
            self._prepare_server_ends = self._server_ends
            self._prepare_log_start = size_bytes(self._log_of("prepare"))
            self._prepare = self._spawn("prepare", self._plan.prepare, self._environ, ())
            return False
        status = self._prepare.poll()
        if status is None:
            return False
        self._prepare = None
        if status == 0:
            self._has_prepared = True
            return True
        was_disturbed = status == -signal.SIGKILL or self._server_ends > self._prepare_server_ends
        if was_disturbed and self._prepare_attempts < PREPARE_ATTEMPTS_MAX:
            _log.warning("Preparing the database was disturbed; trying again.")
            return True
        path = self._log_of("prepare")
        said = log_tail(path, since_bytes=self._prepare_log_start) or f"it ended with status {status}"
        raise ProcessFailed(f"The database could not be prepared: its log is {path}. It said: {said}")

    # Applications

    def _look_at_applications(self) -> bool:
        """Take in what ended or answers, and start what may be started; whether anything changed."""
        has_changed = self._take_answers()
        for application in self._applications:
            if application.process is not None and application.process.poll() is not None:
                has_changed = True
                self._has_ended(application, application.process.returncode)
            is_due = time.monotonic() >= application.history.start_at_s
            if application.process is None and is_due and self._may_start(application) and not self._is_stopping:
                has_changed = True
                self._start(application)
        return has_changed

    def _may_start(self, application: _Application) -> bool:
        """Needs count the first time; later, a process lives with peers that come and go."""
        ready = {a.spec.name for a in self._applications if a.is_ready}
        ready |= {embedded.server.name for embedded in self._servers if embedded.is_up}
        return application.history.failures > 0 or ready.issuperset(application.spec.needs)

    def _start(self, application: _Application) -> None:
        spec, history = application.spec, application.history
        listener = self._listeners[spec.host, spec.port]
        environment = {**self._environ, **spec.env, LISTEN_VARIABLE: str(listener.fileno())}
        application.log_start = size_bytes(self._log_of(spec.name))
        if history.failures:
            history.restarts += 1
        history.has_started()
        try:
            application.process = self._spawn(spec.name, spec.argv, environment, (listener.fileno(),))
        except HomeError as error:
            if not self._is_ready:
                raise
            _log.error("%s Trying again%s.", error, _after(history.has_ended()))
            return
        self._probe(spec)

    def _spawn(
        self, name: str, argv: tuple[str, ...], environment: Mapping[str, str], descriptors: tuple[int, ...]
    ) -> "subprocess.Popen[bytes]":
        path = self._log_of(name)
        try:
            with path.open("ab") as log:
                path.chmod(0o600)
                return spawn(argv, stdout=log, stderr=log, env=environment, pass_fds=(*descriptors, self._parent_read))
        except OSError as error:
            if error.filename == str(path):
                raise unwritable(path, error) from error
            raise ProcessFailed(f"{name} cannot be started: {argv[0]}: {error.strerror or error}.") from error

    def _has_ended(self, application: _Application, status: int) -> None:
        spec, history = application.spec, application.history
        application.process, application.is_ready = None, False
        pause_s = history.has_ended()
        path = self._log_of(spec.name)
        said = log_tail(path, since_bytes=application.log_start) or "nothing"
        # While a server recovers, an application may give up waiting for it more than once.
        if not self._is_ready and self._are_servers_up and history.failures >= FAILURES_BEFORE_READY_MAX:
            raise ProcessFailed(
                f"{spec.name} ends with status {status} when started: its log is {path}. It said: {said}"
            )
        if history.failures >= LOOP_FAILURES:
            _log.error(
                "%s ended %d times in a row, now with status %s; starting it again%s. Its log is %s. It said: %s",
                spec.name, history.failures, status, _after(pause_s), path, said,
            )  # fmt: skip
        else:
            _log.warning("%s ended with status %s; starting it again%s.", spec.name, status, _after(pause_s))

    def _log_of(self, name: str) -> Path:
        return self._home.logs / f"{name}.log"

    # Readiness

    def _probe(self, spec: ProcessSpec) -> None:
        """Ask, in a thread, until somebody answers on this port; processes that share one are ready together."""
        endpoint = (spec.host, spec.port, spec.health_path)
        if endpoint not in self._probes:
            self._probes[endpoint] = threading.Thread(target=self._ask, args=endpoint, name=spec.name, daemon=True)
            self._probes[endpoint].start()

    def _ask(self, host: str, port: int, path: str) -> None:
        while not self._is_stopping:
            if is_ready(host, port, path):
                self._answered.append((host, port, path))
                self._wake()
                return
            time.sleep(PROBE_PAUSE_S)

    def _take_answers(self) -> bool:
        has_changed = False
        while self._answered:
            endpoint = self._answered.pop()
            self._probes.pop(endpoint).join()
            for application in self._applications:
                spec = application.spec
                if application.process is not None and (spec.host, spec.port, spec.health_path) == endpoint:
                    application.is_ready = has_changed = True
        return has_changed

    # Telling and stopping

    def _keep_state(self, phase: str = "") -> None:
        now_s = time.monotonic()
        children: dict[str, Any] = {}
        for application in self._applications:
            children[application.spec.name] = {
                "pid": None if application.process is None else application.process.pid,
                "port": application.spec.port,
                "ready": application.is_ready,
                "restarts": application.history.restarts,
            }
        for embedded in self._servers:
            running = embedded.server.running
            children[embedded.server.name] = {
                "pid": running.pid if embedded.is_up and running is not None else None,
                "ready": embedded.is_up,
                "restarts": embedded.history.restarts,
            }
        for name, history in self._histories():
            if history.failures >= LOOP_FAILURES and history.start_at_s > now_s:
                children[name]["trouble"] = f"ended {history.failures} times in a row"
        self._home.keep_state(
            {
                "pid": os.getpid(),
                "url": self._plan.url,
                "mode": self._plan.mode,
                "version": __version__,
                "phase": phase or ("ready" if self._is_ready else "starting"),
                "started": self._started_at,
                "children": children,
            }
        )

    def _histories(self) -> Iterator[tuple[str, _History]]:
        for application in self._applications:
            yield application.spec.name, application.history
        for embedded in self._servers:
            yield embedded.server.name, embedded.history

    def _stop(self) -> None:
        """Applications first, with time to finish what they answer; then Valkey; then PostgreSQL. Within 10 s."""
        self._is_stopping = True
        self._keep_state("stopping")
        deadline_s = time.monotonic() + DRAIN_S
        running = [a for a in self._applications if a.process is not None]
        # A peer that ended first would leave the entry waiting: the connection stands, since we hold the peer's socket.
        self._end_processes([a.process for a in running if a.process and a.spec.is_entry], deadline_s)
        others = [a.process for a in running if a.process and not a.spec.is_entry]
        if self._prepare is not None:
            others.append(self._prepare)
        self._end_processes(others, max(deadline_s, time.monotonic() + DRAIN_OTHERS_S))
        # Whoever still asks for readiness hears at once that nobody will answer.
        for listener in self._listeners.values():
            listener.close()
        for thread in self._probes.values():
            thread.join()
        for embedded in self._servers:
            if embedded.thread is not None:
                embedded.thread.join()
            embedded.is_up = False
            embedded.server.stop()
        reap()
        self._home.keep_state({**self._home.state(), "pid": None, "phase": "stopped", "children": {}})

    def _end_processes(self, processes: "list[subprocess.Popen[bytes]]", deadline_s: float) -> None:
        """Tell them to stop, and kill whoever has not by the deadline, or when we are told to hurry."""
        for process in processes:
            process.terminate()
        while any(process.poll() is None for process in processes):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._is_hurried:
                break
            self._sleep(min(left_s, 1.0))
        for process in processes:
            if process.poll() is None:
                _log.warning("Process %d did not end in time and is killed.", process.pid)
                end(Started(process), ((signal.SIGKILL, 1.0),))


def is_ready(host: str, port: int, path: str) -> bool:
    """Whether GET of that path answers 200. By hand: the standard library's client brings TLS and 3 MB along."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where to ask those who listen everywhere
    try:
        with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            with connection.makefile("rb") as answer:
                status = answer.readline(200).split()
                while answer.read(4096):  # to the end, so that nobody is cut off while it answers
                    pass
    except OSError:
        return False
    return len(status) > 1 and status[1] == b"200"


def _after(pause_s: float) -> str:
    return f" in {pause_s:g} s" if pause_s else ""


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        raise _port_taken(host, port, error) from error
    return listener


def _port_taken(host: str, port: int, error: OSError) -> PortTaken:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"Port {port} of {host} is taken by {_listens_on(port)}: stop that, or set PYAT_PORT to another port."
        )
    if error.errno == errno.EACCES:
        return PortTaken(f"Port {port} may not be used by this user: set PYAT_PORT to one from 1024 on.")
    return PortTaken(
        f"PyAirtable cannot listen on {host}, port {port} ({error.strerror or error}): set PYAT_HOST to an address of this"
        " machine, and PYAT_PORT to a free port."
    )


def _listens_on(port: int) -> str:
    """Who has a port, as far as we may know."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            is_it = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if is_it and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return f"another process (`sudo lsof -nP -iTCP:{port} -sTCP:LISTEN` tells which)"
