"""Settings of the airtable_gateway service."""

from pydantic import Field

from pyat.foundation.settings import Settings


class RecordsSettings(Settings):
    """Bounds of the records API."""

    iterator_idle_s: int = Field(
        default=3600,
        ge=900,
        le=86_400,
        description="How long an unused `offset` of list records stays valid; Airtable's clients page within minutes.",
    )
    bases_cached_max: int = Field(
        default=500, ge=1, le=100_000, description="Bases whose structure one process keeps (about 20 kB each)."
    )
