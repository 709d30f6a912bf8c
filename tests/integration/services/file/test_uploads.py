"""Uploads as a form in one request."""

import asyncio
import io
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from pyat.foundation.identity import HEADER
from pyat.foundation.ids import BaseId, is_id
from pyat.services.file.routes.bodies import FORM_BYTES_MAX
from pyat.services.file.settings import FILE_BYTES_MAX
from tests.support.files import PNG, SIGNER, Bench, Client
from tests.support.schema import OTHER_TENANT, principal

BOUNDARY = "----boundary"


def _path(bench: Bench) -> str:
    return f"/api/v1/files/bases/{bench.base_id}/uploads"


def _form(*parts: bytes) -> bytes:
    return b"".join(b"------boundary\r\n" + part + b"\r\n" for part in parts) + b"------boundary--\r\n"


def _file(data: bytes, name: str = "cat.png") -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/x-own\r\n\r\n'
    return head.encode() + data


HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
FIELD = b'Content-Disposition: form-data; name="field"\r\n\r\nvalue'


async def test_a_file_in_a_form_becomes_an_attachment(bench: Bench, client: Client) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("note", "a text")
    form.add_field("file", io.BytesIO(PNG), filename="Kätzchen.png", content_type="text/html")
    answer = await client.send("POST", _path(bench), data=form)
    assert answer.status == 200
    assert is_id("att", answer.json["id"])
    shown = {key: answer.json[key] for key in ("filename", "size", "type")}
    assert shown == {"filename": "Kätzchen.png", "size": len(PNG), "type": "image/png"}
    row = await bench.row(answer.json["id"])
    assert row is not None and row.created_by == principal().user_id and row.state == "stored"
    assert (await client.send("GET", bench.url(row.attachment_id))).body == PNG


@pytest.mark.parametrize(
    ("written", "filename"),
    [
        ('filename="Kätzchen.png"', "Kätzchen.png"),
        ('filename="a%22b.png"', 'a"b.png'),
        ('filename="a%20b.png"', "a%20b.png"),
        ("filename=plain.png", "plain.png"),
        ("filename=\"x\"; filename*=UTF-8''K%C3%A4tzchen.png", "Kätzchen.png"),
        ("filename*=utf-8'de'K%C3%A4tzchen.png", "Kätzchen.png"),
        ('filename="C:\\\\dir\\\\cat.png"', "cat.png"),
    ],
)
async def test_names_as_clients_write_them(bench: Bench, client: Client, written: str, filename: str) -> None:
    part = f'Content-Disposition: form-data; name="file"; {written}\r\n\r\nx'.encode()
    answer = await client.send("POST", _path(bench), data=_form(part), headers=HEADERS)
    assert (answer.status, answer.json["filename"]) == (200, filename)


async def test_a_file_of_many_slices_arrives_whole(bench: Bench, client: Client) -> None:
    data = os.urandom(9_000_001)

    async def pieces() -> AsyncIterator[bytes]:
        body = _form(FIELD, _file(data, "a b.bin"), FIELD)
        for start in range(0, len(body), 300_007):
            yield body[start : start + 300_007]

    answer = await client.send("POST", _path(bench), data=pieces(), headers=HEADERS)
    assert (answer.status, answer.json["size"], answer.json["filename"]) == (200, len(data), "a b.bin")
    assert (await client.send("GET", bench.url(answer.json["id"]))).body == data


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_a_boundary_may_come_in_two_pieces(bench: Bench, client: Client, cut: int) -> None:
    body = _form(_file(b"0123456789\r\n------bound\r\n"))

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:-cut]
        yield body[-cut:]

    answer = await client.send("POST", _path(bench), data=pieces(), headers=HEADERS)
    assert (answer.status, answer.json["size"]) == (200, 25)


async def test_an_empty_file_is_a_file(bench: Bench, client: Client) -> None:
    answer = await client.send("POST", _path(bench), data=_form(_file(b"", "empty")), headers=HEADERS)
    assert (answer.status, answer.json["size"], answer.json["type"]) == (200, 0, "text/plain")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", None),
        (b"{}", "application/json"),
        (_form(), None),
        (_form(FIELD), None),
        (_form(_file(PNG), _file(PNG)), None),
        (_form(_file(PNG))[:-20], None),
        (_form(_file(PNG))[:40], None),
        (b"nonsense", None),
        (_form(_file(PNG)), "multipart/form-data"),
        (_form(_file(PNG)), "multipart/form-data; boundary=" + "b" * 71),
        (_form(_file(PNG)), "multipart/form-data; boundary=other"),
        (_form(FIELD + b"x" * FORM_BYTES_MAX, _file(PNG)), None),
        (_form(b"A: " + b"b" * 100_000 + b"\r\n\r\n"), None),
        (_form(b"A: b\r\n" * 1_000 + b"\r\n"), None),
    ],
    ids=str,
)
async def test_what_is_no_form_with_a_file_is_refused(
    bench: Bench, client: Client, body: bytes, kind: str | None
) -> None:
    headers = HEADERS if kind is None else {"content-type": kind}
    answer = await client.send("POST", _path(bench), data=body, headers=headers)
    assert (answer.status, answer.json["error"]["type"]) == (422, "INVALID_REQUEST_UNKNOWN")
    assert bench.objects() == []


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 1_001])
async def test_a_name_that_is_none_is_refused(bench: Bench, client: Client, name: str) -> None:
    answer = await client.send("POST", _path(bench), data=_form(_file(PNG, name)), headers=HEADERS)
    assert answer.status == 422
    assert bench.objects() == []


async def test_another_tenants_base_looks_like_none(bench: Bench, client: Client) -> None:
    missing = _path(bench).replace(bench.base_id, "appMissingMissing")
    body = _form(_file(PNG))
    other = principal(tenant_id=OTHER_TENANT)
    narrow = principal(base_ids=frozenset({BaseId("appMissingMissing")}))
    answers = [
        await client.send("POST", missing, data=body, headers=HEADERS),
        await client.send("POST", _path(bench), data=body, headers=HEADERS, caller=other),
        await client.send("POST", _path(bench), data=body, headers=HEADERS, caller=narrow),
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(403, answers[0].body)}
    assert bench.objects() == []


async def test_too_large_is_refused_by_its_declared_length(bench: Bench, client: Client) -> None:
    host, _, port = client.origin.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    identity = SIGNER.sign(principal(), request_id="req")
    writer.write(
        f"POST {_path(bench)} HTTP/1.1\r\nHost: x\r\n{HEADER}: {identity}\r\nExpect: 100-continue\r\n"
        f"Content-Type: {HEADERS['content-type']}\r\nContent-Length: {10 * FILE_BYTES_MAX}\r\n\r\n".encode()
    )
    writer.write(b"x")
    async with asyncio.timeout(20):
        line = await reader.readline()
    writer.close()
    assert b" 413 " in line
    assert bench.objects() == []


async def test_a_client_that_goes_away_leaves_nothing(bench: Bench, client: Client) -> None:
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield _form(_file(b"x" * 2_000_000))[:1_500_000]
        begun.set()
        await asyncio.sleep(60)

    sending = asyncio.create_task(client.send("POST", _path(bench), data=pieces(), headers=HEADERS))
    await begun.wait()
    async with asyncio.timeout(20):
        while not bench.objects():
            await asyncio.sleep(0.01)
        sending.cancel()
        while bench.objects():
            await asyncio.sleep(0.01)
