"""Parquet in and out; what is broken or large ends the process that reads it, and nothing else."""

import datetime
import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from arro3.core import Array, DataType, Field, Schema, Table, list_array
from arro3.io import read_parquet, write_parquet

from pyat.recordstore.exporting import Kind
from pyat.recordstore.tabular import parquet
from pyat.recordstore.tabular.errors import FileRefused


def written(kinds: list[Kind], *pages: list[list[Any]]) -> bytes:
    """A file with columns called by number."""
    pieces: list[bytes] = []
    texts = (orjson.dumps(page)[1:-1] for page in pages)
    parquet.write([str(number) for number in range(len(kinds))], kinds, texts, pieces.append)
    return b"".join(pieces)


async def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, read as an import reads them."""
    lines = path.with_suffix(".lines")
    await parquet.unpack(path, lines)
    return [orjson.loads(line)["fields"] for line in lines.read_bytes().splitlines()]


async def test_every_kind_goes_out_and_comes_in(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["x", 1.5, True, "2024-02-29", "2024-02-29T10:30:00.250Z"],
        [None] * 5,
        ["", -1, None, "0001-01-01", "1969-12-31T23:59:59.999Z"],
    ]
    content = written(list(Kind), rows[:2], rows[2:])
    found = read_parquet(io.BytesIO(content)).read_all()
    assert found.column("3").to_pylist() == [datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)]
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert await lines_of(path) == [{str(place): cell for place, cell in enumerate(row)} for row in rows]


def test_no_pages_make_an_empty_file() -> None:
    assert read_parquet(io.BytesIO(written([Kind.TEXT]))).read_all().num_rows == 0


async def test_other_types_become_what_fields_take(tmp_path: Path) -> None:
    columns = {
        "whole": Array([2**40, None], DataType.int64()),
        "exact": Array([1.5, None], DataType.float64()).cast(DataType.decimal128(10, 2)),
        "list": list_array(Array([0, 2, 2], DataType.int32()), Array(["a", "b"], DataType.utf8())),
        "nan": Array([float("nan"), float("inf")], DataType.float64()),
        "local": Array([1_000_000, None], DataType.int64()).cast(DataType.timestamp("us")),
    }
    schema = Schema([Field(name, array.type, nullable=True) for name, array in columns.items()])
    path = tmp_path / "a.parquet"
    write_parquet(Table.from_arrays(list(columns.values()), schema=schema), path)
    first, second = await lines_of(path)
    assert first == {
        "whole": 2**40,
        "exact": 1.5,
        "list": ["a", "b"],
        "nan": None,
        "local": "1970-01-01T00:00:01.000Z",
    }
    assert second == {"whole": None, "exact": None, "list": [], "nan": None, "local": None}


async def test_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    schema = Schema([Field("a", DataType.binary(), nullable=True)])
    write_parquet(Table.from_arrays([Array([b"x"], DataType.binary())], schema=schema), path)
    with pytest.raises(FileRefused, match="which no field takes"):
        await lines_of(path)


@pytest.mark.parametrize(
    "content", [b"", b"Name\n", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1"]
)
async def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(FileRefused):
        await lines_of(path)


async def test_a_file_with_a_hole_is_refused(tmp_path: Path) -> None:
    content = bytearray(written([Kind.TEXT], [[f"row {number}"] for number in range(5_000)]))
    content[200:4_000] = b"\xff" * 3_800
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(FileRefused, match="broken, or too large"):
        await lines_of(path)
