"""What several functions of texts write as SQL."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pyat.formula.types import TEXT, Kind

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

LENGTH_MAX: Final = 10_000_000
"""Characters of a text that a function makes; a longer one is an error."""
_COUNT_MAX: Final = 1_000_000_000
"""Two of them are within int4."""


def joined(context: "Context", given: "Sequence[Sql]") -> "Sql":
    """The texts of values, one after another."""
    from pyat.formula.sql import Sql, any_error, to_text

    texts = [to_text(context, one) for one in given]
    lengths = [one.length_max for one in texts]
    total = sum(length for length in lengths if length is not None)
    is_bounded = None not in lengths and total <= LENGTH_MAX
    error = None
    if not is_bounded:
        error = f"({' + '.join(f'length({one.value})' for one in texts)} > {LENGTH_MAX})"
    value = f"({' || '.join(one.value for one in texts)})"
    if error is not None:
        value = f"CASE WHEN {error} THEN '' ELSE {value} END"
    errors = any_error(error, *(one.error for one in texts))
    return Sql(value, TEXT, errors, is_filled=True, length_max=total if is_bounded else LENGTH_MAX)


def count(given: "Sql", least: int = 0) -> str:
    """A number of characters: cut to a whole number, at least `least`; more than a text has is one number."""
    if given.constant is not None and isinstance(given.constant.value, float):
        return str(int(max(float(least), min(given.constant.value, float(_COUNT_MAX)))))
    return f"trunc(least(greatest({given.value}, {least}::float8), {_COUNT_MAX}::float8))::int"


def is_ascii(text: str) -> str:
    """Whether each character of a simple expression is one byte."""
    return f"octet_length({text}) = length({text})"


def joined_items(given: "Sql", value: str, separator: str) -> str:
    """The texts of a list's items other than NULL, with a separator between them."""
    if given.type.kind is Kind.NUMBER:
        return f"pyat_formula.numbers_text({value}, {separator})"
    if given.type.kind is Kind.DATE:
        return f"pyat_formula.moments_text({value}, {separator})"
    return f"array_to_string({value}, {separator})"
