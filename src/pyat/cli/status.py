"""`pyat status`: what runs on this home, and how it is."""

import http.client
import json
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from pyat.assembly.catalog import GATEWAY_PORT, NAMES, port_of
from pyat.assembly.embedded.home import Home
from pyat.foundation.settings import PlatformSettings

_TIMEOUT_S = 5.0


def show(settings: PlatformSettings) -> int:
    """Print the table; 0 when every service is ready, 1 otherwise."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    home = Home(settings.home)
    state = home.state()
    if not home.is_locked() or not state.get("pid"):
        console.print(
            f"PyAirtable does not run on {home.path}. Start it with ./start-all-services.sh or `pyat up`.",
            soft_wrap=True,
        )
        return 1
    url, children = state["url"], state.get("children", {})
    report = ask(url)
    services: dict[str, Any] = report.get("services", {})
    age = _age(time.time() - state["started"])
    console.print(Text(f"{url}  ({state['mode']}, {state.get('phase', 'running')}, up {age})"), soft_wrap=True)
    table = Table()
    for heading in ("service", "port", "process", "version", "health", "latency", "restarts"):
        table.add_column(heading, no_wrap=True)
    public_port = urlsplit(url).port or GATEWAY_PORT
    for name in NAMES:
        found = services.get(name, {})
        # Processes that run every service are `platform`, or `platform-1` and so on.
        rows = [row for key, row in children.items() if key == name or key.split("-")[0] == "platform"]
        port = port_of(name, public_port=public_port) if name in children else public_port
        health = Text("ready", "green") if found.get("ready") else Text(_why(found), "red")
        table.add_row(
            name,
            str(port),
            ", ".join(str(row["pid"]) for row in rows if row.get("pid")),
            str(state["version"]),
            health,
            f"{found['latency_ms']} ms" if "latency_ms" in found else "",
            str(sum(row.get("restarts", 0) for row in rows)),
        )
    for name in ("postgres", "valkey"):
        if name in children:
            row = children[name]
            health = Text("up", "green") if row.get("pid") else Text("down", "red")
            table.add_row(name, "socket", str(row.get("pid") or ""), "", health, "", str(row.get("restarts", 0)))
    console.print(table)
    return 0 if report.get("status") == "ready" else 1


def _why(found: dict[str, Any]) -> str:
    failed = [check for check, is_fine in found.get("checks", {}).items() if not is_fine]
    return f"not ready: {', '.join(failed)}" if failed else "not ready"


def ask(url: str) -> dict[str, Any]:
    """What `/health/ready` answers; empty where nobody does."""
    parts = urlsplit(url)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "")  # noqa: S104
    with closing(http.client.HTTPConnection(host, parts.port or GATEWAY_PORT, timeout=_TIMEOUT_S)) as connection:
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
