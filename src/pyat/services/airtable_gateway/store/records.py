"""The SQL of the records API: runs the plans of `recordstore` and turns what PostgreSQL answers into outcomes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import orjson
from asyncpg import exceptions as pg

from pyat.foundation.db import RETRIABLE, Connection, Database
from pyat.foundation.errors import InvalidRequest, ServiceUnavailable
from pyat.foundation.ids import BaseId, RecordId, new_id, new_ids
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import attachments, changelog, computing, ddl, links, maintaining, reading, writing
from pyat.recordstore.changelog import NO_PARTITION, Source, add_partition
from pyat.recordstore.columns import column_type
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import FilterTooSlow, InvalidAttachmentObject, InvalidValue, RowDoesNotExist
from pyat.recordstore.fieldtypes import BadValue, NewChoices, TextFormat, find, with_new_choices
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.airtable_gateway.contract import Upserted
from pyat.services.airtable_gateway.store import python_columns, terms
from pyat.services.airtable_gateway.store.python_cells import filled

Result = TypeVar("Result")

ATTEMPTS_MAX = 5
ATTACHMENTS = "multipleAttachments"

GONE = (
    pg.UndefinedTableError,
    pg.UndefinedColumnError,
    pg.InvalidSchemaNameError,
    pg.InvalidCachedStatementError,
    # A field's column has another type now.
    pg.UndefinedFunctionError,
    pg.DatatypeMismatchError,
    pg.CannotCoerceError,
    pg.WrongObjectTypeError,
    pg.InvalidTextRepresentationError,
)
"""What a statement meets when the structure it was planned for is not there any more."""


_NOW = Statement("now", "SELECT now()")


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


def has_links(table: Table, rows: Iterable[writing.Cells]) -> bool:
    """Whether any of `rows` writes a link cell, which takes a transaction."""
    own = [field.field_id for field in links.link_fields(table)]
    return bool(own) and any(field_id in row for row in rows for field_id in own)


def attachment_fields(table: Table) -> list[Field]:
    """The fields of a table that hold attachments."""
    return [field for field in table.fields if field.type == ATTACHMENTS]


def is_compound(table: Table, rows: Iterable[writing.Cells], *, is_replacing: bool = False) -> bool:
    """Whether to write `rows` takes more than one statement: they hold links or attachments."""
    own = {field.field_id for field in (*links.link_fields(table), *attachment_fields(table))}
    return bool(own) and (is_replacing or any(field_id in row for row in rows for field_id in own))


@asynccontextmanager
async def structure_watched() -> AsyncIterator[None]:
    """What a statement meets where the structure it was planned for is gone becomes StructureChanged."""
    try:
        yield
    except GONE as error:
        raise StructureChanged from error


@asynccontextmanager
async def _zones_watched() -> AsyncIterator[None]:
    try:
        yield
    except pg.InvalidParameterValueError as error:
        raise InvalidRequest(reason="The database does not know a time zone that was asked for.") from error


def _check(version: int, base: Base) -> None:
    if version != base.version:
        raise StructureChanged


class RowsStore:
    """Rows of all bases. Every method raises StructureChanged when `base` is not the current structure."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def version(self, base_id: BaseId) -> int | None:
        """The structure's current version; None where the base is gone."""
        async with self.database.connection() as connection:
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
        view: View | None = None,
        text: TextFormat | None = None,
        counts_comments: bool = False,
        matching: str | None = None,
        time_s: float | None = None,
    ) -> Page:
        """One page; one statement. `view` restricts the list by its filter; with `text` cells are what people read.

        `matching` is one more condition, for which there is `time_s`. Raises InvalidRequest for a time zone that
        PostgreSQL does not know, FilterTooSlow, CellsTooSlow.
        """
        decisive = python_columns.needed(python_columns.ordering(table, sort, view))
        every = python_columns.Records()
        async with (
            structure_watched(),
            _zones_watched(),
            python_columns.joined(self.database, base, table, decisive, every) as (connection, source),
        ):
            statement, arguments = reading.page(
                base.base_id,
                source,
                fields=fields,
                by_id=by_id,
                sort=python_columns.sorted_in(source, sort),
                rows_max=rows_max,
                cursor=cursor,
                view=view,
                text=text,
                counts_comments=counts_comments,
                matching=matching,
            )
            try:
                row = await connection.row(statement, *arguments, timeout_s=time_s)
            except TimeoutError as error:
                if time_s is None:
                    raise
                raise FilterTooSlow(time_s=time_s) from error
        assert row is not None, "an aggregate has one row"
        _check(row["version"], base)
        body = await filled(row["body"] or b"", table, by_id=by_id, as_text=text is not None)
        if row["row_count"] <= rows_max:
            return Page(body, row["row_count"], None, None)
        following = reading.Cursor(
            keys=tuple(row["last_keys"] or ()), n=row["last_n"], n_max=cursor.n_max if cursor else row["n_max"]
        )
        return Page(body, rows_max, following, row["last_id"])

    async def get(
        self, base: Base, table: Table, record_id: RecordId, *, by_id: bool, text: TextFormat | None = None
    ) -> bytes | None:
        """One record of `table`, or of another table of the base when that one has the id; None when there is none.

        `text` is as in `page`.
        """
        body = await self._get(base, table, record_id, by_id=by_id, text=text)
        others = [other for other in base.tables if other.table_id != table.table_id]
        if body is None and others:
            async with structure_watched():
                statement = reading.table_of_record_statement(base.base_id, others)
                position: int | None = await self.database.value(statement, record_id)
            if position is not None:
                body = await self._get(base, others[position], record_id, by_id=by_id, text=text)
        return body

    async def _get(
        self, base: Base, table: Table, record_id: RecordId, *, by_id: bool, text: TextFormat | None
    ) -> bytes | None:
        key = ("get", by_id)
        statement = table.plans.get(key) if text is None else None
        if statement is None:
            statement = reading.get_statement(base.base_id, table, by_id=by_id, text=text)
            if text is None:
                table.plans[key] = statement
        async with structure_watched(), _zones_watched():
            row = await self.database.row(statement, record_id)
        assert row is not None, "a SELECT without FROM has one row"
        _check(row["version"], base)
        if row["body"] is None:
            return None
        return await filled(row["body"], table, by_id=by_id, as_text=text is not None)

    async def json_of(self, base: Base, table: Table, record_id: RecordId, parts: Sequence[str]) -> list[Any] | None:
        """What SQL of JSON texts over the relation `r` gives for a record; None where there is no such record."""
        joined = " || ',' || ".join(parts) or "''"
        statement = Statement(
            "json_of_record",
            f"SELECT (SELECT version FROM {quote(base.base_id)}.base_state) AS version,"
            f" (SELECT '[' || {joined} || ']' FROM {ddl.relation(base.base_id, table.table_id)} r WHERE r._id = $1) AS body",
        )
        async with structure_watched():
            row = await self.database.row(statement, record_id)
        assert row is not None, "a SELECT without FROM has one row"
        _check(row["version"], base)
        found: list[Any] | None = None if row["body"] is None else orjson.loads(row["body"])
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
        source: Source = Source.API,
    ) -> bytes:
        """Insert records; one statement, or a transaction when choices join the structure or links are made."""

        async def insert(connection: Connection, base: Base, table: Table) -> bytes:
            return await create_records(connection, base, table, record_ids, rows, user_id, by_id=by_id, source=source)

        return await self.write(base, table, new_choices, insert, in_transaction=is_compound(table, rows))

    async def create_many(
        self,
        base: Base,
        table: Table,
        *,
        portions: Callable[[], Iterable[Sequence[writing.Cells]]],
        new_choices: Mapping[str, NewChoices],
        user_id: str,
        answer: Callable[[int], Result],
    ) -> Result:
        """Insert portions of records, of up to 1,000 each, in one transaction; `answer` gets how many there were.

        `portions` is asked again where the transaction has to be run again.
        """

        async def insert(connection: Connection, base: Base, table: Table) -> Result:
            count = 0
            notes = await StagedNotes.begin(connection)
            for rows in portions():
                record_ids = [RecordId(record_id) for record_id in new_ids("rec", len(rows))]
                await create_records(
                    connection, base, table, record_ids, rows, user_id, by_id=True, source=Source.IMPORT, notes=notes
                )
                count += len(rows)
            # Only from here on do other writers of the base wait.
            await notes.end(base.base_id, table, user_id)
            return answer(count)

        return await self.write(base, table, new_choices, insert, in_transaction=True)

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
        source: Source = Source.API,
    ) -> bytes:
        """Change records, each named once, and give `answer_ids` (which may repeat) in their final state.

        One statement, or a transaction when choices join, links change or an id repeats. Raises RowDoesNotExist.
        """
        is_repeating = len(answer_ids) != len(changes)
        cells = [change.cells for change in changes]
        is_several = is_repeating or is_compound(table, cells, is_replacing=is_replacing)

        async def change(connection: Connection, base: Base, table: Table) -> bytes:
            body = await update_records(
                connection, base, table, changes, is_replacing, user_id, by_id=by_id, source=source
            )
            if is_repeating:
                body = await read_records(connection, base, table, answer_ids, by_id=by_id)
            return body

        return await self.write(base, table, new_choices, change, in_transaction=is_several)

    async def delete(
        self, base: Base, table: Table, record_ids: Sequence[RecordId], *, user_id: str, source: Source = Source.API
    ) -> None:
        """Delete records; one statement, or a transaction where records of the table can have links.

        Raises RowDoesNotExist.
        """

        async def gone(connection: Connection, base: Base, table: Table) -> None:
            await delete_records(connection, base, table, record_ids, user_id, source=source)

        await self.write(
            base, table, {}, gone, in_transaction=bool(links.ways(base, table) or attachment_fields(table))
        )

    async def append_attachment(
        self, base: Base, table: Table, field: Field, record_id: RecordId, attachment_id: str, *, user_id: str
    ) -> bytes:
        """Put an attachment behind those of a cell; the record with that cell alone, keyed by id. Raises RowDoesNotExist."""

        async def run(connection: Connection, base: Base, table: Table) -> bytes:
            cells = await _attachment_cells(connection, base, table, field, [record_id])
            if record_id not in cells:
                raise RowDoesNotExist(record_id=record_id)
            change = writing.Change(record_id, {field.field_id: [*cells[record_id], attachment_id]})
            await update_records(connection, base, table, [change], is_replacing=False, user_id=user_id, by_id=True)
            statement = reading.records_statement(base.base_id, table, by_id=True, fields=[field])
            body: bytes = await connection.value(statement, [record_id])
            return body

        return await self.write(base, table, {}, run, in_transaction=True)

    async def table_of_record(self, base: Base, record_id: RecordId) -> Table | None:
        """The table that has the record; None where none has it."""
        async with structure_watched():
            statement = reading.table_of_record_statement(base.base_id, base.tables)
            position: int | None = await self.database.value(statement, record_id)
        return None if position is None else base.tables[position]

    async def upsert(
        self,
        base: Base,
        table: Table,
        *,
        new_choices: Mapping[str, NewChoices],
        by_id: bool,
        merge: Callable[[Connection, Base, Table], Awaitable[Result]],
        record_ids: Callable[[Result], Sequence[RecordId]],
        answer: Callable[[Result, bytes], Upserted],
    ) -> Upserted:
        """Run `merge` in a transaction in which no other upsert into this table runs; then read `record_ids`."""

        async def run(connection: Connection, base: Base, table: Table) -> Upserted:
            await connection.run(writing.UPSERT_LOCK, table.table_id)
            result = await merge(connection, base, table)
            return answer(result, await read_records(connection, base, table, record_ids(result), by_id=by_id))

        return await self.write(base, table, new_choices, run, in_transaction=True)

    async def write(
        self,
        base: Base,
        table: Table,
        new_choices: Mapping[str, NewChoices],
        work: Callable[[Connection, Base, Table], Awaitable[Result]],
        *,
        in_transaction: bool = False,
    ) -> Result:
        """Run `work` on a connection, in a transaction where choices join or `in_transaction`; again when it lost to others.

        Raises StructureChanged.
        """

        asked = terms.current()

        async def run() -> Result:
            if not new_choices and not in_transaction and asked is None:
                async with self.database.connection() as connection:
                    return await work(connection, base, table)
            async with self.database.transaction() as connection:
                if asked is not None and await asked.begin(connection, base, table):
                    answer: Result = asked.answer()
                    return answer
                grown, its_table = await _with_choices(connection, base, table, new_choices)
                result = await work(connection, grown, its_table)
                if asked is not None:
                    await asked.end(connection, result)
                return result

        async with structure_watched():
            try:
                result = await retried(run)
            except NO_PARTITION:
                await self._add_partition(base.base_id)
                result = await retried(run)
        # Not before: writers of one base take turns, and the disk is what takes long.
        await self.database.flush()
        return result

    async def _add_partition(self, base_id: BaseId) -> None:
        async def run() -> None:
            async with self.database.transaction() as connection:
                await add_partition(connection, base_id, await connection.value(_NOW))

        await retried(run)


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
    if any(field.computed is not None for field in table.fields):
        # Formulas know the choices of what they read.
        _, tables = await ddl.load(connection, base.base_id)
        known = replace(base, version=version, tables=tables)
        await maintaining.refresh(connection, known)
        return known, known.tables_by_id[table.table_id]
    return replace(base, version=version), replace(table, fields=tuple(fields))


