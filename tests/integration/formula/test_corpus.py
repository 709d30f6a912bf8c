"""Every case of the corpus that compiles to SQL, in PostgreSQL: as it is written, and with its literals in columns.

What is constant is computed by Python when a formula is compiled; only a column shows what PostgreSQL makes of it.
"""

import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import asyncpg
import pytest_asyncio

from pyat.formula import checking, evaluation, runtime, sql, types, values
from pyat.formula.checking import Formula, Input, Known, Scope
from pyat.formula.tree import Call, Node, Number, Reference, Text, postorder
from pyat.formula.types import Kind, Type
from pyat.formula.values import ERROR, Moment, Value
from tests.support import formulas
from tests.support.formula_corpus import CASES_MIN, Case, Problem, Source, checked, corpus

SLOTS = 12
"""How many numbers and how many texts of a formula can be lifted into columns."""
BATCH = 250
_KNOWN = {
    f"{prefix}{number}": Known(f"fld{prefix}{number}", f"{prefix}{number}", kind)
    for prefix, kind in (("N", types.NUMBER), ("T", types.TEXT))
    for number in range(SLOTS)
}
_COLUMNS = {Kind.NUMBER: "number", Kind.TEXT: "text", Kind.DATE: "ms"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A case's formula, with some of its literals in columns of `lifted`, and what became of it."""

    case: Case
    number: int
    formula: Formula
    made: sql.Sql
    passes: str

    def python(self, lifted: Sequence[Value]) -> tuple[Value, bool]:
        """The cell, and whether a filter lets the record pass."""
        slots = dict(zip(_KNOWN, lifted, strict=True))
        given = [
            slots[one.key.removeprefix("fld")] if one.key.removeprefix("fld") in slots else self.case.value_of(one)
            for one in self.formula.inputs
        ]
        raw = evaluation.compile(self.formula).run(given)
        return evaluation.cell(self.formula, raw), values.to_boolean(raw) is True


class LiftedSource(Source):
    """The test table, and the columns of `lifted`."""

    def input(self, wanted: Input) -> sql.Sql | None:
        """A column."""
        known = _KNOWN.get(wanted.key.removeprefix("fld"))
        if known is None:
            return super().input(wanted)
        return sql.Sql(f'l."{known.name}"', known.type, is_simple=True, is_finite=True, is_column=True)


def _literals(root: Node) -> list[Number | Text]:
    return [node for node in postorder(root) if isinstance(node, Number | Text)]


def _slots(root: Node) -> dict[int, str]:
    """Which column each literal of a formula is in, by the identity of its node."""
    counts = {"N": 0, "T": 0}
    found: dict[int, str] = {}
    for node in _literals(root):
        prefix = "N" if isinstance(node, Number) else "T"
        # Numbers in cells are finite; a literal may be too large to be.
        if counts[prefix] < SLOTS and node.value != math.inf:
            found[id(node)] = f"{prefix}{counts[prefix]}"
            counts[prefix] += 1
    return found


def _lifted(root: Node, slots: dict[int, str], is_lifted: Callable[[Node, int], bool]) -> Node:
    done: list[Node] = []
    seen = 0
    for node in postorder(root):
        made: Node = node
        if isinstance(node, Call):
            count = len(node.arguments)
            made = replace(node, arguments=tuple(done[len(done) - count :]))
            del done[len(done) - count :]
        elif id(node) in slots:
            if is_lifted(node, seen):
                made = Reference(slots[id(node)], True, node.start, node.end)
            seen += 1
        done.append(made)
    return done[0]


_WAYS: tuple[Callable[[Node, int], bool], ...] = (
    lambda node, number: False,
    lambda node, number: number == 0,
    lambda node, number: number <= 1,
    lambda node, number: isinstance(node, Number),
    lambda node, number: isinstance(node, Text),
    lambda node, number: True,
)
"""Which literals are lifted, by kind and by how many came before."""


def variants() -> Iterator[Variant]:
    """What compiles to SQL, each formula once."""
    for number, case in enumerate(corpus()):
        if isinstance(case.expected, Problem):
            continue
        root = checked(case).root.node
        slots = _slots(root)
        scope = replace(case.scope, find=_found_by(case.scope))
        texts = set()
        for way in _WAYS:
            formula_root = _lifted(root, slots, way)
            text = formulas.written(formula_root)
            if text in texts:
                continue
            texts.add(text)
            formula = checking.checked(text, formula_root, scope)
            source = LiftedSource(case.rollup)
            made, passes = sql.compile(formula, source), sql.compile_filter(formula, source)
            if made is not None and passes is not None:
                yield Variant(case, number, formula, made, passes)


def _found_by(scope: Scope) -> Callable[[str], Known | None]:
    return lambda name: _KNOWN.get(name) or scope.find(name)


def lifted_row(case: Case) -> list[Value]:
    """The literals of a case, by the columns of `lifted`."""
    root = checked(case).root.node
    slots = _slots(root)
    found = {slots[id(node)]: node.value for node in _literals(root) if id(node) in slots}
    return [found.get(name) for name in _KNOWN]


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with the runtime, and the records of all cases in the tables `r` and `l`."""
    opened = await asyncpg.connect(empty_postgres_url, statement_cache_size=0)
    await opened.execute("SET TIME ZONE 'UTC'")
    await opened.execute(runtime.script())
    rows: list[formulas.Row] = [case.row for case in corpus()]
    await formulas.install_rows(opened, rows)
    columns = ", ".join(f'"{name}" {sql.pg_type(known.type)}' for name, known in _KNOWN.items())
    await opened.execute(f"CREATE TEMP TABLE l (n int, {columns})")
    await opened.copy_records_to_table(
        "l",
        records=[
            (number, *(lifted_row(case) if not isinstance(case.expected, Problem) else [None] * len(_KNOWN)))
            for number, case in enumerate(corpus())
        ],
    )
    await opened.execute("ALTER TABLE r ADD PRIMARY KEY (n); ALTER TABLE l ADD PRIMARY KEY (n); ANALYZE r; ANALYZE l")
    yield opened
    await opened.close()


def _column(kind: Type) -> str:
    return _COLUMNS.get(kind.kind, "text") + ("s" if kind.is_array else "")


def _select(number: int, one: Variant) -> str:
    filled = _column(one.made.type)
    read = formulas.read(one.made)
    columns = {
        "number": "float8",
        "text": "text",
        "ms": "int8",
        "numbers": "float8[]",
        "texts": "text[]",
        "mss": "int8[]",
    }
    parts = [f"{read if name == filled else 'NULL'}::{kind} AS {name}" for name, kind in columns.items()]
    return (
        f"SELECT {number} AS i, {', '.join(parts)}, ({one.made.error or 'false'}) IS TRUE AS is_error,"
        f" ({one.passes}) IS TRUE AS passes FROM r JOIN l USING (n) WHERE n = {one.number}"
    )


async def answers(
    connection: asyncpg.Connection, given: Sequence[Variant]
) -> list[tuple[Value, bool] | asyncpg.PostgresError]:
    """What PostgreSQL says: the cell, and whether a filter lets the record pass; or that it raised an error."""
    statement = " UNION ALL ".join(_select(number, one) for number, one in enumerate(given))
    try:
        rows = await connection.fetch(
            f"WITH now AS (SELECT $1::text) SELECT * FROM ({statement}) found ORDER BY i",
            values.moment_text(formulas.NOW),
        )
    except asyncpg.PostgresError as problem:
        if len(given) == 1:
            return [problem]
        half = len(given) // 2
        return [*await answers(connection, given[:half]), *await answers(connection, given[half:])]
    assert [row["i"] for row in rows] == list(range(len(given)))
    return [
        (ERROR if row["is_error"] else _value(row[_column(one.made.type)], one.made.type), row["passes"])
        for row, one in zip(rows, given, strict=True)
    ]


def _value(found: object, kind: Type) -> Value:
    if isinstance(found, list):
        return tuple(_value(item, kind.element) for item in found)
    if isinstance(found, int):
        return Moment(found)
    assert found is None or isinstance(found, float | str), f"{found!r} is no value of a formula"
    return found


async def test_postgresql_gives_what_the_corpus_says(connection: asyncpg.Connection) -> None:
    assert len(corpus()) >= CASES_MIN
    given = list(variants())
    wrong: list[str] = []
    for start in range(0, len(given), BATCH):
        batch = given[start : start + BATCH]
        for one, found in zip(batch, await answers(connection, batch), strict=True):
            assert not isinstance(one.case.expected, Problem)
            value, passes = one.python(lifted_row(one.case))
            if not formulas.same(value, one.case.expected):
                wrong.append(f"{one.formula.text} of {one.case.formula}: Python {value!r}, not {one.case.expected!r}")
            elif isinstance(found, asyncpg.PostgresError):
                wrong.append(f"{one.formula.text} of {one.case.formula}: {found}")
            elif not formulas.same(found[0], one.case.expected):
                wrong.append(f"{one.formula.text} of {one.case.formula}: {found[0]!r}, not {one.case.expected!r}")
            elif found[1] != passes:
                wrong.append(f"{one.formula.text} of {one.case.formula}: as a filter {found[1]}, not {passes}")
    assert wrong == [], "\n".join(wrong[:30])
    assert len({one.number for one in given if one.made.constant is None}) >= len(corpus()) // 2
