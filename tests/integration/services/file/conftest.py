"""A file service of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from tests.support.files import Bench, Client, make_bench, served


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache, tmp_path: Path) -> AsyncIterator[Bench]:
    """The services on a database of their own, files in a folder of the test."""
    made = await make_bench(database, cache, tmp_path)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    """HTTP to its public operations."""
    async with served(bench) as found:
        yield found
