"""The SQL of the schema service: the registry of bases, and changes of structure through `recordstore.ddl`."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar, assert_never, cast

import structlog
from asyncpg import exceptions as pg

from pyat.foundation.db import RETRIABLE, Connection, Database, Row
from pyat.foundation.errors import AppError, ServiceUnavailable
from pyat.foundation.ids import BaseId, FieldId, RecordId, TenantId, ViewId, WorkspaceId, new_ids
from pyat.foundation.sql import load_statements
from pyat.recordstore import (
    changelog,
    copying,
    ddl,
    filling,
    layouts,
    maintaining,
    refilling,
    retyping,
    trash,
    viewindexes,
    views,
    writing,
)
from pyat.recordstore.changelog import Entry, Kind, Source
from pyat.recordstore.columns import column_type
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.fieldtypes import NewChoices, with_new_choices
from pyat.recordstore.naming import free_name
from pyat.recordstore.structure import Base, Field, Table, View

VIEWS_MAX = 10_000
"""Views that can have an index at the same time; those that were listed last."""

SWAP_ATTEMPTS_MAX = 60
"""A conversion that read and wrote a whole table tries longer for its last step: 50 s or so."""
RESTARTS_MAX = 3
EXAMPLES_MAX = 20

PURGED_MAX = 1_000
"""Deleted things that one round of purging takes on, of bases and in each base."""

LEASE_S = 30.0
"""How long whoever fills columns of a base may give no sign of life before another one goes on."""

ATTEMPTS_MAX = 12
PAUSE_S = 0.02
"""Before the second attempt; doubled for each one after it up to `PAUSE_MAX_S`, with jitter: 6 s in all."""
PAUSE_MAX_S = 1.0

_log = structlog.get_logger("schema")

GONE = (pg.UndefinedTableError, pg.InvalidSchemaNameError)
"""What is met where a base went away after its row in the registry was read."""

_STATEMENTS = load_statements(__package__)


@dataclass(frozen=True, slots=True)
class AddTable:
    """A new table, complete; `links` are those of its fields that link to other tables."""

    table: Table
    links: "tuple[AddLink, ...]" = ()


@dataclass(frozen=True, slots=True)
class CopyTable:
    """A new table, complete, whose fields are like those of `original` in the same order; with copies of its records.

    `records_max` is None where there are to be none.
    """

    table: Table
    links: "tuple[AddLink, ...]"
    original: Table
    records_max: int | None
    links_max: int

    @property
    def fields(self) -> list[tuple[Field, Field]]:
        """Every field of the original with its copy."""
        return list(zip(self.original.fields, self.table.fields, strict=True))


@dataclass(frozen=True, slots=True)
class UpdateTable:
    """An existing table with another name, description or date dependency, and as it was."""

    table: Table
    before: Table


@dataclass(frozen=True, slots=True)
class AddField:
    """A new field of an existing table (as it is without the field); with the cells of another one where it copies that."""

    table: Table
    field: Field
    copies: Field | None = None

    @property
    def is_filled(self) -> bool:
        """Whether the records there are get values."""
        return self.copies is not None or ddl.is_filled(self.field)


@dataclass(frozen=True, slots=True)
class AddLink:
    """A new link field of a table, with its inverse in the linked table where it has one."""

    table: Table
    field: Field
    other: Table
    inverse: Field | None


@dataclass(frozen=True, slots=True)
class UpdateField:
    """An existing field of a table with another name, description or options, and as it was."""

    table: Table
    field: Field
    before: Field


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """A table for the trash; `links` are the fields of other tables that link to it, which go along."""

    table: Table
    links: tuple[tuple[Table, Field], ...]


@dataclass(frozen=True, slots=True)
class DeleteField:
    """A field of a table for the trash, with its inverse in another table where it has one."""

    table: Table
    field: Field
    other: Table | None
    inverse: Field | None


@dataclass(frozen=True, slots=True)
class RenameBase:
    """A base as it was, and its new name."""

    base: Base
    name: str


@dataclass(frozen=True, slots=True)
class DeleteBase:
    """A base for the trash."""

    base: Base


@dataclass(frozen=True, slots=True)
class AddView:
    """A new view of an existing table."""

    table: Table
    view: View


@dataclass(frozen=True, slots=True)
class UpdateView:
    """An existing view of a table as it is to be, and as it was."""

    table: Table
    view: View
    before: View


@dataclass(frozen=True, slots=True)
class DeleteView:
    """A view of a table that is to go."""

    table: Table
    view: View


StructureChange: TypeAlias = (
    AddTable
    | CopyTable
    | UpdateTable
    | AddField
    | AddLink
    | UpdateField
    | DeleteTable
    | DeleteField
    | RenameBase
    | DeleteBase
)
Change: TypeAlias = StructureChange | AddView | UpdateView | DeleteView


@dataclass(frozen=True, slots=True)
class Conversion:
    """A field of a table as it is, and as it is to be: another type, or other options that change cells."""

    table: Table
    field: Field
    target: Field


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a field's cells: counts, and examples as (record id, JSON before, JSON after or None)."""

    total: int
    converted: int
    cleared: int
    examples: tuple[tuple[str, str, str | None], ...]


