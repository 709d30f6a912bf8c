"""SQL as values: identifiers and constants quoted in one place, statements with names, fixed ones kept in files."""

import re
from dataclasses import dataclass
from importlib import resources


def quote(*names: str) -> str:
    """The text of a quoted identifier, for templates of DDL."""
    for name in names:
        if not name or "\x00" in name or len(name.encode()) > 63:
            raise ValueError(f"not an identifier: {name!r}")
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A text constant for places where PostgreSQL takes no parameter (DDL) or where a parameter would cost a plan."""
    assert "\x00" not in text, "a constant has no NUL"
    quoted = text.replace("'", "''")
    # The E form reads alike whatever standard_conforming_strings says.
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's text and the name that recorders and metrics show."""

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
