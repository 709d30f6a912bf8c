"""Errors as values: a unique code, a status, a message template over fields, and Airtable's two wire shapes.

An error crosses a process boundary as (code, details) and is rebuilt there as `cls(**details)`; see `rebuild`.
`code` names the error for us and never changes; `wire_type` is what Airtable calls it, which several may share.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

NO_PERMISSION_OR_MODEL = (
    "Invalid permissions, or the requested model was not found. Check that both your user and your token have the "
    "required permissions, and that the model names and/or ids are correct."
)


class AppError(Exception):
    """Base of every declared error. Subclasses set `code`, `status` and, if a message is sent, `template`."""

    code: ClassVar[str] = ""
    status: ClassVar[int] = 500
    wire_type: ClassVar[str] = ""
    """Airtable's `error.type`; equal to `code` unless a subclass says otherwise."""
    template: ClassVar[str | None] = None
    """Filled with the details; None renders an object that holds only `type`."""
    is_bare: ClassVar[bool] = False
    """True renders the string shape `{"error": "TYPE"}` instead of the object."""
    retry_after_s: ClassVar[int | None] = None
    beside: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Details that stand in the body beside `error`, which Airtable's never have: JSON schemas by name."""

    _by_code: ClassVar[dict[str, type["AppError"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            return
        known = AppError._by_code.get(cls.code)
        # The same class may come again when its module is loaded again.
        is_free = known is None or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
        assert is_free, f"two errors claim the code {cls.code}"
        AppError._by_code[cls.code] = cls
        if "wire_type" not in cls.__dict__:
            cls.wire_type = cls.code

    def __init__(self, **details: Any) -> None:
        self.details = details
        super().__init__(self.message or self.wire_type)

    @property
    def message(self) -> str | None:
        """The template filled with this error's details, or None."""
        return None if self.template is None else self.template.format(**self.details)

    def body(self) -> bytes:
        """The JSON body of the response, in Airtable's shape."""
        if self.is_bare:
            return orjson.dumps({"error": self.wire_type})
        inner: dict[str, str] = {"type": self.wire_type}
        message = self.message
        if message is not None:
            inner["message"] = message
        return orjson.dumps({"error": inner, **{name: self.details[name] for name in self.beside}})

    @classmethod
    def all(cls) -> tuple[type["AppError"], ...]:
        """Every declared error whose module is loaded, by code."""
        return tuple(error for _, error in sorted(AppError._by_code.items()))

    @classmethod
    def find(cls, code: str) -> type["AppError"] | None:
        """The error with that code, or None where its module is not loaded."""
        return AppError._by_code.get(code)


def rebuild(code: str, details: dict[str, Any]) -> AppError:
    """The error that a peer raised, from what travelled; an unknown code, or unknown details, become `ServerError`."""
    found = AppError.find(code)
    if found is None:
        return ServerError()
    try:
        return found(**details)
    except (TypeError, KeyError, IndexError, ValueError):  # a peer of another release may have other details
        return ServerError()


class RouteNotFound(AppError):
    """No route has this path, or an id in the path is not shaped like an id."""

    code, status, wire_type, is_bare = "ROUTE_NOT_FOUND", 404, "NOT_FOUND", True


class MethodNotAllowed(AppError):
    """The path exists, but not for this method; the `Allow` header names those that do."""

    code, status, template = "METHOD_NOT_ALLOWED", 405, "This path does not accept the method {method}."


class AuthenticationRequired(AppError):
    """No credentials, another scheme than Bearer, or something that is not shaped like a token."""

    code, status, template = "AUTHENTICATION_REQUIRED", 401, "Authentication required"


class InvalidToken(AppError):
    """A well-formed token that is unknown, revoked or expired."""

    code, status, wire_type, template = "INVALID_TOKEN", 401, "UNAUTHORIZED", "Invalid authentication token"


class NotPermittedOrNotFound(AppError):
    """The base or table is not there, or the caller may not know that it is: existence never leaks."""

    code, status = "NOT_PERMITTED_OR_NOT_FOUND", 403
    wire_type, template = "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", NO_PERMISSION_OR_MODEL


class OperationNotPermitted(AppError):
    """The caller sees the thing but may not do this to it."""

    code, status, wire_type = "OPERATION_NOT_PERMITTED", 403, "INVALID_PERMISSIONS"
    template = "You are not permitted to perform this operation"


class ModelNotFound(AppError):
    """A record, workspace, comment or other thing of `kind` is not there."""

    code, status, template = "MODEL_ID_NOT_FOUND", 404, "{kind} not found"

    def __init__(self, *, kind: str) -> None:
        super().__init__(kind=kind)


class BodyTooLarge(AppError):
    """The request body is over the limit; nothing was read further."""

    code, status, template = "REQUEST_TOO_LARGE", 413, "Request body is too large"


class UrlTooLong(AppError):
    """The request target is longer than the limit; POST /listRecords takes long queries in its body."""

    code, status, wire_type = "URL_TOO_LONG", 414, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the URL is longer than {limit} characters. Use POST and send parameters in the body."


class HeadersTooLarge(AppError):
    """The request's header lines are larger than the limit."""

    code, status, wire_type = "HEADERS_TOO_LARGE", 431, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: the request headers are larger than {limit} bytes."


class InvalidBody(AppError):
    """The body is not JSON (in UTF-8, without duplicates of meaning such as NaN)."""

    code, status, wire_type, template = "INVALID_BODY", 422, "INVALID_REQUEST_BODY", "Could not parse request body"


class InvalidRequest(AppError):
    """A parameter of the query or body has the wrong shape; `reason` says which."""

    code, status, wire_type = "INVALID_REQUEST", 422, "INVALID_REQUEST_UNKNOWN"
    template = "Invalid request: parameter validation failed. Check your request data.{reason}"

    def __init__(self, *, reason: str = "") -> None:
        super().__init__(reason=f" {reason.strip()}" if reason else "")


class RateLimitReached(AppError):
    """The token or base has used its requests for now; `Retry-After` says when to come back."""

    code, status, retry_after_s = "RATE_LIMIT_REACHED", 429, 1
    template = "Rate limit exceeded. Please try again later"


class ServerError(AppError):
    """Something broke on our side; the log has the request id and the cause."""

    code, status, template = "SERVER_ERROR", 500, "Try again. If the problem persists, contact support."


class ServiceUnavailable(AppError):
    """A peer, the database or the cache did not answer in time; nothing is known to have been written."""

    code, status, wire_type, retry_after_s = "SERVICE_UNAVAILABLE", 503, "RETRIABLE_ERROR", 1
    template = "Server encountered an error while processing your request, and it is safe to retry the request"
