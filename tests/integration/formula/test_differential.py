"""PostgreSQL and Python give the same for every formula and record: random formulas over all functions, nasty rows.

PYAT_FORMULA_CASES is how many pairs of a formula and a row are compared; PYAT_FORMULA_SEED begins elsewhere.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest_asyncio

from pyat.formula import evaluation, runtime, sql, values
from pyat.formula.checking import Formula
from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.functions.base import Function
from pyat.formula.tree import Call
from pyat.formula.values import Value
from tests.support import formulas

CASES = int(os.environ.get("PYAT_FORMULA_CASES", "100000"))
SEED = int(os.environ.get("PYAT_FORMULA_SEED", "1"))
ROWS = 50
BATCH = 40
SMALLER_MAX = 400
"""How many smaller formulas are tried before a difference is told."""

Compared = tuple[formulas.Row, object, object]
"""A row, and what Python and PostgreSQL say."""


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with the runtime in it."""
    opened = await asyncpg.connect(empty_postgres_url, statement_cache_size=0)
    await opened.execute("SET TIME ZONE 'UTC'")
    await opened.execute(runtime.script())
    yield opened
    await opened.close()


def compiled(formula: Formula) -> tuple[sql.Sql, str] | None:
    """The expression and the filter; None where PostgreSQL does not have it."""
    made, passes = sql.compile(formula, formulas.TableSource()), sql.compile_filter(formula, formulas.TableSource())
    return None if made is None or passes is None else (made, passes)


async def differences(
    connection: asyncpg.Connection, given: Sequence[tuple[Formula, sql.Sql, str]], rows: Sequence[formulas.Row]
) -> list[tuple[Formula, Compared]]:
    """The first difference of each formula that has one."""
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = '20s'")
            found = await formulas.computed(
                connection, [one for _, one, _ in given], [passes for _, _, passes in given]
            )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
        if len(given) == 1:
            return [(given[0][0], ({}, "no error in PostgreSQL", f"{type(problem).__name__}: {problem}"))]
        half = len(given) // 2
        return await differences(connection, given[:half], rows) + await differences(connection, given[half:], rows)
    wrong: list[tuple[Formula, Compared]] = []
    for (formula, _, _), answers in zip(given, found, strict=True):
        program = evaluation.compile(formula)
        for row, (value, passes) in zip(rows, answers, strict=True):
            raw = program.run([row[one.key] for one in formula.inputs])
            expected: Value = evaluation.cell(formula, raw)
            if not formulas.same(expected, value):
                wrong.append((formula, (row, expected, value)))
                break
            if (values.to_boolean(raw) is True) != passes:
                wrong.append((formula, (row, f"passes: {not passes}", f"passes: {passes}")))
                break
    return wrong


async def smallest(
    connection: asyncpg.Connection, formula: Formula, compared: Compared, rows: Sequence[formulas.Row]
) -> tuple[Formula, Compared]:
    """A small formula with a difference that is found by leaving out parts."""
    left, is_smaller = SMALLER_MAX, True
    while is_smaller and left > 0:
        is_smaller = False
        for root in formulas.smaller(formula.root.node):
            left -= 1
            if left < 0:
                break
            try:
                part = formulas.check(root)
            except Exception:  # an argument where a field must stand
                continue
            made = compiled(part)
            wrong = [] if made is None else await differences(connection, [(part, *made)], rows)
            if wrong:
                formula, compared = wrong[0]
                is_smaller = True
                break
    return formula, compared


def told(formula: Formula, compared: Compared) -> str:
    """A difference in a few lines."""
    row, expected, value = compared
    fields = {key: row[key] for key in formula.field_ids if key in row}
    made = compiled(formula)
    text = "" if made is None else f"\n  sql: {made[0].value}\n  error: {made[0].error}\n  filter: {made[1]}"
    return f"{formula.text}\n  of {fields}\n  Python: {expected!r}\n  PostgreSQL: {value!r}{text[:1500]}"


async def test_postgresql_gives_what_python_gives(connection: asyncpg.Connection) -> None:
    chosen = random.Random(SEED)
    tried: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    told_of: dict[str, str] = {}
    every: list[type[Function]] = [*FUNCTIONS.values(), *OPERATORS.values()]
    cases = 0
    while cases < CASES and len(told_of) < 12:
        rows = formulas.draw_rows(chosen, ROWS)
        await formulas.install_rows(connection, rows)
        for _ in range(8):
            batch: list[tuple[Formula, sql.Sql, str]] = []
            while len(batch) < BATCH:
                # Every function comes up as often as any other.
                maker = formulas.Maker(chosen, every if chosen.random() < 0.7 else ())
                formula = maker.formula(chosen.choice((1, 1, 2, 2, 3, 4)))
                names = {node.node.name for node in formula.nodes if isinstance(node.node, Call)}
                tried.update(names)
                made = compiled(formula)
                if made is not None:
                    reached.update(names)
                    batch.append((formula, *made))
            for formula, compared in await differences(connection, batch, rows):
                small = await smallest(connection, formula, compared, rows)
                told_of.setdefault(_shape(small[0]), told(*small))
            cases += len(batch) * len(rows)
            if cases >= CASES:
                break
    if "PYAT_FORMULA_CASES" in os.environ:
        print({name: f"{reached[name]}/{count}" for name, count in sorted(tried.items())})
    assert not told_of, f"{len(told_of)} differences in {cases} cases:\n" + "\n".join(told_of.values())
    missing = [name for name in tried if name not in reached and _has_sql(name)]
    assert not missing, f"never in PostgreSQL: {missing}"


def _shape(formula: Formula) -> str:
    return " ".join(
        node.node.name if isinstance(node.node, Call) else type(node.node).__name__ for node in formula.nodes
    )


def _has_sql(name: str) -> bool:
    found = FUNCTIONS.get(name) or OPERATORS.get(name)
    return found is not None and (found.is_lazy or found.sql is not None)
