"""When a service that fails is left alone, on a clock that is moved by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pyat.foundation.errors import ServiceUnavailable
from pyat.services.api_gateway.service.breaker import Breaker


@dataclass
class Hands:
    """A clock that stands still."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def _breaker(now_s: Callable[[], float]) -> Breaker:
    return Breaker(failures_max=3, pause_ms=500, now_s=now_s)


def _fail(breaker: Breaker, count: int) -> None:
    for _ in range(count):
        breaker.enter()
        breaker.failed()


def _passes(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except ServiceUnavailable:
        return False
    return True


def test_failures_in_a_row_open_it() -> None:
    breaker = _breaker(Hands())
    _fail(breaker, 2)
    breaker.succeeded()
    _fail(breaker, 2)
    assert (breaker.is_open, _passes(breaker)) == (False, True)
    _fail(breaker, 1)
    assert breaker.is_open
    with pytest.raises(ServiceUnavailable):
        breaker.enter()


def test_one_probe_passes_in_each_pause() -> None:
    hands = Hands()
    breaker = _breaker(hands)
    _fail(breaker, 3)
    hands.now_s += 0.49
    assert not _passes(breaker)
    hands.now_s += 0.01
    assert [_passes(breaker) for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert not _passes(breaker)
    hands.now_s += 0.5
    assert [_passes(breaker) for _ in range(3)] == [True, False, False]


def test_a_probe_that_does_not_come_back_does_not_keep_it_open() -> None:
    hands = Hands()
    breaker = _breaker(hands)
    _fail(breaker, 3)
    for _ in range(3):
        hands.now_s += 0.5
        assert [_passes(breaker), _passes(breaker)] == [True, False]


def test_the_first_success_closes_it() -> None:
    hands = Hands()
    breaker = _breaker(hands)
    _fail(breaker, 3)
    hands.now_s += 0.5
    breaker.enter()
    breaker.succeeded()
    assert (breaker.is_open, [_passes(breaker) for _ in range(5)]) == (False, [True] * 5)


def test_failures_of_requests_that_were_under_way_do_not_lengthen_the_pause() -> None:
    hands = Hands()
    breaker = _breaker(hands)
    for _ in range(10):
        breaker.enter()
    for _ in range(10):
        hands.now_s += 0.04
        breaker.failed()
    hands.now_s += 0.25
    assert _passes(breaker)
