"""The unmodified pyairtable client against a started platform, in one process and in many."""

import datetime
from typing import Any

import pytest
import requests
from pyairtable import Api, Base, Table

from tests.acceptance.support import Account, new_table_fields


@pytest.fixture
def base(api: Api, account: Account) -> Base:
    """A new base with one table that has every field type of the platform."""
    return api.create_base(
        account.workspace_id,
        "Acceptance",
        [{"name": "People & things / all", "description": "Every type", "fields": new_table_fields()}],
    )


@pytest.fixture
def table(base: Base) -> Table:
    return base.table("People & things / all")


def test_the_token_says_who_it_is(api: Api, account: Account) -> None:
    assert api.whoami() == {"id": account.user_id, "email": account.email}


def test_records_are_created_read_updated_and_deleted(table: Table) -> None:
    created = table.create({"Name": "Ann", "Amount": 12.5, "Done": True, "Status": "Todo", "Tags": ["red", "blue"]})
    assert created["fields"]["Name"] == "Ann"
    assert created["fields"]["Tags"] == ["red", "blue"]
    assert created["fields"]["Number"] == 1
    assert table.get(created["id"]) == created

    updated = table.update(created["id"], {"Amount": 13, "Done": False})
    assert updated["fields"]["Amount"] == 13
    assert "Done" not in updated["fields"]
    assert updated["fields"]["Name"] == "Ann"

    replaced = table.update(created["id"], {"Name": "Bea"}, replace=True)
    assert set(replaced["fields"]) == {"Name", "Number", "Created", "Modified", "Maker", "Editor", "Open", "Shout"}
    assert replaced["fields"]["Shout"] == "Bea!"

    assert table.delete(created["id"]) == {"id": created["id"], "deleted": True}
    with pytest.raises(requests.HTTPError, match="404"):
        table.get(created["id"])


def test_every_type_reads_back_what_was_written(table: Table, account: Account) -> None:
    me = {"id": account.user_id, "email": account.email, "name": "Administrator"}
    written: dict[str, Any] = {
        "Name": "Zoë 🐍\nline",
        "Notes": "first\nsecond",
        "Email": "zoe@example.com",
        "Site": "https://example.com/?q=ä",
        "Phone": "+41 44 123 45 67",
        "Amount": -1234567.125,
        "Price": 0.1,
        "Share": 0.125,
        "Time": 3661.5,
        "Stars": 4,
        "Done": True,
        "Day": "2024-02-29",
        "Moment": "2024-02-29T23:59:59.123Z",
        "Status": "Done, really",
        "Tags": ['quo"te', "red"],
        "Code": {"text": "0123", "type": "ean8"},
        "Owner": me,
        "Team": [me],
    }
    record = table.create(written)
    read = dict(record["fields"])
    assert [read.pop(name) for name in ("Maker", "Editor", "Open")] == [
        me,
        me,
        {"label": "Open", "url": "https://example.org"},
    ]
    created, modified, number = read.pop("Created"), read.pop("Modified"), read.pop("Number")
    assert read.pop("Shout") == "Zoë 🐍\nline!"
    assert read == written
    assert number == 1
    assert created.endswith(".000Z")
    assert datetime.datetime.fromisoformat(modified).tzinfo is not None
    by_id = table.all(use_field_ids=True)[0]["fields"]
    assert len(by_id) == len(record["fields"])
    assert all(key.startswith("fld") and len(key) == 17 for key in by_id)


def test_cells_as_text(table: Table) -> None:
    record = table.create({"Amount": 1.5, "Price": 1234.5, "Moment": "2024-02-29T23:59:59Z", "Code": {"text": "01"}})
    shown = {"cell_format": "string", "time_zone": "America/New_York", "user_locale": "en-gb"}
    for fields in (table.all(**shown)[0]["fields"], table.get(record["id"], **shown)["fields"]):
        assert all(isinstance(text, str) for text in fields.values())
        wanted = {"Amount": "1.500", "Price": "$1,234.50", "Moment": "2024-02-29 23:59", "Code": "01", "Open": "Open"}
        assert {name: fields[name] for name in wanted} == wanted
        assert fields["Maker"] == "Administrator"


