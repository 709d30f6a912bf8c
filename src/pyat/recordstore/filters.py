"""A view's filter, sorts and groups: checked data in, SQL out.

A filter is a group: `{"conjunction": "and" or "or", "conditions": [condition or group, …]}`, a condition
`{"fieldId": "fld…", "operator": "contains", "value": "abc"}`. What operators there are depends on the type of the field:

- text: `contains`, `doesNotContain`, `is`, `isNot`, without regard to case;
- numbers: `=`, `!=`, `<`, `<=`, `>`, `>=` (also `≠`, `≤`, `≥`);
- dates: `is`, `isNot`, `isBefore`, `isAfter`, `isOnOrBefore`, `isOnOrAfter` with a day, such as `{"mode": "daysAgo",
  "numberOfDays": 3}`, and `isWithin` with a period, such as `{"mode": "pastWeek"}`: whole days in the field's time zone,
  or in the value's `timeZone` where the field has none;
- a select or user: `is`, `isNot`, `isAnyOf`, `isNoneOf`; several of them, links and attachments:
  `hasAnyOf`, `hasAllOf`, `hasNoneOf`, `isExactly`; choices by id or name, all else by id;
- a checkbox: `is` true or false;
- everything but a checkbox: `isEmpty`, `isNotEmpty`, without a value.

A negative operator (`isNot`, `!=`, `isNoneOf`, …) takes blank cells too. A condition on a field that is deleted, or
whose type has changed so that it does not fit any more, is ignored, as Airtable does.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar

from pyat.formula.types import Kind
from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import is_id
from pyat.foundation.sql import literal, quote
from pyat.recordstore import computing
from pyat.recordstore.columns import column
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.fieldtypes.display import LOCALES, TextFormat
from pyat.recordstore.fieldtypes.zones import zone_names
from pyat.recordstore.structure import Field, Link, Options, Table, View

DEPTH_MAX = 5
CONDITIONS_MAX = 200
VALUES_MAX = 200
TEXT_LENGTH_MAX = 10_000
DAYS_MAX = 36_500
SORTS_MAX = 20
GROUPS_MAX = 10

CONJUNCTIONS = ("and", "or")
DIRECTIONS = ("asc", "desc")

_ALIASES = {"≠": "!=", "≤": "<=", "≥": ">="}
_EMPTY = ("isEmpty", "isNotEmpty")
_TEXT_FORMAT = TextFormat("UTC", LOCALES["en-us"])


@dataclass(slots=True)
class _Arguments:
    """The values of a condition, each a parameter of the statement."""

    first: int
    values: list[Any] = field(default_factory=list)

    def add(self, value: Any, pg_type: str) -> str:
        """SQL of the value."""
        self.values.append(value)
        return f"${self.first + len(self.values) - 1}::{pg_type}"


# Kinds of operators


class _Kind(ABC):
    """What a condition can say of a family of types. `is_new` says that a client sends the value now."""

    operators: ClassVar[tuple[str, ...]]

    @abstractmethod
    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        """The value in stored form. Raises InvalidRequest."""

    @abstractmethod
    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        """The condition, for a value in stored form."""

    def empty_sql(self, field: Field) -> str:
        """The condition that the cell is blank."""
        return f"({find(field.type).sort_sql(field, column(field))[0]} IS NULL)"


class _Text(_Kind):
    operators: ClassVar[tuple[str, ...]] = ("contains", "doesNotContain", "is", "isNot")

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> str:
        return _text(value, field)

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        source, wanted = f"lower({self.source(field)})", f"lower({arguments.add(value, 'text')})"
        if operator in ("is", "isNot"):
            # As the first key of a sort by text, so that the same index serves both.
            return _positive(operator, "is", f'{source} COLLATE "C" = {wanted} COLLATE "C"')
        return _positive(operator, "contains", f"strpos({source}, {wanted}) > 0")

    def empty_sql(self, field: Field) -> str:
        return f"({self.source(field)} IS NULL)"

    def source(self, field: Field) -> str:
        if field.type == "richText":
            # The line break that ends every such text is none of the writer's.
            return f"nullif(left({column(field)}, -1), '')"
        return find(field.type).text_sql(field, column(field), _TEXT_FORMAT)


class _Number(_Kind):
    operators: ClassVar[tuple[str, ...]] = ("=", "!=", "<", "<=", ">", ">=")

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> float:
        if type(value) in (int, float):
            try:
                number = float(value)
            except OverflowError:
                number = float("inf")
            if number - number == 0.0:
                return number
        raise _refused(field, "the value must be a number.")

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        (source,) = find(field.type).sort_sql(field, column(field))
        wanted = arguments.add(float(value), "float8")
        if operator == "!=":
            return f"({source} IS DISTINCT FROM {wanted})"
        return f"({source} {operator} {wanted})"


class _Checkbox(_Kind):
    operators: ClassVar[tuple[str, ...]] = ("is",)

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> bool:
        if type(value) is not bool:
            raise _refused(field, "the value must be true or false.")
        return value

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        return f"({column(field)} IS {'' if value else 'NOT '}TRUE)"


class _One(_Kind):
    """A cell that holds one id or none."""

    operators: ClassVar[tuple[str, ...]] = ("is", "isNot", "isAnyOf", "isNoneOf")

    def __init__(self, item: Callable[[Any, Field, bool], str], source: Callable[[Field], str]) -> None:
        self._item = item
        self._source = source

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        if operator in ("is", "isNot"):
            return self._item(value, field, is_new)
        return _items(value, field, lambda item: self._item(item, field, is_new))

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        source = self._source(field)
        if operator in ("is", "isNot"):
            return _positive(operator, "is", f"{source} = {arguments.add(value, 'text')}")
        return _positive(operator, "isAnyOf", f"{source} = ANY ({arguments.add(value, 'text[]')})")


class _SelectOne(_One):
    """A choice; its name can be searched too."""

    operators: ClassVar[tuple[str, ...]] = (*_One.operators, "contains", "doesNotContain")

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        if operator in ("contains", "doesNotContain"):
            return _text(value, field)
        return super().value(operator, value, field, is_new=is_new)

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        if operator in ("contains", "doesNotContain"):
            value = _choices_with(value, field)
            operator = "isAnyOf" if operator == "contains" else "isNoneOf"
        return super().sql(operator, value, field, arguments)


class _Many(_Kind):
    """A cell that holds a list of ids."""

    operators: ClassVar[tuple[str, ...]] = ("hasAnyOf", "hasAllOf", "hasNoneOf", "isExactly")

    def __init__(self, item: Callable[[Any, Field, bool], str]) -> None:
        self._item = item

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> list[str]:
        return _items(value, field, lambda item: self._item(item, field, is_new))

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        source, wanted = column(field), arguments.add(value, "text[]")
        if operator == "hasAllOf":
            return f"({source} @> {wanted})"
        if operator == "isExactly":
            return f"({source} @> {wanted} AND {source} <@ {wanted})"
        return _positive(operator, "hasAnyOf", f"{source} && {wanted}")


class _SelectMany(_Many):
    """Choices; their names can be searched too. Choices that are gone count as not there."""

    operators: ClassVar[tuple[str, ...]] = (*_Many.operators, "contains", "doesNotContain")

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        if operator in ("contains", "doesNotContain"):
            return _text(value, field)
        return super().value(operator, value, field, is_new=is_new)

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        if operator in ("contains", "doesNotContain"):
            value = _choices_with(value, field)
            operator = "hasAnyOf" if operator == "contains" else "hasNoneOf"
        elif operator == "isExactly":
            others = [choice["id"] for choice in field.options["choices"] if choice["id"] not in value]
            wanted = arguments.add(value, "text[]")
            return f"({column(field)} @> {wanted} AND NOT {column(field)} && {arguments.add(others, 'text[]')})"
        return super().sql(operator, value, field, arguments)


class _Links(_Kind):
    """Records of another table; what the cell shows of them can be searched too."""

    operators: ClassVar[tuple[str, ...]] = (
        "hasAnyOf",
        "hasAllOf",
        "hasNoneOf",
        "isExactly",
        "contains",
        "doesNotContain",
    )

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        if operator in ("contains", "doesNotContain"):
            return _text(value, field)
        return _items(value, field, lambda item: _known_id(item, field, "rec", "a record"))

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        link = _link(field)
        if operator in ("contains", "doesNotContain"):
            return _shown_contains(operator, value, field, arguments)
        linked = self._rows(field, link)
        wanted = (
            f"{linked} AND l.{link.other} IN (SELECT o._n FROM {quote(field.base_id, link.linked_table_id)} o"
            f" WHERE o._id = ANY ({arguments.add(value, 'text[]')}))"
        )
        if operator == "hasAnyOf":
            return f"EXISTS (SELECT {wanted})"
        if operator == "hasNoneOf":
            return f"NOT EXISTS (SELECT {wanted})"
        has_all = f"(SELECT count(*) {wanted}) = {len(value)}"
        if operator == "hasAllOf":
            return f"({has_all})"
        return f"({has_all} AND (SELECT count(*) {linked}) = {len(value)})"

    def empty_sql(self, field: Field) -> str:
        return f"NOT EXISTS (SELECT {self._rows(field, _link(field))})"

    def _rows(self, field: Field, link: Link) -> str:
        return f"FROM {quote(field.base_id, link.junction)} l WHERE l.{link.own} = r._n"


class _Attachments(_Many):
    """Files; their names can be searched too."""

    operators: ClassVar[tuple[str, ...]] = (*_Many.operators, "contains", "doesNotContain")

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Any:
        if operator in ("contains", "doesNotContain"):
            return _text(value, field)
        return super().value(operator, value, field, is_new=is_new)

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        if operator in ("contains", "doesNotContain"):
            return _shown_contains(operator, value, field, arguments)
        return super().sql(operator, value, field, arguments)

    def empty_sql(self, field: Field) -> str:
        return f"({column(field)} IS NULL)"


# Dates

DAYS = {
    "today": "{today}",
    "tomorrow": "{today} + 1",
    "yesterday": "{today} - 1",
    "oneWeekAgo": "{today} - 7",
    "oneWeekFromNow": "{today} + 7",
    "oneMonthAgo": "({today} - interval '1 month')::date",
    "oneMonthFromNow": "({today} + interval '1 month')::date",
    "daysAgo": "{today} - {number}",
    "daysFromNow": "{today} + {number}",
    "exactDate": "{exact}",
}
"""Modes of a day, and the day as SQL."""

PERIODS = {
    "pastWeek": ("{today} - 7", "{today}"),
    "pastMonth": ("({today} - interval '1 month')::date", "{today}"),
    "pastYear": ("({today} - interval '1 year')::date", "{today}"),
    "nextWeek": ("{today}", "{today} + 7"),
    "nextMonth": ("{today}", "({today} + interval '1 month')::date"),
    "nextYear": ("{today}", "({today} + interval '1 year')::date"),
    "thisCalendarWeek": ("{today} - extract(dow FROM {today})::int4", "{today} - extract(dow FROM {today})::int4 + 6"),
    "thisCalendarMonth": (
        "date_trunc('month', {today}::timestamp)::date",
        "(date_trunc('month', {today}::timestamp) + interval '1 month')::date - 1",
    ),
    "thisCalendarYear": (
        "date_trunc('year', {today}::timestamp)::date",
        "(date_trunc('year', {today}::timestamp) + interval '1 year')::date - 1",
    ),
    "pastNumberOfDays": ("{today} - {number}", "{today}"),
    "nextNumberOfDays": ("{today}", "{today} + {number}"),
}
"""Modes of a period, and its first and its last day as SQL."""

_NUMBERED = frozenset({"daysAgo", "daysFromNow", "pastNumberOfDays", "nextNumberOfDays"})


class _Date(_Kind):
    operators: ClassVar[tuple[str, ...]] = (
        "is",
        "isNot",
        "isBefore",
        "isAfter",
        "isOnOrBefore",
        "isOnOrAfter",
        "isWithin",
    )

    def value(self, operator: str, value: Any, field: Field, *, is_new: bool) -> Options:
        modes: Collection[str] = PERIODS if operator == "isWithin" else DAYS
        if not isinstance(value, Mapping) or not isinstance(value.get("mode"), str) or value["mode"] not in modes:
            raise _refused(field, f'the value of "{operator}" must be an object whose mode is {_listed(modes)}.')
        found: dict[str, Any] = {"mode": value["mode"]}
        wanted = {"mode", "timeZone"}
        if value["mode"] in _NUMBERED:
            number = value.get("numberOfDays")
            if type(number) is not int or not 0 <= number <= DAYS_MAX:
                raise _refused(field, f"numberOfDays must be a whole number from 0 to {DAYS_MAX:,}.")
            found["numberOfDays"] = number
            wanted.add("numberOfDays")
        elif value["mode"] == "exactDate":
            found["exactDate"] = _day(value.get("exactDate"), field).isoformat()
            wanted.add("exactDate")
        if value.get("timeZone") is not None:
            zone = value["timeZone"]
            if not isinstance(zone, str) or (zone != "utc" and zone not in zone_names()):
                raise _refused(field, "timeZone must be the name of a time zone.")
            found["timeZone"] = zone
        for key in value:
            if key not in wanted:
                raise _refused(field, f'"{str(key)[:100]}" does not go with the mode {value["mode"]}.')
        return found

    def sql(self, operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
        own = _own_zone(field)
        zone = literal(_pg_zone(own if own is not None else value.get("timeZone", "utc")))
        names = {"today": f"(now() AT TIME ZONE {zone})::date", "number": value.get("numberOfDays", 0), "exact": ""}
        if value["mode"] == "exactDate":
            names["exact"] = arguments.add(date.fromisoformat(value["exactDate"]), "date")
        forms = PERIODS[value["mode"]] if operator == "isWithin" else (DAYS[value["mode"]],) * 2
        first, last = (f"({form.format(**names)})" for form in forms)
        (source,) = find(field.type).sort_sql(field, column(field))
        start, end = (f"({first})", f"({last} + 1)")
        if field.type != "date":
            # A column that stands alone on its side of a comparison can be looked up in an index.
            start, end = (f"({day}::timestamp AT TIME ZONE {zone})" for day in (start, end))
        if operator == "isBefore":
            return f"({source} < {start})"
        if operator == "isOnOrBefore":
            return f"({source} < {end})"
        if operator == "isAfter":
            return f"({source} >= {end})"
        if operator == "isOnOrAfter":
            return f"({source} >= {start})"
        return _positive(
            operator, "isNot", f"{source} >= {start} AND {source} < {end}", is_negative=operator == "isNot"
        )


def _own_zone(field: Field) -> str | None:
    """The time zone that a field's days are in; None where the field leaves that open."""
    if field.type == "date":
        return None
    if field.type == "dateTime":
        zone: str = field.options["timeZone"]
        return None if zone == "client" else zone
    result = field.options["result"]
    if result["type"] == "date":
        return "utc"  # such a field shows the date in UTC
    zone = result["options"]["timeZone"]
    return None if zone == "client" else str(zone)


