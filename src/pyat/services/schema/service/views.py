"""The rules of views: names, kinds, which fields they show in which order, and what may be deleted."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from pyat.foundation.errors import InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, ViewId, new_id
from pyat.recordstore import filters
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.structure import Base, Table, View
from pyat.services.schema.contract import NAME_LENGTH_MAX, VIEWS_PER_TABLE_MAX, LastGridView, TableView, ViewNameTaken
from pyat.services.schema.service import view_settings
from pyat.services.schema.service.checks import check_keys, new_description, reached, table_of, text_of
from pyat.services.schema.service.planning import filled_name_of
from pyat.services.schema.store import AddView, DeleteView, SchemaStore, UpdateView

CHANGEABLE = ("name", "description", "fieldIds", "hiddenFieldIds", "filter", "sorts", "groups", "settings")


class ViewCalls:
    """The part of the contract that is about views."""

    def __init__(self, store: SchemaStore) -> None:
        self._store = store

    async def list_views(self, *, principal: Principal, base_id: BaseId) -> tuple[TableView, ...]:
        """See the contract."""
        base = await self._base(principal, base_id)
        return tuple(_shown(table, view) for table in base.tables for view in table.views)

    async def get_view(self, *, principal: Principal, base_id: BaseId, view_id: ViewId) -> TableView:
        """See the contract."""
        return _shown(*_found(await self._base(principal, base_id), view_id))

    async def create_view(
        self, *, principal: Principal, base_id: BaseId, table: str, draft: dict[str, Any]
    ) -> TableView:
        """See the contract."""

        def plan(found: Base | None) -> AddView:
            its_table = table_of(reached(principal, found), table)
            for key in draft:
                if key != "type" and key not in CHANGEABLE:
                    raise InvalidRequest(reason=f'"{key[:100]}" is not a key of a view.')
            kind = draft.get("type", "grid")
            if kind not in view_settings.KINDS:
                raise InvalidRequest(reason=f"The type of a view is one of {', '.join(view_settings.KINDS)}.")
            if "name" not in draft:
                raise InvalidRequest(reason="A view needs a name.")
            _check_room(its_table)
            empty = View(ViewId(new_id("viw")), "", kind, tuple(field.field_id for field in its_table.fields))
            return AddView(its_table, _changed(empty, {"settings": None, **draft}, its_table))

        planned = await self._store.change(base_id, plan, actor=principal.user_id)
        return _shown(planned.table, planned.view)

    async def update_view(
        self, *, principal: Principal, base_id: BaseId, view_id: ViewId, changes: dict[str, Any]
    ) -> TableView:
        """See the contract."""

        def plan(found: Base | None) -> UpdateView:
            table, view = _found(reached(principal, found), view_id)
            check_keys(changes, CHANGEABLE)
            return UpdateView(table, _changed(view, changes, table), view)

        planned = await self._store.change(base_id, plan, actor=principal.user_id)
        return _shown(planned.table, planned.view)

    async def delete_view(self, *, principal: Principal, base_id: BaseId, view_id: ViewId) -> None:
        """See the contract."""

        def plan(found: Base | None) -> DeleteView:
            table, view = _found(reached(principal, found), view_id)
            if view.type == "grid" and sum(other.type == "grid" for other in table.views) == 1:
                raise LastGridView
            return DeleteView(table, view)

        await self._store.change(base_id, plan, actor=principal.user_id)

    async def duplicate_view(
        self, *, principal: Principal, base_id: BaseId, view_id: ViewId, name: str | None
    ) -> TableView:
        """See the contract."""

        def plan(found: Base | None) -> AddView:
            table, view = _found(reached(principal, found), view_id)
            _check_room(table)
            own_name = _copy_name(view, table.views) if name is None else _view_name(name, table.views)
            return AddView(table, replace(view, view_id=ViewId(new_id("viw")), name=own_name))

        planned = await self._store.change(base_id, plan, actor=principal.user_id)
        return _shown(planned.table, planned.view)

    async def note_view_use(self, *, view_id: ViewId) -> None:
        """See the contract."""
        await self._store.note_view_use(view_id)

    async def fill_computed(self) -> BaseId | None:
        """As the store's: work for whoever has time."""
        return await self._store.fill_computed()

    async def refresh_view_indexes(self, *, rows_min: int, idle_s: float) -> tuple[list[str], list[str]]:
        """The names of the indexes that were built and dropped, see the store; for the service's own timed work."""
        return await self._store.refresh_view_indexes(rows_min=rows_min, idle_s=idle_s)

    async def _base(self, principal: Principal, base_id: BaseId) -> Base:
        if not principal.reaches(base_id):
            raise NotPermittedOrNotFound
        found = await self._store.bases([base_id])
        return reached(principal, found[0] if found else None)


