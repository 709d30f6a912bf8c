"""Views of large tables get indexes that serve their pages, beside the traffic, and lose them when nobody needs them."""

import asyncio
from typing import Any

import pytest_asyncio

from pyat.foundation.db import Database
from pyat.foundation.ids import ViewId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import ddl, reading, viewindexes
from pyat.recordstore.structure import Base, Table
from pyat.services.schema.contract import FieldDraft
from pyat.services.schema.service import SchemaService
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.worker import timed_work
from tests.support.schema import new_workspace, principal, table_draft, text_field

ROWS = 20_000
DAY_S = 86_400.0
NAMES = Statement(
    "names", "SELECT relname AS name FROM pg_class WHERE relkind = 'i' AND relname ~ '^view_tbl' ORDER BY 1"
)


class Bench:
    """A base with a large table `Big`, and the views that a test makes."""

    def __init__(self, service: SchemaService, database: Database, base: Base) -> None:
        self.service = service
        self.database = database
        self.base = base
        self.ids = {field.name: field.field_id for field in base.tables[0].fields}

    async def add_view(self, name: str, *, is_used: bool = True, **draft: Any) -> ViewId:
        """A new view of `Big`."""
        made = await self.service.create_view(
            principal=principal(), base_id=self.base.base_id, table="Big", draft={"name": name, **draft}
        )
        if is_used:
            await self.service.note_view_use(view_id=made.view.view_id)
        return made.view.view_id

    def sort(self, *keys: tuple[str, str]) -> list[dict[str, str]]:
        """Sorts or groups by names of fields."""
        return [{"fieldId": self.ids[name], "direction": direction} for name, direction in keys]

    async def refresh(self, *, idle_s: float = DAY_S, rows_min: int = ROWS // 2) -> tuple[list[str], list[str]]:
        """What was built and dropped."""
        return await self.service.refresh_view_indexes(rows_min=rows_min, idle_s=idle_s)

    async def there(self) -> list[str]:
        """The names of the indexes there are."""
        return [row["name"] for row in await self.database.rows(NAMES)]

    async def table(self) -> Table:
        """`Big` as it is now."""
        return (await self.service.get_base(principal=principal(), base_id=self.base.base_id)).tables[0]

    async def index_used(self, view_id: ViewId, *, cursor: reading.Cursor | None = None) -> set[str]:
        """The indexes of views in the plan of a page."""
        table = await self.table()
        view = table.find_view(view_id)
        assert view is not None
        statement, arguments = reading.page(
            self.base.base_id,
            table,
            fields=None,
            by_id=False,
            sort=reading.order_of(view, table),
            rows_max=100,
            cursor=cursor,
            view=view,
        )
        explained = Statement("explain", f"EXPLAIN (FORMAT json) {statement.text}")
        plan = await self.database.value(explained, *arguments)
        return {name for name in await self.there() if name in plan}


@pytest_asyncio.fixture
async def bench(service: SchemaService, database: Database) -> Bench:
    """Twenty thousand records, analysed, beside a small table."""
    base = await service.create_base(
        principal=principal(),
        workspace_id=await new_workspace(service),
        name="Base",
        tables=(
            table_draft(
                "Big",
                text_field("Name"),
                FieldDraft("Amount", "number", options={"precision": 0}),
                FieldDraft("Choice", "singleSelect", options={"choices": [{"name": "rare"}, {"name": "common"}]}),
                FieldDraft("Day", "date", options={"dateFormat": {"name": "iso"}}),
            ),
            table_draft("Small"),
        ),
    )
    bench = Bench(service, database, base)
    rare, common = (choice["id"] for choice in base.tables[0].fields[2].options["choices"])
    relation = ddl.relation(base.base_id, base.tables[0].table_id)
    columns = ", ".join(quote(bench.ids[name]) for name in ("Name", "Amount", "Choice", "Day"))
    async with database.connection() as connection:
        await connection.script(
            "fill",
            f"INSERT INTO {relation} (_id, _created, _modified, {columns})"
            " SELECT 'rec' || lpad(n::text, 14, '0'), now(), now(), 'name ' || n % 7919, nullif(n % 4001, 0),"
            f" CASE WHEN n % 1000 = 0 THEN '{rare}' ELSE '{common}' END, date '2020-01-01' + n % 997"
            f" FROM generate_series(1, {ROWS}) n; ANALYZE {relation}",
        )
    return bench


async def test_pages_of_a_view_come_from_its_index(bench: Bench) -> None:
    up = await bench.add_view("Up", sorts=bench.sort(("Amount", "asc"), ("Day", "desc")))
    down = await bench.add_view("Down", groups=bench.sort(("Day", "desc")), sorts=bench.sort(("Amount", "asc")))
    text = await bench.add_view("Text", sorts=bench.sort(("Name", "asc"), ("Amount", "asc")))
    built, dropped = await bench.refresh()
    assert (len(built), dropped) == (3, [])
    assert await bench.there() == sorted(built)
    table = await bench.table()
    for view_id, keys in (
        (up, ("2000", "2021-01-01")),
        (down, ("2021-01-01", "2000")),
        (text, ("name 5", "name 5", "name 5", "2000")),
    ):
        view = table.find_view(view_id)
        assert view is not None
        index = viewindexes.index_of(table, view)
        assert index is not None
        assert await bench.index_used(view_id) == {index.name}
        later = reading.Cursor(keys, 100, ROWS)
        assert await bench.index_used(view_id, cursor=later) == {index.name}
    assert await bench.refresh() == ([], [])


async def test_a_filter_for_one_value_is_in_the_index(bench: Bench) -> None:
    rare = {"conjunction": "and", "conditions": [{"fieldId": bench.ids["Choice"], "operator": "is", "value": "rare"}]}
    filtered = await bench.add_view("Filtered", filter=rare)
    ordered = await bench.add_view("Ordered", filter=rare, sorts=bench.sort(("Day", "desc")))
    built, _ = await bench.refresh()
    assert len(built) == 2
    names = {name for view_id in (filtered, ordered) for name in await bench.index_used(view_id)}
    assert names <= set(built)
    assert await bench.index_used(filtered)
    assert await bench.index_used(ordered)


async def test_views_that_want_the_same_share_an_index(bench: Bench) -> None:
    first = await bench.add_view("First", sorts=bench.sort(("Amount", "asc")))
    await bench.add_view("Second", groups=bench.sort(("Amount", "asc")))
    built, _ = await bench.refresh()
    assert len(built) == 1
    await bench.service.delete_view(principal=principal(), base_id=bench.base.base_id, view_id=first)
    assert await bench.refresh() == ([], [])


async def test_an_index_goes_with_what_wanted_it(bench: Bench) -> None:
    view_id = await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    (first,), _ = await bench.refresh()
    await bench.service.update_view(
        principal=principal(),
        base_id=bench.base.base_id,
        view_id=view_id,
        changes={"sorts": bench.sort(("Amount", "desc"))},
    )
    (second,), dropped = await bench.refresh()
    assert (dropped, await bench.there()) == ([first], [second])
    await bench.service.delete_view(principal=principal(), base_id=bench.base.base_id, view_id=view_id)
    assert await bench.refresh() == ([], [second])
    assert await bench.there() == []


async def test_a_view_that_nobody_lists_has_none(bench: Bench) -> None:
    view_id = await bench.add_view("View", is_used=False, sorts=bench.sort(("Amount", "asc")))
    assert await bench.refresh() == ([], [])
    await bench.service.note_view_use(view_id=view_id)
    (name,), _ = await bench.refresh()
    assert await bench.refresh(idle_s=0.0) == ([], [name])
    assert await bench.refresh() == ([], []), "the use is forgotten"
    await bench.service.note_view_use(view_id=view_id)
    assert await bench.refresh() == ([name], [])


async def test_small_tables_and_orders_without_use_get_none(bench: Bench) -> None:
    small = await bench.service.create_view(
        principal=principal(),
        base_id=bench.base.base_id,
        table="Small",
        draft={"name": "S", "sorts": [{"fieldId": bench.base.tables[1].primary_field_id}]},
    )
    await bench.service.note_view_use(view_id=small.view.view_id)
    await bench.add_view("By choice", sorts=bench.sort(("Choice", "asc")))
    await bench.add_view("Plain")
    assert await bench.refresh() == ([], [])
    view_id = await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    assert await bench.refresh(rows_min=ROWS * 2) == ([], [])
    assert await bench.index_used(view_id) == set()


async def test_what_a_crash_left_behind_is_built_anew(bench: Bench) -> None:
    await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    (name,), _ = await bench.refresh()
    await bench.database.run(
        Statement("invalid", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass"),
        quote(bench.base.base_id, name),
    )
    assert await bench.refresh() == ([name], [name])
    assert await bench.refresh() == ([], [])


async def test_one_process_at_a_time(bench: Bench) -> None:
    await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    async with bench.database.transaction() as other:
        await other.value(Statement("turn", "SELECT pg_advisory_xact_lock(x'76696577'::int4)"))
        assert await bench.refresh() == ([], [])
    built, _ = await bench.refresh()
    assert len(built) == 1


async def test_long_texts_stay_writable(bench: Bench) -> None:
    relation = ddl.relation(bench.base.base_id, bench.base.tables[0].table_id)
    name = quote(bench.ids["Name"])
    noise = "(SELECT string_agg(chr(19968 + (random() * 20000)::int), '') FROM generate_series(1, 100000))"
    update = Statement("long", f"UPDATE {relation} SET {name} = {noise} WHERE _n = $1")
    await bench.database.run(update, 1)
    sorts = bench.sort(("Name", "asc"), ("Amount", "asc"))
    await bench.add_view("View", sorts=sorts)
    built, _ = await bench.refresh()
    assert len(built) == 1
    await bench.database.run(update, 2)


async def test_a_build_gives_way_to_a_change_of_structure(bench: Bench) -> None:
    view_id = await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    table = await bench.table()
    view = table.find_view(view_id)
    assert view is not None
    index = viewindexes.index_of(table, view)
    assert index is not None
    relation = ddl.relation(bench.base.base_id, table.table_id)
    has_lock = Statement(
        "has_lock",
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = $1::regclass AND mode = 'ShareUpdateExclusiveLock' AND granted)",
    )
    async with bench.database.transaction() as writer:
        await writer.run(Statement("write", f"UPDATE {relation} SET _modified = now() WHERE _n = 1"))
        # The build waits for the writer, and holds what a change of structure needs.
        building = asyncio.create_task(viewindexes.build(bench.database, bench.base.base_id, index))
        async with asyncio.timeout(20):
            while not await bench.database.value(has_lock, relation):
                await asyncio.sleep(0.01)

        async def change() -> None:
            async with bench.database.transaction() as connection:
                await connection.script("change", f"ALTER TABLE {relation} ADD COLUMN x int")

        changing = asyncio.create_task(change())
        assert await building is False
    await changing
    assert await bench.refresh() == ([index.name], [index.name])


async def test_the_service_does_it_by_itself(bench: Bench) -> None:
    await bench.add_view("View", sorts=bench.sort(("Amount", "asc")))
    settings = SchemaSettings(view_index_rows_min=ROWS // 2, view_index_interval_s=0.01)
    async with timed_work(bench.service, settings, connections_max=8), asyncio.timeout(20):
        while not await bench.there():
            await asyncio.sleep(0.01)
    for off, connections in ((SchemaSettings(view_index_rows_min=0), 8), (settings, 2)):
        before = len(asyncio.all_tasks())
        async with timed_work(bench.service, off, connections_max=connections):
            assert len(asyncio.all_tasks()) == before
