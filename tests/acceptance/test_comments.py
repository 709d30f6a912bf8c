"""Comments through the unmodified pyairtable client; CSV sync through its HTTP session."""

import pytest
import requests
from pyairtable import Api, Table

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account


@pytest.fixture
def table(api: Api, account: Account) -> Table:
    """A new table with the fields `Name` and `Amount`."""
    fields = [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Amount", "type": "number", "options": {"precision": 0}},
    ]
    base = api.create_base(account.workspace_id, "Comments", [{"name": "People", "fields": fields}])
    return base.table("People")


def test_comments_are_made_listed_changed_and_deleted(table: Table, account: Account) -> None:
    record_id = table.create({"Name": "Ann"})["id"]
    assert table.comments(record_id) == []
    first = table.add_comment(record_id, f"Hello @[{account.user_id}]")
    assert first.author.id == account.user_id
    assert first.author.email == account.email
    assert first.last_updated_time is None
    assert first.mentioned[account.user_id].email == account.email
    second = table.add_comment(record_id, "again")
    assert [comment.id for comment in table.comments(record_id)] == [second.id, first.id]

    first.text = "changed"
    first.save()
    assert first.last_updated_time is not None
    assert [comment.text for comment in table.comments(record_id)] == ["again", "changed"]

    stale = table.comments(record_id)[1]
    first.delete()
    assert [comment.id for comment in table.comments(record_id)] == [second.id]
    with pytest.raises(requests.HTTPError, match="404"):
        stale.save()


def test_long_lists_of_comments_are_paged(table: Table) -> None:
    record_id = table.create({"Name": "Ann"})["id"]
    made = [table.add_comment(record_id, f"{number}").id for number in range(101)]
    assert [comment.id for comment in table.comments(record_id)] == made[::-1]


def test_records_say_how_many_comments_they_have(table: Table) -> None:
    ann, bob = table.batch_create([{"Name": "Ann"}, {"Name": "Bob"}])
    table.add_comment(ann["id"], "first")
    found = {record["id"]: record["commentCount"] for record in table.all(count_comments=True)}
    assert found == {ann["id"]: 1, bob["id"]: 0}
    assert all("commentCount" not in record for record in table.all())


def test_a_csv_file_is_synced(platform: Platform, api: Api, table: Table) -> None:
    ann = table.create({"Name": "Ann", "Amount": 1})
    table.create({"Name": "Gone"})
    base_id, table_id = table.base.id, table.id
    sync = api.request(
        "POST",
        f"{platform.url}/api/v1/bases/{base_id}/tables/{table_id}/syncs",
        json={"keyField": "Name", "deletesMissing": True},
    )
    url = f"{platform.url}/v0/{base_id}/{table_id}/sync/{sync['id']}"
    headers = {"Content-Type": "text/csv"}
    assert api.session.post(url, data=b"Name,Amount\nAnn,2\nBob,3\n", headers=headers).json() == {"success": True}
    found = {record["fields"]["Name"]: (record["id"], record["fields"]["Amount"]) for record in table.all()}
    assert found["Ann"] == (ann["id"], 2)
    assert {name: amount for name, (_, amount) in found.items()} == {"Ann": 2, "Bob": 3}
    assert api.session.post(url, data=b"Name,Amount\nAnn,9\nBob\n", headers=headers).status_code == 422
    assert {record["fields"]["Amount"] for record in table.all()} == {2, 3}
