"""Rate limits of a request, as headers for its answer."""

from pyat.foundation.errors import ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.telemetry import LIMITED, LIMITER_DOWN
from pyat.services.api_gateway.settings import GatewaySettings
from pyat.services.api_gateway.store import LimitStore, Rates

Headers = tuple[tuple[bytes, bytes], ...]

_AIRTABLE = Rates(user_per_s=50, base_per_s=5, penalty_s=30)
"""Wire reference, section 3."""

_limited = LIMITED.labels("api_gateway")
_limiter_down = LIMITER_DOWN.labels("api_gateway")


def rates_of(settings: GatewaySettings) -> Rates | None:
    """The limits that the settings ask for; None where they are off."""
    if settings.rate_limits == "off":
        return None
    if settings.rate_limits == "airtable":
        return _AIRTABLE
    return Rates(settings.rate_limit_user_per_s, settings.rate_limit_base_per_s, settings.rate_limit_penalty_s)


class Limits:
    """Counts requests; while Valkey is away or hangs, lets them through and says so in a metric.

    After a failure one request at a time tries Valkey, and the others do not wait for it.
    """

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self._is_suspect = False
        self._is_trying = False

    async def check(self, principal: Principal, base_id: str | None) -> tuple[Headers, int]:
        """Count a request of a user, and to a base unless it is None.

        Returns the answer's `RateLimit-*` headers (none while Valkey is away) and the seconds to wait: 0 lets it through.
        """
        if self._is_suspect:
            if self._is_trying:
                _limiter_down.inc()
                return (), 0
            self._is_trying = True
        # One user's keys share a hash tag, so that both are on one node of a cluster. A base is counted within its
        # tenant: strangers who guess its id use up nothing of it.
        user_key = f"pyat:limit:{{{principal.tenant_id}}}:{principal.user_id}"
        try:
            if base_id is None:
                reading = await self._store.count(user_key)
            else:
                reading = await self._store.count(user_key, f"pyat:limit:{{{principal.tenant_id}}}:{base_id}")
        except ServiceUnavailable:
            self._is_suspect = True
            _limiter_down.inc()
            return (), 0
        finally:
            self._is_trying = False
        self._is_suspect = False
        headers = (
            (b"ratelimit-limit", b"%d" % reading.limit),
            (b"ratelimit-remaining", b"%d" % reading.remaining),
            (b"ratelimit-reset", b"%d" % -(-reading.reset_us // 1_000_000)),
        )
        if not reading.is_refused:
            return headers, 0
        _limited.inc()
        return headers, max(1, -(-reading.retry_us // 1_000_000))
