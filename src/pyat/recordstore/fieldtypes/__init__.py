"""The field types: what each takes, how PostgreSQL stores it, what clients read. `base` says what a type is."""

from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, FieldType, NewChoices, StoredValue, User, Users
from pyat.recordstore.fieldtypes.computed import shown_options
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.registry import REGISTRY, find
from pyat.recordstore.fieldtypes.selects import with_new_choices

__all__ = [
    "REGISTRY",
    "BadOptions",
    "BadValue",
    "FieldType",
    "NewChoices",
    "StoredValue",
    "TextFormat",
    "User",
    "Users",
    "find",
    "shown_options",
    "with_new_choices",
]
