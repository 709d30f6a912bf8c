"""What a filter, sorts and groups may say, and that their values never become SQL."""

from dataclasses import replace
from typing import Any

import pytest

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import FieldId, TableId, ViewId, new_id
from pyat.recordstore import filters
from pyat.recordstore.fieldtypes import REGISTRY
from pyat.recordstore.structure import Field, Options, Table, View

MOMENT = {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "Europe/Berlin"}


def a_field(number: int, type_name: str, options: Options | None = None) -> Field:
    """A field with a name of its own."""
    return Field(FieldId(f"fld0000000000000{number}"), f"F{number}", type_name, options or {})


TEXT = a_field(1, "singleLineText")
NUMBER = a_field(2, "number", {"precision": 0})
CHECK = a_field(3, "checkbox")
MOMENTS = a_field(4, "dateTime", MOMENT)
CHOICE = a_field(5, "singleSelect", {"choices": [{"id": "sel00000000000001", "name": "Todo"}]})
CHOICES = a_field(6, "multipleSelects", CHOICE.options)
PERSON = a_field(7, "singleCollaborator")
FIELDS = (TEXT, NUMBER, CHECK, MOMENTS, CHOICE, CHOICES, PERSON)
TABLE = Table(TableId("tbl00000000000001"), "T", TEXT.field_id, FIELDS, ())


