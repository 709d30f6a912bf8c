"""From the text of a formula to its tree (formula reference, sections 1 and 2).

Operators by precedence, with stacks of our own: no formula is too deep for it. Cost: linear in the length of the text.
"""

import re
from typing import Final, NoReturn

from pyat.formula.errors import BadSyntax
from pyat.formula.tree import Call, Node, Number, Reference, Text

LENGTH_MAX: Final = 100_000
_ID: Final = re.compile(r"\{fld[0-9A-Za-z]{14}\}")
"""Characters of a formula."""

TOKEN: Final = re.compile(
    r"""(?P<space>\s+)"""
    r"""|(?P<number>[0-9]+(?:\.[0-9]+)?)"""
    r"""|(?P<name>[^\W\d]\w*)"""
    r"""|(?P<field>\{(?:[^}\\]|\\.)*+\})"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
    r"""|(?P<sign>!=|<=|>=|[+\-*/&=<>(),])""",
    re.DOTALL,
)
"""One token; `lastgroup` says which kind."""

_NEXT: Final = re.compile(
    r"""\s*+(?:([^\W\d]\w*+)|([0-9]++(?:\.[0-9]++)?)|(\{(?:[^}\\]|\\.)*+\})"""
    r"""|("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')|(!=|<=|>=|[+\-*/&=<>(),]))""",
    re.DOTALL,
)
"""As `TOKEN`, after the space before it; `lastindex` says which kind."""
_NAME, _NUMBER, _FIELD, _TEXT, _SIGN = range(1, 6)

PRECEDENCES: Final = {
    "=": 1,
    "!=": 1,
    "<": 1,
    "<=": 1,
    ">": 1,
    ">=": 1,
    "&": 2,
    "+": 3,
    "-": 3,
    "*": 4,
    "/": 4,
}
"""Of the operators between two operands, loosest first; all of them are left-associative."""
NEGATE: Final = "negate"
_UNARY: Final = 5
_OPEN: Final = 0

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TEXT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
_INSTEAD = (
    ("&&", "&& is not an operator; use AND()"),
    ("||", "|| is not an operator; use OR()"),
    ("<>", "<> is not an operator; use !="),
    ("==", "== is not an operator; use ="),
    ("!", "! is not an operator; use NOT()"),
    ("^", "^ is not an operator; use POWER()"),
    ("%", "% is not an operator; use MOD(), or divide by 100"),
    ("//", "Formulas have no comments"),
    ("/*", "Formulas have no comments"),
    (";", "Arguments are separated by commas"),
    ("“", 'Use straight quotes: "'),
    ("”", 'Use straight quotes: "'),
    ("‘", "Use straight quotes: '"),
    ("’", "Use straight quotes: '"),
    ('"', "This text is not closed"),
    ("'", "This text is not closed"),
    ("{", "This field name is not closed"),
    (".", "Numbers are written with digits on both sides of the point"),
)


def text_of(token: str) -> str:
    """A text literal without quotes and escapes."""
    inner = token[1:-1]
    if "\\" not in inner:
        return inner
    return _ESCAPE.sub(lambda found: _TEXT_ESCAPES.get(found[1], found[0]), inner)


def name_of(token: str) -> str:
    """A field name in braces without those and without escapes."""
    inner = token[1:-1]
    if "\\" not in inner:
        return inner
    return _ESCAPE.sub(lambda found: found[1] if found[1] in "}\\" else found[0], inner)


def parse(text: str) -> Node:
    """The tree of a formula. Raises BadSyntax.

    A field's id in braces counts as one character, so that a formula that is stored by ids is as long as it was by names.
    """
    if len(text) > LENGTH_MAX and len(_ID.sub("f", text)) > LENGTH_MAX:
        raise BadSyntax(f"A formula has at most {LENGTH_MAX:,} characters", LENGTH_MAX, len(text))
    if not text.strip():
        raise BadSyntax("The formula is empty", 0, len(text))
    return _Parser(text).parse()


class _Parser:
    """Two stacks: what was read, and what still waits for its last operand.

    An open operator is `(precedence, name, start)`. An open parenthesis has the precedence 0; that of a call has the
    function's name, and how many operands were there before its arguments.
    """

    __slots__ = ("_closed", "_operands", "_operators", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._operands: list[Node] = []
        self._operators: list[tuple[int, str, int, int, int]] = []
        self._closed = 0
        """Where the last operand ends, its parentheses included."""

    def parse(self) -> Node:
        """Read all of it."""
        text, operands, operators = self._text, self._operands, self._operators
        at, end = 0, len(text.rstrip())
        wants_operand, match = True, _NEXT.match
        while at < end:
            found = match(text, at)
            if found is None:
                self._fail_at(end - len(text[at:end].lstrip()))
            kind = found.lastindex
            assert kind is not None, "every alternative is a group"
            start, at = found.span(kind)
            if kind == _SIGN:
                sign = found[_SIGN]
                if sign == "(":
                    if not wants_operand:
                        raise BadSyntax("An operator is missing before (", start, at)
                    operators.append((_OPEN, "", start, len(operands), 0))
                elif sign == ")":
                    self._close(start, wants_operand=wants_operand)
                    wants_operand = False
                elif sign == ",":
                    if wants_operand:
                        raise BadSyntax("A value is missing before the comma", start, at)
                    self._reduce(1)
                    if not operators or not operators[-1][1]:
                        raise BadSyntax("A comma stands between the arguments of a function only", start, at)
                    wants_operand = True
                elif not wants_operand:
                    precedence = PRECEDENCES[sign]
                    self._reduce(precedence)
                    operators.append((precedence, sign, start, 0, 0))
                    wants_operand = True
                elif sign == "-":
                    operators.append((_UNARY, NEGATE, start, 0, 0))
                else:
                    self._fail_operator(start, at)
                continue
            if not wants_operand:
                raise BadSyntax(f"An operator is missing before {text[start:at][:50]}", start, at)
            if kind == _NAME:
                opening = self._opening(at)
                if opening:
                    operators.append((_OPEN, found[_NAME], start, len(operands), at))
                    at = opening
                    continue
                operands.append(Reference(found[_NAME], False, start, at))
            elif kind == _NUMBER:
                operands.append(Number(float(found[_NUMBER]), start, at))
            elif kind == _TEXT:
                operands.append(Text(text_of(found[_TEXT]), start, at))
            else:
                name = name_of(found[_FIELD])
                if not name.strip():
                    raise BadSyntax("The braces hold no field name", start, at)
                operands.append(Reference(name, True, start, at))
            self._closed = at
            wants_operand = False
        if wants_operand:
            raise BadSyntax(self._missing(), len(text), len(text))
        self._reduce(1)
        if operators:
            _, name, start, _, _ = operators[-1]
            raise BadSyntax(
                f"The parenthesis of {name.upper()} is not closed" if name else "This parenthesis is not closed",
                start,
                len(text),
            )
        return operands[0]

    def _missing(self) -> str:
        if self._operators and self._operators[-1][0] != _OPEN:
            sign = self._operators[-1][1]
            return f"A value is missing after {'-' if sign == NEGATE else sign}"
        return "The formula ends too early"

    def _opening(self, at: int) -> int:
        """Where the parenthesis of a call ends that may follow a name; 0 where none does."""
        text = self._text
        if text.startswith("(", at):
            return at + 1
        while at < len(text) and text[at].isspace():
            at += 1
        return at + 1 if text.startswith("(", at) else 0

    def _reduce(self, precedence: int) -> None:
        """Apply the open operators that bind at least as tightly."""
        operators, operands = self._operators, self._operands
        while operators and operators[-1][0] >= precedence:
            _, sign, start, _, _ = operators.pop()
            right = operands.pop()
            if sign == NEGATE:
                operands.append(Call(NEGATE, (right,), True, start, right.end, start + 1))
                continue
            left = operands.pop()
            operands.append(Call(sign, (left, right), True, left.start, right.end, start + len(sign)))

    def _close(self, start: int, *, wants_operand: bool) -> None:
        operators, operands = self._operators, self._operands
        if not wants_operand:
            self._reduce(1)
        if not operators:
            raise BadSyntax("This parenthesis closes nothing", start, start + 1)
        precedence, name, opened, before, name_end = operators[-1]
        if wants_operand and (precedence != _OPEN or not name or len(operands) > before):
            raise BadSyntax("A value is missing before )", start, start + 1)
        operators.pop()
        if name:
            arguments = tuple(operands[before:])
            del operands[before:]
            operands.append(Call(name, arguments, False, opened, start + 1, name_end))
        self._closed = start + 1

    def _fail_operator(self, start: int, end: int) -> NoReturn:
        before = self._text[:start].rstrip()
        if not before and self._text[start] == "=":
            raise BadSyntax("A formula does not begin with =", start, end)
        for sign, message in _INSTEAD:
            # Both halves may have been read as operators of one sign.
            if len(sign) == 2 and self._text.startswith(sign, start - 1):
                raise BadSyntax(message, start - 1, end)
        raise BadSyntax(f"A value is missing before {self._text[start:end]}", start, end)

    def _fail_at(self, at: int) -> NoReturn:
        for sign, message in _INSTEAD:
            if self._text.startswith(sign, at):
                raise BadSyntax(message, at, at + len(sign))
        raise BadSyntax(f"The character {self._text[at]} has no meaning here", at, at + 1)
