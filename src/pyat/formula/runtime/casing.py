"""Small and capital letters in PostgreSQL as Python has them: what PostgreSQL knows of Unicode depends on its version."""

import json
from collections.abc import Iterator
from typing import Final

from pyat.foundation.sql import literal

_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION pyat_formula.{name}(given text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pyat_formula.mapped({given}, {mapping}::jsonb);
END
$$;
"""
_SIGMAS: Final = """CASE
        WHEN strpos(given COLLATE "C", U&'\\03A3') > 0
            THEN pyat_formula.with_final_sigmas(given, {cased}, {ignored})
        ELSE given
    END"""

SOURCE: Final = _FUNCTION + _SIGMAS
"""What a script is made of, besides the tables that Python's version of Unicode says."""


def script() -> str:
    """Statements that make `pyat_formula.lower` and `pyat_formula.upper`. About 0.1 s."""
    every = list(_characters())
    lower = {one: one.lower() for one in every if not one.isascii() and one.lower() != one}
    upper = {one: one.upper() for one in every if not one.isascii() and one.upper() != one}
    # A sigma behind a letter with a case ends a word; what stands between does not count.
    cased = [one for one in every if _is_final(f"{one}Σ")]
    ignored = [one for one in every if _is_final(f"AΣ{one}") and not _is_final(f"AΣ{one}A")]
    sigmas = _SIGMAS.format(cased=literal("".join(cased)), ignored=literal("".join(ignored)))
    made = _function("lower", f'lower({sigmas} COLLATE "C")', lower)
    return made + _function("upper", 'upper(given COLLATE "C")', upper)


def _function(name: str, given: str, mapping: dict[str, str]) -> str:
    return _FUNCTION.format(name=name, given=given, mapping=literal(json.dumps(mapping, ensure_ascii=False)))


def _is_final(text: str) -> bool:
    return "ς" in text.lower()


def _characters() -> Iterator[str]:
    """All that may have a case, or stand within words: there are none in the planes between."""
    for first, last in ((0x01, 0xD7FF), (0xE000, 0x1FFFF), (0xE0000, 0xE0FFF)):
        yield from map(chr, range(first, last + 1))
