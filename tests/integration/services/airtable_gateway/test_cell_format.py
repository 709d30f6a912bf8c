"""`cellFormat=string` over HTTP: which parameters it needs, where they may stand, and what cells look like then."""

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from pyat.foundation.cache import Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidRequest
from pyat.foundation.identity import HEADER
from pyat.foundation.ids import RecordId
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Health, ServiceApp
from pyat.recordstore.fieldtypes import TextFormat
from pyat.services.airtable_gateway import routes
from pyat.services.schema.contract import FieldDraft
from tests.support.asgi import serving
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import SIGNER, principal

MOMENT = {"dateFormat": {"name": "local"}, "timeFormat": {"name": "12hour"}, "timeZone": "client"}
GERMAN = "timeZone=Europe/Berlin&userLocale=de"


class Client:
    """HTTP to the records API of one base."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, bench: Bench, record_id: str) -> None:
        self._session, self._url = session, f"{origin}/v0/{bench.base_id}/T"
        self.bench, self.record_id = bench, record_id

    async def send(self, method: str, rest: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of one request."""
        headers = {HEADER: SIGNER.sign(principal(), request_id="req")}
        data = io.BytesIO(b"" if body is None else orjson.dumps(body))
        url = URL(self._url + rest, encoded=True)
        async with self._session.request(method, url, data=data, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def cells(self, method: str, rest: str, body: Any = None) -> dict[str, Any]:
        """The cells of the only record of a list, or of the record that was asked for."""
        status, answer = await self.send(method, rest, body)
        assert status == 200, answer
        [record] = answer.get("records", [answer])
        cells: dict[str, Any] = record["fields"]
        return cells


@pytest_asyncio.fixture
async def client(database: Database, cache: Cache) -> AsyncIterator[Client]:
    """One record with some cells."""
    bench = await make_bench(database, cache)
    for name, kind, options in (("When", "dateTime", MOMENT), ("Open", "button", {"label": "Go"})):
        await bench.schema.create_field(
            principal=principal(), base_id=bench.base_id, table="T", field=FieldDraft(name, kind, options=options)
        )
    row = {"Name": 'a "b"\\', "Age": 7.5, "Status": "Todo", "Tags": ["b", "a"], "When": "2024-03-01T08:00:00Z"}
    made = await bench.records.create_records(
        principal=principal(), base_id=bench.base_id, table="T", rows=(row,), typecast=False, by_id=False
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


TEXTS = {
    "Name": 'a "b"\\',
    "Age": "8",
    "Status": "Todo",
    "Tags": "b, a",
    "Number": "1",
    "When": "1.3.2024 9:00am",
    "Open": "Go",
}


async def test_every_way_to_ask_for_texts(client: Client) -> None:
    asked = {"cellFormat": "string", "timeZone": "Europe/Berlin", "userLocale": "de"}
    for method, rest, body in (
        ("GET", f"?cellFormat=string&{GERMAN}", None),
        ("GET", f"/{client.record_id}?cellFormat=string&{GERMAN}", None),
        ("POST", "/listRecords", asked),
        ("POST", f"/listRecords?{GERMAN}", {"cellFormat": "string"}),
        ("POST", f"/listRecords?cellFormat=string&{GERMAN}", {}),
        ("POST", "/listRecords?timeZone=utc&userLocale=en", asked),
    ):
        assert await client.cells(method, rest, body) == TEXTS


async def test_zone_and_locale_decide(client: Client) -> None:
    for zone, locale, expected in (
        ("utc", "en", "3/1/2024 8:00am"),
        ("America/New_York", "en-gb", "1/3/2024 3:00am"),
        ("Asia/Tokyo", "ja", "2024/3/1 5:00pm"),
        ("UTC", "nl-BE", "1-3-2024 8:00am"),
    ):
        cells = await client.cells("GET", f"?cellFormat=string&timeZone={zone}&userLocale={locale}&fields[]=When")
        assert cells == {"When": expected}


async def test_texts_by_field_id_and_in_order(client: Client) -> None:
    cells = await client.cells(
        "GET", f"?cellFormat=string&{GERMAN}&returnFieldsByFieldId=true&sort[0][field]=Age&pageSize=1&fields[]=Age"
    )
    assert list(cells.values()) == ["8"]
    assert all(key.startswith("fld") for key in cells)


@pytest.mark.parametrize(
    "query",
    [
        "cellFormat=string",
        "cellFormat=string&timeZone=utc",
        "cellFormat=string&userLocale=de",
        "cellFormat=string&timeZone=Nowhere/Town&userLocale=de",
        "cellFormat=string&timeZone=client&userLocale=de",
        "cellFormat=string&timeZone=utc&userLocale=xx",
        "cellFormat=string&timeZone=utc&userLocale=%00",
        f"cellFormat=html&{GERMAN}",
    ],
)
async def test_refusals(client: Client, query: str) -> None:
    for method, rest, body in (
        ("GET", f"?{query}", None),
        ("GET", f"/{client.record_id}?{query}", None),
        ("POST", f"/listRecords?{query}", {}),
    ):
        status, answer = await client.send(method, rest, body)
        assert (status, answer["error"]["type"]) == (422, "INVALID_REQUEST_UNKNOWN")


async def test_json_needs_neither(client: Client) -> None:
    for rest in ("?cellFormat=json", "?timeZone=Nowhere&userLocale=xx"):
        assert (await client.cells("GET", rest))["Age"] == 7.5


async def test_a_zone_that_the_database_lacks_is_refused(client: Client) -> None:
    text = TextFormat("Nowhere/Town", "D/M/YYYY")
    store, base = client.bench.records.store, client.bench.records.bases.known(client.bench.base_id)
    assert base is not None
    with pytest.raises(InvalidRequest, match="time zone"):
        await store.page(base, base.tables[0], fields=None, by_id=False, sort=(), rows_max=1, cursor=None, text=text)
    with pytest.raises(InvalidRequest, match="time zone"):
        await store.get(base, base.tables[0], RecordId(client.record_id), by_id=False, text=text)


async def test_plans_for_texts_are_not_kept(client: Client) -> None:
    base = client.bench.records.bases.known(client.bench.base_id)
    assert base is not None
    await client.cells("GET", "?cellFormat=json")
    before = len(base.tables[0].plans)
    for zone in ("utc", "Europe/Berlin", "Asia/Tokyo"):
        await client.cells("GET", f"?cellFormat=string&timeZone={zone}&userLocale=de")
    assert len(base.tables[0].plans) == before
