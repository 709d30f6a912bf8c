"""HTTP/1.1 as our processes serve it: uvicorn's protocol, with bounds on the head of a request.

Without them a client could send header lines for ever, or none, and hold memory and a connection before any code of
ours has seen the request.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pyat.foundation.errors import HeadersTooLarge

HEAD_BYTES_MAX = 2 * 1024 * 1024
"""Of request line and header lines. Well above the gateway's own limits, which answer in Airtable's words."""
HEAD_TIME_S = 20.0
"""How long a head may take to arrive, and how long a new connection may stay silent."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Costs three method calls a request."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_in_head = True
        self._has_ended = False
        """Whether a head or a whole request ended in the bytes received last."""
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection stands."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIME_S, self._close_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side closed."""
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or of several."""
        self._has_ended = False
        super().data_received(data)
        # Bytes in which something ended are not all of one head; the next one is counted from the next bytes on.
        if self._is_in_head and not self._has_ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse_head()
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIME_S, self._close_late)

    def on_headers_complete(self) -> None:
        """The parser has seen the end of a head."""
        self._is_in_head = False
        self._has_ended = True
        self._head_bytes = 0
        self._forget_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser has seen the end of a request; what comes now is the next one's head."""
        self._is_in_head = True
        self._has_ended = True
        super().on_message_complete()

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer is still under way to somebody who has begun to send the next request.
            self._head_timer = self.loop.call_later(HEAD_TIME_S, self._close_late)
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        body = HeadersTooLarge(limit=HEAD_BYTES_MAX).body()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()
