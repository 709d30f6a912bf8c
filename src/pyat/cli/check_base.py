"""`pyat check base` at the terminal: every computed cell that is kept, computed anew and compared."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pyat.cli.bases import Refused, find_base
from pyat.foundation.db import Connection, Database
from pyat.recordstore import ddl, filling
from pyat.recordstore.structure import Base
from pyat.services.auth.contract import Account
from pyat.services.schema.contract import Schema


async def run(
    database: Database,
    schema: Schema,
    account: Account,
    *,
    base: str,
    repair: bool = False,
    console: Console | None = None,
) -> int:
    """Check a base given by id or name; returns the exit status: 0, or 1 where something differs or there is no such base.

    With `repair` what differs is filled anew by the running platform, or when it runs next.
    """
    console = console or Console(highlight=False)
    try:
        target = await find_base(schema, account, base)
    except Refused as refused:
        console.print(escape(str(refused)), style="red", soft_wrap=True)
        return 1

    async def load(connection: Connection) -> Base:
        version, tables = await ddl.load(connection, target.base_id)
        return Base(target.base_id, target.name, target.tenant_id, target.workspace_id, version, tables)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Checking")

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        checked = await filling.check(database, target.base_id, load, progress)
    assert checked is not None, "the base was just read"
    for found in checked.differences:
        cells = "1 cell differs" if found.count == 1 else f"{found.count:,} cells differ"
        line = f"{found.table}, {found.field}: {cells}, such as {', '.join(found.record_ids)}."
        console.print(escape(line), style="red", soft_wrap=True)
    line = (
        f"{target.name}: {checked.records:,} records, {checked.columns} computed fields with columns,"
        f" {checked.uncached} computed when they are read."
    )
    console.print(escape(line), soft_wrap=True)
    if checked.differences and repair:
        await filling.fill_anew(database, target.base_id, load, [found.field_id for found in checked.differences])
        console.print("They are filled anew in the background. Check again then.", soft_wrap=True)
        return 1
    if checked.differences:
        console.print("With --repair these columns are filled anew.", style="red", soft_wrap=True)
        return 1
    console.print("Nothing differs.", style="green")
    return 0
