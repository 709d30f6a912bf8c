"""What other services may see of airtable_gateway: records in and out, as the public API shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, RecordId


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of an order, as a client names it."""

    field: str
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What to list (wire reference, section 5.2). Names may be names or ids.

    With `time_zone` or `locale` cells are the texts that people read; both are needed then.
    """

    fields: tuple[str, ...] | None = None
    sort: tuple[Sort, ...] = ()
    view: str | None = None
    filter: str | None = None
    page_size: int = 100
    records_max: int | None = None
    offset: str | None = None
    by_id: bool = False
    time_zone: str | None = None
    locale: str | None = None
    counts_comments: bool = False
    """Whether each record has its `commentCount`."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """`records` is JSON text: record objects, comma-separated, without the brackets of a list; empty when none.

    Here and wherever records come as JSON, URLs of files are marks that `recordstore.attachments.with_urls` replaces.
    """

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


# Exchange


class InvalidAggregate(AppError):
    """A sum that cannot be computed; `reason` is a sentence."""

    code, status, wire_type = "INVALID_AGGREGATE", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid aggregate: {reason}"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function of a field's cells; `field` is a name or an id, None for all records."""

    function: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """What to compute, for each combination of the values of `group_by`; without it for all records together."""

    aggregates: tuple[Aggregate, ...]
    group_by: tuple[str, ...] = ()
    view: str | None = None
    groups_max: int = 1_000
    by_id: bool = False


@dataclass(frozen=True, slots=True)
class Groups:
    """`groups` is JSON text as in `RecordPage`: `{"key": {field: value}, "values": [in the order asked]}`."""

    groups: bytes
    has_more: bool


class InvalidFile(AppError):
    """A file that cannot be imported at all; `reason` is a sentence. Nothing was written."""

    code, status, wire_type = "INVALID_FILE", 422, "INVALID_REQUEST_UNKNOWN"
    template = "The file cannot be imported: {reason}"


REJECTED: Mapping[str, Any] = {
    "type": "array",
    "maxItems": 100,
    "items": {
        "type": "object",
        "required": ["line", "field", "reason"],
        "properties": {
            "line": {"type": "integer", "description": "Line or row of the file, from 1."},
            "field": {"type": ["string", "null"], "description": "Null where the whole row cannot be read."},
            "reason": {"type": "string"},
        },
    },
}
"""The schema of what an import did not take."""


