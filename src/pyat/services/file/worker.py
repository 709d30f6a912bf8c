"""Background work of file: files are fetched by URL, what nobody needs is deleted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from pyat.foundation.db import RETRIABLE
from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.outgoing import Allowed, OutgoingClient
from pyat.services.file.service.fetching import Fetcher
from pyat.services.file.service.looking import Looker
from pyat.services.file.service.sweeping import Sweeper

_log = structlog.get_logger("file")

LOOK_INTERVAL_S = 2.0
"""How late a fetch begins that another process was asked for, or whose worker died."""
SWEEP_INTERVAL_S = 3_600.0
FIRST_SWEEP_S = 60.0


async def _fetch(fetcher: Fetcher, outgoing: OutgoingClient, at_once_max: int) -> None:
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            fetcher.woken.clear()
            await _guarded(lambda: _take(fetcher, outgoing, running, at_once_max))
            waking = asyncio.create_task(fetcher.woken.wait())
            try:
                # A fetch that ends makes room for the next one.
                await asyncio.wait({waking, *running}, timeout=LOOK_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _take(
    fetcher: Fetcher, outgoing: OutgoingClient, running: "set[asyncio.Task[None]]", at_once_max: int
) -> None:
    if len(running) >= at_once_max:
        return
    for fetch in await fetcher.take(at_once_max - len(running)):
        task = asyncio.create_task(_guarded(lambda fetch=fetch: fetcher.fetch(fetch, outgoing)))  # type: ignore[misc]
        running.add(task)
        task.add_done_callback(running.discard)


async def _sweep(sweeper: Sweeper) -> None:
    await asyncio.sleep(FIRST_SWEEP_S)
    while True:
        await _guarded(sweeper.sweep)
        await asyncio.sleep(SWEEP_INTERVAL_S)


async def _guarded(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except (ServiceUnavailable, *RETRIABLE) as error:
        # Nothing is lost: what is due stays due.
        _log.warning("background_work_postponed", cause=type(error).__name__)
    except Exception:
        _log.exception("background_work_failed")


@contextlib.asynccontextmanager
async def background_work(
    fetcher: Fetcher, sweeper: Sweeper, looker: Looker, allowed: Allowed, *, at_once_max: int
) -> AsyncIterator[None]:
    """Work while the block runs; what is under way at its end is taken up by the next process, from its beginning."""
    outgoing = OutgoingClient(allowed)
    tasks = [
        asyncio.create_task(_fetch(fetcher, outgoing, at_once_max)),
        asyncio.create_task(_sweep(sweeper)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outgoing.close()
        await looker.close()
