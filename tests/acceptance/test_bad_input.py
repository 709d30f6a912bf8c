"""Bad input over real HTTP: Airtable's status and error type for each, and nothing is written."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call, new_table_fields

Pyat = Callable[..., Any]
UNKNOWN = "AAAAAAAAAAAAAA"


@dataclass(frozen=True, slots=True)
class Target:
    """A table with one record and the ways to reach it."""

    url: str
    account: Account
    base_id: str
    table_id: str
    record_id: str
    view_id: str

    @property
    def table_url(self) -> str:
        return f"{self.url}/v0/{self.base_id}/{self.table_id}"

    def call(self, method: str, path: str = "", **options: Any) -> Answer:
        """A request to the table's URL plus `path`, as the table's owner unless a token is given."""
        return call(method, self.table_url + path, **{"token": self.account.token, **options})

    def records(self) -> list[dict[str, Any]]:
        """What the table holds."""
        found: list[dict[str, Any]] = self.call("GET").body["records"]
        return found


@pytest.fixture(scope="module")
def shared_target(platform: Platform, account: Account) -> Target:
    body = {
        "name": "Bad input",
        "workspaceId": account.workspace_id,
        "tables": [
            {"name": "T", "fields": new_table_fields()},
            {"name": "Other", "fields": [{"name": "Name", "type": "singleLineText"}]},
        ],
    }
    base = call("POST", f"{platform.url}/v0/meta/bases", token=account.token, body=body).body
    table = base["tables"][0]
    other_view = base["tables"][1]["views"][0]["id"]
    record = call(
        "POST", f"{platform.url}/v0/{base['id']}/{table['id']}", token=account.token, body={"fields": {"Name": "only"}}
    ).body
    return Target(platform.url, account, base["id"], table["id"], record["id"], other_view)


@pytest.fixture
def target(shared_target: Target) -> Iterator[Target]:
    """The table; afterwards it must hold exactly what it held before."""
    before = shared_target.records()
    yield shared_target
    assert shared_target.records() == before


def check(answer: Answer, status: int, error: str) -> None:
    """The status and the error's type; every error but the bare ones has a message unless Airtable sends none."""
    assert answer.status == status, answer.body
    if error == "NOT_FOUND":
        assert answer.body == {"error": "NOT_FOUND"}
        return
    assert answer.body["error"]["type"] == error
    if error not in ("LIST_RECORDS_ITERATOR_NOT_AVAILABLE", "FAILED_STATE_CHECK"):
        assert answer.body["error"]["message"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[1]", b'"x"', b'{"fields": NaN}', b"\xff\xfe", b'{"fields":{"Name":"\\ud800"}}']
)
def test_a_body_that_is_not_json(target: Target, body: bytes) -> None:
    for method, path in (("POST", ""), ("PATCH", ""), ("PUT", f"/{target.record_id}"), ("POST", "/listRecords")):
        check(target.call(method, path, raw=body), 422, "INVALID_REQUEST_BODY")


def test_a_json_body_counts_whatever_its_content_type(target: Target) -> None:
    answer = target.call("POST", raw=b'{"fields": {"Nope": 1}}', headers={"content-type": "text/plain"})
    check(answer, 422, "UNKNOWN_FIELD_NAME")
    answer = target.call("POST", raw=b"fields=1", headers={"content-type": "application/x-www-form-urlencoded"})
    check(answer, 422, "INVALID_REQUEST_BODY")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("Name", [1, True, ["x"], {"a": 1}, "nul\x00", "x" * 100_001]),
        ("Notes", [1, True, {"a": 1}]),
        ("Rich", [1, True]),
        ("Email", [1, True]),
        ("Site", [1.5, True]),
        ("Phone", [123, True]),
        ("Amount", ["1", True, [1], {"a": 1}, "x"]),
        ("Price", ["$1", True]),
        ("Share", ["12%", True]),
        ("Time", ["1:30", True]),
        ("Stars", [-1, 6, 1.5, "3", True]),
        ("Done", ["true", 1, 0, "yes"]),
        ("Day", ["3/1/2024", "2024-02-30", "2024-13-01", 20240301, True, "yesterday"]),
        ("Moment", ["yesterday", "2024-02-30T00:00:00Z", "2024-01-01T25:00:00Z", True, 1e30]),
        ("Status", [1, True, ["Todo"], {"name": "Todo"}]),
        ("Tags", ["red", [1], [None], {"name": "red"}]),
        ("Code", ["012", 12, True, {"text": 12}, {"type": "upce"}, {"text": "x", "more": 1}, {"text": "\x00"}]),
        ("Owner", ["admin@example.com", True, {}, {"id": f"usr{UNKNOWN}"}, {"email": 1}, [{"id": f"usr{UNKNOWN}"}]]),
        ("Team", ["admin@example.com", [f"usr{UNKNOWN}"], [{}], [1], {"id": f"usr{UNKNOWN}"}]),
    ],
)
def test_a_wrong_value_of_every_type(target: Target, field: str, values: list[Any]) -> None:
    for value in values:
        for method, path in (("POST", ""), ("PATCH", f"/{target.record_id}"), ("PUT", f"/{target.record_id}")):
            answer = target.call(method, path, body={"fields": {"Name": "changed", field: value}})
            check(answer, 422, "INVALID_VALUE_FOR_COLUMN")
        both = {"records": [{"fields": {"Name": "good"}}, {"fields": {field: value}}]}
        check(target.call("POST", body=both), 422, "INVALID_VALUE_FOR_COLUMN")


