"""From a formula as written to one that can be evaluated: names resolved, arguments counted, every type known.

Nothing of it depends on a record. A checked formula names its fields by id, so renames do not touch it.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyat.formula import types
from pyat.formula.errors import FormulaProblem, UnknownFields, UnknownFunction, WrongArguments
from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.functions.base import Function
from pyat.formula.functions.operators import IN_ROLLUPS
from pyat.formula.parsing import parse
from pyat.formula.tree import Call, Node, Number, Reference, Text, postorder
from pyat.formula.types import Type
from pyat.formula.values import Value

NOW: Final = "NOW"
VALUES: Final = "values"


@dataclass(frozen=True, slots=True)
class Known:
    """A field that a formula may name."""

    field_id: str
    name: str
    type: Type
    is_computed: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names of a formula mean. `values` is the type of a rollup's values; without it `values` is a field."""

    find: Callable[[str], Known | None]
    """By exact name, else by id."""
    names: Callable[[], Sequence[str]] = tuple
    """Every name, for suggestions."""
    values: Type | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a record gives: `key` is a field's id, RECORD_ID, CREATED_TIME, LAST_MODIFIED_TIME, NOW or values.

    `field_ids` are the fields that LAST_MODIFIED_TIME watches; none means all that are not computed.
    """

    key: str
    type: Type
    field_ids: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Constant:
    """A literal."""

    value: Value
    type: Type


@dataclass(slots=True, eq=False)
class Typed:
    """A node of a checked formula, which nobody changes. `source` says what it is: an input, a constant, or a function of `arguments`."""

    node: Node
    source: "Input | Constant | type[Function]"
    arguments: "tuple[Typed, ...]"
    type: Type
    height: int
    """Of its tree: 1 for a leaf."""


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A checked formula."""

    text: str
    root: Typed
    nodes: tuple[Typed, ...]
    """Every node, each after its arguments."""
    inputs: tuple[Input, ...]
    """What it needs of a record, each once, in order of appearance."""

    @property
    def type(self) -> Type:
        """Of its value."""
        return self.root.type

    @property
    def field_ids(self) -> tuple[str, ...]:
        """The fields whose cells it needs."""
        return tuple(one.key for one in self.inputs if one.key.startswith("fld"))

    @property
    def is_volatile(self) -> bool:
        """Whether its value changes with time alone."""
        return any(one.key == NOW for one in self.inputs)


def check(text: str, scope: Scope) -> Formula:
    """Raises FormulaProblem: BadSyntax, UnknownFunction, UnknownFields (all of them in one), WrongArguments."""
    return checked(text, parse(text), scope)


def checked(text: str, root: Node, scope: Scope) -> Formula:
    """As `check`, for a tree that was parsed before."""
    checker = _Checker(scope)
    made = checker.check(root)
    return Formula(text, made, tuple(checker.nodes), tuple(checker.inputs.values()))


