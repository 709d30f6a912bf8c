"""PostgreSQL: one pool per process, statements with names, failures of the server as one declared error.

Connections keep no session state, so a transaction-pooling proxy may stand between. Every session runs in UTC.
"""

import asyncio
import contextvars
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self, TypeAlias

import asyncpg
import structlog
from asyncpg import exceptions as pg

from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.sql import Statement

Row: TypeAlias = Mapping[str, Any]
"""One row of an answer, by column name."""

CONNECTION_LOST = (
    pg.PostgresConnectionError,
    pg.InternalClientError,  # the protocol's state after a connection broke at an unlucky moment
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.InsufficientResourcesError,  # connections, memory, disk
    pg.QueryCanceledError,
    pg.ReadOnlySQLTransactionError,  # a standby, just before or after it takes over
    ConnectionError,
    TimeoutError,
    asyncio.IncompleteReadError,
)
"""What asyncpg raises when the server went away, is starting, is full, or took longer than allowed."""

RETRIABLE = (
    pg.DeadlockDetectedError,
    pg.SerializationError,
    pg.LockNotAvailableError,
    pg.InvalidCachedStatementError,  # a table changed under a prepared statement; it is prepared anew
    pg.OutdatedSchemaCacheError,
)
"""The transaction was rolled back for reasons of concurrency alone and may be run again."""

_log = structlog.get_logger("db")

_recorder: contextvars.ContextVar["Recorder | None"] = contextvars.ContextVar("statement_recorder", default=None)


class Recorder:
    """The names of the statements that ran inside `recording()`, in order; for tests that count them."""

    def __init__(self) -> None:
        self.names: list[str] = []


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record the names of all statements run in this context and the tasks started from it."""
    recorder = Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


class Connection:
    """A borrowed connection; its calls take a `Statement` (named) and its arguments."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw: asyncpg.Connection[Row] = raw

    async def value(self, statement: Statement, *arguments: Any) -> Any:
        """The first column of the first row, or None."""
        _note(statement)
        rows = await self.raw.fetch(statement.text, *arguments)
        return rows[0][0] if rows else None

    async def row(self, statement: Statement, *arguments: Any, timeout_s: float | None = None) -> Row | None:
        """The first row, or None; `timeout_s` instead of the pool's time. Raises TimeoutError, then the connection lives."""
        _note(statement)
        # All of them, of which there is one: a statement that is asked for its first row alone does not run in parallel.
        rows = await self.raw.fetch(statement.text, *arguments, timeout=timeout_s)
        return rows[0] if rows else None

    async def rows(self, statement: Statement, *arguments: Any) -> list[Row]:
        """All rows; the statement bounds their number."""
        _note(statement)
        found: list[Row] = await self.raw.fetch(statement.text, *arguments)
        return found

    async def run(self, statement: Statement, *arguments: Any) -> str:
        """Run it for its effect; returns PostgreSQL's command tag, such as `UPDATE 3`."""
        _note(statement)
        return str(await self.raw.execute(statement.text, *arguments))

    async def script(self, name: str, text: str, *, timeout_s: float | None = None) -> None:
        """Several statements in one round trip, without arguments (DDL); `timeout_s` instead of the pool's time."""
        _note(Statement(name, ""))
        await self.raw.execute(text, timeout=timeout_s)


def _note(statement: Statement) -> None:
    recorder = _recorder.get()
    if recorder is not None:
        recorder.names.append(statement.name)


def _unavailable(error: Exception) -> ServiceUnavailable:
    _log.warning("database_unavailable", cause=type(error).__name__)
    return ServiceUnavailable()


def _is_lost(raw: Any) -> bool:
    try:
        return bool(raw.is_closed())
    except pg.InterfaceError:  # the pool has taken it back, because it broke
        return True


async def _reset(connection: Any) -> None:
    # asyncpg's default costs a round trip for each release; we set nothing on a session, so there is nothing to undo.
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


