"""Resumable uploads by plain HTTP, as the protocol tus 1.0 writes it."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pyat.foundation.identity import Principal
from pyat.foundation.ids import UserId, is_id
from pyat.services.file.service.uploads import PART_BYTES, UPLOAD_KEPT
from pyat.services.file.settings import FILE_BYTES_MAX
from tests.support.files import PNG, Answer, Bench, Client
from tests.support.schema import OTHER_TENANT, principal

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}


def _path(bench: Bench) -> str:
    return f"/api/v1/files/bases/{bench.base_id}/tus"


def _metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())


async def _begin(bench: Bench, client: Client, length: int, *, data: Any = None, **headers: str) -> Answer:
    sent = {**(PIECE if data is not None else TUS), "upload-length": str(length), **headers}
    return await client.send("POST", _path(bench), headers=sent, data=data)


async def _begun(bench: Bench, client: Client, length: int, **headers: str) -> str:
    answer = await _begin(bench, client, length, **headers)
    assert answer.status == 201, answer.body
    return answer.headers["location"]


async def _send(client: Client, location: str, offset: int, data: Any, **headers: str) -> Answer:
    return await client.send("PATCH", location, headers={**PIECE, "upload-offset": str(offset), **headers}, data=data)


async def _offset(client: Client, location: str) -> int:
    answer = await client.send("HEAD", location, headers=TUS)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


async def test_the_endpoint_says_what_it_can_do(bench: Bench, client: Client) -> None:
    answer = await client.send("OPTIONS", _path(bench))
    assert answer.status == 200
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-max-size"] == str(FILE_BYTES_MAX)
    assert set(answer.headers["tus-extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "expiration",
        "checksum",
        "termination",
    }


async def test_a_file_comes_in_pieces(bench: Bench, client: Client) -> None:
    data = os.urandom(3_000_000)
    location = await _begun(bench, client, len(data), **{"upload-metadata": _metadata(filename="ä b.bin")})
    assert await _offset(client, location) == 0
    for start in range(0, len(data), 1_000_000):
        answer = await _send(client, location, start, data[start : start + 1_000_000])
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(start + 1_000_000))
        assert "upload-expires" in answer.headers
    attachment_id = answer.headers["x-attachment-id"]
    assert is_id("att", attachment_id)
    row = await bench.row(attachment_id)
    assert row is not None and (row.filename, row.state) == ("ä b.bin", "stored")
    assert (await client.send("GET", bench.url(attachment_id))).body == data
    shown = (await client.send("GET", location)).json
    assert (shown["offset"], shown["length"], shown["attachmentId"]) == (len(data), len(data), attachment_id)
    assert [name for name in bench.objects() if not name.startswith("contents/")] == []


async def test_the_first_piece_may_come_along(bench: Bench, client: Client) -> None:
    answer = await _begin(bench, client, len(PNG), data=PNG)
    assert (answer.status, answer.headers["upload-offset"]) == (201, str(len(PNG)))
    row = await bench.row(answer.headers["x-attachment-id"])
    assert row is not None and row.content is not None and row.content.type == "image/png"


async def test_an_empty_file_is_whole_at_once(bench: Bench, client: Client) -> None:
    answer = await _begin(bench, client, 0)
    assert answer.status == 201
    row = await bench.row(answer.headers["x-attachment-id"])
    assert row is not None and row.content is not None and row.content.size == 0


async def test_what_came_before_a_break_is_kept(bench: Bench, client: Client) -> None:
    data = os.urandom(PART_BYTES + 3_000_000)
    location = await _begun(bench, client, len(data))
    sent = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        for start in range(0, PART_BYTES + 1_000_000, 250_000):
            yield data[start : start + 250_000]
        sent.set()
        await asyncio.sleep(60)

    sending = asyncio.create_task(_send(client, location, 0, broken()))
    async with asyncio.timeout(30):
        await sent.wait()
        # Whole parts are there before the break.
        while (before := await _offset(client, location)) < PART_BYTES:
            await asyncio.sleep(0.01)
        sending.cancel()
        # What came after the last whole part is kept at the break.
        while await _offset(client, location) == before:
            await asyncio.sleep(0.01)
    offset = await _offset(client, location)
    answer = await _send(client, location, offset, data[offset:])
    assert answer.status == 204
    assert (await client.send("GET", bench.url(answer.headers["x-attachment-id"]))).body == data
    assert len(bench.objects()) == 1


async def test_only_one_of_two_at_the_same_place_wins(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 20)
    answers = await asyncio.gather(*(_send(client, location, 0, bytes([65 + n]) * 10) for n in range(4)))
    assert sorted(answer.status for answer in answers) == [204, 409, 409, 409]
    assert await _offset(client, location) == 10
    assert len(bench.objects()) == 1


@pytest.mark.parametrize("offset", [0, 5, 11, 30])
async def test_a_piece_for_another_place_is_refused(bench: Bench, client: Client, offset: int) -> None:
    location = await _begun(bench, client, 20)
    await _send(client, location, 0, b"x" * 10)
    answer = await _send(client, location, offset, b"y" * 5)
    assert (answer.status, answer.json["error"]["message"]) == (409, "Invalid request: the upload is at 10")
    assert await _offset(client, location) == 10


@pytest.mark.parametrize("is_declared", [True, False])
async def test_more_than_the_length_is_refused(bench: Bench, client: Client, is_declared: bool) -> None:
    location = await _begun(bench, client, 10)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 11

    answer = await _send(client, location, 0, b"x" * 11 if is_declared else pieces())
    assert answer.status == 413
    assert await _offset(client, location) == 0
    assert bench.objects() == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
async def test_a_piece_with_its_checksum(bench: Bench, client: Client, algorithm: str) -> None:
    location = await _begun(bench, client, 2 * len(PNG))
    digest = base64.b64encode(hashlib.new(algorithm, PNG).digest()).decode()
    good = {"upload-checksum": f"{algorithm} {digest}"}
    assert (await _send(client, location, 0, PNG, **good)).status == 204
    answer = await _send(client, location, len(PNG), PNG[:-1] + b"x", **good)
    assert (answer.status, answer.json["error"]["message"]) == (
        460,
        "Invalid request: the checksum does not match",
    )
    assert await _offset(client, location) == len(PNG)
    assert len(bench.objects()) == 1


@pytest.mark.parametrize("value", ["crc32 AAAA", "sha1", "sha1 !!", "sha1 ", ""])
async def test_a_checksum_that_is_none_is_refused(bench: Bench, client: Client, value: str) -> None:
    location = await _begun(bench, client, 10)
    answer = await _send(client, location, 0, b"x" * 10, **{"upload-checksum": value})
    assert answer.status == 422
    assert await _offset(client, location) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"upload-length": "-1"},
        {"upload-length": ""},
        {"upload-length": "1e3"},
        {"upload-length": "²"},
        {"upload-length": "9" * 19},
        {"upload-defer-length": "1"},
        {"upload-metadata": "filename !!!"},
        {"upload-metadata": "filename " + base64.b64encode(b"\xff\xfe").decode()},
        {"upload-metadata": "filename " + base64.b64encode(b"a\x00b").decode()},
        {"upload-metadata": "a" * 9_000},
    ],
    ids=str,
)
async def test_an_upload_that_cannot_be_is_refused(bench: Bench, client: Client, headers: dict[str, str]) -> None:
    answer = await _begin(bench, client, 10, **headers)
    assert answer.status == 422
    assert answer.headers["tus-resumable"] == "1.0.0"


async def test_a_file_that_is_too_large_is_refused_at_the_beginning(bench: Bench, client: Client) -> None:
    assert (await _begin(bench, client, FILE_BYTES_MAX + 1)).status == 413


async def test_another_version_is_refused(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    for method, path in (("POST", _path(bench)), ("HEAD", location), ("PATCH", location), ("DELETE", location)):
        for headers in ({}, {"tus-resumable": "0.2.2"}):
            answer = await client.send(method, path, headers=headers)
            assert (answer.status, answer.headers["tus-version"]) == (412, "1.0.0")


async def test_a_piece_of_another_type_is_refused(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    answer = await _send(client, location, 0, b"x" * 10, **{"content-type": "text/plain"})
    assert answer.status == 415


async def test_an_upload_is_its_users(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    missing = location[:-17] + "uplMissingMissing"
    stranger = Principal(
        **{name: getattr(principal(), name) for name in Principal.__slots__ if name != "user_id"},
        user_id=UserId("usr00000000000002"),
    )
    bodies = set()
    for path, caller in ((missing, principal()), (location, stranger)):
        for method in ("PATCH", "GET", "DELETE"):
            answer = await client.send(method, path, headers={**PIECE, "upload-offset": "0"}, caller=caller)
            bodies.add((answer.status, answer.body))
        assert (await client.send("HEAD", path, headers=TUS, caller=caller)).status == 404
    assert len(bodies) == 1 and bodies.pop()[0] == 404
    answer = await client.send(
        "POST",
        _path(bench),
        headers={**TUS, "upload-length": "10"},
        caller=principal(tenant_id=OTHER_TENANT),
    )
    assert answer.status == 403


async def test_an_upload_can_be_given_up(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    await _send(client, location, 0, b"x" * 5)
    assert len(bench.objects()) == 1
    assert (await client.send("DELETE", location, headers=TUS)).status == 204
    assert (await client.send("HEAD", location, headers=TUS)).status == 404
    assert bench.objects() == []


async def test_an_upload_that_nobody_goes_on_with_ends(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    await _send(client, location, 0, b"x" * 5)
    bench.later(seconds=UPLOAD_KEPT.total_seconds() - 1)
    assert await _offset(client, location) == 5
    await _send(client, location, 5, b"x")
    bench.later(seconds=UPLOAD_KEPT.total_seconds() - 1)
    await bench.sweeper.sweep()
    assert await _offset(client, location) == 6
    bench.later(seconds=2)
    assert (await client.send("HEAD", location, headers=TUS)).status == 404
    await bench.sweeper.sweep()
    assert bench.objects() == []


async def test_a_whole_upload_whose_server_died_is_finished_when_asked_for(bench: Bench, client: Client) -> None:
    location = await _begun(bench, client, 10)
    await _send(client, location, 0, b"x" * 5)
    # As it stands when a process dies between the last piece and the attachment.
    uploads = bench.uploads
    upload = await uploads.find(principal(), bench.base_id, location[-17:])
    await uploads.add_parts(upload, [await uploads.put_part(upload, b"y" * 5)])
    answers = await asyncio.gather(*(client.send("HEAD", location, headers=TUS) for _ in range(3)))
    assert {answer.headers["upload-offset"] for answer in answers} == {"10"}
    (made,) = {answer.headers["x-attachment-id"] for answer in answers}
    assert (await client.send("GET", bench.url(made))).body == b"xxxxxyyyyy"
