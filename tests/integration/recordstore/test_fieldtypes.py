"""Values through a real column and back: what `parse` stores, `json_sql` reads and `sort_sql` orders."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, TypeAlias

import asyncpg
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyat.foundation.db import Database
from pyat.foundation.ids import TableId
from pyat.recordstore.fieldtypes import REGISTRY, TextFormat, find
from pyat.recordstore.fieldtypes.zones import zone_names
from pyat.recordstore.structure import Field, Link
from tests.support.field_values import (
    APART,
    BASE_ID,
    EMPTY,
    REFUSED,
    UNKNOWN_CHOICE,
    USERS,
    WRITABLE,
    Case,
    accepted_values,
    corpus,
    decoded,
    make_field,
    outcome,
    parsed,
    seen,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

COLUMN = 'r."fld00000000000001"'
CASES = [case for case in corpus() if case.expected not in (REFUSED, UNKNOWN_CHOICE)]
NUMBER_TYPES = ("number", "currency", "percent", "duration", "rating")


async def add_users(connection: Connection) -> None:
    """The users that every base knows of."""
    await connection.execute(
        f'CREATE SCHEMA "{BASE_ID}"; CREATE TABLE "{BASE_ID}".base_users (user_id text, email text, name text)'
    )
    await connection.executemany(
        f'INSERT INTO "{BASE_ID}".base_users VALUES ($1, $2, $3)',
        [(user.user_id, user.email, user.name) for user in USERS.people],
    )


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[Connection]:
    """A connection with the session settings of the platform."""
    database = await Database.open(empty_postgres_url, connections_max=1)
    async with database.connection() as opened:
        await add_users(opened.raw)
        yield opened.raw
    await database.close()


Work: TypeAlias = Callable[[Connection], Awaitable[None]]


@pytest.fixture
def with_connection(empty_postgres_url: str) -> Iterator[Callable[[Work], None]]:
    """Runs what it is given with such a connection, for tests that hypothesis calls many times."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(empty_postgres_url, connections_max=1))

        async def prepare() -> None:
            async with database.connection() as opened:
                await add_users(opened.raw)

        async def run(work: Work) -> None:
            async with database.connection() as opened:
                await work(opened.raw)

        runner.run(prepare())
        yield lambda work: runner.run(run(work))
        runner.run(database.close())


async def store(connection: Connection, field: Field, values: Sequence[Any]) -> None:
    """A fresh relation `cells` of these stored values, in order of `_n`, with the system columns of any record."""
    pg_type = find(field.type).pg_type
    await connection.execute(
        f'DROP TABLE IF EXISTS cells; CREATE TEMP TABLE cells ("fld00000000000001" {pg_type}, _n int8,'
        " _created timestamptz, _modified timestamptz, _created_by text, _modified_by text)"
    )
    await connection.executemany(
        # The type is in the text, because drivers remember the types of a statement by its text.
        f"INSERT INTO cells VALUES ($1::{pg_type}, $2, '2024-03-01T08:00:00Z', '2024-03-01T08:00:00.120Z',"
        f" '{USERS.people[0].user_id}', 'usrGone')",
        [(value, number) for number, value in enumerate(values)],
    )


async def read(connection: Connection, field: Field) -> list[str | None]:
    """The JSON text of every stored cell, built as a part of a record's."""
    sql = find(field.type).json_sql(field, COLUMN)
    rows = await connection.fetch(f"SELECT 'x' || {sql} AS json FROM cells r ORDER BY _n")
    return [None if row["json"] is None else row["json"][1:] for row in rows]


async def stored_and_read(connection: Connection, field: Field, values: Sequence[Any]) -> list[str | None]:
    """The JSON texts of these stored values."""
    await store(connection, field, values)
    return await read(connection, field)


async def test_corpus(connection: Connection) -> None:
    wrong = []
    for case in CASES:
        _, field, value = outcome(case)
        [found] = await stored_and_read(connection, field, [value])
        if not _agrees(case, found):
            wrong.append(f"{case.id}: {found} instead of {case.expected}")
    assert wrong == []


def _agrees(case: Case, found: str | None) -> bool:
    if found is None or case.expected == EMPTY:
        return found is None and case.expected == EMPTY
    if case.field.type in NUMBER_TYPES:
        return found == case.expected  # the digits themselves: an integer must not be written as 1.0
    return bool(decoded(case.field, found) == decoded(case.field, case.expected))


