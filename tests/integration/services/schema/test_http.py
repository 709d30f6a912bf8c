"""The metadata API on the wire: exact shapes and every refusal (wire reference, sections 4 and 7)."""

import re
from typing import Any

import pytest

from pyat.foundation.db import Database
from pyat.foundation.errors import NO_PERMISSION_OR_MODEL
from pyat.foundation.ids import BaseId, new_id
from pyat.foundation.sql import Statement
from pyat.recordstore.fieldtypes import REGISTRY
from pyat.recordstore.structure import Base
from pyat.services.schema.service import SchemaService
from pyat.services.schema.service.planning import AIRTABLE_TYPES
from tests.support.field_values import APART
from tests.support.schema import OTHER_TENANT, TENANT, Client, new_workspace, principal, schema_service, served

META = "/v0/meta/bases"
INVALID = "INVALID_REQUEST_UNKNOWN"
BAD_OPTIONS = "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE"
NAME_FIELD = {"name": "Name", "type": "singleLineText"}
DATE = {"dateFormat": {"name": "iso", "format": "YYYY-MM-DD"}}
MOMENT = {**DATE, "timeFormat": {"name": "24hour", "format": "HH:mm"}, "timeZone": "utc"}


def tables_of(base: Base) -> str:
    """The path of a base's tables."""
    return f"{META}/{base.base_id}/tables"


async def test_a_base_is_created_listed_and_read(client: Client, service: SchemaService) -> None:
    workspace_id = await new_workspace(service)
    made = await client.ok(
        "POST",
        META,
        {
            "name": "CRM",
            "workspaceId": workspace_id,
            "tables": [
                {
                    "name": "Contacts",
                    "description": "People",
                    "fields": [NAME_FIELD, {"name": "Age", "type": "number", "options": {"precision": 0}}],
                },
                {"name": "Deals", "fields": [{**NAME_FIELD, "description": "Of the deal"}]},
            ],
        },
    )
    assert made.keys() == {"id", "tables"}
    contacts, deals = made["tables"]
    (view,) = contacts["views"]
    assert contacts == {
        "id": contacts["id"],
        "name": "Contacts",
        "primaryFieldId": contacts["fields"][0]["id"],
        "description": "People",
        "fields": [
            {"id": contacts["fields"][0]["id"], "name": "Name", "type": "singleLineText"},
            {"id": contacts["fields"][1]["id"], "name": "Age", "type": "number", "options": {"precision": 0}},
        ],
        "views": [{"id": view["id"], "name": "Grid view", "type": "grid"}],
    }
    assert deals.keys() == {"id", "name", "primaryFieldId", "fields", "views"}
    assert deals["fields"][0]["description"] == "Of the deal"
    ids = [made["id"], contacts["id"], contacts["fields"][0]["id"], view["id"]]
    assert all(re.fullmatch(r"(app|tbl|fld|viw)[0-9A-Za-z]{14}", text) for text in ids)

    assert await client.ok("GET", META) == {"bases": [{"id": made["id"], "name": "CRM", "permissionLevel": "create"}]}
    assert await client.ok("GET", f"{META}/{made['id']}/tables") == {"tables": made["tables"]}


async def test_visible_fields_come_when_asked_for_and_on_grids_only(
    client: Client, base: Base, database: Database
) -> None:
    table = base.tables[0]
    name, notes = (field.field_id for field in table.fields)
    await database.run(
        Statement(
            "views",
            f'UPDATE "{base.base_id}".base_views SET field_ids = $1, hidden_field_ids = $2',
        ),
        [notes, name],
        [name],
    )
    await database.run(
        Statement(
            "form",
            f'INSERT INTO "{base.base_id}".base_views (view_id, table_id, name, type, field_ids, hidden_field_ids)'
            " VALUES ('viw00000000000001', $1, 'Form', 'form', $2, '{}')",
        ),
        table.table_id,
        [name],
    )
    for query in (
        "include=visibleFieldIds",
        "include[]=visibleFieldIds",
        "include%5B%5D=visibleFieldIds",
        "include[0]=visibleFieldIds",
    ):
        answer = await client.ok("GET", f"{tables_of(base)}?{query}")
        grid, form = answer["tables"][0]["views"]
        assert grid == {"id": table.views[0].view_id, "name": "Grid view", "type": "grid", "visibleFieldIds": [notes]}
        assert form == {"id": "viw00000000000001", "name": "Form", "type": "form"}
    for query in ("", "?", "?include=", "?include[]="):
        answer = await client.ok("GET", tables_of(base) + query)
        assert [view.keys() for view in answer["tables"][0]["views"]] == [{"id", "name", "type"}] * 2
    for query in (
        "include=x",
        "include=visibleFieldIds&include=x",
        "include[]=visiblefieldids",
        "include[a]=visibleFieldIds",
    ):
        status, kind, _ = await client.refused("GET", f"{tables_of(base)}?{query}")
        assert (status, kind) == (422, INVALID), query


