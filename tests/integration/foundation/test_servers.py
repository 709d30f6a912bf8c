"""The fixtures themselves: what other tests rely on."""

import asyncpg

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.sql import Statement
from tests.support.servers import PostgresServer, ValkeyServer


async def test_each_test_has_a_migrated_database_of_its_own(database: Database, postgres_url: str) -> None:
    await database.run(Statement("make", "CREATE TABLE only_here (n int)"))
    other = await asyncpg.connect(postgres_url)
    try:
        assert await other.fetchval("SELECT count(*) FROM only_here") == 0
        assert await other.fetchval("SELECT to_regclass('pyat.migrations')::text") == "pyat.migrations"
    finally:
        await other.close()


async def test_a_database_of_another_test_is_not_seen(database: Database) -> None:
    assert await database.value(Statement("look", "SELECT to_regclass('only_here')")) is None


async def test_the_server_sorts_by_code_point_in_every_database(database: Database) -> None:
    rows = await database.rows(Statement("sort", "SELECT * FROM unnest(ARRAY['a', 'Z', 'é', 'b']) x ORDER BY x"))
    assert [row["x"] for row in rows] == ["Z", "a", "b", "é"]


async def test_the_vector_extension_is_there(database: Database) -> None:
    await database.run(Statement("extend", "CREATE EXTENSION vector"))


async def test_a_cache_begins_empty(cache: Cache) -> None:
    assert await cache.call("DBSIZE") == 0
    await cache.call("SET", "left", "over")


async def test_a_cache_begins_empty_again(cache: Cache) -> None:
    assert await cache.call("DBSIZE") == 0


async def test_an_own_postgres_can_be_killed_and_started(own_postgres: PostgresServer) -> None:
    own_postgres.kill()
    own_postgres.start()
    connection = await asyncpg.connect(own_postgres.url())
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_an_own_valkey_can_be_killed_and_started(own_valkey: ValkeyServer) -> None:
    own_valkey.kill()
    own_valkey.start()
    cache = Cache(own_valkey.url)
    assert await cache.is_ready()
    await cache.close()
