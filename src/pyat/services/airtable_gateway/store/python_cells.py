"""What Python computes of records, in a thread of its own and for a bounded time, so that others are answered meanwhile."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

from pyat.formula import evaluation
from pyat.recordstore import computing
from pyat.recordstore.structure import Table

CELLS_TIME_MAX_S: Final = 5.0
"""For the cells of one answer; those that are not computed by then are `#ERROR!`."""

Result = TypeVar("Result")


async def filled(body: bytes, table: Table, *, by_id: bool, as_text: bool = False) -> bytes:
    """As `computing.filled`."""
    if not computing.has_marks(body):
        return body
    ends_s = time.monotonic() + CELLS_TIME_MAX_S
    return await until(ends_s, lambda: computing.filled(body, table, by_id=by_id, as_text=as_text))


async def until(ends_s: float, work: Callable[[], Result]) -> Result:
    """Work whose formulas end at `time.monotonic()` of `ends_s`: those that are shown with an error, others by raising
    EvaluationTooLong."""

    def bounded() -> Result:
        # The thread has a context of its own.
        evaluation.ENDS_S.set(ends_s)
        return work()

    return await asyncio.to_thread(bounded)
