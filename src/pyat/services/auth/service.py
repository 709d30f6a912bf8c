"""The rules of auth: accounts, passwords, sessions, personal access tokens."""

import asyncio
import hashlib
import ipaddress
import re
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from pyat.foundation.cache import Bus
from pyat.foundation.clock import Clock
from pyat.foundation.errors import (
    InvalidToken,
    OperationNotPermitted,
    RateLimitReached,
    ServiceUnavailable,
)
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId, is_id, new_id
from pyat.services.auth.contract import (
    CREDENTIAL_REVOKED,
    SCOPES,
    Account,
    AccountNotFound,
    Authenticated,
    InvalidAccount,
    InvalidTokenRequest,
    IssuedToken,
    LoginRefused,
    Token,
    TokenNotFound,
)
from pyat.services.auth.settings import AuthSettings
from pyat.services.auth.store import AuthStore, LoginAttempts

_log = structlog.get_logger("auth")

_Result = TypeVar("_Result")

_TOKEN = re.compile(r"pat[0-9A-Za-z]{14}\.[0-9a-fA-F]{64}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,255}")
_NAME_LENGTH_MAX = 255
_EMAIL_LENGTH_MAX = 254
_PASSWORD_LENGTH_MAX = 1_024
_BASES_MAX = 1_000
_ANNOUNCE_PAUSES_S = (0.25, 0.25)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
_USED_MAX = 100_000
"""Tokens whose use is remembered between two writes; further ones are written a little later than they should be."""


@dataclass(frozen=True, slots=True)
class Session:
    """A successful login; `secret` is the whole `ses….…` text and is shown this once."""

    account: Account
    secret: str
    expires_time: datetime


