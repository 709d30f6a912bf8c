"""Trees become typed formulas: fields, inputs, types, and what makes a formula invalid."""

import pytest

from pyat.formula import types
from pyat.formula.checking import Constant, Formula, Input, Known, Scope, check
from pyat.formula.errors import BadSyntax, UnknownFields, UnknownFunction, WrongArguments
from pyat.formula.types import Kind, Type, joined

FIELDS = (
    Known("fldNumberNumber01", "Number", types.NUMBER),
    Known("fldNumberNumber02", "Unit price", types.NUMBER),
    Known("fldTextTextText01", "Text", types.TEXT),
    Known("fldTextTextText02", "fldNumberNumber01", types.TEXT),
    Known("fldDayDayDayDay01", "Day", types.DAY),
    Known("fldTimeTimeTime01", "Time", types.DATE),
    Known("fldBoxBoxBoxBox01", "Box", types.BOOLEAN),
    Known("fldNumbersNumbe01", "Numbers", types.NUMBER.array),
    Known("fldTextsTextsTe01", "Texts", types.TEXT.array),
    Known("fldDaysDaysDays01", "Days", types.DAY.array),
    Known("fldMixedMixedMi01", "Mixed", types.ANY, is_computed=True),
    Known("fldTrueTrueTrue01", "True", types.TEXT),
)


def find(name: str) -> Known | None:
    """By exact name, else by id."""
    by_name = {one.name: one for one in FIELDS}
    return by_name.get(name) or next((one for one in FIELDS if one.field_id == name), None)


SCOPE = Scope(find, lambda: [one.name for one in FIELDS])


def checked(text: str) -> Formula:
    """Over the fields above."""
    return check(text, SCOPE)


# Fields and inputs


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("1 + 1", ()),
        ("Number", ("fldNumberNumber01",)),
        ("{Unit price} * Number + {Unit price}", ("fldNumberNumber02", "fldNumberNumber01")),
        ("{fldDayDayDayDay01}", ("fldDayDayDayDay01",)),
        ("fldNumberNumber01", ("fldTextTextText02",)),
        ("NOW()", ("NOW",)),
        ("IF(Box, TODAY(), NOW())", ("fldBoxBoxBoxBox01", "NOW")),
        ("TONOW(Day)", ("fldDayDayDayDay01", "NOW")),
        ("RECORD_ID() & CREATED_TIME()", ("RECORD_ID", "CREATED_TIME")),
        ("LAST_MODIFIED_TIME()", ("LAST_MODIFIED_TIME",)),
        ("IF(0, Text, Number)", ("fldTextTextText01", "fldNumberNumber01")),
    ],
)
def test_a_formula_says_what_it_needs_of_a_record(text: str, keys: tuple[str, ...]) -> None:
    formula = checked(text)
    assert tuple(one.key for one in formula.inputs) == keys
    assert formula.field_ids == tuple(key for key in keys if key.startswith("fld"))
    assert formula.is_volatile == ("NOW" in keys)


def test_the_watched_fields_of_last_modified_time_are_no_cells() -> None:
    formula = checked("LAST_MODIFIED_TIME({Text}, Number, {Text})")
    watched = Input("LAST_MODIFIED_TIME", types.DATE, ("fldTextTextText01", "fldNumberNumber01"))
    assert formula.inputs == (watched,)
    assert formula.field_ids == ()


def test_every_watched_set_of_fields_is_an_input_of_its_own() -> None:
    formula = checked("LAST_MODIFIED_TIME(Text) > LAST_MODIFIED_TIME(Number)")
    assert [one.field_ids for one in formula.inputs] == [("fldTextTextText01",), ("fldNumberNumber01",)]


def test_true_is_a_call_unless_a_field_has_that_name() -> None:
    assert checked("TRUE").inputs == ()
    assert checked("true").type == types.BOOLEAN
    assert checked("True").field_ids == ("fldTrueTrueTrue01",)


def test_nodes_come_after_their_arguments() -> None:
    formula = checked("ROUND(SUM(Number, 2) / 3, 1)")
    seen: list[object] = []
    for node in formula.nodes:
        assert all(any(argument is one for one in seen) for argument in node.arguments)
        assert node.height == 1 + max((argument.height for argument in node.arguments), default=0)
        seen.append(node)
    assert formula.nodes[-1] is formula.root
    assert [node.source.value for node in formula.nodes if isinstance(node.source, Constant)] == [2.0, 3.0, 1.0]


