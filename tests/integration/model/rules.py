"""Airtable's rules for tables, fields, records and links, as plainly as they can be written: lists and dictionaries."""

import copy
from dataclasses import dataclass, field
from typing import Any

Cells = dict[tuple[str, str], Any]
"""By record id and field id; blank cells have no entry."""


@dataclass
class ModelField:
    """A field. Of a link: the table it leads to, and the field there that shows the other side, if there is one."""

    field_id: str
    name: str
    type: str
    choices: list[str] = field(default_factory=list)
    linked_table: str = ""
    inverse: str | None = None
    counted: str = ""
    """Of a count: the link field."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Short, for the steps of a failing example."""
        printer.text(f"{self.name} ({self.type}{f', to {self.linked_table}' if self.linked_table else ''})")


@dataclass
class ModelTable:
    """Fields and records in order; the first field is the primary one, the second numbers the records."""

    table_id: str
    name: str
    fields: list[ModelField]
    rows: list[str] = field(default_factory=list)
    numbered: int = 0

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Short, too."""
        printer.text(f"{self.name} {self.table_id}, {len(self.rows)} records")


@dataclass
class Deleted:
    """A field, or the two of a pair, or a table with the fields that led to it; with the places they had."""

    fields: list[tuple[str, int, ModelField]]
    table: ModelTable | None = None
    table_place: int = 0


Snapshot = tuple[dict[str, list[str]], Cells]


class World:
    """A base. Every method changes it as Airtable would; none checks anything, the caller asks for what is allowed."""

    def __init__(self) -> None:
        self.tables: dict[str, ModelTable] = {}
        self.cells: Cells = {}

    def field(self, table_id: str, field_id: str) -> ModelField | None:
        """A field of a table, unless it is deleted."""
        return next((found for found in self.tables[table_id].fields if found.field_id == field_id), None)

    # Records

    def create(self, table_id: str, record_id: str, cells: dict[str, Any]) -> None:
        """A new record, last in its table."""
        table = self.tables[table_id]
        table.rows.append(record_id)
        table.numbered += 1
        self.cells[record_id, table.fields[1].field_id] = table.numbered
        self.update(table_id, record_id, cells)

    def update(self, table_id: str, record_id: str, cells: dict[str, Any], *, is_replacing: bool = False) -> None:
        """Write cells; with `is_replacing` the others that can be written become blank."""
        for found in self.tables[table_id].fields:
            if found.type in ("autoNumber", "count"):
                continue
            if found.field_id in cells or is_replacing:
                self._write(record_id, found, cells.get(found.field_id))

    def update_all(self, table_id: str, changes: dict[str, dict[str, Any]], *, is_replacing: bool = False) -> None:
        """One request for several records: links that are new in a cell of the other side stand there in their order of creation."""
        links = {found.field_id for found in self.tables[table_id].fields if found.linked_table}
        for record_id, cells in changes.items():
            plain = {key: value for key, value in cells.items() if key not in links}
            kept = {key: self.cells.get((record_id, key)) for key in links}
            self.update(table_id, record_id, {**plain, **kept}, is_replacing=is_replacing)
        for record_id in self.tables[table_id].rows:
            if record_id in changes:
                linked = {
                    key: changes[record_id].get(key) for key in links if is_replacing or key in changes[record_id]
                }
                self.update(table_id, record_id, linked)

    def _write(self, record_id: str, of: ModelField, value: Any) -> None:
        if of.type == "multipleRecordLinks":
            self._link(record_id, of, list(dict.fromkeys(value or ())))
            return
        if of.type in ("singleSelect", "multipleSelects"):
            for name in [value] if isinstance(value, str) else value or ():
                if name and name not in of.choices:
                    of.choices.append(name)
        if of.type == "multipleSelects" and value:
            value = list(dict.fromkeys(value))
        if value is None or value is False or value in ("", []):
            self.cells.pop((record_id, of.field_id), None)
        else:
            self.cells[record_id, of.field_id] = value

    def _link(self, record_id: str, of: ModelField, linked: list[str]) -> None:
        """The written cell has exactly that order; in the cells of the other side new links go last."""
        before = self.cells.get((record_id, of.field_id), [])
        self._keep(record_id, of.field_id, linked)
        if of.inverse is not None:
            for other in before:
                if other not in linked:
                    self._unlink(other, of.inverse, record_id)
            for other in linked:
                if other not in before:
                    self._keep(other, of.inverse, [*self.cells.get((other, of.inverse), []), record_id])

    def _unlink(self, record_id: str, field_id: str, other: str) -> None:
        self._keep(record_id, field_id, [kept for kept in self.cells.get((record_id, field_id), []) if kept != other])

    def _keep(self, record_id: str, field_id: str, linked: list[str]) -> None:
        if linked:
            self.cells[record_id, field_id] = linked
        else:
            self.cells.pop((record_id, field_id), None)

    def delete(self, table_id: str, record_id: str) -> None:
        """Take a record away, and the links to it with it."""
        self.tables[table_id].rows.remove(record_id)
        links = {found.field_id for table in self.tables.values() for found in table.fields if found.linked_table}
        for place, value in list(self.cells.items()):
            if place[0] == record_id:
                del self.cells[place]
            elif place[1] in links and record_id in value:
                self._unlink(*place, record_id)

    def snapshot(self) -> Snapshot:
        """All records as they are now."""
        return {table.table_id: list(table.rows) for table in self.tables.values()}, copy.deepcopy(self.cells)

    def restore(self, snapshot: Snapshot) -> None:
        """All records as they were; choices and numbers that were given out stay."""
        rows, cells = snapshot
        for table in self.tables.values():
            table.rows = list(rows[table.table_id])
        self.cells = copy.deepcopy(cells)

    def adopt_order(self, table_id: str, records: list[tuple[str, dict[str, Any]]]) -> None:
        """Take the order of the same links from elsewhere: what comes back may stand last in the cells of other records."""
        for record_id, cells in records:
            for found in self.tables[table_id].fields:
                ours, theirs = self.cells.get((record_id, found.field_id), []), cells.get(found.field_id, [])
                if found.linked_table and ours != theirs and sorted(ours) == sorted(theirs):
                    self.cells[record_id, found.field_id] = theirs

    # Structure

    def delete_field(self, table_id: str, field_id: str) -> Deleted:
        """Take a field away, and the other one of its pair. What was in the cells comes back with it."""
        found = self.field(table_id, field_id)
        assert found is not None
        gone = [(table_id, found)]
        if found.inverse is not None:
            inverse = self.field(found.linked_table, found.inverse)
            assert inverse is not None
            gone.append((found.linked_table, inverse))
        deleted = Deleted([(where, self.tables[where].fields.index(one), one) for where, one in gone])
        for where, one in gone:
            self.tables[where].fields.remove(one)
        return deleted

    def delete_table(self, table_id: str) -> Deleted:
        """Take a table away, and the fields of others that link to it."""
        gone = [
            (table.table_id, place, one)
            for table in self.tables.values()
            for place, one in enumerate(table.fields)
            if one.linked_table == table_id != table.table_id
        ]
        place = list(self.tables).index(table_id)
        deleted = Deleted(gone, self.tables.pop(table_id), place)
        for where, _, one in gone:
            self.tables[where].fields.remove(one)
        return deleted

    def bring_back(self, deleted: Deleted) -> None:
        """Bring fields, or a table with fields of others, back to their places."""
        if deleted.table is not None:
            tables = list(self.tables.values())
            tables.insert(deleted.table_place, deleted.table)
            self.tables = {table.table_id: table for table in tables}
        for where, place, one in deleted.fields:
            self.tables[where].fields.insert(place, one)

    # What is to be seen

    def structure(self) -> list[Any]:
        """Tables with their fields, all in order."""
        return [
            (table.table_id, table.name, [(one.field_id, one.name, one.type, one.choices) for one in table.fields])
            for table in self.tables.values()
        ]

    def records(self, table_id: str) -> list[tuple[str, dict[str, Any]]]:
        """The records of a table in order, cells by field id."""
        return [(record_id, dict(self._shown(table_id, record_id))) for record_id in self.tables[table_id].rows]

    def _shown(self, table_id: str, record_id: str) -> list[tuple[str, Any]]:
        shown = []
        for found in self.tables[table_id].fields:
            if found.type == "count":
                if self.field(table_id, found.counted) is not None:
                    shown.append((found.field_id, len(self.cells.get((record_id, found.counted), []))))
            elif (record_id, found.field_id) in self.cells:
                shown.append((found.field_id, self.cells[record_id, found.field_id]))
        return shown
