"""The data directory of an installation: its lock, its secrets, what runs in it, and where its parts lie.

Standard library only: the supervisor imports this and stays small.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOCKET_PATH_MAX = 90
"""Unix sockets take about 104 bytes of path; the socket's own name needs the rest."""
FALLBACK_ROOT = Path("/var/lib/pyat")
"""Where PostgreSQL's data goes when we are root and the user it runs as cannot reach the home (such as below /root)."""


class HomeError(Exception):
    """Something about the home or its servers is wrong; the text is one sentence and what to do."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Whom PostgreSQL runs as. It refuses root, so root hands it to an unprivileged user."""

    uid: int
    gid: int
    name: str


def server_user() -> ServerUser | None:
    """None where we are not root and PostgreSQL runs as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody", "daemon"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return ServerUser(found.pw_uid, found.pw_gid, found.pw_name)
    raise HomeError(
        "PostgreSQL cannot run as root and this machine has no user nobody: run PyAirtable as a normal user."
    )


def can_reach(path: Path, user: ServerUser) -> bool:
    """Whether `user` may pass through every folder down to `path` and read there."""
    path = path.resolve()
    for folder in (*reversed(path.parents), path):
        try:
            found = folder.stat()
        except FileNotFoundError:
            return True
        wanted = stat.S_IXOTH if folder != path or folder.is_dir() else stat.S_IROTH
        if found.st_uid == user.uid:
            wanted = stat.S_IXUSR
        if not found.st_mode & wanted:
            return False
    return True


class Home:
    """Paths and small files of one home. Nothing here starts anything."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self._lock_file: int | None = None

    def prepare(self) -> None:
        """Make the folders. Raises HomeError where that is not possible."""
        try:
            for folder in (self.path, self.path / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
            # The server's user passes through, but sees nothing here.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            (self.path / "logs").chmod(0o700)
        except OSError as error:
            raise HomeError(
                f"PyAirtable cannot write to {self.path} ({error.strerror}): give that folder to this user, or set PYAT_HOME."
            ) from error

    def lock(self) -> None:
        """Claim the home for this process until it ends. Raises HomeError when another one has it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            state = self.state()
            raise HomeError(
                f"PyAirtable already runs on {self.path} (process {state.get('pid', 'unknown')},"
                f" {state.get('url', 'starting')}): stop that one first, or set PYAT_HOME and PYAT_PORT for a second one."
            ) from None
        self._lock_file = descriptor

    def is_locked(self) -> bool:
        """Whether a platform runs on this home now."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
            finally:
                os.close(descriptor)
        return False

    @property
    def sockets(self) -> Path:
        """The folder of Unix sockets: in the home, or a short private one where the home's path is long."""
        inside = self.path / "run"
        user = server_user()
        if len(os.fsencode(inside)) <= SOCKET_PATH_MAX - 20 and (user is None or can_reach(self.path, user)):
            return inside
        return Path(tempfile.gettempdir()) / f"pyat-{os.geteuid()}-{self._digest}"

    @property
    def postgres(self) -> Path:
        """The folder of PostgreSQL's data."""
        user = server_user()
        if user is None or can_reach(self.path, user):
            return self.path / "postgres"
        return FALLBACK_ROOT / self._digest / "postgres"

    @property
    def _digest(self) -> str:
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    def make_sockets(self) -> Path:
        """Make the folder of sockets and check that it is ours."""
        folder = self.sockets
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise HomeError(f"The folder {folder} belongs to another user: remove it.")
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        return folder

    def secrets(self) -> dict[str, str]:
        """The installation's own secrets, made once: `internal_key`, `postgres_password`, `postgres_admin_password`."""
        path = self.path / "secrets.json"
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, str] = json.loads(path.read_text("utf-8"))
            return found
        made = {
            name: secrets.token_hex(32) for name in ("internal_key", "postgres_password", "postgres_admin_password")
        }
        write_private(path, json.dumps(made))
        return made

    def credentials(self) -> dict[str, str]:
        """What first start made for the administrator; empty before."""
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, str] = json.loads((self.path / "credentials.json").read_text("utf-8"))
            return found
        return {}

    def keep_credentials(self, credentials: Mapping[str, str]) -> None:
        """Remember what the start screen shows; readable by the owner alone."""
        write_private(self.path / "credentials.json", json.dumps(dict(credentials)))

    def prepared(self) -> str:
        """What `keep_prepared` was last given; empty before."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / "prepared").read_text("utf-8")
        return ""

    def keep_prepared(self, stamp: str) -> None:
        """Remember that migrations and first start are done for this stamp."""
        write_private(self.path / "prepared", stamp)

    def state(self) -> dict[str, Any]:
        """What the supervisor last wrote; empty before the first start."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            found: dict[str, Any] = json.loads((self.path / "state.json").read_text("utf-8"))
            return found
        return {}

    def keep_state(self, state: Mapping[str, Any]) -> None:
        """Say what runs now."""
        write_private(self.path / "state.json", json.dumps(dict(state), indent=1), is_durable=False)


def write_private(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Write a file whole or not at all, readable by the owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if is_durable:
            os.fsync(file.fileno())
    draft.replace(path)
    if is_durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
