"""The type of a file comes from what it holds."""

import io
import zipfile

import pytest

from pyat.services.file.service.content_type import detect, is_inline_safe

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 40
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def zipped(*names: str, mimetype: str | None = None) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        if mimetype is not None:
            archive.writestr("mimetype", mimetype)
        for name in names:
            archive.writestr(name, b"x" * 10)
    return target.getvalue()


@pytest.mark.parametrize(
    ("head", "filename", "expected"),
    [
        (PNG, "a.png", "image/png"),
        (PNG, "page.html", "image/png"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "a.txt", "image/jpeg"),
        (b"GIF89a" + b"\0" * 30, "a", "image/gif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif", "a.jpg", "image/avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "a", "image/heic"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a", "image/heic"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + b"\0" * 30, "a.heic", "video/mp4"),
        (b"%PDF-1.7\n%\xe2\xe3", "a.png", "application/pdf"),
        (b"\0\1junk\n" + b"%PDF-1.7\n", "a", "application/pdf"),
        (b"\0" * 1024 + b"%PDF-1.7\n", "a.pdf", "application/octet-stream"),
        (PNG + b"%PDF-1.7\n", "a.pdf", "image/png"),
        (b"see %PDF-1.7\n", "a.pdf", "text/plain"),
        (b"hello", "a.png", "text/plain"),
        (b"hello", "a.svg", "text/plain"),
        (b"hello", "a.pdf", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"a,b\n1,2\n", "a.txt", "text/plain"),
        (b"\xef\xbb\xbfa,b\n", "a.CSV", "text/csv"),
        ("ä,b\n".encode("latin-1"), "a.csv", "text/csv"),
        ("a,b\n".encode("utf-16"), "a.csv", "text/csv"),
        (b'{"a": 1}', "a", "application/json"),
        (b"[1, 2]", "a.json", "application/json"),
        (b"not json", "a.json", "text/plain"),
        (b"", "a.png", "text/plain"),
        (SVG, "a.txt", "image/svg+xml"),
        (b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE svg [<!ENTITY a "b">]>' + SVG, "a", "image/svg+xml"),
        (b"<?xml version='1.0'?><feed/>", "a.svg", "application/xml"),
        (b"<!doctype html><p>x", "a.txt", "text/html"),
        (b"<!-- x --><script>alert(1)</script>", "a.csv", "text/html"),
        (b"hello <script src=x>", "a.txt", "text/html"),
        (b"<!DOCTYPE html>" + SVG, "a.svg", "text/html"),
        (b"<?xml version='1.0'?><html xmlns='x'/>", "a", "application/xhtml+xml"),
        (b"\0\1\2\3", "a.png", "application/octet-stream"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 20, "a.xls", "application/vnd.ms-excel"),
    ],
)
def test_types(head: bytes, filename: str, expected: str) -> None:
    assert detect(head, filename) == expected


def test_zip_archives() -> None:
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    text = "application/vnd.oasis.opendocument.text"
    assert detect(zipped("[Content_Types].xml", "xl/workbook.xml"), "a.docx") == sheet
    assert detect(zipped("[Content_Types].xml", "_rels/.rels"), "a.xlsx") == sheet
    assert detect(zipped("a.txt"), "a.docx") == "application/zip"
    assert detect(zipped("a.txt"), "a.png") == "application/zip"
    assert detect(zipped(mimetype=text), "a.zip") == text
    assert detect(zipped(mimetype="text/html"), "a.zip") == "application/zip"


def test_a_character_cut_by_the_end_of_the_head_is_still_text() -> None:
    assert detect("ä".encode() * 5000, "a.txt") == "text/plain"
    assert detect(b"x" + "ä".encode() * 5000, "a.txt") == "text/plain"


def test_hostile_markup_takes_no_longer_than_its_length() -> None:
    for head in (b"<!doctype " + b"[]" * 4000, b"<!--" * 2000, b"<?" * 4000, b"<!doctype " + b"[" * 8000):
        assert detect(head, "a") in {"text/plain", "text/html"}


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/xml", "text/javascript", "application/xhtml+xml"]
)
def test_what_can_hold_scripts_is_not_inline(kind: str) -> None:
    assert not is_inline_safe(kind)


def test_pictures_are_inline() -> None:
    assert all(map(is_inline_safe, ["image/png", "image/jpeg", "application/pdf", "text/plain"]))
