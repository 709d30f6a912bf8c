"""Random operations on structure and records, through the services and on a plain model: both are the same all the time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError
from pyat.foundation.ids import FieldId, RecordId
from pyat.recordstore.errors import AmbiguousUpsert
from pyat.recordstore.structure import Base, Field
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange
from pyat.services.schema.contract import FieldDraft, TableDraft
from tests.integration.model.rules import Deleted, ModelField, ModelTable, Snapshot, World
from tests.support.records import Bench, decoded, records_service
from tests.support.schema import new_workspace, principal, schema_service

TABLES_MAX = 4
FIELDS_MAX = 9
EXAMPLES = 40
STEPS = 30

T = TypeVar("T")

TEXTS = st.text(st.sampled_from("aAbé ß\"',\n{🐍"), max_size=4)
CHOICES = st.sampled_from(["Todo", "Done", "ünsicher", 'say "no"'])
NUMBERS = st.integers(-(10**12), 10**12)
DRAFTS: dict[str, Any] = {
    "singleLineText": None,
    "number": {"precision": 0},
    "checkbox": {"icon": "check", "color": "greenBright"},
    "singleSelect": {"choices": [{"name": "Todo"}]},
    "multipleSelects": {"choices": [{"name": "Done"}, {"name": "Todo"}]},
}
WRONG: dict[str, Any] = {
    "singleLineText": {"a": 1},
    "number": "twelve",
    "checkbox": "perhaps",
    "singleSelect": "no such choice",
    "multipleSelects": ["no such choice"],
    "multipleRecordLinks": ["recAAAAAAAAAAAAAA"],
    "autoNumber": 3,
    "count": 3,
}


class Machine(RuleBasedStateMachine):
    """Does each thing twice, and compares. The services run on the loop of the test, this in a thread beside it."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], database: Database, cache: Cache) -> None:
        super().__init__()
        self._run = run
        self._database = database
        self._cache = cache
        self.world = World()
        self.names = 0
        self.undoable: list[Snapshot] = []
        self.deleted_records: dict[str, tuple[str, Snapshot]] = {}
        self.deleted: list[tuple[str, Deleted]] = []

    # Helpers

    def name(self, stem: str) -> str:
        """A name that nothing had before."""
        self.names += 1
        return f"{stem} {self.names}"

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """What a service answers."""
        answer: T = self._run(work)
        return answer

    @property
    def to(self) -> dict[str, Any]:
        """Whom every call names."""
        return {"principal": principal(), "base_id": self.bench.base_id}

    def base(self) -> Base:
        """The structure as the service has it."""
        return self.ask(self.bench.schema.get_base(**self.to))

    def structure_changed(self) -> None:
        """What was deleted before is not brought back into another structure, which has rules of its own."""
        self.undoable.clear()
        self.deleted_records.clear()
        self.deleted.clear()

    def adopt(self, table_id: str, made: Field, model: ModelField) -> ModelField:
        """A field that the service made, at the end of its table, with ids that are its own choice."""
        model.field_id = made.field_id
        self.world.tables[table_id].fields.append(model)
        return model

    def draw_table(self, data: st.DataObject) -> ModelTable:
        """Any table."""
        return data.draw(st.sampled_from(list(self.world.tables.values())), label="table")

    def draw_rows(self, data: st.DataObject, table: ModelTable, count_max: int = 3) -> list[str]:
        """Some records of a table."""
        several = st.lists(st.sampled_from(table.rows), min_size=1, max_size=count_max, unique=True)
        return data.draw(several, label="records")

    def draw_cells(self, data: st.DataObject, table: ModelTable, *, typecast: bool = False) -> dict[str, Any]:
        """Cells for a write, by field id."""
        writable = [found for found in table.fields if found.type not in ("autoNumber", "count")]
        chosen = data.draw(st.lists(st.sampled_from(writable), unique_by=lambda one: one.field_id), label="fields")
        return {found.field_id: data.draw(self._values(found, typecast), label=found.name) for found in chosen}

    def _values(self, of: ModelField, typecast: bool) -> st.SearchStrategy[Any]:
        choices = CHOICES if typecast else st.sampled_from(of.choices)
        if of.type == "multipleRecordLinks":
            rows = self.world.tables[of.linked_table].rows
            return st.lists(st.sampled_from(rows), max_size=4) if rows else st.just([])
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "singleLineText": TEXTS,
            "number": NUMBERS,
            "checkbox": st.booleans(),
            "singleSelect": choices,
            "multipleSelects": st.lists(choices, max_size=3),
        }
        return st.none() | kinds[of.type]

    def wrote(self, before: Snapshot) -> None:
        """An operation on records is over: what changed something can be undone."""
        if self.world.snapshot() != before:
            self.undoable.append(before)
            self.deleted_records.clear()

    def adopt_order(self) -> None:
        """The order of links that came back is the service's choice."""
        for table_id in self.world.tables:
            self.world.adopt_order(table_id, self.ask(self._records(table_id)))

    # Structure

    @initialize()
    def begin(self) -> None:
        """A base with two tables."""

        async def make() -> Bench:
            schema = schema_service(self._database)
            tables = tuple(TableDraft(name, self.fields_of_a_table()) for name in ("One", "Two"))
            workspace_id = await new_workspace(schema)
            base = await schema.create_base(
                principal=principal(), workspace_id=workspace_id, name="Model", tables=tables
            )
            return Bench(schema, records_service(self._database, self._cache, schema), base.base_id)

        self.bench = self.ask(make())
        for table in self.base().tables:
            self.adopt_table(table)
        # Most that can go wrong has to do with links, so they are there from the beginning.
        one, two = self.world.tables.values()
        self.link(one, two)
        self.link(one, one)
        for filled in (one, two):
            for record in self.send_create(filled, [{}] * 4, typecast=False):
                self.world.create(filled.table_id, record["id"], {})

    def fields_of_a_table(self) -> tuple[FieldDraft, ...]:
        """A primary field and a number."""
        return FieldDraft("Name", "singleLineText"), FieldDraft("Number", "autoNumber")

    def adopt_table(self, table: Any) -> None:
        """A table that the service made."""
        fields = [ModelField(one.field_id, one.name, one.type) for one in table.fields]
        self.world.tables[table.table_id] = ModelTable(table.table_id, table.name, fields)

    @precondition(lambda self: len(self.world.tables) < TABLES_MAX)
    @rule()
    def create_table(self) -> None:
        """A table of a new name."""
        draft = TableDraft(self.name("Table"), self.fields_of_a_table())
        self.adopt_table(self.ask(self.bench.schema.create_table(**self.to, table=draft)))
        self.structure_changed()

    @rule(data=st.data(), type_name=st.sampled_from(sorted(DRAFTS)))
    def create_field(self, data: st.DataObject, type_name: str) -> None:
        """A field of a plain type; it is blank in every record."""
        table = self.draw_table(data)
        if len(table.fields) >= FIELDS_MAX:
            return
        options = DRAFTS[type_name]
        draft = FieldDraft(self.name("Field"), type_name, options=options)
        made = self.ask(self.bench.schema.create_field(**self.to, table=table.table_id, field=draft))
        choices = [choice["name"] for choice in (options or {}).get("choices", ())]
        self.adopt(table.table_id, made, ModelField("", draft.name, type_name, choices))
        self.structure_changed()

    @rule(data=st.data())
    def create_link(self, data: st.DataObject) -> None:
        """A link to another table makes its inverse there, named after this table; a link to the own table makes none."""
        self.link(self.draw_table(data), self.draw_table(data))

    def link(self, table: ModelTable, other: ModelTable) -> None:
        """Make a link field."""
        if max(len(table.fields), len(other.fields)) >= FIELDS_MAX:
            return
        draft = FieldDraft(self.name("Link"), "multipleRecordLinks", options={"linkedTableId": other.table_id})
        made = self.ask(self.bench.schema.create_field(**self.to, table=table.table_id, field=draft))
        link = self.adopt(
            table.table_id, made, ModelField("", draft.name, "multipleRecordLinks", linked_table=other.table_id)
        )
        link.inverse = made.options.get("inverseLinkFieldId")
        assert (link.inverse is None) == (table is other)
        if link.inverse is not None:
            back = self.base().tables_by_id[other.table_id].fields_by_id[FieldId(link.inverse)]
            assert back.name.startswith(table.name)
            self.adopt(
                other.table_id,
                back,
                ModelField("", back.name, "multipleRecordLinks", linked_table=table.table_id, inverse=made.field_id),
            )
        self.structure_changed()

    @rule(data=st.data())
    def create_count(self, data: st.DataObject) -> None:
        """A field that counts links."""
        table = self.draw_table(data)
        links = [found for found in table.fields if found.linked_table]
        if not links or len(table.fields) >= FIELDS_MAX:
            return
        counted = data.draw(st.sampled_from(links), label="link")
        draft = FieldDraft(self.name("Count"), "count", options={"recordLinkFieldId": counted.field_id})
        made = self.ask(self.bench.schema.create_field(**self.to, table=table.table_id, field=draft))
        self.adopt(table.table_id, made, ModelField("", draft.name, "count", counted=counted.field_id))
        self.structure_changed()

    @rule(data=st.data())
    def rename(self, data: st.DataObject) -> None:
        """A table or a field gets another name; nothing else changes."""
        table = self.draw_table(data)
        if data.draw(st.booleans(), label="the table"):
            table.name = self.name("Table")
            self.ask(self.bench.schema.update_table(**self.to, table=table.table_id, changes={"name": table.name}))
            return
        found = data.draw(st.sampled_from(table.fields), label="field")
        found.name = self.name("Renamed")
        self.ask(
            self.bench.schema.update_field(
                **self.to, table=table.table_id, field_id=FieldId(found.field_id), changes={"name": found.name}
            )
        )

    @rule(data=st.data())
    def delete_field(self, data: st.DataObject) -> None:
        """A field goes, and with a link its inverse. The primary field stays."""
        table = self.draw_table(data)
        if len(table.fields) < 3:
            return
        found = data.draw(st.sampled_from(table.fields[2:]), label="field")
        deleted = self.world.delete_field(table.table_id, found.field_id)
        self.ask(self.bench.schema.delete_field(**self.to, table=table.table_id, field_id=FieldId(found.field_id)))
        self.structure_changed()
        self.deleted = [(found.field_id, deleted)]

    @precondition(lambda self: len(self.world.tables) > 1)
    @rule(data=st.data())
    def delete_table(self, data: st.DataObject) -> None:
        """A table goes, and the links to it. The last one stays."""
        table = self.draw_table(data)
        deleted = self.world.delete_table(table.table_id)
        assert self.ask(self.bench.schema.delete_table(**self.to, table=table.table_id)) == table.table_id
        self.structure_changed()
        self.deleted = [(table.table_id, deleted)]

    @precondition(lambda self: self.deleted)
    @rule()
    def restore_structure(self) -> None:
        """The field or table that was deleted last comes back to its place with its cells."""
        item_id, deleted = self.deleted.pop()
        self.world.bring_back(deleted)
        restored = self.ask(self.bench.schema.restore(**self.to, item_id=item_id))
        assert restored.name == (deleted.fields[0][2] if deleted.table is None else deleted.table).name
        self.structure_changed()

    # Records

    def send_create(self, table: ModelTable, rows: list[dict[str, Any]], *, typecast: bool) -> list[Any]:
        """Create through the service."""
        return decoded(
            self.ask(
                self.bench.records.create_records(
                    **self.to, table=table.table_id, rows=tuple(rows), typecast=typecast, by_id=True
                )
            )
        )

    @rule(data=st.data(), typecast=st.booleans(), count=st.integers(1, 4))
    def create_records(self, data: st.DataObject, typecast: bool, count: int) -> None:
        """Some records, in order."""
        table, before = self.draw_table(data), self.world.snapshot()
        rows = [self.draw_cells(data, table, typecast=typecast) for _ in range(count)]
        made = self.send_create(table, rows, typecast=typecast)
        for record, cells in zip(made, rows, strict=True):
            self.world.create(table.table_id, record["id"], cells)
        shown = dict(self.world.records(table.table_id))
        assert [(record["id"], record["fields"]) for record in made] == [(one["id"], shown[one["id"]]) for one in made]
        self.wrote(before)

    @rule(data=st.data(), typecast=st.booleans(), is_replacing=st.booleans())
    def update_records(self, data: st.DataObject, typecast: bool, is_replacing: bool) -> None:
        """Some records, each with cells of its own."""
        table, before = self.draw_table(data), self.world.snapshot()
        if not table.rows:
            return
        changes = {one: self.draw_cells(data, table, typecast=typecast) for one in self.draw_rows(data, table)}
        self.ask(
            self.bench.records.update_records(
                **self.to,
                table=table.table_id,
                changes=tuple(RecordChange(RecordId(one), cells) for one, cells in changes.items()),
                is_replacing=is_replacing,
                typecast=typecast,
                by_id=True,
            )
        )
        self.world.update_all(table.table_id, changes, is_replacing=is_replacing)
        self.wrote(before)

    @rule(data=st.data(), names=st.lists(TEXTS.filter(bool), min_size=1, max_size=3, unique=True))
    def upsert_records(self, data: st.DataObject, names: list[str]) -> None:
        """One match is updated, none creates a record, several refuse the whole request."""
        table, before = self.draw_table(data), self.world.snapshot()
        primary = table.fields[0].field_id
        matches = {name: [one for one in table.rows if self.world.cells.get((one, primary)) == name] for name in names}
        rows = [{**self.draw_cells(data, table), primary: name} for name in names]
        work = self.bench.records.upsert_records(
            **self.to,
            table=table.table_id,
            merge_on=(primary,),
            changes=tuple(RecordChange(None, cells) for cells in rows),
            is_replacing=False,
            typecast=False,
            by_id=True,
        )
        if any(len(found) > 1 for found in matches.values()):
            with pytest.raises(AmbiguousUpsert):
                self.ask(work)
            return
        answer = self.ask(work)
        records = decoded(answer.records)
        assert set(answer.updated_ids) == {one for found in matches.values() for one in found}
        for record, name in zip(records, names, strict=True):
            if matches[name]:
                assert record["id"] == matches[name][0]
            else:
                self.world.create(table.table_id, record["id"], {})
        written = {record["id"]: cells for record, cells in zip(records, rows, strict=True)}
        self.world.update_all(table.table_id, written)
        self.wrote(before)

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        """Some records go, and links to them."""
        table, before = self.draw_table(data), self.world.snapshot()
        if not table.rows:
            return
        gone = self.draw_rows(data, table)
        self.ask(
            self.bench.records.delete_records(
                **self.to, table=table.table_id, record_ids=tuple(RecordId(one) for one in gone)
            )
        )
        for record_id in gone:
            self.world.delete(table.table_id, record_id)
        self.wrote(before)
        self.deleted.clear()
        self.deleted_records = dict.fromkeys(gone, (table.table_id, before))

    @precondition(lambda self: self.deleted_records)
    @rule()
    def restore_records(self) -> None:
        """What the last operation deleted comes back as it was."""
        ids = tuple(RecordId(one) for one in self.deleted_records)
        _, before = next(iter(self.deleted_records.values()))
        restored = self.ask(self.bench.records.restore_records(**self.to, record_ids=ids))
        assert set(restored) == set(ids)
        self.world.restore(before)
        self.adopt_order()
        self.structure_changed()

    @precondition(lambda self: self.undoable)
    @rule()
    def undo(self) -> None:
        """The last operation on records is taken back whole."""
        self.ask(self.bench.records.undo(**self.to))
        self.world.restore(self.undoable.pop())
        self.adopt_order()
        self.deleted_records.clear()
        self.deleted.clear()

    @rule(data=st.data())
    def a_wrong_cell_refuses_all(self, data: st.DataObject) -> None:
        """A batch with one bad cell changes nothing, and takes no number."""
        table = self.draw_table(data)
        bad = data.draw(st.sampled_from(table.fields), label="field")
        rows = [self.draw_cells(data, table), {bad.field_id: WRONG[bad.type]}]
        with pytest.raises(AppError):
            self.send_create(table, rows, typecast=False)
        if table.rows:
            changes = (RecordChange(RecordId(table.rows[0]), {**rows[0], **rows[1]}),)
            with pytest.raises(AppError):
                self.ask(
                    self.bench.records.update_records(
                        **self.to,
                        table=table.table_id,
                        changes=changes,
                        is_replacing=True,
                        typecast=False,
                        by_id=True,
                    )
                )

    # Comparing

    @invariant()
    def the_same(self) -> None:
        """Structure and every record, in order."""
        base = self.base()
        found = [
            (
                table.table_id,
                table.name,
                [(one.field_id, one.name, one.type, _choices(one)) for one in table.fields],
            )
            for table in base.tables
        ]
        assert found == self.world.structure()
        for table_id in self.world.tables:
            assert self.ask(self._records(table_id)) == self.world.records(table_id)

    async def _records(self, table_id: str) -> list[tuple[str, dict[str, Any]]]:
        records: list[tuple[str, dict[str, Any]]] = []
        offset = None
        while True:
            query = ListQuery(page_size=7, offset=offset, by_id=True)
            page = await self.bench.records.list_records(**self.to, table=table_id, query=query)
            records += [(record["id"], record["fields"]) for record in decoded(page.records)]
            offset = page.offset
            if offset is None:
                return records


def _choices(of: Field) -> list[str]:
    return [choice["name"] for choice in (of.options or {}).get("choices", ())]


def _machines(run: Callable[[Coroutine[Any, Any, Any]], Any], database: Database, cache: Cache) -> Any:
    return lambda: Machine(run, database, cache)


async def test_services_and_model_agree(database: Database, cache: Cache) -> None:
    loop = asyncio.get_running_loop()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    options = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, _machines(run, database, cache), settings=options)
