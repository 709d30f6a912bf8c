"""What runs in a process and how its parts are bound: all in one, and each alone with its peers over HTTP."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pyat.assembly import process
from pyat.assembly.catalog import CATALOG, GATEWAY, NAMES
from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.prepare import FirstStart
from pyat.assembly.process import build_local, open_resources, serving
from pyat.foundation import rpc
from pyat.foundation.identity import HEADER, Signer
from pyat.foundation.ids import new_id
from pyat.foundation.settings import PlatformSettings
from pyat.services.auth.contract import AccountNotFound, Auth
from tests.support.asgi import serving as listening

KEY = "the key that the services of these tests share"
TOKEN = f"{new_id('pat')}.{secrets.token_hex(32)}"


@pytest_asyncio.fixture
async def settings(postgres_url: str, valkey_url: str, tmp_path: Path) -> PlatformSettings:
    """Of an installation whose first start is over."""
    made = PlatformSettings(
        home=tmp_path / "home",
        database_url=postgres_url,
        valkey_url=valkey_url,
        internal_key=KEY,
        admin_token=TOKEN,
        sample=False,
    )
    home = Home(made.home, shared_root=tmp_path / "shared")
    home.prepare()
    async with open_resources(made) as resources:
        built = build_local(resources)
        auth, schema, records = (built[name].implementation for name in ("auth", "schema", "airtable_gateway"))
        await FirstStart(made, home, auth, schema, records).run()
    return made


class Running:
    """Processes of a platform, all in this event loop but with HTTP between them."""

    def __init__(self, settings: PlatformSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.at: dict[str, str] = {}
        self.url = ""
        self._session = session
        self._stacks: dict[str, AsyncExitStack] = {}

    async def start(self, *names: str, at: dict[str, str] | None = None) -> str:
        """A process with these services; its URL."""
        stack = self._stacks[names[0]] = AsyncExitStack()
        app = await stack.enter_async_context(serving(self.settings, names, at or {}))
        return await stack.enter_async_context(listening(app))

    async def start_each(self) -> None:
        """A process for every service."""
        for entry in CATALOG:
            self.at[entry.name] = await self.start(entry.name, at={need: self.at[need] for need in entry.needs})
        self.url = await self.start(GATEWAY, at=self.at)

    async def stop(self, name: str) -> None:
        await self._stacks.pop(name).aclose()

    async def stop_all(self) -> None:
        for name in reversed(list(self._stacks)):
            await self.stop(name)

    async def get(self, path: str, *, url: str = "", **headers: str) -> tuple[int, Any]:
        async with self._session.get((url or self.url) + path, headers=headers) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture
async def running(settings: PlatformSettings) -> AsyncIterator[Running]:
    async with aiohttp.ClientSession() as session:
        made = Running(settings, session)
        yield made
        await made.stop_all()


@pytest_asyncio.fixture(params=["one", "many"])
async def platform(request: pytest.FixtureRequest, running: Running) -> Running:
    """The whole platform, in one process and in many."""
    if request.param == "one":
        running.url = await running.start(*NAMES)
    else:
        await running.start_each()
    return running


async def test_readiness_names_every_service(platform: Running) -> None:
    status, report = await platform.get("/health/ready")
    assert (status, report["status"]) == (200, "ready")
    assert set(report["services"]) == set(NAMES)
    for found in report["services"].values():
        assert found["ready"] is True
        assert found["latency_ms"] >= 0


async def test_a_request_travels_through_gateway_and_services(platform: Running) -> None:
    authorization = f"Bearer {TOKEN}"
    status, who = await platform.get("/v0/meta/whoami", authorization=authorization)
    assert (status, who["email"]) == (200, "admin@example.com")
    status, found = await platform.get("/v0/meta/bases", authorization=authorization)
    assert (status, found["bases"]) == (200, [])
    status, found = await platform.get("/v0/appNoSuchBase0000/Table", authorization=authorization)
    assert (status, found["error"]["type"]) == (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")


async def test_the_document_describes_every_operation(platform: Running) -> None:
    status, document = await platform.get("/openapi.json")
    assert status == 200
    described = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert described == {operation.name for entry in CATALOG for operation in entry.operations()}


async def test_a_service_that_is_away_is_named_and_leaves_the_others_ready(running: Running) -> None:
    await running.start_each()
    await running.stop("airtable_gateway")
    status, report = await running.get("/health/ready")
    assert (status, report["status"]) == (503, "starting")
    ready = {name: found["ready"] for name, found in report["services"].items()}
    assert ready == {name: name != "airtable_gateway" for name in NAMES}
    assert report["services"]["airtable_gateway"]["checks"] == {"process": False}
    authorization = f"Bearer {TOKEN}"
    assert (await running.get("/v0/meta/bases", authorization=authorization))[0] == 200
    status, found = await running.get("/v0/appNoSuchBase0000/Table", authorization=authorization)
    assert (status, found["error"]["type"]) == (503, "RETRIABLE_ERROR")


async def test_a_service_hears_only_processes_that_have_the_key(running: Running) -> None:
    url = await running.start("auth")
    async with rpc.new_session() as session:
        friend = rpc.client(Auth, url, session=session, signer=Signer(KEY.encode()))
        with pytest.raises(AccountNotFound):
            await friend.get_account(email="nobody@example.org")
        async with session.post(f"{url}/internal/Auth/get_account", json={"email": "admin@example.com"}) as response:
            assert response.status == 401
    stranger = Signer(b"a key that somebody made up just now")
    forged = stranger.sign(rpc._SERVICE, request_id="")
    assert (await running.get("/v0/meta/whoami", url=url, **{HEADER: forged}))[0] == 401


async def test_a_lifespan_writes_what_is_left_when_its_process_stops(running: Running) -> None:
    running.url = await running.start(*NAMES)
    await running.get("/v0/meta/whoami", authorization=f"Bearer {TOKEN}")
    await running.stop(NAMES[0])
    async with open_resources(running.settings) as resources:
        auth: Auth = build_local(resources, ("auth",))["auth"].implementation
        (token,) = await auth.list_tokens(user_id=None)
    assert token.last_used_time is not None


def changed(settings: PlatformSettings, **values: Any) -> PlatformSettings:
    return PlatformSettings(**{**settings.model_dump(exclude_none=True), **values})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ann:hunter2@/pyat?host={host}&user=stranger&dbname=nowhere", "does not exist"),
        ("postgresql://ann:hunter2@no-such-host.invalid/pyat", "no-such-host.invalid"),
        ("postgresql://ann:hunter2@127.0.0.1:1/pyat", "127.0.0.1:1"),
        ("mysql://ann:hunter2@127.0.0.1/pyat", "127.0.0.1"),
    ],
)
async def test_a_database_that_refuses_is_one_sentence(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setattr(process, "DATABASE_WAIT_S", 0.3)
    assert settings.database_url is not None
    host = settings.database_url.get_secret_value().partition("host=")[2].partition("&")[0]
    with pytest.raises(HomeError) as refused:
        async with open_resources(changed(settings, database_url=url.format(host=host))):
            pass
    sentence = str(refused.value)
    assert said in sentence
    assert sentence.endswith("start it there, or correct PYAT_DATABASE_URL.")
    assert "hunter2" not in sentence


async def test_an_address_that_is_none_is_not_waited_for(settings: PlatformSettings) -> None:
    with pytest.raises(HomeError, match="correct PYAT_DATABASE_URL"):
        async with open_resources(changed(settings, database_url="mysql://127.0.0.1/pyat")):
            pass


async def test_a_process_stops_although_its_bus_just_connects(running: Running) -> None:
    """valkey-py loses a cancellation that comes while it connects; each turn stops a little later."""
    for turns in range(20):
        await running.start(*NAMES)
        for _ in range(turns):
            await asyncio.sleep(0)
        await running.stop(NAMES[0])


async def test_a_short_key_is_refused(settings: PlatformSettings) -> None:
    with pytest.raises(HomeError, match="PYAT_INTERNAL_KEY is too short"):
        async with open_resources(changed(settings, internal_key="short")):
            pass


async def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HomeError, match=rf"Port {port} of 127\.0\.0\.1 cannot be used"):
            process._listener("127.0.0.1", port)
