"""The rules of the records API: who may see what, which field a name means, how an upsert finds its records."""

import hashlib
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pyat.formula import wire
from pyat.foundation.cache import CacheUnavailable
from pyat.foundation.db import Connection
from pyat.foundation.errors import InvalidRequest, ModelNotFound, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId, new_id, new_ids
from pyat.recordstore import reading, writing
from pyat.recordstore.errors import (
    AmbiguousUpsert,
    InvalidOffset,
    IteratorNotAvailable,
    UnknownFieldName,
    UpsertKeyMissing,
)
from pyat.recordstore.fieldtypes import TextFormat, find
from pyat.recordstore.structure import Base, Field, Table, View
from pyat.services.airtable_gateway.contract import FormulaInput, ListQuery, RecordChange, RecordPage, Upserted
from pyat.services.airtable_gateway.service.calls import Calls, table_of, view_of
from pyat.services.airtable_gateway.service.filtering import Filter, filter_of, inputs_of
from pyat.services.airtable_gateway.store.filtering import matching_page
from pyat.services.airtable_gateway.store.records import Page, create_records, update_records

MERGE_FIELDS_MAX = 3

_OFFSET = re.compile(r"itr[0-9A-Za-z]{14}/rec[0-9A-Za-z]{14}")


@dataclass(slots=True)
class _Merge:
    """What an upsert came to: the record of each item, in order, and what was done."""

    record_ids: list[RecordId] = field(default_factory=list)
    created: dict[RecordId, dict[str, Any]] = field(default_factory=dict)
    updated: dict[RecordId, dict[str, Any]] = field(default_factory=dict)