# Rollups


def test_values_are_what_a_rollup_aggregates_and_a_field_elsewhere() -> None:
    scope = Scope(lambda name: None, values=types.NUMBER.array)
    formula = check("SUM(values) / COUNTALL(values)", scope)
    assert formula.inputs == (Input("values", types.NUMBER.array),)
    with pytest.raises(UnknownFields):
        check("SUM({values})", scope)
    with pytest.raises(UnknownFields):
        check("SUM(Values)", scope)
    with pytest.raises(UnknownFields):
        checked("SUM(values)")
    assert checked("MAX({Numbers})").type == types.NUMBER


# Types


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", types.NUMBER),
        ("'a'", types.TEXT),
        ("BLANK()", types.BLANK),
        ("ERROR()", types.BLANK),
        ("1 + Text", types.NUMBER),
        ("-Text", types.NUMBER),
        ("1 & 2", types.TEXT),
        ("1 = 2", types.BOOLEAN),
        ("Text < Day", types.BOOLEAN),
        ("NOT(Number)", types.BOOLEAN),
        ("ISERROR(Day)", types.BOOLEAN),
        ("REGEX_MATCH('a', 'b')", types.BOOLEAN),
        ("Box", types.BOOLEAN),
        ("Box + 1", types.NUMBER),
        ("Day", types.DAY),
        ("Time", types.DATE),
        ("NOW()", types.DATE),
        ("TODAY()", types.DAY),
        ("DATEADD(Day, 1, 'day')", types.DATE),
        ("WORKDAY(Day, 1)", types.DAY),
        ("WORKDAY(Time, 1)", types.DATE),
        ("SET_TIMEZONE(Day, 'UTC')", types.DAY),
        ("DATETIME_PARSE('2024')", types.DATE),
        ("DATESTR(Day)", types.TEXT),
        ("DATETIME_DIFF(Day, Time)", types.NUMBER),
        ("LEN(Text)", types.NUMBER),
        ("T(Text)", types.TEXT),
        ("T(Number)", types.BLANK),
        ("RECORD_ID()", types.TEXT),
        ("CREATED_TIME()", types.DATE),
        ("Numbers", types.NUMBER.array),
        ("ARRAYUNIQUE(Texts)", types.TEXT.array),
        ("ARRAYCOMPACT(Number)", types.NUMBER.array),
        ("ARRAYJOIN(Numbers)", types.TEXT),
        ("SUM(Numbers)", types.NUMBER),
        ("MAX(Number, Numbers)", types.NUMBER),
        ("MAX(Day, Days)", types.DAY),
        ("MAX(Day, Time)", types.DATE),
        ("MAX(Day, Number)", types.ANY),
        ("IF(Box, 1, 2)", types.NUMBER),
        ("IF(Box, 1 = 1, Box)", types.BOOLEAN),
        ("IF(Box, 1 = 1, 2)", types.NUMBER),
        ("IF(Box, 'a', 'b')", types.TEXT),
        ("IF(Box, 1, 'b')", types.ANY),
        ("IF(Box, 1)", types.NUMBER),
        ("IF(Box, BLANK(), 'a')", types.TEXT),
        ("IF(Box, BLANK(), BLANK())", types.BLANK),
        ("IF(Box, Day, Time)", types.DATE),
        ("IF(Box, Day, TODAY())", types.DAY),
        ("IF(Box, Numbers, 1)", types.ANY),
        ("IF(Box, Day, '')", types.ANY),
        ("SWITCH(Number, 1, 'a', 2, 'b')", types.TEXT),
        ("SWITCH(Number, 'x', 1, 'y', 2, 3)", types.NUMBER),
        ("SWITCH(Number, 1, 'a', 2)", types.ANY),
        ("SWITCH(Number, 1, BLANK(), Day)", types.DAY),
    ],
)
def test_the_type_of_a_formula_is_known_before_any_record(text: str, expected: Type) -> None:
    assert checked(text).type == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), types.BLANK),
        ((types.BLANK, types.BLANK), types.BLANK),
        ((types.TEXT, types.BLANK), types.TEXT),
        ((types.NUMBER, types.BOOLEAN), types.NUMBER),
        ((types.BOOLEAN, types.BOOLEAN), types.BOOLEAN),
        ((types.DATE, types.DAY), types.DATE),
        ((types.TEXT, types.NUMBER), types.ANY),
        ((types.TEXT, types.TEXT.array), types.ANY),
        ((types.TEXT.array, types.BLANK, types.TEXT.array), types.TEXT.array),
    ],
)
def test_types_are_joined(given: tuple[Type, ...], expected: Type) -> None:
    assert joined(*given) == expected
    assert types.TEXT.array.element == types.TEXT
    assert types.ANY.kind is Kind.ANY


