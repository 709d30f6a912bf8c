"""Rate limits: counted in Valkey, told in headers, let go when Valkey is away."""

import asyncio
from collections import Counter

from valkey.asyncio import Valkey

from pyat.foundation.cache import Cache
from pyat.foundation.telemetry import REGISTRY
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.api_gateway.store import LimitStore, Rates
from tests.integration.services.api_gateway.harness import BASE, OTHER_BASE, Answer, Platform, platform, until
from tests.support.servers import ValkeyServer

PATH = f"/v0/{BASE}/T"
LIMITED = {"error": {"type": "RATE_LIMIT_REACHED", "message": "Rate limit exceeded. Please try again later"}}


async def _burst(found: Platform, token: str, count: int, path: str = PATH) -> list[Answer]:
    return list(await asyncio.gather(*(found.ask("GET", path, token=token) for _ in range(count))))


def _statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


async def test_too_many_requests_are_answered_429_and_later_ones_pass_again(postgres_url: str, valkey_url: str) -> None:
    settings = GatewaySettings(rate_limit_user_per_s=5)
    async with platform(postgres_url, valkey_url, settings=settings) as found:
        token = await found.token(await found.account())
        answers = await _burst(found, token, 40)
        assert _statuses(answers)[200] >= 5, "a second's worth may come at once"
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        for answer in refused:
            assert answer.json == LIMITED
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["ratelimit-limit"] == "5"
            assert answer.headers["ratelimit-remaining"] == "0"
            assert answer.headers["ratelimit-reset"] == "1"
            assert answer.headers["access-control-allow-origin"] == "*"

        async def passes() -> bool:
            return (await found.ask("GET", PATH, token=token)).status == 200

        await until(passes)


async def test_answers_say_what_is_left_of_the_tighter_limit(postgres_url: str, valkey_url: str) -> None:
    settings = GatewaySettings(rate_limit_user_per_s=100, rate_limit_base_per_s=10)
    async with platform(postgres_url, valkey_url, settings=settings) as found:
        token = await found.token(await found.account())
        answer = await found.ask("GET", PATH, token=token)
        assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("10", "9")
        answer = await found.ask("GET", "/v0/meta/whoami", token=token)
        assert answer.headers["ratelimit-limit"] == "100", "metadata is limited by user only"
        answer = await found.ask("POST", PATH, token=token, data=b"x" * 10)
        assert answer.headers["ratelimit-limit"] == "10"


async def test_all_tokens_of_a_user_share_its_limit_and_other_users_have_their_own(
    postgres_url: str, valkey_url: str
) -> None:
    settings = GatewaySettings(rate_limit_user_per_s=1)
    async with platform(postgres_url, valkey_url, settings=settings) as found:
        account, other = await found.account(), await found.account("eve@example.com")
        first, second, third = await found.token(account), await found.token(account), await found.token(other)
        answers = await asyncio.gather(*(found.ask("GET", PATH, token=token) for token in (first, second) * 5))
        assert 429 in _statuses(list(answers))
        assert (await found.ask("GET", PATH, token=third)).status == 200, "neither the user's nor the base's is hers"


async def test_airtables_limits_are_five_a_second_for_a_base_and_thirty_seconds_of_penalty(
    postgres_url: str, valkey_url: str
) -> None:
    settings = GatewaySettings(rate_limits="airtable")
    async with platform(postgres_url, valkey_url, settings=settings) as found:
        token = await found.token(await found.account())
        answers = await _burst(found, token, 20)
        assert _statuses(answers)[200] >= 5
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.headers["retry-after"] for answer in refused} <= {"30", "29"}
        assert {answer.headers["ratelimit-limit"] for answer in refused} == {"5"}
        await asyncio.sleep(0.5)  # without a penalty two more would pass by now
        assert (await found.ask("GET", PATH, token=token)).status == 429
        assert (await found.ask("GET", f"/v0/{OTHER_BASE}/T", token=token)).status == 200
        answer = await found.ask("GET", f"/v0/meta/bases/{BASE}/tables", token=token)
        assert (answer.status, answer.headers["ratelimit-limit"]) == (200, "50")


