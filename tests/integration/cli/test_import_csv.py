"""`pyat import csv`: what is shown, what is in the base afterwards, and the exit status."""

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pyat.cli.import_csv import run
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.ddl import hold, relation
from pyat.recordstore.structure import Base, Table
from pyat.services.auth.contract import Account
from pyat.services.schema.contract import FieldDraft
from pyat.services.schema.service import SchemaService
from tests.support.schema import new_workspace, principal, schema_service, table_draft, text_field

ACCOUNT = Account(principal().user_id, principal().tenant_id, "ann@example.org", "Ann")
PEOPLE = "Name,Age,State,Joined\n" + "".join(
    f"Name {number},{number},{'Open' if number % 2 else 'Shut'},2024-01-{number:02d}\n" for number in range(1, 21)
)

Import = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def schema(database: Database) -> SchemaService:
    return schema_service(database)


@pytest.fixture
async def base(schema: SchemaService) -> Base:
    return await schema.create_base(
        principal=principal(), workspace_id=await new_workspace(schema), name="CRM", tables=(table_draft("Tasks"),)
    )


@pytest.fixture
def importing(database: Database, schema: SchemaService, base: Base, tmp_path: Path) -> Import:
    """Import a text as `people.csv` and return the exit status and what was shown."""

    async def importing(text: str, *, into: str = "CRM", name: str = "people.csv", **how: Any) -> tuple[int, str]:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        output = io.StringIO()
        console = Console(file=output, width=160, highlight=False)
        return await run(database, schema, ACCOUNT, file=path, base=into, console=console, **how), output.getvalue()

    return importing


async def table_of(schema: SchemaService, base: Base, name: str) -> Table:
    now = await schema.get_base(principal=principal(), base_id=base.base_id)
    found = now.find_table(name)
    assert found is not None
    return found


async def names(database: Database, base_id: BaseId, table: Table) -> list[str]:
    column = quote(table.primary_field_id)
    rows = await database.rows(
        Statement("names", f"SELECT {column} FROM {relation(base_id, table.table_id)} ORDER BY _n")
    )
    return [row[table.primary_field_id] for row in rows]


async def test_a_new_table_of_the_files_name(
    importing: Import, database: Database, schema: SchemaService, base: Base
) -> None:
    status, shown = await importing(PEOPLE)
    assert status == 0
    assert "people.csv: 544 bytes, utf-8, separated by comma" in shown
    assert "into a new table 'people' of the base 'CRM'" in shown
    assert "Single select (2 choices)" in shown
    assert "Name 1 · Name 2 · Name 3" in shown
    assert "20 records were added to the table 'people' of the base 'CRM'." in shown
    table = await table_of(schema, base, "people")
    assert [(field.name, field.type) for field in table.fields] == [
        ("Name", "singleLineText"),
        ("Age", "number"),
        ("State", "singleSelect"),
        ("Joined", "date"),
    ]
    (view,) = table.views
    assert (view.name, view.type, view.field_ids) == (
        "Grid view",
        "grid",
        tuple(each.field_id for each in table.fields),
    )
    assert await names(database, base.base_id, table) == [f"Name {number}" for number in range(1, 21)]


async def test_without_a_table_named_nothing_is_appended(importing: Import, schema: SchemaService, base: Base) -> None:
    await importing(PEOPLE)
    status, shown = await importing(PEOPLE, into=base.base_id)
    assert status == 0
    assert "into a new table 'people 2'" in shown
    now = await schema.get_base(principal=principal(), base_id=base.base_id)
    assert [table.name for table in now.tables] == ["Tasks", "people", "people 2"]


async def test_a_table_named_is_made_or_added_to(
    importing: Import, database: Database, schema: SchemaService, base: Base
) -> None:
    assert (await importing(PEOPLE, table="Customers"))[0] == 0
    version = (await schema.get_base(principal=principal(), base_id=base.base_id)).version
    status, shown = await importing("name,STATE\nZoe,Open\nYan,New\n", table="customers")
    assert status == 0
    assert "into the table 'Customers' of the base 'CRM'" in shown
    assert "State: Single select (2 choices)" in shown
    assert "2 records were added" in shown
    table = await table_of(schema, base, "Customers")
    assert (await names(database, base.base_id, table))[-2:] == ["Zoe", "Yan"]
    choices = table.fields_by_name["State"].options["choices"]
    assert [choice["name"] for choice in choices] == ["Open", "Shut", "New"]
    assert choices[2]["color"] == "tealLight2"
    stored = await database.value(
        Statement(
            "state",
            f"SELECT {quote(table.fields_by_name['State'].field_id)}"
            f" FROM {relation(base.base_id, table.table_id)} ORDER BY _n DESC LIMIT 1",
        )
    )
    assert stored == choices[2]["id"]
    assert (await schema.get_base(principal=principal(), base_id=base.base_id)).version == version + 1


async def test_an_addition_without_new_choices_leaves_the_structure_alone(
    importing: Import, schema: SchemaService, base: Base
) -> None:
    version = base.version
    assert (await importing("Name\nx\n", table="Tasks"))[0] == 0
    assert (await schema.get_base(principal=principal(), base_id=base.base_id)).version == version


async def test_choices_that_the_sample_missed_join_the_new_table(
    importing: Import, database: Database, schema: SchemaService, base: Base
) -> None:
    rows = [f"Name {number} {'x' * 30},{('Open', 'Shut')[number % 2]}\n" for number in range(40_000)]
    rows[7_000] = "Late,Late\n"
    assert (await importing("Name,State\n" + "".join(rows)))[0] == 0
    table = await table_of(schema, base, "people")
    choices = table.fields_by_name["State"].options["choices"]
    assert [choice["name"] for choice in choices] == ["Open", "Shut", "Late"]


