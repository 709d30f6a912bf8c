"""The one way out: every HTTP request to an address that a user can influence passes this guard.

Only http and https; only addresses that are public or that the operator allowed (`PYAT_OUTBOUND_ALLOW`); redirects
followed by hand and checked like the first address; size and time bounded. Addresses are checked where the connection is
made, on the very value that is connected to, so that a name cannot mean one thing when checked and another when used.

Which addresses are public: IANA's special-purpose registries for IPv4 and IPv6.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from pyat.foundation.errors import AppError

REDIRECTS_MAX = 3
CONNECT_TIME_S = 5.0
URL_LENGTH_MAX = 8_000
CONNECTIONS_MAX = 100
CONNECTIONS_PER_HOST_MAX = 10
USER_AGENT = "PyAirtable"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host name and port → addresses in text form. Raises OSError when there is none."""


class OutgoingRefused(AppError):
    """The address may not be reached from here, or is no address; nothing was sent to it."""

    code, status, wire_type = "OUTGOING_REFUSED", 422, "INVALID_REQUEST_UNKNOWN"
    template = "The URL cannot be used: {reason}"


class OutgoingTooLarge(AppError):
    """The answer of another server is larger than allowed; the rest was not read."""

    code, status, wire_type = "OUTGOING_TOO_LARGE", 422, "INVALID_REQUEST_UNKNOWN"
    template = "The answer of the other server is larger than {bytes_max} bytes"


class OutgoingFailed(AppError):
    """Another server did not answer, not in time, or not in HTTP."""

    code, status, wire_type = "OUTGOING_FAILED", 422, "INVALID_REQUEST_UNKNOWN"
    template = "The request to the other server failed: {reason}"


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_NOT_PUBLIC_V4 = _networks(
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # shared by carriers
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, the metadata services of clouds
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # former 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, broadcast
)
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # the only range that is given out as global unicast
_NOT_PUBLIC_V6 = _networks(
    "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4: an IPv4 address of any kind inside
    "3fff::/20",  # documentation
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# Ports where something else than HTTP listens, which a request could be made to speak to (Fetch standard, "bad port"),
# and the databases that answer to lines of text.
# fmt: off
_REFUSED_PORTS = frozenset({
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540,
    548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379,
    6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 11211,
})
# fmt: on
_HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# fmt: off
_OWN_HEADERS = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "expect",
    "accept-encoding", "proxy-authorization", "proxy-connection",
})
# fmt: on
_KEPT_ACROSS_HOSTS = frozenset({"accept", "accept-language", "content-type", "user-agent"})


@dataclass(frozen=True, slots=True)
class Allowed:
    """What outgoing requests may reach although it is not public."""

    hosts: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def names(self, host: str) -> bool:
        """Whether this host name is on the list, whatever its addresses are."""
        name = host.rstrip(".").lower()
        return name in self.hosts or name.endswith(self.suffixes)

    def permits(self, address: Address) -> bool:
        """Whether the address is public or in a network of the list."""
        address = _unwrapped(address)
        return is_public(address) or any(address in network for network in self.networks)


def parse_allow(text: str) -> Allowed:
    """The value of `PYAT_OUTBOUND_ALLOW`: hosts, `*.suffixes`, addresses and networks, comma-separated.

    Raises ValueError, whose text names the part that is none of these.
    """
    hosts: set[str] = set()
    suffixes: list[str] = []
    networks: list[Network] = []
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        with contextlib.suppress(ValueError):
            networks.append(ipaddress.ip_network(part.removeprefix("[").removesuffix("]"), strict=False))
            continue
        if not _HOST.fullmatch(part) or part.replace(".", "").isdigit():
            raise ValueError(f"{part!r} is neither a host, an address nor a network")
        if part.startswith("*."):
            suffixes.append(part[1:])
        else:
            hosts.add(part)
    return Allowed(frozenset(hosts), tuple(suffixes), tuple(networks))


def is_public(address: Address) -> bool:
    """Whether an address is a unicast address of the public internet; wrapped IPv4 counts as what is inside."""
    address = _unwrapped(address)
    if address.version == 4:
        return not any(address in network for network in _NOT_PUBLIC_V4)
    # A zone makes an address mean an interface of this machine.
    if address.scope_id is not None or address not in _PUBLIC_V6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_V6)