class RecordCalls(Calls):
    """The part of the contract that lists and writes records."""

    async def list_records(self, *, principal: Principal, base_id: BaseId, table: str, query: ListQuery) -> RecordPage:
        """See the contract."""

        async def work(base: Base) -> RecordPage:
            return await self._list(base, table_of(base, table), query)

        return await self.planned(principal, base_id, work)

    async def _list(self, base: Base, table: Table, query: ListQuery) -> RecordPage:
        view = None if query.view is None else view_of(base, table, query.view)
        matching = None if query.filter is None else filter_of(table, query.filter)
        fields = None if query.fields is None else _fields(table, query.fields)
        sort = [reading.SortKey(_field(table, key.field), key.is_descending) for key in query.sort]
        if view is not None and not sort:
            sort = reading.order_of(view, table)
        fingerprint = _fingerprint(table, sort, view, query)
        cursor, listed = None, 0
        if query.offset is not None:
            cursor, listed = await self._resume(query.offset, fingerprint)
        elif view is not None:
            await self.view_uses.note(table, view)
        rows_max = query.page_size
        if query.records_max is not None:
            rows_max = min(rows_max, query.records_max - listed)
        page = await self._page(
            base,
            table,
            matching,
            fields=fields,
            by_id=query.by_id,
            sort=sort,
            rows_max=rows_max,
            cursor=cursor,
            view=view,
            text=_text_format(query.time_zone, query.locale),
            counts_comments=query.counts_comments,
        )
        listed += page.row_count
        if page.cursor is None or listed == query.records_max:
            return RecordPage(page.records, None)
        offset = f"{query.offset[:17] if query.offset else new_id('itr')}/{page.last_id}"
        await self._keep(offset, fingerprint, page.cursor, listed)
        return RecordPage(page.records, offset)

    async def _page(self, base: Base, table: Table, matching: Filter | None, **wanted: Any) -> Page:
        if matching is None:
            return await self.store.page(base, table, **wanted)
        time_s = self.settings.filter_time_s
        if matching.condition is not None:
            return await self.store.page(base, table, **wanted, matching=matching.condition, time_s=time_s)
        return await matching_page(
            self.store, base, table, **wanted, inputs=matching.inputs, test=matching.test, time_s=time_s
        )

    async def _keep(self, offset: str, fingerprint: str, cursor: reading.Cursor, listed: int) -> None:
        state = orjson.dumps([fingerprint, cursor.keys, cursor.n, cursor.n_max, listed])
        try:
            await self.cache.call("SET", f"iterator:{offset}", state, "EX", self.settings.iterator_idle_s)
        except CacheUnavailable as error:
            raise ServiceUnavailable from error

    async def _resume(self, offset: str, fingerprint: str) -> tuple[reading.Cursor, int]:
        if not _OFFSET.fullmatch(offset):
            raise InvalidOffset(offset=offset[:100])
        try:
            state = await self.cache.call("GET", f"iterator:{offset}")
        except CacheUnavailable as error:
            raise ServiceUnavailable from error
        if state is None:
            raise IteratorNotAvailable
        known, keys, n, n_max, listed = orjson.loads(state)
        # An offset belongs to one list: with another table, order or bound it has no meaning.
        if known != fingerprint:
            raise InvalidOffset(offset=offset)
        return reading.Cursor(tuple(keys), n, n_max), listed

    async def get_record(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        record_id: RecordId,
        by_id: bool,
        time_zone: str | None = None,
        locale: str | None = None,
    ) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            text = _text_format(time_zone, locale)
            body = await self.store.get(base, table_of(base, table), record_id, by_id=by_id, text=text)
            if body is None:
                raise ModelNotFound(kind="Record")
            return body

        return await self.planned(principal, base_id, work)

    async def formula_inputs(
        self, *, principal: Principal, base_id: BaseId, table: str, record_id: RecordId, formula: str
    ) -> tuple[FormulaInput, ...]:
        """See the contract."""

        async def work(base: Base) -> tuple[FormulaInput, ...]:
            its_table = table_of(base, table)
            wanted = inputs_of(its_table, formula)
            body = await self.store.json_of(base, its_table, record_id, wanted.sqls)
            if body is None:
                raise ModelNotFound(kind="Record")
            pairs = zip(wanted.inputs, wanted.decoders, body, strict=True)
            return tuple(FormulaInput(one.key, one.field_ids, wire.packed(decode(part))) for one, decode, part in pairs)

        return await self.planned(principal, base_id, work)

    async def create_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        rows: tuple[Mapping[str, Any], ...],
        typecast: bool,
        by_id: bool,
    ) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            its_table = table_of(base, table)
            stored, new_choices = await self.stored(principal, base, its_table, rows, typecast=typecast)
            return await self.store.create(
                base,
                its_table,
                record_ids=[RecordId(record_id) for record_id in new_ids("rec", len(rows))],
                rows=stored,
                new_choices=new_choices,
                user_id=principal.user_id,
                by_id=by_id,
            )

        return await self.planned(principal, base_id, work)

    async def update_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        changes: tuple[RecordChange, ...],
        is_replacing: bool,
        typecast: bool,
        by_id: bool,
    ) -> bytes:
        """See the contract."""

        async def work(base: Base) -> bytes:
            its_table = table_of(base, table)
            stored, new_choices = await self.stored(
                principal, base, its_table, [change.cells for change in changes], typecast=typecast
            )
            record_ids = [_required(change.record_id) for change in changes]
            merged: dict[RecordId, dict[str, Any]] = {}
            for record_id, row in zip(record_ids, stored, strict=True):
                _overlay(merged, record_id, row, is_replacing=is_replacing)
            return await self.store.update(
                base,
                its_table,
                changes=[writing.Change(record_id, row) for record_id, row in merged.items()],
                answer_ids=record_ids,
                is_replacing=is_replacing,
                new_choices=new_choices,
                user_id=principal.user_id,
                by_id=by_id,
            )

        return await self.planned(principal, base_id, work)

    async def upsert_records(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        merge_on: tuple[str, ...],
        changes: tuple[RecordChange, ...],
        is_replacing: bool,
        typecast: bool,
        by_id: bool,
    ) -> Upserted:
        """See the contract."""

        async def work(base: Base) -> Upserted:
            its_table = table_of(base, table)
            keys = _merge_fields(its_table, merge_on)
            stored, new_choices = await self.stored(
                principal, base, its_table, [change.cells for change in changes], typecast=typecast
            )
            _check_keys(keys, changes, stored)

            async def merge(connection: Connection, base: Base, table: Table) -> _Merge:
                found = await self._matches(connection, base, table, keys, changes, stored)
                merge = _merged(keys, changes, stored, found, is_replacing=is_replacing)
                if merge.updated:
                    updates = [writing.Change(record_id, row) for record_id, row in merge.updated.items()]
                    await update_records(connection, base, table, updates, is_replacing, principal.user_id, by_id=by_id)
                if merge.created:
                    await create_records(
                        connection,
                        base,
                        table,
                        list(merge.created),
                        list(merge.created.values()),
                        principal.user_id,
                        by_id=by_id,
                    )
                return merge

            return await self.store.upsert(
                base,
                its_table,
                new_choices=new_choices,
                by_id=by_id,
                merge=merge,
                record_ids=lambda result: result.record_ids,
                answer=lambda result, body: Upserted(body, tuple(result.created), tuple(result.updated)),
            )

        return await self.planned(principal, base_id, work)

    async def _matches(
        self,
        connection: Connection,
        base: Base,
        table: Table,
        keys: Sequence[Field],
        changes: Sequence[RecordChange],
        stored: Sequence[Mapping[str, Any]],
    ) -> dict[int, RecordId]:
        """The existing record of each item that has no id and no blank merge cell, by position."""
        positions = [
            position
            for position, (change, row) in enumerate(zip(changes, stored, strict=True))
            if change.record_id is None and all(row[key.field_id] is not None for key in keys)
        ]
        if not positions:
            return {}
        statement, arguments = writing.matches(
            base.base_id, table, merge_on=keys, keys=[stored[position] for position in positions]
        )
        found: dict[int, RecordId] = {}
        for row in await connection.rows(statement, *arguments):
            position = positions[row["place"] - 1]
            if row["count"] > 1:
                raise AmbiguousUpsert(position=position + 1, count=row["count"])
            found[position] = row["record_id"]
        return found

    async def delete_records(
        self, *, principal: Principal, base_id: BaseId, table: str, record_ids: tuple[RecordId, ...]
    ) -> None:
        """See the contract."""

        async def work(base: Base) -> None:
            await self.store.delete(base, table_of(base, table), record_ids, user_id=principal.user_id)

        await self.planned(principal, base_id, work)