async def test_paging_of_bases(client: Client, service: SchemaService, database: Database) -> None:
    workspace_id = await new_workspace(service)
    insert = (
        "INSERT INTO schema.bases (base_id, tenant_id, workspace_id, name)"
        " SELECT 'app' || lpad(n::text, 14, '0'), $2, $1, 'B' || n FROM generate_series(1, 1001) n"
    )
    await database.run(Statement("fill", insert), workspace_id, TENANT)
    first = await client.ok("GET", META)
    assert len(first["bases"]) == 1000
    assert re.fullmatch(r"itr[0-9A-Za-z]{14}/app00000000001000", first["offset"])
    second = await client.ok("GET", f"{META}?offset={first['offset'].replace('/', '%2F')}")
    assert second == {"bases": [{"id": "app00000000001001", "name": "B1001", "permissionLevel": "create"}]}
    assert (await client.ok("GET", f"{META}?offset="))["bases"] == first["bases"]
    for query in ("pageSize=10", "pageSize[]=10", "offset=x&pageSize=1"):
        status, kind, _ = await client.refused("GET", f"{META}?{query}")
        assert (status, kind) == (422, INVALID)
    assert await client.refused("GET", f"{META}?offset=nope") == (
        422,
        "INVALID_OFFSET_VALUE",
        "The value of offset nope is invalid",
    )
    limited = principal(base_ids=frozenset({BaseId("app00000000000002")}))
    assert [item["id"] for item in (await client.ok("GET", META, caller=limited))["bases"]] == ["app00000000000002"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "B", "tables": []}, (422, "INVALID_REQUEST", "Server error")),
        ({"name": "B", "workspaceId": None, "tables": []}, (422, "INVALID_REQUEST", "Server error")),
        ({"name": "B", "workspaceId": 7, "tables": [{"name": "T", "fields": [NAME_FIELD]}]}, (422, INVALID, None)),
        ({"name": "B", "workspaceId": "@", "tables": []}, (422, INVALID, None)),
        ({"name": "B", "workspaceId": "@"}, (422, INVALID, None)),
        ({"name": "B", "workspaceId": "@", "tables": {}}, (422, INVALID, None)),
        ({"name": "B", "workspaceId": "@", "tables": ["T"]}, (422, INVALID, None)),
        ({"workspaceId": "@", "tables": [{"name": "T", "fields": [NAME_FIELD]}]}, (422, INVALID, None)),
        ({"name": " ", "workspaceId": "@", "tables": [{"name": "T", "fields": [NAME_FIELD]}]}, (422, INVALID, None)),
        (
            {"name": "x" * 256, "workspaceId": "@", "tables": [{"name": "T", "fields": [NAME_FIELD]}]},
            (422, INVALID, None),
        ),
        (
            {"name": "B", "workspaceId": "@", "tables": [{"name": "T", "fields": [NAME_FIELD]}], "color": 1},
            (422, INVALID, None),
        ),
        (
            {"name": "B", "workspaceId": "wsp00000000000000", "tables": [{"name": "T", "fields": [NAME_FIELD]}]},
            (404, "MODEL_ID_NOT_FOUND", "Workspace not found"),
        ),
        (
            {
                "name": "B",
                "workspaceId": "nonsense",
                "tables": [{"name": "T", "fields": [{"name": "", "type": "number"}]}],
            },
            (404, "MODEL_ID_NOT_FOUND", "Workspace not found"),
        ),
        (
            {"name": "B", "workspaceId": "@", "tables": [{"name": "T", "fields": [NAME_FIELD]}] * 2},
            (422, "DUPLICATE_TABLE_NAME", 'There is already a table named "T"'),
        ),
        (
            {
                "name": "B",
                "workspaceId": "@",
                "tables": [{"name": f"T{n}", "fields": [NAME_FIELD]} for n in range(101)],
            },
            (422, INVALID, "Invalid request: A request can hold at most 100 tables."),
        ),
    ],
)
async def test_refusals_of_create_base(
    client: Client, service: SchemaService, body: dict[str, Any], expected: tuple[int, str, str | None]
) -> None:
    workspace_id = await new_workspace(service)
    if body.get("workspaceId") == "@":
        body = {**body, "workspaceId": workspace_id}
    status, kind, message = await client.refused("POST", META, body)
    assert (status, kind) == expected[:2]
    assert expected[2] in (None, message)
    assert await client.ok("GET", META) == {"bases": []}