async def test_autonumbers_go_on(importing: Import, database: Database, schema: SchemaService, base: Base) -> None:
    await schema.create_table(
        principal=principal(),
        base_id=base.base_id,
        table=table_draft("N", text_field("Name"), FieldDraft("No", "autoNumber")),
    )
    for text in ("Name\na\nb\n", "Name\nc\n"):
        assert (await importing(text, table="N"))[0] == 0
    table = await table_of(schema, base, "N")
    number = table.fields_by_name["No"].field_id
    rows = await database.rows(
        Statement("n", f"SELECT {quote(number)} FROM {relation(base.base_id, table.table_id)} ORDER BY _n")
    )
    assert [row[number] for row in rows] == [1, 2, 3]
    counter = Statement("c", f"SELECT auto_number FROM {quote(base.base_id)}.base_tables WHERE table_id = $1")
    assert await database.value(counter, table.table_id) == 3


async def test_rejections_are_shown_by_line_and_nothing_stays(
    importing: Import, schema: SchemaService, base: Base
) -> None:
    status, shown = await importing("Name,B\na,1\nb,2,extra\n", table="New")
    assert status == 1
    assert "the row has 3 cells, but there are 2 columns" in shown
    assert "│    3 │" in shown
    assert "1 cell or row does not fit, so nothing was imported. Correct the file, or leave" in shown
    now = await schema.get_base(principal=principal(), base_id=base.base_id)
    assert (now.find_table("New"), now.version) == (None, base.version)


async def test_keeping_going_shows_rejections_and_imports_the_rest(
    importing: Import, database: Database, schema: SchemaService, base: Base
) -> None:
    await importing("Name,Age\na,1\n", table="Ages")
    text = "Name,Age\n" + "".join(f"b,old {number}\n" for number in range(150)) + "c,3\n"
    status, shown = await importing(text, table="Ages", keep_going=True)
    assert status == 0
    assert "the cell is not a number" in shown
    assert "old 99" in shown
    assert "old 100" not in shown
    assert "… and 50 more" in shown
    assert "151 records were added" in shown
    assert len(await names(database, base.base_id, await table_of(schema, base, "Ages"))) == 152


@pytest.mark.parametrize(
    ("text", "how", "sentence"),
    [
        ("a\n1\n", {"into": "ERP"}, "There is no base 'ERP'. Bases: 'CRM'."),
        ("", {}, "people.csv is empty."),
        ("a,b\n1,2\n", {"encoding": "klingon"}, "'klingon' is not an encoding"),
        ("a,b\n1,2\n", {"delimiter": "::"}, "'::' cannot be a delimiter"),
        ("Nmae\nx\n", {"table": "Tasks"}, "The table 'Tasks' has no field for \"Nmae\"."),
        ("a\nx\n", {"table": "  "}, "A table's name has 1 to 255 characters"),
        ("a\nx\n", {"table": "x" * 256}, "A table's name has 1 to 255 characters"),
        ('a\n"x\n', {}, 'A quote (") that opens in line 2 is never closed.'),
    ],
)
async def test_refusals_are_one_sentence(
    text: str, how: dict[str, Any], sentence: str, importing: Import, schema: SchemaService, base: Base
) -> None:
    status, shown = await importing(text, **how)
    assert status == 1
    assert sentence in shown
    now = await schema.get_base(principal=principal(), base_id=base.base_id)
    assert [table.name for table in now.tables] == ["Tasks"]


async def test_bases_of_one_name_are_told_apart_by_id(importing: Import, schema: SchemaService, base: Base) -> None:
    other = await schema.create_base(
        principal=principal(), workspace_id=base.workspace_id, name="CRM", tables=(table_draft("Tasks"),)
    )
    status, shown = await importing(PEOPLE)
    assert status == 1
    assert f"Several bases are named 'CRM'; give the id of one: {base.base_id}, {other.base_id}." in shown
    assert (await importing(PEOPLE, into=other.base_id))[0] == 0


async def test_a_structure_that_is_being_changed_is_left_alone(
    importing: Import, database: Database, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyat.recordstore.ddl.LOCK_TIMEOUT_MS", 50)
    async with database.transaction() as connection:
        await hold(connection, base.base_id)
        status, shown = await importing(PEOPLE)
    assert status == 1
    assert "Try again." in shown


async def test_a_table_that_changed_meanwhile_is_left_alone(
    importing: Import, database: Database, schema: SchemaService, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await table_of(schema, base, "Tasks")
    await schema.create_field(principal=principal(), base_id=base.base_id, table="Tasks", field=text_field("More"))
    # The command saw the table before the field was added.
    monkeypatch.setattr(Base, "find_table", lambda self, name: before)
    status, shown = await importing("Name\nx\n", table="Tasks")
    assert status == 1
    assert "Try again." in shown
    assert await names(database, base.base_id, before) == []


async def test_nothing_in_a_file_steers_the_terminal(importing: Import) -> None:
    status, shown = await importing(
        "[red]Name[/],\x1b[31mB\n[bold]x[/bold],\x1b]0;title\x07\n", name="[link].csv", keep_going=True
    )
    assert status == 0
    assert "\x1b" not in shown
    assert "[red]Name[/]" in shown
    assert "[bold]x[/bold]" in shown
    assert "[link].csv" in shown


async def test_somebody_at_a_terminal_is_asked(
    database: Database, schema: SchemaService, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for answer, status, tables in (("n\n", 1, 1), ("y\n", 0, 2)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        assert await run(database, schema, ACCOUNT, file=path, base="CRM", console=console) == status
        now = await schema.get_base(principal=principal(), base_id=base.base_id)
        assert len(now.tables) == tables
