"""What a kind of view keeps beside filter, order and fields: checked settings."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pyat.foundation.errors import InvalidRequest
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Options, Table
from pyat.services.schema.service.planning import check_text

TITLE_LENGTH_MAX = 255
TEXT_LENGTH_MAX = 20_000
COVER_FITS = ("fit", "crop")

STACK_TYPES = frozenset({"singleSelect", "singleCollaborator"})
DATE_TYPES = frozenset({"date", "dateTime", "createdTime", "lastModifiedTime"})
COVER_TYPES = frozenset({"multipleAttachments"})

_Reader = Callable[[Any, str, Table], Any]


def checked(kind: str, settings: Any, table: Table) -> Options:
    """Settings of a view in stored form, from a client's JSON; None is none. Raises InvalidRequest.

    grid and list have none; kanban: `stackFieldId`; calendar: `dateFieldId`, `endDateFieldId`?; timeline and gantt:
    `startDateFieldId`, `endDateFieldId`; gallery: `coverFieldId`?, `coverFit`?; form: `title`?, `description`?,
    `requiredFieldIds`?.
    """
    required, optional = _KINDS[kind]
    if settings is None:
        settings = {}
    if not isinstance(settings, Mapping):
        raise InvalidRequest(reason="settings must be an object.")
    for key in settings:
        if key not in required and key not in optional:
            raise InvalidRequest(reason=f'"{str(key)[:100]}" is not a setting of a {kind} view.')
    for key in required:
        if settings.get(key) is None:
            raise InvalidRequest(reason=f"A {kind} view needs settings.{key}.")
    readers = {**required, **optional}
    return {key: readers[key](value, key, table) for key, value in settings.items() if value is not None}


def known_part(settings: Options, table: Table) -> Options:
    """The settings without those that name fields which the table does not have."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key.endswith("FieldIds"):
            found[key] = [field_id for field_id in value if field_id in table.fields_by_id]
        elif not key.endswith("FieldId") or value in table.fields_by_id:
            found[key] = value
    return found


def _field(types: Collection[str], what: str) -> _Reader:
    def read(value: Any, key: str, table: Table) -> str:
        field = table.fields_by_id.get(value) if isinstance(value, str) else None
        if field is None or field.type not in types:
            raise InvalidRequest(reason=f"settings.{key} must be the id of a {what} field of the table.")
        return field.field_id

    return read


def _text(length_max: int) -> _Reader:
    def read(value: Any, key: str, table: Table) -> str:
        if not isinstance(value, str) or len(value) > length_max:
            raise InvalidRequest(reason=f"settings.{key} must be a text of at most {length_max:,} characters.")
        check_text(f"settings.{key}", value)
        return value

    return read


def _fit(value: Any, key: str, table: Table) -> str:
    if value not in COVER_FITS:
        raise InvalidRequest(reason=f"settings.{key} must be one of {', '.join(COVER_FITS)}.")
    return str(value)


def _writable_fields(value: Any, key: str, table: Table) -> list[str]:
    if not isinstance(value, list) or len(value) > len(table.fields):
        raise InvalidRequest(reason=f"settings.{key} must be a list of ids of fields of the table.")
    for item in value:
        field = table.fields_by_id.get(item) if isinstance(item, str) else None
        if field is None or find(field.type).is_computed:
            raise InvalidRequest(reason=f"settings.{key} must name fields of the table that people can fill in.")
    return list(dict.fromkeys(value))


_DATE = _field(DATE_TYPES, "date")
_PERIOD = {"startDateFieldId": _DATE, "endDateFieldId": _DATE}
_KINDS: Mapping[str, tuple[Mapping[str, _Reader], Mapping[str, _Reader]]] = {
    "grid": ({}, {}),
    "list": ({}, {}),
    "kanban": ({"stackFieldId": _field(STACK_TYPES, "single select or collaborator")}, {}),
    "calendar": ({"dateFieldId": _DATE}, {"endDateFieldId": _DATE}),
    "timeline": (_PERIOD, {}),
    "gantt": (_PERIOD, {}),
    "gallery": ({}, {"coverFieldId": _field(COVER_TYPES, "attachment"), "coverFit": _fit}),
    "form": (
        {},
        {
            "title": _text(TITLE_LENGTH_MAX),
            "description": _text(TEXT_LENGTH_MAX),
            "requiredFieldIds": _writable_fields,
        },
    ),
}
"""Readers of the settings that each kind needs, and of those it may have."""

KINDS = tuple(_KINDS)


def keys_of(kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The settings that a kind needs, and those it may have."""
    required, optional = _KINDS[kind]
    return tuple(required), tuple(optional)
