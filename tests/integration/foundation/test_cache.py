"""Valkey: batches, refusals, and going on while it is away; news between processes and their gaps."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from valkey.exceptions import NoScriptError, ResponseError

from pyat.foundation import cache as cache_module
from pyat.foundation.cache import Bus, Cache, CacheUnavailable
from tests.support.servers import ValkeyServer


@pytest_asyncio.fixture
async def own_cache(own_valkey: ValkeyServer) -> AsyncIterator[Cache]:
    opened = Cache(own_valkey.url)
    yield opened
    await opened.close()


async def _eventually(cache: Cache) -> None:
    for _ in range(200):
        if await cache.is_ready():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("Valkey did not come back")


async def test_commands_are_answered(cache: Cache) -> None:
    assert await cache.call("SET", "key", b"\x00\xff", "EX", 60) == b"OK"
    assert await cache.call("GET", "key") == b"\x00\xff"
    assert await cache.call("GET", "none") is None
    assert await cache.call("INCRBY", "n", 5) == 5
    assert await cache.call("MGET", "key", "none") == [b"\x00\xff", None]
    assert await cache.call("SET", "ü", "é") == b"OK"
    assert await cache.call("GET", "ü") == "é".encode()


async def test_many_callers_each_get_their_own_answer(cache: Cache) -> None:
    async def echo(number: int) -> bytes:
        if number % 3 == 0:
            await asyncio.sleep(0)
        answer: bytes = await cache.call("ECHO", f"{number} " + "x" * (number % 50))
        return answer

    answers = await asyncio.gather(*(echo(number) for number in range(3000)))
    assert answers == [f"{number} ".encode() + b"x" * (number % 50) for number in range(3000)]


async def test_a_large_answer_arrives_whole(cache: Cache) -> None:
    value = bytes(range(256)) * 20_000
    await cache.call("SET", "large", value)
    assert await asyncio.gather(*(cache.call("GET", "large") for _ in range(3))) == [value] * 3


async def test_commands_of_one_turn_travel_together(cache: Cache) -> None:
    await cache.call("PING")
    before = await _reads(cache)
    await asyncio.gather(*(cache.call("PING") for _ in range(200)))
    # Two reads by Valkey for 201 commands: this one of INFO, and one for all the others.
    assert await _reads(cache) - before <= 5


async def _reads(cache: Cache) -> int:
    info: bytes = await cache.call("INFO", "stats")
    line = next(line for line in info.splitlines() if line.startswith(b"total_reads_processed:"))
    return int(line.partition(b":")[2])


async def test_a_refused_command_is_its_callers_error_alone(cache: Cache) -> None:
    answers = await asyncio.gather(
        cache.call("SET", "text", "x"),
        cache.call("INCR", "text"),
        cache.call("NO-SUCH-COMMAND"),
        cache.call("EVALSHA", "0" * 40, 0),
        cache.call("GET", "text"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [bytes, ResponseError, ResponseError, NoScriptError, bytes]


async def test_an_argument_that_is_no_value_is_its_callers_error_alone(cache: Cache) -> None:
    answers = await asyncio.gather(
        cache.call("PING"),
        cache.call("SET", "key", None),  # type: ignore[arg-type]
        cache.call("PING"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [bytes, TypeError, bytes]


async def test_a_cancelled_caller_does_not_disturb_the_others(cache: Cache) -> None:
    tasks = [asyncio.create_task(cache.call("ECHO", str(number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1::2] == [str(number).encode() for number in range(1, 20, 2)]
    assert await cache.call("PING") == b"PONG"


async def test_a_cancelled_first_caller_leaves_a_connection_for_the_others(valkey_url: str) -> None:
    cache = Cache(valkey_url)
    first, second = (asyncio.create_task(cache.call("PING")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"PONG"
    assert first.cancelled()
    await cache.close()


async def test_password_and_database_of_the_url_are_used(own_valkey: ValkeyServer) -> None:
    plain = Cache(own_valkey.url)
    await plain.call("SET", "here", "0")
    await plain.call("CONFIG", "SET", "requirepass", "s3cret")
    opened = Cache(own_valkey.url + "?password=s3cret&db=3")
    assert await opened.call("DBSIZE") == 0
    wrong = Cache(own_valkey.url + "?password=wrong")
    missing = Cache(own_valkey.url)
    for cache in (wrong, missing):
        with pytest.raises(CacheUnavailable):
            await cache.call("PING")
        assert not await cache.is_ready()
        await cache.close()
    await opened.close()
    await plain.close()


async def test_a_server_without_room_is_unavailable(own_cache: Cache) -> None:
    await own_cache.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(CacheUnavailable):
        await own_cache.call("SET", "key", "value")
    assert await own_cache.is_ready()


async def test_a_killed_valkey_is_unavailable_at_once_and_used_again_once_it_is_back(
    own_valkey: ValkeyServer, own_cache: Cache
) -> None:
    assert await own_cache.is_ready()
    under_way = asyncio.create_task(own_cache.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0.01)
    own_valkey.kill()
    with pytest.raises(CacheUnavailable):
        await under_way
    for _ in range(100):
        with pytest.raises(CacheUnavailable):
            await own_cache.call("PING")
    own_valkey.start()
    await _eventually(own_cache)
    assert await asyncio.gather(*(own_cache.call("PING") for _ in range(10))) == [b"PONG"] * 10


async def test_a_valkey_that_was_never_there_is_unavailable(own_valkey: ValkeyServer) -> None:
    own_valkey.kill()
    for url in (own_valkey.url, "valkey://127.0.0.1:1", "valkey://no-such-host.invalid"):
        cache = Cache(url)
        with pytest.raises(CacheUnavailable):
            await cache.call("PING")
        await cache.close()


async def test_a_hanging_valkey_is_given_up_and_used_again(
    own_valkey: ValkeyServer, own_cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ANSWER_TIMEOUT_S", 0.1)
    await own_cache.call("PING")
    own_valkey.pause()
    answers = await asyncio.gather(*(own_cache.call("PING") for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [CacheUnavailable] * 5
    own_valkey.resume()
    await _eventually(own_cache)


async def test_too_many_waiting_commands_are_refused(own_cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "QUEUE_MAX", 10)
    await own_cache.call("PING")
    answers = await asyncio.gather(*(own_cache.call("PING") for _ in range(15)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [bytes] * 10 + [CacheUnavailable] * 5
    assert await own_cache.call("PING") == b"PONG"


async def test_something_that_is_not_valkey_is_unavailable() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    cache = Cache(f"valkey://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(CacheUnavailable):
        await cache.call("PING")
    await cache.close()
    server.close()


async def test_closing_waits_for_what_is_under_way(valkey_url: str) -> None:
    cache = Cache(valkey_url)
    await cache.call("PING")
    task = asyncio.create_task(cache.call("ECHO", "last"))
    await asyncio.sleep(0)
    await cache.close()
    assert await task == b"last"


class Listening:
    """A bus with one listener that keeps what it hears, and counts its gaps."""

    def __init__(self, url: str) -> None:
        self.cache = Cache(url)
        self.bus = Bus(self.cache, url)
        self.heard: list[str] = []
        self.gaps = 0
        self._changed = asyncio.Event()
        self.bus.listen("news", self._hear)
        self.bus.on_gap(self._gap)

    async def _hear(self, message: str) -> None:
        self.heard.append(message)
        self._changed.set()
        if message == "fail":
            raise LookupError

    def _gap(self) -> None:
        self.gaps += 1
        self._changed.set()
        if self.gaps == 2:
            raise LookupError

    async def until(self, *, heard: int = 0, gaps: int = 0) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < heard or self.gaps < gaps:
                self._changed.clear()
                await self._changed.wait()


@pytest_asyncio.fixture
async def listening(own_valkey: ValkeyServer) -> AsyncIterator[Listening]:
    made = Listening(own_valkey.url)
    task = asyncio.create_task(made.bus.run())
    await made.until(gaps=1)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.cache.close()


async def test_what_is_published_is_heard_in_order(listening: Listening) -> None:
    for number in range(50):
        await listening.bus.publish("news", f"é {number}")
    await listening.until(heard=50)
    assert listening.heard == [f"é {number}" for number in range(50)]
    assert listening.gaps == 1


async def test_other_channels_are_not_heard(listening: Listening) -> None:
    await listening.bus.publish("other", "x")
    await listening.bus.publish("news", "y")
    await listening.until(heard=1)
    assert listening.heard == ["y"]


async def test_from_its_first_gap_notice_on_nothing_is_missed(own_valkey: ValkeyServer) -> None:
    for _ in range(20):
        made = Listening(own_valkey.url)
        task = asyncio.create_task(made.bus.run())
        await made.until(gaps=1)
        await made.bus.publish("news", "at once")
        await made.until(heard=1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.cache.close()


async def test_a_failing_listener_does_not_end_the_listening(listening: Listening) -> None:
    await listening.bus.publish("news", "fail")
    await listening.bus.publish("news", "after")
    await listening.until(heard=2)
    assert listening.heard == ["fail", "after"]


async def test_a_restart_is_a_gap_and_listening_goes_on(own_valkey: ValkeyServer, listening: Listening) -> None:
    for gaps in (2, 3):  # the handler fails at its second call, and is called again at the third
        own_valkey.kill()
        assert not await listening.bus.publish("news", "heard here only")
        own_valkey.start()
        await listening.until(gaps=gaps)
    await _eventually(listening.cache)
    assert await listening.bus.publish("news", "back")
    await listening.until(heard=3)
    assert listening.heard == ["heard here only", "heard here only", "back"]


async def test_a_silent_connection_is_found_out(
    own_valkey: ValkeyServer, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LISTENING_CHECK_S", 0.1)
    await listening.bus.publish("news", "wake")  # the check in force is read anew after each message
    await listening.until(heard=1)
    own_valkey.pause()
    await asyncio.sleep(0.5)
    own_valkey.resume()
    await listening.until(gaps=2)


async def test_confirmed_news_has_been_heard_by_every_process(own_valkey: ValkeyServer, listening: Listening) -> None:
    other = Listening(own_valkey.url)
    done: list[str] = []

    async def take_time(message: str) -> None:
        await asyncio.sleep(0.05)
        done.append(message)

    other.bus.listen("news", take_time)
    task = asyncio.create_task(other.bus.run())
    await other.until(gaps=1)
    for number in range(5):
        assert await listening.bus.publish_confirmed("news", str(number))
        assert done == [str(earlier) for earlier in range(number + 1)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await other.cache.close()
    assert await listening.bus.publish_confirmed("news", "alone")


async def test_news_that_a_process_does_not_take_is_not_confirmed(
    own_valkey: ValkeyServer, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "CONFIRMED_WITHIN_S", 0.1)
    other = Listening(own_valkey.url)
    is_free = asyncio.Event()

    async def wait(_: str) -> None:
        await is_free.wait()

    other.bus.listen("news", wait)
    task = asyncio.create_task(other.bus.run())
    await other.until(gaps=1)
    assert not await listening.bus.publish_confirmed("news", "stuck")
    is_free.set()
    # The late confirmation of the first is not taken for one of the second.
    assert await listening.bus.publish_confirmed("news", "free")
    await other.until(heard=2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await other.cache.close()
    own_valkey.kill()
    assert not await listening.bus.publish_confirmed("news", "heard here only")
    assert listening.heard[-1] == "heard here only"


async def test_a_bus_that_does_not_listen_can_tell_and_does_not_wait(
    own_valkey: ValkeyServer, listening: Listening
) -> None:
    cache = Cache(own_valkey.url)
    assert await Bus(cache, own_valkey.url).publish_confirmed("news", "told")
    await listening.until(heard=1)
    await cache.close()
