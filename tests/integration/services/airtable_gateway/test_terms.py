"""Requests with a key: written once, whoever repeats them and when."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import NotPermittedOrNotFound
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement
from pyat.recordstore.errors import UnknownFieldName
from pyat.services.airtable_gateway.contract import IdempotencyKeyBusy, IdempotencyKeyReused, ListQuery
from pyat.services.airtable_gateway.store import terms
from pyat.services.airtable_gateway.store.terms import Once, Terms
from tests.support.records import Bench, decoded, make_bench, records_service
from tests.support.schema import OTHER_TENANT, principal

REQUEST = b"0" * 32


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache) -> Bench:
    return await make_bench(database, cache)


def once(bench: Bench, key: str = "key", digest: bytes = REQUEST) -> Once:
    """A request of the usual principal."""
    return Once(principal().user_id, bench.base_id, key, digest)


async def create(bench: Bench, request: Once, *, field: str = "Name", **options: Any) -> bytes:
    """One record, as a handler makes it."""
    to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id, "table": "T", **options}
    await bench.records.has_answer(request)
    with terms.under(Terms(request)):
        return await bench.records.create_records(**to, rows=({field: "x"},), typecast=False, by_id=False)


async def count(bench: Bench) -> int:
    page = await bench.records.list_records(principal=principal(), base_id=bench.base_id, table="T", query=ListQuery())
    return len(decoded(page.records))


async def test_of_requests_at_the_same_time_one_writes(bench: Bench, database: Database, cache: Cache) -> None:
    other = Bench(bench.schema, records_service(database, cache, bench.schema), bench.base_id)
    run = [create(where, once(where)) for _ in range(10) for where in (bench, other)]
    found = await asyncio.gather(*run, return_exceptions=True)
    answers = [answer for answer in found if isinstance(answer, bytes)]
    assert all(isinstance(answer, bytes | IdempotencyKeyBusy) for answer in found), found
    assert len(set(answers)) == 1
    assert await count(bench) == 1


async def test_a_key_in_use_is_told_apart_from_a_free_one(bench: Bench, database: Database) -> None:
    async with database.transaction() as connection:
        await once(bench).begin(connection)
        with pytest.raises(IdempotencyKeyBusy):
            await create(bench, once(bench))
        assert await create(bench, once(bench, "other"))
    assert await create(bench, once(bench))
    assert await count(bench) == 2


async def test_the_answer_stays_after_the_structure_has_changed(bench: Bench) -> None:
    first = await create(bench, once(bench))
    table = (await bench.schema.get_bases(base_ids=(bench.base_id,)))[0].tables[0]
    await bench.schema.update_field(
        principal=principal(),
        base_id=bench.base_id,
        table=table.table_id,
        field_id=table.primary_field_id,
        changes={"name": "Title"},
    )
    repeat = once(bench)
    assert await create(bench, repeat) == first
    assert repeat.is_replayed
    with pytest.raises(UnknownFieldName):
        await create(bench, once(bench, "other"))


async def test_an_answer_is_for_the_one_who_asked(bench: Bench) -> None:
    await create(bench, once(bench))
    with pytest.raises(IdempotencyKeyReused):
        await create(bench, once(bench, digest=b"1" * 32))
    with pytest.raises(NotPermittedOrNotFound):
        await create(bench, once(bench), principal=principal(tenant_id=OTHER_TENANT))
    elsewhere = Once(principal().user_id, BaseId("appAAAAAAAAAAAAAA"), "key", REQUEST)
    await create(bench, elsewhere)
    assert not elsewhere.is_replayed
    assert await count(bench) == 2


async def test_answers_are_forgotten_after_a_day(bench: Bench, database: Database) -> None:
    for number in range(5):
        await create(bench, once(bench, f"key {number}"))
    age = Statement("age", "UPDATE airtable_gateway.answers SET answered_at = answered_at - $1::interval")
    await database.run(age, timedelta(hours=terms.ANSWER_KEPT_H))
    again = once(bench, "key 0")
    await create(bench, again)
    assert not again.is_replayed
    assert await database.value(Statement("kept", "SELECT count(*) FROM airtable_gateway.answers")) == 1
