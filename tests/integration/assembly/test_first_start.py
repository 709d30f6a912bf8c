"""What a first start makes, and that it makes it once: after any interruption, on any database, in any home."""

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.prepare import FirstStart, acting_for, prepare
from pyat.assembly.process import build_local
from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SystemClock
from pyat.foundation.db import Database
from pyat.foundation.errors import AppError, InvalidToken
from pyat.foundation.identity import Principal, Signer
from pyat.foundation.ids import new_id
from pyat.foundation.service import Resources
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.sql import Statement, quote
from pyat.services.auth.contract import SCOPES, Auth
from pyat.services.schema.contract import Schema

TOKEN = f"{new_id('pat')}.{secrets.token_hex(32)}"
RECORDS = {"Projects": 14, "Tasks": 172, "People": 20}


class Interrupted(Exception):
    """The process was killed at this point."""


class Killing:
    """A contract whose process is killed before or after one of its calls; it is the real one otherwise."""

    def __init__(self, implementation: Any, is_fatal: Callable[[str], bool], *, is_after: bool) -> None:
        self._implementation = implementation
        self._is_fatal = is_fatal
        self._is_after = is_after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._implementation, name)

        async def call(**arguments: Any) -> Any:
            is_fatal = self._is_fatal(name)
            if is_fatal and not self._is_after:
                raise Interrupted
            result = await method(**arguments)
            if is_fatal:
                raise Interrupted
            return result

        return call


class Installation:
    """One database, and homes that come and go."""

    def __init__(self, resources: Resources, place: Path) -> None:
        self.resources = resources
        self.database = resources.database
        built = build_local(resources)
        self.auth: Auth = built["auth"].implementation
        self.schema: Schema = built["schema"].implementation
        self.records: Any = built["airtable_gateway"].implementation
        self.place = place

    def home(self, name: str = "home") -> Home:
        home = Home(self.place / name, shared_root=self.place / "shared")
        home.prepare()
        return home

    async def start(
        self,
        home: Home | None = None,
        *,
        is_fatal: Callable[[str], bool] = lambda name: False,
        is_after: bool = False,
        **settings: Any,
    ) -> dict[str, str]:
        """A first start; what the home knows afterwards."""
        home = home or self.home()
        services = (Killing(each, is_fatal, is_after=is_after) for each in (self.auth, self.schema, self.records))
        auth, schema, records = (service for service in services)
        await FirstStart(PlatformSettings(**settings), home, auth, schema, records).run()
        return home.credentials()

    async def count(self, table: str) -> int:
        return int(await self.database.value(Statement("count", f"SELECT count(*) FROM {table}")))

    async def principal(self, email: str = "admin@example.com") -> Principal:
        return acting_for(await self.auth.get_account(email=email))

    async def check_whole(self, known: dict[str, str]) -> None:
        """Everything is there, once."""
        assert [await self.count(f"auth.{table}") for table in ("users", "tenants", "tokens")] == [1, 1, 1]
        principal = await self.principal(known["email"])
        assert len(await self.schema.list_workspaces(principal=principal)) == 1
        (base,) = (await self.schema.list_bases(principal=principal, offset=None)).bases
        assert base.base_id == known["sample_base_id"]
        structure = await self.schema.get_base(principal=principal, base_id=base.base_id)
        found = {
            table.name: await self.count(f"{quote(base.base_id)}.{quote(table.table_id)}") for table in structure.tables
        }
        assert found == RECORDS


@pytest.fixture
def resources(database: Database, cache: Cache, valkey_url: str) -> Resources:
    settings = PlatformSettings(database_url="postgresql:///", valkey_url=valkey_url)
    return Resources(settings, database, cache, Bus(cache, valkey_url), Signer(b"k" * 32), SystemClock())


