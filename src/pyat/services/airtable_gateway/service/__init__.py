"""The rules of the records API, one module for each part of the contract."""

from pyat.services.airtable_gateway.service.records import RecordCalls


class RecordsService(RecordCalls):
    """Implements the contract `Records`."""


__all__ = ["RecordsService"]
