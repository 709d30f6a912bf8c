"""The SQL of the records API: runs the plans of `recordstore` and turns what PostgreSQL answers into outcomes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from asyncpg import exceptions as pg

from pyat.foundation.db import RETRIABLE, Connection, Database
from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore import ddl, reading, writing
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import RowDoesNotExist
from pyat.recordstore.fieldtypes import NewChoices, with_new_choices
from pyat.recordstore.structure import Base, Field, Table

Result = TypeVar("Result")

ATTEMPTS_MAX = 5

GONE = (pg.UndefinedTableError, pg.UndefinedColumnError, pg.InvalidSchemaNameError, pg.InvalidCachedStatementError)
"""What a statement meets when the structure it was planned for is not there any more."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as PostgreSQL gave it; `cursor` and `last_id` are None when no page follows."""

    records: bytes
    row_count: int
    cursor: reading.Cursor | None
    last_id: str | None


async def retried(work: Callable[[], Awaitable[Result]]) -> Result:
    """Run a transaction again when it lost to another one (deadlock, lock time-out), a few times, with jitter."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await work()
        except RETRIABLE as error:
            if attempt == ATTEMPTS_MAX - 1:
                raise ServiceUnavailable from error
            await asyncio.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("the loop returns or raises")


@asynccontextmanager
async def _structure_watched() -> AsyncIterator[None]:
    try:
        yield
    except GONE as error:
        raise StructureChanged from error


def _check(version: int, base: Base) -> None:
    if version != base.version:
        raise StructureChanged


class RecordsStore:
    """Rows of all bases. Every method raises StructureChanged when `base` is not the current structure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self, base_id: BaseId) -> int | None:
        """The structure's current version; None where the base is gone."""
        async with self._database.connection() as connection:
            return await ddl.version_of(connection, base_id)

    async def page(
        self,
        base: Base,
        table: Table,
        *,
        fields: Sequence[Field] | None,
        by_id: bool,
        sort: Sequence[reading.SortKey],
        rows_max: int,
        cursor: reading.Cursor | None,
    ) -> Page:
        """One page; one statement."""
        statement, arguments = reading.page(
            base.base_id, table, fields=fields, by_id=by_id, sort=sort, rows_max=rows_max, cursor=cursor
        )
        async with _structure_watched():
            row = await self._database.row(statement, *arguments)
        assert row is not None, "an aggregate has one row"
        _check(row["version"], base)
        body: bytes = row["body"] or b""
        if row["row_count"] <= rows_max:
            return Page(body, row["row_count"], None, None)
        following = reading.Cursor(
            keys=tuple(row["last_keys"] or ()), n=row["last_n"], n_max=cursor.n_max if cursor else row["n_max"]
        )
        return Page(body, rows_max, following, row["last_id"])

    async def get(self, base: Base, table: Table, record_id: RecordId, *, by_id: bool) -> bytes | None:
        """One record of `table`, or of another table of the base when that one has the id; None when there is none."""
        body = await self._get(base, table, record_id, by_id=by_id)
        others = [other for other in base.tables if other.table_id != table.table_id]
        if body is None and others:
            async with _structure_watched():
                statement = reading.table_of_record_statement(base.base_id, others)
                position: int | None = await self._database.value(statement, record_id)
            if position is not None:
                body = await self._get(base, others[position], record_id, by_id=by_id)
        return body

    async def _get(self, base: Base, table: Table, record_id: RecordId, *, by_id: bool) -> bytes | None:
        key = ("get", by_id)
        statement = table.plans.get(key)
        if statement is None:
            statement = table.plans[key] = reading.get_statement(base.base_id, table, by_id=by_id)
        async with _structure_watched():
            row = await self._database.row(statement, record_id)
        assert row is not None, "a SELECT without FROM has one row"
        _check(row["version"], base)
        found: bytes | None = row["body"]
        return found

    async def create(
        self,
        base: Base,
        table: Table,
        *,
        record_ids: Sequence[RecordId],
        rows: Sequence[writing.Cells],
        new_choices: Mapping[str, NewChoices],
        user_id: str,
        by_id: bool,
    ) -> bytes:
        """Insert records; one statement, or a transaction when choices join the structure."""

        async def insert(connection: Connection, base: Base, table: Table) -> bytes:
            return await create_records(connection, base, table, record_ids, rows, user_id, by_id=by_id)

        return await self._write(base, table, new_choices, insert)

    async def update(
        self,
        base: Base,
        table: Table,
        *,
        changes: Sequence[writing.Change],
        answer_ids: Sequence[RecordId],
        is_replacing: bool,
        new_choices: Mapping[str, NewChoices],
        user_id: str,
        by_id: bool,
    ) -> bytes:
        """Change records, each named once, and give `answer_ids` (which may repeat) in their final state.

        One statement, or a transaction when choices join or an id repeats. Raises RowDoesNotExist.
        """
        is_repeating = len(answer_ids) != len(changes)

        async def change(connection: Connection, base: Base, table: Table) -> bytes:
            body = await update_records(connection, base, table, changes, is_replacing, user_id, by_id=by_id)
            if is_repeating:
                statement = reading.records_statement(base.base_id, table, by_id=by_id)
                body = await connection.value(statement, list(answer_ids))
            return body

        return await self._write(base, table, new_choices, change, in_transaction=is_repeating)

    async def delete(self, base: Base, table: Table, record_ids: Sequence[RecordId]) -> None:
        """Delete records; one statement. Raises RowDoesNotExist."""

        async def run() -> None:
            statement, arguments = writing.delete(base.base_id, table, record_ids=record_ids)
            async with self._database.connection() as connection:
                found = await connection.value(statement, *arguments)
                if found != len(record_ids):
                    await _raise_missing(connection, base, table, record_ids)

        async with _structure_watched():
            await retried(run)

    async def upsert(
        self,
        base: Base,
        table: Table,
        *,
        new_choices: Mapping[str, NewChoices],
        by_id: bool,
        merge: Callable[[Connection, Base, Table], Awaitable[Result]],
        record_ids: Callable[[Result], Sequence[RecordId]],
    ) -> tuple[Result, bytes]:
        """Run `merge` in a transaction in which no other upsert into this table runs; then read `record_ids`."""

        async def run(connection: Connection, base: Base, table: Table) -> tuple[Result, bytes]:
            await connection.run(writing.UPSERT_LOCK, table.table_id)
            result = await merge(connection, base, table)
            body = await connection.value(
                reading.records_statement(base.base_id, table, by_id=by_id), list(record_ids(result))
            )
            return result, body or b""

        return await self._write(base, table, new_choices, run, in_transaction=True)

    async def _write(
        self,
        base: Base,
        table: Table,
        new_choices: Mapping[str, NewChoices],
        work: Callable[[Connection, Base, Table], Awaitable[Result]],
        *,
        in_transaction: bool = False,
    ) -> Result:
        async def run() -> Result:
            if not new_choices and not in_transaction:
                async with self._database.connection() as connection:
                    return await work(connection, base, table)
            async with self._database.transaction() as connection:
                grown, its_table = await _with_choices(connection, base, table, new_choices)
                return await work(connection, grown, its_table)

        async with _structure_watched():
            return await retried(run)


