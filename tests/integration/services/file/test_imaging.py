"""Thumbnails by real rendering processes, of pictures good, broken and hostile."""

import asyncio
import base64
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pillow_heif
import psutil
import pytest
from PIL import Image

from pyat.services.file.service.imaging import Rendered, Renderer

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{w}" height="{h}">{x}</svg>'


@pytest.fixture
async def renderer() -> AsyncIterator[Renderer]:
    made = Renderer()
    yield made
    await made.close()
    assert made.process_ids == ()


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 50).convert("RGB")


def sizes(rendered: Rendered) -> dict[str, tuple[int, int, str]]:
    for thumbnail in rendered.thumbnails.values():
        with Image.open(io.BytesIO(thumbnail.data)) as picture:
            assert picture.size == (thumbnail.width, thumbnail.height)
            assert picture.format is not None and f"image/{picture.format.lower()}" == thumbnail.type
            assert not picture.getexif()
    return {name: (one.width, one.height, one.type) for name, one in rendered.thumbnails.items()}


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(b"\0" * 1_000_000)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pdf(width: float, height: float) -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        + f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]>>endobj\n".encode()
        + b"trailer<</Root 1 0 R>>\n%%EOF"
    )


async def test_a_large_picture(renderer: Renderer, tmp_path: Path) -> None:
    noise(4000, 2000).save(tmp_path / "a", "JPEG")
    rendered = await renderer.render(tmp_path / "a", "image/jpeg")
    assert rendered is not None and (rendered.width, rendered.height) == (4000, 2000)
    assert sizes(rendered) == {
        "small": (72, 36, "image/jpeg"),
        "large": (512, 256, "image/jpeg"),
        "full": (3000, 1500, "image/jpeg"),
    }


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
        ("BMP", "image/bmp"),
        ("HEIF", "image/heic"),
    ],
)
async def test_forms(renderer: Renderer, tmp_path: Path, form: str, kind: str) -> None:
    pillow_heif.register_heif_opener()
    noise(60, 30).save(tmp_path / "a", form)
    rendered = await renderer.render(tmp_path / "a", kind)
    assert rendered is not None and (rendered.width, rendered.height) == (60, 30)
    assert sizes(rendered) == dict.fromkeys(("small", "large", "full"), (60, 30, "image/jpeg"))


async def test_clear_turned_deep_and_printed_pictures(renderer: Renderer, tmp_path: Path) -> None:
    Image.new("RGBA", (100, 50), (255, 0, 0, 0)).save(tmp_path / "clear", "PNG")
    clear = await renderer.render(tmp_path / "clear", "image/png")
    assert clear is not None and sizes(clear)["large"] == (100, 50, "image/webp")

    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "secret"
    noise(100, 50).save(tmp_path / "turned", "JPEG", exif=exif)
    turned = await renderer.render(tmp_path / "turned", "image/jpeg")
    assert turned is not None and (turned.width, turned.height) == (50, 100)
    assert sizes(turned)["full"] == (50, 100, "image/jpeg")
    assert b"secret" not in turned.thumbnails["full"].data

    Image.new("I;16", (40, 40), 0x8000).save(tmp_path / "deep", "PNG")
    deep = await renderer.render(tmp_path / "deep", "image/png")
    assert deep is not None
    with Image.open(io.BytesIO(deep.thumbnails["full"].data)) as picture:
        shade = picture.convert("L").getpixel((20, 20))
        assert isinstance(shade, int) and abs(shade - 128) <= 3

    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "printed", "JPEG")
    printed = await renderer.render(tmp_path / "printed", "image/jpeg")
    assert printed is not None
    with Image.open(io.BytesIO(printed.thumbnails["full"].data)) as picture:
        red, green, blue = picture.convert("RGB").resize((1, 1)).tobytes()
        assert red > 150 and green < 100 and blue < 100


async def test_a_moving_picture_gives_its_first_frame(renderer: Renderer, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (80, 40), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "a", "GIF", save_all=True, append_images=frames[1:])
    rendered = await renderer.render(tmp_path / "a", "image/gif")
    assert rendered is not None and (rendered.width, rendered.height) == (80, 40)
    assert sizes(rendered)["small"] == (72, 36, "image/jpeg")


