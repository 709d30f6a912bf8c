"""What can go wrong around a home and its servers: each is one sentence for the person at the terminal, and what to do."""


class HomeError(Exception):
    """Base of all of them; the text is complete and holds no secret."""


class AlreadyRunning(HomeError):
    """Another process has this home."""


class ServerFailed(HomeError):
    """An embedded server cannot be set up or started."""


class ProcessFailed(HomeError):
    """An application process cannot be started, or ends again and again."""


class PortTaken(HomeError):
    """A port of the platform cannot be listened on."""


class Cancelled(Exception):
    """The start was given up because we were told to stop."""
