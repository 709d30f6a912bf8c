"""Timed work of airtable_gateway: months of the change log that nobody needs any more are dropped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from pyat.foundation.db import RETRIABLE
from pyat.foundation.errors import ServiceUnavailable
from pyat.services.airtable_gateway.service import RecordsService

_log = structlog.get_logger("airtable_gateway")

FIRST_AFTER_S = 60.0
"""Not at once: a start has more urgent work."""
INTERVAL_S = 86_400.0


async def _work(service: RecordsService) -> None:
    await asyncio.sleep(FIRST_AFTER_S)
    while True:
        try:
            dropped = await service.forget_changes()
            if dropped:
                _log.info("changes_forgotten", months=dropped)
        except (ServiceUnavailable, *RETRIABLE) as error:
            _log.warning("timed_work_postponed", cause=type(error).__name__)
        except Exception:
            _log.exception("timed_work_failed")
        await asyncio.sleep(INTERVAL_S)


@contextlib.asynccontextmanager
async def timed_work(service: RecordsService) -> AsyncIterator[None]:
    """Work in the background while the block runs."""
    task = asyncio.create_task(_work(service))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