def _pg_zone(name: str) -> str:
    return "UTC" if name == "utc" else name


def _day(value: Any, field: Field) -> date:
    # fromisoformat also takes weeks.
    if isinstance(value, str) and len(value) == 10 and value[4] == value[7] == "-":
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refused(field, "exactDate must be a date such as 2026-01-31.")


# Values


def _refused(field: Field, problem: str) -> InvalidRequest:
    return InvalidRequest(reason=f'Filter on the field "{field.name}": {problem}')


def _listed(names: Collection[str]) -> str:
    return f"one of {', '.join(names)}"


def _positive(operator: str, positive: str, condition: str, *, is_negative: bool | None = None) -> str:
    """The condition for the positive operator; for any other its contrary, which blank cells fulfil."""
    negative = operator != positive if is_negative is None else is_negative
    return f"(({condition}) IS NOT TRUE)" if negative else f"({condition})"


def _shown_contains(operator: str, value: Any, field: Field, arguments: _Arguments) -> str:
    """The condition that what people read in the cell contains a text, or does not."""
    shown = find(field.type).text_sql(field, column(field), _TEXT_FORMAT)
    return _positive(operator, "contains", f"strpos(lower({shown}), lower({arguments.add(value, 'text')})) > 0")


def _text(value: Any, field: Field) -> str:
    if isinstance(value, str) and 0 < len(value) <= TEXT_LENGTH_MAX and "\x00" not in value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise _refused(field, f"the value must be a text of 1 to {TEXT_LENGTH_MAX:,} characters.")


