"""The platform's database and contracts for a command of the operator, whether the platform runs or not."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyat.assembly.embedded.errors import HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.embedded.postgres import EmbeddedPostgres
from pyat.assembly.embedded.valkey import EmbeddedValkey
from pyat.foundation.settings import PlatformSettings

if TYPE_CHECKING:  # the services are loaded when the servers run, not before
    from pyat.foundation.service import Resources, Service


@dataclass(frozen=True, slots=True)
class Offline:
    """Open resources and every service, built in this process."""

    settings: PlatformSettings
    home: Home
    resources: "Resources"
    services: "dict[str, Service]"

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
        missing = [
            (variable, kind)
            for variable, known, kind in (
                ("PYAT_DATABASE_URL", settings.database_url, EmbeddedPostgres),
                ("PYAT_VALKEY_URL", settings.valkey_url, EmbeddedValkey),
            )
            if known is None
        ]
        is_running = home.is_locked()
        if missing and not is_running:
            home.lock()
            stack.callback(home.unlock)
        for variable, kind in missing:
            if is_running:
                _check_embedded(home, kind.name, variable)
            server = kind(home)
            if not is_running:
                server.start()
                stack.callback(server.stop)
            os.environ[variable] = server.url
        if settings.internal_key is None:
            os.environ["PYAT_INTERNAL_KEY"] = home.secrets()["internal_key"]
        yield PlatformSettings(), home


def _check_embedded(home: Home, name: str, variable: str) -> None:
    """Raises HomeError where the running platform has a server of its own choice, which only its environment names."""
    children = home.state().get("children", {})
    if children and name not in children:
        raise HomeError(
            f"The platform that runs on this home uses an external server: set {variable} to the same one for this"
            " command."
        )


@asynccontextmanager
async def offline(settings: PlatformSettings) -> AsyncIterator[Offline]:
    """Everything a command of the operator needs; migrations that are missing are applied first."""
    with servers(settings) as (complete, home):
        from pyat.assembly.prepare import migrate
        from pyat.assembly.process import build_local, open_resources

        async with open_resources(complete) as resources:
            await migrate(resources.database)
            yield Offline(complete, home, resources, build_local(resources))
