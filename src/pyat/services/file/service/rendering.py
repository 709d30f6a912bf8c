"""What runs in a rendering process: one request a line on standard input, one answer on standard output.

Started by `imaging` as a script, so it imports nothing of this project. Everything it reads is hostile: decoders are
named one by one, sizes are checked from headers before a pixel is decoded, and the process limits its own memory.
An answer is eight bytes of lengths (head, all thumbnails), the head as JSON, and the thumbnails' bytes one after
the other. A head without `thumbnails` says why there is none.
"""

import base64
import contextlib
import json
import math
import os
import re
import signal
import struct
import sys
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SMALL_HEIGHT: Final = 36
LARGE_SIDE: Final = 512
FULL_SIDE: Final = 3000
SIDE_MAX: Final = 65_500
PIXELS_MAX: Final = 120_000_000
PICTURE_BYTES_MAX: Final = 512 * 1024 * 1024
SVG_BYTES_MAX: Final = 8 * 1024 * 1024
SVG_DEPTH_MAX: Final = 256
QUALITY: Final = 85
# A page is measured in points, 72 an inch; screens show it at 96 pixels an inch.
PIXELS_PER_POINT: Final = 96 / 72

FORMATS: Final = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/apng": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/tiff": "TIFF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
    "image/bmp": "BMP",
    "image/jp2": "JPEG2000",
    "image/x-icon": "ICO",
    "image/vnd.microsoft.icon": "ICO",
}
"""Pictures, each with the one decoder allowed for it."""

SVG: Final = "image/svg+xml"
PDF: Final = "application/pdf"
TYPES: Final = frozenset({*FORMATS, SVG, PDF})
SVG_NAMESPACE: Final = "http://www.w3.org/2000/svg"
# What browsers give a drawing that says no size.
SVG_SIZE: Final = (300.0, 150.0)
PIXELS_PER_UNIT: Final = {
    "": 1.0,
    "px": 1.0,
    "in": 96.0,
    "cm": 96 / 2.54,
    "mm": 96 / 25.4,
    "pt": 96 / 72,
    "pc": 16.0,
    "em": 16.0,
    "ex": 8.0,
}
ORIENTATION: Final = 0x0112
LENGTHS: Final = struct.Struct(">II")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LENGTH: Final = re.compile(r"\+?(\d{0,12}\.?\d{1,12}(?:[eE][+-]?\d{1,2})?)(px|in|cm|mm|pt|pc|em|ex|%|)")
_NUMBER: Final = re.compile(r"[+-]?\d*\.?\d+(?:[eE][+-]?\d{1,2})?")
_CARRIED: Final = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,", re.IGNORECASE)


class Refused(Exception):
    """This file is not rendered; the message says why."""


def check_size(width: float, height: float) -> None:
    """Raises Refused for what is empty or would need too much memory."""
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX) or width * height > PIXELS_MAX:
        raise Refused(f"{width} x {height} pixels are too many or none")


def check_svg(data: bytes) -> None:
    """Raises Refused for entities, compressed bytes and deep nesting. Cost: one parse that keeps nothing."""
    from xml.parsers import expat

    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise Refused("no plain XML")
    parser = expat.ParserCreate()
    depth = 0

    def start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > SVG_DEPTH_MAX:
            raise Refused(f"nested deeper than {SVG_DEPTH_MAX}")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def entity(*_facts: Any) -> int:
        raise Refused("declares an entity")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.EntityDeclHandler = entity
    parser.ExternalEntityRefHandler = entity
    parser.Parse(data, True)