def _items(value: Any, field: Field, item: Callable[[Any], str]) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
        raise _refused(field, f"the value must be a list of 1 to {VALUES_MAX}.")
    return list(dict.fromkeys(item(one) for one in value))


def _known_id(value: Any, field: Field, prefix: str, what: str) -> str:
    if not isinstance(value, str) or not is_id(prefix, value):
        raise _refused(field, f"the value must be the id of {what}.")
    return value


def _user(value: Any, field: Field, is_new: bool) -> str:
    return _known_id(value, field, "usr", "a user")


def _choice(value: Any, field: Field, is_new: bool) -> str:
    """The id of a choice, from its id or name; one that was deleted since keeps its condition, and no cell has it."""
    if isinstance(value, str):
        for choice in field.options["choices"]:
            if value in (choice["id"], choice["name"]):
                return str(choice["id"])
        if not is_new and is_id("sel", value):
            return value
    raise _refused(field, "the value must be the id or name of a choice.")


def _choices_with(text: str, field: Field) -> list[str]:
    wanted = text.lower()
    return [choice["id"] for choice in field.options["choices"] if wanted in choice["name"].lower()]


def _link(field: Field) -> Link:
    assert field.link is not None, "a link field that was read from a base knows its junction"
    return field.link


_TEXT, _NUMBER, _DATE = _Text(), _Number(), _Date()
_KINDS: Mapping[str, _Kind] = {
    "number": _NUMBER,
    "currency": _NUMBER,
    "percent": _NUMBER,
    "duration": _NUMBER,
    "rating": _NUMBER,
    "autoNumber": _NUMBER,
    "count": _NUMBER,
    "checkbox": _Checkbox(),
    "date": _DATE,
    "dateTime": _DATE,
    "createdTime": _DATE,
    "lastModifiedTime": _DATE,
    "singleSelect": _SelectOne(_choice, column),
    "externalSyncSource": _SelectOne(_choice, column),
    "multipleSelects": _SelectMany(_choice),
    "multipleRecordLinks": _Links(),
    "singleCollaborator": _One(_user, column),
    "multipleCollaborators": _Many(_user),
    "createdBy": _One(_user, lambda field: "r._created_by"),
    "lastModifiedBy": _One(_user, lambda field: "r._modified_by"),
    "multipleAttachments": _Attachments(lambda value, field, is_new: _known_id(value, field, "att", "an attachment")),
}
"""By type; every other one is searched as the text that people read."""


