"""Choices that typecast makes."""

from dataclasses import replace

import pytest

from pyat.foundation.ids import ChoiceId, is_id
from pyat.recordstore.errors import LimitReached, UnknownChoice
from pyat.recordstore.fieldtypes import BadValue, NewChoices, find, with_new_choices
from pyat.recordstore.fieldtypes.selects import CHOICES_MAX, COLOR_CYCLE, NAME_LENGTH_MAX
from tests.support.field_values import make_field

SINGLE, MULTIPLE = find("singleSelect"), find("multipleSelects")


def test_cells_of_one_write_share_their_new_choices() -> None:
    field = make_field("multipleSelects", {"choices": [{"name": "a"}]})
    new_choices = NewChoices()
    first = MULTIPLE.typecast("a, b", field, new_choices)
    second = MULTIPLE.typecast(["c", " b"], field, new_choices)
    assert list(new_choices.ids_by_name) == ["b", "c"]
    assert all(is_id("sel", choice_id) for choice_id in new_choices.ids_by_name.values())
    assert first == ["sel00000000000000", new_choices.ids_by_name["b"]]
    assert second == [new_choices.ids_by_name["c"], new_choices.ids_by_name["b"]]


def test_the_grown_field_knows_its_new_choices() -> None:
    field = make_field("singleSelect", {"choices": [{"name": "a"}]})
    new_choices = NewChoices()
    stored = SINGLE.typecast("b", field, new_choices)
    with pytest.raises(UnknownChoice, match='"b"'):
        SINGLE.parse("b", field)
    grown = replace(field, options=with_new_choices(field, new_choices))
    assert SINGLE.parse("b", grown) == stored
    assert SINGLE.parse("a", grown) == SINGLE.parse("a", field)
    assert field.options["choices"] == grown.options["choices"][:1]


def test_new_choices_take_the_next_colors() -> None:
    field = make_field("singleSelect", {"choices": [{"name": str(number)} for number in range(39)]})
    new_choices = NewChoices({name: ChoiceId(f"sel{name}") for name in ("x", "y", "z")})
    added = with_new_choices(field, new_choices)["choices"][39:]
    assert added == [
        {"id": "selx", "name": "x", "color": COLOR_CYCLE[39]},
        {"id": "sely", "name": "y", "color": COLOR_CYCLE[0]},
        {"id": "selz", "name": "z", "color": COLOR_CYCLE[1]},
    ]


def test_a_field_without_colors_stays_so() -> None:
    field = make_field("singleSelect", {"choices": [{"name": "a"}]})
    bare = replace(field, options={"choices": [{"id": "sela", "name": "a"}]})
    assert with_new_choices(bare, NewChoices({"b": ChoiceId("selb")}))["choices"][1:] == [{"id": "selb", "name": "b"}]


def test_a_full_field_grows_no_more() -> None:
    field = make_field("multipleSelects", {"choices": [{"name": str(number)} for number in range(CHOICES_MAX - 1)]})
    new_choices = NewChoices()
    assert MULTIPLE.typecast("1, one more", field, new_choices)
    assert len(with_new_choices(field, new_choices)["choices"]) == CHOICES_MAX
    with pytest.raises(LimitReached):
        MULTIPLE.typecast("another", field, new_choices)
    with pytest.raises(LimitReached):
        SINGLE.typecast("another", replace(field, type="singleSelect"), new_choices)
    with pytest.raises(LimitReached):
        with_new_choices(field, NewChoices({"a": ChoiceId("sela"), "b": ChoiceId("selb")}))


def test_names_have_a_longest_length() -> None:
    field = make_field("singleSelect", {"choices": []})
    assert SINGLE.typecast("x" * NAME_LENGTH_MAX, field, NewChoices())
    with pytest.raises(BadValue):
        SINGLE.typecast("x" * (NAME_LENGTH_MAX + 1), field, NewChoices())
    with pytest.raises(BadValue):
        MULTIPLE.typecast("x," * 50_001, field, NewChoices())


def test_an_unknown_name_is_told_as_airtable_does() -> None:
    field = make_field("multipleSelects", {"choices": [{"name": "a"}]})
    with pytest.raises(UnknownChoice) as caught:
        MULTIPLE.parse(["a", "new one", "other"], field)
    assert caught.value.message == 'Insufficient permissions to create new select option ""new one""'
