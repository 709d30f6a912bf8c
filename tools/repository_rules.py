"""Rules about files that no other checker knows. Each gives sentences: the file, what is wrong, and what to do.

`python tools/repository_rules.py` prints them; tests/unit/tools shows that each rule catches what it is for.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The services of the platform; a folder of another name has no place in the catalogue.
SERVICES = frozenset(
    "api_gateway auth user tenant workspace permission webhook notification file web_bff mobile_bff llm_orchestrator "
    "mcp_server airtable_gateway schema formula_engine embedding semantic_search chat workflow_engine analytics "
    "audit".split()
)
# Python modules beside these are caught by the import contract `service-layers`.
_SERVICE_FILES = re.compile(
    r"(contract|settings|store|service|routes|worker|app|__init__)\.py|queries\.sql|(service|routes|store|worker)/\w+\.py"
    r"|migrations/(__init__\.py|\d{4}_[a-z0-9_]+\.sql)"
)
# What .gitignore says, for a tree that git does not know.
_IGNORED = re.compile(r"\.git|\.venv|\.cache|\.\w+_cache|\.hypothesis|__pycache__|node_modules|dist|.+\.egg-info")

# A home folder or a work folder at the start of a path: true on one machine only.
_MACHINE_PATH = re.compile(r"(?<![\w.~})$-])/(?:home/\w+|Users/\w+|root|work)/[\w.]")
# Where packages come from is the business of the machine that installs them.
_REGISTRY = re.compile(
    r"(?:pypi\.(?:org|python)|pythonhosted\.(?:org)|registry\.(?:npmjs|yarnpkg)\.|--(?:extra-)?index[-]url|--find[-]links)"
)
_REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def files(root: Path) -> list[Path]:
    """The files of the project below `root`: those git knows or would add, or all of a tree without git."""
    git = shutil.which("git")
    command = [git or "git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False) if git else None
    if listed is not None and listed.returncode == 0:
        found = (root / name for name in listed.stdout.split("\0") if name)
    else:
        found = (path for path in root.rglob("*") if not any(map(_IGNORED.fullmatch, path.relative_to(root).parts)))
    return sorted(path for path in found if path.is_file())


def addresses(root: Path, paths: Iterable[Path]) -> Iterator[str]:
    """No path of one machine and no address of a package registry in any text."""
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, start=1):
            where = f"{path.relative_to(root)}:{number}"
            if found := _MACHINE_PATH.search(line):
                yield f"{where} names {found.group()}…, a path of one machine: make it relative or a setting."
            if found := _REGISTRY.search(line):
                yield f"{where} names {found.group()}, where packages come from: leave that to the machine."


def locks(root: Path) -> Iterator[str]:
    """Lock files: every package with hashes, no address, all direct dependencies, dev a superset of runtime."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        "runtime": set(map(_name, project["project"]["dependencies"])),
        "dev": set(map(_name, [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]])),
    }
    versions: dict[str, set[tuple[str, str]]] = {}
    for name, direct in wanted.items():
        where = f"requirements/{name}.lock"
        text = (root / where).read_text(encoding="utf-8")
        if "://" in text or " @ " in text:
            yield f"{where} carries an address: make it with tools/lock.sh."
        for entry in re.split(r"\n(?=\S)", text.strip()):
            if not _REQUIREMENT.match(entry) or "--hash=sha256:" not in entry:
                yield f"{where} has {entry.splitlines()[0]!r} without version and hashes: make it with tools/lock.sh."
        versions[name] = set(_REQUIREMENT.findall(text))
        missing = direct - {package for package, _ in versions[name]}
        if missing:
            yield f"{where} lacks {', '.join(sorted(missing))}: run tools/lock.sh."
    if apart := versions["runtime"] - versions["dev"]:
        differing = ", ".join(f"{package}=={version}" for package, version in sorted(apart))
        yield f"requirements/dev.lock lacks what runtime.lock has ({differing}): run tools/lock.sh."


def npm_locks(root: Path, paths: Iterable[Path]) -> Iterator[str]:
    """npm lock files: every package with its hash, none with the address it came from."""
    for path in paths:
        if path.name != "package-lock.json":
            continue
        for name, package in json.loads(path.read_text(encoding="utf-8"))["packages"].items():
            if name and ("resolved" in package or "integrity" not in package):
                yield f"{path.relative_to(root)}: {name} has an address or no hash; see the .npmrc beside it."


def service_files(root: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Services have the names of the catalogue, and inside the names that say what a file is for."""
    services = root / "src/pyat/services"
    for path in paths:
        if not path.is_relative_to(services) or path.parent == services:
            continue
        service, _, name = path.relative_to(services).as_posix().partition("/")
        if service not in SERVICES:
            yield f"{path.relative_to(root)}: there is no service {service!r} in the design."
        elif not _SERVICE_FILES.fullmatch(name):
            yield f"{path.relative_to(root)}: {name} is not a file a service may have; CONTRIBUTING.md lists those."


def versions(root: Path) -> Iterator[str]:
    """The version in pyproject.toml is the one the program names."""
    told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if f'\n__version__ = "{told}"\n' not in "\n" + (root / "src/pyat/__init__.py").read_text(encoding="utf-8"):
        yield f"src/pyat/__init__.py does not name version {told} of pyproject.toml: make them equal."


def problems(root: Path) -> list[str]:
    """Everything that breaks a rule in this checkout."""
    found = files(root)
    return [
        *addresses(root, found),
        *locks(root),
        *npm_locks(root, found),
        *service_files(root, found),
        *versions(root),
    ]


def _name(requirement: str) -> str:
    """The normalised name of a requirement: `Uvicorn[standard]>=1` is `uvicorn`."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit("\n".join(problems(ROOT)) or 0)