def one(field: Field, operator: Any, *value: Any) -> dict[str, Any]:
    """A filter of one condition; without `value` it has no such key."""
    condition = {"fieldId": field.field_id, "operator": operator}
    if value:
        condition["value"] = value[0]
    return {"conjunction": "and", "conditions": [condition]}


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        (one(TEXT, "contains", "x"), one(TEXT, "contains", "x")),
        (one(TEXT, "isEmpty"), one(TEXT, "isEmpty")),
        (one(TEXT, "isEmpty", None), one(TEXT, "isEmpty")),
        (one(NUMBER, "≠", 3), one(NUMBER, "!=", 3.0)),
        (one(NUMBER, "≤", 3), one(NUMBER, "<=", 3.0)),
        (one(NUMBER, "≥", -0.5), one(NUMBER, ">=", -0.5)),
        (one(CHECK, "is", False), one(CHECK, "is", False)),
        (one(CHOICE, "is", "Todo"), one(CHOICE, "is", "sel00000000000001")),
        (one(CHOICE, "isAnyOf", ["Todo", "sel00000000000001"]), one(CHOICE, "isAnyOf", ["sel00000000000001"])),
        (one(CHOICE, "contains", "o"), one(CHOICE, "contains", "o")),
        (one(CHOICES, "isExactly", ["Todo"]), one(CHOICES, "isExactly", ["sel00000000000001"])),
        (one(PERSON, "is", "usr00000000000001"), one(PERSON, "is", "usr00000000000001")),
        (one(MOMENTS, "is", {"mode": "today"}), one(MOMENTS, "is", {"mode": "today"})),
        (
            one(MOMENTS, "isBefore", {"mode": "exactDate", "exactDate": "2024-02-29", "timeZone": "utc"}),
            one(MOMENTS, "isBefore", {"mode": "exactDate", "exactDate": "2024-02-29", "timeZone": "utc"}),
        ),
        (
            one(MOMENTS, "isWithin", {"mode": "pastNumberOfDays", "numberOfDays": 0, "timeZone": None}),
            one(MOMENTS, "isWithin", {"mode": "pastNumberOfDays", "numberOfDays": 0}),
        ),
        (None, None),
        ({"conjunction": "or", "conditions": []}, None),
        ({"conjunction": "or", "conditions": [{"conjunction": "and", "conditions": []}]}, None),
    ],
)
def test_a_filter_is_stored_in_one_form(wanted: Any, stored: Any) -> None:
    found = filters.check(wanted, TABLE)
    assert found == stored
    assert filters.check(found, TABLE) == stored


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        "x",
        {},
        {"conjunction": "and"},
        {"conjunction": "xor", "conditions": []},
        {"conjunction": ["and"], "conditions": []},
        {"conjunction": "and", "conditions": {}},
        {"conjunction": "and", "conditions": [], "more": 1},
        {"conjunction": "and", "conditions": [5]},
        {"conjunction": "and", "conditions": [{"fieldId": TEXT.field_id}]},
        {"conjunction": "and", "conditions": [{**one(TEXT, "is", "x")["conditions"][0], "more": 1}]},
        {"conjunction": "and", "conditions": [{"fieldId": "fldUnknown0000000", "operator": "is", "value": "x"}]},
        {"conjunction": "and", "conditions": [{"fieldId": ["x"], "operator": "is", "value": "x"}]},
        one(TEXT, "=", 1),
        one(TEXT, ["is"], "x"),
        one(TEXT, None, "x"),
        one(TEXT, "is"),
        one(TEXT, "is", ""),
        one(TEXT, "is", 5),
        one(TEXT, "is", "\x00"),
        one(TEXT, "is", "\ud800"),
        one(TEXT, "is", "x" * 10_001),
        one(TEXT, "isEmpty", "x"),
        one(NUMBER, "contains", "1"),
        one(NUMBER, "=", "1"),
        one(NUMBER, "=", True),
        one(NUMBER, "=", None),
        one(NUMBER, "=", float("nan")),
        one(NUMBER, "=", float("inf")),
        one(NUMBER, "=", 10**400),
        one(CHECK, "is", 1),
        one(CHECK, "is", None),
        one(CHECK, "isEmpty"),
        one(MOMENTS, "is", "2024-01-01"),
        one(MOMENTS, "is", {}),
        one(MOMENTS, "is", {"mode": ["today"]}),
        one(MOMENTS, "is", {"mode": "pastWeek"}),
        one(MOMENTS, "isWithin", {"mode": "today"}),
        one(MOMENTS, "is", {"mode": "today", "numberOfDays": 1}),
        one(MOMENTS, "is", {"mode": "daysAgo"}),
        one(MOMENTS, "is", {"mode": "daysAgo", "numberOfDays": True}),
        one(MOMENTS, "is", {"mode": "daysAgo", "numberOfDays": -1}),
        one(MOMENTS, "is", {"mode": "daysAgo", "numberOfDays": 36_501}),
        one(MOMENTS, "is", {"mode": "exactDate"}),
        one(MOMENTS, "is", {"mode": "exactDate", "exactDate": "2023-02-29"}),
        one(MOMENTS, "is", {"mode": "exactDate", "exactDate": "20230228"}),
        one(MOMENTS, "is", {"mode": "exactDate", "exactDate": "2023-W10-1"}),
        one(MOMENTS, "is", {"mode": "today", "timeZone": "Mars/Olympus"}),
        one(MOMENTS, "is", {"mode": "today", "timeZone": ["utc"]}),
        one(CHOICE, "is", "Done"),
        one(CHOICE, "is", "sel00000000000009"),
        one(CHOICE, "is", ["Todo"]),
        one(CHOICE, "isAnyOf", "Todo"),
        one(CHOICE, "isAnyOf", []),
        one(CHOICE, "isAnyOf", ["Todo", 5]),
        one(CHOICES, "hasAnyOf", ["Todo"] * 201),
        one(PERSON, "is", "Ann"),
        one(PERSON, "isAnyOf", [{"id": "usr00000000000001"}]),
    ],
)
def test_what_makes_no_sense_is_refused(wanted: Any) -> None:
    with pytest.raises(InvalidRequest):
        filters.check(wanted, TABLE)


def test_a_filter_is_bounded() -> None:
    condition = one(TEXT, "is", "x")["conditions"][0]
    many = {"conjunction": "or", "conditions": [condition] * 200}
    assert filters.check(many, TABLE) == many
    with pytest.raises(InvalidRequest, match="at most 200"):
        filters.check({"conjunction": "or", "conditions": [many, condition]}, TABLE)
    nested: dict[str, Any] = one(TEXT, "is", "x")
    for _ in range(4):
        nested = {"conjunction": "or", "conditions": [nested]}
    assert filters.check(nested, TABLE) == nested
    for _ in range(5_000):
        nested = {"conjunction": "or", "conditions": [nested]}
    with pytest.raises(InvalidRequest, match="at most 5 deep"):
        filters.check(nested, TABLE)


