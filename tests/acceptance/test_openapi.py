"""The OpenAPI document against the platform that it describes: generated requests, every answer as documented."""

import copy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call, new_table_fields

SEED = 20_260_131
TIMEOUT_S = 240
PHASES = {"one-process": "examples,coverage,fuzzing", "processes": "fuzzing"}
"""`coverage` sends about a hundred requests for each operation: at every bound, and beyond each in turn."""
EXAMPLES_MAX = 5
"""Generated requests for each operation in the phase `fuzzing`."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
TAKES_CREDENTIALS = ("logout", "revoke_token")
"""Generated requests would end the token that they are sent with; these two have a test of their own."""

TAKES_FILES = {
    "import_records",
    "upload_file",
    "create_resumable_upload",
    "get_resumable_upload_offset",
    "get_resumable_upload",
    "continue_resumable_upload",
    "delete_resumable_upload",
    "download_file",
    "download_file_head",
}
"""Their bodies are files, of which the document says nothing, or their URLs are signed; tests of their own send some."""

ONCE = {
    "add_reaction",
    "convert_field",
    "create_field",
    "create_sync",
    "delete_comment",
    "delete_field",
    "delete_sync",
    "delete_table",
    "delete_view",
    "duplicate_field",
    "duplicate_table",
    "remove_reaction",
    "remove_view",
    "restore_from_trash",
    "restore_records",
    "sync_csv",
    "undo",
    "update_comment",
    "upload_attachment",
}
"""What they need is gone after one success, or is made by others, or has a form that the document does not tell: whether
one gets through is chance. They are sent all the same, and tests of their own send some that do."""

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(platform: Platform) -> Document:
    """The document as the platform serves it."""
    answer = call("GET", f"{platform.url}/openapi.json")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    found: Document = answer.body
    return found


def operations_of(document: Document) -> dict[str, Document]:
    """Every operation by its id."""
    return {
        operation["operationId"]: operation for methods in document["paths"].values() for operation in methods.values()
    }


_TEXT: Document = {"type": ["string", "null"], "maxLength": 30}
_NUMBER: Document = {"type": ["number", "null"]}
_CELLS: dict[str, Document] = {
    **dict.fromkeys(("singleLineText", "multilineText", "richText", "email", "url", "phoneNumber"), _TEXT),
    **dict.fromkeys(("number", "currency", "percent"), _NUMBER),
    "duration": {"type": ["number", "null"], "minimum": -1e9, "maximum": 1e9},
    "rating": {"type": ["integer", "null"], "minimum": 0, "maximum": 5},
    "checkbox": {"type": ["boolean", "null"]},
    "date": {"type": "string", "format": "date"},
    "dateTime": {"type": "string", "format": "date-time"},
    "singleSelect": {"enum": ["Todo", "Doing", "", None]},
    "multipleSelects": {"type": ["array", "null"], "items": {"enum": ["red", "blue"]}, "uniqueItems": True},
}


class Aim:
    """A document that says of requests only what fits a certain base, so that many of them get through to its rows.

    Requests that break these narrow rules are generated all the same. What is said of answers stays as it is. Structure
    is changed in another table than records are, so that no generated name takes the fields away.
    """

    def __init__(
        self,
        document: Document,
        base: Document,
        spare_base_id: str,
        workspace_id: str,
        kept: list[str],
        lost: list[str],
    ) -> None:
        rows, structure = base["tables"]
        self._cells = {field["name"]: _CELLS[field["type"]] for field in rows["fields"] if field["type"] in _CELLS}
        names = {"enum": [field["name"] for field in rows["fields"]]}
        self._parameters: dict[str, Document] = {
            "base_id": {"enum": [base["id"]]},
            "field_id": {"enum": [field["id"] for field in structure["fields"]]},
            "fields[]": {"type": "array", "items": names},
            "sort[0][field]": names,
            "view": {"enum": [rows["views"][0]["id"], "Grid view"]},
            "name": {"enum": ["ROUND", "datetime_diff"]},
        }
        self._records = {"table": {"enum": [rows["id"], rows["name"]]}, "record_id": {"enum": kept}}
        self._deletes = {
            prefix: {**self._records, "record_id": {"enum": lost[start::5]}, "records[]": _some(lost[start + 1 :: 5])}
            for prefix, start in (("/v0", 0), ("/ap", 2))
        }
        self._structure = {"table": {"enum": [structure["id"]]}}
        self._keys: dict[str, Document] = {
            "workspaceId": {"enum": [workspace_id]},
            "fieldsToMergeOn": _some(["Name", "Amount", "Status"]),
            "view": self._parameters["view"],
            "id": self._records["record_id"],
            # A number, so that every function of an aggregate takes it.
            "field": {"enum": ["Amount"]},
            "groupBy": _some(["Name", "Status"]),
            "baseId": self._parameters["base_id"],
            "table": self._records["table"],
            "recordId": self._records["record_id"],
            "formula": {"enum": ["1 + 1", "'a' & TODAY()", "ROUND({Amount}, 1)"]},
        }
        self._lost = _some(lost[4::5])
        self.document = copy.deepcopy(document)
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                is_structure = path.startswith("/v0/meta/") or "{field_id}" in path or path.endswith("/{table}")
                is_record = path.startswith("/v0/{base_id}/")
                own = self._structure if is_structure and not is_record else self._records
                if method == "delete":
                    own = {**self._deletes[path[:3]], "table": own["table"]}
                if operation["operationId"] == "delete_base":
                    own = {"base_id": {"enum": [spare_base_id]}}
                self._narrow(operation, {**self._parameters, **own})

    def _narrow(self, operation: Document, parameters: dict[str, Document]) -> None:
        for parameter in operation["parameters"]:
            parameter["schema"] = parameters.get(parameter["name"], parameter["schema"])
        if "requestBody" in operation:
            self._narrow_schema(operation["requestBody"]["content"]["application/json"]["schema"])

    def _narrow_schema(self, schema: Document) -> None:
        properties = schema.get("properties", {})
        for name, inner in properties.items():
            if inner.get("description", "").startswith("Cell values"):
                properties[name] = {"type": "object", "properties": self._cells, "additionalProperties": False}
            elif name == "records" and inner.get("items") == {"type": "string"}:
                properties[name] = self._lost
            elif name in self._keys:
                properties[name] = self._keys[name]
            else:
                self._narrow_schema(inner.get("items", inner))
        if "id" in properties:
            schema["required"] = ["id", *schema["required"]]


def _some(values: list[str]) -> Document:
    return {"type": "array", "items": {"enum": values}, "minItems": 1, "maxItems": 2, "uniqueItems": True}


@pytest.fixture(scope="module")
def aimed(platform: Platform, account: Account, document: Document) -> Document:
    """The document narrowed to a new base with records."""
    made, spare = (
        call(
            "POST",
            f"{platform.url}/v0/meta/bases",
            token=account.token,
            body={
                "name": name,
                "workspaceId": account.workspace_id,
                "tables": [{"name": name, "fields": new_table_fields()} for name in ("Rows", "Structure")],
            },
        )
        for name in ("Generated", "Spare")
    )
    assert (made.status, spare.status) == (200, 200), (made.body, spare.body)
    url = f"{platform.url}/v0/{made.body['id']}/Rows"
    rows = [{"fields": {"Name": f"row {number}", "Amount": number}} for number in range(10)]
    ids = [
        record["id"]
        for _ in range(12)
        for record in call("POST", url, token=account.token, body={"records": rows}).body["records"]
    ]
    return Aim(document, made.body, spare.body["id"], account.workspace_id, kept=ids[:10], lost=ids[10:]).document


def answers(platform: Platform) -> dict[tuple[str, str], float]:
    """How many answers the gateway has given, by operation and status."""
    text = call("GET", f"{platform.url}/metrics").body
    pattern = r'^pyat_requests_total\{operation="(\w+)",service="api_gateway",status="(\d+)"\} (\S+)$'
    return {(name, status): float(count) for name, status, count in re.findall(pattern, text, re.MULTILINE)}


@pytest.mark.timeout(TIMEOUT_S + 30)
def test_generated_requests_get_documented_answers(
    platform: Platform, account: Account, aimed: Document, tmp_path: Path
) -> None:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(aimed))
    before = answers(platform)
    words = ["run", str(path), "--url", platform.url, "--header", f"Authorization: Bearer {account.token}"]
    words += ["--phases", PHASES[platform.mode], "--max-examples", str(EXAMPLES_MAX), "--seed", str(SEED)]
    words += ["--checks", ",".join(CHECKS), "--generation-database", "none", "--no-color"]
    # One worker: Python 3.11 fails now and then where two threads parse source code, as Hypothesis does.
    words += ["--workers", "1"]
    for name in TAKES_CREDENTIALS:
        words += ["--exclude-operation-id", name]
    finished = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout}{finished.stderr}\n{platform.logs()}"
    # Nothing was learned where everything was refused.
    assert call("GET", f"{platform.url}/v0/meta/whoami", token=account.token).status == 200
    counts = {key: count - before.get(key, 0) for key, count in answers(platform).items()}
    refused = {
        name
        for name in operations_of(aimed).keys() - set(TAKES_CREDENTIALS) - TAKES_FILES - ONCE - {"login"}
        if not counts.get((name, "200"))
    }
    # Without the phase `coverage` there are too few requests for each operation to be sure of one that gets through.
    if "coverage" in PHASES[platform.mode]:
        assert not refused, f"no generated request of {refused} succeeded: {counts}"
    assert not [key for key, count in counts.items() if key[1] >= "500" and count]


def check(document: Document, name: str, answer: Answer, status: int) -> Any:
    """The body of an answer with that status, as the document says of the operation."""
    assert answer.status == status, answer.body
    content = operations_of(document)[name]["responses"][str(status)]["content"]["application/json"]
    jsonschema_rs.validate(content["schema"], answer.body)
    return answer.body


def test_operations_that_end_credentials_answer_as_documented(
    platform: Platform, account: Account, document: Document
) -> None:
    tokens = f"{platform.url}/api/v1/auth/tokens"
    made = call("POST", tokens, token=account.token, body={"name": "short", "scopes": ["data.records:read"]})
    token = check(document, "create_token", made, 200)
    revoked = call("DELETE", f"{tokens}/{token['id']}", token=token["token"])
    assert check(document, "revoke_token", revoked, 200) == {"id": token["id"], "deleted": True}
    check(document, "revoke_token", call("DELETE", f"{tokens}/{token['id']}", token=token["token"]), 401)
    check(document, "revoke_token", call("DELETE", f"{tokens}/{token['id']}", token=account.token), 404)
    check(document, "revoke_token", call("DELETE", f"{tokens}/patShort", token=account.token), 404)

    logout = f"{platform.url}/api/v1/auth/logout"
    check(document, "logout", call("POST", logout, token=account.token), 403)
    check(document, "logout", call("POST", logout), 401)
    known = platform.home.credentials()
    body = {"email": known["email"], "password": known["password"]}
    session = check(document, "login", call("POST", f"{platform.url}/api/v1/auth/login", body=body), 200)
    assert check(document, "logout", call("POST", logout, token=session["token"]), 200)["deleted"] is True
    check(document, "logout", call("POST", logout, token=session["token"]), 401)


def test_the_document_is_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for schema in [item["schema"] for content in contents for item in content.get("content", {}).values()]:
                jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_the_document_is_the_one_that_the_command_exports(
    platform: Platform, document: Document, tmp_path: Path
) -> None:
    platform.command("export-openapi", str(tmp_path / "openapi.json"))
    assert json.loads((tmp_path / "openapi.json").read_text("utf-8")) == document


class _Page(HTMLParser):
    """The ids and outside addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what a browser would fetch to show the page; links to follow are not."""
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(found["id"] or "")
        self.scripts += tag == "script"
        self.loaded += [found["src"] or ""] if "src" in found else []
        self.loaded += [found["href"] or ""] if tag == "link" and "href" in found else []


def test_the_page_for_people_needs_nothing_from_elsewhere(platform: Platform, document: Document) -> None:
    answer = call("GET", f"{platform.url}/docs")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = _Page()
    page.feed(answer.body)
    assert page.loaded == []
    assert page.scripts == 0
    assert "@import" not in answer.body
    assert "url(" not in answer.body
    assert set(operations_of(document)) <= set(page.ids)
