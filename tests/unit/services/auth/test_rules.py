"""Rules of auth that need no server."""

import asyncio

import pytest

from pyat.foundation.errors import ServiceUnavailable
from pyat.services.auth.service import Passwords, _folded, _network
from pyat.services.auth.settings import AuthSettings

CHEAP = AuthSettings(argon2_memory_kib=64, argon2_passes=1, password_checks_max=1, password_checks_waiting_max=2)


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_a_network_is_an_ipv4_address_or_an_ipv6_customer(client: str, network: str) -> None:
    assert _network(client) == network


def test_addresses_are_compared_without_case_and_width() -> None:
    assert _folded(" Stra\u00dfe@Example.COM") == _folded("STRASSE@example.com")
    assert _folded("\uff41da@example.com") == "ada@example.com"


async def test_a_password_is_checked() -> None:
    passwords = Passwords(CHEAP)
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert await passwords.check("correct horse", kept)
    assert not await passwords.check("Correct horse", kept)
    assert not await passwords.check("correct horse", None)


async def test_only_so_many_checks_wait() -> None:
    passwords = Passwords(CHEAP)
    waiting = [asyncio.create_task(passwords.hash("x")) for _ in range(8)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ServiceUnavailable)]
    assert 1 <= len(refused) <= 6, "one works and two wait, the others are refused"
    assert all(isinstance(result, str | ServiceUnavailable) for result in results)


async def test_a_check_that_is_given_up_keeps_its_turn_until_its_thread_ends() -> None:
    passwords = Passwords(CHEAP)
    given_up = asyncio.create_task(passwords.hash("x"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert await passwords.hash("y")
