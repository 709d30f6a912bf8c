"""Cells that are made from others: formulas, rollups and lookups, as SQL over a record or, where PostgreSQL cannot, in Python.

A base's fields are settled once when its structure is loaded: every formula is checked, in the order in which they
depend on each other, and what is wrong with one makes that field invalid, never the base.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, TypeVar

import orjson

from pyat.formula import checking, evaluation, parsing, runtime, sql, translating, types, values
from pyat.formula.checking import Formula, Known, Scope
from pyat.formula.errors import FormulaProblem
from pyat.formula.sql import Sql
from pyat.formula.tree import Reference, postorder
from pyat.formula.types import Kind, Type
from pyat.formula.values import ERROR, Moment, Value
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import literal, quote
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.fieldtypes.base import TEXT_LENGTH_MAX
from pyat.recordstore.fieldtypes.dates import date_sql, moment_sql
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.links import linked_rows
from pyat.recordstore.structure import Base, Field, Link, Options, Stored, Table

COMPUTED: Final = frozenset({"formula", "rollup", "multipleLookupValues"})
_NUMBERS: Final = frozenset({"number", "currency", "percent", "duration", "rating", "autoNumber", "count"})
_MOMENTS: Final = frozenset({"dateTime", "createdTime", "lastModifiedTime"})
_COLUMN_TEXTS: Final = frozenset({"singleLineText", "multilineText", "email", "url", "phoneNumber"})
_PLAIN: Final = TextFormat("UTC", "YYYY-MM-DD")
_LOCAL: Final[Options] = {
    "dateFormat": {"name": "local", "format": "l"},
    "timeFormat": {"name": "12hour", "format": "h:mma"},
    "timeZone": "client",
}
_READER_LENGTH_MAX: Final = 500_000
"""Of the SQL that Python's inputs take, in characters."""

ERROR_JSON: Final = '{"error":"#ERROR!"}'
"""What the API shows of a value that went wrong."""

MARK_BEGIN, MARK_END = "E'\\x03'", "E'\\x04'"
"""SQL of the characters around what Python needs for a cell; no JSON text that people write holds them as they are."""
_MARKS: Final = re.compile(rb"(?:\x03[^\x03\x04]*\x04)+")
_MARK: Final = re.compile(rb"\x03(fld[0-9A-Za-z]{14})([^\x04]*)\x04")


@dataclass(frozen=True, slots=True)
class Reader:
    """A value for Python: `sql` of a JSON text that is never NULL, and what makes a value of it."""

    sql: str
    decode: Callable[[Any], Value]


@dataclass(slots=True, eq=False)
class Computed:
    """What is known of a computed field. All copies of a field share it; it is filled when a base's structure is loaded."""

    problem: str | None = "is not settled"
    """Why the field is invalid; None where it is not."""
    type: Type = types.BLANK
    """Of the value that other formulas see."""
    result: Options | None = None
    """The type and options by which the value is shown, as the metadata API tells it."""
    formula: Formula | None = None
    field_ids: tuple[str, ...] = ()
    """What it refers to in its own table."""
    way: Link | None = None
    """Of a rollup or lookup: the links it follows."""
    source: Field | None = None
    """Of a rollup or lookup: the field in the linked table."""
    table: "_Settling | None" = None
    generation: str | None = None
    """Of the column that holds the cells, filled or not; None where they are not kept."""
    stored: Stored | None = None
    """The column to read instead of computing."""
    is_pending: bool = False
    """Whether the column is not read until a change that reached too many records is in all of it."""
    sqls: dict[str, Sql | None] = field(default_factory=dict)

    def sql(self, relation: str) -> Sql | None:
        """The value as SQL over a record's relation; None where only Python can tell it."""
        if relation not in self.sqls:
            kept = self.stored
            self.sqls[relation] = self.expression(relation) if kept is None else self._column(kept, relation)
        return self.sqls[relation]

    def _column(self, kept: Stored, relation: str) -> Sql:
        return Sql(
            f"{relation}.{quote(kept.name)}",
            self.type,
            f"{relation}.{quote(error_column(kept.name))}" if kept.shape["error"] else None,
            is_simple=True,
            is_filled=kept.shape["filled"],
            is_finite=kept.shape["finite"],
            is_column=True,
        )

    def expression(self, relation: str, gathered: "Gathered | None" = None) -> Sql | None:
        """As `sql`, made anew from what the value depends on; the values over links may be `gathered` for several cells."""
        if self.problem is not None:
            return sql.null(types.TEXT)
        if self.way is not None and self.source is not None:
            if self.formula is None:
                return _values_sql(self.way, self.source, relation, with_blanks=False, gathered=gathered)
            found = _values_sql(self.way, self.source, relation, with_blanks=True, gathered=gathered)
            made = None if found is None else sql.compile(self.formula, _RollupSource(found))
        else:
            assert self.formula is not None and self.table is not None, "a formula field has a formula"
            made = sql.compile(self.formula, RecordSource(self.table, relation))
        # A time zone is for the formula that sets it.
        return None if made is None else replace(made, zone=None, locale=None)

    def reader(self, relation: str) -> Reader:
        """The value for Python, whoever computes it."""
        made = self.sql(relation)
        if made is not None:
            return _reader_of(made)
        if self.way is not None and self.source is not None:
            found = _values_reader(self.way, self.source, relation, with_blanks=self.formula is not None)
            return found if self.formula is None else _run_reader(self.formula, [found])
        assert self.formula is not None and self.table is not None, "a formula field has a formula"
        source = RecordSource(self.table, relation)
        return _run_reader(self.formula, [source.reader(one) for one in self.formula.inputs])


