"""The contract `Files`, on the local and on the remote binding."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import BodyTooLarge, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, is_id
from pyat.services.file.contract import (
    FILENAME_LENGTH_MAX,
    ITEMS_MAX,
    STORED_BYTES_MAX,
    Files,
    InvalidAttachment,
    UrlItem,
)
from tests.contract.conftest import Bind
from tests.support.files import NOW, PNG, Bench, make_bench

ACTOR = "usr00000000000001"
MISSING = BaseId("appMissingMissing")


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache, tmp_path: Path) -> AsyncIterator[Bench]:
    """The services on a database of their own."""
    made = await make_bench(database, cache, tmp_path)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def files(bench: Bench, bind: Bind) -> Files:
    """The contract as a peer gets it."""
    return await bind(Files, bench.files)


async def test_urls_become_pending_attachments_in_order(files: Files, bench: Bench) -> None:
    items = (UrlItem("https://example.org/a%20b/cat.png?x=1"), UrlItem("http://example.org/", "dog.jpg"))
    ids = await files.register_urls(base_id=bench.base_id, items=items, actor=ACTOR)
    assert len(set(ids)) == 2
    first, second = [await bench.row(attachment_id) for attachment_id in ids]
    assert first is not None and second is not None
    assert (first.state, first.source_url, first.filename) == ("pending", items[0].url, "cat.png")
    assert (second.state, second.source_url, second.filename) == ("pending", items[1].url, "dog.jpg")
    assert (first.created_by, first.created_at, first.content, first.record_id) == (ACTOR, NOW, None, None)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org", "file"),
        ("https://example.org/a/b/", "b"),
        ("https://example.org/%00%0a%2fc.txt", "c.txt"),
        ("https://example.org/%E2%82%AC.pdf", "€.pdf"),
    ],
)
async def test_a_name_is_taken_from_the_url(files: Files, bench: Bench, url: str, name: str) -> None:
    (made,) = await files.register_urls(base_id=bench.base_id, items=(UrlItem(url),), actor=ACTOR)
    row = await bench.row(made)
    assert row is not None and row.filename == name


@pytest.mark.parametrize(
    "item",
    [
        UrlItem("data:image/png;base64,AAAA"),
        UrlItem("ftp://example.org/a"),
        UrlItem("file:///etc/passwd"),
        UrlItem("https://"),
        UrlItem("https://[::1"),
        UrlItem("https://example.org:99999/"),
        UrlItem("https://example.org/" + "a" * 8_000),
        UrlItem("https://example.org/a\nb"),
        UrlItem(""),
        UrlItem("https://example.org/", "a" * (FILENAME_LENGTH_MAX + 1)),
        UrlItem("https://example.org/", "a\x00b"),
    ],
    ids=lambda item: item.url[:30],
)
async def test_what_cannot_be_fetched_is_refused_whole(files: Files, bench: Bench, item: UrlItem) -> None:
    good = UrlItem("https://example.org/good.png")
    with pytest.raises(InvalidAttachment) as caught:
        await files.register_urls(base_id=bench.base_id, items=(good, item), actor=ACTOR)
    assert (caught.value.status, caught.value.wire_type) == (422, "INVALID_ATTACHMENT_OBJECT")
    assert await bench.files.waiting() == 0


async def test_too_many_urls_are_refused(files: Files, bench: Bench) -> None:
    items = (UrlItem("https://example.org/"),) * (ITEMS_MAX + 1)
    with pytest.raises(InvalidAttachment):
        await files.register_urls(base_id=bench.base_id, items=items, actor=ACTOR)


async def test_bytes_are_there_at_once(files: Files, bench: Bench) -> None:
    made = await files.store_bytes(
        base_id=bench.base_id, filename="cat.txt", content_type="text/plain", data=PNG, actor=ACTOR
    )
    assert is_id("att", made)
    row = await bench.row(made)
    assert row is not None and row.content is not None
    assert (row.state, row.filename, row.source_url) == ("stored", "cat.txt", None)
    assert (row.content.size, row.content.type) == (len(PNG), "image/png")
    assert row.content.content_hash == hashlib.sha256(PNG).hexdigest()


async def test_equal_bytes_are_kept_once(files: Files, bench: Bench) -> None:
    made = [
        await files.store_bytes(base_id=bench.base_id, filename=name, content_type=None, data=b"same", actor=ACTOR)
        for name in ("a.txt", "b.csv")
    ]
    rows = [await bench.row(attachment_id) for attachment_id in made]
    assert len(set(made)) == 2
    assert [row.content.type for row in rows if row and row.content] == ["text/plain", "text/csv"]
    digest = hashlib.sha256(b"same").hexdigest()
    assert bench.objects() == [f"contents/{digest[:2]}/{digest}"]


async def test_empty_bytes_are_a_file(files: Files, bench: Bench) -> None:
    made = await files.store_bytes(base_id=bench.base_id, filename="empty", content_type=None, data=b"", actor=ACTOR)
    row = await bench.row(made)
    assert row is not None and row.content is not None
    assert (row.content.size, row.content.type) == (0, "text/plain")


async def test_too_many_bytes_are_refused(files: Files, bench: Bench) -> None:
    data = b"\x00" * (STORED_BYTES_MAX + 1)
    with pytest.raises(BodyTooLarge):
        await files.store_bytes(base_id=bench.base_id, filename="a", content_type=None, data=data, actor=ACTOR)
    assert bench.objects() == []


@pytest.mark.parametrize("name", ["", "a\x00", "a\nb", "a" * (FILENAME_LENGTH_MAX + 1)])
async def test_names_that_are_no_names_are_refused(files: Files, bench: Bench, name: str) -> None:
    with pytest.raises(InvalidAttachment):
        await files.store_bytes(base_id=bench.base_id, filename=name, content_type=None, data=b"x", actor=ACTOR)
    assert bench.objects() == []


async def test_a_base_that_is_not_there_is_refused(files: Files, bench: Bench) -> None:
    with pytest.raises(NotPermittedOrNotFound):
        await files.register_urls(base_id=MISSING, items=(UrlItem("https://example.org/"),), actor=ACTOR)
    with pytest.raises(NotPermittedOrNotFound):
        await files.store_bytes(base_id=MISSING, filename="a", content_type=None, data=b"x", actor=ACTOR)
    assert bench.objects() == []
    assert await bench.files.waiting() == 0
