"""Values of fields for tests: the corpus of cases, values of every kind, and what a client should read back."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from pyat.foundation.clock import wire_time
from pyat.foundation.ids import BaseId, FieldId, UserId
from pyat.recordstore.errors import UnknownChoice
from pyat.recordstore.fieldtypes import BadValue, NewChoices, StoredValue, User, Users, find, with_new_choices
from pyat.recordstore.fieldtypes.people import UserType
from pyat.recordstore.structure import Field

CORPUS = Path(__file__).parent.parent / "corpus" / "values"
EMPTY, REFUSED, UNKNOWN_CHOICE = "empty", "refused", "unknown choice"
BASE_ID = BaseId("app00000000000001")
USERS = Users(
    tuple(
        User(UserId(f"usr{number:014}"), email, name)
        for number, (email, name) in enumerate(
            [
                ("ann@example.com", "Ann Lee"),
                ("Bob@Example.com", "bob"),
                ("cy@example.com", 'Cy "C", Jr.'),
                ("one@example.com", "Same Name"),
                ("two@example.com", "same name"),
            ]
        )
    )
)


def make_field(type_name: str, options: Any = None) -> Field:
    """A field with the options of a create request; choices get the ids sel00000000000000, …01 and so on."""
    numbers = count()
    parsed = find(type_name).parse_options(options, new_choice_id=lambda: f"sel{next(numbers):014}")
    return Field(FieldId("fld00000000000001"), "F", type_name, parsed, base_id=BASE_ID)


@dataclass(frozen=True)
class Case:
    """One line of the corpus: `value` written to `field` is `expected` (JSON text, or one of the words above)."""

    id: str
    field: Field
    value: Any
    is_typecast: bool
    expected: str


def corpus() -> list[Case]:
    """Every case of every file."""
    found = []
    for file in sorted(CORPUS.glob("*.toml")):
        for number, group in enumerate(tomllib.loads(file.read_text("utf-8"))["field"], 1):
            assert group.keys() <= {"type", "options", "source", "strict", "typecast"}
            assert group["source"]
            field = make_field(group["type"], orjson.loads(group.get("options", "null")))
            for mode in ("strict", "typecast"):
                for written, expected in group.get(mode, ()):
                    case_id = f"{group['type']}-{number}-{mode}-{ascii(written)[1:-1]}"
                    found.append(Case(case_id, field, orjson.loads(written), mode == "typecast", expected))
    return found


def write(field: Field, value: Any, *, is_typecast: bool) -> tuple[Field, StoredValue]:
    """The stored value, and the field as it is after the write. Raises BadValue, UnknownChoice."""
    kind = find(field.type)
    if isinstance(kind, UserType):
        return field, kind.read(value, USERS, typecast=is_typecast)
    if not is_typecast:
        return field, kind.parse(value, field)
    new_choices = NewChoices()
    stored = kind.typecast(value, field, new_choices)
    return (replace(field, options=with_new_choices(field, new_choices)) if new_choices.ids_by_name else field), stored


def parsed(field: Field, value: Any) -> StoredValue:
    """The stored value of a write without typecast. Raises BadValue, UnknownChoice."""
    return write(field, value, is_typecast=False)[1]


def outcome(case: Case) -> tuple[str, Field, StoredValue]:
    """REFUSED, UNKNOWN_CHOICE or "" with the field after the write and the stored value."""
    try:
        return ("", *write(case.field, case.value, is_typecast=case.is_typecast))
    except BadValue:
        return REFUSED, case.field, None
    except UnknownChoice:
        return UNKNOWN_CHOICE, case.field, None


def seen(field: Field, stored: StoredValue) -> Any:
    """What a client reads: the model that PostgreSQL's answer is compared with. None for a cell that is left out."""
    if isinstance(stored, datetime):
        assert stored.utcoffset() == UTC.utcoffset(None)
        return f"{stored.year:04}{wire_time(stored)[wire_time(stored).index('-') :]}"
    if isinstance(stored, date):
        return stored.isoformat()
    if field.type in ("singleSelect", "multipleSelects") and stored is not None:
        names = {choice["id"]: choice["name"] for choice in field.options["choices"]}
        return names[stored] if isinstance(stored, str) else [names[choice_id] for choice_id in stored]
    if field.type == "barcode" and stored is not None:
        return orjson.loads(stored)
    if isinstance(find(field.type), UserType) and stored is not None:
        people = [
            {"id": user.user_id, "email": user.email, "name": user.name}
            for user in map(USERS.by_id.__getitem__, [stored] if isinstance(stored, str) else stored)
        ]
        return people[0] if isinstance(stored, str) else people
    return stored


