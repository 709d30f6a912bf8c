"""Who is asking: the principal, and the signed short-lived form in which it travels between processes.

A service trusts nothing else. The signature is HMAC-SHA256 over the payload with a key shared by the services of one
installation; a token lives `LIFETIME_S` and names the request it was made for.
"""

import binascii
import hmac
import time
from dataclasses import dataclass

import orjson

from pyat.foundation.errors import AuthenticationRequired
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId

LIFETIME_S = 60
HEADER = "x-pyat-identity"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credentials were checked: the user, the tenant, and what this credential is limited to."""

    user_id: UserId
    tenant_id: TenantId
    email: str
    name: str
    credential_id: TokenId | None
    """The part of the token or session that may be shown; None for our own processes."""
    kind: str
    """`token`, `session` or `service` (one of our own processes acting for itself)."""
    scopes: frozenset[str]
    base_ids: frozenset[BaseId] | None
    """The only bases this credential reaches; None means every base of the tenant."""

    def may(self, scope: str) -> bool:
        """Whether the credential holds this scope; no scope implies another (wire reference, section 2.2)."""
        return scope in self.scopes

    def reaches(self, base_id: BaseId) -> bool:
        """Whether the credential's resources include this base; tenancy is checked by whoever owns the base."""
        return self.base_ids is None or base_id in self.base_ids


class Signer:
    """Makes and checks the internal identity header; both sides hold the same key."""

    def __init__(self, key: bytes) -> None:
        assert len(key) >= 32, "the internal key has at least 32 bytes"
        self._key = key

    def sign(self, principal: Principal, *, request_id: str) -> str:
        """The header value for this principal and request: base64 payload, dot, hex signature (about 4 µs)."""
        bases = principal.base_ids
        payload = orjson.dumps(
            (
                int(time.time()) + LIFETIME_S,
                request_id,
                principal.user_id,
                principal.tenant_id,
                principal.email,
                principal.name,
                principal.credential_id,
                principal.kind,
                tuple(principal.scopes),
                None if bases is None else tuple(bases),
            )
        )
        text = binascii.b2a_base64(payload, newline=False)
        return f"{text.decode('ascii')}.{self._mac(text)}"

    def verify(self, header: str) -> Principal:
        """The principal behind a header value. Raises AuthenticationRequired if it is forged, damaged or too old."""
        text, _, mac = header.encode().partition(b".")
        if not hmac.compare_digest(mac, self._mac(text).encode()):
            raise AuthenticationRequired
        # Nothing is read before the signature has shown that one of our own processes wrote it.
        ends_s, _, user_id, tenant_id, email, name, credential_id, kind, scopes, bases = orjson.loads(
            binascii.a2b_base64(text)
        )
        if ends_s < time.time():
            raise AuthenticationRequired
        return Principal(
            user_id,
            tenant_id,
            email,
            name,
            credential_id,
            kind,
            frozenset(scopes),
            None if bases is None else frozenset(bases),
        )

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose; from it nobody learns this one."""
        return hmac.digest(self._key, b"derived key: " + purpose.encode(), "sha256")

    def _mac(self, text: bytes) -> str:
        return hmac.digest(self._key, text, "sha256").hex()