def error_column(name: str) -> str:
    """The column that says which values of a stored column are errors."""
    return f"{name}_e"


def relation_of(column: str) -> str:
    """The relation of a quoted, qualified column."""
    return column.rpartition(".")[0]


# Values of fields


def type_of(given: Field) -> Type:
    """What a formula sees in a field's cells."""
    if given.computed is not None:
        return given.computed.type
    if given.type in _NUMBERS:
        return types.NUMBER
    if given.type == "checkbox":
        return types.BOOLEAN
    if given.type == "date":
        return types.DAY
    return types.DATE if given.type in _MOMENTS else types.TEXT


def sql_of(given: Field, relation: str) -> Sql | None:
    """A field's value for formulas, over a record's relation (formula reference, section 4.1)."""
    if given.computed is not None:
        return given.computed.sql(relation)
    kind, column = find(given.type), f"{relation}.{quote(given.field_id)}"
    if given.type == "count":
        counted = f"({kind.sort_sql(given, column)[0]})::float8"
        return Sql(counted, types.NUMBER, is_filled=given.via is not None, is_finite=True)
    if given.type in _NUMBERS:
        is_double = kind.pg_type == "float8"
        value = column if is_double else f"{column}::float8"
        return Sql(value, types.NUMBER, is_simple=True, is_finite=True, is_column=is_double)
    if given.type == "checkbox":
        value = f"CASE WHEN {column} THEN 1::float8 ELSE 0::float8 END"
        return Sql(value, types.BOOLEAN, None, column, is_simple=True, is_filled=True, is_finite=True)
    if given.type == "date":
        return Sql(f"({column}::timestamp AT TIME ZONE 'UTC')", types.DAY, is_simple=True)
    if given.type in _MOMENTS:
        (source,) = kind.sort_sql(given, column)
        return Sql(source, types.DATE, is_simple=True, is_column=True)
    if given.type in _COLUMN_TEXTS:
        return Sql(column, types.TEXT, is_simple=True, is_column=True, length_max=TEXT_LENGTH_MAX)
    if given.type == "richText":
        return Sql(f"{sql.RUNTIME}.plain_text({column})", types.TEXT, length_max=TEXT_LENGTH_MAX)
    if given.type == "button":
        url = given.options.get("url")
        return sql.null(types.TEXT) if url is None else sql.constant(str(url))
    return Sql(kind.text_sql(given, column, _PLAIN), types.TEXT)


def reader_of(given: Field, relation: str) -> Reader:
    """A field's value for Python."""
    if given.computed is not None:
        return given.computed.reader(relation)
    made = sql_of(given, relation)
    assert made is not None, "stored cells are in SQL"
    return _reader_of(made)


@dataclass(frozen=True, slots=True)
class _RollupSource:
    values: Sql

    def input(self, wanted: checking.Input) -> Sql | None:
        return self.values


@dataclass(frozen=True, slots=True)
class RecordSource:
    """The inputs of a formula over a record of a table."""

    table: "_Settling"
    relation: str

    def input(self, wanted: checking.Input) -> Sql | None:
        if wanted.key == "RECORD_ID":
            return Sql(f"{self.relation}._id", types.TEXT, is_simple=True, is_filled=True, is_column=True)
        if wanted.key == "CREATED_TIME":
            return Sql(f"{self.relation}._created", types.DATE, is_simple=True, is_filled=True, is_column=True)
        if wanted.key == checking.NOW:
            return Sql("date_trunc('milliseconds', now())", types.DATE, is_simple=True, is_filled=True)
        if wanted.key == "LAST_MODIFIED_TIME":
            watcher = self.table.watcher(wanted.field_ids)
            if watcher is not None:
                return sql_of(watcher, self.relation)
            return Sql(f"{self.relation}._modified", types.DATE, is_simple=True, is_column=True)
        return sql_of(self.table.fields[wanted.key], self.relation)

    def reader(self, wanted: checking.Input) -> Reader:
        known = self.table.fields.get(wanted.key)
        if known is not None:
            return reader_of(known, self.relation)
        made = self.input(wanted)
        assert made is not None, "what is no field is in SQL"
        return _reader_of(made)


class Gathered:
    """What cells need of the records at the other ends of the same links, read once for all of them."""

    def __init__(self, way: Link, base_id: BaseId, relation: str, name: str) -> None:
        """`name` is the relation's that has all of it, beside `relation`."""
        self._rows, self._name = linked_rows(base_id, way, relation), name
        self._columns: dict[str, str] = {}

    def add(self, aggregate: str) -> str:
        """SQL of the value of an aggregate over the linked records."""
        return f"{self._name}.{self._columns.setdefault(aggregate, f'a{len(self._columns)}')}"

    def listed(self, rows: str) -> str:
        """SQL of a list that takes more than an aggregate over the linked records: the select `rows`."""
        return f"({rows})"

    @property
    def sql(self) -> str:
        """A relation of one row, to be joined laterally; empty where nothing was added."""
        columns = ", ".join(f"{aggregate} AS {column}" for aggregate, column in self._columns.items())
        return f"LATERAL (SELECT {columns} {self._rows.sql}) {self._name}" if columns else ""


