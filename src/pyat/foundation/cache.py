"""Valkey: one connection per process, commands of one loop turn sent together, and news between processes.

Nothing durable lives here. When Valkey is away, calls raise `CacheUnavailable` at once and callers go on without it.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import libvalkey
import structlog
from valkey.asyncio import Valkey as ValkeyClient
from valkey.asyncio.connection import SSLConnection, parse_url
from valkey.exceptions import NoScriptError, ResponseError, ValkeyError

_log = structlog.get_logger("cache")

ANSWER_TIMEOUT_S = 1.0
RETRY_AFTER_S = 0.2
QUEUE_MAX = 10_000
"""Commands that may wait for an answer; more means that Valkey cannot keep up, and callers are told so."""
LISTENING_CHECK_S = 5.0
"""How long a subscription may be silent before it is asked for a sign of life."""
CONFIRMED_WITHIN_S = 0.5
"""How long a sender waits for the other processes to have taken its news."""

_NOT_SERVING = (
    "LOADING",
    "OOM",
    "READONLY",
    "MISCONF",
    "MASTERDOWN",
    "NOAUTH",
    "WRONGPASS",
    "NOREPLICAS",
    "CLUSTERDOWN",
)
"""Refusals that are about the server's state, not about the command."""


class CacheUnavailable(Exception):
    """Valkey did not answer, or not as a cache; whatever was asked is not known."""


def _refusal(text: str) -> Exception:
    kind = text.partition(" ")[0]
    if kind in _NOT_SERVING:
        return CacheUnavailable(kind)
    return NoScriptError(text) if kind == "NOSCRIPT" else ResponseError(text)


class _Wire(asyncio.Protocol):
    """One connection: commands go out in order, answers come back in the same order."""

    def __init__(self, lost: Callable[["_Wire", str], None]) -> None:
        self.pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        """Who waits for the next answers, and since when (the loop's clock)."""
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._reader = libvalkey.Reader(replyError=_refusal)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def send(self, packed: bytes, future: "asyncio.Future[Any]") -> None:
        """Queue a command; it leaves at the end of this turn of the loop, together with all others of the turn."""
        if self._transport is None:  # lost since the caller got hold of this wire
            raise CacheUnavailable("closed")
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        self.pending.append((future, self._loop.time()))

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()
            if self._timer is None:
                self._timer = self._loop.call_later(ANSWER_TIMEOUT_S, self._check)

    def _check(self) -> None:
        # One timer for all commands: it looks at the one that waits longest.
        self._timer = None
        if not self.pending:
            return
        left_s = self.pending[0][1] + ANSWER_TIMEOUT_S - self._loop.time()
        if left_s <= 0:
            self.close("silent")
        else:
            self._timer = self._loop.call_later(left_s, self._check)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        # uvloop's transports do all that asyncio.Transport promises, but do not derive from it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answers, or pieces of them."""
        self._reader.feed(data)
        while True:
            try:
                answer = self._reader.gets()
            except libvalkey.ProtocolError:
                self.close("not Valkey")
                return
            if answer is False:  # more is to come; RESP2, which we speak, has no booleans
                return
            if not self.pending:
                self.close("answer without a question")
                return
            future, _ = self.pending.popleft()
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side closed."""
        self.close("closed" if exc is None else type(exc).__name__)

    def close(self, cause: str) -> None:
        """End the connection; who still waits gets CacheUnavailable."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._unsent.clear()
        while self.pending:
            future, _ = self.pending.popleft()
            if not future.done():
                future.set_exception(CacheUnavailable(cause))
        if transport is not None:
            self._lost(self, cause)


