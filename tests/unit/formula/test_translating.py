"""Names of fields become ids and ids become names, and nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.formula.errors import FormulaProblem
from pyat.formula.translating import to_ids, to_names, written

IDS = {
    "Name": "fldNNNNNNNNNNNNNN",
    "Unit price": "fldUUUUUUUUUUUUUU",
    "a}b": "fldBBBBBBBBBBBBBB",
    "SUM": "fldSSSSSSSSSSSSSS",
}
NAMES = {field_id: name for name, field_id in IDS.items()}


def find(name: str) -> str | None:
    """The id of a field of the table."""
    return name if name in NAMES else IDS.get(name)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("{Name} & '!'", "{fldNNNNNNNNNNNNNN} & '!'"),
        ("Name&Name", "{fldNNNNNNNNNNNNNN}&{fldNNNNNNNNNNNNNN}"),
        ("SUM({Unit price}, 1)", "SUM({fldUUUUUUUUUUUUUU}, 1)"),
        ("SUM (1) + SUM", "SUM (1) + {fldSSSSSSSSSSSSSS}"),
        (r"{a\}b} + {Name}", "{fldBBBBBBBBBBBBBB} + {fldNNNNNNNNNNNNNN}"),
        ("{fldNNNNNNNNNNNNNN}", "{fldNNNNNNNNNNNNNN}"),
        ("'{Name} Name' & \"Name {x}\"", "'{Name} Name' & \"Name {x}\""),
        (r"'it\'s {Name}' & {Name}", r"'it\'s {Name}' & {fldNNNNNNNNNNNNNN}"),
        ("Nothing + 1 & TRUE()", "Nothing + 1 & TRUE()"),
    ],
)
def test_names_become_ids(formula: str, expected: str) -> None:
    assert to_ids(formula, find) == expected
    assert to_ids(expected, find) == expected
    assert to_ids(to_names(expected, NAMES), find) == expected


@pytest.mark.parametrize("formula", ["'open {Name}", '"', "{Name", "1 +", ""])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(FormulaProblem):
        to_ids(formula, find)


@pytest.mark.parametrize("name", ["Name", "Unit price", "a}b", "x\\", "true", "values", "1st", "ä", "{", "a'b", "9"])
def test_a_written_name_is_read_back(name: str) -> None:
    assert to_ids(written(name), {name: "fldXXXXXXXXXXXXXX"}.get) == "{fldXXXXXXXXXXXXXX}"


@given(st.lists(st.sampled_from(["{", "}", "'", chr(34), "\\", "Name", "(", " ", "x", "+", ")"])).map("".join))
def test_any_text_is_taken_or_refused(formula: str) -> None:
    try:
        found = to_ids(formula, find)
    except FormulaProblem:
        return
    assert to_ids(found, find) == found


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
        str.strip
    )
)
def test_any_name_is_written_so_that_it_is_read_back(name: str) -> None:
    assert to_ids(f"1 & {written(name)} & 'x'", {name: "fldXXXXXXXXXXXXXX"}.get) == "1 & {fldXXXXXXXXXXXXXX} & 'x'"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Name", "Name"),
        ("_a1", "_a1"),
        ("Größe", "Größe"),
        ("Unit price", "{Unit price}"),
        ("1st", "{1st}"),
        ("a}b", "{a\\}b}"),
        ("a\\b", "{a\\\\b}"),
        ("True", "{True}"),
        ("values", "{values}"),
        ("a-b", "{a-b}"),
        ("SUM", "SUM"),
    ],
)
def test_names_are_bare_where_they_can_be(name: str, expected: str) -> None:
    assert written(name) == expected


def test_ids_without_a_name_stay_and_so_does_all_else() -> None:
    formula = "'😀' & {fldNNNNNNNNNNNNNN}\n  & {fldGGGGGGGGGGGGGG} & fldUUUUUUUUUUUUUU"
    assert to_names(formula, NAMES) == "'😀' & Name\n  & {fldGGGGGGGGGGGGGG} & {Unit price}"


def test_a_renamed_field_shows_its_new_name() -> None:
    stored = to_ids("Name & {Unit price}", find)
    assert to_names(stored, {**NAMES, "fldNNNNNNNNNNNNNN": "Full name"}) == "{Full name} & {Unit price}"


def test_long_and_deep_formulas_are_translated() -> None:
    chain = "+".join(["Name"] * 4_000)
    assert to_names(to_ids(chain, find), NAMES) == chain
    deep = "ABS(" * 2_000 + "{Unit price}" + ")" * 2_000
    assert to_names(to_ids(deep, find), NAMES) == deep