@pytest.mark.parametrize(
    "field", ["Number", "Created", "Modified", "Maker", "Editor", "Open", "Shout", "Summary", "Origin"]
)
def test_a_value_for_a_computed_field(target: Target, field: str) -> None:
    answer = target.call("PATCH", f"/{target.record_id}", body={"fields": {field: 1}, "typecast": True})
    check(answer, 422, "INVALID_VALUE_FOR_COLUMN")
    assert "because the field is computed" in answer.body["error"]["message"]


@pytest.mark.parametrize(("field", "value"), [("Status", "Nope"), ("Tags", ["red", "Nope"]), ("Status", "todo")])
def test_a_choice_that_is_not_there(target: Target, field: str, value: Any) -> None:
    check(target.call("POST", body={"fields": {field: value}}), 422, "INVALID_MULTIPLE_CHOICE_OPTIONS")


def test_unknown_fields(target: Target) -> None:
    check(target.call("POST", body={"fields": {"Nope": 1, "Amount": "x"}}), 422, "UNKNOWN_FIELD_NAME")
    check(target.call("GET", "?fields[]=Nope"), 422, "UNKNOWN_FIELD_NAME")
    check(target.call("GET", "?sort[0][field]=Nope"), 422, "UNKNOWN_FIELD_NAME")
    check(target.call("POST", body={"fields": {f"fld{UNKNOWN}": 1}}), 422, "UNKNOWN_FIELD_NAME")


@pytest.mark.parametrize(
    "records",
    [[], {}, "x", None, [{"fields": {}}] * 11, [1], [None], [{}], [{"fields": 1}], [{"fields": {}}, {"id": "rec1"}]],
)
def test_records_of_a_wrong_shape(target: Target, records: Any) -> None:
    if records is not None:
        check(target.call("POST", body={"records": records}), 422, "INVALID_RECORDS")
    for method in ("PATCH", "PUT"):
        check(target.call(method, body={"records": records}), 422, "INVALID_RECORDS")


def test_missing_keys(target: Target) -> None:
    check(target.call("POST", body={}), 422, "INVALID_REQUEST_MISSING_FIELDS")
    check(target.call("PATCH", body={"typecast": True}), 422, "INVALID_REQUEST_MISSING_FIELDS")
    check(target.call("PATCH", f"/{target.record_id}", body={}), 422, "INVALID_REQUEST_MISSING_FIELDS")
    check(target.call("POST", body={"fields": []}), 422, "INVALID_REQUEST_UNKNOWN")
    check(target.call("POST", body={"fields": {}, "typecast": "yes"}), 422, "INVALID_REQUEST_UNKNOWN")


@pytest.mark.parametrize(
    "upsert",
    [
        [],
        {},
        {"fieldsToMergeOn": []},
        {"fieldsToMergeOn": "Name"},
        {"fieldsToMergeOn": ["Number"]},
        {"fieldsToMergeOn": ["Name", "Notes", "Amount", "Email"]},
        {"fieldsToMergeOn": ["Name", "Name"]},
    ],
)
def test_a_wrong_upsert(target: Target, upsert: Any) -> None:
    body = {"performUpsert": upsert, "records": [{"fields": {"Name": "x"}}]}
    check(target.call("PATCH", body=body), 422, "INVALID_REQUEST_UNKNOWN")


