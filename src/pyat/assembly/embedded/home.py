"""The data directory of an installation: its lock, its secrets, what runs in it, and where its parts lie."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyat.assembly.embedded.accounts import Account, can_enter, server_account
from pyat.assembly.embedded.errors import AlreadyRunning, HomeError
from pyat.assembly.embedded.files import write_private

SHARED_ROOT = Path("/var/lib/pyat")
"""Holds what the servers' user has to reach, where we are root and it cannot enter the home (such as one below /root)."""
SOCKET_PATH_BYTES_MAX = 100
"""A Unix socket's path takes 104 bytes on macOS and 108 on Linux, with the zero at its end."""
_LONGEST_SOCKET = "/postgres/.s.PGSQL.5432"
_LOCK_PATIENCE_S = 0.3
_SECRETS = ("internal_key", "postgres_password", "postgres_admin_password")


class Home:
    """Paths and small files of one home. Nothing here starts anything.

    `shared_root` replaces /var/lib/pyat, for who keeps that elsewhere.
    """

    def __init__(self, path: Path, *, shared_root: Path = SHARED_ROOT) -> None:
        self.path = path.expanduser().absolute()
        self._shared_root = shared_root
        self._layout: dict[str, str] | None = None
        self._locks: list[int] = []

    def prepare(self) -> None:
        """Make the home and decide where its parts lie; may be repeated. Raises HomeError where that is not possible.

        A folder that exists already keeps its mode.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The servers' user passes through a home that root makes; everything in it is private to its owner.
            _make_folder(self.path, _passage_mode())
            _make_folder(self.logs, 0o700)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if self._read_layout() is None:
                write_private(self.path / "layout.json", json.dumps(self._decide_layout()))
                self._layout = None
        except OSError as error:
            raise unwritable(self.path, error) from error

    @property
    def logs(self) -> Path:
        """The folder of logs."""
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        """The folder that holds PostgreSQL's data folder, `data`."""
        return self._place("postgres")

    @property
    def sockets(self) -> Path:
        """The folder of Unix sockets: in the home, or a short private one where the home's path is long."""
        return self._place("sockets")

    @property
    def programs(self) -> Path:
        """Holds copies of the servers' programs where their user cannot run the originals."""
        return self._place("programs")

    @property
    def digest(self) -> str:
        """Twelve characters that stand for this home's path."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    def account(self) -> Account | None:
        """Whom the servers of this home run as; None for ourselves. Raises HomeError."""
        return server_account(self.postgres / "data")

    def _place(self, name: str) -> Path:
        # Paths inside the home are relative in the file, so that a home can be moved.
        return self.path / (self._read_layout() or self._decide_layout())[name]

    def _read_layout(self) -> dict[str, str] | None:
        if self._layout is None:
            self._layout = self._read("layout.json")
        return self._layout

    def _decide_layout(self) -> dict[str, str]:
        """Where the parts of a new home go. Decided once: data must not move when modes of folders change later."""
        account = server_account()
        roots = (self._shared_root / f"{self.digest}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
        if (self.path / "secrets.json").exists():
            # What an earlier release put somewhere stays there.
            root = next(roots)
            is_shared = (root / "postgres" / "data").exists()
        else:
            # Data of a home that was removed, and whose passwords are lost, is nobody's to use.
            root = next(root for root in roots if not (root / "postgres" / "data").exists())
            is_shared = account is not None and self.path.is_dir() and not can_enter(self.path, account)
        sockets = root / "run" if is_shared else self.path / "run"
        if len(os.fsencode(str(sockets) + _LONGEST_SOCKET)) > SOCKET_PATH_BYTES_MAX:
            sockets = Path("/tmp") / f"pyat-{os.geteuid()}-{self.digest}"  # noqa: S108 - private, its owner is checked
        return {
            "postgres": str(root / "postgres") if is_shared else "postgres",
            "programs": str(root / "programs") if is_shared else "programs",
            "sockets": "run" if sockets == self.path / "run" else str(sockets),
        }

    def make_parts(self) -> None:
        """Make the folders that the servers' own folders go into. Raises HomeError."""
        account = self.account()
        for folder in (self.postgres.parent, self.sockets):
            if folder == self.path:
                continue
            self._make_part(folder)
            if account is not None and not can_enter(folder, account):
                raise HomeError(
                    f"PostgreSQL runs as {account.name}, who cannot enter {folder}: let others pass through the folders"
                    " above it (chmod o+x), or run PyAirtable as a normal user."
                )

    def _make_part(self, folder: Path) -> None:
        try:
            if folder.is_relative_to(self._shared_root):
                self._shared_root.parent.mkdir(parents=True, exist_ok=True)
                for parent in reversed(folder.parents):
                    if parent.is_relative_to(self._shared_root):
                        _make_folder(parent, 0o755)
            _make_folder(folder, _passage_mode())
            found = folder.lstat()
        except OSError as error:
            raise unwritable(folder, error) from error
        # In /tmp everybody could have been there first.
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            raise HomeError(f"The folder {folder} has to belong to this user: remove it, or set PYAT_HOME.")

    def lock(self, *, url: str = "") -> None:
        """Claim the home for this process until it ends. `url` is told to who asks meanwhile. Raises AlreadyRunning."""
        paths = [self.path / "lock"]
        # A copied home names the same shared data as its original; only one of them may run.
        if not self.postgres.is_relative_to(self.path):
            self._make_part(self.postgres.parent)
            paths.append(self.postgres.parent / "lock")
        try:
            for path in paths:
                self._locks.append(self._claim(path))
        except (AlreadyRunning, OSError) as error:
            self.unlock()
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from error
            raise
        for descriptor in self._locks:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def _claim(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        # Somebody who merely looks whether the home is locked holds it for an instant.
        deadline_s = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline_s:
                    time.sleep(0.02)
                    continue
                holder = os.pread(descriptor, 1000, 0)
                os.close(descriptor)
                raise self._already_running(holder) from None
            except OSError:
                os.close(descriptor)
                raise
            return descriptor

    def _already_running(self, holder: bytes) -> AlreadyRunning:
        known: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            known = json.loads(holder)
        pid = known.get("pid", "unknown")
        if known.get("url"):
            return AlreadyRunning(
                f"PyAirtable already runs on this home (pid {pid}, {known['url']}): stop that one first, or set"
                f" PYAT_HOME and PYAT_PORT for a second one. Home: {self.path}"
            )
        return AlreadyRunning(
            f"A command of PyAirtable (pid {pid}) is using this home: try again when it has ended. Home: {self.path}"
        )

    def unlock(self) -> None:
        """Give the home up again; the end of the process does so too."""
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks.clear()

    def is_locked(self) -> bool:
        """Whether a process has this home now."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def secrets(self) -> dict[str, str]:
        """The installation's own secrets, made once: `internal_key`, `postgres_password`, `postgres_admin_password`."""
        known = self._read("secrets.json") or {}
        if all(name in known for name in _SECRETS):
            return known
        known = {name: os.urandom(32).hex() for name in _SECRETS} | known
        try:
            write_private(self.path / "secrets.json", json.dumps(known))
        except OSError as error:
            raise unwritable(self.path, error) from error
        return known

    def credentials(self) -> dict[str, str]:
        """What first start made for the administrator; empty before."""
        return self._read("credentials.json") or {}

    def keep_credentials(self, credentials: Mapping[str, str]) -> None:
        """Remember what the start screen shows; readable by the owner alone."""
        write_private(self.path / "credentials.json", json.dumps(dict(credentials)))

    def prepared(self) -> str:
        """What `keep_prepared` was last given; empty before."""
        with contextlib.suppress(OSError):
            return (self.path / "prepared").read_text("utf-8")
        return ""

    def keep_prepared(self, stamp: str) -> None:
        """Remember that migrations and first start are done for this stamp."""
        write_private(self.path / "prepared", stamp)

    def state(self) -> dict[str, Any]:
        """What the supervisor last wrote; empty before the first start, and where a crash of the machine took it."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.path / "state.json").read_text("utf-8"))
            return found
        return {}

    def keep_state(self, state: Mapping[str, Any]) -> None:
        """Say what runs now. A disk that is full does not stop anything: the old state stays."""
        with contextlib.suppress(OSError):
            write_private(self.path / "state.json", json.dumps(dict(state), indent=1), is_durable=False)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self.path / name).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise HomeError(
                f"The file {self.path / name} cannot be read ({error}): give it back to this user, or restore it."
            ) from error
        return found


def _passage_mode() -> int:
    """Of folders that the servers' user passes through, where that is not ourselves."""
    return 0o711 if os.geteuid() == 0 else 0o700


def _make_folder(path: Path, mode: int) -> None:
    """Make a folder with exactly this mode; one that exists keeps its own."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod(mode)


def unwritable(path: Path, error: OSError) -> HomeError:
    """The sentence for a folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HomeError(f"The disk of {path} is full: free some space there, then start again.")
    if error.errno == errno.EROFS:
        return HomeError(f"The disk of {path} is read-only: set PYAT_HOME to a folder that can be written.")
    return HomeError(
        f"PyAirtable cannot write to {path} ({error.strerror or error}): give that folder to this user, or set PYAT_HOME"
        " to one that can be written."
    )
