"""A small HTTP/1.1 load generator: keep-alive connections that each send one prepared request after another.

It parses no more than a status line and a content length, so that it costs less than what it measures. Run as a
process of its own: `python -m benchmarks.load` with a JSON plan on standard input.
"""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any, cast


@dataclass(slots=True)
class Plan:
    """`requests` are sent in turn by `connections` clients for `seconds`; each is method, path, headers, body."""

    host: str
    port: int
    connections: int
    seconds: float
    requests: list[dict[str, Any]]

    def messages(self) -> list[bytes]:
        """The bytes of each request."""
        return [self._message(request) for request in self.requests]

    def _message(self, request: dict[str, Any]) -> bytes:
        body = (request.get("body") or "").encode()
        lines = [f"{request['method']} {request['path']} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in request.get("headers", {}).items()]
        if body:
            lines += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


class _Client(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, notes its time, sends the next."""

    def __init__(self, messages: list[bytes], start: int, end_s: float, done: asyncio.Future[None]) -> None:
        self._messages, self._next, self._end_s, self._done = messages, start, end_s, done
        self._buffer = bytearray()
        self._needed = -1
        self.latencies_s: list[float] = []
        self.statuses: dict[str, int] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        if self._sent_s >= self._end_s:
            self._transport.close()
            return
        self._transport.write(self._messages[self._next % len(self._messages)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed < 0:
            head_end = self._buffer.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._buffer[:head_end]).lower()
            at = head.index(b"content-length:") + 15
            end = head.find(b"\r\n", at)
            self._needed = head_end + 4 + int(head[at : end if end >= 0 else len(head)])
        if len(self._buffer) >= self._needed:
            status = self._buffer[9:12].decode()
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.latencies_s.append(time.perf_counter() - self._sent_s)
            del self._buffer[: self._needed]
            self._needed = -1
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def _run(plan: Plan) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    messages = plan.messages()
    clients: list[_Client] = []
    waiting = []
    started_s = time.perf_counter()
    for number in range(plan.connections):
        done: asyncio.Future[None] = loop.create_future()
        client = _Client(messages, number * 7, started_s + plan.seconds, done)
        clients.append(client)
        waiting.append(done)
        await loop.create_connection(lambda client=client: client, plan.host, plan.port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*waiting), plan.seconds + 30)
    elapsed_s = time.perf_counter() - started_s
    latencies = sorted(latency for client in clients for latency in client.latencies_s)
    statuses: dict[str, int] = {}
    for client in clients:
        for status, count in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return {
        "requests_per_s": len(latencies) / elapsed_s,
        "median_ms": statistics.median(latencies) * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99) - 1] * 1000,
        "statuses": statuses,
    }


def main() -> None:
    """Read a plan, run it, print the result as JSON."""
    import uvloop

    plan = Plan(**json.load(sys.stdin))
    print(json.dumps(uvloop.run(_run(plan))))


if __name__ == "__main__":
    main()
