"""Plans for sums over a table: one statement for all groups and functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, literal, quote
from pyat.recordstore.columns import column
from pyat.recordstore.ddl import relation
from pyat.recordstore.exporting import Kind, kind_of, text_of
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Field, Table


class Function(StrEnum):
    """What is computed of a field's cells; blank cells count only for `countAll` and `empty`."""

    COUNT_ALL = "countAll"
    COUNT = "count"
    FILLED = "filled"
    EMPTY = "empty"
    DISTINCT = "distinct"
    SUM = "sum"
    AVERAGE = "avg"
    MEDIAN = "median"
    MINIMUM = "min"
    MAXIMUM = "max"


OF_NUMBERS = frozenset({Function.SUM, Function.AVERAGE, Function.MEDIAN})
OF_ORDERED = frozenset({Function.MINIMUM, Function.MAXIMUM})


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function of a field's cells; `countAll` and `count` also go without a field."""

    function: Function
    field: Field | None


def takes(aggregate: Aggregate) -> bool:
    """Whether the function means something for the field's type."""
    if aggregate.field is None:
        return aggregate.function in (Function.COUNT_ALL, Function.COUNT)
    kind = kind_of(aggregate.field)
    if aggregate.function in OF_NUMBERS:
        return kind is Kind.NUMBER
    if aggregate.function in OF_ORDERED:
        return kind in (Kind.NUMBER, Kind.DATE, Kind.MOMENT)
    return True


_MIN_TYPES = frozenset({"text", "float8", "int2", "int4", "int8", "numeric", "date", "timestamptz", "int4[]", "text[]"})


def statement(
    base_id: BaseId,
    table: Table,
    *,
    group_by: Sequence[Field],
    aggregates: Sequence[Aggregate],
    by_id: bool,
    groups_max: int,
    condition: str = "true",
) -> Statement:
    """SQL of all groups in the order of their fields' values (choices in the order of the field, blanks first).

    One row: `version` of the base's structure, `body` (bytes: `{"key":{…},"values":[…]}` of each group, comma-separated,
    NULL when there is none), `group_count` (one more than `groups_max` where there are more). Without `group_by` there
    is one group. `condition` is about the record `r`. Cost: one pass over the table.
    """
    inner: list[str] = []
    groups: list[str] = []
    orders: list[str] = []
    keys: list[str] = []
    for number, field in enumerate(group_by):
        kind = find(field.type)
        inner.append(f"{kind.json_sql(field, column(field))} AS g{number}")
        groups.append(f"q.g{number}")
        for part, (sql, pg_type) in enumerate(
            zip(kind.sort_sql(field, column(field)), kind.sort_pg_types(field), strict=True)
        ):
            inner.append(f"{sql} AS s{number}_{part}")
            if pg_type in _MIN_TYPES:
                orders.append(f"min(q.s{number}_{part}) NULLS FIRST")
            else:
                groups.append(f"q.s{number}_{part}")
                orders.append(f"q.s{number}_{part} NULLS FIRST")
        keys.append(f"concat({literal(_key(field, by_id))}, coalesce(z.k{number}, 'null'))")
        orders.append(f"q.g{number} NULLS FIRST")
    outer = [f"q.g{number} AS k{number}" for number in range(len(group_by))]
    for number, aggregate in enumerate(aggregates):
        source = _source(aggregate)
        if source is not None:
            inner.append(f"{source} AS a{number}")
        outer.append(f"{_computed(aggregate, f'q.a{number}')} AS v{number}")
    shown = [f"coalesce({_json(aggregate, f'z.v{number}')}, 'null')" for number, aggregate in enumerate(aggregates)]
    parts = [
        "'{\"key\":{'",
        " || ',' || ".join(keys) or "''",
        "'},\"values\":['",
        " || ',' || ".join(shown) or "''",
        "']}'",
    ]
    grouping = f" GROUP BY {', '.join(groups)} ORDER BY {', '.join(orders)} LIMIT {groups_max + 1}" if group_by else ""
    source = table.joined or relation(base_id, table.table_id)
    rows = f"SELECT {', '.join(inner) or '1'} FROM {source} r WHERE {condition}"
    return Statement(
        "aggregate",
        f"SELECT (SELECT version FROM {quote(base_id)}.base_state) AS version, count(*) AS group_count,"
        f" convert_to(string_agg({' || '.join(parts)}, ',' ORDER BY z._row) FILTER (WHERE z._row <= {groups_max}), 'UTF8')"
        f" AS body FROM (SELECT y.*, row_number() OVER () AS _row FROM (SELECT {', '.join(outer)} FROM ({rows}) q"
        f"{grouping}) y) z",
    )


def _key(field: Field, by_id: bool) -> str:
    import orjson

    return orjson.dumps(field.field_id if by_id else field.name).decode() + ":"


def _source(aggregate: Aggregate) -> str | None:
    """SQL of what the function sees of a record."""
    field = aggregate.field
    if field is None or aggregate.function is Function.COUNT_ALL:
        return None
    kind = find(field.type)
    json = kind.json_sql(field, column(field))
    if aggregate.function in OF_NUMBERS | OF_ORDERED:
        if kind_of(field) is Kind.NUMBER:
            return f"({text_of(field)})::float8"
        return text_of(field)
    if kind.has_column_for(field) and kind_of(field) is not Kind.TEXT:
        return column(field)
    return json


def _computed(aggregate: Aggregate, source: str) -> str:
    match aggregate.function:
        case Function.COUNT_ALL:
            return "count(*)"
        case Function.COUNT if aggregate.field is None:
            return "count(*)"
        case Function.COUNT | Function.FILLED:
            return f"count({source})"
        case Function.EMPTY:
            return f"count(*) - count({source})"
        case Function.DISTINCT:
            return f"count(DISTINCT {source})"
        case Function.MEDIAN:
            return f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {source})"
        case function:
            return f"{function}({source})"


def _json(aggregate: Aggregate, source: str) -> str:
    """SQL of a result as JSON."""
    field = aggregate.field
    if aggregate.function in OF_NUMBERS or (
        aggregate.function in OF_ORDERED and field is not None and kind_of(field) is Kind.NUMBER
    ):
        return find("number").json_sql(field, source) if field is not None else source
    if aggregate.function in OF_ORDERED:
        return f"to_json({source})::text"
    return f"{source}::text"
