"""Random formulas and rows, and what PostgreSQL says of them: for tests that hold the two back-ends against each other.

The functions come from `pyat.formula.functions`, so that new ones take part by themselves.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

import asyncpg

from pyat.formula import checking, sql, types
from pyat.formula.checking import Formula, Input, Known, Scope
from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.functions.base import Function, Parameter
from pyat.formula.tree import Call, Node, Number, Reference, Text, postorder
from pyat.formula.types import Kind, Type
from pyat.formula.values import ERROR, MS_MAX, MS_MIN, Moment, Value, moment_text

NOW: Final = Moment(1_709_647_629_045)
Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the test table. `is_computed`: its cells may be errors, and numbers that are not finite."""

    known: Known
    draw: Callable[[random.Random], Value]
    is_computed: bool = False

    @property
    def key(self) -> str:
        """What it is called in formulas and in the table."""
        return self.known.field_id


_NUMBERS: Final = (
    0.0, -0.0, 1.0, -1.0, 2.0, 3.0, 0.5, -0.5, 1.5, -2.5, 2.675, 1.005, 0.1, 0.3, 10.0, 12.0, 100.0, 1234.5678, -7.25, 1e5, 1e15,
    1e21, 1e22, 1e23, 1e-7, 1e300, 1e308, -1e308, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 9007199254740993.0,
    123456789012345680000.0, 1e-300, 60.0, 365.0, 1024.0,
)  # fmt: skip
_TEXTS: Final = (
    "", " ", "  12 ", "12", "0", "-0", "1e5", "4", "3.50", "-7.25", "abc", "ABC", "Hello World", "hello", "a,b", "quick brown fox",
    "😀", "a😀b", "e\u0301", "ß", "İ", "ı", "ǆ", "Straße", "it's", '"', "\\", "a\\b", "line\nbreak", "\ttab", "\u00a0x\u00a0", "\ufeff",
    "aaaa", "%_", "$10", "$1,000.5", "-$3", "50%", "2024-02-29", "2024-03-05T14:07:09.045Z", "3/5/2024", "not a date", "#ERROR!",
    "true", "day", "日本語", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "x" * 300, "1" * 400, "NaN", "Infinity", ".5", "5.", "+3", "--1",
)  # fmt: skip
_DATES: Final = (
    MS_MIN, MS_MAX, 0, -1, 951_782_400_000, 1_709_164_800_000, 1_709_647_629_045, 1_704_067_199_999, 1_704_067_200_000, 1_706_659_200_000,
    -2_208_988_800_000, 4_102_444_800_000, 1_602_806_400_000, 1_361_059_200_000, 1_709_647_629_000, 1_711_843_200_000,
)  # fmt: skip
DAY_MS: Final = 86_400_000


def _number(chosen: random.Random) -> float:
    roll = chosen.random()
    if roll < 0.5:
        return chosen.choice(_NUMBERS)
    if roll < 0.7:
        return float(chosen.randrange(-20, 50))
    if roll < 0.9:
        return chosen.randrange(-(10**6), 10**6) / math.pow(10, chosen.randrange(5))
    return chosen.uniform(-1, 1) * math.pow(10, chosen.randrange(-320, 308))


def _any_number(chosen: random.Random) -> Value:
    roll = chosen.random()
    if roll < 0.15:
        return chosen.choice((math.nan, math.inf, -math.inf))
    return ERROR if roll < 0.2 else _number(chosen)


def _text(chosen: random.Random) -> str:
    roll = chosen.random()
    if roll < 0.8:
        return chosen.choice(_TEXTS)
    return "".join(chosen.choices("aAbB1 2.-,/\\\"'\n😀é\u0301ßxyz", k=chosen.randrange(12)))


def _date_text(chosen: random.Random) -> str:
    if chosen.random() < 0.6:
        return moment_text(_moment(chosen))[: chosen.choice((10, 16, 19, 24))]
    return chosen.choice(_TEXTS)


