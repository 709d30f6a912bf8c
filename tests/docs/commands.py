"""Commands that the documents show, found in fenced shell code and in code within lines."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.markdown import Document

_PROGRAMS = {
    "pyat": "pyat",
    ".venv/bin/pyat": "pyat",
    "./start-all-services.sh": "start",
    "./test-all-services.sh": "test",
    "just": "just",
}
_SHELL = ("sh", "bash", "shell", "console")


@dataclass(frozen=True, slots=True)
class Shown:
    """A command as a document shows it: `program` is pyat, start, test or just."""

    document: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {self.program} {shlex.join(self.words)}"


def shown(document: Document) -> Iterator[Shown]:
    """Every command in a document. A fence of shell code may hold no program but ours, or nothing would check it."""
    for fence in document.fences:
        if fence.info in _SHELL:
            for line in fence.text.replace("\\\n", " ").splitlines():
                program, *words = shlex.split(line, comments=True) or [""]
                if program:
                    assert program in _PROGRAMS, f"{document.name} shows {program}, which no test runs"
                    yield Shown(document.name, _PROGRAMS[program], tuple(words))
    for span in document.spans:
        first, _, rest = span.partition(" ")
        if first in _PROGRAMS and (rest or first.startswith("./")):
            # Square brackets and three points, as in `just lock [--upgrade]`, are for readers.
            yield Shown(document.name, _PROGRAMS[first], tuple(re.sub(r"\[.*?\]", "", rest).replace("…", "").split()))
