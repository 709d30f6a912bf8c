"""Fields that depend on other fields: counts of links, and what is shown once something they need is gone."""

from typing import Any

import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.structure import Base, Field
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange, Sort
from pyat.services.schema.contract import FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import principal


class Linked:
    """Table T with a link `Others` to Other, a count of it, a lookup, a rollup and a formula; Other counts back."""

    def __init__(self, bench: Bench, database: Database) -> None:
        self.bench, self.database = bench, database
        self.to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id}

    async def add(self, table: str, name: str, kind: str, **options: Any) -> Field:
        """A new field."""
        draft = FieldDraft(name, kind, options=options)
        return await self.bench.schema.create_field(**self.to, table=table, field=draft)

    async def prepare(self) -> "Linked":
        """The fields."""
        base = await self.base()
        other = base.tables[1]
        link = await self.add("T", "Others", "multipleRecordLinks", linkedTableId=other.table_id)
        way = {"recordLinkFieldId": link.field_id, "fieldIdInLinkedTable": other.primary_field_id}
        await self.add("T", "Count", "count", recordLinkFieldId=link.field_id)
        await self.add("T", "Names", "lookup", **way)
        await self.add("T", "Sum", "rollup", **way, formula="COUNTA(values)")
        await self.add("T", "Shout", "formula", formula="{Name} & Age")
        back = link.options["inverseLinkFieldId"]
        await self.add("Other", "Back", "count", recordLinkFieldId=back)
        return self

    async def base(self) -> Base:
        """The current structure."""
        (base,) = await self.bench.schema.get_bases(base_ids=(self.bench.base_id,))
        return base

    async def create(self, table: str, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        """New records."""
        made = await self.bench.records.create_records(**self.to, table=table, rows=rows, typecast=False, by_id=False)
        return decoded(made)

    async def cells(self, table: str, *names: str, **query: Any) -> list[dict[str, Any]]:
        """Some cells of all records."""
        page = await self.bench.records.list_records(**self.to, table=table, query=ListQuery(fields=names, **query))
        return [record["fields"] for record in decoded(page.records)]

    async def validity(self) -> dict[str, bool]:
        """`isValid` of the fields of T that have it."""
        fields = (await self.base()).tables[0].fields
        return {field.name: field.options["isValid"] for field in fields if "isValid" in field.options}

    async def hide(self, name: str, *, is_deleted: bool) -> None:
        """Delete a field of T, or restore it, as far as structure goes."""
        base = quote(self.bench.base_id)
        state = "now()" if is_deleted else "NULL"
        async with self.database.transaction() as connection:
            await connection.run(
                Statement("hide", f"UPDATE {base}.base_fields SET deleted_at = {state} WHERE name = $1"), name
            )
            await connection.run(Statement("raise", f"UPDATE {base}.base_state SET version = version + 1"))


@pytest_asyncio.fixture
async def linked(database: Database, cache: Cache) -> Linked:
    return await Linked(await make_bench(database, cache), database).prepare()


async def test_counts_follow_links(linked: Linked) -> None:
    a, b = (record["id"] for record in await linked.create("Other", {"Name": "a"}, {"Name": "b"}))
    made = await linked.create("T", {"Name": "two", "Others": [a, b]}, {"Name": "none"}, {"Name": "one", "Others": [b]})
    assert [record["fields"]["Count"] for record in made] == [2, 0, 1]
    shown = [{name: record["fields"].get(name) for name in ("Names", "Sum", "Shout")} for record in made]
    assert shown == [
        {"Names": ["a", "b"], "Sum": 2, "Shout": "two"},
        {"Names": None, "Sum": 0, "Shout": "none"},
        {"Names": ["b"], "Sum": 1, "Shout": "one"},
    ]
    assert await linked.cells("Other", "Back") == [{"Back": 1}, {"Back": 2}]
    await linked.bench.records.update_records(
        **linked.to,
        table="T",
        changes=(RecordChange(RecordId(made[0]["id"]), {"Others": []}),),
        is_replacing=False,
        typecast=False,
        by_id=False,
    )
    assert await linked.cells("T", "Count") == [{"Count": 0}, {"Count": 0}, {"Count": 1}]
    ordered = await linked.cells("T", "Name", sort=(Sort("Count", is_descending=True), Sort("Name")))
    assert [cells["Name"] for cells in ordered] == ["one", "none", "two"]


async def test_what_depends_on_a_field_that_is_gone_is_not_valid(linked: Linked) -> None:
    await linked.create("T", {"Name": "x"})
    everything = {"Count": True, "Names": True, "Sum": True, "Shout": True}
    assert await linked.validity() == everything
    await linked.hide("Others", is_deleted=True)
    assert await linked.validity() == {"Count": False, "Names": False, "Sum": False, "Shout": True}
    assert await linked.cells("T", "Count") == [{}]
    await linked.hide("Others", is_deleted=False)
    assert await linked.validity() == everything
    assert await linked.cells("T", "Count") == [{"Count": 0}]
    await linked.hide("Age", is_deleted=True)
    assert await linked.validity() == {**everything, "Shout": False}
