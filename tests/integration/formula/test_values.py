"""The runtime's conversions against `pyat.formula.values`, on many values and on the nasty ones."""

import math
import random
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from pyat.formula import runtime, values


@pytest_asyncio.fixture
async def connection(empty_postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """To a database with the runtime in it."""
    opened = await asyncpg.connect(empty_postgres_url)
    await opened.execute("SET TIME ZONE 'UTC'")
    await opened.execute(runtime.script())
    yield opened
    await opened.close()


def _numbers() -> list[float]:
    chosen = random.Random(4)
    made = [struct.unpack("<d", chosen.randbytes(8))[0] for _ in range(20_000)]
    made += [float(f"{chosen.randrange(10**6)}e{chosen.randrange(-30, 30)}") for _ in range(20_000)]
    made += [chosen.randrange(-(10**6), 10**6) / 100 for _ in range(5_000)]
    # Decimals that lie in the middle of two numbers: odd multiples of powers of five, of 54 bits.
    for power in range(1, 24):
        for _ in range(200):
            odd = 5**power * (chosen.randrange(2**53 // 5**power, 2**54 // 5**power) | 1)
            made.append(float(odd * 2 ** chosen.randrange(0, 70)))
    made += [
        1e15,
        1e16,
        1e20,
        1e21,
        1e22,
        1e23,
        123456789012345680000.0,
        1e-4,
        1e-5,
        1e-6,
        1e-7,
        9.5e-7,
        5e-324,
        0.0,
        -0.0,
    ]
    made += [999999999999999.9, 999999999999999.0, 1.7976931348623157e308, 2.2250738585072014e-308, 0.1 + 0.2]
    made += [2.0**power for power in range(-1074, 1024)]
    return [sign * one for one in made if math.isfinite(one) for sign in (1, -1)]


async def test_the_text_of_a_number_is_the_same(connection: asyncpg.Connection) -> None:
    numbers = _numbers()
    found = await connection.fetchval(
        "SELECT array_agg(pyat_formula.number_text(x) ORDER BY n) FROM unnest($1::float8[]) WITH ORDINALITY AS u(x, n)",
        numbers,
    )
    assert [(one, text) for one, text in zip(numbers, found, strict=True) if text != values.number_text(one)] == []


async def test_the_number_of_a_text_is_the_same(connection: asyncpg.Connection) -> None:
    chosen = random.Random(5)
    texts = [
        "",
        " ",
        "1",
        " 12 ",
        "\u00a01\ufeff",
        "\u20011\u200b",
        "+1",
        "-1",
        "--1",
        "1e5",
        ".5",
        "5.",
        ".",
        "-",
        "+.5",
        "0x1",
        "1 2",
    ]
    texts += [
        "NaN",
        "Infinity",
        "-0",
        "-0.0",
        "1,000",
        "１",
        "٣",
        "1\n",
        "\n1",
        "1\n2",
        "0" * 400 + "1",
        "1" + "0" * 308,
        "1" * 309,
    ]
    texts += [
        "1" * 310,
        "-" + "9" * 400,
        "0." + "0" * 323 + "24703282292062327",
        "0." + "0" * 323 + "24703282292062328",
    ]
    texts += [
        "-0." + "0" * 400 + "1",
        "0" * 500,
        "1." + "0" * 500 + "1",
        "17976931348623158" + "0" * 292,
        "17976931348623159" + "0" * 292,
    ]
    texts += ["." + "1" * 1000, "x" * 1000, "0" * 100_000 + ".5", "é", "1\u0085", "\x0b1\x0c", "1\x1f"]
    texts += ["".join(chosen.choices("0123456789.+-e \t\u2009", k=chosen.randrange(8))) for _ in range(5_000)]
    texts += [f"{chosen.randrange(10**20)}.{chosen.randrange(10**20)}" for _ in range(2_000)]
    found = await connection.fetchval(
        "SELECT array_agg(pyat_formula.number_of_text(x) ORDER BY n) FROM unnest($1::text[]) WITH ORDINALITY AS u(x, n)",
        texts,
    )
    wrong = [
        (text[:60], number, values.number_of_text(text))
        for text, number in zip(texts, found, strict=True)
        if repr(number) != repr(values.number_of_text(text))
    ]
    assert wrong == []


async def test_the_text_of_an_instant_is_the_same(connection: asyncpg.Connection) -> None:
    chosen = random.Random(6)
    instants = [values.MS_MIN, values.MS_MAX, 0, -1, 1, 951_782_400_000, -62_135_596_799_999]
    instants += [chosen.randrange(values.MS_MIN, values.MS_MAX) for _ in range(2_000)]
    # As texts: the driver takes the first instant of year 1 for minus infinity.
    texts = [values.moment_text(values.Moment(ms)) for ms in instants]
    found = await connection.fetchval(
        "SELECT array_agg(pyat_formula.moment_text(x::timestamptz) ORDER BY n) FROM unnest($1::text[]) WITH ORDINALITY AS u(x, n)",
        texts,
    )
    assert found == texts


async def test_the_texts_of_arrays_leave_out_nulls(connection: asyncpg.Connection) -> None:
    day = datetime(2024, 2, 29, tzinfo=UTC)
    assert (
        await connection.fetchval("SELECT pyat_formula.numbers_text($1::float8[])", [1.0, None, -0.0, 2.5])
        == "1, 0, 2.5"
    )
    assert await connection.fetchval("SELECT pyat_formula.numbers_text($1::float8[])", []) == ""
    assert await connection.fetchval("SELECT pyat_formula.moments_text($1::timestamptz[], '|')", [day, None, day]) == (
        "2024-02-29T00:00:00.000Z|2024-02-29T00:00:00.000Z"
    )


@pytest.mark.parametrize("times", [2])
async def test_the_runtime_installs_again_and_again(connection: asyncpg.Connection, times: int) -> None:
    for _ in range(times):
        await connection.execute(runtime.script())
    assert await connection.fetchval("SELECT pyat_formula.number_text(1.5)") == "1.5"