class Passwords:
    """Argon2id in threads, never more at a time than the settings allow."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_passes,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_lanes,
        )
        self._turns = asyncio.Semaphore(settings.password_checks_max)
        self._waiting = 0
        self._waiting_max = settings.password_checks_waiting_max

    async def hash(self, password: str) -> str:
        """The text to keep. Raises ServiceUnavailable when too many checks wait."""
        return await self._run(lambda: self._hasher.hash(password))

    async def check(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; takes as long where there is none to compare with (None)."""
        if password_hash is None:
            # Making a hash does the same work as checking one, so the time does not tell which addresses exist.
            await self.hash(password)
            return False
        try:
            return await self._run(lambda: self._hasher.verify(password_hash, password))
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):
            _log.exception("password_hash_unreadable")
            return False

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._waiting >= self._waiting_max:
            raise ServiceUnavailable
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        # Shielded: the thread cannot be stopped, and its turn must not be given away while it still works.
        return await asyncio.shield(self._in_turn(work))

    async def _in_turn(self, work: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.to_thread(work)
        finally:
            self._turns.release()


class AuthService:
    """Implements the contract `Auth`, and what only the public routes use."""

    def __init__(
        self, store: AuthStore, attempts: LoginAttempts, bus: Bus, clock: Clock, settings: AuthSettings
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._passwords = Passwords(settings)
        self._uses: dict[TokenId, datetime] = {}
        self._noted: dict[TokenId, datetime] = {}

    async def authenticate(self, *, digest: str) -> Authenticated:
        """See the contract."""
        try:
            sha256 = bytes.fromhex(digest)
        except ValueError:
            raise InvalidToken from None
        now = self._clock.now()
        found = await self._store.principal(digest=sha256, now=now)
        if found is None:
            raise InvalidToken
        if found.principal.kind == "token" and found.principal.credential_id is not None:
            self._note_use(found.principal.credential_id, now)
        return found

    async def create_account(self, *, email: str, name: str, password: str, tenant_name: str | None) -> Account:
        """See the contract."""
        email = email.strip()
        _check_account(email, name, tenant_name)
        self._check_password(password)
        if tenant_name is not None:
            tenant_id = TenantId(new_id("ent"))
        else:
            first = await self._store.first_tenant()
            if first is None:
                raise InvalidAccount(reason="There is no tenant yet; name one for the first account.")
            tenant_id = first
        account = Account(UserId(new_id("usr")), tenant_id, email, name)
        await self._store.insert_account(
            account,
            email_key=_folded(email),
            password_hash=await self._passwords.hash(_normal(password)),
            tenant_name=tenant_name,
            now=self._clock.now(),
        )
        return account

    async def get_account(self, *, email: str) -> Account:
        """See the contract."""
        login = await self._store.login(email_key=_folded(email)) if _is_email(email) else None
        if login is None:
            raise AccountNotFound(email=email)
        return login.account

    async def create_token(
        self,
        *,
        user_id: UserId,
        name: str,
        scopes: tuple[str, ...],
        base_ids: tuple[BaseId, ...] | None,
        expires_time: datetime | None,
        secret: str | None,
    ) -> IssuedToken:
        """See the contract."""
        now = self._clock.now()
        _check_token(name, scopes, base_ids, expires_time, now)
        if secret is None:
            secret = f"{new_id('pat')}.{secrets.token_hex(32)}"
        elif not _TOKEN.fullmatch(secret):
            raise InvalidTokenRequest(
                reason="A token is pat, 14 letters or digits, a dot and 64 hexadecimal digits (82 characters)."
            )
        token = Token(
            token_id=TokenId(secret[:17]),
            name=name,
            user_id=user_id,
            scopes=tuple(sorted(set(scopes))),
            base_ids=None if base_ids is None else tuple(sorted(set(base_ids))),
            created_time=now,
            last_used_time=None,
            expires_time=expires_time,
        )
        tokens_max = self._settings.tokens_per_user_max
        if not await self._store.insert_token(token, digest=_digest(secret), tokens_max=tokens_max):
            if not await self._store.is_user(user_id):
                reason = "There is no such user."
            elif await self._store.is_token_id_taken(token.token_id):
                reason = "There is already a token with that id."
            else:
                reason = f"A user can have {tokens_max} tokens; revoke one first."
            raise InvalidTokenRequest(reason=reason)
        return IssuedToken(token, secret)

    async def grant_token(
        self,
        principal: Principal,
        *,
        name: str,
        scopes: tuple[str, ...],
        base_ids: tuple[BaseId, ...] | None,
        expires_time: datetime | None,
    ) -> IssuedToken:
        """A new token for the caller, with no scope, base or lifetime beyond those of the caller's own credential.

        Raises InvalidTokenRequest.
        """
        _check_token(name, scopes, base_ids, expires_time, self._clock.now())
        missing = sorted(set(scopes) - principal.scopes)
        if missing:
            raise InvalidTokenRequest(reason=f"You cannot grant scopes that you do not hold: {', '.join(missing)}.")
        if principal.base_ids is not None and (base_ids is None or not principal.base_ids.issuperset(base_ids)):
            raise InvalidTokenRequest(reason="You cannot grant bases that your own token does not reach.")
        if principal.kind == "token" and principal.credential_id is not None:
            own_end = await self._store.token_expiry(principal.credential_id)
            if own_end is not None and (expires_time is None or expires_time > own_end):
                raise InvalidTokenRequest(
                    reason="A token cannot make one that outlives it; set an earlier expiresTime."
                )
        return await self.create_token(
            user_id=principal.user_id,
            name=name,
            scopes=scopes,
            base_ids=base_ids,
            expires_time=expires_time,
            secret=None,
        )

    async def list_users(self, *, tenant_id: TenantId) -> tuple[Account, ...]:
        """See the contract."""
        return await self._store.users(tenant_id)

    async def list_tokens(self, *, user_id: UserId | None) -> tuple[Token, ...]:
        """See the contract."""
        return await self._store.tokens(user_id=user_id, now=self._clock.now())

    async def revoke_token(self, *, token_id: TokenId, user_id: UserId | None) -> None:
        """See the contract."""
        if not await self._store.revoke_token(token_id=token_id, user_id=user_id, now=self._clock.now()):
            raise TokenNotFound(token_id=token_id)
        await self._announce_end(token_id)

    async def login(self, *, email: str, password: str, client: str) -> Session:
        """Check a password and start a session; `client` is the caller's network address, or "".

        Raises LoginRefused, RateLimitReached (too many failures), ServiceUnavailable (too many logins at once).
        """
        email_key, network = _folded(email), _network(client)
        wait_s = await self._attempts.add(email_key=email_key, network=network)
        if wait_s:
            raise RateLimitReached(retry_after_s=wait_s)
        is_possible = _is_email(email) and len(password) <= _PASSWORD_LENGTH_MAX
        login = await self._store.login(email_key=email_key) if is_possible else None
        password_hash = None if login is None else login.password_hash
        password = _normal(password[:_PASSWORD_LENGTH_MAX])
        if not await self._passwords.check(password, password_hash) or login is None or password_hash is None:
            raise LoginRefused
        await self._attempts.forget(email_key=email_key, network=network)
        now = self._clock.now()
        if self._passwords.is_outdated(password_hash):
            new_hash = await self._passwords.hash(password)
            await self._store.put_password(login.account, password_hash=new_hash, now=now)
        session_id = new_id("ses")
        secret = f"{session_id}.{secrets.token_hex(32)}"
        expires_time = now + timedelta(hours=self._settings.session_lifetime_h)
        await self._store.insert_session(
            login.account, session_id=session_id, digest=_digest(secret), now=now, expires_time=expires_time
        )
        return Session(login.account, secret, expires_time)

    async def end_session(self, principal: Principal) -> None:
        """Log out the session that asks. Raises OperationNotPermitted for a token: that is revoked, not logged out."""
        if principal.kind != "session" or principal.credential_id is None:
            raise OperationNotPermitted
        await self._store.delete_session(session_id=principal.credential_id, user_id=principal.user_id)
        await self._announce_end(principal.credential_id)

    async def write_uses(self) -> None:
        """Write the last-used times that were noted, in one statement; kept for the next time when that fails."""
        now = self._clock.now()
        oldest = now - timedelta(seconds=self._settings.token_use_interval_s)
        self._noted = {token_id: at for token_id, at in self._noted.items() if at > oldest}
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._store.mark_tokens_used(uses, interval_s=self._settings.token_use_interval_s)
        except BaseException:
            self._uses = {**uses, **self._uses}
            raise

    async def delete_expired_sessions(self) -> None:
        """Remove sessions that have ended, a thousand at a time."""
        while await self._store.delete_expired_sessions(now=self._clock.now()) >= 1_000:
            pass

    async def _announce_end(self, credential_id: TokenId) -> None:
        """Tell every process, after the commit, and wait until each has forgotten it: whoever asks from here on is refused.

        Said again for a moment where Valkey does not take it, since it may just be starting anew. When it stays away
        longer, the other processes forget what they know once it is back, and within their time limit anyway.
        """
        for pause_s in (*_ANNOUNCE_PAUSES_S, None):
            if await self._bus.publish_confirmed(CREDENTIAL_REVOKED, credential_id) or pause_s is None:
                return
            await asyncio.sleep(pause_s)

    def _note_use(self, token_id: TokenId, now: datetime) -> None:
        noted = self._noted.get(token_id)
        interval = timedelta(seconds=self._settings.token_use_interval_s)
        if (noted is None or now - noted >= interval) and len(self._noted) < _USED_MAX:
            self._noted[token_id] = self._uses[token_id] = now

    def _check_password(self, password: str) -> None:
        shortest = self._settings.password_length_min
        if not shortest <= len(password) <= _PASSWORD_LENGTH_MAX:
            raise InvalidAccount(reason=f"A password has {shortest} to {_PASSWORD_LENGTH_MAX} characters.")


def _is_email(email: str) -> bool:
    email = email.strip()
    return len(email) <= _EMAIL_LENGTH_MAX and _EMAIL.fullmatch(email) is not None


def _check_account(email: str, name: str, tenant_name: str | None) -> None:
    if not _is_email(email):
        raise InvalidAccount(reason="That is not an e-mail address.")
    for text in (name, tenant_name):
        if text is not None and (not 1 <= len(text.strip()) <= _NAME_LENGTH_MAX or "\x00" in text):
            raise InvalidAccount(reason=f"A name has 1 to {_NAME_LENGTH_MAX} characters.")


def _check_token(
    name: str,
    scopes: tuple[str, ...],
    base_ids: tuple[BaseId, ...] | None,
    expires_time: datetime | None,
    now: datetime,
) -> None:
    if not 1 <= len(name.strip()) <= _NAME_LENGTH_MAX or "\x00" in name:
        raise InvalidTokenRequest(reason=f"A token's name has 1 to {_NAME_LENGTH_MAX} characters.")
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise InvalidTokenRequest(reason=f"Unknown scope: {unknown[0][:100]}.")
    if not scopes:
        raise InvalidTokenRequest(reason="A token needs at least one scope.")
    if base_ids is not None:
        if not 1 <= len(base_ids) <= _BASES_MAX:
            raise InvalidTokenRequest(
                reason=f"Name 1 to {_BASES_MAX} bases, or leave the list out to reach every base."
            )
        for base_id in base_ids:
            if not is_id("app", base_id):
                raise InvalidTokenRequest(reason=f"Not a base id: {str(base_id)[:100]}.")
    if expires_time is not None and (expires_time.tzinfo is None or not now < expires_time < _LATEST):
        raise InvalidTokenRequest(reason="A token's expiry is a moment in the future, with its time zone.")


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _folded(email: str) -> str:
    return unicodedata.normalize("NFKC", email.strip()).casefold()


def _normal(password: str) -> str:
    # The same password typed on two systems may differ in how accents are composed (RFC 8265).
    return unicodedata.normalize("NFC", password)


def _network(client: str) -> str:
    """The address, or for IPv6 its /64: one customer of a provider has a whole one."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return client