TABLE_REFUSALS: list[tuple[Any, tuple[int, str, str | None]]] = [
    ({}, (422, INVALID, None)),
    ({"name": "T"}, (422, INVALID, None)),
    ({"name": "T", "fields": []}, (422, INVALID, None)),
    ({"name": "T", "fields": {}}, (422, INVALID, None)),
    ({"name": "T", "fields": [5]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{"name": "N"}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{"name": "N", "type": 5}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{"name": None, "type": "number"}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{**NAME_FIELD, "id": "fld00000000000001"}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [{**NAME_FIELD, "description": 5}]}, (422, INVALID, None)),
    ({"name": "T", "fields": [NAME_FIELD], "views": []}, (422, INVALID, None)),
    ({"name": "T", "fields": [NAME_FIELD], "primaryFieldId": "x"}, (422, INVALID, None)),
    ({"name": "T", "fields": [NAME_FIELD], "description": ""}, (422, INVALID, None)),
    ({"name": "T", "fields": [NAME_FIELD], "description": "x" * 20_001}, (422, INVALID, None)),
    ({"name": "T", "fields": [NAME_FIELD], "description": ["x"]}, (422, INVALID, None)),
    ({"name": "", "fields": [NAME_FIELD]}, (422, INVALID, None)),
    ({"name": " \n", "fields": [NAME_FIELD]}, (422, INVALID, None)),
    ({"name": "x" * 256, "fields": [NAME_FIELD]}, (422, INVALID, None)),
    ({"name": "a\x00b", "fields": [NAME_FIELD]}, (422, INVALID, None)),
    (
        {"name": "tasks ", "fields": [NAME_FIELD]},
        (422, "DUPLICATE_TABLE_NAME", 'There is already a table named "tasks"'),
    ),
    (
        {"name": "T", "fields": [NAME_FIELD, {"name": " name", "type": "email"}]},
        (422, "DUPLICATE_OR_EMPTY_FIELD_NAME", 'Field names must be unique and non-empty: "name"'),
    ),
    (
        {"name": "T", "fields": [{"name": " ", "type": "email"}]},
        (422, "DUPLICATE_OR_EMPTY_FIELD_NAME", 'Field names must be unique and non-empty: ""'),
    ),
    (
        {
            "name": "T",
            "fields": [{"name": "C", "type": "checkbox", "options": {"icon": "check", "color": "redBright"}}],
        },
        (422, BAD_OPTIONS, "Invalid options for T.C: checkbox fields cannot be the primary field"),
    ),
    (
        {"name": "T", "fields": [NAME_FIELD, {"name": "C", "type": "manualSort"}]},
        (
            422,
            "UNSUPPORTED_FIELD_TYPE_FOR_CREATE",
            "Invalid options for T.C: Creating manualSort fields is not supported at this time",
        ),
    ),
    (
        {"name": "T", "fields": [{"name": f"F{n}", "type": "email"} for n in range(501)]},
        (422, INVALID, "Invalid request: A table can hold at most 500 fields."),
    ),
    ([], (422, "INVALID_REQUEST_BODY", "Could not parse request body")),
    ("text", (422, "INVALID_REQUEST_BODY", "Could not parse request body")),
]


@pytest.mark.parametrize(("body", "expected"), TABLE_REFUSALS)
async def test_refusals_of_create_table(
    client: Client, base: Base, body: Any, expected: tuple[int, str, str | None]
) -> None:
    before = await client.ok("GET", tables_of(base))
    status, kind, message = await client.refused("POST", tables_of(base), body)
    assert (status, kind) == expected[:2]
    assert expected[2] in (None, message)
    assert await client.ok("GET", tables_of(base)) == before


