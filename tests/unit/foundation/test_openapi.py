"""The OpenAPI document and the page: complete, valid, and made from nothing but the operations."""

import importlib
import pkgutil
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import orjson
import pytest

import pyat.services
from pyat.foundation.errors import ModelNotFound
from pyat.foundation.openapi import document, errors_of, example_of, group_of, html
from pyat.foundation.web import Operation, Parameter
from tests.support.errors import sample

_RECORD = {
    "type": "object",
    "required": ["id", "fields"],
    "properties": {
        "id": {"type": "string", "pattern": "^rec[0-9A-Za-z]{14}$"},
        "fields": {"type": "object", "description": "Cells by <name> & `id`."},
        "child": {"$ref": "#/components/schemas/Tree"},
    },
}
COMPONENTS = {
    "Tree": {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"enum": ["leaf", "branch"]},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
        },
    }
}
GET = Operation(
    "get_record",
    "GET",
    "/v0/{base_id:app}/{table}/{record_id:rec}",
    "Get a record",
    "data.records:read",
    query=(Parameter("returnFieldsByFieldId", {"type": "boolean"}, "By id."),),
    answer=_RECORD,
    errors=(ModelNotFound,),
)
CREATE = Operation(
    "create_record",
    "POST",
    "/v0/{base_id:app}/{table}",
    "Create",
    "data.records:write",
    body={"type": "object", "required": ["fields"], "properties": {"fields": {"type": "object"}}},
    answer=_RECORD,
)
OPEN = Operation("sign_in", "POST", "/api/v1/sessions", "Sign in", is_public=True, body={"type": "object"})
MADE = document([GET, CREATE, OPEN], title="Made <for> tests", version="1.2.3", components=COMPONENTS)


def _real_operations() -> list[Operation]:
    found: list[Operation] = []
    for module in pkgutil.iter_modules(pyat.services.__path__):
        routes = f"pyat.services.{module.name}.routes"
        if importlib.util.find_spec(routes) is not None:
            found.extend(getattr(importlib.import_module(routes), "OPERATIONS", ()))
    return found


REAL = document(_real_operations(), title="PyAirtable", version="1", components={})


def _schemas(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "schema":
                yield item
            yield from _schemas(item)
    elif isinstance(value, list):
        for item in value:
            yield from _schemas(item)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_path_templates_lose_their_prefixes_and_gain_patterns() -> None:
    get = MADE["paths"]["/v0/{base_id}/{table}/{record_id}"]["get"]
    path = {item["name"]: item for item in get["parameters"] if item["in"] == "path"}
    assert list(path) == ["base_id", "table", "record_id"]
    assert path["record_id"]["schema"]["pattern"] == "^rec[0-9A-Za-z]{14}$"
    assert "pattern" not in path["table"]["schema"]
    assert all(item["required"] for item in path.values())


def test_an_operation_names_the_scope_it_needs() -> None:
    assert MADE["paths"]["/v0/{base_id}/{table}"]["post"]["security"] == [{"bearer": ["data.records:write"]}]
    assert MADE["paths"]["/api/v1/sessions"]["post"]["security"] == []


@pytest.mark.parametrize(
    ("operation", "statuses"),
    [
        (GET, {401, 403, 404, 413, 414, 422, 429, 431, 500, 503}),
        (CREATE, {401, 403, 404, 413, 414, 422, 429, 431, 500, 503}),
        (OPEN, {413, 414, 422, 429, 431, 500, 503}),
        (Operation("plain", "GET", "/v0/meta/whoami", "Who"), {401, 413, 414, 429, 431, 500, 503}),
    ],
)
def test_every_status_that_can_be_answered_is_documented(operation: Operation, statuses: set[int]) -> None:
    made = document([operation], title="t", version="1", components={})
    ((methods,),) = (made["paths"].values(),)
    assert {int(status) for status in methods[operation.method.lower()]["responses"]} == statuses | {200}
    assert {error.status for error in errors_of(operation)} == statuses


@pytest.mark.parametrize("operation", [GET, CREATE, OPEN, *_real_operations()], ids=lambda item: item.name)
def test_every_error_body_fits_the_schema_of_its_status(operation: Operation) -> None:
    made = document([operation], title="t", version="1", components={})
    ((methods,),) = (made["paths"].values(),)
    responses = methods[operation.method.lower()]["responses"]
    for error in errors_of(operation):
        body = orjson.loads(sample(error).body())
        schema = responses[str(error.status)]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, body)
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, {"error": {"type": "SOMETHING_ELSE"}})


