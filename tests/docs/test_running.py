"""What the documents show, done: on a platform that the README's own command started."""

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from pyat.cli.main import app
from pyat.recordstore.fieldtypes import REGISTRY
from tests.acceptance.platform import Platform
from tests.acceptance.support import call
from tests.docs.commands import Shown, shown
from tests.docs.markdown import ROOT, Document, code, documents, read

EXAMPLES = ("sent", "without typecast", "with typecast")
_ASCENDING = "**Ascending:** "
_COMMANDS = [found for name in documents() for found in shown(read(name)) if found.program == "pyat" and found.words]
_PEOPLE = "Name,Email,Age\nAda Lovelace,ada@example.org,36\nAlan Turing,alan@example.org,41\n"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """Started by the first command of the README, with the sample base."""
    (command,) = shlex.split(next(fence for fence in read("README.md").fences if fence.info == "sh").text)
    with tempfile.TemporaryDirectory(prefix="pyat-docs-") as folder:
        # PostgreSQL's user passes through the folder of a root user's home.
        Path(folder).chmod(0o711)
        home, script = Path(folder) / "home", str(ROOT / command)
        with Platform(home, env={"PYAT_RATE_LIMITS": "on"}, command=(script,)) as started:
            yield started


@pytest.fixture(scope="module")
def workspace_id(platform: Platform) -> str:
    """The administrator's."""
    return str(_ask(platform, "GET", "/api/v1/workspaces")["workspaces"][0]["id"])


def _ask(platform: Platform, method: str, path: str, body: Any = None) -> Any:
    answer = call(method, platform.url + path, token=platform.token, body=body)
    assert answer.status == 200, f"{method} {path}: {answer.status} {answer.body}"
    return answer.body


def _run_python(text: str, folder: Path) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, f"{text}\n{finished.stderr}"
    return finished.stdout


# The first screen of the README


def test_the_readmes_snippet_works(platform: Platform, tmp_path: Path) -> None:
    (snippet,) = [fence.text for fence in read("README.md").fences if fence.info == "python"]
    base_id = platform.home.credentials()["sample_base_id"]
    for shown_value, real in (("pat…", platform.token), ("http://127.0.0.1:8080", platform.url), ("app…", base_id)):
        assert snippet.count(f'"{shown_value}"') == 1
        snippet = snippet.replace(shown_value, real)
    assert re.search(r"\{'id': 'rec\w{14}', 'createdTime'.*'Name'", _run_python(snippet, tmp_path))
    listed = _ask(platform, "GET", f"/v0/{base_id}/Projects?sort[0][field]=Name&sort[0][direction]=desc")["records"]
    assert "Written by an unmodified client" in [record["fields"]["Name"] for record in listed]


def test_the_snippet_on_the_start_screen_works_as_pasted(platform: Platform, tmp_path: Path) -> None:
    screen = platform.output.read_text("utf-8")
    _, _, rest = screen.partition("pip install pyairtable, then:")
    lines = [line.strip() for line in rest.splitlines() if line.startswith("    ")]
    assert lines[0].startswith("from pyairtable"), screen
    assert re.search(r"\{'id': 'rec\w{14}'", _run_python("\n".join(lines), tmp_path))
    for told in (platform.url, platform.token, str(platform.home.path)):
        assert told in screen


def test_what_lies_in_the_home(platform: Platform) -> None:
    listed = [
        name for row in read("docs/reference/settings.md").rows("in the home", "what it is") for name in code(row[0])
    ]
    there = {path.name for path in platform.home.path.iterdir()} - {platform.output.name}
    assert sorted(listed) == sorted(there)


# Commands


