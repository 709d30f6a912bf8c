"""What auth keeps in PostgreSQL, and when it writes it."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import SteppedClock
from pyat.foundation.db import Database, recording
from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.ids import TokenId
from pyat.foundation.sql import Statement
from pyat.services.auth.contract import Account, IssuedToken, LoginRefused
from pyat.services.auth.service import AuthService
from pyat.services.auth.settings import AuthSettings
from pyat.services.auth.store import AuthStore, LoginAttempts
from pyat.services.auth.worker import timed_work
from tests.integration.services.api_gateway.harness import PASSWORD

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CHEAP = AuthSettings(argon2_memory_kib=64, argon2_passes=1)


@pytest.fixture
def clock() -> SteppedClock:
    """The service's time."""
    return SteppedClock(NOW)


def _service(
    database: Database, cache: Cache, valkey_url: str, clock: SteppedClock, settings: AuthSettings = CHEAP
) -> AuthService:
    attempts = LoginAttempts(cache, attempts_max=10, window_s=300)
    return AuthService(AuthStore(database), attempts, Bus(cache, valkey_url), clock, settings)


@pytest_asyncio.fixture
async def service(database: Database, cache: Cache, valkey_url: str, clock: SteppedClock) -> AuthService:
    """Auth without routes."""
    return _service(database, cache, valkey_url, clock)


async def _account(service: AuthService) -> Account:
    return await service.create_account(email="ada@example.com", name="Ada", password=PASSWORD, tenant_name="T")


async def _token(service: AuthService, account: Account) -> IssuedToken:
    return await service.create_token(
        user_id=account.user_id,
        name="t",
        scopes=("data.records:read",),
        base_ids=None,
        expires_time=None,
        secret=None,
    )


async def _last_used(database: Database, token_id: TokenId) -> datetime | None:
    statement = Statement("look", "SELECT last_used_time FROM auth.tokens WHERE token_id = $1")
    found: datetime | None = await database.value(statement, token_id)
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_neither_passwords_nor_credentials_are_stored(service: AuthService, database: Database) -> None:
    account = await _account(service)
    token = await _token(service, account)
    session = await service.login(email="ada@example.com", password=PASSWORD, client="")
    everything = Statement(
        "everything",
        "SELECT string_agg(x, ' ') FROM (SELECT t::text x FROM auth.tokens t UNION ALL SELECT s::text FROM auth.sessions s"
        " UNION ALL SELECT p::text FROM auth.passwords p UNION ALL SELECT u::text FROM auth.users u) AS all_rows",
    )
    text = await database.value(everything)
    assert token.token.token_id in text
    assert _digest(token.secret) in text
    for secret in (token.secret[18:], session.secret[18:], PASSWORD):
        assert secret not in text


async def test_authenticating_is_one_statement_and_writes_nothing(service: AuthService, database: Database) -> None:
    issued = await _token(service, await _account(service))
    with recording() as recorder:
        await service.authenticate(digest=_digest(issued.secret))
    assert recorder.names == ["auth_principal"]
    assert await _last_used(database, issued.token.token_id) is None


async def test_the_last_use_is_written_in_batches_at_most_once_a_minute(
    service: AuthService, database: Database, clock: SteppedClock
) -> None:
    account = await _account(service)
    tokens = [await _token(service, account) for _ in range(3)]
    for issued in tokens:
        await service.authenticate(digest=_digest(issued.secret))
    with recording() as recorder:
        await service.write_uses()
        await service.write_uses()
    assert recorder.names == ["auth_mark_tokens_used"]
    assert [await _last_used(database, issued.token.token_id) for issued in tokens] == [NOW] * 3

    clock.set(NOW + timedelta(seconds=59))
    await service.authenticate(digest=_digest(tokens[0].secret))
    with recording() as recorder:
        await service.write_uses()
    assert recorder.names == []

    clock.set(NOW + timedelta(seconds=60))
    await service.authenticate(digest=_digest(tokens[0].secret))
    await service.write_uses()
    assert await _last_used(database, tokens[0].token.token_id) == NOW + timedelta(seconds=60)
    assert (await service.list_tokens(user_id=account.user_id))[0].last_used_time is not None


