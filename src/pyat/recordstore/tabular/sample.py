"""Rows to judge a file by: its beginning, and some from the rest, because files are often sorted."""

import csv
import io
from dataclasses import dataclass
from itertools import islice

from pyat.recordstore.tabular.source import Reader, Source

SMALL_BYTES = 512 * 1024
HEAD_ROWS = 2_000
SPOTS = 8
SPOT_BYTES = 64 * 1024
SPOT_ROWS = 250

_LINE_FEED_IS_A_BYTE = ("utf-8", "ascii", "cp125", "iso8859", "latin")


@dataclass(frozen=True, slots=True)
class Sample:
    """Cells by column. The first `head_rows` rows stand in the file one after the other."""

    columns: tuple[tuple[str, ...], ...]
    head_rows: int

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return len(self.columns[0])


def take_sample(source: Source) -> Sample:
    """All rows of a small file; else some 2,000 from its beginning and 8 times 250 from the rest. Raises FileRefused."""
    columns: list[list[str]] = [[] for _ in source.header]
    is_small = source.size_bytes <= SMALL_BYTES
    with Reader(source) as reader:
        for chunk in reader.chunks():
            for column, cells in zip(columns, chunk.columns, strict=True):
                column.extend(cells)
            if not is_small and len(columns[0]) >= HEAD_ROWS:
                break
    head_rows = len(columns[0])
    # A place in the middle of the file may lie inside quotes, so files with line breaks in cells are judged by their head.
    is_seekable = source.line_end == "\n" and source.encoding.startswith(_LINE_FEED_IS_A_BYTE)
    if is_seekable and not is_small and not any("\n" in cell for column in columns for cell in column):
        for rows in _spots(source):
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(cells)
    return Sample(tuple(map(tuple, columns)), head_rows)


def _spots(source: Source) -> list[list[list[str]]]:
    width = len(source.header)
    spots = []
    with source.path.open("rb") as file:
        for number in range(1, SPOTS + 1):
            file.seek(source.size_bytes * number // (SPOTS + 1))
            block = file.read(SPOT_BYTES)
            text = block[block.find(b"\n") + 1 : block.rfind(b"\n") + 1].decode(source.encoding, "replace")
            reader = csv.reader(
                io.StringIO(text),
                delimiter=source.delimiter,
                quotechar=source.quote,
                skipinitialspace=source.skips_space,
            )
            try:
                rows = [row for row in islice(reader, SPOT_ROWS) if row]
            except csv.Error:
                continue
            # A line break in a cell after all, or ragged rows: nothing is learnt here.
            if rows and all(len(row) == width for row in rows):
                spots.append(rows)
    return spots
