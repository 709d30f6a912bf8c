"""A table like another one: new ids for all of it, and everything that names something of the table names its copy."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyat.formula import translating
from pyat.formula.errors import BadSyntax
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, TableId, ViewId, new_id
from pyat.recordstore import filters
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.naming import free_name
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.schema.contract import LINKS_COPIED_MAX, NAME_LENGTH_MAX, RECORDS_COPIED_MAX, TABLES_PER_BASE_MAX
from pyat.services.schema.service import view_settings
from pyat.services.schema.service.checks import reached, table_of
from pyat.services.schema.service.planning import LINK_TYPE, Planner, table_name
from pyat.services.schema.store import AddLink, CopyTable, SchemaStore

_FREE_KEYS = frozenset({"choices", "description", "title", "value"})
"""What people wrote, and choices, which keep their ids."""


class DuplicatingCalls:
    """The part of the contract that makes tables like others."""

    _store: SchemaStore
    _planner: Planner

    async def duplicate_table(
        self, *, principal: Principal, base_id: BaseId, table: str, name: str | None, with_records: bool
    ) -> Table:
        """See the contract."""

        def plan(found: Base | None) -> CopyTable:
            base = reached(principal, found)
            original = table_of(base, table)
            if len(base.tables) >= TABLES_PER_BASE_MAX:
                raise LimitReached(what="A base", limit=TABLES_PER_BASE_MAX, things="tables")
            if name is None:
                ending = " copy"
                wanted = original.name[: NAME_LENGTH_MAX - len(ending)] + ending
                own_name = free_name(wanted, [other.name for other in base.tables], length_max=NAME_LENGTH_MAX)
            else:
                own_name = table_name(name, base.tables)
            made = _copy(original, own_name, base)
            made, pairs = self._planner.links_of(made, (*base.tables, made))
            links = tuple(AddLink(made, pair.field, pair.other, pair.inverse) for pair in pairs)
            return CopyTable(made, links, original, RECORDS_COPIED_MAX if with_records else None, LINKS_COPIED_MAX)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).table


def _copy(original: Table, name: str, base: Base) -> Table:
    """The table with new ids; its links have no inverses yet."""
    ids: dict[str, str] = {original.table_id: new_id("tbl")}
    ids.update((field.field_id, new_id("fld")) for field in original.fields)
    ids.update((view.view_id, new_id("viw")) for view in original.views)
    return Table(
        table_id=TableId(ids[original.table_id]),
        name=name,
        primary_field_id=FieldId(ids[original.primary_field_id]),
        fields=tuple(_field(field, ids, base) for field in original.fields),
        views=tuple(_view(view, ids, original) for view in original.views),
        description=original.description,
        date_dependency=_mapped(original.date_dependency, ids),
    )


def _field(field: Field, ids: Mapping[str, str], base: Base) -> Field:
    options = dict(_mapped(field.options, ids))
    if field.type == "formula":
        # A formula that cannot be read is invalid in the copy too.
        with contextlib.suppress(BadSyntax):
            options["formula"] = translating.to_ids(field.options["formula"], ids.get)
    if field.type == LINK_TYPE:
        options.pop("inverseLinkFieldId", None)
        linked = base.tables_by_id.get(field.options["linkedTableId"])
        known = {view.view_id for view in linked.views} if linked else set()
        if field.options.get("viewIdForRecordSelection") not in known:
            options.pop("viewIdForRecordSelection", None)
    return Field(FieldId(ids[field.field_id]), field.name, field.type, options, field.description)


def _view(view: View, ids: Mapping[str, str], table: Table) -> View:
    """The view for the copy, without what is said of deleted fields."""
    return replace(
        view,
        view_id=ViewId(ids[view.view_id]),
        field_ids=tuple(FieldId(ids[item]) for item in view.field_ids if item in ids),
        hidden_field_ids=tuple(FieldId(ids[item]) for item in view.hidden_field_ids if item in ids),
        filter=_mapped(filters.known_part(view.filter, table), ids),
        sorts=tuple(_mapped(item, ids) for item in view.sorts if item["fieldId"] in ids),
        groups=tuple(_mapped(item, ids) for item in view.groups if item["fieldId"] in ids),
        settings=_mapped(view_settings.known_part(view.settings, table), ids),
    )


def _mapped(value: Any, ids: Mapping[str, str]) -> Any:
    """JSON in which every id of `ids` is its new one."""
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, Mapping):
        return {key: item if key in _FREE_KEYS else _mapped(item, ids) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, ids) for item in value]
    return value
