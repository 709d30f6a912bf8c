"""When to leave a service that fails alone, and when to try it again."""

import time
from collections.abc import Callable

from pyat.foundation.errors import ServiceUnavailable


class Breaker:
    """Closed, requests pass. After some failures in a row it opens: one request in each pause passes as a probe, the
    others fail at once. The first success closes it.

    A probe is given up after one pause, not waited for: a slow one must not keep a service out that works again.
    """

    def __init__(self, *, failures_max: int, pause_ms: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_ms / 1000
        self._now_s = now_s
        self._failures = 0
        self._probe_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether requests are refused now, but for probes."""
        return self._failures >= self._failures_max

    def enter(self) -> None:
        """Ask to pass. Raises ServiceUnavailable."""
        if self._failures < self._failures_max:
            return
        now_s = self._now_s()
        if now_s < self._probe_s:
            raise ServiceUnavailable
        self._probe_s = now_s + self._pause_s

    def succeeded(self) -> None:
        """The service answered, whatever it said."""
        self._failures = 0

    def failed(self) -> None:
        """No connection, a broken one, or no answer in time."""
        self._failures += 1
        if self._failures == self._failures_max:
            self._probe_s = self._now_s() + self._pause_s