NOWHERE = "fldZZZZZZZZZZZZZZ"
OPTIONS: dict[str, Any] = {
    "number": {"precision": 3},
    "percent": {"precision": 0},
    "currency": {"precision": 2, "symbol": "€"},
    "duration": {"durationFormat": "h:mm:ss"},
    "rating": {"icon": "star", "max": 5, "color": "yellowBright"},
    "checkbox": {"icon": "check", "color": "greenBright"},
    "date": DATE,
    "dateTime": MOMENT,
    "singleSelect": {"choices": [{"name": "Todo", "color": "redLight2"}, {"name": "Done", "color": "greenBright"}]},
    "multipleSelects": {"choices": []},
    "createdTime": {"result": {"type": "date", "options": DATE}},
    "lastModifiedTime": {"result": {"type": "dateTime", "options": MOMENT}},
    "button": {"label": "Open", "url": "https://example.org"},
    "aiText": {"prompt": ["Sum up"]},
    "externalSyncSource": {"choices": [{"name": "Jira", "color": "redLight2"}]},
    "formula": {"formula": "{Name} & 'x'"},
}
READ_ONLY: dict[str, dict[str, Any]] = {
    "lastModifiedTime": {"isValid": True, "referencedFieldIds": []},
    "aiText": {"referencedFieldIds": []},
    "count": {"isValid": True},
    "multipleLookupValues": {"isValid": True, "result": None},
    "rollup": {"isValid": True, "referencedFieldIds": [], "result": None},
}
"""What a field's options show beside what was sent."""


async def test_every_type_can_be_created_and_reads_back(client: Client, base: Base) -> None:
    table_id, name_id = base.tables[0].table_id, base.tables[0].primary_field_id
    link = {"name": "Link", "type": "multipleRecordLinks", "options": {"linkedTableId": table_id}}
    made = [await client.ok("POST", f"{tables_of(base)}/Tasks/fields", link)]
    way = {"recordLinkFieldId": made[0]["id"], "fieldIdInLinkedTable": name_id}
    wanted = {
        **OPTIONS,
        "count": {"recordLinkFieldId": made[0]["id"]},
        "multipleLookupValues": way,
        "rollup": {**way, "formula": "SUM(values)"},
    }
    for number, type_name in enumerate(sorted(set(REGISTRY) - APART)):
        body: dict[str, Any] = {"name": f"F{number}", "type": type_name, "description": "D"}
        if type_name in wanted:
            body["options"] = wanted[type_name]
        field = await client.ok("POST", f"{tables_of(base)}/Tasks/fields", body)
        options = field.get("options", {})
        for choice in options.get("choices", ()):
            assert re.fullmatch("sel[0-9A-Za-z]{14}", choice.pop("id"))
        expected = {**body, "id": field["id"]}
        if type_name in READ_ONLY:
            expected["options"] = {**READ_ONLY[type_name], **body["options"]}
        if type_name == "formula":
            formula = f"{{{name_id}}} & 'x'"
            expected["options"] = {
                "formula": formula,
                "isValid": True,
                "referencedFieldIds": [name_id],
                "result": {"type": "singleLineText"},
            }
        if type_name in ("multipleLookupValues", "rollup"):
            # The sum of texts is a number.
            shown = (
                {"type": "number", "options": {"precision": 0}} if type_name == "rollup" else {"type": "singleLineText"}
            )
            expected["options"] = {**expected["options"], "isValid": True, "result": shown}
        assert field == expected
        made.append(field)
    (table,) = (await client.ok("GET", f"{tables_of(base)}?include=visibleFieldIds"))["tables"]
    for field in table["fields"]:
        for choice in field.get("options", {}).get("choices", ()):
            choice.pop("id")
    assert table["fields"][2:] == made
    assert table["views"][0]["visibleFieldIds"] == [field["id"] for field in table["fields"]]


async def test_a_lookup_may_be_called_so(client: Client, base: Base) -> None:
    link = {"name": "Link", "type": "multipleRecordLinks", "options": {"linkedTableId": base.tables[0].table_id}}
    link_id = (await client.ok("POST", f"{tables_of(base)}/Tasks/fields", link))["id"]
    options = {"recordLinkFieldId": link_id, "fieldIdInLinkedTable": base.tables[0].primary_field_id}
    body = {"name": "Names", "type": "lookup", "options": options}
    field = await client.ok("POST", f"{tables_of(base)}/Tasks/fields", body)
    assert field["type"] == "multipleLookupValues"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            {"type": "count", "options": {"recordLinkFieldId": "{name}"}},
            "recordLinkFieldId is not the id of a link field of the table",
        ),
        (
            {"type": "count", "options": {"recordLinkFieldId": NOWHERE}},
            "recordLinkFieldId is not the id of a link field of the table",
        ),
        (
            {"type": "lookup", "options": {"recordLinkFieldId": "{link}", "fieldIdInLinkedTable": NOWHERE}},
            "fieldIdInLinkedTable is not the id of a field of the linked table",
        ),
        (
            {
                "type": "rollup",
                "options": {"recordLinkFieldId": NOWHERE, "fieldIdInLinkedTable": "{name}", "formula": "1"},
            },
            "recordLinkFieldId is not the id of a link field of the table",
        ),
        ({"type": "formula", "options": {"formula": "{Nothing}"}}, "formula is invalid: Unknown field names: nothing"),
        (
            {"type": "aiText", "options": {"prompt": [{"field": {"fieldId": NOWHERE}}]}},
            f"prompt names no field of the table: {NOWHERE}",
        ),
    ],
)
async def test_references_have_to_be_there(client: Client, base: Base, body: dict[str, Any], problem: str) -> None:
    link = {"name": "Link", "type": "multipleRecordLinks", "options": {"linkedTableId": base.tables[0].table_id}}
    ids = {
        "{link}": (await client.ok("POST", f"{tables_of(base)}/Tasks/fields", link))["id"],
        "{name}": base.tables[0].primary_field_id,
    }
    options = {
        key: ids.get(value, value) if isinstance(value, str) else value for key, value in body["options"].items()
    }
    asked = {"name": "F", "type": body["type"], "options": options}
    assert await client.refused("POST", f"{tables_of(base)}/Tasks/fields", asked) == (
        422,
        "INVALID_FIELD_TYPE_OPTIONS_FOR_CREATE",
        f"Invalid options for Tasks.F: Failed schema validation: F.options.{problem}",
    )


