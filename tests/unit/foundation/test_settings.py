"""Settings: the environment, files for secrets, and which of them wins."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from pyat.foundation.settings import PlatformSettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PlatformSettings.model_fields:
        monkeypatch.delenv(f"PYAT_{name.upper()}", raising=False)
        monkeypatch.delenv(f"PYAT_{name.upper()}_FILE", raising=False)


def test_a_laptop_needs_no_settings() -> None:
    settings = PlatformSettings()
    assert (settings.host, settings.port, settings.database_url, settings.sample) == ("127.0.0.1", 8080, None, True)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYAT_PORT", "9000")
    monkeypatch.setenv("PYAT_SAMPLE", "0")
    monkeypatch.setenv("PYAT_UNKNOWN", "is ignored")
    settings = PlatformSettings()
    assert (settings.port, settings.sample) == (9000, False)


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYAT_PORT", "")
    monkeypatch.setenv("PYAT_ADMIN_PASSWORD_FILE", "")
    assert PlatformSettings().port == 8080
    assert PlatformSettings().admin_password is None


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" with blanks \n", " with blanks "),
        ("ü", "ü"),
    ],
)
def test_a_secret_is_read_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, secret: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content.encode())
    monkeypatch.setenv("PYAT_ADMIN_PASSWORD_FILE", str(file))
    assert PlatformSettings().admin_password == SecretStr(secret)


def test_a_value_wins_over_a_file_and_an_argument_over_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file")
    monkeypatch.setenv("PYAT_ADMIN_PASSWORD_FILE", str(file))
    monkeypatch.setenv("PYAT_ADMIN_PASSWORD", "from the environment")
    assert PlatformSettings().admin_password == SecretStr("from the environment")
    assert PlatformSettings(admin_password=SecretStr("given")).admin_password == SecretStr("given")


def test_a_missing_file_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYAT_ADMIN_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        PlatformSettings()


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "0"), ("PORT", "65536"), ("PORT", "x"), ("DATABASE_POOL_MAX", "1")]
)
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PYAT_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        PlatformSettings()


def test_settings_do_not_change_and_do_not_show_secrets() -> None:
    settings = PlatformSettings(admin_password=SecretStr("s3cret"))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - as a caller without a type checker would
    assert "s3cret" not in repr(settings)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in PlatformSettings.model_fields.values())
