"""The yardstick: the least that anybody would write. FastAPI, asyncpg, one plain table, JSON built by PostgreSQL.

No token, no limits, no checks of values, no field names of users: what our whole public path is measured against.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import asyncpg
from fastapi import FastAPI, Request, Response

COLUMNS = {
    "Name": "text",
    "Notes": "text",
    "Email": "text",
    "Website": "text",
    "Amount": "float8",
    "Count": "float8",
    "Done": "bool",
    "Due": "date",
    "Seen": "timestamptz",
    "Status": "text",
}

_CELLS = ", ".join(f"'{name}', \"{name}\"" for name in COLUMNS)
_JSON = f"json_build_object('id', id, 'createdTime', created, 'fields', json_build_object({_CELLS}))"
CREATE_TABLE = (
    "DROP TABLE IF EXISTS plain; CREATE TABLE plain (n int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " id text NOT NULL UNIQUE, created timestamptz NOT NULL DEFAULT now(), "
    + ", ".join(f'"{name}" {pg_type}' for name, pg_type in COLUMNS.items())
    + ")"
)
_LIST = f"SELECT json_agg({_JSON})::text FROM (SELECT * FROM plain ORDER BY n LIMIT 100) p"
_GET = f"SELECT {_JSON}::text FROM plain WHERE id = $1"
_ARRAYS = ", ".join(f"${number}::{pg_type}[]" for number, pg_type in enumerate(COLUMNS.values(), 2))
_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
_INSERT = (
    f"WITH made AS (INSERT INTO plain (id, {_NAMES}) SELECT * FROM unnest($1::text[], {_ARRAYS}) RETURNING *)"
    f" SELECT json_agg({_JSON})::text FROM made"
)
_UPDATE = (
    'WITH made AS (UPDATE plain p SET "Amount" = u.amount, "Status" = u.status'
    " FROM unnest($1::text[], $2::float8[], $3::text[]) AS u(wanted, amount, status) WHERE p.id = u.wanted RETURNING p.*)"
    f" SELECT json_agg({_JSON})::text FROM made"
)


def value_of(pg_type: str, value: Any) -> Any:
    if value is None:
        return None
    if pg_type == "date":
        return date.fromisoformat(value)
    if pg_type == "timestamptz":
        return datetime.fromisoformat(value)
    return value


def new_row_id() -> str:
    return "rec" + os.urandom(7).hex()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["YARDSTICK_DATABASE_URL"], min_size=1, max_size=8)
    yield
    await app.state.pool.close()


app = FastAPI(lifespan=_lifespan, openapi_url=None)


def _answer(body: str) -> Response:
    return Response(body, media_type="application/json")


@app.get("/plain")
async def list_rows(request: Request) -> Response:
    """100 rows."""
    return _answer('{"records":' + await request.app.state.pool.fetchval(_LIST) + "}")


@app.get("/plain/{row_id}")
async def get_row(row_id: str, request: Request) -> Response:
    """One row."""
    return _answer(await request.app.state.pool.fetchval(_GET, row_id))


@app.post("/plain")
async def create_rows(request: Request) -> Response:
    """New rows from `{"records": [{"fields": {...}}]}`."""
    rows = [record["fields"] for record in (await request.json())["records"]]
    columns = [[value_of(pg_type, row.get(name)) for row in rows] for name, pg_type in COLUMNS.items()]
    return _answer(
        '{"records":' + await request.app.state.pool.fetchval(_INSERT, [new_row_id() for _ in rows], *columns) + "}"
    )


@app.patch("/plain")
async def update_rows(request: Request) -> Response:
    """New `Amount` and `Status` of existing rows."""
    rows = (await request.json())["records"]
    body = await request.app.state.pool.fetchval(
        _UPDATE,
        [row["id"] for row in rows],
        [float(row["fields"]["Amount"]) for row in rows],
        [row["fields"]["Status"] for row in rows],
    )
    return _answer('{"records":' + body + "}")
