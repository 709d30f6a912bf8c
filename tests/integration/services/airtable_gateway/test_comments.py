"""Comments and CSV sync over HTTP and with several callers at once; how much a statement reads for a count."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.errors import ModelNotFound
from pyat.foundation.identity import HEADER
from pyat.foundation.ids import RecordId
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Health, ServiceApp
from pyat.services.airtable_gateway import routes
from pyat.services.airtable_gateway.contract import ListQuery
from pyat.services.airtable_gateway.service.syncs import SYNC_ROWS_MAX
from tests.support.asgi import serving
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import SIGNER, principal


class Client:
    """HTTP to one base with one record."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, bench: Bench, record_id: str) -> None:
        self._session, self._origin = session, origin
        self.bench, self.record_id = bench, RecordId(record_id)
        self.comments = f"/v0/{bench.base_id}/T/{record_id}/comments"
        self.syncs = f"/api/v1/bases/{bench.base_id}/tables/T/syncs"
        self.to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id}

    async def send(self, method: str, path: str, body: Any = None, content_type: str = "") -> tuple[int, Any]:
        """Status and JSON of one request; bytes go as they are."""
        headers = {HEADER: SIGNER.sign(principal(), request_id="req")}
        if content_type:
            headers["content-type"] = content_type
        sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        async with self._session.request(method, self._origin + path, data=io.BytesIO(sent), headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read())


@pytest_asyncio.fixture
async def client(database: Database, cache: Cache) -> AsyncIterator[Client]:
    bench = await make_bench(database, cache)
    made = await bench.records.create_records(
        principal=principal(), base_id=bench.base_id, table="T", rows=({"Name": "Ann"},), typecast=False, by_id=False
    )
    app = ServiceApp(
        "airtable_gateway",
        routes.OPERATIONS,
        routes.handlers(bench.records, FileUrls.of(SIGNER, 7_200), SystemClock()),
        SIGNER,
        Health("airtable_gateway", {"database": database.is_ready}),
    )
    async with serving(app) as origin, aiohttp.ClientSession() as session:
        yield Client(session, origin, bench, decoded(made)[0]["id"])


async def test_the_offset_is_there_on_every_page(client: Client) -> None:
    assert await client.send("GET", client.comments) == (200, {"comments": [], "offset": None})
    made = [(await client.send("POST", client.comments, {"text": f"{number}"}))[1] for number in range(3)]
    status, first = await client.send("GET", f"{client.comments}?pageSize=2")
    assert (status, first["comments"]) == (200, [made[2], made[1]])
    second = await client.send("GET", f"{client.comments}?pageSize=2&offset={first['offset']}")
    assert second == (200, {"comments": [made[0]], "offset": None})
    path = f"{client.comments}/{made[0]['id']}"
    assert await client.send("DELETE", path) == (200, {"id": made[0]["id"], "deleted": True})
    missing = {"error": {"type": "MODEL_ID_NOT_FOUND", "message": "Comment not found"}}
    assert await client.send("PATCH", path, {"text": "x"}) == (404, missing)


@pytest.mark.parametrize("query", ["pageSize=0", "pageSize=101", "pageSize=x", "offset=com"])
async def test_pages_out_of_their_bounds_are_refused(client: Client, query: str) -> None:
    assert (await client.send("GET", f"{client.comments}?{query}"))[0] == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"text": ""}, 422),
        ({"text": 1}, 422),
        ({"text": "x", "parentCommentId": 1}, 422),
        ({"text": "x", "parentCommentId": "recAAAAAAAAAAAAAA"}, 404),
    ],
)
async def test_bad_comments_are_refused(client: Client, body: Any, status: int) -> None:
    assert (await client.send("POST", client.comments, body))[0] == status
    assert (await client.send("GET", client.comments))[1]["comments"] == []


async def test_reactions_have_paths_of_their_own(client: Client) -> None:
    made = (await client.send("POST", client.comments, {"text": "x"}))[1]
    path = f"/api/v1/bases/{client.bench.base_id}/comments/{made['id']}/reactions/1f44d"
    status, shown = await client.send("PUT", path)
    who = {"userId": "usr00000000000001", "email": "ann@example.org", "name": "Ann"}
    assert (status, shown["reactions"]) == (200, [{"emoji": {"unicodeCharacter": "1f44d"}, "reactingUser": who}])
    assert await client.send("DELETE", path) == (200, made)
    assert (await client.send("PUT", path[:-5] + "thumb"))[0] == 422


