"""The virus scanner, as a server that speaks clamd's protocol: what it finds is kept nowhere, and no verdict is no file."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import ServiceUnavailable
from pyat.services.file.contract import FileInfected
from pyat.services.file.service.uploads import PART_BYTES
from tests.support.files import Bench, Client, make_bench, served

ACTOR = "usr00000000000001"
VIRUS = b"this is a virus"


class Clamd:
    """Finds `VIRUS`."""

    def __init__(self) -> None:
        self.scanned: list[int] = []
        self.is_silent = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
            data = b""
            while size := struct.unpack(">I", await reader.readexactly(4))[0]:
                data += await reader.readexactly(size)
            self.scanned.append(len(data))
            if not self.is_silent:
                writer.write(b"stream: Test.Virus FOUND\0" if VIRUS in data else b"stream: OK\0")
                await writer.drain()
        finally:
            writer.close()


@pytest_asyncio.fixture
async def clamd(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clamd]:
    """A scanner on the loopback interface, which the settings name."""
    scanner = Clamd()
    server = await asyncio.start_server(scanner.answer, "127.0.0.1", 0)
    monkeypatch.setenv("PYAT_CLAMD_URL", f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        yield scanner


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache, tmp_path: Path, clamd: Clamd) -> AsyncIterator[Bench]:
    """The services, files scanned."""
    made = await make_bench(database, cache, tmp_path)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    """HTTP to its public operations."""
    async with served(bench) as found:
        yield found


async def _store(bench: Bench, data: bytes) -> str:
    return await bench.files.store_bytes(base_id=bench.base_id, filename="a", content_type=None, data=data, actor=ACTOR)


async def test_a_clean_file_is_kept(bench: Bench, clamd: Clamd) -> None:
    data = b"x" * 1_000_000
    await _store(bench, data)
    await _store(bench, data)
    assert clamd.scanned == [len(data)], "a content is scanned once"


async def test_an_infected_file_is_not_kept(bench: Bench, clamd: Clamd) -> None:
    with pytest.raises(FileInfected, match=r"Test\.Virus"):
        await _store(bench, b"x" * 500_000 + VIRUS)
    assert bench.objects() == []


async def test_no_verdict_is_no_file(bench: Bench, clamd: Clamd) -> None:
    clamd.is_silent = True
    with pytest.raises(ServiceUnavailable):
        await _store(bench, b"clean")
    assert bench.objects() == []
    clamd.is_silent = False
    await _store(bench, b"clean")


async def test_an_infected_upload_is_refused_and_forgotten(bench: Bench, client: Client, clamd: Clamd) -> None:
    data = b"x" * PART_BYTES + VIRUS
    path = f"/api/v1/files/bases/{bench.base_id}/tus"
    headers = {
        "tus-resumable": "1.0.0",
        "upload-length": str(len(data)),
        "content-type": "application/offset+octet-stream",
    }
    answer = await client.send("POST", path, headers=headers, data=data)
    assert (answer.status, answer.json["error"]["type"]) == (422, "FILE_INFECTED")
    assert bench.objects() == []
