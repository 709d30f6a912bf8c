"""Types that hold choices of a list. Cells store choice ids, so that a renamed choice touches no record."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import orjson

from pyat.foundation.ids import ChoiceId, new_id
from pyat.foundation.sql import literal
from pyat.recordstore.errors import LimitReached, UnknownChoice
from pyat.recordstore.fieldtypes.base import (
    TEXT_LENGTH_MAX,
    BadOptions,
    BadValue,
    FieldType,
    NewChoices,
    StoredValue,
    is_blank,
)
from pyat.recordstore.fieldtypes.display import TextFormat, item_text
from pyat.recordstore.fieldtypes.notation import decimal_text
from pyat.recordstore.fieldtypes.options import array, members, one_of, short_text
from pyat.recordstore.structure import Field, Options

CHOICES_MAX = 10_000
NAME_LENGTH_MAX = 1_000
"""Airtable names no bound; every name of a field is part of its statements, so there has to be one."""

_HUES = ("blue", "cyan", "teal", "green", "yellow", "orange", "red", "pink", "purple", "gray")
_SHADES = ("Light2", "Light1", "Bright", "Dark1")
COLOR_CYCLE = tuple(f"{hue}{shade}" for shade in _SHADES for hue in _HUES)
"""The colours of new choices, in turn (wire reference, section 6.2)."""


# Choices


def _choice(value: Any, where: str, number: int, names: set[str], choice_id: str) -> dict[str, str]:
    found = members(value, where, ("name",), ("color", "id"))
    if "id" in found:
        raise BadOptions(f"{where}.id", "is only accepted for a choice that exists")
    name = short_text(found["name"], f"{where}.name", length_max=NAME_LENGTH_MAX).strip()
    if not name:
        raise BadOptions(f"{where}.name", "is empty")
    if name in names:
        raise BadOptions(f"{where}.name", "is there twice")
    names.add(name)
    color = found.get("color", COLOR_CYCLE[number % len(COLOR_CYCLE)])
    return {"id": choice_id, "name": name, "color": one_of(color, f"{where}.color", COLOR_CYCLE)}


def with_new_choices(field: Field, new_choices: NewChoices) -> Options:
    """The field's options with the new choices at the end, each in the next colour. Raises LimitReached.

    A field whose choices have no colours (Airtable can turn them off) stays without.
    """
    choices = list(field.options["choices"])
    _check_room(field, len(choices) + len(new_choices.ids_by_name))
    is_colored = not choices or any("color" in choice for choice in choices)
    for name, choice_id in new_choices.ids_by_name.items():
        choice = {"id": choice_id, "name": name}
        if is_colored:
            choice["color"] = COLOR_CYCLE[len(choices) % len(COLOR_CYCLE)]
        choices.append(choice)
    return {**field.options, "choices": choices}


def _check_room(field: Field, count: int) -> None:
    if count > CHOICES_MAX:
        raise LimitReached(what=f'Field "{field.name}"', limit=CHOICES_MAX, things="choices")


def _ids_by_name(field: Field) -> dict[str, ChoiceId]:
    """The ids of the field's choices; kept beside the frozen field, as a cached property would be."""
    known: dict[str, ChoiceId] | None = field.__dict__.get("_choice_ids_by_name")
    if known is None:
        known = {choice["name"]: choice["id"] for choice in field.options["choices"]}
        field.__dict__["_choice_ids_by_name"] = known
    return known


def _known_or_new(name: str, field: Field, new_choices: NewChoices) -> ChoiceId:
    known = _ids_by_name(field)
    choice_id = known.get(name) or new_choices.ids_by_name.get(name)
    if choice_id is None:
        if len(name) > NAME_LENGTH_MAX or "\x00" in name:
            raise BadValue
        _check_room(field, len(known) + len(new_choices.ids_by_name) + 1)
        choice_id = new_choices.ids_by_name[name] = ChoiceId(new_id("sel"))
    return choice_id


def _name(value: Any) -> str:
    """A choice's name as typecast reads it, empty for none. Raises BadValue."""
    if type(value) is str:
        return value.strip()
    if is_blank(value):
        return ""
    if type(value) is int or (type(value) is float and value - value == 0.0):
        return decimal_text(value)
    raise BadValue


_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*+)"\s*|([^,]*))(?:,|$)')


def split_names(text: str) -> Iterable[str]:
    """The names in a text with commas between them; double quotes around a name protect its commas."""
    if len(text) > TEXT_LENGTH_MAX:
        raise BadValue
    for quoted, bare in _ITEM.findall(text):
        yield quoted.replace('""', '"') or bare


# SQL


def _names_sql(field: Field) -> str:
    """SQL of the map from choice ids to names, where each name is a JSON text: what `->>` gives is ready to be sent."""
    return _map_sql({choice["id"]: orjson.dumps(choice["name"]).decode() for choice in field.options["choices"]})