def test_a_status_with_both_shapes_takes_both() -> None:
    schema = MADE["paths"]["/v0/{base_id}/{table}/{record_id}"]["get"]["responses"]["404"]["content"][
        "application/json"
    ]["schema"]
    jsonschema_rs.validate(schema, {"error": "NOT_FOUND"})
    jsonschema_rs.validate(schema, {"error": {"type": "MODEL_ID_NOT_FOUND", "message": "Record not found"}})


def test_busy_answers_say_when_to_come_back() -> None:
    responses = MADE["paths"]["/api/v1/sessions"]["post"]["responses"]
    assert {status for status, item in responses.items() if "Retry-After" in item.get("headers", {})} == {"429", "503"}


@pytest.mark.parametrize("made", [MADE, REAL], ids=["made up", "real"])
def test_every_schema_is_valid_and_every_reference_leads_somewhere(made: dict[str, Any]) -> None:
    schemas = [*_schemas(made["paths"]), *made["components"]["schemas"].values()]
    assert schemas
    for schema in schemas:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for reference in _references(made):
        head, _, name = reference.rpartition("/")
        assert head == "#/components/schemas"
        assert name in made["components"]["schemas"]


@pytest.mark.parametrize("made", [MADE, REAL], ids=["made up", "real"])
def test_operation_ids_are_unique_and_the_document_is_json(made: dict[str, Any]) -> None:
    ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    assert orjson.loads(orjson.dumps(made)) == made


@pytest.mark.parametrize("made", [MADE, REAL], ids=["made up", "real"])
def test_every_example_fits_its_schema(made: dict[str, Any]) -> None:
    components = made["components"]["schemas"]
    for schema in _schemas(made["paths"]):
        jsonschema_rs.validate({**schema, "components": {"schemas": components}}, example_of(schema, components))


def test_paths_that_differ_in_parameter_names_only_are_refused() -> None:
    other = Operation("other", "GET", "/v0/{base:app}/{table}", "Other")
    with pytest.raises(AssertionError, match="same path"):
        document([CREATE, other], title="t", version="1", components={})


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/v0/{base_id:app}/{table}", "Records"),
        ("/v0/meta/bases", "Metadata"),
        ("/api/v1/workspaces/{workspace_id:wsp}", "Workspaces"),
        ("/api/v1/personal-tokens", "Personal tokens"),
        ("/oauth2/v1/token", "Oauth2"),
    ],
)
def test_operations_stand_under_their_noun(path: str, group: str) -> None:
    assert group_of(Operation("x", "GET", path, "x")) == group


class _Page(HTMLParser):
    _VOID = frozenset({"meta", "link", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self._VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert value is not None
            assert not name.startswith("on")
            if name == "id":
                assert value not in self.ids
                self.ids.add(value)
            if name in {"href", "src"}:
                self.links.add(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("made", [MADE, REAL], ids=["made up", "real"])
def test_the_page_is_well_formed_complete_and_needs_nothing_from_elsewhere(made: dict[str, Any]) -> None:
    page = _Page()
    page.feed(html(made))
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert page.links <= {f"#{name}" for name in page.ids} | {"/openapi.json"}
    for path, methods in made["paths"].items():
        assert path in page.text
        for operation in methods.values():
            assert operation["operationId"] in page.ids
            assert operation["summary"] in page.text
            for parameter in operation["parameters"]:
                assert parameter["name"] in page.text


def test_the_page_escapes_what_it_shows() -> None:
    text = html(MADE)
    assert "Made &lt;for&gt; tests" in text
    assert "Cells by &lt;name&gt; &amp; <code>id</code>." in text
    assert "<name>" not in text


def test_the_page_shows_a_call_that_can_be_pasted() -> None:
    text = html(MADE)
    assert "curl -X POST &#x27;http://127.0.0.1:8080/v0/appAbCdEfGhIjKlMn/Table&#x27;" in text
    assert "Needs a token with the scope <code>data.records:read</code>" in text
    assert "Needs no credentials" in text


def test_an_answer_has_the_status_of_its_operation() -> None:
    operation = Operation("begin", "POST", "/api/v1/things", "Begin", status=201)
    responses = document([operation], title="t", version="1", components={})["paths"]["/api/v1/things"]["post"][
        "responses"
    ]
    assert responses["201"]["description"] == "Created"
    assert "200" not in responses