class Restart(Exception):
    """The field was redefined while its column was filled, so that what was read before does not count."""


Planned = TypeVar("Planned", bound=Change)
Result = TypeVar("Result")


async def _retried(work: Callable[[int], Awaitable[Result]], *, attempts_max: int = ATTEMPTS_MAX) -> Result:
    """Run a transaction again when it lost to another one; `work` gets the number of the attempt, from 0."""
    for attempt in range(attempts_max):
        try:
            return await work(attempt)
        except (*RETRIABLE, StructureChanged, refilling.TooManyLeft) as error:
            if attempt == attempts_max - 1:
                raise ServiceUnavailable from error
            pause_s = min(PAUSE_S * 2 ** min(attempt, 16), PAUSE_MAX_S)
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause_s)  # noqa: S311 - jitter, not a secret
    raise AssertionError("the loop returns or raises")


class SchemaStore:
    """Workspaces, the registry of bases, and their structure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bases(self, base_ids: Sequence[BaseId]) -> list[Base]:
        """The bases with all their structure, oldest first; one statement, and one for each base."""
        async with self._database.connection() as connection:
            return await _bases(connection, base_ids)

    async def base_rows(
        self, tenant_id: TenantId, *, reached: Collection[BaseId] | None, after: int, rows_max: int
    ) -> list[Row]:
        """Rows base_id, workspace_id, name: a tenant's bases after a position, oldest first."""
        async with self._database.connection() as connection:
            return await connection.rows(
                _STATEMENTS["list_bases"], tenant_id, None if reached is None else list(reached), after, rows_max
            )

    async def position(self, tenant_id: TenantId, base_id: BaseId) -> int | None:
        """Where a base stands in its tenant's list; None when it is not the tenant's."""
        position: int | None = await self._database.value(_STATEMENTS["base_position"], tenant_id, base_id)
        return position

    async def add_base(self, base: Base, *, actor: str) -> None:
        """A new base in the registry and in a PostgreSQL schema of its own, with its tables: all or nothing.

        Its change log begins with its creation.
        """

        async def run(_: int) -> None:
            async with self._database.transaction() as connection:
                await connection.run(
                    _STATEMENTS["insert_base"], base.base_id, base.tenant_id, base.workspace_id, base.name
                )
                await ddl.create_base(connection, base.base_id)
                entries = [Entry(Kind.BASE_CREATED, base.base_id, None, {"after": {"name": base.name}})]
                for table in base.tables:
                    change = AddTable(table)
                    await _apply(connection, base.base_id, change, actor=actor)
                    entries += await _entries(connection, base.base_id, change)
                await _fit_computed(connection, base.base_id)
                await changelog.append(connection, base.base_id, entries, actor=actor)

        await _retried(run)

    async def change(self, base_id: BaseId, plan: Callable[[Base | None], Planned], *, actor: str) -> Planned:
        """Plan a change for the structure there is and apply it, in one transaction; returns what was applied.

        The change log says that the user `actor` did it.

        `plan` gets None where there is no such base, and may run several times: when the structure changed between
        plan and lock it is planned again, then under the lock. Raises what `plan` raises, and ServiceUnavailable when
        the base's tables stay in use by others for longer than all attempts.

        A field that gives values to the records there are has its column filled before, while others read and write;
        they see nothing of it until the field is there.
        """

        async def run(attempt: int) -> Planned:
            async with self._logging(base_id) as connection:
                # The first plan holds no lock, so that a refused request delays nobody. Who lost a race queues for the
                # lock before planning: any number of concurrent changes comes through, one after the other.
                base, planned = await _planned(connection, base_id, plan, is_held=attempt > 0)
                if not (isinstance(planned, AddField) and planned.is_filled):
                    await ddl.begin_change(connection, base_id, expected_version=base.version)
                    await _apply(connection, base_id, planned, actor=actor)
                    entries = await _entries(connection, base_id, planned)
                    await changelog.append(connection, base_id, entries, actor=actor)
                    if isinstance(planned, CopyTable) and planned.records_max is not None:
                        await _note_copies(connection, base_id, planned, actor=actor)
                return planned

        for _ in range(RESTARTS_MAX):
            planned = await _retried(run)
            if not (isinstance(planned, AddField) and planned.is_filled):
                return planned
            try:
                return cast("Planned", await self._add_filled(base_id, plan, planned, actor=actor))
            except Restart:
                continue
            except refilling.LOST as error:
                # The table, or the field that was to be copied, is gone: the next plan says so.
                _log.info("refill_lost", base_id=base_id, cause=type(error).__name__)
        raise ServiceUnavailable

    @asynccontextmanager
    async def _logging(self, base_id: BaseId) -> AsyncIterator[Connection]:
        """A transaction that changes structure, notes that in the change log, and fits what is kept of computed cells.

        Raises StructureChanged where it has to run again for the log.
        """
        try:
            async with self._database.transaction() as connection:
                yield connection
                await _fit_computed(connection, base_id)
        except changelog.NO_PARTITION as error:
            async with self._database.transaction() as connection:
                await changelog.add_partition(connection, base_id, datetime.now(UTC))
            raise StructureChanged from error

    async def restore(
        self,
        base_id: BaseId,
        item_id: str,
        check: Callable[[Base | None, trash.Deleted | None], None],
        *,
        since: timedelta,
        name_length_max: int,
        actor: str,
    ) -> trash.Deleted:
        """Take a table or field out of the trash; gives it with its name now, which is another where that was taken.

        `check` gets the base and what lies in the trash under this id, None each where there is no such thing, and
        raises where it cannot be restored.
        """

        async def run(_: int) -> trash.Deleted:
            async with self._logging(base_id) as connection:
                base, item = await self._held(connection, base_id, item_id, since)
                check(base, item)
                assert base is not None, "the check refuses what is not there"
                assert item is not None, "the check refuses what is not there"
                await ddl.begin_change(connection, base_id, expected_version=base.version)
                if item.kind == trash.TABLE:
                    field_ids = await trash.restore_table(connection, base_id, item.table_id)
                else:
                    field_ids = await trash.restore_field(connection, base_id, FieldId(item.item_id))
                entries, name = await _named_freely(connection, base_id, item, field_ids, name_length_max)
                await changelog.append(connection, base_id, entries, actor=actor, source=Source.RESTORE)
                return replace(item, name=name)

        return await _retried(run)

    async def _held(
        self, connection: Connection, base_id: BaseId, item_id: str, since: timedelta
    ) -> tuple[Base | None, trash.Deleted | None]:
        if not await _bases(connection, [base_id]):
            return None, None
        await ddl.hold(connection, base_id)
        found = await _bases(connection, [base_id])
        if not found:
            return None, None
        return found[0], await trash.find(connection, base_id, item_id, since=since)

    async def trash_of(
        self,
        base_id: BaseId,
        *,
        kind: str | None,
        since: timedelta,
        before: tuple[datetime, str] | None,
        rows_max: int,
    ) -> list[trash.Deleted]:
        """Deleted tables and fields of a base, newest first: see `recordstore.trash.listed`."""
        async with self._database.connection() as connection:
            return await trash.listed(connection, base_id, kind=kind, since=since, before=before, rows_max=rows_max)

    async def deleted_base_rows(
        self,
        tenant_id: TenantId,
        *,
        reached: Collection[BaseId] | None,
        since: timedelta,
        before: tuple[datetime, str] | None,
        rows_max: int,
    ) -> list[Row]:
        """Rows base_id, name, deleted_at, deleted_by: a tenant's deleted bases, newest first."""
        moment, base_id = before or (None, None)
        async with self._database.connection() as connection:
            return await connection.rows(
                _STATEMENTS["list_deleted_bases"],
                tenant_id,
                None if reached is None else list(reached),
                since,
                moment,
                base_id,
                rows_max,
            )

    async def restore_base(self, tenant_id: TenantId, base_id: BaseId, *, since: timedelta, actor: str) -> str | None:
        """Bring a deleted base of the tenant back; its name, or None where there is none such."""

        async def run(_: int) -> str | None:
            async with self._logging(base_id) as connection:
                name: str | None = await connection.value(_STATEMENTS["restore_base"], tenant_id, base_id, since)
                if name is None:
                    return None
                base = (await _bases(connection, [base_id]))[0]
                await ddl.begin_change(connection, base_id, expected_version=base.version)
                entries = [Entry(Kind.BASE_RESTORED, base_id, None, {"after": {"name": name}})]
                await changelog.append(connection, base_id, entries, actor=actor, source=Source.RESTORE)
                return name

        return await _retried(run)

    async def preview(self, base_id: BaseId, plan: Callable[[Base | None], Conversion]) -> Preview:
        """Read all of a field and say what `convert` would do. Raises what `plan` raises, StructureChanged's outcome too."""

        async def run(_: int) -> Preview:
            async with self._database.connection() as connection:
                base, planned = await _planned(connection, base_id, plan, is_held=False)
            try:
                return await self._preview(base, planned)
            except refilling.LOST as error:
                raise StructureChanged from error

        return await _retried(run)

    async def _preview(self, base: Base, planned: Conversion) -> Preview:
        new_choices = NewChoices()
        total = cleared = 0
        lost: list[tuple[str, str, Any]] = []
        kept: list[tuple[str, str, Any]] = []
        after = -(2**63)
        while True:
            async with self._database.connection() as connection:
                rows = await refilling.cells_after(
                    connection, base.base_id, planned.table.table_id, retyping.select_list(planned.field), after
                )
            for row in rows:
                if retyping.is_empty(row):
                    continue
                value = retyping.converted(row, planned.field, planned.target, new_choices)
                total += 1
                cleared += value is None
                examples = lost if value is None else kept
                if len(examples) < EXAMPLES_MAX:
                    examples.append((row["id"], row["value"], value))
            if len(rows) < refilling.READ_ROWS:
                break
            after = rows[-1]["n"]
        shown = (lost + kept)[:EXAMPLES_MAX]
        target = _with_choices(planned.target, new_choices)
        async with self._database.connection() as connection:
            texts = await retyping.json_of(connection, target, [value for _, _, value in shown])
        examples_of = [(item[0], item[1], text) for item, text in zip(shown, texts, strict=True)]
        return Preview(total, total - cleared, cleared, tuple(examples_of))

    async def convert(self, base_id: BaseId, plan: Callable[[Base | None], Conversion], *, actor: str) -> Field:
        """Give a field another type while others read and write; returns the field as it is then.

        `plan` runs for the structure there is at the beginning and again, under the lock, for that at the end. Raises
        what it raises, LimitReached for too many choices, ServiceUnavailable, and StructureChanged where somebody else
        took the field's new column away.
        """
        for _ in range(RESTARTS_MAX):
            try:
                return await self._convert(base_id, plan, actor)
            except Restart:
                continue
            except refilling.LOST as error:
                raise StructureChanged from error
        raise ServiceUnavailable

    async def _convert(self, base_id: BaseId, plan: Callable[[Base | None], Conversion], actor: str) -> Field:
        async with self._database.connection() as connection:
            _, planned = await _planned(connection, base_id, plan, is_held=False)
        table_id, field = planned.table.table_id, planned.field
        new_choices = NewChoices()
        pg_type = column_type(planned.target)
        assert pg_type is not None, "no type without a column of its own is converted to"
        refill = refilling.new(base_id, table_id, field.field_id, pg_type, field.field_id)

        async def current(connection: Connection) -> refilling.Source:
            found = await _bases(connection, [base_id])
            table = found[0].tables_by_id.get(table_id) if found else None
            now = None if table is None else table.fields_by_id.get(field.field_id)
            if now is None or not retyping.reads_alike(field, now):
                raise Restart
            return retyping.source_of(now, planned.target, new_choices)

        async def swap(_: int) -> Field:
            await refilling.catch_up(self._database, refill, current)
            async with self._logging(base_id) as connection:
                base, last = await _planned(connection, base_id, plan, is_held=True)
                await ddl.begin_change(connection, base_id, expected_version=base.version)
                await refilling.finish(connection, refill, current, name=field.field_id, replaces=True)
                made = replace(
                    _with_choices(planned.target, new_choices), name=last.field.name, description=last.field.description
                )
                await ddl.retype_field(connection, base_id, made)
                cells = _differing(field_cells(last.field), field_cells(made))
                entry = Entry(Kind.FIELD_CONVERTED, field.field_id, last.table.number, cells)
                await changelog.append(connection, base_id, [entry], actor=actor)
                return made

        source = retyping.source_of(field, planned.target, new_choices)
        return await self._refilled(refill, source, swap, field_id=field.field_id)

    async def _refilled(
        self,
        refill: refilling.Refill,
        source: refilling.Source,
        finish: Callable[[int], Awaitable[Result]],
        *,
        field_id: str,
    ) -> Result:
        """Begin a refill, fill it, and finish it by the last step given; whatever fails, nothing is left behind."""

        async def begin(_: int) -> None:
            async with self._database.transaction() as connection:
                for dead in await refilling.leftovers(connection, refill.base_id, field_id=field_id):
                    await refilling.drop(connection, dead)
                await refilling.begin(connection, refill)

        try:
            await _retried(begin)
            try:
                await refilling.fill(self._database, refill, source)
            except RETRIABLE as error:
                raise ServiceUnavailable from error
            return await _retried(finish, attempts_max=SWAP_ATTEMPTS_MAX)
        except BaseException:
            await self._drop_refill(refill)
            raise

    async def _drop_refill(self, refill: refilling.Refill) -> bool:
        async def run(_: int) -> None:
            async with self._database.transaction() as connection:
                await refilling.drop(connection, refill)

        try:
            await _retried(run)
        except (AppError, pg.PostgresError) as error:
            # It stays until the field is converted again or the worker finds it; nobody sees it.
            _log.warning("column_left_behind", base_id=refill.base_id, column=refill.column, cause=type(error).__name__)
            return False
        return True

    async def purge(self, *, age: timedelta) -> int:
        """Drop what has been in the trash for longer than `age`: bases, then tables and fields; how many.

        Each in a transaction of its own that waits briefly for its locks; what is in use is left for the next time.
        """
        purged = 0
        async with self._database.connection() as connection:
            bases = await connection.rows(_STATEMENTS["old_bases"], age, PURGED_MAX)
        for row in bases:
            purged += await self._purge_base(row["base_id"])
        after = ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.rows(_STATEMENTS["all_bases"], after, 1_000)
            for row in rows:
                after = row["base_id"]
                purged += await self._purge_in(after, age)
            if not rows:
                return purged

    async def _purge_base(self, base_id: BaseId) -> bool:
        async def run(_: int) -> bool:
            async with self._database.transaction() as connection:
                if await trash.drop_some(connection, base_id):
                    return True
                await connection.run(_STATEMENTS["remove_base"], base_id)
                return False

        try:
            while await _retried(run):
                pass
        except ServiceUnavailable:
            return False
        return True

    async def _purge_in(self, base_id: BaseId, age: timedelta) -> int:
        purged = 0
        try:
            async with self._database.connection() as connection:
                items = await trash.old(connection, base_id, age=age, rows_max=PURGED_MAX)
                stale = await refilling.leftovers(connection, base_id, age=refilling.STALE_AFTER)
            for refill in stale:
                purged += await self._drop_refill(refill)
            for item in items:
                purged += await self._purge_item(base_id, item, age)
        except (ServiceUnavailable, *GONE):
            return purged
        return purged

    async def _purge_item(self, base_id: BaseId, item: trash.Deleted, age: timedelta) -> bool:
        async def run(_: int) -> bool:
            async with self._database.transaction() as connection:
                # Whoever restores holds the structure too, so what is old now stays old until this ends.
                await ddl.hold(connection, base_id)
                if not await trash.is_old(connection, base_id, item, age=age):
                    return False
                await trash.purge(connection, base_id, item)
                return True

        return await _retried(run)

    async def _add_filled(
        self, base_id: BaseId, plan: Callable[[Base | None], Change], made: AddField, *, actor: str
    ) -> AddField:
        """Add a field with values for the records there are. Raises Restart where the field it copies became another."""
        table_id, field_id, copies = made.table.table_id, made.field.field_id, made.copies
        pg_type = column_type(made.field)
        assert pg_type is not None, "only a field with a column of its own is filled"
        if copies is not None:
            watched: str = copies.field_id
            source = later = retyping.copied(copies)
        else:
            # Autonumbers are for new records only; a modified time starts with the record's own.
            watched = "_id" if made.field.type == "autoNumber" else "_modified"
            source = later = refilling.Source("r._modified AS value", lambda row: row["value"])
        refill = refilling.new(base_id, table_id, field_id, pg_type, watched)
        numbering = refilling.Numbering(refill)
        if copies is None and made.field.type == "autoNumber":
            source, later = numbering.source(remembers=False), numbering.source(remembers=True)

        async def current(_: Connection) -> refilling.Source:
            return later

        async def finish(_: int) -> AddField:
            await refilling.catch_up(self._database, refill, current)
            async with self._logging(base_id) as connection:
                base, last = await _planned(connection, base_id, plan, is_held=True)
                assert isinstance(last, AddField), "a plan's kind does not depend on the structure"
                if copies is not None and (last.copies is None or last.copies.type != copies.type):
                    raise Restart
                added = replace(last, field=replace(last.field, field_id=made.field.field_id))
                await ddl.begin_change(connection, base_id, expected_version=base.version)
                await refilling.finish(connection, refill, current, name=field_id, replaces=False)
                if numbering.last:
                    await ddl.raise_auto_number(connection, base_id, table_id, last=numbering.last)
                await ddl.add_field(connection, base_id, last.table, added.field, has_column=True)
                await changelog.append(connection, base_id, await _entries(connection, base_id, added), actor=actor)
                return added

        return await self._refilled(refill, source, finish, field_id=field_id)

    async def fill_computed(self) -> BaseId | None:
        """Fill the columns of computed cells of one base that has some to fill; None where none has, or others do them all.

        What is not done within `LEASE_S` after the last sign of life is for somebody else to finish.
        """
        row = await self._database.row(_STATEMENTS["take_computed_work"], LEASE_S)
        if row is None:
            return None
        base_id, held_s = BaseId(row["base_id"]), time.monotonic()

        async def load(connection: Connection) -> Base | None:
            found = await _bases(connection, [base_id])
            return found[0] if found else None

        async def hold() -> None:
            nonlocal held_s
            if time.monotonic() - held_s > LEASE_S / 4:
                held_s = time.monotonic()
                await self._database.run(_STATEMENTS["hold_computed_work"], base_id, LEASE_S)

        with contextlib.suppress(*GONE):
            await filling.fill(self._database, base_id, load, hold)
        if await self._database.value(_STATEMENTS["end_computed_work"], base_id, row["asked"]) is None:
            await self._database.run(_STATEMENTS["release_computed_work"], base_id)
        return base_id

    async def check_computed(self, base_id: BaseId) -> filling.Checked | None:
        """Compare all computed cells that are kept with what they are made from; None where there is no such base."""

        async def load(connection: Connection) -> Base | None:
            found = await _bases(connection, [base_id])
            return found[0] if found else None

        return await filling.check(self._database, base_id, load)

    async def upgrade_layouts(self, *, fits_computed: bool = False) -> int:
        """Take every base to the newest layout, each in a transaction of its own; how many were changed.

        With `fits_computed` what is kept of computed cells is fitted to the functions of this version.
        """
        changed, after = 0, ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.rows(_STATEMENTS["all_bases"], after, 1_000)
            for row in rows:
                after = row["base_id"]
                try:
                    async with self._database.transaction() as connection:
                        is_changed = await layouts.upgrade(connection, row["base_id"])
                        changed += is_changed
                        if is_changed or fits_computed:
                            await _fit_computed(connection, row["base_id"])
                except GONE:
                    continue
            if not rows:
                return changed

    async def note_view_use(self, view_id: ViewId) -> None:
        """The view was listed now."""
        await self._database.run(_STATEMENTS["note_view_use"], view_id)

    async def refresh_view_indexes(self, *, rows_min: int, idle_s: float) -> tuple[list[str], list[str]]:
        """Build the indexes that views of large tables want, drop those that none wants; the names built and dropped.

        One process at a time does it; it takes three connections for as long as it works. A view gets an index when it
        was listed in the last `idle_s` seconds, and loses it when neither the view nor the index was used for so long.
        An index that gave way to a change of structure is built next time.
        """
        built: list[str] = []
        dropped: list[str] = []
        async with self._database.transaction() as turn:
            if not await turn.value(_STATEMENTS["view_index_turn"]):
                return built, dropped
            # A build waits for whoever has a snapshot; this ends the one that the statement before keeps open.
            await turn.script("end_snapshot", "SELECT")
            async with self._database.connection() as connection:
                used = {row["view_id"] for row in await connection.rows(_STATEMENTS["used_views"], idle_s, VIEWS_MAX)}
                await connection.run(_STATEMENTS["forget_view_uses"], idle_s)
                large = await viewindexes.large_tables(connection, rows_min=rows_min)
                there = await viewindexes.indexes(connection, idle_s=idle_s)
            for base_id in large.keys() | there.keys():
                bases = await self.bases([base_id])
                tables = bases[0].tables if bases else ()
                known = there.get(base_id, [])
                views_by_index = [
                    (index, view.view_id in used)
                    for table in tables
                    for view in table.views
                    if (index := viewindexes.index_of(table, view)) is not None
                ]
                defined = {index.name for index, _ in views_by_index}
                wanted = {index.name: index for index, is_used in views_by_index if is_used}
                stale = [
                    index.name
                    for index in known
                    if not index.is_valid or index.name not in defined or not (index.name in wanted or index.is_used)
                ]
                await viewindexes.drop(self._database, base_id, stale)
                dropped += stale
                kept = {index.name for index in known} - set(stale)
                for name, index in wanted.items():
                    if (
                        name not in kept
                        and index.table_id in large.get(base_id, ())
                        and await viewindexes.build(self._database, base_id, index)
                    ):
                        built.append(name)
        return built, dropped

    async def has_workspace(self, tenant_id: TenantId, workspace_id: WorkspaceId) -> bool:
        """Whether the workspace exists and is the tenant's."""
        return bool(await self._database.value(_STATEMENTS["has_workspace"], tenant_id, workspace_id))

    async def workspace_rows(
        self, tenant_id: TenantId, *, reached: Collection[BaseId] | None, rows_max: int
    ) -> list[Row]:
        """Rows workspace_id, tenant_id, name, created_at, oldest first."""
        async with self._database.connection() as connection:
            return await connection.rows(
                _STATEMENTS["list_workspaces"], tenant_id, None if reached is None else list(reached), rows_max
            )

    async def add_workspace(
        self, tenant_id: TenantId, workspace_id: WorkspaceId, name: str, *, workspaces_max: int
    ) -> datetime | None:
        """A new workspace's time of creation; None where the tenant has `workspaces_max` already."""
        created: datetime | None = await self._database.value(
            _STATEMENTS["insert_workspace"], workspace_id, tenant_id, name, workspaces_max
        )
        return created


