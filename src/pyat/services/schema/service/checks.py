"""Checks that every part of the service makes: who reaches a base, and what a body of changes holds."""

from collections.abc import Collection, Mapping
from typing import Any

from pyat.foundation.errors import InvalidRequest, NotPermittedOrNotFound
from pyat.foundation.identity import Principal
from pyat.recordstore.structure import Base, Table
from pyat.services.schema.service.planning import description_of


def reached(principal: Principal, base: Base | None) -> Base:
    """The base, for a caller of its tenant whose credential covers it; everybody else learns nothing."""
    if base is None or base.tenant_id != principal.tenant_id or not principal.reaches(base.base_id):
        raise NotPermittedOrNotFound
    return base


def check_unlimited(principal: Principal) -> None:
    """Refuse a credential that is limited to certain bases. Raises NotPermittedOrNotFound."""
    # What such a credential makes would be out of its own reach.
    if principal.base_ids is not None:
        raise NotPermittedOrNotFound


def table_of(base: Base, id_or_name: str) -> Table:
    """The table with this id or name. Raises NotPermittedOrNotFound."""
    table = base.find_table(id_or_name)
    if table is None:
        raise NotPermittedOrNotFound
    return table


def check_keys(changes: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse changes of anything but `known`, and none at all. Raises InvalidRequest."""
    for key in changes:
        if key not in known:
            raise InvalidRequest(reason=f'"{key[:100]}" cannot be changed.')
    if not changes:
        raise InvalidRequest(reason=f"Give at least one of {', '.join(known)}.")


def text_of(changes: Mapping[str, Any], key: str) -> str:
    """The string under a key. Raises InvalidRequest."""
    value = changes[key]
    if not isinstance(value, str):
        raise InvalidRequest(reason=f"{key} must be a string.")
    return value


def new_description(changes: Mapping[str, Any]) -> str | None:
    """The description that `changes` give; None where they clear it. Raises InvalidRequest."""
    if changes["description"] is None:
        return None
    return description_of("The description", text_of(changes, "description"))
