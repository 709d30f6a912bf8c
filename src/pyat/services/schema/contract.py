"""What other services may see of schema."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, TableId, TenantId, WorkspaceId
from pyat.recordstore.structure import Base, Field, Table

BASES_PER_PAGE_MAX = 1_000
TABLES_PER_BASE_MAX = 1_000
TABLES_PER_REQUEST_MAX = 100
"""Tables that one request can create: PostgreSQL holds about six locks for each until the end of the transaction."""
FIELDS_PER_TABLE_MAX = 500
WORKSPACES_PER_TENANT_MAX = 1_000
NAME_LENGTH_MAX = 255
DESCRIPTION_LENGTH_MAX = 20_000


@dataclass(frozen=True, slots=True)
class FieldDraft:
    """A field as a client asks for it; `options` is unchecked JSON, None when absent."""

    name: str
    type: str
    description: str | None = None
    options: Any = None


@dataclass(frozen=True, slots=True)
class TableDraft:
    """A table as a client asks for it; the first field becomes the primary field."""

    name: str
    fields: tuple[FieldDraft, ...]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class BaseSummary:
    """A base in a list."""

    base_id: BaseId
    name: str
    workspace_id: WorkspaceId
    permission_level: str
    """`none`, `read`, `comment`, `edit` or `create`."""


@dataclass(frozen=True, slots=True)
class BasePage:
    """A page of bases; `offset` is None on the last one."""

    bases: tuple[BaseSummary, ...]
    offset: str | None


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where bases live; owned by one tenant."""

    workspace_id: WorkspaceId
    tenant_id: TenantId
    name: str
    created_time: datetime


class InvalidPrimaryField(AppError):
    """The first field of a new table has a type that cannot be primary."""

    code, status, wire_type = "INVALID_PRIMARY_FIELD", 422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE"
    template = "Invalid options for {table}.{field}: {type} fields cannot be the primary field"


class WorkspaceMissing(AppError):
    """Create base without a `workspaceId`."""

    code, status, wire_type, template = "WORKSPACE_MISSING", 422, "INVALID_REQUEST", "Server error"


class Schema(Protocol):
    """Structure: reading it, and every way to change it. Changes are visible to the next call, from any process.

    What takes a principal and a base raises NotPermittedOrNotFound where the base is not there, is another tenant's or
    is out of the credential's reach; `table` is an id or a name, and one that is not there raises the same. Every
    change raises InvalidRequest for names and descriptions that are too long, hold a NUL character or (names of tables,
    bases and workspaces) are empty, and is all or nothing.
    """

    async def get_bases(self, *, base_ids: tuple[BaseId, ...]) -> tuple[Base, ...]:
        """The bases with all their structure, oldest first; those that do not exist are left out.

        Checks no permission. Cost: one statement, and one for each base.
        """
        ...

    async def get_base(self, *, principal: Principal, base_id: BaseId) -> Base:
        """A base with all its structure, for a caller who reaches it. Cost: two statements."""
        ...

    async def list_bases(self, *, principal: Principal, offset: str | None) -> BasePage:
        """The bases a principal reaches, oldest first, up to 1,000. Raises InvalidOffset."""
        ...

    async def create_base(
        self, *, principal: Principal, workspace_id: WorkspaceId, name: str, tables: tuple[TableDraft, ...]
    ) -> Base:
        """A new base with its tables, 1 to 100. Raises ModelNotFound (workspace) and what `create_table` raises.

        A credential that is limited to certain bases cannot make another one: NotPermittedOrNotFound.
        """
        ...

    async def create_table(self, *, principal: Principal, base_id: BaseId, table: TableDraft) -> Table:
        """A new table with one grid view. Raises TableNameTaken, FieldNameTaken, InvalidFieldOptions,
        UnsupportedFieldType, InvalidPrimaryField, InvalidRequest (unknown type, no field), LimitReached."""
        ...

    async def update_table(
        self, *, principal: Principal, base_id: BaseId, table: str, changes: dict[str, Any]
    ) -> Table:
        """New `name`, `description` or `dateDependencySettings` (only keys that are present change).

        `changes` is unchecked JSON. Raises TableNameTaken, InvalidRequest (other keys, none, wrong settings).
        """
        ...

    async def create_field(self, *, principal: Principal, base_id: BaseId, table: str, field: FieldDraft) -> Field:
        """A new field, shown last in every grid view. Raises what `create_table` raises for a field."""
        ...

    async def update_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, changes: dict[str, Any]
    ) -> Field:
        """New `name` or `description` (only keys that are present change).

        `changes` is unchecked JSON. Raises FieldNameTaken, InvalidRequest (other keys, none), NotPermittedOrNotFound
        also for a field that the table does not have.
        """
        ...

    async def list_workspaces(self, *, principal: Principal) -> tuple[Workspace, ...]:
        """The workspaces of the principal's tenant, oldest first, at most 1,000.

        A credential that is limited to certain bases sees those workspaces that hold one of them.
        """
        ...

    async def create_workspace(self, *, principal: Principal, name: str) -> Workspace:
        """A new workspace in the principal's tenant; names need not be unique. Raises LimitReached.

        A credential that is limited to certain bases cannot: NotPermittedOrNotFound.
        """
        ...


__all__ = [
    "BASES_PER_PAGE_MAX",
    "DESCRIPTION_LENGTH_MAX",
    "FIELDS_PER_TABLE_MAX",
    "NAME_LENGTH_MAX",
    "TABLES_PER_BASE_MAX",
    "TABLES_PER_REQUEST_MAX",
    "WORKSPACES_PER_TENANT_MAX",
    "Base",
    "BasePage",
    "BaseSummary",
    "Field",
    "FieldDraft",
    "InvalidPrimaryField",
    "Schema",
    "Table",
    "TableDraft",
    "TableId",
    "Workspace",
    "WorkspaceMissing",
]
