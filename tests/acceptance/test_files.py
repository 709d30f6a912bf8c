"""Files against a started platform, in one process and in many: uploads, signed downloads, and what is refused early."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, call

CLIENTS = Path(__file__).parent / "clients"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080600000"
    "01f15c4890000000d49444154789c626001000000ffff03000006000557bfabd40000000049454e44ae426082"
)
LARGE_BYTES = 160_000_000
GROWTH_BYTES_MAX = 60_000_000


def _modules() -> Path | None:
    named = os.environ.get("PYAT_TEST_NODE_MODULES")
    found = Path(named) if named else CLIENTS / "node_modules"
    return found if (found / "tus-js-client").is_dir() else None


@pytest.fixture
def base(platform: Platform, account: Account) -> dict[str, Any]:
    """A base with a table of one text field and one attachment field."""
    answer = call(
        "POST",
        f"{platform.url}/v0/meta/bases",
        token=account.token,
        body={
            "name": "Files",
            "workspaceId": account.workspace_id,
            "tables": [
                {
                    "name": "T",
                    "fields": [
                        {"name": "Name", "type": "singleLineText"},
                        {"name": "Files", "type": "multipleAttachments"},
                    ],
                }
            ],
        },
    )
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


def _attached(platform: Platform, account: Account, base: dict[str, Any], attachment_id: str) -> dict[str, Any]:
    """The attachment as a record shows it once a cell holds it."""
    made = call("POST", f"{platform.url}/v0/{base['id']}/T", token=account.token, body={"fields": {"Name": "a"}})
    assert made.status == 200, made.body
    record = f"{platform.url}/v0/{base['id']}/T/{made.body['id']}"
    body = {"fields": {"Files": [{"id": attachment_id}]}}
    written = call("PATCH", record, token=account.token, body=body)
    assert written.status == 200, written.body
    read = call("GET", record, token=account.token)
    (found,) = read.body["fields"]["Files"]
    assert found["id"] == attachment_id
    return dict(found)


def _form(data: bytes, filename: str) -> tuple[bytes, dict[str, str]]:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    return head.encode() + data + b"\r\n--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}


def test_an_uploaded_file_is_read_without_a_token(platform: Platform, account: Account, base: dict[str, Any]) -> None:
    body, headers = _form(PNG, "cat.png")
    uploaded = call(
        "POST",
        f"{platform.url}/api/v1/files/bases/{base['id']}/uploads",
        token=account.token,
        raw=body,
        headers=headers,
    )
    assert uploaded.status == 200, uploaded.body
    shown = _attached(platform, account, base, uploaded.body["id"])
    assert (shown["filename"], shown["size"], shown["type"]) == ("cat.png", len(PNG), "image/png")
    assert shown["url"].startswith(platform.url)
    plain = call("GET", shown["url"])
    assert (plain.status, plain.raw, plain.headers["content-type"]) == (200, PNG, "image/png")
    head = call("HEAD", shown["url"])
    assert (head.status, head.headers["content-length"]) == (200, str(len(PNG)))
    part = call("GET", shown["url"], headers={"range": "bytes=1-3", "accept-encoding": "gzip"})
    assert (part.status, part.raw, part.headers["content-range"]) == (206, b"PNG", f"bytes 1-3/{len(PNG)}")
    same = call("GET", shown["url"], headers={"if-none-match": plain.headers["etag"]})
    assert (same.status, same.raw) == (304, b"")
    assert call("GET", shown["url"].replace("/original/", "/small/")).status == 403


def test_text_is_not_compressed_on_the_way(platform: Platform, account: Account, base: dict[str, Any]) -> None:
    data = b"plain text, many times\n" * 10_000
    body, headers = _form(data, "a.txt")
    path = f"{platform.url}/api/v1/files/bases/{base['id']}/uploads"
    uploaded = call("POST", path, token=account.token, raw=body, headers=headers)
    shown = _attached(platform, account, base, uploaded.body["id"])
    answer = call("GET", shown["url"], headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert (answer.raw, answer.headers["content-length"]) == (data, str(len(data)))


def test_ten_gigabytes_are_refused_before_they_are_sent(
    platform: Platform, account: Account, base: dict[str, Any]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=30)
    connection.putrequest("POST", f"/api/v1/files/bases/{base['id']}/uploads")
    connection.putheader("authorization", f"Bearer {account.token}")
    connection.putheader("content-type", "multipart/form-data; boundary=b")
    connection.putheader("content-length", str(10 * 1024**3))
    connection.putheader("expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["type"]) == (413, "REQUEST_TOO_LARGE")
    connection.close()
    begun = call(
        "POST",
        f"{platform.url}/api/v1/files/bases/{base['id']}/tus",
        token=account.token,
        headers={"tus-resumable": "1.0.0", "upload-length": str(10 * 1024**3)},
    )
    assert begun.status == 413


def test_memory_does_not_grow_with_a_file(platform: Platform, account: Account, base: dict[str, Any]) -> None:
    block = os.urandom(1_000_000)

    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
        for _ in range(LARGE_BYTES // len(block)):
            yield block
        yield b"\r\n--b--\r\n"

    processes = [psutil.Process(platform.supervisor_pid), *psutil.Process(platform.supervisor_pid).children(True)]
    ours = [process for process in processes if "python" in process.name()]
    before = {process.pid: process.memory_info().rss for process in ours}
    connection = http.client.HTTPConnection("127.0.0.1", platform.port, timeout=60)
    headers = {"authorization": f"Bearer {account.token}", "content-type": "multipart/form-data; boundary=b"}
    path = f"/api/v1/files/bases/{base['id']}/uploads"
    connection.request("POST", path, body=pieces(), headers=headers, encode_chunked=True)
    answer = connection.getresponse()
    made = json.loads(answer.read())
    assert (answer.status, made["size"]) == (200, LARGE_BYTES)
    shown = _attached(platform, account, base, made["id"])
    connection.request("GET", shown["url"].removeprefix(platform.url))
    answer = connection.getresponse()
    digest, size = hashlib.sha256(), 0
    while piece := answer.read(1_000_000):
        digest.update(piece)
        size += len(piece)
    connection.close()
    wanted = hashlib.sha256()
    for _ in range(LARGE_BYTES // len(block)):
        wanted.update(block)
    assert (size, digest.digest()) == (LARGE_BYTES, wanted.digest())
    grown = {process.pid: process.memory_info().rss - before[process.pid] for process in ours}
    assert max(grown.values()) < GROWTH_BYTES_MAX, grown


def test_the_platform_speaks_tus_to_browsers(platform: Platform, base: dict[str, Any]) -> None:
    answer = call("OPTIONS", f"{platform.url}/api/v1/files/bases/{base['id']}/tus")
    assert (answer.status, answer.headers["tus-version"]) == (200, "1.0.0")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "upload-offset" in answer.headers["access-control-expose-headers"]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed; tus-js-client cannot run")
@pytest.mark.skipif(
    _modules() is None, reason="tus-js-client is not installed: run ./test-all-services.sh with npm on the PATH"
)
def test_tus_js_client_goes_on_after_a_cut(platform: Platform, account: Account, base: dict[str, Any]) -> None:
    node = shutil.which("node")
    assert node is not None
    finished = subprocess.run(
        [node, str(CLIENTS / "tus.test.cjs")],
        env={
            **os.environ,
            "NODE_PATH": str(_modules()),
            "PLATFORM_URL": platform.url,
            "API_KEY": account.token,
            "BASE_ID": base["id"],
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    done = json.loads(finished.stdout.splitlines()[-1])
    shown = _attached(platform, account, base, done["attachment"])
    assert (shown["filename"], shown["size"]) == ("large ä.bin", done["size"])
    assert hashlib.sha256(call("GET", shown["url"]).raw).hexdigest() == done["sha256"]
