"""Filters in PostgreSQL against the same rules written plainly in Python, and pages of a view."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from pyat.foundation.db import Database
from pyat.foundation.ids import FieldId, RecordId, ViewId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import ddl, filters, reading
from pyat.recordstore.structure import Base, Field, Link, Options, Table, View
from pyat.services.airtable_gateway.store import RecordsStore
from tests.integration.recordstore.bases import field, load_base, make_base
from tests.integration.recordstore.test_records import USER, everything

ZONE = ZoneInfo("Europe/Berlin")
ZONES = (UTC, ZONE, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("America/New_York"))
ISO = {"dateFormat": {"name": "iso"}}
CHOICES = {"choices": [{"name": "Todo"}, {"name": "doing"}, {"name": "Done"}]}
USERS = ("usr00000000000001", "usr00000000000002", "usr00000000000003")
FILES = {"att00000000000001": "Boat.png", "att00000000000002": "100%.PDF", "att00000000000003": "x'ä.txt"}
RECORDS = tuple(f"rec0000000000000{number}" for number in range(4))
TEXTS = ("", "a", "A", "ab", "ÄB", "a%b", "50\\", "x'y", "_")

Row = Mapping[str, Any]


async def make_table(database: Database) -> tuple[Base, Table]:
    """A table with a field of each family, and a link to itself."""
    base, table = await make_base(
        database,
        [
            field("Text", "singleLineText"),
            field("Notes", "richText"),
            field("Number", "number", {"precision": 1}),
            field("Rating", "rating", {"icon": "star", "max": 5, "color": "redBright"}),
            field("Check", "checkbox", {"icon": "check", "color": "greenBright"}),
            field("Day", "date", ISO),
            field("Moment", "dateTime", {**ISO, "timeFormat": {"name": "24hour"}, "timeZone": "Europe/Berlin"}),
            field("Choice", "singleSelect", CHOICES),
            field("Choices", "multipleSelects", CHOICES),
            field("Person", "singleCollaborator"),
            field("People", "multipleCollaborators"),
            field("Maker", "createdBy"),
            field("Files", "multipleAttachments"),
        ],
    )
    link = Field(
        FieldId(new_id("fld")),
        "Links",
        "multipleRecordLinks",
        {"linkedTableId": table.table_id, "isReversed": False, "prefersSingleRecordLink": False},
        link=Link("lnk00000000000001", table.table_id, True),
    )
    async with database.transaction() as connection:
        await ddl.begin_change(connection, base.base_id, expected_version=base.version)
        await ddl.add_link(connection, base.base_id, table, link, table, None)
    return await load_base(database, base.base_id)


async def matching(database: Database, base: Base, table: Table, wanted: Any) -> set[str]:
    """The texts of `No` of the records that a filter lets through."""
    condition, arguments = filters.condition_sql(filters.check(wanted, table), table)
    statement = Statement(
        "filtered", f"SELECT r._id FROM {ddl.relation(base.base_id, table.table_id)} r WHERE {condition}"
    )
    async with database.connection() as connection:
        return {row["_id"] for row in await connection.rows(statement, *arguments)}


# The rules, plainly


def is_blank(item: Options) -> bool:
    """Whether a group has no condition, however deep."""
    return "conditions" in item and all(is_blank(nested) for nested in item["conditions"])


def fulfils(row: Row, item: Options, now: datetime) -> bool:
    """Whether a row passes a filter whose conditions name fields by `fieldId`, here the field's name."""
    if "conditions" in item:
        results = [fulfils(row, nested, now) for nested in item["conditions"] if not is_blank(nested)]
        if not results:
            return True
        return all(results) if item["conjunction"] == "and" else any(results)
    name, operator, wanted = item["fieldId"], item["operator"], item.get("value")
    cell = row.get(name)
    if operator == "isEmpty":
        return cell in (None, "", [])
    if operator == "isNotEmpty":
        return cell not in (None, "", [])
    if "ontain" in operator and f"{name}, shown" in row:
        return text_rule(operator, row[f"{name}, shown"], wanted, now)
    return RULES[name](operator, cell, wanted, now)


def text_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    text: str = (cell or "").lower()
    found: bool = wanted.lower() in text if "ontain" in operator else wanted.lower() == text
    return found != (operator in ("doesNotContain", "isNot"))


