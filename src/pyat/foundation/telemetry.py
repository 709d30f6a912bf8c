"""Logs as JSON lines and metrics for Prometheus, both labelled with the service they come from.

Logs hold ids, names of errors and durations; never a secret, a token, a request body or a cell value.
"""

import contextlib
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, cast

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from pyat.foundation.errors import AppError

REGISTRY = CollectorRegistry(auto_describe=True)

REQUESTS = Counter("pyat_requests_total", "Requests answered.", ("service", "operation", "status"), registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "pyat_request_seconds",
    "Time from the first byte of a request to the last of its answer.",
    ("service", "operation"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("pyat_requests_in_flight", "Requests being answered now.", ("service",), registry=REGISTRY)
LIMITED = Counter("pyat_rate_limited_total", "Requests refused by a rate limit.", ("service",), registry=REGISTRY)
LIMITER_DOWN = Counter(
    "pyat_rate_limiter_unavailable_total",
    "Requests let through because Valkey was away.",
    ("service",),
    registry=REGISTRY,
)

_SECRET_KEYS = ("token", "password", "secret", "authorization", "cookie", "key")


def _hide_secrets(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    # A second line of defence: no caller should pass these, and nothing shows them when one does.
    for key in event:
        if key in _SECRET_KEYS or key.endswith(("_token", "_password", "_secret", "_key")):
            event[key] = "[hidden]"
    return event


_FRAMES_MAX = 12
_CAUSES_MAX = 4
_TELLING = (AssertionError, AttributeError, ImportError, NameError, RuntimeError, TypeError)
"""Errors whose text is about code. That of others, such as ValueError and PostgreSQL's, may quote what a user wrote."""
_FACTS = ("sqlstate", "schema_name", "table_name", "column_name", "constraint_name", "errno")


def describe_exception(error: BaseException) -> list[dict[str, Any]]:
    """An exception and its causes for the log: type, where, and what can be told without any user's data."""
    described: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(described) < _CAUSES_MAX:
        item: dict[str, Any] = {"type": f"{type(current).__module__}.{type(current).__qualname__}"}
        if isinstance(current, _TELLING):
            item["message"] = str(current)[:500]
        if isinstance(current, AppError):
            item["code"] = current.code
        facts = {
            name: value for name in _FACTS if isinstance(value := getattr(current, name, None), str | int) and value
        }
        frames = traceback.extract_tb(current.__traceback__)[-_FRAMES_MAX:]
        item["where"] = [f"{'/'.join(Path(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}" for frame in frames]
        described.append(item | facts)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return described


def _describe_exception(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = describe_exception(error)
    return event


class _JsonLines(logging.Formatter):
    """Other libraries' log records in the form of ours."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        event: dict[str, Any] = {"event": record.getMessage(), "logger": record.name, "level": record.levelname.lower()}
        event["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = describe_exception(record.exc_info[1])
        return orjson.dumps(event, default=str).decode()


class _LossyStream:
    """A stream where a line is lost that cannot be written: on a full disk, requests go on without a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write a piece of a line."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Bring it to the file."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logging(*, level: str, service: str) -> None:
    """JSON lines on standard error: time, level, service, event and its fields. Called once per process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide_secrets,
            _describe_exception,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _LossyStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def metrics_text() -> bytes:
    """All metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)
