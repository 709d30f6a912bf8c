"""What other services may see of auth."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId

SCOPES = frozenset(
    {
        "data.records:read",
        "data.records:write",
        "data.recordComments:read",
        "data.recordComments:write",
        "schema.bases:read",
        "schema.bases:write",
        "webhook:manage",
        "block:manage",
        "user.email:read",
        "enterprise.groups:read",
        "workspacesAndBases:read",
        "workspacesAndBases:write",
        "workspacesAndBases.shares:manage",
        "workspacesAndBases:manage",
    }
)
"""The scopes a personal access token can hold here (wire reference, section 2.2; names are exact)."""

CREDENTIAL_REVOKED = "credential_revoked"
"""Bus channel; the message is the credential's id. Caches of principals drop it at once."""

USERS_LISTED_MAX = 10_000
"""Users of a tenant that other services learn of."""

CREDENTIAL_LENGTH = 82
"""Characters of a credential: `pat` or `ses`, 14 of base 62, a dot, 64 hexadecimal digits (wire reference, section 2.1)."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of one tenant."""

    user_id: UserId
    tenant_id: TenantId
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The answer to a credential that is valid now."""

    principal: Principal
    """`credential_id` is the part before the dot, of tokens (`pat…`) and of sessions (`ses…`)."""
    expires_time: datetime | None
    """When it ends by itself; whoever keeps the principal must not keep it longer. None never."""


@dataclass(frozen=True, slots=True)
class Token:
    """A personal access token without its secret."""

    token_id: TokenId
    name: str
    user_id: UserId
    scopes: tuple[str, ...]
    base_ids: tuple[BaseId, ...] | None
    """The only bases it reaches; None means every base of the tenant."""
    created_time: datetime
    last_used_time: datetime | None
    """Exact to about a minute: it is written lazily."""
    expires_time: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token; `secret` is the whole `pat….…` text and is shown this once."""

    token: Token
    secret: str


class AccountExists(AppError):
    """Somebody has that e-mail address already."""

    code, status, template = "ACCOUNT_EXISTS", 422, "There is already an account for {email}."


class AccountNotFound(AppError):
    """No account has that e-mail address."""

    code, status, template = "ACCOUNT_NOT_FOUND", 404, "There is no account for {email}."


class InvalidAccount(AppError):
    """An account was asked for with a bad e-mail address, name or password."""

    code, status, template = "INVALID_ACCOUNT", 422, "{reason}"


class LoginRefused(AppError):
    """The address or the password is wrong; which one is not said."""

    code, status, template = "LOGIN_REFUSED", 401, "Wrong e-mail address or password."


class InvalidTokenRequest(AppError):
    """A token was asked for with an unknown scope, a wrong base id, a bad name, or more than its maker holds."""

    code, status, template = "INVALID_TOKEN_REQUEST", 422, "{reason}"


class TokenNotFound(AppError):
    """No token of the caller has that id."""

    code, status, template = "TOKEN_NOT_FOUND", 404, "There is no token {token_id}."


class Auth(Protocol):
    """Who is it, and with what power."""

    async def authenticate(self, *, digest: str) -> Authenticated:
        """The principal behind a credential, by the hexadecimal SHA-256 of its whole text.

        Raises InvalidToken when unknown, revoked or expired.
        """
        ...

    async def create_account(self, *, email: str, name: str, password: str, tenant_name: str | None) -> Account:
        """A new user, in a new tenant of that name or (None) in the first tenant.

        Raises AccountExists, InvalidAccount (also when there is no tenant yet).
        """
        ...

    async def get_account(self, *, email: str) -> Account:
        """The account with that address, without regard to case. Raises AccountNotFound."""
        ...

    async def list_users(self, *, tenant_id: TenantId) -> tuple[Account, ...]:
        """The users of a tenant in order of creation, the first `USERS_LISTED_MAX`."""
        ...

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
        """A new personal access token; `secret` only to install one that was chosen outside (first start).

        Raises InvalidTokenRequest, also for a `secret` of another shape or whose id part is taken.
        """
        ...

    async def list_tokens(self, *, user_id: UserId | None) -> tuple[Token, ...]:
        """The live tokens of a user, or of everybody (None, for the operator), newest first, at most 1,000."""
        ...

    async def revoke_token(self, *, token_id: TokenId, user_id: UserId | None) -> None:
        """End a token at once, everywhere; `user_id` limits it to that owner's. Raises TokenNotFound."""
        ...