@pytest.mark.parametrize("field", WRITABLE, ids=attrgetter("type"))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read_back(
    with_connection: Callable[[Work], None], field: Field, data: st.DataObject
) -> None:
    values = data.draw(st.lists(accepted_values(field), min_size=1, max_size=60))
    stored = [parsed(field, value) for value in values]

    async def check(connection: Connection) -> None:
        found = await stored_and_read(connection, field, stored)
        read_back = [decoded(field, text) for text in found]
        assert read_back == [seen(field, item) for item in stored]
        again = [parsed(field, item) for item in read_back if item is not None]
        assert again == [item for item in stored if item is not None]

    with_connection(check)


def _order_key(field: Field, value: Any) -> Any:
    """The order that `sort_sql` promises, in Python, for a value that is not blank."""
    if field.type in ("singleSelect", "multipleSelects"):
        places = {choice["id"]: place for place, choice in enumerate(field.options["choices"])}
        return places[value] if isinstance(value, str) else [places[choice_id] for choice_id in value]
    if field.type in ("singleCollaborator", "multipleCollaborators"):
        names = [USERS.by_id[user_id].name for user_id in ([value] if isinstance(value, str) else value)]
        return ", ".join(names).lower()
    if field.type == "barcode":
        value = orjson.loads(value)["text"]
    return (value.lower(), value) if isinstance(value, str) else value


def _compare(field: Field, a: Any, b: Any) -> int:
    blanks = (None, "\n") if field.type == "richText" else (None,)
    if a in blanks or b in blanks:
        return (b in blanks) - (a in blanks)
    key_a, key_b = _order_key(field, a), _order_key(field, b)
    return int(key_a > key_b) - int(key_a < key_b)


@pytest.mark.parametrize("field", WRITABLE, ids=attrgetter("type"))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order(with_connection: Callable[[Work], None], field: Field, data: st.DataObject) -> None:
    kind = find(field.type)
    letters = st.text("aAbBzZ019 _-", max_size=3)  # letters whose small forms no two versions of Unicode dispute
    is_text = kind.pg_type == "text" and "Select" not in field.type and "Coll" not in field.type
    own = letters if is_text else accepted_values(field)
    if field.type == "barcode":
        own = letters.map(lambda text: {"text": text})
    values = data.draw(st.lists(own, min_size=2, max_size=40))
    stored = [*(parsed(field, value) for value in values), None]  # the last cell was never written
    by_value = functools.cmp_to_key(functools.partial(_compare, field))
    expected = sorted(range(len(stored)), key=lambda number: by_value(stored[number]))

    async def check(connection: Connection) -> None:
        await store(connection, field, stored)
        keys = kind.sort_sql(field, COLUMN)
        order = ", ".join(f"{key} ASC NULLS FIRST" for key in keys)
        assert [row["_n"] for row in await connection.fetch(f"SELECT _n FROM cells r ORDER BY {order}, _n")] == expected
        # As a cursor does it: every key goes out as text, and compares equal when it comes back.
        for key, pg_type in zip(keys, kind.sort_pg_types(field), strict=True):
            same = f"count(*) FILTER (WHERE {key} IS NOT DISTINCT FROM ({key})::text::{pg_type})"
            assert await connection.fetchval(f"SELECT {same} = count(*) FROM cells r")

    with_connection(check)


async def test_choices_that_are_gone_read_as_empty(connection: Connection) -> None:
    choices = {"choices": [{"name": name} for name in "abcd"]}
    ids = [f"sel{number:014}" for number in range(4)]
    single, multiple = make_field("singleSelect", choices), make_field("multipleSelects", choices)
    assert await stored_and_read(connection, single, [ids[0], "selGone", None]) == ['"a"', None, None]
    cells = [
        ["selGone"],
        ["selGone", ids[1]],
        [ids[1], "selGone", ids[0]],
        ["selGone", *ids],
        ["selGone"] * 5,
        None,
        [],
    ]
    found = [None, '["b"]', '["b","a"]', '["a","b","c","d"]', None, None, None]
    assert await stored_and_read(connection, multiple, cells) == found
    key = find("multipleSelects").sort_sql(multiple, COLUMN)[0]
    keys = [row["key"] for row in await connection.fetch(f"SELECT {key} AS key FROM cells r ORDER BY _n")]
    assert keys == [None, [1], [1, 0], [0, 1, 2, 3], None, None, None]
    many = make_field("multipleSelects", {"choices": [{"name": f"choice {number}"} for number in range(300)]})
    assert await stored_and_read(connection, many, [["selGone"], None, [], ["selGone", ids[2], ids[1]]]) == [
        *(None, None, None),
        '["choice 2","choice 1"]',
    ]


