"""Formulas that are wrong, endless or enormous, as fields and as filters: a clear error or an error value, in time."""

import json
import threading
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call

LONG_S = 25.0
ERROR = {"error": "#ERROR!"}


class Target:
    """A table with two records."""

    def __init__(self, platform: Platform, account: Account) -> None:
        self.platform, self.token = platform, account.token
        fields = [
            {"name": "Name", "type": "singleLineText"},
            {"name": "Amount", "type": "number", "options": {"precision": 2}},
            {"name": "Day", "type": "date", "options": {"dateFormat": {"name": "iso"}}},
            {"name": "Fine", "type": "formula", "options": {"formula": "{Amount} + 1"}},
        ]
        body = {"name": "Bad", "workspaceId": account.workspace_id, "tables": [{"name": "T", "fields": fields}]}
        made = call("POST", f"{platform.url}/v0/meta/bases", token=self.token, body=body).body
        self.base_id, (table,) = made["id"], made["tables"]
        self.table_id = table["id"]
        self.fine_id = next(field["id"] for field in table["fields"] if field["name"] == "Fine")
        rows = [
            {"fields": {"Name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "Amount": 2, "Day": "9999-12-31"}},
            {"fields": {"Name": "🐍"}},
        ]
        assert call("POST", self.url, token=self.token, body={"records": rows}).status == 200

    @property
    def url(self) -> str:
        """Of the records."""
        return f"{self.platform.url}/v0/{self.base_id}/{self.table_id}"

    def filtered(self, formula: str) -> Answer:
        """A list with the formula as its filter."""
        if len(formula) < 4_000:
            query = urlencode({"filterByFormula": formula}, quote_via=quote, errors="surrogatepass")
            return call("GET", f"{self.url}?{query}", token=self.token)
        return call("POST", f"{self.url}/listRecords", token=self.token, body={"filterByFormula": formula})

    def created(self, formula: str, name: str) -> Answer:
        """A new formula field."""
        url = f"{self.platform.url}/v0/meta/bases/{self.base_id}/tables/{self.table_id}/fields"
        return call(
            "POST", url, token=self.token, body={"name": name, "type": "formula", "options": {"formula": formula}}
        )

    def changed(self, formula: str) -> Answer:
        """Another formula for the field there is."""
        url = f"{self.platform.url}/api/v1/bases/{self.base_id}/tables/{self.table_id}/fields/{self.fine_id}"
        return call("PATCH", url, token=self.token, body={"options": {"formula": formula}})

    def cells(self, name: str) -> list[Any]:
        """A cell of both records."""
        found = call("GET", self.url, token=self.token).body["records"]
        return [record["fields"].get(name) for record in found]


@pytest.fixture(scope="module")
def target(platform: Platform, account: Account) -> Target:
    """Shared by all tests: nothing that is refused changes it."""
    return Target(platform, account)


INVALID = {
    "nothing": " ",
    "unknown function": "NOTHING(1)",
    "unknown field": "{Nothing} + 1",
    "too few": "IF(1)",
    "too many": "ABS(1, 2)",
    "open call": "SUM(1, 2",
    "open text": "'abc",
    "open field": "{Name",
    "no operand": "1 +",
    "no operator": "1 2",
    "two commas": "SUM(1,,2)",
    "begins with =": "=1",
    "other language": "Name == 'x'",
    "and sign": "1 && 1",
    "comment": "1 // one",
    "curly quotes": "“x”",
    "backtick": "`x`",
    "empty braces": "{}",
    "closed too often": "1)",
    "only (": "(" * 50_000,
    "deep and open": "ABS(" * 25_000,
    "too long": "1" + "+1" * 50_000,
    "half of a pair": "'\\ud800",
}


@pytest.mark.parametrize("formula", INVALID.values(), ids=INVALID.keys())
def test_what_is_no_formula_is_refused_everywhere(target: Target, formula: str) -> None:
    if formula.strip():
        answer = target.filtered(formula)
        assert answer.status == 422, answer.body
        assert answer.body["error"]["type"] == "INVALID_FILTER_BY_FORMULA"
        assert answer.body["error"]["message"].startswith("The formula for filtering records is invalid: ")
    for answer in (target.created(formula, "Bad"), target.changed(formula)):
        assert answer.status == 422, answer.body
        assert answer.body["error"]["message"]
    assert target.cells("Fine") == [3, 1]


def test_signs_that_json_cannot_carry_are_refused(target: Target) -> None:
    for raw in (b'{"filterByFormula": "\'\\ud800\'"}', b'{"filterByFormula": "\'\xff\'"}'):
        answer = call("POST", f"{target.url}/listRecords", token=target.token, raw=raw)
        assert answer.status == 422, answer.body
    for formula in ("'a\x00b'", "{a\x00b}"):
        assert target.filtered(formula).status in (200, 422)


def test_circles_are_refused_and_named(target: Target) -> None:
    answer = target.changed("{Fine} + 1")
    assert answer.status == 422
    assert "Fine → Fine" in answer.body["error"]["message"]
    assert target.created("{Fine} * 2", "Twice").status == 200
    answer = target.changed("{Twice} + 1")
    assert answer.status == 422
    assert "Twice" in answer.body["error"]["message"]
    assert target.cells("Twice") == [6, 2]


VALUES: dict[str, tuple[str, Any]] = {
    "a catastrophic pattern": ("IF(REGEX_MATCH({Name}, '^(a+)+$'), 'yes', 'no')", "no"),
    "another one": ("REGEX_REPLACE({Name}, '(a|a)*b', 'x')", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"),
    "no pattern": ("REGEX_MATCH({Name}, '(')", ERROR),
    "a pattern of millions": ("REGEX_MATCH({Name}, '((a{0,100}){0,100}){0,100}')", ERROR),
    "repeats": ("LEN(REPT('ab', 1e9))".replace("1e9", "1000000000"), ERROR),
    "repeats of repeats": ("LEN(REPT(REPT(REPT('a', 1000), 1000), 1000))", ERROR),
    "substitutes": ("LEN(SUBSTITUTE(REPT('a', 1000000), 'a', REPT('b', 1000)))", ERROR),
    "a repeat of nothing": ("LEN(REPT('', 1000000000000))", 0),
    "a power": ("10 * POWER(10, POWER(10, 10))", {"specialValue": "Infinity"}),
    "a root": ("SQRT(-{Amount})", {"specialValue": "NaN"}),
    "zero": ("{Amount} / 0", {"specialValue": "Infinity"}),
    "digits": ("9" * 400 + " + {Amount}", {"specialValue": "Infinity"}),
    "a precision": ("ROUND({Amount}, 1000000)", 2),
    "beyond the years": ("DATEADD({Day}, 1, 'day')", ERROR),
    "a huge step": ("DATEADD({Day}, 100000000000000000000, 'years')", ERROR),
    "many working days": ("WORKDAY('2020-01-01', 100000000000)", ERROR),
    "no time zone": ("DATETIME_FORMAT(SET_TIMEZONE({Day}, 'Mars/Olympus'), 'YYYY')", ERROR),
    "no unit": ("DATETIME_DIFF({Day}, {Day}, 'lightyears')", ERROR),
    "no date": ("YEAR('soon')", ERROR),
    "places": ("MID({Name}, 1000000000000, 1000000000000)", None),
    "levels": ("ABS(" * 1_000 + "-{Amount}" + ")" * 1_000, 2),
    "many levels": ("ABS(" * 15_000 + "-{Amount}" + ")" * 15_000, 2),
    "parentheses": ("(" * 40_000 + "{Amount}" + ")" * 40_000, 2),
    "operands": ("{Amount}" + "+1" * 40_000, 40_002),
    "choices": ("SWITCH({Amount}, " + ", ".join(f"{n}, {n}" for n in range(3_000)) + ")", 2),
}


@pytest.mark.parametrize("case", VALUES.values(), ids=VALUES.keys())
def test_what_is_enormous_ends_in_a_value_in_time(target: Target, case: tuple[str, Any]) -> None:
    formula, expected = case
    began_s = time.monotonic()
    answer = target.created(formula, f"F {began_s}")
    assert answer.status == 200, answer.body
    assert answer.body["options"]["isValid"] is True
    found = target.cells(f"F {began_s}")
    assert found[0] == expected
    filtered = target.filtered(formula)
    assert filtered.status == 200, filtered.body
    passes = expected not in (0, None) and not isinstance(expected, dict)
    assert bool([one for one in filtered.body["records"] if one["fields"].get("Amount") == 2]) is passes
    assert time.monotonic() - began_s < LONG_S
    field_id = answer.body["id"]
    path = f"/api/v1/bases/{target.base_id}/tables/{target.table_id}/fields/{field_id}"
    assert call("DELETE", target.platform.url + path, token=target.token).status == 200


def test_others_are_answered_while_something_heavy_runs(target: Target) -> None:
    part = "LEN(REGEX_REPLACE(REPT({Name}, 3000), '[a-m]', 'xy'))"
    heavy = " + ".join([part] * 20)
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(target.filtered(heavy)))
    thread.start()
    longest_s = 0.0
    while thread.is_alive():
        began_s = time.monotonic()
        assert call("GET", f"{target.platform.url}/v0/meta/whoami", token=target.token).status == 200
        longest_s = max(longest_s, time.monotonic() - began_s)
        time.sleep(0.02)
    assert answers[0].status in (200, 422), answers[0].body
    assert longest_s < LONG_S
    assert json.dumps(answers[0].body)
