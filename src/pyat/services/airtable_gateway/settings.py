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
    filter_time_s: float = Field(
        default=20.0,
        gt=0,
        le=600,
        description="How long one page of a list with `filterByFormula` may take, in seconds.",
    )
    import_bytes_max: int = Field(
        default=1_073_741_824,
        ge=1,
        le=17_179_869_184,
        description="Largest file that an import takes, in bytes; it is kept on disk while it is read.",
    )
    imports_max: int = Field(
        default=2,
        ge=1,
        le=1_000,
        description="Imports that one process does at the same time; each keeps its file on disk.",
    )
    bases_cached_max: int = Field(
        default=500, ge=1, le=100_000, description="Bases whose structure one process keeps (about 20 kB each)."
    )
    changes_kept_days: int = Field(
        default=365,
        ge=31,
        le=36_500,
        description="Days that a change stays in the change log, at least; whole months are dropped. The trash, history and undo "
        "read the log, and so does whoever follows a base.",
    )