def test_an_upsert_fails_whole(target: Target) -> None:
    body = {
        "performUpsert": {"fieldsToMergeOn": ["Name"]},
        "records": [{"fields": {"Name": "new"}}, {"id": f"rec{UNKNOWN}", "fields": {"Name": "x"}}],
    }
    check(target.call("PATCH", body=body), 422, "ROW_DOES_NOT_EXIST")
    body["records"] = [{"fields": {"Name": "new"}}, {"fields": {"Amount": 1}}]
    check(target.call("PATCH", body=body), 422, "INVALID_RECORDS")


def test_a_typecast_choice_is_not_kept_when_its_request_fails(target: Target) -> None:
    body = {
        "typecast": True,
        "records": [
            {"id": target.record_id, "fields": {"Status": "Left over"}},
            {"id": f"rec{UNKNOWN}", "fields": {"Name": "x"}},
        ],
    }
    check(target.call("PATCH", body=body), 422, "ROW_DOES_NOT_EXIST")
    check(
        target.call("PATCH", f"/{target.record_id}", body={"fields": {"Status": "Left over"}}),
        422,
        "INVALID_MULTIPLE_CHOICE_OPTIONS",
    )


def test_unknown_records(target: Target) -> None:
    for method, body in (("GET", None), ("PATCH", {"fields": {}}), ("PUT", {"fields": {}}), ("DELETE", None)):
        check(target.call(method, f"/rec{UNKNOWN}", body=body), 404, "MODEL_ID_NOT_FOUND")
        check(target.call(method, "/recShort", body=body), 404, "NOT_FOUND")
    records = [{"id": target.record_id, "fields": {"Name": "x"}}, {"id": f"rec{UNKNOWN}", "fields": {}}]
    check(target.call("PATCH", body={"records": records}), 422, "ROW_DOES_NOT_EXIST")
    check(target.call("DELETE", f"?records[]={target.record_id}&records[]=rec{UNKNOWN}"), 422, "ROW_DOES_NOT_EXIST")


def test_deletes_without_or_with_too_many_ids(target: Target) -> None:
    check(target.call("DELETE"), 422, "INVALID_RECORDS")
    check(target.call("DELETE", "?records[]="), 422, "INVALID_RECORDS")
    check(target.call("DELETE", "?" + "&".join([f"records[]={target.record_id}"] * 11)), 422, "INVALID_RECORDS")


