"""One suite per contract, run twice: against the implementation itself, and against it behind real HTTP.

A suite asks for `bind` and never learns which binding it got:

    @pytest.fixture
    async def auth(bind: Bind, database: Database) -> Auth:
        return await bind(Auth, AuthService(...))
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar, cast

import pytest
import pytest_asyncio

from pyat.foundation import rpc
from pyat.foundation.identity import Signer
from tests.support.asgi import serving

Contract = TypeVar("Contract")


class Bind(Protocol):
    """Binds an implementation to its contract, as a plain object or through a server and a client."""

    async def __call__(self, contract: type[Contract], implementation: Any) -> Contract:
        """What a peer of the service would get."""
        ...


async def _bind_locally(contract: type[Contract], implementation: Any) -> Contract:
    return cast("Contract", implementation)


@pytest_asyncio.fixture(params=["local", "remote"])
async def bind(request: pytest.FixtureRequest) -> AsyncIterator[Bind]:
    """The binding of this run of a test: first local, then remote."""
    if request.param == "local":
        yield _bind_locally
        return
    signer = Signer(b"the key of one installation, for tests")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(rpc.new_session())

        async def bind_remotely(contract: type[Contract], implementation: Any) -> Contract:
            app = rpc.Server({contract.__name__: (contract, implementation)}, signer)
            url = await stack.enter_async_context(serving(app))
            return rpc.client(contract, url, session=session, signer=signer)

        yield bind_remotely