def _found(base: Base, view_id: ViewId) -> tuple[Table, View]:
    for table in base.tables:
        for view in table.views:
            if view.view_id == view_id:
                return table, view
    raise NotPermittedOrNotFound


def _shown(table: Table, view: View) -> TableView:
    """The view without what is said of deleted fields; fields that it does not know yet come last."""
    known = [field_id for field_id in view.field_ids if field_id in table.fields_by_id]
    field_ids = tuple(dict.fromkeys([*known, *table.fields_by_id]))
    hidden = tuple(field_id for field_id in view.hidden_field_ids if field_id in table.fields_by_id)
    shown = replace(
        view,
        field_ids=tuple(FieldId(item) for item in field_ids),
        hidden_field_ids=hidden,
        filter=filters.known_part(view.filter, table),
        sorts=tuple(item for item in view.sorts if item["fieldId"] in table.fields_by_id),
        groups=tuple(item for item in view.groups if item["fieldId"] in table.fields_by_id),
        settings=view_settings.known_part(view.settings, table),
    )
    return TableView(table.table_id, shown)


def _check_room(table: Table) -> None:
    if len(table.views) >= VIEWS_PER_TABLE_MAX:
        raise LimitReached(what="A table", limit=VIEWS_PER_TABLE_MAX, things="views")


def _view_name(text: str, others: Iterable[View]) -> str:
    name = filled_name_of("The view's name", text)
    folded = name.casefold()
    if any(other.name.casefold() == folded for other in others):
        raise ViewNameTaken(name=name)
    return name


def _copy_name(view: View, others: Collection[View]) -> str:
    taken = {other.name.casefold() for other in others}
    number = 1
    while True:
        ending = " copy" if number == 1 else f" copy {number}"
        name = view.name[: NAME_LENGTH_MAX - len(ending)] + ending
        if name.casefold() not in taken:
            return name
        number += 1


def _changed(view: View, changes: dict[str, Any], table: Table) -> View:
    """The view with the changes of a client. Raises InvalidRequest, ViewNameTaken."""
    changed = view
    if "name" in changes:
        others = [other for other in table.views if other.view_id != view.view_id]
        changed = replace(changed, name=_view_name(text_of(changes, "name"), others))
    if "description" in changes:
        changed = replace(changed, description=new_description(changes))
    if "fieldIds" in changes:
        changed = replace(changed, field_ids=_order(changes["fieldIds"], view, table))
    if "hiddenFieldIds" in changes:
        changed = replace(changed, hidden_field_ids=_hidden(changes["hiddenFieldIds"], view, table))
    if "filter" in changes:
        changed = replace(changed, filter=filters.check(changes["filter"], table))
    if "sorts" in changes:
        changed = replace(changed, sorts=filters.check_sorts(changes["sorts"], table))
    if "groups" in changes:
        changed = replace(changed, groups=filters.check_groups(changes["groups"], table))
    if "settings" in changes:
        changed = replace(changed, settings=view_settings.checked(view.type, changes["settings"], table))
    return changed


def _ids(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or len(set(value)) != len(value):
        raise InvalidRequest(reason=f"{key} must be a list of different ids of fields.")
    return value


def _order(value: Any, view: View, table: Table) -> tuple[FieldId, ...]:
    """The order of all fields; deleted ones, which may come back, stay behind them."""
    field_ids = _ids(value, "fieldIds")
    if set(field_ids) != set(table.fields_by_id):
        raise InvalidRequest(reason="fieldIds must name every field of the table once.")
    gone = [field_id for field_id in view.field_ids if field_id not in table.fields_by_id]
    return tuple(FieldId(field_id) for field_id in (*field_ids, *gone))


def _hidden(value: Any, view: View, table: Table) -> tuple[FieldId, ...]:
    field_ids = _ids(value, "hiddenFieldIds")
    if not set(field_ids) <= set(table.fields_by_id):
        raise InvalidRequest(reason="hiddenFieldIds must name fields of the table.")
    if view.type != "form" and table.primary_field_id in field_ids:
        raise InvalidRequest(reason="The primary field cannot be hidden.")
    gone = [field_id for field_id in view.hidden_field_ids if field_id not in table.fields_by_id]
    return tuple(FieldId(field_id) for field_id in (*field_ids, *gone))
