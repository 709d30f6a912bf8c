"""A base whose tables are computed from each other: customers, their orders, and the lines of those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, FieldId, RecordId
from pyat.recordstore.filling import Checked
from pyat.recordstore.structure import Base, Field
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange, Sort
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.schema.contract import FieldDraft, TableDraft
from pyat.services.schema.service import SchemaService
from pyat.services.schema.store import SchemaStore
from tests.support.records import decoded, records_service
from tests.support.schema import new_workspace, principal, schema_service

Row = Mapping[str, Any]

_TABLES = (
    TableDraft("Customers", (FieldDraft("Name", "singleLineText"),)),
    TableDraft(
        "Orders",
        (FieldDraft("Name", "singleLineText"), FieldDraft("Day", "date", options={"dateFormat": {"name": "iso"}})),
    ),
    TableDraft(
        "Lines",
        (
            FieldDraft("Name", "singleLineText"),
            FieldDraft("Price", "currency", options={"precision": 2, "symbol": "$"}),
            FieldDraft("Quantity", "number", options={"precision": 0}),
        ),
    ),
)


@dataclass(slots=True)
class Shop:
    """Calls of the services that make and read the base."""

    schema: SchemaService
    records: RecordsService
    base_id: BaseId
    ids: dict[str, FieldId] = field(default_factory=dict)
    """Of fields by `Table.Field`."""
    is_kept: bool = False
    """Whether computed cells get their columns as soon as there is a field."""
    store: SchemaStore | None = None

    async def keep(self) -> None:
        """Fill all columns that are to be filled."""
        assert self.store is not None
        while await self.store.fill_computed() is not None:
            pass

    async def check(self) -> Checked:
        """Compare what is kept with what it is made from."""
        assert self.store is not None
        found = await self.store.check_computed(self.base_id)
        assert found is not None
        return found

    @property
    def to(self) -> dict[str, Any]:
        """Arguments of every call."""
        return {"principal": principal(), "base_id": self.base_id}

    async def base(self) -> Base:
        """The structure as it is now."""
        (base,) = await self.schema.get_bases(base_ids=(self.base_id,))
        return base

    async def add(self, table: str, name: str, kind: str, **options: Any) -> Field:
        """A new field; `link` and `source` of a lookup, rollup or count are names such as `Orders.Customer`."""
        if "link" in options:
            options["recordLinkFieldId"] = self.ids[options.pop("link")]
        if "source" in options:
            options["fieldIdInLinkedTable"] = self.ids[options.pop("source")]
        made = await self.schema.create_field(**self.to, table=table, field=FieldDraft(name, kind, options=options))
        self.ids[f"{table}.{name}"] = made.field_id
        if self.is_kept:
            await self.keep()
        inverse = made.options.get("inverseLinkFieldId")
        if inverse is not None:
            base = await self.base()
            other = base.tables_by_id[made.options["linkedTableId"]]
            self.ids[f"{other.name}.{other.fields_by_id[inverse].name}"] = inverse
        return made

    async def field(self, path: str) -> Field:
        """A field as it is now."""
        base = await self.base()
        return next(one for table in base.tables for one in table.fields if one.field_id == self.ids[path])

    async def create(self, table: str, *rows: Row, typecast: bool = False) -> list[dict[str, Any]]:
        """New records, as the answer shows them."""
        made = await self.records.create_records(**self.to, table=table, rows=rows, typecast=typecast, by_id=False)
        return decoded(made)

    async def update(self, table: str, *changes: tuple[str, Row], typecast: bool = False) -> list[dict[str, Any]]:
        """Changed records, as the answer shows them."""
        made = await self.records.update_records(
            **self.to,
            table=table,
            changes=tuple(RecordChange(RecordId(record_id), cells) for record_id, cells in changes),
            is_replacing=False,
            typecast=typecast,
            by_id=False,
        )
        return decoded(made)

    async def delete(self, table: str, *record_ids: str) -> None:
        """Records go to the trash."""
        await self.records.delete_records(**self.to, table=table, record_ids=tuple(map(RecordId, record_ids)))

    async def cells(self, table: str, *names: str, **query: Any) -> list[dict[str, Any]]:
        """Some cells of all records."""
        page = await self.records.list_records(**self.to, table=table, query=ListQuery(fields=names or None, **query))
        return [record["fields"] for record in decoded(page.records)]

    async def column(self, table: str, name: str, **query: Any) -> list[Any]:
        """One cell of all records, None where it is empty."""
        return [cells.get(name) for cells in await self.cells(table, name, **query)]

    async def sorted_by(self, table: str, name: str, *, is_descending: bool = False) -> list[str]:
        """The names of all records in an order."""
        found: Sequence[Any] = await self.column(table, "Name", sort=(Sort(name, is_descending=is_descending),))
        return list(found)


async def make_shop(database: Database, cache: Cache) -> Shop:
    """Tables with links `Orders.Customer` and `Lines.Order`, and no records."""
    schema = schema_service(database)
    base = await schema.create_base(
        principal=principal(), workspace_id=await new_workspace(schema), name="Shop", tables=_TABLES
    )
    shop = Shop(schema, records_service(database, cache, schema), base.base_id, store=SchemaStore(database))
    shop.ids = {f"{table.name}.{one.name}": one.field_id for table in base.tables for one in table.fields}
    customers, orders, _ = base.tables
    await shop.add("Orders", "Customer", "multipleRecordLinks", linkedTableId=customers.table_id)
    await shop.add("Lines", "Order", "multipleRecordLinks", linkedTableId=orders.table_id)
    return shop