def number_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    if cell is None:
        return operator in ("!=", "≠")
    results: dict[str, bool] = {
        "=": cell == wanted,
        "!=": cell != wanted,
        "≠": cell != wanted,
        "<": cell < wanted,
        "<=": cell <= wanted,
        "≤": cell <= wanted,
        ">": cell > wanted,
        ">=": cell >= wanted,
        "≥": cell >= wanted,
    }
    return results[operator]


def check_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    return bool(cell) is wanted


def a_month_from(day: date, months: int) -> date:
    """The same day of a month before or after, or that month's last one."""
    month = day.year * 12 + day.month - 1 + months
    year, number = divmod(month, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, number + 1, last)
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def day_of(wanted: Options, today: date) -> date:
    number = wanted.get("numberOfDays", 0)
    days = {"today": 0, "tomorrow": 1, "yesterday": -1, "oneWeekAgo": -7, "oneWeekFromNow": 7}
    days |= {"daysAgo": -number, "daysFromNow": number}
    if wanted["mode"] in days:
        return today + timedelta(days=days[wanted["mode"]])
    if wanted["mode"] == "exactDate":
        return date.fromisoformat(wanted["exactDate"])
    return a_month_from(today, 1 if wanted["mode"] == "oneMonthFromNow" else -1)


def period_of(wanted: Options, today: date) -> tuple[date, date]:
    number = wanted.get("numberOfDays", 0)
    sunday = today - timedelta(days=today.isoweekday() % 7)
    first = today.replace(day=1)
    return {
        "pastWeek": (today - timedelta(days=7), today),
        "nextWeek": (today, today + timedelta(days=7)),
        "pastMonth": (a_month_from(today, -1), today),
        "nextMonth": (today, a_month_from(today, 1)),
        "pastYear": (a_month_from(today, -12), today),
        "nextYear": (today, a_month_from(today, 12)),
        "thisCalendarWeek": (sunday, sunday + timedelta(days=6)),
        "thisCalendarMonth": (first, a_month_from(first, 1) - timedelta(days=1)),
        "thisCalendarYear": (date(today.year, 1, 1), date(today.year, 12, 31)),
        "pastNumberOfDays": (today - timedelta(days=number), today),
        "nextNumberOfDays": (today, today + timedelta(days=number)),
    }[wanted["mode"]]


def date_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    if cell is None:
        return operator == "isNot"
    if isinstance(cell, datetime):
        day, today = cell.astimezone(ZONE).date(), now.astimezone(ZONE).date()
    else:
        day, today = cell, now.astimezone(ZoneInfo(wanted.get("timeZone", "UTC"))).date()
    if operator == "isWithin":
        first, last = period_of(wanted, today)
        return first <= day <= last
    other = day_of(wanted, today)
    return {
        "is": day == other,
        "isNot": day != other,
        "isBefore": day < other,
        "isAfter": day > other,
        "isOnOrBefore": day <= other,
        "isOnOrAfter": day >= other,
    }[operator]


def one_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    if "ontain" in operator:
        return text_rule(operator, cell, wanted, now)
    found = cell is not None and (cell in wanted if operator in ("isAnyOf", "isNoneOf") else cell == wanted)
    return found != (operator in ("isNot", "isNoneOf"))


def many_rule(operator: str, cell: Any, wanted: Any, now: datetime) -> bool:
    items = set(cell or ())
    if "ontain" in operator:
        found = any(wanted.lower() in item.lower() for item in items)
        return found != (operator == "doesNotContain")
    return {
        "hasAnyOf": bool(items & set(wanted)),
        "hasNoneOf": not items & set(wanted),
        "hasAllOf": items >= set(wanted),
        "isExactly": items == set(wanted),
    }[operator]


RULES: dict[str, Callable[[str, Any, Any, datetime], bool]] = {
    "Text": text_rule,
    "Notes": text_rule,
    "Number": number_rule,
    "Rating": number_rule,
    "Check": check_rule,
    "Day": date_rule,
    "Moment": date_rule,
    "Choice": one_rule,
    "Choices": many_rule,
    "Person": one_rule,
    "People": many_rule,
    "Maker": one_rule,
    "Links": many_rule,
    "Files": many_rule,
}

# Random rows and filters

