"""The rules of deleting and restoring structure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, TableId, is_id
from pyat.recordstore.errors import InvalidOffset, LimitReached
from pyat.recordstore.structure import Base, Table
from pyat.recordstore.trash import FIELD, TABLE, Deleted
from pyat.services.schema.contract import (
    FIELDS_PER_TABLE_MAX,
    NAME_LENGTH_MAX,
    TABLES_PER_BASE_MAX,
    TRASH_PAGE_MAX,
    TrashItem,
    TrashPage,
)
from pyat.services.schema.service.checks import check_keys, reached, table_of, text_of
from pyat.services.schema.service.planning import filled_name_of
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import DeleteBase, DeleteField, DeleteTable, RenameBase, SchemaStore

BASE = "base"
_OFFSET = re.compile(r"(-?[0-9]{1,18})/((?:app|tbl|fld)[0-9A-Za-z]{14})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TrashCalls:
    """The part of the contract that is about deleting and restoring."""

    def __init__(self, store: SchemaStore, settings: SchemaSettings) -> None:
        self._store = store
        self._kept = timedelta(days=settings.trash_days)

    async def update_base(self, *, principal: Principal, base_id: BaseId, changes: dict[str, Any]) -> Base:
        """See the contract."""

        def plan(found: Base | None) -> RenameBase:
            base = reached(principal, found)
            check_keys(changes, ("name",))
            return RenameBase(base, filled_name_of("The base's name", text_of(changes, "name")))

        await self._store.change(base_id, plan, actor=principal.user_id)
        found = await self._store.bases([base_id])
        return reached(principal, found[0] if found else None)

    async def delete_base(self, *, principal: Principal, base_id: BaseId) -> None:
        """See the contract."""
        await self._store.change(base_id, lambda found: DeleteBase(reached(principal, found)), actor=principal.user_id)

    async def delete_table(self, *, principal: Principal, base_id: BaseId, table: str) -> TableId:
        """See the contract."""

        def plan(found: Base | None) -> DeleteTable:
            base = reached(principal, found)
            its_table = table_of(base, table)
            if len(base.tables) == 1:
                raise InvalidRequest(reason="The last table of a base cannot be deleted.")
            links = tuple(
                (other, field)
                for other in base.tables
                if other.table_id != its_table.table_id
                for field in other.fields
                if field.link is not None and field.link.linked_table_id == its_table.table_id
            )
            return DeleteTable(its_table, links)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).table.table_id

    async def delete_field(self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId) -> None:
        """See the contract."""

        def plan(found: Base | None) -> DeleteField:
            base = reached(principal, found)
            its_table = table_of(base, table)
            field = its_table.fields_by_id.get(field_id)
            if field is None:
                raise NotPermittedOrNotFound
            if field_id == its_table.primary_field_id:
                raise InvalidRequest(reason="The primary field of a table cannot be deleted.")
            other: Table | None = None
            inverse = None
            if field.link is not None and field.link.inverse_field_id is not None:
                other = base.tables_by_id.get(field.link.linked_table_id)
                inverse = None if other is None else other.fields_by_id.get(field.link.inverse_field_id)
            return DeleteField(its_table, field, other, inverse)

        await self._store.change(base_id, plan, actor=principal.user_id)

    async def list_trash(
        self, *, principal: Principal, base_id: BaseId | None, kind: str | None, limit: int, offset: str | None
    ) -> TrashPage:
        """See the contract."""
        if not 1 <= limit <= TRASH_PAGE_MAX:
            raise InvalidRequest(reason=f"limit is a number from 1 to {TRASH_PAGE_MAX}.")
        if kind not in (None, *((BASE,) if base_id is None else (TABLE, FIELD))):
            wanted = "base where there is no baseId" if base_id is None else "table or field"
            raise InvalidRequest(reason=f"type is {wanted}; records have a list of their own.")
        before = None if offset is None else _resume(offset)
        if base_id is not None and not is_id("app", base_id):
            raise NotPermittedOrNotFound
        if base_id is None:
            items = await self._deleted_bases(principal, before, limit + 1)
        else:
            found = await self._store.bases([base_id])
            reached(principal, found[0] if found else None)
            deleted = await self._store.trash_of(
                base_id, kind=kind, since=self._kept, before=before, rows_max=limit + 1
            )
            items = [self._item(base_id, one) for one in deleted]
        if len(items) <= limit:
            return TrashPage(tuple(items), None)
        last = items[limit - 1]
        assert last.deleted_time is not None, "what lies in the trash was deleted"
        moment_us = (last.deleted_time - _EPOCH) // timedelta(microseconds=1)
        return TrashPage(tuple(items[:limit]), f"{moment_us}/{last.item_id}")

    async def _deleted_bases(
        self, principal: Principal, before: tuple[datetime, str] | None, rows_max: int
    ) -> list[TrashItem]:
        rows = await self._store.deleted_base_rows(
            principal.tenant_id, reached=principal.base_ids, since=self._kept, before=before, rows_max=rows_max
        )
        return [
            TrashItem(
                row["base_id"],
                BASE,
                row["name"],
                row["base_id"],
                None,
                row["deleted_at"],
                row["deleted_by"],
                row["deleted_at"] + self._kept,
            )
            for row in rows
        ]

    def _item(self, base_id: BaseId, one: Deleted) -> TrashItem:
        expires = one.deleted_at + self._kept
        return TrashItem(
            one.item_id, one.kind, one.name, base_id, one.table_id, one.deleted_at, one.deleted_by, expires
        )

    async def restore(self, *, principal: Principal, base_id: BaseId, item_id: str) -> TrashItem:
        """See the contract."""
        if not principal.reaches(base_id):
            raise NotPermittedOrNotFound
        if item_id == base_id:
            name = await self._store.restore_base(
                principal.tenant_id, base_id, since=self._kept, actor=principal.user_id
            )
            if name is None:
                raise ModelNotFound(kind="Deleted base")
            return TrashItem(item_id, BASE, name, base_id, None, None, None, None)
        if not any(is_id(prefix, item_id) for prefix in ("tbl", "fld")):
            raise ModelNotFound(kind="Deleted table or field")
        restored = await self._store.restore(
            base_id,
            item_id,
            lambda base, item: _check_restorable(reached(principal, base), item),
            since=self._kept,
            name_length_max=NAME_LENGTH_MAX,
            actor=principal.user_id,
        )
        return TrashItem(item_id, restored.kind, restored.name, base_id, restored.table_id, None, None, None)

    async def purge_trash(self) -> int:
        """Remove for good what has been in the trash for too long, of every tenant; how many things."""
        return await self._store.purge(age=self._kept)


def _check_restorable(base: Base, item: Deleted | None) -> None:
    if item is None:
        raise ModelNotFound(kind="Deleted table or field")
    if item.kind == TABLE:
        if len(base.tables) >= TABLES_PER_BASE_MAX:
            raise LimitReached(what="A base", limit=TABLES_PER_BASE_MAX, things="tables")
        return
    tables = [item.table_id]
    if item.linked_table_id is not None:
        if item.linked_table_id not in base.tables_by_id:
            raise InvalidRequest(reason="The table that this field links to is deleted; restore that first.")
        tables.append(item.linked_table_id)
    for table_id in tables:
        if len(base.tables_by_id[table_id].fields) >= FIELDS_PER_TABLE_MAX:
            raise LimitReached(what="A table", limit=FIELDS_PER_TABLE_MAX, things="fields")


def _resume(offset: str) -> tuple[datetime, str]:
    found = _OFFSET.fullmatch(offset)
    if found is None:
        raise InvalidOffset(offset=offset[:100])
    try:
        return _EPOCH + timedelta(microseconds=int(found[1])), found[2]
    except OverflowError:
        raise InvalidOffset(offset=offset[:100]) from None