# Faults


def test_all_unknown_fields_are_told_together() -> None:
    with pytest.raises(UnknownFields) as caught:
        checked("{Numbr} + {Zebra} & {Numbr} & Quokka")
    assert caught.value.names == ("Numbr", "Zebra", "Quokka")
    assert caught.value.message == "Unknown field names: numbr, zebra, quokka"
    assert (caught.value.start, caught.value.end, caught.value.suggestion) == (0, 7, "Number")


def test_other_faults_come_before_unknown_fields_and_syntax_before_all() -> None:
    with pytest.raises(UnknownFunction) as unknown:
        checked("{Zebra} + SUMM(1, 2)")
    assert (unknown.value.start, unknown.value.end, unknown.value.suggestion) == (10, 14, "SUM")
    with pytest.raises(WrongArguments):
        checked("SUMM(ROUND(1))")
    with pytest.raises(BadSyntax):
        checked("{Zebra} + SUMM(1) +")


@pytest.mark.parametrize(
    ("text", "message", "start", "end"),
    [
        ("1 + ROUND(2)", "ROUND takes 2 arguments, not 1", 4, 12),
        ("SUM()", "SUM takes at least 1 argument, not 0", 0, 5),
        ("TRUE(1)", "TRUE takes 0 arguments, not 1", 0, 7),
        ("ERROR(1, 2)", "ERROR takes 0 to 1 arguments, not 2", 0, 11),
        ("LAST_MODIFIED_TIME({Mixed})", "LAST_MODIFIED_TIME takes no computed fields", 19, 26),
        ("LAST_MODIFIED_TIME(Text & 'a')", "LAST_MODIFIED_TIME takes fields only", 19, 29),
        ("LAST_MODIFIED_TIME(NOW())", "LAST_MODIFIED_TIME takes fields only", 19, 24),
    ],
)
def test_wrong_arguments_are_told_where_they_are(text: str, message: str, start: int, end: int) -> None:
    with pytest.raises(WrongArguments) as caught:
        checked(text)
    assert (caught.value.message, caught.value.start, caught.value.end) == (message, start, end)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("DATETIMEDIF(Day, Time)", "DATETIME_DIFF"),
        ("datetimedif(Day, Time)", "DATETIME_DIFF"),
        ("CONCAT('a')", "CONCATENATE"),
        ("QWERTY(1)", None),
        ("{unit price}", "Unit price"),
        ("{Unit}", "Unit price"),
        ("{text}", "Text"),
        ("{Xyzzy}", None),
        ("TODAY", "TODAY()"),
        ("now", "NOW()"),
        ("{NOW}", None),
    ],
)
def test_a_near_name_is_suggested(text: str, suggestion: str | None) -> None:
    with pytest.raises((UnknownFunction, UnknownFields)) as caught:
        checked(text)
    assert caught.value.suggestion == suggestion


def test_functions_are_known_in_any_case_and_fields_only_as_they_are_written() -> None:
    assert checked("sum(1) + Sum(2)").type == types.NUMBER
    with pytest.raises(UnknownFields):
        checked("number")
    with pytest.raises(UnknownFields):
        checked("{Number }")


# Sizes


@pytest.mark.parametrize(
    ("text", "height"),
    [
        ("ABS(" * 2_000 + "1" + ")" * 2_000, 2_001),
        ("+".join(["1"] * 10_000), 10_000),
        ("IF(1," * 1_000 + "Text" + ")" * 1_000, 1_001),
    ],
    ids=["levels", "chain", "choices"],
)
def test_depth_is_no_limit(text: str, height: int) -> None:
    assert checked(text).root.height == height


def test_many_unknown_fields_are_told_at_once() -> None:
    with pytest.raises(UnknownFields) as caught:
        checked("+".join(f"{{no {number}}}" for number in range(2_000)))
    assert len(caught.value.names) == 2_000
