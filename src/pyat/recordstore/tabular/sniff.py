"""What a text file is: its encoding, delimiter, quotes and column names.

The encoding is checked over the whole file, which costs a small part of what loading costs, so that a broken byte in
the last line is found before anything is written.
"""

import codecs
import csv
import io
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.source import CELL_CHARACTERS_MAX, Source

SIZE_BYTES_MAX = 4 * 1024**3
COLUMNS_MAX = 500
"""Airtable's bound on the fields of a table."""

NAME_LENGTH_MAX = 255

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}

_HEAD_BYTES = 256 * 1024
_HEAD_ROWS = 500
_BLOCK_BYTES = 256 * 1024

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; save the sheet as CSV first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV first"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\x00", "a SQLite database; export its tables as CSV first"),
    (b"PAR1", "a Parquet file; export it as CSV first"),
)
# Control characters that text does not hold: all but tab, line feed, form feed, carriage return, DOS's end, escape.
_CONTROLS = bytes(byte for byte in range(32) if byte not in (0x09, 0x0A, 0x0C, 0x0D, 0x1A, 0x1B))
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_QUOTED_BY_APOSTROPHE = re.compile(r"(?:^|[,;\t|])\s?'[^'\n]*'(?=[,;\t|]|\r?$)", re.MULTILINE)