async def _bases(connection: Connection, base_ids: Sequence[BaseId]) -> list[Base]:
    found = []
    for row in await connection.rows(_STATEMENTS["find_bases"], list(base_ids)):
        try:
            version, tables = await ddl.load(connection, row["base_id"])
        except GONE:
            continue
        found.append(
            Base(
                base_id=row["base_id"],
                name=row["name"],
                tenant_id=row["tenant_id"],
                workspace_id=row["workspace_id"],
                version=version,
                tables=tables,
            )
        )
    return found


async def _fit_computed(connection: Connection, base_id: BaseId) -> None:
    if not await maintaining.is_computing(connection, base_id):
        return
    for base in await _bases(connection, [base_id]):
        await maintaining.refresh(connection, base)


async def _planned(
    connection: Connection, base_id: BaseId, plan: Callable[[Base | None], Result], *, is_held: bool
) -> tuple[Base, Result]:
    """The structure there is and the plan for it; with `is_held` nobody can change it before the transaction ends."""
    found: list[Base] = []
    try:
        if is_held:
            await ddl.hold(connection, base_id)
        found = await _bases(connection, [base_id])
    except GONE:
        pass
    # It checks formulas, and those of 100,000 characters take a while.
    planned = await asyncio.to_thread(plan, found[0] if found else None)
    assert found, "a plan for no base raises"
    return found[0], planned


