"""Sends what a program asks of Airtable's own hosts to this platform, by code that its interpreter loads first.

`python/sitecustomize.py` is for Python and `node/redirect.cjs` for Node. Both use their own standard library alone and
read `AIRTABLE_ENDPOINT_URL`, so the program's own environment needs nothing of this package.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

AIRTABLE_HOSTS = frozenset({"api.airtable.com", "content.airtable.com", "airtable.com"})
"""The hosts that clients hard-code; requests to any other host are left alone."""
PYTHON_FOLDER = Path(__file__).parent / "python"
"""Belongs on PYTHONPATH."""
NODE_FILE = Path(__file__).parent / "node" / "redirect.cjs"
"""Belongs into NODE_OPTIONS, after `--require`."""


def checked_url(text: str) -> str:
    """The platform's URL without a slash at its end. Raises ValueError with a sentence on what is wrong with it."""
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text} is not the URL of a platform: give one such as http://127.0.0.1:8080.")
    if parts.hostname in AIRTABLE_HOSTS:
        raise ValueError(f"{text} is Airtable's own URL: give that of a platform, such as http://127.0.0.1:8080.")
    return url


def environment(current: Mapping[str, str], *, url: str, token: str | None = None) -> dict[str, str]:
    """`current` with what redirects a Python or Node program, and its children, to `url`; `token` is for clients that read it.

    What PYTHONPATH and NODE_OPTIONS hold already stays, after ours.
    """
    changed = dict(current)
    changed["AIRTABLE_ENDPOINT_URL"] = url
    if token is not None:
        changed["AIRTABLE_API_KEY"] = token
    folders = [folder for folder in current.get("PYTHONPATH", "").split(os.pathsep) if folder]
    ours = str(PYTHON_FOLDER)
    changed["PYTHONPATH"] = os.pathsep.join([ours, *(folder for folder in folders if folder != ours)])
    quoted = str(NODE_FILE).replace("\\", "\\\\").replace('"', '\\"')
    option, others = f'--require "{quoted}"', current.get("NODE_OPTIONS", "").strip()
    changed["NODE_OPTIONS"] = others if option in others else f"{option} {others}".strip()
    return changed
