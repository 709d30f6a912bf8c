"""Where the homes of these tests lie."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody can enter, which pytest's own are not: root's homes keep all their parts in it."""
    folder = Path(tempfile.mkdtemp(prefix="pyat-cli-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
