"""Homes for these tests. A cluster is made once; tests that need one get a copy."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.assembly.harness import Supervised

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 1024**3


def _is_roomy(folder: Path) -> bool:
    """Whether a few clusters fit there, and copies of programs can be run there."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize > ROOM_BYTES and not found.f_flag & getattr(os, "ST_NOEXEC", 0)


@pytest.fixture(scope="session")
def places() -> Iterator[Path]:
    """A folder that everybody can enter, which pytest's own are not; in memory where there is room."""
    folder = Path(tempfile.mkdtemp(prefix="pyat-assembly-", dir=MEMORY if _is_roomy(MEMORY) else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(places: Path) -> Iterator[Path]:
    """Such a folder for one test; removed at once, since a cluster has a thousand files."""
    folder = Path(tempfile.mkdtemp(dir=places))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template_home(places: Path) -> Path:
    """A home after its first start and a clean stop, never to be started."""
    with Supervised(places / "template") as supervised:
        supervised.start()
        supervised.stop()
    return places / "template"


@pytest.fixture
def home(template_home: Path, place: Path) -> Path:
    """A copy of the template: a home whose first start is over."""
    subprocess.run(["cp", "-a", template_home, place / "home"], check=True)
    return place / "home"


@pytest.fixture
def unprivileged() -> str:
    """The name of a user that root can become; skips where we are not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    return pwd.getpwnam("nobody").pw_name