def decoded(field: Field, json: str | None) -> Any:
    """An answer's JSON text of one cell as `seen` gives it: numbers as doubles, however many digits they have."""
    if json is None:
        return None
    is_number = find(field.type).pg_type in ("float8", "int2")
    return float(json) if is_number else orjson.loads(json)


# One field of every type that takes values and keeps them in a column, with options that leave room.

APART = frozenset({"multipleRecordLinks", "multipleAttachments"})
"""Types whose values lie in relations of their own; they have tests of their own."""

_CHOICES = [{"name": name} for name in ("a", "b", "c", "d", "e f", 'with "quotes"', "back\\slash", "北京", "1", "x, y")]
_MOMENT = {"dateFormat": {"name": "us"}, "timeFormat": {"name": "12hour"}}
WRITABLE: Sequence[Field] = [
    *(make_field(name) for name in ("singleLineText", "multilineText", "richText", "email", "url", "phoneNumber")),
    make_field("number", {"precision": 8}),
    make_field("currency", {"precision": 2, "symbol": "€"}),
    make_field("percent", {"precision": 0}),
    make_field("duration", {"durationFormat": "h:mm"}),
    make_field("rating", {"icon": "heart", "max": 7, "color": "redBright"}),
    make_field("checkbox", {"icon": "flag", "color": "tealBright"}),
    make_field("date", {"dateFormat": {"name": "european"}}),
    make_field("dateTime", {**_MOMENT, "timeZone": "utc"}),
    make_field("dateTime", {**_MOMENT, "timeZone": "Australia/Lord_Howe"}),  # half an hour of daylight saving time
    make_field("singleSelect", {"choices": _CHOICES}),
    make_field("multipleSelects", {"choices": _CHOICES}),
    make_field("multipleSelects", {"choices": [{"name": f"choice number {number}"} for number in range(500)]}),
    make_field("barcode"),
    make_field("singleCollaborator"),
    make_field("multipleCollaborators"),
]


def _names(field: Field) -> st.SearchStrategy[str]:
    return st.sampled_from([choice["name"] for choice in field.options["choices"]])


_people = st.sampled_from(USERS.people).map(lambda user: {"id": user.user_id, "email": user.email, "name": user.name})


def accepted_values(field: Field) -> st.SearchStrategy[Any]:
    """Values as a client may write them without typecast, blank or not."""
    blanks: st.SearchStrategy[Any] = st.sampled_from([None, "", False, []])
    # A database holds any character but NUL, and JSON no half of a surrogate pair.
    texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
    values: dict[str, st.SearchStrategy[Any]] = {
        "richText": texts | st.lists(st.sampled_from(["* a", " *\tb", "* * *", "```", "-", "*", ""])).map("\n".join),
        "rating": st.integers(0, 7),
        "checkbox": st.just(True),
        "barcode": st.builds(lambda text, kind: {"text": text, "type": kind} if kind else {"text": text}, texts, texts),
        "singleCollaborator": _people | _people.map(lambda person: {"email": person["email"].upper()}),
        "multipleCollaborators": st.lists(_people | _people.map(lambda person: person["id"]), max_size=6),
        "date": st.dates().map(str) | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        "dateTime": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(datetime.isoformat)
        | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
        | st.integers(-62135596800000, 253402300799999)
        | st.floats(-62135596800000, 253402300799999),
    }
    if field.type in ("number", "currency", "percent", "duration"):
        own: st.SearchStrategy[Any] = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64)
    elif field.type == "singleSelect":
        own = _names(field)
    elif field.type == "multipleSelects":
        own = st.lists(_names(field), max_size=12)
    else:
        own = values.get(field.type, texts)
    return blanks | own


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.text("0123456789-:/.,+TZ %$€()aprmjunebyé", max_size=25)
    | st.sampled_from(
        ["a", "a, b", "2024-03-01", "3/1/2024 8:00am", "1 mar 2024", "12%", "1:30", "\x00", "x" * 100_001]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
"""Anything that a body can hold."""
