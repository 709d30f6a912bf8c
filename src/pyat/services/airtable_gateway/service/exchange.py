"""The rules of what Airtable's API does not have: aggregates, exports, imports, tagged records."""

from collections.abc import Sequence
from functools import cached_property

import orjson

from pyat.foundation.errors import InvalidRequest, ModelNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId
from pyat.recordstore import aggregates, exporting, reading
from pyat.recordstore.columns import record_json
from pyat.recordstore.errors import UnknownFieldName
from pyat.recordstore.exporting import Form
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.airtable_gateway.contract import (
    Aggregate,
    AggregateQuery,
    Column,
    ExportPage,
    ExportQuery,
    Groups,
    InvalidAggregate,
    TaggedRecord,
)
from pyat.services.airtable_gateway.service.calls import Calls, table_of, view_of
from pyat.services.airtable_gateway.store.exchange import ExchangeStore

GROUP_FIELDS_MAX = 3
AGGREGATES_MAX = 50
GROUPS_MAX = 10_000

_PAGE_ROWS = (100, 1_000, 5_000)
"""Sizes of an export's pages; few, because each is a statement of its own."""
_PAGE_BYTES = 2 * 1024 * 1024
"""What a page should hold at most, so that memory does not grow with the size of records."""


class ExchangeCalls(Calls):
    """The part of the contract that Airtable's API does not have."""

    @cached_property
    def exchange_store(self) -> ExchangeStore:
        """The statements of this part."""
        return ExchangeStore(self.store.database)

    async def aggregate(self, *, principal: Principal, base_id: BaseId, table: str, query: AggregateQuery) -> Groups:
        """See the contract."""
        if not 1 <= len(query.aggregates) <= AGGREGATES_MAX:
            raise InvalidAggregate(reason=f"aggregates takes 1 to {AGGREGATES_MAX} items.")
        if len(query.group_by) > GROUP_FIELDS_MAX or len(set(query.group_by)) != len(query.group_by):
            raise InvalidAggregate(reason=f"groupBy takes up to {GROUP_FIELDS_MAX} different fields.")
        if not 1 <= query.groups_max <= GROUPS_MAX:
            raise InvalidAggregate(reason=f"limit must be between 1 and {GROUPS_MAX}.")

        async def work(base: Base) -> Groups:
            its_table = table_of(base, table)
            return await self.exchange_store.aggregate(
                base,
                its_table,
                view=None if query.view is None else view_of(base, its_table, query.view),
                group_by=_fields(its_table, query.group_by),
                wanted=[_aggregate(its_table, item) for item in query.aggregates],
                by_id=query.by_id,
                groups_max=query.groups_max,
            )

        return await self.planned(principal, base_id, work)

    async def export_page(
        self, *, principal: Principal, base_id: BaseId, table: str, query: ExportQuery, after: str | None
    ) -> ExportPage:
        """See the contract."""
        text = None
        if query.time_zone is not None or query.locale is not None:
            text = TextFormat.read(query.time_zone, query.locale)
        size, cursor = _position(after)

        async def work(base: Base) -> ExportPage:
            its_table = table_of(base, table)
            view = None if query.view is None else view_of(base, its_table, query.view)
            fields = _shown(its_table, view) if query.fields is None else _fields(its_table, query.fields)
            found = await self.exchange_store.rows(
                base,
                its_table,
                fields=fields,
                form=lambda source, columns: _form(source, columns, query, text),
                fills_cells=query.form == "json",
                by_id=query.by_id,
                sort=() if view is None else reading.order_of(view, its_table),
                view=view,
                rows_max=_PAGE_ROWS[size],
                cursor=cursor,
            )
            columns = tuple(Column(field.field_id, field.name, exporting.kind_of(field)) for field in fields)
            following = None
            if found.cursor is not None:
                per_row = len(found.body) / found.row_count
                fitting = [number for number, rows in enumerate(_PAGE_ROWS) if rows * per_row <= _PAGE_BYTES]
                at = found.cursor
                following = orjson.dumps([max(fitting, default=0), at.keys, at.n, at.n_max]).decode()
            return ExportPage(columns, found.body, found.row_count, following)

        return await self.planned(principal, base_id, work)

    async def get_tagged_record(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, by_id: bool
    ) -> TaggedRecord:
        """See the contract."""

        async def work(base: Base) -> TaggedRecord:
            found = await self.exchange_store.tagged(base, table_of(base, table), record_id, by_id=by_id)
            if found is None:
                raise ModelNotFound(kind="Record")
            return found

        return await self.planned(principal, base_id, work)


def _fields(table: Table, names: Sequence[str]) -> list[Field]:
    found: dict[str, Field] = {}
    for name in names:
        field = table.find_field(name)
        if field is None:
            raise UnknownFieldName(field=name)
        found[field.field_id] = field
    return list(found.values())


def _shown(table: Table, view: View | None) -> list[Field]:
    """All fields, or those that a view shows, in its order."""
    if view is None or not view.field_ids:
        return list(table.fields)
    hidden = set(view.hidden_field_ids)
    return [table.fields_by_id[key] for key in view.field_ids if key in table.fields_by_id and key not in hidden]


def _aggregate(table: Table, asked: Aggregate) -> aggregates.Aggregate:
    try:
        function = aggregates.Function(asked.function)
    except ValueError:
        names = ", ".join(aggregates.Function)
        raise InvalidAggregate(reason=f'There is no function "{asked.function[:100]}"; there are {names}.') from None
    field = None if asked.field is None else _fields(table, (asked.field,))[0]
    found = aggregates.Aggregate(function, field)
    if not aggregates.takes(found):
        reason = (
            f"{function} needs a field." if field is None else f'{function} does not take the field "{field.name}".'
        )
        raise InvalidAggregate(reason=reason)
    return found


def _form(table: Table, fields: Sequence[Field], query: ExportQuery, text: TextFormat | None) -> Form:
    key = ("export", query.form, query.by_id, text, tuple(field.field_id for field in fields))
    form: Form | None = table.plans.get(key)
    if form is None:
        match query.form:
            case "json":
                form = Form(record_json(table, by_id=query.by_id, fields=fields), "\n")
            case "csv":
                form = exporting.csv(fields, text)
            case "values":
                form = exporting.values(fields)
            case "xlsx":
                form = exporting.xlsx(fields)
        table.plans[key] = form
    return form


def _position(after: str | None) -> tuple[int, reading.Cursor | None]:
    """The size and the start of a page. Raises InvalidRequest for a text that no page has given."""
    if after is None:
        return 0, None
    try:
        size, keys, n, n_max = orjson.loads(after)
        return min(max(int(size), 0), len(_PAGE_ROWS) - 1), reading.Cursor(tuple(keys), int(n), int(n_max))
    except (ValueError, TypeError):
        raise InvalidRequest(reason="after is not a place that a page of this export gave.") from None
