"""The platform's database and contracts for a command of the operator, whether the platform runs or not."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from pyat.assembly.home import Home
from pyat.assembly.servers import EmbeddedPostgres, EmbeddedValkey
from pyat.foundation.service import Resources, Service
from pyat.foundation.settings import PlatformSettings


@dataclass(frozen=True, slots=True)
class Offline:
    """Open resources and every service, built in this process."""

    settings: PlatformSettings
    home: Home
    resources: Resources
    services: dict[str, Service]

    def contract(self, name: str) -> Any:
        """The implementation of a service's contract."""
        return self.services[name].implementation


@contextmanager
def servers(settings: PlatformSettings) -> Iterator[tuple[PlatformSettings, Home]]:
    """Settings with addresses of running servers; embedded ones that do not run are started for as long as this lasts.

    Raises HomeError.
    """
    home = Home(settings.home)
    home.prepare()
    with ExitStack() as stack:
        is_running = home.is_locked()
        if not is_running and (settings.database_url is None or settings.valkey_url is None):
            home.lock()
        for variable, known, server in (
            ("PYAT_DATABASE_URL", settings.database_url, EmbeddedPostgres(home)),
            ("PYAT_VALKEY_URL", settings.valkey_url, EmbeddedValkey(home)),
        ):
            if known is None:
                if not is_running:
                    server.start()
                    stack.callback(server.stop)
                os.environ[variable] = server.url
        if settings.internal_key is None:
            os.environ["PYAT_INTERNAL_KEY"] = home.secrets()["internal_key"]
        yield PlatformSettings(), home


@asynccontextmanager
async def offline(settings: PlatformSettings) -> AsyncIterator[Offline]:
    """Everything a command of the operator needs; migrations that are missing are applied first."""
    from pyat.assembly.prepare import migrate
    from pyat.assembly.process import build_local, open_resources

    with servers(settings) as (complete, home):
        async with open_resources(complete) as resources:
            await migrate(resources.database)
            yield Offline(complete, home, resources, build_local(resources))
