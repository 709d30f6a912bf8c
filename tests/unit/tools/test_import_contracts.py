"""Every import contract of pyproject.toml catches its violation, shown on a package of a few lines.

A contract that names a module wrongly keeps everything and says so in green; only a violation shows that it works.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CONFIGURATION: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract["name"] for contract in CONFIGURATION["contracts"]}

# One process lints all packages: the linter's own start takes longer than its work. Not this process, which has
# imported the real package already.
_LINT = """
import contextlib, importlib, io, json, os, sys
from importlinter.cli import lint_imports
for folder, contract in json.load(sys.stdin):
    os.chdir(folder)
    sys.path[0] = folder
    importlib.invalidate_caches()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = lint_imports(config_filename=sys.argv[1], limit_to_contracts=(contract,), no_cache=True, no_logo=True)
    print(json.dumps([code, said.getvalue()]))
"""

# What may be imported, in each direction that may be: module to source.
ALLOWED = {
    "pyat.__main__": "import pyat.cli.main",
    "pyat.cli.main": "import pyat.assembly.catalog",
    "pyat.assembly.catalog": "import pyat.services.auth.app, pyat.services.schema.app",
    **{
        f"pyat.services.{name}.{module}": source
        for name in ("auth", "schema")
        for module, source in {
            "app": f"from pyat.services.{name} import routes, worker",
            "routes": f"from pyat.services.{name} import service",
            "worker": f"from pyat.services.{name} import service",
            "service": f"from pyat.services.{name} import store\nimport pyat.services.auth.contract",
            "store": f"from pyat.services.{name} import settings",
            "settings": f"from pyat.services.{name} import contract",
            "contract": "import pyat.foundation.ids",
            "migrations": "",
        }.items()
    },
    "pyat.recordstore.structure": "",
    "pyat.recordstore.fieldtypes": "import pyat.formula.parser",
    "pyat.recordstore.reading": "import pyat.foundation.ids",
    "pyat.recordstore.cells": "",
    "pyat.recordstore.ddl": "import pyat.foundation.db",
    "pyat.mcp.server": "import pyat.foundation.web",
    "pyat.formula.parser": "import pyat.foundation.ids",
    "pyat.foundation.ids": "",
    "pyat.foundation.cache": "import valkey",
    "pyat.foundation.db": "import asyncpg",
    "pyat.foundation.outgoing": "import aiohttp",
    "pyat.foundation.rpc": "import aiohttp",
    "pyat.foundation.web": "import starlette",
}

VIOLATIONS = (
    ("layers", "pyat.foundation.ids", "import pyat.recordstore.cells"),
    ("layers", "pyat.formula.parser", "import pyat.recordstore.cells"),
    ("layers", "pyat.recordstore.ddl", "import pyat.services.schema.contract"),
    ("layers", "pyat.recordstore.ddl", "import pyat.mcp.server"),
    ("layers", "pyat.services.auth.service", "import pyat.assembly.catalog"),
    ("layers", "pyat.assembly.catalog", "import pyat.cli.main"),
    ("layers", "pyat.helpers", "A_PACKAGE_WITHOUT_A_LAYER = True"),
    ("service-layers", "pyat.services.auth.contract", "import pyat.services.auth.settings"),
    ("service-layers", "pyat.services.auth.store", "import pyat.services.auth.service"),
    ("service-layers", "pyat.services.auth.routes", "import pyat.services.auth.worker"),
    ("service-layers", "pyat.services.auth.worker", "import pyat.services.auth.app"),
    ("service-layers", "pyat.services.auth.utils", "A_STRAY_FILE = True"),
    ("contracts-only", "pyat.services.schema.service", "import pyat.services.auth.store"),
    ("contracts-only", "pyat.services.schema.app", "import pyat.services.auth.app"),
    ("no-cycles", "pyat.services.auth.service", "import pyat.services.schema.contract"),
    ("pure-libraries", "pyat.recordstore.reading", "import aiohttp"),
    ("pure-libraries", "pyat.recordstore.fieldtypes.text", "import valkey"),
    ("formula-no-io", "pyat.formula.parser", "import asyncpg"),
    ("formula-no-io", "pyat.formula.functions.text", "import pyat.foundation.db"),
    ("formula-no-io", "pyat.foundation.ids", "import pyat.foundation.rpc"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A package and the contract it is held against."""

    contract: str
    module: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.contract} {self.module} {self.source}".strip()

    def modules(self) -> Mapping[str, str]:
        """What is allowed, with a line more in one module, which may be new."""
        if not self.module:
            return ALLOWED
        return {**ALLOWED, self.module: f"{ALLOWED.get(self.module, '')}\n{self.source}\n"}


KEPT = tuple(Case(contract) for contract in CONTRACTS)
BROKEN = tuple(Case(*violation) for violation in VIOLATIONS)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, tuple[int, str]]:
    """What the linter says of each case: exit code and report."""
    cases = (*KEPT, *BROKEN)
    folders = [tmp_path_factory.mktemp("package") for _ in cases]
    for folder, case in zip(folders, cases, strict=True):
        write(folder, case.modules())
    finished = subprocess.run(
        [sys.executable, "-c", _LINT, ROOT / "pyproject.toml"],
        cwd=folders[0],
        input=json.dumps([(str(folder), case.contract) for folder, case in zip(folders, cases, strict=True)]),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return {case: tuple(json.loads(line)) for case, line in zip(cases, finished.stdout.splitlines(), strict=True)}


def write(folder: Path, modules: Mapping[str, str]) -> None:
    """Writes a package; a module that has others below it becomes a package itself."""
    for module, source in modules.items():
        path = folder.joinpath(*module.split("."))
        if any(other.startswith(f"{module}.") for other in modules):
            path /= "__init__"
        path.parent.mkdir(parents=True, exist_ok=True)
        for parent in path.relative_to(folder).parents[:-1]:
            (folder / parent / "__init__.py").touch()
        path.with_suffix(".py").write_text(source)


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_what_is_allowed_passes(verdicts: Mapping[Case, tuple[int, str]], case: Case) -> None:
    code, said = verdicts[case]
    assert code == 0, said
    assert f"{CONTRACTS[case.contract]} KEPT" in said, said


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_each_violation_is_caught(verdicts: Mapping[Case, tuple[int, str]], case: Case) -> None:
    code, said = verdicts[case]
    assert code == 1, said
    assert f"{CONTRACTS[case.contract]} BROKEN" in said, said


def test_no_contract_is_without_a_violation() -> None:
    assert {case.contract for case in BROKEN} == set(CONTRACTS)


def test_the_formula_contract_names_the_package_once_it_exists() -> None:
    # The linter refuses the name of a package that is not there, and `.**` leaves out the package's own `__init__`.
    contract = next(contract for contract in CONFIGURATION["contracts"] if contract["id"] == "formula-no-io")
    wanted = ["pyat.formula"] if (ROOT / "src/pyat/formula").is_dir() else ["pyat.formula.**"]
    assert contract["source_modules"] == wanted, "Name the package itself in the contract formula-no-io."
