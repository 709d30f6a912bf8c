"""The supervisor: keeps the embedded servers and the application processes alive. `python -m pyat.assembly.supervise`.

It is what `pyat up` turns into, reads its plan from the environment, and imports the standard library alone: a small
process that has nothing to fail at. Whoever dies is started again, at once the first time, then with growing pauses.
"""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyat import __version__
from pyat.assembly.home import Home, HomeError
from pyat.assembly.parent import LISTEN_VARIABLE, PIPE_VARIABLE
from pyat.assembly.servers import EmbeddedPostgres, EmbeddedValkey, last_lines

PLAN_VARIABLE = "PYAT_PLAN"
PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Before the first, second, … restart of a process that keeps dying."""
STEADY_S = 30.0
"""After running this long a process has no history any more."""
READY_TIMEOUT_S = 60.0
FAILURES_BEFORE_READY_MAX = 3
DRAIN_S = 6.0
LOG_BYTES_MAX = 20 * 1024 * 1024
LISTEN_BACKLOG = 2048


@dataclass(slots=True)
class Application:
    """One process of the platform, and its history."""

    name: str
    argv: list[str]
    port: int
    env: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    started_s: float = 0.0
    failures: int = 0
    start_at_s: float = 0.0
    restarts: int = 0


@dataclass(slots=True)
class Plan:
    """What `pyat up` asks for, as JSON in the environment."""

    home: str
    host: str
    port: int
    mode: str
    applications: list[dict[str, Any]]
    prepare: list[str] | None
    is_postgres_embedded: bool
    is_valkey_embedded: bool
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Plan":
        """From the environment, where `pyat up` put it."""
        return cls(**json.loads(os.environ.pop(PLAN_VARIABLE)))


class Supervisor:
    """Starts in order, watches, restarts, stops in reverse order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._home = Home(Path(plan.home))
        self._postgres = EmbeddedPostgres(self._home) if plan.is_postgres_embedded else None
        self._valkey = EmbeddedValkey(self._home) if plan.is_valkey_embedded else None
        self._applications = [Application(**row) for row in plan.applications]
        self._listeners: dict[int, socket.socket] = {}
        self._is_stopping = False
        self._is_ready = False
        self._server_failures: dict[str, int] = {}
        self._wake_read, self._wake_write = os.pipe()
        self._parent_read, self._parent_write = os.pipe()
        self._started = time.time()

    @property
    def _url(self) -> str:
        return f"http://{self._plan.host}:{self._plan.port}"

    def run(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit status."""
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_wanted)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._home.prepare()
        self._home.lock()
        try:
            self._listen()
            self._set_addresses()
            if self._plan.prepare is None:
                # Loading its libraries takes the application longer than PostgreSQL takes to start, so both begin now.
                self._start_applications()
                self._start_servers()
            else:
                self._start_servers()
                self._prepare(self._plan.prepare)
                self._start_applications()
            if self._wait_until_ready():
                self._is_ready = True
                self._announce()
                self._watch()
        finally:
            self._stop()
        return 0

    def _stop_wanted(self, *_: Any) -> None:
        self._is_stopping = True

    def _listen(self) -> None:
        """Take every port before anything is started; children inherit them, so a restart refuses no connection."""
        for application in self._applications:
            if application.port in self._listeners:
                continue
            host = self._plan.host if application.port == self._plan.port else "127.0.0.1"
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, application.port))
                listener.listen(LISTEN_BACKLOG)
            except OSError as error:
                raise HomeError(
                    f"Port {application.port} of {host} is not free ({error.strerror}): stop what uses it, or set PYAT_PORT to"
                    " another port."
                ) from error
            self._listeners[application.port] = listener

    def _set_addresses(self) -> None:
        """Tell every child, through our environment, where the servers are or will be."""
        environment = os.environ
        environment["PYAT_HOME"] = str(self._home.path)
        if self._postgres is not None:
            environment["PYAT_DATABASE_URL"] = self._postgres.url
        if self._valkey is not None:
            environment["PYAT_VALKEY_URL"] = self._valkey.url
        environment.setdefault("PYAT_INTERNAL_KEY", self._home.secrets()["internal_key"])

    def _start_servers(self) -> None:
        for server in (self._postgres, self._valkey):
            if server is not None:
                server.start()

    def _start_applications(self) -> None:
        for application in self._applications:
            self._start(application)

    def _prepare(self, argv: list[str]) -> None:
        """Migrations and first start, in a process that ends before the platform starts."""
        log_path = self._home.path / "logs" / "prepare.log"
        with log_path.open("ab") as log:
            finished = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if finished.returncode != 0:
            raise HomeError(f"The database could not be prepared (log: {log_path}): {last_lines(log_path)}")

    def _start(self, application: Application) -> None:
        path = self._log_of(application)
        listener = self._listeners[application.port]
        environment = {
            **os.environ,
            **application.env,
            LISTEN_VARIABLE: str(listener.fileno()),
            PIPE_VARIABLE: str(self._parent_read),
        }
        with path.open("ab") as log:
            application.process = subprocess.Popen(
                application.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=(listener.fileno(), self._parent_read),
                start_new_session=True,
            )
        application.started_s = time.monotonic()

    def _log_of(self, application: Application) -> Path:
        return self._home.path / "logs" / f"{application.name}.log"

    def _wait_until_ready(self) -> bool:
        """Until the public port says that every service answers; False when we were told to stop meanwhile."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        said = ""
        while time.monotonic() < deadline_s:
            if self._is_stopping:
                return False
            is_ready, said = self._health()
            if is_ready:
                return True
            self._check()
            for application in self._applications:
                if application.failures >= FAILURES_BEFORE_READY_MAX:
                    log = self._log_of(application)
                    raise HomeError(f"{application.name} does not start (log: {log}): {last_lines(log)}")
            self._sleep(0.03)
        raise HomeError(
            f"The platform was not ready within {READY_TIMEOUT_S:.0f} s; logs: {self._home.path / 'logs'}. {said}"
        )

    def _health(self) -> tuple[bool, str]:
        connection = http.client.HTTPConnection(self._host, self._plan.port, timeout=2)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/health/ready")
                response = connection.getresponse()
                text = response.read(10_000).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException) as error:
                return False, str(error)
        return response.status == 200, text

    @property
    def _host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._plan.host, self._plan.host)

    def _announce(self) -> None:
        self._keep_state()
        for line in screen(self._home, self._url.replace(self._plan.host, self._host), self._applications):
            print(line)
        print(f"PyAirtable is ready: {self._url}", flush=True)

    def _watch(self) -> None:
        trimmed_s = time.monotonic()
        while not self._is_stopping:
            self._sleep(self._pause_s())
            if self._check():
                self._keep_state()
            if time.monotonic() - trimmed_s > 60:
                trimmed_s = time.monotonic()
                self._trim_logs()

    def _pause_s(self) -> float:
        waiting = [a.start_at_s - time.monotonic() for a in self._applications if a.process is None]
        return max(0.0, min([*waiting, 5.0]))

    def _sleep(self, seconds: float) -> None:
        """Until then, or sooner when a child ends or a signal comes."""
        with contextlib.suppress(InterruptedError):
            select.select([self._wake_read], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    def _check(self) -> bool:
        """Start again whoever has ended; whether anything changed."""
        changed = False
        for server in (self._postgres, self._valkey):
            if server is not None and server.poll() is not None and not self._is_stopping:
                changed = True
                self._restart_server(server.name, server.start)
        for application in self._applications:
            if application.process is not None and application.process.poll() is not None:
                changed = True
                self._ended(application)
            if application.process is None and time.monotonic() >= application.start_at_s and not self._is_stopping:
                changed = True
                application.restarts += 1
                self._start(application)
        return changed

    def _restart_server(self, name: str, start: Callable[[], None]) -> None:
        self._say(f"{name} ended; starting it again.")
        failures = self._server_failures.get(name, 0)
        if failures:
            self._sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
        try:
            start()
        except HomeError as error:
            self._server_failures[name] = failures + 1
            self._say(str(error))
        else:
            self._server_failures[name] = 0

    def _ended(self, application: Application) -> None:
        assert application.process is not None, "the caller saw it end"
        status = application.process.returncode
        application.process = None
        if time.monotonic() - application.started_s > STEADY_S:
            application.failures = 0
        pause_s = PAUSES_S[min(application.failures, len(PAUSES_S) - 1)]
        application.failures += 1
        application.start_at_s = time.monotonic() + pause_s
        if self._is_ready:
            self._say(f"{application.name} ended with status {status}; starting it again in {pause_s} s.")

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def _keep_state(self) -> None:
        children: dict[str, Any] = {
            a.name: {"pid": None if a.process is None else a.process.pid, "port": a.port, "restarts": a.restarts}
            for a in self._applications
        }
        for server in (self._postgres, self._valkey):
            if server is not None:
                children[server.name] = {"pid": server.pid}
        self._home.keep_state(
            {
                "pid": os.getpid(),
                "url": self._url,
                "mode": self._plan.mode,
                "version": __version__,
                "started": self._started,
                "children": children,
            }
        )

    def _trim_logs(self) -> None:
        for path in (self._home.path / "logs").glob("*.log"):
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_BYTES_MAX:
                    path.with_suffix(".log.1").write_bytes(path.read_bytes())
                    os.truncate(path, 0)

    def _stop(self) -> None:
        """Applications first, with time to finish what they answer; then Valkey; then PostgreSQL. Within 10 s."""
        self._is_stopping = True
        for application in self._running():
            assert application.process is not None, "only running ones are listed"
            application.process.terminate()
        deadline_s = time.monotonic() + DRAIN_S
        for application in self._running():
            assert application.process is not None, "only running ones are listed"
            try:
                application.process.wait(max(0.05, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                application.process.kill()
                application.process.wait()
        for server in (self._valkey, self._postgres):
            if server is not None:
                server.stop()
        state = self._home.state()
        if state.get("pid") == os.getpid():
            self._home.keep_state({**state, "pid": None, "children": {}})

    def _running(self) -> Iterator[Application]:
        return (a for a in self._applications if a.process is not None and a.process.poll() is None)


def screen(home: Home, url: str, applications: list[Application]) -> Iterator[str]:
    """What a person sees when the platform is up: where, who, and a snippet that works as pasted."""
    known = home.credentials()
    rule = "─" * 78
    yield rule
    yield f"  PyAirtable {__version__}    {url}    API {url}/docs"
    yield f"  data in {home.path}    processes: {', '.join(a.name for a in applications)}"
    if known.get("email"):
        yield f"  administrator  {known['email']}"
        yield f"  password       {known.get('password', '(the one you set)')}"
        yield f"  token          {known.get('token', '(made earlier)')}"
    if known.get("sample_base_id"):
        yield ""
        yield "  pip install pyairtable, then:"
        yield ""
        yield "    from pyairtable import Api"
        yield f'    api = Api("{known["token"]}", endpoint_url="{url}")'
        yield f'    table = api.base("{known["sample_base_id"]}").table("{known["sample_table"]}")'
        yield "    print(table.first())"
    yield rule


def main() -> None:
    """Run the plan; troubles are one sentence on standard error and status 1."""
    try:
        status = Supervisor(Plan.read()).run()
    except HomeError as error:
        print(f"pyat: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
