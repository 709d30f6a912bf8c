"""The functions that expressions of `pyat.formula.sql` call: the schema `pyat_formula` of PostgreSQL.

They are pure. Nothing but expressions of the version that wrote them depends on them.
"""

import hashlib
import unicodedata
from functools import cache
from importlib import resources
from typing import Final

from pyat.formula.runtime import casing

_FILES: Final = ("values.sql", "numbers.sql", "texts.sql", "dates.sql")
_LOCK: Final = 5_713_008_662_041
"""Of PostgreSQL's advisory locks: two processes that install at once do so one after the other."""


@cache
def script() -> str:
    """Statements that install all of it, for one transaction; they may run again and again."""
    parts = [f"SELECT pg_advisory_xact_lock({_LOCK});", "CREATE SCHEMA IF NOT EXISTS pyat_formula;"]
    return "\n".join([*parts, *_files(), casing.script()])


def _files() -> list[str]:
    folder = resources.files(__name__)
    return [folder.joinpath(file).read_text("utf-8") for file in _FILES if folder.joinpath(file).is_file()]


@cache
def version() -> str:
    """What tells one script from another: 16 hexadecimal digits."""
    # What `casing` makes depends on the Unicode that Python knows; making it would take too long at every start.
    parts = [*_files(), casing.SOURCE, unicodedata.unidata_version]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


VERSION: Final = version()
