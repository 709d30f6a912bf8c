"""The router: raw paths, ids by prefix, and which template wins."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.errors import MethodNotAllowed, RouteNotFound
from pyat.foundation.web import Operation, Router

APP, TBL, REC = "app0123456789ABCD", "tbl0123456789ABCD", "rec0123456789ABCD"

OPERATIONS = [
    Operation(name, method, path, name)
    for name, method, path in (
        ("whoami", "GET", "/v0/meta/whoami"),
        ("list_bases", "GET", "/v0/meta/bases"),
        ("create_base", "POST", "/v0/meta/bases"),
        ("tables", "GET", "/v0/meta/bases/{base_id:app}/tables"),
        ("update_table", "PATCH", "/v0/meta/bases/{base_id:app}/tables/{table}"),
        ("list", "GET", "/v0/{base_id:app}/{table}"),
        ("create", "POST", "/v0/{base_id:app}/{table}"),
        ("list_by_post", "POST", "/v0/{base_id:app}/{table}/listRecords"),
        ("get", "GET", "/v0/{base_id:app}/{table}/{record_id:rec}"),
        ("comments", "GET", "/v0/{base_id:app}/{table}/{record_id:rec}/comments"),
        ("odd", "PUT", "/v0/{base_id:app}/{table}/{anything}"),
        ("workspaces", "GET", "/api/v1/workspaces"),
        ("root", "GET", "/"),
    )
]
ROUTER = Router(OPERATIONS)


@pytest.mark.parametrize(
    ("method", "path", "name", "parameters"),
    [
        ("GET", "/v0/meta/whoami", "whoami", {}),
        ("GET", "/v0/meta/bases/", "list_bases", {}),
        ("POST", "/v0/meta/bases", "create_base", {}),
        ("GET", f"/v0/meta/bases/{APP}/tables", "tables", {"base_id": APP}),
        ("GET", f"/v0/{APP}/People", "list", {"base_id": APP, "table": "People"}),
        ("GET", f"/v0/{APP}/{TBL}", "list", {"base_id": APP, "table": TBL}),
        ("POST", f"/v0/{APP}/{TBL}/", "create", {"base_id": APP, "table": TBL}),
        ("GET", f"/v0/{APP}/A%2FB", "list", {"base_id": APP, "table": "A/B"}),
        ("GET", f"/v0/{APP}/A%2fB", "list", {"base_id": APP, "table": "A/B"}),
        ("GET", f"/v0/{APP}/%2F", "list", {"base_id": APP, "table": "/"}),
        ("GET", f"/v0/{APP}/What%3F", "list", {"base_id": APP, "table": "What?"}),
        ("GET", f"/v0/{APP}/50%25", "list", {"base_id": APP, "table": "50%"}),
        ("GET", f"/v0/{APP}/a+b", "list", {"base_id": APP, "table": "a+b"}),
        ("GET", f"/v0/{APP}/..", "list", {"base_id": APP, "table": ".."}),
        ("GET", f"/v0/{APP}/%C3%89t%C3%A9", "list", {"base_id": APP, "table": "Été"}),
        ("GET", f"/v0/{APP.replace(APP[5], f'%{ord(APP[5]):02X}')}/T", "list", {"base_id": APP, "table": "T"}),
        ("GET", f"/v0/{APP}/meta", "list", {"base_id": APP, "table": "meta"}),
        ("POST", f"/v0/{APP}/T/listRecords", "list_by_post", {"base_id": APP, "table": "T"}),
        ("GET", f"/v0/{APP}/T/{REC}", "get", {"base_id": APP, "table": "T", "record_id": REC}),
        ("GET", f"/v0/{APP}/T/{REC}/comments", "comments", {"base_id": APP, "table": "T", "record_id": REC}),
        ("PUT", f"/v0/{APP}/T/{REC}", "odd", {"base_id": APP, "table": "T", "anything": REC}),
        ("PUT", f"/v0/{APP}/T/listRecords", "odd", {"base_id": APP, "table": "T", "anything": "listRecords"}),
        ("PUT", f"/v0/{APP}/T/else", "odd", {"base_id": APP, "table": "T", "anything": "else"}),
        ("GET", "/", "root", {}),
        ("GET", "/api/v1/workspaces", "workspaces", {}),
    ],
)
def test_a_path_finds_its_operation(method: str, path: str, name: str, parameters: dict[str, str]) -> None:
    match = ROUTER.match(method, path.encode("ascii"))
    assert (match.operation.name, match.parameters) == (name, parameters)


@pytest.mark.parametrize(
    "path",
    [
        "/v0",
        "/v1/meta/whoami",
        "/v0/nonsense",
        "/v0/nonsense/T",
        "/v0/meta",
        "/v0/meta/Bases",
        "/v0/%6Deta/bases",
        f"/v0/{APP[:-1]}/T",
        f"/v0/{APP}x/T",
        f"/v0/{TBL}/T",
        f"/v0/{APP}/",
        f"/v0/{APP}//{REC}",
        f"/v0//{APP}/T",
        f"/v0/{APP}/T/{REC}/comments/more",
        f"/v0/{APP}/%FF",
        f"/v0/{APP}/a%00b",
        f"/v0/{APP}%2FT",
        "v0/meta/whoami",
        "*",
    ],
)
def test_other_paths_are_no_routes(path: str) -> None:
    with pytest.raises(RouteNotFound):
        ROUTER.match("GET", path.encode("ascii"))


def test_a_path_that_is_not_ascii_is_no_route() -> None:
    with pytest.raises(RouteNotFound):
        ROUTER.match("GET", f"/v0/{APP}/Été".encode())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v0/meta/bases", "GET, POST"),
        ("PATCH", f"/v0/{APP}/T", "GET, POST"),
        ("POST", f"/v0/{APP}/T/{REC}", "GET, PUT"),
        ("GET", f"/v0/{APP}/T/listRecords", "POST, PUT"),
        ("get", "/v0/meta/whoami", "GET"),
    ],
)
def test_another_method_is_told_which_are_allowed(method: str, path: str, allowed: str) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROUTER.match(method, path.encode("ascii"))
    assert caught.value.details == {"method": method, "allowed": allowed}


def test_a_path_is_known_whatever_its_methods_are() -> None:
    assert ROUTER.allowed(f"/v0/{APP}/T/{REC}".encode())
    assert not ROUTER.allowed(b"/v0/nonsense")


def test_a_path_and_a_method_are_answered_or_not() -> None:
    assert ROUTER.answers("GET", f"/v0/{APP}/T/{REC}".encode())
    assert not ROUTER.answers("OPTIONS", f"/v0/{APP}/T/{REC}".encode())
    assert not ROUTER.answers("GET", b"/v0/nonsense")


def test_two_operations_cannot_have_one_method_and_path() -> None:
    with pytest.raises(AssertionError, match="two operations for GET"):
        Router([Operation("a", "GET", "/x/{one}", "a"), Operation("b", "GET", "/x/{other}", "b")])


def test_parameters_may_have_other_names_for_another_method() -> None:
    router = Router([Operation("a", "GET", "/x/{one}", "a"), Operation("b", "POST", "/x/{other}", "b")])
    assert router.match("GET", b"/x/1").parameters == {"one": "1"}
    assert router.match("POST", b"/x/1").parameters == {"other": "1"}


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text))
def test_any_table_name_arrives_when_it_is_quoted(name: str) -> None:
    for safe in ("", "!'()*~"):
        match = ROUTER.match("GET", f"/v0/{APP}/{quote(name, safe=safe)}".encode("ascii"))
        assert match.parameters["table"] == name


@given(st.binary(max_size=60), st.sampled_from([b"/", b"/v0/", f"/v0/{APP}/".encode(), f"/v0/{APP}/T/".encode()]))
def test_any_bytes_are_a_route_or_none(tail: bytes, head: bytes) -> None:
    try:
        match = ROUTER.match("GET", head + tail)
        assert all(match.parameters.values())
    except (RouteNotFound, MethodNotAllowed):
        pass
