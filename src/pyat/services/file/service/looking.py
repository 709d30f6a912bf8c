"""What a file is: its type by its content, its size as a picture, its thumbnails, and whether a scanner lets it pass."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from pyat.foundation.errors import ServiceUnavailable
from pyat.services.file.contract import FileInfected
from pyat.services.file.service.content_type import UNKNOWN, detect, is_inline_safe
from pyat.services.file.service.imaging import Rendered, Renderer
from pyat.services.file.service.scan import Infected, Scanner, Unavailable

_log = structlog.get_logger("file")

_SLICE_BYTES = 256 * 1024
_TYPE = re.compile(r"application/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
_NOTHING = Rendered(None, None, {})


class Looker:
    """Looks at files. Close it: rendering starts processes."""

    def __init__(self, renderer: Renderer, scanner: Scanner) -> None:
        self._renderer = renderer
        self._scanner = scanner

    def type_of(self, head: bytes, *, filename: str, declared: str | None) -> str:
        """The media type from a file's first bytes; what its sender declared counts only where these do not tell."""
        kind = detect(head, filename)
        if kind != UNKNOWN or declared is None:
            return kind
        claimed = declared.partition(";")[0].strip().lower()
        # What browsers show is known by its content: what only calls itself so is something else.
        return claimed if _TYPE.fullmatch(claimed) and not is_inline_safe(claimed) else UNKNOWN

    async def look(self, path: Path, kind: str) -> Rendered:
        """Scan and render a file; what is no picture has no size and no thumbnails.

        Raises FileInfected, and ServiceUnavailable where a scanner is named and gives no verdict.
        """
        verdict = await self._scanner.scan(_slices(path))
        if isinstance(verdict, Infected):
            _log.warning("file_infected", finding=verdict.name)
            raise FileInfected(finding=verdict.name)
        if isinstance(verdict, Unavailable):
            _log.warning("file_not_scanned", reason=verdict.reason)
            raise ServiceUnavailable
        return await self._renderer.render(path, kind) or _NOTHING

    async def close(self) -> None:
        """End what was started for it."""
        await self._renderer.close()


async def _slices(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, _SLICE_BYTES):
            yield piece
