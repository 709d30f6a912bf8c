"""Valkey: one connection per process, commands of one loop turn sent together, and news between processes.

Nothing durable lives here. When Valkey is away, calls raise `CacheUnavailable` at once and callers go on without it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from valkey.asyncio import Valkey as ValkeyClient
from valkey.asyncio.connection import AbstractConnection, ConnectionPool
from valkey.exceptions import ValkeyError

_log = structlog.get_logger("cache")

ANSWER_TIMEOUT_S = 1.0
RETRY_AFTER_S = 0.2
QUEUE_MAX = 10_000
"""Commands that may wait for their turn; more means that Valkey cannot keep up, and callers are told so."""


class CacheUnavailable(Exception):
    """Valkey did not answer; whatever was asked is not known."""


class Cache:
    """Commands to Valkey. A first call connects; a lost connection is made anew, at most every 200 ms."""

    def __init__(self, url: str) -> None:
        self._pool = ConnectionPool.from_url(url, socket_connect_timeout=ANSWER_TIMEOUT_S)
        self._connection: AbstractConnection | None = None
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._down_until_s = 0.0

    async def call(self, *command: Any) -> Any:
        """Send one command, for example `call("SET", key, value, "EX", 60)`; returns Valkey's answer.

        Raises CacheUnavailable when Valkey is away or slow, ValkeyError when it refuses the command.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._down_until_s or len(self._waiting) >= QUEUE_MAX:
            raise CacheUnavailable
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, future))
        if self._sender is None:
            # The task starts in the next turn of the loop, so that all commands of this turn travel together.
            self._sender = loop.create_task(self._send())
        return await future

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), 512))]
                await self._exchange(batch)
        finally:
            self._sender = None

    async def _exchange(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = self._connection
                if connection is None:
                    connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                    await connection.connect()
                    self._connection = connection
                await connection.send_packed_command(
                    connection.pack_commands([command for command, _ in batch]), check_health=False
                )
                for _, future in batch:
                    try:
                        answer = await connection.read_response(disable_decoding=True)
                    except ValkeyError as error:
                        if not connection.is_connected or isinstance(error, ConnectionError):
                            raise
                        if not future.done():
                            future.set_exception(error)
                    else:
                        if not future.done():
                            future.set_result(answer)
        except (OSError, ValkeyError, TimeoutError) as error:
            _log.warning("valkey_unavailable", cause=type(error).__name__)
            self._down_until_s = asyncio.get_running_loop().time() + RETRY_AFTER_S
            await self._drop()
            for _, future in [*batch, *self._waiting]:
                if not future.done():
                    future.set_exception(CacheUnavailable())
            self._waiting.clear()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def is_ready(self) -> bool:
        """Whether a PING is answered."""
        try:
            return bool(await self.call("PING"))
        except CacheUnavailable:
            return False

    async def close(self) -> None:
        """Finish what is under way, then close the connection."""
        if self._sender is not None:
            with contextlib.suppress(Exception):
                await self._sender
        await self._drop()


Listener = Callable[[str], Awaitable[None]]


class Bus:
    """News between processes over Valkey's publish/subscribe: wake-ups and "forget what you cached".

    A message may be lost while Valkey is away, so a listener may only use it to act sooner than it would anyway.
    `on_gap` runs after each reconnection, for caches that must not miss a message.
    """

    def __init__(self, cache: Cache, url: str) -> None:
        self._cache = cache
        self._url = url
        self._listeners: dict[str, list[Listener]] = {}
        self._gap_handlers: list[Callable[[], None]] = []

    def listen(self, channel: str, listener: Listener) -> None:
        """Call `listener` with the text of each message on `channel`; before `run` starts."""
        self._listeners.setdefault(channel, []).append(listener)

    def on_gap(self, handler: Callable[[], None]) -> None:
        """Call `handler` whenever messages may have been missed."""
        self._gap_handlers.append(handler)

    async def publish(self, channel: str, message: str) -> None:
        """Tell every process, this one included; silently nothing while Valkey is away."""
        with contextlib.suppress(CacheUnavailable):
            await self._cache.call("PUBLISH", f"pyat:{channel}", message)

    async def run(self) -> None:
        """Receive until cancelled; reconnects for ever."""
        if not self._listeners:
            return
        while True:
            client = ValkeyClient.from_url(self._url, decode_responses=True)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(*(f"pyat:{channel}" for channel in self._listeners))
                    for handler in self._gap_handlers:
                        handler()
                    async for message in subscription.listen():
                        for listener in self._listeners.get(message["channel"].removeprefix("pyat:"), ()):
                            await listener(message["data"])
            except (OSError, ValkeyError):
                await asyncio.sleep(RETRY_AFTER_S)
            finally:
                with contextlib.suppress(Exception):
                    await client.aclose()
