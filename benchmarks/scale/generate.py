"""The benchmark base: `Main` with 30 fields and `Hubs`, linked; the same rows whenever and wherever it is made.

Structure is made through the public API, rows by PostgreSQL itself from hashes of their numbers, which needs no seed but
`SEED` and no transfer: 100,000 rows take about 5 s, a million a minute. The first hub is linked by a tenth of the records.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.acceptance.platform import Platform
from tests.acceptance.support import call

SEED = 20_261_123
HUBS = 1_000
STATUSES = ("Todo", "In progress", "In review", "Done", "Dropped")
TAGS = ("red", "green", "blue", "small", "large", "new", "old", "hot")
CITIES = ("Accra", "Bergen", "Cusco", "Dakar", "Evora", "Fukui", "Graz", "Hobart")


def _when(zone: str = "utc") -> dict[str, Any]:
    return {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": zone}


def _choices(names: tuple[str, ...]) -> dict[str, Any]:
    return {"choices": [{"name": name} for name in names]}


# By field: its type, its options, and SQL of its stored value for the record `n`; `h(k)` is a hash of `n` and `k`.
FIELDS: tuple[tuple[str, str, dict[str, Any] | None, str], ...] = (
    ("Name", "singleLineText", None, "'Record ' || n || ' ' || substr(md5(n::text), 1, 6)"),
    ("Notes", "multilineText", None, "repeat(md5(n::text) || ' ', (1 + h(1) % 4)::int)"),
    ("Email", "email", None, "'user' || h(2) % 200000 || '@example.com'"),
    ("Website", "url", None, "'https://example.com/' || substr(md5((n + 7)::text), 1, 12)"),
    ("Phone", "phoneNumber", None, "'+49 30 ' || (1000000 + h(3) % 8999999)"),
    ("City", "singleLineText", None, "(ARRAY['" + "','".join(CITIES) + "'])[1 + h(4) % 8]"),
    ("Code", "singleLineText", None, "upper(substr(md5((n * 3)::text), 1, 8))"),
    ("Rich", "richText", None, "'**' || substr(md5((n + 5)::text), 1, 10) || E'**\\n'"),
    ("Digits", "singleLineText", None, "CASE WHEN h(5) % 20 = 0 THEN 'none' ELSE (h(6) % 100000)::text END"),
    ("Amount", "number", {"precision": 2}, "(h(7) % 10000000)::float8 / 100"),
    ("Count", "number", {"precision": 0}, "(h(8) % 1000)::float8"),
    ("Score", "number", {"precision": 4}, "(h(9) % 1000000)::float8 / 10000"),
    ("Rank", "number", {"precision": 0}, "h(10)::float8"),
    ("Price", "currency", {"precision": 2, "symbol": "$"}, "(h(11) % 500000)::float8 / 100"),
    ("Share", "percent", {"precision": 1}, "(h(12) % 1000)::float8 / 1000"),
    ("Took", "duration", {"durationFormat": "h:mm:ss"}, "(h(13) % 36000)::float8"),
    ("Stars", "rating", {"icon": "star", "max": 5, "color": "yellowBright"}, "1 + h(14) % 5"),
    ("Done", "checkbox", {"icon": "check", "color": "greenBright"}, "CASE WHEN h(15) % 2 = 0 THEN true END"),
    ("Active", "checkbox", {"icon": "check", "color": "greenBright"}, "CASE WHEN h(16) % 10 > 0 THEN true END"),
    ("Start", "date", {"dateFormat": {"name": "iso"}}, "date '2020-01-01' + (h(17) % 2000)::int"),
    ("Due", "date", {"dateFormat": {"name": "iso"}}, "CASE WHEN h(18) % 10 > 0 THEN date '2021-01-01' + (h(19) % 2000)::int END"),
    ("Seen", "dateTime", _when(), "timestamptz '2022-01-01Z' + h(20) % 100000000 * interval '1 second'"),
    ("Logged", "dateTime", _when(), "CASE WHEN h(21) % 5 > 0 THEN timestamptz '2023-01-01Z' + h(22) % 9000000 * interval '1 minute' END"),
    ("Status", "singleSelect", _choices(STATUSES), "choice('Status', (h(23) % 5)::int)"),
    ("Priority", "singleSelect", _choices(("Low", "Mid", "High")), "choice('Priority', (h(24) % 3)::int)"),
    ("Tags", "multipleSelects", _choices(TAGS), "ARRAY[choice('Tags', (h(25) % 8)::int)] || CASE WHEN h(26) % 2 = 0 THEN ARRAY[choice('Tags', ((h(25) + 3) % 8)::int)] END"),
    ("Number", "autoNumber", None, "n"),
    ("Created", "createdTime", None, ""),
    ("Changed", "lastModifiedTime", None, ""),
)  # fmt: skip
"""And the link field `Hub` as the thirtieth."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Where the benchmark base lies, by names and by ids."""

    base_id: str
    table_id: str
    hubs_id: str
    fields: dict[str, str]
    """Field ids of `Main` by name."""
    hub_id: str
    """The record id of the hub with a tenth of all links."""
    rows: int


