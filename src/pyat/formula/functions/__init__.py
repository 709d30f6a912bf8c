"""Every function and operator of the language, an entry each; `find` knows them by name."""

from collections.abc import Mapping
from types import MappingProxyType

from pyat.formula.functions import arrays, dates, logic, numbers, operators, records, regexes, texts
from pyat.formula.functions.base import Function

FUNCTIONS: Mapping[str, type[Function]] = MappingProxyType(
    {
        function.__name__: function
        for module in (arrays, dates, logic, numbers, operators, records, regexes, texts)
        for function in module.FUNCTIONS
        if not function.is_operator
    }
)
"""By canonical name, in upper case."""

OPERATORS: Mapping[str, type[Function]] = MappingProxyType(
    {function.symbol: function for function in operators.FUNCTIONS}
)
"""By how they are written; `negate` is the unary minus."""
