"""From a file into a table: one COPY, in the caller's transaction.

Chunks are small, and each is handed to the socket as soon as it is converted: PostgreSQL takes it in while the next one
is made, and the event loop turns in between. A thread would be slower: it and the loop wait for each other's turn.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple

import asyncpg

from pyat.foundation.ids import BaseId, FieldId, new_ids
from pyat.recordstore.columns import column_type
from pyat.recordstore.fieldtypes import NewChoices
from pyat.recordstore.structure import Field, Table
from pyat.recordstore.tabular.convert import CONVERTERS, Converter, SelectConverter
from pyat.recordstore.tabular.errors import RowsRejected
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.source import Chunk, Reader, Source

REJECTIONS_KEPT_MAX = 1_000
EXCERPT_LENGTH_MAX = 80

LOAD_TIMEOUT_S = 24 * 3600.0
"""A load lasts as long as its file is large; the pool's limit for a single statement is not meant for it."""

Progress = Callable[[int, int], None]
"""Called with the bytes and rows done so far, after each chunk (some hundred rows)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A cell that does not fit its field, or a row with too many cells (then `column` is None)."""

    line: int
    """The file's line in which the row starts, from 1."""
    column: str | None
    excerpt: str
    reason: str
    """Ends the sentence "the cell …" or "the row …"."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the file. With rejections and without `keep_going` nothing was loaded and `rows` is 0."""

    rows: int
    """Records made."""
    rejected: int
    """Cells left blank and rows left out, all counted."""
    rejections: tuple[Rejection, ...]
    """The first 1,000 of them, in the order of the file."""
    new_choices: Mapping[FieldId, NewChoices]
    """Choices that cells refer to and the fields do not have yet; add them in the same transaction (`with_new_choices`)."""


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    def note(self, chunk: Chunk, found: "list[_Misfit]") -> None:
        """Count what does not fit in a chunk and keep the first of it."""
        self.rejected += len(found)
        found.sort()
        for misfit in found[: REJECTIONS_KEPT_MAX - len(self.rejections)]:
            line = chunk.line_of(misfit.place)
            self.rejections.append(Rejection(line, misfit.column, _excerpt(misfit.text), misfit.reason))


class _Misfit(NamedTuple):
    """Sorts in the order of the file: by row, then by column."""

    place: int
    column_place: int
    column: str | None
    text: str
    reason: str


def _excerpt(text: str) -> str:
    line = " ".join(text[: 2 * EXCERPT_LENGTH_MAX].replace("\x00", "\ufffd").split())
    return line if len(line) <= EXCERPT_LENGTH_MAX else line[: EXCERPT_LENGTH_MAX - 1] + "…"


class _Batch(NamedTuple):
    """A converted chunk: lines for COPY (empty once nothing will be loaded) and how far it reaches."""

    data: bytes
    rows: int
    bytes_done: int


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The thousand lists of a chunk end with it by themselves; looking for cycles among them costs a tenth of a load."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Conversion:
    """Reads and converts a source chunk by chunk; used from one thread at a time."""

    def __init__(
        self,
        reader: Reader,
        table: Table,
        plans: Sequence[ColumnPlan],
        *,
        user_id: str,
        now: datetime,
        keep_going: bool,
        auto_number: int,
        is_stamped: bool,
    ) -> None:
        self._reader = reader
        self._keep_going = keep_going
        self._auto_number = auto_number
        self.tally = _Tally()
        self.fields = [_field_of(plan, table) for plan in plans]
        self.converters: list[Converter] = [
            CONVERTERS[found.type](found, plan.reading) for found, plan in zip(self.fields, plans, strict=True)
        ]
        stamps = {} if is_stamped else stamps_of(user_id, now)
        self._numbered = [found for found in table.fields if found.type == "autoNumber"]
        for found in table.fields:
            if found.type == "lastModifiedTime" and column_type(found):
                stamps[found.field_id] = _milliseconds(now)
        self._stamp = "\t".join(stamps.values())
        self.columns = ["_id", *stamps, *(found.field_id for found in (*self._numbered, *self.fields))]

    def batches(self) -> Iterator[_Batch]:
        """The converted chunks, in order."""
        chunks = self._reader.chunks()
        while True:
            with _no_garbage_collection():
                chunk = next(chunks, None)
                if chunk is None:
                    return
                data = self._convert(chunk)
                del chunk
            yield _Batch(data, self.tally.rows, self._reader.bytes_done)

    def _convert(self, chunk: Chunk) -> bytes:
        tally = self.tally
        count = chunk.rows
        width = len(self.fields)
        misfits = [
            _Misfit(wide.place, width, None, wide.excerpt, f"has {wide.cells} cells, but there are {width} columns")
            for wide in chunk.wide_rows
        ]
        items: list[Sequence[str]] = []
        header = self._reader.source.header
        for place, (converter, cells) in enumerate(zip(self.converters, chunk.columns, strict=True)):
            if not count:
                break
            converted = converter.convert(cells)
            items.append(converted.items)
            if converted.refused:
                reasons = converted.refused
                misfits += [
                    _Misfit(chunk.place_of(row), place, header[place], cell, reasons[cell])
                    for row, cell in enumerate(cells)
                    if cell in reasons
                ]
        if misfits:
            tally.note(chunk, misfits)
        tally.rows += count
        if not count or (tally.rejected and not self._keep_going):
            return b""
        numbers = list(map(str, range(self._auto_number + 1, self._auto_number + count + 1))) if self._numbered else []
        self._auto_number += count
        stamp = (repeat(self._stamp, count),) if self._stamp else ()
        columns = (new_ids("rec", count), *stamp, *(numbers for _ in self._numbered), *items)
        return ("\n".join(map("\t".join, zip(*columns, strict=True))) + "\n").encode("utf-8")


