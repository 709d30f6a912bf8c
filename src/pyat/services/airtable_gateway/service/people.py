"""Users in records: who can be named in a cell, and what a base has to know of them."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyat.foundation.clock import monotonic_ms
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, TenantId
from pyat.recordstore import cells
from pyat.recordstore.errors import InvalidValue
from pyat.recordstore.fieldtypes import NewChoices, User, Users, find
from pyat.recordstore.fieldtypes.base import NO_USERS
from pyat.recordstore.fieldtypes.people import UserType
from pyat.recordstore.structure import Base, Field, Table
from pyat.services.airtable_gateway.store.people import PeopleStore
from pyat.services.auth.contract import Auth

USERS_KNOWN_MS = 30_000
"""How long the users of a tenant are taken as they were."""

USERS_ASKED_AGAIN_MS = 1_000
"""How old that knowledge must be for a name that nobody has to be a reason to ask again."""

TENANTS_KNOWN_MAX = 100
INTRODUCTIONS_MAX = 10_000
"""Users of bases that one process remembers to have noted (about 200 bytes each); the others are noted again."""


class People:
    """The users of tenants, from auth; and which of them were noted in which base by this process."""

    def __init__(self, auth: Auth, store: PeopleStore) -> None:
        self._auth = auth
        self._store = store
        self._known: OrderedDict[TenantId, tuple[float, Users]] = OrderedDict()
        self._introduced: OrderedDict[tuple[BaseId, User], None] = OrderedDict()

    async def users(self, tenant_id: TenantId, *, age_ms_max: float = USERS_KNOWN_MS) -> Users:
        """The users of a tenant, as they were at most `age_ms_max` ago."""
        known = self._known.get(tenant_id)
        if known is not None and monotonic_ms() - known[0] <= age_ms_max:
            return known[1]
        accounts = await self._auth.list_users(tenant_id=tenant_id)
        found = Users(tuple(User(account.user_id, account.email, account.name) for account in accounts))
        self._known[tenant_id] = (monotonic_ms(), found)
        self._known.move_to_end(tenant_id)
        while len(self._known) > TENANTS_KNOWN_MAX:
            self._known.popitem(last=False)
        return found

    async def users_for(self, principal: Principal, table: Table) -> Users:
        """Those whom the caller may name in cells of a table; nobody is asked for where it has no such cells."""
        return await self.users(principal.tenant_id) if _user_fields(table) else NO_USERS

    async def introduce(self, base_id: BaseId, principal: Principal, others: Iterable[User] = ()) -> None:
        """Note in a base the caller, who is about to write, and users whom cells will name. Raises StructureChanged."""
        caller = User(principal.user_id, principal.email, principal.name)
        new = [user for user in {caller: None, **dict.fromkeys(others)} if (base_id, user) not in self._introduced]
        if not new:
            return
        await self._store.put(base_id, new)
        for user in new:
            self._introduced[base_id, user] = None
        while len(self._introduced) > INTRODUCTIONS_MAX:
            self._introduced.popitem(last=False)

    async def stored(
        self, principal: Principal, base: Base, table: Table, rows: Sequence[Mapping[str, Any]], *, typecast: bool
    ) -> tuple[list[dict[str, Any]], dict[str, NewChoices]]:
        """As `cells.stored`; the caller and the users in the cells are noted in the base, before anything is written.

        What a base knows of users is no part of the write: it stays when the write fails. Raises StructureChanged too.
        """
        fields = _user_fields(table)
        if not any(name in row for row in rows for field in fields for name in (field.field_id, field.name)):
            result = cells.stored(table, rows, typecast=typecast)
            await self.introduce(base.base_id, principal)
            return result
        users = await self.users(principal.tenant_id)
        try:
            result = cells.stored(table, rows, typecast=typecast, users=users)
        except InvalidValue:
            # Somebody may have joined since the users were last asked for.
            newer = await self.users(principal.tenant_id, age_ms_max=USERS_ASKED_AGAIN_MS)
            if newer is users:
                raise
            users = newer
            result = cells.stored(table, rows, typecast=typecast, users=users)
        named: dict[User, None] = {}
        for row in result[0]:
            for field in fields:
                kind = find(field.type)
                assert isinstance(kind, UserType)
                named |= {users.by_id[user_id]: None for user_id in kind.ids(row.get(field.field_id))}
        await self.introduce(base.base_id, principal, named)
        return result


def _user_fields(table: Table) -> list[Field]:
    key = "user_fields"
    found: list[Field] | None = table.plans.get(key)
    if found is None:
        found = [field for field in table.fields if find(field.type).names_users]
        table.plans[key] = found
    return found