def test_values_are_arguments_numbered_from_where_the_caller_says() -> None:
    evil = "x'); DROP TABLE y; --"
    wanted = {
        "conjunction": "or",
        "conditions": [
            *one(TEXT, "is", evil)["conditions"],
            *one(NUMBER, ">", 5)["conditions"],
            *one(TEXT, "isEmpty")["conditions"],
            *one(CHOICES, "hasAnyOf", ["Todo"])["conditions"],
        ],
    }
    text, arguments = filters.condition_sql(filters.check(wanted, TABLE), TABLE, 4)
    assert arguments == (evil, 5.0, ["sel00000000000001"])
    assert [f"${number}::" in text for number in range(3, 8)] == [False, True, True, True, False]
    assert "DROP" not in text


def test_a_choice_that_is_gone_keeps_its_condition() -> None:
    stored = filters.check(one(CHOICE, "is", "Todo"), TABLE)
    table = replace(TABLE, fields=(replace(CHOICE, options={"choices": []}),))
    assert filters.condition_sql(stored, table) == ('((r."fld00000000000005" = $1::text))', ("sel00000000000001",))


def test_what_is_said_of_deleted_fields_can_be_left_out() -> None:
    stored = {
        "conjunction": "or",
        "conditions": [*one(TEXT, "is", "x")["conditions"], one(NUMBER, "=", 1), one(TEXT, "isEmpty")],
    }
    left = replace(TABLE, fields=(TEXT,))
    assert filters.known_part(stored, TABLE) == stored
    assert filters.known_part(stored, left) == {
        "conjunction": "or",
        "conditions": [*one(TEXT, "is", "x")["conditions"], one(TEXT, "isEmpty")],
    }
    assert filters.known_part(stored, replace(TABLE, fields=())) is None
    assert filters.known_part(None, TABLE) is None


def test_every_type_but_a_checkbox_can_be_empty() -> None:
    for name in REGISTRY:
        operators = filters.operators_of(name)
        assert ("isEmpty" in operators) == ("isNotEmpty" in operators) == (name != "checkbox")
        assert len(set(operators)) == len(operators) >= 1


def test_sorts_and_groups_are_stored_in_one_form() -> None:
    wanted = [{"fieldId": TEXT.field_id}, {"fieldId": NUMBER.field_id, "direction": "desc"}]
    stored = ({"fieldId": TEXT.field_id, "direction": "asc"}, wanted[1])
    assert filters.check_sorts(wanted, TABLE) == filters.check_groups(wanted, TABLE) == stored
    assert filters.check_sorts(None, TABLE) == filters.check_sorts([], TABLE) == ()


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        [5],
        [{}],
        [{"fieldId": 5}],
        [{"fieldId": new_id("fld")}],
        [{"fieldId": TEXT.field_id, "direction": "up"}],
        [{"fieldId": TEXT.field_id, "direction": ["asc"]}],
        [{"fieldId": TEXT.field_id, "more": 1}],
        [{"fieldId": TEXT.field_id}, {"fieldId": TEXT.field_id, "direction": "desc"}],
        [{"fieldId": TEXT.field_id}] * 21,
    ],
)
def test_sorts_that_make_no_sense_are_refused(wanted: Any) -> None:
    for check in (filters.check_sorts, filters.check_groups):
        with pytest.raises(InvalidRequest):
            check(wanted, TABLE)


def test_groups_order_before_sorts_and_deleted_fields_not_at_all() -> None:
    view = View(
        ViewId("viw00000000000001"),
        "V",
        "grid",
        groups=(
            {"fieldId": NUMBER.field_id, "direction": "desc"},
            {"fieldId": "fldGone0000000000", "direction": "asc"},
        ),
        sorts=({"fieldId": TEXT.field_id, "direction": "asc"}, {"fieldId": NUMBER.field_id, "direction": "asc"}),
    )
    assert filters.order_of(view, TABLE) == [(NUMBER, True), (TEXT, False)]