@pytest.mark.parametrize("type_name", sorted(AIRTABLE_TYPES - set(REGISTRY) - {"lookup"} - APART))
async def test_types_of_airtable_that_cannot_be_created(client: Client, base: Base, type_name: str) -> None:
    body = {"name": "F", "type": type_name, "options": {"anything": 1}}
    assert await client.refused("POST", f"{tables_of(base)}/Tasks/fields", body) == (
        422,
        "UNSUPPORTED_FIELD_TYPE_FOR_CREATE",
        f"Invalid options for Tasks.F: Creating {type_name} fields is not supported at this time",
    )


async def test_computed_types_are_refused_when_switched_off(base: Base, database: Database) -> None:
    strict = schema_service(database, create_computed_fields=False)
    async with served(strict, database) as client:
        for type_name in ("autoNumber", "createdTime", "lastModifiedTime"):
            body = {"name": "F", "type": type_name}
            status, kind, _ = await client.refused("POST", f"{tables_of(base)}/Tasks/fields", body)
            assert (status, kind) == (422, "UNSUPPORTED_FIELD_TYPE_FOR_CREATE")


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ({}, INVALID, None),
        ({"name": "F"}, INVALID, None),
        ({"type": "number"}, INVALID, None),
        ({"name": "F", "type": "longText"}, INVALID, None),
        ({"name": "F", "type": ""}, INVALID, None),
        ({"name": "F", "type": ["number"]}, INVALID, None),
        ({"name": "F", "type": "x" * 100_000}, INVALID, None),
        ({"name": "F", "type": "\x00"}, INVALID, None),
        ({"name": "F", "type": "email", "unknown": 1}, INVALID, None),
        ({"name": "F", "type": "email", "description": "x" * 20_001}, INVALID, None),
        ({"name": "F", "type": "email", "description": "\x00"}, INVALID, None),
        ({"name": "a\x00", "type": "email"}, INVALID, None),
        ({"name": "x" * 256, "type": "email"}, INVALID, None),
        ({"name": "NAME", "type": "email"}, "DUPLICATE_OR_EMPTY_FIELD_NAME", None),
        ({"name": "", "type": "email"}, "DUPLICATE_OR_EMPTY_FIELD_NAME", None),
        (
            {"name": "F", "type": "number"},
            BAD_OPTIONS,
            "Invalid options for Tasks.F: Failed schema validation: F.options is missing",
        ),
        ({"name": "F", "type": "number", "options": {}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "number", "options": {"precision": True}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "number", "options": {"precision": 1, "extra": 1}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "number", "options": []}, BAD_OPTIONS, None),
        ({"name": "F", "type": "number", "options": "x"}, BAD_OPTIONS, None),
        ({"name": "F", "type": "email", "options": {"x": 1}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "email", "options": False}, BAD_OPTIONS, None),
        ({"name": "F", "type": "email", "options": []}, BAD_OPTIONS, None),
        ({"name": "F", "type": "currency", "options": {"precision": 2, "symbol": "\x00"}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "singleSelect", "options": {"choices": [{"name": "\x00"}]}}, BAD_OPTIONS, None),
        (
            {"name": "F", "type": "singleSelect", "options": {"choices": [{"name": "a"}, {"name": "a"}]}},
            BAD_OPTIONS,
            None,
        ),
        ({"name": "F", "type": "dateTime", "options": DATE}, BAD_OPTIONS, None),
        ({"name": "F", "type": "dateTime", "options": {**MOMENT, "timeZone": "UTC"}}, BAD_OPTIONS, None),
        ({"name": "F", "type": "createdTime", "options": {"result": {"type": [], "options": {}}}}, BAD_OPTIONS, None),
        (
            {"name": "F", "type": "lastModifiedTime", "options": {"referencedFieldIds": ["fld00000000000000"]}},
            BAD_OPTIONS,
            None,
        ),
    ],
)
async def test_refusals_of_create_field(client: Client, base: Base, body: Any, kind: str, message: str | None) -> None:
    before = await client.ok("GET", tables_of(base))
    status, found, text = await client.refused("POST", f"{tables_of(base)}/Tasks/fields", body)
    assert (status, found) == (422, kind)
    assert message in (None, text)
    assert await client.ok("GET", tables_of(base)) == before


