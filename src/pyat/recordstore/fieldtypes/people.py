"""Types that hold users of the tenant. Cells store ids; e-mail addresses and names come from the base's `base_users`."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pyat.foundation.ids import UserId
from pyat.foundation.sql import quote
from pyat.recordstore.fieldtypes.base import NO_USERS, BadValue, FieldType, NewChoices, StoredValue, Users, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat, item_sql
from pyat.recordstore.fieldtypes.selects import split_names
from pyat.recordstore.fieldtypes.system import SystemType
from pyat.recordstore.structure import Field

# SQL

_JSON = (
    """'{"id":' || to_json(w.id)::text || coalesce(',"email":' || to_json(p.email)::text, '')"""
    """ || coalesce(',"name":' || to_json(p.name)::text, '') || '}'"""
)
_NAME = "coalesce(nullif(p.name, ''), nullif(p.email, ''), w.id)"


def _one(field: Field, source: str, shown: str) -> str:
    """SQL of what is shown of the user whose id is in `source`; NULL without one."""
    return (
        f"(SELECT {shown} FROM (SELECT {source} AS id) w LEFT JOIN {quote(field.base_id)}.base_users p"
        " ON p.user_id = w.id WHERE w.id IS NOT NULL)"
    )


def _many(field: Field, source: str, shown: str, between: str) -> str:
    return (
        f"(SELECT string_agg({shown}, '{between}' ORDER BY w.place) FROM unnest({source}) WITH ORDINALITY AS w(id, place)"
        f" LEFT JOIN {quote(field.base_id)}.base_users p ON p.user_id = w.id)"
    )


def _order(name: str) -> tuple[str, ...]:
    return (f'lower({name}) COLLATE "C"',)


# Types


class UserType(FieldType):
    """What clients write is looked up among `users`, who have to be told to it: see `read`."""

    names_users: ClassVar[bool] = True

    def read(self, value: Any, users: Users, *, typecast: bool) -> StoredValue:
        """A client's JSON value as ids of users. Raises BadValue, also for somebody who is not there."""
        raise BadValue

    def ids(self, stored: StoredValue) -> Sequence[str]:
        """The users in a cell."""
        return [stored] if isinstance(stored, str) else stored or ()

    def parse(self, value: Any, field: Field) -> StoredValue:
        """As `read` where nobody is known."""
        return self.read(value, NO_USERS, typecast=False)

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """As `read` where nobody is known."""
        return self.read(value, NO_USERS, typecast=True)


def _user_id(value: Any, users: Users, *, typecast: bool) -> UserId:
    """The user in one object, or with typecast in one text."""
    user = None
    if type(value) is dict:
        wanted, email = value.get("id"), value.get("email")
        if wanted is not None:
            user = users.by_id.get(wanted) if type(wanted) is str else None
        elif type(email) is str:
            user = users.by_email.get(email.strip().casefold())
    elif type(value) is str and typecast:
        user = users.find(value.strip())
    if user is None:
        raise BadValue
    return user.user_id


class SingleCollaborator(UserType):
    """One user or none."""

    name: ClassVar[str] = "singleCollaborator"
    pg_type: ClassVar[str] = "text"

    def read(self, value: Any, users: Users, *, typecast: bool) -> StoredValue:
        """`{"id": "usr…"}` or `{"email": "…"}`; typecast also takes an id, an address or a full name as text."""
        if is_blank(value) or (typecast and type(value) is str and not value.strip()):
            return None
        return _user_id(value, users, typecast=typecast)

    def json_sql(self, field: Field, column: str) -> str:
        """`{"id": "usr…", "email": "…", "name": "…"}`; what is not known is left out."""
        return _one(field, column, _JSON)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The name, else the address."""
        return _one(field, column, _NAME)

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The name without regard to case."""
        return _order(_one(field, column, _NAME))

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """A name."""
        return ("text",)


class MultipleCollaborators(UserType):
    """Users in the order they were written, each once."""

    name: ClassVar[str] = "multipleCollaborators"
    pg_type: ClassVar[str] = "text[]"

    def read(self, value: Any, users: Users, *, typecast: bool) -> StoredValue:
        """A list of ids or of objects; typecast also takes addresses and names, and one text with commas between them."""
        if is_blank(value):
            return None
        if typecast and type(value) is str:
            value = list(split_names(value))
        if type(value) is not list:
            raise BadValue
        found: dict[UserId, None] = {}
        for item in value:
            if typecast and type(item) is str and not item.strip():
                continue
            wanted = {"id": item} if type(item) is str and not typecast else item
            found[_user_id(wanted, users, typecast=typecast)] = None
        return list(found) or None

    def json_sql(self, field: Field, column: str) -> str:
        """A list of objects, as a single collaborator's."""
        return f"('[' || {_many(field, column, _JSON, ',')} || ']')"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The names with commas between them."""
        return _many(field, column, item_sql(_NAME), ", ")

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The names in order, without regard to case."""
        return _order(_many(field, column, _NAME, ", "))

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Names."""
        return ("text",)


class SystemUser(SystemType):
    """A user whom the record store notes with every record."""

    pg_type: ClassVar[str] = "text"
    _system_column: ClassVar[str]

    def has_column_for(self, field: Field) -> bool:
        """Never."""
        return False

    def _source(self, column: str) -> str:
        relation, point, _ = column.rpartition(".")
        return f"{relation}{point}{self._system_column}"

    def json_sql(self, field: Field, column: str) -> str:
        """As a single collaborator's."""
        return _one(field, self._source(column), _JSON)

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The name, else the address."""
        return _one(field, self._source(column), _NAME)

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The name without regard to case."""
        return _order(_one(field, self._source(column), _NAME))


class CreatedBy(SystemUser):
    """Who made the record."""

    name: ClassVar[str] = "createdBy"
    _system_column: ClassVar[str] = "_created_by"


class LastModifiedBy(SystemUser):
    """Who last changed an editable cell of the record."""

    name: ClassVar[str] = "lastModifiedBy"
    _system_column: ClassVar[str] = "_modified_by"
