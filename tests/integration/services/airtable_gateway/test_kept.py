"""Computed cells that are kept in columns: right after every write, whoever writes, however many, and whatever dies."""

import asyncio
import random
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import filling, maintaining
from pyat.recordstore.errors import RowDoesNotExist
from tests.support.shop import Shop, make_shop


async def add_fields(shop: Shop) -> None:
    """Formulas over numbers, texts, dates and choices; rollups and lookups over two links; formulas over all of these."""
    await shop.add("Lines", "Kind", "singleSelect", choices=[{"name": "new"}, {"name": "old"}])
    await shop.add("Lines", "Amount", "formula", formula="{Price} * {Quantity}")
    await shop.add("Lines", "Each", "formula", formula="{Amount} / {Quantity}")
    await shop.add("Lines", "Label", "formula", formula="UPPER({Name}) & ': ' & {Kind} & IF({Each} > 3, '!')")
    await shop.add("Orders", "Total", "rollup", link="Orders.Lines", source="Lines.Amount", formula="SUM(values)")
    await shop.add("Orders", "Labels", "lookup", link="Orders.Lines", source="Lines.Label")
    await shop.add("Orders", "Long", "formula", formula="LEN(ARRAYJOIN({Labels})) + {Total}")
    await shop.add("Orders", "Whose", "formula", formula="{Customer} & ''")
    await shop.add(
        "Customers", "Spent", "rollup", link="Customers.Orders", source="Orders.Total", formula="SUM(values)"
    )
    await shop.add(
        "Customers", "Longest", "rollup", link="Customers.Orders", source="Orders.Long", formula="MAX(values)"
    )
    await shop.add("Customers", "Rank", "formula", formula="IF({Spent} > 20, 'big', 'small') & ' ' & {Name}")
    await shop.add("Orders", "Rank", "lookup", link="Orders.Customer", source="Customers.Rank")
    await shop.add("Lines", "Rank", "lookup", link="Lines.Order", source="Orders.Whose")
    await shop.add("Orders", "Count", "count", link="Orders.Lines")
    await shop.add(
        "Customers", "Counts", "rollup", link="Customers.Orders", source="Orders.Count", formula="SUM(values)"
    )
    await shop.add("Customers", "Ordered", "lookup", link="Customers.Orders", source="Orders.Lines")
    await shop.add("Customers", "What", "formula", formula="ARRAYJOIN({Ordered}, '; ') & {Counts}")
    await shop.add("Lines", "Who", "lookup", link="Lines.Order", source="Orders.Customer")


KEPT = 16


@pytest_asyncio.fixture
async def shop(database: Database, cache: Cache) -> Shop:
    """With fields whose cells are kept."""
    made = await make_shop(database, cache)
    await add_fields(made)
    await made.keep()
    return made


async def is_right(shop: Shop, *, kept: int = KEPT) -> None:
    """Everything that is kept is what it is made from."""
    checked = await shop.check()
    assert not checked.differences
    assert checked.columns == kept


async def storm(shop: Shop, chosen: random.Random, steps: int) -> None:
    """Random writes: records come, change, are linked, and go."""
    ids: dict[str, list[str]] = {"Customers": [], "Orders": [], "Lines": []}

    def some(table: str, most: int) -> list[str]:
        return chosen.sample(ids[table], min(len(ids[table]), chosen.randrange(most + 1)))

    def cells(table: str) -> dict[str, Any]:
        row: dict[str, Any] = {"Name": chosen.choice(["a", "b", "ß", "", None, "a, b"])}
        if table == "Lines":
            row |= {
                "Price": chosen.choice([None, 0, 0.1, 2.5, -7, 1e300]),
                "Quantity": chosen.choice([None, 0, 1, 3]),
                "Kind": chosen.choice([None, "new", "old"]),
                "Order": some("Orders", 2),
            }
        if table == "Orders":
            row["Customer"] = some("Customers", 2)
            if chosen.random() < 0.3:
                row["Lines"] = some("Lines", 4)
        return {name: value for name, value in row.items() if chosen.random() < 0.7}

    for _ in range(steps):
        table = chosen.choice(list(ids))
        roll = chosen.random()
        if roll < 0.35 or len(ids[table]) < 3:
            made = await shop.create(table, *(cells(table) for _ in range(chosen.randrange(1, 5))))
            ids[table] += [record["id"] for record in made]
        elif roll < 0.85:
            try:
                await shop.update(table, *((record_id, cells(table)) for record_id in some(table, 5) or ids[table][:1]))
            except RowDoesNotExist:
                continue
        else:
            gone = some(table, 2) or ids[table][:1]
            await shop.delete(table, *gone)
            ids[table] = [record_id for record_id in ids[table] if record_id not in gone]


