"""The database pool against a real server: what is declared when it is gone, slow or full, and how it comes back."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from pyat.foundation.db import RETRIABLE, Database, recording
from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.sql import Statement
from tests.support.servers import PostgresServer

ONE = Statement("one", "SELECT 1")


async def test_values_rows_and_effects(database: Database) -> None:
    async with database.connection() as connection:
        await connection.script("make", "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)")
    assert await database.value(Statement("sum", "SELECT sum(n) FROM t")) == 3
    assert [row["n"] for row in await database.rows(Statement("all", "SELECT n FROM t ORDER BY n"))] == [1, 2]
    row = await database.row(Statement("first", "SELECT n FROM t WHERE n > $1"), 1)
    assert row is not None
    assert row["n"] == 2
    assert await database.row(Statement("none", "SELECT n FROM t WHERE n > 5")) is None
    assert await database.value(Statement("none", "SELECT n FROM t WHERE n > 5")) is None
    assert await database.run(Statement("delete", "DELETE FROM t")) == "DELETE 2"


async def test_sessions_run_in_utc_whatever_the_server_is_set_to(database: Database) -> None:
    assert await database.value(Statement("zone", "SHOW timezone")) == "UTC"
    assert (
        await database.value(Statement("text", "SELECT timestamptz '2024-01-01 00:00Z'::text"))
        == "2024-01-01 00:00:00+00"
    )
    assert await database.value(Statement("time", "SELECT timestamptz '2024-01-01 00:00Z'")) == datetime(
        2024, 1, 1, tzinfo=UTC
    )


async def test_a_transaction_is_kept_or_undone_as_a_whole(database: Database) -> None:
    await database.run(Statement("make", "CREATE TABLE t (n int)"))
    insert = Statement("insert", "INSERT INTO t VALUES ($1)")
    async with database.transaction() as connection:
        await connection.run(insert, 1)
    with pytest.raises(LookupError):
        await _insert_and_fail(database)
    assert [row["n"] for row in await database.rows(Statement("all", "SELECT n FROM t"))] == [1]


async def _insert_and_fail(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.run(Statement("insert", "INSERT INTO t VALUES (2)"))
        raise LookupError


async def test_a_transaction_left_open_does_not_reach_the_next_borrower(postgres_url: str) -> None:
    database = await Database.open(postgres_url, connections_max=1)
    try:
        await database.run(Statement("make", "CREATE TABLE t (n int)"))
        async with database.connection() as connection:
            await connection.script("open", "BEGIN; INSERT INTO t VALUES (1)")
        assert await database.value(Statement("count", "SELECT count(*) FROM t")) == 0
    finally:
        await database.close()


async def test_statements_are_recorded_by_name_in_this_context_only(database: Database) -> None:
    with recording() as recorder:
        await database.value(ONE)
        async with database.transaction() as connection:
            await connection.rows(Statement("two", "SELECT 2"))
            await connection.script("three", "SELECT 3; SELECT 3")
    await database.value(ONE)
    assert recorder.names == ["one", "two", "three"]


async def test_a_statement_that_takes_too_long_is_unavailable_and_its_connection_usable_again(
    postgres_url: str,
) -> None:
    database = await Database.open(postgres_url, connections_max=1, timeout_s=0.2)
    try:
        with pytest.raises(ServiceUnavailable):
            await database.value(Statement("sleep", "SELECT pg_sleep(30)"))
        assert await database.value(ONE) == 1
    finally:
        await database.close()


async def test_waiting_too_long_for_a_connection_is_unavailable(postgres_url: str) -> None:
    database = await Database.open(postgres_url, connections_max=1, timeout_s=0.1)
    try:
        async with database.connection():
            with pytest.raises(ServiceUnavailable):
                await database.value(ONE)
        assert await database.value(ONE) == 1
    finally:
        await database.close()


async def test_a_cancelled_caller_leaves_a_usable_connection(postgres_url: str) -> None:
    database = await Database.open(postgres_url, connections_max=1)
    try:
        task = asyncio.create_task(database.value(Statement("sleep", "SELECT pg_sleep(30)")))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await database.value(ONE) == 1
    finally:
        await database.close()


async def test_a_wrong_statement_and_wrong_use_are_our_faults_not_unavailability(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.value(Statement("bad", "SELECT * FROM no_such_table"))
    with pytest.raises(asyncpg.InterfaceError):
        await database.value(Statement("bad", "SELECT $1::int"))
    with pytest.raises(asyncpg.DataError):
        await database.value(Statement("bad", "SELECT $1::int4"), 2**40)
    with pytest.raises(OSError, match="mine"):
        async with database.connection():
            raise OSError("mine")


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "55P03"])
async def test_failures_of_concurrency_are_retriable(database: Database, sqlstate: str) -> None:
    with pytest.raises(RETRIABLE):
        await database.run(Statement("fail", f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$"))


async def test_a_table_that_changed_under_a_prepared_statement_is_retriable(postgres_url: str) -> None:
    database = await Database.open(postgres_url, connections_max=2)
    read = Statement("read", "SELECT * FROM t")
    try:
        await database.run(Statement("make", "CREATE TABLE t (n int)"))
        async with database.connection() as connection:
            await connection.rows(read)
            async with database.connection() as other:
                await other.script("change", "ALTER TABLE t ALTER n TYPE text")
            with pytest.raises(RETRIABLE):
                async with connection.raw.transaction():
                    await connection.rows(read)
            assert await connection.rows(read) == []
    finally:
        await database.close()


@pytest.mark.parametrize("sqlstate", ["57P01", "57P02", "57P03", "53300", "53100", "53200", "57014", "25006", "08006"])
async def test_a_server_that_cannot_serve_is_unavailable(database: Database, sqlstate: str) -> None:
    with pytest.raises(ServiceUnavailable):
        await database.run(Statement("fail", f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{sqlstate}'; END $$"))


async def test_no_server_is_unavailable(postgres: PostgresServer) -> None:
    for url in (
        postgres.url().replace("host=/", "host=/no-such-folder/"),
        "postgresql://postgres@127.0.0.1:1/postgres",
        "postgresql://postgres@no-such-host.invalid/postgres",
    ):
        with pytest.raises(ServiceUnavailable):
            await Database.open(url, connections_max=1, timeout_s=5)


async def test_a_killed_server_is_unavailable_and_works_again_once_it_is_back(own_postgres: PostgresServer) -> None:
    database = await Database.open(own_postgres.url(), connections_max=3)
    try:
        await database.run(Statement("make", "CREATE TABLE t (n int)"))
        async with database.connection(), database.connection():
            pass  # two connections in the pool
        slow = asyncio.create_task(database.value(Statement("sleep", "SELECT pg_sleep(30)")))
        await asyncio.sleep(0.05)
        own_postgres.kill()
        with pytest.raises(ServiceUnavailable):
            await slow
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                await database.value(ONE)
        assert not await database.is_ready()
        own_postgres.start()
        assert await database.is_ready()
        assert await asyncio.gather(*(database.value(ONE) for _ in range(10))) == [1] * 10
    finally:
        await database.close()


async def test_a_transaction_that_is_cut_off_is_undone(own_postgres: PostgresServer) -> None:
    database = await Database.open(own_postgres.url(), connections_max=1)
    try:
        await database.run(Statement("make", "CREATE TABLE t (n int)"))
        await database.run(Statement("checkpoint", "CHECKPOINT"))
        with pytest.raises(ServiceUnavailable):
            await _insert_and_lose(database, own_postgres)
        own_postgres.start()
        assert await database.value(Statement("count", "SELECT count(*) FROM t")) == 0
    finally:
        await database.close()


async def _insert_and_lose(database: Database, server: PostgresServer) -> None:
    async with database.transaction() as connection:
        await connection.run(Statement("insert", "INSERT INTO t VALUES (1)"))
        server.kill()
        await connection.value(Statement("sleep", "SELECT pg_sleep(30)"))


async def test_a_hanging_server_is_not_ready(own_postgres: PostgresServer) -> None:
    database = await Database.open(own_postgres.url(), connections_max=1, timeout_s=0.2)
    try:
        # The connection's own backend hangs, not only the one that accepts connections.
        backend = await database.value(Statement("pid", "SELECT pg_backend_pid()"))
        own_postgres.pause(backend)
        try:
            assert not await database.is_ready()
        finally:
            own_postgres.resume(backend)
        assert await database.is_ready()
    finally:
        await database.close()


async def test_a_closed_pool_is_unavailable(postgres_url: str) -> None:
    database = await Database.open(postgres_url, connections_max=1)
    await database.close()
    with pytest.raises(ServiceUnavailable):
        await database.value(ONE)
