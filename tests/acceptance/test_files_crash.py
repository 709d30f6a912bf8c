"""kill -9 of the file service: a fetch is taken up again, an upload goes on where it stood."""

import hashlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, Answer, call

WAIT_S = 60.0
PART_BYTES = 8 * 1024 * 1024
CONTENT = os.urandom(2_000_000)


class Origin(ThreadingHTTPServer):
    """Another server, whose first answer stops in the middle until it is told to go on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.begun = threading.Event()
        self.go_on = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(CONTENT)))
        self.end_headers()
        half = len(CONTENT) // 2
        try:
            self.wfile.write(CONTENT[:half])
            self.server.begun.set()
            self.server.go_on.wait(WAIT_S)
            self.wfile.write(CONTENT[half:])
        except OSError:
            return

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    """The other server, running."""
    server = Origin()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this module alone, a process for each service."""
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off", "PYAT_OUTBOUND_ALLOW": "127.0.0.1"}
    with Platform(tmp_path_factory.mktemp("home"), mode="processes", env=env) as started:
        yield started


@pytest.fixture
def owner(own_platform: Platform) -> Account:
    """Its administrator."""
    return account_of(own_platform, own_platform.token)


@pytest.fixture
def base_id(own_platform: Platform, owner: Account) -> str:
    """A base with an attachment field."""
    fields = [{"name": "Name", "type": "singleLineText"}, {"name": "Files", "type": "multipleAttachments"}]
    body = {"name": "B", "workspaceId": owner.workspace_id, "tables": [{"name": "T", "fields": fields}]}
    made = call("POST", f"{own_platform.url}/v0/meta/bases", token=owner.token, body=body)
    assert made.status == 200, made.body
    return str(made.body["id"])


def test_a_fetch_is_taken_up_again(own_platform: Platform, owner: Account, base_id: str, origin: Origin) -> None:
    path = f"{own_platform.url}/v0/{base_id}/T"
    url = f"http://127.0.0.1:{origin.server_address[1]}/some.bin"
    made = call("POST", path, token=owner.token, body={"fields": {"Files": [{"url": url}]}})
    assert made.status == 200, made.body
    assert origin.begun.wait(WAIT_S)
    own_platform.kill("file")
    origin.go_on.set()
    deadline_s = time.monotonic() + WAIT_S
    while True:
        read = call("GET", f"{path}/{made.body['id']}", token=owner.token)
        (shown,) = read.body["fields"]["Files"]
        if "size" in shown:
            break
        assert time.monotonic() < deadline_s, shown
        time.sleep(0.1)
    assert (shown["filename"], shown["size"]) == ("some.bin", len(CONTENT))
    assert call("GET", shown["url"]).raw == CONTENT


def test_an_upload_goes_on_where_it_stood(own_platform: Platform, owner: Account, base_id: str) -> None:
    data = os.urandom(PART_BYTES * 2 + 1_000_000)
    tus = {"tus-resumable": "1.0.0", "upload-length": str(len(data))}
    collection = f"{own_platform.url}/api/v1/files/bases/{base_id}/tus"
    begun = call("POST", collection, token=owner.token, headers=tus)
    assert begun.status == 201, begun.body
    location = begun.headers["location"]

    connection = http.client.HTTPConnection("127.0.0.1", own_platform.port, timeout=WAIT_S)
    connection.putrequest("PATCH", location)
    headers = {**tus, "authorization": f"Bearer {owner.token}", "content-type": "application/offset+octet-stream"}
    for name, value in {**headers, "upload-offset": "0", "content-length": str(len(data))}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(data[: PART_BYTES + 2_000_000])
    assert _offset(own_platform, owner, location, at_least=PART_BYTES) >= PART_BYTES
    own_platform.kill("file")
    connection.close()

    offset = _offset(own_platform, owner, location, at_least=PART_BYTES)
    assert offset < len(data)
    rest = call(
        "PATCH",
        own_platform.url + location,
        token=owner.token,
        raw=data[offset:],
        headers={**headers, "upload-offset": str(offset)},
    )
    assert rest.status == 204, rest.body
    record = call("POST", f"{own_platform.url}/v0/{base_id}/T", token=owner.token, body={"fields": {"Name": "a"}}).body[
        "id"
    ]
    written = call(
        "PATCH",
        f"{own_platform.url}/v0/{base_id}/T/{record}",
        token=owner.token,
        body={"fields": {"Files": [{"id": rest.headers["x-attachment-id"]}]}},
    )
    assert written.status == 200, written.body
    (shown,) = written.body["fields"]["Files"]
    assert hashlib.sha256(call("GET", shown["url"]).raw).digest() == hashlib.sha256(data).digest()


def _offset(platform: Platform, owner: Account, location: str, *, at_least: int) -> int:
    """How much of an upload has come, once that is enough and the service is there."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        answer: Answer = call("HEAD", platform.url + location, token=owner.token, headers={"tus-resumable": "1.0.0"})
        if answer.status == 200 and int(answer.headers["upload-offset"]) >= at_least:
            return int(answer.headers["upload-offset"])
        assert time.monotonic() < deadline_s, (answer.status, answer.headers)
        time.sleep(0.05)
