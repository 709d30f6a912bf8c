"""`pyat import csv` at the terminal: what will happen, how far it is, what became of it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Table as Grid
from rich.text import Text

from pyat.cli.bases import Refused, find_base
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import RETRIABLE, Database
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.structure import Base, Table
from pyat.recordstore.tabular import load
from pyat.recordstore.tabular.errors import ImportStopped, RowsRejected
from pyat.recordstore.tabular.importing import import_as_table, import_into_table
from pyat.recordstore.tabular.infer import infer, match
from pyat.recordstore.tabular.load import LoadReport, Rejection
from pyat.recordstore.tabular.plan import ColumnPlan
from pyat.recordstore.tabular.sample import Sample, take_sample
from pyat.recordstore.tabular.sniff import NAME_LENGTH_MAX, sniff
from pyat.recordstore.tabular.source import Source
from pyat.services.auth.contract import Account
from pyat.services.schema.contract import TABLES_PER_BASE_MAX, Schema

REJECTIONS_SHOWN_MAX = 100
EXAMPLES_SHOWN = 3
EXAMPLE_LENGTH_MAX = 30

_TYPE_NAMES = {
    "singleLineText": "Single line text",
    "multilineText": "Long text",
    "richText": "Long text, rich",
    "email": "Email",
    "url": "URL",
    "phoneNumber": "Phone number",
    "number": "Number",
    "percent": "Percent",
    "currency": "Currency",
    "duration": "Duration",
    "rating": "Rating",
    "checkbox": "Checkbox",
    "singleSelect": "Single select",
    "multipleSelects": "Multiple select",
    "date": "Date",
    "dateTime": "Date with time",
}
"""As Airtable's interface calls them (wire reference, section 6.1)."""

_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


async def run(
    database: Database,
    schema: Schema,
    account: Account,
    *,
    file: Path,
    base: str,
    table: str | None = None,
    keep_going: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
    is_confirmed: bool = False,
    console: Console | None = None,
) -> int:
    """Import `file` into a base given by id or name; returns the exit status: 0, or 1 where nothing was imported.

    `table` names the table, which may exist; without it a new one gets the file's name. Asks before it loads where
    somebody sits at the terminal, unless `is_confirmed`.
    """
    console = console or Console(highlight=False)
    try:
        target = await find_base(schema, account, base)
        source = sniff(file, encoding=encoding, delimiter=delimiter)
        sample = take_sample(source)
        existing = None if table is None else target.find_table(table)
        name = _new_name(target, table, file) if existing is None else existing.name
        plans = infer(source, sample) if existing is None else match(source, sample, existing)
        show_plan(console, source, sample, plans, base=target.name, table=name, is_new=existing is None)
        is_asked = not is_confirmed and console.is_terminal and sys.stdin.isatty()
        if is_asked and not Confirm.ask("Import it?", console=console, default=True):
            console.print("Nothing was imported.")
            return 1
        report = await _import(database, account, console, target, existing, name, source, plans, keep_going=keep_going)
    except RowsRejected as stopped:
        show_rejections(console, stopped.report)
        _print(console, f"{stopped} Correct the file, or leave these cells blank with --keep-going.", style="red")
        return 1
    except (ImportStopped, Refused) as stopped:
        _print(console, str(stopped), style="red")
        return 1
    except (StructureChanged, *RETRIABLE):
        _print(console, "The base's structure was changed by somebody else just now. Try again.", style="red")
        return 1
    show_rejections(console, report)
    made = "1 record was" if report.rows == 1 else f"{report.rows:,} records were"
    _print(console, f"{made} added to the table {name!r} of the base {target.name!r}.", style="green")
    return 0


def _new_name(base: Base, table: str | None, file: Path) -> str:
    """The name of a new table; one that is made of the file's name gets a number where the base has it already."""
    if len(base.tables) >= TABLES_PER_BASE_MAX:
        raise Refused(f"The base {base.name!r} has {TABLES_PER_BASE_MAX:,} tables already.")
    if table is not None:
        name = table.strip()
        if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
            raise Refused(f"A table's name has 1 to {NAME_LENGTH_MAX} characters, all of them printable.")
        return name
    stem = " ".join(_shown(file.stem).split())[: NAME_LENGTH_MAX - 6] or "Table"
    taken = {each.name.casefold() for each in base.tables}
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem} {number}"
    return name


