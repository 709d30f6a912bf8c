"""The contract `Auth`, on the local and on the remote binding."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from pyat.foundation import rpc
from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SteppedClock
from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidToken
from pyat.foundation.identity import Signer
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId, is_id
from pyat.foundation.service import Peers, Resources
from pyat.foundation.settings import PlatformSettings
from pyat.services.auth import app
from pyat.services.auth.contract import (
    CREDENTIAL_LENGTH,
    SCOPES,
    Account,
    AccountExists,
    AccountNotFound,
    Auth,
    InvalidAccount,
    InvalidTokenRequest,
    IssuedToken,
    TokenNotFound,
)
from tests.integration.services.api_gateway.harness import served

NOW = datetime(2030, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
BASE = BaseId("appAAAAAAAAAAAAAA")
SIGNER = Signer(b"a key of the tests, thirty-two bytes or more")
CHOSEN = "pat" + "C" * 14 + "." + "0123456789abcdef" * 4


@pytest_asyncio.fixture(params=["local", "remote"])
async def auth(
    request: pytest.FixtureRequest,
    database: Database,
    cache: Cache,
    valkey_url: str,
    clock: SteppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Auth]:
    """The service itself, or a client of it over HTTP."""
    monkeypatch.setenv("PYAT_ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("PYAT_ARGON2_PASSES", "1")
    resources = Resources(PlatformSettings(), database, cache, Bus(cache, valkey_url), SIGNER, clock)
    service = app.build(resources, Peers({}))
    if request.param == "local":
        yield service.implementation
        return
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(rpc.Server({"auth": (Auth, service.implementation)}, SIGNER)))
        session = await stack.enter_async_context(rpc.new_session())
        yield rpc.client(Auth, url, session=session, signer=SIGNER)


@pytest.fixture
def clock() -> SteppedClock:
    """The service's time."""
    return SteppedClock(NOW)


async def _account(auth: Auth, email: str = "ada@example.com") -> Account:
    return await auth.create_account(email=email, name="Ada", password="correct horse", tenant_name="Analysts")


