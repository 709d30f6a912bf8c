"""`pyat status`: what runs on this home, and how it is."""

import http.client
import json
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from pyat import __version__
from pyat.assembly.catalog import NAMES, port_of
from pyat.assembly.home import Home
from pyat.foundation.settings import PlatformSettings


def show(settings: PlatformSettings) -> int:
    """Print the table; 0 when every service is ready, 1 otherwise."""
    home = Home(settings.home)
    state = home.state()
    console = Console()
    if not home.is_locked() or not state.get("pid"):
        console.print(f"PyAirtable does not run on {home.path}. Start it with ./start-all-services.sh")
        return 1
    report = _ready(state["url"])
    services: dict[str, Any] = report.get("services", {})
    children = state["children"]
    table = Table(
        title=f"{state['url']}  ({state['mode']}, up {_age(time.time() - state['started'])})", title_justify="left"
    )
    for heading in ("service", "port", "process", "version", "health", "latency"):
        table.add_column(heading)
    public_port = urlsplit(state["url"]).port or 8080
    for name in NAMES:
        found = services.get(name, {})
        child: dict[str, Any] = children.get(name) or next(
            (row for key, row in children.items() if key.startswith("platform")), {}
        )
        port = port_of(name, public_port=public_port) if name in children else public_port
        health = "[green]ready[/green]" if found.get("ready") else "[red]not ready[/red]"
        latency = f"{found['latency_ms']} ms" if "latency_ms" in found else ""
        table.add_row(
            name, str(port), str(child.get("pid", "")), str(state.get("version", __version__)), health, latency
        )
    for name in ("postgres", "valkey"):
        if name in children:
            table.add_row(name, "socket", str(children[name]["pid"]), "", "", "")
    console.print(table)
    return 0 if report.get("status") == "ready" else 1


def _ready(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104
    with closing(http.client.HTTPConnection(host, parts.port or 8080, timeout=3)) as connection:
        try:
            connection.request("GET", "/health/ready")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
    return found


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