async def test_the_largest_select(connection: Connection) -> None:
    options = {"choices": [{"name": f"{number} \"'\\ 北"} for number in range(10_000)]}
    last = "sel00000000009999"
    for field, cell, json in (
        (make_field("singleSelect", options), last, '"9999 \\"\'\\\\ 北"'),
        (make_field("multipleSelects", options), [last], '["9999 \\"\'\\\\ 北"]'),
    ):
        assert await stored_and_read(connection, field, [cell]) == [json]
        key = find(field.type).sort_sql(field, COLUMN)[0]
        assert await connection.fetchval(f"SELECT ({key})::text FROM cells r") in ("9999", "{9999}")


US_DATE = {"type": "date", "options": {"dateFormat": {"name": "us"}}}


async def test_system_times(connection: Connection) -> None:
    created, modified = make_field("createdTime"), make_field("lastModifiedTime")
    own = replace(modified, options={**modified.options, "referencedFieldIds": ["fldAAAAAAAAAAAAAA"]})
    moment = datetime(999, 12, 31, 23, 59, 59, 5000, UTC)
    for field, expected, date_expected in (
        (created, '"2024-03-01T08:00:00.000Z"', '"2024-03-01"'),
        (modified, '"2024-03-01T08:00:00.120Z"', '"2024-03-01"'),
        (own, '"0999-12-31T23:59:59.005Z"', '"0999-12-31"'),
    ):
        assert await stored_and_read(connection, field, [moment]) == [expected]
        as_date = replace(field, options={**field.options, **make_field("createdTime", {"result": US_DATE}).options})
        assert await read(connection, as_date) == [date_expected]
        [key] = find(field.type).sort_sql(field, COLUMN)
        found = await connection.fetchval(f"SELECT {key} FROM cells r")
        assert found.strftime("%M%S.%f") == ("5959.005000" if field is own else f"0000.{expected[21:24]}000")
    assert find("createdTime").sort_sql(created, '"fld00000000000001"') == ("_created",)


async def test_auto_numbers(connection: Connection) -> None:
    field = make_field("autoNumber")
    assert await stored_and_read(connection, field, [1, 2**53 + 1, None]) == ["1", "9007199254740993", None]


async def test_answers_do_not_depend_on_how_a_server_writes_dates(connection: Connection) -> None:
    await connection.execute("SET datestyle = 'German, DMY'; SET intervalstyle = 'iso_8601'")
    day, moment = WRITABLE[12], WRITABLE[13]
    assert (day.type, moment.type) == ("date", "dateTime")
    assert await stored_and_read(connection, day, [date(2024, 3, 1)]) == ['"2024-03-01"']
    stored = datetime(2024, 3, 1, 8, tzinfo=UTC)
    assert await stored_and_read(connection, moment, [stored]) == ['"2024-03-01T08:00:00.000Z"']


async def test_who_made_and_changed_a_record(connection: Connection) -> None:
    ann = {"id": USERS.people[0].user_id, "email": "ann@example.com", "name": "Ann Lee"}
    created, modified = make_field("createdBy"), make_field("lastModifiedBy")
    [found] = await stored_and_read(connection, created, [None])
    assert found is not None
    assert orjson.loads(found) == ann
    assert await stored_and_read(connection, modified, [None]) == ['{"id":"usrGone"}']  # of whom nothing is known
    assert [await text_of(connection, field) for field in (created, modified)] == [["Ann Lee"], ["usrGone"]]
    await connection.execute("UPDATE cells SET _created_by = NULL")
    assert await read(connection, created) == await text_of(connection, created) == [None]
    for field, keys in ((created, [None]), (modified, ["usrgone"])):
        [key] = find(field.type).sort_sql(field, COLUMN)
        assert [row["key"] for row in await connection.fetch(f"SELECT {key} AS key FROM cells r")] == keys


