"""Whom the embedded servers run as. PostgreSQL refuses root, so root hands them to an unprivileged user."""

import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.processes import run

_NAMES = ("postgres", "nobody", "daemon")
_TRY_TIMEOUT_S = 30.0
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged user."""

    uid: int
    gid: int
    name: str


def server_account(data: Path | None = None) -> Account | None:
    """Whom servers run as: None where we are not root and they run as ourselves.

    PostgreSQL starts only for the owner of its data, so that one is taken where `data` exists. Raises HomeError.
    """
    if os.geteuid() != 0:
        return None
    if data is not None:
        with contextlib.suppress(OSError):
            owner = data.stat().st_uid
            if owner != 0:
                return _account(owner, data)
    for name in _NAMES:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return Account(found.pw_uid, found.pw_gid, found.pw_name)
    raise HomeError(
        "PostgreSQL cannot run as root and this machine has no user nobody: run PyAirtable as a normal user, or set"
        " PYAT_DATABASE_URL."
    )


def _account(uid: int, data: Path) -> Account:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        raise HomeError(
            f"PostgreSQL's data in {data} belongs to user id {uid}, which this machine does not know: add that user, or"
            " give the folder to one that exists."
        ) from None
    return Account(found.pw_uid, found.pw_gid, found.pw_name)


def can_enter(folder: Path, account: Account) -> bool:
    """Whether `account` may pass through every folder down into `folder`. Tried, so that access lists count."""
    try:
        status, _ = run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], timeout_s=_TRY_TIMEOUT_S, **run_as(account))
    except OSError:
        return False
    return status == 0


def run_as(account: Account | None) -> dict[str, Any]:
    """Options of Popen: the account, no variable of ours but the search paths, a folder that everybody can enter."""
    options: dict[str, Any] = {
        "cwd": "/",
        "env": {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | {"LC_ALL": "C"},
        "umask": 0o077,
    }
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def make_folder(path: Path, account: Account | None) -> None:
    """Make a folder that only `account` (or we) can enter; one that exists is left as it is. Raises OSError."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    if account is not None:
        os.chown(path, account.uid, account.gid)
