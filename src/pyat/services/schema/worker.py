"""Timed work of schema: views of large tables get the indexes they want, and lose those that nobody needs; columns of
computed cells are filled; the trash is emptied."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from pyat.foundation.db import RETRIABLE
from pyat.foundation.errors import ServiceUnavailable
from pyat.services.schema.service import SchemaService
from pyat.services.schema.settings import SchemaSettings

CONNECTIONS_MIN = 4
"""Fewer than that a process needs for its requests while it builds an index."""

_log = structlog.get_logger("schema")


async def _work(service: SchemaService, settings: SchemaSettings) -> None:
    while True:
        await asyncio.sleep(settings.view_index_interval_s)
        try:
            built, dropped = await service.refresh_view_indexes(
                rows_min=settings.view_index_rows_min, idle_s=settings.view_index_idle_h * 3600
            )
            if built or dropped:
                _log.info("view_indexes_changed", built=built, dropped=dropped)
        except (ServiceUnavailable, *RETRIABLE) as error:
            # The next look finds what is still to do.
            _log.warning("timed_work_postponed", cause=type(error).__name__)
        except Exception:
            _log.exception("timed_work_failed")


@contextlib.asynccontextmanager
async def timed_work(service: SchemaService, settings: SchemaSettings, *, connections_max: int) -> AsyncIterator[None]:
    """Work in the background while the block runs, where the process has connections to spare."""
    if not settings.view_index_rows_min or connections_max < CONNECTIONS_MIN:
        yield
        return
    task = asyncio.create_task(_work(service, settings))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _purge(service: SchemaService, settings: SchemaSettings) -> None:
    while True:
        await asyncio.sleep(settings.trash_interval_s)
        try:
            purged = await service.purge_trash()
            if purged:
                _log.info("trash_purged", count=purged)
        except (ServiceUnavailable, *RETRIABLE) as error:
            # What is still there is found again the next time.
            _log.warning("timed_work_postponed", cause=type(error).__name__)
        except Exception:
            _log.exception("timed_work_failed")


async def _fill(service: SchemaService, settings: SchemaSettings) -> None:
    while True:
        filled = None
        try:
            filled = await service.fill_computed()
        except (ServiceUnavailable, *RETRIABLE) as error:
            # The work is still noted, and taken again when its lease is over.
            _log.warning("timed_work_postponed", cause=type(error).__name__)
        except Exception:
            _log.exception("timed_work_failed")
        if filled is None:
            await asyncio.sleep(settings.computed_interval_s)


@contextlib.asynccontextmanager
async def background(service: SchemaService, settings: SchemaSettings, *, connections_max: int) -> AsyncIterator[None]:
    """All timed work while the block runs."""
    tasks = [asyncio.create_task(work(service, settings)) for work in (_purge, _fill)]
    try:
        async with timed_work(service, settings, connections_max=connections_max):
            yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
