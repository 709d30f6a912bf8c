"""Makes the virtual environment of a checkout know where it is; run by its own Python with the checkout as argument.

The project itself is not installed but pointed at: a changed source file needs no new installation, and a moved checkout
needs two files written anew. The commands that packages brought along start with the address of the environment's
Python, so after a move their first lines are mended too.
"""

import re
import shlex
import sys
import sysconfig
from pathlib import Path

# What pip writes: a plain first line, or three lines of shell where the path is too long or has a space.
_LAUNCHER = re.compile(rb"\A#!(?:/bin/sh\n'''exec' [^\n]*\n' '''|[^\n]*python[^\n]*)\n")


def place(root: Path, site_packages: Path) -> None:
    """Writes the path file, the command `pyat` and the note of the place; mends commands that name another place."""
    venv = root / ".venv"
    (site_packages / "pyat.pth").write_text(f"{root / 'src'}\n", encoding="utf-8")
    python = shlex.quote(str(venv / "bin" / "python"))
    command = venv / "bin" / "pyat"
    command.write_text(f'#!/bin/sh\nPYTHONSAFEPATH=1 exec {python} -m pyat "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    note = venv / ".pyat-place"
    before = note.read_text(encoding="utf-8").strip() if note.exists() else ""
    if before not in ("", str(venv)):
        _mend(venv, before)
    note.write_text(f"{venv}\n", encoding="utf-8")


def _mend(venv: Path, before: str) -> None:
    launcher = f"#!/bin/sh\n'''exec' {shlex.quote(str(venv / 'bin' / 'python'))} \"$0\" \"$@\"\n' '''\n".encode()
    for script in (venv / "bin").iterdir():
        if script.is_symlink() or script.name == "pyat":
            continue
        content = script.read_bytes()
        if _LAUNCHER.match(content):
            script.write_bytes(_LAUNCHER.sub(lambda _: launcher, content, count=1))
        elif script.name.lower().startswith("activate"):
            script.write_bytes(content.replace(before.encode(), str(venv).encode()))


if __name__ == "__main__":
    place(Path(sys.argv[1]), Path(sysconfig.get_paths()["purelib"]))