async def _named_freely(
    connection: Connection, base_id: BaseId, item: trash.Deleted, field_ids: Sequence[str], length_max: int
) -> tuple[list[Entry], str]:
    """Entries for what came back, and the item's name, after names that others have by now were changed."""
    _, tables = await ddl.load(connection, base_id)
    entries, name = [], item.name
    for table in tables:
        if table.table_id == item.item_id:
            others = [other.name for other in tables if other.table_id != table.table_id]
            name = free_name(table.name, others, length_max=length_max)
            if name != table.name:
                await trash.rename(connection, base_id, trash.TABLE, table.table_id, name=name)
            cells = {"after": {**_table_meta(table), "name": name}}
            entries.append(Entry(Kind.TABLE_RESTORED, table.table_id, table.number, cells))
        names = {field.field_id: field.name for field in table.fields}
        for field in table.fields:
            if field.field_id in field_ids:
                others = [other for field_id, other in names.items() if field_id != field.field_id]
                own = names[field.field_id] = free_name(field.name, others, length_max=length_max)
                if own != field.name:
                    await trash.rename(connection, base_id, trash.FIELD, field.field_id, name=own)
                if field.field_id == item.item_id:
                    name = own
                cells = {"after": {**field_cells(field), "name": own}}
                entries.append(Entry(Kind.FIELD_RESTORED, field.field_id, table.number, cells))
    return entries, name


