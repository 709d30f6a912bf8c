"""Tables made like others: references, views, records, links, and what is refused."""

from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.structure import Base, Field, Table
from pyat.services.airtable_gateway.contract import ListQuery
from pyat.services.schema.contract import LINKS_COPIED_MAX, RECORDS_COPIED_MAX, FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import OTHER_TENANT, Client, principal

WHO = principal()
ISO = {"dateFormat": {"name": "iso"}}


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    """A base with a table to write to."""
    return await make_bench(database, cache)


async def field(bench: Bench, name: str, type_name: str, options: Any = None) -> Field:
    """A new field of the table `T`."""
    return await bench.schema.create_field(
        principal=WHO, base_id=bench.base_id, table="T", field=FieldDraft(name, type_name, options=options)
    )


async def tables(bench: Bench) -> dict[str, Table]:
    """The base's tables by name."""
    base = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    return {table.name: table for table in base.tables}


async def create(bench: Bench, table: str, *rows: dict[str, Any]) -> list[str]:
    """Ids of new records."""
    made = await bench.records.create_records(
        principal=WHO, base_id=bench.base_id, table=table, rows=rows, typecast=True, by_id=False
    )
    return [record["id"] for record in decoded(made)]


async def read(bench: Bench, table: str) -> list[dict[str, Any]]:
    """All records of a table by the names of fields."""
    page = await bench.records.list_records(
        principal=WHO, base_id=bench.base_id, table=table, query=ListQuery(page_size=100)
    )
    return decoded(page.records)


async def duplicate(bench: Bench, name: str | None = None, *, with_records: bool = True) -> Table:
    """A copy of the table `T`."""
    return await bench.schema.duplicate_table(
        principal=WHO, base_id=bench.base_id, table="T", name=name, with_records=with_records
    )


async def test_records_and_links_are_copied(bench: Bench, database: Database) -> None:
    found = await tables(bench)
    await field(bench, "Owners", "multipleRecordLinks", {"linkedTableId": found["Other"].table_id})
    parents = await field(bench, "Parents", "multipleRecordLinks", {"linkedTableId": found["T"].table_id})
    await field(bench, "Parent count", "count", {"recordLinkFieldId": parents.field_id})
    await field(bench, "Changed", "lastModifiedTime", {"referencedFieldIds": [found["T"].primary_field_id]})
    people = await create(bench, "Other", {"Name": "p"}, {"Name": "q"}, {"Name": "r"})
    first, _, second = await create(
        bench, "T", {"Name": "one", "Tags": ["b", "a"], "Age": 3}, {"Age": 0}, {"Name": "two", "Status": "Done"}
    )
    files = (await field(bench, "Files", "multipleAttachments")).field_id
    table = (await tables(bench))["T"]
    await create(bench, "T", {"Owners": [people[2], people[0], people[1]], "Parents": [second, first]})
    relation = quote(bench.base_id, table.table_id)
    await database.run(Statement("attach", f"UPDATE {relation} SET {quote(files)} = '{{att}}' WHERE _n = 1"))
    copy = await duplicate(bench)
    own_files = quote(copy.fields_by_name["Files"].field_id)
    attached = f"SELECT count({own_files}) FROM {quote(bench.base_id, copy.table_id)}"
    assert await database.value(Statement("attached", attached)) == 0
    old, new = await read(bench, "T"), await read(bench, "T copy")
    by_id = {record["id"]: made["id"] for record, made in zip(old, new, strict=True)}
    assert not set(by_id) & set(by_id.values())
    for record, made in zip(old, new, strict=True):
        expected = {key: value for key, value in record["fields"].items() if key not in ("Changed", "Files")}
        if "Parents" in expected:
            expected["Parents"] = [by_id[record_id] for record_id in expected["Parents"]]
        assert {key: value for key, value in made["fields"].items() if key != "Changed"} == expected
        assert made["fields"]["Changed"] >= record["fields"]["Changed"]
    assert new[3]["fields"]["Parents"] == [by_id[second], by_id[first]]
    assert new[3]["fields"]["Parent count"] == 2
    assert new[3]["fields"]["Owners"] == [people[2], people[0], people[1]]
    assert [record["fields"]["T copy"] for record in await read(bench, "Other")] == [[new[3]["id"]]] * 3
    # Later records and links come after the copies.
    (late,) = await create(bench, "T copy", {"Name": "late", "Owners": [people[0]]})
    last = (await read(bench, "T copy"))[-1]
    assert (last["id"], last["fields"]["Number"]) == (late, 5)
    assert (await read(bench, "Other"))[0]["fields"]["T copy"] == [new[3]["id"], late]
    assert len(await read(bench, "T")) == 4
    assert copy.fields_by_name["Parents"].options["linkedTableId"] == copy.table_id
    assert (await read(bench, (await duplicate(bench, "Bare", with_records=False)).name)) == []


