"""Time as Airtable writes it, and a clock for tests."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.clock import SteppedClock, SystemClock, monotonic_ms, wire_time


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00.000Z"),
        (datetime(2024, 1, 1, 12, 30, 5, 999_999, tzinfo=UTC), "2024-01-01T12:30:05.999Z"),
        (datetime(2024, 1, 1, 12, 30, 5, 999, tzinfo=UTC), "2024-01-01T12:30:05.000Z"),
        (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=45))), "2023-12-31T20:15:00.000Z"),
        (datetime(12, 3, 4, tzinfo=UTC), "0012-03-04T00:00:00.000Z"),
    ],
)
def test_wire_time_is_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert wire_time(moment) == text


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_wire_time_reads_back_to_the_millisecond(moment: datetime) -> None:
    text = wire_time(moment)
    assert len(text) == 24
    assert datetime.fromisoformat(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_the_system_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_a_stepped_clock_moves_only_when_told() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    clock = SteppedClock(start)
    assert clock.now() == clock.now() == start
    clock.set(start - timedelta(days=1))
    assert clock.now() == start - timedelta(days=1)


def test_the_monotonic_clock_never_goes_back() -> None:
    readings = [monotonic_ms() for _ in range(100)]
    assert readings == sorted(readings)