class StagedNotes:
    """What the change log has to say of a long transaction, put aside until its end: the log keeps other writers waiting."""

    _CREATE = Statement(
        "stage_changes",
        "CREATE TEMP TABLE staged_changes (place int8 PRIMARY KEY, item text NOT NULL, cells text NOT NULL) ON COMMIT DROP",
    )
    _ADD = Statement(
        "add_staged_changes",
        "INSERT INTO pg_temp.staged_changes SELECT $1::int8 + e.place, e.item, e.cells"
        " FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS e(item, cells, place)",
    )
    _AT_ONCE = 20_000
    """How many go into the log in one statement, which has a time of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count = 0

    @classmethod
    async def begin(cls, connection: Connection) -> Self:
        """In the transaction of `connection`."""
        await connection.run(cls._CREATE)
        return cls(connection)

    async def add(self, table: Table, record_ids: Sequence[RecordId], rows: Sequence[writing.Cells]) -> None:
        """Note new records."""
        columns = writing.stored_columns(table, rows)
        texts = [writing.created_cells(columns, row) for row in rows]
        await self._connection.run(self._ADD, self._count, list(record_ids), texts)
        self._count += len(record_ids)

    async def end(self, base_id: BaseId, table: Table, user_id: str) -> None:
        """Put everything into the log, in order."""
        base = quote(base_id)
        statement = Statement(
            "append_staged_changes",
            f"WITH log AS (UPDATE {base}.base_log SET last = last + $1 RETURNING last)"
            f" INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
            f" SELECT log.last - $1 + e.place - $2, now(), {table.number}, {changelog.Kind.RECORD_CREATED:d},"
            f" {Source.IMPORT:d}, $3::text, e.item, e.cells FROM log, pg_temp.staged_changes e"
            " WHERE e.place > $2::int8 AND e.place <= $2::int8 + $1::int8 ORDER BY e.place",
        )
        for start in range(0, self._count, self._AT_ONCE):
            await self._connection.run(statement, min(self._AT_ONCE, self._count - start), start, user_id)


async def create_records(
    connection: Connection,
    base: Base,
    table: Table,
    record_ids: Sequence[RecordId],
    rows: Sequence[writing.Cells],
    user_id: str,
    *,
    by_id: bool,
    source: Source = Source.API,
    notes: "StagedNotes | None" = None,
) -> bytes:
    """Insert records on a connection; it is in a transaction where `has_links`. Raises StructureChanged.

    Raises RowDoesNotExist for a link to nothing. `notes` takes what the change log has to say, where there are no links.
    """
    rows = await _claimed(connection, base, table, record_ids, rows, user_id, are_new=True)
    is_linking = has_links(table, rows)
    cells = await _resolved(connection, base, table, rows, user_id, source) if is_linking else None
    linked: dict[str, int] = {}
    if cells is not None:
        _, linked = await links.lock(connection, base, table, (), _linked(base, cells))
    statement, arguments = writing.create(
        base.base_id,
        table,
        version=base.version,
        record_ids=record_ids,
        rows=rows,
        user_id=user_id,
        by_id=by_id,
        source=source,
        logs=not is_linking and notes is None,
    )
    row = await connection.row(statement, *arguments)
    if row is None or row["body"] is None:
        raise StructureChanged
    if cells is None:
        if notes is not None:
            await notes.add(table, record_ids, rows)
        return await filled(row["body"], table, by_id=by_id)
    change = links.CellsChange()
    own_ids = dict(zip(row["numbers"], record_ids, strict=True))
    await _put_links(connection, base, cells, list(own_ids), own_ids, linked, change, are_new=True)
    columns = writing.stored_columns(table, rows)
    texts = [writing.created_cells(columns, stored)[1:-1] for stored in rows]
    entries = _entries(changelog.Kind.RECORD_CREATED, table, own_ids, texts, change)
    await changelog.append_texts(connection, base.base_id, entries, actor=user_id, source=source, is_deferred=True)
    return await read_records(connection, base, table, record_ids, by_id=by_id)


async def update_records(
    connection: Connection,
    base: Base,
    table: Table,
    changes: Sequence[writing.Change],
    is_replacing: bool,
    user_id: str,
    *,
    by_id: bool,
    source: Source = Source.API,
) -> bytes:
    """Change records on a connection; it is in a transaction where links change. Raises StructureChanged, RowDoesNotExist."""
    record_ids = [change.record_id for change in changes]
    rows = [change.cells for change in changes]
    own_links = links.link_fields(table)
    if is_replacing and own_links:
        blank: dict[str, Any] = {field.field_id: [] for field in own_links}
        rows = [{**blank, **row} for row in rows]
    if is_compound(table, rows, is_replacing=is_replacing):
        if is_replacing:
            rows = [{**{field.field_id: None for field in attachment_fields(table)}, **row} for row in rows]
        rows = await _claimed(connection, base, table, record_ids, rows, user_id, are_new=False)
        changes = [writing.Change(record_id, row) for record_id, row in zip(record_ids, rows, strict=True)]
    is_linking = has_links(table, rows)
    touched, touched_field_ids = None, set[str]()
    own_ids: dict[int, RecordId] = {}
    change = links.CellsChange()
    if is_linking:
        cells = await _resolved(connection, base, table, rows, user_id, source)
        locked, linked = await links.lock(connection, base, table, record_ids, _linked(base, cells))
        if len(locked) != len(record_ids):
            await _raise_missing(connection, base, table, record_ids)
        numbers = [locked[record_id] for record_id in record_ids]
        own_ids = dict(zip(numbers, record_ids, strict=True))
        differing = await _put_links(connection, base, cells, numbers, own_ids, linked, change, are_new=False)
        touched = [number in differing for number in numbers]
        touched_field_ids = {field.field_id for field, _ in cells}
    statement, arguments = writing.update(
        base.base_id,
        table,
        version=base.version,
        changes=changes,
        is_replacing=is_replacing,
        user_id=user_id,
        by_id=by_id,
        source=source,
        logs=not is_linking,
        touched=touched,
        touched_field_ids=touched_field_ids,
    )
    row = await connection.row(statement, *arguments)
    assert row is not None, "a SELECT without FROM has one row"
    _check(row["version"], base)
    if row["found"] != len(changes):
        await _raise_missing(connection, base, table, record_ids)
    body: bytes = row["body"]
    if is_linking:
        entries = _entries(changelog.Kind.RECORD_UPDATED, table, own_ids, row["cells"], change)
        await changelog.append_texts(connection, base.base_id, entries, actor=user_id, source=source, is_deferred=True)
    # A statement does not see what it changes in other records, nor the links that others of its transaction have made
    # meanwhile; the next one does.
    if is_linking or computing.reads_itself(table):
        table = await _table_now(connection, base, table)
        return await read_records(connection, base, table, record_ids, by_id=by_id)
    return await filled(body, table, by_id=by_id)


async def _table_now(connection: Connection, base: Base, table: Table) -> Table:
    """The table, or as it is after a change of this transaction whose reach left columns that are not to be read."""
    if not computing.reads_itself(table):
        return table
    columns = computing.columns_read(base)
    if not columns or not await connection.value(ddl.has_unready(base.base_id), columns):
        return table
    _, tables = await ddl.load(connection, base.base_id)
    return next(one for one in tables if one.table_id == table.table_id)


async def read_records(
    connection: Connection, base: Base, table: Table, record_ids: Sequence[RecordId], *, by_id: bool
) -> bytes:
    """Records in the order of their ids, which may repeat, as comma-separated JSON."""
    found = await connection.value(reading.records_statement(base.base_id, table, by_id=by_id), list(record_ids))
    return await filled(found or b"", table, by_id=by_id)


async def delete_records(
    connection: Connection,
    base: Base,
    table: Table,
    record_ids: Sequence[RecordId],
    user_id: str,
    *,
    source: Source = Source.API,
) -> None:
    """Delete records on a connection; it is in a transaction where they can have links.

    Raises StructureChanged, RowDoesNotExist.
    """
    is_linked = bool(links.ways(base, table))
    change = links.CellsChange()
    own_ids: dict[int, RecordId] = {}
    if is_linked:
        locked = await connection.rows(_lock(base, table), list(record_ids))
        if len(locked) != len(record_ids):
            await _raise_missing(connection, base, table, record_ids)
        own_ids = {row["_n"]: row["_id"] for row in locked}
        await links.remove_all(connection, base, table, own_ids, change)
    statement, arguments = writing.delete(
        base.base_id,
        table,
        version=base.version,
        record_ids=record_ids,
        user_id=user_id,
        source=source,
        logs=not is_linked,
    )
    row = await connection.row(statement, *arguments)
    assert row is not None, "a SELECT without FROM has one row"
    _check(row["version"], base)
    if row["found"] != len(record_ids):
        await _raise_missing(connection, base, table, record_ids)
    if attachment_fields(table):
        await attachments.release_of_records(connection, base.base_id, record_ids)
    if is_linked:
        texts = orjson.loads(row["cells"])
        entries = _entries(
            changelog.Kind.RECORD_DELETED, table, own_ids, [texts[record_id] for record_id in own_ids.values()], change
        )
        await changelog.append_texts(connection, base.base_id, entries, actor=user_id, source=source, is_deferred=True)


def _lock(base: Base, table: Table) -> Statement:
    name = links.relation_of(base.base_id, table.table_id)
    return Statement(
        "lock_records", f"SELECT r._n, r._id FROM {name} r WHERE r._id = ANY ($1::text[]) ORDER BY r._n FOR UPDATE"
    )


async def _claimed(
    connection: Connection,
    base: Base,
    table: Table,
    record_ids: Sequence[RecordId],
    rows: Sequence[writing.Cells],
    user_id: str,
    *,
    are_new: bool,
) -> list[writing.Cells]:
    """The rows with attachment cells that own what they name: fresh ones and their own; of others' the cell gets copies.

    What cells lose is let go of. Raises InvalidAttachmentObject, RowDoesNotExist.
    """
    found = [dict(row) for row in rows]
    for field in attachment_fields(table):
        written = {record_id: row for record_id, row in zip(record_ids, found, strict=True) if field.field_id in row}
        if not written:
            continue
        before: dict[RecordId, list[str]] = {}
        if not are_new:
            before = await _attachment_cells(connection, base, table, field, list(written))
        claims = [
            attachments.Claim(attachment_id, table.table_id, field.field_id, record_id)
            for record_id, row in written.items()
            for attachment_id in row[field.field_id] or ()
        ]
        if claims:
            own = await attachments.claim(connection, base.base_id, claims)
            copied = await _copied(connection, base, field, claims, own, user_id, are_new=are_new)
            for record_id, row in written.items():
                cell = [copied.get((record_id, item), item) for item in row[field.field_id] or ()]
                row[field.field_id] = cell or None
        lost = [
            item
            for record_id, cell in before.items()
            for item in cell
            if item not in (written[record_id][field.field_id] or ())
        ]
        if lost:
            await attachments.release(connection, base.base_id, lost, now=await connection.value(_NOW))
    return list(found)


async def _copied(
    connection: Connection,
    base: Base,
    field: Field,
    claims: Sequence[attachments.Claim],
    own: frozenset[str],
    user_id: str,
    *,
    are_new: bool,
) -> dict[tuple[RecordId, str], str]:
    """New attachments for what other cells hold, by record and the id that was named."""
    others = [claim for claim in claims if claim.attachment_id not in own]
    if not others:
        return {}
    if are_new:
        raise InvalidAttachmentObject(field=field.name, reason="a new record takes urls, not ids of other cells.")
    now = await connection.value(_NOW)
    made = await attachments.copy(connection, base.base_id, others, actor=user_id, now=now)
    if len(made) < len(others):
        raise InvalidAttachmentObject(field=field.name, reason="there is no attachment with this id.")
    return {(RecordId(claim.record_id), claim.attachment_id): made[place] for place, claim in enumerate(others)}


async def _attachment_cells(
    connection: Connection, base: Base, table: Table, field: Field, record_ids: Sequence[RecordId]
) -> dict[RecordId, list[str]]:
    """The attachment ids of a field's cells, of records that stay as they are until this transaction ends."""
    rows = await connection.rows(
        Statement(
            "attachment_cells",
            f"SELECT r._id, r.{quote(field.field_id)} AS cell FROM {links.relation_of(base.base_id, table.table_id)} r"
            " WHERE r._id = ANY ($1::text[]) ORDER BY r._n FOR NO KEY UPDATE",
        ),
        list(record_ids),
    )
    return {RecordId(row["_id"]): list(row["cell"] or ()) for row in rows}


