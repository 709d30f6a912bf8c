"""`pyat import csv` on a running platform: a real data set whole, and everything that can be wrong with a file."""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import at_terminal, refusal, run
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import call

CHINOOK = Path(__file__).parents[2].parent / "shared" / "data" / "chinook"
ROWS = 15_607
"""Of all tables of the data set together."""
LARGE_ROWS = 250_000


@pytest.fixture(scope="module")
def importer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform."""
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}
    with Platform(tmp_path_factory.mktemp("importer"), env=env) as started:
        yield started


class Base:
    """A base, seen through the API alone."""

    def __init__(self, platform: Platform, name: str, *fields: dict[str, Any]) -> None:
        self.platform = platform
        self.name = name
        body = {
            "name": name,
            "workspaceId": account_of(platform, platform.token).workspace_id,
            "tables": [{"name": "Ages", "fields": [{"name": "Name", "type": "singleLineText"}, *fields]}],
        }
        answer = call("POST", f"{platform.url}/v0/meta/bases", token=platform.token, body=body)
        assert answer.status == 200, answer.body
        self.base_id: str = answer.body["id"]

    def tables(self) -> dict[str, dict[str, Any]]:
        """Its tables by name."""
        url = f"{self.platform.url}/v0/meta/bases/{self.base_id}/tables"
        return {table["name"]: table for table in call("GET", url, token=self.platform.token).body["tables"]}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The cells of every record of a table, in order."""
        found: list[dict[str, Any]] = []
        offset = ""
        while True:
            url = f"{self.platform.url}/v0/{self.base_id}/{table}?offset={offset}"
            page = call("GET", url, token=self.platform.token).body
            found += [record["fields"] for record in page["records"]]
            offset = page.get("offset", "")
            if not offset:
                return found


AGE = {"name": "Age", "type": "number", "options": {"precision": 0}}
STATE = {"name": "State", "type": "singleSelect", "options": {"choices": [{"name": "Open"}]}}


@pytest.fixture
def base(importer: Platform, request: pytest.FixtureRequest) -> Base:
    """A base of the test's name with the table Ages: Name, Age, State."""
    return Base(importer, request.node.name, AGE, STATE)


def file(folder: Path, text: str, name: str = "people.csv") -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


def cell(kind: str, text: str) -> Any:
    """What a client should read where the file says `text`."""
    match kind:
        case "number":
            return float(text)
        case "dateTime":
            return f"{text}.000Z"
        case "singleLineText" | "phoneNumber" | "email" | "url" | "singleSelect":
            return text
    raise AssertionError(f"the data set has no column that should become a {kind}")


@pytest.mark.skipif(not CHINOOK.is_dir(), reason=f"The data set Chinook is not there ({CHINOOK}); nothing to import")
def test_a_real_data_set_arrives_whole(importer: Platform) -> None:
    base = Base(importer, "Chinook")
    files = sorted(CHINOOK.glob("*.csv"))
    assert len(files) == 11

    def load(path: Path) -> str:
        return importer.command("import", "csv", str(path), "--base", "Chinook", "--yes").stdout

    # Two at a time: imports into one base wait for each other.
    with ThreadPoolExecutor(2) as pool:
        shown = dict(zip(files, pool.map(load, files), strict=True))
    tables = base.tables()
    total = 0
    for path in files:
        with path.open(newline="", encoding="utf-8") as text:
            header, *lines = csv.reader(text)
        fields = tables[path.stem]["fields"]
        assert [field["name"] for field in fields] == header
        kinds = {field["name"]: field["type"] for field in fields}
        expected = [
            {name: cell(kinds[name], value) for name, value in zip(header, line, strict=True) if value}
            for line in lines
        ]
        found = base.rows(path.stem)
        assert found == expected, path.name
        assert f"{len(lines):,} records were added to the table '{path.stem}'" in shown[path]
        total += len(found)
    assert total == ROWS
    assert {kind: path for path in tables.values() for kind in (field["type"] for field in path["fields"])}.keys() == {
        "number", "dateTime", "singleLineText", "phoneNumber", "email", "singleSelect"
    }  # fmt: skip


def test_the_preview_says_what_will_happen(base: Base, tmp_path: Path) -> None:
    text = "Name;Born;Site;Done\n" + "".join(f"n{n};{n:02}.02.2024;https://a.example/{n};yes\n" for n in range(1, 20))
    finished = run(base.platform, "import", "csv", file(tmp_path, text), "--base", base.base_id, "--yes")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for words in ("people.csv:", "separated by semicolon", "into a new table 'people'", "URL", "Checkbox", "n1 · n2"):
        assert words in finished.stdout
    assert base.rows("people")[1] == {"Name": "n2", "Born": "2024-02-02", "Site": "https://a.example/2", "Done": True}


