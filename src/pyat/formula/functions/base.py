"""What an entry of the language has: its signature, its two implementations, and a docstring that is help and test.

The lines of a docstring that begin with `>>>` are examples: the next line is the value, written as `1.5`, `"text"`,
`2024-01-31T00:00:00.000Z`, `[1, 2]`, `blank`, `#ERROR!`, `NaN`, `Infinity` or `-Infinity`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pyat.formula.types import Type

if TYPE_CHECKING:
    from pyat.formula.sql import Sql

ParameterKind: TypeAlias = Literal["number", "text", "date", "any", "items", "reference"]
"""How an argument is converted before it is handed over.

`number`: a float, blank is 0, what is no number is NaN. `text`: a str, blank is "", numbers and dates are errors.
`date`: a Moment or None; texts are read as dates. `any`: as it is. `items`: as `any`, for aggregates, which flatten
arrays; only for the last, repeated parameter. `reference`: a field itself, not its value.
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; optional ones come last, and a repeated one is the last and takes one or more arguments."""

    name: str
    kind: ParameterKind
    is_optional: bool = False
    is_repeated: bool = False


class Function:
    """Base of all entries, which are classes that nobody instantiates. The class's name is the function's.

    `run` takes the converted arguments, one for each that was written (None is a blank), and no errors: those never
    reach it. It returns a value, and never raises. It has no state and no I/O.

    `sql` takes the same as `Sql`s with a `Context` before them and gives the same value as SQL, without the errors of
    its arguments, which are added to what it says of its own; None where PostgreSQL cannot do exactly the same.
    """

    is_operator: ClassVar[bool] = False
    symbol: ClassVar[str] = ""
    category: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    result: ClassVar[Type]
    inputs: ClassVar[tuple[str, ...]] = ()
    """What it is given after its written arguments: keys of `checking.Input`, such as `NOW`."""
    is_input: ClassVar[bool] = False
    """A record gives its value, as it gives a cell: it has no `run`, and its name is the key of a `checking.Input`."""
    takes_infinite: ClassVar[bool] = False
    """Numbers that are not finite are handed over, as to arithmetic; else they make the result an error."""
    takes_errors: ClassVar[bool] = False
    """Errors are handed over."""
    is_lazy: ClassVar[bool] = False
    """IF and SWITCH: the compilers know them by name, and evaluate the chosen branch alone."""

    on_numbers: ClassVar[Callable[[float, float], bool] | None] = None
    """Of a comparison: what it says of two finite numbers, which is most of what it is asked."""

    run: ClassVar[Callable[..., Any]]
    sql: ClassVar["Callable[..., Sql | None] | None"] = None

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """The type of a call with arguments of these types (before conversion)."""
        return cls.result

    @classmethod
    def variant(cls, arguments: Sequence[Type]) -> "type[Function]":
        """The entry that stands for a call with arguments of these types: itself, but for a few."""
        return cls

    @classmethod
    def arity(cls) -> tuple[int, int | None]:
        """The fewest and the most arguments; None where there is no most."""
        least = sum(not parameter.is_optional for parameter in cls.parameters)
        is_open = bool(cls.parameters) and cls.parameters[-1].is_repeated
        return least, None if is_open else len(cls.parameters)

    @classmethod
    def parameter(cls, position: int) -> Parameter:
        """The parameter that takes the argument at a position."""
        return cls.parameters[min(position, len(cls.parameters) - 1)]


def number(name: str, *, optional: bool = False, repeated: bool = False) -> Parameter:
    """A number."""
    return Parameter(name, "number", optional, repeated)


def text(name: str, *, optional: bool = False, repeated: bool = False) -> Parameter:
    """A text."""
    return Parameter(name, "text", optional, repeated)


def date(name: str, *, optional: bool = False) -> Parameter:
    """A date."""
    return Parameter(name, "date", optional)


def anything(name: str, *, optional: bool = False, repeated: bool = False) -> Parameter:
    """Any value, as it is."""
    return Parameter(name, "any", optional, repeated)


def items(name: str) -> Parameter:
    """One or more values; `run` gets them one by one, arrays not yet flattened: see `values.items_of`."""
    return Parameter(name, "items", is_repeated=True)


def reference(name: str) -> Parameter:
    """No or more fields."""
    return Parameter(name, "reference", is_optional=True, is_repeated=True)