def render(path: Path, kind: str) -> tuple[dict[str, Any], list[bytes]]:
    """The head of an answer and its thumbnails. Raises whatever the libraries do with a broken file."""
    if path.stat().st_size > (SVG_BYTES_MAX if kind == SVG else PICTURE_BYTES_MAX):
        raise Refused("too many bytes")
    size: tuple[int, int] | tuple[None, None]
    sizes = {"small": (FULL_SIDE, SMALL_HEIGHT), "large": (LARGE_SIDE, LARGE_SIDE), "full": (FULL_SIDE, FULL_SIDE)}
    if kind == PDF:
        page, size = _page(path), (None, None)
        del sizes["full"]
    elif kind == SVG:
        page, size = _drawing(path)
    else:
        page, size = _picture(path, FORMATS[kind])
    is_clear = page.mode == "RGBA" and page.getchannel("A").getextrema() != (255, 255)
    if not is_clear:
        page = page.convert("RGB")
    # Encoders write comments and profiles that they find here.
    page.info = {}
    thumbnails, blobs = {}, []
    for name, box in sizes.items():
        scaled = page.copy()
        scaled.thumbnail(box, Image.Resampling.LANCZOS)
        with BytesIO() as target:
            if is_clear:
                scaled.save(target, "WEBP", quality=QUALITY)
            else:
                scaled.save(target, "JPEG", quality=QUALITY, optimize=True)
            blob = target.getvalue()
        form = "image/webp" if is_clear else "image/jpeg"
        thumbnails[name] = {"width": scaled.width, "height": scaled.height, "type": form, "bytes": len(blob)}
        blobs.append(blob)
    return {"width": size[0], "height": size[1], "thumbnails": thumbnails}, blobs