def stamps_of(user_id: str, now: datetime) -> dict[str, str]:
    """The system columns that are alike in all records of a load, by name, as texts of their types."""
    created = now.astimezone(UTC).replace(microsecond=0).isoformat()
    return {"_created": created, "_modified": _milliseconds(now), "_created_by": user_id, "_modified_by": user_id}


def _milliseconds(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _field_of(plan: ColumnPlan, table: Table) -> Field:
    found = table.fields_by_name.get(plan.name)
    assert found is not None and found.type == plan.type, f"the table has the planned field {plan.name!r}"
    return found


async def load(
    connection: "asyncpg.Connection[Any]",
    source: Source,
    base_id: BaseId,
    table: Table,
    plans: Sequence[ColumnPlan],
    *,
    user_id: str,
    now: datetime,
    keep_going: bool = False,
    auto_number: int = 0,
    is_stamped: bool = False,
    progress: Progress | None = None,
) -> LoadReport:
    """Append the rows of `source` to `table`, whose fields are found by the names in `plans` (one for each column).

    Runs inside the caller's transaction, which also has to hold the table's structure still. Where the table has
    autonumber fields, `auto_number` is the last number given out; afterwards it has grown by the report's `rows`.
    `is_stamped` says that the relation itself fills the columns of `stamps_of`, by defaults.

    Raises RowsRejected when something does not fit and `keep_going` is off, FileRefused when the file cannot be read
    to its end; either way the transaction is broken and has to be rolled back.
    """
    with Reader(source) as reader:
        conversion = _Conversion(
            reader,
            table,
            plans,
            user_id=user_id,
            now=now,
            keep_going=keep_going,
            auto_number=auto_number,
            is_stamped=is_stamped,
        )

        async def data() -> AsyncGenerator[bytes, None]:
            for batch in conversion.batches():
                if batch.data:
                    yield batch.data
                if progress is not None:
                    progress(batch.bytes_done, batch.rows)
                # Where PostgreSQL is the faster one, nothing else gives way to other tasks.
                await asyncio.sleep(0)
            if conversion.tally.rejected and not keep_going:
                raise RowsRejected(_report(conversion, rows=0))

        lines = data()
        try:
            await connection.copy_to_table(
                table.table_id,
                schema_name=base_id,
                columns=conversion.columns,
                source=lines,
                format="text",
                timeout=LOAD_TIMEOUT_S,
            )
        finally:
            await lines.aclose()
    return _report(conversion, rows=conversion.tally.rows)


def _report(conversion: _Conversion, *, rows: int) -> LoadReport:
    tally = conversion.tally
    added = {
        found.field_id: converter.added
        for found, converter in zip(conversion.fields, conversion.converters, strict=True)
        if isinstance(converter, SelectConverter) and converter.added.ids_by_name
    }
    return LoadReport(rows=rows, rejected=tally.rejected, rejections=tuple(tally.rejections), new_choices=added)
