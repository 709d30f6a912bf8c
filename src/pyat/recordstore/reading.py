"""Plans for reading records: one statement gives a finished page, whatever the table.

Pages go by key, never by OFFSET. The records of a list are those that existed when its first page was read: a later
page takes none that was created since, skips those that were deleted, and shows current values. With `sort`, a record
whose sort key changes while a client pages may move to another page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore import filters, viewindexes
from pyat.recordstore.columns import column, record_json
from pyat.recordstore.ddl import relation
from pyat.recordstore.exporting import Form
from pyat.recordstore.fieldtypes import TextFormat, find
from pyat.recordstore.structure import Field, Table, View

PAGE_ROWS_MAX = 100


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order; blanks come first ascending and last descending."""

    field: Field
    is_descending: bool
    by_index: bool = False
    """Write the same order so that an index of `viewindexes` can give it."""


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
    is_indexed: bool

    @property
    def order(self) -> str:
        return f"{self.sql} DESC NULLS LAST" if self.is_descending else f"{self.sql} ASC NULLS FIRST"


def _keys(sort: Sequence[SortKey]) -> list[_Key]:
    found = []
    for key in sort:
        kind, source = find(key.field.type), column(key.field)
        expressions = list(zip(kind.sort_sql(key.field, source), kind.sort_pg_types(key.field), strict=True))
        is_indexed = key.by_index and viewindexes.has_index(key.field)
        prefix = viewindexes.prefix_sql(key.field, source) if is_indexed else None
        if prefix is not None:
            expressions.insert(0, (prefix, "text"))
        found += [_Key(sql, pg_type, key.is_descending, is_indexed) for sql, pg_type in expressions]
    return found


def keys_json(sort: Sequence[SortKey]) -> str:
    """SQL of a record's sort keys as a JSON list of texts, as `Cursor.keys` has them; `r` is the record's relation."""
    keys = ", ".join(f"({key.sql})::text" for key in _keys(sort))
    return f"to_json(ARRAY[{keys}]::text[])"


def order_of(view: View, table: Table) -> list[SortKey]:
    """The order of a view's records: by its groups, then by its sorts."""
    return [SortKey(field, is_descending, by_index=True) for field, is_descending in filters.order_of(view, table)]


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


def _ranges(keys: Sequence[_Key], blanks: Sequence[bool]) -> list[str]:
    """Conditions that together say "comes after the cursor", each of them one range of an index of these keys."""
    after = _after(keys, blanks)
    if not keys or not keys[0].is_indexed:
        return [after]
    first = keys[0]
    if blanks[0]:
        # Descending, all that follows is blank; ascending, what is not blank follows as a whole.
        return [after] if first.is_descending else [f"{first.sql} IS NULL AND {after}", f"{first.sql} IS NOT NULL"]
    bound = f"$3::text::{first.pg_type}"
    if first.is_descending:
        return [f"{first.sql} <= {bound} AND {after}", f"{first.sql} IS NULL"]
    return [f"{first.sql} >= {bound} AND {after}"]


