"""Files with rows for a table that exists, in portions of some hundred rows as columns by name, in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.sniff import sniff
from pyat.recordstore.tabular.source import LINE_CHARACTERS_MAX, Reader

PORTION_ROWS = 1_000
_NDJSON_KEYS_MAX = 10_000
"""Different names in one portion."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that was left out; `reason` ends the sentence "the row …"."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows that were read together: the file's line (or row) of each from 1, and columns of equal length by name.

    A cell that a row does not have is None.
    """

    lines: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    unread: Sequence[Unread] = field(default=())


def csv_portions(path: Path) -> Iterator[Portion]:
    """Of a delimited text file; its encoding, delimiter and quotes are found out. Raises FileRefused."""
    source = sniff(path)
    with Reader(source) as reader:
        for chunk in reader.chunks():
            unread = [
                Unread(chunk.line_of(row.place), f"has {row.cells} cells, but there are {len(source.header)} columns")
                for row in chunk.wide_rows
            ]
            for start in range(0, max(chunk.rows, 1), PORTION_ROWS):
                places = range(start, min(start + PORTION_ROWS, chunk.rows))
                columns = {
                    name: cells[start : start + PORTION_ROWS]
                    for name, cells in zip(source.header, chunk.columns, strict=True)
                }
                yield Portion([chunk.line_of(chunk.place_of(row)) for row in places], columns, () if start else unread)


def ndjson_portions(path: Path) -> Iterator[Portion]:
    """Of lines that are JSON objects: records as they are exported, or cells by name. Raises FileRefused."""
    with path.open("rb") as file:
        lines: list[int] = []
        rows: list[Mapping[str, Any]] = []
        number = 0
        is_first = True
        while line := file.readline(LINE_CHARACTERS_MAX + 1):
            number += 1
            if len(line) > LINE_CHARACTERS_MAX:
                raise FileRefused(f"Line {number} is longer than {LINE_CHARACTERS_MAX:,} bytes.", line=number)
            if is_first:
                line = line.removeprefix(b"\xef\xbb\xbf")
                is_first = False
            if not line.strip():
                continue
            lines.append(number)
            rows.append(_cells(line, number))
            if len(rows) == PORTION_ROWS:
                yield _turned(lines, rows)
                lines, rows = [], []
        if rows:
            yield _turned(lines, rows)


def _cells(line: bytes, number: int) -> Mapping[str, Any]:
    try:
        found = orjson.loads(line)
    except (orjson.JSONDecodeError, RecursionError):
        raise FileRefused(f"Line {number} is not JSON.", line=number) from None
    if not isinstance(found, dict):
        raise FileRefused(f"Line {number} is not a JSON object.", line=number)
    cells = found.get("fields", found)
    return cells if isinstance(cells, dict) else found


def _turned(lines: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Portion:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
        if len(names) > _NDJSON_KEYS_MAX:
            raise FileRefused(f"The lines up to {lines[-1]} have more than {_NDJSON_KEYS_MAX:,} different names.")
    return Portion(lines, {name: [row.get(name) for row in rows] for name in names})
