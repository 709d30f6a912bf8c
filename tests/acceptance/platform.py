"""A real platform for tests and benchmarks: `pyat up` in a home of its own, on free ports, ended by process id."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyat.assembly.catalog import NAMES, port_of
from pyat.assembly.embedded.home import SHARED_ROOT, Home
from pyat.assembly.embedded.postgres import EmbeddedPostgres
from pyat.assembly.embedded.valkey import EmbeddedValkey

START_TIMEOUT_S = 60.0
_MODES: Mapping[str, tuple[str, ...]] = {
    "one-process": (),
    "workers": ("--workers", "2"),
    "processes": ("--processes",),
}


def _free_ports() -> int:
    """A public port whose whole block of service ports is free now."""
    for _ in range(50):
        port = 20_000 + secrets.randbelow(30_000)
        with contextlib.ExitStack() as stack:
            try:
                for name in NAMES:
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port_of(name, public_port=port)))
            except OSError:
                continue
            return port
    raise AssertionError("no block of free ports was found")


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Platform:
    """Starts on entering and stops on leaving; `token` is the administrator's, with every scope."""

    def __init__(
        self,
        home: Path,
        *,
        mode: str = "one-process",
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "pyat", "up"),
    ) -> None:
        """`command` is what starts it, such as `./start-all-services.sh`."""
        self.home = Home(home)
        self.mode = mode
        self._command = command
        self.port = _free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = f"pat{secrets.token_hex(7)}.{secrets.token_hex(32)}"
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYAT_")}
        self.env = {
            **known,
            "PYAT_HOME": str(home),
            "PYAT_PORT": str(self.port),
            "PYAT_ADMIN_TOKEN": self.token,
            **(env or {}),
        }
        self.output = home / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.remove_shared()

    def remove_shared(self) -> None:
        """Remove what this home keeps outside of itself: as root, what the servers' user could not reach in it."""
        part = self.home.postgres.parent
        if part.parent == SHARED_ROOT:
            shutil.rmtree(part, ignore_errors=True)

    def start(self) -> float:
        """`pyat up`, until its ready line; returns the seconds that took. Fails with its output when it does not come."""
        started_s = time.monotonic()
        self.home.path.mkdir(parents=True, exist_ok=True)
        offset = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command, *_MODES[self.mode]],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while time.monotonic() - started_s < START_TIMEOUT_S:
            text = self.output.read_bytes()[offset:].decode()
            if re.search(r"^PyAirtable is ready: http://\S+$", text, re.MULTILINE):
                return time.monotonic() - started_s
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise AssertionError(f"the platform did not start: {self.output.read_text()}\n{self.logs()}")

    def stop(self) -> float:
        """SIGTERM, then wait; returns the seconds that took. What does not end within 15 s fails."""
        started_s = time.monotonic()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"the platform did not stop: {self.logs()}") from None
        return time.monotonic() - started_s

    @property
    def supervisor_pid(self) -> int:
        """The process that `pyat up` became."""
        assert self._process is not None, "the platform was started"
        return self._process.pid

    def wait(self) -> int:
        """The supervisor's exit status, once it has ended by itself or by a signal."""
        assert self._process is not None, "the platform was started"
        return self._process.wait(15)

    def children(self) -> dict[str, Any]:
        """What the supervisor says that it runs: `{name: {"pid", …}}`."""
        found: dict[str, Any] = self.home.state()["children"]
        return found

    def kill(self, name: str) -> None:
        """kill -9 of one child by name: `platform`, `postgres`, `valkey`, or a service in many-process mode."""
        os.kill(self.children()[name]["pid"], signal.SIGKILL)

    def command(self, *words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `pyat` on this home; fails when the command does."""
        finished = subprocess.run(
            [sys.executable, "-m", "pyat", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=cwd,
            check=False,
        )
        assert finished.returncode == 0, f"pyat {' '.join(words)}: {finished.stdout}{finished.stderr}"
        return finished

    def stranger_token(self) -> str:
        """A token of a new organisation's administrator."""
        name = f"Stranger {secrets.token_hex(4)}"
        output = self.command(
            "tenant", "create", name, "--admin-email", f"{secrets.token_hex(6)}@stranger.example"
        ).stdout
        return next(line.split()[1] for line in output.splitlines() if line.startswith("token"))

    def server_addresses(self) -> dict[str, str]:
        """Where the embedded servers of this home listen: `database_url` and `valkey_url`."""
        return {"database_url": EmbeddedPostgres(self.home).url, "valkey_url": EmbeddedValkey(self.home).url}

    def logs(self) -> str:
        """The end of every log, for the message of a failing test."""
        paths = sorted((self.home.path / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths)
