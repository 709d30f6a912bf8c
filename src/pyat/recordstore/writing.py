"""Plans for writing records: one statement for a batch, which checks the structure's version, writes, notes the change
in the base's log, and answers. The log's counter keeps other writers of the base waiting, so the transaction commits
without waiting for the disk (`DEFERRED`); the caller waits for `Database.flush` before it confirms the write.

A statement writes everything or nothing by itself: its conditions (right version, every record there) are part of it,
so no transaction has to be held open across round trips. Cells arrive as one array for each column.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pyat.foundation.db import DEFERRED
from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore.changelog import Kind, Source
from pyat.recordstore.columns import column_type, concat, record_json
from pyat.recordstore.ddl import relation
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Field, Table

Cells = Mapping[str, Any]
"""Stored values by field id; None clears the cell."""


@dataclass(frozen=True, slots=True)
class Change:
    """New values for some cells of one record."""

    record_id: RecordId
    cells: Cells


@dataclass(frozen=True, slots=True)
class Restored:
    """A record to insert with its own id, place and times."""

    record_id: RecordId
    system: Mapping[str, Any]
    """`_n`, `_created`, `_modified`, `_created_by`, `_modified_by`."""
    cells: Cells


def _array(field_id: str, pg_type: str, rows: Sequence[Cells]) -> tuple[str, list[Any]]:
    """The type and the items of a column's parameter. PostgreSQL has no arrays of arrays, so those travel as text."""
    values = [row.get(field_id) for row in rows]
    if pg_type.endswith("[]"):
        return "text[]", [None if value is None else _array_text(value) for value in values]
    return f"{pg_type}[]", values


def _array_text(items: Iterable[str]) -> str:
    quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    return "{" + ",".join(quoted) + "}"


def _version(base_id: BaseId) -> str:
    return f"(SELECT version FROM {quote(base_id)}.base_state)"


def _columns(table: Table, rows: Sequence[Cells]) -> list[tuple[Field, str]]:
    named = set().union(*rows)
    typed = [(field, column_type(field)) for field in table.fields if field.field_id in named]
    return [(field, pg_type) for field, pg_type in typed if pg_type is not None]


def _watched(table: Table, field: Field) -> list[Field]:
    """The fields whose changes a modified-time field notes, where it has a column of its own."""
    wanted = set(field.options.get("referencedFieldIds") or ())
    return [other for other in table.fields if other.field_id in wanted]


def _own_modified_times(table: Table) -> list[Field]:
    return [field for field in table.fields if field.type == "lastModifiedTime" and column_type(field) is not None]