_LinkCells = list[tuple[Field, list[list[RecordId] | None]]]
"""By link field: the record ids of each row's cell, None where the row does not write it."""


async def _resolved(
    connection: Connection, base: Base, table: Table, rows: Sequence[writing.Cells], user_id: str, source: Source
) -> _LinkCells:
    """The link cells of some rows, with primary values turned into records: the oldest that has one, else a new one."""
    cells: _LinkCells = []
    for field in links.link_fields(table):
        wanted = [row.get(field.field_id) for row in rows]
        if not any(field.field_id in row for row in rows):
            continue
        texts = {item: None for items in wanted for item in items or () if isinstance(item, links.PrimaryText)}
        found = await _records_of(connection, base, field, list(texts), user_id, source) if texts else {}
        cells.append(
            (
                field,
                [
                    list(dict.fromkeys(found.get(item, item) for item in row[field.field_id] or ()))
                    if field.field_id in row
                    else None
                    for row in rows
                ],
            )
        )
    return cells


async def _records_of(
    connection: Connection, base: Base, field: Field, texts: Sequence[str], user_id: str, source: Source
) -> dict[str, RecordId]:
    """By primary value: the oldest record of the linked table that has it, or one that is made now."""
    link = field.link
    assert link is not None
    table = base.tables_by_id.get(link.linked_table_id)
    primary = link.primary
    if table is None or primary is None:
        raise InvalidValue(field=field.name)
    kind = find(primary.type)
    if kind.is_computed or column_type(primary) is None:
        raise InvalidValue(field=field.name)
    values = {}
    for text in texts:
        try:
            values[text] = kind.typecast(str(text), primary, NewChoices())
        except BadValue:
            raise InvalidValue(field=field.name) from None
        if values[text] is None:
            raise InvalidValue(field=field.name)
    # Two writes that name the same new record take turns, so that it is made once.
    await connection.run(writing.UPSERT_LOCK, table.table_id)
    statement, arguments = writing.matches(
        base.base_id, table, merge_on=[primary], keys=[{primary.field_id: values[text]} for text in texts]
    )
    found: dict[str, RecordId] = {
        texts[row["place"] - 1]: row["record_id"] for row in await connection.rows(statement, *arguments)
    }
    missing = [text for text in texts if text not in found]
    if missing:
        new = {text: RecordId(new_id("rec")) for text in missing}
        await create_records(
            connection,
            base,
            table,
            list(new.values()),
            [{primary.field_id: values[text]} for text in missing],
            user_id,
            by_id=True,
            source=source,
        )
        found |= new
    return found


