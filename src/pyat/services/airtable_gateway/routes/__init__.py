"""The public operations of airtable_gateway, one module for each part of the API."""

from pyat.foundation.clock import Clock
from pyat.foundation.signing import FileUrls
from pyat.foundation.web import Handlers
from pyat.services.airtable_gateway.routes import changes, comments, exchange, files, syncs
from pyat.services.airtable_gateway.routes import records as record_routes

OPERATIONS = (
    *map(exchange.with_keys, record_routes.OPERATIONS),
    *comments.OPERATIONS,
    *syncs.OPERATIONS,
    *exchange.OPERATIONS,
    *changes.OPERATIONS,
    *files.OPERATIONS,
)


def handlers(records: exchange.Exchanging, urls: FileUrls, clock: Clock) -> Handlers:
    """The handler of every operation; `urls` are put where answers hold marks of files."""
    routes = record_routes.RecordRoutes(records)
    own = {operation.name: getattr(routes, operation.name) for operation in record_routes.OPERATIONS}
    own = dict(exchange.minding_keys(records, record_routes.OPERATIONS, own))
    found = {**own, **exchange.handlers(records), **changes.handlers(records), **files.handlers(records)}
    found |= {**comments.handlers(records), **syncs.handlers(records)}
    signed = files.Urls(urls, clock)
    in_base = {operation.name for operation in OPERATIONS if "{base_id:app}" in operation.path}
    return {name: signed.wrapped(handler) if name in in_base else handler for name, handler in found.items()}