async def test_tables_are_addressed_by_id_or_name(client: Client, base: Base) -> None:
    table = base.tables[0]
    await client.ok("PATCH", f"{tables_of(base)}/Tasks", {"name": "A/B? Ünï"})
    for number, segment in enumerate((table.table_id, "A%2FB%3F%20%C3%9Cn%C3%AF", "a%2fb%3F%20%C3%9Cn%C3%AF")):
        field = await client.ok("POST", f"{tables_of(base)}/{segment}/fields/", {"name": f"F{number}", "type": "email"})
        renamed = await client.ok("PATCH", f"{tables_of(base)}/{segment}/fields/{field['id']}?", {"name": f"G{number}"})
        assert renamed == {"id": field["id"], "name": f"G{number}", "type": "email"}
        answer = await client.ok("PATCH", f"{tables_of(base)}/{segment}/", {"description": f"D{number}"})
        assert (answer["id"], answer["name"], answer["description"]) == (table.table_id, "A/B? Ünï", f"D{number}")
        assert answer.keys() == {"id", "name", "primaryFieldId", "description", "fields", "views"}
    answer = await client.ok("PATCH", f"{tables_of(base)}/{table.table_id}", {"description": ""})
    assert "description" not in answer


async def test_update_field_answers_the_whole_field(client: Client, base: Base) -> None:
    path = f"{tables_of(base)}/Tasks/fields"
    field = await client.ok("POST", path, {"name": "Rate", "type": "rating", "options": OPTIONS["rating"]})
    changed = await client.ok("PATCH", f"{path}/{field['id']}", {"name": "Stars", "description": "1-5"})
    assert changed == {**field, "name": "Stars", "description": "1-5"}
    cleared = await client.ok("PATCH", f"{path}/{field['id']}", {"description": ""})
    assert cleared == {**field, "name": "Stars"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "number"},
        {"options": {"choices": []}},
        {"name": "New", "type": "singleLineText"},
        {"name": 5},
        {"name": None},
        {"name": "x" * 256},
        {"name": "\x00"},
        {"description": 5},
        {"description": "x" * 20_001},
    ],
)
async def test_refusals_of_updates(client: Client, base: Base, body: dict[str, Any]) -> None:
    before = await client.ok("GET", tables_of(base))
    table = base.tables[0]
    for path in (f"{tables_of(base)}/Tasks", f"{tables_of(base)}/Tasks/fields/{table.primary_field_id}"):
        status, kind, message = await client.refused("PATCH", path, body)
        assert (status, kind) == (422, INVALID)
        assert message.startswith("Invalid request: parameter validation failed. Check your request data.")
    assert await client.ok("GET", tables_of(base)) == before


async def test_names_taken_on_update(client: Client, base: Base) -> None:
    field_id = base.tables[0].primary_field_id
    await client.ok("POST", tables_of(base), {"name": "Other", "fields": [NAME_FIELD]})
    status, kind, message = await client.refused("PATCH", f"{tables_of(base)}/Tasks", {"name": "OTHER"})
    assert (status, kind, message) == (422, "DUPLICATE_TABLE_NAME", 'There is already a table named "OTHER"')
    path = f"{tables_of(base)}/Tasks/fields/{field_id}"
    for name in ("notes", " "):
        status, kind, _ = await client.refused("PATCH", path, {"name": name})
        assert (status, kind) == (422, "DUPLICATE_OR_EMPTY_FIELD_NAME")
    await client.ok("PATCH", path, {"name": "NAME"})
    await client.ok("PATCH", f"{tables_of(base)}/Tasks", {"name": "TASKS"})


