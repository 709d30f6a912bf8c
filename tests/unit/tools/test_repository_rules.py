"""The rules of tools/repository_rules.py: this repository keeps them, and each catches what it is for."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tools import repository_rules

# What the rules look for is put together here, or this file would break them itself.
SLASH, DOT, DASHES = "/", ".", "--"
HASH = "--hash=sha256:" + "0" * 64
PYPROJECT = """
[project]
version = "1.2.3"
dependencies = ["Alpha[fast]>=1", "beta.two>=2"]
[dependency-groups]
dev = ["gamma>=3; sys_platform != 'win32'"]
"""
RUNTIME = f"alpha==1.1 \\\n    {HASH}\nbeta-two==2.0 ; sys_platform == 'linux' \\\n    {HASH}\n"
GOOD = {
    "pyproject.toml": PYPROJECT,
    "requirements/runtime.lock": RUNTIME,
    "requirements/dev.lock": f"{RUNTIME}gamma==3.0 \\\n    {HASH}\n",
    "clients/package-lock.json": json.dumps({"packages": {"": {}, "node_modules/a": {"integrity": "sha512-x"}}}),
    "src/pyat/__init__.py": '__version__ = "1.2.3"\n',
    "src/pyat/services/__init__.py": "",
    "src/pyat/services/auth/__init__.py": "",
    "src/pyat/services/auth/queries.sql": "",
    "src/pyat/services/auth/service/tokens.py": "",
    "src/pyat/services/auth/migrations/0001_create_tables.sql": "",
    "docs/page.md": f"Run `./start-all-services.sh`; data lies in ~/.pyat. See /v0/meta/root/x and $HOME{SLASH}work/x.",
    ".venv/lib/other.py": f"home = '{SLASH}home/somebody/x'",
}

Tree = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Makes a small checkout that keeps every rule, but for the files given."""

    def make(changed: Mapping[str, str]) -> Path:
        for name, text in {**GOOD, **changed}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return make


def test_this_repository_keeps_its_rules() -> None:
    assert repository_rules.problems(repository_rules.ROOT) == []


def test_a_checkout_that_keeps_the_rules_has_no_problems(tree: Tree) -> None:
    assert repository_rules.problems(tree({})) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("docs/page.md", f"See `{SLASH}home/ann/pyat`.", "docs/page.md:1 names"),
        ("src/pyat/x.py", f"\nDATA = '{SLASH}root/data'", "src/pyat/x.py:2 names"),
        ("tools/x.sh", f"pip install {DASHES}index-url x", "tools/x.sh:1 names"),
        ("docs/page.md", f"from pypi{DOT}org", "docs/page.md:1 names"),
        (
            "requirements/dev.lock",
            f"{GOOD['requirements/dev.lock']}delta==1 @ https://x/y.whl \\\n    {HASH}\n",
            "carries an address",
        ),
        (
            "requirements/dev.lock",
            GOOD["requirements/dev.lock"] + "delta==1\n",
            "'delta==1' without version and hashes",
        ),
        ("requirements/runtime.lock", f"alpha==1.1 \\\n    {HASH}\n", "runtime.lock lacks beta-two"),
        ("requirements/dev.lock", RUNTIME, "dev.lock lacks gamma"),
        (
            "requirements/dev.lock",
            GOOD["requirements/dev.lock"].replace("alpha==1.1", "alpha==1.0"),
            "lacks what runtime.lock has (alpha==1.1)",
        ),
        (
            "clients/package-lock.json",
            json.dumps({"packages": {"node_modules/a": {"integrity": "sha512-x", "resolved": "https://x"}}}),
            "node_modules/a has an address",
        ),
        ("clients/package-lock.json", json.dumps({"packages": {"node_modules/a": {}}}), "or no hash"),
        ("src/pyat/services/helpers/app.py", "", "no service 'helpers'"),
        ("src/pyat/services/auth/utils.py", "", "utils.py is not a file a service may have"),
        ("src/pyat/services/auth/migrations/first.sql", "", "migrations/first.sql is not a file"),
        ("src/pyat/__init__.py", '__version__ = "1.2.4"\n', "does not name version 1.2.3"),
    ],
)
def test_each_rule_catches_what_it_is_for(tree: Tree, name: str, text: str, said: str) -> None:
    found = repository_rules.problems(tree({name: text}))
    assert len(found) == 1, found
    assert said in found[0]
