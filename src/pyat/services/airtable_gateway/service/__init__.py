"""The rules of the records API, one module for each part of the contract."""

from pyat.services.airtable_gateway.service.changes import ChangeCalls
from pyat.services.airtable_gateway.service.comments import CommentCalls
from pyat.services.airtable_gateway.service.exchange import ExchangeCalls
from pyat.services.airtable_gateway.service.files import FileCalls
from pyat.services.airtable_gateway.service.imports import ImportCalls
from pyat.services.airtable_gateway.service.records import RecordCalls
from pyat.services.airtable_gateway.service.syncs import SyncCalls


class RecordsService(ChangeCalls, CommentCalls, ExchangeCalls, FileCalls, ImportCalls, RecordCalls, SyncCalls):
    """Implements the contract `Records`."""


__all__ = ["RecordsService"]
