"""The rules of the schema service: who may see and change which structure, and what fits."""

import re
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
from pyat.services.schema.service.checks import check_keys, check_unlimited, new_description, reached, table_of, text_of
from pyat.services.schema.service.date_dependency import settings_of
from pyat.services.schema.service.duplicating import DuplicatingCalls
from pyat.services.schema.service.planning import (
    LINK_TYPE,
    Planner,
    field_name,
    filled_name_of,
    table_name,
)
from pyat.services.schema.service.redefining import RedefiningCalls
from pyat.services.schema.service.trash import TrashCalls
from pyat.services.schema.service.views import ViewCalls
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import AddField, AddLink, AddTable, SchemaStore, UpdateField, UpdateTable

PERMISSION_LEVEL = "create"
"""Of everybody in a tenant on its bases, while no service grants less."""

_OFFSET = re.compile(r"itr[0-9A-Za-z]{14}/(app[0-9A-Za-z]{14})")


class SchemaService(TrashCalls, RedefiningCalls, DuplicatingCalls, ViewCalls):
    """Implements the contract `Schema`."""

    def __init__(self, store: SchemaStore, settings: SchemaSettings) -> None:
        super().__init__(store, settings)
        self._planner = Planner(creates_computed_fields=settings.create_computed_fields)

    async def get_bases(self, *, base_ids: tuple[BaseId, ...]) -> tuple[Base, ...]:
        """See the contract."""
        return tuple(await self._store.bases(base_ids))

    async def get_base(self, *, principal: Principal, base_id: BaseId) -> Base:
        """See the contract."""
        if not principal.reaches(base_id):
            raise NotPermittedOrNotFound
        found = await self._store.bases([base_id])
        return reached(principal, found[0] if found else None)

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
        check_unlimited(principal)
        if not tables:
            raise InvalidRequest(reason="A base needs at least one table.")
        if len(tables) > TABLES_PER_REQUEST_MAX:
            raise LimitReached(what="A request", limit=TABLES_PER_REQUEST_MAX, things="tables")
        base_name = filled_name_of("The base's name", name)
        if not await self._store.has_workspace(principal.tenant_id, workspace_id):
            raise ModelNotFound(kind="Workspace")
        planned: list[Table] = []
        for draft in tables:
            # The ids of the request's own tables are not known to its sender, so no field can link to them.
            planned.append(self._planner.links_of(self._planner.table(draft, planned), ())[0])
        base = Base(
            base_id=BaseId(new_id("app")),
            name=base_name,
            tenant_id=principal.tenant_id,
            workspace_id=workspace_id,
            version=1,
            tables=tuple(planned),
        )
        await self._store.add_base(base, actor=principal.user_id)
        return base

    async def create_table(self, *, principal: Principal, base_id: BaseId, table: TableDraft) -> Table:
        """See the contract."""

        def plan(found: Base | None) -> AddTable:
            base = reached(principal, found)
            if len(base.tables) >= TABLES_PER_BASE_MAX:
                raise LimitReached(what="A base", limit=TABLES_PER_BASE_MAX, things="tables")
            planned, pairs = self._planner.links_of(self._planner.table(table, base.tables), base.tables)
            return AddTable(planned, tuple(AddLink(planned, pair.field, pair.other, pair.inverse) for pair in pairs))

        return (await self._store.change(base_id, plan, actor=principal.user_id)).table

    async def update_table(
        self, *, principal: Principal, base_id: BaseId, table: str, changes: dict[str, Any]
    ) -> Table:
        """See the contract."""

        def plan(found: Base | None) -> UpdateTable:
            base = reached(principal, found)
            its_table = table_of(base, table)
            check_keys(changes, ("name", "description", "dateDependencySettings"))
            changed = its_table
            if "dateDependencySettings" in changes:
                settings = settings_of(changes["dateDependencySettings"], its_table)
                changed = replace(changed, date_dependency=settings)
            if "description" in changes:
                changed = replace(changed, description=new_description(changes))
            if "name" in changes:
                others = [other for other in base.tables if other.table_id != its_table.table_id]
                changed = replace(changed, name=table_name(text_of(changes, "name"), others))
            return UpdateTable(changed, its_table)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).table

    async def create_field(self, *, principal: Principal, base_id: BaseId, table: str, field: FieldDraft) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> AddField | AddLink:
            base = reached(principal, found)
            its_table = table_of(base, table)
            if field.type == LINK_TYPE:
                planned = self._planner.link(field, its_table, base)
                return AddLink(its_table, planned.field, planned.other, planned.inverse)
            return AddField(its_table, self._planner.field(field, its_table, base.tables))

        return (await self._store.change(base_id, plan, actor=principal.user_id)).field

    async def update_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, changes: dict[str, Any]
    ) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> UpdateField:
            its_table = table_of(reached(principal, found), table)
            field = its_table.fields_by_id.get(field_id)
            if field is None:
                raise NotPermittedOrNotFound
            check_keys(changes, ("name", "description"))
            changed = field
            if "description" in changes:
                changed = replace(changed, description=new_description(changes))
            if "name" in changes:
                others = [other.name for other in its_table.fields if other.field_id != field_id]
                changed = replace(changed, name=field_name(text_of(changes, "name"), others))
            return UpdateField(its_table, changed, field)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).field

    async def list_workspaces(self, *, principal: Principal) -> tuple[Workspace, ...]:
        """See the contract."""
        rows = await self._store.workspace_rows(
            principal.tenant_id, reached=principal.base_ids, rows_max=WORKSPACES_PER_TENANT_MAX
        )
        return tuple(Workspace(row["workspace_id"], row["tenant_id"], row["name"], row["created_at"]) for row in rows)

    async def create_workspace(self, *, principal: Principal, name: str) -> Workspace:
        """See the contract."""
        check_unlimited(principal)
        own_name = filled_name_of("The workspace's name", name)
        workspace_id = WorkspaceId(new_id("wsp"))
        created_time = await self._store.add_workspace(
            principal.tenant_id, workspace_id, own_name, workspaces_max=WORKSPACES_PER_TENANT_MAX
        )
        if created_time is None:
            raise LimitReached(what="An organisation", limit=WORKSPACES_PER_TENANT_MAX, things="workspaces")
        return Workspace(workspace_id, principal.tenant_id, own_name, created_time)


__all__ = ["SchemaService"]