@pytest.fixture(scope="module")
def folder(platform: Platform, workspace_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the documents import, beside a base of the name that they import into."""
    field = {"name": "Name", "type": "singleLineText"}
    draft = {"name": "CRM", "workspaceId": workspace_id, "tables": [{"name": "Deals", "fields": [field]}]}
    _ask(platform, "POST", "/v0/meta/bases", draft)
    made = tmp_path_factory.mktemp("commands")
    for name in {word for found in _COMMANDS for word in found.words if word.endswith(".csv")} | {"FILE"}:
        (made / name).write_text(_PEOPLE, "utf-8")
    (made / "script.py").write_text("import os\n\nprint(os.environ['AIRTABLE_ENDPOINT_URL'])\n", "utf-8")
    return made


def _to_run(found: Shown) -> tuple[str, ...]:
    """The words to run: as they are, or asking for help where a command is only named, or would serve for ever."""
    if found.words[0] == "run":
        # What it runs is the reader's; what is named here runs with `--help`.
        return ("run", "--help")
    is_complete = True
    try:
        app.parse_args(list(found.words), exit_on_error=False, print_error=False)
    except Exception:  # whatever is wrong is seen when its help is asked for
        is_complete = False
    if found.words[0].startswith("--") or (is_complete and found.words[0] not in ("up", "serve")):
        return found.words
    named = [word for word in found.words[:2] if re.fullmatch(r"[a-z-]+", word)]
    return (*(named[:1] if named[0] in ("up", "serve") else named), "--help")


@pytest.mark.parametrize("words", list(dict.fromkeys(map(_to_run, _COMMANDS))), ids=" ".join)
def test_commands_run(words: tuple[str, ...], platform: Platform, folder: Path) -> None:
    real = ["CRM" if word == "BASE" else word for word in words]
    environment = {**platform.env, "PYTHONPATH": str(ROOT / "src")}
    finished = subprocess.run(
        [sys.executable, "-m", "pyat", *real],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout}{finished.stderr}"
    assert finished.stdout.strip()


def test_exit_statuses(tmp_path: Path) -> None:
    """Those of the table in commands.md, but for the interrupt, which the tests of the supervisor send."""
    home = {**os.environ, "PYAT_HOME": str(tmp_path / "home")}
    found = set()
    for words in (["--version"], ["status"], ["up", "--bogus"]):
        run = subprocess.run(
            [sys.executable, "-m", "pyat", *words], env=home, capture_output=True, timeout=60, check=False
        )
        found.add(run.returncode)
    listed = {row[0] for row in read("docs/reference/commands.md").rows("status", "meaning")}
    assert listed == {str(status) for status in (*found, 130)}


# The API


def test_pages_without_a_token(platform: Platform) -> None:
    for path, _ in read("docs/reference/api.md").rows("path", "what it answers"):
        assert call("GET", platform.url + code(path)[0]).status == 200, path


def test_headers(platform: Platform) -> None:
    """All that the page lists are seen, but `Retry-After`: nothing here is refused or away."""
    base_id = platform.home.credentials()["sample_base_id"]
    seen = set()
    for method, path in (("GET", f"/v0/{base_id}/Tasks"), ("DELETE", "/v0/meta/whoami")):
        with closing(http.client.HTTPConnection("127.0.0.1", platform.port, timeout=10)) as connection:
            headers = {"Authorization": f"Bearer {platform.token}", "Accept-Encoding": "gzip"}
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            response.read()
            seen |= {name.lower() for name, _ in response.getheaders()}
    rows = read("docs/reference/api.md").rows("header", "on", "meaning")
    listed = {name.partition(":")[0].lower() for row in rows for name in code(row[0])}
    assert listed - seen == {"retry-after"}


# Field types


def _sections() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each section about types, with its types."""
    for heading in _page().headings:
        if names := code(heading):
            yield heading, tuple(names)


def _page() -> Document:
    return read("docs/reference/field-types.md")


def _options(section: str, use: str) -> Any:
    found = [json.loads(f.text) for f in _page().fences if (f.section, f.info) == (section, f"json {use}")]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.fixture(scope="module")
def field_base(platform: Platform, workspace_id: str) -> dict[str, Any]:
    """A base with a table for each type, named like it: a name and a `Value` with the options of the page."""
    names = [name for _, own in _sections() for name in own]
    tables = [{"name": name, "fields": [{"name": "Name", "type": "singleLineText"}]} for name in names]
    draft = {"name": "Field types", "workspaceId": workspace_id, "tables": tables}
    base_id = _ask(platform, "POST", "/v0/meta/bases", draft)["id"]
    path = f"/v0/meta/bases/{base_id}/tables"
    for section, own in _sections():
        for name in own:
            _add_value(platform, f"{path}/{name}/fields", section, name, _ask(platform, "GET", path)["tables"])
    return {"id": base_id, "tables": _ask(platform, "GET", path)["tables"]}


def _add_value(platform: Platform, path: str, section: str, name: str, tables: list[Any]) -> None:
    """The field `Value` of the table called like its type. Its options name others: `fld…Link` is a link field."""
    (table,) = [table for table in tables if table["name"] == name]
    value = {"name": "Value", "type": name}
    if (options := _options(section, "create")) is not None:
        text = json.dumps(options, ensure_ascii=False)
        if "fld…Link" in text:
            link = {"name": "Link", "type": "multipleRecordLinks", "options": {"linkedTableId": table["id"]}}
            text = text.replace("fld…Link", _ask(platform, "POST", path, link)["id"])
        text = text.replace("fld…Name", table["primaryFieldId"]).replace("tbl…", table["id"])
        value["options"] = json.loads(text)
    _ask(platform, "POST", path, value)


def _without_ids(value: Any) -> Any:
    """A JSON value with `sel…` for the id of a choice, and so on."""
    return json.loads(
        re.sub(r"(sel|fld|tbl|viw|usr|rec|att)\w{14}(?=\}|\"(?!:))", r"\1…", json.dumps(value, ensure_ascii=False))
    )


TYPES = [(section, name) for section, names in _sections() for name in names]


@pytest.mark.parametrize(("section", "name"), TYPES, ids=lambda part: part if part in REGISTRY else "")
def test_options_read_as_shown(section: str, name: str, field_base: dict[str, Any]) -> None:
    wanted = _options(section, "read") or _options(section, "create")
    (table,) = [table for table in field_base["tables"] if table["name"] == name]
    found = table["fields"][-1].get("options")
    for choice in found.get("choices", ()) if found and _options(section, "read") is None else ():
        del choice["id"], choice["color"]
    assert _without_ids(found) == wanted


@pytest.mark.parametrize(("section", "name"), TYPES, ids=lambda part: part if part in REGISTRY else "")
def test_examples(section: str, name: str, platform: Platform, field_base: dict[str, Any]) -> None:
    """First all without typecast, which adds choices that later ones would find."""
    (table,) = [table for table in _page().tables if (table.section, table.header) == (section, EXAMPLES)]
    url = f"{platform.url}/v0/{field_base['id']}/{name}"
    problems = []
    for column, typecast in ((1, False), (2, True)):
        for row in table.rows:
            sent = code(row[0])[0]
            body = {"fields": {"Value": json.loads(sent)}, "typecast": typecast}
            answer = call("POST", url, token=platform.token, body=body)
            wanted = json.loads(code(row[column])[0]) if code(row[column]) else row[column]
            if answer.status == 422:
                found = "refused"
            else:
                assert answer.status == 200, answer
                found = _without_ids(answer.body["fields"].get("Value", "blank"))
            # In Python 1 equals True; in JSON it does not.
            if found != wanted or isinstance(found, bool) != isinstance(wanted, bool):
                problems.append(f"{sent}, typecast {typecast}: the page says {wanted!r}, it is {found!r}")
    assert not problems, "\n".join(problems)


def _order(section: str) -> list[Any] | None:
    """The values of the section's order, None for blank; None where it has none."""
    lines = [
        line.removeprefix(_ASCENDING) for at, line in _page().prose if at == section and line.startswith(_ASCENDING)
    ]
    if not lines:
        return None
    (line,) = lines
    assert line.startswith("blank, "), "every order says where blanks come"
    return [None, *map(json.loads, code(line))]


def test_every_type_that_clients_fill_shows_its_order() -> None:
    without = set(chain.from_iterable(names for section, names in _sections() if _order(section) is None))
    # A link names records, whose ids no page knows beforehand.
    assert without == {name for name, kind in REGISTRY.items() if kind.is_computed} | {"multipleRecordLinks"}


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section, name in TYPES if _order(section) is not None],
    ids=lambda part: part if part in REGISTRY else "",
)
def test_order(section: str, name: str, platform: Platform, field_base: dict[str, Any]) -> None:
    """The values are written backwards, so that the order of creation is not mistaken for the one that is shown."""
    wanted = _order(section)
    assert wanted is not None
    base_id = field_base["id"]
    # A user's id is not known to the page, the address names the same user; so does the address of a file.
    sent = json.loads(re.sub(r'"id": "(usr|att)…", ', "", json.dumps(wanted, ensure_ascii=False)))
    rows = [{"Name": "order"} | ({} if value is None else {"Value": value}) for value in reversed(sent)]
    records = [{"fields": row} for row in rows]
    made = {record["id"] for record in _ask(platform, "POST", f"/v0/{base_id}/{name}", {"records": records})["records"]}
    for direction, expected in (("asc", wanted), ("desc", wanted[::-1])):
        path = f"/v0/{base_id}/{name}?sort[0][field]=Value&sort[0][direction]={direction}"
        listed = [record for record in _ask(platform, "GET", path)["records"] if record["id"] in made]
        assert [_without_ids(record["fields"].get("Value")) for record in listed] == expected
