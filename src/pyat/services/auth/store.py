"""The tables of auth, and the count of failed logins in Valkey."""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from valkey.exceptions import ValkeyError

from pyat.foundation.cache import Cache, CacheUnavailable
from pyat.foundation.clock import monotonic_ms
from pyat.foundation.db import Database, Row
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId
from pyat.foundation.sql import load_statements
from pyat.services.auth.contract import SCOPES, USERS_LISTED_MAX, Account, AccountExists, Authenticated, Token

_SQL = load_statements("pyat.services.auth")
_LOCAL_ATTEMPTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Login:
    """An account and what its password is checked against; no hash means that it has no password."""

    account: Account
    password_hash: str | None


class AuthStore:
    """Reads and writes the PostgreSQL schema `auth`. Every method is one statement or one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def principal(self, *, digest: bytes, now: datetime) -> Authenticated | None:
        """The holder of a live credential, or None."""
        row = await self._database.row(_SQL["auth_principal"], digest, now)
        if row is None:
            return None
        bases = row["base_ids"]
        principal = Principal(
            user_id=UserId(row["user_id"]),
            tenant_id=TenantId(row["tenant_id"]),
            email=row["email"],
            name=row["name"],
            credential_id=TokenId(row["credential_id"]),
            kind=row["kind"],
            # A session is the person itself: it holds every scope, and no list of bases narrows it.
            scopes=SCOPES if row["kind"] == "session" else frozenset(row["scopes"]),
            base_ids=None if bases is None else frozenset(BaseId(base_id) for base_id in bases),
        )
        return Authenticated(principal, row["expires_time"])

    async def first_tenant(self) -> TenantId | None:
        """The oldest tenant."""
        tenant_id: TenantId | None = await self._database.value(_SQL["auth_first_tenant"])
        return tenant_id

    async def insert_account(
        self, account: Account, *, email_key: str, password_hash: str, tenant_name: str | None, now: datetime
    ) -> None:
        """Write a user with a password, and the tenant too where `tenant_name` is given. Raises AccountExists."""
        async with self._database.transaction() as connection:
            if tenant_name is not None:
                await connection.run(_SQL["auth_insert_tenant"], account.tenant_id, tenant_name, now)
            inserted = await connection.value(
                _SQL["auth_insert_user"],
                account.user_id,
                account.tenant_id,
                account.email,
                email_key,
                account.name,
                now,
            )
            if inserted is None:
                raise AccountExists(email=account.email)
            await connection.run(_SQL["auth_put_password"], account.user_id, account.tenant_id, password_hash, now)

    async def login(self, *, email_key: str) -> Login | None:
        """The account with that folded address, or None."""
        row = await self._database.row(_SQL["auth_user_by_email"], email_key)
        if row is None:
            return None
        account = Account(UserId(row["user_id"]), TenantId(row["tenant_id"]), row["email"], row["name"])
        return Login(account, row["password_hash"])

    async def put_password(self, account: Account, *, password_hash: str, now: datetime) -> None:
        """Replace the password hash."""
        await self._database.run(_SQL["auth_put_password"], account.user_id, account.tenant_id, password_hash, now)

    async def insert_session(
        self, account: Account, *, session_id: str, digest: bytes, now: datetime, expires_time: datetime
    ) -> None:
        """Write a session."""
        await self._database.run(
            _SQL["auth_insert_session"], session_id, account.tenant_id, account.user_id, digest, now, expires_time
        )

    async def delete_session(self, *, session_id: str, user_id: UserId) -> bool:
        """End a session; whether it was there."""
        return await self._database.value(_SQL["auth_delete_session"], session_id, user_id) is not None

    async def delete_expired_sessions(self, *, now: datetime) -> int:
        """Remove up to 1,000 sessions that have ended; returns how many."""
        tag = await self._database.run(_SQL["auth_delete_expired_sessions"], now)
        return int(tag.rpartition(" ")[2])

    async def insert_token(self, token: Token, *, digest: bytes, tokens_max: int) -> bool:
        """Write a token; False when there is no such user, its id is taken, or the user has `tokens_max` already."""
        inserted = await self._database.value(
            _SQL["auth_insert_token"],
            token.token_id,
            token.user_id,
            token.name,
            digest,
            list(token.scopes),
            None if token.base_ids is None else list(token.base_ids),
            token.created_time,
            token.expires_time,
            tokens_max,
        )
        return inserted is not None

    async def is_token_id_taken(self, token_id: TokenId) -> bool:
        """Whether a token has this id, live or revoked."""
        return bool(await self._database.value(_SQL["auth_token_id_taken"], token_id))

    async def is_user(self, user_id: UserId) -> bool:
        """Whether there is such a user."""
        return bool(await self._database.value(_SQL["auth_user_exists"], user_id))

    async def users(self, tenant_id: TenantId) -> tuple[Account, ...]:
        """Users of a tenant in order of creation, at most `USERS_LISTED_MAX`."""
        rows = await self._database.rows(_SQL["auth_tenant_users"], tenant_id, USERS_LISTED_MAX)
        return tuple(Account(UserId(row["user_id"]), tenant_id, row["email"], row["name"]) for row in rows)

    async def tokens(self, *, user_id: UserId | None, now: datetime) -> tuple[Token, ...]:
        """Live tokens, newest first, at most 1,000."""
        if user_id is None:
            rows: Sequence[Row] = await self._database.rows(_SQL["auth_all_tokens"], now)
        else:
            rows = await self._database.rows(_SQL["auth_user_tokens"], user_id, now)
        return tuple(_token(row) for row in rows)

    async def token_expiry(self, token_id: TokenId) -> datetime | None:
        """When a token ends by itself; None never."""
        expires_time: datetime | None = await self._database.value(_SQL["auth_token_expiry"], token_id)
        return expires_time

    async def revoke_token(self, *, token_id: TokenId, user_id: UserId | None, now: datetime) -> bool:
        """End a token; False when no live one was there."""
        return await self._database.value(_SQL["auth_revoke_token"], token_id, user_id, now) is not None

    async def mark_tokens_used(self, used: dict[TokenId, datetime], *, interval_s: int) -> None:
        """Write last-used times, all in one statement."""
        # In order of id, so that two processes that write the same tokens seldom wait for each other in a circle.
        ids = sorted(used)
        times = [used[token_id] for token_id in ids]
        await self._database.run(_SQL["auth_mark_tokens_used"], ids, times, timedelta(seconds=interval_s))


def _token(row: Row) -> Token:
    bases = row["base_ids"]
    return Token(
        token_id=TokenId(row["token_id"]),
        name=row["name"],
        user_id=UserId(row["user_id"]),
        scopes=tuple(row["scopes"]),
        base_ids=None if bases is None else tuple(BaseId(base_id) for base_id in bases),
        created_time=row["created_time"],
        last_used_time=row["last_used_time"],
        expires_time=row["expires_time"],
    )


class LoginAttempts:
    """Failed logins by e-mail address and network address, in a window that starts with the first.

    Counted in Valkey for all processes; while Valkey is away each process counts for itself, so that its loss does
    not open the door to guessing.
    """

    def __init__(self, cache: Cache, *, attempts_max: int, window_s: int) -> None:
        self._cache = cache
        self._attempts_max = attempts_max
        self._window_s = window_s
        self._local: dict[str, tuple[int, float]] = {}

    async def add(self, *, email_key: str, network: str) -> int:
        """Count an attempt before it is checked; 0 when it may go on, else the seconds until it may."""
        key = _attempts_key(email_key, network)
        try:
            _, count, left_s = await asyncio.gather(
                self._cache.call("SET", key, 0, "EX", self._window_s, "NX"),
                self._cache.call("INCR", key),
                self._cache.call("TTL", key),
            )
        except (CacheUnavailable, ValkeyError):
            return self._add_here(key)
        return 0 if count <= self._attempts_max else max(1, left_s)

    async def forget(self, *, email_key: str, network: str) -> None:
        """A login succeeded: what failed before does not count any more."""
        key = _attempts_key(email_key, network)
        self._local.pop(key, None)
        with contextlib.suppress(CacheUnavailable, ValkeyError):
            await self._cache.call("DEL", key)

    def _add_here(self, key: str) -> int:
        now_ms = monotonic_ms()
        count, ends_ms = self._local.pop(key, (0, 0.0))
        if ends_ms <= now_ms:
            count, ends_ms = 0, now_ms + self._window_s * 1000
        if len(self._local) >= _LOCAL_ATTEMPTS_MAX:
            del self._local[next(iter(self._local))]
        self._local[key] = (count + 1, ends_ms)
        return 0 if count < self._attempts_max else max(1, round((ends_ms - now_ms) / 1000))


def _attempts_key(email_key: str, network: str) -> str:
    # Hashed: Valkey's keys show up in its logs and dumps, and an address is personal data.
    return "pyat:login:" + hashlib.sha256(f"{email_key}\n{network}".encode()).hexdigest()[:32]
