"""How `sql` converts each type of column against how `values` converts its cells."""

import random
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
import pytest_asyncio

from pyat.formula import runtime, sql, values
from pyat.formula.checking import Input
from pyat.formula.values import Value
from tests.support import formulas

CONVERSIONS: dict[str, tuple[Callable[[sql.Context, sql.Sql], sql.Sql], Callable[[Value], Value]]] = {
    "to_number": (sql.to_number, values.to_number),
    "to_text": (sql.to_text, values.to_text),
    "text_argument": (sql.text_argument, values.text_argument),
    "truth": (lambda context, given: sql.truth(given), lambda value: _number(values.to_boolean(value))),
}


def _number(value: Value) -> Value:
    return float(value) if isinstance(value, bool) else value


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with the runtime and 300 rows in it."""
    opened = await asyncpg.connect(empty_postgres_url)
    await opened.execute("SET TIME ZONE 'UTC'")
    await opened.execute(runtime.script())
    await formulas.install_rows(opened, formulas.draw_rows(random.Random(7), 300))
    yield opened
    await opened.close()


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize("is_bound", [False, True])
async def test_columns_convert_as_values_do(connection: asyncpg.Connection, name: str, is_bound: bool) -> None:
    in_sql, in_python = CONVERSIONS[name]
    rows = formulas.draw_rows(random.Random(7), 300)
    source = formulas.TableSource()
    made = []
    for column in formulas.FIELDS:
        given = source.input(Input(column.key, column.known.type))
        assert given is not None
        if is_bound:
            # As the result of a function: written once, computed once.
            cast = sql.pg_type(column.known.type)
            given = sql.Sql(f"COALESCE({given.value}, NULL::{cast})", given.type, given.error)
        made.append(in_sql(sql.Context(source), given))
    found = await formulas.computed(connection, made, ["true"] * len(made))
    for column, answers in zip(formulas.FIELDS, found, strict=True):
        for row, (value, _) in zip(rows, answers, strict=True):
            assert formulas.same(in_python(row[column.key]), value), (column.key, row[column.key])
