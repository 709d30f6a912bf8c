"""SQL as values: text and parameters together, identifiers quoted by type, and fixed statements kept in files.

A `Fragment` is text with `$n` numbers left open (as the marker below) until `render` gives them out in order, so
fragments can be put together in any order.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

_MARK = "\x00"


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of SQL: `text` holds one mark for each of `values`, in order."""

    text: str
    values: tuple[Any, ...] = ()

    def __add__(self, other: "Fragment") -> "Fragment":
        return Fragment(self.text + other.text, self.values + other.values)

    def render(self) -> tuple[str, tuple[Any, ...]]:
        """The statement with `$1…$n` and its arguments, as asyncpg takes them."""
        if not self.values:
            return self.text, ()
        pieces = self.text.split(_MARK)
        assert len(pieces) == len(self.values) + 1, "a fragment has one mark for each value"
        text = pieces[0] + "".join(f"${number}{piece}" for number, piece in enumerate(pieces[1:], 1))
        return text, self.values


def raw(text: str) -> Fragment:
    """Text written by us, never by a user."""
    return Fragment(text)


def param(value: Any, pg_type: str) -> Fragment:
    """A parameter with its type named, so that the server never guesses."""
    return Fragment(f"{_MARK}::{pg_type}", (value,))


def ident(*names: str) -> Fragment:
    """A quoted, possibly qualified identifier. Raises ValueError for what PostgreSQL cannot hold."""
    return Fragment(quote(*names))


def quote(*names: str) -> str:
    """The text of a quoted identifier, for templates of DDL."""
    for name in names:
        if not name or "\x00" in name or len(name.encode()) > 63:
            raise ValueError(f"not an identifier: {name!r}")
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A text constant for places where PostgreSQL takes no parameter (DDL) or where a parameter would cost a plan."""
    assert _MARK not in text, "a constant has no NUL"
    quoted = text.replace("'", "''")
    # The E form reads alike whatever standard_conforming_strings says.
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def join(separator: str, fragments: Iterable[Fragment]) -> Fragment:
    """The fragments with `separator` between them."""
    items = list(fragments)
    return Fragment(
        separator.join(item.text for item in items), tuple(value for item in items for value in item.values)
    )


@dataclass(frozen=True, slots=True)
class Statement:
    """A fixed statement from a `queries.sql` file; `name` is what recorders and metrics show."""

    name: str
    text: str


_HEADING = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)


def load_statements(package: str, file: str = "queries.sql") -> dict[str, Statement]:
    """The named statements of a package's SQL file; each begins with a line `-- name --`."""
    text = resources.files(package).joinpath(file).read_text("utf-8")
    parts = _HEADING.split(text)
    found: dict[str, Statement] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        assert name not in found, f"{package}/{file} names {name} twice"
        found[name] = Statement(name, body.strip().rstrip(";"))
    return found