async def test_all_of_it_is_kept(shop: Shop) -> None:
    await storm(shop, random.Random(1), 60)
    await is_right(shop)


@pytest.mark.parametrize("seed", range(3))
async def test_writers_at_the_same_time_miss_nothing_of_each_other(shop: Shop, seed: int) -> None:
    await asyncio.gather(*(storm(shop, random.Random(seed * 10 + number), 40) for number in range(4)))
    await is_right(shop)


async def test_lines_of_one_order_that_are_made_at_the_same_time(shop: Shop) -> None:
    (order,) = await shop.create("Orders", {"Name": "o"})
    line = {"Price": 1, "Quantity": 1, "Order": [order["id"]]}
    await asyncio.gather(*(shop.create("Lines", line, line) for _ in range(12)))
    assert await shop.column("Orders", "Total") == [24]
    await is_right(shop)


async def test_columns_are_filled_while_others_write(
    database: Database, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "CHUNK_ROWS", 3)
    shop = await make_shop(database, cache)
    await storm(shop, random.Random(4), 0)
    await add_fields(shop)
    writers = [asyncio.create_task(storm(shop, random.Random(number), 60)) for number in range(3)]
    await shop.keep()
    await asyncio.gather(*writers)
    await shop.keep()
    await is_right(shop)


async def test_a_filler_that_died_is_followed(
    database: Database, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "CHUNK_ROWS", 2)
    shop = await make_shop(database, cache)
    await add_fields(shop)
    for _ in range(4):
        await shop.create("Lines", *({"Name": "x", "Price": 2, "Quantity": 3} for _ in range(10)))
    assert shop.store is not None
    for pause_s in (0.01, 0.05, 0.1, 0.2, 0.3):
        filler = asyncio.create_task(shop.store.fill_computed())
        await asyncio.sleep(pause_s)
        filler.cancel()
        await asyncio.gather(filler, return_exceptions=True)
        await database.run(Statement("end_lease", "UPDATE schema.computed_work SET leased_until = '-infinity'"))
        assert await shop.column("Lines", "Amount") == [6] * 40
    await shop.keep()
    await is_right(shop)


async def test_a_change_that_reaches_too_many_is_computed_when_read_until_it_is_filled(
    database: Database, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintaining, "AFFECTED_MAX", 4)
    shop = await make_shop(database, cache)
    await add_fields(shop)
    await shop.keep()
    (customer,) = await shop.create("Customers", {"Name": "Ann"})
    orders = await shop.create("Orders", *({"Name": "o", "Customer": [customer["id"]]} for _ in range(4)))
    await is_right(shop)
    orders += await shop.create("Orders", *({"Name": "o", "Customer": [customer["id"]]} for _ in range(4)))
    await is_right(shop)
    await shop.update("Customers", (customer["id"], {"Name": "Bob"}))
    assert (await shop.check()).columns < KEPT
    assert (await shop.field("Orders.Whose")).options["isPending"]
    assert "isPending" not in (await shop.field("Lines.Amount")).options
    assert await shop.column("Orders", "Whose") == ["Bob"] * 8
    assert await shop.column("Orders", "Rank") == [["small Bob"]] * 8
    await shop.create("Lines", {"Price": 9, "Quantity": 9, "Order": [order["id"] for order in orders]})
    assert await shop.column("Customers", "Spent") == [648]
    await shop.keep()
    await is_right(shop)
    assert "isPending" not in (await shop.field("Orders.Whose")).options
    assert await shop.column("Orders", "Rank") == [["big Bob"]] * 8
    assert await shop.column("Lines", "Rank") == [["Bob"] * 8]