async def _token(
    auth: Auth,
    user_id: UserId,
    *,
    name: str = "script",
    scopes: tuple[str, ...] = ("data.records:read",),
    base_ids: tuple[BaseId, ...] | None = None,
    expires_time: datetime | None = None,
    secret: str | None = None,
) -> IssuedToken:
    return await auth.create_token(
        user_id=user_id, name=name, scopes=scopes, base_ids=base_ids, expires_time=expires_time, secret=secret
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_an_account_is_found_by_its_address_without_regard_to_case(auth: Auth) -> None:
    account = await _account(auth, " Ada.L\u00f6velace@Example.com ")
    assert account.email == "Ada.L\u00f6velace@Example.com"
    assert is_id("usr", account.user_id)
    assert is_id("ent", account.tenant_id)
    assert await auth.get_account(email="ADA.L\u00d6VELACE@example.COM") == account


async def test_an_address_is_taken_once_in_all_tenants(auth: Auth) -> None:
    await _account(auth)
    with pytest.raises(AccountExists) as raised:
        await _account(auth, "ADA@example.com")
    assert raised.value.details == {"email": "ADA@example.com"}


@pytest.mark.parametrize("email", ["nobody@example.com", "", "nobody", "a\x00@example.com"])
async def test_an_unknown_address_is_not_found(auth: Auth, email: str) -> None:
    with pytest.raises(AccountNotFound):
        await auth.get_account(email=email)


async def test_without_a_tenant_name_an_account_joins_the_first_tenant(auth: Auth, clock: SteppedClock) -> None:
    with pytest.raises(InvalidAccount):
        await auth.create_account(email="a@example.com", name="A", password="correct horse", tenant_name=None)
    first = await _account(auth)
    clock.set(NOW + timedelta(days=1))
    second = await _account(auth, "eve@example.com")
    third = await auth.create_account(email="b@example.com", name="B", password="correct horse", tenant_name=None)
    assert (third.tenant_id, second.tenant_id == first.tenant_id) == (first.tenant_id, False)


@pytest.mark.parametrize(
    ("email", "name", "password", "tenant_name"),
    [
        ("", "Ada", "correct horse", "T"),
        ("ada", "Ada", "correct horse", "T"),
        ("a b@example.com", "Ada", "correct horse", "T"),
        ("a@b@example.com", "Ada", "correct horse", "T"),
        ("a\x00@example.com", "Ada", "correct horse", "T"),
        ("a@" + "x" * 254, "Ada", "correct horse", "T"),
        ("ada@example.com", "", "correct horse", "T"),
        ("ada@example.com", "a\x00", "correct horse", "T"),
        ("ada@example.com", "x" * 256, "correct horse", "T"),
        ("ada@example.com", "Ada", "correct horse", " "),
        ("ada@example.com", "Ada", "1234567", "T"),
        ("ada@example.com", "Ada", "x" * 1025, "T"),
    ],
)
async def test_a_bad_account_is_refused_and_nothing_is_written(
    auth: Auth, email: str, name: str, password: str, tenant_name: str
) -> None:
    with pytest.raises(InvalidAccount):
        await auth.create_account(email=email, name=name, password=password, tenant_name=tenant_name)
    with pytest.raises(InvalidAccount):  # no tenant was made either
        await auth.create_account(email="x@example.com", name="X", password="correct horse", tenant_name=None)


async def test_a_token_authenticates_as_its_owner_with_its_limits(auth: Auth) -> None:
    account = await _account(auth)
    expires_time = NOW + timedelta(days=30)
    issued = await _token(
        auth,
        account.user_id,
        scopes=("schema.bases:read", "data.records:read", "schema.bases:read"),
        base_ids=(BASE, BASE),
        expires_time=expires_time,
    )
    assert len(issued.secret) == CREDENTIAL_LENGTH
    assert issued.secret[:18] == issued.token.token_id + "."
    assert issued.token.scopes == ("data.records:read", "schema.bases:read")
    assert issued.token.base_ids == (BASE,)
    found = await auth.authenticate(digest=_digest(issued.secret))
    assert found.expires_time == expires_time
    principal = found.principal
    assert (principal.user_id, principal.tenant_id) == (account.user_id, account.tenant_id)
    assert (principal.email, principal.name, principal.kind) == ("ada@example.com", "Ada", "token")
    assert principal.credential_id == issued.token.token_id
    assert principal.scopes == {"data.records:read", "schema.bases:read"}
    assert principal.base_ids == frozenset({BASE})


async def test_a_token_without_a_list_reaches_every_base(auth: Auth) -> None:
    account = await _account(auth)
    issued = await _token(auth, account.user_id, scopes=tuple(SCOPES))
    found = await auth.authenticate(digest=_digest(issued.secret))
    assert (found.principal.base_ids, found.principal.scopes, found.expires_time) == (None, SCOPES, None)


@pytest.mark.parametrize("digest", ["", "zz", "00", _digest("unknown")])
async def test_an_unknown_digest_is_refused(auth: Auth, digest: str) -> None:
    with pytest.raises(InvalidToken):
        await auth.authenticate(digest=digest)


async def test_a_token_ends_with_its_time(auth: Auth, clock: SteppedClock) -> None:
    account = await _account(auth)
    issued = await _token(auth, account.user_id, expires_time=NOW + timedelta(seconds=10))
    clock.set(NOW + timedelta(seconds=9))
    await auth.authenticate(digest=_digest(issued.secret))
    assert len(await auth.list_tokens(user_id=account.user_id)) == 1
    clock.set(NOW + timedelta(seconds=10))
    with pytest.raises(InvalidToken):
        await auth.authenticate(digest=_digest(issued.secret))
    assert await auth.list_tokens(user_id=account.user_id) == ()


async def test_a_revoked_token_is_refused_and_not_listed(auth: Auth) -> None:
    account = await _account(auth)
    issued, other = await _token(auth, account.user_id), await _token(auth, account.user_id)
    await auth.revoke_token(token_id=issued.token.token_id, user_id=account.user_id)
    with pytest.raises(InvalidToken):
        await auth.authenticate(digest=_digest(issued.secret))
    assert await auth.list_tokens(user_id=account.user_id) == (other.token,)
    with pytest.raises(TokenNotFound):
        await auth.revoke_token(token_id=issued.token.token_id, user_id=None)


async def test_an_owner_revokes_only_its_own_tokens_and_the_operator_all(auth: Auth) -> None:
    account, other = await _account(auth), await _account(auth, "eve@example.com")
    issued = await _token(auth, account.user_id)
    with pytest.raises(TokenNotFound):
        await auth.revoke_token(token_id=issued.token.token_id, user_id=other.user_id)
    await auth.authenticate(digest=_digest(issued.secret))
    await auth.revoke_token(token_id=issued.token.token_id, user_id=None)
    with pytest.raises(TokenNotFound):
        await auth.revoke_token(token_id=TokenId("patZZZZZZZZZZZZZZ"), user_id=None)


async def test_tokens_are_listed_newest_first(auth: Auth, clock: SteppedClock) -> None:
    account, other = await _account(auth), await _account(auth, "eve@example.com")
    issued = []
    for number, owner in enumerate((account, other, account)):
        clock.set(NOW + timedelta(minutes=number))
        issued.append((await _token(auth, owner.user_id, name=f"token {number}")).token)
    assert await auth.list_tokens(user_id=account.user_id) == (issued[2], issued[0])
    assert await auth.list_tokens(user_id=None) == (issued[2], issued[1], issued[0])


async def test_a_token_chosen_outside_is_installed_once(auth: Auth) -> None:
    account = await _account(auth)
    issued = await _token(auth, account.user_id, secret=CHOSEN)
    assert (issued.secret, issued.token.token_id) == (CHOSEN, CHOSEN[:17])
    await auth.authenticate(digest=_digest(CHOSEN))
    with pytest.raises(InvalidTokenRequest, match="already"):
        await _token(auth, account.user_id, secret=CHOSEN)
    await auth.revoke_token(token_id=issued.token.token_id, user_id=None)
    with pytest.raises(InvalidTokenRequest, match="already"):
        await _token(auth, account.user_id, secret=CHOSEN)


@pytest.mark.parametrize("secret", ["", "pat", CHOSEN[:-1], CHOSEN + "0", "key" + CHOSEN[3:], CHOSEN[:-1] + "x"])
async def test_a_chosen_token_of_another_shape_is_refused(auth: Auth, secret: str) -> None:
    account = await _account(auth)
    with pytest.raises(InvalidTokenRequest, match="82"):
        await _token(auth, account.user_id, secret=secret)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "a\x00"},
        {"name": "x" * 256},
        {"scopes": ()},
        {"scopes": ("data.records:*",)},
        {"scopes": ("data.records:read", "Data.Records:Read")},
        {"base_ids": ()},
        {"base_ids": ("tblAAAAAAAAAAAAAA",)},
        {"base_ids": (BASE,) * 1_001},
        {"expires_time": NOW},
        {"expires_time": NOW - timedelta(days=1)},
        {"expires_time": datetime(9999, 12, 31, tzinfo=UTC)},
        {"user_id": "usrZZZZZZZZZZZZZZ"},
    ],
    ids=str,
)
async def test_a_bad_token_request_is_refused(auth: Auth, change: dict[str, object]) -> None:
    account = await _account(auth)
    arguments: dict[str, object] = {"user_id": account.user_id, **change}
    with pytest.raises(InvalidTokenRequest):
        await _token(auth, **arguments)  # type: ignore[arg-type]
    assert await auth.list_tokens(user_id=None) == ()


async def test_users_of_a_tenant(auth: Auth) -> None:
    ann = await auth.create_account(email="ann@example.org", name="Ann", password="a password", tenant_name="One")
    cy = await auth.create_account(email="Cy@Example.org", name="Cy", password="a password", tenant_name=None)
    bob = await auth.create_account(email="bob@example.org", name="Bob", password="a password", tenant_name="Two")
    assert sorted(user.user_id for user in await auth.list_users(tenant_id=ann.tenant_id)) == sorted(
        [ann.user_id, cy.user_id]
    )
    assert await auth.list_users(tenant_id=bob.tenant_id) == (bob,)
    assert await auth.list_users(tenant_id=TenantId("nobody")) == ()
