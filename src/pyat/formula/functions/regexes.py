"""Regular expressions (formula reference, section 15), by RE2: whatever the pattern, time is linear in the text."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pyat.formula.functions.base import Function, text
from pyat.formula.types import BOOLEAN, TEXT
from pyat.formula.values import ERROR, Value

PATTERN_LENGTH_MAX = 10_000
SEARCHED_LENGTH_MAX = 1_000_000
"""Characters of a text that a pattern is looked for in; ten times what a cell holds."""
REPLACEMENTS_MAX = 100_000
"""Matches that one call replaces, each in about 5 µs."""
_MEMORY_BYTES_MAX = 8_388_608
_LENGTH_MAX = 10_000_000
_GROUP = re.compile(r"\$(\$|[0-9])")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    """The pattern, or None where it is none or too large."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return None
    import re2  # a heavy library, and few formulas want it

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES_MAX
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None


class _Regex(Function):
    category = "regex"
    result = TEXT


class REGEX_MATCH(_Regex):
    """1 where a part of the text matches the pattern.

    >>> REGEX_MATCH("Hello World", "Hello.World")
    1
    >>> REGEX_MATCH("abc", "(")
    #ERROR!
    """

    parameters = (text("text"), text("pattern"))
    result = BOOLEAN

    @staticmethod
    def run(text: str, pattern: str) -> Value:
        """An error where the pattern is none."""
        compiled = _compiled(pattern)
        if compiled is None or len(text) > SEARCHED_LENGTH_MAX:
            return ERROR
        return float(compiled.search(text) is not None)


class REGEX_EXTRACT(_Regex):
    """The first part of the text that matches the pattern.

    >>> REGEX_EXTRACT("Hello World", "W.*")
    "World"
    >>> REGEX_EXTRACT("Hello", "x")
    #ERROR!
    """

    parameters = (text("text"), text("pattern"))

    @staticmethod
    def run(text: str, pattern: str) -> Value:
        """All of the match, whatever groups there are; an error where nothing matches."""
        compiled = _compiled(pattern)
        found = None if compiled is None or len(text) > SEARCHED_LENGTH_MAX else compiled.search(text)
        return ERROR if found is None else str(found[0])


class REGEX_REPLACE(_Regex):
    """The text with every part that matches the pattern replaced; `$1` to `$9` are its groups, `$$` is a dollar sign.

    >>> REGEX_REPLACE("Hello World", " W.*", "")
    "Hello"
    >>> REGEX_REPLACE("ab", "(a)(b)", "$2$1")
    "ba"
    """

    parameters = (text("text"), text("pattern"), text("replacement"))

    @staticmethod
    def run(text: str, pattern: str, replacement: str) -> Value:
        """Groups that the pattern does not have stay as they are written."""
        compiled = _compiled(pattern)
        if compiled is None or len(text) > SEARCHED_LENGTH_MAX:
            return ERROR
        parts: list[str] = []
        length = end = 0
        for found in compiled.finditer(text):
            made = text[end : found.start()] + _filled(replacement, found, compiled.groups)
            length += len(made)
            if length > _LENGTH_MAX or len(parts) == REPLACEMENTS_MAX:
                return ERROR
            parts.append(made)
            end = found.end()
        return "".join([*parts, text[end:]])


def _filled(replacement: str, found: Any, groups: int) -> str:
    def group(named: "re.Match[str]") -> str:
        if named[1] == "$":
            return "$"
        number = int(named[1])
        return (found[number] or "") if number and number <= groups else named[0]

    return _GROUP.sub(group, replacement)


FUNCTIONS: Sequence[type[Function]] = (REGEX_EXTRACT, REGEX_MATCH, REGEX_REPLACE)