def create(
    base_id: BaseId,
    table: Table,
    *,
    version: int,
    record_ids: Sequence[RecordId],
    rows: Sequence[Cells],
    user_id: str,
    by_id: bool,
    source: Source = Source.API,
    logs: bool = True,
) -> tuple[Statement, tuple[Any, ...]]:
    """Insert `rows` in order under `record_ids`. One row: `body` (bytes: the created records as JSON, comma-separated)
    and `numbers` (int8[]: their creation numbers in order).

    A NULL `body` means that the base's structure has another version now and nothing was written. Without `logs` the
    caller notes the change itself, in the same transaction: see `created_cells`.
    """
    columns = _columns(table, rows)
    arguments: list[Any] = [version, user_id, list(record_ids)]
    names, selected, arrays, aliases = [], [], ["$3::text[]"], ["_id"]
    for number, (field, pg_type) in enumerate(columns):
        array_type, values = _array(field.field_id, pg_type, rows)
        arguments.append(values)
        arrays.append(f"${len(arguments)}::{array_type}")
        aliases.append(f"c{number}")
        names.append(quote(field.field_id))
        selected.append(_typed(f"u.c{number}", pg_type))
    base, count = quote(base_id), len(rows)
    counter = ""
    numbered = [field for field in table.fields if field.type == "autoNumber"]
    if numbered:
        # The counter's row is locked until commit: numbers have no gaps and a failed request consumes none.
        counter = (
            f"counter AS (UPDATE {base}.base_tables SET auto_number = auto_number + {count}"
            f" WHERE table_id = {literal(table.table_id)} AND {_version(base_id)} = $1 RETURNING auto_number), "
        )
        for field in numbered:
            names.append(quote(field.field_id))
            selected.append(f"(SELECT auto_number FROM counter) - {count} + u._place")
    for field in _own_modified_times(table):
        names.append(quote(field.field_id))
        selected.append("date_trunc('milliseconds', now())")
    log = ""
    if logs:
        arguments.append([created_cells(columns, row) for row in rows])
        log = (
            f", log AS (UPDATE {base}.base_log SET last = last + {count}"
            f" WHERE (SELECT count(*) FROM made) = {count} AND {DEFERRED} RETURNING last),"
            f" logged AS (INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
            f" SELECT log.last - {count} + e._place, now(), {table.number}, {Kind.RECORD_CREATED:d},"
            f" {source:d}, $2, e._id, e._cells"
            f" FROM log, unnest($3::text[], ${len(arguments)}::text[]) WITH ORDINALITY AS e(_id, _cells, _place))"
        )
    text = (
        f"WITH {counter}made AS (INSERT INTO {relation(base_id, table.table_id)}"
        f" (_id, _created, _modified, _created_by, _modified_by{''.join(f', {name}' for name in names)})"
        " SELECT u._id, date_trunc('second', now()), date_trunc('milliseconds', now()), $2::text, $2::text"
        f"{''.join(f', {item}' for item in selected)}"
        f" FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)"
        f" WHERE {_version(base_id)} = $1::int8 ORDER BY u._place RETURNING *){log}"
        f" SELECT convert_to(string_agg({record_json(table, by_id=by_id)}, ',' ORDER BY r._n), 'UTF8') AS body,"
        " array_agg(r._n ORDER BY r._n) AS numbers FROM made r"
    )
    return Statement("create_records", text), tuple(arguments)


def created_cells(columns: Sequence[tuple[Field, str]], row: Cells) -> str:
    """What the change log holds of a new record: its stored cells by the numbers of their fields, blank ones left out."""
    cells = {
        str(field.number): _plain(row[field.field_id], pg_type)
        for field, pg_type in columns
        if row.get(field.field_id) is not None
    }
    return orjson.dumps(cells).decode()


def note_loaded(base_id: BaseId, table: Table, *, source: Source) -> Statement:
    """Put the rows that this transaction loaded into the log, by user `$1`: COPY notes nothing itself."""
    base = quote(base_id)
    parts = [
        f"{literal(f',{_key(field)}:')} || to_json(r.{quote(field.field_id)})"
        for field in table.fields
        if column_type(field) is not None and not find(field.type).is_computed
    ]
    return Statement(
        "note_loaded",
        f"WITH made AS (SELECT r._id, '{{' || ltrim({_joined(parts)}, ',') || '}}' AS cells,"
        f" row_number() OVER (ORDER BY r._n) AS place FROM {relation(base_id, table.table_id)} r"
        " WHERE r.xmin = pg_current_xact_id()::xid),"
        f" log AS (UPDATE {base}.base_log SET last = last + t.count FROM (SELECT count(*) FROM made) t"
        " RETURNING last, t.count)"
        f" INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
        f" SELECT log.last - log.count + made.place, now(), {table.number}, {Kind.RECORD_CREATED:d}, {source:d}, $1,"
        " made._id, made.cells FROM made, log ORDER BY made.place",
    )


def _plain(value: Any, pg_type: str) -> Any:
    """A stored value for JSON."""
    return orjson.Fragment(value) if pg_type in ("json", "jsonb") else value


def stored_columns(table: Table, rows: Sequence[Cells]) -> list[tuple[Field, str]]:
    """The fields that any of `rows` has a cell of, with their columns' types; those without a column are left out."""
    return _columns(table, rows)


