"""Plans for writing records: one statement for a batch, which checks the structure's version, writes, and answers.

A statement writes everything or nothing by itself: its conditions (right version, every record there) are part of it,
so no transaction has to be held open across round trips. Cells arrive as one array for each column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore.columns import column_type, record_json
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
) -> tuple[Statement, tuple[Any, ...]]:
    """Insert `rows` in order under `record_ids`. One value: the created records as JSON, comma-separated, as bytes.

    NULL means that the base's structure has another version now and nothing was written.
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
        selected.append(f"u.c{number}::{pg_type}" if pg_type.endswith("[]") else f"u.c{number}")
    counter = ""
    numbered = [field for field in table.fields if field.type == "autoNumber"]
    if numbered:
        # The counter's row is locked until commit: numbers have no gaps and a failed request consumes none.
        counter = (
            f"counter AS (UPDATE {quote(base_id)}.base_tables SET auto_number = auto_number + {len(rows)}"
            f" WHERE table_id = {literal(table.table_id)} AND {_version(base_id)} = $1 RETURNING auto_number), "
        )
        for field in numbered:
            names.append(quote(field.field_id))
            selected.append(f"(SELECT auto_number FROM counter) - {len(rows)} + u._place")
    for field in _own_modified_times(table):
        names.append(quote(field.field_id))
        selected.append("date_trunc('milliseconds', now())")
    text = (
        f"WITH {counter}made AS (INSERT INTO {relation(base_id, table.table_id)}"
        f" (_id, _created, _modified, _created_by, _modified_by{''.join(f', {name}' for name in names)})"
        " SELECT u._id, date_trunc('second', now()), date_trunc('milliseconds', now()), $2::text, $2::text"
        f"{''.join(f', {item}' for item in selected)}"
        f" FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)"
        f" WHERE {_version(base_id)} = $1::int8 ORDER BY u._place RETURNING *)"
        f" SELECT convert_to(string_agg({record_json(table, by_id=by_id)}, ',' ORDER BY r._n), 'UTF8') FROM made r"
    )
    return Statement("create_records", text), tuple(arguments)


def update(
    base_id: BaseId,
    table: Table,
    *,
    version: int,
    changes: Sequence[Change],
    is_replacing: bool,
    user_id: str,
    by_id: bool,
) -> tuple[Statement, tuple[Any, ...]]:
    """Set cells of existing records, each named once; `is_replacing` clears all stored cells that a change leaves out.

    One row: `version` now, `found` (how many of the records exist), `body` (bytes: the records in the order of
    `changes`). Nothing was written where `version` differs or `found` is less than asked.
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
    for number, (field, pg_type) in enumerate(columns):
        array_type, values = _array(field.field_id, pg_type, rows)
        arguments.append(values)
        arrays.append(f"${len(arguments)}::{array_type}")
        aliases.append(f"c{number}")
        value = f"u.c{number}::{pg_type}" if pg_type.endswith("[]") else f"u.c{number}"
        given = [field.field_id in row for row in rows]
        if not all(given):
            arguments.append(given)
            arrays.append(f"${len(arguments)}::bool[]")
            aliases.append(f"h{number}")
            value = f"CASE WHEN u.h{number} THEN {value} ELSE r.{quote(field.field_id)} END"
        new[field.field_id] = value
    name = relation(base_id, table.table_id)
    sets = [f"{quote(field_id)} = {value}" for field_id, value in new.items()]
    if new:
        # A write that changes nothing leaves the modified time alone.
        changed = _differs(new)
        sets.append(f"_modified = CASE WHEN {changed} THEN date_trunc('milliseconds', now()) ELSE r._modified END")
        sets.append(f"_modified_by = CASE WHEN {changed} THEN $2::text ELSE r._modified_by END")
        for field in _own_modified_times(table):
            watched: dict[str, str] = {
                other.field_id: new[other.field_id] for other in _watched(table, field) if other.field_id in new
            }
            if watched:
                own = quote(field.field_id)
                sets.append(
                    f"{own} = CASE WHEN {_differs(watched)} THEN date_trunc('milliseconds', now()) ELSE r.{own} END"
                )
    else:
        sets.append("_modified_by = coalesce(r._modified_by, $2::text)")
    text = (
        # Rows are locked in one order everywhere, so that two batches cannot wait for each other.
        f"WITH locked AS MATERIALIZED (SELECT r._n FROM {name} r WHERE r._id = ANY ($3::text[])"
        f" AND {_version(base_id)} = $1::int8 ORDER BY r._n FOR NO KEY UPDATE),"
        f" changed AS (UPDATE {name} r SET {', '.join(sets)}"
        f" FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)"
        f" WHERE r._id = u._id AND (SELECT count(*) FROM locked) = {len(changes)} RETURNING r.*, u._place)"
        f" SELECT {_version(base_id)} AS version, (SELECT count(*) FROM locked) AS found,"
        f" (SELECT convert_to(string_agg({record_json(table, by_id=by_id)}, ',' ORDER BY r._place), 'UTF8')"
        " FROM changed r) AS body"
    )
    return Statement("update_records", text), tuple(arguments)


def _differs(new: Mapping[str, str]) -> str:
    tests = " OR ".join(f"r.{quote(field_id)} IS DISTINCT FROM ({value})" for field_id, value in new.items())
    return f"({tests})"


def delete(base_id: BaseId, table: Table, *, record_ids: Sequence[RecordId]) -> tuple[Statement, tuple[Any, ...]]:
    """Delete records, each named once. One value: how many of them exist; nothing was deleted if that is fewer."""
    name = relation(base_id, table.table_id)
    text = (
        f"WITH locked AS MATERIALIZED (SELECT r._n FROM {name} r WHERE r._id = ANY ($1::text[])"
        " ORDER BY r._n FOR UPDATE),"
        f" gone AS (DELETE FROM {name} r USING locked WHERE r._n = locked._n"
        f" AND (SELECT count(*) FROM locked) = {len(record_ids)} RETURNING r._n)"
        " SELECT (SELECT count(*) FROM locked)"
    )
    return Statement("delete_records", text), (list(record_ids),)


def existing(base_id: BaseId, table: Table) -> Statement:
    """Which of `$1::text[]` exist, one id a row."""
    return Statement(
        "existing_records", f"SELECT r._id FROM {relation(base_id, table.table_id)} r WHERE r._id = ANY ($1::text[])"
    )


def matches(
    base_id: BaseId, table: Table, *, merge_on: Sequence[Field], keys: Sequence[Cells]
) -> tuple[Statement, tuple[Any, ...]]:
    """For each of `keys` (values of the merge fields, none blank) the records that equal it.

    Rows: `place` (1-based position in `keys`), `record_id` (one of them), `count`. Selects of several choices compare
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
            "SELECT u._place AS place, min(r._id) AS record_id, count(*) AS count"
            f" FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS u({', '.join(aliases)}, _place)"
            f" JOIN {relation(base_id, table.table_id)} r ON {' AND '.join(tests)} GROUP BY u._place",
        ),
        tuple(arguments),
    )


def _sorted(array: str) -> str:
    return f"(SELECT array_agg(x ORDER BY x) FROM unnest({array}) AS x)"


UPSERT_LOCK = Statement("upsert_lock", "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
"""Two upserts into one table take turns, so that a retry of one that is still running cannot create a second record."""
