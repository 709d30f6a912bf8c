"""What goes beyond Airtable's records API, over HTTP on a running platform: large batches, aggregates, export, import."""

import csv
import datetime
import io
import json
import secrets
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest
from arro3.io import read_parquet

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call

ABSENT = "recAAAAAAAAAAAAAA"

FIELDS: list[dict[str, Any]] = [
    {"name": "Name", "type": "singleLineText"},
    {"name": "Age", "type": "number", "options": {"precision": 1}},
    {"name": "Status", "type": "singleSelect", "options": {"choices": [{"name": "Todo"}, {"name": "Done"}]}},
    {"name": "Tags", "type": "multipleSelects", "options": {"choices": [{"name": "a"}, {"name": "b, c"}]}},
    {"name": "Day", "type": "date", "options": {"dateFormat": {"name": "iso"}}},
    {"name": "Done", "type": "checkbox", "options": {"icon": "check", "color": "greenBright"}},
    {"name": "Number", "type": "autoNumber"},
]

Call = Callable[..., Answer]


@pytest.fixture
def table(platform: Platform, account: Account) -> str:
    """The address of a new, empty table `T`, without the part after it."""
    body = {
        "name": f"Base {secrets.token_hex(4)}",
        "workspaceId": account.workspace_id,
        "tables": [{"name": "T", "fields": FIELDS}],
    }
    made = call("POST", f"{platform.url}/v0/meta/bases", token=account.token, body=body)
    assert made.status == 200, made.body
    return f"{platform.url}/api/v1/bases/{made.body['id']}/tables/T"


@pytest.fixture
def ask(account: Account, table: str) -> Call:
    """Calls an address below the table as the administrator."""

    def run(method: str, path: str, **options: Any) -> Answer:
        return call(method, path if path.startswith("http") else table + path, token=account.token, **options)

    return run


def rows(count: int) -> dict[str, Any]:
    """A body that creates records with running names and ages."""
    return {"records": [{"fields": {"Name": f"row {number}", "Age": number}} for number in range(count)]}


def test_a_thousand_records_go_in_and_out_at_once(ask: Call) -> None:
    made = ask("POST", "/records", body=rows(1000))
    assert made.status == 200, made.body
    ids = [record["id"] for record in made.body["records"]]
    assert len(ids) == 1000
    page = ask("GET", "/records?pageSize=1000").body
    assert [record["id"] for record in page["records"]] == ids
    assert "offset" not in page
    first = ask("POST", "/records/list", body={"pageSize": 600}).body
    rest = ask("POST", "/records/list", body={"pageSize": 600, "offset": first["offset"]}).body
    assert [record["id"] for record in first["records"] + rest["records"]] == ids
    changes = {"records": [{"id": record_id, "fields": {"Age": -1}} for record_id in ids]}
    changed = ask("PATCH", "/records", body=changes)
    assert [record["fields"]["Age"] for record in changed.body["records"]] == [-1] * 1000
    assert ask("DELETE", f"/records?records[]={ids[0]}").body == {"records": [{"id": ids[0], "deleted": True}]}
    gone = ask("POST", "/records/delete", body={"records": ids[1:]})
    assert [item["id"] for item in gone.body["records"]] == ids[1:]
    assert ask("GET", "/records").body == {"records": []}


def test_upserts_take_a_thousand(ask: Call) -> None:
    upsert = {**rows(1000), "performUpsert": {"fieldsToMergeOn": ["Name"]}}
    made = ask("PATCH", "/records", body=upsert).body
    again = ask("PUT", "/records", body=upsert).body
    assert len(made["createdRecords"]) == 1000
    assert sorted(again["updatedRecords"]) == sorted(made["createdRecords"])


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/records", rows(1001), "1000 record objects"),
        ("PATCH", "/records", {"records": [{"id": ABSENT, "fields": {}}] * 1001}, "1000 record objects"),
        ("POST", "/records/delete", {"records": [ABSENT] * 1001}, "1000 record IDs"),
        ("POST", "/records/delete", {"records": []}, "1000 record IDs"),
        ("POST", "/records/delete", {"records": [1]}, "list of record ids"),
        ("POST", "/records/delete", {"records": [ABSENT]}, ABSENT),
        ("GET", "/records?pageSize=1001", None, "between 1 and 1000"),
    ],
)
def test_what_is_beyond_a_bound_is_refused(ask: Call, method: str, path: str, body: Any, message: str) -> None:
    refused = ask(method, path, body=body)
    assert refused.status == 422
    assert message in refused.body["error"]["message"]
    assert ask("GET", "/records").body == {"records": []}