def update(
    base_id: BaseId,
    table: Table,
    *,
    version: int,
    changes: Sequence[Change],
    is_replacing: bool,
    user_id: str,
    by_id: bool,
    source: Source = Source.API,
    logs: bool = True,
    touched: Sequence[bool] | None = None,
    touched_field_ids: Collection[str] = (),
) -> tuple[Statement, tuple[Any, ...]]:
    """Set cells of existing records, each named once; `is_replacing` clears all stored cells that a change leaves out.

    One row: `version` now, `found` (how many of the records exist), `body` (bytes: the records in the order of
    `changes`) and `cells` (text[] in that order: what the change log holds of each, "" where nothing differs). Nothing
    was written where `version` differs or `found` is less than asked. Without `logs` the caller notes the change.
    `touched` says of each record whether something of it changes beside this statement: links of `touched_field_ids`.
    """
    rows = [change.cells for change in changes]
    if is_replacing:
        blank: dict[str, Any] = {
            field.field_id: None
            for field in table.fields
            if column_type(field) is not None and not find(field.type).is_computed
        }
        rows = [{**blank, **row} for row in rows]
    columns = _columns(table, rows)
    arguments: list[Any] = [version, user_id, [change.record_id for change in changes]]
    arrays, aliases = ["$3::text[]"], ["_id"]
    new: dict[str, str] = {}
    differences: list[str] = []
    for number, (field, pg_type) in enumerate(columns):
        array_type, values = _array(field.field_id, pg_type, rows)
        arguments.append(values)
        arrays.append(f"${len(arguments)}::{array_type}")
        aliases.append(f"c{number}")
        value = _typed(f"u.c{number}", pg_type)
        given = [field.field_id in row for row in rows]
        own = quote(field.field_id)
        differs = f"o.{own} IS DISTINCT FROM {value}"
        new[field.field_id] = f"d.c{number}"
        if not all(given):
            arguments.append(given)
            arrays.append(f"${len(arguments)}::bool[]")
            aliases.append(f"h{number}")
            differs = f"u.h{number} AND {differs}"
            new[field.field_id] = f"CASE WHEN d.h{number} THEN d.c{number} ELSE r.{own} END"
        if pg_type.endswith("[]"):
            new[field.field_id] = new[field.field_id].replace(f"d.c{number}", f"d.c{number}::{pg_type}")
        differences.append(
            f"CASE WHEN {differs} THEN concat({literal(f',{_key(field)}:[')}, coalesce(to_json(o.{own})::text, 'null'),"
            f" ',', coalesce(to_json({value})::text, 'null'), ']') END"
        )
    name, base = relation(base_id, table.table_id), quote(base_id)
    is_touched = "false"
    if touched is not None:
        arguments.append(list(touched))
        arrays.append(f"${len(arguments)}::bool[]")
        aliases.append("_touched")
        is_touched = "d._touched"
    sets = [f"{quote(field_id)} = {value}" for field_id, value in new.items()]
    if new or touched is not None:
        # A write that changes nothing leaves the modified time alone.
        changed = f"(d._cells <> '' OR {is_touched})"
        sets.append(f"_modified = CASE WHEN {changed} THEN date_trunc('milliseconds', now()) ELSE r._modified END")
        sets.append(f"_modified_by = CASE WHEN {changed} THEN $2::text ELSE r._modified_by END")
        for field in _own_modified_times(table):
            watched = _watched(table, field)
            tests = [
                f"r.{quote(other.field_id)} IS DISTINCT FROM ({new[other.field_id]})"
                for other in watched
                if other.field_id in new
            ]
            tests += [is_touched] if any(other.field_id in touched_field_ids for other in watched) else []
            if tests:
                own = quote(field.field_id)
                sets.append(
                    f"{own} = CASE WHEN {' OR '.join(tests)} THEN date_trunc('milliseconds', now()) ELSE r.{own} END"
                )
    else:
        sets.append("_modified_by = coalesce(r._modified_by, $2::text)")
    log = ""
    if logs and differences:
        log = (
            ", total AS (SELECT count(*) AS count FROM changed WHERE _cells <> ''),"
            f" log AS (UPDATE {base}.base_log SET last = last + total.count FROM total WHERE total.count > 0 AND {DEFERRED}"
            " RETURNING last, total.count),"
            f" logged AS (INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
            f" SELECT log.last - log.count + e.number, now(), {table.number}, {Kind.RECORD_UPDATED:d},"
            f" {source:d}, $2, e._id, '{{' || e._cells || '}}' FROM log,"
            " (SELECT _id, _cells, row_number() OVER (ORDER BY _place) AS number FROM changed WHERE _cells <> '') e)"
        )
    text = (
        f"WITH u AS (SELECT * FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)),"
        # Rows are locked in one order everywhere, so that two batches cannot wait for each other.
        f" locked AS MATERIALIZED (SELECT r.* FROM {name} r WHERE r._id = ANY ($3::text[])"
        f" AND {_version(base_id)} = $1::int8 ORDER BY r._n FOR NO KEY UPDATE),"
        f" d AS MATERIALIZED (SELECT o._n AS _own, u.*, ltrim({_joined(differences)}, ',') AS _cells"
        " FROM locked o JOIN u ON u._id = o._id),"
        f" changed AS (UPDATE {name} r SET {', '.join(sets)} FROM d"
        f" WHERE r._n = d._own AND (SELECT count(*) FROM locked) = {len(changes)} RETURNING r.*, d._place, d._cells){log}"
        f" SELECT {_version(base_id)} AS version, (SELECT count(*) FROM locked) AS found, a.body, a.cells FROM"
        f" (SELECT convert_to(string_agg({record_json(table, by_id=by_id)}, ',' ORDER BY r._place), 'UTF8') AS body,"
        " array_agg(r._cells ORDER BY r._place) AS cells FROM changed r) a"
    )
    return Statement("update_records", text), tuple(arguments)