class Cache:
    """Commands to Valkey. A first call connects; a lost connection is made anew, at most every 200 ms."""

    def __init__(self, url: str) -> None:
        self._target: dict[str, Any] = dict(parse_url(url))
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None
        self._down_until_s = 0.0
        self._is_down = False

    async def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command, for example `call("SET", key, value, "EX", 60)`; returns Valkey's answer, texts as bytes.

        Raises CacheUnavailable when Valkey is away or slow, ValkeyError when it refuses the command.
        Cost: 60 µs alone, 4 µs each among many (mostly the wait for the answer, in which others run).
        """
        packed = libvalkey.pack_command(command)
        wire = self._wire
        if wire is None:
            wire = await self._connected()
        if len(wire.pending) >= QUEUE_MAX:
            raise CacheUnavailable("too many commands wait")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        wire.send(packed, future)
        return await future

    async def _connected(self) -> _Wire:
        loop = asyncio.get_running_loop()
        if loop.time() < self._down_until_s:
            raise CacheUnavailable("away")
        if self._connecting is None:
            self._connecting = loop.create_task(self._connect())
            self._connecting.add_done_callback(self._connect_done)
        # Shielded: who gives up waiting does not take the connection from the others.
        return await asyncio.shield(self._connecting)

    def _connect_done(self, task: "asyncio.Task[_Wire]") -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more

    async def _connect(self) -> _Wire:
        loop = asyncio.get_running_loop()
        target = self._target
        wire: _Wire | None = None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if "path" in target:
                    _, wire = await loop.create_unix_connection(lambda: _Wire(self._lost), target["path"])
                else:
                    host, port = target.get("host", "localhost"), target.get("port", 6379)
                    _, wire = await loop.create_connection(lambda: _Wire(self._lost), host, port, ssl=_tls(target))
                for command in _greeting(target):
                    future: asyncio.Future[Any] = loop.create_future()
                    wire.send(libvalkey.pack_command(command), future)
                    await future
        except (OSError, ValkeyError, CacheUnavailable) as error:  # a TimeoutError is an OSError
            if wire is not None:
                wire.close("refused")
            self._note_down(type(error).__name__)
            raise CacheUnavailable("away") from error
        if self._is_down:
            self._is_down = False
            _log.info("valkey_available")
        self._wire = wire
        return wire

    def _lost(self, wire: _Wire, cause: str) -> None:
        if wire is self._wire:
            self._wire = None
            self._note_down(cause)

    def _note_down(self, cause: str) -> None:
        self._down_until_s = asyncio.get_running_loop().time() + RETRY_AFTER_S
        if not self._is_down:
            self._is_down = True
            _log.warning("valkey_unavailable", cause=cause)

    async def is_ready(self) -> bool:
        """Whether a PING is answered."""
        try:
            return bool(await self.call("PING"))
        except (CacheUnavailable, ValkeyError):
            return False

    async def close(self) -> None:
        """Wait for the answers under way (1 s at most), then close the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            if wire.pending:
                await asyncio.wait([future for future, _ in wire.pending], timeout=ANSWER_TIMEOUT_S)
            wire.close("done")


def _tls(target: dict[str, Any]) -> ssl.SSLContext | None:
    if target.get("connection_class") is not SSLConnection:
        return None
    context = ssl.create_default_context(cafile=target.get("ssl_ca_certs"))
    if target.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _greeting(target: dict[str, Any]) -> list[tuple[str | int, ...]]:
    commands: list[tuple[str | int, ...]] = []
    if target.get("password"):
        user = (target["username"],) if target.get("username") else ()
        commands.append(("AUTH", *user, target["password"]))
    if target.get("db"):
        commands.append(("SELECT", int(target["db"])))
    return commands


Listener = Callable[[str], Awaitable[None]]


