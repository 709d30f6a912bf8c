"""Builds the airtable_gateway service from its peers."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.web import Health
from pyat.services.airtable_gateway import routes
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore
from pyat.services.schema.contract import Schema


def build(resources: Resources, peers: Peers) -> Service:
    """The service on this process's database and cache; needs the contract `Schema`."""
    records = RecordsService(RecordsStore(resources.database), peers.get(Schema), resources.cache, RecordsSettings())
    return Service(
        name="airtable_gateway",
        implementation=records,
        operations=routes.OPERATIONS,
        handlers=routes.handlers(records),
        health=Health(
            "airtable_gateway", {"postgresql": resources.database.is_ready, "valkey": resources.cache.is_ready}
        ),
    )
