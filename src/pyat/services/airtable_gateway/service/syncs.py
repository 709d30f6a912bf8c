"""The rules of CSV sync: a file is read and checked whole, then the records of its table become those of the file."""

import asyncio
import csv
import io
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from valkey.exceptions import ValkeyError

from pyat.foundation.cache import CacheUnavailable
from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound, RateLimitReached
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId
from pyat.recordstore.errors import UnknownFieldName
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Base, Field, Table
from pyat.services.airtable_gateway.contract import InvalidFile, Sync
from pyat.services.airtable_gateway.service.calls import Calls, table_of

SYNC_ROWS_MAX = 10_000
SYNC_COLUMNS_MAX = 500
SYNC_REQUESTS_MAX = 20
"""Files that one base takes in a window."""
SYNC_WINDOW_S = 300


class SyncCalls(Calls):
    """The part of the contract about CSV sync."""

    async def create_sync(
        self, *, principal: Principal, base_id: BaseId, table: str, key_field: str, is_deleting: bool
    ) -> Sync:
        """See the contract."""

        async def work(base: Base) -> Sync:
            its_table = table_of(base, table)
            key = its_table.find_field(key_field)
            if key is None:
                raise UnknownFieldName(field=key_field[:255])
            _check_key(key)
            return await self.store.add_sync(base, its_table, key, is_deleting=is_deleting)

        return await self.planned(principal, base_id, work)

    async def list_syncs(self, *, principal: Principal, base_id: BaseId, table: str) -> tuple[Sync, ...]:
        """See the contract."""

        async def work(base: Base) -> tuple[Sync, ...]:
            return await self.store.syncs(base_id, table_of(base, table))

        return await self.planned(principal, base_id, work)

    async def delete_sync(self, *, principal: Principal, base_id: BaseId, sync_id: str) -> None:
        """See the contract."""

        async def work(base: Base) -> None:
            await self.store.remove_sync(base, sync_id)

        await self.planned(principal, base_id, work)

    async def sync_csv(self, *, principal: Principal, base_id: BaseId, table: str, sync_id: str, data: bytes) -> None:
        """See the contract."""
        if not principal.may("schema.bases:write"):
            raise NotPermittedOrNotFound
        counted = False

        async def work(base: Base) -> None:
            nonlocal counted
            its_table = table_of(base, table)
            if not counted:
                counted = True
                await self._count(base_id)
            sync = next((sync for sync in await self.store.syncs(base_id, its_table) if sync.sync_id == sync_id), None)
            if sync is None:
                raise ModelNotFound(kind="Sync")
            key = its_table.fields_by_id.get(sync.key_field_id)
            if key is None:
                raise InvalidRequest(reason="The key field of this sync is not there any more.")
            _check_key(key)
            rows = await asyncio.to_thread(_read, data, its_table, key)
            stored, new_choices = await self.stored(principal, base, its_table, rows, typecast=True)
            _check_values(key, stored)
            await self.store.sync(
                base,
                its_table,
                key,
                rows=stored,
                new_choices=new_choices,
                is_deleting=sync.is_deleting,
                user_id=principal.user_id,
                position=lambda place: place + 1,
            )

        await self.planned(principal, base_id, work)

    async def _count(self, base_id: BaseId) -> None:
        """Raises RateLimitReached; while Valkey is away nothing is counted."""
        key = f"syncs:{base_id}"
        try:
            _, count, left_s = await asyncio.gather(
                self.cache.call("SET", key, 0, "EX", SYNC_WINDOW_S, "NX"),
                self.cache.call("INCR", key),
                self.cache.call("TTL", key),
            )
        except (CacheUnavailable, ValkeyError):
            return
        if count > SYNC_REQUESTS_MAX:
            raise RateLimitReached(retry_after_s=max(1, left_s))


def _check_key(key: Field) -> None:
    kind = find(key.type)
    if kind.is_computed or not kind.can_merge_on:
        raise InvalidRequest(reason=f'A sync cannot use the field "{key.name}" as its key.')


def _check_values(key: Field, rows: Sequence[Mapping[str, Any]]) -> None:
    kind = find(key.type)
    lines: dict[Hashable, int] = {}
    for place, row in enumerate(rows, 1):
        value = row[key.field_id]
        if value is None:
            raise InvalidFile(reason=f'row {place} has no value of the key field "{key.name}".')
        first = lines.setdefault(kind.equals_key(value), place)
        if first != place:
            raise InvalidFile(reason=f'rows {first} and {place} have the same value of the key field "{key.name}".')


def _read(data: bytes, table: Table, key: Field) -> list[dict[str, Any]]:
    """The rows of a file by field id; empty cells are None. Raises InvalidFile, UnknownFieldName."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFile(reason=f"byte {error.start + 1} is no UTF-8.") from None
    if "\x00" in text:
        raise InvalidFile(reason="it contains the character U+0000.")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, Any]] = []
    try:
        columns = _columns(next(lines, None), table, key)
        for line in lines:
            if not line:
                continue
            if len(rows) == SYNC_ROWS_MAX:
                raise InvalidFile(reason=f"it has more than {SYNC_ROWS_MAX:,} rows.")
            if len(line) != len(columns):
                raise InvalidFile(
                    reason=f"row {len(rows) + 1} has {len(line)} cells, but the header line has {len(columns)}."
                )
            rows.append({field_id: cell or None for field_id, cell in zip(columns, line, strict=True)})
    except csv.Error as error:
        raise InvalidFile(reason=f"line {lines.line_num} is no CSV ({error}).") from None
    return rows


def _columns(header: Sequence[str] | None, table: Table, key: Field) -> list[str]:
    if not header:
        raise InvalidFile(reason="it has no header line.")
    if len(header) > SYNC_COLUMNS_MAX:
        raise InvalidFile(reason=f"it has more than {SYNC_COLUMNS_MAX} columns.")
    columns: list[str] = []
    for name in header:
        found = table.find_field(name)
        if found is None:
            raise UnknownFieldName(field=name[:255])
        if found.field_id in columns:
            raise InvalidFile(reason=f'the field "{found.name}" is there twice.')
        columns.append(found.field_id)
    if key.field_id not in columns:
        raise InvalidFile(reason=f'it has no column of the key field "{key.name}".')
    return columns
