"""Pictures get a size and thumbnails, which have URLs of their own and go with the picture."""

import io

from PIL import Image

from pyat.services.file.service.sweeping import CONTENT_KEPT
from tests.support.files import Bench, Client

ACTOR = "usr00000000000001"


def _picture(width: int = 900, height: int = 600, kind: str = "PNG") -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", (width, height), (200, 30, 30)).save(file, kind)
        return file.getvalue()


async def _stored(bench: Bench, data: bytes, filename: str) -> str:
    return await bench.files.store_bytes(
        base_id=bench.base_id, filename=filename, content_type=None, data=data, actor=ACTOR
    )


async def test_a_picture_has_a_size_and_thumbnails(bench: Bench, client: Client) -> None:
    made = await _stored(bench, _picture(), "red.png")
    row = await bench.row(made)
    assert row is not None and row.content is not None
    assert (row.content.width, row.content.height) == (900, 600)
    thumbnails = row.content.thumbnails
    assert thumbnails is not None and set(thumbnails) == {"small", "large", "full"}
    assert (thumbnails["small"]["height"], thumbnails["large"]["width"]) == (36, 512)
    for variant, thumbnail in thumbnails.items():
        answer = await client.send("GET", bench.url(made, variant))
        assert answer.status == 200
        assert answer.headers["content-type"] == thumbnail["type"]
        with Image.open(io.BytesIO(answer.body)) as image:
            assert image.size == (thumbnail["width"], thumbnail["height"])
        assert len(answer.body) == thumbnail["size"]


async def test_every_form_has_its_own_etag_and_url(bench: Bench, client: Client) -> None:
    made = await _stored(bench, _picture(), "red.png")
    variants = ("original", "small", "large", "full")
    etags = {(await client.send("HEAD", bench.url(made, variant))).headers["etag"] for variant in variants}
    assert len(etags) == len(variants)
    crossed = bench.url(made, "original").replace("/original/", "/small/")
    assert (await client.send("GET", crossed)).status == 403


async def test_the_same_picture_is_rendered_once(bench: Bench) -> None:
    data = _picture()
    first, second = await _stored(bench, data, "a.png"), await _stored(bench, data, "b.png")
    before = bench.objects()
    rows = [await bench.row(made) for made in (first, second)]
    assert rows[0] is not None and rows[1] is not None
    assert rows[0].content == rows[1].content
    assert len(before) == 4


async def test_what_only_looks_like_a_picture_has_no_thumbnails(bench: Bench) -> None:
    broken = _picture()[:200]
    row = await bench.row(await _stored(bench, broken, "broken.png"))
    assert row is not None and row.state == "stored" and row.content is not None
    assert (row.content.type, row.content.width, row.content.thumbnails) == ("image/png", None, {})


async def test_thumbnails_go_with_their_picture(bench: Bench) -> None:
    await _stored(bench, _picture(), "red.png")
    bench.later(days=2)
    await bench.sweeper.sweep()
    bench.later(seconds=CONTENT_KEPT.total_seconds() + 1)
    await bench.sweeper.sweep()
    assert bench.objects() == []