def generate(platform: Platform, rows: int) -> Generated:
    """Make the base on a running platform."""
    token = platform.token
    workspace = call("GET", f"{platform.url}/api/v1/workspaces", token=token).body["workspaces"][0]["id"]
    drafts = [
        {"name": name, "type": kind, **({"options": options} if options else {})} for name, kind, options, _ in FIELDS
    ]
    body = {
        "name": f"Scale {rows}",
        "workspaceId": workspace,
        "tables": [
            {"name": "Main", "fields": drafts},
            {"name": "Hubs", "fields": [{"name": "Name", "type": "singleLineText"}]},
        ],
    }
    base = _ok(call("POST", f"{platform.url}/v0/meta/bases", token=token, body=body))
    main, hubs = base["tables"]
    link = {"name": "Hub", "type": "multipleRecordLinks", "options": {"linkedTableId": hubs["id"]}}
    _ok(call("POST", f"{platform.url}/v0/meta/bases/{base['id']}/tables/{main['id']}/fields", token=token, body=link))
    main = _ok(call("GET", f"{platform.url}/v0/meta/bases/{base['id']}/tables", token=token))["tables"][0]
    hub_id = asyncio.run(_fill(platform.server_addresses()["database_url"], base["id"], main, hubs["id"], rows))
    fields = {field["name"]: field["id"] for field in main["fields"]}
    return Generated(base["id"], main["id"], hubs["id"], fields, hub_id, rows)


def _ok(answer: Any) -> Any:
    assert answer.status == 200, answer.body
    return answer.body


def _record_id(number: str, salt: str) -> str:
    return f"'rec' || substr(md5('{salt}' || {number}), 1, 14)"


async def _fill(url: str, base_id: str, main: dict[str, Any], hubs_id: str, rows: int) -> str:
    fields = {field["name"]: field for field in main["fields"]}
    choices = {
        name: [choice["id"] for choice in field["options"]["choices"]]
        for name, field in fields.items()
        if "choices" in field.get("options", {})
    }

    def sql(text: str) -> str:
        for name, ids in choices.items():
            listed = "','".join(ids)
            text = text.replace(f"choice('{name}', ", f"at(ARRAY['{listed}'], ")
        return text

    stored = [(fields[name]["id"], sql(text)) for name, _, _, text in FIELDS if text]
    names = ", ".join(f'"{field_id}"' for field_id, _ in stored)
    values = ", ".join(text for _, text in stored)
    now = "timestamptz '2026-01-01Z'"
    connection = await asyncpg.connect(url)
    try:
        # Two helpers that end with the session: a hash of the row's number, and a choice by its position.
        await connection.execute(
            f"SET search_path = '{base_id}', pg_temp, public;"
            "CREATE FUNCTION pg_temp.h(n int8, k int8) RETURNS int8 IMMUTABLE LANGUAGE sql"
            f" AS 'SELECT abs(hashint8extended(n, k + {SEED}) % 1000000007)';"
            "CREATE FUNCTION pg_temp.at(ids text[], place int) RETURNS text IMMUTABLE LANGUAGE sql"
            " AS 'SELECT ids[1 + place]'"
        )
        values = (
            values.replace("at(ARRAY", "pg_temp.at(ARRAY")
            .replace("h(", "pg_temp.h(n, ")
            .replace("pg_temp.pg_temp.", "pg_temp.")
        )
        await connection.execute(
            f'INSERT INTO "{hubs_id}" (_id, _created, _modified, "{await _primary(connection, hubs_id)}")'
            f" SELECT {_record_id('n', 'hub')}, {now}, {now}, 'Hub ' || n FROM generate_series(1, {HUBS}) n"
        )
        await connection.execute(
            f'INSERT INTO "{main["id"]}" (_id, _created, _modified, {names})'
            f" SELECT {_record_id('n', 'main')}, {now} + n * interval '1 second', {now} + n * interval '1 second',"
            f" {values} FROM generate_series(1, {rows}) n"
        )
        junction = f"lnk{fields['Hub']['id'][3:]}"
        hub = f"CASE WHEN n % 10 = 0 THEN 1 ELSE 2 + pg_temp.h(n, 99) % {HUBS - 1} END"
        await connection.execute(
            f'INSERT INTO "{junction}" (a, b, a_place) SELECT n, {hub}, 1 FROM generate_series(1, {rows}) n'
        )
        await connection.execute("UPDATE base_tables SET auto_number = $1 WHERE table_id = $2", rows, main["id"])
        await connection.execute("ANALYZE")
        found: str = await connection.fetchval(f'SELECT _id FROM "{hubs_id}" WHERE _n = 1')
        return found
    finally:
        await connection.close()


async def _primary(connection: "asyncpg.Connection[Any]", table_id: str) -> str:
    found: str = await connection.fetchval("SELECT primary_field_id FROM base_tables WHERE table_id = $1", table_id)
    return found
