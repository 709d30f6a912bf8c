"""Which addresses and names the outgoing guard lets pass; no connection is made."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.outgoing import Allowed, is_public, parse_allow


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_of_this_machine_its_networks_and_of_nobody_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.17.255.255",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_inside(inner: ipaddress.IPv4Address) -> None:
    assert is_public(ipaddress.IPv6Address(f"::ffff:{inner}")) == is_public(inner)
    assert is_public(ipaddress.IPv6Address((0x64FF9B << 96) + int(inner))) == is_public(inner)


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    special = special or address.is_reserved or address.is_unspecified
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    in_nat64 = address in ipaddress.ip_network("64:ff9b::/96") if address.version == 6 else False
    assert not (special and is_public(address)) or mapped or in_nat64


def test_the_list_takes_hosts_suffixes_addresses_and_networks() -> None:
    allowed = parse_allow(" minio.internal, *.Example.com,10.0.0.0/8 ,127.0.0.1,[::1], fd00::/8, localhost,")
    assert allowed.names("minio.internal")
    assert allowed.names("MinIO.internal.")
    assert allowed.names("a.example.com")
    assert allowed.names("localhost")
    assert not allowed.names("example.com")
    assert not allowed.names("evilexample.com")
    assert not allowed.names("minio.internal.evil.com")
    permits = {
        text: allowed.permits(ipaddress.ip_address(text))
        for text in ("10.9.9.9", "127.0.0.1", "127.0.0.2", "::1", "fd00::9", "fe80::1", "::ffff:10.0.0.1", "8.8.8.8")
    }
    assert permits == {
        "10.9.9.9": True,
        "127.0.0.1": True,
        "127.0.0.2": False,
        "::1": True,
        "fd00::9": True,
        "fe80::1": False,
        "::ffff:10.0.0.1": True,
        "8.8.8.8": True,
    }


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_an_empty_list_allows_nothing_more(text: str) -> None:
    assert parse_allow(text) == Allowed()
    assert not parse_allow(text).names("localhost")


@pytest.mark.parametrize(
    "text", ["http://x", "a b", "127.0.0.1:80", "10.0.0.0/33", "1.2.3", "host:80", "-x", "*", "*.*", "ä"]
)
def test_a_part_that_is_nothing_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a host"):
        parse_allow(f"localhost,{text}")
