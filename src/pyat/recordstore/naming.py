"""Names that are free: what gets a number behind it where another has its name."""

from collections.abc import Iterable


def free_name(wanted: str, taken: Iterable[str], *, length_max: int) -> str:
    """`wanted`, with a number behind it where others have that name without regard to case; at most `length_max` long."""
    folded = {name.casefold() for name in taken}
    name, number = wanted, 1
    while name.casefold() in folded:
        number += 1
        ending = f" {number}"
        name = wanted[: length_max - len(ending)] + ending
    return name
