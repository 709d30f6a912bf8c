"""Thumbnails of pictures and documents, made in processes of their own that may fail, swell or hang without harm."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from pyat.services.file.service import rendering

_log = structlog.get_logger("file")

HEAD_BYTES_MAX: Final = 64 * 1024
THUMBNAILS_BYTES_MAX: Final = 48 * 1024 * 1024
RENDERS_MAX: Final = 200
"""After so many a process is replaced, lest leaks of libraries add up."""
PROCESSES_MAX: Final = 2
RENDER_TIME_MAX_S: Final = 20
MEMORY_BYTES_MAX: Final = 1536 * 1024 * 1024
"""Of one process, its libraries included."""
_KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small form of a picture: pixels, media type, bytes."""

    width: int
    height: int
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture's own size, upright, in pixels (None for a PDF), and its thumbnails by name."""

    width: int | None
    height: int | None
    thumbnails: Mapping[str, Thumbnail]


class Renderer:
    """Renders files in at most `processes_max` processes, started when needed and ended when idle.

    A process is killed when one file takes longer than `timeout_ms`; it cannot have more memory than
    `memory_bytes_max` where the platform keeps that limit (Linux does, macOS does not). Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        processes_max: int = PROCESSES_MAX,
        timeout_ms: int = RENDER_TIME_MAX_S * 1000,
        idle_ms: int = 30_000,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        self._timeout_ms = timeout_ms
        self._idle_ms = idle_ms
        self._memory_bytes_max = memory_bytes_max
        self._turns = asyncio.Semaphore(processes_max)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def render(self, path: Path, content_type: str) -> Rendered | None:
        """None for what is no picture, is broken, or asks for too much; the reason is logged."""
        if content_type not in rendering.TYPES or self._is_closed:
            return None
        async with self._turns:
            worker: _Worker | None = None
            is_usable = False
            try:
                async with asyncio.timeout(self._timeout_ms / 1000):
                    worker = await self._take()
                    worker.rest()
                    rendered = await worker.render(path, content_type)
                    is_usable = worker.renders < RENDERS_MAX and not self._is_closed
                return rendered
            except _Problem as problem:
                is_usable = not self._is_closed
                _log.info("file.not_rendered", type=content_type, reason=str(problem))
            except TimeoutError:
                _log.warning("file.not_rendered", type=content_type, reason=f"longer than {self._timeout_ms} ms")
            except (OSError, EOFError, ValueError, KeyError) as problem:
                _log.warning("file.not_rendered", type=content_type, reason=f"rendering process ended: {problem!r}")
            finally:
                if worker is not None and is_usable:
                    worker.end_after(self._idle_ms / 1000, self._end_idle)
                    self._idle.append(worker)
                elif worker is not None:
                    await self._end(worker)
            return None

    async def close(self) -> None:
        """End all processes, also those at work; what they render becomes None."""
        self._is_closed = True
        self._idle.clear()
        for worker in tuple(self._all):
            await self._end(worker)
        for task in tuple(self._ends):
            await task

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The processes that run now."""
        return tuple(worker.process.pid for worker in self._all)

    async def _take(self) -> "_Worker":
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await self._end(worker)
        return await self._start()

    async def _start(self) -> "_Worker":
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            rendering.__file__,
            str(self._memory_bytes_max),
            str(self._timeout_ms // 1000 + 5),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Each thread and each arena of malloc would count against the limit of memory.
            env=environment | {"MALLOC_ARENA_MAX": "2", "LC_ALL": "C.UTF-8"},
        )
        worker = _Worker(process)
        self._all.add(worker)
        return worker

    def _end_idle(self, worker: "_Worker") -> None:
        if worker in self._idle:
            self._idle.remove(worker)
            task = asyncio.get_running_loop().create_task(self._end(worker))
            self._ends.add(task)
            task.add_done_callback(self._ends.discard)

    async def _end(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        await worker.end()


class _Problem(Exception):
    """The process is well, the file is not."""


class _Worker:
    """One rendering process and what is said with it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.renders = 0
        self._ending: asyncio.TimerHandle | None = None

    async def render(self, path: Path, content_type: str) -> Rendered:
        """Raises _Problem, EOFError, OSError, ValueError, KeyError."""
        requests, answers = self.process.stdin, self.process.stdout
        assert requests is not None and answers is not None, "a rendering process has both ends"
        self.renders += 1
        requests.write(_request(path, content_type))
        await requests.drain()
        head_bytes, data_bytes = rendering.LENGTHS.unpack(await answers.readexactly(rendering.LENGTHS.size))
        if head_bytes > HEAD_BYTES_MAX or data_bytes > THUMBNAILS_BYTES_MAX:
            raise ValueError(f"an answer of {head_bytes} and {data_bytes} bytes")
        head: dict[str, Any] = json.loads(await answers.readexactly(head_bytes))
        if "problem" in head:
            raise _Problem(head["problem"])
        thumbnails = {
            name: Thumbnail(
                one["width"], one["height"], one["type"], await answers.readexactly(min(one["bytes"], data_bytes))
            )
            for name, one in head["thumbnails"].items()
        }
        return Rendered(head["width"], head["height"], thumbnails)

    def end_after(self, delay_s: float, end: "Callable[[_Worker], None]") -> None:
        """Call `end` with this worker unless it works again before."""
        self._ending = asyncio.get_running_loop().call_later(delay_s, end, self)

    def rest(self) -> None:
        """No longer idle."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    async def end(self) -> None:
        """Kill the process and wait for it."""
        self.rest()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        # A task that is cancelled here leaves no process behind: the kill is done, only its answer is not awaited.
        await self.process.wait()


def _request(path: Path, content_type: str) -> bytes:
    # The process has a folder of its own to stand in.
    return json.dumps({"path": str(path.absolute()), "type": content_type}).encode() + b"\n"