class Unlinked(Gathered):
    """What there is of a record that has no links yet."""

    def add(self, aggregate: str) -> str:
        """NULL, as of no rows."""
        return "NULL"

    def listed(self, rows: str) -> str:
        """NULL, as of no rows."""
        return "NULL"


def _values_sql(
    way: Link, source: Field, relation: str, *, with_blanks: bool, gathered: Gathered | None = None
) -> Sql | None:
    """The values of a field in the linked records, in the order of the cell, as an array; arrays are flattened."""
    rows = linked_rows(source.base_id, way, relation)
    made = sql_of(source, rows.other)
    if made is None or made.branches:
        return None

    def aggregated(aggregate: str) -> str:
        return f"(SELECT {aggregate} {rows.sql})" if gathered is None else gathered.add(aggregate)

    order = f"ORDER BY {rows.order}"
    error = None if made.error is None else aggregated(f"bool_or({made.error})")
    pg_type = sql.pg_type(made.type.element)
    if made.type.is_array:
        item = f"{rows.other}u"
        filtered = "" if with_blanks else f" FILTER (WHERE {item}.x IS NOT NULL)"
        select = (
            f"SELECT array_agg({item}.x {order}, {item}.place){filtered} {rows.joined},"
            f" unnest({made.value}) WITH ORDINALITY AS {item}(x, place) {rows.where}"
        )
        found = f"({select})" if gathered is None else gathered.listed(select)
    else:
        value = made.value if made.type.kind is not Kind.BLANK else f"{made.value}::{pg_type}"
        filtered = "" if with_blanks or made.is_filled else f" FILTER (WHERE {value} IS NOT NULL)"
        found = aggregated(f"array_agg({value} {order}){filtered}")
    array = replace(made.type if made.type.kind is not Kind.BLANK else types.TEXT, is_array=True)
    return Sql(
        f"COALESCE({found}, '{{}}'::{pg_type}[])",
        array,
        error,
        is_simple=gathered is not None and not made.type.is_array,
        is_filled=True,
        is_finite=made.is_finite,
    )


def _values_reader(way: Link, source: Field, relation: str, *, with_blanks: bool) -> Reader:
    """As `_values_sql`, for Python."""
    rows = linked_rows(source.base_id, way, relation)
    item = reader_of(source, rows.other)
    found = f"(SELECT '[' || coalesce(string_agg({item.sql}, ',' ORDER BY {rows.order}), '') || ']' {rows.sql})"

    def decode(given: Any) -> Value:
        flat = values.items_of([item.decode(one) for one in given])
        return tuple(value for value in flat if with_blanks or value is not None)

    return Reader(found, decode)


# Python


def _reader_of(made: Sql) -> Reader:
    kind = made.type.kind
    context = sql.Context(_RollupSource(made))

    def written(value: str) -> str:
        if made.type.is_array and kind is Kind.DATE:
            return (
                "(SELECT '[' || coalesce(string_agg(coalesce((extract(epoch FROM x.item) * 1000)::int8::text, 'null'),"
                f" ',' ORDER BY x.place), '') || ']' FROM unnest({value}) WITH ORDINALITY AS x(item, place))"
            )
        if kind is Kind.DATE:
            return f"(extract(epoch FROM {value}) * 1000)::int8::text"
        return f"to_json({value})::text"

    shown = f"coalesce({context.let([made], written)}, 'null')"
    if made.error is not None:
        shown = f"CASE WHEN {made.error} THEN '{{}}' ELSE {shown} END"
    return Reader(shown, lambda given: _decoded(kind, given))


def _decoded(kind: Kind, given: Any) -> Value:
    if given is None:
        return None
    if type(given) is dict:
        return ERROR
    if type(given) is list:
        return tuple(_decoded(kind, item) for item in given)
    if kind is Kind.NUMBER:
        return float(given)
    return Moment(given) if kind is Kind.DATE else str(given)


def _run_reader(formula: Formula, inputs: Sequence[Reader]) -> Reader:
    program = evaluation.compile(formula)
    decoders = [one.decode for one in inputs]

    def decode(given: Any) -> Value:
        # What this needs in turn may have taken all of the time; then nothing of it is known.
        try:
            found = program.run_until([decoder(one) for decoder, one in zip(decoders, given, strict=True)])
        except evaluation.EvaluationTooLong:
            return ERROR
        return _plain(evaluation.cell(formula, found))

    joined = " || ',' || ".join(one.sql for one in inputs) or "''"
    if len(joined) > _READER_LENGTH_MAX:
        return Reader("'null'", lambda _: ERROR)
    return Reader(f"('[' || {joined} || ']')", decode)


def _plain(value: Value) -> Value:
    return Moment(value.ms) if type(value) is Moment else value


def shown_json(result: Options, value: Value) -> bytes | None:
    """A value as the API shows it; None where the cell is empty."""
    if value is None or value in ("", ()):
        return None
    return orjson.dumps(_shown(result, value))


def _shown(result: Options, value: Value) -> Any:
    if value is ERROR:
        return {"error": "#ERROR!"}
    if type(value) is float:
        if value - value != 0:
            return {"specialValue": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}
        return int(value) if value == int(value) and abs(value) < 1e15 else value
    if type(value) is Moment:
        text = values.moment_text(value)
        return text[:-14] if result["type"] == "date" else text
    return [_shown(result, item) for item in value] if type(value) is tuple else value