def _key(field: Field) -> str:
    return f'"{field.number}"'


def _joined(parts: Sequence[str]) -> str:
    return concat(parts) if parts else "''"


def _typed(name: str, pg_type: str) -> str:
    """A column of the parameters as its stored type: arrays travel as text."""
    return f"{name}::{pg_type}" if pg_type.endswith("[]") else name


def delete(
    base_id: BaseId,
    table: Table,
    *,
    version: int,
    record_ids: Sequence[RecordId],
    user_id: str,
    source: Source = Source.API,
    logs: bool = True,
) -> tuple[Statement, tuple[Any, ...]]:
    """Delete records, each named once. One row: `version` now, `found` (how many of them exist) and `cells` (JSON text by record id: what the change
    log holds of each, without braces). Nothing was deleted where `version` differs or `found` is less than asked.

    The log keeps a deleted record whole, so that it can be restored. Without `logs` the caller notes the change.
    """
    name, base, count = relation(base_id, table.table_id), quote(base_id), len(record_ids)
    log = ""
    if logs:
        log = (
            f", log AS (UPDATE {base}.base_log SET last = last + {count}"
            f" WHERE (SELECT count(*) FROM gone) = {count} AND {DEFERRED} RETURNING last),"
            f" logged AS (INSERT INTO {base}.base_changes (n, at, table_number, kind, source, actor, item, cells)"
            f" SELECT log.last - {count} + e.number, now(), {table.number}, {Kind.RECORD_DELETED:d},"
            f" {source:d}, $2, e._id, '{{' || e._cells || '}}' FROM log,"
            " (SELECT _id, _cells, row_number() OVER (ORDER BY _n) AS number FROM gone) e)"
        )
    text = (
        f"WITH locked AS MATERIALIZED (SELECT r._n FROM {name} r WHERE r._id = ANY ($1::text[])"
        f" AND {_version(base_id)} = $3::int8 ORDER BY r._n FOR UPDATE),"
        f" gone AS (DELETE FROM {name} r USING locked WHERE r._n = locked._n"
        f" AND (SELECT count(*) FROM locked) = {count} RETURNING r._n, r._id, {_deleted_cells(table)} AS _cells){log}"
        f" SELECT {_version(base_id)} AS version, (SELECT count(*) FROM locked) AS found,"
        " (SELECT json_object_agg(_id, _cells)::text FROM gone) AS cells,"
        " $2::text AS actor"
    )
    return Statement("delete_records", text), (list(record_ids), user_id, version)