class ImportRejected(AppError):
    """Cells or rows of a file do not fit; nothing was written. The answer's `rejected` names the first hundred."""

    code, status, wire_type = "IMPORT_REJECTED", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Nothing was imported, because {count} cells or rows do not fit. Send invalid=blank to leave them blank."

    beside: ClassVar[Mapping[str, Mapping[str, Any]]] = {"rejected": REJECTED}

    def __init__(self, *, count: int, rejected: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(count=count, rejected=list(rejected))


class TooManyRecords(AppError):
    """There are more records than a file of this format holds."""

    code, status, wire_type = "TOO_MANY_RECORDS", 422, "INVALID_REQUEST_UNKNOWN"
    template = "A worksheet holds {limit} records, but there are {count}. Export another format, or a view."


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file: records made, cells left blank and rows left out, columns of computed fields."""

    created: int
    rejected_count: int
    rejected: Sequence[Mapping[str, Any]]
    """The first of them: `{"line", "field", "reason"}`."""
    ignored: Sequence[str]


class IdempotencyKeyReused(AppError):
    """An `Idempotency-Key` that came with another request before."""

    code, status, template = "IDEMPOTENCY_KEY_REUSED", 422, 'The Idempotency-Key "{key}" was used for another request.'


class IdempotencyKeyBusy(AppError):
    """The request with this `Idempotency-Key` is being answered at this moment; its repeat will get that answer."""

    code, status, retry_after_s = "IDEMPOTENCY_KEY_BUSY", 409, 1
    template = 'A request with the Idempotency-Key "{key}" is still being processed.'


class RecordChanged(AppError):
    """The record is not what `If-Match` names; read it again."""

    code, status, wire_type = "RECORD_CHANGED", 412, "PRECONDITION_FAILED"
    template = "Record {record_id} has changed."


ExportForm = Literal["json", "csv", "values", "xlsx"]
"""How an exported record is written: a line with its JSON object, a line of comma-separated values, a JSON list of typed
values, or a row of a worksheet."""


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What to export. `time_zone` and `locale` make CSV hold what people read instead of typed values."""

    form: ExportForm
    fields: tuple[str, ...] | None = None
    view: str | None = None
    by_id: bool = False
    time_zone: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an export."""

    field_id: FieldId
    name: str
    kind: str
    """`text`, `number`, `boolean`, `date` or `moment`."""


@dataclass(frozen=True, slots=True)
class ExportPage:
    """Some records of an export: `body` is empty where there is none; `after` is None on the last page."""

    columns: tuple[Column, ...]
    body: bytes
    row_count: int
    after: str | None


@dataclass(frozen=True, slots=True)
class TaggedRecord:
    """A record object as JSON text, and a tag that changes whenever its content does."""

    record: bytes
    tag: str


class Exchange(Protocol):
    """What Airtable's API does not have. Raises as `Records` does."""

    async def aggregate(self, *, principal: Principal, base_id: BaseId, table: str, query: AggregateQuery) -> Groups:
        """Counts, sums and the like. Raises UnknownFieldName, InvalidAggregate, CellsTooSlow, ViewNameNotFound,
        ViewIdNotFound, ViewOfOtherTable."""
        ...

    async def export_page(
        self, *, principal: Principal, base_id: BaseId, table: str, query: ExportQuery, after: str | None
    ) -> ExportPage:
        """The records after those of the page that gave `after`; the query of a further page is that of the first, with
        the ids of its columns as `fields`.

        Records that were created since the first page are left out. Raises UnknownFieldName, CellsTooSlow, InvalidRequest and
        what `aggregate` raises for views.
        """
        ...

    async def get_tagged_record(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, by_id: bool
    ) -> TaggedRecord:
        """One record of the table. Raises ModelNotFound."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """Entries of a base's change log in order; `changes` is JSON text: objects, comma-separated."""

    changes: bytes
    next_after: int
    """The number to ask after next."""
    last: int
    """The number of the base's last change."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries newest first, as JSON text; `offset` is None on the last page."""

    entries: bytes
    offset: str | None


class ChangeLog(Protocol):
    """What has happened to a base. Every call checks that the principal reaches it."""

    async def list_changes(self, *, principal: Principal, base_id: BaseId, after: int | None, rows_max: int) -> Changes:
        """The changes after number `after` (None: none, only the last number), at most `rows_max` (1 to 1,000).

        A reader that goes on after `next_after` misses nothing and gets nothing twice. Raises ChangesGone.
        """
        ...

    async def record_history(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        offset: str | None,
        rows_max: int,
    ) -> Entries:
        """What happened to a record, deleted or not, newest first. Raises InvalidOffset."""
        ...

    async def undo(self, *, principal: Principal, base_id: BaseId) -> bytes:
        """Take the caller's last operation on records back; its entries as JSON text. Raises NothingToUndo."""
        ...

    async def list_deleted_records(
        self, *, principal: Principal, base_id: BaseId, offset: str | None, rows_max: int
    ) -> Entries:
        """Records that were deleted in the last seven days and can be restored, newest first. Raises InvalidOffset."""
        ...

    async def restore_records(
        self, *, principal: Principal, base_id: BaseId, record_ids: tuple[RecordId, ...]
    ) -> tuple[RecordId, ...]:
        """Bring deleted records back with their ids, cells, links and place. Raises ModelNotFound for one that is
        not in the trash."""
        ...


class FileTooLarge(AppError):
    """An attachment in a request's body is larger than 5 MB; larger files go by URL or by an upload of their own."""

    code, status, wire_type = "FILE_TOO_LARGE", 413, "REQUEST_TOO_LARGE"
    template = "The file is larger than 5 MB."


class Attaching(Protocol):
    """Files into cells. Attachment cells that take URLs or ids are part of ordinary writes."""

    async def upload_attachment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        record_id: RecordId,
        field: str,
        filename: str,
        content_type: str | None,
        data: bytes,
    ) -> bytes:
        """Put a file behind those of a cell; the record with that cell alone, keyed by field id, URLs marked.

        Raises ModelNotFound (record), UnknownFieldName, InvalidValue (no attachment field), FileTooLarge and what
        Files.store_bytes raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class CommentPage:
    """`comments` is JSON text: comment objects, comma-separated; `offset` is None on the last page."""

    comments: bytes
    offset: str | None


class Comments(Protocol):
    """Comments of records. All raise ModelNotFound for a record or comment that is not there; answers are JSON text."""

    async def list_comments(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        offset: str | None,
        rows_max: int,
    ) -> CommentPage:
        """The comments of a record, newest first, at most `rows_max` (1 to 100). Raises InvalidOffset."""
        ...

    async def create_comment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        text: str,
        parent_id: str | None,
    ) -> bytes:
        """A new comment by the caller; `parent_id` is the comment it replies to. Raises InvalidRequest."""
        ...

    async def update_comment(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        comment_id: str,
        text: str,
    ) -> bytes:
        """Another text for the caller's own comment. Raises OperationNotPermitted, InvalidRequest."""
        ...

    async def delete_comment(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, comment_id: str
    ) -> None:
        """Delete the caller's own comment; replies stay. Raises OperationNotPermitted."""
        ...

    async def react(
        self, *, principal: Principal, base_id: BaseId, comment_id: str, emoji: str, is_there: bool
    ) -> bytes:
        """Add the caller's reaction to a comment, or take it away; the comment. `emoji` are hexadecimal code points joined
        by `-`. Raises InvalidRequest, LimitReached."""
        ...