def test_a_batch_may_be_larger_than_a_body_of_airtables(ask: Call, platform: Platform, account: Account) -> None:
    large = {"records": [{"fields": {"Name": "x" * 90_000}} for _ in range(80)]}
    assert len(ask("POST", "/records", body=large).body["records"]) == 80
    assert ask("POST", "/records", raw=b" " * (20 * 1024 * 1024 + 1)).status == 413


def test_sums_by_group(ask: Call) -> None:
    ask("POST", "/records", body={**rows(4), "typecast": True})
    ask("POST", "/records", body={"records": [{"fields": {"Age": 10, "Status": "Done"}}]})
    body = {"groupBy": ["Status"], "aggregates": [{"function": "sum", "field": "Age"}, {"function": "countAll"}]}
    found = ask("POST", "/aggregate", body=body)
    assert found.body == {
        "groups": [{"key": {"Status": None}, "values": [6, 4]}, {"key": {"Status": "Done"}, "values": [10, 1]}],
        "hasMore": False,
    }
    assert ask("POST", "/aggregate", body={**body, "limit": 1}).body["hasMore"] is True
    for wrong in ({}, {"aggregates": [1]}, {"aggregates": [{"function": 1}]}, {**body, "limit": 10_001}):
        assert ask("POST", "/aggregate", body=wrong).status == 422


@pytest.fixture
def filled(ask: Call) -> list[dict[str, Any]]:
    """Three records with something in every column, one without."""
    cells = [
        {"Name": 'a,\r\n"b"', "Age": 1.5, "Status": "Todo", "Tags": ["b, c", "a"], "Day": "2024-02-29", "Done": True},
        {"Name": " Zoë 🐍\t<&>", "Age": -2e300},
        {"Name": "=1+1"},
        {},
    ]
    made = ask("POST", "/records", body={"records": [{"fields": item} for item in cells]})
    found: list[dict[str, Any]] = made.body["records"]
    return found


