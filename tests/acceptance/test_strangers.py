"""Every operation on a base, asked for by somebody of another organisation: nothing happens, and nothing is learnt.

The answer for a base that exists must be the one for a base that does not.
"""

import re
from typing import Any

import pytest

from pyat.assembly.catalog import CATALOG
from pyat.foundation.web import Operation
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Answer, call, new_table_fields

OPERATIONS = tuple(
    operation
    for entry in CATALOG
    for operation in entry.operations()
    if "{base_id:app}" in operation.path and not operation.is_public
)
NOWHERE = "appNowhereNowhere"
SENT: dict[str, Any] = {
    "name": "Stranger",
    "fields": {"singleLineText": "x"},
    "type": "singleLineText",
    "text": "x",
    "typecast": True,
}
"""A body that most writes understand."""


@pytest.fixture(scope="module")
def base(platform: Platform) -> dict[str, str]:
    """Ids of a base of the owner's, by the names that paths have for them."""
    token = platform.token
    body = {
        "name": "Mine",
        "workspaceId": account_of(platform, token).workspace_id,
        "tables": [{"name": "T", "fields": new_table_fields()}],
    }
    made = call("POST", f"{platform.url}/v0/meta/bases", token=token, body=body)
    assert made.status == 200, made.body
    table = made.body["tables"][0]
    path = f"{platform.url}/v0/{made.body['id']}/T"
    record = call("POST", path, token=token, body={"fields": {table["fields"][0]["name"]: "mine"}}).body
    comment = call("POST", f"{path}/{record['id']}/comments", token=token, body={"text": "mine"}).body
    return {
        "base_id": made.body["id"],
        "table": table["id"],
        "table_id": table["id"],
        "record_id": record["id"],
        "field_id": table["fields"][1]["id"],
        "field": table["fields"][1]["id"],
        "view_id": table["views"][0]["id"],
        "comment_id": comment["id"],
    }


@pytest.fixture(scope="module")
def stranger(platform: Platform) -> str:
    return platform.stranger_token()


def path_of(operation: Operation, ids: dict[str, str]) -> str:
    """The operation's path with these ids; what has none gets a text of its own shape."""

    def filled(found: "re.Match[str]") -> str:
        name, _, prefix = found[1].partition(":")
        return ids.get(name) or (f"{prefix}AAAAAAAAAAAAAA" if prefix else "1f44d")

    return re.sub(r"\{([^}]+)\}", filled, operation.path)


def state_of(platform: Platform, base: dict[str, str]) -> tuple[Any, Any]:
    """What the owner sees: structure, and every record."""
    token = platform.token
    structure = call("GET", f"{platform.url}/v0/meta/bases/{base['base_id']}/tables", token=token).body
    return structure, call("GET", f"{platform.url}/v0/{base['base_id']}/T", token=token).body


def ask(platform: Platform, operation: Operation, ids: dict[str, str], token: str) -> Answer:
    body = None if operation.method in ("GET", "DELETE", "HEAD", "OPTIONS") else SENT
    return call(operation.method, platform.url + path_of(operation, ids), token=token, body=body)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_stranger_learns_nothing(
    platform: Platform, base: dict[str, str], stranger: str, operation: Operation
) -> None:
    before = state_of(platform, base)
    real = ask(platform, operation, base, stranger)
    absent = ask(platform, operation, {**base, "base_id": NOWHERE}, stranger)
    assert 400 <= real.status < 500, real.body
    assert (real.status, real.body) == (absent.status, absent.body)
    assert state_of(platform, base) == before


def test_there_is_something_to_ask_for() -> None:
    assert len(OPERATIONS) > 40
