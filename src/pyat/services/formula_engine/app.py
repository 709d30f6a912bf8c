"""Builds formula_engine from what the process gives it."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.web import Health
from pyat.services.airtable_gateway.contract import Records
from pyat.services.formula_engine.routes import OPERATIONS, handlers
from pyat.services.formula_engine.service import FormulaService
from pyat.services.formula_engine.settings import FormulaSettings
from pyat.services.schema.contract import Schema


def build(resources: Resources, peers: Peers) -> Service:
    """The service `formula_engine`; it asks schema what names mean, and airtable_gateway what records hold."""
    service = FormulaService(peers.get(Schema), peers.get(Records), FormulaSettings())
    return Service(
        name="formula_engine",
        implementation=service,
        operations=OPERATIONS,
        handlers=handlers(service),
        health=Health("formula_engine", {}),
    )