async def test_references_name_the_copies(bench: Bench, database: Database) -> None:
    found = await tables(bench)
    table = found["T"]
    status, age = table.fields_by_name["Status"], table.fields_by_name["Age"]
    parents = await field(bench, "Parents", "multipleRecordLinks", {"linkedTableId": table.table_id})
    owners = await field(bench, "Owners", "multipleRecordLinks", {"linkedTableId": found["Other"].table_id})
    start, end = await field(bench, "Start", "date", ISO), await field(bench, "End", "date", ISO)
    route = {"recordLinkFieldId": parents.field_id, "fieldIdInLinkedTable": age.field_id}
    await field(bench, "Ages", "rollup", {**route, "formula": "SUM(values)"})
    other_name = found["Other"].primary_field_id
    away = {"recordLinkFieldId": owners.field_id, "fieldIdInLinkedTable": other_name}
    await field(bench, "Names", "multipleLookupValues", away)
    await field(bench, "Twice", "formula", {"formula": '{Age} * 2 & "{Age}" & Name'})
    dates = {"startDateFieldId": start.field_id, "endDateFieldId": end.field_id, "durationFieldId": age.field_id}
    rules = {"isEnabled": True, "reschedulingMode": "fixed", "shouldSkipWeekendsAndHolidays": False}
    where: dict[str, Any] = {"principal": WHO, "base_id": bench.base_id, "table": "T"}
    changes = {"dateDependencySettings": {**dates, **rules, "predecessorFieldId": parents.field_id}}
    await bench.schema.update_table(**where, changes=changes)
    todo = status.options["choices"][0]["id"]
    view = await bench.schema.create_view(
        **where,
        draft={
            "name": "Board",
            "type": "kanban",
            "settings": {"stackFieldId": status.field_id},
            "hiddenFieldIds": [age.field_id],
            "filter": {
                "conjunction": "or",
                "conditions": [
                    {"fieldId": status.field_id, "operator": "is", "value": todo},
                    {"conjunction": "and", "conditions": [{"fieldId": age.field_id, "operator": "=", "value": 1}]},
                ],
            },
            "sorts": [{"fieldId": age.field_id, "direction": "desc"}],
            "groups": [{"fieldId": status.field_id, "direction": "asc"}],
        },
    )
    await bench.schema.delete_field(**where, field_id=table.fields_by_name["Tags"].field_id)
    copy = await duplicate(bench, with_records=False)
    original = (await tables(bench))["T"]
    assert (await tables(bench))["T copy"] == copy
    ids = {old.field_id: new.field_id for old, new in zip(original.fields, copy.fields, strict=True)}
    by_name = copy.fields_by_name
    assert by_name["Status"].options == original.fields_by_name["Status"].options
    assert by_name["Ages"].options["recordLinkFieldId"] == by_name["Parents"].field_id
    assert by_name["Ages"].options["fieldIdInLinkedTable"] == by_name["Age"].field_id
    assert by_name["Names"].options["recordLinkFieldId"] == by_name["Owners"].field_id
    assert by_name["Names"].options["fieldIdInLinkedTable"] == other_name
    own_age, own_name = by_name["Age"].field_id, by_name["Name"].field_id
    assert by_name["Twice"].options["formula"] == f'{{{own_age}}} * 2 & "{{Age}}" & {{{own_name}}}'
    assert by_name["Twice"].options["referencedFieldIds"] == [own_age, own_name]
    assert copy.date_dependency is not None
    assert copy.date_dependency["predecessorFieldId"] == by_name["Parents"].field_id
    assert copy.date_dependency["startDateFieldId"] == by_name["Start"].field_id
    old_view = view.view
    (new_view,) = (item for item in copy.views if item.name == "Board")
    own_status = by_name["Status"].field_id
    assert new_view.view_id != old_view.view_id
    assert new_view.field_ids == tuple(ids[item] for item in old_view.field_ids if item in ids)
    assert new_view.hidden_field_ids == (own_age,)
    assert new_view.settings == {"stackFieldId": own_status}
    assert new_view.sorts == ({"fieldId": own_age, "direction": "desc"},)
    assert new_view.groups == ({"fieldId": own_status, "direction": "asc"},)
    assert new_view.filter is not None
    condition, group = new_view.filter["conditions"]
    assert (condition["fieldId"], condition["value"]) == (own_status, todo)
    assert group["conditions"][0]["fieldId"] == own_age


