"""A program as its author wrote it for Airtable: no client is told where the platform is.

Takes the id of a base with a table `Things` (fields Name and Files); the token is in AIRTABLE_API_KEY. Prints what came back as JSON.
"""

import asyncio
import http.client
import json
import os
import sys
import urllib.request
from typing import Any

import aiohttp
import httpx
import requests
import urllib3
from pyairtable import Api
from pyairtable.orm import Model, fields

BASE_ID = sys.argv[1]
TOKEN = os.environ["AIRTABLE_API_KEY"]
URL = "https://api.airtable.com/v0/meta/whoami"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Thing(Model):
    """As in the documentation of pyairtable."""

    name = fields.TextField("Name")
    files = fields.AttachmentsField("Files")

    class Meta:
        api_key = TOKEN
        base_id = BASE_ID
        table_name = "Things"


async def by_aiohttp() -> Any:
    """With the whole URL, and with the host given to the session."""
    async with aiohttp.ClientSession(headers=HEADERS) as session, session.get(URL) as response:
        whole = await response.json()
    async with (
        aiohttp.ClientSession("https://api.airtable.com", headers=HEADERS) as session,
        session.get("/v0/meta/whoami", params={"a": "b c"}) as response,
    ):
        assert await response.json() == whole
    return whole


def by_http_client() -> Any:
    """With both kinds of connection."""
    found = []
    for kind in (http.client.HTTPSConnection, http.client.HTTPConnection):
        connection = kind("api.airtable.com", timeout=30)
        connection.request("GET", "/v0/meta/whoami", headers=HEADERS)
        found.append(json.loads(connection.getresponse().read()))
        connection.close()
    assert found[0] == found[1]
    return found[0]


def by_urllib() -> Any:
    """With a request object; a bare URL is refused for want of a token."""
    with urllib.request.urlopen(urllib.request.Request(URL, headers=HEADERS), timeout=30) as response:
        return json.loads(response.read())


async def by_httpx() -> Any:
    """With both clients."""
    async with httpx.AsyncClient(base_url="https://api.airtable.com", headers=HEADERS) as client:
        found = (await client.get("/v0/meta/whoami")).json()
    assert httpx.get(URL, headers=HEADERS, timeout=30).json() == found
    return found


def main() -> None:
    """Every client in turn."""
    table = Api(TOKEN).base(BASE_ID).table("Things")
    made = table.create({"Name": "by the table"})
    thing = Thing(name="by the model")
    thing.save()
    uploaded = table.upload_attachment(thing.id, "Files", "hello.txt", "hello, platform\n", "text/plain")
    thing.fetch()
    thing.files.upload("again.txt", b"again\n", "text/plain")
    file: Any = thing.files[0]
    through_model = thing.to_record()["fields"]
    through_model.pop("Files")
    asked = {
        "requests": requests.get(URL, headers=HEADERS, timeout=30).json(),
        "urllib3": urllib3.PoolManager().request("GET", URL, headers=HEADERS).json(),
        "urllib": by_urllib(),
        "http.client": by_http_client(),
        "aiohttp": asyncio.run(by_aiohttp()),
        "httpx": asyncio.run(by_httpx()),
    }
    print(
        json.dumps(
            {
                "table": made["fields"],
                "names": sorted(record["fields"]["Name"] for record in table.all()),
                "model": through_model,
                "uploaded": [len(cell) for cell in uploaded["fields"].values()],
                "by_model": [found.get("filename") for found in thing.files],
                "file": {"filename": file["filename"], "url": file["url"]},
                "asked": asked,
            }
        )
    )


if __name__ == "__main__":
    main()
