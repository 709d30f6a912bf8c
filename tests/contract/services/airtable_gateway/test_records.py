"""What every peer of the records service may rely on, whichever binding it has."""

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, RecordId, new_id
from pyat.recordstore.errors import (
    AmbiguousUpsert,
    ComputedValue,
    InvalidOffset,
    InvalidValue,
    IteratorNotAvailable,
    RowDoesNotExist,
    UnknownChoice,
    UnknownFieldName,
    UpsertKeyMissing,
    ViewNameNotFound,
)
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange, Records, Sort
from tests.contract.conftest import Bind
from tests.support.records import decoded, make_bench
from tests.support.schema import OTHER_TENANT, principal

ABSENT = RecordId("recAAAAAAAAAAAAAA")


class Caller:
    """The contract, spoken by one principal to table `T` of one base."""

    def __init__(self, records: Records, base_id: BaseId) -> None:
        self.records = records
        self.base_id = base_id
        self.to: dict[str, Any] = {"principal": principal(), "base_id": base_id, "table": "T"}

    async def create(self, *rows: Mapping[str, Any], typecast: bool = False) -> list[dict[str, Any]]:
        """New records."""
        return decoded(await self.records.create_records(**self.to, rows=rows, typecast=typecast, by_id=False))

    async def upsert(self, merge_on: tuple[str, ...], *rows: Mapping[str, Any], is_replacing: bool = False) -> Any:
        """An upsert without ids."""
        return await self.records.upsert_records(
            **self.to,
            merge_on=merge_on,
            changes=tuple(RecordChange(None, row) for row in rows),
            is_replacing=is_replacing,
            typecast=False,
            by_id=False,
        )

    async def names(self) -> list[str]:
        """The names there are, in order of creation."""
        page = await self.records.list_records(**self.to, query=ListQuery())
        return [record["fields"]["Name"] for record in decoded(page.records)]


@pytest_asyncio.fixture
async def caller(bind: Bind, database: Database, cache: Cache) -> Caller:
    bench = await make_bench(database, cache)
    return Caller(await bind(Records, bench.records), bench.base_id)


async def test_records_go_in_and_come_out(caller: Caller) -> None:
    made = await caller.create({"Name": "Zoë 🐍", "Age": 1.5, "Tags": ["b", "a"]}, {})
    assert [record["fields"] for record in made] == [
        {"Name": "Zoë 🐍", "Age": 1.5, "Tags": ["b", "a"], "Number": 1},
        {"Number": 2},
    ]
    one = await caller.records.get_record(**caller.to, record_id=RecordId(made[0]["id"]), by_id=False)
    assert decoded(one) == made[:1]
    change = RecordChange(RecordId(made[0]["id"]), {"Age": None, "Status": "Done"})
    again = RecordChange(RecordId(made[0]["id"]), {"Name": "Ann"})
    changed = await caller.records.update_records(
        **caller.to, changes=(change, again), is_replacing=False, typecast=False, by_id=False
    )
    expected = {"Name": "Ann", "Status": "Done", "Tags": ["b", "a"], "Number": 1}
    assert [record["fields"] for record in decoded(changed)] == [expected, expected]
    await caller.records.delete_records(**caller.to, record_ids=(RecordId(made[0]["id"]),))
    page = await caller.records.list_records(**caller.to, query=ListQuery())
    assert [record["id"] for record in decoded(page.records)] == [made[1]["id"]]


async def test_pages_follow_each_other(caller: Caller) -> None:
    await caller.create(*({"Name": str(number), "Age": number % 3} for number in range(10)))
    query = ListQuery(sort=(Sort("Age", is_descending=True), Sort("Name")), page_size=4, fields=("Name",))
    seen: list[str] = []
    offset = None
    for _ in range(3):
        page = await caller.records.list_records(
            **caller.to, query=ListQuery(sort=query.sort, page_size=4, fields=query.fields, offset=offset)
        )
        seen += [record["fields"]["Name"] for record in decoded(page.records)]
        offset = page.offset
    assert offset is None
    assert seen == ["2", "5", "8", "1", "4", "7", "0", "3", "6", "9"]


async def test_a_record_of_another_table_of_the_base_is_found(caller: Caller) -> None:
    made = await caller.create({"Name": "here"})
    elsewhere = {**caller.to, "table": "Other"}
    found = await caller.records.get_record(**elsewhere, record_id=RecordId(made[0]["id"]), by_id=False)
    assert decoded(found) == made