async def test_counts(connection: Connection) -> None:
    link = Link("links", TableId("tbl00000000000001"), is_first=False)
    field = replace(make_field("count", {"recordLinkFieldId": "fldAAAAAAAAAAAAAA"}), via=link)
    await connection.execute(
        f'CREATE TABLE "{BASE_ID}".links (a int8, b int8); INSERT INTO "{BASE_ID}".links VALUES (7, 1), (8, 1), (9, 2)'
    )
    assert await stored_and_read(connection, field, [None, None, None]) == ["0", "2", "1"]
    assert await text_of(connection, field) == ["0", "2", "1"]
    [key] = find("count").sort_sql(field, COLUMN)
    assert [row["_n"] for row in await connection.fetch(f"SELECT _n FROM cells r ORDER BY {key} DESC")] == [1, 2, 0]
    without = replace(field, via=None)
    assert await read(connection, without) == await text_of(connection, without) == [None, None, None]


async def test_what_is_the_same_for_every_record(connection: Connection) -> None:
    button = make_field("button", {"label": 'it\'s \\ "{open}"', "url": None})
    [found] = await stored_and_read(connection, button, [None])
    assert found == '{"label":"it\'s \\\\ \\"{open}\\"","url":null}'
    assert await text_of(connection, button) == ['it\'s \\ "{open}"']
    way = {"recordLinkFieldId": "fldAAAAAAAAAAAAAA", "fieldIdInLinkedTable": "fldAAAAAAAAAAAAAA"}
    blank = [
        make_field("multipleLookupValues", way),
        make_field("rollup", {**way, "formula": "SUM(values)"}),
        make_field("formula", {"formula": "1"}),
    ]
    for field in blank:
        assert await read(connection, field) == await text_of(connection, field) == [None]
    for field in (button, *blank):
        [key] = find(field.type).sort_sql(field, COLUMN)
        assert await connection.fetchval(f"SELECT {key} FROM cells r ORDER BY {key}") is None


async def test_what_other_systems_fill(connection: Connection) -> None:
    text = make_field("aiText", {"prompt": ["x"]})
    cell = '{"state": "generated", "isStale": false, "value": "Sum"}'
    failed = '{"state": "error", "errorType": "x", "isStale": false, "value": null}'
    found = await stored_and_read(connection, text, [cell, failed, None])
    assert [None if json is None else orjson.loads(json) for json in found] == [
        orjson.loads(cell),
        orjson.loads(failed),
        None,
    ]
    assert await text_of(connection, text) == ["Sum", None, None]
    source = make_field("externalSyncSource", {"choices": [{"name": "Jira, old"}]})
    assert await stored_and_read(connection, source, ["sel00000000000000", None]) == ['"Jira, old"', None]
    assert await text_of(connection, source) == ["Jira, old", None]


def test_every_type_is_covered() -> None:
    system = {"autoNumber", "createdTime", "lastModifiedTime", "createdBy", "lastModifiedBy"}
    others = {"count", "button", "multipleLookupValues", "rollup", "formula", "aiText", "externalSyncSource"}
    assert {field.type for field in WRITABLE} | system | others == set(REGISTRY) - APART


# As text


GERMAN = TextFormat.read("Europe/Berlin", "de")


async def text_of(connection: Connection, field: Field, text: TextFormat = GERMAN) -> list[str | None]:
    """Every stored cell as text."""
    sql = find(field.type).text_sql(field, COLUMN, text)
    return [row["text"] for row in await connection.fetch(f"SELECT {sql} AS text FROM cells r ORDER BY _n")]