class Bus:
    """News between processes over Valkey's publish/subscribe: wake-ups and "forget what you cached".

    A message may be lost while Valkey is away, so a listener may only use it to act sooner than it would anyway.
    `on_gap` runs after each reconnection, for caches that must not miss a message. A message can ask for confirmation:
    each process then answers on the sender's own channel after its listeners have run.
    """

    def __init__(self, cache: Cache, url: str) -> None:
        self._cache = cache
        self._url = url
        self._listeners: dict[str, list[Listener]] = {}
        self._gap_handlers: list[Callable[[], None]] = []
        self._own_channel = f"confirmed:{secrets.token_hex(8)}"
        self._is_listening = False
        self._sent = 0
        self._confirmed: dict[str, asyncio.Queue[None]] = {}
        self.listen(self._own_channel, self._count_confirmation)

    def listen(self, channel: str, listener: Listener) -> None:
        """Call `listener` with the text of each message on `channel`; before `run` starts."""
        self._listeners.setdefault(channel, []).append(listener)

    def on_gap(self, handler: Callable[[], None]) -> None:
        """Call `handler` whenever messages may have been missed."""
        self._gap_handlers.append(handler)

    async def publish(self, channel: str, message: str) -> bool:
        """Tell every process, this one included; False while Valkey is away: then only this process hears it."""
        try:
            await self._cache.call("PUBLISH", f"pyat:{channel}", f" {message}")
        except (CacheUnavailable, ValkeyError):
            await self._deliver(channel, message)
            return False
        return True

    async def publish_confirmed(self, channel: str, message: str) -> bool:
        """Tell every process and wait until the listeners of each have run, CONFIRMED_WITHIN_S seconds at most.

        False when not all have said so in that time, or while Valkey is away: then this process alone may have heard it.
        A process whose own subscription is not there hears no confirmations, and does not wait for them.
        """
        if not self._is_listening:
            return await self.publish(channel, message)
        self._sent += 1
        number = str(self._sent)
        confirmations = self._confirmed[number] = asyncio.Queue()
        try:
            async with asyncio.timeout(CONFIRMED_WITHIN_S):
                framed = f"{self._own_channel}#{number} {message}"
                for _ in range(await self._cache.call("PUBLISH", f"pyat:{channel}", framed)):
                    await confirmations.get()
        except (CacheUnavailable, ValkeyError, TimeoutError):
            await self._deliver(channel, message)
            return False
        finally:
            del self._confirmed[number]
        return True

    async def _count_confirmation(self, number: str) -> None:
        # One that arrives after its sender gave up is of no use to anybody.
        if number in self._confirmed:
            self._confirmed[number].put_nowait(None)

    async def run(self) -> None:
        """Receive until cancelled; reconnects for ever."""
        while True:
            client = ValkeyClient.from_url(self._url, decode_responses=True, socket_connect_timeout=ANSWER_TIMEOUT_S)
            try:
                async with client.pubsub() as subscription:
                    await self._receive(subscription)
            except (OSError, ValkeyError) as error:
                _log.warning("bus_interrupted", cause=type(error).__name__)
                await asyncio.sleep(RETRY_AFTER_S)
            finally:
                self._is_listening = False
                with contextlib.suppress(Exception):
                    await client.aclose()

    async def _receive(self, subscription: Any) -> None:
        unconfirmed = {f"pyat:{channel}" for channel in self._listeners}
        await subscription.subscribe(*unconfirmed)
        is_asked = False
        while True:
            message = await subscription.get_message(timeout=LISTENING_CHECK_S)
            if message is None:
                # Silence for long may be a dead connection, of which nothing would ever be heard.
                if is_asked or unconfirmed:
                    raise TimeoutError
                await subscription.ping()
                is_asked = True
                continue
            is_asked = False
            if message["type"] == "subscribe":
                unconfirmed.discard(message["channel"])
                if not unconfirmed:
                    # Not sooner: what is published before Valkey has the subscription is missed too.
                    self._is_listening = True
                    self._tell_of_gap()
            elif message["type"] == "message":
                await self._received(message["channel"].removeprefix("pyat:"), message["data"])

    async def _received(self, channel: str, framed: str) -> None:
        sender, _, text = framed.partition(" ")
        await self._deliver(channel, text)
        if sender:
            confirmed_channel, _, number = sender.partition("#")
            await self.publish(confirmed_channel, number)

    def _tell_of_gap(self) -> None:
        for handler in self._gap_handlers:
            try:
                handler()
            except Exception:
                _log.exception("gap_handler_failed")

    async def _deliver(self, channel: str, text: str) -> None:
        for listener in self._listeners.get(channel, ()):
            try:
                await listener(text)
            except Exception:  # one listener's failure is not the others'
                _log.exception("listener_failed", channel=channel)
