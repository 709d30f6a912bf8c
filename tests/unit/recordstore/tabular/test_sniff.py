"""What a file is: encoding, delimiter, quotes, header."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.recordstore.tabular import sniff as sniff_module
from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.sniff import sniff, unique_names
from pyat.recordstore.tabular.source import Reader, Source


def sniffed(tmp_path: Path, data: bytes | str, **declared: str) -> Source:
    path = tmp_path / "file.csv"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return sniff(path, **declared)


def rows_of(source: Source) -> list[tuple[str, ...]]:
    with Reader(source) as reader:
        return [row for chunk in reader.chunks() for row in zip(*chunk.columns, strict=True)]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"a,b\n1,2\n", "utf-8"),
        ("a,b\né,2\n".encode(), "utf-8"),
        ("\ufeffa,b\né,2\n".encode(), "utf-8"),
        ("a,b\né,€\n".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "a,b\né,€\n".encode("utf-16-be"), "utf-16"),
        (b"\xff\xfe\x00\x00" + "a,b\né,€\n".encode("utf-32-le"), "utf-32"),
        ("a,b\né,€\n".encode("cp1252"), "cp1252"),
        ("a,b\né,\x81\n".encode("latin-1"), "latin-1"),
    ],
)
def test_encodings_are_found(data: bytes, encoding: str, tmp_path: Path) -> None:
    source = sniffed(tmp_path, data)
    assert source.encoding == encoding
    assert source.header == ("a", "b")


def test_a_late_byte_decides_the_encoding(tmp_path: Path) -> None:
    data = b"a,b\n" + b"plain,text\n" * 60_000 + "é,€\n".encode("cp1252")
    source = sniffed(tmp_path, data)
    assert source.encoding == "cp1252"
    assert rows_of(source)[-1] == ("é", "€")


def test_a_declared_encoding_wins(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "a,b\né,2\n", encoding="ISO-8859-1")
    assert source.encoding == "iso8859-1"
    assert rows_of(source) == [("Ã©", "2")]


@pytest.mark.parametrize("filler", [0, 300_000])
def test_broken_bytes_are_told_by_line_and_offset(filler: int, tmp_path: Path) -> None:
    start = b"a,b\n" + b"x" * filler + b",\n1,2\n3,"
    with pytest.raises(FileRefused, match=r"is not utf-8: line 4, byte offset .* bytes e9 20 21 0a") as caught:
        sniffed(tmp_path, start + b"\xe9 !\n5,6\n", encoding="utf-8")
    assert caught.value.line == 4
    assert caught.value.byte_offset == len(start)


def test_bytes_cut_off_at_the_end_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="line 2, byte offset 5, bytes e2 82") as caught:
        sniffed(tmp_path, b"a,b\n1\xe2\x82", encoding="utf8")
    assert caught.value.byte_offset == 5


def test_broken_utf16_is_told(tmp_path: Path) -> None:
    data = b"\xfe\xff" + "a,b\n1,2\n".encode("utf-16-be") + b"\xd8\x00\x00\x41"
    with pytest.raises(FileRefused, match="is not utf-16: line 3, byte offset 18"):
        sniffed(tmp_path, data)


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13", "", "utf-8\x00"])
def test_an_unknown_encoding_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="is not an encoding"):
        sniffed(tmp_path, "a,b\n", encoding=name)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"%PDF-1.7", "PDF"),
        (b"SQLite format 3\x00rest", "SQLite"),
        (b"a,b\n1,\x00\n", "NUL"),
        (b"a,b\n" + b"1,2\n" * 200_000 + b"\x00\n", "NUL"),
        (b"a,b\n" + b"1,2\n" * 200_000 + b"\xe9\x00\n", "NUL"),
        ("a,b\n1,2\n".encode("utf-16-le"), "NUL"),
        (bytes((*range(1, 32), *range(128, 256))) * 20, "full of control characters"),
        (b"", "is empty"),
        (b"\n\n  \n", "no header line"),
        (b"\xef\xbb\xbf", "no header line"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match=what):
        sniffed(tmp_path, data)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="There is no file"):
        sniff(tmp_path / "missing.csv")
    with pytest.raises(FileRefused, match="is a directory"):
        sniff(tmp_path)
    with pytest.raises(FileRefused, match="not a regular file"):
        sniff(Path(os.devnull))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(sniff_module.SIZE_BYTES_MAX + 1)
    with pytest.raises(FileRefused, match=r"4\.0 GiB large; an import takes at most 4 GiB"):
        sniff(path)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1,5;2,5;3,5\n1,0;2,0;3,0\n", ";"),
        ("a\tb\n1,2\t3,4\n5,6\t7,8\n", "\t"),
        ("a|b|c\nx, y|z; w|1\n", "|"),
        ('name,quote\nAnn,"one; two; three"\nBob,"a; b"\n', ","),
        ('name;quote\nAnn;"one, two, three"\nBob;"a, b"\n', ";"),
        ("Name, first;Age;City\nSmith, John;3;Rome\nDoe, Jane;4;Bonn\n", ";"),
        ("a,b,c\n1\n1,2\n1,2,3\n", ","),
        ("a,b,c,d\n1,2,3,4\n1,2,3,4,5;6\n", ","),
        ("a;b\n1;2;3\n", ";"),
        ("comment\nHello, world\nno delimiter here\n", ";"),
        ("just one line, with a comma", ","),
        ("id\n1\n2\n", ","),
        ("text\nfirst: a\nsecond: b\n", ","),
        ('a,b\n"multi\nline; with; many; semicolons; in; it",2\n', ","),
    ],
)
def test_delimiters_are_found(text: str, delimiter: str, tmp_path: Path) -> None:
    assert sniffed(tmp_path, text).delimiter == delimiter


def test_a_declared_delimiter_wins(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "a,b\n1,2\n", delimiter=";")
    assert (source.header, source.delimiter) == (("a,b",), ";")
    assert sniffed(tmp_path, "a\tb\n", delimiter="tab").header == ("a", "b")
    assert sniffed(tmp_path, "a^b\n", delimiter="^").header == ("a", "b")


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", " ", "commas"])
def test_an_impossible_delimiter_is_refused(delimiter: str, tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="cannot be a delimiter"):
        sniffed(tmp_path, "a,b\n", delimiter=delimiter)


def test_the_line_that_spreadsheets_write_is_obeyed(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "sep=;\r\n\r\na,b;c\r\n1;2\r\n")
    assert (source.delimiter, source.header, source.lines_before) == (";", ("a,b", "c"), 2)
    assert rows_of(source) == [("1", "2")]
    with Reader(source) as reader:
        (chunk,) = reader.chunks()
    assert chunk.line_of(0) == 4


def test_apostrophes_as_quotes(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "'name','note'\n'Ann','one, two'\n'Bob','it''s'\n")
    assert source.quote == "'"
    assert rows_of(source) == [("Ann", "one, two"), ("Bob", "it's")]


def test_apostrophes_as_text(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "name,note\nAnn,'tis\nBob,it's\nO'Hara,'quoted'\n")
    assert source.quote == '"'
    assert rows_of(source)[2] == ("O'Hara", "'quoted'")


def test_blanks_after_delimiters(tmp_path: Path) -> None:
    source = sniffed(tmp_path, 'a, b, c\n1, "x, y", 3\n4, 5,\n')
    assert source.skips_space
    assert rows_of(source) == [("1", "x, y", "3"), ("4", "5", "")]
    assert not sniffed(tmp_path, "a,b\n1, x\n2,y\n").skips_space


def test_line_ends_inside_the_header(tmp_path: Path) -> None:
    source = sniffed(tmp_path, '"Name\nof  customer",b\r\n1,2\r\n')
    assert source.header == ("Name of customer", "b")
    assert rows_of(source) == [("1", "2")]


def test_a_header_alone(tmp_path: Path) -> None:
    source = sniffed(tmp_path, "a,b")
    assert source.header == ("a", "b")
    assert rows_of(source) == []


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="has 501 columns; a table holds at most 500"):
        sniffed(tmp_path, ",".join(map(str, range(501))) + "\n")


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (["Name", "", " "], ("Name", "Field 2", "Field 3")),
        (["Name", "name", "NAME"], ("Name", "name 2", "NAME 3")),
        (["Name", "Name", "Name 2"], ("Name", "Name 3", "Name 2")),
        (["", "Field 1"], ("Field 2", "Field 1")),
        (["  a\tb \n c "], ("a b c",)),
        (["x" * 300], ("x" * 255,)),
    ],
)
def test_names_of_fields(header: list[str], names: tuple[str, ...]) -> None:
    assert unique_names(header) == names


@given(
    st.lists(st.sampled_from(["", "a", "A", "a 2", "Field 1", "field 2", "ß", "SS", " x" * 200]) | st.text(max_size=3))
)
def test_names_are_filled_and_unique(header: list[str]) -> None:
    names = unique_names(header)
    assert len(names) == len(header)
    assert len({name.casefold() for name in names}) == len(names)
    assert all(0 < len(name) <= 255 and name == name.strip() for name in names)
