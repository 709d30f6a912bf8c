"""Why a formula gives what it gives: the value of each of its parts, for one record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyat.formula import evaluation
from pyat.formula.checking import Constant, Formula, Input, Typed
from pyat.formula.evaluation import UNSEEN
from pyat.formula.tree import Call
from pyat.formula.types import Type
from pyat.formula.values import Value

PARTS_MAX: Final = 1_000
"""Parts that are explained, from the whole formula down."""
TEXT_MAX: Final = 1_000
"""Characters that are shown of a part, and of its value."""
ITEMS_MAX: Final = 100
"""Items that are shown of a list."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a formula, with the places of its own parts in the explanation."""

    text: str
    """The first `TEXT_MAX` characters of what stands between `start` and `end`."""
    start: int
    end: int
    name: str | None
    """Of the function or operator; None of a field or a literal."""
    type: Type
    value: Value
    """Cut to `TEXT_MAX` and `ITEMS_MAX`."""
    is_cut: bool
    """Whether the value is longer."""
    was_seen: bool
    """False for a branch that was not taken, which has no value."""
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`parts` begin with the whole formula; whoever has parts comes before them. No formula is too deep for a list."""

    parts: tuple[Part, ...]
    is_cut: bool
    """Whether some are left out, because there are more than `PARTS_MAX`."""


def explained(formula: Formula, values: Sequence[Value], *, ends_s: float = math.inf) -> Explanation:
    """The parts of a formula with their values; `values` are those of its inputs, in order. Raises EvaluationTooLong."""
    traced = evaluation.compile(formula).trace(values, ends_s=ends_s)
    value_of = {id(node): value for node, value in zip(formula.nodes, traced, strict=True)}
    shown: list[Typed] = [formula.root]
    places: list[tuple[int, ...]] = []
    at = 0
    is_cut = False
    while at < len(shown):
        own = _shown_parts(shown[at])
        if len(shown) + len(own) > PARTS_MAX:
            is_cut, own = True, ()
        places.append(tuple(range(len(shown), len(shown) + len(own))))
        shown += own
        at += 1
    made = []
    for node, parts in zip(shown, places, strict=True):
        value = value_of.get(id(node), UNSEEN)
        tree = node.node
        short, is_value_cut = (None, False) if value is UNSEEN else _shortened(value)
        made.append(
            Part(
                text=formula.text[tree.start : min(tree.end, tree.start + TEXT_MAX)],
                start=tree.start,
                end=tree.end,
                name=tree.name if isinstance(tree, Call) else None,
                type=node.type,
                value=short,
                is_cut=is_value_cut,
                was_seen=value is not UNSEEN,
                parts=parts,
            )
        )
    return Explanation(tuple(made), is_cut)


def _shortened(value: Value) -> tuple[Value, bool]:
    """A value within the bounds, and whether some of it is left out; the texts of a list share theirs."""
    if type(value) is str:
        return value[:TEXT_MAX], len(value) > TEXT_MAX
    if type(value) is not tuple:
        return value, False
    left = TEXT_MAX
    found: list[Value] = []
    for item in value[:ITEMS_MAX]:
        if type(item) is str:
            if len(item) > left:
                return tuple(found), True
            left -= len(item)
        found.append(item)
    return tuple(found), len(value) > ITEMS_MAX


def _shown_parts(node: Typed) -> tuple[Typed, ...]:
    if isinstance(node.source, Input | Constant):
        return ()
    # What a function is given beside its written arguments has the function's own place in the text.
    return tuple(argument for argument in node.arguments if argument.node is not node.node)
