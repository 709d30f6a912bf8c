"""Worksheets (Office Open XML): written as a stream from rows that PostgreSQL has made, read in bounded memory.

Only what a table of values needs: one sheet; numbers, texts, booleans, dates. Formulas of a file count as what they show.
"""

import re
import threading
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.portions import PORTION_ROWS, Portion
from pyat.recordstore.tabular.sniff import unique_names

SHEET_ROWS_MAX = 1_048_576
"""Rows of a worksheet, the header among them."""
_UNZIPPED_BYTES_MAX = 8 * 1024**3
_SHARED_BYTES_MAX = 128 * 1024**2
"""Of the texts that cells share: they are kept in memory."""
_PART_BYTES_MAX = 16 * 1024**2
"""Of every other part but the sheet itself."""
_COLUMNS_MAX = 16_384
_BLOCK_BYTES = 64 * 1024
_CELL_LENGTH_MAX = 1_000_000
_PLAIN_ZIP_BYTES_MAX = 1536 * 1024**2

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
        '<sheets><sheet name="Records" sheetId="1" r:id="rId1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
    ),
    # Styles by number: 0 plain, 1 dates, 2 moments, 3 the header.
    "xl/styles.xml": (
        f'<styleSheet xmlns="{_MAIN}">'
        '<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
        '<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
        '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
        '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
        '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
        '<cellXfs count="4"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
        '<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        '<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>'
        '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/></cellXfs>'
        '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    ),
}


# Writing


class _Sink:
    """Takes what the archive writes until somebody sends it on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing below to tell."""

    def take(self) -> bytes:
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found


class SheetWriter:
    """A workbook of one sheet, made piece by piece; each call gives the bytes that are ready to be sent."""

    def __init__(self, names: Sequence[str], *, bytes_expected: int) -> None:
        """`names` are the header; `bytes_expected` is about how long the rows will be."""
        self._lock = threading.Lock()
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1)  # type: ignore[call-overload]
        for name, text in _PARTS.items():
            self._archive.writestr(name, _HEAD + text)
        # Some readers do not know the form for large archives, so it is used only where it has to be.
        self._sheet: IO[bytes] = self._archive.open(
            "xl/worksheets/sheet1.xml", "w", force_zip64=bytes_expected > _PLAIN_ZIP_BYTES_MAX
        )
        cells = (f'<c t="inlineStr" s="3"><is><t xml:space="preserve">{escape(name)}</t></is></c>' for name in names)
        header = f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData><row>{"".join(cells)}</row>'
        self._sheet.write(header.encode())

    def rows(self, text: bytes) -> bytes:
        """Add rows, as `exporting.xlsx` makes them."""
        with self._lock:
            self._sheet.write(text)
            return self._sink.take()

    def end(self) -> bytes:
        """The end of the file."""
        with self._lock:
            self._sheet.write(b"</sheetData></worksheet>")
        self.close()
        return self._sink.take()

    def close(self) -> None:
        """Let go of the archive, also of one that stays unfinished while a thread still writes to it."""
        with self._lock:
            self._sheet.close()
            self._archive.close()


# Reading

_DATE_FORMATS = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
"""Numbers of the built-in formats that show dates or times."""
_QUOTED = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')
_REFERENCE = re.compile(r"([A-Z]{1,3})[0-9]*")


