"""Exports over HTTP: what happens when they are too large, when the structure changes under them, when nobody reads on."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database, recording
from pyat.foundation.identity import HEADER
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Health, ServiceApp
from pyat.services.airtable_gateway import routes
from pyat.services.airtable_gateway.contract import ExportPage, ExportQuery
from pyat.services.airtable_gateway.routes import exchange
from tests.support.asgi import serving
from tests.support.records import Bench, make_bench
from tests.support.schema import SIGNER, principal

FORMATS = ("ndjson", "csv", "xlsx", "parquet")
ROW_COUNT = 3_000


class Client:
    """HTTP to the exports of one table."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, bench: Bench) -> None:
        self._session, self._url = session, f"{origin}/api/v1/bases/{bench.base_id}/tables/T/export"
        self.bench = bench
        self.pages: list[str | None] = []
        """The places of the pages that were asked for."""

    def get(self, file_format: str) -> Any:
        """One request."""
        headers = {HEADER: SIGNER.sign(principal(), request_id="req")}
        return self._session.get(self._url, params={"format": file_format}, headers=headers)


@pytest_asyncio.fixture
async def client(database: Database, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A table of some hundred kilobytes in several pages, whose exports are watched."""
    bench = await make_bench(database, cache)
    for start in range(0, ROW_COUNT, 1_000):
        rows = tuple({"Name": f"{number} {'x' * 1_000}"} for number in range(start, start + 1_000))
        await bench.records.create_records(
            principal=principal(), base_id=bench.base_id, table="T", rows=rows, typecast=False, by_id=False
        )
    app = ServiceApp(
        "airtable_gateway",
        routes.OPERATIONS,
        routes.handlers(bench.records, FileUrls.of(SIGNER, 7_200), SystemClock()),
        SIGNER,
        Health("airtable_gateway", {"database": database.is_ready}),
    )
    async with serving(app) as origin, aiohttp.ClientSession() as session:
        client = Client(session, origin, bench)
        export_page = bench.records.export_page

        async def watched(*, query: ExportQuery, after: str | None, **to: Any) -> ExportPage:
            client.pages.append(after)
            return await export_page(**to, query=query, after=after)

        monkeypatch.setattr(bench.records, "export_page", watched)
        yield client


async def test_a_worksheet_holds_so_many_rows(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SHEET_ROWS_MAX", ROW_COUNT)
    async with client.get("xlsx") as response:
        assert response.status == 422
        assert f"holds {ROW_COUNT - 1} records, but there are {ROW_COUNT}" in await response.text()
    monkeypatch.setattr(exchange, "SHEET_ROWS_MAX", ROW_COUNT + 1)
    async with client.get("xlsx") as response:
        assert response.status == 200
        await response.read()


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_column_that_goes_away_breaks_the_export_off(client: Client, file_format: str) -> None:
    """Half a file that looks whole would be worse than none."""
    base = await client.bench.schema.get_base(principal=principal(), base_id=client.bench.base_id)
    records = client.bench.records
    planned = records.export_page

    async def deleting(*, query: ExportQuery, after: str | None, **to: Any) -> ExportPage:
        if after is not None and query.fields is not None:
            query = ExportQuery(query.form, (*query.fields[:-1], "fldAAAAAAAAAAAAAA"))
        return await planned(query=query, after=after, **to)

    assert len(base.tables[0].fields) > 1
    records.export_page = deleting  # type: ignore[method-assign]
    async with client.get(file_format) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_export_ends_when_nobody_reads_on(client: Client, file_format: str) -> None:
    reached = threading.Event()
    planned = client.bench.records.export_page
    is_open = asyncio.Event()

    async def slow(*, query: ExportQuery, after: str | None, **to: Any) -> ExportPage:
        if len(client.pages) == 3:
            reached.set()
            try:
                await is_open.wait()
            finally:
                ended.set()
        return await planned(query=query, after=after, **to)

    ended = asyncio.Event()
    client.bench.records.export_page = slow  # type: ignore[method-assign]
    async with client.get(file_format) as response:
        assert response.status == 200
        assert await asyncio.to_thread(reached.wait, 30)
        response.close()
    async with asyncio.timeout(30):
        await ended.wait()
    assert len(client.pages) == 3


async def test_a_page_is_one_statement(client: Client) -> None:
    query = ExportQuery("csv", ("Name",))
    to: dict[str, Any] = {"principal": principal(), "base_id": client.bench.base_id, "table": "T"}
    await client.bench.records.export_page(**to, query=query, after=None)
    with recording() as statements:
        await client.bench.records.export_page(**to, query=query, after=None)
    assert statements.names == ["page"]
