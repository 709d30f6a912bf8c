"""Logs: one JSON object per line, no secret and no user's value in any of them."""

import errno
import io
import logging
import sys
from collections.abc import Iterator

import orjson
import pytest
import structlog

from pyat.foundation import telemetry
from pyat.foundation.errors import ModelNotFound
from pyat.foundation.telemetry import configure_logging, describe_exception


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    configure_logging(level="info", service="test")
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _lines(log: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in log.getvalue().splitlines()]


def test_a_line_says_when_what_and_which_process(log: io.StringIO) -> None:
    structlog.get_logger("x").info("happened", count=3)
    structlog.get_logger("x").debug("not shown")
    (line,) = _lines(log)
    assert (line["event"], line["count"], line["level"], line["process"]) == ("happened", 3, "info", "test")
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "key", ["token", "password", "secret", "authorization", "admin_token", "internal_key", "api_key"]
)
def test_a_secret_that_slips_in_is_hidden(log: io.StringIO, key: str) -> None:
    structlog.get_logger("x").info("happened", **{key: "s3cret"})
    assert "s3cret" not in log.getvalue()
    assert _lines(log)[0][key] == "[hidden]"


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(log, "write", refuse)
        structlog.get_logger("x").info("lost")
    structlog.get_logger("x").info("kept")
    assert [line["event"] for line in _lines(log)] == ["kept"]


def _fail() -> None:
    cell = "Ada's salary"
    try:
        int(cell)
    except ValueError as error:
        raise KeyError(cell) from error


def test_an_exception_is_told_without_the_values_in_it(log: io.StringIO) -> None:
    try:
        _fail()
    except KeyError:
        structlog.get_logger("x").exception("broken")
        logging.getLogger("other").exception("broken there")
    assert "salary" not in log.getvalue()
    for line in _lines(log):
        exception = line["exception"]
        assert isinstance(exception, list)
        assert [item["type"] for item in exception] == ["builtins.KeyError", "builtins.ValueError"]
        assert exception[0]["where"][-1].endswith(" _fail")


def test_errors_about_code_tell_their_text_and_declared_ones_their_code() -> None:
    assert (
        describe_exception(AssertionError("a table has a primary field"))[0]["message"] == "a table has a primary field"
    )
    assert describe_exception(ModelNotFound(kind="Record"))[0]["code"] == "MODEL_ID_NOT_FOUND"


def test_a_long_chain_of_causes_is_cut() -> None:
    error = ValueError()
    for _ in range(10):
        following = ValueError()
        following.__cause__, error = error, following
    assert len(describe_exception(error)) == 4


def test_metrics_are_in_the_text_format_with_the_service_as_a_label() -> None:
    telemetry.REQUESTS.labels("auth", "whoami", 200).inc()
    assert 'pyat_requests_total{operation="whoami",service="auth",status="200"}' in telemetry.metrics_text().decode()
