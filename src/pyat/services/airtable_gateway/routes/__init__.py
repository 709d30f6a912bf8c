"""The public operations of airtable_gateway, one module for each part of the API."""

from pyat.foundation.web import Handlers
from pyat.services.airtable_gateway.contract import Records
from pyat.services.airtable_gateway.routes import records as record_routes

OPERATIONS = record_routes.OPERATIONS


def handlers(records: Records) -> Handlers:
    """The handler of every operation."""
    routes = record_routes.RecordRoutes(records)
    return {operation.name: getattr(routes, operation.name) for operation in record_routes.OPERATIONS}