def _kind_of(field: Field) -> _Kind:
    """By the type of the field, or of what it computes."""
    match computing.scalar_kind(field):
        case Kind.NUMBER:
            return _NUMBER
        case Kind.DATE:
            return _DATE
        case _:
            return _KINDS.get(field.type, _TEXT)


def operators_of(type_name: str) -> tuple[str, ...]:
    """The operators that fields of a type take."""
    return _operators(_KINDS.get(type_name, _TEXT))


def _operators(kind: _Kind) -> tuple[str, ...]:
    return tuple(kind.operators) if isinstance(kind, _Checkbox) else (*kind.operators, *_EMPTY)


# Filters


def check(wanted: Any, table: Table) -> Options | None:
    """A client's filter in stored form; None where it has no condition. Raises InvalidRequest."""
    return None if wanted is None else _checked_group(wanted, table, 1, _Counter())


@dataclass(slots=True)
class _Counter:
    """How many conditions a filter has so far."""

    count: int = 0


def _checked_group(group: Any, table: Table, depth: int, counter: _Counter) -> Options | None:
    if not isinstance(group, Mapping) or set(group) != {"conjunction", "conditions"}:
        raise InvalidRequest(reason='A filter is an object with "conjunction" and "conditions".')
    if group["conjunction"] not in CONJUNCTIONS:
        raise InvalidRequest(reason='The conjunction of a filter is "and" or "or".')
    if not isinstance(group["conditions"], list):
        raise InvalidRequest(reason="The conditions of a filter are a list.")
    if depth > DEPTH_MAX:
        raise InvalidRequest(reason=f"A filter's groups nest at most {DEPTH_MAX} deep.")
    conditions: list[Options] = []
    for item in group["conditions"]:
        if isinstance(item, Mapping) and "conditions" in item:
            nested = _checked_group(item, table, depth + 1, counter)
            if nested is not None:
                conditions.append(nested)
            continue
        counter.count += 1
        if counter.count > CONDITIONS_MAX:
            raise InvalidRequest(reason=f"A filter has at most {CONDITIONS_MAX} conditions.")
        conditions.append(_checked_condition(item, table))
    return {"conjunction": group["conjunction"], "conditions": conditions} if conditions else None