async def test_date_dependency_settings(client: Client, base: Base) -> None:
    fields = [
        NAME_FIELD,
        {"name": "Start", "type": "date", "options": DATE},
        {"name": "End", "type": "date", "options": DATE},
        {"name": "Days", "type": "number", "options": {"precision": 0}},
        {"name": "At", "type": "dateTime", "options": MOMENT},
    ]
    table = await client.ok("POST", tables_of(base), {"name": "Plan", "fields": fields})
    name, start, end, days, at = (field["id"] for field in table["fields"])
    good = {
        "isEnabled": True,
        "startDateFieldId": start,
        "endDateFieldId": end,
        "durationFieldId": days,
        "predecessorFieldId": None,
        "reschedulingMode": "fixed",
        "shouldSkipWeekendsAndHolidays": True,
        "holidays": ["2026-01-01", "2026-12-25"],
        "isForwardOnly": False,
    }
    path = f"{tables_of(base)}/Plan"
    for key, value in (
        ("isEnabled", 1),
        ("startDateFieldId", at),
        ("startDateFieldId", name),
        ("startDateFieldId", "Start"),
        ("startDateFieldId", ["x"]),
        ("endDateFieldId", None),
        ("durationFieldId", start),
        ("durationFieldId", base.tables[0].primary_field_id),
        ("predecessorFieldId", name),
        ("predecessorFieldId", 7),
        ("reschedulingMode", "sometimes"),
        ("reschedulingMode", []),
        ("shouldSkipWeekendsAndHolidays", "true"),
        ("holidays", ["2026-13-01"]),
        ("holidays", ["20261231"]),
        ("holidays", ["2026-01-01T00:00:00Z"]),
        ("holidays", [20260101]),
        ("holidays", {}),
        ("holidays", None),
        ("holidays", ["2026-01-01"] * 1_001),
        ("isForwardOnly", "no"),
        ("colour", 1),
    ):
        status, kind, _ = await client.refused("PATCH", path, {"dateDependencySettings": {**good, key: value}})
        assert (status, kind) == (422, INVALID), (key, value)
    for key in good.keys() - {"predecessorFieldId", "holidays", "isForwardOnly"}:
        partial = {name: value for name, value in good.items() if name != key}
        status, kind, _ = await client.refused("PATCH", path, {"dateDependencySettings": partial})
        assert (status, kind) == (422, INVALID), key
    wrong: Any
    for wrong in (None, [], "x"):
        status, kind, _ = await client.refused("PATCH", path, {"dateDependencySettings": wrong})
        assert (status, kind) == (422, INVALID)
    assert await client.ok("GET", tables_of(base)) == {
        "tables": [(await client.ok("GET", tables_of(base)))["tables"][0], table]
    }

    answer = await client.ok("PATCH", path, {"dateDependencySettings": good})
    assert answer == {**table, "dateDependencySettings": good}
    assert (await client.ok("GET", tables_of(base)))["tables"][1] == answer


def _operations(base: Base) -> list[tuple[str, str, Any]]:
    table = base.tables[0]
    tables = tables_of(base)
    return [
        ("GET", tables, None),
        ("POST", tables, {"name": "T", "fields": [NAME_FIELD]}),
        ("PATCH", f"{tables}/{table.table_id}", {"name": "X"}),
        ("POST", f"{tables}/{table.table_id}/fields", {"name": "X", "type": "email"}),
        ("PATCH", f"{tables}/{table.table_id}/fields/{table.primary_field_id}", {"name": "X"}),
    ]


async def test_strangers_get_one_answer_whatever_they_send(client: Client, base: Base) -> None:
    """Another tenant, a token without the base, and a base that is not there: nothing tells them apart."""
    refusal = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_PERMISSION_OR_MODEL)
    missing = Base(BaseId(new_id("app")), "", TENANT, base.workspace_id, 1, base.tables)
    cases = [
        (base, principal(tenant_id=OTHER_TENANT)),
        (base, principal(base_ids=frozenset({BaseId("app00000000000001")}))),
        (missing, principal()),
    ]
    for target, caller in cases:
        for method, path, body in _operations(target):
            assert await client.refused(method, path, body, caller=caller) == refusal
            if body is not None:
                # What is wrong with a body is told to nobody who may not know that the base is there.
                assert await client.refused(method, path, {"bad": 1}, caller=caller) == refusal
                assert await client.refused(method, path, caller=caller, raw=b"{") == refusal
        assert await client.refused("GET", f"{tables_of(target)}?include=x", caller=caller) == refusal
    assert await client.ok("GET", META, caller=cases[0][1]) == {"bases": []}
    assert len((await client.ok("GET", tables_of(base)))["tables"]) == 1