def test_export_as_ndjson(ask: Call, filled: list[dict[str, Any]]) -> None:
    answer = ask("GET", "/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''T.ndjson"
    assert [json.loads(line) for line in answer.raw.decode().removesuffix("\n").split("\n")] == filled


def test_export_as_csv(ask: Call, filled: list[dict[str, Any]]) -> None:
    answer = ask("GET", "/export?format=csv")
    assert list(csv.reader(io.StringIO(answer.raw.decode(), newline=""), strict=True)) == [
        [field["name"] for field in FIELDS],
        [filled[0]["fields"]["Name"], "1.5", "Todo", '"b, c", a', "2024-02-29", "true", "1"],
        [filled[1]["fields"]["Name"], "-2e+300", "", "", "", "", "2"],
        ["=1+1", "", "", "", "", "", "3"],
        ["", "", "", "", "", "", "4"],
    ]
    shown = ask("GET", "/export?format=csv&cellFormat=string&timeZone=utc&userLocale=en&fields[]=Done&fields[]=Age")
    assert shown.raw.split(b"\r\n")[:2] == [b'"Done","Age"', b"checked,1.5"]


def test_export_as_a_worksheet(ask: Call, filled: list[dict[str, Any]]) -> None:
    book = openpyxl.load_workbook(io.BytesIO(ask("GET", "/export?format=xlsx").raw))
    found = [list(row) for row in book.active.iter_rows(values_only=True)]
    assert found == [
        [field["name"] for field in FIELDS],
        [filled[0]["fields"]["Name"], 1.5, "Todo", '"b, c", a', datetime.datetime(2024, 2, 29), True, 1],
        [filled[1]["fields"]["Name"], -2e300, None, None, None, None, 2],
        ["=1+1", None, None, None, None, None, 3],
        [None, None, None, None, None, None, 4],
    ]
    assert book.active.cell(4, 1).data_type == "s"
    assert book.active.cell(2, 5).number_format == "yyyy\\-mm\\-dd"


def test_export_as_parquet(ask: Call, filled: list[dict[str, Any]]) -> None:
    found = read_parquet(io.BytesIO(ask("GET", "/export?format=parquet").raw)).read_all()
    columns = {name: found.column(name).to_pylist() for name in found.column_names}
    assert columns == {
        "Name": [record["fields"].get("Name") for record in filled],
        "Age": [1.5, -2e300, None, None],
        "Status": ["Todo", None, None, None],
        "Tags": ['"b, c", a', None, None, None],
        "Day": [datetime.date(2024, 2, 29), None, None, None],
        "Done": [True, None, None, None],
        "Number": [1, 2, 3, 4],
    }


@pytest.mark.parametrize(
    "query",
    ["format=pdf", "format=csv&fields[]=Nmae", "format=csv&cellFormat=string", "format=ndjson&cellFormat=string"],
)
def test_what_cannot_be_exported_is_refused(ask: Call, query: str) -> None:
    assert ask("GET", f"/export?{query}").status == 422


@pytest.mark.parametrize("file_format", ["csv", "ndjson", "xlsx", "parquet"])
def test_what_was_exported_can_be_imported(ask: Call, filled: list[dict[str, Any]], file_format: str) -> None:
    exported = ask("GET", f"/export?format={file_format}").raw
    imported = ask("POST", f"/import?format={file_format}", raw=exported)
    assert imported.body == {"created": 4, "rejectedCount": 0, "rejected": [], "ignored": ["Number"]}
    found = [record["fields"] for record in ask("GET", "/records").body["records"]]
    expected = [{**record["fields"], "Number": number} for number, record in enumerate(filled, 5)]
    assert found[4:] == expected


def test_a_large_import_arrives_as_a_stream(ask: Call) -> None:
    content = b"Name,Age\n" + b"".join(b"%s %d,%d\n" % (b"x" * 1000, number, number) for number in range(8_000))
    assert ask("POST", "/import?format=csv", raw=content).body["created"] == 8_000
    exported = ask("GET", "/export?format=csv&fields[]=Name&fields[]=Age").raw
    assert exported.replace(b"\r\n", b"\n").partition(b"\n")[2] == content.partition(b"\n")[2]


def test_an_import_that_does_not_fit_writes_nothing(ask: Call) -> None:
    content = b"Name,Age\nAnn,1\nBob,many\n"
    refused = ask("POST", "/import?format=csv", raw=content)
    assert refused.status == 422
    assert [(item["line"], item["field"]) for item in refused.body["rejected"]] == [(3, "Age")]
    assert ask("GET", "/records").body == {"records": []}
    taken = ask("POST", "/import?format=csv&invalid=blank", raw=content)
    assert (taken.body["created"], taken.body["rejectedCount"]) == (2, 1)
    for query in ("", "format=pdf", "format=csv&invalid=no"):
        assert ask("POST", f"/import?{query}", raw=content).status == 422


# Entity tags


def test_a_record_is_read_and_written_by_its_tag(ask: Call) -> None:
    record = ask("POST", "/records", body=rows(1)).body["records"][0]
    path = f"/records/{record['id']}"
    first = ask("GET", path)
    assert first.body == record
    tag = first.headers["etag"]
    by_id = ask("GET", f"{path}?returnFieldsByFieldId=1").headers["etag"]
    assert by_id != tag
    same = ask("GET", path, headers={"if-none-match": f'"x", {tag}'})
    assert (same.status, same.raw, same.headers["etag"]) == (304, b"", tag)
    assert ask("GET", path, headers={"if-none-match": by_id}).status == 200
    changed = ask("PATCH", path, body={"fields": {"Age": 5}}, headers={"if-match": tag})
    assert changed.body["fields"]["Age"] == 5
    assert ask("GET", path, headers={"if-none-match": tag}).status == 200
    for method, body in (("PATCH", {"fields": {"Age": 6}}), ("PUT", {"fields": {}}), ("DELETE", None)):
        refused = ask(method, path, body=body, headers={"if-match": tag})
        assert (refused.status, refused.body["error"]["type"]) == (412, "PRECONDITION_FAILED")
    assert ask("GET", path).body == changed.body
    current = ask("GET", f"{path}?returnFieldsByFieldId=1").headers["etag"]
    assert ask("PUT", path, body={"fields": {}}, headers={"if-match": f'"x", {current}'}).status == 200
    assert ask("DELETE", path, headers={"if-match": "*"}).body == {"id": record["id"], "deleted": True}
    assert ask("GET", path).status == 404
    assert ask("PATCH", path, body={"fields": {}}, headers={"if-match": "*"}).status == 404


# Keys


def test_a_repeat_with_the_same_key_writes_nothing(ask: Call) -> None:
    headers = {"idempotency-key": "a key"}
    first = ask("POST", "/records", body=rows(3), headers=headers)
    again = ask("POST", "/records", body=rows(3), headers=headers)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status, again.raw) == (200, first.raw)
    assert len(ask("GET", "/records").body["records"]) == 3
    other = ask("POST", "/records", body=rows(2), headers=headers)
    assert (other.status, other.body["error"]["type"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert len(ask("POST", "/records", body=rows(3)).body["records"]) == 3


def test_every_kind_of_write_can_be_repeated(ask: Call, table: str, platform: Platform) -> None:
    made = ask("POST", "/records", body=rows(3)).body["records"]
    path = f"/records/{made[0]['id']}"
    tag = ask("GET", path).headers["etag"]
    upsert = {"records": [{"fields": {"Name": name}} for name in ("row 1", "new")]}
    base_id = table.split("/")[6]
    writes: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"fields": {"Age": 10}}),
        ("PATCH", "/records", {**upsert, "performUpsert": {"fieldsToMergeOn": ["Name"]}}),
        ("PUT", "/records", {"records": [{"id": made[1]["id"], "fields": {"Name": "replaced"}}]}),
        ("DELETE", f"/records?records[]={made[2]['id']}", None),
        ("DELETE", path, None),
        ("POST", f"{platform.url}/v0/{base_id}/T", {"fields": {"Name": "by Airtable's path"}}),
    ]
    for number, (method, where, body) in enumerate(writes):
        headers = {"idempotency-key": f"key {number}"}
        if number == 0:
            headers["if-match"] = tag
        run = [ask(method, where, body=body, headers=headers) for _ in range(2)]
        assert [answer.status for answer in run] == [200, 200], run
        assert run[0].raw == run[1].raw
        assert [answer.headers.get("idempotency-replayed") for answer in run] == [None, "true"]
    names = [record["fields"]["Name"] for record in ask("GET", "/records").body["records"]]
    assert names == ["replaced", "new", "by Airtable's path"]


def test_an_import_can_be_repeated(ask: Call) -> None:
    headers = {"idempotency-key": "import"}
    run = [ask("POST", "/import?format=csv", raw=b"Name,Number\nx,1\n", headers=headers) for _ in range(2)]
    assert run[0].body == run[1].body == {"created": 1, "rejectedCount": 0, "rejected": [], "ignored": ["Number"]}
    assert run[1].headers["idempotency-replayed"] == "true"
    assert ask("POST", "/import?format=csv", raw=b"Name\ny\n", headers=headers).status == 422
    assert len(ask("GET", "/records").body["records"]) == 1


def test_a_failed_write_leaves_its_key_free(ask: Call) -> None:
    headers = {"idempotency-key": "x" * 255}
    assert ask("POST", "/records", body={"records": [{"fields": {"Nmae": 1}}]}, headers=headers).status == 422
    assert ask("POST", "/records", body=rows(1), headers=headers).status == 200
    assert ask("POST", "/records", body=rows(1), headers={"idempotency-key": "x" * 256}).status == 422
    assert ask("POST", "/records", body=rows(1), headers={"idempotency-key": "\xe9"}).status == 422
