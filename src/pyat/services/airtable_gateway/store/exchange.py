"""The SQL of aggregates, exports and imports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from asyncpg import exceptions as pg

from pyat.foundation.db import Database
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import aggregates, filters, reading
from pyat.recordstore.columns import record_json
from pyat.recordstore.ddl import StructureChanged, relation
from pyat.recordstore.exporting import Form
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.airtable_gateway.contract import Groups, InvalidAggregate, TaggedRecord
from pyat.services.airtable_gateway.store import python_columns
from pyat.services.airtable_gateway.store.python_cells import filled
from pyat.services.airtable_gateway.store.records import GONE
from pyat.services.airtable_gateway.store.terms import tag_sql


def _once(fields: Sequence[Field]) -> list[Field]:
    """Those that only Python computes, each once."""
    return list({one.field_id: one for one in python_columns.needed(fields)}.values())


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of an export; `cursor` is None when no page follows."""

    body: bytes
    row_count: int
    cursor: reading.Cursor | None


class ExchangeStore:
    """Every method raises StructureChanged when `base` is not the current structure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def aggregate(
        self,
        base: Base,
        table: Table,
        *,
        group_by: Sequence[Field],
        wanted: Sequence[aggregates.Aggregate],
        by_id: bool,
        groups_max: int,
        view: View | None = None,
    ) -> Groups:
        """All groups; one statement. Raises InvalidAggregate where a sum is beyond all numbers, CellsTooSlow."""
        fields = [*group_by, *(one.field for one in wanted if one.field is not None)]
        decisive = _once([*fields, *python_columns.ordering(table, (), view)])
        try:
            async with python_columns.joined(self._database, base, table, decisive, python_columns.Records()) as (
                connection,
                source,
            ):
                condition, arguments = filters.condition_sql(None if view is None else view.filter, source, 1)
                statement = aggregates.statement(
                    base.base_id,
                    source,
                    group_by=[source.fields_by_id[one.field_id] for one in group_by],
                    aggregates=[
                        one if one.field is None else replace(one, field=source.fields_by_id[one.field.field_id])
                        for one in wanted
                    ],
                    by_id=by_id,
                    groups_max=groups_max,
                    condition=condition,
                )
                row = await connection.row(statement, *arguments)
        except GONE as error:
            raise StructureChanged from error
        except pg.NumericValueOutOfRangeError:
            raise InvalidAggregate(reason="A result is larger than any number.") from None
        assert row is not None, "an aggregate has one row"
        if row["version"] != base.version:
            raise StructureChanged
        return Groups(row["body"] or b"", row["group_count"] > groups_max)

    async def rows(
        self,
        base: Base,
        table: Table,
        *,
        fields: Sequence[Field],
        form: Callable[[Table, Sequence[Field]], Form],
        fills_cells: bool,
        sort: Sequence[reading.SortKey],
        rows_max: int,
        cursor: reading.Cursor | None,
        view: View | None = None,
        by_id: bool = False,
    ) -> Rows:
        """One page of an export; one statement. `form` says how the fields of a table are written.

        With `fills_cells` (JSON) cells that Python computes are filled in afterwards, by name unless `by_id`. Raises CellsTooSlow.
        """
        decisive = _once(python_columns.ordering(table, sort, view))
        shown = [] if fills_cells else _once(fields)
        records = python_columns.Records()
        if not decisive:
            records = python_columns.Records(view, sort, cursor, rows_max)
        wanted = list({one.field_id: one for one in [*decisive, *shown]}.values())
        try:
            async with python_columns.joined(self._database, base, table, wanted, records) as (connection, source):
                statement, arguments = reading.page(
                    base.base_id,
                    source,
                    fields=(),
                    by_id=False,
                    sort=python_columns.sorted_in(source, sort),
                    rows_max=rows_max,
                    cursor=cursor,
                    form=form(source, [source.fields_by_id[one.field_id] for one in fields]),
                    view=view,
                )
                row = await connection.row(statement, *arguments)
        except GONE as error:
            raise StructureChanged from error
        assert row is not None, "an aggregate has one row"
        if row["version"] != base.version:
            raise StructureChanged
        body = await filled(row["body"] or b"", table, by_id=by_id)
        if row["row_count"] <= rows_max:
            return Rows(body, row["row_count"], None)
        following = reading.Cursor(
            keys=tuple(row["last_keys"] or ()), n=row["last_n"], n_max=cursor.n_max if cursor else row["n_max"]
        )
        return Rows(body, rows_max, following)

    async def tagged(self, base: Base, table: Table, record_id: RecordId, *, by_id: bool) -> TaggedRecord | None:
        """One record of the table; None when there is none."""
        statement = Statement(
            "get_tagged_record",
            f"SELECT (SELECT version FROM {quote(base.base_id)}.base_state) AS version, a.* FROM (SELECT 1) one"
            f" LEFT JOIN (SELECT convert_to({record_json(table, by_id=by_id)}, 'UTF8') AS body, {tag_sql(table)} AS tag"
            f" FROM {relation(base.base_id, table.table_id)} r WHERE r._id = $1) a ON true",
        )
        try:
            row = await self._database.row(statement, record_id)
        except GONE as error:
            raise StructureChanged from error
        assert row is not None, "an outer join has one row"
        if row["version"] != base.version:
            raise StructureChanged
        if row["body"] is None:
            return None
        return TaggedRecord(await filled(row["body"], table, by_id=by_id), row["tag"])
