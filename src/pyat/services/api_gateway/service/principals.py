"""Credentials to principals, remembered for a short time and forgotten at once when revoked."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from pyat.foundation.cache import Bus
from pyat.foundation.clock import Clock
from pyat.foundation.errors import AuthenticationRequired, InvalidToken
from pyat.foundation.identity import Principal
from pyat.services.auth.contract import CREDENTIAL_LENGTH, CREDENTIAL_REVOKED, Auth

_CREDENTIAL = re.compile(rb"(?:pat|ses)[0-9A-Za-z]{14}\.[0-9a-fA-F]{64}")
_SCHEME = b"bearer "
_DOT = 17
_UNKNOWN_S = 1.0
"""How long an unknown credential is remembered: enough for a client that repeats itself, too short to notice otherwise."""
_UNKNOWN_MAX = 1_000


class _Known(NamedTuple):
    principal: Principal
    forget_s: float


class Principals:
    """The principal behind an Authorization header.

    Only SHA-256 digests are kept, never credentials. A cached answer costs about two microseconds; of simultaneous
    requests with one credential, one asks auth and the others wait for its answer.
    """

    def __init__(self, auth: Auth, bus: Bus, clock: Clock, *, remember_s: float, remembered_max: int) -> None:
        self._auth = auth
        self._clock = clock
        self._remember_s = remember_s
        self._remembered_max = remembered_max
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._digests: dict[str, str] = {}
        self._unknown: dict[str, float] = {}
        self._asked: dict[str, asyncio.Task[Principal]] = {}
        self._changes = 0
        bus.listen(CREDENTIAL_REVOKED, self._revoked)
        bus.on_gap(self._forget_all)

    async def find(self, authorization: bytes | None) -> Principal:
        """Who sent this header. Raises AuthenticationRequired, InvalidToken, ServiceUnavailable."""
        if authorization is None or authorization[:7].lower() != _SCHEME:
            raise AuthenticationRequired
        credential = authorization[7:].strip()
        # The cheap part of the shape; the rest is looked at only when the credential is not known already.
        if len(credential) != CREDENTIAL_LENGTH or credential[_DOT] != 0x2E:
            raise AuthenticationRequired
        digest = hashlib.sha256(credential).hexdigest()
        known = self._known.get(digest)
        if known is not None and known.forget_s > time.monotonic():
            self._known.move_to_end(digest)
            return known.principal
        if not _CREDENTIAL.fullmatch(credential):
            raise AuthenticationRequired
        if self._unknown.get(digest, 0.0) > time.monotonic():
            raise InvalidToken
        asked = self._asked.get(digest)
        if asked is None:
            asked = asyncio.create_task(self._ask(digest))
            self._asked[digest] = asked
            asked.add_done_callback(lambda task: self._answered(digest, task))
        # Shielded: one client that goes away must not take the answer from the others.
        return await asyncio.shield(asked)

    async def _ask(self, digest: str) -> Principal:
        changes = self._changes
        try:
            found = await self._auth.authenticate(digest=digest)
        except InvalidToken:
            self._forget(digest)
            if len(self._unknown) >= _UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[digest] = time.monotonic() + _UNKNOWN_S
            raise
        # A revocation that arrived meanwhile may have been about this one: then the answer is used, but not kept.
        if changes == self._changes:
            self._remember(digest, found.principal, found.expires_time)
        return found.principal

    def _answered(self, digest: str, task: asyncio.Task[Principal]) -> None:
        if self._asked.get(digest) is task:
            del self._asked[digest]
        if not task.cancelled():
            task.exception()  # whoever waited has seen it; nobody may have

    def _remember(self, digest: str, principal: Principal, expires_time: datetime | None) -> None:
        keep_s = self._remember_s
        if expires_time is not None:
            keep_s = min(keep_s, (expires_time - self._clock.now()).total_seconds())
        self._unknown.pop(digest, None)
        self._known[digest] = _Known(principal, time.monotonic() + keep_s)
        self._known.move_to_end(digest)
        if principal.credential_id is not None:
            self._digests[principal.credential_id] = digest
        if len(self._known) > self._remembered_max:
            self._forget(next(iter(self._known)))

    def _forget(self, digest: str) -> None:
        known = self._known.pop(digest, None)
        if known is not None and known.principal.credential_id is not None:
            self._digests.pop(known.principal.credential_id, None)

    async def _revoked(self, credential_id: str) -> None:
        self._changes += 1
        self._asked.clear()
        digest = self._digests.get(credential_id)
        if digest is not None:
            self._forget(digest)

    def _forget_all(self) -> None:
        self._changes += 1
        self._asked.clear()
        self._known.clear()
        self._digests.clear()