def test_somebody_at_a_terminal_is_asked(base: Base, tmp_path: Path) -> None:
    words = ("import", "csv", file(tmp_path, "Name,Age\na,1\n"), "--base", base.base_id)
    status, shown = at_terminal(base.platform, *words, question="Import it?", answer="n\r")
    assert status == 1
    assert "Nothing was imported." in shown
    assert base.tables().keys() == {"Ages"}


def test_a_rejected_cell_keeps_everything_out(base: Base, tmp_path: Path) -> None:
    path = file(tmp_path, "Name,Age,State\na,1,Open\nb,old,New\nc,3,Open\n")
    said = refusal(base.platform, "import", "csv", path, "--base", base.name, "--table", "Ages", "--yes")
    for words in ("3", "Age", "old", "not a number", "nothing was imported", "--keep-going"):
        assert words in said
    assert base.rows("Ages") == []
    assert [choice["name"] for choice in base.tables()["Ages"]["fields"][2]["options"]["choices"]] == ["Open"]


def test_keep_going_leaves_rejected_cells_blank(base: Base, tmp_path: Path) -> None:
    path = file(tmp_path, "Name,Age,State\na,1,Open\nb,old,New\nc,3,Open\n")
    finished = run(
        base.platform, "import", "csv", path, "--base", base.name, "--table", "Ages", "--keep-going", "--yes"
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "not a number" in finished.stdout
    assert base.rows("Ages") == [
        {"Name": "a", "Age": 1, "State": "Open"},
        {"Name": "b", "State": "New"},
        {"Name": "c", "Age": 3, "State": "Open"},
    ]


def test_rows_join_a_table_that_exists(base: Base, tmp_path: Path) -> None:
    url = f"{base.platform.url}/v0/{base.base_id}/Ages"
    assert call("POST", url, token=base.platform.token, body={"fields": {"Name": "first"}}).status == 200
    path = file(tmp_path, 'STATE,name\nOpen,"a, b"\nBrand new,"two\nlines"\n')
    base.platform.command("import", "csv", path, "--base", base.name, "--table", "ages", "--yes")
    assert base.rows("Ages") == [
        {"Name": "first"},
        {"Name": "a, b", "State": "Open"},
        {"Name": "two\nlines", "State": "Brand new"},
    ]
    # The running platform knows the new choice, and numbers and names go on from there.
    body = {"fields": {"Name": "last", "State": "Brand new"}}
    assert call("POST", url, token=base.platform.token, body=body).status == 200
    assert base.rows("Ages")[-1] == body["fields"]


def test_what_cannot_be_imported_is_said_in_a_sentence(base: Base, tmp_path: Path) -> None:
    people = file(tmp_path, "Nmae\nx\n")
    for words, sentence in (
        ((people, "--base", "No such base"), "There is no base 'No such base'"),
        ((str(tmp_path / "none.csv"), "--base", base.name), "none.csv"),
        ((people, "--base", base.name, "--table", "Ages"), "Nmae"),
    ):
        assert sentence in refusal(base.platform, "import", "csv", *words, "--yes"), words
    assert base.tables().keys() == {"Ages"}
    assert base.rows("Ages") == []


def test_an_import_that_is_killed_leaves_nothing(base: Base, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w") as text:
        text.write("Name,Amount,Day\n")
        text.writelines(f"row {n},{n}.5,2024-01-{n % 28 + 1:02}\n" for n in range(LARGE_ROWS))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "pyat", "import", "csv", str(path), "--base", base.name, "--yes"],
        env=base.platform.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("└"):  # the end of the preview; loading begins
                break
        # While it loads, others read and write the base's records.
        url = f"{base.platform.url}/v0/{base.base_id}/Ages"
        for number in range(20):
            assert call("POST", url, token=base.platform.token, body={"fields": {"Age": number}}).status == 200
        assert process.poll() is None, "the import has to be at work when it is killed"
        os.kill(process.pid, signal.SIGKILL)
    assert base.tables().keys() == {"Ages"}
    assert [row["Age"] for row in base.rows("Ages")] == list(range(20))
    fields = [{"name": "Name", "type": "singleLineText"}]
    meta = f"{base.platform.url}/v0/meta/bases/{base.base_id}/tables"
    assert call("POST", meta, token=base.platform.token, body={"name": "large", "fields": fields}).status == 200