async def test_too_many_records_or_links_are_refused_and_leave_nothing(bench: Bench, database: Database) -> None:
    found = await tables(bench)
    link = await field(bench, "Owners", "multipleRecordLinks", {"linkedTableId": found["Other"].table_id})
    relations = {name: quote(bench.base_id, table.table_id) for name, table in found.items()}
    filled = "INSERT INTO {} (_id, _created, _modified) SELECT 'rec' || lpad(i::text, 14, '0'), now(), now()"
    for name, count in (("T", RECORDS_COPIED_MAX + 1), ("Other", LINKS_COPIED_MAX // 100 + 1)):
        rows = f"{filled.format(relations[name])} FROM generate_series(1, {count}) i"
        await database.run(Statement("many_records", rows))
    before = await bench.schema.get_base(principal=WHO, base_id=bench.base_id)
    with pytest.raises(LimitReached, match=f"{RECORDS_COPIED_MAX} records"):
        await duplicate(bench)
    await database.run(Statement("one_less", f"DELETE FROM {relations['T']} WHERE _n = 1"))
    assert link.link is not None
    junction = quote(bench.base_id, link.link.junction)
    pairs = f"SELECT t._n, o._n FROM {relations['Other']} o, {relations['T']} t WHERE t._n <= 101"
    await database.run(Statement("many_links", f"INSERT INTO {junction} (a, b) {pairs}"))
    with pytest.raises(LimitReached, match=f"{LINKS_COPIED_MAX} links"):
        await duplicate(bench)
    assert await bench.schema.get_base(principal=WHO, base_id=bench.base_id) == before
    await database.run(Statement("fewer_links", f"DELETE FROM {junction} WHERE a = 2"))
    copy = await duplicate(bench)
    relation = quote(bench.base_id, copy.table_id)
    assert await database.value(Statement("copied", f"SELECT count(*) FROM {relation}")) == RECORDS_COPIED_MAX
    own = copy.fields_by_name["Owners"].field_id
    copied = quote(bench.base_id, f"lnk{own[3:]}")
    links = await database.value(Statement("links", f"SELECT count(*) FROM {junction}"))
    assert await database.value(Statement("copied_links", f"SELECT count(*) FROM {copied}")) == links


async def test_over_http(client: Client, base: Base) -> None:
    path = f"/api/v1/bases/{base.base_id}/tables/Tasks/duplicate"
    status, body = await client.send("POST", path, {})
    assert (status, body["name"]) == (200, "Tasks copy")
    assert [item["name"] for item in body["fields"]] == ["Name", "Notes"]
    bad: Any
    for bad in ({"name": 1}, {"withRecords": "yes"}, {"records": True}, [], {"name": ""}, {"name": "tasks"}):
        status, body = await client.send("POST", path, bad)
        assert status == 422, bad
    stranger = principal(tenant_id=OTHER_TENANT)
    missing = f"/api/v1/bases/{BaseId(new_id('app'))}/tables/Tasks/duplicate"
    answers = [
        await client.send("POST", path, {}, caller=stranger),
        await client.send("POST", path, {"name": 1}, caller=stranger),
        await client.send("POST", missing, {}),
        await client.send("POST", path.replace("Tasks", "None"), {"name": 1}),
    ]
    assert {status for status, _ in answers} == {403}
    assert len({str(body) for _, body in answers}) == 1
