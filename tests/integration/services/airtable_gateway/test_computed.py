"""Formulas, lookups and rollups: over each other, over links, in every kind of reading, and when something they need is gone."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.recordstore.errors import CellsTooSlow, ComputedValue, InvalidFieldOptions, InvalidFilter
from pyat.services.airtable_gateway.contract import (
    Aggregate,
    AggregateQuery,
    ExportQuery,
    ListQuery,
    Sort,
)
from pyat.services.airtable_gateway.store import python_columns
from tests.support.records import decoded
from tests.support.shop import Shop, make_shop

ERROR = {"error": "#ERROR!"}


@pytest_asyncio.fixture(params=["read", "kept"])
async def shop(database: Database, cache: Cache, request: pytest.FixtureRequest) -> AsyncIterator[Shop]:
    """Line amounts, order totals, customer totals, and lookups both ways; computed when read, or kept in columns."""
    made = await make_shop(database, cache)
    made.is_kept = request.param == "kept"
    await made.add("Lines", "Amount", "formula", formula="{Price} * {Quantity}")
    await made.add("Orders", "Total", "rollup", link="Orders.Lines", source="Lines.Amount", formula="SUM(values)")
    await made.add("Orders", "Line count", "count", link="Orders.Lines")
    await made.add("Orders", "Mean", "formula", formula="{Total} / {Line count}")
    await made.add(
        "Customers", "Spent", "rollup", link="Customers.Orders", source="Orders.Total", formula="SUM(values)"
    )
    await made.add("Lines", "Customer", "lookup", link="Lines.Order", source="Orders.Customer")
    await made.add("Lines", "Customer name", "formula", formula="UPPER({Customer} & '')")
    await made.add("Customers", "Rank", "formula", formula="IF({Spent} > 20, 'big', 'small') & ' ' & {Name}")
    yield made
    if made.is_kept:
        await made.keep()
    checked = await made.check()
    assert not checked.differences
    assert bool(checked.columns) is made.is_kept


async def filled(shop: Shop) -> dict[str, str]:
    """Two customers, three orders, four lines; ids by name."""
    ids: dict[str, str] = {}

    async def put(table: str, *rows: dict[str, Any]) -> None:
        ids.update({row["fields"]["Name"]: row["id"] for row in await shop.create(table, *rows)})

    await put("Customers", {"Name": "Ann"}, {"Name": "Bob"})
    await put(
        "Orders",
        {"Name": "o1", "Customer": [ids["Ann"]], "Day": "2024-02-28"},
        {"Name": "o2", "Customer": [ids["Ann"]], "Day": "2024-03-01"},
        {"Name": "o3", "Customer": [ids["Bob"]]},
    )
    await put(
        "Lines",
        {"Name": "l1", "Price": 1.5, "Quantity": 4, "Order": [ids["o1"]]},
        {"Name": "l2", "Price": 10, "Quantity": 2, "Order": [ids["o1"]]},
        {"Name": "l3", "Price": 0.1, "Quantity": 3, "Order": [ids["o2"]]},
        {"Name": "l4", "Price": 5, "Quantity": 1},
    )
    return ids


async def test_chains_over_links_follow_every_change(shop: Shop) -> None:
    ids = await filled(shop)
    assert await shop.column("Lines", "Amount") == [6, 20, 0.30000000000000004, 5]
    assert await shop.column("Orders", "Total") == [26, 0.30000000000000004, 0]
    assert await shop.column("Orders", "Mean") == [13, 0.30000000000000004, {"specialValue": "NaN"}]
    assert await shop.column("Customers", "Spent") == [26.3, 0]
    assert await shop.column("Customers", "Rank") == ["big Ann", "small Bob"]
    await shop.update("Lines", (ids["l2"], {"Price": 1}))
    assert await shop.column("Customers", "Spent") == [8.3, 0]
    assert await shop.column("Customers", "Rank") == ["small Ann", "small Bob"]
    await shop.update("Orders", (ids["o1"], {"Customer": [ids["Bob"]]}))
    assert await shop.column("Customers", "Spent") == [0.30000000000000004, 8]
    assert await shop.column("Lines", "Customer name") == ["BOB", "BOB", "ANN", None]
    await shop.update("Customers", (ids["Bob"], {"Name": "Bobby"}))
    assert await shop.column("Lines", "Customer name") == ["BOBBY", "BOBBY", "ANN", None]
    await shop.delete("Lines", ids["l1"])
    assert await shop.column("Customers", "Spent") == [0.30000000000000004, 2]
    await shop.update("Lines", (ids["l4"], {"Order": [ids["o2"]]}))
    assert await shop.column("Orders", "Total") == [2, 5.3, 0]
    await shop.delete("Orders", ids["o2"])
    assert await shop.column("Lines", "Customer name") == ["BOBBY", None, None]


async def test_the_answer_of_a_write_shows_what_is_computed(shop: Shop) -> None:
    ids = await filled(shop)
    (made,) = await shop.create("Lines", {"Name": "x", "Price": 2, "Quantity": 8, "Order": [ids["o3"]]})
    assert {made["fields"][name] for name in ("Amount", "Customer name")} == {16, "BOB"}
    assert made["fields"]["Customer"] == [ids["Bob"]]
    (changed,) = await shop.update("Lines", (made["id"], {"Quantity": None}))
    assert changed["fields"]["Amount"] == 0
    (order,) = await shop.update("Orders", (ids["o3"], {"Lines": [made["id"], ids["l4"]]}))
    assert (order["fields"]["Total"], order["fields"]["Line count"]) == (5, 2)


async def test_what_the_metadata_tells(shop: Shop) -> None:
    amount = await shop.field("Lines.Amount")
    price, quantity = shop.ids["Lines.Price"], shop.ids["Lines.Quantity"]
    assert amount.options == {
        "formula": f"{{{price}}} * {{{quantity}}}",
        "isValid": True,
        "referencedFieldIds": [price, quantity],
        "result": {"type": "number", "options": {"precision": 2}},
    }
    customer = await shop.field("Lines.Customer")
    assert customer.options["result"]["type"] == "multipleRecordLinks"
    assert (await shop.field("Customers.Rank")).options["result"] == {"type": "singleLineText"}
    late = await shop.add("Orders", "Late", "formula", formula="{Day}")
    assert late.options["result"]["type"] == "date"


async def test_a_formula_heals_when_what_it_lost_comes_back(shop: Shop) -> None:
    await filled(shop)
    field_id = shop.ids["Lines.Price"]
    table = {"table": "Lines", **shop.to}
    await shop.schema.delete_field(**table, field_id=field_id)
    for path in ("Lines.Amount", "Orders.Total", "Orders.Mean", "Customers.Spent", "Customers.Rank"):
        assert (await shop.field(path)).options["isValid"] is False, path
    assert await shop.column("Customers", "Spent") == [None, None]
    assert (await shop.field("Lines.Customer")).options["isValid"] is True
    await shop.schema.restore(**shop.to, item_id=field_id)
    assert (await shop.field("Customers.Rank")).options["isValid"] is True
    assert await shop.column("Customers", "Spent") == [26.3, 0]


async def test_renames_change_no_formula(shop: Shop) -> None:
    await filled(shop)
    before = (await shop.field("Lines.Amount")).options
    await shop.schema.update_field(
        **shop.to, table="Lines", field_id=shop.ids["Lines.Price"], changes={"name": "Unit } price"}
    )
    assert (await shop.field("Lines.Amount")).options == before
    assert await shop.column("Lines", "Amount", filter=r"{Unit \} price} >= 5") == [20, 5]


async def change(shop: Shop, path: str, formula: str) -> None:
    """Another formula for a field."""
    await shop.schema.redefine_field(
        **shop.to,
        table=path.split(".", maxsplit=1)[0],
        field_id=shop.ids[path],
        changes={"options": {"formula": formula}},
    )


async def test_a_formula_that_changes_shows_at_once(shop: Shop) -> None:
    await filled(shop)
    await change(shop, "Lines.Amount", "{Quantity} & 'x'")
    assert await shop.column("Lines", "Amount") == ["4x", "2x", "3x", "1x"]
    assert (await shop.field("Lines.Amount")).options["result"] == {"type": "singleLineText"}
    assert await shop.column("Orders", "Total") == [0, 0, 0]


@pytest.mark.parametrize(
    ("path", "formula", "names"),
    [
        ("Lines.Amount", "{Amount} + 1", "Amount → Amount"),
        ("Orders.Mean", "1 + {Mean}", "Mean → Mean"),
        ("Customers.Rank", "{Rank} & {Spent}", "Rank → Rank"),
    ],
)
async def test_no_formula_depends_on_itself(shop: Shop, path: str, formula: str, names: str) -> None:
    before = (await shop.field(path)).options
    with pytest.raises(InvalidFieldOptions, match=names):
        await change(shop, path, formula)
    assert (await shop.field(path)).options == before


async def test_a_circle_over_links_is_named(shop: Shop) -> None:
    await shop.add("Lines", "Share", "lookup", link="Lines.Order", source="Orders.Total")
    with pytest.raises(InvalidFieldOptions) as caught:
        await change(shop, "Lines.Amount", "SUM({Share})")
    for name in ("Share", "Total", "Amount", "→"):
        assert name in str(caught.value)
    assert (await shop.field("Lines.Amount")).options["isValid"] is True


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("{Nothing}", "Unknown field names: nothing"),
        ("DATETIMEDIF({Price})", "DATETIME_DIFF"),
        ("1 +", "formula"),
        ("IF(1)", "IF"),
        ("'open", "formula"),
    ],
)
async def test_wrong_formulas_are_refused(shop: Shop, formula: str, said: str) -> None:
    with pytest.raises(InvalidFieldOptions, match=said):
        await shop.add("Lines", "Wrong", "formula", formula=formula)
    with pytest.raises(InvalidFilter):
        await shop.column("Lines", "Name", filter=formula)


@pytest.mark.parametrize(
    ("table", "formula", "names"),
    [
        ("Lines", "{Amount} > 5.5", ["l1", "l2"]),
        ("Lines", "{Customer name} = 'ANN'", ["l1", "l2", "l3"]),
        ("Lines", "REGEX_MATCH({Name}, '^l[13]$')", ["l1", "l3"]),
        ("Lines", "AND(REGEX_MATCH({Customer name}, 'A.N'), {Price} < 10)", ["l1", "l3"]),
        ("Lines", "FIND('nn', ARRAYJOIN({Customer}))", ["l1", "l2", "l3"]),
        ("Orders", "{Mean}", ["o1", "o2"]),
        ("Orders", "ISERROR({Mean})", ["o3"]),
        ("Orders", "IS_AFTER({Day}, '2024-02-28')", ["o2"]),
        ("Orders", "{Line count} = 1", ["o2"]),
        ("Orders", "NOT({Day})", ["o3"]),
        ("Customers", "{Rank} = 'small Bob'", ["Bob"]),
        ("Customers", "RECORD_ID() = ''", []),
        ("Customers", "1", ["Ann", "Bob"]),
        ("Customers", "0", []),
    ],
)
async def test_filters(shop: Shop, table: str, formula: str, names: list[str]) -> None:
    await filled(shop)
    assert await shop.column(table, "Name", filter=formula) == names


async def test_nothing_is_repeated_many_times_in_no_time(shop: Shop) -> None:
    await filled(shop)
    assert await shop.column("Lines", "Name", filter="REPT(LEFT({Name}, 0), 2000000000) = ''") == [
        "l1",
        "l2",
        "l3",
        "l4",
    ]
    assert await shop.column("Lines", "Name", filter="REPT({Name}, 2000000000) = ''") == []
    # The SQL of the count, a zero, is a part of the SQL around it.
    assert await shop.column("Lines", "Name", filter="REPT({Name}, COUNT({Name})) != ''") == []
    await shop.create("Orders", {"Name": "no day"})
    assert await shop.column("Orders", "Name", filter="ISERROR(MOD(10, DAY({Day})))") == ["o3", "no day"]
    assert await shop.column("Orders", "Name", filter="MOD(10, DAY({Day})) > 100") == []


async def test_a_formula_of_100000_characters_is_as_long_when_it_is_stored_by_ids(shop: Shop) -> None:
    await filled(shop)
    formula = "+".join(["Price"] * 16_600)
    await shop.add("Lines", "Long", "formula", formula=formula)
    prices = await shop.column("Lines", "Price")
    assert await shop.column("Lines", "Long") == pytest.approx([price * 16_600 for price in prices])
    with pytest.raises(InvalidFieldOptions):
        await shop.add("Lines", "Longer", "formula", formula=formula + "+1" * 1_000)


async def test_pages_of_a_filter_that_python_decides(shop: Shop) -> None:
    names = [f"n{number}" for number in range(25)]
    for start in range(0, 25, 10):
        await shop.create("Customers", *({"Name": name} for name in names[start : start + 10]))
    wanted = sorted((name for name in names if name.endswith(("1", "3", "5", "7", "9"))), reverse=True)
    formula, found, offset = "REGEX_MATCH({Name}, '[13579]$')", [], None
    while True:
        query = ListQuery(filter=formula, page_size=4, offset=offset, sort=(Sort("Name", is_descending=True),))
        page = await shop.records.list_records(**shop.to, table="Customers", query=query)
        records = decoded(page.records)
        assert len(records) <= 4
        found += [record["fields"]["Name"] for record in records]
        offset = page.offset
        if offset is None:
            break
    assert found == wanted


async def test_what_only_python_can_tell_is_filled_in(shop: Shop) -> None:
    ids = await filled(shop)
    await shop.add("Lines", "Digits", "formula", formula="REGEX_REPLACE({Name} & {Amount}, '[^0-9]', '')")
    assert await shop.column("Lines", "Digits") == ["16", "220", "3030000000000000004", "45"]
    await shop.add("Orders", "All digits", "lookup", link="Orders.Lines", source="Lines.Digits")
    assert await shop.column("Orders", "All digits") == [["16", "220"], ["3030000000000000004"], None]
    await shop.add("Orders", "Twice", "formula", formula="LEN(ARRAYJOIN({All digits}, '-')) * 2")
    assert await shop.column("Orders", "Twice") == [12, 38, 0]
    await shop.add("Customers", "Sum", "rollup", link="Customers.Orders", source="Orders.Twice", formula="SUM(values)")
    assert await shop.column("Customers", "Sum") == [50, 0]
    assert await shop.column("Customers", "Name", filter="{Sum} = 50") == ["Ann"]
    (changed,) = await shop.update("Lines", (ids["l1"], {"Name": "l77"}))
    assert changed["fields"]["Digits"] == "776"
    assert await shop.column("Customers", "Sum") == [52, 0]


async def with_tails(shop: Shop) -> None:
    """Names whose last digits only Python takes off: text, number and moment."""
    names = ["a7", "b12", None, "c", "B3", "d12"]
    await shop.create("Customers", *({"Name": name} for name in names))
    tail = "REGEX_EXTRACT({Name} & '', '[0-9]+$')"
    await shop.add("Customers", "Tail", "formula", formula=tail)
    await shop.add("Customers", "Value", "formula", formula=f"VALUE({tail})")
    await shop.add(
        "Customers", "When", "formula", formula=f"DATEADD(DATETIME_PARSE('2024-01-01'), VALUE({tail}), 'days')"
    )
    await shop.add("Customers", "Clean", "formula", formula="REGEX_REPLACE({Name} & '', '[0-9]', '')")
    base = await shop.base()
    (customers,) = (table for table in base.tables if table.name == "Customers")
    by_python = {one.name for one in customers.fields if one.computed is not None and one.computed.sql("r") is None}
    assert by_python >= {"Tail", "Value", "When", "Clean"}


async def test_records_sort_by_what_only_python_can_tell(shop: Shop) -> None:
    await with_tails(shop)
    assert await shop.sorted_by("Customers", "Value") == [None, "c", "B3", "a7", "b12", "d12"]
    assert await shop.sorted_by("Customers", "Tail", is_descending=True) == ["a7", "B3", "b12", "d12", None, "c"]
    assert await shop.sorted_by("Customers", "Clean") == [None, "a7", "B3", "b12", "c", "d12"]
    assert await shop.sorted_by("Customers", "When", is_descending=True) == ["b12", "d12", "a7", "B3", None, "c"]
    found, offset = [], None
    while True:
        query = ListQuery(
            page_size=1, offset=offset, sort=(Sort("Value", is_descending=True),), fields=("Name", "Tail")
        )
        page = await shop.records.list_records(**shop.to, table="Customers", query=query)
        found += [record["fields"].get("Tail") for record in decoded(page.records)]
        offset = page.offset
        if offset is None:
            break
    assert found == ["12", "12", "7", "3", {"error": "#ERROR!"}, {"error": "#ERROR!"}]
    filtered = ListQuery(filter="REGEX_MATCH({Name} & '', '[ad]')", sort=(Sort("Value", is_descending=True),))
    page = await shop.records.list_records(**shop.to, table="Customers", query=filtered)
    assert [record["fields"]["Name"] for record in decoded(page.records)] == ["d12", "a7"]


async def test_what_python_computes_for_an_order_has_its_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await with_tails(shop)
    monkeypatch.setattr(python_columns, "TIME_MAX_S", 0.0)
    with pytest.raises(CellsTooSlow):
        await shop.sorted_by("Customers", "Value")
    assert await shop.sorted_by("Customers", "Name")


async def test_views_filter_and_sort_by_what_only_python_can_tell(shop: Shop) -> None:
    await with_tails(shop)
    conditions = [
        {"fieldId": shop.ids["Customers.Value"], "operator": ">", "value": 5},
        {"fieldId": shop.ids["Customers.Clean"], "operator": "isNot", "value": "d"},
    ]
    view = await shop.schema.create_view(
        **shop.to,
        table="Customers",
        draft={
            "name": "late",
            "type": "grid",
            "filter": {"conjunction": "and", "conditions": conditions},
            "sorts": [{"fieldId": shop.ids["Customers.When"], "direction": "desc"}],
        },
    )
    assert await shop.column("Customers", "Name", view=view.view.view_id) == ["b12", "a7"]


async def test_groups_and_exports_of_what_only_python_can_tell(shop: Shop) -> None:
    await with_tails(shop)
    wanted = (Aggregate("countAll", None), Aggregate("sum", "Value"), Aggregate("max", "When"))
    groups = await shop.records.aggregate(**shop.to, table="Customers", query=AggregateQuery(wanted, ("Clean",)))
    shown = [(group["key"]["Clean"], group["values"]) for group in decoded(groups.groups)]
    assert shown == [
        (None, [1, None, None]),
        ("a", [1, 7, "2024-01-08T00:00:00.000Z"]),
        ("B", [1, 3, "2024-01-04T00:00:00.000Z"]),
        ("b", [1, 12, "2024-01-13T00:00:00.000Z"]),
        ("c", [1, None, None]),
        ("d", [1, 12, "2024-01-13T00:00:00.000Z"]),
    ]
    query = ExportQuery("csv", ("Name", "Tail", "Value", "When"))
    page = await shop.records.export_page(**shop.to, table="Customers", query=query, after=None)
    assert page.body.decode().split("\r\n") == [
        "a7,7,7,2024-01-08T00:00:00.000Z",
        "b12,12,12,2024-01-13T00:00:00.000Z",
        ",#ERROR!,,",
        "c,#ERROR!,,",
        "B3,3,3,2024-01-04T00:00:00.000Z",
        "d12,12,12,2024-01-13T00:00:00.000Z",
    ]


async def test_records_sort_by_what_is_computed(shop: Shop) -> None:
    await filled(shop)
    assert await shop.sorted_by("Lines", "Amount") == ["l3", "l4", "l1", "l2"]
    assert await shop.sorted_by("Lines", "Amount", is_descending=True) == ["l2", "l1", "l4", "l3"]
    assert await shop.sorted_by("Lines", "Customer name") == ["l4", "l1", "l2", "l3"]
    assert await shop.sorted_by("Customers", "Spent") == ["Bob", "Ann"]


async def test_views_filter_by_the_type_of_the_result(shop: Shop) -> None:
    await filled(shop)

    async def names(table: str, path: str, operator: str, value: Any) -> list[Any]:
        condition = {"fieldId": shop.ids[path], "operator": operator, "value": value}
        view = await shop.schema.create_view(
            **shop.to,
            table=table,
            draft={
                "name": f"{path} {operator}",
                "type": "grid",
                "filter": {"conjunction": "and", "conditions": [condition]},
            },
        )
        return await shop.column(table, "Name", view=view.view.view_id)

    await shop.add("Orders", "Later", "formula", formula="DATEADD({Day}, 1, 'month')")
    assert await names("Lines", "Lines.Amount", ">", 5) == ["l1", "l2"]
    assert await names("Customers", "Customers.Spent", "=", 0) == ["Bob"]
    assert await names("Customers", "Customers.Rank", "contains", "BIG") == ["Ann"]
    later = {"mode": "exactDate", "exactDate": "2024-03-28"}
    assert await names("Orders", "Orders.Later", "is", later) == ["o1"]
    assert await names("Orders", "Orders.Later", "isAfter", later) == ["o2"]


async def test_exports_and_aggregates(shop: Shop) -> None:
    await filled(shop)

    async def lines(table: str, form: Any, *fields: str) -> str:
        query = ExportQuery(form, fields=fields)
        page = await shop.records.export_page(**shop.to, table=table, query=query, after=None)
        return page.body.decode()

    assert await lines("Orders", "csv", "Name", "Total", "Mean") == (
        "o1,26,13\r\no2,0.30000000000000004,0.30000000000000004\r\no3,0,"
    )
    assert await lines("Orders", "values", "Mean") == "[13],[0.30000000000000004],[null]"
    assert "NaN" not in await lines("Orders", "xlsx", "Name", "Mean")
    query = AggregateQuery(
        (Aggregate("sum", "Amount"), Aggregate("max", "Amount"), Aggregate("filled", "Customer name"))
    )
    found = await shop.records.aggregate(**shop.to, table="Lines", query=query)
    assert b"31.3,20,3" in found.groups


async def test_cells_as_people_read_them(shop: Shop) -> None:
    await filled(shop)
    await shop.add("Orders", "Paid", "rollup", link="Orders.Lines", source="Lines.Price", formula="MAX(values)")
    shown = await shop.cells("Orders", "Total", "Mean", "Paid", time_zone="utc", locale="en-us")
    assert shown[0] == {"Total": "26.00", "Mean": "13.00", "Paid": "10.00"}
    assert (await shop.cells("Lines", "Customer", time_zone="utc", locale="en-us"))[0] == {"Customer": "Ann"}


async def test_a_record_may_link_to_its_own_table(shop: Shop) -> None:
    base = await shop.base()
    await shop.add("Customers", "Boss", "multipleRecordLinks", linkedTableId=base.tables[0].table_id)
    await shop.add("Customers", "Chain", "lookup", link="Customers.Boss", source="Customers.Name")
    await shop.add("Customers", "Bosses", "lookup", link="Customers.Boss", source="Customers.Chain")
    (ann,) = await shop.create("Customers", {"Name": "Ann"})
    bob, cid = await shop.create("Customers", {"Name": "Bob", "Boss": [ann["id"]]}, {"Name": "Cid"})
    (cid,) = await shop.update("Customers", (cid["id"], {"Boss": [bob["id"]]}))
    assert cid["fields"]["Bosses"] == ["Ann"]
    changed = await shop.update("Customers", (ann["id"], {"Name": "Anna"}), (cid["id"], {"Name": "Cy"}))
    assert changed[1]["fields"]["Bosses"] == ["Anna"]


async def test_nothing_changes_what_is_computed(shop: Shop) -> None:
    ids = await filled(shop)
    for name in ("Amount", "Customer", "Customer name"):
        with pytest.raises(ComputedValue):
            await shop.update("Lines", (ids["l1"], {name: 1}))
