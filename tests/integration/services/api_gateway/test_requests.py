"""One request through the gateway: who may, what is refused, and what every answer carries."""

import gzip
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest
from starlette.responses import Response
from starlette.types import Scope
from structlog.testing import capture_logs

from pyat.foundation.errors import NO_PERMISSION_OR_MODEL
from pyat.foundation.settings import PlatformSettings
from pyat.foundation.web import BODY_BYTES_MAX, internal_route
from pyat.services.api_gateway.contract import Document, Page
from pyat.services.auth.contract import SCOPES
from tests.integration.services.api_gateway.harness import (
    BASE,
    ECHO_HEALTH,
    OTHER_BASE,
    Platform,
    platform,
    send_raw,
)

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "DELETE,GET,OPTIONS,PATCH,POST,PUT",
    "access-control-allow-headers": "authorization,content-length,content-type,user-agent,x-airtable-application-id,"
    "x-airtable-user-agent,x-api-version,x-requested-with",
}
NOT_FOUND = {"error": "NOT_FOUND"}
AUTHENTICATION_REQUIRED = {"error": {"type": "AUTHENTICATION_REQUIRED", "message": "Authentication required"}}
UNAUTHORIZED = {"error": {"type": "UNAUTHORIZED", "message": "Invalid authentication token"}}
NOT_PERMITTED = {"error": {"type": "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND", "message": NO_PERMISSION_OR_MODEL}}
UNKNOWN_TOKEN = "pat" + "A" * 14 + "." + "0" * 64


async def test_a_permitted_request_reaches_the_service(one: Platform) -> None:
    account = await one.account()
    token = await one.token(account)
    answer = await one.ask("GET", f"/v0/{BASE}/A%2FB%20c/?fields%5B%5D=x&y=1+2", token=token)
    assert answer.status == 200
    seen = answer.json
    assert seen["parameters"] == {"base_id": BASE, "table": "A/B c"}
    assert seen["raw_path"] == f"/v0/{BASE}/A%2FB%20c/"
    assert seen["query"] == "fields%5B%5D=x&y=1+2"
    assert seen["user_id"] == account.user_id


async def test_every_answer_carries_airtables_headers(one: Platform) -> None:
    token = await one.token(await one.account())
    for answer in (
        await one.ask("GET", f"/v0/{BASE}/T", token=token),
        await one.ask("GET", f"/v0/{BASE}/T"),
        await one.ask("GET", "/nowhere"),
        await one.ask("PATCH", f"/v0/{BASE}/T", token=token),
        await one.ask("GET", "/api/v1/echo/fail", token=token),
    ):
        assert {name: answer.headers.get(name) for name in CORS} == CORS
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["x-request-id"]
        assert "www-authenticate" not in answer.headers


async def test_a_preflight_needs_no_credentials(one: Platform) -> None:
    answer = await one.ask("OPTIONS", f"/v0/{BASE}/T", headers={"Origin": "https://example.com"})
    assert (answer.status, answer.body) == (200, b"")
    assert {name: answer.headers.get(name) for name in CORS} == CORS