def has_marks(body: bytes) -> bool:
    """Whether there are cells in JSON of records that Python is to compute."""
    return b"\x03" in body


def filled(body: bytes, table: Table, *, by_id: bool, as_text: bool = False) -> bytes:
    """JSON of records with the cells that Python computes in the place of their marks; costs nothing where none is."""
    if not has_marks(body):
        return body
    readers: dict[bytes, tuple[bytes, Options, Callable[[Any], Value]]] = {}

    def cells(run: re.Match[bytes]) -> bytes:
        found = []
        for mark in _MARK.finditer(run[0]):
            if mark[1] not in readers:
                known = table.fields_by_id[mark[1].decode()]
                assert known.computed is not None and known.computed.result is not None, "marks are of computed fields"
                key = orjson.dumps(known.field_id if by_id else known.name)
                readers[mark[1]] = key, known.computed.result, known.computed.reader("r").decode
            key, result, decode = readers[mark[1]]
            value = decode(orjson.loads(mark[2]))
            shown = shown_json(result, values.to_text(value) if as_text and value is not ERROR else value)
            if shown is not None:
                found.append(key + b":" + shown)
        if not found:
            return b""
        # The marks end a list of cells.
        return (b"" if run.string[run.start() - 1 : run.start()] == b"{" else b",") + b",".join(found)

    return _MARKS.sub(cells, body)


def mark_sql(given: Field, relation: str) -> str | None:
    """SQL of the mark of a cell that Python computes; None where PostgreSQL does."""
    if given.computed is None or given.computed.sql(relation) is not None:
        return None
    return f"({MARK_BEGIN} || {literal(given.field_id)} || {given.computed.reader(relation).sql} || {MARK_END})"


# Cells in SQL


def json_sql(given: Field, column: str) -> str:
    """SQL of a computed cell's JSON, NULL where it is empty or Python computes it."""
    relation, computed = relation_of(column), given.computed
    if computed is None or computed.problem is not None:
        return "NULL::text"
    made = computed.sql(relation)
    if computed.way is not None and computed.source is not None and computed.formula is None:
        fresh = _lookup_json(computed.way, computed.source, relation)
        if computed.stored is None or made is None or computed.source.type not in _SHOWN_AS_COMPUTED:
            return fresh
        own = _own_result(computed.source)
        item = _scalar_json(made, own, "x.item")
        shown = (
            # Most cells have one item, which needs no aggregate.
            f"CASE cardinality({made.value}) WHEN 0 THEN NULL"
            f" WHEN 1 THEN '[' || {_scalar_json(made, own, f'({made.value})[1]')} || ']' ELSE"
            f" (SELECT '[' || string_agg({item}, ',' ORDER BY x.place) || ']'"
            f" FROM unnest({made.value}) WITH ORDINALITY AS x(item, place)) END"
        )
        # An error hides the other items, which the cell shows all the same.
        return shown if made.error is None else f"CASE WHEN {made.error} THEN {fresh} ELSE {shown} END"
    if made is None or computed.result is None:
        return "NULL::text"
    if made.constant is not None and made.constant.value is None:
        return "NULL::text"
    result = computed.result
    if made.type.is_array:
        item = _scalar_json(made, result, "x.item")
        shown = (
            f"(SELECT '[' || string_agg(coalesce({item}, 'null'), ',' ORDER BY x.place) || ']'"
            f" FROM unnest({made.value}) WITH ORDINALITY AS x(item, place))"
        )
        return shown if made.error is None else f"CASE WHEN {made.error} THEN '{ERROR_JSON}' ELSE {shown} END"
    if made.is_simple:
        shown = _scalar_json(made, result, made.value)
        return shown if made.error is None else f"CASE WHEN {made.error} THEN '{ERROR_JSON}' ELSE {shown} END"
    shown = _scalar_json(made, result, "x.v")
    if made.error is None:
        return f"(SELECT {shown} FROM (SELECT {made.value} AS v OFFSET 0) x)"
    return (
        f"(SELECT CASE WHEN x.e THEN '{ERROR_JSON}' ELSE {shown} END"
        f" FROM (SELECT {made.value} AS v, {made.error} AS e OFFSET 0) x)"
    )


def _scalar_json(made: Sql, result: Options, value: str) -> str:
    kind = made.type.kind
    if kind is Kind.NUMBER:
        number = find("number").json_sql(Field("fld", "", "number"), value)  # type: ignore[arg-type]
        if made.is_finite:
            return number
        special = f"""'{{"specialValue":"' || {value}::text || '"}}'"""
        return f"CASE WHEN abs({value}) >= {sql.INFINITY} THEN {special} ELSE {number} END"
    if kind is Kind.DATE:
        return date_sql(f"({value} AT TIME ZONE 'UTC')::date") if result["type"] == "date" else moment_sql(value)
    return f"to_json(nullif({value}, ''))::text"


def _lookup_json(way: Link, source: Field, relation: str) -> str:
    """The JSON of the linked records' cells, lists flattened, empty cells left out."""
    rows = linked_rows(source.base_id, way, relation)
    cell = find(source.type).json_sql(source, f"{rows.other}.{quote(source.field_id)}")
    if _is_list(source):
        cell = f"nullif(substr({cell}, 2, length({cell}) - 2), '')"
    return f"(SELECT '[' || string_agg({cell}, ',' ORDER BY {rows.order}) || ']' {rows.sql})"


