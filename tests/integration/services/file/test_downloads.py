"""Signed downloads over HTTP: who may read what for how long, ranges, validators, and headers that keep script out."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from pyat.foundation.signing import FileUrls
from tests.support.files import LIFETIME_S, NOW, PNG, SIGNER, Bench, Client

ACTOR = "usr00000000000001"
CONTENT = bytes(range(256)) * 20_000
"""5 MB, several slices."""


async def _stored(bench: Bench, data: bytes = PNG, filename: str = "cat.png", kind: str | None = None) -> str:
    return await bench.files.store_bytes(
        base_id=bench.base_id, filename=filename, content_type=kind, data=data, actor=ACTOR
    )


async def test_a_signed_url_needs_no_token(bench: Bench, client: Client) -> None:
    url = bench.url(await _stored(bench))
    answer = await client.send("GET", url)
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(PNG))
    assert answer.headers["accept-ranges"] == "bytes"


async def test_head_says_what_get_would(bench: Bench, client: Client) -> None:
    url = bench.url(await _stored(bench))
    head, get = await client.send("HEAD", url), await client.send("GET", url)
    assert head.status == 200 and head.body == b""
    ignored = {"date"}
    assert {k: v for k, v in head.headers.items() if k.lower() not in ignored} == {
        k: v for k, v in get.headers.items() if k.lower() not in ignored
    }


@pytest.mark.parametrize("part", [2, 3, 4, 5, 6], ids=["base", "attachment", "variant", "expires", "signature"])
async def test_a_changed_url_is_refused(bench: Bench, client: Client, part: int) -> None:
    url = bench.url(await _stored(bench))
    parts = url.split("/")[2:]
    last = parts[part][-1]
    parts[part] = parts[part][:-1] + ("1" if last != "1" else "2")
    answer = await client.send("GET", "/api/" + "/".join(parts))
    assert (answer.status, answer.json["error"]["type"]) == (403, "FILE_URL_INVALID")


@pytest.mark.parametrize("expires", ["-1", "1e9", "99999999999999999999", "٣", "0"])
async def test_an_expiry_that_is_no_number_is_refused(bench: Bench, client: Client, expires: str) -> None:
    parts = bench.url(await _stored(bench)).split("/")
    parts[7] = expires.encode().hex() if not expires.isascii() else expires
    answer = await client.send("GET", "/".join(parts))
    assert answer.status == 403


async def test_another_installations_url_is_refused(bench: Bench, client: Client) -> None:
    urls = FileUrls(b"another key of another installation", LIFETIME_S)
    url = urls.url("", bench.base_id, await _stored(bench), "original", "cat.png", NOW)
    assert (await client.send("GET", url)).status == 403


async def test_a_url_lives_two_hours_and_then_no_more(bench: Bench, client: Client) -> None:
    url = bench.url(await _stored(bench))
    bench.later(hours=2)
    assert (await client.send("GET", url)).status == 200
    bench.later(hours=1)
    answer = await client.send("GET", url)
    assert (answer.status, answer.json["error"]["type"]) == (410, "FILE_URL_EXPIRED")


def test_a_url_stays_the_same_for_an_hour() -> None:
    urls = FileUrls.of(SIGNER, LIFETIME_S)
    hour = datetime(2030, 5, 1, 12, tzinfo=UTC)
    made = {urls.url("", "app1", "att1", "small", "a.png", hour + timedelta(minutes=m)) for m in (0, 30, 59)}
    assert len(made) == 1
    assert urls.url("", "app1", "att1", "small", "a.png", hour + timedelta(minutes=60)) not in made


async def test_an_attachment_that_is_not_there_yet_cannot_be_read(bench: Bench, client: Client) -> None:
    assert (await client.send("GET", bench.url("attMissingMissing"))).status == 404
    assert (await client.send("GET", bench.url(await _stored(bench), "small"))).status == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1000000-", 1_000_000, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        ("bytes=-99999999999", 0, len(CONTENT)),
        ("bytes=1048570-2097160", 1_048_570, 2_097_161),
        ("bytes=5-99999999999", 5, len(CONTENT)),
    ],
)
async def test_a_range(bench: Bench, client: Client, asked: str, start: int, end: int) -> None:
    url = bench.url(await _stored(bench, CONTENT, "a.bin"))
    answer = await client.send("GET", url, headers={"range": asked})
    assert answer.status == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert answer.body == CONTENT[start:end]


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=-", "bytes=9-3", "lines=1-2", "bytes=a-b", "nonsense"])
async def test_several_ranges_or_nonsense_mean_the_whole_file(bench: Bench, client: Client, asked: str) -> None:
    url = bench.url(await _stored(bench, b"0123456789", "a.bin"))
    answer = await client.send("GET", url, headers={"range": asked})
    assert (answer.status, answer.body) == (200, b"0123456789")


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=999999999-", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused(bench: Bench, client: Client, asked: str) -> None:
    url = bench.url(await _stored(bench, b"0123456789", "a.bin"))
    answer = await client.send("GET", url, headers={"range": asked})
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")
    assert answer.json["error"]["message"] == "Invalid request: the file has 10 bytes"


async def test_a_range_of_another_version_means_the_whole_file(bench: Bench, client: Client) -> None:
    url = bench.url(await _stored(bench, b"0123456789", "a.bin"))
    etag = (await client.send("HEAD", url)).headers["etag"]
    same = await client.send("GET", url, headers={"range": "bytes=0-1", "if-range": etag})
    other = await client.send("GET", url, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert [(answer.status, answer.body) for answer in (same, other)] == [(206, b"01"), (200, b"0123456789")]


async def test_what_a_client_has_is_not_sent_again(bench: Bench, client: Client) -> None:
    url = bench.url(await _stored(bench))
    etag = (await client.send("GET", url)).headers["etag"]
    for header in (etag, f'"x", W/{etag}', "*"):
        answer = await client.send("GET", url, headers={"if-none-match": header})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    assert (await client.send("GET", url, headers={"if-none-match": '"x"'})).status == 200


async def test_caches_keep_a_file_as_long_as_its_url_lives(bench: Bench, client: Client) -> None:
    answer = await client.send("GET", bench.url(await _stored(bench)))
    found = re.fullmatch(r"public, max-age=(\d+), immutable, no-transform", answer.headers["cache-control"])
    assert found is not None and int(found[1]) == LIFETIME_S + 1800


@pytest.mark.parametrize(
    ("data", "filename", "shown"),
    [
        (PNG, "cat.png", "inline"),
        (PNG, "cat.html", "inline"),
        (b"%PDF-1.7\n%", "a.pdf", "inline"),
        (b"<!doctype html><script>alert(1)</script>", "a.html", "attachment"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "a.svg", "attachment"),
        (b"<?xml version='1.0'?><a/>", "a.xml", "attachment"),
        (b"alert(1)", "a.js", "attachment"),
        (b"plain", "a.txt", "inline"),
        (b"<b>bold</b>", "a.png", "attachment"),
        (b"\x00\x01unknown", "a.png", "attachment"),
    ],
)
async def test_only_what_holds_no_script_is_shown_in_the_page(
    bench: Bench, client: Client, data: bytes, filename: str, shown: str
) -> None:
    answer = await client.send("GET", bench.url(await _stored(bench, data, filename, "image/png")))
    assert answer.headers["content-disposition"].partition(";")[0] == shown
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("a b.png", "inline; filename=\"a b.png\"; filename*=UTF-8''a%20b.png"),
        ("€ é.png", "inline; filename=\"_ _.png\"; filename*=UTF-8''%E2%82%AC%20%C3%A9.png"),
        ('a"; x="\\.png', "inline; filename=\"a_; x=__.png\"; filename*=UTF-8''a%22%3B%20x%3D%22%5C.png"),
        ("../../etc/passwd", "inline; filename=\".._.._etc_passwd\"; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd"),
    ],
)
async def test_a_name_cannot_leave_its_header(bench: Bench, client: Client, filename: str, header: str) -> None:
    answer = await client.send("GET", bench.url(await _stored(bench, PNG, filename)))
    assert answer.headers["content-disposition"] == header
