"""How the gateway reaches a service, and what the assembly gives it besides."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from pyat.foundation.web import Match, Operation


class Upstream(Protocol):
    """The way to one service's operations, in this process or in another one."""

    async def answer(self, match: Match, request: Request) -> Response:
        """Run an operation for an authenticated, limited and permitted request.

        `request.scope["state"]` holds `request_id`, `client` (network address or "") and, unless the operation is
        public, `principal`. Raises ServiceUnavailable and BodyTooLarge.
        """
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """The operations of one service and the way to it."""

    service: str
    operations: tuple[Operation, ...]
    upstream: Upstream


@dataclass(frozen=True, slots=True)
class Document:
    """Finished bytes at a fixed path, such as the OpenAPI document."""

    body: bytes
    content_type: str


Page = Document | Callable[[Scope], Awaitable[Response]]
"""What answers GET at a fixed path without credentials: a document, or a function of the ASGI scope."""