async def _apply(connection: Connection, base_id: BaseId, change: Change, *, actor: str) -> None:
    match change:
        case AddTable(table, links):
            await ddl.add_table(connection, base_id, table)
            for link in links:
                await ddl.pair_link(connection, base_id, table, link.field, link.other, link.inverse)
        case CopyTable():
            await _copy_table(connection, base_id, change, actor=actor)
        case UpdateTable(table, _):
            await ddl.update_table(
                connection,
                base_id,
                table.table_id,
                name=table.name,
                description=table.description,
                date_dependency=table.date_dependency,
            )
        case AddField(table, field, _):
            await ddl.add_field(connection, base_id, table, field)
        case AddLink(table, field, other, inverse):
            await ddl.add_link(connection, base_id, table, field, other, inverse)
        case UpdateField(_, field, _):
            await ddl.update_field(connection, base_id, field)
        case DeleteTable(table, _):
            await trash.delete_table(connection, base_id, table.table_id, actor=actor)
        case DeleteField(_, field, _, inverse):
            inverse_id = None if inverse is None else inverse.field_id
            await trash.delete_field(connection, base_id, field.field_id, inverse_id=inverse_id, actor=actor)
        case RenameBase(base, name):
            await connection.run(_STATEMENTS["rename_base"], base.tenant_id, base_id, name)
        case DeleteBase(base):
            if await connection.value(_STATEMENTS["delete_base"], base.tenant_id, base_id, actor) is None:
                raise StructureChanged
        case AddView(table, view):
            await views.add_view(connection, base_id, table.table_id, view)
        case UpdateView(_, view, _):
            await views.update_view(connection, base_id, view)
        case DeleteView(_, view):
            await views.delete_view(connection, base_id, view.view_id)
        case _:
            assert_never(change)


