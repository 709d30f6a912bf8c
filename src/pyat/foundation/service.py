"""What a process gives a service, and what a service gives back: the seam between `assembly` and `services`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pyat.foundation.cache import Bus, Cache
from pyat.foundation.clock import Clock
from pyat.foundation.db import Database
from pyat.foundation.identity import Signer
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.web import Handlers, Health, Operation

Contract = TypeVar("Contract")


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by all services of one process; the assembly opens and closes them."""

    settings: PlatformSettings
    database: Database
    cache: Cache
    bus: Bus
    signer: Signer
    clock: Clock


class Peers:
    """The contracts a service asked for, each bound to an object here or to a client of another process."""

    def __init__(self, bound: Mapping[type[Any], Any]) -> None:
        self._bound = bound

    def get(self, contract: type[Contract]) -> Contract:
        """The binding of a Protocol. Only contracts named in the catalogue's `needs` are there."""
        return cast("Contract", self._bound[contract])


@dataclass(frozen=True, slots=True)
class Service:
    """A built service: its contract's implementation, its public operations, its health, its background work."""

    name: str
    implementation: Any
    operations: tuple[Operation, ...]
    handlers: Handlers
    health: Health
    lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None
    """Entered before the first request and left after the last one, where the service has background work."""
