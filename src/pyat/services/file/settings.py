"""Settings of file, each with its unit and the reason for its default."""

from pydantic import Field, SecretStr

from pyat.foundation.settings import Settings

FILE_BYTES_MAX = 5 * 1024 * 1024 * 1024
"""The most that S3 copies or takes in one piece."""


class FileSettings(Settings):
    """Read once when the service is built."""

    files_url: str = Field(
        default="",
        pattern=r"^(s3://[^/]+(/.*)?|file:///.*)?$",
        description="Where files lie: `s3://bucket/prefix`, or `file:///directory`; the folder `files` of the home when empty.",
    )
    files_endpoint: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="Address of an S3-compatible server, such as `http://minio:9000`; Amazon's when empty.",
    )
    files_region: str = Field(default="us-east-1", description="Region of the bucket.")
    files_access_key_id: str = Field(default="", description="Access key of the object store.")
    files_secret_access_key: SecretStr | None = Field(default=None, description="Secret of that access key.")
    file_bytes_max: int = Field(
        default=FILE_BYTES_MAX,
        ge=1,
        le=FILE_BYTES_MAX,
        description="Largest upload, in bytes: 5 GiB, the most that S3 copies in one piece.",
    )
    file_fetches_max: int = Field(
        default=4, ge=1, le=64, description="Files fetched by URL at the same time by one process."
    )
    clamd_url: str = Field(
        default="",
        pattern=r"^(tcp://[^/]+:[0-9]+|unix:///.+)?$",
        description="The virus scanner, `tcp://host:3310` or `unix:///run/clamd.sock`: no verdict, no file. "
        "Files are not scanned when empty.",
    )
