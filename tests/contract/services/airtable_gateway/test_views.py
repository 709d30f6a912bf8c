"""Listing the records of a view, whichever binding the records service has."""

from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import ViewId, new_id
from pyat.foundation.sql import Statement
from pyat.recordstore.errors import InvalidOffset, ViewIdNotFound, ViewNameNotFound, ViewOfOtherTable
from pyat.services.airtable_gateway.contract import ListQuery, Records, Sort
from tests.contract.conftest import Bind
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import principal

ROWS = tuple({"Name": name, "Age": age, "Status": status} for name, age, status in [
    ("Cy", 3, "Done"), ("ann", 1, "Todo"), ("Bob", 2, "Todo"), ("dee", 4, None), ("Eve", 5, "Todo"), ("fay", 6, "Done"),
])  # fmt: skip


class Caller:
    """Lists of table `T` of one base, and its structure."""

    def __init__(self, records: Records, bench: Bench) -> None:
        self.records = records
        self.bench = bench
        self.to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id, "table": "T"}

    async def add_view(self, name: str, **draft: Any) -> ViewId:
        """A new view, whose filter, sorts and groups name fields by name."""
        ids = await self.field_ids()

        def by_id(item: Any) -> Any:
            if isinstance(item, dict):
                return {key: ids[value] if key == "fieldId" else by_id(value) for key, value in item.items()}
            return [by_id(nested) for nested in item] if isinstance(item, list) else item

        made = await self.bench.schema.create_view(**self.to, draft={"name": name, **by_id(draft)})
        return made.view.view_id

    async def field_ids(self) -> dict[str, str]:
        """Ids of the fields by name."""
        base = await self.bench.schema.get_base(principal=principal(), base_id=self.bench.base_id)
        return {field.name: field.field_id for field in base.tables[0].fields}

    async def names(self, **query: Any) -> list[str]:
        """The names of a list, page by page."""
        found: list[str] = []
        offset = None
        while True:
            page = await self.records.list_records(**self.to, query=ListQuery(offset=offset, **query))
            found += [record["fields"]["Name"] for record in decoded(page.records)]
            offset = page.offset
            if offset is None:
                return found


@pytest_asyncio.fixture
async def caller(bind: Bind, database: Database, cache: Cache) -> Caller:
    """A caller of a base whose table `T` has six records."""
    bench = await make_bench(database, cache)
    caller = Caller(await bind(Records, bench.records), bench)
    await caller.records.create_records(**caller.to, rows=ROWS, typecast=False, by_id=False)
    return caller


OPEN = {"conjunction": "and", "conditions": [{"fieldId": "Status", "operator": "isNot", "value": "Done"}]}


async def test_a_view_restricts_and_orders(caller: Caller) -> None:
    view = await caller.add_view("Open", filter=OPEN, sorts=[{"fieldId": "Age", "direction": "desc"}])
    for page_size in (100, 3, 1):
        assert await caller.names(view=view, page_size=page_size) == ["Eve", "dee", "Bob", "ann"]
    assert await caller.names(view="Open", records_max=3, page_size=2) == ["Eve", "dee", "Bob"]
    assert await caller.names(view=view, sort=(Sort("Name"),), page_size=2) == ["ann", "Bob", "dee", "Eve"]


async def test_groups_order_before_sorts(caller: Caller) -> None:
    await caller.add_view(
        "By status", groups=[{"fieldId": "Status", "direction": "desc"}], sorts=[{"fieldId": "Name"}], type="list"
    )
    assert await caller.names(view="By status", page_size=2) == ["Cy", "fay", "ann", "Bob", "Eve", "dee"]


async def test_hidden_fields_are_answered_too(caller: Caller) -> None:
    ids = await caller.field_ids()
    view = await caller.add_view("Short", hiddenFieldIds=[ids["Age"], ids["Status"]])
    page = await caller.records.list_records(**caller.to, query=ListQuery(view=view))
    assert decoded(page.records)[0]["fields"].items() >= ROWS[0].items()


async def test_a_changed_view_holds_for_the_next_list(caller: Caller) -> None:
    view = await caller.add_view("Open", filter=OPEN)
    assert await caller.names(view=view) == ["ann", "Bob", "dee", "Eve"]
    who: dict[str, Any] = {"principal": principal(), "base_id": caller.bench.base_id, "view_id": view}
    await caller.bench.schema.update_view(**who, changes={"filter": None})
    assert len(await caller.names(view=view)) == 6
    await caller.bench.schema.delete_view(**who)
    with pytest.raises(ViewIdNotFound):
        await caller.names(view=view)


async def test_an_offset_belongs_to_its_view_as_it_was(caller: Caller) -> None:
    view = await caller.add_view("Open", filter=OPEN)
    other = await caller.add_view("Other")
    page = await caller.records.list_records(**caller.to, query=ListQuery(view=view, page_size=1))
    with pytest.raises(InvalidOffset):
        await caller.records.list_records(**caller.to, query=ListQuery(view=other, page_size=1, offset=page.offset))
    # The name of a view means the view.
    by_name = ListQuery(view="Open", page_size=1, offset=page.offset)
    assert (
        decoded((await caller.records.list_records(**caller.to, query=by_name)).records)[0]["fields"]["Name"] == "Bob"
    )
    await caller.bench.schema.update_view(
        principal=principal(), base_id=caller.bench.base_id, view_id=view, changes={"filter": None}
    )
    with pytest.raises(InvalidOffset):
        await caller.records.list_records(**caller.to, query=ListQuery(view=view, page_size=1, offset=page.offset))


async def test_views_of_other_tables_and_of_none_are_refused(caller: Caller) -> None:
    base = await caller.bench.schema.get_base(principal=principal(), base_id=caller.bench.base_id)
    for view, error in (
        (base.tables[1].views[0].view_id, ViewOfOtherTable),
        (new_id("viw"), ViewIdNotFound),
        ("Nope", ViewNameNotFound),
    ):
        with pytest.raises(error):
            await caller.names(view=view)


async def test_the_use_of_a_view_that_wants_an_index_is_noted(caller: Caller, database: Database) -> None:
    ordered = await caller.add_view("Ordered", sorts=[{"fieldId": "Age"}])
    plain = await caller.add_view("Plain")
    never = await caller.add_view("Never", sorts=[{"fieldId": "Age"}])
    for view in (ordered, plain, ordered):
        await caller.names(view=view, page_size=2)
    rows = await database.rows(Statement("uses", "SELECT view_id FROM schema.view_uses"))
    assert [row["view_id"] for row in rows] == [ordered]
    await caller.bench.schema.note_view_use(view_id=never)
    assert len(await database.rows(Statement("uses", "SELECT view_id FROM schema.view_uses"))) == 2
