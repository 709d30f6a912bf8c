"""Any ASGI app on a real port of this machine, for as long as a test needs it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

HOST = "127.0.0.1"


@asynccontextmanager
async def serving(app: Any, *, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` over HTTP in this event loop; gives its address, such as `http://127.0.0.1:40123`.

    These are uvicorn's protocol and limits without its main loop, which needs 0.2 s to end. Requests still being answered
    at the end of the block are cancelled.
    """
    # With the protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    config = uvicorn.Config(app, log_config=None, http="httptools", ws="none", lifespan="off", timeout_keep_alive=75)
    config.load()
    state = ServerState()

    def protocol() -> asyncio.Protocol:
        made: asyncio.Protocol = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[call-arg]
        return made

    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        server.close()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(state.connections):
            connection.transport.abort()