def _picture(path: Path, form: str) -> tuple[Image.Image, tuple[int, int]]:
    """The first frame upright, in sRGB, RGB or RGBA, at most as large as `full`; and its own size upright."""
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    with Image.open(path, formats=[form]) as opened:
        check_size(*opened.size)
        width, height = opened.size
        profile = opened.info.get("icc_profile")
        if form == "JPEG":
            # Decoded at a half, a fourth or an eighth where that is still large enough.
            scale = min(1.0, FULL_SIDE / max(width, height))
            opened.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))
        opened.load()
        turn = _orientation(opened)
        picture = _plain(opened)
        picture.thumbnail((FULL_SIDE, FULL_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    picture = _in_srgb(picture, profile)
    if turn in _TURNS:
        picture = picture.transpose(_TURNS[turn])
    return picture, (height, width) if turn >= 5 else (width, height)


def _orientation(picture: Image.Image) -> int:
    """How the camera was held, 1 to 8; 1 where that is not said or cannot be read."""
    # The metadata is broken far more often than the picture.
    with contextlib.suppress(Exception):
        turn = picture.getexif().get(ORIENTATION)
        if isinstance(turn, int) and 1 <= turn <= 8:
            return turn
    return 1


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be scaled: no palette, no more than 8 bits, transparency as a channel."""
    if picture.mode.startswith(("I", "F")):
        whole = picture if picture.mode in {"I", "F"} else picture.convert("I")
        most = 65_535.0 if picture.mode.startswith("I;16") else _brightest(whole)
        white = next((bound for bound in (1.0, 255.0, 65_535.0) if most <= bound), most)
        return whole.point(lambda value: value * (255 / white) + 0).convert("L")
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in {"RGB", "L", "CMYK", "LAB"}:
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _brightest(picture: Image.Image) -> float:
    most = picture.getextrema()[1]
    return 1.0 if isinstance(most, tuple) or not math.isfinite(most) else float(most)


def _in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    if profile and picture.mode in {"RGB", "RGBA", "L", "CMYK"}:
        from PIL import ImageCms

        # A profile that is broken or made for other colours than these counts as none.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            made = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if made is not None:
                return made
    return picture.convert(mode)


def _length(text: str | None, whole: float | None) -> float | None:
    """A length in pixels; `whole` is what a percentage is of. None when it is not said; 0 when it is nonsense."""
    if text is None:
        return None
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        return 0.0
    if found[2] == "%":
        return None if whole is None else whole * float(found[1]) / 100
    return float(found[1]) * PIXELS_PER_UNIT[found[2]]


def _svg_size(root: "Element") -> tuple[float, float]:
    """Width and height in pixels, by the root's own attributes."""
    box = [float(part) for part in _NUMBER.findall(root.get("viewBox", ""))]
    across, down = (box[2], box[3]) if len(box) == 4 and min(box[2:]) > 0 else (None, None)
    width, height = _length(root.get("width"), across), _length(root.get("height"), down)
    if across is None or down is None:
        return SVG_SIZE[0] if width is None else width, SVG_SIZE[1] if height is None else height
    if width is None:
        width = across if height is None else height * across / down
    return width, width * down / across if height is None else height


def _drawing(path: Path) -> tuple[Image.Image, tuple[int, int]]:
    """An SVG, at most as large as `full`; and its own size. Of what it names only pictures inside it are drawn."""
    from xml.etree import ElementTree

    import resvg_py

    data = path.read_bytes()
    check_svg(data)
    # Safe by the check before: there are no entities, and nothing nests deeply.
    root = ElementTree.fromstring(data)  # noqa: S314
    if root.tag != f"{{{SVG_NAMESPACE}}}svg":
        raise Refused("no SVG")
    width, height = _svg_size(root)
    check_size(width, height)
    _keep_inside(root)
    scale = min(1.0, FULL_SIDE / max(width, height))
    if "viewBox" not in root.attrib:
        root.set("viewBox", f"0 0 {width} {height}")
    root.set("width", str(width * scale))
    root.set("height", str(height * scale))
    has_text = root.find(f".//{{{SVG_NAMESPACE}}}text") is not None
    ElementTree.register_namespace("", SVG_NAMESPACE)
    drawn = resvg_py.svg_to_bytes(
        svg_string=ElementTree.tostring(root, encoding="unicode"), skip_system_fonts=not has_text
    )
    with Image.open(BytesIO(drawn), formats=["PNG"]) as opened:
        picture = opened.convert("RGBA")
    picture.thumbnail((FULL_SIDE, FULL_SIDE), Image.Resampling.LANCZOS)
    return picture, (max(1, round(width)), max(1, round(height)))


def _keep_inside(root: "Element") -> None:
    """Take away every reference but those to the drawing's own parts and to small pictures it carries itself.

    The library would open a file of any path that is named.
    """
    pixels = 0
    for element in root.iter():
        for name in [name for name in element.attrib if name.rpartition("}")[2] == "href"]:
            target = element.attrib[name].strip()
            if target.startswith("#"):
                continue
            carried = _carried_pixels(target)
            pixels += carried
            if carried == 0 or pixels > PIXELS_MAX:
                del element.attrib[name]


def _carried_pixels(target: str) -> int:
    """How many pixels a `data:` picture has; 0 for anything else, for what is too large, and for drawings."""
    found = _CARRIED.match(target)
    if found is None:
        return 0
    try:
        data = base64.b64decode("".join(target[found.end() :].split()), validate=True)
        with Image.open(BytesIO(data), formats=["PNG", "JPEG", "GIF", "WEBP"]) as picture:
            check_size(*picture.size)
            return picture.width * picture.height
    except Exception:
        # Whatever is wrong with it, it is not drawn.
        return 0


def _page(path: Path) -> Image.Image:
    """The first page of a PDF on white, fitting `large`."""
    import pypdfium2

    document = pypdfium2.PdfDocument(path)
    try:
        page = document[0]
        width, height = page.get_size()
        check_size(width, height)
        scale = min(LARGE_SIDE / width, LARGE_SIDE / height, PIXELS_PER_POINT)
        bitmap = page.render(scale=scale, rev_byteorder=True, may_draw_forms=False)
        # Copied, because the bitmap's memory ends with the document.
        picture: Image.Image = bitmap.to_pil().convert("RGB").copy()
        picture.thumbnail((LARGE_SIDE, LARGE_SIDE), Image.Resampling.LANCZOS)
        return picture
    finally:
        document.close()


def _prepare(memory_bytes_max: int) -> None:
    """Load the decoders, then limit what the process may take."""
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    # Also what a file says only within, such as the frames of an icon.
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.init()
    # A name without a folder is looked for here, where there are no files.
    os.chdir("/")
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes_max),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # macOS knows the first by name and refuses to set it.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))


def main(memory_bytes_max: int, timeout_s: int) -> None:
    """Answer requests until standard input ends."""
    _prepare(memory_bytes_max)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        # For the case that nobody is left to end this process.
        signal.alarm(timeout_s)
        blobs: list[bytes] = []
        try:
            head, blobs = render(Path(request["path"]), request["type"])
        except Exception as problem:
            head = {"problem": f"{type(problem).__name__}: {problem}"[:500]}
        signal.alarm(0)
        text = json.dumps(head).encode()
        answer = BytesIO()
        answer.write(LENGTHS.pack(len(text), sum(map(len, blobs))))
        answer.write(text)
        answer.writelines(blobs)
        answers.write(answer.getbuffer())
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
