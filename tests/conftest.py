"""Fixtures of all tests: real servers, a fresh database for each test that asks for one."""

import asyncio
import hashlib
import os
import pkgutil
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import valkey

import pyat.services
from pyat.foundation import migrations
from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.recordstore import functions
from tests.support.servers import PostgresServer, Run, ValkeyServer

_RUN = pytest.StashKey[Run]()
_FOLDER = "pyat_servers_folder"
_numbers = count(1)


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None:
        config.stash[_RUN] = Run.begin()
    else:
        config.stash[_RUN] = Run(Path(worker[_FOLDER]), os.getppid())


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput[_FOLDER] = str(node.config.stash[_RUN].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if getattr(config, "workerinput", None) is None and _RUN in config.stash:
        config.stash[_RUN].end()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Run:
    """The servers of this run; ask it for one of your own where a test kills or pauses it."""
    return request.config.stash[_RUN]


@pytest.fixture(scope="session")
def postgres(servers: Run) -> PostgresServer:
    """The shared PostgreSQL. Never kill it: use `own_postgres`."""
    return servers.postgres()


@pytest.fixture
def own_postgres(servers: Run) -> Iterator[PostgresServer]:
    """A PostgreSQL of this test alone, running, that it may kill, pause and start (0.5 s)."""
    server = servers.own_postgres(_unique("postgres"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def valkey_server(servers: Run) -> Iterator[ValkeyServer]:
    """The Valkey of this worker. Never kill it: use `own_valkey`."""
    server = servers.own_valkey(_unique("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_valkey(servers: Run) -> Iterator[ValkeyServer]:
    """A Valkey of this test alone, running, that it may kill, pause and start (10 ms)."""
    server = servers.own_valkey(_unique("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The address of this worker's Valkey, emptied."""
    with valkey.Valkey.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture(scope="session")
def template(servers: Run, postgres: PostgresServer) -> str:
    """The name of a database with every service's migrations applied, made once for the run."""
    found = all_migrations()
    name = "template_" + hashlib.sha256("".join(item.checksum for item in found).encode()).hexdigest()[:16]
    with servers.locked("template"):
        asyncio.run(_make_template(postgres, name, found))
    return name


def all_migrations() -> tuple[migrations.Migration, ...]:
    """Those of all services, in the order of the services' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(pyat.services.__path__))
    return tuple(found for name in names for found in migrations.find(name, f"pyat.services.{name}"))


async def _make_template(postgres: PostgresServer, name: str, found: tuple[migrations.Migration, ...]) -> None:
    admin = await asyncpg.connect(postgres.url())
    try:
        if await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            return
        # Made under another name first, so that a failed migration leaves no half-made template.
        await admin.execute(f"DROP DATABASE IF EXISTS {name}_new")
        await admin.execute(f"CREATE DATABASE {name}_new")
        database = await Database.open(postgres.url(f"{name}_new"), connections_max=2)
        try:
            await migrations.apply(database, found)
            await functions.install(database)
        finally:
            await database.close()
        await admin.execute(f"ALTER DATABASE {name}_new RENAME TO {name}")
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def postgres_url(postgres: PostgresServer, template: str) -> AsyncIterator[str]:
    """The address of a fresh database with every service's migrations applied (25 ms)."""
    async for url in _database(postgres, template):
        yield url


@pytest_asyncio.fixture
async def empty_postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """The address of a fresh database without anything in it."""
    async for url in _database(postgres, "template1"):
        yield url


async def _database(postgres: PostgresServer, template: str) -> AsyncIterator[str]:
    name = _unique("test")
    admin = await asyncpg.connect(postgres.url())
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield postgres.url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest_asyncio.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A `Database` on a fresh database with every service's migrations applied."""
    opened = await Database.open(postgres_url, connections_max=8)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def cache(valkey_url: str) -> AsyncIterator[Cache]:
    """A `Cache` on an empty Valkey."""
    opened = Cache(valkey_url)
    yield opened
    await opened.close()


def _unique(kind: str) -> str:
    return f"{kind}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"
