"""Comments, their reactions and CSV sync, whichever binding they are asked through."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import (
    AppError,
    InvalidRequest,
    ModelNotFound,
    NotPermittedOrNotFound,
    OperationNotPermitted,
    RateLimitReached,
)
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, RecordId, UserId
from pyat.recordstore.errors import AmbiguousUpsert, InvalidOffset, LimitReached, UnknownFieldName
from pyat.services.airtable_gateway.contract import InvalidFile, ListQuery, Records
from tests.contract.conftest import Bind
from tests.support.records import decoded, make_bench
from tests.support.schema import OTHER_TENANT, principal

ABSENT = RecordId("recAAAAAAAAAAAAAA")
ABSENT_COMMENT = "comAAAAAAAAAAAAAA"


class Caller:
    """The contract, spoken by one principal to table `T` of one base with one record."""

    def __init__(self, records: Records, base_id: BaseId) -> None:
        self.records = records
        self.base_id = base_id
        self.record_id = ABSENT
        self.to: dict[str, Any] = {"principal": principal(), "base_id": base_id, "table": "T"}

    @property
    def about(self) -> dict[str, Any]:
        """What every call about a comment names."""
        return {**self.to, "record_id": self.record_id}

    async def create(self, **cells: Any) -> RecordId:
        """A new record."""
        body = await self.records.create_records(**self.to, rows=(cells,), typecast=False, by_id=False)
        return RecordId(decoded(body)[0]["id"])

    async def comment(self, text: str, *, parent_id: str | None = None, caller: Principal | None = None) -> Any:
        """A new comment."""
        about = {**self.about, "principal": caller or principal()}
        return orjson.loads(await self.records.create_comment(**about, text=text, parent_id=parent_id))

    async def comments(self, offset: str | None = None, rows_max: int = 100) -> tuple[list[Any], str | None]:
        """A page."""
        page = await self.records.list_comments(**self.about, offset=offset, rows_max=rows_max)
        return decoded(page.comments), page.offset

    async def listed(self, **query: Any) -> list[Any]:
        """All records of the table."""
        page = await self.records.list_records(**self.to, query=ListQuery(**query))
        return decoded(page.records)

    async def sync(self, sync_id: str, text: str) -> None:
        """Sync a file."""
        await self.records.sync_csv(**self.to, sync_id=sync_id, data=text.encode())


def bob() -> Principal:
    return replace(principal(), user_id=UserId("usr00000000000002"), email="bob@example.org", name="Bob")


@pytest_asyncio.fixture
async def caller(bind: Bind, database: Database, cache: Cache) -> Caller:
    bench = await make_bench(database, cache)
    caller = Caller(await bind(Records, bench.records), bench.base_id)
    caller.record_id = await caller.create(Name="Ann")
    return caller


# Comments


async def test_comments_come_newest_first_in_pages(caller: Caller) -> None:
    assert await caller.comments() == ([], None)
    made = [await caller.comment(f"text {number}") for number in range(5)]
    assert await caller.comments() == (made[::-1], None)
    first, offset = await caller.comments(rows_max=2)
    assert first == [made[4], made[3]]
    assert offset is not None
    assert offset.startswith("com")
    # The place stays where it is when the comment that marks it goes, and newer ones do not move it.
    await caller.records.delete_comment(**caller.about, comment_id=made[3]["id"])
    await caller.comment("newer")
    second, offset = await caller.comments(offset, rows_max=2)
    assert second == [made[2], made[1]]
    assert await caller.comments(offset, rows_max=2) == ([made[0]], None)


async def test_a_comment_shows_its_author_mentions_and_parent(caller: Caller) -> None:
    await caller.comment("so that Bob is known", caller=bob())
    parent = await caller.comment("Hi @[usr00000000000002], @[usr0000000000000x] and @[ugp00000000000001]")
    assert parent == {
        "id": parent["id"],
        "text": "Hi @[usr00000000000002], @[usr0000000000000x] and @[ugp00000000000001]",
        "createdTime": parent["createdTime"],
        "lastUpdatedTime": None,
        "author": {"id": "usr00000000000001", "email": "ann@example.org", "name": "Ann"},
        "mentioned": {
            "usr00000000000002": {
                "type": "user",
                "id": "usr00000000000002",
                "displayName": "Bob",
                "email": "bob@example.org",
            }
        },
    }
    reply = await caller.comment("yes", parent_id=parent["id"])
    assert reply["parentCommentId"] == parent["id"]
    assert (await caller.comments())[0][:2] == [reply, parent]


async def test_only_the_author_changes_and_deletes_a_comment(caller: Caller) -> None:
    made = await caller.comment("first")
    other = {**caller.about, "principal": bob(), "comment_id": made["id"]}
    with pytest.raises(OperationNotPermitted):
        await caller.records.update_comment(**other, text="mine now")
    with pytest.raises(OperationNotPermitted):
        await caller.records.delete_comment(**other)
    own = {**caller.about, "comment_id": made["id"]}
    changed = orjson.loads(await caller.records.update_comment(**own, text="second"))
    assert changed["lastUpdatedTime"] >= made["createdTime"]
    assert changed == {**made, "text": "second", "lastUpdatedTime": changed["lastUpdatedTime"]}
    await caller.records.delete_comment(**own)
    assert await caller.comments() == ([], None)
    with pytest.raises(ModelNotFound, match="Comment not found"):
        await caller.records.delete_comment(**own)


@pytest.mark.parametrize("text", ["", "  \n", "x" * 100_001, "a\x00b"])
async def test_texts_out_of_their_bounds_are_refused(caller: Caller, text: str) -> None:
    made = await caller.comment("x" * 100_000)
    with pytest.raises(InvalidRequest):
        await caller.comment(text)
    with pytest.raises(InvalidRequest):
        await caller.records.update_comment(**caller.about, comment_id=made["id"], text=text)
    assert await caller.comments() == ([made], None)


async def test_what_is_not_there_is_told(caller: Caller) -> None:
    made, other = await caller.comment("first"), await caller.create(Name="Other")
    with pytest.raises(ModelNotFound, match="Comment not found"):
        await caller.comment("reply", parent_id=ABSENT_COMMENT)
    with pytest.raises(ModelNotFound, match="Comment not found"):
        await caller.records.update_comment(**{**caller.about, "record_id": other}, comment_id=made["id"], text="x")
    for offset in ("", "com", ABSENT_COMMENT, f"{ABSENT_COMMENT}/-1", f"{ABSENT_COMMENT}/{'9' * 19}"):
        with pytest.raises(InvalidOffset):
            await caller.comments(offset)
    for record_id, table in ((ABSENT, "T"), (caller.record_id, "Other")):
        with pytest.raises(ModelNotFound, match="Record not found"):
            await caller.records.create_comment(
                **{**caller.about, "record_id": record_id, "table": table}, text="x", parent_id=None
            )
    stranger = {**caller.about, "principal": principal(tenant_id=OTHER_TENANT)}
    with pytest.raises(NotPermittedOrNotFound):
        await caller.records.list_comments(**stranger, offset=None, rows_max=100)


async def test_comments_go_and_come_back_with_their_record(caller: Caller) -> None:
    made = await caller.comment("first")
    await caller.records.delete_records(**caller.to, record_ids=(caller.record_id,))
    reacting: dict[str, Any] = {
        "principal": principal(),
        "base_id": caller.base_id,
        "comment_id": made["id"],
        "emoji": "1f44d",
    }
    with pytest.raises(ModelNotFound):
        await caller.comments()
    with pytest.raises(ModelNotFound):
        await caller.records.react(**reacting, is_there=True)
    await caller.records.restore_records(principal=principal(), base_id=caller.base_id, record_ids=(caller.record_id,))
    assert await caller.comments() == ([made], None)


async def test_the_change_log_has_comments(caller: Caller) -> None:
    to: dict[str, Any] = {"principal": principal(), "base_id": caller.base_id}
    begun = (await caller.records.list_changes(**to, after=None, rows_max=1)).last
    made = await caller.comment("first")
    about = {**caller.about, "comment_id": made["id"]}
    await caller.records.update_comment(**about, text="second")
    await caller.records.delete_comment(**about)
    found = decoded((await caller.records.list_changes(**to, after=begun, rows_max=10)).changes)
    assert [(entry["type"], entry["item"], entry["change"]) for entry in found] == [
        (kind, made["id"], {"record": caller.record_id})
        for kind in ("comment.created", "comment.updated", "comment.deleted")
    ]


async def test_records_count_their_comments_when_asked(caller: Caller) -> None:
    made = await caller.comment("first")
    await caller.comment("reply", parent_id=made["id"])
    await caller.create(Name="}}")
    plain = await caller.listed()
    assert [record.get("commentCount") for record in plain] == [None, None]
    assert await caller.listed(counts_comments=True) == [
        {**record, "commentCount": count} for record, count in zip(plain, (2, 0), strict=True)
    ]


# Reactions


async def test_a_reaction_is_there_once_for_each_user(caller: Caller) -> None:
    made = await caller.comment("first")
    to: dict[str, Any] = {"base_id": caller.base_id, "comment_id": made["id"]}
    for who in (principal(), bob(), principal()):
        shown = await caller.records.react(principal=who, **to, emoji="2764-FE0F", is_there=True)
    heart = {"unicodeCharacter": "2764-fe0f"}
    of_bob = {
        "emoji": heart,
        "reactingUser": {"userId": "usr00000000000002", "email": "bob@example.org", "name": "Bob"},
    }
    reactions = orjson.loads(shown)["reactions"]
    assert [item["reactingUser"]["name"] for item in reactions] == ["Ann", "Bob"]
    assert reactions[1] == of_bob
    shown = await caller.records.react(principal=principal(), **to, emoji="2764-fe0f", is_there=False)
    assert orjson.loads(shown)["reactions"] == [of_bob]
    shown = await caller.records.react(principal=bob(), **to, emoji="2764-fe0f", is_there=False)
    assert orjson.loads(shown) == made


@pytest.mark.parametrize("emoji", ["", "61", "zz", "1f44d-", "110000", "d800", "-".join(["1f44d"] * 17)])
async def test_what_is_no_emoji_is_refused(caller: Caller, emoji: str) -> None:
    made = await caller.comment("first")
    with pytest.raises(InvalidRequest):
        await caller.records.react(
            principal=principal(), base_id=caller.base_id, comment_id=made["id"], emoji=emoji, is_there=True
        )


# CSV sync


async def test_a_sync_updates_creates_and_deletes(caller: Caller) -> None:
    sync = await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=True)
    assert await caller.records.list_syncs(**caller.to) == (sync,)
    await caller.create(Name="Gone", Age=1)
    await caller.sync(sync.sync_id, '\ufeffName,Age,Status\r\nAnn,30,Todo\r\n"Bo, ""B""",,New\r\n')
    found = await caller.listed()
    cells = [{key: value for key, value in record["fields"].items() if key != "Number"} for record in found]
    assert cells == [{"Name": "Ann", "Age": 30, "Status": "Todo"}, {"Name": 'Bo, "B"', "Status": "New"}]
    assert found[0]["id"] == caller.record_id
    await caller.sync(sync.sync_id, "Name,Age\nAnn,\n")
    assert [record["fields"].get("Age") for record in await caller.listed()] == [None]
    await caller.sync(sync.sync_id, "Name\n")
    assert await caller.listed() == []


