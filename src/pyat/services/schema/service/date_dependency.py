"""The `dateDependencySettings` of a table: checked and kept, so that clients which set them read them back.

Dates do not move by themselves here. Source: wire reference, section 7.5.
"""

import re
from collections.abc import Callable
from datetime import date
from typing import Any

from pyat.foundation.errors import InvalidRequest
from pyat.recordstore.structure import Field, Options, Table

HOLIDAYS_MAX = 1_000
RESCHEDULING_MODES = ("flexible", "fixed", "none")

_REQUIRED = (
    "isEnabled",
    "startDateFieldId",
    "endDateFieldId",
    "durationFieldId",
    "reschedulingMode",
    "shouldSkipWeekendsAndHolidays",
)
_OPTIONAL = ("predecessorFieldId", "holidays", "isForwardOnly")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def settings_of(value: Any, table: Table) -> Options:
    """The settings as stored and shown, from a client's JSON. Raises InvalidRequest."""
    if not isinstance(value, dict):
        raise _refused("must be an object")
    for key in value:
        if key not in _REQUIRED and key not in _OPTIONAL:
            raise _refused(f"has an unknown key {_shown(key)}")
    for key in _REQUIRED:
        if key not in value:
            raise _refused(f"lacks {key}")
    found = {
        "isEnabled": _flag(value, "isEnabled"),
        "startDateFieldId": _field_id(value, "startDateFieldId", table, "a date field", _is_date),
        "endDateFieldId": _field_id(value, "endDateFieldId", table, "a date field", _is_date),
        "durationFieldId": _field_id(value, "durationFieldId", table, "a number field", _is_number),
        "predecessorFieldId": None,
        "reschedulingMode": value["reschedulingMode"],
        "shouldSkipWeekendsAndHolidays": _flag(value, "shouldSkipWeekendsAndHolidays"),
        "holidays": _holidays(value.get("holidays", [])),
    }
    if value["reschedulingMode"] not in RESCHEDULING_MODES:
        raise _refused(f"needs a reschedulingMode of {', '.join(RESCHEDULING_MODES)}")
    if value.get("predecessorFieldId") is not None:
        found["predecessorFieldId"] = _field_id(
            value, "predecessorFieldId", table, "a link to the same table", lambda field: _is_own_link(field, table)
        )
    if "isForwardOnly" in value:
        found["isForwardOnly"] = _flag(value, "isForwardOnly")
    return found


def _flag(value: dict[str, Any], key: str) -> bool:
    flag = value[key]
    if not isinstance(flag, bool):
        raise _refused(f"needs true or false in {key}")
    return flag


def _field_id(value: dict[str, Any], key: str, table: Table, kind: str, fits: Callable[[Field], bool]) -> str:
    field_id = value[key]
    field = table.fields_by_id.get(field_id) if isinstance(field_id, str) else None
    if field is None or not fits(field):
        raise _refused(f"needs the id of {kind} of this table in {key}")
    return field.field_id


def _is_date(field: Field) -> bool:
    return field.type == "date"


def _is_number(field: Field) -> bool:
    return field.type == "number"


def _is_own_link(field: Field, table: Table) -> bool:
    return field.type == "multipleRecordLinks" and field.options.get("linkedTableId") == table.table_id


def _holidays(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > HOLIDAYS_MAX or not all(_is_day(item) for item in value):
        raise _refused(f"needs a list of up to {HOLIDAYS_MAX:,} dates (YYYY-MM-DD) in holidays")
    return value


def _is_day(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _shown(key: str) -> str:
    return f'"{key[:100]}"'


def _refused(what: str) -> InvalidRequest:
    return InvalidRequest(reason=f"dateDependencySettings {what}.")
