"""Builds the schema service from what its process gives it."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.web import Health
from pyat.services.schema.routes import OPERATIONS, handlers
from pyat.services.schema.service import SchemaService
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import SchemaStore
from pyat.services.schema.worker import background


def build(resources: Resources, peers: Peers) -> Service:
    """The service, ready to answer; its migrations have been applied."""
    settings = SchemaSettings()
    service = SchemaService(SchemaStore(resources.database), settings)
    return Service(
        name="schema",
        implementation=service,
        operations=OPERATIONS,
        handlers=handlers(service),
        health=Health("schema", {"database": resources.database.is_ready}),
        lifespan=lambda: background(service, settings, connections_max=resources.settings.database_pool_max),
    )