async def test_two_processes_write_a_tokens_last_use_once_a_minute(
    service: AuthService, database: Database, cache: Cache, valkey_url: str, clock: SteppedClock
) -> None:
    issued = await _token(service, await _account(service))
    other = _service(database, cache, valkey_url, clock)
    await service.authenticate(digest=_digest(issued.secret))
    await service.write_uses()
    clock.set(NOW + timedelta(seconds=30))
    await other.authenticate(digest=_digest(issued.secret))
    await other.write_uses()
    assert await _last_used(database, issued.token.token_id) == NOW


async def test_uses_that_could_not_be_written_wait(
    database: Database, postgres_url: str, cache: Cache, valkey_url: str, clock: SteppedClock
) -> None:
    own = await Database.open(postgres_url, connections_max=2)
    service = _service(own, cache, valkey_url, clock)
    issued = await _token(service, await _account(service))
    await service.authenticate(digest=_digest(issued.secret))
    await database.run(Statement("lock", "ALTER TABLE auth.tokens RENAME TO away"))
    with pytest.raises(Exception, match="does not exist"):
        await service.write_uses()
    await database.run(Statement("unlock", "ALTER TABLE auth.away RENAME TO tokens"))
    await service.write_uses()
    assert await _last_used(database, issued.token.token_id) == NOW
    await own.close()
    with pytest.raises(ServiceUnavailable):
        await service.authenticate(digest=_digest(issued.secret))


async def test_what_is_left_is_written_at_the_end(service: AuthService, database: Database) -> None:
    issued = await _token(service, await _account(service))
    async with timed_work(service):
        await service.authenticate(digest=_digest(issued.secret))
    assert await _last_used(database, issued.token.token_id) == NOW


async def test_sessions_that_ended_are_removed(service: AuthService, database: Database, clock: SteppedClock) -> None:
    await _account(service)
    await service.login(email="ada@example.com", password=PASSWORD, client="")
    clock.set(NOW + timedelta(days=1))
    await service.login(email="ada@example.com", password=PASSWORD, client="")
    clock.set(NOW + timedelta(days=14))
    await service.delete_expired_sessions()
    assert await database.value(Statement("count", "SELECT count(*) FROM auth.sessions")) == 1


async def test_a_login_renews_a_hash_that_was_made_with_other_parameters(
    service: AuthService, database: Database, cache: Cache, valkey_url: str, clock: SteppedClock
) -> None:
    await _account(service)
    look = Statement("look", "SELECT password_hash FROM auth.passwords")
    assert "m=64,t=1,p=1" in await database.value(look)
    stronger = AuthSettings(argon2_memory_kib=128, argon2_passes=2)
    other = _service(database, cache, valkey_url, clock, stronger)
    for _ in range(2):
        await other.login(email="ada@example.com", password=PASSWORD, client="")
    assert "m=128,t=2,p=1" in await database.value(look)


async def test_a_password_matches_however_its_accents_are_composed(service: AuthService) -> None:
    await service.create_account(email="ada@example.com", name="Ada", password="caf\u00e9 au lait", tenant_name="T")
    await service.login(email="ada@example.com", password="cafe\u0301 au lait", client="")
    with pytest.raises(LoginRefused):
        await service.login(email="ada@example.com", password="cafe au lait", client="")


async def test_a_damaged_hash_refuses_the_login(service: AuthService, database: Database) -> None:
    await _account(service)
    await database.run(Statement("damage", "UPDATE auth.passwords SET password_hash = 'nothing'"))
    with pytest.raises(LoginRefused):
        await service.login(email="ada@example.com", password=PASSWORD, client="")


async def test_no_row_can_point_into_another_tenant(service: AuthService, database: Database) -> None:
    account = await _account(service)
    other = await service.create_account(email="eve@example.com", name="E", password=PASSWORD, tenant_name="U")
    move = Statement("move", "UPDATE auth.passwords SET tenant_id = $1 WHERE user_id = $2")
    with pytest.raises(Exception, match="foreign key"):
        await database.run(move, other.tenant_id, account.user_id)