async def test_upserts_find_what_is_there(caller: Caller) -> None:
    first = await caller.upsert(("Name", "Tags"), {"Name": "x", "Tags": ["a", "b"], "Age": 1})
    assert len(first.created_ids) == 1
    second = await caller.upsert(
        ("Name", "Tags"), {"Name": "x", "Tags": ["b", "a"], "Status": "Todo"}, {"Name": "x", "Tags": ["a"]}
    )
    assert second.updated_ids == first.created_ids
    assert decoded(second.records)[0]["fields"]["Age"] == 1
    replaced = await caller.upsert(("Name", "Tags"), {"Name": "x", "Tags": ["a", "b"]}, is_replacing=True)
    assert "Age" not in decoded(replaced.records)[0]["fields"]


async def test_two_blank_keys_make_two_records(caller: Caller) -> None:
    upserted = await caller.upsert(("Name",), {"Name": None, "Age": 1}, {"Name": None, "Age": 2})
    assert len(upserted.created_ids) == 2
    assert upserted.updated_ids == ()


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (({"Nope": 1},), UnknownFieldName),
        (({"Name": "good"}, {"Age": "x"}), InvalidValue),
        (({"Number": 1},), ComputedValue),
        (({"Status": "Nope"},), UnknownChoice),
        # Unknown names come first, wherever they stand.
        (({"Age": "x"}, {"Nope": 1}), UnknownFieldName),
    ],
)
async def test_a_refused_create_writes_nothing(caller: Caller, rows: Any, error: type[AppError]) -> None:
    with pytest.raises(error):
        await caller.create(*rows)
    assert await caller.names() == []
    assert (await caller.create({"Name": "first"}))[0]["fields"]["Number"] == 1


async def test_refused_updates_and_deletes_write_nothing(caller: Caller) -> None:
    made = RecordId((await caller.create({"Name": "kept"}))[0]["id"])
    changes = (RecordChange(made, {"Name": "x"}), RecordChange(ABSENT, {"Name": "x"}))
    with pytest.raises(RowDoesNotExist) as caught:
        await caller.records.update_records(
            **caller.to, changes=changes, is_replacing=True, typecast=False, by_id=False
        )
    assert caught.value.details == {"record_id": ABSENT}
    with pytest.raises(RowDoesNotExist):
        await caller.records.delete_records(**caller.to, record_ids=(made, ABSENT))
    with pytest.raises(ModelNotFound):
        await caller.records.get_record(**caller.to, record_id=ABSENT, by_id=False)
    assert await caller.names() == ["kept"]


async def test_refused_upserts_write_nothing(caller: Caller) -> None:
    await caller.create({"Name": "twin"}, {"Name": "twin"})
    with pytest.raises(AmbiguousUpsert):
        await caller.upsert(("Name",), {"Name": "new"}, {"Name": "twin"})
    with pytest.raises(UpsertKeyMissing):
        await caller.upsert(("Name",), {"Name": "new"}, {"Age": 1})
    with pytest.raises(InvalidRequest):
        await caller.upsert(("Number",), {"Name": "new"})
    assert await caller.names() == ["twin", "twin"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (ListQuery(fields=("Nope",)), UnknownFieldName),
        (ListQuery(sort=(Sort("Nope"),)), UnknownFieldName),
        (ListQuery(view="Nope"), ViewNameNotFound),
        (ListQuery(offset="Nope"), InvalidOffset),
        (ListQuery(offset="itrAAAAAAAAAAAAAA/recAAAAAAAAAAAAAA"), IteratorNotAvailable),
    ],
)
async def test_refused_lists(caller: Caller, query: ListQuery, error: type[AppError]) -> None:
    with pytest.raises(error):
        await caller.records.list_records(**caller.to, query=query)


async def test_others_are_told_nothing(caller: Caller) -> None:
    made = RecordId((await caller.create({"Name": "secret"}))[0]["id"])
    strangers = [
        {**caller.to, "principal": principal(tenant_id=OTHER_TENANT)},
        {**caller.to, "principal": principal(base_ids=frozenset({BaseId(new_id("app"))}))},
        {**caller.to, "base_id": BaseId(new_id("app"))},
        {**caller.to, "table": "No such table"},
    ]
    change = RecordChange(made, {"Name": "stolen"})
    how: dict[str, Any] = {"typecast": True, "by_id": False}
    for to in strangers:
        calls: list[Any] = [
            lambda to=to: caller.records.list_records(**to, query=ListQuery()),
            lambda to=to: caller.records.get_record(**to, record_id=made, by_id=False),
            lambda to=to: caller.records.create_records(**to, rows=({"Name": "x"},), **how),
            lambda to=to: caller.records.update_records(**to, changes=(change,), is_replacing=False, **how),
            lambda to=to: caller.records.upsert_records(
                **to, merge_on=("Name",), changes=(change,), is_replacing=False, **how
            ),
            lambda to=to: caller.records.delete_records(**to, record_ids=(made,)),
        ]
        for call in calls:
            with pytest.raises(NotPermittedOrNotFound):
                await call()
    assert await caller.names() == ["secret"]