class _Bounded:
    """Parts of an archive, read in blocks with a bound on all that is unzipped."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = _UNZIPPED_BYTES_MAX

    def blocks(self, name: str, *, bytes_max: int) -> Iterator[bytes]:
        """A part in pieces. Raises FileRefused where it is missing, broken or too large."""
        try:
            with self._archive.open(name) as file:
                while block := file.read(_BLOCK_BYTES):
                    bytes_max -= len(block)
                    self._left -= len(block)
                    if bytes_max < 0 or self._left < 0:
                        raise FileRefused(f"The workbook's part {name[:100]} is too large when it is unpacked.")
                    yield block
        except KeyError:
            raise FileRefused(f"The workbook has no part {name[:100]}.") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
            raise FileRefused(f"The workbook's part {name[:100]} cannot be unpacked.") from error
        except Exception as error:  # zlib.error and its like of the other methods share no base
            if type(error).__module__ in ("zlib", "lzma", "_lzma", "bz2"):
                raise FileRefused(f"The workbook's part {name[:100]} cannot be unpacked.") from error
            raise

    def has(self, name: str) -> bool:
        """Whether the archive has a part."""
        return name in self._archive.NameToInfo


class _Xml:
    """Feeds a part to expat; a document type, with which entities could grow without bound, is refused."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self.text

    def _doctype(self, *_: object) -> None:
        raise FileRefused("The workbook holds a document type, which no spreadsheet writes.")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.start(name.rpartition(" ")[2], attributes)

    def _end(self, name: str) -> None:
        self.end(name.rpartition(" ")[2])

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, text: str) -> None:
        """Characters, perhaps not all of them at once."""

    def feed(self, blocks: Iterator[bytes]) -> Iterator[None]:
        """Parse block by block. Raises FileRefused."""
        try:
            for block in blocks:
                self._parser.Parse(block, False)
                yield
            self._parser.Parse(b"", True)
            yield
        except expat.ExpatError as error:
            raise FileRefused(f"The workbook holds broken XML ({error}).") from None

    def read(self, blocks: Iterator[bytes]) -> None:
        """Parse all of it."""
        for _ in self.feed(blocks):
            pass


class _Workbook(_Xml):
    def __init__(self) -> None:
        super().__init__()
        self.sheet_id: str | None = None
        self.counts_from_1904 = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "sheet" and self.sheet_id is None and attributes.get("state", "visible") == "visible":
            self.sheet_id = attributes.get(f"{_OFFICE} id") or next(
                (value for key, value in attributes.items() if key.endswith(" id")), None
            )
        elif name == "workbookPr":
            self.counts_from_1904 = attributes.get("date1904") in ("1", "true")


class _Relations(_Xml):
    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Relationship":
            self.targets[attributes.get("Id", "")] = attributes.get("Target", "")


class _Styles(_Xml):
    """Which cell styles show numbers as dates."""

    def __init__(self) -> None:
        super().__init__()
        self._formats: set[int] = set(_DATE_FORMATS)
        self._in_cells = False
        self.are_dates: list[bool] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "numFmt":
            code = _QUOTED.sub("", attributes.get("formatCode", "")).lower()
            number = _whole(attributes.get("numFmtId"))
            (self._formats.add if set(code) & set("ymdhs") and code != "general" else self._formats.discard)(number)
        elif name == "cellXfs":
            self._in_cells = True
        elif name == "xf" and self._in_cells:
            self.are_dates.append(_whole(attributes.get("numFmtId")) in self._formats)

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._in_cells = False


