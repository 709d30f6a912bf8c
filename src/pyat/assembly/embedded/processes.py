"""Processes that we started, and those that a killed predecessor left behind.

Every process is started by `spawn`, so that `reap` can tell ours from orphans that the system gives to us where we are the
first process of a container.
"""

import contextlib
import errno
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

_POLL_S = 0.01

_lock = threading.Lock()
_started: dict[int, "subprocess.Popen[bytes]"] = {}


class Running(Protocol):
    """A process, started here or found."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def status(self) -> int | None:
        """How it ended: the exit status, the signal's number as a negative one, 0 where nobody knows; None while it runs."""
        ...

    @property
    def end_descriptor(self) -> int | None:
        """Becomes readable at its end; None where SIGCHLD tells, or nothing does and `status` has to be asked."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing where it has ended."""
        ...


class Started:
    """A child of ours."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    @property
    def status(self) -> int | None:
        """See `Running`."""
        return self._process.poll()

    @property
    def end_descriptor(self) -> int | None:
        """See `Running`."""
        return None

    def send(self, number: signal.Signals) -> None:
        """See `Running`."""
        self._process.send_signal(number)


class Found:
    """Somebody else's child. Held by a descriptor where the system has them, so that a reused pid is never mistaken for it.

    Raises ProcessLookupError when it has ended already.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self._descriptor = os.pidfd_open(pid)
            except OSError as error:
                # Some sandboxes have no such call; then the name has to do.
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise
        self._name = "" if self._descriptor is not None else _command(pid)
        if self._descriptor is None and not self._name:
            raise ProcessLookupError(pid)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def status(self) -> int | None:
        """See `Running`."""
        if self._descriptor is not None:
            return 0 if select.select([self._descriptor], [], [], 0)[0] else None
        return None if _command(self.pid) == self._name else 0

    @property
    def end_descriptor(self) -> int | None:
        """See `Running`."""
        return self._descriptor

    def send(self, number: signal.Signals) -> None:
        """See `Running`."""
        with contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            elif self.status is None:
                os.kill(self.pid, number)


def spawn(words: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, so that an interrupt at the terminal reaches us alone. Raises OSError."""
    with _lock:
        for pid in [pid for pid, process in _started.items() if process.returncode is not None]:
            del _started[pid]
        process = subprocess.Popen(
            words, stdin=options.pop("stdin", subprocess.DEVNULL), start_new_session=True, **options
        )
        _started[process.pid] = process
    return process


def run(words: Sequence[str], *, timeout_s: float, **options: Any) -> tuple[int, str]:
    """Run a command to its end; its exit status and what it said. Raises OSError, and TimeoutError after killing it."""
    process = spawn(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise TimeoutError(f"{words[0]} does not end") from None
    return process.returncode, output.decode("utf-8", "replace")


def reap() -> None:
    """Let go of every child that has ended, orphans that became ours included: none stays a zombie."""
    if not hasattr(os, "waitid"):  # macOS, where nobody is the first process of a container
        return
    with _lock:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            process = _started.pop(ended.si_pid, None)
            if process is not None and process.returncode is None:
                process.poll()
            else:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(ended.si_pid, 0)


def wait_until(is_true: Callable[[], bool], *, timeout_s: float) -> bool:
    """Look every 10 ms; False when the time is over."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def end(process: Running, steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal and wait that many seconds for the end, then the next one; the last one should be SIGKILL."""
    for number, timeout_s in steps:
        if process.status is not None:
            return
        process.send(number)
        # One that is stopped would not notice.
        process.send(signal.SIGCONT)
        wait_until(lambda: process.status is not None, timeout_s=timeout_s)


def find(command: str, *, uid: int, folder: Path | None = None, title: str) -> list[Found]:
    """Processes of user `uid` whose program is called `command` and that are known to be ours.

    Known by their working directory, where one is given, or by `title` in their command line: containers forbid even root to
    see the working directory of another user's process.
    """
    found = []
    for pid in _candidates(command, uid):
        with contextlib.suppress(OSError):
            # Held before it is looked at, so that what is looked at is what is held.
            process = Found(pid)
            if _is_ours(pid, command, uid, folder, title):
                found.append(process)
    return found


if os.path.isdir("/proc/self"):  # noqa: PTH112 - once, without building a path

    def _candidates(command: str, uid: int) -> Iterator[int]:
        for name in os.listdir("/proc"):  # noqa: PTH208 - many, and only their names
            if name.isdigit() and _command(int(name)) == command:
                yield int(name)

    def _command(pid: int) -> str:
        """The name of its program, at most 15 characters; empty where it has ended."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        except OSError:
            return ""
        name, _, rest = text.partition("(")[2].rpartition(") ")
        return "" if rest[:1] in "ZX" else name

    def _is_ours(pid: int, command: str, uid: int, folder: Path | None, title: str) -> bool:
        process = Path(f"/proc/{pid}")
        if process.stat().st_uid != uid or _command(pid) != command:
            return False
        if folder is not None:
            with contextlib.suppress(PermissionError):
                return (process / "cwd").readlink() == folder
        return title.encode() in (process / "cmdline").read_bytes()

else:

    def _candidates(command: str, uid: int) -> Iterator[int]:
        import psutil

        for process in psutil.process_iter():
            if _command(process.pid) == command:
                yield process.pid

    def _command(pid: int) -> str:
        import psutil

        try:
            process = psutil.Process(pid)
            return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
        except psutil.Error:
            return ""

    def _is_ours(pid: int, command: str, uid: int, folder: Path | None, title: str) -> bool:
        import psutil

        try:
            process = psutil.Process(pid)
            if process.uids().effective != uid or process.name() != command:
                return False
            if folder is not None:
                with contextlib.suppress(psutil.AccessDenied):
                    return Path(process.cwd()) == folder
            return any(title in word for word in process.cmdline())
        except psutil.Error:
            return False
