"""Values on their way in: every case of the corpus, and what holds for any value of any type."""

from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.ids import FieldId
from pyat.recordstore.errors import UnknownChoice
from pyat.recordstore.fieldtypes import REGISTRY, BadValue, NewChoices, find
from pyat.recordstore.fieldtypes.base import TEXT_LENGTH_MAX
from pyat.recordstore.structure import Field
from tests.support.field_values import (
    APART,
    EMPTY,
    REFUSED,
    UNKNOWN_CHOICE,
    WRITABLE,
    Case,
    accepted_values,
    corpus,
    decoded,
    json_values,
    make_field,
    outcome,
    parsed,
    seen,
    write,
)

CASES = corpus()
fields = st.sampled_from(WRITABLE)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("id"))
def test_corpus(case: Case) -> None:
    error, field, stored = outcome(case)
    if error or case.expected in (REFUSED, UNKNOWN_CHOICE):
        assert error == case.expected
    else:
        assert seen(field, stored) == decoded(field, None if case.expected == EMPTY else case.expected)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.is_typecast and case.expected != REFUSED], ids=attrgetter("id")
)
def test_typecast_takes_what_is_taken_without_it(case: Case) -> None:
    if case.expected == UNKNOWN_CHOICE:
        write(case.field, case.value, is_typecast=True)
    else:
        assert write(case.field, case.value, is_typecast=True) == write(case.field, case.value, is_typecast=False)


def test_the_corpus_covers_every_type_that_takes_values() -> None:
    writable = {name for name, kind in REGISTRY.items() if not kind.is_computed} - APART
    assert {case.field.type for case in CASES} == writable == {field.type for field in WRITABLE}


@given(st.data(), fields)
def test_what_is_read_back_can_be_written_again(data: st.DataObject, field: Field) -> None:
    stored = parsed(field, data.draw(accepted_values(field)))
    assert parsed(field, seen(field, stored)) == stored


@given(fields, json_values)
def test_any_value_is_stored_or_refused(field: Field, value: Any) -> None:
    """No other exception escapes, with typecast or without, and nothing that PostgreSQL would not take is stored."""
    for is_typecast in (False, True):
        try:
            grown, stored = write(field, value, is_typecast=is_typecast)
        except (BadValue, UnknownChoice):
            continue
        assert parsed(grown, seen(grown, stored)) == stored
        assert "\x00" not in str(stored)


@pytest.mark.parametrize("type_name", sorted(name for name, kind in REGISTRY.items() if kind.is_computed))
@pytest.mark.parametrize("value", [1, "2024-03-01T08:00:00.000Z", None])
def test_computed_types_take_no_value(type_name: str, value: Any) -> None:
    field = Field(FieldId("fld00000000000001"), "F", type_name)
    with pytest.raises(BadValue):
        find(type_name).parse(value, field)
    with pytest.raises(BadValue):
        find(type_name).typecast(value, field, NewChoices())


@pytest.mark.parametrize("type_name", ["singleLineText", "multilineText", "richText", "email", "url", "phoneNumber"])
def test_the_longest_text(type_name: str) -> None:
    field, kind = make_field(type_name), find(type_name)
    longest = "北" * TEXT_LENGTH_MAX
    stored = kind.parse(longest, field)
    assert stored.rstrip("\n") == longest
    assert kind.parse(stored, field) == stored
    with pytest.raises(BadValue):
        kind.parse(longest + "x", field)
    with pytest.raises(BadValue):
        kind.typecast([longest, ""], field, NewChoices())


@pytest.mark.parametrize("value", [10**400, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("field", WRITABLE, ids=attrgetter("type"))
def test_numbers_beyond_doubles_are_refused(field: Field, value: float) -> None:
    """Bodies cannot hold them, but they must not reach a column by any other way either."""
    kind = find(field.type)
    with pytest.raises(BadValue):
        kind.parse(value, field)
    if isinstance(value, float) and field.type != "checkbox":
        with pytest.raises(BadValue):
            kind.typecast(value, field, NewChoices())


def test_selects_of_several_choices_are_equal_in_any_order() -> None:
    kind = find("multipleSelects")
    assert kind.equals_key(["selA", "selB"]) == kind.equals_key(["selB", "selA"]) != kind.equals_key(["selA"])
    assert hash(kind.equals_key(["selA"])) is not None
    assert kind.equals_key(None) is None
    assert find("singleLineText").equals_key("a") != find("singleLineText").equals_key("A")
