"""Types that the platform fills: autonumber, created time, last modified time."""

from collections.abc import Callable
from typing import Any, ClassVar

from pyat.foundation.ids import is_id
from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, FieldType, StoredValue
from pyat.recordstore.fieldtypes.dates import date_options, date_sql, moment_options, moment_sql, whole_second_sql
from pyat.recordstore.fieldtypes.display import TextFormat, date_text, moment_text
from pyat.recordstore.fieldtypes.options import array, members, one_of
from pyat.recordstore.structure import Field, Options

WATCHED_FIELDS_MAX = 500
"""As many as a table can have."""

_DEFAULT_RESULT: Options = {
    "type": "dateTime",
    "options": {
        "dateFormat": {"name": "local", "format": "l"},
        "timeFormat": {"name": "12hour", "format": "h:mma"},
        "timeZone": "client",
    },
}
"""What a field made without options shows, as such fields of real bases mostly do: local date, 12 hours, viewer's zone."""


class SystemType(FieldType):
    """Written by the record store alone."""

    is_computed: ClassVar[bool] = True

    def parse(self, value: Any, field: Field) -> StoredValue:
        """Takes nothing: whoever writes says that the field is computed before it comes to this."""
        raise BadValue


class AutoNumber(SystemType):
    """1, 2, 3 and so on in order of creation; a request that fails consumes none."""

    name: ClassVar[str] = "autoNumber"
    pg_type: ClassVar[str] = "int8"
    can_be_primary: ClassVar[bool] = True

    def json_sql(self, field: Field, column: str) -> str:
        """A JSON number."""
        return f"{column}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The number."""
        return f"{column}::text"


class SystemTime(SystemType):
    """A moment, shown with or without its time of day."""

    pg_type: ClassVar[str] = "timestamptz"
    _system_column: ClassVar[str]
    """Of every record; serves the fields that have no column of their own."""

    def source(self, field: Field, column: str) -> str:
        """The column that holds the field's moments."""
        if self.has_column_for(field):
            return column
        relation, point, _ = column.rpartition(".")
        return f"{relation}{point}{self._system_column}"

    def json_sql(self, field: Field, column: str) -> str:
        """The moment, or its date in UTC where the result type is date."""
        source = self.source(field, column)
        return date_sql(f"{source}::date") if field.options["result"]["type"] == "date" else self.moment_sql(source)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """By the formats of the result type."""
        source, result = self.source(field, column), field.options["result"]
        if result["type"] == "date":
            return date_text(f"{source}::date", result["options"], text)
        return moment_text(source, result["options"], text)

    def moment_sql(self, source: str) -> str:
        """SQL of the moment's JSON."""
        return moment_sql(source)

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The moment, also where only its date is shown."""
        return (self.source(field, column),)


class CreatedTime(SystemTime):
    """When the record was made, in whole seconds."""

    name: ClassVar[str] = "createdTime"
    _system_column: ClassVar[str] = "_created"

    def has_column_for(self, field: Field) -> bool:
        """Never: every record knows when it was made."""
        return False

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"result"?: {"type": "date" or "dateTime", "options": {…}}}`."""
        return {"result": _result(_members(options, "result").get("result"))}

    def moment_sql(self, source: str) -> str:
        """Cheaper than milliseconds, of which it has none."""
        return whole_second_sql(source)


class LastModifiedTime(SystemTime):
    """When an editable cell of the record, or one of chosen fields, last changed; in milliseconds."""

    name: ClassVar[str] = "lastModifiedTime"
    _system_column: ClassVar[str] = "_modified"

    def has_column_for(self, field: Field) -> bool:
        """Only where fields are chosen; the record itself notes its last change."""
        return bool(field.options.get("referencedFieldIds"))

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"referencedFieldIds"?: ["fld…"], "result"?: …}`; an empty list watches every editable field."""
        found = _members(options, "referencedFieldIds", "result")
        where = "options.referencedFieldIds"
        field_ids = array(found.get("referencedFieldIds") or [], where, length_max=WATCHED_FIELDS_MAX)
        for number, field_id in enumerate(field_ids):
            if not is_id("fld", field_id):
                raise BadOptions(f"{where}[{number}]", "is not the id of a field")
        return {
            "isValid": True,
            "referencedFieldIds": list(dict.fromkeys(field_ids)),
            "result": _result(found.get("result")),
        }


def _members(options: Any, *optional: str) -> dict[str, Any]:
    return members({} if options is None else options, "options", (), optional)


def _result(value: Any) -> Options:
    if value is None:
        return _DEFAULT_RESULT
    where = "options.result"
    found = members(value, where, ("type", "options"))
    kind = one_of(found["type"], f"{where}.type", ("date", "dateTime"))
    read = date_options if kind == "date" else moment_options
    return {"type": kind, "options": read(found["options"], f"{where}.options")}