class _Shared(_Xml):
    """The texts that cells refer to by number."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._pieces: list[str] = []
        self._is_text = False
        self._phonetic = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "si":
            self._pieces = []
        elif name == "rPh":
            self._phonetic += 1
        elif name == "t":
            self._is_text = not self._phonetic

    def end(self, name: str) -> None:
        if name == "si":
            self.texts.append("".join(self._pieces))
        elif name == "rPh":
            self._phonetic -= 1
        elif name == "t":
            self._is_text = False

    def text(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)


class _Sheet(_Xml):
    """Rows as lists of values; those that were parsed wait in `rows` with their numbers."""

    def __init__(self, shared: Sequence[str], are_dates: Sequence[bool], *, counts_from_1904: bool) -> None:
        super().__init__()
        self.rows: list[tuple[int, list[Any]]] = []
        self._shared = shared
        self._are_dates = are_dates
        self._start_of_time = datetime(1904, 1, 1) if counts_from_1904 else datetime(1899, 12, 30)  # noqa: DTZ001
        self._number = 0
        self._cells: list[Any] = []
        self._type = ""
        self._style = 0
        self._column = 0
        self._pieces: list[str] = []
        self._length = 0
        self._is_value = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            given = attributes.get("r")
            self._number = self._number + 1 if given is None else _whole(given)
            self._cells = []
        elif name == "c":
            found = _REFERENCE.match(attributes.get("r", ""))
            self._column = len(self._cells) if found is None else _column(found[1])
            if self._column >= _COLUMNS_MAX:
                raise FileRefused(f"Row {self._number} has more than {_COLUMNS_MAX:,} columns.", line=self._number)
            self._type = attributes.get("t", "n")
            self._style = _whole(attributes.get("s", "0"))
            self._pieces = []
            self._length = 0
        elif name in ("v", "t"):
            self._is_value = True

    def text(self, text: str) -> None:
        if self._is_value:
            self._length += len(text)
            if self._length > _CELL_LENGTH_MAX:
                raise FileRefused(f"A cell in row {self._number} is too long.", line=self._number)
            self._pieces.append(text)

    def end(self, name: str) -> None:
        if name in ("v", "t"):
            self._is_value = False
        elif name == "c":
            value = self._value("".join(self._pieces))
            if value is not None:
                self._cells += [None] * (self._column - len(self._cells))
                del self._cells[self._column :]
                self._cells.append(value)
            elif self._column >= len(self._cells):
                self._cells += [None] * (self._column + 1 - len(self._cells))
        elif name == "row" and any(value is not None for value in self._cells):
            self.rows.append((self._number, self._cells))

    def _value(self, text: str) -> Any:
        try:
            match self._type:
                case _ if not text:
                    return None
                case "s":
                    return self._shared[int(text)] or None
                case "b":
                    return text.strip() == "1"
                case "e":
                    return None
                case "n":
                    return self._number_of(float(text))
                case _:
                    return text
        except (ValueError, IndexError, OverflowError):
            raise FileRefused(f"A cell in row {self._number} is broken.", line=self._number) from None

    def _number_of(self, value: float) -> Any:
        if self._style < len(self._are_dates) and self._are_dates[self._style]:
            moment = self._start_of_time + timedelta(milliseconds=round(value * 86_400_000))
            return moment.date().isoformat() if value.is_integer() else f"{moment.isoformat(timespec='milliseconds')}Z"
        return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else 0


def _column(letters: str) -> int:
    found = 0
    for letter in letters:
        found = found * 26 + ord(letter) - 64
    return found - 1


def xlsx_portions(path: Path) -> Iterator[Portion]:
    """The first visible sheet of a workbook; its first row that is not empty has the names. Raises FileRefused.

    Dates are given as ISO texts. Memory grows with the texts that cells share, up to 128 MiB of them, and no further.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        raise FileRefused("It is not a workbook (.xlsx).") from None
    with archive:
        parts = _Bounded(archive)
        workbook, relations, styles, shared = _Workbook(), _Relations(), _Styles(), _Shared()
        workbook.read(parts.blocks("xl/workbook.xml", bytes_max=_PART_BYTES_MAX))
        relations.read(parts.blocks("xl/_rels/workbook.xml.rels", bytes_max=_PART_BYTES_MAX))
        if parts.has("xl/styles.xml"):
            styles.read(parts.blocks("xl/styles.xml", bytes_max=_PART_BYTES_MAX))
        if parts.has("xl/sharedStrings.xml"):
            shared.read(parts.blocks("xl/sharedStrings.xml", bytes_max=_SHARED_BYTES_MAX))
        target = relations.targets.get(workbook.sheet_id or "", "")
        name = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
        sheet = _Sheet(shared.texts, styles.are_dates, counts_from_1904=workbook.counts_from_1904)
        blocks = sheet.feed(parts.blocks(name, bytes_max=_UNZIPPED_BYTES_MAX))
        names: tuple[str, ...] = ()
        for _ in blocks:
            if not names and sheet.rows:
                names = unique_names(["" if cell is None else str(cell) for cell in sheet.rows.pop(0)[1]])
            while len(sheet.rows) >= PORTION_ROWS:
                rows, sheet.rows = sheet.rows[:PORTION_ROWS], sheet.rows[PORTION_ROWS:]
                yield _portion(names, rows)
        if not names:
            raise FileRefused("The sheet is empty.")
        if sheet.rows:
            yield _portion(names, sheet.rows)


def _portion(names: Sequence[str], rows: Sequence[tuple[int, list[Any]]]) -> Portion:
    width = len(names)
    for number, cells in rows:
        if any(cell is not None for cell in cells[width:]):
            raise FileRefused(f"Row {number} has cells beyond the columns of the header.", line=number)
    columns = {
        name: [cells[place] if place < len(cells) else None for _, cells in rows] for place, name in enumerate(names)
    }
    return Portion([number for number, _ in rows], columns)