def test_unknown_bases_tables_and_routes(target: Target) -> None:
    token = target.account.token
    check(call("GET", f"{target.url}/v0/app{UNKNOWN}/T", token=token), 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")
    for table in (f"tbl{UNKNOWN}", "No%20table", "%F0%9F%90%8D", "a%2Fb"):
        answer = call("GET", f"{target.url}/v0/{target.base_id}/{table}", token=token)
        check(answer, 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")
    for path in (
        "/v0/nonsense",
        "/v0",
        "/",
        "/v0/appShort/T",
        f"/v0/{target.base_id}",
        "/v0/meta/nonsense",
        "/api/v1/no",
    ):
        check(call("GET", target.url + path), 404, "NOT_FOUND")
    answer = call("PATCH", f"{target.url}/v0/meta/whoami", token=token)
    check(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("offset=nonsense", "INVALID_OFFSET_VALUE"),
        (f"offset=itr{UNKNOWN}", "INVALID_OFFSET_VALUE"),
        (f"offset=itr{UNKNOWN}/rec{UNKNOWN}", "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"),
        ("pageSize=0", "INVALID_REQUEST_UNKNOWN"),
        ("pageSize=101", "INVALID_REQUEST_UNKNOWN"),
        ("pageSize=x", "INVALID_REQUEST_UNKNOWN"),
        ("maxRecords=0", "INVALID_REQUEST_UNKNOWN"),
        ("maxRecords=-1", "INVALID_REQUEST_UNKNOWN"),
        ("view=No+view", "VIEW_NAME_NOT_FOUND"),
        (f"view=viw{UNKNOWN}", "VIEW_ID_NOT_FOUND"),
        ("sort[0][direction]=asc", "INVALID_REQUEST_UNKNOWN"),
        ("sort[0][field]=Name&sort[0][direction]=up", "INVALID_REQUEST_UNKNOWN"),
        ("sort=Name", "INVALID_REQUEST_UNKNOWN"),
        ("returnFieldsByFieldId=maybe", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=string", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=string&timeZone=utc", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=string&timeZone=Nowhere&userLocale=de", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=string&timeZone=utc&userLocale=xx", "INVALID_REQUEST_UNKNOWN"),
        ("cellFormat=html", "INVALID_REQUEST_UNKNOWN"),
        ("filterByFormula=1%2B", "INVALID_FILTER_BY_FORMULA"),
        ("filterByFormula=Nothing", "INVALID_FILTER_BY_FORMULA"),
        ("filterByFormula=NOTHING()", "INVALID_FILTER_BY_FORMULA"),
    ],
)
def test_bad_list_parameters(target: Target, query: str, error: str) -> None:
    check(target.call("GET", f"?{query}"), 422, error)


@pytest.mark.parametrize(
    "body",
    [
        {"pageSize": "1"},
        {"pageSize": True},
        {"maxRecords": 0},
        {"fields": 1},
        {"fields": [1]},
        {"sort": "Name"},
        {"sort": [1]},
        {"sort": [{"field": 1}]},
        {"view": 1},
        {"returnFieldsByFieldId": "yes"},
        {"offset": 1},
    ],
)
def test_bad_list_bodies(target: Target, body: dict[str, Any]) -> None:
    check(target.call("POST", "/listRecords", body=body), 422, "INVALID_REQUEST_UNKNOWN")


def test_a_view_of_another_table(target: Target) -> None:
    check(target.call("GET", f"?view={target.view_id}"), 422, "FAILED_STATE_CHECK")


def test_an_offset_of_another_list(target: Target) -> None:
    url = f"{target.url}/v0/{target.base_id}/Other"
    token = target.account.token
    rows = [{"fields": {"Name": str(number)}} for number in range(3)]
    made = call("POST", url, token=token, body={"records": rows}).body["records"]
    offset = call("GET", f"{url}?pageSize=1", token=token).body["offset"]
    check(target.call("GET", f"?offset={offset}"), 422, "INVALID_OFFSET_VALUE")
    check(
        call("GET", f"{url}?pageSize=1&offset={offset}&sort[0][field]=Name", token=token), 422, "INVALID_OFFSET_VALUE"
    )
    assert call("GET", f"{url}?pageSize=1&offset={offset}", token=token).status == 200
    for record in made:
        assert call("DELETE", f"{url}/{record['id']}", token=token).status == 200


def test_oversized_bodies_urls_and_headers(target: Target) -> None:
    big = json.dumps({"fields": {"Notes": "x" * (6 * 1024 * 1024)}}).encode()
    check(target.call("POST", raw=big), 413, "REQUEST_TOO_LARGE")
    check(target.call("GET", "?view=" + "x" * 17_000), 414, "INVALID_REQUEST_UNKNOWN")
    assert target.call("GET", "?fields[]=Name&x=" + "x" * 15_500).status == 200
    check(target.call("GET", headers={"x-filler": "x" * 66_000}), 431, "INVALID_REQUEST_UNKNOWN")


def test_credentials_that_do_not_count(target: Target, pyat: Pyat) -> None:
    check(target.call("GET", token=None), 401, "AUTHENTICATION_REQUIRED")
    check(
        target.call("GET", token=None, headers={"authorization": "Basic dXNlcjpwdw=="}), 401, "AUTHENTICATION_REQUIRED"
    )
    check(target.call("GET", token="keyAAAAAAAAAAAAAA"), 401, "AUTHENTICATION_REQUIRED")
    check(target.call("GET", f"?api_key={target.account.token}", token=None), 401, "AUTHENTICATION_REQUIRED")
    check(target.call("GET", token=f"pat{UNKNOWN}." + "0" * 64), 401, "UNAUTHORIZED")

    made = new_token(target, scopes=["data.records:read"])
    assert target.call("GET", token=made["token"]).status == 200
    revoked = call("DELETE", f"{target.url}/api/v1/auth/tokens/{made['id']}", token=target.account.token)
    assert revoked.status == 200
    check(target.call("GET", token=made["token"]), 401, "UNAUTHORIZED")


def test_missing_scopes_and_bases(target: Target) -> None:
    denied = "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"
    reader = new_token(target, scopes=["data.records:read"])["token"]
    check(target.call("POST", token=reader, body={"fields": {}}), 403, denied)
    check(call("GET", f"{target.url}/v0/meta/bases", token=reader), 403, denied)
    writer = new_token(target, scopes=["data.records:write"])["token"]
    check(target.call("GET", token=writer), 403, denied)

    body = {
        "name": "Elsewhere",
        "workspaceId": target.account.workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "singleLineText"}]}],
    }
    elsewhere = call("POST", f"{target.url}/v0/meta/bases", token=target.account.token, body=body).body["id"]
    scopes = ["data.records:read", "data.records:write", "schema.bases:read", "schema.bases:write"]
    limited = new_token(target, scopes=scopes, baseIds=[elsewhere])["token"]
    assert call("GET", f"{target.url}/v0/{elsewhere}/T", token=limited).status == 200
    everything_denied(target, limited)