def _unwrapped(address: Address) -> Address:
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def system_lookup(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver gives."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class _Refusal(OSError):
    """A connection was not opened; an OSError, so that the connector goes on to the host's next address."""


_NO_ADDRESS = "its host has no public address"
"""One text whether the name is unknown or internal: a difference would tell what names exist inside."""


class _Gate(AbstractResolver):
    """Resolves names to permitted addresses only, and opens sockets to permitted addresses only."""

    def __init__(self, allowed: Allowed, lookup: Lookup) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._by_name: dict[str, frozenset[str]] = {}
        """The last addresses of hosts that are allowed by name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host` that may be connected to. Raises _Refusal when there is none."""
        try:
            found = await self._lookup(host, port)
        except (OSError, UnicodeError) as error:
            raise _Refusal(_NO_ADDRESS) from error
        if self._allowed.names(host):
            self._by_name[host.rstrip(".").lower()] = frozenset(found)
            usable = found
        else:
            usable = [text for text in found if self._is_permitted(text)]
        if not usable:
            raise _Refusal(_NO_ADDRESS)
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for text in dict.fromkeys(usable)
        ]

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for one address, which is what the connector connects it to. Raises _Refusal.

        This is the last gate, and holds whatever was understood of the URL before.
        """
        family, kind, protocol, _, target = info
        address = str(target[0])
        is_granted = any(address in granted for granted in self._by_name.values())
        if not (is_granted or self._is_permitted(address)) or target[1] in _REFUSED_PORTS:
            raise _Refusal(_NO_ADDRESS)
        return socket.socket(family, kind, protocol)

    def _is_permitted(self, text: str) -> bool:
        try:
            return self._allowed.permits(ipaddress.ip_address(text))
        except ValueError:
            return False

    async def close(self) -> None:
        """Nothing is held."""


class OutgoingAnswer:
    """An answer whose body has yet to be read, and never is longer than was allowed."""

    def __init__(self, response: aiohttp.ClientResponse, *, bytes_max: int) -> None:
        self._response = response
        self._bytes_max = bytes_max
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.url = str(response.url)
        """Where it came from in the end, redirects followed."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces, decompressed. Raises OutgoingTooLarge, OutgoingFailed."""
        if (self._response.content_length or 0) > self._bytes_max:
            raise OutgoingTooLarge(bytes_max=self._bytes_max)
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            raise OutgoingFailed(reason="it answered in an encoding that was not asked for")
        # Some servers compress although they were not asked to; few bytes can become many, so the bound is on the result.
        unpacker = None if encoding in {"identity", ""} else zlib.decompressobj(zlib.MAX_WBITS | 32)
        size = 0
        async for piece in self._response.content.iter_any():
            try:
                found = piece if unpacker is None else unpacker.decompress(piece, self._bytes_max - size + 1)
            except zlib.error as error:
                raise OutgoingFailed(reason="its answer cannot be decompressed") from error
            size += len(found)
            if size > self._bytes_max:
                raise OutgoingTooLarge(bytes_max=self._bytes_max)
            if found:
                yield found
        if unpacker is not None and not unpacker.eof:
            raise OutgoingFailed(reason="its answer ended too early")

    async def read(self) -> bytes:
        """The whole body. Raises OutgoingTooLarge, OutgoingFailed."""
        return b"".join([piece async for piece in self.chunks()])