async def _copy_table(connection: Connection, base_id: BaseId, change: CopyTable, *, actor: str) -> None:
    """Raises LimitReached."""
    table, original, record_ids = change.table, change.original, []
    if change.records_max is not None:
        what = "A table that is duplicated with its records"
        rows_max = change.records_max
        count = await copying.count_records(connection, base_id, original.table_id, rows_max=rows_max)
        if count > rows_max:
            raise LimitReached(what=what, limit=rows_max, things="records")
        if await copying.count_links(connection, base_id, original, rows_max=change.links_max) > change.links_max:
            raise LimitReached(what=what, limit=change.links_max, things="links")
        record_ids = [RecordId(record_id) for record_id in new_ids("rec", count)]
    await ddl.add_table(connection, base_id, table)
    if table.date_dependency is not None:
        await ddl.update_table(
            connection,
            base_id,
            table.table_id,
            name=table.name,
            description=table.description,
            date_dependency=table.date_dependency,
        )
    if record_ids:
        await copying.copy_records(
            connection, base_id, original.table_id, table.table_id, change.fields, record_ids=record_ids, actor=actor
        )
    # Junctions come after the records: they keep writers out of the linked tables until the end.
    for link in change.links:
        await ddl.pair_link(connection, base_id, table, link.field, link.other, link.inverse)
    if record_ids:
        for old, new in change.fields:
            if new.link is not None:
                await copying.copy_links(connection, base_id, table.table_id, old, new)