def test_batches_are_cut_created_updated_and_deleted(table: Table) -> None:
    created = table.batch_create([{"Name": f"row {number}", "Amount": number} for number in range(25)])
    assert [record["fields"]["Number"] for record in created] == list(range(1, 26))
    changed = table.batch_update([{"id": record["id"], "fields": {"Amount": 0}} for record in created])
    assert [record["id"] for record in changed] == [record["id"] for record in created]
    deleted = table.batch_delete([record["id"] for record in created[:12]])
    assert all(item["deleted"] for item in deleted)
    assert len(table.all()) == 13


def test_a_failing_record_undoes_its_batch(table: Table) -> None:
    with pytest.raises(requests.HTTPError, match="INVALID_VALUE_FOR_COLUMN"):
        table.batch_create([{"Name": "good"}, {"Amount": "not a number"}])
    assert table.all() == []
    assert table.create({"Name": "next"})["fields"]["Number"] == 1


def test_upsert_creates_updates_and_refuses_ambiguity(table: Table) -> None:
    first = table.batch_upsert(
        [{"fields": {"Name": "Ann", "Amount": 1}}, {"fields": {"Name": "Bob", "Amount": 2}}], key_fields=["Name"]
    )
    assert len(first["createdRecords"]) == 2
    assert first["updatedRecords"] == []
    second = table.batch_upsert(
        [{"fields": {"Name": "Ann", "Amount": 3}}, {"fields": {"Name": "Cy", "Amount": 4}}], key_fields=["Name"]
    )
    assert second["updatedRecords"] == [first["createdRecords"][0]]
    assert len(second["createdRecords"]) == 1
    assert [record["fields"]["Amount"] for record in second["records"]] == [3, 4]

    same = table.batch_upsert(
        [{"fields": {"Name": "Dee", "Amount": 1}}, {"fields": {"Name": "Dee", "Amount": 2}}], key_fields=["Name"]
    )
    assert len(same["createdRecords"]) == 1
    assert [record["fields"]["Amount"] for record in same["records"]] == [2, 2]

    table.batch_create([{"Name": "Twin"}, {"Name": "Twin"}])
    with pytest.raises(requests.HTTPError, match="INVALID_RECORDS"):
        table.batch_upsert([{"fields": {"Name": "Twin", "Amount": 9}}], key_fields=["Name"])


def test_upsert_merges_on_several_fields(table: Table) -> None:
    keys = ["Amount", "Status", "Tags"]
    row: dict[str, Any] = {"Amount": 1, "Status": "Todo", "Tags": ["red", "blue"]}
    created = table.batch_upsert([{"fields": row}], key_fields=keys)
    again = table.batch_upsert([{"fields": {**row, "Tags": ["blue", "red"], "Name": "found"}}], key_fields=keys)
    assert again["updatedRecords"] == created["createdRecords"]
    assert again["records"][0]["fields"]["Name"] == "found"


def test_paging_gives_every_record_once(table: Table) -> None:
    table.batch_create([{"Name": f"row {number}", "Amount": number % 7} for number in range(130)])
    pages = list(table.iterate(page_size=40))
    assert [len(page) for page in pages] == [40, 40, 40, 10]
    assert len({record["id"] for page in pages for record in page}) == 130
    assert len(table.all(max_records=55, page_size=20)) == 55
    first = table.first()
    assert first is not None
    assert first["fields"]["Name"] == "row 0"


@pytest.mark.parametrize("direction", ["", "-"])
def test_sorting_pages_without_gap_or_repeat(table: Table, direction: str) -> None:
    rows: list[dict[str, Any]] = [
        {"Name": f"n{number:03}", **({"Amount": number % 5} if number % 4 else {})} for number in range(60)
    ]
    table.batch_create(rows)
    listed = [
        r["fields"] for r in table.all(sort=[f"{direction}Amount", "-Name"], page_size=7, fields=["Name", "Amount"])
    ]
    blanks_last = float("inf") if direction else float("-inf")
    expected = sorted(rows, key=lambda row: row["Name"], reverse=True)
    expected.sort(key=lambda row: (-row["Amount"] if direction else row["Amount"]) if "Amount" in row else blanks_last)
    assert listed == expected


