"""A delimited text file as chunks of columns, in bounded memory.

A chunk is some hundred rows. Everything after this works on whole columns: one call for each cell in Python would cost
more than PostgreSQL needs to take the row in.
"""

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from pyat.recordstore.tabular.errors import FileRefused

BLOCK_BYTES = 64 * 1024
"""How much is read at a time, which makes a chunk: small enough to convert in about a millisecond."""

CELL_CHARACTERS_MAX = 1_000_000
"""A longer cell is nearly always a quote that is never closed. Shorter ones that a field cannot hold are rejected alone."""

LINE_CHARACTERS_MAX = 16_000_000
ROW_CHARACTERS_MAX = 64_000_000


_END = "\x00end\n"
"""Given to the parser as the last line: it comes back as a row of its own unless a quote is still open."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file and how to read it, as `sniff` found out."""

    path: Path
    size_bytes: int
    encoding: str
    delimiter: str
    quote: str
    header: tuple[str, ...]
    """The column names: not blank and unique without regard to case."""
    skips_space: bool = False
    """True where every delimiter is followed by a blank that is not part of the cell."""
    line_end: str = "\n"
    """`\\n` (which covers `\\r\\n`) or `\\r`."""
    lines_before: int = 0
    """Lines before the header: blank ones, or the `sep=;` that spreadsheets write."""


@dataclass(frozen=True, slots=True)
class WideRow:
    """A row with more cells than the header has."""

    place: int
    """Among the parser's rows of its chunk; see `Chunk.line_of`."""
    cells: int
    excerpt: str


class Chunk:
    """Rows that were read together, as columns."""

    __slots__ = ("_kept", "_line_breaks", "_raw", "_starts_line", "columns", "rows", "wide_rows")

    def __init__(self, raw: list[list[str]], *, width: int, starts_line: int) -> None:
        """`raw` are the parser's rows from the file's line `starts_line` on.

        Blank lines are left out, missing cells are blank, and a row with more cells than columns is set apart.
        """
        self._raw = raw
        self._starts_line = starts_line
        self._kept: list[int] | None = None
        self._line_breaks: list[int] | None = None
        self.wide_rows: list[WideRow] = []
        rows = raw if set(map(len, raw)) == {width} else self._even(width)
        self.rows = len(rows)
        self.columns: Sequence[Sequence[str]] = tuple(zip(*rows, strict=True)) if rows else ((),) * width

    def _even(self, width: int) -> list[list[str]]:
        rows: list[list[str]] = []
        self._kept = []
        for place, row in enumerate(self._raw):
            cells = len(row)
            if cells > width and any(cell.strip() for cell in row[width:]):
                self.wide_rows.append(WideRow(place, cells, " | ".join(row[: width + 3])))
            elif cells > 1 or cells == width or "".join(row).strip():
                rows.append(row[:width] + [""] * (width - cells))
                self._kept.append(place)
        return rows

    def place_of(self, row: int) -> int:
        """The place among all rows read, left out or not, of a row of `columns`."""
        return row if self._kept is None else self._kept[row]

    def line_of(self, place: int) -> int:
        """The file's line, from 1, in which the row at `place` starts."""
        if self._line_breaks is None:
            # Line breaks inside cells, summed up once.
            breaks = (sum(cell.count("\n") for cell in row) for row in self._raw)
            self._line_breaks = list(accumulate(breaks, initial=0))
        return self._starts_line + place + self._line_breaks[place]


class Reader:
    """Reads a source once, from its first row after the header. A context manager."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._file: BinaryIO | None = None
        self._given = 0
        self._chunk_start = 0
        self.bytes_done = 0
        """How far the file has been read, for progress."""

    def __enter__(self) -> Self:
        try:
            self._file = self.source.path.open("rb")
        except OSError as error:
            raise FileRefused(f"{self.source.path} cannot be read: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def chunks(self) -> Iterator[Chunk]:
        """The file's rows in order, in chunks of about a block. Raises FileRefused."""
        source = self.source
        width = len(source.header)
        # The module's limit holds for the whole process; it is only ever raised here.
        csv.field_size_limit(max(csv.field_size_limit(), CELL_CHARACTERS_MAX))
        lines = chain(chain.from_iterable(map(_lines, self._texts())), (_END,))
        parser = csv.reader(
            lines, delimiter=source.delimiter, quotechar=source.quote, skipinitialspace=source.skips_space
        )
        before = source.lines_before
        raw: list[list[str]] = []
        try:
            for _ in range(before):
                next(lines, None)
            next(parser, None)
            starts_line = before + parser.line_num + 1
            end = self._given
            for row in parser:
                raw.append(row)
                if self._given > end and not _is_end(row):
                    yield Chunk(raw, width=width, starts_line=starts_line)
                    raw = []
                    starts_line = before + parser.line_num + 1
                    self._chunk_start = end = self._given
        except csv.Error as error:
            raise self._unparsable(error, line=before + parser.line_num) from error
        except UnicodeError as error:
            raise FileRefused(
                f"{source.path.name} changed while it was read: it is not {source.encoding} now."
            ) from error
        if raw and not _is_end(raw[-1]):
            # The open cell has swallowed every line end up to the last one.
            line = before + parser.line_num + 1 - sum(cell.count("\n") for cell in raw[-1])
            raise FileRefused(f"A quote ({source.quote}) that opens in line {line} is never closed.", line=line)
        if len(raw) > 1:
            yield Chunk(raw[:-1], width=width, starts_line=starts_line)

    def _texts(self) -> Iterator[str]:
        """The file's text in pieces of whole lines; the last line may lack its end."""
        assert self._file is not None, "a reader is used inside `with`"
        name, line_end = self.source.path.name, self.source.line_end
        decoder = codecs.getincrementaldecoder(self.source.encoding)("strict")
        rest = ""
        is_first = True
        is_last = False
        while not is_last:
            block = self._file.read(BLOCK_BYTES)
            is_last = not block
            text = decoder.decode(block, final=is_last)
            self.bytes_done += len(block)
            if is_first and text:
                text = text.removeprefix("\ufeff")
                is_first = False
            text = rest + text
            cut = len(text) if is_last else text.rfind(line_end) + 1
            rest = text[cut:]
            if len(rest) > LINE_CHARACTERS_MAX:
                raise FileRefused(f"{name} has a line of more than {LINE_CHARACTERS_MAX:,} characters.")
            if cut:
                self._given += cut
                if self._given - self._chunk_start > ROW_CHARACTERS_MAX:
                    raise FileRefused(f"{name} has a row of more than {ROW_CHARACTERS_MAX:,} characters.")
                yield text[:cut].replace("\r", "\n") if line_end == "\r" else text[:cut]

    def _unparsable(self, error: csv.Error, *, line: int) -> FileRefused:
        text = str(error)
        if "field limit" in text:
            reason = (
                f"The cell that ends in or after line {line} is longer than {CELL_CHARACTERS_MAX:,} characters."
                f" A quote ({self.source.quote}) before it may not be closed."
            )
        elif "new-line" in text:
            reason = f"Line {line} holds a carriage return in a cell without quotes."
        else:
            reason = f"Line {line} cannot be read: {text}."
        return FileRefused(reason, line=line)


def _lines(text: str) -> list[str]:
    """Lines, each with a line feed at its end. Nothing else ends a line here, unlike in `str.splitlines`."""
    lines = [line + "\n" for line in text.split("\n")]
    if text.endswith("\n"):
        lines.pop()
    return lines


def _is_end(row: list[str]) -> bool:
    return len(row) == 1 and row[0] == _END[:-1]