async def _note_copies(connection: Connection, base_id: BaseId, change: CopyTable, *, actor: str) -> None:
    _, tables = await ddl.load(connection, base_id)
    table = next(table for table in tables if table.table_id == change.table.table_id)
    await connection.run(writing.note_loaded(base_id, table, source=Source.API), actor)


async def _entries(connection: Connection, base_id: BaseId, change: Change) -> list[Entry]:
    """What the change log says of a change that was just made."""
    match change:
        case AddTable(table, links) | CopyTable(table, links):
            number = await ddl.table_number(connection, base_id, table.table_id)
            return [
                Entry(Kind.TABLE_CREATED, table.table_id, number, {"after": _table_cells(table)}),
                *[
                    Entry(Kind.FIELD_CREATED, link.inverse.field_id, link.other.number, _created(link.inverse))
                    for link in links
                    if link.inverse is not None
                ],
            ]
        case UpdateTable(table, before):
            return [
                Entry(
                    Kind.TABLE_UPDATED,
                    table.table_id,
                    table.number,
                    _differing(_table_meta(before), _table_meta(table)),
                )
            ]
        case DeleteTable(table, taken):
            return [
                Entry(Kind.TABLE_DELETED, table.table_id, table.number, {"before": _table_cells(table)}),
                *[
                    Entry(Kind.FIELD_DELETED, field.field_id, other.number, {"before": field_cells(field)})
                    for other, field in taken
                ],
            ]
        case AddField(table, field, _):
            return [Entry(Kind.FIELD_CREATED, field.field_id, table.number, _created(field))]
        case AddLink(table, field, other, inverse):
            entries = [Entry(Kind.FIELD_CREATED, field.field_id, table.number, _created(field))]
            if inverse is not None:
                entries.append(Entry(Kind.FIELD_CREATED, inverse.field_id, other.number, _created(inverse)))
            return entries
        case UpdateField(table, field, before):
            cells = _differing(field_cells(before), field_cells(field))
            return [Entry(Kind.FIELD_UPDATED, field.field_id, table.number, cells)]
        case DeleteField(table, field, other, inverse):
            entries = [Entry(Kind.FIELD_DELETED, field.field_id, table.number, {"before": field_cells(field)})]
            if inverse is not None and other is not None:
                cells = {"before": field_cells(inverse)}
                entries.append(Entry(Kind.FIELD_DELETED, inverse.field_id, other.number, cells))
            return entries
        case RenameBase(base, name):
            cells = {"before": {"name": base.name}, "after": {"name": name}}
            return [Entry(Kind.BASE_UPDATED, base_id, None, cells)]
        case DeleteBase(base):
            return [Entry(Kind.BASE_DELETED, base_id, None, {"before": {"name": base.name}})]
        case AddView(table, view):
            return [Entry(Kind.VIEW_CREATED, view.view_id, table.number, {"after": _view_cells(view)})]
        case UpdateView(table, view, before):
            cells = _differing(_view_cells(before), _view_cells(view))
            return [Entry(Kind.VIEW_UPDATED, view.view_id, table.number, cells)]
        case DeleteView(table, view):
            return [Entry(Kind.VIEW_DELETED, view.view_id, table.number, {"before": _view_cells(view)})]
        case _:
            assert_never(change)