_SHOWN_AS_COMPUTED = frozenset(_NUMBERS | _MOMENTS | _COLUMN_TEXTS | {"date", "singleSelect", "formula", "rollup"})
"""Types whose cells show what formulas see of them."""

_LISTS = frozenset(
    {"multipleSelects", "multipleRecordLinks", "multipleAttachments", "multipleCollaborators", "multipleLookupValues"}
)


def _is_list(given: Field) -> bool:
    return given.type in _LISTS or (given.computed is not None and given.computed.type.is_array)


def text_sql(given: Field, column: str, text: TextFormat) -> str:
    """SQL of a computed cell as people read it, NULL where it is empty or Python computes it."""
    relation, computed = relation_of(column), given.computed
    if computed is None or computed.problem is not None:
        return "NULL::text"
    if computed.way is not None and computed.source is not None and computed.formula is None:
        rows = linked_rows(computed.source.base_id, computed.way, relation)
        source = computed.source
        item = find(source.type).text_sql(source, f"{rows.other}.{quote(source.field_id)}", text)
        return f"(SELECT string_agg({item}, ', ' ORDER BY {rows.order}) {rows.sql})"
    made = computed.sql(relation)
    if made is None or computed.result is None:
        return "NULL::text"
    if made.type.is_array:
        shown = (
            f"(SELECT string_agg({_scalar_text(made, computed.result, 'x.item', text)}, ', ' ORDER BY x.place)"
            f" FROM unnest({made.value}) WITH ORDINALITY AS x(item, place))"
        )
        return shown if made.error is None else f"CASE WHEN {made.error} THEN '#ERROR!' ELSE {shown} END"
    shown = _scalar_text(made, computed.result, "x.v", text)
    error = "false" if made.error is None else made.error
    return (
        f"(SELECT CASE WHEN x.e THEN '#ERROR!' ELSE {shown} END"
        f" FROM (SELECT {made.value} AS v, {error} AS e OFFSET 0) x)"
    )


def _scalar_text(made: Sql, result: Options, value: str, text: TextFormat) -> str:
    kind = made.type.kind
    if kind is Kind.TEXT or kind is Kind.BLANK:
        return f"nullif({value}, '')"
    shown = Field("fld", "", result["type"], result.get("options") or {})  # type: ignore[arg-type]
    if kind is Kind.NUMBER:
        if result["type"] == "checkbox":
            value = f"({value} <> 0)"
        number = find(shown.type).text_sql(shown, value, text)
        if made.is_finite:
            return number
        return f"CASE WHEN abs({value}) >= {sql.INFINITY} THEN {value}::text ELSE {number} END"
    if result["type"] == "date":
        return find("date").text_sql(shown, f"({value} AT TIME ZONE 'UTC')::date", text)
    return find("dateTime").text_sql(shown, value, text)


def scalar_kind(given: Field) -> Kind | None:
    """What a computed cell holds where it is no list; None for lists and for fields that are not computed."""
    if given.computed is None or given.computed.problem is not None or given.computed.type.is_array:
        return None
    return given.computed.type.kind


def finite_sql(given: Field, column: str) -> str:
    """SQL of a computed number as JSON; NULL where it is blank, an error or not finite, or where Python computes it."""
    ((value, _),) = sort_keys(given, column)
    number = find("number").json_sql(Field("fld", "", "number"), "x.v")  # type: ignore[arg-type]
    return f"(SELECT {number} FROM (SELECT {value} AS v OFFSET 0) x WHERE abs(x.v) < {sql.INFINITY})"


def sort_keys(given: Field, column: str) -> tuple[tuple[str, str], ...]:
    """SQL of the sort keys of a computed field, each with its PostgreSQL type; NULL for blanks, errors and what Python computes."""
    computed = given.computed
    made = None if computed is None or computed.problem is not None else computed.sql(relation_of(column))
    if made is None:
        return (("NULL::text", "text"),)
    pg_type = sql.pg_type(made.type)
    value = made.value if made.error is None else f"CASE WHEN {made.error} THEN NULL ELSE {made.value} END"
    if made.type.is_array:
        value = f"nullif({value}, '{{}}')"
        return ((f'({value}) COLLATE "C"' if pg_type == "text[]" else f"({value})", pg_type),)
    if pg_type == "text":
        return (
            (f"""lower(nullif({value}, '')) COLLATE "C\"""", "text"),
            (f"""nullif({value}, '') COLLATE "C\"""", "text"),
        )
    return ((f"({value})", pg_type),)


_LONG: Final = 20_000
"""Characters of formulas that are worth a thread: checking them takes 2 or 3 µs each."""
Result = TypeVar("Result")


async def aside(options: Iterable[Options], work: Callable[[], Result]) -> Result:
    """Work on fields with such options, in a thread where their formulas are long, so that others are answered meanwhile."""
    if sum(len(one.get("formula") or "") for one in options) < _LONG:
        return work()
    return await asyncio.to_thread(work)


def columns_read(base: Base) -> list[str]:
    """The ids of the fields whose cells plans for a structure read from columns."""
    every = (one for table in base.tables for one in table.fields)
    return [one.field_id for one in every if one.computed is not None and one.computed.stored is not None]


