"""Fixtures of the tests of auth."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.services.api_gateway.harness import Platform, platform


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords cost nothing here; what they cost in production is not what these tests are about."""
    monkeypatch.setenv("PYAT_ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("PYAT_ARGON2_PASSES", "1")


@pytest_asyncio.fixture
async def one(postgres_url: str, valkey_url: str, cheap_passwords: None) -> AsyncIterator[Platform]:
    """A platform without rate limits."""
    async with platform(postgres_url, valkey_url) as found:
        yield found
