"""Settings read once at the edge of a process and passed in; no other module reads the environment.

Every setting is an environment variable `PYAT_<NAME>`; one that may hold a secret is also read from the file that
`PYAT_<NAME>_FILE` names, as container platforms mount them.
"""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "PYAT_"


class SecretFiles(PydanticBaseSettingsSource):
    """Reads `PYAT_NAME_FILE` for every setting `name`, without the newline that editors leave at the end."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file's content, or None where no such variable is set. Raises OSError for an unreadable file."""
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        return (_without_last_newline(Path(path).read_text("utf-8")) if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All settings that come from files."""
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _without_last_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


class Settings(BaseSettings):
    """Base of every settings class: prefix, frozen, unknown variables ignored, secrets from files."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit values first, then the environment, then files named by the environment."""
        return init_settings, env_settings, SecretFiles(settings_cls)


class PlatformSettings(Settings):
    """What every process of an installation shares."""

    home: Path = Field(default=Path("~/.pyat"), description="Data directory: embedded servers, secrets, logs.")
    host: str = Field(default="127.0.0.1", description="Address the public port listens on.")
    port: int = Field(default=8080, ge=1, le=65535, description="Public port (the api_gateway).")
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL 16 or newer with pgvector; the embedded server when unset."
    )
    valkey_url: SecretStr | None = Field(
        default=None, description="Valkey or Redis 7 or newer; the embedded server when unset."
    )
    internal_key: SecretStr | None = Field(
        default=None,
        description="Key that signs identities between processes (32 bytes or more); made in the home when unset.",
    )
    admin_email: str | None = Field(default=None, description="E-mail of the first administrator.")
    admin_password: SecretStr | None = Field(default=None, description="Password of the first administrator.")
    admin_token: SecretStr | None = Field(
        default=None, description="Personal access token with every scope, made for the administrator at first start."
    )
    sample: bool = Field(default=True, description="Make the sample base at first start.")
    outbound_allow: str = Field(
        default="",
        description="Hosts or networks (comma-separated) that outgoing requests may reach although they are not public.",
    )
    file_url_lifetime_s: int = Field(
        default=7_200,
        ge=7_200,
        le=7 * 86_400,
        description="Shortest life of a file's URL, in seconds: two hours, as clients of Airtable may rely on.",
    )
    database_pool_max: int = Field(default=8, ge=2, le=200, description="PostgreSQL connections of one process.")
    database_timeout_s: float = Field(default=30.0, gt=0, description="Longest a statement of a request may run.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe lines that are logged."
    )
    log_requests: bool = Field(default=False, description="One log line for every request (costs about 25 µs each).")