_TEXT = st.sampled_from(TEXTS)
_NUMBERS = st.sampled_from([-2.5, 0.0, 1.0, 2.0, 3.0, 1e300])
_NAMES = st.sampled_from([choice["name"] for choice in CHOICES["choices"]])
_DISTANCES = st.integers(-400, 400) | st.integers(-9, 9)
_ROWS = st.fixed_dictionaries(
    {
        "Text": st.none() | _TEXT,
        "Notes": st.none() | _TEXT,
        "Number": st.none() | _NUMBERS,
        "Rating": st.none() | st.integers(1, 5),
        "Check": st.none() | st.just(True),
        "Day": st.none() | _DISTANCES,
        "Moment": st.none() | st.tuples(_DISTANCES, st.sampled_from([0, 1, 12 * 60, 22 * 60, 23 * 60, 24 * 60 - 1])),
        "Choice": st.none() | _NAMES,
        "Choices": st.lists(_NAMES, unique=True),
        "Person": st.none() | st.sampled_from(USERS),
        "People": st.lists(st.sampled_from(USERS), unique=True),
        "Links": st.lists(st.integers(0, 3), unique=True),
        "Files": st.lists(st.sampled_from(sorted(FILES)), unique=True),
    }
)


def _with(operators: list[str], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"operator": st.sampled_from(operators), "value": value})


_EMPTY = st.sampled_from([{"operator": "isEmpty"}, {"operator": "isNotEmpty"}])
_TEXTUAL = _with(["contains", "doesNotContain"], st.sampled_from(["a", "B", "o", "%", "\\", "'", "ä"]))
_BY_TEXT = _TEXTUAL | _with(["is", "isNot"], st.sampled_from(TEXTS[1:])) | _EMPTY
_BY_NUMBER = _with(["=", "!=", "<", "<=", ">", ">=", "≠", "≤", "≥"], _NUMBERS | st.integers(-3, 5)) | _EMPTY
_ZONES = st.sampled_from([{}, {"timeZone": "Pacific/Kiritimati"}, {"timeZone": "America/New_York"}])
_DAYS = st.one_of(
    st.sampled_from(
        ["today", "tomorrow", "yesterday", "oneWeekAgo", "oneWeekFromNow", "oneMonthAgo", "oneMonthFromNow"]
    ).map(lambda mode: {"mode": mode}),
    st.tuples(st.sampled_from(["daysAgo", "daysFromNow"]), st.integers(0, 9)).map(
        lambda made: {"mode": made[0], "numberOfDays": made[1]}
    ),
    st.dates(date(2025, 1, 1), date(2027, 12, 31)).map(lambda day: {"mode": "exactDate", "exactDate": day.isoformat()}),
)
_PERIODS = st.one_of(
    st.sampled_from([mode for mode in filters.PERIODS if not mode.endswith("Days")]).map(lambda mode: {"mode": mode}),
    st.tuples(st.sampled_from(["pastNumberOfDays", "nextNumberOfDays"]), st.integers(0, 400)).map(
        lambda made: {"mode": made[0], "numberOfDays": made[1]}
    ),
)
_BY_DATE = (
    _with(
        ["is", "isNot", "isBefore", "isAfter", "isOnOrBefore", "isOnOrAfter"],
        st.tuples(_DAYS, _ZONES).map(lambda made: made[0] | made[1]),
    )
    | _with(["isWithin"], st.tuples(_PERIODS, _ZONES).map(lambda made: made[0] | made[1]))
    | _EMPTY
)


def _by_one(items: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(items, min_size=1, max_size=4)
    return _with(["is", "isNot"], items) | _with(["isAnyOf", "isNoneOf"], several) | _EMPTY


def _by_many(items: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(items, min_size=1, max_size=4)
    return _with(["hasAnyOf", "hasAllOf", "hasNoneOf", "isExactly"], several) | _EMPTY


_CONDITIONS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "Text": _BY_TEXT,
    "Notes": _BY_TEXT,
    "Number": _BY_NUMBER,
    "Rating": _BY_NUMBER,
    "Check": _with(["is"], st.booleans()),
    "Day": _BY_DATE,
    "Moment": _BY_DATE,
    "Choice": _by_one(_NAMES) | _TEXTUAL,
    "Choices": _by_many(_NAMES) | _TEXTUAL,
    "Person": _by_one(st.sampled_from(USERS)),
    "People": _by_many(st.sampled_from(USERS)),
    "Maker": _by_one(st.sampled_from(USERS)),
    "Links": _by_many(st.sampled_from(RECORDS)) | _TEXTUAL,
    "Files": _by_many(st.sampled_from(sorted(FILES))) | _TEXTUAL,
}
_LEAVES = st.sampled_from(sorted(_CONDITIONS)).flatmap(
    lambda name: _CONDITIONS[name].map(lambda made: {"fieldId": name, **made})
)


def _group(items: st.SearchStrategy[Any], sizes: tuple[int, int]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "conjunction": st.sampled_from(["and", "or"]),
            "conditions": st.lists(items, min_size=sizes[0], max_size=sizes[1]),
        }
    )


