"""Migrations: each applied once, in order, by one of many, and never changed afterwards."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from pyat.foundation.db import Database
from pyat.foundation.migrations import Migration, MigrationChanged, apply, find
from pyat.foundation.sql import Statement
from tests.conftest import all_migrations

FIRST = Migration("demo", 1, "make", "CREATE TABLE demo (n int); INSERT INTO demo VALUES (1)")
SECOND = Migration("demo", 2, "widen", "ALTER TABLE demo ADD m int")
OTHER = Migration("other", 1, "make", "CREATE TABLE other (n int)")
COUNT = Statement("count", "SELECT count(*) FROM demo")


async def _open(url: str) -> Database:
    return await Database.open(url, connections_max=2)


async def test_migrations_are_applied_once_and_in_order(empty_postgres_url: str) -> None:
    database = await _open(empty_postgres_url)
    try:
        assert await apply(database, (FIRST,)) == (FIRST,)
        assert await apply(database, (FIRST, SECOND, OTHER)) == (SECOND, OTHER)
        assert await apply(database, (FIRST, SECOND, OTHER)) == ()
        assert await database.value(COUNT) == 1
        rows = await database.rows(
            Statement("known", "SELECT service, number, name FROM pyat.migrations ORDER BY 1, 2")
        )
        assert [tuple(row.values()) for row in rows] == [
            ("demo", 1, "make"),
            ("demo", 2, "widen"),
            ("other", 1, "make"),
        ]
    finally:
        await database.close()


async def test_many_processes_at_once_apply_each_migration_once(empty_postgres_url: str) -> None:
    databases = [await _open(empty_postgres_url) for _ in range(6)]
    try:
        applied = await asyncio.gather(*(apply(database, (FIRST, SECOND)) for database in databases))
        assert sorted(map(len, applied)) == [0, 0, 0, 0, 0, 2]
        assert await databases[0].value(COUNT) == 1
    finally:
        for database in databases:
            await database.close()


async def test_a_changed_migration_is_refused_and_nothing_else_is_applied(empty_postgres_url: str) -> None:
    database = await _open(empty_postgres_url)
    try:
        await apply(database, (FIRST,))
        changed = Migration("demo", 1, "make", FIRST.text + " ")
        with pytest.raises(MigrationChanged, match="Migration 1 of demo was changed"):
            await apply(database, (OTHER, changed))
        assert await database.value(Statement("other", "SELECT to_regclass('other')")) is None
    finally:
        await database.close()


async def test_a_failing_migration_leaves_nothing_behind(empty_postgres_url: str) -> None:
    database = await _open(empty_postgres_url)
    try:
        broken = Migration("demo", 3, "break", "CREATE TABLE half (n int); SELECT 1/0")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await apply(database, (FIRST, broken))
        assert await database.value(Statement("half", "SELECT to_regclass('half')")) is None
        assert await apply(database, (FIRST,)) == (FIRST,)
    finally:
        await database.close()


async def test_an_older_release_runs_on_a_newer_schema(empty_postgres_url: str) -> None:
    database = await _open(empty_postgres_url)
    try:
        await apply(database, (FIRST, SECOND))
        assert await apply(database, (FIRST,)) == ()
    finally:
        await database.close()


async def test_every_services_migrations_are_applied_in_the_fixtures_database(database: Database) -> None:
    rows = await database.rows(Statement("known", "SELECT service, number FROM pyat.migrations"))
    assert {(row["service"], row["number"]) for row in rows} == {
        (item.service, item.number) for item in all_migrations()
    }
    assert await apply(database, all_migrations()) == ()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / f"package_of_{tmp_path.name}"
    (folder / "migrations").mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_files_are_found_in_the_order_of_their_numbers(package: Path) -> None:
    for name in ("0010_later.sql", "0002_then.sql", "0001_first_of_all.sql", "README.md"):
        (package / "migrations" / name).write_text(f"-- {name}")
    found = find("demo", package.name)
    assert [(item.service, item.number, item.name) for item in found] == [
        ("demo", 1, "first_of_all"),
        ("demo", 2, "then"),
        ("demo", 10, "later"),
    ]
    assert found[0].text == "-- 0001_first_of_all.sql"


def test_two_files_of_one_number_are_refused(package: Path) -> None:
    for name in ("0001_one.sql", "0001_other.sql"):
        (package / "migrations" / name).touch()
    with pytest.raises(AssertionError, match="two migrations of one number"):
        find("demo", package.name)


def test_a_package_without_migrations_has_none() -> None:
    assert find("foundation", "pyat.foundation") == ()
