"""A base made straight through `recordstore`, for tests of its plans."""

from collections.abc import Sequence
from typing import Any

from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId, FieldId, TableId, TenantId, ViewId, WorkspaceId, new_id
from pyat.recordstore import ddl
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.structure import Base, Field, Table, View


def field(name: str, type_name: str, options: Any = None) -> Field:
    """A field as the metadata API would store it."""
    parsed = find(type_name).parse_options(options, new_choice_id=lambda: new_id("sel"))
    return Field(FieldId(new_id("fld")), name, type_name, parsed)


async def make_base(database: Database, fields: Sequence[Field], *, name: str = "T") -> tuple[Base, Table]:
    """A base with one table of these fields and a grid view."""
    base_id = BaseId(new_id("app"))
    view = View(ViewId(new_id("viw")), "Grid view", "grid", tuple(item.field_id for item in fields))
    table = Table(TableId(new_id("tbl")), name, fields[0].field_id, tuple(fields), (view,))
    async with database.transaction() as connection:
        await ddl.create_base(connection, base_id)
        await ddl.begin_change(connection, base_id, expected_version=1)
        await ddl.add_table(connection, base_id, table)
    return await load_base(database, base_id)


async def load_base(database: Database, base_id: BaseId) -> tuple[Base, Table]:
    """The base as it is stored now, and its first table."""
    async with database.connection() as connection:
        version, tables = await ddl.load(connection, base_id)
    base = Base(base_id, "Base", TenantId("ten00000000000001"), WorkspaceId("wsp00000000000001"), version, tables)
    return base, tables[0]
