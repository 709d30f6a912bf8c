"""Options of create requests: what is stored of them, and the exact reason where they are refused."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.recordstore.fieldtypes import REGISTRY, BadOptions, find
from pyat.recordstore.fieldtypes.selects import COLOR_CYCLE
from pyat.recordstore.fieldtypes.zones import zone_names
from tests.support.field_values import APART, json_values, make_field

US = {"dateFormat": {"name": "us", "format": "M/D/YYYY"}}
CLOCK = {"timeFormat": {"name": "12hour", "format": "h:mma"}}
MOMENT = {**US, **CLOCK, "timeZone": "Europe/Berlin"}
SHORT_MOMENT = {"dateFormat": {"name": "us"}, "timeFormat": {"name": "12hour"}, "timeZone": "Europe/Berlin"}
DEFAULT_RESULT = {
    "type": "dateTime",
    "options": {"dateFormat": {"name": "local", "format": "l"}, **CLOCK, "timeZone": "client"},
}
A_FIELD, ANOTHER = "fldAAAAAAAAAAAAAA", "fldBBBBBBBBBBBBBB"
WAY = {"recordLinkFieldId": A_FIELD, "fieldIdInLinkedTable": ANOTHER}

TAKEN: list[tuple[str, Any, Any]] = [
    ("singleLineText", None, {}),
    ("multilineText", {}, {}),
    ("richText", None, {}),
    ("email", None, {}),
    ("url", None, {}),
    ("phoneNumber", None, {}),
    ("number", {"precision": 0}, {"precision": 0}),
    ("number", {"precision": 8}, {"precision": 8}),
    ("percent", {"precision": 8}, {"precision": 8}),
    ("currency", {"precision": 7, "symbol": "US$"}, {"precision": 7, "symbol": "US$"}),
    ("currency", {"symbol": "", "precision": 0}, {"precision": 0, "symbol": ""}),
    *(
        ("duration", {"durationFormat": name}, {"durationFormat": name})
        for name in ("h:mm", "h:mm:ss", "h:mm:ss.S", "h:mm:ss.SS", "h:mm:ss.SSS")
    ),
    *(
        ("rating", {"icon": icon, "max": 10, "color": "grayBright"}, {"icon": icon, "max": 10, "color": "grayBright"})
        for icon in ("star", "heart", "thumbsUp", "flag", "dot")
    ),
    ("checkbox", {"icon": "xCheckbox", "color": "tealBright"}, {"icon": "xCheckbox", "color": "tealBright"}),
    ("date", {"dateFormat": {"name": "us"}}, US),
    ("date", US, US),
    ("date", {"dateFormat": {"name": "local"}}, {"dateFormat": {"name": "local", "format": "l"}}),
    ("date", {"dateFormat": {"name": "friendly"}}, {"dateFormat": {"name": "friendly", "format": "LL"}}),
    ("date", {"dateFormat": {"name": "european"}}, {"dateFormat": {"name": "european", "format": "D/M/YYYY"}}),
    ("date", {"dateFormat": {"name": "iso"}}, {"dateFormat": {"name": "iso", "format": "YYYY-MM-DD"}}),
    ("dateTime", SHORT_MOMENT, MOMENT),
    ("dateTime", MOMENT, MOMENT),
    ("dateTime", {**MOMENT, "timeZone": "utc"}, {**MOMENT, "timeZone": "utc"}),
    ("dateTime", {**MOMENT, "timeZone": "client"}, {**MOMENT, "timeZone": "client"}),
    (
        "dateTime",
        {**SHORT_MOMENT, "timeFormat": {"name": "24hour"}},
        {**MOMENT, "timeFormat": {"name": "24hour", "format": "HH:mm"}},
    ),
    ("singleSelect", {"choices": []}, {"choices": []}),
    (
        "multipleSelects",
        {"choices": [{"name": " Todo "}, {"name": "todo", "color": "redDark1"}, {"name": "x" * 1000}]},
        {
            "choices": [
                {"id": "sel00000000000000", "name": "Todo", "color": "blueLight2"},
                {"id": "sel00000000000001", "name": "todo", "color": "redDark1"},
                {"id": "sel00000000000002", "name": "x" * 1000, "color": "tealLight2"},
            ]
        },
    ),
    ("autoNumber", None, {}),
    ("createdTime", None, {"result": DEFAULT_RESULT}),
    ("createdTime", {"result": None}, {"result": DEFAULT_RESULT}),
    (
        "createdTime",
        {"result": {"type": "date", "options": {"dateFormat": {"name": "us"}}}},
        {"result": {"type": "date", "options": US}},
    ),
    (
        "createdTime",
        {"result": {"type": "dateTime", "options": SHORT_MOMENT}},
        {"result": {"type": "dateTime", "options": MOMENT}},
    ),
    ("lastModifiedTime", None, {"isValid": True, "referencedFieldIds": [], "result": DEFAULT_RESULT}),
    (
        "lastModifiedTime",
        {
            "referencedFieldIds": [ANOTHER, A_FIELD, ANOTHER],
            "result": {"type": "dateTime", "options": SHORT_MOMENT},
        },
        {
            "isValid": True,
            "referencedFieldIds": [ANOTHER, A_FIELD],
            "result": {"type": "dateTime", "options": MOMENT},
        },
    ),
    *((name, None, {}) for name in ("barcode", "singleCollaborator", "multipleCollaborators", "createdBy")),
    ("lastModifiedBy", {}, {}),
    ("button", {"label": "Open"}, {"label": "Open", "url": None}),
    ("button", {"label": "Open", "url": "https://x.test"}, {"label": "Open", "url": "https://x.test"}),
    ("count", {"recordLinkFieldId": A_FIELD}, {"recordLinkFieldId": A_FIELD, "isValid": True}),
    ("multipleLookupValues", WAY, {**WAY, "isValid": True, "result": None}),
    (
        "rollup",
        {**WAY, "formula": "SUM(values)"},
        {**WAY, "formula": "SUM(values)", "referencedFieldIds": [], "isValid": True, "result": None},
    ),
    (
        "formula",
        {"formula": "{A} & 1"},
        {"formula": "{A} & 1", "isValid": True, "referencedFieldIds": [], "result": None},
    ),
    ("aiText", {"prompt": []}, {"prompt": [], "referencedFieldIds": []}),
    (
        "aiText",
        {"prompt": ["Sum up ", {"field": {"fieldId": A_FIELD}}, {"field": {"fieldId": A_FIELD}}]},
        {
            "prompt": ["Sum up ", {"field": {"fieldId": A_FIELD}}, {"field": {"fieldId": A_FIELD}}],
            "referencedFieldIds": [A_FIELD],
        },
    ),
    (
        "externalSyncSource",
        {"choices": [{"name": "Jira"}]},
        {"choices": [{"id": "sel00000000000000", "name": "Jira", "color": "blueLight2"}]},
    ),
]

COLORS_40 = ", ".join(COLOR_CYCLE)
BRIGHT = "greenBright, tealBright, cyanBright, blueBright, purpleBright, pinkBright, redBright, orangeBright, yellowBright, grayBright"
NO_ZONE = "F.options.timeZone is not utc, client or the name of a time zone"

REFUSED: list[tuple[str, Any, str]] = [
    ("barcode", {"x": 1}, "F.options is not included in the schema"),
    ("multipleCollaborators", {"x": 1}, "F.options is not included in the schema"),
    ("button", None, "F.options is missing"),
    ("button", {"label": ""}, "F.options.label is empty"),
    ("button", {"label": "x", "url": 5}, "F.options.url is not a text of at most 2000 characters"),
    ("count", None, "F.options is missing"),
    ("count", {"recordLinkFieldId": "x"}, "F.options.recordLinkFieldId is not the id of a field"),
    ("count", {"recordLinkFieldId": A_FIELD, "isValid": True}, "F.options.isValid is not included in the schema"),
    ("multipleLookupValues", {"recordLinkFieldId": A_FIELD}, "F.options.fieldIdInLinkedTable is missing"),
    ("rollup", WAY, "F.options.formula is missing"),
    ("formula", {"formula": " "}, "F.options.formula is empty"),
    ("formula", {"formula": "1", "result": None}, "F.options.result is not included in the schema"),
    ("aiText", {"prompt": [5]}, "F.options.prompt[0] is not an object"),
    ("aiText", {"prompt": [{"field": {"fieldId": 1}}]}, "F.options.prompt[0].field.fieldId is not the id of a field"),
    ("externalSyncSource", None, "F.options is missing"),
    ("number", None, "F.options is missing"),
    ("currency", None, "F.options is missing"),
    ("percent", None, "F.options is missing"),
    ("duration", None, "F.options is missing"),
    ("rating", None, "F.options is missing"),
    ("checkbox", None, "F.options is missing"),
    ("date", None, "F.options is missing"),
    ("dateTime", None, "F.options is missing"),
    ("singleSelect", None, "F.options is missing"),
    ("multipleSelects", None, "F.options is missing"),
    ("singleLineText", {"x": 1}, "F.options is not included in the schema"),
    ("richText", [], "F.options is not included in the schema"),
    ("email", False, "F.options is not included in the schema"),
    ("autoNumber", {"x": 1}, "F.options is not included in the schema"),
    ("number", [], "F.options is not an object"),
    ("number", "x", "F.options is not an object"),
    ("number", {}, "F.options.precision is missing"),
    ("number", {"precision": 1, "extra": 1}, "F.options.extra is not included in the schema"),
    ("number", {"precision": 1, "x" * 500: 1}, f"F.options.{'x' * 100} is not included in the schema"),
    ("number", {"precision": 9}, "F.options.precision is not a whole number from 0 to 8"),
    ("number", {"precision": -1}, "F.options.precision is not a whole number from 0 to 8"),
    ("percent", {"precision": True}, "F.options.precision is not a whole number from 0 to 8"),
    ("percent", {"precision": 1.0}, "F.options.precision is not a whole number from 0 to 8"),
    ("number", {"precision": "1"}, "F.options.precision is not a whole number from 0 to 8"),
    ("number", {"precision": None}, "F.options.precision is not a whole number from 0 to 8"),
    ("currency", {"precision": 8, "symbol": "$"}, "F.options.precision is not a whole number from 0 to 7"),
    ("currency", {"precision": 2}, "F.options.symbol is missing"),
    ("currency", {"precision": 2, "symbol": 5}, "F.options.symbol is not a text of at most 100 characters"),
    ("currency", {"precision": 2, "symbol": "x" * 101}, "F.options.symbol is not a text of at most 100 characters"),
    ("duration", {}, "F.options.durationFormat is missing"),
    (
        "duration",
        {"durationFormat": "mm:ss"},
        "F.options.durationFormat is not one of h:mm, h:mm:ss, h:mm:ss.S, h:mm:ss.SS, h:mm:ss.SSS",
    ),
    ("rating", {"max": 5, "color": "redBright"}, "F.options.icon is missing"),
    (
        "rating",
        {"icon": "check", "max": 5, "color": "redBright"},
        "F.options.icon is not one of star, heart, thumbsUp, flag, dot",
    ),
    (
        "rating",
        {"icon": "star", "max": 0, "color": "redBright"},
        "F.options.max is not a whole number from 1 to 10",
    ),
    (
        "rating",
        {"icon": "star", "max": 11, "color": "redBright"},
        "F.options.max is not a whole number from 1 to 10",
    ),
    ("rating", {"icon": "star", "max": 5, "color": "red"}, f"F.options.color is not one of {BRIGHT}"),
    (
        "checkbox",
        {"icon": [], "color": "redBright"},
        "F.options.icon is not one of check, xCheckbox, star, heart, thumbsUp, flag, dot",
    ),
    ("checkbox", {"icon": "check", "color": "redLight1"}, f"F.options.color is not one of {BRIGHT}"),
    ("date", {}, "F.options.dateFormat is missing"),
    ("date", {"dateFormat": "iso"}, "F.options.dateFormat is not an object"),
    ("date", {"dateFormat": {}}, "F.options.dateFormat.name is missing"),
    (
        "date",
        {"dateFormat": {"name": "swiss"}},
        "F.options.dateFormat.name is not one of local, friendly, us, european, iso",
    ),
    (
        "date",
        {"dateFormat": {"name": "us", "format": "D/M/YYYY"}},
        "F.options.dateFormat.format is not M/D/YYYY, the format called us",
    ),
    (
        "date",
        {"dateFormat": {"name": "us", "x": 1}},
        "F.options.dateFormat.x is not included in the schema",
    ),
    ("date", {**US, "timeZone": "utc"}, "F.options.timeZone is not included in the schema"),
    ("dateTime", US, "F.options.timeFormat is missing"),
    ("dateTime", {**US, **CLOCK}, "F.options.timeZone is missing"),
    (
        "dateTime",
        {**MOMENT, "timeFormat": {"name": "h:mm"}},
        "F.options.timeFormat.name is not one of 12hour, 24hour",
    ),
    *(
        ("dateTime", {**MOMENT, "timeZone": zone}, NO_ZONE)
        for zone in ("UTC", "Europe", "europe/berlin", "../etc/passwd", "/etc/localtime", "", "CEST", 1, None, ["utc"])
    ),
    ("singleSelect", {}, "F.options.choices is missing"),
    ("singleSelect", {"choices": {}}, "F.options.choices is not an array"),
    ("singleSelect", {"choices": ["a"]}, "F.options.choices[0] is not an object"),
    ("singleSelect", {"choices": [{"name": "a"}, None]}, "F.options.choices[1] is missing"),
    ("singleSelect", {"choices": [{}]}, "F.options.choices[0].name is missing"),
    ("singleSelect", {"choices": [{"name": " \n"}]}, "F.options.choices[0].name is empty"),
    (
        "singleSelect",
        {"choices": [{"name": 1}]},
        "F.options.choices[0].name is not a text of at most 1000 characters",
    ),
    (
        "singleSelect",
        {"choices": [{"name": "x" * 1001}]},
        "F.options.choices[0].name is not a text of at most 1000 characters",
    ),
    ("multipleSelects", {"choices": [{"name": "a"}, {"name": " a "}]}, "F.options.choices[1].name is there twice"),
    (
        "multipleSelects",
        {"choices": [{"name": "a", "color": "red"}]},
        f"F.options.choices[0].color is not one of {COLORS_40}",
    ),
    (
        "multipleSelects",
        {"choices": [{"name": "a", "id": "sel00000000000000"}]},
        "F.options.choices[0].id is only accepted for a choice that exists",
    ),
    (
        "multipleSelects",
        {"choices": [{"name": "a", "icon": "x"}]},
        "F.options.choices[0].icon is not included in the schema",
    ),
    (
        "multipleSelects",
        {"choices": [], "typecast": True},
        "F.options.typecast is not included in the schema",
    ),
    (
        "singleSelect",
        {"choices": [{"name": str(number)} for number in range(10_001)]},
        "F.options.choices has more than 10000 items",
    ),
    ("createdTime", [], "F.options is not an object"),
    ("createdTime", {"x": 1}, "F.options.x is not included in the schema"),
    ("createdTime", {"result": {"type": "date"}}, "F.options.result.options is missing"),
    (
        "createdTime",
        {"result": {"type": "number", "options": {"precision": 1}}},
        "F.options.result.type is not one of date, dateTime",
    ),
    (
        "createdTime",
        {"result": {"type": "date", "options": {"dateFormat": {}}}},
        "F.options.result.options.dateFormat.name is missing",
    ),
    ("lastModifiedTime", {"isValid": True}, "F.options.isValid is not included in the schema"),
    ("lastModifiedTime", {"referencedFieldIds": "x"}, "F.options.referencedFieldIds is not an array"),
    (
        "lastModifiedTime",
        {"referencedFieldIds": [A_FIELD, "Name"]},
        "F.options.referencedFieldIds[1] is not the id of a field",
    ),
    (
        "lastModifiedTime",
        {"referencedFieldIds": [A_FIELD] * 501},
        "F.options.referencedFieldIds has more than 500 items",
    ),
]


@pytest.mark.parametrize(("type_name", "given_options", "stored"), TAKEN)
def test_taken(type_name: str, given_options: Any, stored: Any) -> None:
    assert make_field(type_name, given_options).options == stored


@pytest.mark.parametrize(("type_name", "given_options", "reason"), REFUSED)
def test_refused(type_name: str, given_options: Any, reason: str) -> None:
    with pytest.raises(BadOptions) as caught:
        make_field(type_name, given_options)
    assert caught.value.reason("F") == reason


def test_every_type_is_covered() -> None:
    assert {type_name for type_name, _, _ in TAKEN} == set(REGISTRY) - APART


@given(
    st.sampled_from(sorted(REGISTRY)),
    json_values | st.dictionaries(st.sampled_from(["choices", "result"]), json_values),
)
def test_any_options_are_taken_or_refused(type_name: str, given_options: Any) -> None:
    try:
        field = make_field(type_name, given_options)
    except BadOptions:
        return
    assert orjson.loads(orjson.dumps(field.options)) == field.options


def test_colors_of_new_choices_take_turns() -> None:
    options = {"choices": [{"name": str(number)} for number in range(41)]}
    colors = [choice["color"] for choice in make_field("singleSelect", options).options["choices"]]
    assert colors[:11] == [
        *("blueLight2", "cyanLight2", "tealLight2", "greenLight2", "yellowLight2", "orangeLight2", "redLight2"),
        *("pinkLight2", "purpleLight2", "grayLight2", "blueLight1"),
    ]
    assert len(set(colors)) == 40
    assert colors[40] == colors[0]
    assert {color.rstrip("12") for color in colors} == {
        f"{hue}{shade}"
        for hue in ("blue", "cyan", "teal", "green", "yellow", "orange", "red", "pink", "purple", "gray")
        for shade in ("Light", "Bright", "Dark")
    }


def test_zones_are_those_of_the_package_and_all_load() -> None:
    assert {"Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/UTC"} <= zone_names()
    assert len(zone_names()) > 500
    for zone in zone_names() - {"UTC"}:
        field = make_field("dateTime", {**MOMENT, "timeZone": zone})
        assert find("dateTime").parse("2024-07-01T12:00:00", field).year == 2024
