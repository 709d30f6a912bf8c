"""The change log read back: entries as people and programs see them, and the writes that take an operation back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson

from pyat.foundation.clock import wire_time
from pyat.foundation.ids import RecordId
from pyat.recordstore.changelog import Kind, Noted
from pyat.recordstore.columns import column_type
from pyat.recordstore.structure import Base, Field, Table
from pyat.recordstore.writing import Restored

_SIGNS = {"+": "added", "-": "removed", "in": "added", "out": "removed"}


def kind_name(kind: Kind) -> str:
    """What happened, as clients read it: `record.updated`."""
    return kind.name.lower().replace("_", ".", 1)


class Names:
    """The fields and tables of a base by the numbers the log calls them."""

    def __init__(self, base: Base) -> None:
        self.tables: dict[int, Table] = {table.number: table for table in base.tables}
        self.fields: dict[str, Field] = {str(own.number): own for table in base.tables for own in table.fields}


def shown(entry: Noted, names: Names) -> dict[str, Any]:
    """An entry as JSON: values are those that are stored, choices also by name; what was deleted since goes by number."""
    table = None if entry.table_number is None else names.tables.get(entry.table_number)
    found: dict[str, Any] = {
        "number": entry.n,
        "operation": entry.operation,
        "time": wire_time(entry.at),
        "actor": None if entry.actor is None else {"id": entry.actor},
        "source": entry.source.name.lower(),
        "type": kind_name(entry.kind),
        "item": entry.item,
    }
    if table is not None:
        found["tableId"] = table.table_id
    if entry.undoes is not None:
        found["undoes"] = entry.undoes
    if entry.cells is None:
        return found
    cells = orjson.loads(entry.cells)
    if entry.kind > Kind.RECORD_RESTORED:
        found["change"] = cells
        return found
    found["cells"] = {}
    for key, value in cells.items():
        own = names.fields.get(key)
        if key.startswith("_"):
            continue
        field_id = f"field {key}" if own is None else own.field_id
        found["cells"][field_id] = _shown_cell(entry.kind, own, value)
    return found


def _shown_cell(kind: Kind, own: Field | None, value: Any) -> dict[str, Any]:
    if kind is not Kind.RECORD_UPDATED:
        side = "before" if kind is Kind.RECORD_DELETED else "after"
        return {side: _shown_value(own, value)}
    if isinstance(value, dict):
        return {_SIGNS[sign]: ids for sign, ids in value.items()}
    before, after = value
    return {"before": _shown_value(own, before), "after": _shown_value(own, after)}


def _shown_value(own: Field | None, value: Any) -> Any:
    choices = None if own is None else own.options.get("choices")
    if value is None or choices is None:
        return value
    names = {choice["id"]: {"id": choice["id"], "name": choice["name"]} for choice in choices}
    if isinstance(value, list):
        return [names.get(item, {"id": item}) for item in value]
    return names.get(value, {"id": value})


def stored_value(own: Field, value: Any) -> Any:
    """A value of the log as asyncpg takes it for the field's column."""
    pg_type = column_type(own)
    if value is None or pg_type is None:
        return value
    match pg_type:
        case "date":
            return date.fromisoformat(value)
        case "timestamptz":
            return datetime.fromisoformat(value)
        case "float8":
            return float(value)
        case "json" | "jsonb":
            return orjson.dumps(value).decode()
        case _:
            return value


@dataclass(frozen=True, slots=True)
class Restorable:
    """A deleted record as the log kept it; `links` are record ids by the id of the link field."""

    table: Table
    record: Restored
    links: Mapping[str, list[str]]
    deletion: Noted


def restorable(entry: Noted, names: Names) -> Restorable | None:
    """The record of a deletion; None where its table is not there any more. Cells of fields that are gone are left out."""
    table = None if entry.table_number is None else names.tables.get(entry.table_number)
    if table is None or entry.cells is None:
        return None
    document: Mapping[str, Any] = orjson.loads(entry.cells)
    system = {key: value for key, value in document.items() if key.startswith("_")}
    for key in ("_created", "_modified"):
        system[key] = datetime.fromisoformat(system[key])
    cells: dict[str, Any] = {}
    links: dict[str, list[str]] = {}
    for key, value in document.items():
        own = names.fields.get(key)
        if own is None or own.field_id not in table.fields_by_id:
            continue
        if own.link is not None:
            links[own.field_id] = value
        elif column_type(own) is not None:
            cells[own.field_id] = stored_value(own, value)
    return Restorable(table, Restored(RecordId(entry.item), system, cells), links, entry)


def linked_one_way(deletion: Noted, entries: Iterable[Noted], names: Names) -> list[tuple[Table, Field, RecordId]]:
    """The cells of others that lost a record by its deletion and that no field of its own shows: self links.

    `entries` are those of the same transaction.
    """
    found = []
    for entry in entries:
        table = None if entry.table_number is None else names.tables.get(entry.table_number)
        if table is None or entry.kind is not Kind.RECORD_UPDATED:
            continue
        for key, value in orjson.loads(entry.cells or "{}").items():
            own = names.fields.get(key)
            is_one_way = own is not None and own.link is not None and own.link.inverse_field_id is None
            if own is not None and is_one_way and isinstance(value, dict) and deletion.item in value.get("out", ()):
                found.append((table, own, RecordId(entry.item)))
    return found


def taken_back(entry: Noted, names: Names) -> dict[str, Any]:
    """The cells of an update as they were before, by field id; links as `{"+": …, "-": …}` where the log has no more.

    Links that came in from the other side are left out: that side's own entry takes them back.
    """
    cells: dict[str, Any] = {}
    for key, value in orjson.loads(entry.cells or "{}").items():
        own = names.fields.get(key)
        if own is None:
            continue
        if isinstance(value, list):
            cells[own.field_id] = stored_value(own, value[0])
        elif "in" not in value and "out" not in value:
            cells[own.field_id] = value
        elif "out" in value and own.link is not None and own.link.inverse_field_id is None:
            # A link without an inverse to a record that was deleted: the deleted record's own entry knows nothing of it.
            cells[own.field_id] = {"-": value["out"]}
    return cells
