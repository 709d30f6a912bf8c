"""Statements for the views of a base. Each expects that `ddl.begin_change` ran in its transaction, as those of `ddl` do."""

from typing import Any

import orjson

from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId, TableId, ViewId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.structure import View


async def add_view(connection: Connection, base_id: BaseId, table_id: TableId, view: View) -> None:
    """A new view, after the others of its table."""
    await connection.run(
        Statement(
            "insert_view",
            f"INSERT INTO {quote(base_id)}.base_views (view_id, table_id, type, {_COLUMNS})"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, $10::jsonb, $11::jsonb)",
        ),
        view.view_id,
        table_id,
        view.type,
        *_values(view),
    )


async def update_view(connection: Connection, base_id: BaseId, view: View) -> None:
    """Everything of an existing view but its type."""
    await connection.run(
        Statement(
            "update_view",
            f"UPDATE {quote(base_id)}.base_views SET ({_COLUMNS})"
            " = ($2, $3, $4, $5, $6::jsonb, $7::jsonb, $8::jsonb, $9::jsonb) WHERE view_id = $1",
        ),
        view.view_id,
        *_values(view),
    )


async def delete_view(connection: Connection, base_id: BaseId, view_id: ViewId) -> None:
    """Remove a view for good."""
    await connection.run(
        Statement("delete_view", f"DELETE FROM {quote(base_id)}.base_views WHERE view_id = $1"), view_id
    )


_COLUMNS = "name, description, field_ids, hidden_field_ids, filter, sorts, groups, settings"


def _values(view: View) -> tuple[Any, ...]:
    return (
        view.name,
        view.description,
        list(view.field_ids),
        list(view.hidden_field_ids),
        None if view.filter is None else _json(view.filter),
        _json(view.sorts),
        _json(view.groups),
        _json(view.settings),
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