@pytest.fixture
def installation(resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("PYAT_SAMPLE", "1")
    return Installation(resources, tmp_path)


async def authenticate(auth: Auth, token: str) -> Principal:
    return (await auth.authenticate(digest=hashlib.sha256(token.encode()).hexdigest())).principal


async def test_a_first_start_makes_everything(installation: Installation) -> None:
    known = await installation.start()
    await installation.check_whole(known)
    assert known["email"] == "admin@example.com"
    assert len(known["password"]) >= 16
    principal = await authenticate(installation.auth, known["token"])
    assert (principal.scopes, principal.base_ids) == (SCOPES, None)
    assert (installation.place / "home" / "credentials.json").stat().st_mode & 0o777 == 0o600


async def test_settings_choose_the_administrator(installation: Installation) -> None:
    known = await installation.start(
        admin_email="ann@example.org", admin_password="correct horse", admin_token=TOKEN, sample=False
    )
    assert (known["email"], known["password"], known["token"]) == ("ann@example.org", "correct horse", TOKEN)
    assert (await authenticate(installation.auth, TOKEN)).email == "ann@example.org"


async def test_without_a_sample_there_is_a_workspace_and_no_base_ever(installation: Installation) -> None:
    await installation.start(sample=False)
    known = await installation.start(sample=True)
    assert known["sample_base_id"] == ""
    principal = await installation.principal()
    assert len(await installation.schema.list_workspaces(principal=principal)) == 1
    assert (await installation.schema.list_bases(principal=principal, offset=None)).bases == ()


async def test_a_second_start_makes_nothing(installation: Installation) -> None:
    first = await installation.start()
    writes = ("create_", "update_", "revoke_")
    assert await installation.start(is_fatal=lambda name: name.startswith(writes)) == first


async def test_killed_after_every_single_write_it_is_whole_in_the_end(installation: Installation) -> None:
    """Each attempt gets one write further, and is killed before it can remember that."""
    kills = 0
    known: dict[str, str] | None = None
    while known is None:
        try:
            known = await installation.start(is_fatal=lambda name: name.startswith("create_"), is_after=True)
        except Interrupted:
            kills += 1
            assert kills < 100, "it does not get any further"
    batches = sum(-(-records // 10) for records in RECORDS.values())
    assert kills == batches + len(("account", "token", "workspace", "base"))
    await installation.check_whole(known)


@pytest.mark.parametrize(
    "call", ["create_account", "create_token", "create_workspace", "create_base", "create_records"]
)
async def test_killed_before_a_write_it_goes_on_with_the_same_secrets(installation: Installation, call: str) -> None:
    with pytest.raises(Interrupted):
        await installation.start(is_fatal=lambda name: name == call)
    noted = installation.home().credentials()
    known = await installation.start()
    await installation.check_whole(known)
    assert noted.items() <= known.items()


async def test_what_was_revoked_stays_so(installation: Installation) -> None:
    known = await installation.start()
    principal = await authenticate(installation.auth, known["token"])
    assert principal.credential_id is not None
    await installation.auth.revoke_token(token_id=principal.credential_id, user_id=None)
    assert await installation.start() == known
    with pytest.raises(InvalidToken):
        await authenticate(installation.auth, known["token"])
    assert await installation.count("auth.tokens WHERE revoked_time IS NULL") == 0


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"admin_token": "secret"}, {"admin_token": TOKEN}),
        ({"admin_email": "nobody"}, {"admin_email": "ann@example.org"}),
        ({"admin_password": "short"}, {"admin_password": "long enough"}),
    ],
)
async def test_a_setting_that_was_refused_can_be_corrected(
    installation: Installation, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    with pytest.raises(AppError):
        await installation.start(sample=False, **wrong)
    known = await installation.start(sample=False, **right)
    assert {f"admin_{name}": known[name] for name in ("token", "email", "password")}.items() >= right.items()
    assert await installation.count("auth.users") == 1


async def test_a_new_home_on_an_older_database_adds_nothing_to_its_bases(installation: Installation) -> None:
    first = await installation.start()
    known = await installation.start(installation.home("another"))
    assert known["email"] == first["email"]
    assert "password" not in known, "it is not known to this home, so it is not shown"
    assert known["sample_base_id"] == first["sample_base_id"]
    assert await installation.count("auth.users") == 1
    assert known["token"] != first["token"]
    for token in (known["token"], first["token"]):
        await authenticate(installation.auth, token)


async def test_new_homes_with_one_token_share_it_until_it_is_revoked(installation: Installation) -> None:
    await installation.start(admin_token=TOKEN, sample=False)
    known = await installation.start(installation.home("second"), admin_token=TOKEN)
    assert known["token"] == TOKEN
    assert await installation.count("auth.tokens") == 1
    token_id = (await authenticate(installation.auth, TOKEN)).credential_id
    assert token_id is not None
    await installation.auth.revoke_token(token_id=token_id, user_id=None)
    known = await installation.start(installation.home("third"), admin_token=TOKEN)
    assert "token" not in known, "it is revoked, so it is not shown"
    with pytest.raises(InvalidToken):
        await authenticate(installation.auth, TOKEN)


async def test_a_home_whose_database_was_replaced_begins_anew_with_its_secrets(
    installation: Installation, postgres_url: str
) -> None:
    home = installation.home()
    home.keep_credentials(
        {
            "email": "admin@example.com",
            "password": "correct horse",
            "token": TOKEN,
            "token_id": TOKEN.partition(".")[0],
            "sample_base_id": "appOfAnotherDatab",
        }
    )
    known = await installation.start(home)
    await installation.check_whole(known)
    assert (known["password"], known["token"]) == ("correct horse", TOKEN)
    await authenticate(installation.auth, TOKEN)


async def test_preparing_notes_that_it_is_done(resources: Resources, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", shared_root=tmp_path / "shared")
    home.prepare()
    await prepare(PlatformSettings(valkey_url=resources.settings.valkey_url, sample=False), home, resources)
    first = home.prepared()
    assert first
    await prepare(PlatformSettings(valkey_url=resources.settings.valkey_url, sample=False), home, resources)
    assert home.prepared() == first


async def test_a_first_start_without_valkey_is_one_sentence(resources: Resources, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", shared_root=tmp_path / "shared")
    home.prepare()
    away = Cache("unix:///nowhere/valkey.sock")
    lost = Resources(resources.settings, resources.database, away, resources.bus, resources.signer, resources.clock)
    settings = PlatformSettings(valkey_url="redis://:secret@cache.example.org:7000/0", sample=False)
    with pytest.raises(HomeError) as refused:
        await prepare(settings, home, lost)
    assert str(refused.value) == (
        "Valkey at cache.example.org:7000 cannot be used (no answer): start it there, or correct PYAT_VALKEY_URL."
    )
    # An installation that worked before goes on without it, as a running one does.
    home.keep_prepared("an earlier version")
    await prepare(settings, home, lost)
    await away.close()