def _texts_sql(field: Field, form: Callable[[str], str] = str) -> str:
    return _map_sql({choice["id"]: form(choice["name"]) for choice in field.options["choices"]})


def _positions_sql(field: Field) -> str:
    return _map_sql({choice["id"]: number for number, choice in enumerate(field.options["choices"])})


def _map_sql(values: Mapping[str, Any]) -> str:
    # A constant of the statement: PostgreSQL converts it once when it prepares, and finds a key by halving.
    return f"{literal(orjson.dumps(values).decode())}::jsonb"


# Types


class SelectType(FieldType):
    """What both types share: their options."""

    can_merge_on: ClassVar[bool] = True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """`{"choices": [{"name": "Todo", "color"?: "redLight2"}]}`; names are trimmed and all different."""
        choices = members(options, "options", ("choices",))["choices"]
        names: set[str] = set()
        return {
            "choices": [
                _choice(choice, f"options.choices[{number}]", number, names, new_choice_id())
                for number, choice in enumerate(array(choices, "options.choices", length_max=CHOICES_MAX))
            ]
        }


class SingleSelect(SelectType):
    """One choice or none."""

    name: ClassVar[str] = "singleSelect"
    pg_type: ClassVar[str] = "text"

    def parse(self, value: Any, field: Field) -> StoredValue:
        """The exact name of a choice. Raises UnknownChoice."""
        if type(value) is str and value:
            choice_id = _ids_by_name(field).get(value)
            if choice_id is None:
                raise UnknownChoice(choice=value[:NAME_LENGTH_MAX])
            return choice_id
        if is_blank(value):
            return None
        raise BadValue

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """A name without the blanks around it, or a number; what is no choice yet becomes one."""
        name = _name(value)
        return _known_or_new(name, field, new_choices) if name else None

    def json_sql(self, field: Field, column: str) -> str:
        """The choice's name; a choice that is gone counts as empty."""
        return f"({_names_sql(field)} ->> {column})"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The choice's name."""
        return f"({_texts_sql(field)} ->> {column})"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The position of the choice."""
        return (f"({_positions_sql(field)} ->> {column})::int4",)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """A position."""
        return ("int4",)


class MultipleSelects(SelectType):
    """Choices in the order they were written, each once."""

    name: ClassVar[str] = "multipleSelects"
    pg_type: ClassVar[str] = "text[]"

    _FEW: ClassVar[int] = 3
    _MAP_LENGTH_MAX: ClassVar[int] = 4_000

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A list of exact names. Raises UnknownChoice."""
        if type(value) is not list or not value:
            if is_blank(value):
                return None
            raise BadValue
        known = _ids_by_name(field)
        try:
            return list(dict.fromkeys([known[item] for item in value]))
        except (KeyError, TypeError):
            if all(type(item) is str for item in value):
                unknown = next(item for item in value if item not in known)
                raise UnknownChoice(choice=unknown[:NAME_LENGTH_MAX]) from None
            raise BadValue from None

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """A list of names or numbers, or one text with commas between names; what is no choice yet becomes one."""
        if type(value) is str:
            value = split_names(value)
        elif type(value) is not list:
            if is_blank(value):
                return None
            value = [value]
        names = [name for name in map(_name, value) if name]
        return list(dict.fromkeys([_known_or_new(name, field, new_choices) for name in names])) or None

    def json_sql(self, field: Field, column: str) -> str:
        """The names in stored order; choices that are gone are left out."""
        names = _names_sql(field)
        # Functions in a select list give their rows in order, and array_to_string passes over NULL.
        any_number = f"nullif(array_to_string(ARRAY(SELECT {names} ->> unnest({column})), ','), '')"
        if len(names) > self._MAP_LENGTH_MAX:
            return f"CASE WHEN {column} IS NOT NULL THEN '[' || {any_number} || ']' END"
        # To run a subselect costs more than to look up a few choices one by one; most cells have few.
        few = ", ".join(f"',' || ({names} ->> {column}[{place}])" for place in range(1, self._FEW + 1))
        return (
            f"'[' || CASE WHEN cardinality({column}) > {self._FEW} THEN {any_number}"
            f" ELSE nullif(ltrim(concat({few}), ','), '') END || ']'"
        )

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The names with commas between them; a name that holds a comma is quoted."""
        return f"nullif(array_to_string(ARRAY(SELECT {_texts_sql(field, item_text)} ->> unnest({column})), ', '), '')"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The positions of the choices, from the first that was written on."""
        positions = f"ARRAY(SELECT ({_positions_sql(field)} ->> unnest({column}))::int4)"
        return (f"nullif(array_remove({positions}, NULL), '{{}}')",)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Positions."""
        return ("int4[]",)

    def equals_key(self, value: StoredValue) -> Any:
        """Order does not matter to an upsert."""
        return None if value is None else frozenset(value)
