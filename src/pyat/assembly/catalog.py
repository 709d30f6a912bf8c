"""The services there are, in order of need: name, port, contract, builder, migrations, public operations.

Modules are named and imported when needed, so that a process imports only what it runs.
"""

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyat

if TYPE_CHECKING:  # the supervisor's plan is made without what a service needs
    from pyat.foundation.service import Peers, Resources, Service
    from pyat.foundation.settings import Settings
    from pyat.foundation.web import Operation

GATEWAY = "api_gateway"
GATEWAY_PORT = 8080


@dataclass(frozen=True, slots=True)
class Entry:
    """One service. `contract` names its Protocol in `contract.py`; `needs` are the services whose contracts it calls."""

    name: str
    port: int
    contract: str
    needs: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Its Python package."""
        return f"pyat.services.{self.name}"

    def protocol(self) -> type[Any]:
        """The contract."""
        found: type[Any] = getattr(import_module(f"{self.package}.contract"), self.contract)
        return found

    def operations(self) -> "tuple[Operation, ...]":
        """The public operations, without building the service."""
        found: tuple[Operation, ...] = import_module(f"{self.package}.routes").OPERATIONS
        return found

    def build(self, resources: "Resources", peers: "Peers") -> "Service":
        """The service itself."""
        builder: Callable[[Resources, Peers], Service] = import_module(f"{self.package}.app").build
        return builder(resources, peers)


CATALOG = (
    Entry("auth", 8081, "Auth"),
    Entry("schema", 8094, "Schema"),
    Entry("file", 8088, "Files", needs=("schema",)),
    Entry("airtable_gateway", 8093, "Records", needs=("auth", "schema", "file")),
    Entry("formula_engine", 8095, "Formulas", needs=("schema", "airtable_gateway")),
)
"""Every service but the gateway, which has no contract: nobody calls it, everybody is called by it."""

BY_NAME = {entry.name: entry for entry in CATALOG}
GATEWAY_NEEDS = tuple(entry.name for entry in CATALOG)
NAMES = (GATEWAY, *BY_NAME)


def settings_classes() -> "tuple[type[Settings], ...]":
    """The settings of every service; loads nothing else of it."""
    from pyat.foundation.settings import Settings

    found = (vars(import_module(f"pyat.services.{name}.settings")).values() for name in NAMES)
    kinds = (kind for values in found for kind in values if isinstance(kind, type) and issubclass(kind, Settings))
    return tuple(kind for kind in kinds if kind is not Settings)


def preparation_stamp() -> str:
    """Changes whenever a start has something to prepare: another version of ours, other migrations or layouts."""
    digest = hashlib.sha256(pyat.__version__.encode())
    root = Path(pyat.__file__).parent
    functions = sorted(root.glob("formula/runtime/*.*"))
    for file in (*sorted(root.glob("services/*/migrations/*.sql")), root / "recordstore" / "layouts.py", *functions):
        digest.update(file.name.encode() + file.read_bytes())
    digest.update(unicodedata.unidata_version.encode())
    return digest.hexdigest()


def port_of(name: str, *, public_port: int = GATEWAY_PORT) -> int:
    """The port of a service when the public one is `public_port`: all move together."""
    own = GATEWAY_PORT if name == GATEWAY else BY_NAME[name].port
    return own - GATEWAY_PORT + public_port
