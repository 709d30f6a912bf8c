"""The same service on a real server that speaks S3."""

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import ServiceUnavailable
from pyat.services.file.service.sweeping import CONTENT_KEPT
from pyat.services.file.service.uploads import PART_BYTES
from pyat.services.file.settings import FileSettings
from pyat.services.file.store.objects import Objects
from tests.support.files import Bench, Client, make_bench, served
from tests.support.schema import principal

pytest.importorskip("moto", reason="moto is not installed: no S3 server to test against")

ACTOR = "usr00000000000001"
BUCKET = "files"
START_TIME_S = 60.0


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """The address of an S3 server with one bucket, of this module alone."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(server, url)
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT")):
            yield url
    finally:
        server.kill()
        server.wait()


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", url: str) -> None:
    deadline_s = time.monotonic() + START_TIME_S
    while True:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/"):
                return
        except OSError:
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline_s, "the S3 server does not answer"
            time.sleep(0.05)


@pytest.fixture
def settings(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files lie in a bucket."""
    monkeypatch.setenv("PYAT_FILES_URL", f"s3://{BUCKET}/some/prefix")
    monkeypatch.setenv("PYAT_FILES_ENDPOINT", s3_url)
    monkeypatch.setenv("PYAT_FILES_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("PYAT_FILES_SECRET_ACCESS_KEY", "secret")


@pytest_asyncio.fixture
async def bench(database: Database, cache: Cache, tmp_path: Path, settings: None) -> AsyncIterator[Bench]:
    """The services, files in a bucket."""
    made = await make_bench(database, cache, tmp_path)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    """HTTP to its public operations."""
    async with served(bench) as found:
        yield found


async def test_a_file_is_stored_read_and_deleted(bench: Bench, client: Client) -> None:
    data = os.urandom(3_000_000)
    made = [
        await bench.files.store_bytes(base_id=bench.base_id, filename="a", content_type=None, data=data, actor=ACTOR)
        for _ in range(2)
    ]
    assert bench.objects() == [], "nothing stays on the local disk"
    for attachment_id in made:
        assert (await client.send("GET", bench.url(attachment_id))).body == data
    part = await client.send("GET", bench.url(made[0]), headers={"range": "bytes=1048570-2097160"})
    assert (part.status, part.body) == (206, data[1_048_570:2_097_161])
    bench.later(days=2)
    await bench.sweeper.sweep()
    bench.later(seconds=CONTENT_KEPT.total_seconds() + 1)
    await bench.sweeper.sweep()
    row_hash = hashlib.sha256(data).hexdigest()
    assert not await bench.object_store.has(f"contents/{row_hash[:2]}/{row_hash}")


async def test_a_large_file_comes_by_a_resumable_upload(bench: Bench, client: Client) -> None:
    data = os.urandom(2 * PART_BYTES + 5)
    uploads = bench.uploads
    upload = await uploads.create(principal(), bench.base_id, filename="a.bin", content_type=None, length=len(data))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 500_000):
            yield data[start : start + 500_000]

    finished = await uploads.append(upload, pieces(), offset=0)
    assert finished.attachment_id is not None
    assert (await client.send("GET", bench.url(finished.attachment_id))).body == data
    assert bench.objects() == []


async def test_a_given_up_upload_leaves_nothing(bench: Bench) -> None:
    uploads = bench.uploads
    upload = await uploads.create(principal(), bench.base_id, filename="a", content_type=None, length=10)
    part = await uploads.put_part(upload, b"x" * 5)
    await uploads.add_parts(upload, [part])
    assert await bench.object_store.has(part.name)
    await uploads.delete(principal(), bench.base_id, upload.upload_id)
    assert not await bench.object_store.has(part.name)


async def test_a_bucket_that_is_not_there_is_a_failure_that_may_pass(bench: Bench, tmp_path: Path, s3_url: str) -> None:
    settings = FileSettings(
        files_url="s3://missing", files_endpoint=s3_url, files_access_key_id="k", files_secret_access_key="s"
    )
    objects = Objects.open(settings, tmp_path)
    with pytest.raises(ServiceUnavailable):
        await objects.put("a", b"b")


async def test_readiness_says_whether_the_store_answers(bench: Bench, tmp_path: Path) -> None:
    assert await bench.object_store.is_ready()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = FileSettings(
            files_url="s3://files",
            files_endpoint=f"http://127.0.0.1:{closed.getsockname()[1]}",
            files_access_key_id="k",
            files_secret_access_key="s",
        )
        async with asyncio.timeout(60):
            assert not await Objects.open(settings, tmp_path).is_ready()
