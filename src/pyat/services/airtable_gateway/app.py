"""Builds the airtable_gateway service from its peers."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Health
from pyat.services.airtable_gateway import routes
from pyat.services.airtable_gateway.service import RecordsService
from pyat.services.airtable_gateway.settings import RecordsSettings
from pyat.services.airtable_gateway.store import RecordsStore
from pyat.services.airtable_gateway.worker import timed_work
from pyat.services.auth.contract import Auth
from pyat.services.file.contract import Files
from pyat.services.schema.contract import Schema


def build(resources: Resources, peers: Peers) -> Service:
    """The service on this process's database and cache; needs the contracts `Auth`, `Files` and `Schema`."""
    records = RecordsService(
        RecordsStore(resources.database),
        peers.get(Schema),
        resources.cache,
        RecordsSettings(),
        auth=peers.get(Auth),
        files=peers.get(Files),
    )
    urls = FileUrls.of(resources.signer, resources.settings.file_url_lifetime_s)
    return Service(
        name="airtable_gateway",
        implementation=records,
        operations=routes.OPERATIONS,
        handlers=routes.handlers(records, urls, resources.clock),
        health=Health(
            "airtable_gateway", {"postgresql": resources.database.is_ready, "valkey": resources.cache.is_ready}
        ),
        lifespan=lambda: timed_work(records),
    )
