"""What the gateway reads from a request and how an answer goes out, without a server."""

import asyncio
import zlib

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from pyat.foundation.errors import BodyTooLarge
from pyat.foundation.web import ready_json
from pyat.services.api_gateway.routes import DISCARDED_BYTES_MAX, Sender, bounded, discard, request_id, wants_gzip
from pyat.services.api_gateway.service.limits import rates_of
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.api_gateway.store import Rates

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


@pytest.mark.parametrize("given", [b"a", b"3f2c-9A_x.1", b"x" * 128])
def test_a_plain_request_id_is_kept(given: bytes) -> None:
    assert request_id(given) == given.decode()


@pytest.mark.parametrize("given", [None, b"", b"a b", b"a\tb", b'"', b"\xff", b"x" * 129, b"a\r\nb"])
def test_any_other_request_id_is_replaced_by_a_new_one(given: bytes | None) -> None:
    made = {request_id(given) for _ in range(10)}
    assert len(made) == 10
    assert all(request_id(name.encode()) == name for name in made)


@pytest.mark.parametrize(
    ("header", "is_wanted"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZip", True),
        (b"gzip, deflate, br", True),
        (b"deflate,gzip;q=1.0, *;q=0.5", True),
        (b"identity, gzip ;q=0.1", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"deflate, br", False),
        (b"x-gzip-like", False),
    ],
)
def test_gzip_is_used_only_for_those_who_ask(header: bytes, is_wanted: bool) -> None:
    assert wants_gzip(header) is is_wanted


async def test_a_body_of_unknown_length_is_bounded_and_its_rest_is_read() -> None:
    left = 50

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"12345", "more_body": left > 0}

    guarded = bounded(receive, 10)
    assert [len((await guarded())["body"]) for _ in range(2)] == [5, 5]
    with pytest.raises(BodyTooLarge):
        await guarded()
    # A client that still sends would never see why it was refused.
    assert left == 0


async def test_reading_the_rest_of_a_refused_body_ends() -> None:
    sent = 0

    async def receive() -> Message:
        nonlocal sent
        sent += 1024 * 1024
        return {"type": "http.request", "body": b"x" * 1024 * 1024, "more_body": True}

    await discard(receive)
    assert sent == DISCARDED_BYTES_MAX


async def _sent(response: Response, *, is_gzip_wanted: bool = True) -> tuple[list[tuple[bytes, bytes]], bytes]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()  # the client stays
        return {"type": "http.disconnect"}

    await Sender(GatewaySettings()).send(
        response, [(b"x-own", b"1")], is_gzip_wanted=is_gzip_wanted, scope=SCOPE, receive=receive, send=send
    )
    return messages[0]["headers"], b"".join(message.get("body", b"") for message in messages[1:])


async def test_the_lengths_that_are_sent_are_those_of_the_bodies() -> None:
    body = b'{"a":"' + b"x" * 2_000 + b'"}'
    for is_gzip_wanted in (False, True):
        headers, sent = await _sent(ready_json(body), is_gzip_wanted=is_gzip_wanted)
        lengths = [int(value) for name, value in headers if name == b"content-length"]
        assert lengths == [len(sent)]
        assert ((b"content-encoding", b"gzip") in headers) is is_gzip_wanted
        assert (zlib.decompress(sent, 31) if is_gzip_wanted else sent) == body
        assert headers[-1] == (b"x-own", b"1")


@pytest.mark.parametrize(
    ("size", "headers", "is_packed"),
    [
        (1_023, {"content-type": "application/json"}, False),
        (1_024, {"content-type": "application/json"}, True),
        (300_000, {"content-type": "text/csv; charset=utf-8"}, True),
        (2_000, {"content-type": "image/png"}, False),
        (2_000, {}, False),
        (2_000, {"content-type": "text/plain", "content-encoding": "br"}, False),
    ],
)
async def test_only_what_gains_by_it_is_compressed(size: int, headers: dict[str, str], is_packed: bool) -> None:
    sent_headers, sent = await _sent(Response(b"x" * size, headers=headers))
    assert ((b"content-encoding", b"gzip") in sent_headers) is is_packed
    assert (len(sent) < size) is is_packed


async def test_a_compressed_stream_is_whole() -> None:
    pieces = [b"x" * 700, b"y" * 700, b"", b"z"]
    response = StreamingResponse(iter(pieces), headers={"content-type": "text/plain", "content-length": "1401"})

    headers, sent = await _sent(response)
    assert (b"content-encoding", b"gzip") in headers
    assert b"content-length" not in dict(headers)
    assert zlib.decompress(sent, 31) == b"".join(pieces)


def test_the_setting_chooses_the_limits() -> None:
    assert rates_of(GatewaySettings(rate_limits="off")) is None
    assert rates_of(GatewaySettings(rate_limits="airtable", rate_limit_user_per_s=7)) == Rates(50, 5, 30)
    own = GatewaySettings(rate_limit_user_per_s=7, rate_limit_base_per_s=8, rate_limit_penalty_s=9)
    assert rates_of(own) == Rates(7, 8, 9)
    assert GatewaySettings().rate_limits == "on"
