"""Aggregates and exports, whichever binding they are asked through."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore.errors import UnknownFieldName
from pyat.services.airtable_gateway.contract import (
    Aggregate,
    AggregateQuery,
    ExportForm,
    ExportQuery,
    InvalidAggregate,
    RecordChange,
    Records,
)
from pyat.services.schema.contract import Schema
from tests.contract.conftest import Bind
from tests.support.records import decoded, make_bench
from tests.support.schema import OTHER_TENANT, principal

ABSENT = RecordId("recAAAAAAAAAAAAAA")
ROWS: tuple[dict[str, Any], ...] = (
    {"Name": "Ann", "Age": 30, "Status": "Done", "Tags": ["b", "a"]},
    {"Name": 'Bob, the "builder"\nof lines', "Age": 20.5, "Status": "Todo"},
    {"Name": "Ann", "Age": 10, "Status": "Todo", "Tags": ["a"]},
    {},
)


class Caller:
    """The contract, spoken by one principal to table `T` of one base."""

    def __init__(self, records: Records, base_id: BaseId, schema: Schema) -> None:
        self.records = records
        self.schema = schema
        self.base_id = base_id
        self.to: dict[str, Any] = {"principal": principal(), "base_id": base_id, "table": "T"}

    async def create(self, *rows: Mapping[str, Any]) -> list[dict[str, Any]]:
        """New records."""
        return decoded(await self.records.create_records(**self.to, rows=rows, typecast=False, by_id=False))

    async def groups(self, *wanted: tuple[str, str | None], by: Sequence[str] = (), groups_max: int = 1000) -> Any:
        """Key and values of each group."""
        aggregates = tuple(Aggregate(function, field) for function, field in wanted)
        query = AggregateQuery(aggregates, tuple(by), groups_max=groups_max)
        found = await self.records.aggregate(**self.to, query=query)
        assert not found.has_more
        return [(list(group["key"].values()), group["values"]) for group in decoded(found.groups)]

    async def exported(self, form: ExportForm, fields: tuple[str, ...] | None = None, **options: Any) -> bytes:
        """All pages, one after another, with the separators that belong between them."""
        separator = {"csv": b"\r\n", "json": b"\n", "values": b","}[form]
        pages: list[bytes] = []
        after = None
        while True:
            page = await self.records.export_page(**self.to, query=ExportQuery(form, fields, **options), after=after)
            fields = tuple(column.field_id for column in page.columns)
            pages += [page.body] if page.row_count else []
            after = page.after
            if after is None:
                return separator.join(pages)


@pytest_asyncio.fixture
async def caller(bind: Bind, database: Database, cache: Cache) -> Caller:
    bench = await make_bench(database, cache)
    return Caller(await bind(Records, bench.records), bench.base_id, bench.schema)


# Aggregates


async def test_all_records_make_one_group(caller: Caller) -> None:
    wanted = [("countAll", None), ("count", None), ("sum", "Age"), ("distinct", "Name")]
    assert await caller.groups(*wanted) == [([], [0, 0, None, 0])]
    await caller.create(*ROWS)
    assert await caller.groups(*wanted) == [([], [4, 4, 60.5, 2])]


async def test_groups_stand_in_the_order_of_choices(caller: Caller) -> None:
    await caller.create(*ROWS)
    functions = ("count", "filled", "empty", "sum", "min", "max", "avg", "median")
    found = await caller.groups(*((function, "Age") for function in functions), by=["Status"])
    assert found == [
        ([None], [0, 0, 1, None, None, None, None, None]),
        (["Todo"], [2, 2, 0, 30.5, 10, 20.5, 15.25, 15.25]),
        (["Done"], [1, 1, 0, 30, 30, 30, 30, 30]),
    ]
    both = await caller.groups(("countAll", "Name"), by=["Tags", "Name"])
    assert both == [
        ([None, None], [1]),
        ([None, ROWS[1]["Name"]], [1]),
        ([["a"], "Ann"], [1]),
        ([["b", "a"], "Ann"], [1]),
    ]


async def test_more_groups_than_asked_are_told(caller: Caller) -> None:
    await caller.create(*ROWS)
    query = AggregateQuery((Aggregate("countAll"),), ("Status",), groups_max=2)
    found = await caller.records.aggregate(**caller.to, query=query)
    assert found.has_more
    assert len(decoded(found.groups)) == 2


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (AggregateQuery(()), InvalidAggregate),
        (AggregateQuery((Aggregate("countAll"),) * 51), InvalidAggregate),
        (AggregateQuery((Aggregate("sum"),)), InvalidAggregate),
        (AggregateQuery((Aggregate("sum", "Name"),)), InvalidAggregate),
        (AggregateQuery((Aggregate("median", "Tags"),)), InvalidAggregate),
        (AggregateQuery((Aggregate("max", "Status"),)), InvalidAggregate),
        (AggregateQuery((Aggregate("product", "Age"),)), InvalidAggregate),
        (AggregateQuery((Aggregate("sum", "Agee"),)), UnknownFieldName),
        (AggregateQuery((Aggregate("countAll"),), ("Agee",)), UnknownFieldName),
        (AggregateQuery((Aggregate("countAll"),), ("Age", "Age")), InvalidAggregate),
        (AggregateQuery((Aggregate("countAll"),), ("Age", "Name", "Status", "Tags")), InvalidAggregate),
        (AggregateQuery((Aggregate("countAll"),), groups_max=10_001), InvalidAggregate),
        (AggregateQuery((Aggregate("countAll"),), groups_max=0), InvalidAggregate),
    ],
)
async def test_what_cannot_be_computed_is_refused(caller: Caller, query: AggregateQuery, error: type[AppError]) -> None:
    with pytest.raises(error):
        await caller.records.aggregate(**caller.to, query=query)


async def test_a_sum_beyond_all_numbers_is_refused(caller: Caller) -> None:
    await caller.create({"Age": 1.7e308}, {"Age": 1.7e308})
    with pytest.raises(InvalidAggregate, match="larger than any number"):
        await caller.groups(("sum", "Age"))


# Export


async def test_an_export_has_every_record(caller: Caller) -> None:
    made = await caller.create(*ROWS)
    lines = (await caller.exported("json")).split(b"\n")
    assert [orjson.loads(line) for line in lines] == made
    some = (await caller.exported("json", ("Age",), by_id=True)).split(b"\n")
    assert [list(orjson.loads(line)["fields"].values()) for line in some] == [[30], [20.5], [10], []]


async def test_csv_is_what_others_read(caller: Caller) -> None:
    await caller.create(*ROWS)
    found = await caller.exported("csv")
    rows = list(csv.reader(io.StringIO(found.decode(), newline=""), strict=True))
    assert rows == [
        ["Ann", "30", "Done", "b, a", "1"],
        [ROWS[1]["Name"], "20.5", "Todo", "", "2"],
        ["Ann", "10", "Todo", "a", "3"],
        ["", "", "", "", "4"],
    ]
    assert (await caller.exported("csv", ("Name",))).endswith(b'\r\n""')
    shown = await caller.exported("csv", ("Age",), time_zone="UTC", locale="en")
    assert shown.split(b"\r\n")[:2] == [b"30", b"21"]


async def test_values_keep_their_types(caller: Caller) -> None:
    await caller.create(*ROWS)
    found = orjson.loads(b"[" + await caller.exported("values") + b"]")
    assert found[0] == ["Ann", 30, "Done", "b, a", 1]
    assert found[3] == [None, None, None, None, 4]


async def test_an_export_pages_by_key_and_takes_none_that_came_later(caller: Caller) -> None:
    await caller.create(*({"Age": number} for number in range(1200)))
    query = ExportQuery("values", ("Age",))
    first = await caller.records.export_page(**caller.to, query=query, after=None)
    assert first.after is not None
    await caller.create({"Age": -1})
    rest = await caller.records.export_page(**caller.to, query=query, after=first.after)
    assert (first.row_count, rest.row_count, rest.after) == (100, 1100, None)
    assert orjson.loads(b"[%b,%b]" % (first.body, rest.body)) == [[number] for number in range(1200)]


async def test_large_records_come_in_small_pages(caller: Caller) -> None:
    for _ in range(11):
        await caller.create(*({"Name": "x" * 50_000} for _ in range(10)))
    first = await caller.records.export_page(**caller.to, query=ExportQuery("json"), after=None)
    rest = await caller.records.export_page(**caller.to, query=ExportQuery("json"), after=first.after)
    assert (first.row_count, rest.row_count) == (100, 10)


@pytest.mark.parametrize(
    ("query", "after", "error"),
    [
        (ExportQuery("json", ("Agee",)), None, UnknownFieldName),
        (ExportQuery("json"), "nonsense", InvalidRequest),
        (ExportQuery("json"), "[1]", InvalidRequest),
        (ExportQuery("csv", time_zone="UTC"), None, InvalidRequest),
    ],
)
async def test_what_cannot_be_exported_is_refused(
    caller: Caller, query: ExportQuery, after: str | None, error: type[AppError]
) -> None:
    with pytest.raises(error):
        await caller.records.export_page(**caller.to, query=query, after=after)


# Views


async def test_a_view_filters_orders_and_hides(caller: Caller) -> None:
    await caller.create(*ROWS)
    table = (await caller.schema.get_bases(base_ids=(caller.base_id,)))[0].tables[0]
    ids = {field.name: field.field_id for field in table.fields}
    view = await caller.schema.create_view(
        **caller.to,
        draft={
            "name": "Aged",
            "fieldIds": [ids["Age"], ids["Name"], ids["Status"], ids["Tags"], ids["Number"]],
            "hiddenFieldIds": [ids["Status"], ids["Number"], ids["Tags"]],
            "filter": {
                "conjunction": "and",
                "conditions": [{"fieldId": ids["Age"], "operator": "<", "value": 25}],
            },
            "sorts": [{"fieldId": ids["Age"], "direction": "asc"}],
        },
    )
    assert await caller.exported("values", view="Aged") == orjson.dumps([10, "Ann"]) + b"," + orjson.dumps(
        [20.5, ROWS[1]["Name"]]
    )
    query = AggregateQuery((Aggregate("countAll"), Aggregate("sum", "Age")), ("Name",), view=view.view.view_id)
    found = await caller.records.aggregate(**caller.to, query=query)
    assert [group["values"] for group in decoded(found.groups)] == [[1, 10], [1, 20.5]]
    for wrong in ("Nobody's", "viwAAAAAAAAAAAAAA"):
        with pytest.raises(AppError):
            await caller.records.export_page(**caller.to, query=ExportQuery("csv", view=wrong), after=None)
        with pytest.raises(AppError):
            await caller.records.aggregate(**caller.to, query=AggregateQuery(query.aggregates, view=wrong))


# Tags


async def test_a_tag_changes_with_the_record(caller: Caller) -> None:
    made = await caller.create({"Name": "x"})
    to = {**caller.to, "record_id": RecordId(made[0]["id"]), "by_id": False}
    first = await caller.records.get_tagged_record(**to)
    assert orjson.loads(first.record) == made[0]
    assert (await caller.records.get_tagged_record(**to)).tag == first.tag
    change = RecordChange(RecordId(made[0]["id"]), {"Name": "y"})
    await caller.records.update_records(**caller.to, changes=(change,), is_replacing=False, typecast=False, by_id=False)
    assert (await caller.records.get_tagged_record(**to)).tag != first.tag
    with pytest.raises(ModelNotFound):
        await caller.records.get_tagged_record(**{**to, "record_id": ABSENT})


async def test_a_stranger_is_told_nothing(caller: Caller) -> None:
    to = {**caller.to, "principal": principal(tenant_id=OTHER_TENANT)}
    with pytest.raises(NotPermittedOrNotFound):
        await caller.records.aggregate(**to, query=AggregateQuery((Aggregate("countAll"),)))
    with pytest.raises(NotPermittedOrNotFound):
        await caller.records.export_page(**to, query=ExportQuery("json"), after=None)
    with pytest.raises(NotPermittedOrNotFound):
        await caller.records.get_tagged_record(**to, record_id=ABSENT, by_id=False)
