"""Views on the wire: Airtable's operations, and those that make and change views."""

import pytest

from pyat.foundation.errors import NO_PERMISSION_OR_MODEL
from pyat.foundation.ids import new_id
from pyat.recordstore.structure import Base
from tests.support.schema import OTHER_TENANT, Client, principal

INVALID = "INVALID_REQUEST_UNKNOWN"


def wire(base: Base) -> str:
    """Airtable's path of a base's views."""
    return f"/v0/meta/bases/{base.base_id}/views"


def own(base: Base) -> str:
    """Our path of a base's views."""
    return f"/api/v1/bases/{base.base_id}/views"


async def test_views_are_made_here_and_seen_at_airtables_paths(client: Client, base: Base) -> None:
    table = base.tables[0]
    name, notes = (field.field_id for field in table.fields)
    grid = table.views[0].view_id
    made = await client.ok(
        "POST",
        f"/api/v1/bases/{base.base_id}/tables/Tasks/views",
        {
            "name": "Short",
            "description": "Without notes",
            "hiddenFieldIds": [notes],
            "filter": {"conjunction": "or", "conditions": [{"fieldId": name, "operator": "isNotEmpty"}]},
            "sorts": [{"fieldId": name}],
        },
    )
    assert made == {
        "id": made["id"],
        "tableId": table.table_id,
        "name": "Short",
        "type": "grid",
        "description": "Without notes",
        "fieldIds": [name, notes],
        "hiddenFieldIds": [notes],
        "filter": {"conjunction": "or", "conditions": [{"fieldId": name, "operator": "isNotEmpty"}]},
        "sorts": [{"fieldId": name, "direction": "asc"}],
        "groups": [],
        "settings": {},
    }
    form = await client.ok(
        "POST", f"/api/v1/bases/{base.base_id}/tables/{table.table_id}/views", {"name": "Ask", "type": "form"}
    )
    plain = [
        {"id": grid, "name": "Grid view", "type": "grid"},
        {"id": made["id"], "name": "Short", "type": "grid"},
        {"id": form["id"], "name": "Ask", "type": "form"},
    ]
    shown = [{**plain[0], "visibleFieldIds": [name, notes]}, {**plain[1], "visibleFieldIds": [name]}, plain[2]]
    assert await client.ok("GET", wire(base)) == {"views": plain}
    assert await client.ok("GET", f"{wire(base)}?include=visibleFieldIds") == {"views": shown}
    assert await client.ok("GET", f"{wire(base)}/{made['id']}") == plain[1]
    assert await client.ok("GET", f"{wire(base)}/{made['id']}?include[]=visibleFieldIds") == shown[1]
    schema = await client.ok("GET", f"/v0/meta/bases/{base.base_id}/tables?include=visibleFieldIds")
    assert schema["tables"][0]["views"] == shown

    path = f"{own(base)}/{made['id']}"
    assert await client.ok("GET", path) == made
    changed = await client.ok("PATCH", path, {"fieldIds": [notes, name], "hiddenFieldIds": [], "description": ""})
    assert changed == {key: item for key, item in made.items() if key != "description"} | {
        "fieldIds": [notes, name],
        "hiddenFieldIds": [],
    }
    everything = {key: item for key, item in changed.items() if key not in ("id", "tableId", "type")}
    assert await client.ok("PATCH", path, everything) == changed
    copy = await client.ok("POST", f"{path}/duplicate", {})
    assert copy == {**changed, "id": copy["id"], "name": "Short copy"}
    listed = await client.ok("GET", own(base))
    assert [view["id"] for view in listed["views"]] == [grid, made["id"], form["id"], copy["id"]]

    assert await client.ok("DELETE", f"{wire(base)}/{made['id']}") == {"id": made["id"], "deleted": True}
    assert await client.ok("DELETE", f"{own(base)}/{copy['id']}") == {"id": copy["id"], "deleted": True}
    assert (await client.ok("GET", wire(base)))["views"] == [plain[0], plain[2]]


async def test_a_gantt_view_is_a_block_at_airtables_paths_only(client: Client, base: Base) -> None:
    fields = [
        await client.ok(
            "POST",
            f"/v0/meta/bases/{base.base_id}/tables/Tasks/fields",
            {"name": name, "type": "date", "options": {"dateFormat": {"name": "iso"}}},
        )
        for name in ("Start", "End")
    ]
    made = await client.ok(
        "POST",
        f"/api/v1/bases/{base.base_id}/tables/Tasks/views",
        {
            "name": "Plan",
            "type": "gantt",
            "settings": {"startDateFieldId": fields[0]["id"], "endDateFieldId": fields[1]["id"]},
        },
    )
    assert made["type"] == "gantt"
    assert (await client.ok("GET", f"{wire(base)}/{made['id']}"))["type"] == "block"


async def test_the_last_grid_cannot_be_deleted(client: Client, base: Base) -> None:
    view_id = base.tables[0].views[0].view_id
    for path in (wire(base), own(base)):
        message = "Invalid request: the last grid view of a table cannot be deleted."
        assert await client.refused("DELETE", f"{path}/{view_id}") == (422, INVALID, message)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"colour": 1}', b'{"name": 5}', b'{"name": ""}'])
async def test_a_bad_body_is_told_to_those_who_reach_the_view(client: Client, base: Base, body: bytes) -> None:
    view_id = base.tables[0].views[0].view_id
    stranger = principal(tenant_id=OTHER_TENANT)
    for method, target in (
        ("POST", f"/api/v1/bases/{base.base_id}/tables/Tasks/views"),
        ("PATCH", f"{own(base)}/{view_id}"),
        ("POST", f"{own(base)}/{view_id}/duplicate"),
    ):
        status, _, _ = await client.refused(method, target, raw=body)
        assert status in (400, 422)
        hidden = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_PERMISSION_OR_MODEL)
        assert await client.refused(method, target, raw=body, caller=stranger) == hidden
        missing = target.replace(view_id, new_id("viw")).replace("Tasks", "Nothing")
        assert await client.refused(method, missing, raw=body) == hidden


async def test_a_name_is_taken_whatever_its_case(client: Client, base: Base) -> None:
    view_id = base.tables[0].views[0].view_id
    taken = (422, "DUPLICATE_VIEW_NAME", 'There is already a view named "GRID VIEW"')
    body = {"name": "GRID VIEW"}
    assert await client.refused("POST", f"/api/v1/bases/{base.base_id}/tables/Tasks/views", body) == taken
    assert await client.refused("POST", f"{own(base)}/{view_id}/duplicate", body) == taken
    assert (await client.ok("PATCH", f"{own(base)}/{view_id}", body))["name"] == "GRID VIEW"


async def test_deleting_a_view_takes_the_strangers_refusal(client: Client, base: Base) -> None:
    view_id = base.tables[0].views[0].view_id
    hidden = (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_PERMISSION_OR_MODEL)
    for method in ("GET", "DELETE"):
        for path in (wire(base), own(base)):
            stranger = principal(tenant_id=OTHER_TENANT)
            assert await client.refused(method, f"{path}/{view_id}", caller=stranger) == hidden
            assert await client.refused(method, f"{path}/{new_id('viw')}") == hidden
    for path in (wire(base), own(base)):
        assert await client.refused("GET", path, caller=principal(base_ids=frozenset())) == hidden
    status, kind, message = await client.refused("GET", f"{wire(base)}?include=x")
    assert (status, kind) == (422, INVALID)
    assert message.endswith("include takes only visibleFieldIds.")