_NESTED = _group(_LEAVES | _group(_LEAVES, (0, 3)), (0, 4))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(_ROWS, min_size=4, max_size=12), wanted=st.lists(_LEAVES | _NESTED, min_size=10, max_size=25))
def test_any_filter_lets_through_what_the_rules_say(postgres_url: str, rows: list[Row], wanted: list[Any]) -> None:
    asyncio.run(_check(postgres_url, rows, wanted))


async def _now(database: Database) -> datetime:
    found: datetime = await database.value(Statement("now", "SELECT now()"))
    return found


async def _check(url: str, drawn: list[Row], wanted: list[Any]) -> None:
    database = await Database.open(url, connections_max=2)
    try:
        base, table = await make_table(database)
        now = await _now(database)
        await _add_files(database, base)
        rows = [_shown(row, now) for row in drawn]
        for row in rows:
            row["Links, shown"] = ", ".join(rows[RECORDS.index(record_id)]["Text"] or "" for record_id in row["Links"])
            row["Files, shown"] = ", ".join(FILES[file_id] for file_id in row["Files"])
        ids = [*RECORDS, *(new_id("rec") for _ in rows[4:])]
        store = RecordsStore(database)
        cells = [_stored(table, row) for row in rows]
        without_links = [{key: value for key, value in row.items() if key != _id(table, "Links")} for row in cells]
        await _create(store, base, table, ids, without_links)
        await _link(database, base, table, dict(zip(ids, rows, strict=True)))
        for item in wanted:
            group = item if "conditions" in item else {"conjunction": "and", "conditions": [item]}
            found = await matching(database, base, table, _by_id(table, group))
            expected = {
                record_id
                for record_id, row in zip(ids, rows, strict=True)
                if fulfils({**row, "Maker": USER}, group, now)
            }
            moment = await _now(database)
            if any(moment.astimezone(zone).date() != now.astimezone(zone).date() for zone in ZONES):
                reject()  # a day has just begun
            assert found == expected, group
    finally:
        await database.close()


def _id(table: Table, name: str) -> str:
    return table.fields_by_name[name].field_id


def _by_id(table: Table, item: Any) -> Any:
    if "conditions" in item:
        return {**item, "conditions": [_by_id(table, nested) for nested in item["conditions"]]}
    return {**item, "fieldId": _id(table, item["fieldId"])}


def _shown(row: Row, now: datetime) -> dict[str, Any]:
    """The row with its distances turned into days and moments, and positions into record ids."""
    today = now.astimezone(ZONE).date()
    found = dict(row)
    if row["Day"] is not None:
        found["Day"] = today + timedelta(days=row["Day"])
    if row["Moment"] is not None:
        days, minutes = row["Moment"]
        found["Moment"] = datetime.combine(today, time(0), UTC) + timedelta(days=days, minutes=minutes)
    found["Links"] = [RECORDS[position] for position in row["Links"]]
    return found


def _stored(table: Table, row: Row) -> dict[str, Any]:
    choices = {
        name: {choice["name"]: choice["id"] for choice in table.fields_by_name[name].options["choices"]}
        for name in ("Choice", "Choices")
    }
    found = {_id(table, name): value or None for name, value in row.items() if not name.endswith("shown")}
    if row["Number"] is not None:
        found[_id(table, "Number")] = row["Number"]
    if row["Notes"] is not None:
        found[_id(table, "Notes")] = f"{row['Notes']}\n"
    if row["Choice"] is not None:
        found[_id(table, "Choice")] = choices["Choice"][row["Choice"]]
    found[_id(table, "Choices")] = [choices["Choices"][name] for name in row["Choices"]] or None
    return found


async def _create(store: RecordsStore, base: Base, table: Table, ids: list[str], cells: list[dict[str, Any]]) -> None:
    await store.create(
        base,
        table,
        record_ids=[RecordId(record_id) for record_id in ids],
        rows=cells,
        new_choices={},
        user_id=USER,
        by_id=False,
    )


async def _add_files(database: Database, base: Base) -> None:
    statement = Statement(
        "files",
        f"INSERT INTO {quote(base.base_id, 'base_attachments')} (attachment_id, state, filename, created_at)"
        " SELECT f.id, 'stored', f.name, now() FROM unnest($1::text[], $2::text[]) AS f(id, name)",
    )
    async with database.connection() as connection:
        await connection.run(statement, list(FILES), list(FILES.values()))


