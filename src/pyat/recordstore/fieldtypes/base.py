"""What a field type knows: its options, its column, its values in both directions, its order.

A value has three forms: the JSON a client sends (`parse`, `typecast`), the value asyncpg stores (`StoredValue`), and
the JSON text PostgreSQL builds for an answer (`json_sql`). Reading never runs Python for a cell.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from pyat.foundation.ids import ChoiceId, UserId
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.structure import Field, Options

TEXT_LENGTH_MAX = 100_000


class BadValue(Exception):
    """A value the type does not take; the caller turns it into InvalidValue with the field's name."""


class BadOptions(Exception):
    """Options the type does not take: `where` they are wrong, as a path such as `options.precision`, and the `problem`.

    Airtable's texts begin such a path with the name of the field, which a type does not know: see `reason`.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def reason(self, field_name: str) -> str:
        """The end of Airtable's message, such as `Done.options is missing`."""
        return f"{field_name}.{self.where} {self.problem}"


@dataclass(slots=True)
class NewChoices:
    """Choices that a typecast write needs and the field does not have yet; they join in the write's transaction.

    `ids_by_name` already holds the ids that the new choices will get, so that stored values can be made at once.
    """

    ids_by_name: dict[str, ChoiceId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom a collaborator field can name."""

    user_id: UserId
    email: str
    name: str


@dataclass(frozen=True)
class Users:
    """The users that a write may name, and how clients name them."""

    people: tuple[User, ...] = ()

    @cached_property
    def by_id(self) -> Mapping[str, User]:
        """By id."""
        return {user.user_id: user for user in self.people}

    @cached_property
    def by_email(self) -> Mapping[str, User]:
        """By e-mail address, casefolded."""
        return {user.email.casefold(): user for user in self.people}

    @cached_property
    def by_name(self) -> Mapping[str, User]:
        """By full name, casefolded; a name that several people have names nobody."""
        counts = Counter(user.name.casefold() for user in self.people)
        return {user.name.casefold(): user for user in self.people if counts[user.name.casefold()] == 1}

    def find(self, text: str) -> User | None:
        """By id, else by e-mail address, else by name."""
        folded = text.casefold()
        return self.by_id.get(text) or self.by_email.get(folded) or self.by_name.get(folded)


NO_USERS = Users()

StoredValue = Any
"""What asyncpg takes for the column's `pg_type`: str, float, int, bool, date, datetime, list[str] or None (empty)."""


def is_blank(value: Any) -> bool:
    """Whether a client's value clears a cell of any type: null, false, "" or [] (wire reference, section 5.5)."""
    return value is None or value is False or value == "" or value == []


class FieldType(ABC):
    """One type of field. Instances hold no state; everything about a field is in its `Field`.

    A new type is a subclass with an instance in the registry; nothing else has to learn its name.
    """

    name: ClassVar[str]
    pg_type: ClassVar[str]
    """Type of the stored column, for example `text`, `float8`, `text[]`."""
    is_computed: ClassVar[bool] = False
    """The platform fills it; writes are refused."""
    can_be_primary: ClassVar[bool] = False
    can_merge_on: ClassVar[bool] = False
    """May be named in an upsert's `fieldsToMergeOn`."""

    names_users: ClassVar[bool] = False
    """Cells hold users, whom the type has to be told: see `people.UserType`."""

    def has_column_for(self, field: Field) -> bool:
        """Whether the field has a column of its own; False where the record's system columns hold its values."""
        return True

    def parse_options(self, options: Any, *, new_choice_id: Callable[[], str]) -> Options:
        """Check the options of a create request and return them as stored (read form, defaults filled in).

        `options` is None when absent. Raises BadOptions. Types without options take none but an empty object.
        """
        if options is not None and options != {}:
            raise BadOptions("options", "is not included in the schema")
        return {}

    @abstractmethod
    def parse(self, value: Any, field: Field) -> StoredValue:
        """A client's JSON value without typecast (wire reference, section 6.3). None clears the cell.

        Text was decoded from UTF-8, so it holds no halves of surrogate pairs. Raises BadValue, UnknownChoice.
        """

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """A client's JSON value with typecast (section 6.4); whatever `parse` takes means the same here.

        Raises BadValue, LimitReached.
        """
        return self.parse(value, field)

    @abstractmethod
    def json_sql(self, field: Field, column: str) -> str:
        """SQL of the cell's JSON as text, NULL when the cell is empty. `column` is quoted and qualified.

        The session's time zone is UTC. A field without a column of its own reads system columns of the same relation.
        """

    @abstractmethod
    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """SQL of the cell as people read it (wire reference, section 6.5), NULL when the cell is empty."""

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """SQL of the sort keys, most significant first; each NULL when the cell is empty (then blanks sort first ascending)."""
        return (column,)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """The PostgreSQL type of each of `sort_sql`'s keys, to compare with a cursor's."""
        return (self.pg_type,)

    def equals_key(self, value: StoredValue) -> Any:
        """What an upsert compares, hashable and equal for values that count as equal."""
        return value
