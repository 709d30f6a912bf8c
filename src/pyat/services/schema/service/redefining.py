"""The rules of fields that become something else: new options, other types, copies."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from pyat.foundation.errors import InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, FieldId, new_id
from pyat.recordstore import retyping
from pyat.recordstore.columns import column_type
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import LimitReached, UnsupportedFieldType
from pyat.recordstore.fieldtypes import REGISTRY, BadOptions, FieldType
from pyat.recordstore.naming import free_name
from pyat.recordstore.structure import Base, Field, Options, Table
from pyat.services.schema.contract import (
    FIELDS_PER_TABLE_MAX,
    NAME_LENGTH_MAX,
    ConversionExample,
    ConversionOvertaken,
    ConversionPreview,
    ConversionRefused,
)
from pyat.services.schema.service.checks import check_keys, new_description, reached, table_of, text_of
from pyat.services.schema.service.planning import AIRTABLE_TYPES, ALIASES, LINK_TYPE, field_name, link_like, options_of
from pyat.services.schema.service.references import settled
from pyat.services.schema.store import AddField, AddLink, Conversion, SchemaStore, UpdateField

_UNCOPIED = (LINK_TYPE, "multipleAttachments")
_LINK_KEYS = ("prefersSingleRecordLink", "viewIdForRecordSelection")


class RedefiningCalls:
    """The part of the contract that is about fields that become something else."""

    _store: SchemaStore

    async def redefine_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, changes: dict[str, Any]
    ) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> UpdateField:
            base, its_table, field = _found(principal, found, table, field_id)
            check_keys(changes, ("name", "description", "options"))
            changed = field
            if "options" in changes:
                changed = replace(changed, options=_new_options(base, its_table, field, changes["options"]))
            if "description" in changes:
                changed = replace(changed, description=new_description(changes))
            if "name" in changes:
                others = [other.name for other in its_table.fields if other.field_id != field_id]
                changed = replace(changed, name=field_name(text_of(changes, "name"), others))
            return UpdateField(its_table, changed, field)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).field

    async def preview_conversion(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, type_name: str, options: Any
    ) -> ConversionPreview:
        """See the contract."""
        preview = await self._store.preview(
            base_id, lambda found: _conversion(principal, found, table, field_id, type_name, options)
        )
        examples = tuple(
            ConversionExample(record_id, orjson.loads(before), None if after is None else orjson.loads(after))
            for record_id, before, after in preview.examples
        )
        return ConversionPreview(preview.total, preview.converted, preview.cleared, examples)

    async def convert_field(
        self, *, principal: Principal, base_id: BaseId, table: str, field_id: FieldId, type_name: str, options: Any
    ) -> Field:
        """See the contract."""
        try:
            return await self._store.convert(
                base_id,
                lambda found: _conversion(principal, found, table, field_id, type_name, options),
                actor=principal.user_id,
            )
        except StructureChanged as error:
            raise ConversionOvertaken from error

    async def duplicate_field(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        field_id: FieldId,
        name: str | None,
        with_cells: bool,
    ) -> Field:
        """See the contract."""

        def plan(found: Base | None) -> AddField | AddLink:
            base, its_table, field = _found(principal, found, table, field_id)
            others = its_table.fields_by_name
            if name is None:
                ending = " copy"
                wanted = field.name[: NAME_LENGTH_MAX - len(ending)] + ending
                own_name = free_name(wanted, others, length_max=NAME_LENGTH_MAX)
            else:
                own_name = field_name(name, others)
            if len(its_table.fields) >= FIELDS_PER_TABLE_MAX:
                raise LimitReached(what="A table", limit=FIELDS_PER_TABLE_MAX, things="fields")
            if with_cells and field.type in _UNCOPIED:
                raise InvalidRequest(reason=f"Cells of the type {field.type} cannot be copied; leave them out.")
            if field.link is not None:
                pair = link_like(field, own_name, its_table, base)
                return AddLink(its_table, pair.field, pair.other, pair.inverse)
            made = replace(field, field_id=FieldId(new_id("fld")), name=own_name, number=0, via=None)
            is_copied = with_cells and column_type(field) is not None and not REGISTRY[field.type].is_computed
            return AddField(its_table, made, field if is_copied else None)

        return (await self._store.change(base_id, plan, actor=principal.user_id)).field


def _found(principal: Principal, found: Base | None, table: str, field_id: FieldId) -> tuple[Base, Table, Field]:
    base = reached(principal, found)
    its_table = table_of(base, table)
    field = its_table.fields_by_id.get(field_id)
    if field is None:
        raise NotPermittedOrNotFound
    return base, its_table, field


def _conversion(
    principal: Principal, found: Base | None, table: str, field_id: FieldId, type_name: str, options: Any
) -> Conversion:
    _, its_table, field = _found(principal, found, table, field_id)
    name = ALIASES.get(type_name, type_name)
    if name not in AIRTABLE_TYPES:
        raise InvalidRequest(reason=f'There is no field type "{type_name[:100]}".')
    kind = REGISTRY.get(name)
    if kind is None:
        raise UnsupportedFieldType(table=its_table.name, field=field.name, type=type_name)
    if not retyping.can_convert(field.type, name):
        raise ConversionRefused(reason=f"a field of the type {field.type} cannot become one of the type {name}.")
    if field_id == its_table.primary_field_id and not kind.can_be_primary:
        raise ConversionRefused(reason=f"a field of the type {name} cannot be the primary field.")
    known = field.options["choices"] if field.type in retyping.SELECTS else ()

    def parse() -> Options:
        if name not in retyping.SELECTS:
            return kind.parse_options(options, new_choice_id=_new_choice_id)
        return {"choices": list(known)} if options is None else _choices(kind, options, known)

    target = replace(field, type=name, options=options_of(its_table.name, field.name, parse))
    if (target.type, target.options) == (field.type, field.options):
        raise ConversionRefused(reason="the field has this type and these options already.")
    return Conversion(its_table, field, target)


def _new_choice_id() -> str:
    return new_id("sel")


def _new_options(base: Base, table: Table, field: Field, options: Any) -> Options:
    kind = REGISTRY[field.type]

    def parse() -> Options:
        if field.type in retyping.SELECTS:
            return _choices(kind, options, field.options["choices"])
        if field.type == LINK_TYPE:
            return _link_options(base, field, options)
        return kind.parse_options(options, new_choice_id=_new_choice_id)

    changed = replace(field, options=options_of(table.name, field.name, parse))
    changed = settled(table.name, changed, table.fields_by_id, base.tables)
    if column_type(changed) != column_type(field):
        raise InvalidRequest(reason="These options would change where the field's values come from; make a new field.")
    if field.type == "rating" and changed.options["max"] < field.options["max"]:
        raise InvalidRequest(reason="A lower maximum changes cells: convert the field to the type rating instead.")
    return changed.options


def _choices(kind: FieldType, options: Any, known: Sequence[Mapping[str, Any]]) -> Options:
    """Options of a select, where choices that are there keep their ids. Raises BadOptions."""
    if not isinstance(options, dict) or not isinstance(options.get("choices"), list):
        return kind.parse_options(options, new_choice_id=_new_choice_id)
    by_id = {choice["id"]: choice for choice in known}
    by_name = {choice["name"]: choice for choice in known}
    wanted: list[Any] = []
    kept: list[str | None] = []
    for number, item in enumerate(options["choices"]):
        old = None
        if isinstance(item, dict) and "id" in item:
            old = by_id.get(item["id"]) if isinstance(item["id"], str) else None
            if old is None or old["id"] in kept:
                problem = "is not the id of a choice of the field" if old is None else "is there twice"
                raise BadOptions(f"options.choices[{number}].id", problem)
        wanted.append(item if old is None else {**old, **item})
        kept.append(None if old is None else old["id"])
    for number, item in enumerate(wanted):
        name = item.get("name") if isinstance(item, dict) else None
        same = by_name.get(name.strip()) if isinstance(name, str) else None
        if kept[number] is None and same is not None and same["id"] not in kept:
            kept[number] = same["id"]
            wanted[number] = {**same, **item}
    bare = [{key: item[key] for key in item if key != "id"} if isinstance(item, dict) else item for item in wanted]
    made = kind.parse_options({**options, "choices": bare}, new_choice_id=_new_choice_id)
    choices = [
        choice if choice_id is None else {**choice, "id": choice_id}
        for choice, choice_id in zip(made["choices"], kept, strict=True)
    ]
    return {**made, "choices": choices}


def _link_options(base: Base, field: Field, options: Any) -> Options:
    """Those options of a link that change no link. Raises BadOptions."""
    if not isinstance(options, dict) or not options or any(key not in _LINK_KEYS for key in options):
        raise BadOptions("options", f"takes only {' and '.join(_LINK_KEYS)}")
    made = dict(field.options)
    if "prefersSingleRecordLink" in options:
        if not isinstance(options["prefersSingleRecordLink"], bool):
            raise BadOptions("options.prefersSingleRecordLink", "is not true or false")
        made["prefersSingleRecordLink"] = options["prefersSingleRecordLink"]
    if "viewIdForRecordSelection" in options:
        view_id = options["viewIdForRecordSelection"]
        linked = base.tables_by_id.get(field.options["linkedTableId"])
        views = () if linked is None else linked.views
        made.pop("viewIdForRecordSelection", None)
        if view_id is not None:
            if not any(view.view_id == view_id for view in views):
                raise BadOptions("options.viewIdForRecordSelection", "is not the id of a view of the linked table")
            made["viewIdForRecordSelection"] = view_id
    return made