async def test_tables_and_fields_that_are_not_there(client: Client, base: Base) -> None:
    refusal = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_PERMISSION_OR_MODEL)
    tables, table_id = tables_of(base), base.tables[0].table_id
    field_id = base.tables[0].primary_field_id
    for method, path in (
        ("PATCH", f"{tables}/tbl00000000000000"),
        ("PATCH", f"{tables}/Nope"),
        ("POST", f"{tables}/Nope/fields"),
        ("PATCH", f"{tables}/Nope/fields/{field_id}"),
        ("PATCH", f"{tables}/{table_id}/fields/fld00000000000000"),
    ):
        assert await client.refused(method, path, {"name": "X", "type": "email"}) == refusal
        assert await client.refused(method, path, raw=b"") == refusal


async def test_paths_without_real_ids_are_no_routes(client: Client, base: Base) -> None:
    for method, path in (
        ("GET", f"{META}/nonsense/tables"),
        ("GET", f"{META}/{base.base_id}x/tables"),
        ("PATCH", f"{tables_of(base)}/Tasks/fields/Name"),
        ("GET", "/v0/meta/nonsense"),
    ):
        assert await client.send(method, path, {}) == (404, {"error": "NOT_FOUND"})
    for method, path in (("DELETE", META), ("PUT", tables_of(base)), ("GET", f"{tables_of(base)}/Tasks")):
        status, answer = await client.send(method, path)
        assert (status, answer["error"]["type"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"[]", b"5", b'"x"', b'{"name": NaN}', b'{"name": "\xff"}', b'{"name": "\\ud800"}']
)
async def test_bodies_that_are_no_json_object(client: Client, base: Base, raw: bytes) -> None:
    operations = [*_operations(base)[1:], ("POST", META, {}), ("POST", "/api/v1/workspaces", {})]
    for method, path, _ in operations:
        assert await client.refused(method, path, raw=raw) == (
            422,
            "INVALID_REQUEST_BODY",
            "Could not parse request body",
        )


async def test_a_body_that_is_too_large(client: Client, base: Base) -> None:
    raw = b'{"name": "' + b"x" * (6 * 1024 * 1024) + b'"}'
    status, kind, _ = await client.refused("POST", tables_of(base), raw=raw)
    assert (status, kind) == (413, "REQUEST_TOO_LARGE")


async def test_workspaces(client: Client) -> None:
    made = await client.ok("POST", "/api/v1/workspaces", {"name": " Sales "})
    assert made == {"id": made["id"], "name": "Sales", "createdTime": made["createdTime"]}
    assert re.fullmatch(r"wsp[0-9A-Za-z]{14}", made["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["createdTime"])
    assert await client.ok("GET", "/api/v1/workspaces") == {"workspaces": [made]}
    stranger = principal(tenant_id=OTHER_TENANT)
    assert await client.ok("GET", "/api/v1/workspaces", caller=stranger) == {"workspaces": []}
    body = {"name": "B", "workspaceId": made["id"], "tables": [{"name": "T", "fields": [NAME_FIELD]}]}
    assert (await client.refused("POST", META, body, caller=stranger))[:2] == (404, "MODEL_ID_NOT_FOUND")
    limited = principal(base_ids=frozenset({BaseId("app00000000000001")}))
    for path, wanted in (("/api/v1/workspaces", {"name": "X"}), (META, body)):
        status, kind, _ = await client.refused("POST", path, wanted, caller=limited)
        assert (status, kind) == (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")
    for bad in ({}, {"name": 5}, {"name": ""}, {"name": "X", "plan": "free"}, {"name": "\x00"}):
        status, kind, _ = await client.refused("POST", "/api/v1/workspaces", bad)
        assert (status, kind) == (422, INVALID)


async def test_what_a_client_library_does_after_a_write(client: Client, service: SchemaService) -> None:
    """It reads the list or the structure again at once and must find what it made."""
    workspace_id = await new_workspace(service)
    body = {"name": "New", "workspaceId": workspace_id, "tables": [{"name": "T", "fields": [NAME_FIELD]}]}
    made = await client.ok("POST", META, body)
    assert made["id"] in [base["id"] for base in (await client.ok("GET", META))["bases"]]
    path = f"{META}/{made['id']}/tables"
    table = await client.ok("POST", path, {"name": "U", "fields": [NAME_FIELD]})
    assert table["id"] in [found["id"] for found in (await client.ok("GET", path))["tables"]]
