"""What other services may see of schema."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, TableId, TenantId, ViewId, WorkspaceId
from pyat.recordstore.structure import Base, Field, Table, View

BASES_PER_PAGE_MAX = 1_000
TABLES_PER_BASE_MAX = 1_000
TABLES_PER_REQUEST_MAX = 100
"""Tables that one request can create: PostgreSQL holds about six locks for each until the end of the transaction."""
FIELDS_PER_TABLE_MAX = 500
VIEWS_PER_TABLE_MAX = 1_000
WORKSPACES_PER_TENANT_MAX = 1_000
NAME_LENGTH_MAX = 255
TRASH_PAGE_MAX = 100
RECORDS_COPIED_MAX = 10_000
"""Records that a table may have to be duplicated with them: that is one transaction."""
LINKS_COPIED_MAX = 50_000
"""Links in the cells of such a table: nobody writes to a linked table while they are copied."""
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


@dataclass(frozen=True, slots=True)
class TableView:
    """A view and the table it belongs to; its `field_ids` are all of the table's fields."""

    table_id: TableId
    view: View


class ViewNameTaken(AppError):
    """A view name that the table has already (without regard to case)."""

    code, status, wire_type = "VIEW_NAME_TAKEN", 422, "DUPLICATE_VIEW_NAME"
    template = 'There is already a view named "{name}"'


class LastGridView(AppError):
    """The last grid view of a table cannot be deleted."""

    code, status, wire_type = "LAST_GRID_VIEW", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the last grid view of a table cannot be deleted."


class InvalidPrimaryField(AppError):
    """The first field of a new table has a type that cannot be primary."""

    code, status, wire_type = "INVALID_PRIMARY_FIELD", 422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE"
    template = "Invalid options for {table}.{field}: {type} fields cannot be the primary field"


class WorkspaceMissing(AppError):
    """Create base without a `workspaceId`."""

    code, status, wire_type, template = "WORKSPACE_MISSING", 422, "INVALID_REQUEST", "Server error"


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A deleted base, table or field; or one that was just restored."""

    item_id: str
    kind: str
    """`base`, `table` or `field`."""
    name: str
    base_id: BaseId
    table_id: TableId | None
    """Of a field, the table it belongs to; of a table, itself."""
    deleted_time: datetime | None
    deleted_by: str | None
    expires_time: datetime | None
    """From then on it cannot be restored."""


@dataclass(frozen=True, slots=True)
class TrashPage:
    """A page of the trash; `offset` is None on the last one."""

    items: tuple[TrashItem, ...]
    offset: str | None


class Trash(Protocol):
    """Deleting structure and bringing it back. Raises as `Schema` does.

    What was deleted is at once out of everybody's sight, its name is free, and it can be restored for as long as the
    platform keeps it (7 days unless configured). Records in the trash are the records service's.
    """

    async def update_base(self, *, principal: Principal, base_id: BaseId, changes: dict[str, Any]) -> Base:
        """Another `name`. `changes` is unchecked JSON. Raises InvalidRequest."""
        ...

    async def delete_base(self, *, principal: Principal, base_id: BaseId) -> None:
        """Put a base into the trash."""
        ...

    async def delete_table(self, *, principal: Principal, base_id: BaseId, table: str) -> TableId:
        """Put a table into the trash, and with it the fields of other tables that link to it; gives its id.

        Raises InvalidRequest for the last table of a base.
        """
        ...

    async def delete_field(self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId) -> None:
        """Put a field into the trash; with a link field goes its inverse. Raises InvalidRequest for a primary field."""
        ...

    async def list_trash(
        self, *, principal: Principal, base_id: BaseId | None, kind: str | None, limit: int, offset: str | None
    ) -> TrashPage:
        """Deleted tables and fields of a base, or without a base deleted bases; newest first, up to `limit` (1 to 100).

        What went along with something else is restored with that, and not listed. Raises InvalidRequest, InvalidOffset.
        """
        ...

    async def restore(self, *, principal: Principal, base_id: BaseId, item_id: str) -> TrashItem:
        """Bring a base, a table or a field back, to its place; a name that was taken meanwhile gets a number.

        Raises ModelNotFound where it is not in the trash, InvalidRequest for a link field whose linked table is
        deleted, LimitReached.
        """
        ...


@dataclass(frozen=True, slots=True)
class ConversionExample:
    """A cell as it is and as it would be: JSON as clients read it, None where it would be empty."""

    record_id: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ConversionPreview:
    """What would become of a field's cells; empty ones are not counted."""

    total: int
    converted: int
    cleared: int
    """Cells whose value the new type cannot hold."""
    examples: tuple[ConversionExample, ...]
    """Up to 20 cells, first those that would be cleared."""


class ConversionRefused(AppError):
    """A field cannot get the type that was asked for."""

    code, status, wire_type = "CONVERSION_REFUSED", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: {reason}"


