"""What other services may see of airtable_gateway: records in and out, as the public API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of an order, as a client names it."""

    field: str
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What to list (wire reference, section 5.2). Names may be names or ids."""

    fields: tuple[str, ...] | None = None
    sort: tuple[Sort, ...] = ()
    view: str | None = None
    filter: str | None = None
    page_size: int = 100
    records_max: int | None = None
    offset: str | None = None
    by_id: bool = False


@dataclass(frozen=True, slots=True)
class RecordPage:
    """`records` is JSON text: record objects, comma-separated, without the brackets of a list; empty when none."""

    records: bytes
    offset: str | None


@dataclass(frozen=True, slots=True)
class RecordChange:
    """Cells to set, by field name or id. Without `record_id` only an upsert takes it."""

    record_id: RecordId | None
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Upserted:
    """`records` as in `RecordPage`, one for each change in order."""

    records: bytes
    created_ids: tuple[RecordId, ...]
    updated_ids: tuple[RecordId, ...]


class Records(Protocol):
    """Records of native bases. Every call checks that the principal reaches the base.

    All raise NotPermittedOrNotFound for a base or table that is not there or not the caller's. Writes are all or
    nothing. Answers are JSON text as bytes, made by PostgreSQL.
    """

    async def list_records(self, *, principal: Principal, base_id: BaseId, table: str, query: ListQuery) -> RecordPage:
        """One page. Raises UnknownFieldName, ViewNameNotFound, ViewIdNotFound, ViewOfOtherTable, InvalidOffset,
        IteratorNotAvailable, InvalidFilter."""
        ...

    async def get_record(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, by_id: bool
    ) -> bytes:
        """One record object. Raises ModelNotFound."""
        ...

    async def create_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        rows: tuple[Mapping[str, Any], ...],
        typecast: bool,
        by_id: bool,
    ) -> bytes:
        """New records in order, complete. Raises UnknownFieldName, InvalidValue, ComputedValue, UnknownChoice."""
        ...

    async def update_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        changes: tuple[RecordChange, ...],
        is_replacing: bool,
        typecast: bool,
        by_id: bool,
    ) -> bytes:
        """Changed records, one for each change in order. Raises RowDoesNotExist and what `create_records` raises."""
        ...

    async def upsert_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        merge_on: tuple[str, ...],
        changes: tuple[RecordChange, ...],
        is_replacing: bool,
        typecast: bool,
        by_id: bool,
    ) -> Upserted:
        """Update what matches on the merge fields, create the rest. Raises AmbiguousUpsert, UpsertKeyMissing,
        InvalidRequest and what `update_records` raises."""
        ...

    async def delete_records(
        self, *, principal: Principal, base_id: BaseId, table: str, record_ids: tuple[RecordId, ...]
    ) -> None:
        """Delete records, each named once. Raises RowDoesNotExist."""
        ...