def _checked_condition(item: Any, table: Table) -> Options:
    if not isinstance(item, Mapping) or not {"fieldId", "operator"} <= set(item) <= {"fieldId", "operator", "value"}:
        raise InvalidRequest(reason='A condition is an object with "fieldId", "operator" and, as it needs, "value".')
    its_field = _field(item["fieldId"], table)
    operator, value = _checked_leaf(item, its_field, is_new=True)
    found = {"fieldId": its_field.field_id, "operator": operator}
    return found if operator in _EMPTY else {**found, "value": value}


def _checked_leaf(item: Options, field: Field, *, is_new: bool) -> tuple[str, Any]:
    """The operator and the value of a condition. Raises InvalidRequest where the field does not take them."""
    operator, kind = item["operator"], _kind_of(field)
    if not isinstance(operator, str) or _ALIASES.get(operator, operator) not in _operators(kind):
        raise _refused(field, f"the operator must be {_listed(_operators(kind))}.")
    operator = _ALIASES.get(operator, operator)
    if operator in _EMPTY:
        if item.get("value") is not None:
            raise _refused(field, f'"{operator}" takes no value.')
        return operator, None
    return operator, kind.value(operator, item.get("value"), field, is_new=is_new)


def _field(field_id: Any, table: Table) -> Field:
    found = table.fields_by_id.get(field_id) if isinstance(field_id, str) else None
    if found is None:
        raise InvalidRequest(reason=f'The table has no field with the id "{str(field_id)[:100]}".')
    return found


