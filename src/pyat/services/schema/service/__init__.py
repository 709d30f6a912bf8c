"""The rules of the schema service: who may see and change which structure, and what fits."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, WorkspaceId, new_id
from pyat.recordstore.errors import InvalidOffset, LimitReached
from pyat.recordstore.structure import Base, Field, Table
from pyat.services.schema.contract import (
    BASES_PER_PAGE_MAX,
    TABLES_PER_BASE_MAX,
    TABLES_PER_REQUEST_MAX,
    WORKSPACES_PER_TENANT_MAX,
    BasePage,
    BaseSummary,
    FieldDraft,
    TableDraft,
    Workspace,
)
from pyat.services.schema.service.date_dependency import settings_of
from pyat.services.schema.service.planning import Planner, description_of, field_name, filled_name_of, table_name
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import AddField, AddTable, SchemaStore, UpdateField, UpdateTable

PERMISSION_LEVEL = "create"
"""Of everybody in a tenant on its bases, while no service grants less."""

_OFFSET = re.compile(r"itr[0-9A-Za-z]{14}/(app[0-9A-Za-z]{14})")


class SchemaService:
    """Implements the contract `Schema`."""

    def __init__(self, store: SchemaStore, settings: SchemaSettings) -> None:
        self._store = store
        self._planner = Planner(creates_computed_fields=settings.create_computed_fields)

    async def get_bases(self, *, base_ids: tuple[BaseId, ...]) -> tuple[Base, ...]:
        """See the contract."""
        return tuple(await self._store.bases(base_ids))

    async def get_base(self, *, principal: Principal, base_id: BaseId) -> Base:
        """See the contract."""
        if not principal.reaches(base_id):
            raise NotPermittedOrNotFound
        found = await self._store.bases([base_id])
        return _reached(principal, found[0] if found else None)

    async def list_bases(self, *, principal: Principal, offset: str | None) -> BasePage:
        """See the contract."""
        after = 0
        if offset is not None:
            after = await self._resume(principal, offset)
        rows = await self._store.base_rows(
            principal.tenant_id, reached=principal.base_ids, after=after, rows_max=BASES_PER_PAGE_MAX + 1
        )
        bases = tuple(
            BaseSummary(row["base_id"], row["name"], row["workspace_id"], PERMISSION_LEVEL)
            for row in rows[:BASES_PER_PAGE_MAX]
        )
        if len(rows) <= BASES_PER_PAGE_MAX:
            return BasePage(bases, None)
        iterator = offset[:17] if offset else new_id("itr")
        return BasePage(bases, f"{iterator}/{bases[-1].base_id}")

    async def _resume(self, principal: Principal, offset: str) -> int:
        found = _OFFSET.fullmatch(offset)
        position = await self._store.position(principal.tenant_id, BaseId(found[1])) if found else None
        if position is None:
            raise InvalidOffset(offset=offset[:100])
        return position

    async def create_base(
        self, *, principal: Principal, workspace_id: WorkspaceId, name: str, tables: tuple[TableDraft, ...]
    ) -> Base:
        """See the contract."""
        _check_unlimited(principal)
        if not tables:
            raise InvalidRequest(reason="A base needs at least one table.")
        if len(tables) > TABLES_PER_REQUEST_MAX:
            raise LimitReached(what="A request", limit=TABLES_PER_REQUEST_MAX, things="tables")
        base_name = filled_name_of("The base's name", name)
        if not await self._store.has_workspace(principal.tenant_id, workspace_id):
            raise ModelNotFound(kind="Workspace")
        planned: list[Table] = []
        for draft in tables:
            planned.append(self._planner.table(draft, planned))
        base = Base(
            base_id=BaseId(new_id("app")),
            name=base_name,
            tenant_id=principal.tenant_id,
            workspace_id=workspace_id,
            version=1,
            tables=tuple(planned),
        )
        await self._store.add_base(base)
        return base

    async def create_table(self, *, principal: Principal, base_id: BaseId, table: TableDraft) -> Table:
        """See the contract."""

        def plan(found: Base | None) -> AddTable:
            base = _reached(principal, found)
            if len(base.tables) >= TABLES_PER_BASE_MAX:
                raise LimitReached(what="A base", limit=TABLES_PER_BASE_MAX, things="tables")
            return AddTable(self._planner.table(table, base.tables))

        return (await self._store.change(base_id, plan)).table

    async def update_table(
        self, *, principal: Principal, base_id: BaseId, table: str, changes: dict[str, Any]
    ) -> Table:
        """See the contract."""

        def plan(found: Base | None) -> UpdateTable:
            base = _reached(principal, found)
            its_table = _table(base, table)
            _check_keys(changes, ("name", "description", "dateDependencySettings"))
            changed = its_table
            if "dateDependencySettings" in changes:
                settings = settings_of(changes["dateDependencySettings"], its_table)
                changed = replace(changed, date_dependency=settings)
            if "description" in changes:
                changed = replace(changed, description=_description(changes))
            if "name" in changes:
                others = [other for other in base.tables if other.table_id != its_table.table_id]
                changed = replace(changed, name=table_name(_text(changes, "name"), others))
            return UpdateTable(changed)

        return (await self._store.change(base_id, plan)).table

    async def create_field(self, *, principal: Principal, base_id: BaseId, table: str, field: FieldDraft) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> AddField:
            its_table = _table(_reached(principal, found), table)
            return AddField(its_table, self._planner.field(field, its_table))

        return (await self._store.change(base_id, plan)).field

    async def update_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, changes: dict[str, Any]
    ) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> UpdateField:
            its_table = _table(_reached(principal, found), table)
            field = its_table.fields_by_id.get(field_id)
            if field is None:
                raise NotPermittedOrNotFound
            _check_keys(changes, ("name", "description"))
            changed = field
            if "description" in changes:
                changed = replace(changed, description=_description(changes))
            if "name" in changes:
                others = [other.name for other in its_table.fields if other.field_id != field_id]
                changed = replace(changed, name=field_name(_text(changes, "name"), others))
            return UpdateField(changed)

        return (await self._store.change(base_id, plan)).field

    async def list_workspaces(self, *, principal: Principal) -> tuple[Workspace, ...]:
        """See the contract."""
        rows = await self._store.workspace_rows(
            principal.tenant_id, reached=principal.base_ids, rows_max=WORKSPACES_PER_TENANT_MAX
        )
        return tuple(Workspace(row["workspace_id"], row["tenant_id"], row["name"], row["created_at"]) for row in rows)

    async def create_workspace(self, *, principal: Principal, name: str) -> Workspace:
        """See the contract."""
        _check_unlimited(principal)
        own_name = filled_name_of("The workspace's name", name)
        workspace_id = WorkspaceId(new_id("wsp"))
        created_time = await self._store.add_workspace(
            principal.tenant_id, workspace_id, own_name, workspaces_max=WORKSPACES_PER_TENANT_MAX
        )
        if created_time is None:
            raise LimitReached(what="An organisation", limit=WORKSPACES_PER_TENANT_MAX, things="workspaces")
        return Workspace(workspace_id, principal.tenant_id, own_name, created_time)


def _reached(principal: Principal, base: Base | None) -> Base:
    """The base, for a caller of its tenant whose credential covers it; everybody else learns nothing."""
    if base is None or base.tenant_id != principal.tenant_id or not principal.reaches(base.base_id):
        raise NotPermittedOrNotFound
    return base


def _check_unlimited(principal: Principal) -> None:
    # What such a credential makes would be out of its own reach.
    if principal.base_ids is not None:
        raise NotPermittedOrNotFound


def _table(base: Base, id_or_name: str) -> Table:
    table = base.find_table(id_or_name)
    if table is None:
        raise NotPermittedOrNotFound
    return table


def _check_keys(changes: Mapping[str, Any], known: Collection[str]) -> None:
    for key in changes:
        if key not in known:
            raise InvalidRequest(reason=f'"{key[:100]}" cannot be changed.')
    if not changes:
        raise InvalidRequest(reason=f"Give at least one of {', '.join(known)}.")


def _text(changes: Mapping[str, Any], key: str) -> str:
    value = changes[key]
    if not isinstance(value, str):
        raise InvalidRequest(reason=f"{key} must be a string.")
    return value


def _description(changes: Mapping[str, Any]) -> str | None:
    if changes["description"] is None:
        return None
    return description_of("The description", _text(changes, "description"))


__all__ = ["SchemaService"]
