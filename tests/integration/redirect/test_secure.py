"""Programs redirected to a platform with https, behind a path of a server that has others: certificates count as ever."""

import datetime
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pyat.redirect import environment

PYTHON = """
import asyncio, http.client, json, ssl, urllib.request
import aiohttp, httpx, requests, urllib3

def by_http_client(kind, path):
    connection = kind("api.airtable.com", timeout=30)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())

async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session, session.get(url, ssl=ssl.create_default_context()) as response:
        return await response.json()

with httpx.Client() as client:
    print(json.dumps([
        by_http_client(http.client.HTTPSConnection, "/v0/1"),
        by_http_client(http.client.HTTPConnection, "/v0/2"),
        requests.get("https://api.airtable.com/v0/3", timeout=30).json(),
        json.loads(urllib.request.urlopen("http://content.airtable.com/v0/4", timeout=30).read()),
        asyncio.run(by_aiohttp("https://airtable.com/v0/5")),
        urllib3.PoolManager(ssl_context=ssl.create_default_context()).request("GET", "http://airtable.com/v0/6").json(),
        client.get("http://api.airtable.com/v0/7").json(),
        requests.get("https://content.airtable.com/air/v0/8", timeout=30).json(),
    ]))
"""
NODE = """
const http = require('http');
const https = require('https');
const got = (module, options) => new Promise((resolve, reject) => {
  module.get(options, (response) => {
    let text = '';
    response.on('data', (piece) => { text += piece; });
    response.on('end', () => resolve(JSON.parse(text)));
  }).on('error', reject);
});
(async () => {
  console.log(JSON.stringify([
    await (await fetch('https://api.airtable.com/v0/1')).json(),
    await (await fetch('http://api.airtable.com/v0/2')).json(),
    await got(https, 'https://content.airtable.com/air/v0/3'),
    await got(http, { host: 'airtable.com', path: '/v0/4', agent: new http.Agent() }),
    await got(https, { hostname: 'api.airtable.com', path: '/v0/5', agent: new https.Agent() }),
  ]));
})().catch((error) => { console.error(error.stack, error.cause); process.exitCode = 1; });
"""
PROGRAMS = {"python": [sys.executable, "-c", PYTHON], "node": ["node", "-e", NODE]}


@dataclass(frozen=True, slots=True)
class Secure:
    """A server with a certificate of its own making; `authority` is the file that vouches for it."""

    origin: str
    authority: Path


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "host": self.headers["host"]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate breaks off, which is meant here."""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """Answers every path with what it was asked."""
    folder = tmp_path_factory.mktemp("secure")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    authority, private = folder / "certificate.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    server = _Server(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Secure(f"https://localhost:{server.server_port}", authority)
    server.shutdown()
    thread.join()
    server.server_close()


def _run(command: list[str], secure: Secure, *, is_trusted: bool) -> "subprocess.CompletedProcess[str]":
    if shutil.which(command[0]) is None:
        pytest.skip("Node is not installed")
    trust = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "SSL_CERT_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in trust}
    given = dict.fromkeys(trust[:3], str(secure.authority)) if is_trusted else {}
    return subprocess.run(
        command,
        env=environment({**kept, **given}, url=f"{secure.origin}/air"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("language", PROGRAMS)
def test_every_way_reaches_a_platform_with_https(language: str, secure: Secure) -> None:
    finished = _run(PROGRAMS[language], secure, is_trusted=True)
    assert finished.returncode == 0, finished.stderr
    answers = json.loads(finished.stdout)
    host = secure.origin.removeprefix("https://")
    assert answers == [{"path": f"/air/v0/{number}", "host": host} for number in range(1, len(answers) + 1)]
    assert len(answers) >= 5


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_certificate_that_nobody_vouches_for_is_refused(language: str, secure: Secure) -> None:
    finished = _run(PROGRAMS[language], secure, is_trusted=False)
    assert finished.returncode == 1
    assert "certificate" in finished.stderr.lower()
    assert not finished.stdout