@dataclass(frozen=True, slots=True)
class Sync:
    """How CSV files are brought into a table: which field is the key, and whether records a file lacks are deleted."""

    sync_id: str
    table_id: str
    key_field_id: str
    is_deleting: bool
    created_at: datetime


class Syncs(Protocol):
    """CSV sync. Setting one up is our own addition; at Airtable people do it in the interface."""

    async def create_sync(
        self, *, principal: Principal, base_id: BaseId, table: str, key_field: str, is_deleting: bool
    ) -> Sync:
        """Set a sync up. Raises UnknownFieldName, InvalidRequest (no key), LimitReached."""
        ...

    async def list_syncs(self, *, principal: Principal, base_id: BaseId, table: str) -> tuple[Sync, ...]:
        """The syncs of a table, oldest first."""
        ...

    async def delete_sync(self, *, principal: Principal, base_id: BaseId, sync_id: str) -> None:
        """Delete a sync; records stay. Raises ModelNotFound."""
        ...

    async def sync_csv(self, *, principal: Principal, base_id: BaseId, table: str, sync_id: str, data: bytes) -> None:
        """Make the table's records those of a CSV file, all or nothing; needs the scope `schema.bases:write` too.

        Raises ModelNotFound (sync), RateLimitReached, InvalidFile, UnknownFieldName, AmbiguousUpsert, LimitReached and what
        `create_records` raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class FormulaInput:
    """A value that a formula needs of a record: `key` and `field_ids` are of its `pyat.formula.checking.Input`."""

    key: str
    field_ids: tuple[str, ...]
    value: Any
    """JSON that `pyat.formula.wire.unpacked` reads."""


class Records(Attaching, ChangeLog, Comments, Exchange, Syncs, Protocol):
    """Records of native bases. Every call checks that the principal reaches the base.

    All raise NotPermittedOrNotFound for a base or table that is not there or not the caller's. Writes are all or
    nothing. Answers are JSON text as bytes, made by PostgreSQL.
    """

    async def list_records(self, *, principal: Principal, base_id: BaseId, table: str, query: ListQuery) -> RecordPage:
        """One page. Raises UnknownFieldName, ViewNameNotFound, ViewIdNotFound, ViewOfOtherTable, InvalidOffset,
        IteratorNotAvailable, InvalidFilter, FilterTooSlow, CellsTooSlow."""
        ...

    async def get_record(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        by_id: bool,
        time_zone: str | None = None,
        locale: str | None = None,
    ) -> bytes:
        """One record object, its cells as texts where `ListQuery` says so. Raises ModelNotFound, InvalidRequest."""
        ...

    async def formula_inputs(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, formula: str
    ) -> tuple[FormulaInput, ...]:
        """What a formula over the fields of a table needs of a record of that table, but for the time.

        Raises ModelNotFound, InvalidFilter where the formula is none.
        """
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