def restore(base_id: BaseId, table: Table, *, version: int, record: Restored) -> tuple[Statement, tuple[Any, ...]]:
    """Insert a deleted record as it was, in its old place. One value: how many were inserted.

    0 means that the base's structure has another version now, or that the record is there.
    """
    columns = _columns(table, [record.cells])
    names = ["_n", "_id", "_created", "_modified", "_created_by", "_modified_by"]
    types = ["int8", "text", "timestamptz", "timestamptz", "text", "text"]
    arguments: list[Any] = [version, record.system["_n"], record.record_id]
    arguments += [record.system[name] for name in names[2:]]
    for field, pg_type in columns:
        names.append(field.field_id)
        types.append(pg_type)
        arguments.append(record.cells[field.field_id])
    values = ", ".join(f"${number}::{pg_type}" for number, pg_type in enumerate(types, 2))
    text = (
        f"WITH made AS (INSERT INTO {relation(base_id, table.table_id)} ({', '.join(quote(name) for name in names)})"
        f" SELECT {values} WHERE {_version(base_id)} = $1::int8 ON CONFLICT DO NOTHING RETURNING _n)"
        " SELECT count(*) FROM made"
    )
    return Statement("restore_record", text), tuple(arguments)


def _deleted_cells(table: Table) -> str:
    """SQL text of a whole record as the change log keeps it, without braces: system columns, then what is not blank."""
    parts = [
        """ '"_n":' || r._n """,
        """ ',"_created":' || to_json(r._created) """,
        """ ',"_modified":' || to_json(r._modified) """,
        """ ',"_created_by":' || to_json(r._created_by) """,
        """ ',"_modified_by":' || to_json(r._modified_by) """,
    ]
    parts += [
        f"{literal(f',{_key(field)}:')} || to_json(r.{quote(field.field_id)})"
        for field in table.fields
        if column_type(field) is not None
    ]
    return concat([part.strip() for part in parts])


def existing(base_id: BaseId, table: Table) -> Statement:
    """Which of `$1::text[]` exist, one id a row."""
    return Statement(
        "existing_records", f"SELECT r._id FROM {relation(base_id, table.table_id)} r WHERE r._id = ANY ($1::text[])"
    )


def matches(
    base_id: BaseId, table: Table, *, merge_on: Sequence[Field], keys: Sequence[Cells]
) -> tuple[Statement, tuple[Any, ...]]:
    """For each of `keys` (values of the merge fields, none blank) the records that equal it.

    Rows: `place` (1-based position in `keys`), `record_id` (the oldest of them), `count`. Selects of several choices compare
    as sets. Cost: one scan of the table unless an index serves a merge field.
    """
    arguments: list[Any] = []
    arrays, aliases, tests = [], [], []
    for number, field in enumerate(merge_on):
        pg_type = find(field.type).pg_type
        array_type, values = _array(field.field_id, pg_type, keys)
        arguments.append(values)
        arrays.append(f"${len(arguments)}::{array_type}")
        aliases.append(f"c{number}")
        stored = f"r.{quote(field.field_id)}"
        if pg_type.endswith("[]"):
            tests.append(f"{_sorted(stored)} = {_sorted(f'u.c{number}::{pg_type}')}")
        else:
            tests.append(f"{stored} = u.c{number}")
    return (
        Statement(
            "match_records",
            "SELECT u._place AS place, (array_agg(r._id ORDER BY r._n))[1] AS record_id, count(*) AS count"
            f" FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)"
            f" JOIN {relation(base_id, table.table_id)} r ON {' AND '.join(tests)} GROUP BY u._place",
        ),
        tuple(arguments),
    )


def _sorted(array: str) -> str:
    return f"(SELECT array_agg(x ORDER BY x) FROM unnest({array}) AS x)"


UPSERT_LOCK = Statement("upsert_lock", "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
"""Two upserts into one table take turns, so that a retry of one that is still running cannot create a second record."""
