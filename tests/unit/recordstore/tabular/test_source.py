"""Reading a file in chunks: cells, lines, bounds."""

import csv
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyat.recordstore.tabular import source as source_module
from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.source import Chunk, Reader, Source

HEADER = ("a", "b", "c")


def a_source(path: Path, data: bytes, *, encoding: str = "utf-8", **how: str) -> Source:
    path.write_bytes(data)
    return Source(
        path,
        len(data),
        encoding,
        how.get("delimiter", ","),
        how.get("quote", '"'),
        HEADER,
        line_end=how.get("line_end", "\n"),
    )


def read(source: Source) -> list[tuple[str, ...]]:
    with Reader(source) as reader:
        return [row for chunk in reader.chunks() for row in zip(*chunk.columns, strict=True)]


def lines(source: Source) -> list[int]:
    with Reader(source) as reader:
        return [chunk.line_of(chunk.place_of(row)) for chunk in reader.chunks() for row in range(chunk.rows)]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6) | st.sampled_from(
    ['"', '""', ",", ";", "\n", "\r\n", "\r", "a,b", '"x"', " ", "\u2028", "\x1c", "\x85", "é"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=20),
    delimiter=st.sampled_from(",;\t|"),
    # With its least quoting, Python's writer leaves a carriage return bare unless rows end in one.
    form=st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
    block_bytes=st.integers(1, 60),
)
def test_what_was_written_is_read_with_its_lines(
    rows: list[tuple[str, str, str]],
    delimiter: str,
    form: tuple[str, Literal[0, 1]],
    block_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", block_bytes)
    path = tmp_path / "rows.csv"
    starts = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=form[0], quoting=form[1])
        for row in (HEADER, *rows):
            file.flush()
            starts.append(path.read_bytes().count(b"\n") + 1)
            writer.writerow(row)
    source = a_source(path, path.read_bytes(), delimiter=delimiter)
    assert read(source) == rows
    assert lines(source) == starts[1:]


def test_ragged_rows_and_blank_lines(tmp_path: Path) -> None:
    source = a_source(tmp_path / "x.csv", b"a,b,c\n1\n\n   \n1,2\n1,2,3,,\n1,2,3,4\n,,\n1,2,3\n")
    with Reader(source) as reader:
        (chunk,) = reader.chunks()
    rows = list(zip(*chunk.columns, strict=True))
    assert rows == [("1", "", ""), ("1", "2", ""), ("1", "2", "3"), ("", "", ""), ("1", "2", "3")]
    assert [chunk.line_of(chunk.place_of(row)) for row in range(chunk.rows)] == [2, 5, 6, 8, 9]
    (wide,) = chunk.wide_rows
    assert (chunk.line_of(wide.place), wide.cells, wide.excerpt) == (7, 4, "1 | 2 | 3 | 4")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_first_quote_late_in_the_file(line_end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 50)
    texts = ["a,b,c", *["1,2,3"] * 50, "", '"x', 'y",2,3', "1,2,3"]
    source = a_source(tmp_path / "x.csv", line_end.join(texts).encode())
    assert read(source) == [("1", "2", "3")] * 50 + [(f"x{line_end}y", "2", "3"), ("1", "2", "3")]
    assert lines(source) == [*range(2, 52), 53, 55]


def test_lines_count_breaks_inside_cells() -> None:
    chunk = Chunk(
        [["x\ny", "", ""], [], ["1", "2", "3"], ["1", "2", "3", "4\n5"], ["", "", ""]], width=3, starts_line=10
    )
    assert [chunk.line_of(chunk.place_of(row)) for row in range(chunk.rows)] == [10, 13, 16]
    assert chunk.line_of(chunk.wide_rows[0].place) == 14


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("a,b,c\né,ß,字\n".encode(), "utf-8"),
        ("\ufeffa,b,c\né,ß,字\n".encode(), "utf-8"),
        ("a,b,c\né,ß,字\n".encode("utf-16"), "utf-16"),
        ("\ufeffa,b,c\né,ß,字\n".encode("utf-16-be"), "utf-16-be"),
        ("a,b,c\né,ß,字\n".encode("gb18030"), "gb18030"),
    ],
)
def test_encodings(data: bytes, encoding: str, tmp_path: Path) -> None:
    assert read(a_source(tmp_path / "x.csv", data, encoding=encoding)) == [("é", "ß", "字")]


def test_old_line_ends(tmp_path: Path) -> None:
    source = a_source(tmp_path / "x.csv", b'a,b,c\r1,"x\ry",3\r4,5,6', line_end="\r")
    assert read(source) == [("1", "x\ny", "3"), ("4", "5", "6")]
    assert lines(source) == [2, 4]


def test_a_quote_that_is_never_closed_is_refused_with_its_line(tmp_path: Path) -> None:
    source = a_source(tmp_path / "x.csv", b'a,b,c\n1,2,3\n1,"2,3\n4,5,6\n')
    with pytest.raises(FileRefused, match="opens in line 3 is never closed") as caught:
        read(source)
    assert caught.value.line == 3


def test_a_cell_without_end_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 4096)
    source = a_source(tmp_path / "x.csv", b'a,b,c\n1,"' + b"x\n" * 600_000 + b"\n")
    with Reader(source) as reader, pytest.raises(FileRefused, match="longer than 1,000,000 characters"):
        list(reader.chunks())
    assert reader.bytes_done < 1_020_000


def test_an_endless_line_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "LINE_CHARACTERS_MAX", 10_000)
    source = a_source(tmp_path / "x.csv", b"a,b,c\n" + b"x," * 500_000)
    with Reader(source) as reader, pytest.raises(FileRefused, match="a line of more than 10,000 characters"):
        list(reader.chunks())
    assert reader.bytes_done < 200_000


def test_an_endless_row_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "ROW_CHARACTERS_MAX", 200_000)
    source = a_source(tmp_path / "x.csv", b"a,b,c\n" + b'"x\n",' * 200_000)
    with Reader(source) as reader, pytest.raises(FileRefused, match="a row of more than 200,000 characters"):
        list(reader.chunks())
    assert reader.bytes_done < 400_000


def test_a_lone_carriage_return_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="Line 3 holds a carriage return"):
        read(a_source(tmp_path / "x.csv", b"a,b,c\n1,2,3\n1\r2,2,3\n"))


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    source = a_source(tmp_path / "x.csv", b"a,b,c\n1,2,\xff\n")
    with pytest.raises(FileRefused, match="changed while it was read"):
        read(source)
    source.path.unlink()
    with pytest.raises(FileRefused, match="cannot be read"):
        read(source)


def test_memory_holds_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "BLOCK_BYTES", 8192)
    source = a_source(tmp_path / "x.csv", b"a,b,c\n" + b"some,more,cells\n" * 20_000)
    with Reader(source) as reader:
        sizes = [chunk.rows for chunk in reader.chunks()]
    assert sum(sizes) == 20_000
    assert max(sizes) <= 2 * 8192 // 16
