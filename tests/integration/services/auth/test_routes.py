"""The public routes of auth, over HTTP through the gateway."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from pyat.foundation.ids import is_id
from pyat.services.auth.contract import SCOPES
from tests.integration.services.api_gateway.harness import (
    BASE,
    OTHER_BASE,
    PASSWORD,
    Answer,
    Platform,
    platform,
    until,
)
from tests.support.servers import ValkeyServer

REFUSED = {"error": {"type": "LOGIN_REFUSED", "message": "Wrong e-mail address or password."}}


async def _login(found: Platform, email: str = "ada@example.com", password: str = PASSWORD) -> Answer:
    return await found.ask("POST", "/api/v1/auth/login", json={"email": email, "password": password})


async def _whoami(found: Platform, token: str) -> Answer:
    return await found.ask("GET", "/v0/meta/whoami", token=token)


async def _create(found: Platform, token: str, **body: Any) -> Answer:
    body = {"name": "made", "scopes": ["data.records:read"], **body}
    return await found.ask("POST", "/api/v1/auth/tokens", token=token, json=body)


async def test_whoami_tells_the_address_only_to_those_who_may_read_it(one: Platform) -> None:
    account = await one.account()
    with_email = await one.token(account)
    without = await one.token(account, scopes=SCOPES - {"user.email:read"})
    assert (await _whoami(one, with_email)).json == {"id": account.user_id, "email": "ada@example.com"}
    assert (await _whoami(one, without)).json == {"id": account.user_id}
    assert (await one.ask("GET", "/v0/meta/whoami")).status == 401


async def test_a_login_starts_a_session_that_logging_out_ends(one: Platform) -> None:
    account = await one.account()
    answer = await _login(one, "ADA@example.com ")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    session = answer.json["token"]
    assert (len(session), is_id("ses", session[:17])) == (82, True)
    assert answer.json["user"] == {"id": account.user_id, "email": "ada@example.com", "name": "Ada"}
    expires_time = datetime.fromisoformat(answer.json["expiresTime"])
    assert 13 <= (expires_time - datetime.now(UTC)).days <= 14
    assert (await _whoami(one, session)).json["email"] == "ada@example.com"

    other = (await _login(one)).json["token"]
    answer = await one.ask("POST", "/api/v1/auth/logout", token=session)
    assert (answer.status, answer.json) == (200, {"id": session[:17], "deleted": True})

    async def is_refused() -> bool:
        return (await _whoami(one, session)).status == 401

    await until(is_refused)
    assert (await _whoami(one, other)).status == 200


async def test_a_token_cannot_log_out(one: Platform) -> None:
    token = await one.token(await one.account())
    answer = await one.ask("POST", "/api/v1/auth/logout", token=token)
    assert (answer.status, answer.json["error"]["type"]) == (403, "INVALID_PERMISSIONS")
    assert (await _whoami(one, token)).status == 200


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(one: Platform) -> None:
    await one.account()
    wrong = await _login(one, password="wrong horse battery")
    unknown = await _login(one, email="nobody@example.com")
    for answer in (wrong, unknown):
        assert (answer.status, answer.json) == (401, REFUSED)
    assert wrong.headers.keys() == unknown.headers.keys()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b'{"email":"ada@example.com"}', 422),
        (b'{"email":1,"password":"x"}', 422),
        (b'{"email":"ada@example.com","password":null}', 422),
        (b'{"email":"","password":""}', 401),
        (b'{"email":"a\\u0000","password":"b\\u0000"}', 401),
        (b'{"email":"' + b"x" * 60_000 + b'","password":"x"}', 401),
        (b'{"email":"ada@example.com","password":"' + b"x" * 60_000 + b'"}', 401),
        (b'{"email":"' + b"x" * 70_000 + b'"}', 413),
    ],
)
async def test_bad_login_bodies_are_refused(one: Platform, body: bytes, status: int) -> None:
    await one.account()
    assert (await one.ask("POST", "/api/v1/auth/login", data=body)).status == status


async def test_after_too_many_failures_an_address_is_refused_for_a_while(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYAT_LOGIN_ATTEMPTS_MAX", "3")
    monkeypatch.setenv("PYAT_LOGIN_WINDOW_S", "2")
    async with platform(postgres_url, valkey_url) as found:
        await found.account()
        await found.account("eve@example.com")
        for _ in range(2):
            assert (await _login(found, password="wrong horse battery")).status == 401
        assert (await _login(found)).status == 200, "a success is no failure"
        for _ in range(3):
            assert (await _login(found, password="wrong horse battery")).status == 401
        answer = await _login(found, "Ada@Example.com")
        assert (answer.status, answer.json["error"]["type"]) == (429, "RATE_LIMIT_REACHED")
        assert 1 <= int(answer.headers["retry-after"]) <= 2
        assert (await _login(found, "eve@example.com")).status == 200
        for _ in range(3):
            assert (await _login(found, "nobody@example.com")).status == 401
        assert (await _login(found, "nobody@example.com")).status == 429, "unknown addresses are counted alike"

        async def is_forgotten() -> bool:
            return (await _login(found)).status == 200

        await until(is_forgotten)


async def test_failures_are_counted_without_valkey_too(
    postgres_url: str, own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYAT_LOGIN_ATTEMPTS_MAX", "3")
    async with platform(postgres_url, own_valkey.url) as found:
        await found.account()
        own_valkey.kill()
        for _ in range(3):
            assert (await _login(found, password="wrong horse battery")).status == 401
        assert (await _login(found)).status == 429


async def test_more_logins_than_can_wait_are_answered_503_for_unknown_addresses_alike(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYAT_ARGON2_MEMORY_KIB", "16384")
    monkeypatch.setenv("PYAT_PASSWORD_CHECKS_MAX", "1")
    monkeypatch.setenv("PYAT_PASSWORD_CHECKS_WAITING_MAX", "2")
    async with platform(postgres_url, valkey_url) as found:
        await found.account()
        for address in ("ada{}@example.com", "nobody{}@example.com"):
            answers = await asyncio.gather(*(_login(found, address.format(number)) for number in range(20)))
            statuses = Counter(answer.status for answer in answers)
            assert statuses.keys() == {401, 503}, "an unknown address takes a turn like a known one"
        assert (await _login(found)).status == 200


async def test_tokens_are_made_listed_and_revoked(one: Platform) -> None:
    account = await one.account()
    session = (await _login(one)).json["token"]
    answer = await _create(
        one,
        session,
        name="sync",
        scopes=["schema.bases:read", "data.records:read"],
        baseIds=[BASE],
        expiresTime="2099-01-31T01:00:00+01:00",
    )
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    made = answer.json
    secret = made.pop("token")
    assert secret.startswith(made["id"] + ".")
    assert made == {
        "id": secret[:17],
        "name": "sync",
        "scopes": ["data.records:read", "schema.bases:read"],
        "baseIds": [BASE],
        "createdTime": made["createdTime"],
        "lastUsedTime": None,
        "expiresTime": "2099-01-31T00:00:00.000Z",
    }
    assert (await _whoami(one, secret)).json == {"id": account.user_id}
    listed = await one.ask("GET", "/api/v1/auth/tokens", token=session)
    assert listed.json == {"tokens": [made]}
    assert secret.encode()[18:] not in listed.body

    answer = await one.ask("DELETE", f"/api/v1/auth/tokens/{made['id']}", token=session)
    assert (answer.status, answer.json) == (200, {"id": made["id"], "deleted": True})
    assert (await one.ask("GET", "/api/v1/auth/tokens", token=session)).json == {"tokens": []}
    again = await one.ask("DELETE", f"/api/v1/auth/tokens/{made['id']}", token=session)
    assert (again.status, again.json["error"]["type"]) == (404, "TOKEN_NOT_FOUND")

    async def is_refused() -> bool:
        return (await _whoami(one, secret)).status == 401

    await until(is_refused)


async def test_tokens_of_others_are_neither_listed_nor_revoked(one: Platform) -> None:
    mine = await one.token(await one.account())
    hers = await one.token(await one.account("eve@example.com"))
    listed = await one.ask("GET", "/api/v1/auth/tokens", token=mine)
    assert [token["id"] for token in listed.json["tokens"]] == [mine[:17]]
    answer = await one.ask("DELETE", f"/api/v1/auth/tokens/{hers[:17]}", token=mine)
    assert answer.status == 404
    assert (await _whoami(one, hers)).status == 200


async def test_a_token_may_revoke_itself(one: Platform) -> None:
    token = await one.token(await one.account())
    assert (await one.ask("DELETE", f"/api/v1/auth/tokens/{token[:17]}", token=token)).status == 200

    async def is_refused() -> bool:
        return (await _whoami(one, token)).status == 401

    await until(is_refused)


async def test_a_token_grants_no_scope_and_no_base_that_it_does_not_hold(one: Platform) -> None:
    account = await one.account()
    held = frozenset({"data.records:read", "schema.bases:read"})
    token = await one.token(account, scopes=held, base_ids=(BASE,))
    for body, words in (
        ({"scopes": ["data.records:read", "data.records:write"]}, "data.records:write"),
        ({"baseIds": [BASE, OTHER_BASE]}, "bases"),
        ({"baseIds": None}, "bases"),
        ({}, "bases"),
    ):
        answer = await _create(one, token, **body)
        assert (answer.status, answer.json["error"]["type"]) == (422, "INVALID_TOKEN_REQUEST")
        assert words in answer.json["error"]["message"]
    answer = await _create(one, token, baseIds=[BASE])
    assert (answer.status, answer.json["scopes"], answer.json["baseIds"]) == (200, ["data.records:read"], [BASE])


async def test_a_token_makes_none_that_outlives_it(one: Platform) -> None:
    await one.account()
    session = (await _login(one)).json["token"]
    short = (await _create(one, session, expiresTime="2090-01-01T00:00:00Z")).json["token"]
    for expires_time in (None, "2090-01-01T00:00:01Z"):
        answer = await _create(one, short, expiresTime=expires_time)
        assert (answer.status, "outlives" in answer.json["error"]["message"]) == (422, True)
    assert (await _create(one, short, expiresTime="2090-01-01T00:00:00Z")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"name": 1},
        {"name": None},
        {"name": ""},
        {"scopes": "data.records:read"},
        {"scopes": None},
        {"scopes": []},
        {"scopes": [1]},
        {"scopes": ["nothing:read"]},
        {"scopes": ["enterprise.account:read"]},
        {"baseIds": BASE},
        {"baseIds": []},
        {"baseIds": ["appX"]},
        {"baseIds": [None]},
        {"expiresTime": "tomorrow"},
        {"expiresTime": 4_000_000_000},
        {"expiresTime": "2099-01-01T00:00:00"},
        {"expiresTime": "2001-01-01T00:00:00Z"},
        {"expiresTime": "0001-01-01T00:00:00+14:00"},
        {"expiresTime": "9999-12-31T23:59:59-14:00"},
    ],
    ids=str,
)
async def test_bad_token_requests_are_refused_and_nothing_is_made(one: Platform, body: dict[str, Any]) -> None:
    await one.account()
    session = (await _login(one)).json["token"]
    answer = await _create(one, session, **body)
    assert (answer.status, answer.json["error"]["type"]) == (422, "INVALID_TOKEN_REQUEST")
    assert answer.json["error"]["message"]
    assert (await one.ask("GET", "/api/v1/auth/tokens", token=session)).json == {"tokens": []}


async def test_a_user_has_a_bounded_number_of_tokens(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYAT_TOKENS_PER_USER_MAX", "2")
    async with platform(postgres_url, valkey_url) as found:
        token = await found.token(await found.account())
        made = await _create(found, token)
        assert made.status == 200
        answer = await _create(found, token)
        assert (answer.status, "2 tokens" in answer.json["error"]["message"]) == (422, True)
        await found.ask("DELETE", f"/api/v1/auth/tokens/{made.json['id']}", token=token)
        assert (await _create(found, token)).status == 200