async def test_a_sync_keeps_what_a_file_lacks_unless_told(caller: Caller) -> None:
    sync = await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=False)
    await caller.sync(sync.sync_id, "Name\nBob\n")
    assert [record["fields"]["Name"] for record in await caller.listed()] == ["Ann", "Bob"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidFile),
        ("Age\n1\n", InvalidFile),
        ("Name,Name\na,b\n", InvalidFile),
        ("Name,Nme\na,b\n", UnknownFieldName),
        ("Name,Age\nNew,1\na\n", InvalidFile),
        ('Name\nNew\n"a\n', InvalidFile),
        ("Name,Age\nNew,1\n,2\n", InvalidFile),
        ("Name\nNew\nNew\n", InvalidFile),
        ("Name\nNew\nTwice\n", AmbiguousUpsert),
        ("Name\n" + "".join(f"{number}\n" for number in range(10_001)), InvalidFile),
        (",".join(["Name"] * 501), InvalidFile),
        ("Name\nNe\x00w\n", InvalidFile),
    ],
)
async def test_a_file_with_a_fault_changes_nothing(caller: Caller, text: str, error: type[AppError]) -> None:
    sync = await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=True)
    for _ in range(2):
        await caller.create(Name="Twice")
    before = await caller.listed()
    with pytest.raises(error):
        await caller.sync(sync.sync_id, text)
    assert await caller.listed() == before


