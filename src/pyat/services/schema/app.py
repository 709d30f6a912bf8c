"""Builds the schema service from what its process gives it."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.web import Health
from pyat.services.schema.routes import OPERATIONS, SchemaRoutes
from pyat.services.schema.service import SchemaService
from pyat.services.schema.settings import SchemaSettings
from pyat.services.schema.store import SchemaStore


def build(resources: Resources, peers: Peers) -> Service:
    """The service, ready to answer; its migrations have been applied."""
    service = SchemaService(SchemaStore(resources.database), SchemaSettings())
    return Service(
        name="schema",
        implementation=service,
        operations=OPERATIONS,
        handlers=SchemaRoutes(service).handlers(),
        health=Health("schema", {"database": resources.database.is_ready}),
    )
