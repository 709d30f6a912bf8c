"""The names of fields in a formula's text, for ids and back; all else of the text stays as it was written."""

import re
from collections.abc import Callable, Mapping

from pyat.formula.parsing import parse
from pyat.formula.tree import Reference, postorder

_BARE = re.compile(r"[^\W\d]\w*")


def _rewritten(text: str, write: Callable[[Reference], str | None]) -> str:
    """The text with what `write` gives in the place of each reference; None leaves it."""
    found = [node for node in postorder(parse(text)) if isinstance(node, Reference)]
    parts, at = [], 0
    for node in sorted(found, key=lambda one: one.start):
        written = write(node)
        if written is not None:
            parts += [text[at : node.start], written]
            at = node.end
    return "".join([*parts, text[at:]])


def to_ids(text: str, find: Callable[[str], str | None]) -> str:
    """The formula with `{fld…}` for the fields that `find` knows by name or id. Raises BadSyntax."""

    def write(node: Reference) -> str | None:
        field_id = find(node.name)
        return None if field_id is None else f"{{{field_id}}}"

    return _rewritten(text, write)


def to_names(text: str, names: Mapping[str, str]) -> str:
    """The formula with names for the ids that `names` has; others stay. Raises BadSyntax."""

    def write(node: Reference) -> str | None:
        name = names.get(node.name)
        return None if name is None else written(name)

    return _rewritten(text, write)


def written(name: str) -> str:
    """A field's name as a formula refers to it: bare where it can be, else in braces."""
    if _BARE.fullmatch(name) and name.upper() not in ("TRUE", "FALSE", "VALUES"):
        return name
    escaped = name.replace("\\", "\\\\").replace("}", "\\}")
    return f"{{{escaped}}}"
