"""Builds file from what the process gives it."""

from pyat.foundation.outgoing import parse_allow
from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Health
from pyat.services.file.routes import OPERATIONS, all_handlers
from pyat.services.file.service import FilesService
from pyat.services.file.service.fetching import Fetcher
from pyat.services.file.service.imaging import Renderer
from pyat.services.file.service.keeping import Keeper
from pyat.services.file.service.looking import Looker
from pyat.services.file.service.scan import Scanner
from pyat.services.file.service.sweeping import Sweeper
from pyat.services.file.service.uploads import Uploads
from pyat.services.file.settings import FileSettings
from pyat.services.file.store import FileStore
from pyat.services.file.store.objects import Objects
from pyat.services.file.worker import background_work
from pyat.services.schema.contract import Schema


def build(resources: Resources, peers: Peers) -> Service:
    """The service `file`; it asks schema whether a caller reaches a base."""
    settings = FileSettings()
    store = FileStore(resources.database)
    objects = Objects.open(settings, resources.settings.home)
    looker = Looker(Renderer(), Scanner(settings.clamd_url))
    keeper = Keeper(store, objects, looker, resources.clock)
    urls = FileUrls.of(resources.signer, resources.settings.file_url_lifetime_s)
    fetcher = Fetcher(store, keeper, resources.clock)
    sweeper = Sweeper(store, objects, resources.clock)
    allowed = parse_allow(resources.settings.outbound_allow)
    service = FilesService(store, objects, keeper, fetcher, peers.get(Schema), urls, resources.clock, settings)
    uploads = Uploads(store, objects, keeper, resources.clock, bytes_max=settings.file_bytes_max)
    return Service(
        name="file",
        implementation=service,
        operations=OPERATIONS,
        handlers=all_handlers(service, uploads, resources.clock),
        health=Health("file", {"database": resources.database.is_ready, "objects": objects.is_ready}),
        lifespan=lambda: background_work(fetcher, sweeper, looker, allowed, at_once_max=settings.file_fetches_max),
    )
