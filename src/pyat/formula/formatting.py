"""A formula laid out for reading: one line where it fits, else an argument a line, with the fewest parentheses."""

from dataclasses import dataclass
from typing import Final, Literal

from pyat.formula.parsing import LENGTH_MAX, NEGATE, PRECEDENCES, parse
from pyat.formula.tree import Call, Node

WIDTH: Final = 80
INDENT_MAX: Final = 40
"""Deeper levels are not indented further."""
_UNARY: Final = max(PRECEDENCES.values()) + 1
_LEAF: Final = _UNARY + 1

_Mark = Literal["open", "close", "line", "last"]


@dataclass(slots=True)
class _Piece:
    """Some text, or a mark: where a group begins or ends, and where its lines may break; `last` goes back one level."""

    text: str
    mark: _Mark | None = None
    width: int = 0
    """Of a group on one line, with what follows it up to the next break."""


def formatted(text: str, *, width: int = WIDTH) -> str:
    """The formula in its layout; it parses to the same tree. Raises BadSyntax."""
    pieces = _pieces(text, parse(text))
    made = _laid_out(pieces, width)
    # Thousands of levels take more space to the left than a formula may have.
    return made if len(made) <= LENGTH_MAX else _laid_out(pieces, LENGTH_MAX)


def _precedence(node: Node) -> int:
    if not isinstance(node, Call) or not node.is_operator:
        return _LEAF
    return _UNARY if node.name == NEGATE else PRECEDENCES[node.name]


def _pieces(text: str, root: Node) -> list[_Piece]:
    made: list[_Piece] = []
    work: list[Node | _Piece] = [root]
    while work:
        item = work.pop()
        if isinstance(item, _Piece):
            made.append(item)
        elif not isinstance(item, Call):
            made.append(_Piece(text[item.start : item.end]))
        elif item.is_operator:
            work += reversed(_operator(item))
        else:
            work += reversed(_call(item))
    return made


def _call(node: Call) -> list[Node | _Piece]:
    found: list[Node | _Piece] = [_Piece(f"{node.name.upper()}(")]
    if node.arguments:
        found += [_Piece("", "open"), _Piece("", "line")]
        for number, argument in enumerate(node.arguments):
            found += [_Piece(","), _Piece(" ", "line")] if number else []
            found.append(argument)
        found += [_Piece("", "last"), _Piece("", "close")]
    return [*found, _Piece(")")]


def _operator(node: Call) -> list[Node | _Piece]:
    own = _precedence(node)
    if node.name == NEGATE:
        return [_Piece("-"), *_operand(node.arguments[0], own)]
    left, right = node.arguments
    # Operators group from the left, so that a right side that binds no tighter stands in parentheses.
    return [*_operand(left, own), _Piece(f" {node.name} "), *_operand(right, own + 1)]


def _operand(node: Node, least: int) -> list[Node | _Piece]:
    return [node] if _precedence(node) >= least else [_Piece("("), node, _Piece(")")]


def _laid_out(pieces: list[_Piece], width: int) -> str:
    _measure(pieces)
    parts: list[str] = []
    broken: list[bool] = []
    column = depth = 0
    for piece in pieces:
        if piece.mark == "open":
            broken.append(column + piece.width > width)
            depth += broken[-1]
        elif piece.mark == "close":
            depth -= broken.pop()
        elif piece.mark is not None and broken[-1]:
            column = 2 * min(depth - (piece.mark == "last"), INDENT_MAX)
            parts.append("\n" + " " * column)
        else:
            parts.append(piece.text)
            column += len(piece.text)
    return "".join(parts)


def _measure(pieces: list[_Piece]) -> None:
    """Give every group its width on one line."""
    ends: list[int] = []
    after = 0
    for piece in reversed(pieces):
        if piece.mark == "close":
            ends.append(after)
        elif piece.mark == "open":
            piece.width = after - ends.pop()
        else:
            after += len(piece.text)