async def _link(database: Database, base: Base, table: Table, rows: Mapping[str, Row]) -> None:
    link = table.fields_by_name["Links"].link
    assert link is not None
    junction, relation = quote(base.base_id, link.junction), ddl.relation(base.base_id, table.table_id)
    statement = Statement(
        "link",
        f"INSERT INTO {junction} (a, b) SELECT o._n, t._n FROM unnest($1::text[], $2::text[]) AS p(own, target)"
        f" JOIN {relation} o ON o._id = p.own JOIN {relation} t ON t._id = p.target",
    )
    pairs = [(own, target) for own, row in rows.items() for target in row["Links"]]
    async with database.connection() as connection:
        await connection.run(statement, [own for own, _ in pairs], [target for _, target in pairs])


# Views


async def test_a_views_pages_hold_what_its_filter_lets_through_in_its_order(database: Database) -> None:
    base, table = await make_table(database)
    store = RecordsStore(database)
    names = TEXTS[1:]
    rows = [
        {_id(table, "Text"): names[number % len(names)], _id(table, "Number"): float(number % 3) or None}
        for number in range(24)
    ]
    await _create(store, base, table, [new_id("rec") for _ in rows], rows)
    wanted = {
        "conjunction": "or",
        "conditions": [
            {"fieldId": _id(table, "Number"), "operator": "isEmpty"},
            {"fieldId": _id(table, "Number"), "operator": ">", "value": 1},
        ],
    }
    view = replace(
        table.views[0],
        filter=filters.check(wanted, table),
        groups=({"fieldId": _id(table, "Number"), "direction": "desc"},),
        sorts=(
            {"fieldId": "fldGone0000000000", "direction": "asc"},
            {"fieldId": _id(table, "Text"), "direction": "asc"},
        ),
    )
    order = reading.order_of(view, table)
    whole = await everything(store, base, table, sort=order, view=view)
    assert [record["fields"].get("Number") for record in whole] == [2] * 8 + [None] * 8
    for run in (whole[:8], whole[8:]):
        texts = [(record["fields"]["Text"].lower(), record["fields"]["Text"]) for record in run]
        assert texts == sorted(texts)
    assert await everything(store, base, table, sort=order, view=view, page_size=5) == whole
    everybody = await everything(store, base, table)
    in_view = {record["id"] for record in whole}
    listed = await everything(store, base, table, view=view, page_size=3)
    assert listed == [record for record in everybody if record["id"] in in_view]


async def test_two_views_of_a_table_have_plans_of_their_own(database: Database) -> None:
    base, table = await make_table(database)
    store = RecordsStore(database)
    await _create(store, base, table, list(RECORDS), [{_id(table, "Number"): float(number)} for number in range(4)])

    def view(operator: str) -> View:
        condition = {"fieldId": _id(table, "Number"), "operator": operator, "value": 1}
        checked = filters.check({"conjunction": "and", "conditions": [condition]}, table)
        return replace(table.views[0], view_id=ViewId(new_id("viw")), filter=checked)

    small, large = view("<="), view(">")
    for _ in range(2):
        assert [record["id"] for record in await everything(store, base, table, view=small)] == list(RECORDS[:2])
        assert [record["id"] for record in await everything(store, base, table, view=large)] == list(RECORDS[2:])


async def test_a_condition_that_fits_no_more_is_ignored(database: Database) -> None:
    base, table = await make_table(database)
    await _create(RecordsStore(database), base, table, list(RECORDS), [{_id(table, "Text"): "a"} for _ in RECORDS])
    stale = {"conjunction": "and", "conditions": [{"fieldId": "fldGone0000000000", "operator": "is", "value": "x"}]}
    changed = {"conjunction": "or", "conditions": [{"fieldId": _id(table, "Text"), "operator": ">", "value": 3}]}
    for stored in (stale, changed, {"conjunction": "or", "conditions": [stale, changed]}):
        assert filters.condition_sql(stored, table) == ("true", ())
    mixed = {
        "conjunction": "or",
        "conditions": [stale, {"fieldId": _id(table, "Text"), "operator": "is", "value": "b"}],
    }
    condition, arguments = filters.condition_sql(mixed, table)
    relation = ddl.relation(base.base_id, table.table_id)
    statement = Statement("filtered", f"SELECT count(*) FROM {relation} r WHERE {condition}")
    assert await database.value(statement, *arguments) == 0
