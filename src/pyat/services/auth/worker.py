"""Timed work of auth: last-used times are written, sessions that ended are removed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from pyat.foundation.clock import monotonic_ms
from pyat.foundation.db import RETRIABLE
from pyat.foundation.errors import ServiceUnavailable
from pyat.services.auth.service import AuthService

_log = structlog.get_logger("auth")

WRITE_INTERVAL_S = 5.0
"""How late a last-used time is written at most; together with the minute between writes this is "about a minute"."""
CLEAN_INTERVAL_MS = 3_600_000.0


async def _work(service: AuthService) -> None:
    clean_ms = monotonic_ms()
    while True:
        await asyncio.sleep(WRITE_INTERVAL_S)
        try:
            await service.write_uses()
            if monotonic_ms() >= clean_ms:
                clean_ms = monotonic_ms() + CLEAN_INTERVAL_MS
                await service.delete_expired_sessions()
        except (ServiceUnavailable, *RETRIABLE) as error:
            # Nothing is lost: what could not be written waits for the next turn.
            _log.warning("timed_work_postponed", cause=type(error).__name__)
        except Exception:
            _log.exception("timed_work_failed")


@contextlib.asynccontextmanager
async def timed_work(service: AuthService) -> AsyncIterator[None]:
    """Work in the background while the block runs; at its end, write what is left."""
    task = asyncio.create_task(_work(service))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with contextlib.suppress(ServiceUnavailable, *RETRIABLE):
            await service.write_uses()
