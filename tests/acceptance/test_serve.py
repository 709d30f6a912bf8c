"""`pyat serve NAME --at PEER=URL`: services started one by one, as containers start them, make a platform."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyairtable import Api

from pyat.assembly.catalog import CATALOG, GATEWAY
from tests.acceptance.platform import Platform, free_port
from tests.acceptance.support import call


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Where the database, Valkey and the administrator come from."""
    with Platform(tmp_path_factory.mktemp("serve") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def environment(platform: Platform) -> dict[str, str]:
    """What an operator gives every container."""
    known = platform.server_addresses()
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYAT_")},
        "PYAT_DATABASE_URL": known["database_url"],
        "PYAT_VALKEY_URL": known["valkey_url"],
        "PYAT_INTERNAL_KEY": "a key that all services of this installation share",
    }


def serve(stack: ExitStack, log: Path, environment: dict[str, str], name: str, at: dict[str, str]) -> str:
    """One service on a free port; its URL once it is ready."""
    port = free_port()
    words = [word for peer, url in at.items() for word in ("--at", f"{peer}={url}")]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pyat", "serve", name, "--port", str(port), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    stack.callback(process.wait, 15)
    stack.callback(process.send_signal, signal.SIGTERM)
    url = f"http://127.0.0.1:{port}"
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        assert process.poll() is None, log.read_text()
        try:
            if call("GET", f"{url}/health/ready").status == 200:
                return url
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{name} was not ready: {log.read_text()}")


def test_services_served_one_by_one_make_a_platform(
    platform: Platform, environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "serve.log"
    with ExitStack() as stack:
        at: dict[str, str] = {}
        for entry in CATALOG:
            at[entry.name] = serve(stack, log, environment, entry.name, {need: at[need] for need in entry.needs})
        gateway = serve(stack, log, environment, GATEWAY, at)
        bases = Api(platform.token, endpoint_url=gateway).bases()
        assert bases[0].table("Projects").first() is not None
        # A service hears nobody but its peers: neither tokens nor a forged identity count there.
        path = f"/v0/{bases[0].id}/Projects"
        for headers in ({}, {"x-pyat-identity": "e30.0000"}):
            answer = call("GET", at["airtable_gateway"] + path, token=platform.token, headers=headers)
            assert answer.status == 401, answer.body
        assert call("POST", f"{at['auth']}/internal/Auth/list_tokens", body={"user_id": None}).status == 401
        # Nor does the gateway pass on what a client pretends to be.
        answer = call("GET", gateway + path, headers={"x-pyat-identity": "e30.0000"})
        assert answer.status == 401


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["serve", "nonsense"], "There is no service nonsense"),
        (["serve", "airtable_gateway"], "say where, with --at auth="),
    ],
)
def test_a_wrong_command_says_what_to_do(environment: dict[str, str], words: list[str], sentence: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pyat", *words], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert finished.returncode == 1
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_service_alone_asks_for_its_servers() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYAT_")}
    finished = subprocess.run(
        [sys.executable, "-m", "pyat", "serve", "auth"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 1
    assert "Set PYAT_DATABASE_URL, PYAT_VALKEY_URL, PYAT_INTERNAL_KEY first" in finished.stderr
