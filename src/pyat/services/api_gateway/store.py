"""The counters of the rate limits in Valkey: GCRA, both limits of a request in one round trip.

GCRA keeps one number for each limit, the moment at which all requests so far would have been due at the allowed rate
("theoretical arrival time"). A request is refused when that moment is more than one second's worth ahead of now.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from valkey.exceptions import NoScriptError, ValkeyError

from pyat.foundation.cache import Cache, CacheUnavailable
from pyat.foundation.errors import ServiceUnavailable

# Times are microseconds of Valkey's own clock, so that processes need not agree on the time. A stored number is the
# theoretical arrival time; a negative one is the end of a penalty. KEYS: the user's, then the base's where there is one.
_SCRIPT = """
local intervals = {%(user_interval_us)d, %(base_interval_us)d}
local rates = {%(user_per_s)d, %(base_per_s)d}
local penalty_us = %(penalty_us)d
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored = redis.call('MGET', unpack(KEYS))
local due = {}
local tightest, least, reset_us = 1, nil, 0
for i = 1, #KEYS do
  local at = tonumber(stored[i]) or now
  if at < 0 then
    if -at > now then return {1, i, 0, -at - now, -at - now} end
    at = now
  elseif at < now then
    at = now
  end
  local next_at = at + intervals[i]
  local room_us = now + rates[i] * intervals[i] - next_at
  if room_us < 0 then
    if penalty_us > 0 then
      redis.call('SET', KEYS[i], string.format('%%.0f', -(now + penalty_us)), 'PX', penalty_us / 1000)
      return {1, i, 0, penalty_us, penalty_us}
    end
    return {1, i, 0, at - now, -room_us}
  end
  due[i] = next_at
  local left = math.floor(room_us / intervals[i])
  if least == nil or left < least then
    tightest, least, reset_us = i, left, next_at - now
  end
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%%.0f', due[i]), 'PX', math.ceil((due[i] - now) / 1000))
end
return {0, tightest, least, reset_us, 0}
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second, and the seconds of refusals that follow one too many (0: none)."""

    user_per_s: int
    base_per_s: int
    penalty_s: int


class Reading(NamedTuple):
    """What the counters say about one request; the figures are those of the limit that is nearest to its end."""

    is_refused: bool
    limit: int
    """Requests per second of that limit."""
    remaining: int
    reset_us: int
    """Until that limit is whole again."""
    retry_us: int
    """Until a refused request would pass."""


class LimitStore:
    """Counts requests. A refused request is not counted, so a client that keeps trying gets through at the allowed rate."""

    def __init__(self, cache: Cache, rates: Rates) -> None:
        self._cache = cache
        self._rates = (rates.user_per_s, rates.base_per_s)
        self._script = _SCRIPT % {
            "user_interval_us": max(1, 1_000_000 // rates.user_per_s),
            "base_interval_us": max(1, 1_000_000 // rates.base_per_s),
            "user_per_s": rates.user_per_s,
            "base_per_s": rates.base_per_s,
            "penalty_us": rates.penalty_s * 1_000_000,
        }
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()

    async def count(self, *keys: str) -> Reading:
        """Count a request by its user's key and, with a second one, its base's; keys share one hash tag.

        Raises ServiceUnavailable when Valkey is away or refuses; then nothing is known.
        """
        try:
            try:
                answer = await self._cache.call("EVALSHA", self._sha, len(keys), *keys)
            except NoScriptError:
                # Valkey started anew, or somebody flushed its scripts.
                await self._cache.call("SCRIPT", "LOAD", self._script)
                answer = await self._cache.call("EVALSHA", self._sha, len(keys), *keys)
        except (CacheUnavailable, ValkeyError) as error:
            raise ServiceUnavailable from error
        is_refused, tightest, remaining, reset_us, retry_us = answer
        return Reading(is_refused == 1, self._rates[tightest - 1], remaining, reset_us, retry_us)
