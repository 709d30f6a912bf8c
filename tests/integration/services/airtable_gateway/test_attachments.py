"""Attachment cells: what they take, what they own, what they let go of, and the URLs that answers hold."""

import base64
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from pyat.foundation.cache import Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.identity import HEADER, Principal
from pyat.foundation.signing import FileUrls
from pyat.foundation.sql import Statement, quote
from pyat.foundation.web import Health, ServiceApp
from pyat.services.airtable_gateway import routes
from pyat.services.schema.contract import FieldDraft
from tests.support.asgi import serving
from tests.support.records import Bench, make_bench
from tests.support.schema import OTHER_TENANT, SIGNER, principal

TEXT = base64.b64encode(b"some text").decode()


@dataclass(frozen=True, slots=True)
class Client:
    """The records API over HTTP, on a base whose table T has the attachment fields Files and More."""

    session: aiohttp.ClientSession
    origin: str
    bench: Bench
    database: Database

    async def send(
        self, method: str, path: str, body: Any = None, *, caller: Principal | None = None
    ) -> tuple[int, Any]:
        headers = {HEADER: SIGNER.sign(caller or principal(), request_id="req")}
        url = f"{self.origin}/v0/{self.bench.base_id}/{path}"
        sent = io.BytesIO(b"" if body is None else orjson.dumps(body))
        async with self.session.request(method, url, data=sent, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.send(method, path, body)
        assert status == 200, answer
        return answer

    async def upload(self, record_id: str, field: str = "Files", name: str = "a b.txt") -> list[dict[str, Any]]:
        body = {"contentType": "text/plain", "filename": name, "file": TEXT}
        answer = await self.ok("POST", f"{record_id}/{field}/uploadAttachment", body)
        assert answer.keys() == {"id", "createdTime", "fields"}
        ((key, cell),) = answer["fields"].items()
        assert key.startswith("fld")
        found: list[dict[str, Any]] = cell
        return found

    async def rows(self) -> dict[str, dict[str, Any]]:
        """The attachments of the base by id."""
        relation = quote(self.bench.base_id, "base_attachments")
        found = await self.database.rows(Statement("attachments", f"SELECT * FROM {relation}"))
        return {row["attachment_id"]: dict(row) for row in found}


@pytest.fixture
async def client(database: Database, cache: Cache) -> AsyncIterator[Client]:
    bench = await make_bench(database, cache)
    for name in ("Files", "More"):
        await bench.schema.create_field(
            principal=principal(), base_id=bench.base_id, table="T", field=FieldDraft(name, "multipleAttachments")
        )
    app = ServiceApp(
        "airtable_gateway",
        routes.OPERATIONS,
        routes.handlers(bench.records, FileUrls.of(SIGNER, 7_200), SystemClock()),
        SIGNER,
        Health("airtable_gateway", {"database": database.is_ready}),
    )
    async with serving(app) as origin, aiohttp.ClientSession() as session:
        yield Client(session, origin, bench, database)


async def test_an_upload_goes_behind_what_the_cell_holds(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    (first,) = await client.upload(made["id"])
    assert (first["filename"], first["type"], first["size"]) == ("a b.txt", "text/plain", 9)
    assert first["url"].startswith(f"{client.origin}/api/v1/files/{client.bench.base_id}/{first['id']}/original/")
    assert first["url"].endswith("/a_b.txt")
    cell = await client.upload(made["id"], name='q".txt')
    assert [item["filename"] for item in cell] == ["a b.txt", 'q".txt']
    record = await client.ok("GET", f"T/{made['id']}")
    assert record["fields"]["Files"] == cell
    page = await client.ok("GET", "T")
    assert page["records"] == [record]
    rows = await client.rows()
    assert {row["record_id"] for row in rows.values()} == {made["id"]}


async def test_urls_are_fetched_later_and_shown_as_they_are_until_then(client: Client) -> None:
    url = "https://example.com/cat.png?a=1&b=%22"
    made = await client.ok("POST", "T", {"fields": {"Files": [{"url": url}, {"url": url, "filename": "dog.png"}]}})
    cell = made["fields"]["Files"]
    assert [item["url"] for item in cell] == [url, url]
    assert [item["filename"] for item in cell] == ["cat.png", "dog.png"]
    assert all(item.keys() == {"id", "url", "filename"} for item in cell)
    rows = await client.rows()
    assert {row["state"] for row in rows.values()} == {"pending"}


async def test_a_cell_is_replaced_in_order_and_lets_go_of_the_rest(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    for name in ("a", "b", "c"):
        cell = await client.upload(made["id"], name=name)
    ids = [item["id"] for item in cell]
    # Whole objects as they were read: the id decides.
    updated = await client.ok("PATCH", f"T/{made['id']}", {"fields": {"Files": [cell[2], {"id": ids[0]}]}})
    assert [item["id"] for item in updated["fields"]["Files"]] == [ids[2], ids[0]]
    rows = await client.rows()
    assert [rows[item]["released_at"] is None for item in ids] == [True, False, True]
    # What a cell has let go of can come back.
    updated = await client.ok("PATCH", f"T/{made['id']}", {"fields": {"Files": [{"id": item} for item in ids]}})
    assert [item["id"] for item in updated["fields"]["Files"]] == ids
    replaced = await client.ok("PUT", f"T/{made['id']}", {"fields": {"Name": "2"}})
    assert "Files" not in replaced["fields"]
    rows = await client.rows()
    assert all(row["released_at"] is not None for row in rows.values())


async def test_a_file_of_another_cell_is_copied(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    (own,) = await client.upload(made["id"])
    updated = await client.ok("PATCH", f"T/{made['id']}", {"fields": {"More": [{"id": own["id"]}]}})
    (copy,) = updated["fields"]["More"]
    assert copy["id"] != own["id"]
    assert (copy["filename"], copy["size"]) == (own["filename"], own["size"])
    assert updated["fields"]["Files"][0]["id"] == own["id"]


async def test_typecast_takes_addresses(client: Client) -> None:
    body = {"fields": {"Files": "https://a.example/1.png, https://a.example/2.png"}, "typecast": True}
    made = await client.ok("POST", "T", body)
    assert [item["filename"] for item in made["fields"]["Files"]] == ["1.png", "2.png"]
    body = {"fields": {"Files": ["https://a.example/3.png"]}, "typecast": True}
    made = await client.ok("PATCH", f"T/{made['id']}", body)
    assert [item["filename"] for item in made["fields"]["Files"]] == ["3.png"]


async def test_deleted_records_keep_their_files_for_the_trash(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    (item,) = await client.upload(made["id"])
    await client.ok("DELETE", f"T/{made['id']}")
    assert (await client.rows())[item["id"]]["released_at"] is not None
    await client.bench.records.restore_records(
        principal=principal(), base_id=client.bench.base_id, record_ids=(made["id"],)
    )
    assert (await client.ok("GET", f"T/{made['id']}"))["fields"]["Files"][0]["id"] == item["id"]
    assert (await client.rows())[item["id"]]["released_at"] is None


@pytest.mark.parametrize(
    "cell",
    [
        "https://a.example/1.png",
        ["https://a.example/1.png"],
        [{"url": "data:text/plain,x"}],
        [{"url": "ftp://a.example/x"}],
        [{"url": 1}],
        [{}],
        [{"id": "attAAAAAAAAAAAAAA"}],
        [{"id": "x"}],
        [{"url": "https://a.example/x", "filename": ""}],
        [{"url": "https://a.example/x", "filename": "\x00"}],
        [{"url": "https://a.example/" + "x" * 9_000}],
        {"url": "https://a.example/x"},
        7,
        [None],
    ],
)
async def test_what_is_no_attachment_is_refused(client: Client, cell: Any) -> None:
    status, answer = await client.send("POST", "T", {"fields": {"Files": cell}})
    assert (status, answer["error"]["type"]) == (422, "INVALID_ATTACHMENT_OBJECT"), answer
    assert (await client.ok("GET", "T")) == {"records": []}
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    status, answer = await client.send("PATCH", f"T/{made['id']}", {"fields": {"Files": cell, "Name": "2"}})
    assert (status, answer["error"]["type"]) == (422, "INVALID_ATTACHMENT_OBJECT"), answer
    assert (await client.ok("GET", f"T/{made['id']}"))["fields"]["Name"] == "1"


async def test_a_new_record_cannot_take_a_file_of_another_cell(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    (item,) = await client.upload(made["id"])
    status, answer = await client.send("POST", "T", {"fields": {"Files": [{"id": item["id"]}]}})
    assert (status, answer["error"]["type"]) == (422, "INVALID_ATTACHMENT_OBJECT")


async def test_bad_uploads_are_refused(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    good = {"contentType": "text/plain", "filename": "a.txt", "file": TEXT}
    path = f"{made['id']}/Files/uploadAttachment"
    large = base64.b64encode(b"x" * (5 * 1024 * 1024 + 1)).decode()
    for wrong, expected in (
        (f"{made['id']}/Name/uploadAttachment", (422, "INVALID_VALUE_FOR_COLUMN")),
        (f"{made['id']}/Nothing/uploadAttachment", (422, "UNKNOWN_FIELD_NAME")),
        ("recAAAAAAAAAAAAAA/Files/uploadAttachment", (404, "MODEL_ID_NOT_FOUND")),
    ):
        status, answer = await client.send("POST", wrong, good)
        assert (status, answer["error"]["type"]) == expected
    for key in good:
        status, answer = await client.send("POST", path, {**good, key: ""})
        assert (status, answer["error"]["type"]) == (422, "INVALID_REQUEST_UNKNOWN")
        status, _ = await client.send("POST", path, {name: value for name, value in good.items() if name != key})
        assert status == 422
    assert (await client.send("POST", path, {**good, "file": "no base 64!"}))[0] == 422
    assert (await client.send("POST", path, {**good, "file": large}))[0] == 413
    assert (await client.send("POST", path, good, caller=principal(tenant_id=OTHER_TENANT)))[0] == 403
    assert await client.rows() == {}


async def test_line_breaks_in_base_64_mean_nothing(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    file = base64.encodebytes(b"x" * 200).decode()
    assert "\n" in file
    body = {"contentType": "text/plain", "filename": "a.txt", "file": file}
    answer = await client.ok("POST", f"{made['id']}/Files/uploadAttachment", body)
    ((_, cell),) = answer["fields"].items()
    assert cell[0]["size"] == 200


async def test_nobody_can_forge_a_mark(client: Client) -> None:
    made = await client.ok("POST", "T", {"fields": {"Name": "1"}})
    (item,) = await client.upload(made["id"])
    forged = f"\x01{item['id']}/original/x\x02"
    record = await client.ok("POST", "T", {"fields": {"Name": forged}})
    assert record["fields"]["Name"] == forged
    body = {"contentType": "text/plain", "filename": forged, "file": TEXT}
    status, answer = await client.send("POST", f"{made['id']}/Files/uploadAttachment", body)
    assert (status, answer["error"]["type"]) == (422, "INVALID_ATTACHMENT_OBJECT")
