"""What becomes of a cell when its field gets another type.

Texts are read as a typecast write reads them, and everything becomes the text that people see; where two types mean the
same thing (numbers, dates, choices) the value itself goes over. What the new type cannot hold is lost.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from pyat.foundation.db import Connection, Row
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.columns import column
from pyat.recordstore.fieldtypes import BadValue, NewChoices, TextFormat, find
from pyat.recordstore.refilling import Source, array_of
from pyat.recordstore.structure import Field, Options

TEXTS = frozenset({"singleLineText", "multilineText", "richText", "email", "url", "phoneNumber"})
NUMBERS = frozenset({"number", "currency", "percent", "duration", "rating"})
SELECTS = frozenset({"singleSelect", "multipleSelects"})
TARGETS = TEXTS | NUMBERS | SELECTS | {"checkbox", "date", "dateTime", "barcode"}
SOURCES = TARGETS | {"singleCollaborator", "multipleCollaborators", "autoNumber"}

PLAIN = TextFormat("UTC", "M/D/YYYY")
"""How dates are written that go by the viewer's language or zone: there is no viewer here."""


def can_convert(source: str, target: str) -> bool:
    """Whether cells of the type `source` can become cells of the type `target`."""
    return source in SOURCES and target in TARGETS


def source_of(field: Field, target: Field, new_choices: NewChoices) -> Source:
    """Where the values of `target` come from while the field still is `field`; needed choices join `new_choices`."""
    return Source(select_list(field), lambda row: converted(row, field, target, new_choices))


def select_list(field: Field) -> str:
    """SQL of a cell's `value` (JSON text) and `text`, both NULL when it is empty."""
    kind, own = find(field.type), column(field)
    return f"{kind.json_sql(field, own)} AS value, {kind.text_sql(field, own, PLAIN)} AS text"


def copied(field: Field) -> Source:
    """The stored values of a field as they are."""
    return Source(f"r.{quote(field.field_id)} AS value", lambda row: row["value"])


def is_empty(row: Row) -> bool:
    """Whether the cell holds nothing; of a rich text, whether it was cleared."""
    return row["text"] is None or row["text"] == "\n"


def converted(row: Row, field: Field, target: Field, new_choices: NewChoices) -> Any:
    """The stored value of the new type; None where there is none. Raises LimitReached for too many choices."""
    if is_empty(row):
        return None
    try:
        return _converter(target.type)(orjson.loads(row["value"]), row["text"], field, target, new_choices)
    except BadValue:
        return None


Converter = Callable[[Any, str, Field, Field, NewChoices], Any]


def _to_text(value: Any, text: str, field: Field, target: Field, _: NewChoices) -> Any:
    if field.type == "richText" and text.endswith("\n"):
        text = text[:-1]
    return find(target.type).parse(text, target)


def _to_number(value: Any, text: str, field: Field, target: Field, new_choices: NewChoices) -> Any:
    kind = find(target.type)
    if field.type in NUMBERS or field.type == "autoNumber":
        return kind.typecast(value, target, new_choices)
    if field.type == "checkbox":
        return kind.typecast(1, target, new_choices)
    return kind.typecast(text, target, new_choices)


def _to_checkbox(value: Any, text: str, field: Field, target: Field, new_choices: NewChoices) -> Any:
    is_value = field.type in NUMBERS or field.type in ("checkbox", "autoNumber")
    return find(target.type).typecast(value if is_value else text, target, new_choices)


def _to_date(value: Any, text: str, field: Field, target: Field, new_choices: NewChoices) -> Any:
    kind = find(target.type)
    if field.type == "dateTime" and target.type == "date":
        zone = field.options["timeZone"]
        moment = datetime.fromisoformat(value)
        try:
            return moment.astimezone(UTC if zone in ("utc", "client") else ZoneInfo(zone)).date()
        except OverflowError:
            return moment.date()
    if field.type in ("date", "dateTime"):
        return kind.parse(value, target)
    return kind.typecast(text, target, new_choices)


def _to_choice(value: Any, text: str, field: Field, target: Field, new_choices: NewChoices) -> Any:
    kind = find(target.type)
    if field.type == "multipleSelects":
        # A single choice is the first of several.
        return kind.typecast(value if target.type == "multipleSelects" else value[0], target, new_choices)
    if field.type in TEXTS or field.type == "multipleCollaborators":
        return kind.typecast(text, target, new_choices)
    return kind.typecast([text] if target.type == "multipleSelects" else text, target, new_choices)


def _to_barcode(value: Any, text: str, field: Field, target: Field, _: NewChoices) -> Any:
    return find(target.type).parse(value if field.type == "barcode" else {"text": text}, target)


def _converter(type_name: str) -> Converter:
    if type_name in TEXTS:
        return _to_text
    if type_name in NUMBERS:
        return _to_number
    if type_name in SELECTS:
        return _to_choice
    return {"checkbox": _to_checkbox, "date": _to_date, "dateTime": _to_date, "barcode": _to_barcode}[type_name]


async def json_of(connection: Connection, field: Field, values: Sequence[Any]) -> list[str | None]:
    """The JSON text of stored values of a field, as a record would show them."""
    kind = find(field.type)
    array_type, items = array_of(kind.pg_type, values)
    own = quote(field.field_id)
    statement = Statement(
        "json_of_values",
        f"SELECT {kind.json_sql(field, column(field))} AS value"
        f" FROM (SELECT u.value::{kind.pg_type} AS {own}, u.place"
        f" FROM unnest($1::{array_type}) WITH ORDINALITY AS u(value, place)) r ORDER BY r.place",
    )
    return [row["value"] for row in await connection.rows(statement, items)]


def reads_alike(then: Field, now: Field) -> bool:
    """Whether cells that were read by an older definition of their field would be read the same by the present one."""
    if then.type != now.type:
        return False
    if then.type in SELECTS:
        return _names(then.options).items() <= _names(now.options).items()
    return bool(then.options == now.options)


def _names(options: Options) -> dict[str, str]:
    return {choice["id"]: choice["name"] for choice in options["choices"]}
