"""`/api/v1/formulas` through the public entry, with tokens of the owner, of a stranger, and with none."""

from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call

ASKED: dict[str, dict[str, Any]] = {
    "check": {},
    "complete": {"cursor": 1},
    "translate": {"to": "ids"},
    "evaluate": {"recordId": ""},
    "explain": {"recordId": ""},
}
"""By path: what a request about a table needs beside the formula; record ids are filled in."""


class Target:
    """A table with a record, and requests about it."""

    def __init__(self, platform: Platform, account: Account) -> None:
        self.url = f"{platform.url}/api/v1/formulas"
        fields = [
            {"name": "Name", "type": "singleLineText"},
            {"name": "Price", "type": "number", "options": {"precision": 1}},
        ]
        body = {"name": "Formulas", "workspaceId": account.workspace_id, "tables": [{"name": "T", "fields": fields}]}
        made = call("POST", f"{platform.url}/v0/meta/bases", token=account.token, body=body)
        assert made.status == 200, made.body
        self.base_id = made.body["id"]
        path = f"{platform.url}/v0/{self.base_id}/T"
        cells = {"fields": {"Name": "pen", "Price": 2.5}}
        self.record_id = call("POST", path, token=account.token, body=cells).body["id"]

    def ask(self, path: str, token: str | None, **changed: Any) -> Answer:
        """A request about the table."""
        more = {key: value or self.record_id for key, value in ASKED[path].items()}
        body = {"baseId": self.base_id, "table": "T", "formula": "{Price} * 2", **more, **changed}
        return call("POST", f"{self.url}/{path}", token=token, body=body)


@pytest.fixture(scope="module")
def target(platform: Platform, account: Account) -> Target:
    """Nothing here changes it."""
    return Target(platform, account)


def test_the_owner_is_answered(target: Target, account: Account) -> None:
    assert target.ask("evaluate", account.token).body == {"value": 5}
    explained = target.ask("explain", account.token).body
    assert [part["value"] for part in explained["parts"]] == [5, 2.5, 2]
    assert target.ask("check", account.token).body["type"] == "number"
    assert [item["label"] for item in target.ask("complete", account.token, formula="Pri", cursor=3).body["items"]] == [
        "Price"
    ]
    ids = target.ask("translate", account.token).body["formula"]
    assert target.ask("translate", account.token, formula=ids, to="names").body == {"formula": "Price * 2"}
    help_of = call("GET", f"{target.url}/functions/IF", token=account.token)
    assert (help_of.status, help_of.body["name"]) == (200, "IF")


@pytest.mark.parametrize("path", ASKED)
def test_a_stranger_and_a_base_that_is_none_get_the_same(target: Target, platform: Platform, path: str) -> None:
    stranger = platform.stranger_token()
    answers = [target.ask(path, stranger), target.ask(path, stranger, baseId="appNowhereNowhere")]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].body == answers[1].body


@pytest.mark.parametrize("path", ASKED)
def test_without_a_token_nothing_is_answered(target: Target, path: str) -> None:
    assert target.ask(path, None).status == 401


def test_help_needs_a_token_too(target: Target) -> None:
    assert call("GET", f"{target.url}/functions", token=None).status == 401
