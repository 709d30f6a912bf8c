"""Bases as people name them at the terminal."""

from pyat.foundation.identity import Principal
from pyat.recordstore.structure import Base
from pyat.services.auth.contract import Account
from pyat.services.schema.contract import Schema


class Refused(Exception):
    """A sentence for the person at the terminal."""


async def find_base(schema: Schema, account: Account, id_or_name: str) -> Base:
    """The account's base of this id, or the one of this name. Raises Refused where there is none, or several."""
    principal = Principal(
        user_id=account.user_id,
        tenant_id=account.tenant_id,
        email=account.email,
        name=account.name,
        credential_id=None,
        kind="service",
        scopes=frozenset(),
        base_ids=None,
    )
    page = await schema.list_bases(principal=principal, offset=None)
    found = list(page.bases)
    while page.offset is not None:
        page = await schema.list_bases(principal=principal, offset=page.offset)
        found += page.bases
    matching = [each for each in found if each.base_id == id_or_name] or [
        each for each in found if each.name == id_or_name
    ]
    if len(matching) > 1:
        ids = ", ".join(each.base_id for each in matching)
        raise Refused(f"Several bases are named {id_or_name!r}; give the id of one: {ids}.")
    if not matching:
        names = ", ".join(repr(each.name) for each in found[:20]) or "none yet"
        raise Refused(f"There is no base {id_or_name!r}. Bases: {names}.")
    return await schema.get_base(principal=principal, base_id=matching[0].base_id)