def test_another_tenant_sees_nothing_on_any_route(target: Target, pyat: Pyat, platform: Platform) -> None:
    stranger = platform.stranger_token()
    assert call("GET", f"{target.url}/v0/meta/whoami", token=stranger).status == 200
    assert call("GET", f"{target.url}/v0/meta/bases", token=stranger).body == {"bases": []}
    everything_denied(target, stranger)
    body = {
        "name": "Mine",
        "workspaceId": target.account.workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "singleLineText"}]}],
    }
    check(call("POST", f"{target.url}/v0/meta/bases", token=stranger, body=body), 404, "MODEL_ID_NOT_FOUND")
    listed = call("GET", f"{target.url}/api/v1/workspaces", token=stranger).body["workspaces"]
    assert target.account.workspace_id not in {workspace["id"] for workspace in listed}


def everything_denied(target: Target, token: str) -> None:
    """Every route of the base answers 403 without saying whether anything is there."""
    one, many = f"/{target.record_id}", {"records": [{"id": target.record_id, "fields": {"Name": "stolen"}}]}
    cells = {"fields": {"Name": "stolen"}}
    calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("POST", "/listRecords", {}),
        ("GET", one, None),
        ("POST", "", cells),
        ("PATCH", one, cells),
        ("PUT", one, cells),
        ("PATCH", "", many),
        ("PUT", "", many),
        ("DELETE", one, None),
        ("DELETE", f"?records[]={target.record_id}", None),
        ("PATCH", "", {"performUpsert": {"fieldsToMergeOn": ["Name"]}, "records": [cells]}),
    ]
    for method, path, body in calls:
        answer = target.call(method, path, body=body, token=token)
        check(answer, 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")
    meta = f"{target.url}/v0/meta/bases/{target.base_id}/tables"
    field_id = call("GET", meta, token=target.account.token).body["tables"][0]["fields"][0]["id"]
    metadata_calls: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("POST", "", {"name": "Stolen", "fields": [{"name": "Name", "type": "singleLineText"}]}),
        ("PATCH", f"/{target.table_id}", {"name": "Stolen"}),
        ("POST", f"/{target.table_id}/fields", {"name": "Stolen", "type": "singleLineText"}),
        ("PATCH", f"/{target.table_id}/fields/{field_id}", {"name": "Stolen"}),
    ]
    for method, path, body in metadata_calls:
        answer = call(method, meta + path, token=token, body=body)
        check(answer, 403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")


def new_token(target: Target, **wanted: Any) -> dict[str, Any]:
    """A further token of the table's owner."""
    answer = call("POST", f"{target.url}/api/v1/auth/tokens", token=target.account.token, body={"name": "t", **wanted})
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.body
    return made


def test_a_head_without_end_is_cut_off(platform: Platform) -> None:
    with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as connection:
        connection.sendall(b"GET /v0/meta/whoami HTTP/1.1\r\nhost: x\r\n")
        answer = b""
        with contextlib.suppress(OSError):
            for number in range(4_000):
                connection.sendall(f"x-filler-{number}: ".encode() + b"x" * 1_000 + b"\r\n")
            answer = connection.recv(1_000)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert call("GET", f"{platform.url}/health/live").status == 200
