"""Formulas: names of fields become ids, and nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.recordstore.fieldtypes import BadOptions, shown_options, with_field_ids

IDS = {
    "Name": "fldNNNNNNNNNNNNNN",
    "Unit price": "fldUUUUUUUUUUUUUU",
    "a}b": "fldBBBBBBBBBBBBBB",
    "SUM": "fldSSSSSSSSSSSSSS",
}


def find(name: str) -> str | None:
    """The id of a field of the table."""
    return name if name in IDS.values() else IDS.get(name)


@pytest.mark.parametrize(
    ("formula", "expected", "names"),
    [
        ("{Name} & '!'", "{fldNNNNNNNNNNNNNN} & '!'", ["Name"]),
        ("Name&Name", "{fldNNNNNNNNNNNNNN}&{fldNNNNNNNNNNNNNN}", ["Name"]),
        ("SUM({Unit price}, 1)", "SUM({fldUUUUUUUUUUUUUU}, 1)", ["Unit price"]),
        ("SUM (1) + SUM", "SUM (1) + {fldSSSSSSSSSSSSSS}", ["SUM"]),
        (r"{a\}b} + {Name}", "{fldBBBBBBBBBBBBBB} + {fldNNNNNNNNNNNNNN}", ["a}b", "Name"]),
        ("{fldNNNNNNNNNNNNNN}", "{fldNNNNNNNNNNNNNN}", ["Name"]),
        ("'{Name} Name' & \"Name {x}\"", "'{Name} Name' & \"Name {x}\"", []),
        (r"'it\'s {Name}' & {Name}", r"'it\'s {Name}' & {fldNNNNNNNNNNNNNN}", ["Name"]),
        ("Nothing + 1 & TRUE()", "Nothing + 1 & TRUE()", []),
    ],
)
def test_names_become_ids(formula: str, expected: str, names: list[str]) -> None:
    assert with_field_ids(formula, find) == (expected, [IDS[name] for name in names])
    assert with_field_ids(expected, find) == (expected, [IDS[name] for name in names])


@pytest.mark.parametrize("formula", ["{name}", "{ Name }", "{}", "1 + {Unit  price}", "'open {Name}", '"', "{Name"])
def test_what_is_named_must_be_there_and_closed(formula: str) -> None:
    with pytest.raises(BadOptions) as caught:
        with_field_ids(formula, find)
    assert caught.value.where == "options.formula"


@given(st.lists(st.sampled_from(["{", "}", "'", chr(34), "\\", "Name", "(", " ", "x"])).map("".join))
def test_any_text_is_taken_or_refused(formula: str) -> None:
    try:
        result, field_ids = with_field_ids(formula, find)
    except BadOptions:
        return
    assert with_field_ids(result, find) == (result, field_ids)


def test_a_field_without_what_it_needs_names_none_of_it() -> None:
    way = {"recordLinkFieldId": "fldNNNNNNNNNNNNNN", "fieldIdInLinkedTable": "fldUUUUUUUUUUUUUU"}
    assert shown_options({**way, "isValid": True, "result": None}) == {**way, "isValid": True, "result": None}
    assert shown_options({**way, "isValid": False}) == dict.fromkeys(way) | {"isValid": False}
    assert shown_options({"precision": 1}) == {"precision": 1}
