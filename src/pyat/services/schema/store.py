"""The SQL of the schema service: the registry of bases, and changes of structure through `recordstore.ddl`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, TypeVar, assert_never, cast

import structlog
from asyncpg import exceptions as pg

from pyat.foundation.db import RETRIABLE, Connection, Database, Row
from pyat.foundation.errors import AppError, ServiceUnavailable
from pyat.foundation.ids import BaseId, TenantId, WorkspaceId
from pyat.foundation.sql import load_statements
from pyat.recordstore import ddl, layouts
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.structure import Base, Field, Table

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
    """A new table, complete."""

    table: Table


@dataclass(frozen=True, slots=True)
class UpdateTable:
    """An existing table with another name, description or date dependency."""

    table: Table


@dataclass(frozen=True, slots=True)
class AddField:
    """A new field of an existing table (as it is without the field)."""

    table: Table
    field: Field


@dataclass(frozen=True, slots=True)
class UpdateField:
    """An existing field with another name or description."""

    field: Field


Change: TypeAlias = AddTable | UpdateTable | AddField | UpdateField

Planned = TypeVar("Planned", bound=Change)
Result = TypeVar("Result")


async def _retried(work: Callable[[int], Awaitable[Result]]) -> Result:
    """Run a transaction again when it lost to another one; `work` gets the number of the attempt, from 0."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await work(attempt)
        except (*RETRIABLE, StructureChanged) as error:
            if attempt == ATTEMPTS_MAX - 1:
                raise ServiceUnavailable from error
            pause_s = min(PAUSE_S * 2**attempt, PAUSE_MAX_S)
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

    async def add_base(self, base: Base) -> None:
        """A new base in the registry and in a PostgreSQL schema of its own, with its tables: all or nothing."""

        async def run(_: int) -> None:
            async with self._database.transaction() as connection:
                await connection.run(
                    _STATEMENTS["insert_base"], base.base_id, base.tenant_id, base.workspace_id, base.name
                )
                await ddl.create_base(connection, base.base_id)
                for table in base.tables:
                    await ddl.add_table(connection, base.base_id, table)

        await _retried(run)

    async def change(self, base_id: BaseId, plan: Callable[[Base | None], Planned]) -> Planned:
        """Plan a change for the structure there is and apply it, in one transaction; returns what was applied.

        `plan` gets None where there is no such base, and may run several times: when the structure changed between
        plan and lock it is planned again, then under the lock. Raises what `plan` raises, and ServiceUnavailable when
        the base's tables stay in use by others for longer than all attempts.

        A field that gives values to the records there are has its column made in a transaction before, so that
        readers are not kept out while it is filled; they see nothing of it until the field is there.
        """

        async def run(attempt: int) -> Planned:
            async with self._database.transaction() as connection:
                # The first plan holds no lock, so that a refused request delays nobody. Who lost a race queues for the
                # lock before planning: any number of concurrent changes comes through, one after the other.
                base, planned = await _planned(connection, base_id, plan, is_held=attempt > 0)
                if isinstance(planned, AddField) and ddl.is_filled(planned.field):
                    await ddl.add_column(connection, base_id, planned.table.table_id, planned.field)
                else:
                    await ddl.begin_change(connection, base_id, expected_version=base.version)
                    await _apply(connection, base_id, planned)
                return planned

        planned = await _retried(run)
        if isinstance(planned, AddField) and ddl.is_filled(planned.field):
            return cast("Planned", await self._fill(base_id, plan, planned))
        return planned

    async def _fill(self, base_id: BaseId, plan: Callable[[Base | None], Change], made: AddField) -> AddField:
        """Add the field whose empty column was made for an earlier plan."""

        async def run(_: int) -> AddField:
            async with self._database.transaction() as connection:
                base, planned = await _planned(connection, base_id, plan, is_held=True)
                assert isinstance(planned, AddField), "a plan's kind does not depend on the structure"
                field = replace(planned.field, field_id=made.field.field_id)
                await ddl.begin_change(connection, base_id, expected_version=base.version)
                await ddl.add_field(connection, base_id, planned.table, field, has_column=True)
                return AddField(planned.table, field)

        try:
            return await _retried(run)
        except BaseException:
            await self._take_back(base_id, made)
            raise

    async def _take_back(self, base_id: BaseId, made: AddField) -> None:
        async def run(_: int) -> None:
            async with self._database.transaction() as connection:
                await ddl.drop_column(connection, base_id, made.table.table_id, made.field)

        try:
            await _retried(run)
        except (AppError, pg.PostgresError) as error:
            # The column stays: empty, known to nobody, and in nobody's way.
            _log.warning("column_left_behind", base_id=base_id, column=made.field.field_id, cause=type(error).__name__)

    async def upgrade_layouts(self) -> int:
        """Take every base to the newest layout, each in a transaction of its own; how many were changed."""
        changed, after = 0, ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.rows(_STATEMENTS["all_bases"], after, 1_000)
            for row in rows:
                after = row["base_id"]
                try:
                    async with self._database.transaction() as connection:
                        changed += await layouts.upgrade(connection, row["base_id"])
                except GONE:
                    continue
            if not rows:
                return changed

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


async def _planned(
    connection: Connection, base_id: BaseId, plan: Callable[[Base | None], Planned], *, is_held: bool
) -> tuple[Base, Planned]:
    """The structure there is and the plan for it; with `is_held` nobody can change it before the transaction ends."""
    found: list[Base] = []
    try:
        if is_held:
            await ddl.hold(connection, base_id)
        found = await _bases(connection, [base_id])
    except GONE:
        pass
    planned = plan(found[0] if found else None)
    assert found, "a plan for no base raises"
    return found[0], planned


async def _apply(connection: Connection, base_id: BaseId, change: Change) -> None:
    match change:
        case AddTable(table):
            await ddl.add_table(connection, base_id, table)
        case UpdateTable(table):
            await ddl.update_table(
                connection,
                base_id,
                table.table_id,
                name=table.name,
                description=table.description,
                date_dependency=table.date_dependency,
            )
        case AddField(table, field):
            await ddl.add_field(connection, base_id, table, field)
        case UpdateField(field):
            await ddl.update_field(connection, base_id, field)
        case _:
            assert_never(change)
