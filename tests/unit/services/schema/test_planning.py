"""What becomes of a client's wishes for tables and fields."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.ids import FieldId, TableId, is_id
from pyat.recordstore.columns import column_type
from pyat.recordstore.errors import (
    FieldNameTaken,
    InvalidFieldOptions,
    LimitReached,
    TableNameTaken,
    UnsupportedFieldType,
)
from pyat.recordstore.fieldtypes import REGISTRY
from pyat.recordstore.structure import Field, Table
from pyat.services.schema.contract import FieldDraft, InvalidPrimaryField
from pyat.services.schema.service.date_dependency import settings_of
from pyat.services.schema.service.planning import AIRTABLE_TYPES, Planner, description_of, field_name, name_of
from tests.support.schema import table_draft, text_field

PLANNER = Planner(creates_computed_fields=True)
TABLE = Table(
    TableId("tbl00000000000001"),
    "Plan",
    FieldId("fld00000000000001"),
    (
        Field(FieldId("fld00000000000001"), "Name", "singleLineText"),
        Field(FieldId("fld00000000000002"), "Start", "date"),
        Field(FieldId("fld00000000000003"), "End", "date"),
        Field(FieldId("fld00000000000004"), "Days", "number"),
        Field(FieldId("fld00000000000005"), "After", "multipleRecordLinks", {"linkedTableId": "tbl00000000000001"}),
        Field(FieldId("fld00000000000006"), "Other", "multipleRecordLinks", {"linkedTableId": "tbl00000000000002"}),
    ),
    (),
)
SETTINGS: dict[str, Any] = {
    "isEnabled": False,
    "startDateFieldId": "fld00000000000002",
    "endDateFieldId": "fld00000000000003",
    "durationFieldId": "fld00000000000004",
    "reschedulingMode": "none",
    "shouldSkipWeekendsAndHolidays": False,
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
option_keys = st.sampled_from(
    (
        *("precision", "symbol", "durationFormat", "icon", "color", "max", "choices", "dateFormat", "timeFormat"),
        *("timeZone", "result", "referencedFieldIds", "name", "format", "type", "options"),
    )
)
option_values = st.recursive(
    json_values
    | st.sampled_from(["iso", "24hour", "utc", "star", "redBright", "h:mm", "date", "dateTime"])
    | st.integers(0, 10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(option_keys, inner, max_size=4),
    max_leaves=12,
)
texts = st.text(st.characters(), max_size=300)  # lone surrogates included


def test_every_type_of_this_release_is_one_of_airtables() -> None:
    assert set(REGISTRY) <= AIRTABLE_TYPES
    assert {"lookup", "manualSort"} <= AIRTABLE_TYPES - set(REGISTRY)


def test_a_table_gets_ids_of_its_own_and_a_grid_view() -> None:
    table = PLANNER.table(table_draft(" T ", text_field(" A "), text_field("B")), ())
    again = PLANNER.table(table_draft("T", text_field("A")), ())
    assert table.name == "T"
    assert [field.name for field in table.fields] == ["A", "B"]
    ids = [table.table_id, table.views[0].view_id, *(field.field_id for field in table.fields)]
    assert all(is_id(prefix, text) for prefix, text in zip(("tbl", "viw", "fld", "fld"), ids, strict=True))
    assert not {again.table_id, again.views[0].view_id, again.fields[0].field_id} & set(ids)


@pytest.mark.parametrize("type_name", sorted(REGISTRY))
def test_primary_fields_are_of_the_types_the_reference_allows(type_name: str) -> None:
    allowed = {"singleLineText", "email", "url", "phoneNumber", "multilineText", "number", "percent", "currency"}
    allowed |= {"duration", "date", "dateTime", "autoNumber", "barcode", "formula"}
    assert REGISTRY[type_name].can_be_primary == (type_name in allowed)


def test_a_table_is_refused_for_its_first_bad_part() -> None:
    """Shapes before names, names before options (wire reference, section 4.6)."""
    number = FieldDraft("N", "number")
    for draft, error in (
        (table_draft("Taken", text_field("A"), text_field("a"), FieldDraft("X", "nonsense")), InvalidRequest),
        (table_draft("Taken", text_field("A"), text_field("a"), number), TableNameTaken),
        (table_draft("T", text_field("A"), number, text_field("a")), FieldNameTaken),
        (table_draft("T", FieldDraft("A", "manualSort"), number), UnsupportedFieldType),
        (table_draft("T", FieldDraft("A", "rating"), number), InvalidPrimaryField),
        (table_draft("T", text_field("A"), number), InvalidFieldOptions),
    ):
        with pytest.raises(error):
            PLANNER.table(draft, [replace(TABLE, name="taken")])


def test_a_full_table_takes_no_field() -> None:
    full = replace(TABLE, fields=tuple(Field(FieldId(f"fld{n}"), f"F{n}", "email") for n in range(500)))
    with pytest.raises(LimitReached):
        PLANNER.field(text_field("One more"), full)
    assert PLANNER.field(text_field("The last"), replace(full, fields=full.fields[1:])).name == "The last"


@settings(deadline=None)
@given(texts)
def test_names_are_trimmed_storable_and_bounded(text: str) -> None:
    try:
        name = name_of("It", text)
    except InvalidRequest:
        assert len(text.strip()) > 255 or "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text)
    else:
        assert name == text.strip()
        assert len(name) <= 255
        assert b"\x00" not in name.encode()


def test_bounds_are_inclusive() -> None:
    assert name_of("It", "x" * 255) == "x" * 255
    assert description_of("It", "x" * 20_000) == "x" * 20_000
    assert description_of("It", "") is description_of("It", None) is None


def test_names_of_fields_are_compared_without_regard_to_case() -> None:
    assert field_name(" New ", ["old"]) == "New"
    for text in ("OLD", " old ", "", "\t"):
        with pytest.raises(FieldNameTaken):
            field_name(text, ["Old"])


@settings(deadline=None)
@given(st.sampled_from(sorted(AIRTABLE_TYPES)) | texts, json_values | option_values, st.none() | texts)
def test_whatever_is_asked_for_is_refused_or_can_be_stored(
    type_name: str, options: Any, description: str | None
) -> None:
    try:
        field = PLANNER.field(FieldDraft("F", type_name, description, options), TABLE)
    except (InvalidRequest, InvalidFieldOptions, UnsupportedFieldType):
        return
    column_type(field)
    stored = orjson.dumps(field.options)
    assert b"\\u0000" not in stored.replace(b"\\\\", b"")
    assert orjson.loads(stored) == field.options


@pytest.mark.parametrize("type_name", ["autoNumber", "createdTime", "lastModifiedTime"])
def test_a_strict_server_creates_no_computed_fields(type_name: str) -> None:
    strict = Planner(creates_computed_fields=False)
    with pytest.raises(UnsupportedFieldType):
        strict.field(FieldDraft("F", type_name), TABLE)
    with pytest.raises(UnsupportedFieldType):
        strict.table(table_draft("T", text_field("A"), FieldDraft("F", type_name)), ())
    assert PLANNER.field(FieldDraft("F", type_name), TABLE).type == type_name


def test_date_dependency_settings_are_completed() -> None:
    assert settings_of(SETTINGS, TABLE) == {**SETTINGS, "predecessorFieldId": None, "holidays": []}
    full = {
        **SETTINGS,
        "predecessorFieldId": "fld00000000000005",
        "holidays": ["2026-02-28"],
        "isForwardOnly": True,
    }
    assert settings_of(full, TABLE) == full


def test_a_predecessor_is_a_link_to_the_same_table() -> None:
    for field_id in ("fld00000000000006", "fld00000000000001", "fld00000000000009"):
        with pytest.raises(InvalidRequest):
            settings_of({**SETTINGS, "predecessorFieldId": field_id}, TABLE)


@settings(deadline=None)
@given(st.sampled_from([*SETTINGS, "predecessorFieldId", "holidays", "isForwardOnly", "other"]), json_values)
def test_date_dependency_settings_are_refused_or_can_be_stored(key: str, value: Any) -> None:
    try:
        found = settings_of({**SETTINGS, key: value}, TABLE)
    except InvalidRequest:
        return
    assert found[key] == value
