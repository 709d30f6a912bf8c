"""Asks a clamd whether a file holds a virus, by its INSTREAM command."""

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 4096
_FOUND: Final = re.compile(r"^stream: (.{1,200}) FOUND$")


@dataclass(frozen=True, slots=True)
class Clean:
    """The scanner found nothing."""


@dataclass(frozen=True, slots=True)
class Infected:
    """The scanner found something, by this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no verdict: not reached, too slow, refused the size, or not understood."""

    reason: str


Verdict = Clean | Infected | Unavailable


class Scanner:
    """Scans through the clamd at `url`: `tcp://host:port` or `unix:///path`; with an empty one all is clean."""

    def __init__(self, url: str, *, timeout_ms: int = 60_000) -> None:
        """Raises ValueError for another kind of URL."""
        parts = urlsplit(url)
        if url and not (
            (parts.scheme == "tcp" and parts.hostname and parts.port) or (parts.scheme == "unix" and parts.path)
        ):
            raise ValueError("A scanner is tcp://host:port or unix:///path.")
        self.is_on = bool(url)
        self._parts = parts
        self._timeout_ms = timeout_ms

    async def scan(self, chunks: AsyncIterator[bytes]) -> Verdict:
        """The verdict on a file given in pieces of any size. Raises only what `chunks` raises.

        The whole scan takes at most `timeout_ms`, the reading of `chunks` included.
        """
        if not self.is_on:
            return Clean()
        source = _Source(chunks)
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                reader, writer = await self._connect()
                await self._send(source, writer)
                answer = await self._answer(reader)
        except TimeoutError as problem:
            if problem is source.problem:
                raise
            return Unavailable(f"no verdict within {self._timeout_ms} ms")
        except (OSError, EOFError, ValueError) as problem:
            if problem is source.problem:
                raise
            return Unavailable(f"{type(problem).__name__}: {problem}")
        finally:
            if writer is not None:
                # Not awaited: what the scanner has not read yet must not hold up the verdict.
                writer.transport.abort()
        return _verdict(answer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._parts.scheme == "unix":
            return await asyncio.open_unix_connection(self._parts.path, limit=ANSWER_BYTES_MAX)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port, limit=ANSWER_BYTES_MAX)

    async def _send(self, source: "_Source", writer: asyncio.StreamWriter) -> None:
        # A scanner that has seen enough answers and closes; its answer says more than the broken pipe.
        writer.write(b"zINSTREAM\0")
        while (chunk := await source.next()) is not None:
            for start in range(0, len(chunk), CHUNK_BYTES_MAX):
                piece = chunk[start : start + CHUNK_BYTES_MAX]
                writer.write(struct.pack(">I", len(piece)) + piece)
                try:
                    await writer.drain()
                except ConnectionError:
                    return
        writer.write(struct.pack(">I", 0))
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader) -> str:
        try:
            return (await reader.readuntil(b"\0"))[:-1].decode("utf-8", "replace")
        except asyncio.LimitOverrunError:
            raise ValueError("an answer that is too long") from None


class _Source:
    """Keeps apart what reading the file raises from what talking to the scanner raises."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.problem: BaseException | None = None

    async def next(self) -> bytes | None:
        try:
            return await anext(self._chunks, None)
        except BaseException as problem:
            self.problem = problem
            raise


def _verdict(answer: str) -> Verdict:
    if answer == "stream: OK":
        return Clean()
    found = _FOUND.match(answer)
    return Infected(found[1]) if found is not None else Unavailable(f"the scanner said {answer[:200]!r}")
