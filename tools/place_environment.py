"""Makes the virtual environment of a checkout know where it is; run by its own Python with the checkout as argument.

The project itself is not installed but pointed at: a changed source file needs no new installation, and a moved checkout
needs two files written anew. The commands that packages brought along start with the address of the environment's
Python, so after a move their first lines are mended too.
"""

import re
import shlex
import sys
import sysconfig
import venv
from pathlib import Path

# What pip writes: a plain first line, or three lines of shell where the path is too long or has a space.
_LAUNCHER = re.compile(rb"\A#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*python[^\n]*)\n")


def place(root: Path, site_packages: Path) -> None:
    """Writes the path file, the command `pyat` and the note of the place; mends commands that name another place."""
    environment = root / ".venv"
    (site_packages / "pyat.pth").write_text(f"{root / 'src'}\n", encoding="utf-8")
    python = shlex.quote(str(environment / "bin" / "python"))
    command = environment / "bin" / "pyat"
    command.write_text(f'#!/bin/sh\nexport PYTHONSAFEPATH=1\nexec {python} -m pyat "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    note = environment / ".pyat-place"
    if note.exists() and note.read_text(encoding="utf-8") != f"{environment}\n":
        _mend(environment)
    note.write_text(f"{environment}\n", encoding="utf-8")


def _mend(environment: Path) -> None:
    # Over an environment that exists, this writes only what names its place: the settings and the scripts to activate it.
    venv.EnvBuilder(symlinks=True).create(environment)
    python = shlex.quote(str(environment / "bin" / "python"))
    launcher = f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n".encode()
    for script in (environment / "bin").iterdir():
        if not script.is_symlink() and script.name != "pyat":
            content = script.read_bytes()
            if _LAUNCHER.match(content):
                script.write_bytes(_LAUNCHER.sub(lambda _: launcher, content, count=1))


if __name__ == "__main__":
    place(Path(sys.argv[1]), Path(sysconfig.get_paths()["purelib"]))
