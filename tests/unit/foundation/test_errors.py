"""Errors: unique codes, Airtable's two shapes, and the way to another process and back."""

import importlib
import pkgutil
from typing import Any

import orjson
import pytest

import pyat
from pyat.foundation.errors import (
    AppError,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotPermittedOrNotFound,
    RateLimitReached,
    RouteNotFound,
    ServerError,
    rebuild,
)
from pyat.foundation.web import error_response
from tests.support.errors import sample

for _module in pkgutil.walk_packages(pyat.__path__, "pyat."):
    if _module.name.rpartition(".")[2] in {"contract", "errors", "outgoing"}:
        importlib.import_module(_module.name)

OURS = [error for error in AppError.all() if error.__module__.startswith("pyat.")]


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.code)
def test_every_error_survives_the_way_to_another_process(error: type[AppError]) -> None:
    raised = sample(error, "{x} 'é' <y>")
    arrived = rebuild(raised.code, orjson.loads(orjson.dumps(raised.details)))
    assert type(arrived) is error
    assert arrived.details == raised.details
    assert arrived.body() == raised.body()
    assert str(arrived) == str(raised)


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.code)
def test_every_error_has_an_error_status_a_sentence_about_itself_and_one_of_the_two_shapes(
    error: type[AppError],
) -> None:
    assert 400 <= error.status <= 599
    assert (error.__doc__ or "").strip().endswith(".")
    assert error.code == error.code.upper()
    content = orjson.loads(sample(error).body())["error"]
    if error.is_bare:
        assert content == error.wire_type
    else:
        assert content["type"] == error.wire_type
        assert content.keys() <= {"type", "message"}


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (RouteNotFound(), {"error": "NOT_FOUND"}),
        (ModelNotFound(kind="Record"), {"error": {"type": "MODEL_ID_NOT_FOUND", "message": "Record not found"}}),
        (
            InvalidRequest(),
            {
                "error": {
                    "type": "INVALID_REQUEST_UNKNOWN",
                    "message": "Invalid request: parameter validation failed. Check your request data.",
                }
            },
        ),
        (
            NotPermittedOrNotFound(),
            {
                "error": {
                    "type": "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND",
                    "message": "Invalid permissions, or the requested model was not found. Check that both your user and "
                    "your token have the required permissions, and that the model names and/or ids are correct.",
                }
            },
        ),
    ],
)
def test_bodies_are_airtables(error: AppError, body: dict[str, Any]) -> None:
    assert orjson.loads(error.body()) == body


def test_an_unknown_code_becomes_a_server_error() -> None:
    assert type(rebuild("FROM_A_NEWER_RELEASE", {"x": 1})) is ServerError


@pytest.mark.parametrize("details", [{}, {"kind": "x", "more": "y"}, {"other": "x"}])
def test_details_of_another_release_become_a_server_error(details: dict[str, Any]) -> None:
    assert type(rebuild("MODEL_ID_NOT_FOUND", details)) is ServerError


def test_a_reason_is_not_doubled_on_its_way() -> None:
    once = InvalidRequest(reason="Name it.")
    twice = rebuild("INVALID_REQUEST", rebuild("INVALID_REQUEST", once.details).details)
    assert twice.message == once.message == InvalidRequest.template.format(reason=" Name it.")


def test_two_errors_cannot_have_one_code() -> None:
    with pytest.raises(AssertionError, match="claim the code"):
        type("Other", (AppError,), {"code": "MODEL_ID_NOT_FOUND", "__module__": __name__})


def test_headers_say_when_to_come_back_and_what_is_allowed() -> None:
    assert error_response(RateLimitReached()).headers["retry-after"] == "1"
    assert error_response(RateLimitReached(retry_after_s=7)).headers["retry-after"] == "7"
    refused = error_response(MethodNotAllowed(method="PUT", allowed="GET, POST"))
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
    assert "retry-after" not in refused.headers
    assert refused.headers["content-type"] == "application/json; charset=utf-8"
