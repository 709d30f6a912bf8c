"""Errors about structure, values and records, with Airtable's types and texts (wire reference, section 4.3)."""

from pyat.foundation.errors import AppError

RECORDS_PER_WRITE_MAX = 10


class MissingFields(AppError):
    """A create or update body has neither `fields` nor `records`."""

    code, status, wire_type = "MISSING_FIELDS", 422, "INVALID_REQUEST_MISSING_FIELDS"
    template = 'Could not find field "{key}" in the request body'

    def __init__(self, *, key: str = "fields") -> None:
        super().__init__(key=key)


class InvalidRecordsToCreate(AppError):
    """`records` of a create is not a list of 1 to `limit` objects with `fields`."""

    code, status, wire_type = "INVALID_RECORDS_TO_CREATE", 422, "INVALID_RECORDS"
    template = 'You must provide an array of up to {limit} record objects, each with a "fields" object for cell values.'

    def __init__(self, *, limit: int = RECORDS_PER_WRITE_MAX) -> None:
        super().__init__(limit=limit)


class InvalidRecordsToUpdate(AppError):
    """`records` of an update is not a list of 1 to `limit` objects with `id` and `fields`."""

    code, status, wire_type = "INVALID_RECORDS_TO_UPDATE", 422, "INVALID_RECORDS"
    template = (
        'You must provide an array of up to {limit} record objects, each with an "id" ID field and a "fields" object for '
        "cell values."
    )

    def __init__(self, *, limit: int = RECORDS_PER_WRITE_MAX) -> None:
        super().__init__(limit=limit)


class InvalidRecordsToDelete(AppError):
    """A delete names no record or more than `limit`."""

    code, status, wire_type = "INVALID_RECORDS_TO_DELETE", 422, "INVALID_RECORDS"
    template = "You must provide an array of up to {limit} record IDs."

    def __init__(self, *, limit: int = RECORDS_PER_WRITE_MAX) -> None:
        super().__init__(limit=limit)


class AmbiguousUpsert(AppError):
    """Several records match an upsert item; nothing was changed."""

    code, status, wire_type = "AMBIGUOUS_UPSERT", 422, "INVALID_RECORDS"
    template = "Cannot upsert record {position}: {count} records match its fieldsToMergeOn values."


class UpsertKeyMissing(AppError):
    """An upsert item without `id` leaves out one of the merge fields."""

    code, status, wire_type = "UPSERT_KEY_MISSING", 422, "INVALID_RECORDS"
    template = 'Cannot upsert record {position}: it has no value for the merge field "{field}".'


class UnknownFieldName(AppError):
    """A field that the table does not have, by that name or id."""

    code, status, template = "UNKNOWN_FIELD_NAME", 422, 'Unknown field name: "{field}"'


class InvalidValue(AppError):
    """A value that the field's type does not take."""

    code, status, wire_type = "INVALID_VALUE", 422, "INVALID_VALUE_FOR_COLUMN"
    template = 'Field "{field}" cannot accept the provided value'


class ComputedValue(AppError):
    """A value for a field that the platform computes."""

    code, status, wire_type = "COMPUTED_VALUE", 422, "INVALID_VALUE_FOR_COLUMN"
    template = 'Field "{field}" cannot accept a value because the field is computed'


class UnknownChoice(AppError):
    """A select value that is not a choice, without typecast."""

    code, status, wire_type = "UNKNOWN_CHOICE", 422, "INVALID_MULTIPLE_CHOICE_OPTIONS"
    template = 'Insufficient permissions to create new select option ""{choice}""'


class RowDoesNotExist(AppError):
    """A record id inside a batch that this table does not have; nothing was changed."""

    code, status, template = "ROW_DOES_NOT_EXIST", 422, "Record ID {record_id} does not exist in this table"


class InvalidRecordId(AppError):
    """A link cell holds something that is not a record id."""

    code, status, template = "INVALID_RECORD_ID", 422, 'Value "{value}" is not a valid record ID.'


