"""Embedded Valkey: a cache and the counters of rate limits. It keeps nothing on disk: losing it loses nothing."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from pyat.assembly.embedded.accounts import make_folder, run_as
from pyat.assembly.embedded.errors import Cancelled, ServerFailed
from pyat.assembly.embedded.files import log_tail, size_bytes, write_private
from pyat.assembly.embedded.home import Home, unwritable
from pyat.assembly.embedded.processes import Found, Running, Started, end, find, spawn
from pyat.assembly.embedded.programs import valkey_package

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    # Whatever is here may be lost, so whatever was used longest ago goes, with a time of expiry or without: a write is
    # never refused for want of memory, and what limits the busy clients is what stays.
    "maxmemory": "64mb",
    "maxmemory-policy": "allkeys-lru",
    "maxclients": "1000",
    "loglevel": "warning",
    "logfile": "",
}
_READY_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 1.0
_KILLED_MAX = 3


class EmbeddedValkey:
    """Valkey of a home. One thread at a time may use it, and the home has to be locked."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.sockets / "valkey"
        self._socket = self._folder / "valkey.sock"
        self._log = home.logs / "valkey.log"
        self._running: Running | None = None
        self.is_adopted = False
        """Whether the running server was left by a supervisor that was killed."""

    @property
    def url(self) -> str:
        """How services connect, as valkey-py takes it."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def running(self) -> Running | None:
        """The server's process, until `stop`."""
        return self._running

    def start(self, *, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        """Bring it up and wait until it answers (about 10 ms).

        One that a killed supervisor left is taken over when it answers and has our settings; else it is replaced.
        Raises HomeError; Cancelled when `is_cancelled` says so.
        """
        self._home.make_parts()
        self._account = self._home.account()
        self._program = str(valkey_package().runnable(self._account, self._home.programs))
        try:
            make_folder(self._folder, self._account)
        except OSError as error:
            raise unwritable(self._folder, error) from error
        if self._adopt():
            return
        for _ in range(_KILLED_MAX):
            self._socket.unlink(missing_ok=True)
            log_start = size_bytes(self._log)
            process = self._spawn()
            self._running, self.is_adopted = process, False
            if self._is_up(process, is_cancelled):
                return
            # Somebody killed it while it started: that is no reason to give up.
            if process.status != -signal.SIGKILL:
                break
        said = log_tail(self._log, since_bytes=log_start) or f"it ended with status {process.status}"
        if "shared libraries" in said or "GLIBC" in said or "dyld" in said:
            raise valkey_package().not_runnable(said)
        raise ServerFailed(f"Valkey cannot start: its log is {self._log}. It said: {said}")

    def _words(self) -> list[str]:
        settings = {**_SETTINGS, "unixsocket": str(self._socket), "dir": str(self._folder)}
        return [self._program, *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def _spawn(self) -> Running:
        words = self._words()
        try:
            with self._log.open("ab") as log:
                process = Started(spawn(words, stdout=log, stderr=log, **run_as(self._account)))
        except OSError as error:
            if error.filename == str(self._log):
                raise unwritable(self._log, error) from error
            raise valkey_package().not_runnable(error.strerror or str(error)) from error
        with contextlib.suppress(OSError):
            write_private(self._memo, json.dumps({"pid": process.pid, "words": words}), is_durable=False)
        return process

    @property
    def _memo(self) -> Path:
        """What was started last, and how: only such a server is taken over."""
        return self._home.path / "valkey.json"

    def _is_up(self, process: Running, is_cancelled: Callable[[], bool]) -> bool:
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while process.status is None:
            if is_cancelled():
                self.stop()
                raise Cancelled
            if _ping(self._socket):
                return True
            if time.monotonic() > deadline_s:
                end(process, ((signal.SIGKILL, 1.0),))
                return False
            time.sleep(0.002)
        return False

    def _adopt(self) -> bool:
        left = self._processes()
        with contextlib.suppress(OSError, ValueError, KeyError):
            known = json.loads(self._memo.read_text("utf-8"))
            for process in left:
                if process.pid == known["pid"] and self._words() == known["words"] and _ping(self._socket):
                    self._running, self.is_adopted = process, True
                    return True
        for process in left:
            end(process, ((signal.SIGTERM, 0.5), (signal.SIGKILL, 1.0)))
        return False

    def _processes(self) -> list[Found]:
        uid = os.geteuid() if self._account is None else self._account.uid
        return find("valkey-server", uid=uid, title=str(self._socket))

    def stop(self, *, timeout_s: float = 0.5) -> None:
        """End it."""
        if self._running is not None:
            end(self._running, ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 1.0)))
            self._running = None


def _ping(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