async def test_a_document_has_small_and_large_only(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(pdf(595, 842))
    rendered = await renderer.render(tmp_path / "a", "application/pdf")
    assert rendered is not None and (rendered.width, rendered.height) == (None, None)
    assert sizes(rendered) == {"small": (25, 36, "image/jpeg"), "large": (362, 512, "image/jpeg")}


async def test_a_drawing_never_loads_what_it_names(renderer: Renderer, tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    Image.new("RGB", (100, 50), "red").save(tmp_path / "red.png")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        named = tmp_path / "red.png"
        images = [
            f'<image {attribute}="{target}" width="100" height="50"/>'
            for target in (f"http://127.0.0.1:{port}/a.png", named.as_uri(), "red.png", str(named), f" {named}")
            for attribute in ("xlink:href", "href")
        ]
        images.append(f'<image style="href: {named}; xlink:href: {named}" width="100" height="50"/>')
        images.append(f'<filter id="f"><feImage href="{named}"/></filter><rect filter="url(#f)" width="9" height="9"/>')
        images.append(f"<style>@import url({named.as_uri()}); image {{ href: url({named}) }}</style><image/>")
        for image in images:
            (tmp_path / "a.svg").write_text(SVG.format(w=100, h=50, x=image))
            rendered = await renderer.render(tmp_path / "a.svg", "image/svg+xml")
            assert rendered is not None and (rendered.width, rendered.height) == (100, 50)
            with Image.open(io.BytesIO(rendered.thumbnails["full"].data)) as picture:
                assert picture.convert("RGBA").getpixel((50, 25)) == (0, 0, 0, 0)
    assert asked == []


def carried(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


async def shown(renderer: Renderer, path: Path, x: str) -> tuple[int, ...]:
    """The colour in the middle of a drawing of 100 x 50 pixels."""
    path.write_text(SVG.format(w=100, h=50, x=x))
    rendered = await renderer.render(path, "image/svg+xml")
    assert rendered is not None and (rendered.width, rendered.height) == (100, 50)
    with Image.open(io.BytesIO(rendered.thumbnails["full"].data)) as picture:
        colour = picture.convert("RGBA").getpixel((50, 25))
    assert isinstance(colour, tuple)
    return colour


async def test_a_drawing_shows_the_pictures_it_carries_unless_they_are_bombs(
    renderer: Renderer, tmp_path: Path
) -> None:
    good = io.BytesIO()
    Image.new("RGB", (100, 50), (0, 0, 255)).save(good, "PNG")
    image = '<image xlink:href="{}" width="100" height="50"/>'
    red, green, blue, alpha = await shown(renderer, tmp_path / "a", image.format(carried(good.getvalue())))
    assert red < 20 and green < 20 and blue > 230 and alpha == 255
    inner = base64.b64encode(SVG.format(w=9, h=9, x='<rect width="9" height="9"/>').encode()).decode()
    for target in (
        carried(png_header(50_000, 50_000)),
        carried(b"nothing"),
        f"data:image/svg+xml;base64,{inner}",
        f"data:image/png;base64,{inner}",
    ):
        assert await shown(renderer, tmp_path / "a", image.format(target)) == (0, 0, 0, 0), target[:60]


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="2in" height="1in"', (192, 96)),
        ('viewBox="0 0 40 20"', (40, 20)),
        ('viewBox="0 0 40 20" width="100%" height="100%"', (40, 20)),
        ('viewBox="0 0 40 20" width="80"', (80, 40)),
        ("", (300, 150)),
        ('width="6000" height="3000"', (6000, 3000)),
        ('width="-5" height="3"', None),
        ('width="0" height="3"', None),
    ],
)
async def test_sizes_of_drawings(
    renderer: Renderer, tmp_path: Path, attributes: str, size: tuple[int, int] | None
) -> None:
    text = f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}><rect width="9999" height="9999" fill="red"/></svg>'
    (tmp_path / "a").write_text(text)
    rendered = await renderer.render(tmp_path / "a", "image/svg+xml")
    assert (None if rendered is None else (rendered.width, rendered.height)) == size
    if rendered is not None:
        full = rendered.thumbnails["full"]
        assert max(full.width, full.height) == min(3000, max(rendered.width or 0, rendered.height or 0))


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("TIFF", "image/tiff"),
        ("AVIF", "image/avif"),
    ],
)
async def test_a_picture_of_a_turned_camera_is_upright_once(
    renderer: Renderer, tmp_path: Path, form: str, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (100, 50), "blue")
    picture.paste("red", (0, 0, 50, 50))
    picture.save(tmp_path / "a", form, exif=exif)
    rendered = await renderer.render(tmp_path / "a", kind)
    assert rendered is not None and (rendered.width, rendered.height) == (50, 100)
    with Image.open(io.BytesIO(rendered.thumbnails["full"].data)) as full:
        assert full.size == (50, 100)
        above, below = full.convert("RGB").getpixel((25, 20)), full.convert("RGB").getpixel((25, 80))
    assert isinstance(above, tuple) and isinstance(below, tuple)
    assert above[0] > 200 > 50 > above[2] and below[2] > 200 > 50 > below[0]


async def test_palettes_and_single_bits(renderer: Renderer, tmp_path: Path) -> None:
    for mode, colour, wanted in (("P", 1, None), ("1", 1, 255), ("L", 77, 77), ("LA", (77, 255), 77), ("I;16", 257, 1)):
        picture = Image.new(mode, (40, 40), colour)
        if mode == "P":
            picture.putpalette([0, 0, 0, 10, 200, 30])
        picture.save(tmp_path / "a", "PNG")
        rendered = await renderer.render(tmp_path / "a", "image/png")
        assert rendered is not None and rendered.thumbnails["full"].type == "image/jpeg", mode
        with Image.open(io.BytesIO(rendered.thumbnails["full"].data)) as full:
            shade = full.convert("RGB").getpixel((20, 20))
        assert isinstance(shade, tuple)
        expected = (10, 200, 30) if wanted is None else (wanted, wanted, wanted)
        assert all(abs(one - other) <= 4 for one, other in zip(shade, expected, strict=True)), (mode, shade)


