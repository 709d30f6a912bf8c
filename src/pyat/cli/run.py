"""`pyat run`: a program whose requests to Airtable's hosts go to the platform."""

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

from pyat import redirect
from pyat.assembly.embedded.home import Home
from pyat.foundation.settings import PlatformSettings

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what is listened on, turned into what is called


def prepared(
    settings: PlatformSettings, *, url: str | None, token: str | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """The program's environment.

    Without `url` the platform that runs on the home is meant. Without `token` the program keeps the one in its
    AIRTABLE_API_KEY; where it has none, it gets the administrator's that the first start of this home made.
    Raises ValueError, with a sentence for the person at the terminal.
    """
    home = Home(settings.home)
    running = _running_url(home)
    if url is None and running is None:
        raise ValueError(
            f"PyAirtable does not run on {home.path}: start it with `pyat up`, or name a platform with --url."
        )
    checked = redirect.checked_url(url if url is not None else str(running))
    if token is None and not environ.get("AIRTABLE_API_KEY") and checked == running:
        token = home.credentials().get("token")
    return redirect.environment(environ, url=checked, token=token)


def become(command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Replace this process by the program, so that signals and its status are its own. Raises ValueError where that fails."""
    if not command:
        raise ValueError("Name the program to run, after two hyphens: pyat run -- python script.py.")
    try:
        os.execvpe(command[0], list(command), dict(environ))  # noqa: S606 - no shell is meant
    except OSError as error:
        raise ValueError(f"{command[0]} cannot be run ({error.strerror}): check its name and the PATH.") from error


def _running_url(home: Home) -> str | None:
    url = home.state().get("url") if home.is_locked() else None
    if url is None:
        return None
    parts = urlsplit(str(url))
    host = parts.hostname or ""
    if host in _EVERYWHERE:
        parts = parts._replace(netloc=f"{_EVERYWHERE[host]}:{parts.port}")
    return urlunsplit(parts)
