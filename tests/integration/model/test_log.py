"""Random operations on records, and their change log played back: it tells the same state, and nothing of what was refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError
from pyat.foundation.ids import RecordId
from pyat.recordstore.structure import Base
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.schema.contract import FieldDraft
from tests.support.records import Bench, decoded, make_bench
from tests.support.schema import principal

LINKS = {"T": {"Others": "Other", "Parts": "T"}, "Other": {"T": "T"}}
"""Of each table its link fields, and where they lead; `Others` and `T` are two sides of one link."""
ABSENT = "recAAAAAAAAAAAAAA"

State = dict[str, dict[str, Any]]
"""Cells by record id and field id; links are sets, choices are names, blank cells have no entry."""


@dataclass(frozen=True)
class Create:
    """A record. Numbers of rows count round, so every number means a record as long as there is one."""

    table: str
    name: str
    links: tuple[int, ...]


@dataclass(frozen=True)
class Update:
    """Cells of one record: one link field, and of T also its tags."""

    table: str
    row: int
    field: int
    links: tuple[int, ...]
    tags: tuple[str, ...]
    is_replacing: bool


@dataclass(frozen=True)
class Typecast:
    """Links by the primary values of the other side, which makes the records that are missing."""

    table: str
    row: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Delete:
    """Records of a table."""

    table: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Restore:
    """What was deleted last and is still gone."""


@dataclass(frozen=True)
class Undo:
    """The last operation on records."""


@dataclass(frozen=True)
class Refused:
    """A write whose second part is wrong: a link to a record that is not there, or a record that is not there."""

    table: str
    row: int
    is_link: bool


Step = Create | Update | Typecast | Delete | Restore | Undo | Refused

TABLES = st.sampled_from(sorted(LINKS))
ROWS = st.integers(0, 7)
SEVERAL = st.lists(ROWS, max_size=3).map(tuple)
NAMES = st.sampled_from(["a", "b", "c, d", 'e "f"'])
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Create, TABLES, NAMES, SEVERAL),
    st.builds(
        Update,
        TABLES,
        ROWS,
        st.integers(0, 1),
        SEVERAL,
        st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(tuple),
        st.booleans(),
    ),
    st.builds(Typecast, TABLES, ROWS, st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
    st.builds(Delete, TABLES, st.lists(ROWS, min_size=1, max_size=2, unique=True).map(tuple)),
    st.builds(Restore),
    st.builds(Undo),
    st.builds(Refused, TABLES, ROWS, st.booleans()),
)


class Runner:
    """Does steps through the services, and keeps what the log has told so far."""

    def __init__(self, bench: Bench, base: Base, after: int) -> None:
        self._bench = bench
        self._after = after
        self._deleted: list[str] = []
        self._links = {field.field_id for table in base.tables for field in table.fields if field.link is not None}
        self._computed = {
            field.field_id for table in base.tables for field in table.fields if field.type == "autoNumber"
        }
        self.told: State = {}

    @property
    def _to(self) -> dict[str, Any]:
        return {"principal": principal(), "base_id": self._bench.base_id}

    async def _ids(self, table: str) -> list[str]:
        page = await self._bench.records.list_records(**self._to, table=table, query=ListQuery())
        return [record["id"] for record in decoded(page.records)]

    async def _picked(self, table: str, rows: Sequence[int]) -> list[str]:
        ids = await self._ids(table)
        return list(dict.fromkeys(ids[row % len(ids)] for row in rows)) if ids else []

    async def _write(
        self, table: str, changes: Sequence[tuple[str, dict[str, Any]]], *, is_replacing: bool, typecast: bool
    ) -> None:
        await self._bench.records.update_records(
            **self._to,
            table=table,
            changes=tuple(RecordChange(RecordId(record_id), cells) for record_id, cells in changes),
            is_replacing=is_replacing,
            typecast=typecast,
            by_id=False,
        )

    async def do(self, step: Step) -> None:
        """One step; without a record it could mean, nothing."""
        match step:
            case Create(table, name, links):
                field, other = next(iter(LINKS[table].items()))
                cells = {"Name": name, field: await self._picked(other, links)}
                await self._bench.records.create_records(
                    **self._to, table=table, rows=(cells,), typecast=False, by_id=False
                )
            case Update(table, row, place, links, tags, is_replacing):
                field, other = list(LINKS[table].items())[place % len(LINKS[table])]
                linked: dict[str, Any] = {field: await self._picked(other, links)}
                for record_id in await self._picked(table, [row]):
                    cells = linked | ({"Tags": list(tags)} if table == "T" else {})
                    await self._write(table, [(record_id, cells)], is_replacing=is_replacing, typecast=False)
            case Typecast(table, row, names):
                field = next(iter(LINKS[table]))
                for record_id in await self._picked(table, [row]):
                    await self._write(table, [(record_id, {field: list(names)})], is_replacing=False, typecast=True)
            case Delete(table, rows):
                if gone := await self._picked(table, rows):
                    ids = tuple(RecordId(record_id) for record_id in gone)
                    await self._bench.records.delete_records(**self._to, table=table, record_ids=ids)
                    self._deleted = gone
            case Restore():
                if back := tuple(RecordId(one) for one in self._deleted if one not in self.told):
                    assert set(await self._bench.records.restore_records(**self._to, record_ids=back)) == set(back)
            case Undo():
                if self.told:
                    await self._bench.records.undo(**self._to)
            case Refused(table, row, is_link):
                await self._refused(table, row, is_link=is_link)

    async def _refused(self, table: str, row: int, *, is_link: bool) -> None:
        before = await self.seen()
        for record_id in await self._picked(table, [row]):
            field = next(iter(LINKS[table]))
            wrong = (record_id, {field: [ABSENT]}) if is_link else (ABSENT, {"Name": "y"})
            changes = [(record_id, {"Name": "x"}), wrong] if not is_link else [(record_id, {"Name": "x", **wrong[1]})]
            with pytest.raises(AppError):
                await self._write(table, changes, is_replacing=False, typecast=False)
            page = await self._bench.records.list_changes(**self._to, after=self._after, rows_max=1_000)
            assert page.changes == b"", "the log tells of a write that was refused"
            assert await self.seen() == before

    async def seen(self) -> State:
        """What the services show."""
        found: State = {}
        for table in LINKS:
            page = await self._bench.records.list_records(**self._to, table=table, query=ListQuery(by_id=True))
            for record in decoded(page.records):
                cells = {key: value for key, value in record["fields"].items() if key not in self._computed}
                found[record["id"]] = {key: self._plain(key, value) for key, value in cells.items()}
        return found

    def _plain(self, field_id: str, value: Any) -> Any:
        if field_id in self._links:
            return set(value or ())
        if isinstance(value, dict):
            return value["name"]
        if isinstance(value, list):
            return [item["name"] if isinstance(item, dict) else item for item in value]
        return value

    async def read_on(self) -> None:
        """Take the changes since the last time into `told`; each must fit what was told before."""
        page = await self._bench.records.list_changes(**self._to, after=self._after, rows_max=1_000)
        for entry in decoded(page.changes):
            self._after += 1
            assert entry["number"] == self._after, "the log has a gap"
            self._take(entry["type"], entry["item"], entry["cells"])
        assert self._after == page.last

    def _take(self, kind: str, item: str, cells: dict[str, Any]) -> None:
        if kind in ("record.created", "record.restored"):
            assert item not in self.told
            self.told[item] = {}
        record = self.told[item]
        for field_id, change in cells.items():
            if field_id in self._computed:
                continue
            if "added" in change or "removed" in change:
                now = record.get(field_id, set()) - set(change.get("removed", ())) | set(change.get("added", ()))
            else:
                empty = self._plain(field_id, None)
                assert self._plain(field_id, change.get("before")) == record.get(field_id, empty), (kind, item, change)
                now = self._plain(field_id, change.get("after"))
            record[field_id] = now
            if now is None or now == set() or now == []:
                del record[field_id]
        if kind == "record.deleted":
            assert self.told.pop(item) == {}, "the log did not tell what the record had"


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=1, max_size=20))
async def test_the_log_tells_the_state(database: Database, cache: Cache, steps: list[Step]) -> None:
    # The steps by their own names: the falsifying example leaves them out.
    note("Steps:\n" + "\n".join(map(repr, steps)))
    bench = await make_bench(database, cache)
    to: dict[str, Any] = {"principal": principal(), "base_id": bench.base_id}
    tables = {table.name: table for table in (await bench.schema.get_base(**to)).tables}
    for name in ("Others", "Parts"):
        linked = {"linkedTableId": tables[LINKS["T"][name]].table_id}
        await bench.schema.create_field(**to, table="T", field=FieldDraft(name, "multipleRecordLinks", options=linked))
    begun = await bench.records.list_changes(**to, after=None, rows_max=1)
    runner = Runner(bench, await bench.schema.get_base(**to), begun.last)
    for step in steps:
        await runner.do(step)
        await runner.read_on()
        assert runner.told == await runner.seen(), step
