"""Credentials in the gateway's memory: asked for once, forgotten when they end."""

import asyncio
from datetime import UTC, datetime, timedelta

from valkey.asyncio import Valkey

from pyat.foundation.clock import SteppedClock
from pyat.foundation.ids import TokenId
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.auth.contract import Auth, Authenticated
from tests.integration.services.api_gateway.harness import BASE, PASSWORD, Platform, platform, until
from tests.support.servers import ValkeyServer

PATH = f"/v0/{BASE}/T"
PATIENT = GatewaySettings(rate_limits="off", principal_cache_s=3_600)
"""Nothing ends by itself within a test, so whatever is forgotten was forgotten because of a message."""


class Counting:
    """Auth, with the questions counted and, on demand, kept waiting."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> object:
        return getattr(self._auth, name)

    async def authenticate(self, *, digest: str) -> Authenticated:
        """Counts, asks, then waits for the gate."""
        self.count += 1
        try:
            return await self._auth.authenticate(digest=digest)
        finally:
            await self.gate.wait()


async def _status(found: Platform, token: str) -> int:
    return (await found.ask("GET", PATH, token=token)).status


async def test_auth_is_asked_once_for_many_requests(postgres_url: str, valkey_url: str) -> None:
    counting: list[Counting] = []

    def wrap(auth: Auth) -> Auth:
        counting.append(Counting(auth))
        return counting[0]  # type: ignore[return-value]

    async with platform(postgres_url, valkey_url, settings=PATIENT, wrap_auth=wrap) as found:
        token = await found.token(await found.account())
        counting[0].gate.clear()
        asked = [asyncio.create_task(_status(found, token)) for _ in range(8)]
        await asyncio.sleep(0.1)
        counting[0].gate.set()
        assert await asyncio.gather(*asked) == [200] * 8
        assert await _status(found, token) == 200
        assert counting[0].count == 1


async def test_a_revocation_reaches_every_gateway_at_once(postgres_url: str, valkey_url: str) -> None:
    async with (
        platform(postgres_url, valkey_url, settings=PATIENT) as first,
        platform(postgres_url, valkey_url, settings=PATIENT) as second,
    ):
        account = await first.account()
        token, other = await first.token(account), await first.token(account)
        assert [await _status(found, text) for found in (first, second) for text in (token, other)] == [200] * 4
        answer = await first.ask("DELETE", f"/api/v1/auth/tokens/{token[:17]}", token=other)
        assert answer.status == 200

        async def is_refused() -> bool:
            return [await _status(found, token) for found in (first, second)] == [401, 401]

        await until(is_refused)
        assert [await _status(found, other) for found in (first, second)] == [200, 200]


async def test_a_revocation_while_valkey_is_away_counts_as_soon_as_it_is_back(
    postgres_url: str, own_valkey: ValkeyServer
) -> None:
    async with platform(postgres_url, own_valkey.url, settings=PATIENT) as found:
        token = await found.token(await found.account())
        assert await _status(found, token) == 200
        own_valkey.kill()
        await found.auth.revoke_token(token_id=TokenId(token[:17]), user_id=None)
        own_valkey.start()

        async def is_refused() -> bool:
            return await _status(found, token) == 401

        await until(is_refused)


async def test_a_revocation_after_valkey_started_anew_reaches_every_gateway(
    postgres_url: str, own_valkey: ValkeyServer
) -> None:
    async with (
        platform(postgres_url, own_valkey.url, settings=PATIENT) as first,
        platform(postgres_url, own_valkey.url, settings=PATIENT) as second,
    ):
        token = await first.token(await first.account())
        assert await first.resources.cache.is_ready()
        own_valkey.kill()
        own_valkey.start()
        async with Valkey.from_url(own_valkey.url, decode_responses=True) as client:

            async def both_listen() -> bool:
                return bool((await client.pubsub_numsub("pyat:credential_revoked"))[0][1] == 2)

            await until(both_listen)
        assert [await _status(found, token) for found in (first, second)] == [200, 200]
        await first.auth.revoke_token(token_id=TokenId(token[:17]), user_id=None)

        async def is_refused() -> bool:
            return [await _status(found, token) for found in (first, second)] == [401, 401]

        await until(is_refused)


async def test_without_valkey_a_revocation_counts_at_once_where_it_was_made(
    postgres_url: str, own_valkey: ValkeyServer
) -> None:
    async with platform(postgres_url, own_valkey.url, settings=PATIENT) as found:
        token = await found.token(await found.account())
        assert await _status(found, token) == 200
        own_valkey.kill()
        await found.auth.revoke_token(token_id=TokenId(token[:17]), user_id=None)
        assert await _status(found, token) == 401


async def test_a_revocation_during_the_question_is_not_overwritten_by_its_answer(
    postgres_url: str, valkey_url: str
) -> None:
    counting: list[Counting] = []

    def wrap(auth: Auth) -> Auth:
        counting.append(Counting(auth))
        return counting[0]  # type: ignore[return-value]

    async with platform(postgres_url, valkey_url, settings=PATIENT, wrap_auth=wrap) as found:
        token = await found.token(await found.account())
        counting[0].gate.clear()
        early = asyncio.create_task(_status(found, token))

        async def is_asked() -> bool:
            return counting[0].count == 1

        await until(is_asked)
        await asyncio.sleep(0.1)  # the answer "valid" is there, and waits at the gate
        await found.auth.revoke_token(token_id=TokenId(token[:17]), user_id=None)
        await asyncio.sleep(0.1)  # the message has come
        counting[0].gate.set()
        assert await early == 200, "it was asked before the revocation"
        assert await _status(found, token) == 401


async def test_an_expired_token_is_refused_even_when_it_is_remembered(postgres_url: str, valkey_url: str) -> None:
    async with platform(postgres_url, valkey_url, settings=PATIENT) as found:
        account = await found.account()
        issued = await found.auth.create_token(
            user_id=account.user_id,
            name="short",
            scopes=("data.records:read",),
            base_ids=None,
            expires_time=datetime.now(UTC) + timedelta(seconds=1),
            secret=None,
        )
        assert await _status(found, issued.secret) == 200

        async def is_refused() -> bool:
            return await _status(found, issued.secret) == 401

        await until(is_refused)


async def test_a_session_ends_with_its_time(postgres_url: str, valkey_url: str) -> None:
    clock = SteppedClock(datetime(2030, 1, 1, tzinfo=UTC))
    short = GatewaySettings(rate_limits="off", principal_cache_s=0.001)
    async with platform(postgres_url, valkey_url, settings=short, clock=clock) as found:
        account = await found.account()
        login = await found.ask("POST", "/api/v1/auth/login", json={"email": account.email, "password": PASSWORD})
        session = login.json["token"]
        clock.set(datetime(2030, 1, 14, 23, 59, tzinfo=UTC))
        assert await _status(found, session) == 200
        clock.set(datetime(2030, 1, 15, 0, 0, tzinfo=UTC))

        async def is_refused() -> bool:
            return await _status(found, session) == 401

        await until(is_refused)


async def test_more_credentials_than_are_remembered_still_work(postgres_url: str, valkey_url: str) -> None:
    few = GatewaySettings(rate_limits="off", principal_cache_max=2)
    async with platform(postgres_url, valkey_url, settings=few) as found:
        account = await found.account()
        tokens = [await found.token(account) for _ in range(5)]
        assert [await _status(found, token) for _ in range(2) for token in tokens] == [200] * 10
        await found.auth.revoke_token(token_id=TokenId(tokens[0][:17]), user_id=account.user_id)

        async def is_refused() -> bool:
            return await _status(found, tokens[0]) == 401

        await until(is_refused)


async def test_without_the_database_a_known_credential_works_and_an_unknown_one_gets_503(
    postgres_url: str, valkey_url: str
) -> None:
    async with platform(postgres_url, valkey_url, settings=PATIENT) as found:
        token = await found.token(await found.account())
        assert await _status(found, token) == 200
        await found.resources.database.close()
        assert await _status(found, token) == 200
        answer = await found.ask("GET", PATH, token="pat" + "Z" * 14 + "." + "0" * 64)
        assert (answer.status, answer.json["error"]["type"]) == (503, "RETRIABLE_ERROR")
        assert answer.headers["retry-after"] == "1"
