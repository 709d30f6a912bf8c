"""Dates and moments: ISO forms without typecast, what people type with it. All zones are IANA's, by zoneinfo.

A local time that a change of the clock skips is moved on by what was skipped (02:30 becomes 03:30); one that comes twice
is the first of the two.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat, date_text, moment_text
from pyat.recordstore.fieldtypes.notation import read_moment
from pyat.recordstore.fieldtypes.options import members, one_of
from pyat.recordstore.fieldtypes.zones import zone_names
from pyat.recordstore.structure import Field, Options

DATE_FORMATS = {"local": "l", "friendly": "LL", "us": "M/D/YYYY", "european": "D/M/YYYY", "iso": "YYYY-MM-DD"}
TIME_FORMATS = {"12hour": "h:mma", "24hour": "HH:mm"}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Options


def _format(value: Any, where: str, formats: Mapping[str, str]) -> Options:
    found = members(value, where, ("name",), ("format",))
    name = one_of(found["name"], f"{where}.name", formats)
    if found.get("format", formats[name]) != formats[name]:
        raise BadOptions(f"{where}.format", f"is not {formats[name]}, the format called {name}")
    return {"name": name, "format": formats[name]}


def date_options(options: Any, where: str = "options") -> Options:
    """Options of a date in read form, from those a client sent at the path `where`. Raises BadOptions."""
    found = members(options, where, ("dateFormat",))
    return {"dateFormat": _format(found["dateFormat"], f"{where}.dateFormat", DATE_FORMATS)}


def moment_options(options: Any, where: str = "options") -> Options:
    """Options of a date with a time in read form, from those a client sent at the path `where`. Raises BadOptions."""
    found = members(options, where, ("dateFormat", "timeFormat", "timeZone"))
    zone = found["timeZone"]
    # Airtable refuses UTC in capitals; see the wire reference, section 6.2.
    if not isinstance(zone, str) or (zone not in ("utc", "client") and (zone == "UTC" or zone not in zone_names())):
        raise BadOptions(f"{where}.timeZone", "is not utc, client or the name of a time zone")
    return {
        "dateFormat": _format(found["dateFormat"], f"{where}.dateFormat", DATE_FORMATS),
        "timeFormat": _format(found["timeFormat"], f"{where}.timeFormat", TIME_FORMATS),
        "timeZone": zone,
    }


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name in ("utc", "client") else ZoneInfo(name)


# Values


def _read_iso(text: str) -> datetime:
    """A calendar date, or one with a time of day and maybe an offset. Raises BadValue."""
    # fromisoformat also takes weeks and dates without dashes, which Airtable does not.
    if text[4:5] == "-" and text[7:8] == "-" and text[10:11] in "Tt ":
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise BadValue


def _stored(moment: datetime, zone_name: str) -> datetime:
    """The moment in UTC, cut to milliseconds; a naive one is local time in the zone. Raises OverflowError."""
    if moment.tzinfo is not UTC:
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=_zone(zone_name))
        moment = moment.astimezone(UTC)
    rest_us = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - rest_us) if rest_us else moment


def _is_day_first(field: Field) -> bool:
    return bool(field.options["dateFormat"]["name"] == "european")


class Date(FieldType):
    """A calendar date of the years 1 to 9999, without a time or a zone."""

    name: ClassVar[str] = "date"
    pg_type: ClassVar[str] = "date"
    can_be_primary: ClassVar[bool] = True
    can_merge_on: ClassVar[bool] = True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"dateFormat": {"name": "iso", "format"?: "YYYY-MM-DD"}}`."""
        return date_options(options)

    def parse(self, value: Any, field: Field) -> StoredValue:
        """`YYYY-MM-DD`; of an ISO timestamp the date as it is written, whatever its offset."""
        if type(value) is str and value:
            return _read_iso(value).date()
        if is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Dates as people write them, by the field's format; a text that is none clears the cell."""
        if type(value) is not str:
            return self.parse(value, field)
        try:
            return self.parse(value.strip(), field)
        except BadValue:
            moment = read_moment(value, is_day_first=_is_day_first(field))
            return None if moment is None else moment.date()

    def json_sql(self, field: Field, column: str) -> str:
        """`"YYYY-MM-DD"`."""
        return date_sql(column)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """By the field's format."""
        return date_text(column, field.options, text)


class DateTime(FieldType):
    """A moment of the years 1 to 9999 in UTC, to the millisecond."""

    name: ClassVar[str] = "dateTime"
    pg_type: ClassVar[str] = "timestamptz"
    can_be_primary: ClassVar[bool] = True
    can_merge_on: ClassVar[bool] = True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"dateFormat": {…}, "timeFormat": {…}, "timeZone": "utc"}`."""
        return moment_options(options)

    def parse(self, value: Any, field: Field) -> StoredValue:
        """An ISO timestamp, or milliseconds since 1970 as a number; without an offset it is in the field's zone."""
        kind = type(value)
        try:
            if kind is str and value:
                return _stored(_read_iso(value), field.options["timeZone"])
            if kind is int or kind is float:
                return _EPOCH + timedelta(milliseconds=math.floor(value))
        except (OverflowError, ValueError):  # the calendar's ends; infinity and NaN
            raise BadValue from None
        if is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Moments as people write them, by the field's format and zone; a text that is none clears the cell."""
        if type(value) is not str:
            return self.parse(value, field)
        try:
            return self.parse(value.strip(), field)
        except BadValue:
            moment = read_moment(value, is_day_first=_is_day_first(field))
        try:
            return None if moment is None else _stored(moment, field.options["timeZone"])
        except OverflowError:
            return None

    def json_sql(self, field: Field, column: str) -> str:
        """`"YYYY-MM-DDTHH:MM:SS.mmmZ"`."""
        return moment_sql(column)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """By the field's formats, in its zone or (`client`) the viewer's."""
        return moment_text(column, field.options, text)


# SQL


def date_sql(date_column: str) -> str:
    """SQL of a date's JSON; to_json writes ISO whatever the session's DateStyle says."""
    return f"to_json({date_column})::text"


def moment_sql(column: str) -> str:
    """SQL of the JSON of a moment that has whole milliseconds: `"2024-01-01T00:00:00.000Z"`. The session is in UTC."""
    # to_json writes as many decimals as there are; with a microsecond added there are always six, and three are kept.
    # A cast to varchar cuts a text in two thirds of the time that left() and substr() take.
    return f"""to_json({column} + interval '1 microsecond')::text::varchar(24) || 'Z"'"""


def whole_second_sql(column: str) -> str:
    """SQL of the JSON of a moment that has whole seconds, in the same form."""
    return f"""to_json({column})::text::varchar(20) || '.000Z"'"""
