"""Instances of declared errors, whatever details they take."""

import string

from pyat.foundation.errors import AppError


def fields_of(error: type[AppError]) -> list[str]:
    """The names of the details that an error's message shows."""
    return [name for _, name, _, _ in string.Formatter().parse(error.template or "") if name]


def sample(error: type[AppError], text: str = "x") -> AppError:
    """An instance with `text` for every detail."""
    return error(**dict.fromkeys(fields_of(error), text))
