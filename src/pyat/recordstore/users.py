"""The users that a base's records name: their e-mail addresses and names, for cells that hold ids."""

from collections.abc import Iterable
from typing import Any

from pyat.foundation.ids import BaseId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.fieldtypes import User


def put(base_id: BaseId, users: Iterable[User]) -> tuple[Statement, tuple[Any, ...]]:
    """SQL that adds users to `base_users`, or corrects what is there; rows that are right already are not written."""
    # In one order everywhere, so that two writers cannot wait for each other; each once, as ON CONFLICT wants it.
    unique = {user.user_id: user for user in users}
    ordered = [unique[user_id] for user_id in sorted(unique)]
    text = (
        f"INSERT INTO {quote(base_id)}.base_users AS b (user_id, email, name)"
        " SELECT u.user_id, nullif(u.email, ''), nullif(u.name, '')"
        " FROM unnest($1::text[], $2::text[], $3::text[]) AS u(user_id, email, name)"
        " ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, name = excluded.name"
        " WHERE (b.email, b.name) IS DISTINCT FROM (excluded.email, excluded.name)"
    )
    columns = ([user.user_id for user in ordered], [user.email for user in ordered], [user.name for user in ordered])
    return Statement("put_users", text), columns