def _linked(base: Base, cells: _LinkCells) -> dict[str, list[str]]:
    """The records to be linked, by the id of their table; of tables that are there."""
    found: dict[str, list[str]] = {}
    for field, wanted in cells:
        assert field.link is not None
        if field.link.linked_table_id in base.tables_by_id:
            found.setdefault(field.link.linked_table_id, []).extend(item for ids in wanted for item in ids or ())
    return found


async def _put_links(
    connection: Connection,
    base: Base,
    cells: _LinkCells,
    numbers: Sequence[int],
    own_ids: Mapping[int, RecordId],
    linked: Mapping[str, int],
    change: links.CellsChange,
    *,
    are_new: bool,
) -> set[int]:
    differing: set[int] = set()
    for field, wanted in cells:
        link = field.link
        assert link is not None
        if link.linked_table_id not in base.tables_by_id:
            continue
        own = {number: ids for number, ids in zip(numbers, wanted, strict=True) if ids is not None}
        differing |= await links.replace_cells(
            connection, base, field, cells=own, own_ids=own_ids, numbers=linked, are_new=are_new, change=change
        )
    return differing


def _entries(
    kind: changelog.Kind,
    table: Table,
    own_ids: Mapping[int, RecordId],
    texts: Sequence[str],
    change: links.CellsChange,
) -> list[changelog.TextEntry]:
    """What is noted of records (log text without braces for each) and of those on the other side of their links."""
    entries = []
    for (number, record_id), text in zip(own_ids.items(), texts, strict=True):
        members = [*([text] if text else []), *change.own.get(number, ())]
        if members or kind is not changelog.Kind.RECORD_UPDATED:
            entries.append(changelog.TextEntry(kind, record_id, table.number, f"{{{','.join(members)}}}"))
    for (table_number, other_id), cells in change.others.items():
        text = orjson.dumps(cells).decode()
        entries.append(changelog.TextEntry(changelog.Kind.RECORD_UPDATED, other_id, table_number, text))
    return entries


async def existing_ids(connection: Connection, base: Base, table: Table, record_ids: Sequence[str]) -> set[RecordId]:
    """Which of these records are there."""
    if not record_ids:
        return set()
    return {row["_id"] for row in await connection.rows(writing.existing(base.base_id, table), list(record_ids))}


async def _raise_missing(connection: Connection, base: Base, table: Table, record_ids: Sequence[RecordId]) -> None:
    present = await existing_ids(connection, base, table, record_ids)
    missing = [record_id for record_id in record_ids if record_id not in present]
    # All there now: another request deleted and a third one created in between; the caller plans anew.
    if not missing:
        raise StructureChanged
    raise RowDoesNotExist(record_id=missing[0])