async def test_counts_are_asked_for_by_both_kinds_of_list(client: Client) -> None:
    await client.send("POST", client.comments, {"text": "x"})
    table = f"/v0/{client.bench.base_id}/T"
    for method, path, body in (
        ("GET", f"{table}?recordMetadata[]=commentCount", None),
        ("POST", f"{table}/listRecords", {"recordMetadata": ["commentCount"]}),
    ):
        status, answer = await client.send(method, path, body)
        assert (status, [record["commentCount"] for record in answer["records"]]) == (200, [1])
    assert (await client.send("GET", f"{table}?recordMetadata[]=likes"))[0] == 422


async def test_a_sync_is_set_up_used_and_deleted(client: Client) -> None:
    status, sync = await client.send("POST", client.syncs, {"keyField": "Name", "deletesMissing": True})
    assert (status, sync["deletesMissing"]) == (200, True)
    assert await client.send("GET", client.syncs) == (200, {"syncs": [sync]})
    path = f"/v0/{client.bench.base_id}/T/sync/{sync['id']}"
    assert (await client.send("POST", path, b"Name\nBob\n"))[0] == 422
    assert (await client.send("POST", path, b"x" * (2 * 1024 * 1024 + 1), "text/csv"))[0] == 413
    assert await client.send("POST", path, b"Name\nBob\n", "text/csv; charset=utf-8") == (200, {"success": True})
    own = f"/api/v1/bases/{client.bench.base_id}/syncs/{sync['id']}"
    assert await client.send("DELETE", own) == (200, {"id": sync["id"], "deleted": True})
    assert (await client.send("POST", path, b"Name\nBob\n", "text/csv"))[0] == 404
    for body in ({}, {"keyField": ""}, {"keyField": "Name", "deletesMissing": "yes"}, {"keyField": "Nme"}):
        assert (await client.send("POST", client.syncs, body))[0] == 422


async def test_the_largest_file_is_synced_and_logged_as_a_sync(client: Client) -> None:
    records = client.bench.records
    sync = await records.create_sync(**client.to, table="T", key_field="Name", is_deleting=True)
    begun = (await records.list_changes(**client.to, after=None, rows_max=1)).last
    for age in (1, 2):
        text = "Name,Age\n" + "".join(f"{number},{age}\n" for number in range(SYNC_ROWS_MAX))
        await records.sync_csv(**client.to, table="T", sync_id=sync.sync_id, data=text.encode())
    page = await records.list_changes(**client.to, after=begun, rows_max=2)
    assert page.last - begun == 1 + 2 * SYNC_ROWS_MAX
    found = decoded(page.changes)
    assert [(entry["type"], entry["source"]) for entry in found] == [
        ("record.deleted", "sync"),
        ("record.created", "sync"),
    ]
    first = await records.list_records(**client.to, table="T", query=ListQuery(page_size=1))
    assert decoded(first.records)[0]["fields"]["Age"] == 2


async def test_syncs_and_reactions_at_the_same_time_lose_nothing(client: Client) -> None:
    records = client.bench.records
    sync = await records.create_sync(**client.to, table="T", key_field="Name", is_deleting=False)
    data = "Name\n" + "".join(f"{number}\n" for number in range(50))
    made = (await client.send("POST", client.comments, {"text": "x"}))[1]
    emoji = [f"{0x1F600 + number:x}" for number in range(10)]
    await asyncio.gather(
        *(records.sync_csv(**client.to, table="T", sync_id=sync.sync_id, data=data.encode()) for _ in range(4)),
        *(records.react(**client.to, comment_id=made["id"], emoji=item, is_there=True) for item in emoji),
    )
    page = await records.list_records(**client.to, table="T", query=ListQuery())
    assert sorted(record["fields"]["Name"] for record in decoded(page.records)) == sorted(["Ann", *map(str, range(50))])
    shown = (await client.send("GET", client.comments))[1]["comments"][0]
    assert sorted(item["emoji"]["unicodeCharacter"] for item in shown["reactions"]) == emoji


async def test_comments_go_with_their_table(client: Client) -> None:
    made = (await client.send("POST", client.comments, {"text": "x"}))[1]
    await client.bench.schema.delete_table(**client.to, table="T")
    with pytest.raises(ModelNotFound, match="Comment not found"):
        await client.bench.records.react(**client.to, comment_id=made["id"], emoji="1f44d", is_there=True)
