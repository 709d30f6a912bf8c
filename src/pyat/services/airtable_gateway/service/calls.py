"""What every part of the service works with: structures that are current, and work that is planned on them."""

import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pyat.foundation.cache import Cache
from pyat.foundation.clock import monotonic_ms
from pyat.foundation.errors import AppError, NotPermittedOrNotFound, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, ViewId, is_id
from pyat.recordstore import computing, viewindexes
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import ViewIdNotFound, ViewNameNotFound, ViewOfOtherTable
from pyat.recordstore.fieldtypes import NewChoices
from pyat.recordstore.structure import Base, Table, View
from pyat.services.airtable_gateway.service.attaching import with_attachments
from pyat.services.airtable_gateway.service.people import People
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore, terms
from pyat.services.airtable_gateway.store.people import PeopleStore
from pyat.services.auth.contract import Auth
from pyat.services.file.contract import Files
from pyat.services.schema.contract import Schema

Result = TypeVar("Result")

VIEW_USE_INTERVAL_MS = 600_000.0
_VIEW_USES_MAX = 10_000
"""Views that a process remembers to have told of."""

PLANS_MAX = 12
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
        base = self._known[base_id] = computing.with_computed(found[0])
        self._known.move_to_end(base_id)
        while len(self._known) > self._bases_max:
            self._known.popitem(last=False)
        return base


class ViewUses:
    """Tells schema which views are listed, so that those of large tables get an index; each one now and then."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._told_ms: OrderedDict[ViewId, float] = OrderedDict()

    async def note(self, table: Table, view: View) -> None:
        """Records are listed through the view."""
        if viewindexes.index_of(table, view) is None:
            return
        now_ms = monotonic_ms()
        if now_ms - self._told_ms.get(view.view_id, -VIEW_USE_INTERVAL_MS) < VIEW_USE_INTERVAL_MS:
            return
        self._told_ms[view.view_id] = now_ms
        self._told_ms.move_to_end(view.view_id)
        while len(self._told_ms) > _VIEW_USES_MAX:
            self._told_ms.popitem(last=False)
        # A list that works without an index must not fail for want of one.
        with contextlib.suppress(ServiceUnavailable):
            await self._schema.note_view_use(view_id=view.view_id)


class Calls:
    """Base of the parts of the service; they share what it holds."""

    def __init__(
        self, store: RecordsStore, schema: Schema, cache: Cache, settings: RecordsSettings, *, auth: Auth, files: Files
    ) -> None:
        self.store = store
        self.schema = schema
        self.cache = cache
        self.settings = settings
        self.bases = Bases(schema, bases_max=settings.bases_cached_max)
        self.view_uses = ViewUses(schema)
        self.people = People(auth, PeopleStore(store.database))
        self.files = files

    async def stored(
        self, principal: Principal, base: Base, table: Table, rows: Sequence[Mapping[str, Any]], *, typecast: bool
    ) -> tuple[list[dict[str, Any]], dict[str, NewChoices]]:
        """Stored values by field id for each row of a client's cells, and the choices that typecast needs, by field id.

        Users are noted in the base, new files are registered; both stay when the write fails, and do no harm. Raises
        what `recordstore.cells.stored` raises, InvalidAttachment, StructureChanged.
        """
        found, new_choices = await self.people.stored(principal, base, table, rows, typecast=typecast)
        return await with_attachments(self.files, base, table, found, actor=principal.user_id), new_choices

    async def has_answer(self, once: terms.Once) -> bool:
        """Whether a request that is to happen once has happened. Raises IdempotencyKeyReused."""
        return await once.find(self.store.database)

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
            kept = terms.kept_answer()
            if kept is not None:
                # The write that it tells of may have been committed this moment by somebody else.
                await self.store.database.flush()
                answer: Result = kept.answer()
                return answer
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


def view_of(base: Base, table: Table, id_or_name: str) -> View:
    """The table's view with this id or name. Raises ViewOfOtherTable, ViewIdNotFound, ViewNameNotFound."""
    view = table.find_view(id_or_name)
    if view is not None:
        return view
    if any(view.view_id == id_or_name for other in base.tables for view in other.views):
        raise ViewOfOtherTable
    raise (ViewIdNotFound if is_id("viw", id_or_name) else ViewNameNotFound)(view=id_or_name)
