"""Settings of the gateway, each with its unit and the reason for its default."""

from typing import Literal

from pydantic import Field

from pyat.foundation.settings import Settings


class GatewaySettings(Settings):
    """Read once when the gateway is built."""

    rate_limits: Literal["on", "off", "airtable"] = Field(
        default="on",
        description="`on` uses the limits below, `off` none (load tests), `airtable` Airtable's own: 5 requests/s for a "
        "base, 50 for a user, and 30 s of refusals after one too many.",
    )
    rate_limit_user_per_s: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        description="Requests per second of one user, all credentials together; a second's worth may come at once. "
        "About a quarter of what two cores answer, so that one runaway script does not stop the others.",
    )
    rate_limit_base_per_s: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="Requests per second to one base, all users together; twice a user's, because a base is shared.",
    )
    rate_limit_penalty_s: int = Field(
        default=0,
        ge=0,
        le=3_600,
        description="Seconds of refusals after a 429. Airtable's are 30; here 0, since clients that wait as told lose nothing.",
    )
    principal_cache_s: float = Field(
        default=30.0,
        gt=0,
        le=3_600,
        description="Seconds a checked credential is remembered. Revocations arrive at once; this bounds the wait when "
        "the message is lost together with Valkey.",
    )
    principal_cache_max: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Credentials remembered, about 1 KiB each."
    )
    url_length_max: int = Field(
        default=16_384,
        ge=16_384,
        le=1_048_576,
        description="Longest path and query, in bytes. Airtable's is 16,000; clients send longer lists in a body.",
    )
    header_bytes_max: int = Field(
        default=65_536, ge=8_192, le=1_048_576, description="Largest total of a request's header lines, in bytes."
    )
    gzip_bytes_min: int = Field(
        default=1_024,
        ge=0,
        le=1_073_741_824,
        description="Smallest body that is compressed when the client asks: below, headers cost more than is saved.",
    )
    gzip_level: int = Field(
        default=1,
        ge=1,
        le=9,
        description="zlib's level: 1 makes JSON four times smaller, 6 five times at twice the cost.",
    )
    upstream_connect_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="Longest wait for a connection to a service in another process."
    )
    upstream_timeout_s: float = Field(
        default=95.0,
        gt=0,
        le=3_600,
        description="Longest wait for a service in another process: a little more than a service gives itself (90 s).",
    )
    upstream_failures_max: int = Field(
        default=5, ge=1, le=1_000, description="Failures in a row after which a service is left alone for a moment."
    )
    upstream_pause_ms: int = Field(
        default=500,
        ge=10,
        le=60_000,
        description="Milliseconds between two tries of a service that fails; in between, requests are answered 503 at once.",
    )
