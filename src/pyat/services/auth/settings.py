"""Settings of auth, each with its unit and the reason for its default."""

from pydantic import Field

from pyat.foundation.settings import Settings


class AuthSettings(Settings):
    """Read once when the service is built."""

    session_lifetime_h: int = Field(
        default=14 * 24,
        ge=1,
        le=366 * 24,
        description="Hours until a login ends by itself: two weeks, so that a person who works daily logs in twice a month.",
    )
    password_length_min: int = Field(
        default=8,
        ge=8,
        le=128,
        description="Shortest password accepted, in characters (8 is the minimum of NIST SP 800-63B).",
    )
    argon2_memory_kib: int = Field(
        default=64 * 1024,
        ge=8,
        le=4 * 1024 * 1024,
        description="Memory of one password check, in KiB: 64 MiB and 3 passes are the second choice of RFC 9106, "
        "for machines where 2 GiB for each login is too much.",
    )
    argon2_passes: int = Field(
        default=3, ge=1, le=100, description="Passes over that memory (RFC 9106). A check takes 0.1 to 0.2 s."
    )
    argon2_lanes: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Threads of one check: one, because further lanes would take the cores that answer requests.",
    )
    password_checks_max: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Password checks at the same time: two, so that logins use at most 128 MiB and two threads.",
    )
    password_checks_waiting_max: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="Password checks that may wait for their turn, about three seconds' worth; further ones are answered 503.",
    )
    login_attempts_max: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="Failed logins for one e-mail address from one network address within the window.",
    )
    login_window_s: int = Field(default=300, ge=1, le=86_400, description="Seconds until failed logins are forgotten.")
    tokens_per_user_max: int = Field(
        default=1_000,
        ge=1,
        le=1_000,
        description="Live personal access tokens of one user; a list shows at most 1,000.",
    )
    token_use_interval_s: int = Field(
        default=60,
        ge=1,
        le=86_400,
        description="Seconds between two writes of a token's last-used time: a minute is exact enough to find unused tokens.",
    )