async def test_a_sane_request_id_is_kept_and_reaches_the_service(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("GET", f"/v0/{BASE}/T", token=token, headers={"X-Request-Id": "abc-1.2_3"})
    assert answer.headers["x-request-id"] == answer.json["request_id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["has space", "x" * 129, 'quote"', "ü"])
async def test_another_request_id_is_replaced(one: Platform, given: str) -> None:
    answer = await one.ask("GET", "/nowhere", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] not in ("", given)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer garbage",
        "Bearer keyAAAAAAAAAAAAAA",
        "Basic dXNlcjpwYXNz",
        "Token " + UNKNOWN_TOKEN,
        UNKNOWN_TOKEN,
        "Bearer " + UNKNOWN_TOKEN + "0",
        "Bearer " + UNKNOWN_TOKEN[:-1],
        "Bearer " + UNKNOWN_TOKEN[:-1] + "g",
        "Bearer " + "key" + UNKNOWN_TOKEN[3:],
        "Bearer " + UNKNOWN_TOKEN[:17] + "_" + UNKNOWN_TOKEN[18:],
        "Bearer " + UNKNOWN_TOKEN[:10] + "/" + UNKNOWN_TOKEN[11:],
        "Bearer " + "\u00e9" * 82,
    ],
)
async def test_what_is_not_a_credential_is_answered_401_authentication_required(
    one: Platform, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await one.ask("GET", f"/v0/{BASE}/T", headers=headers)
    assert (answer.status, answer.json) == (401, AUTHENTICATION_REQUIRED)


async def test_an_api_key_in_the_query_is_no_credential(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("GET", f"/v0/{BASE}/T?api_key={token}")
    assert (answer.status, answer.json) == (401, AUTHENTICATION_REQUIRED)


@pytest.mark.parametrize("kind", ["pat", "ses"])
async def test_an_unknown_credential_is_answered_401_unauthorized(one: Platform, kind: str) -> None:
    for _ in range(2):  # the second time from the memory of unknown ones
        answer = await one.ask("GET", f"/v0/{BASE}/T", token=kind + UNKNOWN_TOKEN[3:])
        assert (answer.status, answer.json) == (401, UNAUTHORIZED)


async def test_the_scheme_is_read_without_regard_to_case(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("GET", f"/v0/{BASE}/T", headers={"Authorization": f"bEARER {token}"})
    assert answer.status == 200


async def test_a_missing_scope_is_answered_403_as_if_nothing_were_there(one: Platform) -> None:
    token = await one.token(await one.account(), scopes=SCOPES - {"data.records:write"})
    assert (await one.ask("GET", f"/v0/{BASE}/T", token=token)).status == 200
    answer = await one.ask("POST", f"/v0/{BASE}/T", token=token, data=b"{}")
    assert (answer.status, answer.json) == (403, NOT_PERMITTED)


async def test_a_base_outside_the_tokens_list_is_answered_403(one: Platform) -> None:
    token = await one.token(await one.account(), base_ids=(BASE,))
    assert (await one.ask("GET", f"/v0/{BASE}/T", token=token)).status == 200
    for path in (f"/v0/{OTHER_BASE}/T", f"/v0/meta/bases/{OTHER_BASE}/tables"):
        answer = await one.ask("GET", path, token=token)
        assert (answer.status, answer.json) == (403, NOT_PERMITTED)


@pytest.mark.parametrize(
    "path",
    ["/", "/v0", "/v0/nonsense", "/v0/appTooShort/T", "/v0/tblAAAAAAAAAAAAAA/T", f"/v0/{BASE}/%ff", f"/v0/{BASE}/a/b"],
)
async def test_an_undefined_route_is_a_bare_404_without_credentials_too(one: Platform, path: str) -> None:
    answer = await one.ask("GET", path)
    assert (answer.status, answer.json) == (404, NOT_FOUND)


async def test_another_method_is_answered_405_with_those_that_are_allowed(one: Platform) -> None:
    answer = await one.ask("PUT", f"/v0/{BASE}/T")
    assert (answer.status, answer.json["error"]["type"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "DELETE, GET, POST"


async def test_a_public_operation_ignores_credentials(one: Platform) -> None:
    for token in (None, "garbage"):
        answer = await one.ask("GET", "/api/v1/echo/public", token=token)
        assert (answer.status, answer.json["user_id"]) == (200, None)


async def test_a_failure_of_a_service_is_a_500_with_the_request_id(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("GET", "/api/v1/echo/fail", token=token, headers={"X-Request-Id": "find-me"})
    assert (answer.status, answer.json["error"]["type"]) == (500, "SERVER_ERROR")
    assert answer.headers["x-request-id"] == "find-me"
    assert b"ZeroDivision" not in answer.body


async def test_urls_up_to_16384_bytes_are_taken_and_longer_ones_answered_414(one: Platform) -> None:
    token = await one.token(await one.account())
    start = f"/v0/{BASE}/T?f="
    answer = await one.ask("GET", start + "x" * (16_384 - len(start)), token=token)
    assert answer.status == 200
    answer = await one.ask("GET", start + "x" * (16_385 - len(start)), token=token)
    assert (answer.status, answer.json["error"]["type"]) == (414, "INVALID_REQUEST_UNKNOWN")
    assert "POST" in answer.json["error"]["message"]


async def test_headers_over_64_kib_are_answered_431(one: Platform) -> None:
    token = await one.token(await one.account())
    few = {f"X-Padding-{number}": "x" * 8_000 for number in range(7)}
    assert (await one.ask("GET", f"/v0/{BASE}/T", token=token, headers=few)).status == 200
    many = {f"X-Padding-{number}": "x" * 8_000 for number in range(9)}
    answer = await one.ask("GET", f"/v0/{BASE}/T", token=token, headers=many)
    assert (answer.status, answer.json["error"]["type"]) == (431, "INVALID_REQUEST_UNKNOWN")


async def test_a_declared_body_over_the_limit_is_answered_413_before_it_is_read(one: Platform) -> None:
    token = await one.token(await one.account())
    head = (
        f"POST /v0/{BASE}/T HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
    ).encode()
    status, answer = await send_raw(one.url, head)  # the body is never sent
    assert (status, b"REQUEST_TOO_LARGE" in answer) == (413, True)


async def test_a_chunked_body_is_answered_413_once_it_is_over_the_limit(one: Platform) -> None:
    token = await one.token(await one.account())
    head = (
        f"POST /v0/{BASE}/T HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    status, answer = await send_raw(one.url, head, *[chunk] * 7)  # it never ends
    assert (status, b"REQUEST_TOO_LARGE" in answer) == (413, True)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_up_to_the_limit_is_taken(one: Platform, is_chunked: bool) -> None:
    token = await one.token(await one.account())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"x" * (BODY_BYTES_MAX // 6)

    data = pieces() if is_chunked else io.BytesIO(b"x" * BODY_BYTES_MAX)
    answer = await one.ask("POST", f"/v0/{BASE}/T", token=token, data=data)
    assert (answer.status, answer.json["body_bytes"]) == (200, BODY_BYTES_MAX)


async def test_after_a_refused_body_the_connection_goes_on(one: Platform) -> None:
    token = await one.token(await one.account())
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        for _ in range(2):
            async with session.post(
                one.url + f"/v0/{BASE}/T",
                data=io.BytesIO(b"x" * (BODY_BYTES_MAX + 1)),
                headers={"Authorization": f"Bearer {token}"},
            ) as response:
                assert response.status == 413


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(one: Platform) -> None:
    token = await one.token(await one.account())
    head = f"POST /v0/{BASE}/T HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\nhalf"
    with pytest.raises(TimeoutError):
        await send_raw(one.url, head.encode(), limit_s=0.2)
    assert (await one.ask("GET", f"/v0/{BASE}/T", token=token)).status == 200


async def test_bodies_of_a_kibibyte_are_compressed_when_asked(one: Platform) -> None:
    token = await one.token(await one.account())
    path = f"/v0/{BASE}/T?pad={'x' * 2_000}"
    plain = await one.ask("GET", path, token=token, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    packed = await one.ask("GET", path, token=token, headers={"Accept-Encoding": "deflate, gzip;q=0.8"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(packed.body) < len(plain.body)
    assert b'"padding":"xxxx' in gzip.decompress(packed.body)
    refused = await one.ask("GET", path, token=token, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    small = await one.ask("GET", "/nowhere", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers


async def test_a_large_body_is_compressed_too(one: Platform) -> None:
    token = await one.token(await one.account())
    body = b"0123456789" * 100_000
    answer = await one.ask("POST", "/api/v1/echo/bytes", token=token, data=body, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers, "bytes of an unknown kind may be compressed already"
    assert answer.body == body
    answer = await one.ask(
        "GET", "/api/v1/echo/stream?pieces=100&length=1", token=token, headers={"Accept-Encoding": "gzip"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b"".join(b"%06d\n" % number * 1000 for number in range(100))


async def test_a_stream_of_unknown_length_passes_as_it_comes(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("GET", "/api/v1/echo/stream?pieces=3", token=token, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert (answer.headers["x-frame-options"], len(answer.body)) == ("DENY", 21_000)


async def test_pages_are_shown_without_credentials(postgres_url: str, valkey_url: str) -> None:
    async def health(scope: Scope) -> Response:
        found = await internal_route(scope, ECHO_HEALTH)
        assert found is not None
        return found

    pages: dict[str, Page] = {
        "/openapi.json": Document(b'{"openapi":"3.1.0"}', "application/json"),
        "/health/ready": health,
    }
    async with platform(postgres_url, valkey_url, pages=pages) as found:
        answer = await found.ask("GET", "/openapi.json")
        assert (answer.status, answer.json) == (200, {"openapi": "3.1.0"})
        assert (await found.ask("HEAD", "/openapi.json")).body == b""
        answer = await found.ask("GET", "/health/ready")
        assert (answer.status, answer.json["services"]["echo"]["ready"]) == (200, True)
        answer = await found.ask("POST", "/openapi.json")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_logs_name_the_request_and_never_the_credential(postgres_url: str, valkey_url: str) -> None:
    with capture_logs() as logs:
        async with platform(postgres_url, valkey_url, platform_settings=PlatformSettings(log_requests=True)) as found:
            account = await found.account()
            token = await found.token(account)
            await found.ask("GET", f"/v0/{BASE}/Secret?q=cell", token=token, headers={"X-Request-Id": "good"})
            await found.ask("GET", "/api/v1/echo/fail", token=token, headers={"X-Request-Id": "bad"})
            await found.ask("GET", f"/v0/{BASE}/T", token=UNKNOWN_TOKEN, headers={"X-Request-Id": "unknown"})
    requests = {line["request_id"]: line for line in logs if line["event"] == "request"}
    assert {name: line["status"] for name, line in requests.items()} == {"good": 200, "bad": 500, "unknown": 401}
    assert requests["good"]["user_id"] == account.user_id
    assert requests["bad"]["log_level"] == "error"
    for secret in (token[18:], UNKNOWN_TOKEN, "Secret", "cell"):
        assert secret not in str(logs)


async def test_only_failures_are_logged_unless_asked_otherwise(one: Platform) -> None:
    token = await one.token(await one.account())
    with capture_logs() as logs:
        await one.ask("GET", f"/v0/{BASE}/T", token=token)
        await one.ask("GET", "/nowhere")
        await one.ask("GET", "/api/v1/echo/fail", token=token, headers={"X-Request-Id": "bad"})
    assert [line["request_id"] for line in logs if line["event"] == "request"] == ["bad"]