def field_cells(field: Field) -> dict[str, Any]:
    """A field as the change log shows it."""
    return {
        "id": field.field_id,
        "name": field.name,
        "type": field.type,
        "description": field.description,
        "options": dict(field.options),
    }


def _with_choices(target: Field, new_choices: NewChoices) -> Field:
    if not new_choices.ids_by_name:
        return target
    return replace(target, options=with_new_choices(target, new_choices))


def _created(field: Field) -> dict[str, Any]:
    return {"after": field_cells(field)}


def _table_meta(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": table.description,
        "dateDependencySettings": None if table.date_dependency is None else dict(table.date_dependency),
    }


def _table_cells(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": table.description,
        "primaryFieldId": table.primary_field_id,
        "fields": [field_cells(field) for field in table.fields],
    }


def _differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Those members that are not the same before and after."""
    keys = [key for key in after if before[key] != after[key]]
    return {"before": {key: before[key] for key in keys}, "after": {key: after[key] for key in keys}}


def _view_cells(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "type": view.type,
        "description": view.description,
        "fieldIds": list(view.field_ids),
        "hiddenFieldIds": list(view.hidden_field_ids),
        "filter": view.filter,
        "sorts": list(view.sorts),
        "groups": list(view.groups),
        "settings": view.settings,
    }
