"""Builds auth from what the process gives it."""

from pyat.foundation.service import Peers, Resources, Service
from pyat.foundation.web import Health
from pyat.services.auth.routes import OPERATIONS, AuthRoutes
from pyat.services.auth.service import AuthService
from pyat.services.auth.settings import AuthSettings
from pyat.services.auth.store import AuthStore, LoginAttempts
from pyat.services.auth.worker import timed_work


def build(resources: Resources, peers: Peers) -> Service:
    """The service `auth`; it needs no peers."""
    settings = AuthSettings()
    service = AuthService(
        AuthStore(resources.database),
        LoginAttempts(resources.cache, attempts_max=settings.login_attempts_max, window_s=settings.login_window_s),
        resources.bus,
        resources.clock,
        settings,
    )
    return Service(
        name="auth",
        implementation=service,
        operations=OPERATIONS,
        handlers=AuthRoutes(service).handlers(),
        health=Health("auth", {"database": resources.database.is_ready}),
        lifespan=lambda: timed_work(service),
    )
