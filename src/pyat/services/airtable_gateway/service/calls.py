"""What every part of the service works with: structures that are current, and work that is planned on them."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pyat.foundation.cache import Cache
from pyat.foundation.errors import AppError, NotPermittedOrNotFound, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.structure import Base, Table
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore
from pyat.services.schema.contract import Schema

Result = TypeVar("Result")

PLANS_MAX = 5
"""How often a request is planned anew because the structure changed under it."""


class Bases:
    """Structures by base id, the least recently used one dropped first. Freshness is checked by whoever uses one."""

    def __init__(self, schema: Schema, *, bases_max: int) -> None:
        self._schema = schema
        self._bases_max = bases_max
        self._known: OrderedDict[BaseId, Base] = OrderedDict()

    def known(self, base_id: BaseId) -> Base | None:
        base = self._known.get(base_id)
        if base is not None:
            self._known.move_to_end(base_id)
        return base

    async def fetch(self, base_id: BaseId) -> Base | None:
        found = await self._schema.get_bases(base_ids=(base_id,))
        if not found:
            self._known.pop(base_id, None)
            return None
        self._known[base_id] = found[0]
        self._known.move_to_end(base_id)
        while len(self._known) > self._bases_max:
            self._known.popitem(last=False)
        return found[0]


class Calls:
    """Base of the parts of the service; they share what it holds."""

    def __init__(self, store: RecordsStore, schema: Schema, cache: Cache, settings: RecordsSettings) -> None:
        self.store = store
        self.schema = schema
        self.cache = cache
        self.settings = settings
        self.bases = Bases(schema, bases_max=settings.bases_cached_max)

    async def planned(self, principal: Principal, base_id: BaseId, work: Callable[[Base], Awaitable[Result]]) -> Result:
        """Plan and run on the structure we know; whenever that turns out to be an old one, on the current one."""
        base = self.bases.known(base_id) if principal.reaches(base_id) else None
        is_current = base is None
        if base is None:
            base = await self.bases.fetch(base_id)
        for _ in range(PLANS_MAX):
            # One answer for "not there" and "not yours": existence must not leak.
            if base is None or base.tenant_id != principal.tenant_id or not principal.reaches(base_id):
                raise NotPermittedOrNotFound
            try:
                return await work(base)
            except StructureChanged:
                pass
            except ServiceUnavailable:
                raise
            except AppError:
                # The fault may lie in our copy: a table or choice that another process has just made.
                if is_current or await self.store.version(base_id) == base.version:
                    raise
            base = await self.bases.fetch(base_id)
            is_current = True
        raise ServiceUnavailable


def table_of(base: Base, id_or_name: str) -> Table:
    """The table with this id or name. Raises NotPermittedOrNotFound."""
    table = base.find_table(id_or_name)
    if table is None:
        raise NotPermittedOrNotFound
    return table
