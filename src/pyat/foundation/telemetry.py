"""Logs as JSON lines and metrics for Prometheus, both labelled with the service they come from.

Logs hold ids, names of errors and durations; never a secret, a token, a request body or a cell value.
"""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

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


def configure_logging(*, level: str, service: str) -> None:
    """JSON lines on standard error: time, level, service, event and its fields. Called once per process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide_secrets,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")


def metrics_text() -> bytes:
    """All metrics of this process in Prometheus' text format."""
    return generate_latest(REGISTRY)
