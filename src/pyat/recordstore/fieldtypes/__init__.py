"""The field types: what each takes, how PostgreSQL stores it, what clients read. `base` says what a type is."""

from pyat.recordstore.fieldtypes.base import BadOptions, BadValue, FieldType, NewChoices, StoredValue
from pyat.recordstore.fieldtypes.registry import REGISTRY, find
from pyat.recordstore.fieldtypes.selects import with_new_choices

__all__ = [
    "REGISTRY",
    "BadOptions",
    "BadValue",
    "FieldType",
    "NewChoices",
    "StoredValue",
    "find",
    "with_new_choices",
]