_DATE_TIME = {"timeFormat": {"name": "24hour"}, "timeZone": "client"}
_JUNE = "2024-06-09T22:05:59.999Z"
TEXTS: list[tuple[str, Any, Any, str]] = [
    ("singleLineText", None, 'as it is,\n "so"', 'as it is,\n "so"'),
    ("richText", None, "**b**", "**b**\n"),
    ("number", {"precision": 0}, 1234.5, "1235"),
    ("number", {"precision": 0}, -0.4, "0"),
    ("number", {"precision": 2}, 1234567.125, "1234567.13"),
    ("number", {"precision": 8}, 1e-7, "0.00000010"),
    ("number", {"precision": 1}, 1e21, "1000000000000000000000.0"),
    ("percent", {"precision": 1}, 0.125, "12.5%"),
    ("percent", {"precision": 0}, -33.3, "-3330%"),
    ("currency", {"precision": 2, "symbol": "$"}, 1234.5, "$1,234.50"),
    ("currency", {"precision": 2, "symbol": "$"}, -1234567.891, "-$1,234,567.89"),
    ("currency", {"precision": 5, "symbol": "it's "}, 0.00001, "it's 0.00001"),
    ("currency", {"precision": 0, "symbol": "€"}, 999999.5, "€1,000,000"),
    ("currency", {"precision": 2, "symbol": "$"}, -0.001, "$0.00"),
    ("duration", {"durationFormat": "h:mm"}, 3661, "1:01"),
    ("duration", {"durationFormat": "h:mm"}, 3599, "1:00"),
    ("duration", {"durationFormat": "h:mm:ss"}, 3661, "1:01:01"),
    ("duration", {"durationFormat": "h:mm:ss.S"}, 3661.5, "1:01:01.5"),
    ("duration", {"durationFormat": "h:mm:ss.SSS"}, -0.0625, "-0:00:00.063"),
    ("duration", {"durationFormat": "h:mm"}, -1, "0:00"),
    ("duration", {"durationFormat": "h:mm:ss"}, 360000, "100:00:00"),
    ("rating", {"icon": "star", "max": 5, "color": "redBright"}, 3, "3"),
    ("checkbox", {"icon": "check", "color": "redBright"}, True, "checked"),
    ("singleSelect", {"choices": [{"name": 'a, "b"'}]}, 'a, "b"', 'a, "b"'),
    ("multipleSelects", {"choices": [{"name": 'a, "b"'}, {"name": "c"}]}, ["c", 'a, "b"'], 'c, "a, ""b"""'),
    ("date", {"dateFormat": {"name": "local"}}, "2024-03-01", "1.3.2024"),
    ("date", {"dateFormat": {"name": "friendly"}}, "2024-03-01", "March 1, 2024"),
    ("date", {"dateFormat": {"name": "us"}}, "2024-03-01", "3/1/2024"),
    ("date", {"dateFormat": {"name": "european"}}, "2024-12-31", "31/12/2024"),
    ("date", {"dateFormat": {"name": "iso"}}, "0999-03-01", "0999-03-01"),
    ("dateTime", {"dateFormat": {"name": "us"}, **_DATE_TIME}, _JUNE, "6/10/2024 00:05"),
    ("dateTime", {"dateFormat": {"name": "us"}, **_DATE_TIME, "timeZone": "utc"}, _JUNE, "6/9/2024 22:05"),
    (
        "dateTime",
        {"dateFormat": {"name": "local"}, "timeFormat": {"name": "12hour"}, "timeZone": "America/New_York"},
        _JUNE,
        "9.6.2024 6:05pm",
    ),
    (
        "dateTime",
        {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "12hour"}, "timeZone": "client"},
        _JUNE,
        "2024-06-10 12:05am",
    ),
    ("barcode", None, {"text": "012", "type": "upce"}, "012"),
    ("singleCollaborator", None, {"email": "cy@example.com"}, 'Cy "C", Jr.'),
    (
        "multipleCollaborators",
        None,
        [{"email": "ann@example.com"}, {"email": "cy@example.com"}],
        'Ann Lee, "Cy ""C"", Jr."',
    ),
]


@pytest.mark.parametrize(("type_name", "options", "value", "expected"), TEXTS)
async def test_text(connection: Connection, type_name: str, options: Any, value: Any, expected: str) -> None:
    field = make_field(type_name, options)
    await store(connection, field, [parsed(field, value), None])
    assert await text_of(connection, field) == [expected, None]


async def test_text_of_system_fields(connection: Connection) -> None:
    number, created = make_field("autoNumber"), make_field("createdTime")
    await store(connection, number, [7])
    assert await text_of(connection, number) == ["7"]
    assert await text_of(connection, created) == ["1.3.2024 9:00am"]
    as_date = make_field("createdTime", {"result": US_DATE})
    assert await text_of(connection, as_date) == ["3/1/2024"]
    assert await text_of(connection, created, TextFormat.read("utc", "en-US")) == ["3/1/2024 8:00am"]


@pytest.mark.parametrize("field", WRITABLE, ids=attrgetter("type"))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_cell_that_is_read_has_a_text(
    with_connection: Callable[[Work], None], field: Field, data: st.DataObject
) -> None:
    values = data.draw(st.lists(accepted_values(field), min_size=1, max_size=40))
    stored = [parsed(field, value) for value in values]

    async def check(connection: Connection) -> None:
        found = await stored_and_read(connection, field, stored)
        texts = await text_of(connection, field)
        assert [text is None for text in texts] == [json is None for json in found]
        assert "" not in texts

    with_connection(check)


async def test_the_database_knows_every_time_zone(connection: Connection) -> None:
    known = {row["name"] for row in await connection.fetch("SELECT name FROM pg_timezone_names")}
    assert zone_names() - known == set()