async def test_a_penalty_ends_and_leaves_the_whole_limit(valkey_url: str) -> None:
    cache = Cache(valkey_url)
    store = LimitStore(cache, Rates(user_per_s=3, base_per_s=1_000, penalty_s=1))
    try:
        readings = [await store.count("{t}:u", "{t}:b") for _ in range(20)]
        refused = [reading for reading in readings if reading.is_refused]
        assert refused
        assert all(0 < reading.retry_us <= 1_000_000 for reading in refused)
        assert refused[-1].retry_us < refused[0].retry_us, "what is sent meanwhile does not make it longer"
        await asyncio.sleep(refused[-1].retry_us / 1_000_000 + 0.05)
        reading = await store.count("{t}:u", "{t}:b")
        assert (reading.is_refused, reading.limit, reading.remaining) == (False, 3, 2)
    finally:
        await cache.close()


async def test_requests_are_let_through_at_exactly_the_rate(valkey_url: str) -> None:
    cache = Cache(valkey_url)
    store = LimitStore(cache, Rates(user_per_s=100, base_per_s=1_000, penalty_s=0))
    try:
        loop = asyncio.get_running_loop()
        began_s, passed = loop.time(), 0
        while loop.time() < began_s + 0.5:
            passed += not (await store.count("{t}:u")).is_refused
        took_s = loop.time() - began_s
        # One second's worth at once, and then one every 10 ms.
        assert 100 + 100 * 0.5 - 2 <= passed <= 100 + 100 * took_s + 2
    finally:
        await cache.close()


async def test_a_refusal_by_the_base_uses_up_nothing_of_the_user(valkey_url: str) -> None:
    cache = Cache(valkey_url)
    store = LimitStore(cache, Rates(user_per_s=1_000_000, base_per_s=1, penalty_s=0))
    try:
        first = await store.count("{t}:u", "{t}:b")
        assert (first.is_refused, first.limit, first.remaining) == (False, 1, 0)
        refused = await store.count("{t}:u", "{t}:b")
        assert (refused.is_refused, refused.limit) == (True, 1)
        assert await cache.call("GET", "{t}:b") is not None
        assert await cache.call("PTTL", "{t}:b") <= 1_000, "counters do not stay behind"
    finally:
        await cache.close()


async def test_no_limits_when_they_are_off(one: Platform) -> None:
    token = await one.token(await one.account())
    answers = await _burst(one, token, 50)
    assert _statuses(answers) == {200: 50}
    assert "ratelimit-limit" not in answers[0].headers


async def test_a_flushed_script_is_loaded_again(postgres_url: str, valkey_url: str) -> None:
    async with platform(postgres_url, valkey_url, settings=GatewaySettings()) as found:
        token = await found.token(await found.account())
        for _ in range(2):
            async with Valkey.from_url(valkey_url) as client:
                await client.script_flush()
            answers = await _burst(found, token, 5)
            assert all("ratelimit-limit" in answer.headers for answer in answers)


def _unlimited_count() -> float:
    return REGISTRY.get_sample_value("pyat_rate_limiter_unavailable_total", {"service": "api_gateway"}) or 0


async def test_without_valkey_requests_pass_and_are_counted_and_limits_return_with_it(
    postgres_url: str, own_valkey: ValkeyServer
) -> None:
    settings = GatewaySettings(rate_limit_user_per_s=5)
    async with platform(postgres_url, own_valkey.url, settings=settings) as found:
        token = await found.token(await found.account())
        assert "ratelimit-limit" in (await found.ask("GET", PATH, token=token)).headers
        own_valkey.kill()
        before = _unlimited_count()
        answers = await _burst(found, token, 20)
        assert _statuses(answers) == {200: 20}
        assert "ratelimit-limit" not in answers[0].headers
        assert _unlimited_count() == before + 20
        own_valkey.start()

        async def is_limited() -> bool:
            return 429 in _statuses(await _burst(found, token, 20))

        await until(is_limited)


async def test_a_valkey_that_hangs_holds_up_one_request_at_a_time(postgres_url: str, own_valkey: ValkeyServer) -> None:
    async with platform(postgres_url, own_valkey.url, settings=GatewaySettings()) as found:
        token = await found.token(await found.account())
        assert (await found.ask("GET", PATH, token=token)).status == 200
        own_valkey.pause()
        try:
            assert (await found.ask("GET", PATH, token=token)).status == 200  # finds out
            await asyncio.sleep(0.25)  # the cache tries again
            trying = asyncio.create_task(found.ask("GET", PATH, token=token))
            await asyncio.sleep(0.05)
            assert _statuses(await _burst(found, token, 10)) == {200: 10}
            assert not trying.done(), "the others did not wait for the one that tries"
            assert (await trying).status == 200
        finally:
            own_valkey.resume()
