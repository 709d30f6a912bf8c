"""The time zones that fields and clients may name."""

from functools import cache
from importlib import resources


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name that the `tzdata` package knows, so that all machines take the same ones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())