async def test_hostile_and_broken_files_are_no_pictures_and_cost_the_parent_nothing(
    renderer: Renderer, tmp_path: Path
) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 10_000_000)
    photo = io.BytesIO()
    noise(400, 400).save(photo, "JPEG")
    entity = '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SVG.format(w=9, h=9, x="<text>&x;</text>")
    cases = {
        "image/png": [png_header(50_000, 50_000), png_header(60_000, 1_000), zipped.getvalue(), photo.getvalue(), b""],
        "image/jpeg": [photo.getvalue()[:5000]],
        "image/svg+xml": [
            SVG.format(w=10**9, h=10**9, x="").encode(),
            SVG.format(w=9, h=9, x="<g>" * 100_000 + "</g>" * 100_000).encode(),
            entity.encode(),
        ],
        "application/pdf": [pdf(10**7, 10**7), b"%PDF-1.4 nothing"],
        "image/heic": [photo.getvalue()],
        "text/plain": [b"hello"],
    }
    # What is resident now, not the peak: tests before this one raised the peak, so it could hide growth.
    parent = psutil.Process()
    before = highest = parent.memory_info().rss
    for kind, contents in cases.items():
        for number, content in enumerate(contents):
            path = tmp_path / "case"
            path.write_bytes(content)
            assert await renderer.render(path, kind) is None, (kind, number)
            highest = max(highest, parent.memory_info().rss)
    print(f"the parent grew by {(highest - before) // 1024} KiB")
    assert highest - before < 16 * 1024 * 1024
    noise(60, 30).save(tmp_path / "a", "PNG")
    assert await renderer.render(tmp_path / "a", "image/png") is not None


async def test_a_process_is_killed_in_the_middle_of_its_work(tmp_path: Path) -> None:
    # Each level draws the one below it twice.
    levels = "".join(f'<g id="g{n}"><use href="#g{n - 1}"/><use href="#g{n - 1}"/></g>' for n in range(1, 16))
    leaf = '<g id="g0"><rect width="2000" height="2000" opacity="0.5" filter="url(#f)"/></g>'
    turbulence = '<filter id="f"><feTurbulence baseFrequency="0.9" numOctaves="20"/></filter>'
    (tmp_path / "slow").write_text(SVG.format(w=2000, h=2000, x=turbulence + leaf + levels))
    (tmp_path / "quick").write_text(SVG.format(w=20, h=20, x=""))
    renderer = Renderer(timeout_ms=500)
    # A start on a busy machine may take longer than that; only a process that works already proves anything.
    while await renderer.render(tmp_path / "quick", "image/svg+xml") is None:
        await asyncio.sleep(0)
    (process_id,) = renderer.process_ids
    assert await renderer.render(tmp_path / "slow", "image/svg+xml") is None
    assert renderer.process_ids == (), "what is only refused keeps its process"
    assert not psutil.pid_exists(process_id)
    await renderer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit of memory")
async def test_a_picture_that_needs_more_memory_than_there_is_has_no_thumbnails(tmp_path: Path) -> None:
    Image.new("RGB", (8000, 8000), "red").save(tmp_path / "large", "PNG")
    noise(60, 30).save(tmp_path / "small", "PNG")
    tight, roomy = Renderer(memory_bytes_max=256 * 1024 * 1024), Renderer()
    try:
        assert await tight.render(tmp_path / "small", "image/png") is not None
        assert await tight.render(tmp_path / "large", "image/png") is None
        assert await tight.render(tmp_path / "small", "image/png") is not None
        assert await roomy.render(tmp_path / "large", "image/png") is not None
    finally:
        await tight.close()
        await roomy.close()


async def test_a_process_that_died_is_replaced(renderer: Renderer, tmp_path: Path) -> None:
    noise(60, 30).save(tmp_path / "a", "PNG")
    assert await renderer.render(tmp_path / "a", "image/png") is not None
    (process_id,) = renderer.process_ids
    psutil.Process(process_id).kill()
    while psutil.pid_exists(process_id):
        await asyncio.sleep(0.01)
    assert await renderer.render(tmp_path / "a", "image/png") is not None


async def test_an_idle_process_ends(tmp_path: Path) -> None:
    noise(60, 30).save(tmp_path / "a", "PNG")
    renderer = Renderer(idle_ms=10)
    assert await renderer.render(tmp_path / "a", "image/png") is not None
    while renderer.process_ids:
        await asyncio.sleep(0.01)
    await renderer.close()