class InvalidAttachmentObject(AppError):
    """An attachment cell holds something that is no attachment, or one that the cell cannot take."""

    code, status, wire_type = "INVALID_ATTACHMENT_OBJECT", 422, "INVALID_ATTACHMENT_OBJECT"
    template = "Invalid attachment object for field {field}: {reason}"


class NothingToUndo(AppError):
    """The caller has no operation on records of this base that can be taken back."""

    code, status, wire_type = "NOTHING_TO_UNDO", 422, "INVALID_REQUEST_UNKNOWN"
    template = (
        "There is nothing to undo: no recent operation of yours on this base's records, or one that is too large."
    )


class ChangesGone(AppError):
    """Changes after this number are not kept any more; read the records anew and go on after `last`."""

    code, status, wire_type = "CHANGES_GONE", 410, "INVALID_REQUEST_UNKNOWN"
    template = (
        "Changes after number {after} are not kept any more. Read the records anew, then go on after number {last}."
    )


class InvalidOffset(AppError):
    """An offset that no page of this list has given out."""

    code, status, wire_type = "INVALID_OFFSET", 422, "INVALID_OFFSET_VALUE"
    template = "The value of offset {offset} is invalid"


class IteratorNotAvailable(AppError):
    """A well-formed offset whose iterator has expired; the client starts again at the first page."""

    code, status = "LIST_RECORDS_ITERATOR_NOT_AVAILABLE", 422


class ViewNameNotFound(AppError):
    """No view of the table has that name."""

    code, status, template = "VIEW_NAME_NOT_FOUND", 422, "View {view} not found"


class ViewIdNotFound(AppError):
    """No view of the base has that id."""

    code, status, template = "VIEW_ID_NOT_FOUND", 422, "View {view} not found"


class ViewOfOtherTable(AppError):
    """A view id that belongs to another table of the base."""

    code, status, wire_type = "VIEW_OF_OTHER_TABLE", 422, "FAILED_STATE_CHECK"


class InvalidFilter(AppError):
    """A `filterByFormula` that cannot be used; `reason` is a sentence."""

    code, status, wire_type = "INVALID_FILTER", 422, "INVALID_FILTER_BY_FORMULA"
    template = "The formula for filtering records is invalid: {reason}"


class FilterTooSlow(AppError):
    """A `filterByFormula` that took longer than a list may take."""

    code, status = "FILTER_TOO_SLOW", 422
    template = "The formula for filtering records took longer than {time_s} s. Filter by a view, or by a stored field."


class CellsTooSlow(AppError):
    """An order, filter, group or export by cells that only Python computes, which took too long."""

    code, status = "CELLS_TOO_SLOW", 422
    template = "The values of a formula that the list needs took longer than {time_s} s. Sort, filter or group by another field."


class FieldNameTaken(AppError):
    """A field name that is empty or used in the table already (without regard to case)."""

    code, status, wire_type = "FIELD_NAME_TAKEN", 422, "DUPLICATE_OR_EMPTY_FIELD_NAME"
    template = 'Field names must be unique and non-empty: "{name}"'


class TableNameTaken(AppError):
    """A table name that the base has already (without regard to case)."""

    code, status, wire_type, template = (
        "TABLE_NAME_TAKEN",
        422,
        "DUPLICATE_TABLE_NAME",
        'There is already a table named "{name}"',
    )


class UnsupportedFieldType(AppError):
    """A field type that cannot be made through the API."""

    code, status, wire_type = "UNSUPPORTED_FIELD_TYPE", 422, "UNSUPPORTED_FIELD_TYPE_FOR_CREATE"
    template = "Invalid options for {table}.{field}: Creating {type} fields is not supported at this time"


class InvalidFieldOptions(AppError):
    """Options that the field type does not take; `reason` ends the sentence, for example `F.options is missing`."""

    code, status, wire_type = "INVALID_FIELD_OPTIONS", 422, "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE"
    template = "Invalid options for {table}.{field}: Failed schema validation: {reason}"


class LimitReached(AppError):
    """A bound of a base was reached: tables, fields, choices."""

    code, status, wire_type = "LIMIT_REACHED", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: {what} can hold at most {limit} {things}."
