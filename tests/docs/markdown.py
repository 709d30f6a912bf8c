"""As much of Markdown as the project's documents use: headings, tables, links, code spans and fenced code."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FENCE = re.compile(r"```(.*)")
_HEADING = re.compile(r"(#+) (.+)")
_CELL_END = re.compile(r"(?<!\\)\|")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_NO_SLUG = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Table:
    """A table, by the heading it stands under. Cells are Markdown, without the backslash before a bar."""

    section: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Fence:
    """Fenced code; `info` is what stands after the opening fence, such as `sh`."""

    section: str
    info: str
    text: str


@dataclass(slots=True)
class Document:
    """A Markdown file, read once."""

    path: Path
    text: str
    headings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    prose: list[tuple[str, str]] = field(default_factory=list)
    """Section and line of everything outside fences."""

    @property
    def name(self) -> str:
        """The path within the project."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def slugs(self) -> set[str]:
        """What links to a heading name it by."""
        return {_NO_SLUG.sub("", heading.lower()).replace(" ", "-") for heading in self.headings}

    @property
    def links(self) -> list[str]:
        """Targets of links, as they are written."""
        return [target for _, line in self.prose for target in _LINK.findall(_SPAN.sub("", line))]

    @property
    def spans(self) -> list[str]:
        """Code within lines."""
        return [span for _, line in self.prose for span in _SPAN.findall(line)]

    def rows(self, *header: str, section: str | None = None) -> list[tuple[str, ...]]:
        """The rows of every table with this header; there has to be one, unless a single section is asked for."""
        found = [t for t in self.tables if t.header == header and section in (None, t.section)]
        assert found or section, f"{self.name} has no table with the header | {' | '.join(header)} |"
        return [row for table in found for row in table.rows]


@cache
def read(name: str) -> Document:
    """The document at a path within the project."""
    return parse(ROOT / name)


def parse(path: Path) -> Document:
    """A Markdown file."""
    document = Document(path, path.read_text("utf-8"))
    section = info = ""
    code: list[str] | None = None
    block: list[str] = []
    for line in [*document.text.splitlines(), ""]:
        fence = _FENCE.match(line)
        if code is not None:
            if fence:
                document.fences.append(Fence(section, info, "\n".join(code) + "\n"))
                code = None
            else:
                code.append(line)
            continue
        if line.startswith("|"):
            block.append(line)
        elif block:
            document.tables.append(_table(section, block, document))
            block = []
        if fence:
            info, code = fence[1].strip(), []
            continue
        if heading := _HEADING.fullmatch(line):
            section = heading[2]
            document.headings.append(section)
        document.prose.append((section, line))
    assert code is None, f"{document.name}: a fence is not closed"
    return document


def _table(section: str, lines: Sequence[str], document: Document) -> Table:
    rows = [tuple(_cells(line)) for line in lines]
    assert len(rows) > 1 and set("".join(rows[1])) <= set("-: "), f"{document.name}: no table: {lines[0]}"
    for row in rows[2:]:
        assert len(row) == len(rows[0]), f"{document.name}: a row has {len(row)} cells instead of {len(rows[0])}: {row}"
    return Table(section, rows[0], tuple(rows[2:]))


def _cells(line: str) -> Iterator[str]:
    for cell in _CELL_END.split(line.strip())[1:-1]:
        yield cell.strip().replace("\\|", "|")


def code(cell: str) -> list[str]:
    """The code spans of a cell."""
    return _SPAN.findall(cell)


def documents() -> list[str]:
    """Every document of the project: those at the top and all below docs."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def check_rows(
    document: Document,
    header: Sequence[str],
    wanted: Sequence[Sequence[str]],
    *,
    free: Sequence[str] = (),
    section: str | None = None,
) -> None:
    """The tables with this header, of one section or of all, have exactly the wanted rows, in any order.

    A row is known by its first cell. Cells of `free` columns are the writer's, but may not be empty; `wanted` leaves
    them out. The message of a failure holds the rows as they should be.
    """
    checked = [number for number, name in enumerate(header) if name not in free]
    rows: dict[str, tuple[str, ...]] = {}
    problems = []
    for row in document.rows(*header, section=section):
        if row[0] in rows:
            problems.append(f"is there twice:   {_line(row)}")
        rows[row[0]] = row
        problems += [f"has an empty cell: {_line(row)}" for number, cell in enumerate(row) if not cell and number]
    expected = {row[0]: tuple(row) for row in wanted}
    assert len(expected) == len(wanted), "the wanted rows have different first cells"
    for key, facts in expected.items():
        found = rows.get(key)
        if found is None:
            problems.append(f"is missing:       {_line(facts)}")
        elif tuple(found[number] for number in checked) != facts:
            problems.append(f"is wrong:         {_line(found)}\n    the code says:  {_line(facts)}")
    problems += [f"is of nothing:    {_line(row)}" for key, row in rows.items() if key not in expected]
    assert not problems, f"{document.name}, {section or 'table'} | {' | '.join(header)} |:\n  " + "\n  ".join(problems)


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
