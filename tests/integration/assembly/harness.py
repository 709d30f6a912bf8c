"""Supervisors in processes of their own, on homes of their own, and what tests ask of them."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import valkey

from pyat.assembly.embedded.home import SHARED_ROOT, Home
from pyat.assembly.embedded.postgres import CONNECTIONS_MAX, EmbeddedPostgres
from pyat.assembly.embedded.valkey import EmbeddedValkey
from pyat.assembly.supervisor import Plan, ProcessSpec

FOLDER = Path(__file__).parent
TIMEOUT_S = 30.0


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def application(name: str, port: int, *words: str, needs: tuple[str, ...] = ()) -> ProcessSpec:
    """The test application; see application.py."""
    return ProcessSpec(name, (sys.executable, str(FOLDER / "application.py"), *words), port, needs=needs)


def wait_for(is_true: Callable[[], bool], what: str, *, timeout_s: float = TIMEOUT_S) -> None:
    """Look again and again; fails after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s, f"waited too long for: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def zombies_of(parent: int) -> list[int]:
    """Children of a process that have ended and that it has not let go of."""
    return [child.pid for child in psutil.Process(parent).children() if child.status() == psutil.STATUS_ZOMBIE]


def processes_in(folder: Path) -> list[int]:
    """PostgreSQL processes whose working directory that is."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and process.info["cwd"] == str(folder)
    ]


class Supervised:
    """A supervisor for one home. Leaving the context stops it, and whatever it left behind."""

    def __init__(
        self,
        home: Path,
        *,
        applications: Sequence[ProcessSpec] = (),
        prepare: tuple[str, ...] | None = None,
        user: str | None = None,
        shared_root: Path = SHARED_ROOT,
        env: dict[str, str] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        umask: int = 0o022,
    ) -> None:
        self.home = Home(home, shared_root=shared_root)
        self.port = applications[0].port if applications else 0
        self.plan = Plan(
            home=str(home),
            url=f"http://127.0.0.1:{self.port}",
            mode="test",
            processes=tuple(applications),
            prepare=prepare,
            connections_max=connections_max,
        )
        self._words = [sys.executable, str(FOLDER / "supervise.py"), "--shared-root", str(shared_root)]
        self._words += ["--as", user] if user else []
        self._umask = umask
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self._error = ""
        self._seen: set[int] = set()

    def __enter__(self) -> "Supervised":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._note_children()
            if self._process.poll() is None:
                self._process.terminate()
            self._finish()
            left = [psutil.Process(pid) for pid in self._seen if is_alive(pid)]
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    # A postmaster that is told to quit takes its processes and its shared memory with it.
                    process.send_signal(signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
                    process.send_signal(signal.SIGCONT)
            for process in psutil.wait_procs(left, timeout=5)[1]:
                process.kill()

    def launch(self, *words: str) -> None:
        """Start it without waiting."""
        self._process = subprocess.Popen(
            [*self._words, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._env,
            umask=self._umask,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.plan.to_json())
        self._process.stdin.close()
        self._process.stdin = None

    def start(self) -> "Supervised":
        """Start it and wait until everything answers."""
        self.launch()
        self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        """Until it says so; fails with what it said when it does not."""
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "ready\n", self._finish()
        self._note_children()

    def _note_children(self) -> None:
        for child in self.children().values():
            if child["pid"] is not None:
                self._seen.add(child["pid"])

    def _finish(self) -> str:
        """Wait for its end; what it said."""
        assert self._process is not None
        _, said = self._process.communicate(timeout=TIMEOUT_S)
        self._error += said
        return self._error

    def error(self) -> str:
        """Wait for it to fail; the one sentence it ends with."""
        said = self._finish()
        assert self._process is not None and self._process.returncode == 1, said
        return said.strip().splitlines()[-1]

    def stop(self) -> str:
        """SIGTERM; returns what it logged."""
        self.signal(signal.SIGTERM)
        said = self._finish()
        assert self._process is not None and self._process.returncode == 0, said
        return said

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        self._note_children()
        self.signal(signal.SIGKILL)
        self._finish()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> dict[str, Any]:
        """What the supervisor says that it runs."""
        found: dict[str, Any] = self.home.state().get("children", {})
        return found

    def child(self, name: str) -> int | None:
        """The process id of a child, None while it does not run."""
        pid: int | None = self.children()[name]["pid"]
        return pid

    def kill_child(self, name: str) -> int:
        """kill -9 of a child, then wait until its successor runs; returns the successor's process id."""
        old = self.child(name)
        assert old is not None
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: self.child(name) not in (old, None), f"{name} to run again")
        self._note_children()
        new = self.child(name)
        assert new is not None
        return new

    def sql(self, statement: str, *, is_admin: bool = False) -> Any:
        """Run a statement with a new connection; its first value."""
        return query(EmbeddedPostgres(self.home).admin_url if is_admin else self.database_url, statement)

    @property
    def database_url(self) -> str:
        """How services reach PostgreSQL."""
        return EmbeddedPostgres(self.home).url

    async def value_once_up(self, statement: str) -> Any:
        """The first value of a statement, asked until PostgreSQL answers."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    return await _ask(self.database_url, statement)
                await asyncio.sleep(0.01)

    def valkey(self) -> "valkey.Valkey":
        """A client of the embedded Valkey."""
        return valkey.Valkey.from_url(EmbeddedValkey(self.home).url)

    def get(self, path: str, *, port: int | None = None) -> tuple[int, Any]:
        """GET of an application: status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def logged(self, name: str) -> str:
        """The log of a child."""
        return (self.home.logs / f"{name}.log").read_text("utf-8")


def query(url: str, statement: str) -> Any:
    """Run a statement with a new connection; its first value."""
    return asyncio.run(_ask(url, statement))


async def _ask(url: str, statement: str) -> Any:
    connection = await asyncpg.connect(url, timeout=TIMEOUT_S)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