def page(
    base_id: BaseId,
    table: Table,
    *,
    fields: Sequence[Field] | None,
    by_id: bool,
    sort: Sequence[SortKey],
    rows_max: int,
    cursor: Cursor | None,
    form: Form | None = None,
    view: View | None = None,
    text: TextFormat | None = None,
    counts_comments: bool = False,
    matching: str | None = None,
) -> tuple[Statement, tuple[Any, ...]]:
    """SQL for one page, in order, and its arguments; the text is made once for a structure.

    `form` is another way to write a record than as a JSON object; `fields` and `by_id` are its own then. `view`
    restricts the list by its filter; its order is the caller's to ask for, see `order_of`. With `text` every cell is
    the text that people read; with `counts_comments` each record has its `commentCount`. `matching` is one more
    condition over the relation `r`, such as `computing.filter_sql` gives; such a plan is not kept.

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
        tuple((key.field.field_id, key.is_descending, key.by_index) for key in sort),
        rows_max,
        blanks,
        form,
        None if view is None or view.filter is None else view.view_id,
        counts_comments,
    )
    cursor_arguments = () if cursor is None else cursor.arguments
    is_kept = text is None and matching is None
    plan: tuple[Statement, tuple[Any, ...]] | None = table.plans.get(key) if is_kept else None
    if plan is None:
        if form is None:
            comments_of = base_id if counts_comments else None
            form = Form(record_json(table, by_id=by_id, fields=fields, text=text, comments_of=comments_of))
        stored = None if view is None else view.filter
        condition, arguments = filters.condition_sql(stored, table, 1 + len(cursor_arguments))
        if matching is not None:
            condition = f"{condition} AND {matching}"
        plan = Statement("page", _page(base_id, table, form, _keys(sort), rows_max, blanks, condition)), arguments
        if is_kept:
            table.plans[key] = plan
    return plan[0], (*cursor_arguments, *plan[1])


def _page(
    base_id: BaseId,
    table: Table,
    form: Form,
    keys: Sequence[_Key],
    rows_max: int,
    blanks: Sequence[bool] | None,
    condition: str,
) -> str:
    name = relation(base_id, table.table_id)
    conditions = [condition]
    if blanks is not None:
        ranges = _ranges(keys, blanks)
        conditions = [f"r._n <= $1::int8 AND {after} AND {condition}" for after in ranges]
    # The id ends every ORDER BY: equal sort keys have no order of their own, so pages would overlap.
    order = ", ".join([*(key.order for key in keys), "r._n"])
    key_texts = f"ARRAY[{', '.join(f'({key.sql})::text' for key in keys)}]" if keys else "NULL"
    last = f"FILTER (WHERE r._row = {rows_max})"
    n_max = f"(SELECT max(_n) FROM {name})" if blanks is None else "NULL::int8"
    limited = f"ORDER BY {order} LIMIT {rows_max + 1}"
    rows = [f"SELECT * FROM {table.joined or name} r WHERE {condition} {limited}" for condition in conditions]
    found = rows[0] if len(rows) == 1 else f"SELECT * FROM (({') UNION ALL ('.join(rows)})) r {limited}"
    return (
        f"SELECT (SELECT version FROM {quote(base_id)}.base_state) AS version,"
        f" convert_to(string_agg({form.item}, {literal(form.separator)}) FILTER (WHERE r._row <= {rows_max}), 'UTF8') AS body,"
        f" count(*) AS row_count, max(r._id) {last} AS last_id, max(r._n) {last} AS last_n,"
        f" max({key_texts}::text[]) {last} AS last_keys, {n_max} AS n_max"
        # Numbered outside the LIMIT, so that a sort keeps only the page's rows and not the whole table.
        f" FROM (SELECT r.*, row_number() OVER () AS _row FROM ({found}) r) r"
    )


def get_statement(base_id: BaseId, table: Table, *, by_id: bool, text: TextFormat | None = None) -> Statement:
    """SQL for one record by id, `$1`. One row: `version`, `body` (bytes, NULL where there is no such record)."""
    return Statement(
        "get_record",
        f"SELECT (SELECT version FROM {quote(base_id)}.base_state) AS version,"
        f" (SELECT convert_to({record_json(table, by_id=by_id, text=text)}, 'UTF8')"
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


def records_statement(
    base_id: BaseId, table: Table, *, by_id: bool, fields: Sequence[Field] | None = None
) -> Statement:
    """SQL for several records by id, `$1::text[]`, in that order (ids may repeat). One value: bytes as in `page`.

    `fields` limits the cells; None is all of the table's.
    """
    return Statement(
        "get_records",
        f"SELECT convert_to(string_agg({record_json(table, by_id=by_id, fields=fields)}, ',' ORDER BY u._place), 'UTF8')"
        f" FROM unnest($1::text[]) WITH ORDINALITY AS u(_wanted, _place)"
        f" JOIN {relation(base_id, table.table_id)} r ON r._id = u._wanted",
    )