async def _with_choices(
    connection: Connection, base: Base, table: Table, new_choices: Mapping[str, NewChoices]
) -> tuple[Base, Table]:
    """The structure after the choices of a typecast write have joined it, in the write's own transaction."""
    if not new_choices:
        return base, table
    version = await ddl.begin_change(connection, base.base_id, expected_version=base.version)
    fields = []
    for field in table.fields:
        choices = new_choices.get(field.field_id)
        if choices is None:
            fields.append(field)
            continue
        grown = replace(field, options=with_new_choices(field, choices))
        await ddl.update_field(connection, base.base_id, grown)
        fields.append(grown)
    return replace(base, version=version), replace(table, fields=tuple(fields))


async def create_records(
    connection: Connection,
    base: Base,
    table: Table,
    record_ids: Sequence[RecordId],
    rows: Sequence[writing.Cells],
    user_id: str,
    *,
    by_id: bool,
) -> bytes:
    """Insert records on a connection that may be in a transaction. Raises StructureChanged."""
    statement, arguments = writing.create(
        base.base_id, table, version=base.version, record_ids=record_ids, rows=rows, user_id=user_id, by_id=by_id
    )
    body: bytes | None = await connection.value(statement, *arguments)
    if body is None:
        raise StructureChanged
    return body


async def update_records(
    connection: Connection,
    base: Base,
    table: Table,
    changes: Sequence[writing.Change],
    is_replacing: bool,
    user_id: str,
    *,
    by_id: bool,
) -> bytes:
    """Change records on a connection that may be in a transaction. Raises StructureChanged, RowDoesNotExist."""
    statement, arguments = writing.update(
        base.base_id,
        table,
        version=base.version,
        changes=changes,
        is_replacing=is_replacing,
        user_id=user_id,
        by_id=by_id,
    )
    row = await connection.row(statement, *arguments)
    assert row is not None, "a SELECT without FROM has one row"
    _check(row["version"], base)
    if row["found"] != len(changes):
        await _raise_missing(connection, base, table, [change.record_id for change in changes])
    body: bytes = row["body"]
    return body


async def _raise_missing(connection: Connection, base: Base, table: Table, record_ids: Sequence[RecordId]) -> None:
    rows = await connection.rows(writing.existing(base.base_id, table), list(record_ids))
    present = {row["_id"] for row in rows}
    missing = [record_id for record_id in record_ids if record_id not in present]
    # All there now: another request deleted and a third one created in between; the caller plans anew.
    if not missing:
        raise StructureChanged
    raise RowDoesNotExist(record_id=missing[0])
