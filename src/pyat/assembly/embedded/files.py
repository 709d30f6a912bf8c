"""Small files, written whole or not at all, and logs of bounded size."""

import contextlib
import errno
import os
from pathlib import Path

_LOG_TAIL_BYTES = 8192
_COPY_BYTES = 1 << 20


def write_private(path: Path, text: str, *, is_durable: bool = True) -> None:
    """Replace a file at once; only its owner can read it. Durable ones survive a power cut. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    if is_durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring what a folder lists to the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(folder)


def log_lines(path: Path, *, since_bytes: int = 0) -> list[str]:
    """The last lines of a log that are not blank, oldest first, from `since_bytes` on; none where there is no log."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        # Somebody may have cut the log since its size was noted.
        start = since_bytes if since_bytes <= size else 0
        file.seek(max(start, size - _LOG_TAIL_BYTES))
        return [line.rstrip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return []


def log_tail(path: Path, *, lines_max: int = 3, since_bytes: int = 0) -> str:
    """The end of a log on one line, for an error message; empty where there is no log."""
    return " | ".join(log_lines(path, since_bytes=since_bytes)[-lines_max:])


def size_bytes(path: Path) -> int:
    """The size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def rotate_logs(folder: Path, *, bytes_max: int) -> None:
    """Move what is in logs over the bound to `NAME.log.1`; so each log takes about twice the bound at most.

    The writers keep their open files, which append: the content is copied and the file emptied, whoever writes.
    """
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            if size_bytes(path) > bytes_max:
                _rotate(path)


def _rotate(path: Path) -> None:
    draft = path.with_name(f".{path.name}.1")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as copy, path.open("rb") as original:
            while chunk := original.read(_COPY_BYTES):
                copy.write(chunk)
        draft.replace(path.with_name(f"{path.name}.1"))
    except OSError:
        # A full disk must not keep the log growing: its old part goes.
        with contextlib.suppress(OSError):
            draft.unlink()
    os.truncate(path, 0)
