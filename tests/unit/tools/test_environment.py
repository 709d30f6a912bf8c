"""The set-up scripts: which Python they take, what they say where there is none, and a checkout that was moved."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = ("start-all-services.sh", "test-all-services.sh", "tools/environment.sh", "tools/lock.sh", ".ci/run")
SHELLS = [path for path in map(shutil.which, ("sh", "bash")) if path]


def shell(words: str, *, path: Path) -> "subprocess.CompletedProcess[str]":
    """Runs words in a shell that has read environment.sh and knows only the commands in `path`."""
    return subprocess.run(
        [SHELLS[0], "-euc", f'. "$1/tools/environment.sh"; {words}', "sh", ROOT],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def add_python(folder: Path, name: str, *, version: str, has_venv: bool = True) -> None:
    """A command that answers the two questions of the set-up as a Python of that version on Debian does."""
    is_new = tuple(map(int, version.split("."))) >= (3, 11)
    command = folder / name
    command.write_text(
        f"#!{SHELLS[0]}\n"
        'case "$*" in\n'
        f"*version_info*) exit {0 if is_new else 1} ;;\n"
        f"*ensurepip*) exit {0 if has_venv else 1} ;;\n"
        f"--version) echo Python {version} ;;\n"
        "esac\n"
    )
    command.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("interpreter", SHELLS, ids=os.path.basename)
def test_the_scripts_are_valid_in_every_shell(script: str, interpreter: str) -> None:
    subprocess.run([interpreter, "-n", ROOT / script], check=True, timeout=30)
    is_sourced = script == "tools/environment.sh"
    assert os.access(ROOT / script, os.X_OK) is not is_sourced


def test_the_first_python_that_will_do_is_taken(tmp_path: Path) -> None:
    (tmp_path / "python3.13").write_text(f"#!{SHELLS[0]}\necho no such version >&2\nexit 127\n")
    (tmp_path / "python3.13").chmod(0o755)
    add_python(tmp_path, "python3.12", version="3.12.4", has_venv=False)
    add_python(tmp_path, "python3", version="3.11.2")
    said = shell("find_python", path=tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (0, "python3\n", "")


def test_a_python_that_is_too_old_is_not_taken(tmp_path: Path) -> None:
    add_python(tmp_path, "python3", version="3.9.6")
    said = shell("find_python", path=tmp_path)
    assert said.returncode == 1
    assert "needs Python 3.11 or newer" in said.stderr


def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    add_python(tmp_path, "python3", version="3.11.2", has_venv=False)
    said = shell("find_python", path=tmp_path)
    assert said.returncode == 1
    assert "Python 3.11.2 cannot make virtual environments here" in said.stderr
    assert "apt install python3-venv" in said.stderr


def test_a_moved_checkout_works_again(tmp_path: Path) -> None:
    before = tmp_path / "before"
    venv.create(before / ".venv", symlinks=True)
    package = before / "src" / "pyat"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import random, sys\nprint(random.randint(1, 1), *sys.argv[1:])\n")
    tool = before / ".venv/bin/tool"
    tool.write_text(f"#!{before}/.venv/bin/python\nimport sys\nprint(*sys.argv[1:])\n")
    tool.chmod(0o755)
    # The folder one happens to stand in must not lend its files to Python.
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    (cwd / "random.py").write_text("raise SystemExit('the wrong random')\n")
    place(before)
    assert run(before / ".venv/bin/pyat", "up", "a b", cwd=cwd) == "1 up a b\n"

    # A space in the name is what a plain first line cannot hold; the second move finds what the first one wrote.
    for after in (tmp_path / "after it", tmp_path / "again"):
        before.rename(after)
        before = after
        place(after)
        assert run(after / ".venv/bin/pyat", "up", "a b", cwd=cwd) == "1 up a b\n"
        assert run(after / ".venv/bin/tool", "a b", cwd=cwd) == "a b\n"
        activate = '. "$1/.venv/bin/activate" && printf %s "$VIRTUAL_ENV"'
        shown = run(SHELLS[-1], "-c", activate, "sh", str(after), cwd=cwd)
        assert shown == str(after / ".venv")


def place(root: Path) -> None:
    """What prepare_environment does once there is an environment."""
    subprocess.run([root / ".venv/bin/python", "-I", ROOT / "tools/place_environment.py", root], check=True, timeout=30)


def run(command: Path | str, *words: str, cwd: Path) -> str:
    """What a command prints."""
    return subprocess.run([command, *words], cwd=cwd, capture_output=True, text=True, check=True, timeout=30).stdout
