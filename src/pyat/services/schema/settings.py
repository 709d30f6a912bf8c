"""Settings of the schema service."""

from pydantic import Field

from pyat.foundation.settings import Settings


class SchemaSettings(Settings):
    """What the metadata API offers beyond Airtable's."""

    create_computed_fields: bool = Field(
        default=True,
        description="Let the API create autoNumber, createdTime and lastModifiedTime fields, which Airtable refuses.",
    )
    view_index_rows_min: int = Field(
        default=50_000,
        ge=0,
        description="Records of a table from which on its views get indexes for filter and order; 0 is never.",
    )
    view_index_interval_s: float = Field(
        default=60.0, gt=0, description="Time between two looks at which indexes views want."
    )
    view_index_idle_h: float = Field(
        default=168.0, gt=0, description="A view that nobody lists for so long loses its index."
    )
    computed_interval_s: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="Time between two looks at which columns of computed cells are to be filled.",
    )
    trash_days: int = Field(
        default=7,
        ge=1,
        le=365,
        description="How long deleted bases, tables and fields can be restored; then they are removed for good.",
    )
    trash_interval_s: float = Field(
        default=3600.0, gt=0, description="Time between two looks at what is to be removed from the trash."
    )
