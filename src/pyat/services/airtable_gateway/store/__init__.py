"""The SQL of the records API, by topic."""

from pyat.services.airtable_gateway.store.records import RecordsStore

__all__ = ["RecordsStore"]
