"""The SQL of the records API, by topic."""

from pyat.services.airtable_gateway.store.changes import ChangesStore
from pyat.services.airtable_gateway.store.comments import CommentsStore
from pyat.services.airtable_gateway.store.syncs import SyncsStore


class RecordsStore(ChangesStore, CommentsStore, SyncsStore):
    """Rows of all bases, and what belongs to them."""


__all__ = ["RecordsStore"]
