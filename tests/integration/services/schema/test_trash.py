"""The trash over HTTP and in the database: what records do meanwhile, and what is gone for good after its time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import NotPermittedOrNotFound
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.errors import UnknownFieldName
from pyat.recordstore.structure import Base
from pyat.services.airtable_gateway.contract import ListQuery
from pyat.services.schema.contract import FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import OTHER_TENANT, Client, principal, served

WHO = principal()


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    """A base with a table to write to."""
    return await make_bench(database, cache)


@pytest_asyncio.fixture
async def http(bench: Bench, database: Database) -> AsyncIterator[Client]:
    """HTTP to the schema service."""
    async with served(bench.schema, database) as found:
        yield found


async def base_of(bench: Bench) -> Base:
    """The base as it is."""
    return await bench.schema.get_base(principal=WHO, base_id=bench.base_id)


async def records_of(bench: Bench, table: str) -> list[dict[str, Any]]:
    """Fields of all records."""
    page = await bench.records.list_records(
        principal=WHO, base_id=bench.base_id, table=table, query=ListQuery(by_id=False)
    )
    return [record["fields"] for record in decoded(page.records)]


async def relations(database: Database, bench: Bench) -> list[str]:
    """Names of the relations and columns of a base that belong to tables, fields and links."""
    rows = await database.rows(
        Statement(
            "things",
            "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^(tbl|lnk)' UNION ALL"
            " SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relkind = 'r' AND a.attname ~ '^fld[0-9A-Za-z]{14}$' AND NOT a.attisdropped",
        ),
        bench.base_id,
    )
    return [row["name"] for row in rows]


async def age(database: Database, bench: Bench, days: int) -> None:
    """Let what is in the trash lie there for some days."""
    for name in ("base_tables", "base_fields"):
        await database.run(
            Statement("age", f"UPDATE {quote(bench.base_id, name)} SET deleted_at = deleted_at - $1::interval"),
            timedelta(days=days),
        )
    await database.run(
        Statement("age_bases", "UPDATE schema.bases SET deleted_at = deleted_at - $1::interval"), timedelta(days=days)
    )


async def test_records_know_at_once_what_was_deleted_and_restored(bench: Bench) -> None:
    to: dict[str, Any] = {"principal": WHO, "base_id": bench.base_id, "table": "T"}
    row = {"Name": "a", "Age": 3}
    await bench.records.create_records(**to, rows=(row,), typecast=False, by_id=False)
    ages = (await base_of(bench)).tables[0].fields_by_name["Age"]
    await bench.schema.delete_field(**to, field_id=ages.field_id)
    assert await records_of(bench, "T") == [{"Name": "a", "Number": 1}]
    with pytest.raises(UnknownFieldName):
        await bench.records.create_records(**to, rows=(row,), typecast=False, by_id=False)
    await bench.schema.restore(principal=WHO, base_id=bench.base_id, item_id=ages.field_id)
    assert await records_of(bench, "T") == [{"Name": "a", "Age": 3, "Number": 1}]
    table_id = await bench.schema.delete_table(principal=WHO, base_id=bench.base_id, table="T")
    with pytest.raises(NotPermittedOrNotFound):
        await records_of(bench, "T")
    await bench.schema.restore(principal=WHO, base_id=bench.base_id, item_id=table_id)
    await bench.schema.delete_base(principal=WHO, base_id=bench.base_id)
    with pytest.raises(NotPermittedOrNotFound):
        await records_of(bench, "T")
    with pytest.raises(NotPermittedOrNotFound):
        await bench.records.create_records(**to, rows=(row,), typecast=False, by_id=False)
    await bench.schema.restore(principal=WHO, base_id=bench.base_id, item_id=bench.base_id)
    assert await records_of(bench, "T") == [{"Name": "a", "Age": 3, "Number": 1}]


async def test_old_things_are_gone_for_good_and_others_stay(bench: Bench, database: Database) -> None:
    base = await base_of(bench)
    tables = base.tables
    link = await bench.schema.create_field(
        principal=WHO,
        base_id=bench.base_id,
        table="T",
        field=FieldDraft("Link", "multipleRecordLinks", options={"linkedTableId": tables[1].table_id}),
    )
    ages, tags = (tables[0].fields_by_name[name].field_id for name in ("Age", "Tags"))
    for field_id in (ages, link.field_id):
        await bench.schema.delete_field(principal=WHO, base_id=bench.base_id, table="T", field_id=field_id)
    before = set(await relations(database, bench))
    await age(database, bench, days=8)
    await bench.schema.delete_field(principal=WHO, base_id=bench.base_id, table="T", field_id=tags)
    # Age, the link and its inverse.
    assert await bench.schema.purge_trash() == 3
    assert await bench.schema.purge_trash() == 0
    assert before - set(await relations(database, bench)) == {ages, f"lnk{link.field_id[3:]}"}
    page = await bench.schema.list_trash(principal=WHO, base_id=bench.base_id, kind=None, limit=10, offset=None)
    assert [item.item_id for item in page.items] == [tags]
    await bench.schema.delete_table(principal=WHO, base_id=bench.base_id, table="T")
    await age(database, bench, days=8)
    assert await bench.schema.purge_trash() == 2
    assert tables[0].table_id not in await relations(database, bench)
    assert [table.fields for table in (await base_of(bench)).tables] == [tables[1].fields]
    numbers = await database.rows(
        Statement("numbers", f"SELECT position FROM {quote(bench.base_id)}.base_tables WHERE purged_at IS NOT NULL")
    )
    assert [row["position"] for row in numbers] == [tables[0].number]


async def test_what_is_linked_with_a_table_that_is_gone_for_good_goes_with_it(bench: Bench, database: Database) -> None:
    other = (await base_of(bench)).tables[1]
    link = await bench.schema.create_field(
        principal=WHO,
        base_id=bench.base_id,
        table="T",
        field=FieldDraft("Link", "multipleRecordLinks", options={"linkedTableId": other.table_id}),
    )
    await bench.schema.delete_table(principal=WHO, base_id=bench.base_id, table="Other")
    await age(database, bench, days=8)
    assert await bench.schema.purge_trash() >= 1
    left = await relations(database, bench)
    assert other.table_id not in left
    assert f"lnk{link.field_id[3:]}" not in left
    await bench.records.create_records(
        principal=WHO, base_id=bench.base_id, table="T", rows=({"Name": "x"},), typecast=False, by_id=False
    )
    assert await records_of(bench, "T") == [{"Name": "x", "Number": 1}]


async def test_an_old_base_is_gone_for_good(bench: Bench, database: Database) -> None:
    await bench.schema.delete_base(principal=WHO, base_id=bench.base_id)
    assert await bench.schema.purge_trash() == 0
    await age(database, bench, days=8)
    assert await bench.schema.purge_trash() == 1
    exists = Statement("schema_exists", "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
    assert await database.value(exists, bench.base_id) is False
    assert await database.value(Statement("bases", "SELECT count(*) FROM schema.bases")) == 0
    assert await bench.schema.purge_trash() == 0


async def test_the_trash_over_http(bench: Bench, http: Client) -> None:
    where = f"/api/v1/bases/{bench.base_id}"
    tables = (await base_of(bench)).tables
    tags = tables[0].fields_by_name["Tags"].field_id
    assert await http.ok("PATCH", where, {"name": "Plans"}) == {"id": bench.base_id, "name": "Plans"}
    assert await http.ok("DELETE", f"{where}/tables/T/fields/{tags}") == {"id": tags, "deleted": True}
    assert await http.ok("DELETE", f"{where}/tables/Other") == {"id": tables[1].table_id, "deleted": True}
    first = await http.ok("GET", f"/api/v1/trash?baseId={bench.base_id}&limit=1")
    assert [(item["id"], item["type"], item["name"]) for item in first["items"]] == [
        (tables[1].table_id, "table", "Other")
    ]
    second = await http.ok("GET", f"/api/v1/trash?baseId={bench.base_id}&limit=1&offset={first['offset']}")
    assert [item["id"] for item in second["items"]] == [tags]
    assert "offset" not in second
    only = await http.ok("GET", f"/api/v1/trash?baseId={bench.base_id}&type=table")
    assert [item["id"] for item in only["items"]] == [tables[1].table_id]
    body = {"baseId": bench.base_id}
    restored = await http.ok("POST", f"/api/v1/trash/{tags}/restore", body)
    assert restored == {
        "id": tags,
        "type": "field",
        "name": "Tags",
        "baseId": bench.base_id,
        "tableId": tables[0].table_id,
    }
    await http.ok("POST", f"/api/v1/trash/{tables[1].table_id}/restore", body)
    assert (await base_of(bench)).tables == tables
    assert await http.ok("DELETE", f"/v0/meta/bases/{bench.base_id}") == {"id": bench.base_id, "deleted": True}
    (item,) = (await http.ok("GET", "/api/v1/trash"))["items"]
    assert (item["id"], item["type"], item["name"]) == (bench.base_id, "base", "Plans")
    assert (await http.ok("POST", f"/api/v1/trash/{bench.base_id}/restore", body))["type"] == "base"


async def test_fields_are_redefined_converted_and_copied_over_http(bench: Bench, http: Client) -> None:
    name = (await base_of(bench)).tables[0].primary_field_id
    where = f"/api/v1/bases/{bench.base_id}/tables/T/fields/{name}"
    await bench.records.create_records(
        principal=WHO,
        base_id=bench.base_id,
        table="T",
        rows=({"Name": "1.5"}, {"Name": "x"}),
        typecast=False,
        by_id=False,
    )
    wanted = {"type": "number", "options": {"precision": 1}}
    preview = await http.ok("POST", f"{where}/convert", {**wanted, "preview": True})
    assert (preview["total"], preview["converted"], preview["cleared"]) == (2, 1, 1)
    assert [(item["before"], item["after"]) for item in preview["examples"]] == [("x", None), ("1.5", 1.5)]
    copy = await http.ok("POST", f"{where}/duplicate", {"withCells": True})
    assert (copy["name"], copy["type"]) == ("Name copy", "singleLineText")
    assert await http.ok("POST", f"{where}/convert", wanted) == {"id": name, "name": "Name", **wanted}
    changed = await http.ok("PATCH", where, {"name": "N", "options": {"precision": 3}})
    assert changed == {"id": name, "name": "N", "type": "number", "options": {"precision": 3}}
    assert [(row.get("N"), row["Name copy"]) for row in await records_of(bench, "T")] == [(1.5, "1.5"), (None, "x")]


async def test_bad_bodies_and_strangers_are_refused(bench: Bench, http: Client) -> None:
    table = (await base_of(bench)).tables[0]
    base = f"/api/v1/bases/{bench.base_id}"
    field = f"{base}/tables/T/fields/{table.primary_field_id}"
    requests: list[tuple[str, str, Any, int]] = [
        ("PATCH", base, {"name": 1}, 422),
        ("PATCH", base, {"names": "x"}, 422),
        ("DELETE", field, None, 422),
        ("PATCH", field, {"type": "number"}, 422),
        ("PATCH", field, {}, 422),
        ("POST", f"{field}/convert", {}, 422),
        ("POST", f"{field}/convert", {"type": 3}, 422),
        ("POST", f"{field}/convert", {"type": "nothing"}, 422),
        ("POST", f"{field}/convert", {"type": "button", "options": {"label": "x"}}, 422),
        ("POST", f"{field}/convert", {"type": "number", "options": {"precision": 99}}, 422),
        ("POST", f"{field}/convert", {"type": "number", "options": {"precision": 1}, "preview": "yes"}, 422),
        ("POST", f"{field}/duplicate", {"name": 3}, 422),
        ("POST", f"{field}/duplicate", {"name": "Name"}, 422),
        ("POST", f"{field}/duplicate", {"withCells": 1}, 422),
        ("POST", "/api/v1/trash/x/restore", {"baseId": bench.base_id}, 404),
        ("POST", "/api/v1/trash/x/restore", {"baseId": 3}, 422),
        ("POST", "/api/v1/trash/x/restore", {}, 422),
        ("GET", "/api/v1/trash?limit=0", None, 422),
        ("GET", "/api/v1/trash?limit=x", None, 422),
        ("GET", "/api/v1/trash?offset=x", None, 422),
        ("GET", f"/api/v1/trash?baseId={bench.base_id}&type=record", None, 422),
    ]
    before = await base_of(bench)
    for method, target, body, status in requests:
        assert (await http.refused(method, target, body))[0] == status, (method, target, body)
    stranger = principal(tenant_id=OTHER_TENANT)
    for method, target, body in (
        ("PATCH", base, {"name": 1}),
        ("DELETE", f"/v0/meta/bases/{bench.base_id}", None),
        ("DELETE", f"{base}/tables/T", None),
        ("DELETE", field, None),
        ("PATCH", field, {"type": "number"}),
        ("POST", f"{field}/convert", {}),
        ("POST", f"{field}/convert", {"type": "number", "options": {"precision": 1}}),
        ("POST", f"{field}/duplicate", {}),
        ("GET", f"/api/v1/trash?baseId={bench.base_id}", None),
        ("POST", f"/api/v1/trash/{table.primary_field_id}/restore", {"baseId": bench.base_id}),
    ):
        assert (await http.refused(method, target, body, caller=stranger))[0] == 403, (method, target)
    assert await base_of(bench) == before
