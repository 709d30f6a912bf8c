"""Users in records: collaborator cells, who created and changed a record, and what a base comes to know of users."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.identity import Principal
from pyat.foundation.ids import RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.errors import ComputedValue, InvalidValue
from pyat.services.airtable_gateway.contract import ListQuery, RecordChange, Sort
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.airtable_gateway.service import people as people_module
from pyat.services.auth.contract import Account
from pyat.services.auth.service import AuthService
from pyat.services.schema.contract import FieldDraft, TableDraft
from tests.support.records import auth_service, decoded, records_service
from tests.support.schema import new_workspace, principal, schema_service

FIELDS = (
    FieldDraft("Name", "singleLineText"),
    FieldDraft("Owner", "singleCollaborator"),
    FieldDraft("Team", "multipleCollaborators"),
    FieldDraft("Maker", "createdBy"),
    FieldDraft("Editor", "lastModifiedBy"),
)


def seen(account: Account) -> dict[str, str]:
    """A user as a cell shows one."""
    return {"id": account.user_id, "email": account.email, "name": account.name}


class Team:
    """A base with `FIELDS`, and the tenant's users Ann and Bob; Eve belongs to another tenant."""

    def __init__(self, database: Database, cache: Cache, auth: AuthService) -> None:
        self.database, self.auth = database, auth
        self.schema = schema_service(database)
        self.records: RecordsService = records_service(database, cache, self.schema)

    async def prepare(self) -> "Team":
        """The users and the base."""
        self.ann = await self.add_user("Ann", tenant_name="Ours")
        self.bob = await self.add_user("Bob")
        self.eve = await self.add_user("Eve", tenant_name="Theirs")
        self.base = await self.schema.create_base(
            principal=self.caller(self.ann),
            workspace_id=await new_workspace(self.schema, self.caller(self.ann)),
            name="Base",
            tables=(TableDraft("T", FIELDS),),
        )
        return self

    async def add_user(self, name: str, tenant_name: str | None = None) -> Account:
        """A new user, of the first tenant unless another one is made."""
        return await self.auth.create_account(
            email=f"{name.lower()}@example.com", name=name, password="a password", tenant_name=tenant_name
        )

    def caller(self, account: Account) -> Principal:
        """That user, with every scope."""
        return replace(
            principal(tenant_id=account.tenant_id), user_id=account.user_id, email=account.email, name=account.name
        )

    async def create(self, *rows: dict[str, Any], by: Account | None = None, typecast: bool = False) -> list[Any]:
        """New records."""
        caller = self.caller(by or self.ann)
        body = await self.records.create_records(
            principal=caller, base_id=self.base.base_id, table="T", rows=rows, typecast=typecast, by_id=False
        )
        return decoded(body)

    async def update(self, record: Any, cells: dict[str, Any], *, by: Account) -> Any:
        """The cells of a record after a change."""
        body = await self.records.update_records(
            principal=self.caller(by),
            base_id=self.base.base_id,
            table="T",
            changes=(RecordChange(RecordId(record["id"]), cells),),
            is_replacing=False,
            typecast=False,
            by_id=False,
        )
        return decoded(body)[0]["fields"]

    async def list(self, **query: Any) -> list[dict[str, Any]]:
        """The cells of all records."""
        page = await self.records.list_records(
            principal=self.caller(self.ann), base_id=self.base.base_id, table="T", query=ListQuery(**query)
        )
        return [record["fields"] for record in decoded(page.records)]

    async def known(self) -> set[str]:
        """The names of the users that the base knows."""
        statement = Statement("known", f"SELECT name FROM {quote(self.base.base_id)}.base_users")
        return {row["name"] for row in await self.database.rows(statement)}


@pytest_asyncio.fixture
async def team(database: Database, cache: Cache) -> Team:
    return await Team(database, cache, auth_service(database, cache)).prepare()


async def test_collaborators_are_written_by_id_or_address(team: Team) -> None:
    ann, bob = seen(team.ann), seen(team.bob)
    [record] = await team.create({"Owner": {"email": "BOB@example.com"}, "Team": [team.bob.user_id, {"id": ann["id"]}]})
    assert record["fields"] == {"Owner": bob, "Team": [bob, ann], "Maker": ann, "Editor": ann}
    assert await team.list() == [record["fields"]]
    cells = await team.update(record, {"Owner": bob, "Team": record["fields"]["Team"][::-1]}, by=team.ann)
    assert (cells["Owner"], cells["Team"]) == (bob, [ann, bob])
    cells = await team.update(record, {"Owner": None, "Team": []}, by=team.ann)
    assert cells == {"Maker": ann, "Editor": ann}