def reads_itself(table: Table) -> bool:
    """Whether cells of the table's records are made of other records of the same table. Made once for a structure."""
    found: bool | None = table.plans.get("reads_itself")
    if found is None:
        found = table.plans["reads_itself"] = table.table_id in _reached(table)
    return found


def _reached(table: Table) -> set[str]:
    """The tables that the computed cells of a table's records are made of, other than those records themselves."""
    found: set[str] = set()
    seen: set[str] = set()
    work = [one for one in table.fields if one.computed is not None]
    while work:
        one = work.pop()
        if one.field_id in seen:
            continue
        seen.add(one.field_id)
        way = one.link or one.via
        if way is not None:
            found.add(way.linked_table_id)
            work += [shown for shown in (way.primary,) if one.link is not None and shown is not None]
        computed = one.computed
        if computed is not None:
            work += [] if computed.source is None else [computed.source]
            work += (
                [] if computed.table is None else [computed.table.fields[field_id] for field_id in computed.field_ids]
            )
    return found


# Settling


@dataclass(slots=True, eq=False)
class _Settling:
    """A table whose fields are being settled."""

    fields: dict[str, Field]

    def by_name(self) -> dict[str, Field]:
        return {one.name: one for one in self.fields.values()}

    def scope(self) -> Scope:
        names = self.by_name()

        def known(name: str) -> Known | None:
            found = names.get(name) or self.fields.get(name)
            if found is None:
                return None
            return Known(found.field_id, found.name, type_of(found), find(found.type).is_computed)

        return Scope(known, lambda: tuple(names))

    def watcher(self, field_ids: Iterable[str]) -> Field | None:
        """The modified time that watches these fields and no others; None without such a field."""
        wanted = set(field_ids)
        if not wanted:
            return None
        return next(
            (
                one
                for one in self.fields.values()
                if one.type == "lastModifiedTime" and set(one.options.get("referencedFieldIds") or ()) == wanted
            ),
            None,
        )


def scope_of(table: Table) -> Scope:
    """What names mean in the formulas of a table's records."""
    return _Settling(dict(table.fields_by_id)).scope()


def record_source(table: Table, relation: str = "r") -> RecordSource:
    """The inputs of a formula over the records of a table, for SQL and for Python."""
    return RecordSource(_Settling(dict(table.fields_by_id)), relation)


def check_inputs(formula: Formula, table: Table) -> None:
    """Raises FormulaProblem where a record cannot give what a formula asks for."""
    _check_inputs(formula, _Settling(dict(table.fields_by_id)))


def _check_inputs(formula: Formula, table: _Settling) -> None:
    for one in formula.inputs:
        if one.field_ids and table.watcher(one.field_ids) is None:
            raise FormulaProblem(
                "LAST_MODIFIED_TIME of chosen fields needs a last modified time field of the table that watches the same fields"
            )


def references(text: str) -> list[str]:
    """The names and ids that a formula refers to, each once. Raises BadSyntax."""
    nodes = postorder(parsing.parse(text))
    return list(dict.fromkeys(node.name for node in nodes if isinstance(node, Reference)))


def settle(tables: Mapping[str, list[Field]], *, uses_unready: bool = False) -> dict[str, list[Field]]:
    """The fields of each table of a base by its id, with everything known about those that are computed.

    Their `computed` is filled, and their options tell whether they are valid, their result and what they refer to.
    Whoever fills the columns of cells `uses_unready` ones, too.
    """
    settling = {table_id: _Settling({one.field_id: one for one in fields}) for table_id, fields in tables.items()}
    home: dict[str, str] = {one.field_id: table_id for table_id, fields in tables.items() for one in fields}
    wanted: dict[str, Field] = {
        one.field_id: one for fields in tables.values() for one in fields if one.computed is not None
    }
    if wanted:
        needs = {field_id: _needs(one, settling, home[field_id]) for field_id, one in wanted.items()}
        for field_id in _order(needs, wanted):
            one = wanted[field_id]
            _define(one, settling, home[field_id])
            if one.stored is not None and one.computed is not None:
                _keep(one.stored, one.computed, definition_of(one), uses_unready=uses_unready)
    return {table_id: [_told(one) for one in fields] for table_id, fields in tables.items()}


def _keep(stored: Stored, computed: Computed, definition: Options | None, *, uses_unready: bool) -> None:
    """Let a field use its column, if that holds what the field means now."""
    if definition is None or not is_compatible(stored.definition, definition):
        return
    computed.generation = stored.generation
    computed.stored = stored if stored.is_ready or uses_unready else None
    computed.is_pending = stored.is_behind


def definition_of(one: Field) -> Options | None:
    """All that the cells of a settled field depend on but records; None where that can change without notice.

    Another definition means other cells. Inputs that are computed stand for themselves by their generation.
    """
    computed = one.computed
    if computed is None or computed.problem is not None or computed.table is None:
        return None
    inputs: dict[str, Any] = {}
    if computed.way is not None and computed.source is not None:
        direct = [computed.source]
    else:
        direct = [computed.table.fields[field_id] for field_id in computed.field_ids]
    for other in direct:
        inputs[other.field_id] = _input_definition(other)
    if None in inputs.values():
        return None
    if computed.formula is not None and (computed.formula.is_volatile or _reads_clock(computed.formula)):
        return None
    return {
        "runtime": runtime.VERSION,
        "type": one.type,
        "formula": one.options.get("formula"),
        "way": None if computed.way is None else _way_definition(computed.way),
        "inputs": inputs,
    }