async def test_a_sync_needs_a_key_a_scope_and_to_be_there(caller: Caller) -> None:
    for key, error in (("Number", InvalidRequest), ("Nme", UnknownFieldName)):
        with pytest.raises(error):
            await caller.records.create_sync(**caller.to, key_field=key, is_deleting=False)
    sync = await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=False)
    unscoped = replace(principal(), scopes=frozenset({"data.records:write"}))
    with pytest.raises(NotPermittedOrNotFound):
        await caller.records.sync_csv(**{**caller.to, "principal": unscoped}, sync_id=sync.sync_id, data=b"Name\nx\n")
    with pytest.raises(ModelNotFound, match="Sync not found"):
        await caller.records.sync_csv(**{**caller.to, "table": "Other"}, sync_id=sync.sync_id, data=b"Name\nx\n")
    of_base: dict[str, Any] = {"principal": principal(), "base_id": caller.base_id, "sync_id": sync.sync_id}
    await caller.records.delete_sync(**of_base)
    with pytest.raises(ModelNotFound, match="Sync not found"):
        await caller.records.delete_sync(**of_base)
    assert await caller.records.list_syncs(**caller.to) == ()


async def test_a_base_takes_twenty_files_in_five_minutes(caller: Caller) -> None:
    sync = await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=False)
    for _ in range(20):
        await caller.sync(sync.sync_id, "Name\nAnn\n")
    with pytest.raises(RateLimitReached) as refused:
        await caller.sync(sync.sync_id, "Name\nBob\n")
    assert 0 < refused.value.details["retry_after_s"] <= 300
    assert len(await caller.listed()) == 1


async def test_a_table_has_a_bound_of_syncs(caller: Caller) -> None:
    for _ in range(20):
        await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=False)
    with pytest.raises(LimitReached):
        await caller.records.create_sync(**caller.to, key_field="Name", is_deleting=False)
