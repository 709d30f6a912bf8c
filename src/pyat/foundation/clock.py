"""Time as a value that is passed in, so that rules about time can be tested without waiting."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where code that depends on the time of day reads it."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


class SteppedClock:
    """A clock that stands still until told to move; for tests of expiry and ordering."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time it was last set to."""
        return self._now

    def set(self, moment: datetime) -> None:
        """Move to `moment`, forwards or backwards."""
        self._now = moment


def wire_time(moment: datetime) -> str:
    """Airtable's form of a moment: `2024-01-01T00:00:00.000Z` (UTC, milliseconds; wire reference, section 1.3)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def monotonic_ms() -> float:
    """Milliseconds of a clock that never goes back; only differences mean anything."""
    return time.monotonic() * 1000