def _reads_clock(formula: Formula) -> bool:
    """Whether a date is parsed that may lack its year or more, which are those of the moment then."""
    for node in formula.nodes:
        if isinstance(node.source, type) and node.source.__name__ == "DATETIME_PARSE" and len(node.arguments) > 1:
            wanted = node.arguments[1].source
            if not isinstance(wanted, checking.Constant) or not set("YXx") & set(str(wanted.value)):
                return True
    return False


_STABLE: Final = (
    _NUMBERS
    | _MOMENTS
    | _COLUMN_TEXTS
    | {"date", "checkbox", "richText", "barcode", "aiText", "singleSelect", "multipleSelects", "externalSyncSource"}
) - {"count"}
"""Types whose cells change by writes of their records alone, or with their options."""


def _way_definition(way: Link) -> list[str]:
    return [way.junction, way.own, way.linked_table_id]


def _input_definition(other: Field) -> Options | None:
    if other.computed is not None:
        return None if other.computed.generation is None else {"generation": other.computed.generation}
    if other.type in _STABLE:
        choices = other.options.get("choices")
        if choices is None:
            return {"type": other.type}
        return {"type": other.type, "choices": {choice["id"]: choice["name"] for choice in choices}}
    if other.type == "count" and other.via is not None:
        return {"type": other.type, "way": _way_definition(other.via)}
    if other.link is not None and other.link.primary is not None:
        primary = other.link.primary
        shown = _input_definition(primary)
        if shown is not None:
            return {"type": other.type, "way": _way_definition(other.link), "primary": [primary.field_id, shown]}
    return None


