"""The signed identity between processes: what was signed comes back, anything else is refused."""

import base64
import dataclasses
import string
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.errors import AuthenticationRequired
from pyat.foundation.identity import LIFETIME_S, Principal, Signer
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId

KEY = b"0123456789abcdef0123456789abcdef"
PRINCIPAL = Principal(
    user_id=UserId("usrABCDEFGHIJKLMN"),
    tenant_id=TenantId("tenABCDEFGHIJKLMN"),
    email="ada@example.com",
    name="Ada Lovelace",
    credential_id=TokenId("patABCDEFGHIJKLMN"),
    kind="token",
    scopes=frozenset({"data.records:read", "data.records:write"}),
    base_ids=frozenset({BaseId("appABCDEFGHIJKLMN")}),
)

principals = st.builds(
    Principal,
    user_id=st.text().map(UserId),
    tenant_id=st.text().map(TenantId),
    email=st.text(),
    name=st.text(),
    credential_id=st.none() | st.text().map(TokenId),
    kind=st.sampled_from(["token", "session", "service"]),
    scopes=st.frozensets(st.text()),
    base_ids=st.none() | st.frozensets(st.text().map(BaseId)),
)


@given(principals, st.text())
def test_a_signed_principal_comes_back(principal: Principal, request_id: str) -> None:
    signer = Signer(KEY)
    assert signer.verify(signer.sign(principal, request_id=request_id)) == principal


@given(principals)
def test_the_header_is_plain_ascii_without_blanks(principal: Principal) -> None:
    allowed = set(string.ascii_letters + string.digits + "+/=.")
    assert set(Signer(KEY).sign(principal, request_id="r")) <= allowed


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_what_nobody_signed_is_refused(header: str) -> None:
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(header)


@given(st.data())
def test_one_changed_character_is_refused(data: st.DataObject) -> None:
    header = Signer(KEY).sign(PRINCIPAL, request_id="r")
    at = data.draw(st.integers(0, len(header) - 1))
    other = data.draw(
        st.sampled_from(string.ascii_letters + string.digits + ".").filter(lambda sign: sign != header[at])
    )
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(header[:at] + other + header[at + 1 :])


@given(st.data())
def test_a_cut_header_is_refused(data: st.DataObject) -> None:
    header = Signer(KEY).sign(PRINCIPAL, request_id="r")
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(header[: data.draw(st.integers(0, len(header) - 1))])


def test_a_payload_with_more_power_and_the_old_signature_is_refused() -> None:
    header = Signer(KEY).sign(PRINCIPAL, request_id="r")
    text, _, mac = header.partition(".")
    payload = orjson.loads(base64.b64decode(text))
    assert payload[7] == "token"
    payload[7] = "service"
    forged = base64.b64encode(orjson.dumps(payload)).decode()
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(f"{forged}.{mac}")


def test_another_installations_signature_is_refused() -> None:
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(Signer(KEY[::-1]).sign(PRINCIPAL, request_id="r"))


def test_an_identity_ends_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    header = Signer(KEY).sign(PRINCIPAL, request_id="r")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LIFETIME_S - 2)
    assert Signer(KEY).verify(header) == PRINCIPAL
    monkeypatch.setattr(time, "time", lambda: now + LIFETIME_S + 2)
    with pytest.raises(AuthenticationRequired):
        Signer(KEY).verify(header)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(AssertionError, match="32 bytes"):
        Signer(b"short")


def test_a_scope_implies_no_other() -> None:
    assert PRINCIPAL.may("data.records:read")
    assert not PRINCIPAL.may("data.records")
    assert not PRINCIPAL.may("schema.bases:read")


def test_a_list_of_bases_limits_and_none_does_not() -> None:
    named, other = BaseId("appABCDEFGHIJKLMN"), BaseId("appNMLKJIHGFEDCBA")
    assert PRINCIPAL.reaches(named)
    assert not PRINCIPAL.reaches(other)
    assert dataclasses.replace(PRINCIPAL, base_ids=None).reaches(other)
    assert not dataclasses.replace(PRINCIPAL, base_ids=frozenset()).reaches(named)