async def test_typecast_takes_names(team: Team) -> None:
    [record] = await team.create({"Owner": "bob", "Team": "Ann, bob@example.com"}, typecast=True)
    assert record["fields"]["Owner"] == seen(team.bob)
    assert record["fields"]["Team"] == [seen(team.ann), seen(team.bob)]


async def test_only_users_of_the_tenant_can_be_named(team: Team) -> None:
    for cells in (
        {"Owner": {"id": team.eve.user_id}},
        {"Owner": {"email": "eve@example.com"}},
        {"Team": [team.ann.user_id, team.eve.user_id]},
        {"Owner": {"id": "usr00000000000000"}},
    ):
        with pytest.raises(InvalidValue):
            await team.create({"Name": "x"}, cells)
    assert await team.list() == []
    assert team.eve.name not in await team.known()


async def test_somebody_who_has_just_joined_can_be_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    await team.create({"Owner": {"id": team.bob.user_id}})  # the users are known now
    cy = await team.add_user("Cy")
    monkeypatch.setattr(people_module, "USERS_ASKED_AGAIN_MS", -1)
    [record] = await team.create({"Owner": {"email": cy.email}})
    assert record["fields"]["Owner"] == seen(cy)


async def test_who_made_and_changed_a_record(team: Team) -> None:
    [record] = await team.create({"Name": "a"})
    cells = await team.update(record, {"Name": "b"}, by=team.bob)
    assert (cells["Maker"], cells["Editor"]) == (seen(team.ann), seen(team.bob))
    cells = await team.update(record, {"Name": "b"}, by=team.ann)
    assert cells["Editor"] == seen(team.bob)  # nothing was changed
    for name in ("Maker", "Editor"):
        with pytest.raises(ComputedValue):
            await team.create({name: seen(team.ann)})


async def test_a_base_knows_the_users_it_names_by_their_latest_names(team: Team) -> None:
    [record] = await team.create({"Owner": {"id": team.bob.user_id}})
    assert await team.known() == {"Ann", "Bob"}
    renamed = replace(team.ann, name="Ann Smith")
    cells = await team.update(record, {"Name": "x"}, by=renamed)
    assert cells["Maker"]["name"] == "Ann Smith"
    assert await team.known() == {"Ann Smith", "Bob"}


async def test_order_and_text_go_by_name(team: Team) -> None:
    await team.create({"Owner": {"id": team.bob.user_id}}, {"Owner": {"id": team.ann.user_id}}, {})
    await team.create({"Team": [team.bob.user_id, team.ann.user_id]}, by=team.bob)
    text = {"time_zone": "utc", "locale": "en", "fields": ("Owner", "Team", "Maker", "Editor")}
    found = await team.list(sort=(Sort("Maker", is_descending=True), Sort("Owner")), **text)
    assert found == [
        {"Team": "Bob, Ann", "Maker": "Bob", "Editor": "Bob"},
        {"Maker": "Ann", "Editor": "Ann"},
        {"Owner": "Ann", "Maker": "Ann", "Editor": "Ann"},
        {"Owner": "Bob", "Maker": "Ann", "Editor": "Ann"},
    ]


async def test_an_upsert_may_name_users(team: Team) -> None:
    to: dict[str, Any] = {"principal": team.caller(team.ann), "base_id": team.base.base_id, "table": "T"}
    for owner in (team.bob, team.ann):
        await team.records.upsert_records(
            **to,
            merge_on=("Name",),
            changes=(RecordChange(None, {"Name": "x", "Owner": {"id": owner.user_id}}),),
            is_replacing=False,
            typecast=False,
            by_id=False,
        )
    assert [cells["Owner"] for cells in await team.list()] == [seen(team.ann)]


async def test_a_file_may_name_users(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('Name,Owner,Team\na,BOB@example.com,"Ann, Bob"\nb,Eve,\n')
    done = await team.records.import_file(
        principal=team.caller(team.ann),
        base_id=team.base.base_id,
        table="T",
        path=file,
        file_format="csv",
        keeps_going=True,
    )
    assert (done.created, done.rejected_count) == (2, 1)
    ann, bob = seen(team.ann), seen(team.bob)
    assert await team.list() == [
        {"Name": "a", "Owner": bob, "Team": [ann, bob], "Maker": ann, "Editor": ann},
        {"Name": "b", "Maker": ann, "Editor": ann},
    ]