class OutgoingClient:
    """Sends requests through the guard. One for a process; make it inside the event loop, and close it."""

    def __init__(self, allowed: Allowed, *, lookup: Lookup = system_lookup) -> None:
        self._allowed = allowed
        gate = _Gate(allowed, lookup)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=gate,
                socket_factory=gate.open_socket,
                use_dns_cache=False,
                limit=CONNECTIONS_MAX,
                limit_per_host=CONNECTIONS_PER_HOST_MAX,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIME_S),
            auto_decompress=False,
            trust_env=False,  # a proxy would resolve and connect for us, beyond the guard
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        bytes_max: int,
        time_s: float,
    ) -> tuple[OutgoingAnswer, bytes]:
        """Send a request; the answer and its whole body, whatever the status. Raises as `stream` does."""
        async with self.stream(method, url, headers=headers, body=body, bytes_max=bytes_max, time_s=time_s) as answer:
            return answer, await answer.read()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        bytes_max: int,
        time_s: float,
    ) -> AsyncIterator[OutgoingAnswer]:
        """Send a request and hand out the answer, to be read inside the block.

        `bytes_max` bounds the body, `time_s` everything from the look-up to the end of the block.
        Raises OutgoingRefused (nothing was sent to a refused address), OutgoingTooLarge, OutgoingFailed.
        """
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(time_s) as limit:
                response = await self._follow(method.upper(), url, _checked_headers(headers or {}), body)
                yield OutgoingAnswer(response, bytes_max=bytes_max)
        except aiohttp.ClientConnectorCertificateError as error:
            raise OutgoingFailed(reason="its certificate is not valid") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _Refusal):
                raise OutgoingRefused(reason=_NO_ADDRESS) from error
            raise OutgoingFailed(reason="it cannot be reached") from error
        except aiohttp.InvalidURL as error:
            raise OutgoingRefused(reason="it is not a web address") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise OutgoingFailed(reason="it cannot be reached") from error
        except aiohttp.ClientError as error:
            raise OutgoingFailed(reason="it did not answer in HTTP, or broke off") from error
        except TimeoutError as error:
            if limit.expired():
                raise OutgoingFailed(reason=f"it took longer than {time_s:g} seconds") from error
            raise
        finally:
            if response is not None:
                response.close()

    async def _follow(
        self, method: str, text: str, headers: CIMultiDict[str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        url = _checked_url(text, self._allowed)
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)
            location = response.headers.get("location")
            if response.status not in {301, 302, 303, 307, 308} or location is None:
                return response
            response.close()  # its body is of no use, and may be endless
            target = _checked_url(location, self._allowed, base=url)
            if url.scheme == "https" and target.scheme == "http":
                raise OutgoingRefused(reason="it redirects from https to http")
            if response.status == 303 or (response.status in {301, 302} and method == "POST"):
                method, body = ("HEAD" if method == "HEAD" else "GET"), None
                headers.popall("content-type", None)
            if target.origin() != url.origin():
                # What was meant for one host (tokens, signatures) is not for another.
                headers = CIMultiDict(
                    (name, value) for name, value in headers.items() if name.lower() in _KEPT_ACROSS_HOSTS
                )
            url = target
        raise OutgoingRefused(reason=f"it redirects more than {REDIRECTS_MAX} times")


def _checked_headers(given: Mapping[str, str]) -> CIMultiDict[str]:
    headers = CIMultiDict({"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "identity"})
    for name, value in given.items():
        if name.lower() in _OWN_HEADERS or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise OutgoingRefused(reason=f"the header {name!r} cannot be set")
        if not value.isprintable():
            raise OutgoingRefused(reason=f"the header {name!r} holds control characters")
        headers[name] = value
    return headers


def _checked_url(text: str, allowed: Allowed, *, base: URL | None = None) -> URL:
    if len(text) > URL_LENGTH_MAX:
        raise OutgoingRefused(reason=f"it is longer than {URL_LENGTH_MAX} characters")
    try:
        url = URL(text) if base is None else base.join(URL(text))
        host, port = url.host, url.port
    except ValueError as error:
        raise OutgoingRefused(reason="it is not a web address") from error
    if url.scheme not in {"http", "https"} or not host or port is None:
        raise OutgoingRefused(reason="only http and https addresses with a host can be used")
    if url.user is not None or url.password is not None:
        raise OutgoingRefused(reason="user names and passwords do not belong in it")
    if port in _REFUSED_PORTS:
        raise OutgoingRefused(reason=f"port {port} is not for the web")
    with contextlib.suppress(ValueError):  # a name: its addresses are checked when it is looked up
        if not allowed.permits(ipaddress.ip_address(host)):
            raise OutgoingRefused(reason=_NO_ADDRESS)
    return url