def _moment(chosen: random.Random) -> Moment:
    roll = chosen.random()
    if roll < 0.5:
        return Moment(chosen.choice(_DATES))
    if roll < 0.9:
        return Moment(chosen.randrange(1_500_000_000_000, 1_800_000_000_000))
    return Moment(chosen.randrange(MS_MIN, MS_MAX))


def _day(chosen: random.Random) -> Moment:
    return Moment(_moment(chosen).ms // DAY_MS * DAY_MS)


def _blank_or(draw: Callable[[random.Random], Value]) -> Callable[[random.Random], Value]:
    return lambda chosen: None if chosen.random() < 0.15 else draw(chosen)


def _array_of(draw: Callable[[random.Random], Value]) -> Callable[[random.Random], Value]:
    return lambda chosen: tuple(draw(chosen) for _ in range(chosen.choice((0, 1, 1, 1, 2, 3, 5))))


def _column(name: str, kind: Type, draw: Callable[[random.Random], Value], *, is_computed: bool = False) -> Column:
    return Column(Known(f"fld{name}", name, kind), draw, is_computed)


COLUMNS: Final = (
    _column("Number", types.NUMBER, _blank_or(_number)),
    _column("Price", types.NUMBER, _blank_or(lambda chosen: chosen.randrange(-500, 10_000) / 100)),
    _column("Computed", types.NUMBER, _blank_or(_any_number), is_computed=True),
    _column("Box", types.BOOLEAN, lambda chosen: float(chosen.random() < 0.5)),
    _column("Text", types.TEXT, _blank_or(_text)),
    _column("Name", types.TEXT, _blank_or(_text)),
    _column("Select", types.TEXT, _blank_or(lambda chosen: chosen.choice(("Todo", "doing", "Done", "a, b", "12")))),
    _column("When", types.TEXT, _blank_or(_date_text)),
    _column("Broken", types.TEXT, _blank_or(lambda chosen: ERROR if chosen.random() < 0.3 else _text(chosen)), is_computed=True),
    _column("Day", types.DAY, _blank_or(_day)),
    _column("Time", types.DATE, _blank_or(_moment)),
    _column("Numbers", types.NUMBER.array, _blank_or(_array_of(_blank_or(_number)))),
    _column("Rates", types.NUMBER.array, _blank_or(_array_of(_blank_or(_any_number))), is_computed=True),
    _column("Texts", types.TEXT.array, _blank_or(_array_of(_blank_or(_text)))),
    _column("Times", types.DATE.array, _blank_or(_array_of(_blank_or(_moment)))),
    _column("RECORD_ID", types.TEXT, lambda chosen: f"rec{chosen.randrange(10**14):014d}"),
    _column("CREATED_TIME", types.DATE, _moment),
    _column("LAST_MODIFIED_TIME", types.DATE, _blank_or(_moment)),
)  # fmt: skip
_BY_NAME: Final = {one.known.name: one for one in COLUMNS}
FIELDS: Final = tuple(one for one in COLUMNS if not one.known.name.isupper())
SCOPE: Final = Scope(lambda name: _BY_NAME[name].known if name in _BY_NAME and not name.isupper() else None)


def draw_rows(chosen: random.Random, count: int) -> list[Row]:
    """Rows by the keys of inputs; NOW is the same in all."""
    rows: list[Row] = []
    for _ in range(count):
        row: dict[str, Value] = {checking.NOW: NOW}
        for column in COLUMNS:
            key = column.known.name if column.known.name.isupper() else column.key
            row[key] = column.draw(chosen)
        rows.append(row)
    return rows


_WORDS: Final[Mapping[str, Sequence[str]]] = {
    "unit": "days day d months month M years y hours h minutes m seconds s weeks week w quarters Q milliseconds ms x".split(),
    "format": (
        "YYYY-MM-DD", "M/D/YYYY h:mm a", "DD-MM-YYYY HH:mm", "dddd, MMMM Do YYYY", "Q Qo D Do DD DDD DDDo DDDD d do dd ddd dddd",
        "e E w wo ww W Wo WW YY YYYY Y gg gggg GG GGGG", "H HH h hh k kk m mm s ss S SS SSS SSSS A a Z ZZ z X x", "LT LTS L l LL ll LLL lll",
        "LLLL llll", "[at] HH", "", "M Mo MM MMM MMMM", "YYYYMMDDHHmmssSSS",
    ),
    "zone": ("America/New_York", "Europe/London", "Asia/Kolkata", "UTC", "Etc/GMT+5", "Nowhere/Town", "Asia/Kathmandu"),
    "locale": ("en", "en-gb", "de", "fr", "es", "xx"),
    "pattern": ("a", "abc", "W.*", "[a-z]+", "(", "\\d+", "^h", "o$", "(?i)HELLO", ".", "\\.", "", "l+", "b|c", "😀"),
    "start": ("Monday", "Sunday", "monday", "x"),
    "holidays": ("2020-10-16, 2020-10-19", "2024-03-04", "", "bad", "2024-01-01,2024-12-25"),
}  # fmt: skip
_ALIASES: Final = {
    "units": "unit", "specifier": "unit", "regex": "pattern", "regular_expression": "pattern", "time_zone": "zone", "timezone": "zone",
    "output_format": "format", "input_format": "format", "start_day": "start", "week_start": "start", "start_of_week": "start",
}  # fmt: skip
_LITERALS: Final = (
    0.0,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    12.0,
    100.0,
    0.5,
    1.5,
    2.675,
    0.1,
    1e15,
    1e21,
    1e300,
    1e308,
    400.0,
    1000000.0,
)


@dataclass(slots=True)
class Maker:
    """Makes formulas of a bounded size. `only` limits the functions and operators at the root."""

    chosen: random.Random
    only: Sequence[type[Function]] = ()
    functions: list[type[Function]] = field(default_factory=list)
    by_kind: dict[Kind, list[type[Function]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.functions = [*FUNCTIONS.values(), *OPERATORS.values()]
        for one in self.functions:
            self.by_kind.setdefault(_result_kind(one), []).append(one)

    def formula(self, depth: int) -> Formula:
        """A checked one."""
        if self.only:
            root = self.call(self.chosen.choice(self.only), depth)
        else:
            root = self.node(self.chosen.choice((Kind.ANY, Kind.NUMBER, Kind.TEXT, Kind.DATE)), depth)
        return check(root)

    def node(self, kind: Kind, depth: int) -> Node:
        """An expression that is mostly of a kind."""
        if self.chosen.random() < 0.08:
            kind = Kind.ANY
        if depth <= 0 or self.chosen.random() < 0.15:
            return self.leaf(kind)
        if self.chosen.random() < 0.12 and "IF" in FUNCTIONS:
            branches = [self.node(kind, depth - 1) for _ in range(self.chosen.choice((1, 2, 2)))]
            return _call(FUNCTIONS["IF"], [self.node(Kind.ANY, depth - 1), *branches])
        fitting = (
            self.functions if kind is Kind.ANY else self.by_kind.get(kind, []) + self.by_kind.get(Kind.ANY, [])[:2]
        )
        return self.call(self.chosen.choice(fitting), depth) if fitting else self.leaf(kind)

    def leaf(self, kind: Kind) -> Node:
        """A field or a constant."""
        if self.chosen.random() < 0.7:
            fitting = [one for one in FIELDS if kind is Kind.ANY or one.known.type.kind is kind]
            if kind is not Kind.ANY and self.chosen.random() < 0.6:
                fitting = [one for one in fitting if not one.known.type.is_array]
            if fitting:
                return Reference(self.chosen.choice(fitting).known.name, True, 0, 0)
        if kind is Kind.TEXT or (kind is Kind.ANY and self.chosen.random() < 0.5):
            return Text(_text(self.chosen), 0, 0)
        if kind is Kind.DATE:
            return Text(_date_text(self.chosen), 0, 0)
        return Number(self.chosen.choice(_LITERALS), 0, 0)

    def call(self, function: type[Function], depth: int) -> Node:
        """A call with arguments that mostly are what its parameters want."""
        least, most = function.arity()
        count = least if self.chosen.random() < 0.5 else self.chosen.randint(least, least + 2 if most is None else most)
        return _call(function, [self.argument(function.parameter(number), depth - 1) for number in range(count)])

    def argument(self, parameter: Parameter, depth: int) -> Node:
        """What a parameter takes: a word it knows, a field, or an expression."""
        if parameter.kind == "reference":
            return Reference(self.chosen.choice(FIELDS).known.name, True, 0, 0)
        words = _WORDS.get(_ALIASES.get(parameter.name, parameter.name))
        if words is not None and parameter.kind in ("text", "any") and self.chosen.random() < 0.85:
            return Text(self.chosen.choice(words), 0, 0)
        if parameter.kind == "number" and depth <= 1 and self.chosen.random() < 0.3:
            return Number(self.chosen.choice(_LITERALS[:12]), 0, 0)
        kinds = {"number": Kind.NUMBER, "text": Kind.TEXT, "date": Kind.DATE}
        return self.node(kinds.get(parameter.kind, Kind.ANY), depth)


def _result_kind(function: type[Function]) -> Kind:
    return function.result.kind if hasattr(function, "result") else Kind.ANY


def _call(function: type[Function], arguments: Sequence[Node]) -> Call:
    name = function.symbol if function.is_operator else function.__name__
    return Call(name, tuple(arguments), function.is_operator, 0, 0, 0)


def check(root: Node) -> Formula:
    """Checked over the fields of the test table."""
    return checking.checked(written(root), root, SCOPE)


def written(root: Node) -> str:
    """The text of a formula, every operator in parentheses."""
    done: list[str] = []
    for node in postorder(root):
        if isinstance(node, Number):
            done.append("1" + "0" * 309 if math.isinf(node.value) else f"{Decimal(repr(node.value)).normalize():f}")
        elif isinstance(node, Text):
            done.append('"' + node.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"')
        elif isinstance(node, Reference):
            done.append("{" + node.name.replace("\\", "\\\\").replace("}", "\\}") + "}")
        else:
            count = len(node.arguments)
            arguments = done[len(done) - count :]
            del done[len(done) - count :]
            if not node.is_operator:
                done.append(f"{node.name}({', '.join(arguments)})")
            else:
                done.append(f"(-{arguments[0]})" if count == 1 else f"({arguments[0]} {node.name} {arguments[1]})")
    return done[0]


def smaller(root: Node) -> Iterator[Node]:
    """Formulas with one part less: a call replaced by one of its arguments, or by a plain constant."""
    nodes = list(postorder(root))
    for old in reversed(nodes):
        if isinstance(old, Call):
            for new in (*old.arguments, Number(1.0, 0, 0), Text("a", 0, 0)):
                yield _replaced(root, old, new)
            least = (OPERATORS if old.is_operator else FUNCTIONS)[old.name].arity()[0]
            if len(old.arguments) > least:
                yield _replaced(root, old, replace(old, arguments=old.arguments[:-1]))
        elif isinstance(old, Text) and len(old.value) > 1:
            yield _replaced(root, old, Text(old.value[: len(old.value) // 2], 0, 0))
            yield _replaced(root, old, Text(old.value[1:], 0, 0))


def _replaced(root: Node, old: Node, new: Node) -> Node:
    done: list[Node] = []
    for node in postorder(root):
        made: Node = node
        if isinstance(node, Call):
            count = len(node.arguments)
            arguments = tuple(done[len(done) - count :])
            del done[len(done) - count :]
            made = replace(node, arguments=arguments)
        done.append(new if node is old else made)
    return done[0]


class TableSource:
    """The test table as a source of expressions, under the name `r`."""

    def input(self, wanted: Input) -> sql.Sql | None:
        """A column; NOW is the statement's first parameter."""
        if wanted.key == checking.NOW:
            return sql.Sql("$1::text::timestamptz", types.DATE, is_filled=True)
        column = next(one for one in COLUMNS if one.key == wanted.key or one.known.name == wanted.key)
        is_filled = column.known.name in ("Box", "RECORD_ID", "CREATED_TIME")
        name = f'r."{column.key}"'
        return sql.Sql(
            name,
            column.known.type,
            error=f'r."{column.key}_error"' if column.is_computed else None,
            condition=f"({name} <> 0)" if column.known.type.is_boolean else None,
            is_simple=True,
            is_filled=is_filled,
            is_finite=not column.is_computed,
            is_column=not column.is_computed,
        )


async def install_rows(connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
    """Make the table `r` anew, with these rows."""
    parts = [f'"{one.key}" {sql.pg_type(one.known.type)}, "{one.key}_error" boolean' for one in COLUMNS]
    await connection.execute(f"DROP TABLE IF EXISTS r; CREATE TEMP TABLE r (n int, {', '.join(parts)})")
    for number, row in enumerate(rows):
        names, parts, given = ["n"], ["$1"], [number]
        arguments: list[object] = [*given]
        for column in COLUMNS:
            value = row[column.known.name if column.known.name.isupper() else column.key]
            is_error = value is ERROR or (isinstance(value, tuple) and ERROR in value)
            names += [f'"{column.key}"', f'"{column.key}_error"']
            if column.known.type.kind is Kind.DATE:
                # As texts: the driver takes the first instant of year 1 for minus infinity.
                suffix = "::text[]::timestamptz[]" if column.known.type.is_array else "::text::timestamptz"
            else:
                suffix = f"::{sql.pg_type(column.known.type)}"
            parts += [f"${len(arguments) + 1}{suffix}", f"${len(arguments) + 2}::boolean"]
            arguments += [None if is_error else _to_driver(value), is_error or None]
        await connection.execute(f"INSERT INTO r ({', '.join(names)}) VALUES ({', '.join(parts)})", *arguments)


def _to_driver(value: Value) -> object:
    if isinstance(value, tuple):
        return [_to_driver(one) for one in value]
    return moment_text(value) if isinstance(value, Moment) else value


async def computed(
    connection: asyncpg.Connection, made: Sequence[sql.Sql], filters: Sequence[str]
) -> list[list[tuple[Value, bool]]]:
    """For each expression, for each row of `r`: the value, and whether the filter of the same place passes."""
    columns: list[str] = []
    for one in made:
        columns += [f"({read(one)})", f"({one.error or 'false'}) IS TRUE"]
    columns += [f"({one}) IS TRUE" for one in filters]
    rows = await connection.fetch(
        f"SELECT {', '.join(f'{column} AS c{number}' for number, column in enumerate(columns))}, $1::text AS now FROM r ORDER BY n",
        moment_text(NOW),
    )
    return [
        [
            (ERROR if row[2 * number + 1] else _from_driver(row[2 * number], one.type), row[2 * len(made) + number])
            for row in rows
        ]
        for number, one in enumerate(made)
    ]


def read(one: sql.Sql) -> str:
    if one.type.kind is not Kind.DATE:
        return one.value
    if one.type.is_array:
        return f"(SELECT array_agg((extract(epoch FROM x) * 1000)::int8 ORDER BY n) FROM unnest({one.value}) WITH ORDINALITY AS u(x, n))"
    return f"(extract(epoch FROM {one.value}) * 1000)::int8"


def _from_driver(value: object, kind: Type) -> Value:
    if isinstance(value, list):
        return tuple(_from_driver(one, kind.element) for one in value)
    if isinstance(value, int) and kind.kind is Kind.DATE:
        return Moment(value)
    assert value is None or isinstance(value, float | str), f"{value!r} is no value of a formula"
    return value


def same(left: Value, right: Value) -> bool:
    """Bit for bit, but that NaN is NaN; of a date the instant counts, and an empty list is a blank."""
    left, right = (None if value == () else value for value in (left, right))
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, Moment) and isinstance(right, Moment):
        return left.ms == right.ms
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    return type(left) is type(right) and left == right