@dataclass(slots=True)
class _Checker:
    scope: Scope
    nodes: list[Typed] = field(default_factory=list)
    inputs: dict[tuple[str, tuple[str, ...]], Input] = field(default_factory=dict)
    unknown: dict[str, Reference] = field(default_factory=dict)
    problem: FormulaProblem | None = None

    def check(self, root: Node) -> Typed:
        order = list(postorder(root))
        about_fields = [node for node in order if isinstance(node, Call) and node.name.upper() in _ABOUT_FIELDS]
        named = {id(argument) for node in about_fields if not node.is_operator for argument in node.arguments}
        done: list[Typed] = []
        for node in order:
            if isinstance(node, Call):
                count = len(node.arguments)
                arguments = tuple(done[len(done) - count :])
                del done[len(done) - count :]
                done.append(self._call(node, arguments))
            elif id(node) in named:
                # The field itself is wanted here, not its cell.
                done.append(Typed(node, Constant(None, types.BLANK), (), types.BLANK, 1))
            else:
                done.append(self._leaf(node))
        # The first fault counts; but all unknown fields are told together.
        if self.problem is not None:
            raise self.problem
        if self.unknown:
            first = next(iter(self.unknown.values()))
            is_function = not first.is_braced and first.name.upper() in FUNCTIONS
            near = f"{first.name.upper()}()" if is_function else _near(first.name, self.scope.names())
            raise UnknownFields(tuple(self.unknown), first.start, first.end, suggestion=near)
        return done[0]

    def _keep(self, made: Typed) -> Typed:
        self.nodes.append(made)
        return made

    def _input(self, node: Node, key: str, kind: Type, field_ids: tuple[str, ...] = ()) -> Typed:
        wanted = self.inputs.get((key, field_ids))
        if wanted is None:
            wanted = self.inputs[key, field_ids] = Input(key, kind, field_ids)
        return self._keep(Typed(node, wanted, (), kind, 1))

    def _leaf(self, node: Node) -> Typed:
        if isinstance(node, Number):
            return self._keep(Typed(node, Constant(node.value, types.NUMBER), (), types.NUMBER, 1))
        if isinstance(node, Text):
            return self._keep(Typed(node, Constant(node.value, types.TEXT), (), types.TEXT, 1))
        assert isinstance(node, Reference), "a leaf is a number, a text or a reference"
        if self.scope.values is not None and not node.is_braced and node.name == VALUES:
            return self._input(node, VALUES, self.scope.values)
        found = self.scope.find(node.name)
        if found is not None:
            return self._input(node, found.field_id, found.type)
        if not node.is_braced and node.name.upper() in ("TRUE", "FALSE"):
            return self._call(Call(node.name, (), False, node.start, node.end, node.end), ())
        self.unknown.setdefault(node.name, node)
        return _nothing(node)

    def _call(self, node: Call, arguments: tuple[Typed, ...]) -> Typed:
        function = _function(node)
        if function is None:
            self._fail(
                UnknownFunction(
                    f"Unknown function {node.name.upper()}",
                    node.start,
                    node.name_end,
                    suggestion=_near(node.name.upper(), tuple(FUNCTIONS)),
                )
            )
            return _nothing(node)
        least, most = _ARITIES[function]
        count = len(arguments)
        if count < least or (most is not None and count > most):
            self._fail(WrongArguments(_count_problem(function, count), node.start, node.end))
            return _nothing(node)
        if function.is_input:
            return self._input(node, function.__name__, function.result, self._field_ids(function, arguments))
        given = arguments
        if function.inputs:
            given += tuple(self._input(node, key, types.DATE) for key in function.inputs)
        height = 1
        for argument in given:
            if argument.height >= height:
                height = argument.height + 1
        kinds = [argument.type for argument in arguments]
        if self.scope.values is not None and sum(kind.is_array for kind in kinds) == 1:
            function = IN_ROLLUPS.get(function, function)
        return self._keep(Typed(node, function.variant(kinds), given, function.result_of(kinds), height))

    def _field_ids(self, function: type[Function], arguments: tuple[Typed, ...]) -> tuple[str, ...]:
        """Of the fields that are named in the call of a function about fields."""
        found: dict[str, None] = {}
        for node in (argument.node for argument in arguments):
            known = self.scope.find(node.name) if isinstance(node, Reference) else None
            if known is not None and not known.is_computed:
                found.setdefault(known.field_id)
            elif known is None and isinstance(node, Reference):
                self.unknown.setdefault(node.name, node)
            else:
                problem = "takes no computed fields" if known is not None else "takes fields only"
                self._fail(WrongArguments(f"{function.__name__} {problem}", node.start, node.end))
        return tuple(found)

    def _fail(self, problem: FormulaProblem) -> None:
        self.problem = self.problem or problem


_ABOUT_FIELDS: Final = frozenset(
    name
    for name, function in FUNCTIONS.items()
    if any(parameter.kind == "reference" for parameter in function.parameters)
)
"""Functions whose arguments are fields themselves."""
_ARITIES: Final = {function: function.arity() for function in (*FUNCTIONS.values(), *OPERATORS.values())}


def _function(node: Call) -> type[Function] | None:
    return OPERATORS.get(node.name) if node.is_operator else FUNCTIONS.get(node.name.upper())


def _nothing(node: Node) -> Typed:
    """Instead of what has a fault."""
    return Typed(node, Constant(None, types.BLANK), (), types.BLANK, 1)


def _near(name: str, names: Sequence[str]) -> str | None:
    folded = {other.casefold(): other for other in names}
    written = name.casefold()
    longer = [other for other in folded if len(written) > 3 and other.startswith(written)]
    found = sorted(longer, key=len) or difflib.get_close_matches(written, folded, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def _count_problem(function: type[Function], count: int) -> str:
    least, most = function.arity()
    wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
    plural = "" if least == 1 and most in (1, None) else "s"
    name = f"The operator {function.symbol}" if function.is_operator else function.__name__
    return f"{name} takes {wanted} argument{plural}, not {count}"