class ConversionOvertaken(AppError):
    """Somebody else began to convert the same field, or deleted it, while this conversion ran; nothing was changed."""

    code, status, wire_type = "CONVERSION_OVERTAKEN", 409, "INVALID_REQUEST_UNKNOWN"
    template = "Another change of this field came between. Nothing was converted."


class Redefining(Protocol):
    """Fields that become something else, and copies of fields and tables. Raises as `Schema` does."""

    async def redefine_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, changes: dict[str, Any]
    ) -> Field:
        """New `name`, `description` or `options` of the same type (only keys that are present change).

        Choices are a whole new list: those with an `id`, or a name that is there, stay what they are in every cell.
        `changes` is unchecked JSON. Raises FieldNameTaken, InvalidFieldOptions, InvalidRequest.
        """
        ...

    async def preview_conversion(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, type_name: str, options: Any
    ) -> ConversionPreview:
        """What `convert_field` would do to the cells there are now. Cost: reads the whole field. Raises as it does."""
        ...

    async def convert_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, type_name: str, options: Any
    ) -> Field:
        """Give a field another type, and its cells what they become by it; others read and write meanwhile.

        Cost: reads and writes every record, in small steps. The field keeps its id, name and place. Raises
        ConversionRefused, UnsupportedFieldType, InvalidFieldOptions, LimitReached (choices), ConversionOvertaken.
        """
        ...

    async def duplicate_field(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        field_id: FieldId,
        name: str | None,
        with_cells: bool,
    ) -> Field:
        """A new field like another one, last in its table; without a name it gets one made of the other's.

        With `with_cells` every record gets the other's cell; what the platform computes has its values anyway. Raises
        FieldNameTaken, LimitReached, InvalidRequest (cells of links and attachments cannot be copied).
        """
        ...

    async def duplicate_table(
        self, *, principal: Principal, base_id: BaseId, table: str, name: str | None, with_records: bool
    ) -> Table:
        """A new table like another one, with fields, views and settings; without a name it gets one made of the other's.

        What names the table's own fields and views names the copy's. A link field links to the same table, with a new
        inverse there; one to its own table links to the copy. With `with_records` there are copies of up to 10,000
        records and 50,000 links, made now by the caller; cells of attachments are empty. Raises TableNameTaken,
        LimitReached.
        """
        ...


class Views(Protocol):
    """The views of tables. Raises as `Schema` does; a view that is not there is like a table that is not there."""

    async def list_views(self, *, principal: Principal, base_id: BaseId) -> tuple[TableView, ...]:
        """The views of every table, in order. Cost: two statements."""
        ...

    async def get_view(self, *, principal: Principal, base_id: BaseId, view_id: ViewId) -> TableView:
        """One view. Cost: two statements."""
        ...

    async def create_view(
        self, *, principal: Principal, base_id: BaseId, table: str, draft: dict[str, Any]
    ) -> TableView:
        """A new view, last in its table.

        `draft` is unchecked JSON: `name`, `type`, and what `update_view` takes. Raises InvalidRequest, ViewNameTaken,
        LimitReached.
        """
        ...

    async def update_view(
        self, *, principal: Principal, base_id: BaseId, view_id: ViewId, changes: dict[str, Any]
    ) -> TableView:
        """New `name`, `description`, `fieldIds`, `hiddenFieldIds`, `filter`, `sorts`, `groups` or `settings`.

        Only keys that are present change, each as a whole. `changes` is unchecked JSON. Raises InvalidRequest,
        ViewNameTaken.
        """
        ...

    async def delete_view(self, *, principal: Principal, base_id: BaseId, view_id: ViewId) -> None:
        """Remove a view for good. Raises LastGridView."""
        ...

    async def duplicate_view(
        self, *, principal: Principal, base_id: BaseId, view_id: ViewId, name: str | None
    ) -> TableView:
        """A new view like another one; without a name it gets one made of the other's. Raises as `create_view`."""
        ...

    async def note_view_use(self, *, view_id: ViewId) -> None:
        """Records are listed through the view, so its table gets an index for it once that is large. One statement.

        Checks no permission. Enough now and then: every ten minutes, say.
        """
        ...


class Schema(Views, Trash, Redefining, Protocol):
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
    "LINKS_COPIED_MAX",
    "NAME_LENGTH_MAX",
    "RECORDS_COPIED_MAX",
    "TABLES_PER_BASE_MAX",
    "TABLES_PER_REQUEST_MAX",
    "TRASH_PAGE_MAX",
    "VIEWS_PER_TABLE_MAX",
    "WORKSPACES_PER_TENANT_MAX",
    "Base",
    "BasePage",
    "BaseSummary",
    "ConversionExample",
    "ConversionOvertaken",
    "ConversionPreview",
    "ConversionRefused",
    "Field",
    "FieldDraft",
    "InvalidPrimaryField",
    "LastGridView",
    "Redefining",
    "Schema",
    "Table",
    "TableDraft",
    "TableId",
    "TableView",
    "Trash",
    "TrashItem",
    "TrashPage",
    "View",
    "ViewNameTaken",
    "Views",
    "Workspace",
    "WorkspaceMissing",
]
