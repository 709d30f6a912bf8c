"""Dates in PostgreSQL against dates in Python: reading texts, every function, and comparisons that an index serves."""

import random
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from pyat.formula import checking, evaluation, moments, runtime, sql
from pyat.formula.functions import dates
from pyat.formula.values import moment_text
from tests.support import formulas

TEXTS = (
    "2024-03-05", " 2024-03-05 14:07 ", "2024-03-05T14:07:09.0459Z", "2024-03-05T14:07:09,5+05:30", "2024-03-05t14:07-0530", "3/5/68",
    "3/5/69", "07/10/19 12:30 AM", "02/17/2013, 1:05 pm", "2023-02-29", "2024-02-29", "13/1/2024", "2024-03-05 25:00", "2024-03-05 24:00",
    "3/5/2024 13:00 pm", "3/5/2024 0:00 am", "0001-01-01T00:00+01:00", "0001-01-01T00:00-01:00", "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59-00:01", "0000-01-01", "٢٠٢٤-03-05", "2024", "", " ", "2024-03-05\n", "2024-03-05\nx", "2024-13-05", "2024-00-05",
    "2024-03-00", "2024-03-05 14:60", "2024-03-05 14:07:60", "2024-03-05T14:07+24:00", "2024-03-05T14:07+23:60", "2024-03-05 14:07 Z",
    "2024-03-05   14:07", "3/5/2024,14:07", "3/5/24 2:07PM", "1/1/00", "0/1/2024", "1/0/2024", "4/31/2024", "2/29/1900", "x" * 5000, "\ufeff3/5/2024\u00a0",
)  # fmt: skip
UNITS = "ms second m hours DAY w month Q years".split()
FORMATS = (
    "YYYY-MM-DD", "YY M MM MMM MMMM D DD Do d dd ddd dddd", "H HH h hh m mm s ss SSS A a", "L LL LT LTS LLL LLLL l ll lll llll",
    "X x Q Qo DDD DDDD Mo", "[it's] YYYY", 'YYYY "at" \\\\ [TH] 年', "YYYY-MM-DDTHH:mm:ssZ", "[FM] HH24 [Y]", "", "z ZZ",
)  # fmt: skip
SIMPLE = (
    "YEAR MONTH DAY HOUR MINUTE SECOND WEEKDAY WEEKNUM DATESTR TIMESTR DATETIME_FORMAT DATETIME_PARSE"
).split()  # fmt: skip


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with the runtime in it."""
    opened = await asyncpg.connect(empty_postgres_url, statement_cache_size=0)
    await opened.execute("SET TIME ZONE 'UTC'")
    await opened.execute(runtime.script())
    yield opened
    await opened.close()


async def test_texts_are_read_as_the_same_dates(connection: asyncpg.Connection) -> None:
    chosen = random.Random(8)
    texts = [*TEXTS]
    for _ in range(4000):
        text = list(chosen.choice(TEXTS[:20]))
        for _ in range(chosen.randrange(1, 3)):
            text[chosen.randrange(len(text))] = chosen.choice("0123456789/-:TZ+ apm,.")
        texts.append("".join(text))
    found = await connection.fetchval(
        "SELECT array_agg(pyat_formula.moment_text(pyat_formula.date_of_text(x)) ORDER BY n) "
        "FROM unnest($1::text[]) WITH ORDINALITY AS u(x, n)",
        texts,
    )
    expected = [None if made is None else moment_text(made) for made in map(moments.parse_moment, texts)]
    assert sum(one is not None for one in expected) > 500
    wrong = [three for three in zip(texts, expected, found, strict=True) if three[1] != three[2]]
    assert wrong == []


def _written(chosen: random.Random) -> list[str]:
    """Formulas that PostgreSQL is to compute."""
    made = ["TODAY()", "NOW()"]
    made += [f"{name}({{{field}}})" for name in SIMPLE for field in ("Day", "Time", "When", "Times")]
    made += [f'{name}({{Time}}, "{start}")' for name in ("WEEKDAY", "WEEKNUM") for start in ("Monday", "sunday", "x")]
    for unit in UNITS:
        for field in ("Day", "Time", "When"):
            made += [
                f'DATEADD({{{field}}}, {chosen.choice((-1000000000, -13, -1.5, 0, 1, 2.5, 25, 100000, 10**300))}, "{unit}")'.replace(
                    "e+", "e"
                )
            ]
            made += [f'DATEADD({{{field}}}, {{Number}}, "{unit}")', f'DATEADD({{{field}}}, {{Price}}, "{unit}")']
            made += [f'DATETIME_DIFF({{{field}}}, {other}, "{unit}")' for other in ("{Time}", '"2024-02-29"', "NOW()")]
            for name in ("IS_BEFORE", "IS_AFTER", "IS_SAME"):
                other = chosen.choice(('"2024-02-29"', '"0001-01-01"', '"9999-12-31"', "BLANK()"))
                made += [f'{name}({{{field}}}, {{Time}}, "{unit}")', f'{name}({{{field}}}, {other}, "{unit}")']
                made += [f'{name}({other}, {{{field}}}, "{unit}")', f"{name}({{{field}}}, {other})"]
    for format_ in FORMATS:
        written = format_.replace("\\", "\\\\").replace('"', '\\"')
        made += [f'DATETIME_FORMAT({{Time}}, "{written}")']
        if "z" not in format_.lower() and format_:
            made += [
                f'DATETIME_FORMAT(SET_TIMEZONE({{Time}}, "{zone}"), "{written}")'
                for zone in ("America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Nowhere/Town")
            ]
    for holidays in ("", ', "2024-03-05, 2020-10-16, 2024-01-01"', ', "bad"'):
        for count in ("{Number}", "{Price}", "1", "-7.9", "0", "1000000", "4000001"):
            made.append(f"WORKDAY({{Time}}, {count}{holidays})")
        made += [f"WORKDAY_DIFF({{Time}}, {{When}}{holidays})", f"WORKDAY_DIFF({{Day}}, {{Time}}{holidays})"]
    made += [
        'DATETIME_FORMAT(SET_LOCALE({Time}, "en"), "LLLL")',
        "DATEADD(DATEADD({Time}, {Number}, 'y'), {Price}, 'y')",
    ]
    return made


async def test_every_function_gives_the_same(connection: asyncpg.Connection) -> None:
    chosen = random.Random(9)
    rows = formulas.draw_rows(chosen, 250)
    await formulas.install_rows(connection, rows)
    texts = _written(chosen)
    checked = [checking.check(text, formulas.SCOPE) for text in texts]
    compiled = [sql.compile(formula, formulas.TableSource()) for formula in checked]
    assert [text for text, made in zip(texts, compiled, strict=True) if made is None] == []
    wrong: dict[str, object] = {}
    for start in range(0, len(texts), 50):
        batch = [made for made in compiled[start : start + 50] if made is not None]
        found = await formulas.computed(connection, batch, ["true"] * len(batch))
        for formula, answers in zip(checked[start : start + 50], found, strict=True):
            program = evaluation.compile(formula)
            for row, (value, _) in zip(rows, answers, strict=True):
                expected = evaluation.cell(formula, program.run([row[one.key] for one in formula.inputs]))
                if not formulas.same(expected, value):
                    wrong.setdefault(formula.text, ({one.key: row[one.key] for one in formula.inputs}, expected, value))
    assert wrong == {}
    every = {function.__name__ for function in dates.FUNCTIONS if function.sql is not None}
    assert [name for name in every if not any(name + "(" in text for text in texts)] == []


async def test_comparisons_with_a_constant_use_an_index(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "CREATE TEMP TABLE r AS SELECT timestamptz '2000-01-01' + n * interval '1 day' AS \"fldTime\" FROM generate_series(1, 20000) n;"
        'CREATE INDEX ON r ("fldTime"); ANALYZE r;'
    )
    for text in (
        'IS_BEFORE({Time}, "2000-02-01")',
        'IS_AFTER("2000-02-01", {Time}, "month")',
        'IS_SAME({Time}, "2010-02-01", "quarter")',
        'IS_SAME({Time}, "2010-02-01")',
    ):
        condition = sql.compile_filter(checking.check(text, formulas.SCOPE), formulas.TableSource())
        plan = await connection.fetch(f"EXPLAIN SELECT * FROM r WHERE {condition}")
        assert any("Index Cond" in row[0] for row in plan), (text, condition)