def _text_format(time_zone: str | None, locale: str | None) -> TextFormat | None:
    return None if time_zone is None and locale is None else TextFormat.read(time_zone, locale)


def _field(table: Table, id_or_name: str) -> Field:
    found = table.find_field(id_or_name)
    if found is None:
        raise UnknownFieldName(field=id_or_name)
    return found


def _fields(table: Table, names: Sequence[str]) -> list[Field]:
    return list({found.field_id: found for found in (_field(table, name) for name in names)}.values())


def _fingerprint(table: Table, sort: Sequence[reading.SortKey], view: View | None, query: ListQuery) -> str:
    parts = [
        table.table_id,
        [(key.field.field_id, key.is_descending, key.by_index) for key in sort],
        None if view is None else [view.view_id, view.filter],
        query.filter,
        query.records_max,
    ]
    return hashlib.blake2b(orjson.dumps(parts), digest_size=12).hexdigest()


def _merge_fields(table: Table, names: Sequence[str]) -> list[Field]:
    fields = _fields(table, names)
    if not 1 <= len(fields) <= MERGE_FIELDS_MAX or len(fields) != len(names):
        raise InvalidRequest(reason="fieldsToMergeOn takes one to three different fields.")
    for merge_field in fields:
        kind = find(merge_field.type)
        if kind.is_computed or not kind.can_merge_on:
            raise InvalidRequest(reason=f'fieldsToMergeOn cannot use the field "{merge_field.name}".')
    return fields


def _check_keys(keys: Sequence[Field], changes: Sequence[RecordChange], stored: Sequence[Mapping[str, Any]]) -> None:
    for position, (change, row) in enumerate(zip(changes, stored, strict=True), 1):
        if change.record_id is None:
            for key in keys:
                if key.field_id not in row:
                    raise UpsertKeyMissing(position=position, field=key.name)


def _merged(
    keys: Sequence[Field],
    changes: Sequence[RecordChange],
    stored: Sequence[Mapping[str, Any]],
    found: Mapping[int, RecordId],
    *,
    is_replacing: bool,
) -> _Merge:
    """Items in order: a second item with the key of a new record updates that record."""
    merge = _Merge()
    new_by_key: dict[Hashable, RecordId] = {}
    for position, (change, row) in enumerate(zip(changes, stored, strict=True)):
        record_id = change.record_id or found.get(position)
        if record_id is None:
            values = [row[key.field_id] for key in keys]
            key = tuple(find(key.type).equals_key(value) for key, value in zip(keys, values, strict=True))
            # A blank never equals another blank, so each such item makes a record of its own.
            record_id = None if None in values else new_by_key.get(key)
            if record_id is None:
                record_id = new_by_key[key] = RecordId(new_id("rec"))
                merge.created[record_id] = {}
        target = merge.created if record_id in merge.created else merge.updated
        _overlay(target, record_id, row, is_replacing=is_replacing)
        merge.record_ids.append(record_id)
    return merge


def _overlay(
    target: dict[RecordId, dict[str, Any]], record_id: RecordId, row: Mapping[str, Any], *, is_replacing: bool
) -> None:
    earlier = {} if is_replacing else target.get(record_id, {})
    target[record_id] = {**earlier, **row}


def _required(record_id: RecordId | None) -> RecordId:
    assert record_id is not None, "the routes check that every change of an update names its record"
    return record_id
