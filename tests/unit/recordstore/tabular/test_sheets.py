"""Workbooks that another library writes, those that we write, and those that mean harm."""

import datetime
import io
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from pyat.recordstore.tabular import sheets
from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.sheets import SheetWriter, xlsx_portions


def rows_of(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line and cells of every row, blank cells left out."""
    found = []
    for portion in xlsx_portions(path):
        for place, line in enumerate(portion.lines):
            cells = {name: values[place] for name, values in portion.columns.items() if values[place] is not None}
            found.append((line, cells))
    return found


def saved(path: Path, *rows: list[Any], epoch_1904: bool = False) -> Path:
    """A workbook of openpyxl."""
    book = openpyxl.Workbook()
    if epoch_1904:
        book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def changed(path: Path, name: str, content: bytes, *, unlike: str = "") -> Path:
    """The same archive with another content of one part, which `name` adds where it is new."""
    target = path.with_name("changed.xlsx")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as output:
        for part in source.namelist():
            if part not in (name, unlike):
                output.writestr(part, source.read(part))
        output.writestr(name, content)
    return target


@pytest.mark.parametrize("epoch_1904", [False, True])
def test_values_come_with_their_types(tmp_path: Path, epoch_1904: bool) -> None:
    day, moment = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 10, 30, 15, 250_000)
    header = ["Text", "Number", "Whole", "Yes", "Day", "Moment", "Shared"]
    path = saved(
        tmp_path / "a.xlsx",
        [],
        header,
        ["a & <b>\n", 1.5, 3, True, day, moment, "same"],
        [],
        [None, -1e300, 2**60, False, None, None, "same"],
        epoch_1904=epoch_1904,
    )
    assert rows_of(path) == [
        (
            3,
            {
                "Text": "a & <b>\n",
                "Number": 1.5,
                "Whole": 3,
                "Yes": True,
                "Day": "2024-02-29",
                "Moment": "2024-02-29T10:30:15.250Z",
                "Shared": "same",
            },
        ),
        (5, {"Number": -1e300, "Whole": float(2**60), "Yes": False, "Shared": "same"}),
    ]


def test_many_rows_come_in_portions(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.xlsx", ["A"], *([number] for number in range(2_500)))
    portions = list(xlsx_portions(path))
    assert [len(portion.lines) for portion in portions] == [1000, 1000, 500]
    assert [value for portion in portions for value in portion.columns["A"]] == list(range(2_500))


def test_what_we_write_is_read(tmp_path: Path) -> None:
    writer = SheetWriter(["Name", "a<b"], bytes_expected=0)
    rows = b'<row><c t="inlineStr"><is><t xml:space="preserve"> x </t></is></c><c/></row>'
    path = tmp_path / "a.xlsx"
    path.write_bytes(writer.rows(rows) + writer.rows(b'<row><c/><c s="1"><v>45351</v></c></row>') + writer.end())
    assert rows_of(path) == [(2, {"Name": " x "}), (3, {"a<b": "2024-02-29"})]
    book = openpyxl.load_workbook(path)
    assert [list(row) for row in book.active.iter_rows(values_only=True)] == [
        ["Name", "a<b"],
        [" x ", None],
        [None, datetime.datetime(2024, 2, 29)],
    ]


def test_large_archives_have_their_own_form(tmp_path: Path) -> None:
    writer = SheetWriter(["Name"], bytes_expected=2**32)
    path = tmp_path / "a.xlsx"
    path.write_bytes(writer.rows(b"<row><c><v>1</v></c></row>") + writer.end())
    assert rows_of(path) == [(2, {"Name": 1})]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"Name,Age\n", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(content)
    with pytest.raises(FileRefused):
        rows_of(path)


SHEET = "xl/worksheets/sheet1.xml"
OPEN = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
CLOSE = b"</sheetData></worksheet>"
HEADER = b'<row r="1"><c r="A1" t="inlineStr"><is><t>A</t></is></c></row>'


@pytest.mark.parametrize(
    ("sheet", "said"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + OPEN + CLOSE, "document type"),
        (OPEN + HEADER, "broken XML"),
        (OPEN + CLOSE, "is empty"),
        (OPEN + HEADER + b'<row r="2"><c r="A2" t="s"><v>7</v></c></row>' + CLOSE, "row 2 is broken"),
        (OPEN + HEADER + b'<row r="2"><c r="A2"><v>many</v></c></row>' + CLOSE, "row 2 is broken"),
        (
            OPEN + HEADER + b'<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>1</v></c></row>' + CLOSE,
            "beyond the columns",
        ),
        (OPEN + HEADER + b'<row r="2"><c r="ZZZ2"><v>1</v></c></row>' + CLOSE, "more than 16,384 columns"),
        (OPEN + HEADER + b'<row><c t="str"><v>' + b"x" * 1_000_001 + b"</v></c></row>" + CLOSE, "too long"),
    ],
)
def test_bad_sheets_are_refused(tmp_path: Path, sheet: bytes, said: str) -> None:
    path = changed(saved(tmp_path / "a.xlsx", ["A"]), SHEET, sheet)
    with pytest.raises(FileRefused, match=said):
        rows_of(path)


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.xlsx", ["A"])
    for part in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels", SHEET):
        with pytest.raises(FileRefused, match="has no part"):
            rows_of(changed(path, "other", b"", unlike=part))


def test_an_archive_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both bounds hold for what comes out, whatever the archive's directory says; here they are small, to be quick."""
    monkeypatch.setattr(sheets, "_SHARED_BYTES_MAX", 1_000_000)
    path = changed(saved(tmp_path / "a.xlsx", ["A"], ["x"]), "xl/sharedStrings.xml", b"<sst>" + b" " * 5_000_000)
    assert path.stat().st_size < 50_000
    with pytest.raises(FileRefused, match="too large"):
        rows_of(path)
    monkeypatch.setattr(sheets, "_UNZIPPED_BYTES_MAX", 3_000_000)
    blank = b'<row r="2"><c r="A2"/></row>' * 200_000
    path = changed(saved(tmp_path / "a.xlsx", ["A"]), SHEET, OPEN + HEADER + blank + CLOSE)
    with pytest.raises(FileRefused, match="too large"):
        rows_of(path)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(saved(tmp_path / "a.xlsx", ["A"], ["x" * 1000]).read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = archive.getinfo(SHEET).header_offset + 60
    content[place : place + 20] = b"\xff" * 20
    path = tmp_path / "broken.xlsx"
    path.write_bytes(content)
    with pytest.raises(FileRefused, match=r"cannot be unpacked|broken XML"):
        rows_of(path)