async def test_the_answer_of_a_write_that_reaches_too_many_records_of_its_own_table(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (order,) = await shop.create("Orders", {"Name": "o"})
    rows = ({"Price": 1, "Quantity": 1, "Order": [order["id"]]} for _ in range(5))
    (line, *_) = await shop.create("Lines", *rows)
    await shop.add("Lines", "All", "lookup", link="Lines.Order", source="Orders.Total")
    monkeypatch.setattr(maintaining, "AFFECTED_MAX", 4)
    await shop.add("Lines", "Doubled", "formula", formula="{Price} * 2")
    await shop.keep()
    (changed,) = await shop.update("Lines", (line["id"], {"Price": 2}))
    assert changed["fields"]["All"] == [6]
    await shop.keep()
    assert await shop.column("Lines", "All") == [[6]] * 5


@pytest.mark.parametrize("missed_max", [3, maintaining.MISSED_MAX])
async def test_writes_that_reach_too_many_are_made_up_for_while_others_write(
    database: Database, cache: Cache, monkeypatch: pytest.MonkeyPatch, missed_max: int
) -> None:
    monkeypatch.setattr(maintaining, "AFFECTED_MAX", 1)
    monkeypatch.setattr(maintaining, "MISSED_MAX", missed_max)
    monkeypatch.setattr(filling, "CHUNK_ROWS", 2)
    shop = await make_shop(database, cache)
    await add_fields(shop)
    await shop.keep()
    writers = [asyncio.create_task(storm(shop, random.Random(number), 25)) for number in range(3)]
    while not all(writer.done() for writer in writers):
        await shop.keep()
        checked = await shop.check()
        assert not checked.differences
    await asyncio.gather(*writers)
    await shop.keep()
    await is_right(shop)


async def column_names(database: Database, shop: Shop, table: str) -> list[str]:
    """The columns for computed cells that a table's relation has."""
    base = await shop.base()
    table_id = next(one.table_id for one in base.tables if one.name == table)
    rows = await database.rows(
        Statement(
            "columns",
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND starts_with(attname, 'cmp_')"
            " AND NOT attisdropped ORDER BY 1",
        ),
        quote(shop.base_id, table_id),
    )
    return [row["attname"] for row in rows]


async def redefine(shop: Shop, path: str, **options: Any) -> None:
    """Other options for a field."""
    await shop.schema.redefine_field(
        **shop.to, table=path.split(".", maxsplit=1)[0], field_id=shop.ids[path], changes={"options": options}
    )


async def test_columns_that_are_given_up_are_used_again(shop: Shop, database: Database) -> None:
    await storm(shop, random.Random(5), 20)
    before = await column_names(database, shop, "Lines")
    for number in range(6):
        await redefine(shop, "Lines.Amount", formula=f"{{Price}} * {{Quantity}} + {number}")
        await shop.keep()
        await is_right(shop)
    assert await column_names(database, shop, "Lines") == before


async def test_choices_that_join_leave_columns_as_they_are(shop: Shop, database: Database) -> None:
    (line,) = await shop.create("Lines", {"Name": "a", "Kind": "new", "Price": 1, "Quantity": 1})
    await shop.update("Lines", (line["id"], {"Kind": "newest"}), typecast=True)
    await is_right(shop)
    assert await shop.column("Lines", "Label") == ["A: newest"]
    kinds = (await shop.field("Lines.Kind")).options["choices"]
    renamed = [{"id": kind["id"], "name": kind["name"] + "!"} for kind in kinds]
    await redefine(shop, "Lines.Kind", choices=renamed)
    assert (await shop.check()).columns < KEPT
    assert await shop.column("Lines", "Label") == ["A: newest!"]
    await shop.keep()
    await is_right(shop)
    assert await shop.column("Lines", "Label") == ["A: newest!"]


async def test_structure_changes_under_what_is_kept(shop: Shop) -> None:
    await storm(shop, random.Random(6), 30)
    to = {**shop.to, "table": "Lines"}
    await shop.schema.convert_field(
        **to, field_id=shop.ids["Lines.Quantity"], type_name="currency", options={"precision": 1, "symbol": "#"}
    )
    await storm(shop, random.Random(7), 15)
    await shop.keep()
    await is_right(shop)
    await shop.schema.delete_field(**to, field_id=shop.ids["Lines.Price"])
    await shop.create("Lines", {"Name": "x", "Quantity": 5})
    await shop.keep()
    assert not (await shop.check()).differences
    await shop.schema.restore(**shop.to, item_id=shop.ids["Lines.Price"])
    await shop.keep()
    await is_right(shop)


async def test_a_table_goes_and_comes_back(shop: Shop) -> None:
    await storm(shop, random.Random(8), 30)
    base = await shop.base()
    lines = next(table for table in base.tables if table.name == "Lines")
    await shop.schema.delete_table(**shop.to, table="Lines")
    await shop.create("Orders", {"Name": "x"})
    await shop.keep()
    assert not (await shop.check()).differences
    await shop.schema.restore(**shop.to, item_id=lines.table_id)
    await shop.keep()
    await is_right(shop)


async def test_what_comes_back_is_kept_too(shop: Shop) -> None:
    (order,) = await shop.create("Orders", {"Name": "o"})
    lines = await shop.create("Lines", *({"Price": 2, "Quantity": 2, "Order": [order["id"]]} for _ in range(3)))
    await shop.delete("Lines", *(line["id"] for line in lines))
    assert await shop.column("Orders", "Total") == [0]
    ids = tuple(RecordId(line["id"]) for line in lines)
    await shop.records.restore_records(**shop.to, record_ids=ids)
    assert await shop.column("Orders", "Total") == [12]
    await is_right(shop)
    await shop.update("Lines", (lines[0]["id"], {"Price": 100}))
    await shop.records.undo(**shop.to)
    assert await shop.column("Orders", "Total") == [12]
    await is_right(shop)


async def test_the_next_version_of_the_functions_fills_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await storm(shop, random.Random(9), 10)
    from pyat.formula import runtime

    monkeypatch.setattr(runtime, "VERSION", "another")
    assert shop.store is not None
    await shop.store.upgrade_layouts(fits_computed=True)
    assert (await shop.check()).columns == 0
    await shop.keep()
    await is_right(shop)


async def test_the_check_finds_what_is_wrong(shop: Shop, database: Database) -> None:
    await shop.create("Lines", {"Name": "a", "Price": 1, "Quantity": 1}, {"Name": "b", "Price": 2, "Quantity": 1})
    amount = (await shop.field("Lines.Amount")).stored
    base = await shop.base()
    relation = quote(base.base_id, next(table.table_id for table in base.tables if table.name == "Lines"))
    assert amount is not None
    async with database.transaction() as connection:
        # Only someone who is past the triggers can do that.
        await connection.script("past_triggers", "SET LOCAL session_replication_role = replica")
        await connection.run(Statement("spoil", f"UPDATE {relation} SET {quote(amount.name)} = 7 WHERE _n = 1"))
    (first, *_) = (await shop.check()).differences
    assert (first.table, first.field, first.count) == ("Lines", "Amount", 1)


async def test_the_sign_of_a_zero_is_a_change(shop: Shop) -> None:
    await shop.add("Lines", "Side", "formula", formula="1 / {Amount}")
    await shop.keep()
    (line,) = await shop.create("Lines", {"Name": "l", "Price": 5, "Quantity": 0})
    assert line["fields"]["Side"] == {"specialValue": "Infinity"}
    (changed,) = await shop.update("Lines", (line["id"], {"Price": -5}))
    assert changed["fields"]["Side"] == {"specialValue": "-Infinity"}
    await is_right(shop, kept=KEPT + 1)


async def test_whoever_asks_while_columns_are_filled_does_not_wait_for_a_lease_to_end(
    shop: Shop, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop.store is not None
    fill = filling.fill

    async def asked_again(*arguments: Any) -> int:
        count = await fill(*arguments)
        await database.run(maintaining.ASK, shop.base_id)
        return count

    await database.run(maintaining.ASK, shop.base_id)
    with monkeypatch.context() as patch:
        patch.setattr(filling, "fill", asked_again)
        assert await shop.store.fill_computed() == shop.base_id
    assert await shop.store.fill_computed() == shop.base_id
    assert await shop.store.fill_computed() is None
