"""The media type of a file by what it holds; its name only settles what the content leaves open."""

import re
from pathlib import PurePath
from typing import Final

import filetype

UNKNOWN: Final = "application/octet-stream"
HEAD_BYTES: Final = 8192
"""How much of a file's beginning `detect` looks at; more is ignored."""
_PDF_MARK_BYTES: Final = 1024

_INLINE_SAFE: Final = frozenset(
    {
        "image/png",
        "image/apng",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/heic",
        "image/heif",
        "image/bmp",
        "image/tiff",
        "application/pdf",
        "text/plain",
        "text/csv",
        "audio/mpeg",
        "audio/ogg",
        "audio/x-wav",
        "audio/mp4",
        "audio/x-flac",
        "audio/aac",
        "video/mp4",
        "video/webm",
        "video/quicktime",
        "video/x-m4v",
    }
)
"""What a browser shows without running anything of it. SVG, HTML and XML can hold scripts."""

_ZIP_BY_ENDING: Final = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_ZIP_BY_FOLDER: Final = ((b"word/", ".docx"), (b"xl/", ".xlsx"), (b"ppt/", ".pptx"))
_ZIP_MIMETYPES: Final = frozenset(
    {
        "application/epub+zip",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.graphics",
    }
)
_OLE_BY_ENDING: Final = {
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".ppt": "application/vnd.ms-powerpoint",
    ".msg": "application/vnd.ms-outlook",
}
_TEXT_BY_ENDING: Final = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".md": "text/markdown",
    ".ics": "text/calendar",
    ".vcf": "text/vcard",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".html": "text/html",
    ".htm": "text/html",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".xhtml": "application/xhtml+xml",
}
"""Endings that text may claim: each is either shown as plain text would be, or is not shown inline at all."""

_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}
_ALIASES: Final = {
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
}
_HTML: Final = re.compile(
    r"<(?:!doctype\s+html|html|head|body|script|iframe|style|title|table|div|form|h1|a|br|p|b|img|font|meta|link|base"
    r"|embed|object|input|button|video|audio|frameset)(?:[\s>/]|$)",
    re.IGNORECASE,
)
_BEFORE_ROOT: Final = re.compile(
    r"\s*(?:<\?.*?\?>|<!--.*?-->|<!doctype[^\[>]*(?:\[[^\]]*\][^>]*)?>)", re.IGNORECASE | re.DOTALL
)
_ROOT: Final = re.compile(r"\s*<(?:[A-Za-z_][\w.-]{0,63}:)?([A-Za-z_][\w.-]{0,63})(?=[\s>/])")
_DOCTYPE_HTML: Final = re.compile(r"\s*<!doctype\s+html", re.IGNORECASE)
_JSON: Final = re.compile(r'\s*(?:\{\s*(?:"|\}|$)|\[\s*(?:["\[\{\]\d-]|true|false|null|$))')
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def detect(head: bytes, filename: str) -> str:
    """The media type, lower case, without parameters; `application/octet-stream` when nothing tells.

    `head` is the file's beginning; `HEAD_BYTES` of it are looked at. Text that could be HTML is `text/html` whatever
    its name, so that it is never shown inline; a name alone never makes a picture.
    """
    head = head[:HEAD_BYTES]
    ending = PurePath(filename).suffix.lower()
    if head[4:8] == b"ftyp":
        brand = _brand(head)
        if brand is not None:
            return brand
    if head.startswith(b"PK\x03\x04"):
        return _zip(head, ending)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _OLE_BY_ENDING.get(ending, "application/x-ole-storage")
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    text = _text(head)
    if text is not None:
        return _text_type(text, ending)
    kind = filetype.guess_mime(head)
    if isinstance(kind, str):
        return _ALIASES.get(kind, kind)
    # Readers of PDF find its mark after a little of anything else.
    return "application/pdf" if b"%PDF-" in head[:_PDF_MARK_BYTES] else UNKNOWN


def is_inline_safe(kind: str) -> bool:
    """Whether a browser may show this type in its place instead of saving it."""
    return kind in _INLINE_SAFE


def _brand(head: bytes) -> str | None:
    size = int.from_bytes(head[:4], "big")
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head), 256), 4))]
    named = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    # A file of general brand names its coding among the compatible ones.
    return next((kind for kind in named if kind != "image/heif"), named[0] if named else None)


def _zip(head: bytes, ending: str) -> str:
    names = _zip_names(head)
    first = head[30 : 30 + 8]
    if first == b"mimetype":
        start = 38 + int.from_bytes(head[28:30], "little")
        size = min(int.from_bytes(head[18:22], "little"), 100)
        named = head[start : start + size].decode("ascii", "replace")
        if named in _ZIP_MIMETYPES:
            return named
    for folder, known in _ZIP_BY_FOLDER:
        if any(name.startswith(folder) for name in names):
            return _ZIP_BY_ENDING[known]
    is_office = any(name in {b"[Content_Types].xml", b"_rels/.rels"} for name in names)
    return _ZIP_BY_ENDING.get(ending, "application/zip") if is_office else "application/zip"


def _zip_names(head: bytes) -> list[bytes]:
    """Names of the entries whose headers lie in the head; nothing is unpacked."""
    names, at = [], 0
    while (at := head.find(b"PK\x03\x04", at)) >= 0:
        size = int.from_bytes(head[at + 26 : at + 28], "little")
        names.append(head[at + 30 : at + 30 + size])
        at += 4
    return names


def _text(head: bytes) -> str | None:
    """The head as text, or None where it holds what text does not."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            text = head[: len(head) & ~1].decode("utf-16")
        except UnicodeDecodeError:
            return None
    else:
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            # The last character may be cut in two; anything else is an older coding, readable all the same.
            is_cut = problem.end >= len(head) - 3 and problem.reason == "unexpected end of data"
            if not is_cut and filetype.guess_mime(head) is not None:
                return None
            text = head.decode("utf-8-sig", "ignore") if is_cut else head.decode("latin-1")
            if not is_cut and sum(0x80 <= ord(c) < 0xA0 for c in text) * 20 > len(text):
                return None
    return None if _CONTROLS.search(text) else text


def _text_type(text: str, ending: str) -> str:
    if not text.strip():
        return _TEXT_BY_ENDING.get(ending, "text/plain") if ending in {".csv", ".tsv", ".md"} else "text/plain"
    kind = _markup(text)
    if kind is not None:
        return kind
    if text.startswith("{\\rtf"):
        return "application/rtf"
    if ending == ".json" or (ending not in _TEXT_BY_ENDING and _JSON.match(text)):
        return "application/json" if _JSON.match(text) else "text/plain"
    claimed = _TEXT_BY_ENDING.get(ending, "text/plain")
    # What is not marked up is no picture, whatever its name.
    return "text/plain" if claimed == "image/svg+xml" else claimed


def _markup(text: str) -> str | None:
    """HTML, SVG or XML; None for other text. HTML anywhere near the start counts: browsers once guessed so."""
    at = 0
    is_html = False
    is_xml = text.lstrip().startswith("<?xml")
    while (found := _BEFORE_ROOT.match(text, at)) is not None:
        is_html = is_html or _DOCTYPE_HTML.match(found[0]) is not None
        at = found.end()
    if is_html:
        return "text/html"
    root = _ROOT.match(text, at)
    name = root[1].lower() if root is not None else ""
    if name == "svg":
        return "image/svg+xml"
    if name == "html":
        return "application/xhtml+xml" if is_xml else "text/html"
    if is_xml:
        return "application/xml"
    if _HTML.search(text[:1024]):
        return "text/html"
    return None
