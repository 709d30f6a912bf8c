"""Files into a table that exists: all of it or nothing, in bounded memory."""

import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, NotPermittedOrNotFound
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import Source
from pyat.recordstore.errors import UnknownFieldName
from pyat.services.airtable_gateway.contract import ExportQuery, Imported, ImportRejected, InvalidFile, ListQuery
from pyat.services.airtable_gateway.service import imports
from pyat.services.airtable_gateway.service.imports import ImportFormat
from pyat.services.airtable_gateway.store.records import StagedNotes
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import OTHER_TENANT, principal

ROW_COUNT = 50_000


class Importer:
    """One table and the files that go into it."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.path = folder / "The file"
        self.to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id, "table": "T"}

    async def load(
        self, content: bytes | str, file_format: ImportFormat = "csv", *, keeps_going: bool = False
    ) -> Imported:
        """Import a file with this content."""
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        return await self.bench.records.import_file(
            **self.to, path=self.path, file_format=file_format, keeps_going=keeps_going
        )

    async def cells(self) -> list[dict[str, Any]]:
        """The cells there are, in order of creation."""
        page = await self.bench.records.list_records(**self.to, query=ListQuery())
        return [record["fields"] for record in decoded(page.records)]


@pytest_asyncio.fixture
async def importer(database: Database, cache: Cache, tmp_path: Path) -> Importer:
    return Importer(await make_bench(database, cache), tmp_path)


async def test_csv_is_read_as_people_write_it(importer: Importer) -> None:
    content = 'name;AGE;Status;Tags;Number\r\nAnn;1.5;Done;a, new;17\r\n;;;;\r\n"B\nC";2;Later;;\r\n'
    found = await importer.load(content)
    assert (found.created, found.rejected_count, found.ignored) == (3, 0, ["Number"])
    assert await importer.cells() == [
        {"Name": "Ann", "Age": 1.5, "Status": "Done", "Tags": ["a", "new"], "Number": 1},
        {"Number": 2},
        {"Name": "B\nC", "Age": 2, "Status": "Later", "Number": 3},
    ]


async def test_records_as_exported_and_plain_objects_are_read(importer: Importer) -> None:
    lines: list[Any] = [
        {"id": "recAAAAAAAAAAAAAA", "createdTime": "2024-01-01T00:00:00.000Z", "fields": {"Name": "x", "Tags": ["b"]}},
        {"Name": "y", "Age": 3, "Status": None},
        {},
    ]
    await importer.load(b"\xef\xbb\xbf" + b"\n\n".join(orjson.dumps(line) for line in lines), "ndjson")
    assert await importer.cells() == [
        {"Name": "x", "Tags": ["b"], "Number": 1},
        {"Name": "y", "Age": 3, "Number": 2},
        {"Number": 3},
    ]


async def test_what_does_not_fit_is_named_and_nothing_is_written(importer: Importer) -> None:
    content = "Name,Age,Status\nAnn,many,Done\nBob,1,Done\nCid,2,Done,too,many\n"
    with pytest.raises(ImportRejected) as caught:
        await importer.load(content)
    assert caught.value.details["count"] == 2
    answer = orjson.loads(caught.value.body())
    assert [(item["line"], item["field"]) for item in answer["rejected"]] == [(4, None), (2, "Age")]
    assert await importer.cells() == []
    found = await importer.load(content, keeps_going=True)
    assert (found.created, found.rejected_count) == (2, 2)
    assert [cells.get("Age") for cells in await importer.cells()] == [None, 1]


async def test_of_many_rejections_the_first_hundred_are_named(importer: Importer) -> None:
    found = await importer.load("Age\n" + "x\n" * 250, keeps_going=True)
    assert (found.created, found.rejected_count, len(found.rejected)) == (250, 250, 100)
    assert found.rejected[99]["line"] == 101


@pytest.mark.parametrize(
    ("content", "file_format", "error"),
    [
        (b"", "csv", InvalidFile),
        (b"PK\x03\x04", "csv", InvalidFile),
        (b'Name\n"never closed\n', "csv", InvalidFile),
        (b"Nmae\nx\n", "csv", UnknownFieldName),
        (b"Name,name\nx,y\n", "csv", UnknownFieldName),
        (b"Name,NAME \nx,y\n", "csv", UnknownFieldName),
        (b"[]", "ndjson", InvalidFile),
        (b'{"Name":"x"}\n{"Name":', "ndjson", InvalidFile),
        (b'{"Name":"x"}\n{"Nmae":1}', "ndjson", UnknownFieldName),
        (b'{"Name":"x"}\n{"name":"y"}', "ndjson", InvalidFile),
        (b'{"Name":"' + b"x" * 100_001 + b'"}', "ndjson", ImportRejected),
        (b'{"Name":{"a":1}}', "ndjson", ImportRejected),
    ],
)
async def test_bad_files_are_refused(
    importer: Importer, content: bytes, file_format: ImportFormat, error: type[AppError]
) -> None:
    with pytest.raises(error):
        await importer.load(content, file_format)
    assert await importer.cells() == []


async def test_a_stranger_is_told_nothing(importer: Importer) -> None:
    importer.to["principal"] = principal(tenant_id=OTHER_TENANT)
    with pytest.raises(NotPermittedOrNotFound):
        await importer.load("Name\nx\n")


async def test_memory_does_not_grow_with_the_file(importer: Importer) -> None:
    """Fifty thousand rows of some 100 bytes go in and out again in a few megabytes."""

    def lines(count: int) -> str:
        return "Name,Age,Status,Tags\n" + "".join(
            f"row {number} {'x' * 60},{number},{('Todo', 'Done')[number % 2]},a\n" for number in range(count)
        )

    await importer.load(lines(2_000))
    importer.path.write_text(lines(ROW_COUNT))
    records = importer.bench.records
    tracemalloc.start()
    try:
        found = await records.import_file(**importer.to, path=importer.path, file_format="csv", keeps_going=False)
        _, peak_in = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        size = count = 0
        after = None
        while True:
            page = await records.export_page(**importer.to, query=ExportQuery("csv"), after=after)
            size += len(page.body)
            count += page.row_count
            after = page.after
            if after is None:
                break
        _, peak_out = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.created, count) == (ROW_COUNT, ROW_COUNT + 2_000)
    assert size > 4_000_000
    assert peak_in < 16_000_000
    assert peak_out < 16_000_000


async def test_an_import_is_noted_in_the_change_log_and_keeps_others_waiting_only_at_its_end(
    importer: Importer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rows go in, others write to the base; the log has every record once, in order, after what was there first."""
    records = importer.bench.records
    portions = imports._unstaged
    meanwhile: list[str] = []

    def watched(staged: Any) -> Any:
        for rows in portions(staged):
            yield rows
            # The import's transaction is open here, and another writer is answered.
            meanwhile.append(str(len(rows)))

    monkeypatch.setattr(imports, "_unstaged", watched)
    monkeypatch.setattr(StagedNotes, "_AT_ONCE", 700)
    note = StagedNotes.add

    async def add(self: StagedNotes, table: Any, record_ids: Any, rows: Any) -> None:
        await note(self, table, record_ids, rows)
        await records.create_records(
            **{**importer.to, "table": "Other"}, rows=({"Name": "another"},), typecast=False, by_id=False
        )

    monkeypatch.setattr(StagedNotes, "add", add)
    found = await importer.load("Name,Age\n" + "".join(f"row {number},{number}\n" for number in range(1_500)))
    assert found.created == 1_500
    assert len(meanwhile) == 2
    rows = await database.rows(
        Statement(
            "log",
            f"SELECT n, table_number, kind, source, cells FROM {quote(importer.bench.base_id)}.base_changes"
            " WHERE kind = 1 ORDER BY n",
        )
    )
    base = (await importer.bench.schema.get_bases(base_ids=(importer.bench.base_id,)))[0]
    own, other = base.tables
    assert [row["table_number"] for row in rows] == [other.number] * 2 + [own.number] * 1_500
    assert [row["n"] for row in rows] == list(range(rows[0]["n"], rows[0]["n"] + 1_502))
    name, age = (str(field.number) for field in own.fields[:2])
    assert [orjson.loads(row["cells"]) for row in rows[2:]] == [
        {name: f"row {number}", age: number} for number in range(1_500)
    ]
    assert {row["source"] for row in rows[2:]} == {int(Source.IMPORT)}
