"""The virus scanner, against a server that speaks clamd's protocol."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyat.services.file.service.scan import CHUNK_BYTES_MAX, Clean, Infected, Scanner, Unavailable

BAD = b"a test for the scanner"


class Clamd:
    """Reads streams; finds `BAD`; refuses streams of more than `bytes_max`."""

    def __init__(self, bytes_max: int = 10**9, answer: bytes | None = None) -> None:
        self.bytes_max = bytes_max
        self.answer = answer
        self.pieces: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        data = b""
        answer = b""
        while size := struct.unpack(">I", await reader.readexactly(4))[0]:
            self.pieces.append(size)
            data += await reader.readexactly(size)
            if len(data) > self.bytes_max:
                answer = b"INSTREAM size limit exceeded. ERROR"
                break
        if not answer:
            answer = self.answer or (b"stream: Test.Virus-1 FOUND" if BAD in data else b"stream: OK")
        writer.write(answer + b"\0")
        writer.close()


@asynccontextmanager
async def listening(clamd: Clamd) -> AsyncIterator[str]:
    server = await asyncio.start_server(clamd.serve, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        # What the server's side still has to close, it closes in the next turns of the loop.
        for _ in range(5):
            await asyncio.sleep(0)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_clean_and_infected() -> None:
    clamd = Clamd()
    async with listening(clamd) as url:
        assert await Scanner(url).scan(pieces(b"fine", b"", b"x" * 200_000)) == Clean()
        assert max(clamd.pieces) == CHUNK_BYTES_MAX and sum(clamd.pieces) == 200_004
        assert await Scanner(url).scan(pieces(BAD[:5], BAD[5:])) == Infected("Test.Virus-1")
        assert await Scanner(url).scan(pieces()) == Clean()


async def test_by_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "clamd"
    async with await asyncio.start_unix_server(Clamd().serve, path):
        assert await Scanner(f"unix://{path}").scan(pieces(BAD)) == Infected("Test.Virus-1")


async def test_without_a_url_nothing_is_asked() -> None:
    assert await Scanner("").scan(pieces(BAD)) == Clean()


async def test_a_stream_too_large_for_the_scanner_has_no_verdict() -> None:
    async with listening(Clamd(bytes_max=100)) as url:
        verdict = await Scanner(url).scan(pieces(*[b"x" * 65536] * 3))
    assert isinstance(verdict, Unavailable)


@pytest.mark.parametrize("answer", [b"whatever", b"x" * 10_000])
async def test_an_answer_not_understood_is_no_verdict(answer: bytes) -> None:
    async with listening(Clamd(answer=answer)) as url:
        assert isinstance(await Scanner(url).scan(pieces(b"x")), Unavailable)


async def test_nobody_listens() -> None:
    async with listening(Clamd()) as url:
        pass
    assert isinstance(await Scanner(url).scan(pieces(b"x")), Unavailable)


async def test_a_silent_scanner_is_given_up() -> None:
    done, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.transport.abort()
        ended.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await Scanner(url, timeout_ms=100).scan(pieces(b"x")) == Unavailable("no verdict within 100 ms")
        done.set()
        await ended.wait()
        await asyncio.sleep(0)


async def test_what_reading_the_file_raises_is_raised() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk is gone")

    async with listening(Clamd()) as url:
        with pytest.raises(OSError, match="the disk is gone"):
            await Scanner(url).scan(broken())


def test_another_kind_of_url_is_refused() -> None:
    with pytest.raises(ValueError, match="tcp://"):
        Scanner("http://example.com")
