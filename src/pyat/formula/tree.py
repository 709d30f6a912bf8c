"""A formula as it was written: numbers, texts, references to fields, and calls. An operator is a call, too.

Nobody changes a node; they are not frozen because a frozen one takes three times as long to make.
Trees can be a hundred thousand levels deep, so no code walks them by calling itself: see `postorder`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True, eq=False)
class Number:
    """A literal. `start` and `end` are positions in the text, in characters, here and below."""

    value: float
    start: int
    end: int


@dataclass(slots=True, eq=False)
class Text:
    """A literal without its quotes and escapes."""

    value: str
    start: int
    end: int


@dataclass(slots=True, eq=False)
class Reference:
    """A field by name or id, without braces and escapes."""

    name: str
    is_braced: bool
    start: int
    end: int


@dataclass(slots=True, eq=False)
class Call:
    """A function by its name as written, or an operator: `+ - * / & = != < <= > >=`, and `negate` for the unary minus."""

    name: str
    arguments: "tuple[Node, ...]"
    is_operator: bool
    start: int
    end: int
    name_end: int = 0
    """Where the function's name ends, to point at it."""


Node: TypeAlias = Number | Text | Reference | Call


def postorder(root: Node) -> Iterator[Node]:
    """Every node after its arguments, from left to right."""
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, is_open = stack.pop()
        if is_open or not isinstance(node, Call) or not node.arguments:
            yield node
            continue
        stack.append((node, True))
        stack += [(argument, False) for argument in reversed(node.arguments)]