_EPOCH_DAY = date(2000, 1, 1).toordinal()
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def _keep_calendar_ends(connection: Any) -> None:
    # asyncpg turns the first and the last day that Python knows into PostgreSQL's infinities, which are no dates; people
    # do write 9999-12-31. These conversions give every day and moment as it is, and cost no more.
    for name, encoder, decoder in (
        ("date", lambda day: (day.toordinal() - _EPOCH_DAY,), lambda found: date.fromordinal(found[0] + _EPOCH_DAY)),
        (
            "timestamptz",
            lambda moment: ((moment - _EPOCH) // _MICROSECOND,),
            lambda found: _EPOCH + timedelta(microseconds=found[0]),
        ),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", encoder=encoder, decoder=decoder, format="tuple")


DEFERRED = "set_config('synchronous_commit', 'off', true) = 'off'"
"""A condition that is always true; a transaction whose statement has it does not wait for the disk when it commits.

Others see it at once and get its locks sooner. Whoever confirms it to anybody waits for `Database.flush` before.
"""

_FLUSH = Statement("flush", "SELECT pg_logical_emit_message(true, 'pyat', '')")
"""A transaction that writes next to nothing and waits for the disk: with its commit, all earlier ones are on it."""


class Database:
    """The process's pool. Make it with `open`, end it with `close`."""

    def __init__(self, pool: "asyncpg.Pool[Row]", *, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._flush_running: asyncio.Task[None] | None = None
        self._flush_waiting: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, url: str, *, connections_max: int, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect once, to fail early. Raises ServiceUnavailable when the server does not answer."""
        options: dict[str, Any] = {} if tls is None else {"ssl": tls}
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,
                max_size=connections_max,
                max_inactive_connection_lifetime=300,
                timeout=timeout_s,
                command_timeout=timeout_s,
                statement_cache_size=128,
                max_cached_statement_lifetime=0,
                init=_keep_calendar_ends,
                reset=_reset,
                server_settings={"timezone": "UTC", "application_name": "pyat"},
                **options,
            )
        except (*CONNECTION_LOST, OSError) as error:
            raise _unavailable(error) from error
        opened = cls(pool, timeout_s=timeout_s)
        # The pool itself keeps no connection when idle: it would log a trace for each attempt to restore one.
        try:
            async with opened.connection():
                return opened
        except ServiceUnavailable:
            pool.terminate()
            raise

    async def close(self) -> None:
        """Wait for borrowed connections (5 s at most), then close all."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection without a transaction. Raises ServiceUnavailable when the server is gone or too slow."""
        try:
            raw = await self._pool.acquire(timeout=self._timeout_s)
        except (*CONNECTION_LOST, pg.InterfaceError, OSError) as error:
            raise _unavailable(error) from error
        try:
            try:
                yield Connection(raw)
            except pg.InterfaceError as error:
                # asyncpg's word for a closed connection, but also for wrong use of an open one, which is our fault.
                if _is_lost(raw):
                    raise _unavailable(error) from error
                raise
            except pg.OutdatedSchemaCacheError:
                raise
            except pg.InternalClientError:
                # Its protocol stands in the middle of something; nobody should borrow it again.
                raw.terminate()
                raise
            finally:
                await self._pool.release(raw)
        except RETRIABLE:  # one of them is an InternalClientError
            raise
        except CONNECTION_LOST as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction (read committed), committed at the end of the block, rolled back on any exception."""
        async with self.connection() as connection, connection.raw.transaction():
            yield connection

    async def value(self, statement: Statement, *arguments: Any) -> Any:
        """The first column of the first row of a single statement."""
        async with self.connection() as connection:
            return await connection.value(statement, *arguments)

    async def row(self, statement: Statement, *arguments: Any) -> Row | None:
        """The first row of a single statement."""
        async with self.connection() as connection:
            return await connection.row(statement, *arguments)

    async def rows(self, statement: Statement, *arguments: Any) -> Sequence[Row]:
        """All rows of a single statement."""
        async with self.connection() as connection:
            return await connection.rows(statement, *arguments)

    async def run(self, statement: Statement, *arguments: Any) -> str:
        """Run a single statement for its effect."""
        async with self.connection() as connection:
            return await connection.run(statement, *arguments)

    async def flush(self) -> None:
        """Return when everything that was committed before this call is on disk; see `DEFERRED`.

        Calls that come while one runs share the next one. Raises ServiceUnavailable; then nobody knows.
        """
        if self._flush_waiting is None:
            self._flush_waiting = asyncio.create_task(self._flush_after(self._flush_running))
        # Shielded: one caller that goes away must not take the flush from the others.
        await asyncio.shield(self._flush_waiting)

    async def _flush_after(self, running: "asyncio.Task[None] | None") -> None:
        if running is not None:
            await asyncio.wait([running])
        self._flush_running, self._flush_waiting = self._flush_waiting, None
        async with self.connection() as connection:
            await connection.raw.execute(_FLUSH.text)

    async def is_ready(self) -> bool:
        """Whether a trivial statement is answered within two seconds."""
        try:
            async with asyncio.timeout(2), self.connection() as connection:
                return bool(await connection.value(Statement("is_ready", "SELECT true")))
        except (ServiceUnavailable, TimeoutError):
            return False