def condition_sql(stored: Options | None, table: Table, first_parameter: int = 1) -> tuple[str, tuple[Any, ...]]:
    """SQL of a stored filter over the relation `r` and its arguments, which are numbered from `first_parameter`.

    `true` where there is nothing to fulfil. Days are told by the clock of the server when the statement runs.
    """
    arguments = _Arguments(first_parameter)
    text = None if stored is None else _group_sql(stored, table, arguments)
    return text or "true", tuple(arguments.values)


def _group_sql(group: Options, table: Table, arguments: _Arguments) -> str | None:
    parts = [
        _group_sql(item, table, arguments) if "conditions" in item else _leaf_sql(item, table, arguments)
        for item in group["conditions"]
    ]
    known = [part for part in parts if part is not None]
    conjunction = f" {group['conjunction'].upper()} "
    return f"({conjunction.join(known)})" if known else None


def _leaf_sql(item: Options, table: Table, arguments: _Arguments) -> str | None:
    field = table.fields_by_id.get(item["fieldId"])
    if field is None:
        return None
    try:
        operator, value = _checked_leaf(item, field, is_new=False)
    except InvalidRequest:
        return None  # the field's type is another one now
    kind = _kind_of(field)
    if operator in _EMPTY:
        return kind.empty_sql(field) if operator == "isEmpty" else f"(NOT {kind.empty_sql(field)})"
    return kind.sql(operator, value, field, arguments)


def known_part(stored: Options | None, table: Table) -> Options | None:
    """The filter without its conditions on fields that the table does not have; None where none is left."""
    if stored is None:
        return None
    conditions: list[Options] = []
    for item in stored["conditions"]:
        if "conditions" in item:
            nested = known_part(item, table)
            if nested is not None:
                conditions.append(nested)
        elif item["fieldId"] in table.fields_by_id:
            conditions.append(item)
    return {**stored, "conditions": conditions} if conditions else None


# Sorts and groups


def check_sorts(sorts: Any, table: Table, *, what: str = "sorts", length_max: int = SORTS_MAX) -> tuple[Options, ...]:
    """A client's sorts, or groups, in stored form: `{"fieldId": "fld…", "direction": "asc" or "desc"}` each.

    Raises InvalidRequest.
    """
    if sorts is None:
        return ()
    if not isinstance(sorts, list) or len(sorts) > length_max:
        raise InvalidRequest(reason=f"{what} is a list of at most {length_max}.")
    found: list[Options] = []
    for item in sorts:
        if not isinstance(item, Mapping) or not {"fieldId"} <= set(item) <= {"fieldId", "direction"}:
            raise InvalidRequest(reason=f'An item of {what} is an object with "fieldId" and "direction".')
        direction = item.get("direction", "asc")
        if direction not in DIRECTIONS:
            raise InvalidRequest(reason=f'The direction of an item of {what} is "asc" or "desc".')
        field_id = _field(item["fieldId"], table).field_id
        if any(other["fieldId"] == field_id for other in found):
            raise InvalidRequest(reason=f"{what} names a field twice.")
        found.append({"fieldId": field_id, "direction": direction})
    return tuple(found)


def check_groups(groups: Any, table: Table) -> tuple[Options, ...]:
    """As `check_sorts`."""
    return check_sorts(groups, table, what="groups", length_max=GROUPS_MAX)


def order_of(view: View, table: Table) -> Sequence[tuple[Field, bool]]:
    """The keys of a view's order and whether each descends: its groups, then its sorts; deleted fields left out."""
    keys: dict[str, tuple[Field, bool]] = {}
    for item in (*view.groups, *view.sorts):
        field = table.fields_by_id.get(item["fieldId"])
        if field is not None:
            keys.setdefault(field.field_id, (field, item["direction"] == "desc"))
    return list(keys.values())