def sniff(path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> Source:
    """Look at a file; what is declared wins over what it looks like. Reads all of it once. Raises FileRefused.

    `encoding` is any name Python knows for a text encoding; `delimiter` is one character or a name such as `tab`.
    """
    with _opened(path) as file:
        size_bytes = _checked_size(path, file)
        head = file.read(_HEAD_BYTES)
        _refuse_other_formats(path, head)
        if encoding is None:
            found = _sniffed_encoding(path, file, head)
        else:
            found = _known_encoding(encoding)
            _check_bytes(path, file, found)
    text = codecs.getincrementaldecoder(found)("strict").decode(head).removeprefix("\ufeff")
    if "\x00" in text:
        raise FileRefused(_binary(path))
    line_end = "\n" if "\n" in text or "\r" not in text else "\r"
    if line_end == "\r":
        text = text.replace("\r", "\n")
    if size_bytes > len(head):
        # The last line of the head is cut off somewhere.
        text = text[: text.rfind("\n") + 1] or text
    lines_before, separator, text = _skip_preamble(text)
    if not text:
        raise FileRefused(f"{path.name} has no header line.")
    given = _known_delimiter(delimiter) if delimiter is not None else separator
    shape = _shape(text, given)
    header = unique_names(shape.rows[0])
    if len(header) > COLUMNS_MAX:
        raise FileRefused(f"{path.name} has {len(header):,} columns; a table holds at most {COLUMNS_MAX}.")
    return Source(
        path=path,
        size_bytes=size_bytes,
        encoding=found,
        delimiter=shape.delimiter,
        quote=shape.quote,
        header=header,
        skips_space=shape.skips_space,
        line_end=line_end,
        lines_before=lines_before,
    )


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Field names from a header: one line each, blank ones `Field 3`, repeated ones `Name 2`.

    Names are unique without regard to case, as field names are. A name that stands in the header itself is never taken
    by a repeated one.
    """
    clean = [" ".join(name.split())[:NAME_LENGTH_MAX] for name in names]
    reserved = {name.casefold() for name in clean}
    taken: set[str] = set()
    unique = []
    for place, name in enumerate(clean, 1):
        if not name:
            found = _numbered("Field", place, taken | reserved)
        elif name.casefold() in taken:
            found = _numbered(name, 2, taken | reserved)
        else:
            found = name
        taken.add(found.casefold())
        unique.append(found)
    return tuple(unique)


def _numbered(name: str, number: int, taken: set[str]) -> str:
    while True:
        found = f"{name[: NAME_LENGTH_MAX - 6]} {number}"
        if found.casefold() not in taken:
            return found
        number += 1


# The file and its bytes


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise FileRefused(f"There is no file {path}.") from error
    except IsADirectoryError as error:
        raise FileRefused(f"{path} is a directory, not a file.") from error
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}.") from error


def _checked_size(path: Path, file: BinaryIO) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{path} is not a regular file; the import reads it more than once.")
    if status.st_size == 0:
        raise FileRefused(f"{path.name} is empty.")
    if status.st_size > SIZE_BYTES_MAX:
        raise FileRefused(
            f"{path.name} is {status.st_size / 1024**3:.1f} GiB large; an import takes at most"
            f" {SIZE_BYTES_MAX // 1024**3} GiB. Split it into several files."
        )
    return status.st_size


def _refuse_other_formats(path: Path, head: bytes) -> None:
    for start, what in _OTHER_FORMATS:
        if head.startswith(start):
            raise FileRefused(f"{path.name} is not a text file: it is {what}.")


def _binary(path: Path) -> str:
    return (
        f"{path.name} holds NUL characters, so it is not a text file, or it is in an encoding that has to be named"
        " (such as utf-16-le)."
    )


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        yield block


def _sniffed_encoding(path: Path, file: BinaryIO, head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            _check_bytes(path, file, encoding)
            return encoding
    with suppress(_BrokenBytes):
        _check_bytes(path, file, "utf-8")
        return "utf-8"
    # What follows has a character for nearly every byte, so it has to look like text otherwise.
    if len(head.translate(None, _CONTROLS)) < 0.99 * len(head):
        raise FileRefused(f"{path.name} is not a text file: it is full of control characters.")
    with suppress(_BrokenBytes):
        _check_bytes(path, file, "cp1252")
        return "cp1252"
    _check_bytes(path, file, "latin-1")
    return "latin-1"


class _BrokenBytes(FileRefused):
    """Bytes that the encoding does not have."""


def _check_bytes(path: Path, file: BinaryIO, encoding: str) -> None:
    """Decode the whole file. Raises FileRefused with the line and the byte offset of what cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    # In every other encoding a zero byte is a NUL character, and bytes are searched faster.
    is_wide = encoding.startswith(("utf-16", "utf-32"))
    offset = 0
    for block in chain(_blocks(file), (b"",)):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            offset += error.start - pending
            line = _line_at(file, encoding, offset)
            wrong = error.object[error.start : error.start + 4].hex(" ")
            raise _BrokenBytes(
                f"{path.name} is not {encoding}: line {line:,}, byte offset {offset:,}, bytes {wrong} ({error.reason}).",
                line=line,
                byte_offset=offset,
            ) from error
        except UnicodeError as error:
            raise _BrokenBytes(f"{path.name} is not {encoding}: {error}.") from error
        if ("\x00" in text) if is_wide else (b"\x00" in block):
            raise FileRefused(_binary(path))
        offset += len(block)


def _line_at(file: BinaryIO, encoding: str, offset: int) -> int:
    """The line, from 1, of the first byte that cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    feeds = returns = 0
    for block in _blocks(file):
        text = decoder.decode(block[:offset])
        feeds += text.count("\n")
        returns += text.count("\r")
        offset -= len(block)
        if offset <= 0:
            break
    return (feeds or returns) + 1


def _known_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        # Some codecs of Python turn bytes into bytes.
        is_text = found.incrementaldecoder is not None and isinstance(codecs.decode(b"", found.name), str)
    except (LookupError, TypeError, ValueError):
        is_text = False
    if not is_text:
        raise FileRefused(f"{name!r} is not an encoding; examples are utf-8, utf-16, cp1252 and latin-1.")
    return "utf-8" if found.name == "utf-8-sig" else found.name


def _known_delimiter(text: str) -> str:
    delimiter = DELIMITER_NAMES.get(text.lower(), text)
    if len(delimiter) != 1 or delimiter in "\"'\r\n\x00 ":
        raise FileRefused(f"{text!r} cannot be a delimiter; give one character, or comma, semicolon, tab or pipe.")
    return delimiter


# Lines and cells


def _skip_preamble(text: str) -> tuple[int, str | None, str]:
    """Lines before the header, the delimiter that `sep=;` declares, and the text from the header on."""
    lines = 0
    separator = None
    while text:
        line, end, rest = text.partition("\n")
        declared = _SEPARATOR_LINE.fullmatch(line) if separator is None else None
        if declared is not None and (end or rest):
            separator = declared[1]
        elif line.strip():
            break
        lines += 1
        text = rest
    return lines, separator, text


@dataclass(frozen=True, slots=True)
class _Shape:
    delimiter: str
    quote: str
    skips_space: bool
    rows: list[list[str]]
    score: float


def _shape(text: str, delimiter: str | None) -> _Shape:
    """The delimiter and quotes under which the rows of `text` are most alike."""
    delimiters = DELIMITERS if delimiter is None else (delimiter,)
    # Apostrophes are everywhere in text; as quotes they count only in a file that has no others.
    is_by_apostrophe = '"' not in text and len(_QUOTED_BY_APOSTROPHE.findall(text)) >= max(2, text.count("\n"))
    quotes = "'" if is_by_apostrophe else '"'
    shapes = [_tried(text, each, quote) for quote in quotes for each in delimiters]
    best = max(shapes, key=lambda shape: shape.score)
    if any(row for row in best.rows):
        return best
    raise FileRefused("The file has no header line.")


def _tried(text: str, delimiter: str, quote: str) -> _Shape:
    rows = _parsed(text, delimiter, quote, skips_space=False)
    skips_space = _follows_space(rows)
    if skips_space:
        rows = _parsed(text, delimiter, quote, skips_space=True)
    return _Shape(delimiter, quote, skips_space, rows, _score(rows, quote))


def _parsed(text: str, delimiter: str, quote: str, *, skips_space: bool) -> list[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), CELL_CHARACTERS_MAX))
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, quotechar=quote, skipinitialspace=skips_space)
    rows: list[list[str]] = []
    # What was read before a fault says enough here; the reader of the whole file reports the place.
    with suppress(csv.Error):
        rows.extend(islice(reader, _HEAD_ROWS))
    return [row for row in rows if row] or [[]]


def _follows_space(rows: list[list[str]]) -> bool:
    cells = [cell for row in rows for cell in row[1:] if cell]
    return len(cells) >= 2 and all(cell.startswith(" ") and cell.strip() for cell in cells)


def _score(rows: list[list[str]], quote: str) -> float:
    """How much the rows look like a table with the first one's columns, from 0 to 1; next to nothing for one column."""
    width = len(rows[0])
    body = rows[1:]
    widths = Counter(map(len, body))
    alike = widths[width] / len(body) if body else 1.0
    if width < 2:
        return alike / 1000
    if not body:
        return 1 - 1 / width
    # Cells that are left out at the end of a line are common; cells too many are not.
    shorter = sum(count for each, count in widths.items() if each < width) / len(body)
    bare = sum(quote in cell for row in rows for cell in row) / sum(map(len, rows))
    return (0.05 + 0.95 * (alike + shorter / 4)) ** 2 * (1 - 1 / width) * (1 - bare / 2)
