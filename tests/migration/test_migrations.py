"""The services' migrations: one structure whatever way it was reached, and applied ones that nobody changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from pyat.foundation.db import Database
from pyat.foundation.migrations import Migration, MigrationChanged, apply
from pyat.foundation.sql import Statement
from tests.conftest import all_migrations
from tests.migration.catalogue import structure
from tests.support.servers import PostgresServer

MIGRATIONS = all_migrations()
SERVICES = sorted({migration.service for migration in MIGRATIONS})
APPLIED = Statement("applied", "SELECT service, number, name, checksum FROM pyat.migrations ORDER BY 1, 2")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, connections_max=2)
    try:
        yield database
    finally:
        await database.close()


async def applied(database: Database) -> list[tuple[str, int, str, str]]:
    """What the database says was applied."""
    return [tuple(row.values()) for row in await database.rows(APPLIED)]


@pytest.fixture
async def fresh(database: Database) -> str:
    """The structure of a database that got every migration at once."""
    return await structure(database)


def of(service: str) -> tuple[Migration, ...]:
    return tuple(migration for migration in MIGRATIONS if migration.service == service)


ORDERS: dict[str, Sequence[tuple[Migration, ...]]] = {
    "every service in another order": [tuple(m for name in reversed(SERVICES) for m in of(name))],
    "a service at a time": [of(name) for name in reversed(SERVICES)],
    "a file at a time": [(migration,) for migration in sorted(MIGRATIONS, key=lambda m: (m.number, m.service))],
}
"""Releases that add services and files one after the other go such ways."""


def test_every_file_is_numbered_without_gaps() -> None:
    for name in SERVICES:
        assert [migration.number for migration in of(name)] == list(range(1, len(of(name)) + 1))


async def test_each_service_keeps_to_its_own_schema(database: Database, fresh: str) -> None:
    schemas = [line.split()[1] for line in fresh.splitlines() if line.startswith("SCHEMA ")]
    assert schemas == sorted(["pyat", *SERVICES])
    public = await structure(database, ["public"])
    assert public.splitlines()[1:] == []


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS.keys())
async def test_every_order_of_services_leads_to_the_same_structure(
    steps: Sequence[tuple[Migration, ...]], empty_postgres_url: str, fresh: str
) -> None:
    async with opened(empty_postgres_url) as database:
        for step in steps:
            assert await apply(database, step) == step
        assert await structure(database) == fresh
        assert len(await applied(database)) == len(MIGRATIONS)
        assert await apply(database, MIGRATIONS) == ()


async def test_two_starts_at_once_lead_to_the_same_structure(empty_postgres_url: str, fresh: str) -> None:
    async with opened(empty_postgres_url) as first, opened(empty_postgres_url) as second:
        (other_order,) = ORDERS["every service in another order"]
        done = await asyncio.gather(apply(first, MIGRATIONS), apply(second, other_order))
        assert sorted(map(len, done)) == [0, len(MIGRATIONS)]
        assert await structure(first) == fresh


async def test_the_owner_of_the_database_needs_no_further_rights(
    postgres: PostgresServer, empty_postgres_url: str, fresh: str
) -> None:
    admin = await asyncpg.connect(empty_postgres_url)
    try:
        name = await admin.fetchval("SELECT current_database()")
        role = f"owner_of_{name}"
        await admin.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER; ALTER DATABASE {name} OWNER TO {role}")
        async with opened(empty_postgres_url.replace("user=postgres", f"user={role}")) as database:
            assert await apply(database, MIGRATIONS) == MIGRATIONS
            assert await structure(database) == fresh
        await admin.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}")
    finally:
        await admin.close()


@pytest.mark.parametrize("changed", MIGRATIONS, ids=lambda m: f"{m.service}-{m.number}")
async def test_a_changed_file_is_refused_and_changes_nothing(changed: Migration, database: Database) -> None:
    before = await structure(database), await applied(database)
    other = replace(changed, text=f"{changed.text}\nCREATE TABLE {changed.service}.more (n int);\n")
    new = Migration(changed.service, 999, "later", f"CREATE TABLE {changed.service}.later (n int)")
    found = [other if migration == changed else migration for migration in MIGRATIONS]
    with pytest.raises(MigrationChanged, match=f"Migration {changed.number} of {changed.service} was changed"):
        await apply(database, (new, *found))
    assert (await structure(database), await applied(database)) == before


async def test_the_record_names_every_file(database: Database) -> None:
    assert await applied(database) == sorted((m.service, m.number, m.name, m.checksum) for m in MIGRATIONS)