def is_compatible(old: Any, new: Any) -> bool:
    """Whether cells by one definition are right by another: they are the same, but for choices that joined."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.keys() != new.keys():
            return False
        return all(
            old[key].items() <= new[key].items() if key == "choices" else is_compatible(old[key], new[key])
            for key in old
        )
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_compatible, old, new))
    return bool(old == new)


def with_computed(base: Base, *, is_fresh: bool = False, uses_unready: bool = False) -> Base:
    """A structure that another process sent, with what is known of its computed fields; one of this process as it is.

    With `is_fresh` also that is made anew; `uses_unready` is for `settle`.
    """
    every = [one for table in base.tables for one in table.fields]
    holders = {one.field_id: Computed() for one in every if one.type in COMPUTED and (is_fresh or one.computed is None)}
    if not holders:
        return base

    def linked(way: Link | None) -> Link | None:
        if way is None or way.primary is None:
            return way
        return replace(way, primary=held(way.primary))

    def held(one: Field) -> Field:
        return replace(one, computed=holders.get(one.field_id), link=linked(one.link), via=linked(one.via))

    held_fields: dict[str, list[Field]] = {table.table_id: [held(one) for one in table.fields] for table in base.tables}
    fields = settle(held_fields, uses_unready=uses_unready)
    return replace(base, tables=tuple(replace(table, fields=tuple(fields[table.table_id])) for table in base.tables))


def proposed(one: Field, known: Mapping[str, Field], tables: Iterable[Table]) -> Field:
    """A new or changed computed field as it would be among the fields of its table, `known` by id; names become ids.

    `tables` are those of the base, whose structure stays as it is. Raises FormulaProblem, also for a circular reference.
    """
    if "formula" in one.options and one.type == "formula":
        by_name = {other.name: other for other in known.values()}

        def find_id(name: str) -> str | None:
            found = by_name.get(name) or known.get(name)
            return None if found is None else found.field_id

        one = replace(one, options={**one.options, "formula": translating.to_ids(one.options["formula"], find_id)})
    fields = {
        table.table_id: list(table.fields) for table in tables if not known.keys() & table.fields_by_id.keys()
    } | {"": [*(other for other in known.values() if other.field_id != one.field_id), one]}
    own = next((table.table_id for table in tables if known.keys() & table.fields_by_id.keys()), "")
    fields[own] = fields.pop("")
    links = {other.field_id: other for other in known.values() if other.type == "multipleRecordLinks"}

    def fresh(other: Field) -> Field:
        if other.type not in COMPUTED:
            return other
        link = links.get(other.options.get("recordLinkFieldId", ""))
        via = other.via
        if link is not None:
            via = link.link or Link("", link.options["linkedTableId"], True)
        return replace(other, computed=Computed(), via=via)

    settled = settle({table_id: [fresh(other) for other in its_fields] for table_id, its_fields in fields.items()})
    found = next(other for other in settled[own] if other.field_id == one.field_id)
    if found.computed is not None and found.computed.problem is not None:
        raise FormulaProblem(found.computed.problem)
    return found


def _needs(one: Field, tables: Mapping[str, _Settling], table_id: str) -> set[str]:
    """The computed fields that have to be settled before this one."""
    own = tables[table_id]
    direct: list[Field] = []
    if one.type == "formula":
        try:
            names = references(one.options["formula"])
        except FormulaProblem:
            return set()
        by_name = own.by_name()
        direct = [found for found in (by_name.get(name) or own.fields.get(name) for name in names) if found is not None]
    else:
        link = own.fields.get(one.options["recordLinkFieldId"])
        linked = None if link is None else tables.get(str(link.options.get("linkedTableId")))
        found = None if linked is None else linked.fields.get(one.options["fieldIdInLinkedTable"])
        direct = [] if found is None else [found]
    needed: set[str] = set()
    for found in direct:
        # A cell of links shows the linked records by their primary fields.
        shown = found.link.primary if found.link is not None else found
        if shown is not None and shown.type in COMPUTED:
            needed.add(shown.field_id)
    return needed


def _order(needs: Mapping[str, set[str]], wanted: Mapping[str, Field]) -> list[str]:
    """The fields in an order in which each comes after what it needs; those of circles are told so and left out."""
    left = dict(needs)
    while True:
        try:
            return [field_id for field_id in TopologicalSorter(left).static_order() if field_id in left]
        except CycleError as error:
            circle = error.args[1]
            names = " → ".join(wanted[field_id].name for field_id in circle)
            for field_id in circle[1:]:
                own = wanted[field_id].computed
                assert own is not None, "only computed fields are ordered"
                own.problem = f"refers to itself: {names}"
                left.pop(field_id, None)
            left = {field_id: found - set(circle) for field_id, found in left.items()}


def _define(one: Field, tables: Mapping[str, _Settling], table_id: str) -> None:
    """Fill what is known about a field; what it needs is known."""
    computed = one.computed
    assert computed is not None, "only computed fields are defined"
    own = tables[table_id]
    computed.table = own
    try:
        if one.type == "formula":
            _define_formula(one, computed, own)
        else:
            _define_way(one, computed, tables)
    except FormulaProblem as problem:
        said = problem.suggestion
        computed.problem = problem.message if said is None else f"{problem.message}, did you mean {said}?"


def _define_formula(one: Field, computed: Computed, own: _Settling) -> None:
    formula = checking.check(one.options["formula"], own.scope())
    _check_inputs(formula, own)
    computed.formula, computed.field_ids = formula, _field_ids(formula)
    used = [own.fields[field_id] for field_id in formula.field_ids]
    for other in used:
        if other.computed is not None and other.computed.problem is not None:
            raise FormulaProblem(f"{other.name} is invalid")
    computed.type = evaluation.result_type(formula)
    computed.result = one.options.get("format") or result_of(computed.type, formula, used)
    computed.problem = None


def _field_ids(formula: Formula) -> tuple[str, ...]:
    watched = [field_id for found in formula.inputs for field_id in found.field_ids]
    return tuple(dict.fromkeys([*formula.field_ids, *watched]))


def _define_way(one: Field, computed: Computed, tables: Mapping[str, _Settling]) -> None:
    linked = None if one.via is None else tables.get(one.via.linked_table_id)
    source = None if linked is None else linked.fields.get(one.options["fieldIdInLinkedTable"])
    if one.via is None or source is None:
        raise FormulaProblem("What it refers to is not there")
    if source.computed is not None and source.computed.problem is not None:
        raise FormulaProblem(f"{source.name} is invalid")
    computed.way, computed.source = one.via, source
    element = type_of(source).element
    items = (element if element.kind is not Kind.BLANK else types.TEXT).array
    if one.type == "multipleLookupValues":
        computed.type, computed.result = items, _own_result(source)
    else:
        formula = checking.check(one.options["formula"], Scope(lambda _: None, values=items))
        computed.formula = formula
        computed.type = evaluation.result_type(formula)
        computed.result = one.options.get("format") or result_of(computed.type, formula, [source])
    computed.problem = None


def _own_result(source: Field) -> Options:
    if source.computed is not None and source.computed.result is not None:
        return source.computed.result
    if source.type in ("createdTime", "lastModifiedTime"):
        found: Options = source.options["result"]
        return found
    return {"type": source.type, "options": dict(source.options)} if source.options else {"type": source.type}


def result_of(made: Type, formula: Formula, used: Sequence[Field]) -> Options:
    """How a value is shown where nobody chose it: a bare field as that field, else plainly by its type."""
    if len(formula.nodes) == 1 and len(used) == 1 and not made.is_array:
        own = _own_result(used[0])
        if made.kind in (Kind.NUMBER, Kind.DATE) and own["type"] not in ("count", "autoNumber"):
            return own
    if made.kind is Kind.NUMBER:
        shown = [
            0 if one.computed is None else (one.computed.result or {}).get("options", {}).get("precision", 0)
            for one in used
        ]
        shown += [one.options["precision"] for one in used if "precision" in one.options]
        return {"type": "number", "options": {"precision": 0 if made.is_boolean else max(shown, default=0)}}
    if made.kind is Kind.DATE:
        if made.is_day:
            return {"type": "date", "options": {"dateFormat": _LOCAL["dateFormat"]}}
        return {"type": "dateTime", "options": _LOCAL}
    return {"type": "singleLineText"}


def _told(one: Field) -> Field:
    computed = one.computed
    if computed is None:
        return one
    is_valid = computed.problem is None
    told: dict[str, Any] = {"isValid": is_valid, "result": computed.result if is_valid else None}
    if "referencedFieldIds" in one.options:
        told["referencedFieldIds"] = list(computed.field_ids) if is_valid else None
    if computed.is_pending:
        told["isPending"] = True
    options = {name: value for name, value in one.options.items() if name != "isPending"}
    return replace(one, options={**options, **told})
