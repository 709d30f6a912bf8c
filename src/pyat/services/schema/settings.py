"""Settings of the schema service."""

from pydantic import Field

from pyat.foundation.settings import Settings


class SchemaSettings(Settings):
    """What the metadata API offers beyond Airtable's."""

    create_computed_fields: bool = Field(
        default=True,
        description="Let the API create autoNumber, createdTime and lastModifiedTime fields, which Airtable refuses.",
    )
