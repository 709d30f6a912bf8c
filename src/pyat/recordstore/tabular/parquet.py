"""Parquet files: written as a stream from lists of typed values, read by a process of its own.

The library decodes pages as large as a file claims, and ends a thread by force over a broken one. So a file from outside
is turned into lines of JSON by a child with bounds on memory, time and output: `python -m pyat.recordstore.tabular.parquet`.
"""

import asyncio
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast

import orjson

from pyat.recordstore.exporting import Kind
from pyat.recordstore.tabular.errors import FileRefused

MEMORY_BYTES_MAX = 2 * 1024**3
"""Address space of the process that reads a file."""
LINES_BYTES_MAX = 8 * 1024**3
READ_TIME_MAX_S = 900.0
_ROW_GROUP_ROWS = 20_000
"""How many rows are kept in memory, compressed, before they are written."""
_BATCH_ROWS = 1_000
_REFUSED = 3
"""The child's exit status for a file that cannot be read."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()


# Writing


class _Output:
    """What the library takes for a file: it asks for `seek`, but only ever appends."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._size = 0

    def write(self, data: bytes) -> int:
        self._take(bytes(data))
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        """Everything that was written is on its way."""

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        assert offset == (0 if whence else self._size), "what was written has gone"
        return self._size


def write(names: Sequence[str], kinds: Sequence[Kind], pages: Iterator[bytes], take: Callable[[bytes], None]) -> None:
    """Write a file, of which `take` gets the pieces. `pages` are comma-separated JSON lists, as `exporting.values` makes
    them; runs until they end.

    Texts are strings, numbers doubles, moments milliseconds in UTC. Memory does not grow with the number of pages.
    """
    from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
    from arro3.io import write_parquet

    stored = {
        Kind.TEXT: DataType.utf8(),
        Kind.NUMBER: DataType.float64(),
        Kind.BOOLEAN: DataType.bool(),
        Kind.DATE: DataType.int32(),
        Kind.MOMENT: DataType.int64(),
    }
    shown = {**stored, Kind.DATE: DataType.date32(), Kind.MOMENT: DataType.timestamp("ms", tz="UTC")}
    schema = Schema([Field(name, shown[kind], nullable=True) for name, kind in zip(names, kinds, strict=True)])

    def batches() -> Iterator[Any]:
        for page in pages:
            columns = zip(*orjson.loads(b"[" + page + b"]"), strict=True)
            arrays = [
                Array(_stored(kind, values), stored[kind]).cast(shown[kind])
                for kind, values in zip(kinds, columns, strict=True)
            ]
            yield RecordBatch.from_arrays(arrays, schema=schema)

    write_parquet(
        RecordBatchReader.from_batches(schema, batches()),
        cast("IO[bytes]", _Output(take)),
        compression="zstd(1)",
        max_row_group_size=_ROW_GROUP_ROWS,
    )


def _stored(kind: Kind, values: Sequence[Any]) -> list[Any]:
    match kind:
        case Kind.NUMBER:
            return [None if value is None else float(value) for value in values]
        case Kind.BOOLEAN:
            return [value or None for value in values]
        case Kind.DATE:
            return [None if value is None else _day(value) for value in values]
        case Kind.MOMENT:
            return [None if value is None else _milliseconds(value) for value in values]
        case _:
            return list(values)


def _day(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        return None


def _milliseconds(text: str) -> int | None:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


# Reading


async def unpack(path: Path, lines: Path) -> None:
    """Turn a file into lines of JSON objects, one for each row. Raises FileRefused."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise FileRefused("It is not a Parquet file.")
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pyat.recordstore.tabular.parquet",
        str(path),
        str(lines),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(READ_TIME_MAX_S):
            said, _ = await child.communicate()
    except TimeoutError:
        raise FileRefused("It takes too long to read.") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        reason = said.decode(errors="replace").strip() if child.returncode == _REFUSED else ""
        raise FileRefused(reason or "It is broken, or too large when it is unpacked.")


def _bound() -> None:
    """Put this process's own bounds in place, where the system has them."""
    import resource

    for limit, value in (
        ("RLIMIT_AS", MEMORY_BYTES_MAX),
        ("RLIMIT_FSIZE", LINES_BYTES_MAX),
        ("RLIMIT_CPU", int(READ_TIME_MAX_S)),
        ("RLIMIT_CORE", 0),
    ):
        if hasattr(resource, limit):
            resource.setrlimit(getattr(resource, limit), (value, value))


def _convert(path: Path, lines: Path) -> None:
    from arro3.io import read_parquet

    with path.open("rb") as file, lines.open("wb") as output:
        reader = read_parquet(file, batch_size=_BATCH_ROWS)
        names = reader.schema.names
        if len(set(names)) != len(names):
            raise FileRefused("Two columns have the same name.")
        for batch in reader:
            columns = [[_plain(value) for value in column.to_pylist()] for column in batch.columns]
            for row in zip(*columns, strict=True):
                output.write(orjson.dumps({"fields": dict(zip(names, row, strict=True))}) + b"\n")


def _plain(value: Any) -> Any:
    """A value as JSON has it: moments and dates as ISO texts, none for what is no number."""
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            text = value.isoformat(timespec="milliseconds")
            return text.replace("+00:00", "Z") if value.tzinfo is not None else f"{text}Z"
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case time():
            return value.isoformat()
        case Decimal():
            return float(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            raise FileRefused(f"A column holds values of the kind {type(value).__name__}, which no field takes.")


def _main() -> int:
    _bound()
    try:
        _convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except FileRefused as error:
        sys.stdout.write(str(error))
        return _REFUSED
    except BaseException:  # also the library's own, which is no Exception
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
