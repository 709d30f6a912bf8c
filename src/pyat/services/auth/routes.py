"""The public routes of auth: who am I, login and logout, the caller's own tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pyat.foundation.clock import wire_time
from pyat.foundation.errors import (
    BodyTooLarge,
    InvalidBody,
    InvalidRequest,
    OperationNotPermitted,
    RateLimitReached,
    ServiceUnavailable,
)
from pyat.foundation.ids import BaseId, TokenId
from pyat.foundation.web import Handlers, Operation, json_response, principal_of, read_json
from pyat.services.auth.contract import SCOPES, InvalidTokenRequest, LoginRefused, Token, TokenNotFound
from pyat.services.auth.service import AuthService

_BODY_BYTES_MAX = 64 * 1024
"""A thousand base ids fit four times."""

_TIME = {"type": "string", "format": "date-time"}
_TOKEN_PROPERTIES: Mapping[str, Any] = {
    "id": {"type": "string", "description": "The part of the token that may be shown."},
    "name": {"type": "string"},
    "scopes": {"type": "array", "items": {"type": "string", "enum": sorted(SCOPES)}},
    "baseIds": {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "description": "The only bases it reaches; null means every base.",
    },
    "createdTime": _TIME,
    "lastUsedTime": {"type": ["string", "null"], "format": "date-time", "description": "Exact to about a minute."},
    "expiresTime": {"type": ["string", "null"], "format": "date-time"},
}
_TOKEN_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": _TOKEN_PROPERTIES,
    "required": sorted(_TOKEN_PROPERTIES),
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="whoami",
        method="GET",
        path="/v0/meta/whoami",
        summary="The user behind the credentials",
        description="Any valid token may ask; `email` is there only with the scope `user.email:read`.",
        is_metadata=True,
        answer={
            "type": "object",
            "properties": {"id": {"type": "string"}, "email": {"type": "string"}},
            "required": ["id"],
        },
    ),
    Operation(
        name="login",
        method="POST",
        path="/api/v1/auth/login",
        summary="Start a session with e-mail address and password",
        is_public=True,
        is_metadata=True,
        body={
            "type": "object",
            "properties": {"email": {"type": "string"}, "password": {"type": "string"}},
            "required": ["email", "password"],
        },
        answer={
            "type": "object",
            "properties": {
                "token": {"type": "string", "description": "The session's credential, sent as a Bearer token."},
                "expiresTime": _TIME,
                "user": {
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "email": {"type": "string"}, "name": {"type": "string"}},
                    "required": ["id", "email", "name"],
                },
            },
            "required": ["token", "expiresTime", "user"],
        },
        errors=(LoginRefused, InvalidBody, InvalidRequest, BodyTooLarge, RateLimitReached, ServiceUnavailable),
    ),
    Operation(
        name="logout",
        method="POST",
        path="/api/v1/auth/logout",
        summary="End the session that asks",
        description="A personal access token cannot log out; revoke it instead.",
        is_metadata=True,
        answer={
            "type": "object",
            "properties": {"id": {"type": "string"}, "deleted": {"type": "boolean"}},
            "required": ["id", "deleted"],
        },
        errors=(OperationNotPermitted,),
    ),
    Operation(
        name="list_tokens",
        method="GET",
        path="/api/v1/auth/tokens",
        summary="List your personal access tokens",
        description="Newest first; never with their secrets.",
        is_metadata=True,
        answer={
            "type": "object",
            "properties": {"tokens": {"type": "array", "items": _TOKEN_SCHEMA, "maxItems": 1_000}},
            "required": ["tokens"],
        },
    ),
    Operation(
        name="create_token",
        method="POST",
        path="/api/v1/auth/tokens",
        summary="Create a personal access token",
        description="The whole token is answered this once. It can hold no scope, base or lifetime beyond the caller's.",
        is_metadata=True,
        body={
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 255},
                "scopes": {"type": "array", "items": {"type": "string", "enum": sorted(SCOPES)}, "minItems": 1},
                "baseIds": {"type": ["array", "null"], "items": {"type": "string"}, "minItems": 1, "maxItems": 1_000},
                "expiresTime": {"type": ["string", "null"], "format": "date-time"},
            },
            "required": ["name", "scopes"],
        },
        answer={
            "type": "object",
            "properties": {**_TOKEN_PROPERTIES, "token": {"type": "string", "description": "The whole token."}},
            "required": [*sorted(_TOKEN_PROPERTIES), "token"],
        },
        errors=(InvalidTokenRequest, InvalidBody, BodyTooLarge),
    ),
    Operation(
        name="revoke_token",
        method="DELETE",
        path="/api/v1/auth/tokens/{token_id:pat}",
        summary="Revoke one of your personal access tokens",
        description="It is refused everywhere from now on; a token may revoke itself.",
        is_metadata=True,
        answer={
            "type": "object",
            "properties": {"id": {"type": "string"}, "deleted": {"type": "boolean"}},
            "required": ["id", "deleted"],
        },
        errors=(TokenNotFound,),
    ),
)


class AuthRoutes:
    """HTTP in, service call, HTTP out."""

    def __init__(self, service: AuthService) -> None:
        self._service = service

    def handlers(self) -> Handlers:
        """One handler for each operation."""
        return {
            "whoami": self.whoami,
            "login": self.login,
            "logout": self.logout,
            "list_tokens": self.list_tokens,
            "create_token": self.create_token,
            "revoke_token": self.revoke_token,
        }

    async def whoami(self, request: Request) -> Response:
        """`{"id"}` and, with its scope, `"email"` (wire reference, section 8.4)."""
        principal = principal_of(request)
        found: dict[str, str] = {"id": principal.user_id}
        if principal.may("user.email:read"):
            found["email"] = principal.email
        return json_response(found)

    async def login(self, request: Request) -> Response:
        """A new session."""
        body = await read_json(request, bytes_max=_BODY_BYTES_MAX)
        email, password = body.get("email"), body.get("password")
        if not isinstance(email, str) or not isinstance(password, str):
            raise InvalidRequest(reason="email and password must be texts.")
        session = await self._service.login(email=email, password=password, client=_client(request))
        account = session.account
        return _secret_response(
            {
                "token": session.secret,
                "expiresTime": wire_time(session.expires_time),
                "user": {"id": account.user_id, "email": account.email, "name": account.name},
            }
        )

    async def logout(self, request: Request) -> Response:
        """The session has ended."""
        principal = principal_of(request)
        await self._service.end_session(principal)
        return json_response({"id": principal.credential_id, "deleted": True})

    async def list_tokens(self, request: Request) -> Response:
        """The caller's tokens."""
        tokens = await self._service.list_tokens(user_id=principal_of(request).user_id)
        return json_response({"tokens": [_shown(token) for token in tokens]})

    async def create_token(self, request: Request) -> Response:
        """A new token, with its secret."""
        principal = principal_of(request)
        body = await read_json(request, bytes_max=_BODY_BYTES_MAX)
        name = body.get("name")
        if not isinstance(name, str):
            raise InvalidTokenRequest(reason="name must be a text.")
        base_ids = body.get("baseIds")
        issued = await self._service.grant_token(
            principal,
            name=name,
            scopes=_texts(body, "scopes"),
            base_ids=None if base_ids is None else tuple(BaseId(text) for text in _texts(body, "baseIds")),
            expires_time=_moment(body, "expiresTime"),
        )
        return _secret_response({**_shown(issued.token), "token": issued.secret})

    async def revoke_token(self, request: Request) -> Response:
        """The token has ended."""
        token_id = TokenId(request.path_params["token_id"])
        await self._service.revoke_token(token_id=token_id, user_id=principal_of(request).user_id)
        return json_response({"id": token_id, "deleted": True})


def _secret_response(value: Any) -> Response:
    response = json_response(value)
    response.headers["cache-control"] = "no-store"
    return response


def _shown(token: Token) -> dict[str, Any]:
    return {
        "id": token.token_id,
        "name": token.name,
        "scopes": token.scopes,
        "baseIds": token.base_ids,
        "createdTime": wire_time(token.created_time),
        "lastUsedTime": None if token.last_used_time is None else wire_time(token.last_used_time),
        "expiresTime": None if token.expires_time is None else wire_time(token.expires_time),
    }


def _texts(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidTokenRequest(reason=f"{key} must be a list of texts.")
    return tuple(value)


def _moment(body: Mapping[str, Any], key: str) -> datetime | None:
    value = body.get(key)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise InvalidTokenRequest(reason=f"{key} must be a time such as 2030-01-31T00:00:00.000Z.") from None
    return moment


def _client(request: Request) -> str:
    """The caller's network address, as the gateway saw it."""
    address: str = request.scope["state"].get("client", "")
    return address
