"""What an editor offers while a formula is written: functions and fields at a cursor, and the call it stands in.

The text before the cursor need not be a formula yet; what comes after it does not count.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pyat.formula.functions import FUNCTIONS
from pyat.formula.helping import every
from pyat.formula.parsing import TOKEN, name_of
from pyat.formula.translating import written

ITEMS_MAX: Final = 50
_OPEN_FIELD: Final = re.compile(r"\{((?:[^}\\]|\\.)*+)\\?\Z", re.DOTALL)
_OPEN_TEXT: Final = re.compile(r"""(?:"(?:[^"\\]|\\.)*+|'(?:[^'\\]|\\.)*+)\\?\Z""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Item:
    """Something to put in the place between `start` and `end` of the completion."""

    kind: Literal["function", "field"]
    label: str
    insert: str
    detail: str


@dataclass(frozen=True, slots=True)
class CallAt:
    """The innermost call around the cursor, and which of its arguments is being written, from 0."""

    name: str
    signature: str
    argument: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What fits at a cursor, best first. Positions count characters."""

    start: int
    end: int
    items: tuple[Item, ...]
    call: CallAt | None


def completed(text: str, cursor: int, fields: Sequence[tuple[str, str]]) -> Completion:
    """`fields` are names of the table's fields with a word on each. A cursor beyond the text is at its end."""
    cursor = max(0, min(cursor, len(text)))
    before = text[:cursor]
    at, start = 0, cursor
    calls: list[tuple[str, int]] = []
    name = ""
    wants_operand = True
    while at < len(before):
        found = TOKEN.match(before, at)
        if found is None:
            break
        piece, kind, began, at = found[0], found.lastgroup, at, found.end()
        if kind == "space":
            continue
        if piece == "(":
            calls.append((name.upper(), 0))
        elif piece == ")" and calls:
            calls.pop()
        elif piece == "," and calls:
            calls[-1] = calls[-1][0], calls[-1][1] + 1
        name = piece if kind == "name" else ""
        wants_operand = kind == "sign" and piece != ")"
        if kind == "name" and at == cursor:
            start = began
    rest = before[at:]
    end = cursor
    around = next(((function, argument) for function, argument in reversed(calls) if function), None)
    call = None
    if around is not None and around[0] in FUNCTIONS:
        call = CallAt(around[0], every()[around[0]].signature, around[1])
    is_braced = _OPEN_FIELD.match(rest)
    if is_braced is not None:
        start = at
        end = cursor + (1 if text.startswith("}", cursor) else 0)
        wanted = name_of(f"{{{is_braced[1]}}}")
        return Completion(start, end, tuple(_fields(wanted, fields, is_braced=True)[:ITEMS_MAX]), call)
    if _OPEN_TEXT.match(rest) or (start == cursor and not wants_operand):
        return Completion(cursor, cursor, (), call)
    wanted = before[start:]
    items = [*_fields(wanted, fields, is_braced=False), *_functions(wanted)]
    items.sort(key=lambda item: not item.label.casefold().startswith(wanted.casefold()))
    return Completion(start, end, tuple(items[:ITEMS_MAX]), call)


def _fields(wanted: str, fields: Sequence[tuple[str, str]], *, is_braced: bool) -> list[Item]:
    folded = wanted.strip().casefold()
    found = [(name, detail) for name, detail in fields if folded in name.casefold()]
    found.sort(key=lambda one: not one[0].casefold().startswith(folded))
    return [Item("field", name, _braced(name) if is_braced else written(name), detail) for name, detail in found]


def _braced(name: str) -> str:
    made = written(name)
    return made if made.startswith("{") else f"{{{made}}}"


def _functions(wanted: str) -> list[Item]:
    return [
        Item("function", name, f"{name}(", one.signature)
        for name, one in every().items()
        if not one.is_operator and name.startswith(wanted.upper())
    ]
