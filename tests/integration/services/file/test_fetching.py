"""Files that are fetched by URL: what arrives, what is refused, what is tried again, and workers that die."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import attachments
from pyat.recordstore.attachments import Attachment, Claim
from pyat.recordstore.changelog import Kind, Source
from pyat.services.file.contract import UrlItem
from pyat.services.file.service import fetching
from pyat.services.file.service.fetching import LEASE, PAUSES
from tests.support.asgi import serving
from tests.support.files import PNG, Bench, Client, built, make_bench

ACTOR = "usr00000000000001"


class Origin:
    """Another server, which answers by path."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.asked.append(request.url.path)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        name = request.url.path.strip("/")
        if name == "next":
            return Response(PNG, self.statuses.pop(0) if self.statuses else 200)
        if name.isdigit():
            return Response(b"no", int(name))
        if name == "redirect":
            return RedirectResponse(request.query_params["to"], 302)
        if name.startswith("hop"):
            return RedirectResponse(f"/hop{int(name[3:]) - 1}" if name != "hop1" else "/cat.png", 302)
        if name == "gated":
            self.arrived.set()
            return StreamingResponse(self._gated(), media_type="text/plain")
        if name == "page":
            return Response(b"<!doctype html><p>", headers={"content-type": "image/png"})
        if name == "bomb":
            return Response(gzip.compress(b"\x00" * 4_000_000), headers={"content-encoding": "gzip"})
        if name == "short":
            return Response(PNG, headers={"content-length": str(len(PNG) + 10)})
        return Response(PNG, headers={"content-type": "text/html"})

    async def _gated(self) -> AsyncIterator[bytes]:
        yield b"first "
        await self.gate.wait()
        yield b"second"


@pytest_asyncio.fixture
async def origin() -> AsyncIterator[Origin]:
    """The other server, on the loopback interface."""
    app = Origin()
    async with serving(app) as url:
        app.url = url
        yield app


async def _registered(bench: Bench, url: str) -> str:
    (made,) = await bench.files.register_urls(base_id=bench.base_id, items=(UrlItem(url),), actor=ACTOR)
    return made


async def _row(bench: Bench, attachment_id: str) -> Attachment:
    row = await bench.row(attachment_id)
    assert row is not None
    return row


async def test_a_file_arrives(bench: Bench, client: Client, origin: Origin) -> None:
    made = await _registered(bench, f"{origin.url}/cat.png")
    assert await bench.fetch_due() == 1
    row = await _row(bench, made)
    assert row.state == "stored" and row.content is not None
    assert (row.content.type, row.content.size) == ("image/png", len(PNG))
    assert (await client.send("GET", bench.url(made))).body == PNG
    assert await bench.fetch_due() == 0
    assert [path for path in bench.objects() if path.startswith("spool")] == []


async def test_its_arrival_is_in_the_change_log(bench: Bench, origin: Origin) -> None:
    made, lost = [await _registered(bench, f"{origin.url}/{name}") for name in ("cat.png", "404")]
    (table,) = (await bench.schema.get_bases(base_ids=(bench.base_id,)))[0].tables
    async with bench.database.transaction() as connection:
        claim = Claim(made, table.table_id, "fld00000000000001", "rec00000000000001")
        assert await attachments.claim(connection, bench.base_id, [claim]) == {made}
    await bench.fetch_due()
    changes = sorted(await bench.changes(), key=lambda change: change["kind"])
    assert [(change["kind"], change["item"]) for change in changes] == [
        (Kind.ATTACHMENT_STORED, made),
        (Kind.ATTACHMENT_FAILED, lost),
    ]
    assert {change["source"] for change in changes} == {Source.SYSTEM}
    assert {change["actor"] for change in changes} == {ACTOR}
    assert (changes[0]["table_number"], changes[1]["table_number"]) == (table.number, None)
    assert changes[0]["cells"] == '{"record":"rec00000000000001","field":"fld00000000000001"}'


async def test_the_type_is_told_by_the_content(bench: Bench, origin: Origin) -> None:
    ids = [await _registered(bench, f"{origin.url}/{name}") for name in ("a.html", "page")]
    await bench.fetch_due()
    rows = [await _row(bench, made) for made in ids]
    assert rows[0].content is not None and rows[0].content.type == "image/png"
    assert rows[1].content is not None and not rows[1].content.type.startswith("image/")


async def test_redirects_are_followed_three_times(bench: Bench, origin: Origin) -> None:
    three, four = [await _registered(bench, f"{origin.url}/hop{hops}") for hops in (3, 4)]
    await bench.fetch_due()
    assert (await _row(bench, three)).state == "stored"
    refused = await _row(bench, four)
    assert refused.state == "failed" and refused.failure is not None and "redirects" in refused.failure


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "2130706433", "169.254.169.254"]
)
async def test_addresses_that_are_not_public_are_never_asked(bench: Bench, origin: Origin, host: str) -> None:
    port = urlsplit(origin.url).port
    direct = await _registered(bench, f"http://{host}:{port}/secret")
    # The name is allowed; what it redirects to is not.
    redirected = await _registered(bench, f"http://localhost:{port}/redirect?to=http://{host}:{port}/secret")
    await bench.fetch_due(allow="localhost")
    for made in (direct, redirected):
        row = await _row(bench, made)
        assert row.state == "failed", row
    assert origin.asked == ["/redirect"]
    assert bench.objects() == []