def test_selects_sort_by_the_order_of_their_choices(table: Table) -> None:
    for name in ("Done, really", "Todo", "Doing"):
        table.create({"Name": name, "Status": name})
    assert [r["fields"]["Status"] for r in table.all(sort=["Status"])] == ["Todo", "Doing", "Done, really"]


def test_typecast_converts_and_adds_choices(table: Table) -> None:
    record = table.create(
        {"Amount": "1,234.5", "Done": "yes", "Status": "Brand new", "Tags": "red, fresh", "Day": "3/1/2024"},
        typecast=True,
    )
    fields = record["fields"]
    assert fields["Amount"] == 1234.5
    assert fields["Done"] is True
    assert fields["Status"] == "Brand new"
    assert fields["Tags"] == ["red", "fresh"]
    status: Any = table.schema(force=True).field("Status")
    choices = status.options.choices
    assert [choice.name for choice in choices][-1] == "Brand new"
    with pytest.raises(requests.HTTPError, match="INVALID_MULTIPLE_CHOICE_OPTIONS"):
        table.create({"Status": "Never seen"})


def test_long_lists_of_fields_go_by_post(table: Table) -> None:
    table.create({"Name": "Ann", "Amount": 1})
    # Beyond 16,000 characters of URL pyairtable lists by POST.
    records = table.all(fields=["Name"] * 3000)
    assert [record["fields"] for record in records] == [{"Name": "Ann"}]


def test_schema_is_created_read_and_updated(base: Base, api: Api, account: Account) -> None:
    schema = base.schema(force=True)
    table_schema = schema.table("People & things / all")
    assert table_schema.description == "Every type"
    assert [field.name for field in table_schema.fields] == [field["name"] for field in new_table_fields()]
    assert table_schema.primary_field_id == table_schema.field("Name").id
    assert [view.type for view in table_schema.views] == ["grid"]
    assert table_schema.views[0].visible_field_ids == [field.id for field in table_schema.fields]

    new_table = base.create_table("Second", [{"name": "Title", "type": "singleLineText"}])
    field: Any = new_table.create_field("Score", "number", description="points", options={"precision": 1})
    assert field.options.precision == 1
    field.name = "Points"
    field.save()
    points: Any = new_table.schema(force=True).field("Points")
    assert points.description == "points"
    second = new_table.schema(force=True)
    second.name = "Renamed"
    second.save()
    assert base.table("Renamed").all() == []
    assert any(found.id == base.id and found.name == "Acceptance" for found in api.bases(force=True))
    assert api.base(base.id).schema().table("Renamed").id == new_table.id


def test_a_deleted_base_is_gone(base: Base, api: Api) -> None:
    base.delete()
    assert base.id not in {found.id for found in api.bases(force=True)}
    with pytest.raises(requests.HTTPError, match="INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"):
        api.base(base.id).schema(force=True)
    with pytest.raises(requests.HTTPError, match="INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND"):
        api.base(base.id).table("People & things / all").all()


def test_table_names_with_slashes_work_by_name_and_id(base: Base, table: Table) -> None:
    created = table.create({"Name": "x"})
    by_id = base.table(base.schema().table("People & things / all").id)
    assert by_id.get(created["id"]) == created
    assert base.table("PEOPLE & THINGS / ALL").get(created["id"]) == created


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ({"Nope": 1}, 'Unknown field name: "Nope"'),
        ({"Amount": "1"}, 'Field "Amount" cannot accept the provided value'),
        ({"Number": 3}, "because the field is computed"),
        ({"Stars": 11}, 'Field "Stars" cannot accept the provided value'),
    ],
)
def test_errors_are_those_of_airtable(table: Table, cells: dict[str, Any], error: str) -> None:
    with pytest.raises(requests.HTTPError) as caught:
        table.create(cells)
    assert caught.value.response is not None
    assert caught.value.response.status_code == 422
    assert error in str(caught.value).replace('\\"', '"')
