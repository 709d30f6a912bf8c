"""Fetching files by URL, in the background: what is due, what came of it, and when to try again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from pyat.foundation.clock import Clock
from pyat.foundation.errors import AppError, BodyTooLarge
from pyat.foundation.outgoing import OutgoingClient, OutgoingRefused, OutgoingTooLarge
from pyat.recordstore.attachments import Content
from pyat.services.file.contract import FileInfected
from pyat.services.file.service.keeping import Keeper
from pyat.services.file.store import Fetch, FileStore

_log = structlog.get_logger("file")

FETCHED_BYTES_MAX = 1024 * 1024 * 1024
"""Of a file that is fetched by URL (wire reference, section 6.6)."""
FETCH_TIME_S = 1_800.0
"""One try, from the look-up of the name to the last byte."""
LEASE = timedelta(seconds=20)
"""How long a worker has a fetch without a sign of life; whoever looks next after that takes it over."""
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 3_600))
"""Between the tries; after the last one the fetch has failed."""
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_FAILURE_LENGTH_MAX = 300
_GIVE_BACK_TIME_S = 1.0


class _Refused(Exception):
    """Trying again would change nothing."""


class _Later(Exception):
    """Another try may go better."""


class Fetcher:
    """Fetches what is due. Needs the guard of outgoing requests, which lives as long as the event loop's work."""

    def __init__(self, store: FileStore, keeper: Keeper, clock: Clock) -> None:
        self.store = store
        self._keeper = keeper
        self._clock = clock
        self.woken = asyncio.Event()
        """Set when something is due that was not before."""

    async def take(self, count_max: int) -> list[Fetch]:
        """Files that are due, for this worker alone until the lease ends."""
        return await self.store.take_fetches(self._clock.now(), LEASE, count_max)

    async def fetch(self, fetch: Fetch, outgoing: OutgoingClient) -> None:
        """Fetch one file that this worker has taken, and say what came of it."""
        try:
            async with self._leased(fetch):
                content = await self._fetched(fetch, outgoing)
            await self.store.complete_fetch(fetch, content)
        except _Refused as error:
            await self.store.fail_fetch(fetch, str(error)[:_FAILURE_LENGTH_MAX])
        except AppError as error:  # of the database or the object store
            await self._again(fetch, str(error))
        except _Later as error:
            await self._again(fetch, str(error))
        except asyncio.CancelledError:
            # The process ends; another one need not wait for the lease.
            with contextlib.suppress(AppError, TimeoutError):
                async with asyncio.timeout(_GIVE_BACK_TIME_S):
                    await self.store.give_back_fetch(fetch, self._clock.now())
            raise
        except Exception:
            _log.exception("fetch_failed_unexpectedly", attachment=fetch.attachment_id)
            await self._again(fetch, "an unexpected error")

    async def _again(self, fetch: Fetch, reason: str) -> None:
        if fetch.attempt > len(PAUSES):
            await self.store.fail_fetch(fetch, reason[:_FAILURE_LENGTH_MAX])
            return
        await self.store.put_fetch_off(fetch, self._clock.now() + PAUSES[fetch.attempt - 1])

    async def _fetched(self, fetch: Fetch, outgoing: OutgoingClient) -> Content:
        async with self._keeper.spooling(FETCHED_BYTES_MAX) as spool:
            try:
                async with outgoing.stream(
                    "GET", fetch.url, bytes_max=FETCHED_BYTES_MAX, time_s=FETCH_TIME_S
                ) as answer:
                    if answer.status in _RETRIED_STATUSES:
                        raise _Later(f"the other server answered {answer.status}")
                    if answer.status != 200:
                        raise _Refused(f"the other server answered {answer.status}")
                    declared = answer.headers.get("content-type")
                    async for piece in answer.chunks():
                        await spool.write(piece)
            except (OutgoingRefused, OutgoingTooLarge, BodyTooLarge) as error:
                raise _Refused(str(error)) from error
            try:
                return await self._keeper.keep(await spool.finish(), filename=fetch.filename, declared=declared)
            except FileInfected as error:
                raise _Refused(str(error)) from error

    @asynccontextmanager
    async def _leased(self, fetch: Fetch) -> AsyncIterator[None]:
        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE.total_seconds() / 3)
                try:
                    await self.store.put_fetch_off(fetch, self._clock.now() + LEASE)
                except AppError as error:
                    _log.warning("lease_not_renewed", cause=error.code)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
