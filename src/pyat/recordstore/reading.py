"""Plans for reading records: one statement gives a finished page, whatever the table.

Pages go by key, never by OFFSET. The records of a list are those that existed when its first page was read: a later
page takes none that was created since, skips those that were deleted, and shows current values. With `sort`, a record
whose sort key changes while a client pages may move to another page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.columns import column, record_json
from pyat.recordstore.ddl import relation
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Field, Table

PAGE_ROWS_MAX = 100


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order; blanks come first ascending and last descending."""

    field: Field
    is_descending: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: the last record's sort keys as PostgreSQL text, its `_n`, and the list's highest `_n`."""

    keys: tuple[str | None, ...]
    n: int
    n_max: int

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What a page's statement takes: `$1` the highest `_n`, `$2` the last `_n`, from `$3` the keys that are not blank."""
        return (self.n_max, self.n, *(key for key in self.keys if key is not None))


@dataclass(frozen=True, slots=True)
class _Key:
    sql: str
    pg_type: str
    is_descending: bool

    @property
    def order(self) -> str:
        return f"{self.sql} DESC NULLS LAST" if self.is_descending else f"{self.sql} ASC NULLS FIRST"


def _keys(sort: Sequence[SortKey]) -> list[_Key]:
    return [
        _Key(sql, pg_type, key.is_descending)
        for key in sort
        for sql, pg_type in zip(
            find(key.field.type).sort_sql(key.field, column(key.field)),
            find(key.field.type).sort_pg_types(),
            strict=True,
        )
    ]


def _after(keys: Sequence[_Key], blanks: Sequence[bool]) -> str:
    """The condition "comes after the cursor", from the least significant key outwards; see `Cursor.arguments`."""
    condition = "r._n > $2::int8"
    number = 3 + sum(not blank for blank in blanks)
    for key, is_blank in reversed(list(zip(keys, blanks, strict=True))):
        if is_blank:
            same = f"({key.sql} IS NULL AND {condition})"
            condition = same if key.is_descending else f"({key.sql} IS NOT NULL OR {same})"
            continue
        number -= 1
        # The key travels as text and is converted once, so that it compares exactly as it was read.
        bound = f"${number}::text::{key.pg_type}"
        same = f"({key.sql} = {bound} AND {condition})"
        condition = (
            f"({key.sql} < {bound} OR {key.sql} IS NULL OR {same})"
            if key.is_descending
            else f"({key.sql} > {bound} OR {same})"
        )
    return condition


def page(
    base_id: BaseId,
    table: Table,
    *,
    fields: Sequence[Field] | None,
    by_id: bool,
    sort: Sequence[SortKey],
    rows_max: int,
    cursor: Cursor | None,
) -> tuple[Statement, tuple[Any, ...]]:
    """SQL for one page, in order, and its arguments; the text is made once for a structure.

    One row: `version` of the base's structure, `body` (bytes: the records as JSON, comma-separated, NULL when there is
    none), `row_count` (one more than `rows_max` when another page follows), and of the page's last record `last_id`,
    `last_n` and `last_keys` (text[]); `n_max` is the table's highest `_n`, on a first page.
    Cost: O(rows_max) in order of creation; with `sort` a top-N of the table unless an index gives the order.
    """
    blanks = None if cursor is None else tuple(key is None for key in cursor.keys)
    key = (
        "page",
        None if fields is None else tuple(field.field_id for field in fields),
        by_id,
        tuple((key.field.field_id, key.is_descending) for key in sort),
        rows_max,
        blanks,
    )
    statement = table.plans.get(key)
    if statement is None:
        text = _page(base_id, table, fields, by_id, _keys(sort), rows_max, blanks)
        statement = table.plans[key] = Statement("page", text)
    return statement, () if cursor is None else cursor.arguments


def _page(
    base_id: BaseId,
    table: Table,
    fields: Sequence[Field] | None,
    by_id: bool,
    keys: Sequence[_Key],
    rows_max: int,
    blanks: Sequence[bool] | None,
) -> str:
    name = relation(base_id, table.table_id)
    condition = "true" if blanks is None else f"r._n <= $1::int8 AND {_after(keys, blanks)}"
    # The id ends every ORDER BY: equal sort keys have no order of their own, so pages would overlap.
    order = ", ".join([*(key.order for key in keys), "r._n"])
    key_texts = f"ARRAY[{', '.join(f'({key.sql})::text' for key in keys)}]" if keys else "NULL"
    last = f"FILTER (WHERE r._row = {rows_max})"
    n_max = f"(SELECT max(_n) FROM {name})" if blanks is None else "NULL::int8"
    json = record_json(table, by_id=by_id, fields=fields)
    return (
        f"SELECT (SELECT version FROM {quote(base_id)}.base_state) AS version,"
        f" convert_to(string_agg({json}, ',') FILTER (WHERE r._row <= {rows_max}), 'UTF8') AS body,"
        f" count(*) AS row_count, max(r._id) {last} AS last_id, max(r._n) {last} AS last_n,"
        f" max({key_texts}::text[]) {last} AS last_keys, {n_max} AS n_max"
        # Numbered outside the LIMIT, so that a sort keeps only the page's rows and not the whole table.
        f" FROM (SELECT r.*, row_number() OVER () AS _row FROM (SELECT * FROM {name} r WHERE {condition}"
        f" ORDER BY {order} LIMIT {rows_max + 1}) r) r"
    )


def get_statement(base_id: BaseId, table: Table, *, by_id: bool) -> Statement:
    """SQL for one record by id, `$1`. One row: `version`, `body` (bytes, NULL where there is no such record)."""
    return Statement(
        "get_record",
        f"SELECT (SELECT version FROM {quote(base_id)}.base_state) AS version,"
        f" (SELECT convert_to({record_json(table, by_id=by_id)}, 'UTF8')"
        f" FROM {relation(base_id, table.table_id)} r WHERE r._id = $1) AS body",
    )


def table_of_record_statement(base_id: BaseId, tables: Sequence[Table]) -> Statement:
    """SQL for the first of `tables` that has the record `$1`: its position, NULL where none has it.

    Cost: one look-up in an index for each table up to the one that has it.
    """
    looks = [
        f"WHEN EXISTS (SELECT FROM {relation(base_id, table.table_id)} WHERE _id = $1) THEN {position}"
        for position, table in enumerate(tables)
    ]
    return Statement("table_of_record", f"SELECT CASE {' '.join(looks)} END")


def records_statement(base_id: BaseId, table: Table, *, by_id: bool) -> Statement:
    """SQL for several records by id, `$1::text[]`, in that order (ids may repeat). One value: bytes as in `page`."""
    return Statement(
        "get_records",
        f"SELECT convert_to(string_agg({record_json(table, by_id=by_id)}, ',' ORDER BY u._place), 'UTF8')"
        f" FROM unnest($1::text[]) WITH ORDINALITY AS u(_wanted, _place)"
        f" JOIN {relation(base_id, table.table_id)} r ON r._id = u._wanted",
    )