async def _import(
    database: Database,
    account: Account,
    console: Console,
    base: Base,
    existing: Table | None,
    name: str,
    source: Source,
    plans: Sequence[ColumnPlan],
    *,
    keep_going: bool,
) -> LoadReport:
    how: dict[str, Any] = {"user_id": account.user_id, "now": SystemClock().now(), "keep_going": keep_going}
    with progress_bar(console, source) as progress:
        if existing is None:
            return await import_as_table(database, base.base_id, name, source, plans, progress=progress, **how)
        return await import_into_table(database, base.base_id, existing, source, plans, progress=progress, **how)


# What is shown


def _print(console: Console, text: str, *, style: str | None = None) -> None:
    """User text is never taken for markup, nor broken where the terminal is not one."""
    console.print(Text(_shown(text), style=style or ""), soft_wrap=True)


def _shown(text: str) -> str:
    """Without characters that could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def show_plan(
    console: Console,
    source: Source,
    sample: Sample,
    plans: Sequence[ColumnPlan],
    *,
    base: str,
    table: str,
    is_new: bool,
) -> None:
    """The file as it was understood, one line for each column, with examples."""
    delimiter = _DELIMITER_NAMES.get(source.delimiter, source.delimiter)
    size = f"{source.size_bytes / 1e6:,.1f} MB" if source.size_bytes >= 1e5 else f"{source.size_bytes:,} bytes"
    _print(console, f"{source.path.name}: {size}, {source.encoding}, separated by {delimiter}")
    _print(console, f"into {'a new table' if is_new else 'the table'} {table!r} of the base {base!r}")
    grid = Grid()
    for heading in ("column", "field type" if is_new else "field", "examples"):
        grid.add_column(heading, overflow="fold")
    for name, plan, cells in zip(source.header, plans, sample.columns, strict=True):
        field = describe(plan) if is_new else f"{plan.name}: {describe(plan)}"
        grid.add_row(*(Text(_shown(text)) for text in (name, field, " · ".join(_examples(cells)))))
    console.print(grid)


def describe(plan: ColumnPlan) -> str:
    """A field type in words, for example `Currency ($, 2 decimals)`."""
    options = plan.options
    details = []
    match plan.type:
        case "number" | "percent" | "currency":
            if "symbol" in options:
                details.append(str(options["symbol"]))
            decimals = options["precision"]
            details.append("1 decimal" if decimals == 1 else f"{decimals} decimals")
            if plan.reading.decimal == ",":
                details.append("written with a decimal comma")
        case "date":
            details.append(options["dateFormat"]["format"])
        case "dateTime":
            details += [f"{options['dateFormat']['format']} {options['timeFormat']['format']}", options["timeZone"]]
        case "singleSelect" | "multipleSelects":
            choices = len(options["choices"])
            details.append("1 choice" if choices == 1 else f"{choices} choices")
    name = _TYPE_NAMES[plan.type]
    return f"{name} ({', '.join(details)})" if details else name


def _examples(cells: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for cell in cells:
        text = " ".join(cell[: 4 * EXAMPLE_LENGTH_MAX].split())
        if text:
            found[text if len(text) <= EXAMPLE_LENGTH_MAX else text[: EXAMPLE_LENGTH_MAX - 1] + "…"] = None
            if len(found) == EXAMPLES_SHOWN:
                break
    return list(found)


@contextmanager
def progress_bar(console: Console, source: Source) -> Iterator[load.Progress]:
    """A bar over the file's bytes, at a terminal; elsewhere nothing is drawn."""
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("import", total=source.size_bytes, rows=0)

        def progress(bytes_done: int, rows_done: int) -> None:
            bar.update(task, completed=bytes_done, rows=rows_done)

        yield progress


def show_rejections(console: Console, report: LoadReport) -> None:
    """What does not fit, by line; nothing where all of it does."""
    if not report.rejected:
        return
    grid = Grid(title=Text("What does not fit"), title_justify="left")
    grid.add_column("line", justify="right")
    for heading in ("column", "value", "reason"):
        grid.add_column(heading, overflow="fold")
    for rejection in report.rejections[:REJECTIONS_SHOWN_MAX]:
        grid.add_row(*_rejection(rejection))
    console.print(grid)
    more = report.rejected - min(len(report.rejections), REJECTIONS_SHOWN_MAX)
    if more:
        _print(console, f"… and {more:,} more")


def _rejection(rejection: Rejection) -> Iterator[Text]:
    yield Text(f"{rejection.line:,}")
    yield Text("" if rejection.column is None else _shown(rejection.column))
    yield Text(_shown(rejection.excerpt))
    yield Text(f"the {'row' if rejection.column is None else 'cell'} {rejection.reason}")
