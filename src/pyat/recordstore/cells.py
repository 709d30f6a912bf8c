"""Cells of a write: from a client's names and JSON values to field ids and stored values, the first fault wins.

Order of faults (wire reference, section 4.6): unknown names of any record first, then values in the order given.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyat.recordstore.errors import ComputedValue, InvalidValue, UnknownFieldName
from pyat.recordstore.fieldtypes import BadValue, NewChoices, Users, find
from pyat.recordstore.fieldtypes.base import NO_USERS
from pyat.recordstore.fieldtypes.people import UserType
from pyat.recordstore.structure import Field, Table

ClientCells = Mapping[str, Any]


def named_fields(table: Table, rows: Sequence[ClientCells]) -> list[list[tuple[Field, Any]]]:
    """The fields of each row with the values a client sent. Raises UnknownFieldName."""
    found = []
    for row in rows:
        cells = []
        for name, value in row.items():
            field = table.find_field(name)
            if field is None:
                raise UnknownFieldName(field=name)
            cells.append((field, value))
        found.append(cells)
    return found


def stored(
    table: Table, rows: Sequence[ClientCells], *, typecast: bool, users: Users = NO_USERS
) -> tuple[list[dict[str, Any]], dict[str, NewChoices]]:
    """Stored values by field id for each row, and the choices that typecast needs, by field id.

    `users` are those whom cells may name.
    Raises UnknownFieldName, ComputedValue, InvalidValue, UnknownChoice.
    """
    new_choices: dict[str, NewChoices] = {}
    result = []
    for cells in named_fields(table, rows):
        values: dict[str, Any] = {}
        for field, value in cells:
            kind = find(field.type)
            if kind.is_computed:
                raise ComputedValue(field=field.name)
            try:
                if kind.names_users:
                    assert isinstance(kind, UserType)
                    values[field.field_id] = kind.read(value, users, typecast=typecast)
                elif typecast:
                    wanted = new_choices.get(field.field_id) or NewChoices()
                    values[field.field_id] = kind.typecast(value, field, wanted)
                    if wanted.ids_by_name:
                        new_choices[field.field_id] = wanted
                else:
                    values[field.field_id] = kind.parse(value, field)
            except BadValue:
                raise InvalidValue(field=field.name) from None
        result.append(values)
    return result, new_choices