@pytest.mark.parametrize("status", [204, 301, 400, 401, 403, 404, 410, 418])
async def test_an_answer_that_stays_ends_the_fetch(bench: Bench, origin: Origin, status: int) -> None:
    made = await _registered(bench, f"{origin.url}/{status}")
    await bench.fetch_due()
    row = await _row(bench, made)
    assert (row.state, row.failure) == ("failed", f"the other server answered {status}")
    assert await bench.files.waiting() == 0


async def test_an_answer_that_may_change_is_asked_for_again(bench: Bench, origin: Origin) -> None:
    origin.statuses = [503, 429]
    made = await _registered(bench, f"{origin.url}/next")
    for pause in PAUSES[:2]:
        assert await bench.fetch_due() == 1
        assert (await _row(bench, made)).state == "pending"
        bench.later(seconds=pause.total_seconds() - 1)
        assert await bench.fetch_due() == 0
        bench.later(seconds=1)
    assert await bench.fetch_due() == 1
    assert (await _row(bench, made)).state == "stored"


async def test_a_server_that_stays_broken_is_given_up(bench: Bench, origin: Origin) -> None:
    origin.statuses = [500] * 10
    made = await _registered(bench, f"{origin.url}/next")
    for pause in (*PAUSES, timedelta()):
        assert await bench.fetch_due() == 1
        bench.later(seconds=pause.total_seconds())
    row = await _row(bench, made)
    assert (row.state, row.failure) == ("failed", "the other server answered 500")
    assert len(origin.asked) == len(PAUSES) + 1
    assert await bench.files.waiting() == 0


async def test_a_file_that_breaks_off_is_not_kept(bench: Bench, origin: Origin) -> None:
    made = await _registered(bench, f"{origin.url}/short")
    await bench.fetch_due()
    assert (await _row(bench, made)).state == "pending"
    assert bench.objects() == []


async def test_what_is_too_large_unpacked_is_refused(
    bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "FETCHED_BYTES_MAX", 1_000_000)
    made = await _registered(bench, f"{origin.url}/bomb")
    await bench.fetch_due()
    row = await _row(bench, made)
    assert row.state == "failed" and row.failure is not None and "larger than 1000000 bytes" in row.failure
    assert bench.objects() == []


async def test_the_worker_fetches_without_being_asked(
    database: Database, cache: Cache, tmp_path: Any, origin: Origin
) -> None:
    bench = await make_bench(database, cache, tmp_path, outbound_allow="127.0.0.1")
    assert bench.service.lifespan is not None
    async with bench.service.lifespan():
        ids = [await _registered(bench, f"{origin.url}/{number}.png") for number in range(20)]
        async with asyncio.timeout(20):
            while await bench.files.waiting():
                await asyncio.sleep(0.01)
    assert {(await _row(bench, made)).state for made in ids} == {"stored"}
    assert len(bench.objects()) == 1


async def test_another_worker_goes_on_where_one_ended(
    database: Database, cache: Cache, tmp_path: Any, origin: Origin
) -> None:
    bench = await make_bench(database, cache, tmp_path, outbound_allow="127.0.0.1")
    assert bench.service.lifespan is not None
    async with bench.service.lifespan():
        made = await _registered(bench, f"{origin.url}/gated")
        async with asyncio.timeout(20):
            await origin.arrived.wait()
    assert (await _row(bench, made)).state == "pending"
    assert bench.objects() == []
    origin.gate.set()
    bench.service = built(database, cache, bench.schema, tmp_path, bench.clock)
    assert await bench.fetch_due() == 1
    row = await _row(bench, made)
    assert row.state == "stored" and row.content is not None and row.content.size == len(b"first second")
    await bench.close()


async def test_a_file_that_a_killed_worker_had_waits_for_the_end_of_its_lease(bench: Bench, origin: Origin) -> None:
    made = await _registered(bench, f"{origin.url}/cat.png")
    assert len(await bench.files.fetcher.take(1)) == 1
    bench.later(seconds=LEASE.total_seconds() - 1)
    assert await bench.fetch_due() == 0, "the worker may still be alive"
    bench.later(seconds=1)
    assert await bench.fetch_due() == 1
    assert (await _row(bench, made)).state == "stored"


async def test_a_worker_that_lost_its_lease_changes_nothing(bench: Bench, origin: Origin) -> None:
    made = await _registered(bench, f"{origin.url}/next")
    (slow,) = await bench.files.fetcher.take(1)
    bench.later(seconds=LEASE.total_seconds())
    (fast,) = await bench.files.fetcher.take(1)
    assert (slow.attempt, fast.attempt) == (1, 2)
    store = bench.files.fetcher.store
    await store.fail_fetch(slow, "too late")
    assert (await _row(bench, made)).state == "pending"
    await store.fail_fetch(fast, "in time")
    await store.fail_fetch(fast, "twice")
    assert (await _row(bench, made)).failure == "in time"
    assert len(await bench.changes()) == 1


async def test_fetches_are_shared_between_workers(bench: Bench, origin: Origin) -> None:
    for number in range(10):
        await _registered(bench, f"{origin.url}/{number}")
    fetcher = bench.files.fetcher
    taken = await asyncio.gather(*(fetcher.take(3) for _ in range(5)))
    ids = [fetch.attachment_id for fetches in taken for fetch in fetches]
    assert len(ids) == len(set(ids)) == 10


async def test_a_base_that_is_gone_ends_its_fetches(bench: Bench, origin: Origin) -> None:
    await _registered(bench, f"{origin.url}/cat.png")
    await bench.database.run(Statement("drop", f"DROP SCHEMA {quote(bench.base_id)} CASCADE"))
    await bench.fetch_due()
    assert await bench.files.waiting() == 0
