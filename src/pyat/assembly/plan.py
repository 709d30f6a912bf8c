"""From the words of `pyat up` to the supervisor's plan: which processes, on which ports, with which arguments."""

import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

from pyat.assembly.catalog import CATALOG, GATEWAY, GATEWAY_NEEDS, Entry, port_of, preparation_stamp
from pyat.assembly.home import Home
from pyat.assembly.supervise import PLAN_VARIABLE, Application, Plan
from pyat.foundation.settings import PlatformSettings

_PROCESS = "pyat.assembly.process"


def _python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def _url(name: str, public_port: int) -> str:
    return f"http://127.0.0.1:{port_of(name, public_port=public_port)}"


def _one_process(port: int, workers: int) -> list[Application]:
    if workers == 1:
        return [Application("platform", _python(_PROCESS), port, {})]
    return [Application(f"platform-{number}", _python(_PROCESS), port, {}) for number in range(1, workers + 1)]


def _processes(port: int) -> list[Application]:
    applications = [
        Application(entry.name, _service(entry, port), port_of(entry.name, public_port=port), {}) for entry in CATALOG
    ]
    at = [word for name in GATEWAY_NEEDS for word in ("--at", f"{name}={_url(name, port)}")]
    return [*applications, Application(GATEWAY, _python(_PROCESS, GATEWAY, *at), port, {})]


def _service(entry: Entry, port: int) -> list[str]:
    at = [word for need in entry.needs for word in ("--at", f"{need}={_url(need, port)}")]
    return _python(_PROCESS, entry.name, *at)


def make(settings: PlatformSettings, *, workers: int, is_many: bool) -> Plan:
    """The plan for these settings."""
    home = Home(settings.home)
    is_embedded = settings.database_url is None
    # An external database may be another one than last time, so it is looked at every time.
    is_prepared = is_embedded and (home.postgres / "data").exists() and home.prepared() == preparation_stamp()
    mode = "processes" if is_many else "workers" if workers > 1 else "one-process"
    return Plan(
        home=str(home.path),
        host=settings.host,
        port=settings.port,
        mode=mode,
        applications=[
            asdict(a) for a in (_processes(settings.port) if is_many else _one_process(settings.port, workers))
        ],
        prepare=None if is_prepared else _python("pyat.assembly.prepare"),
        is_postgres_embedded=is_embedded,
        is_valkey_embedded=settings.valkey_url is None,
    )


def become_supervisor(plan: Plan) -> NoReturn:
    """Turn this process into the supervisor: the same process id, without the libraries loaded so far."""
    os.environ[PLAN_VARIABLE] = json.dumps(asdict(plan))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "pyat.assembly.supervise"])  # noqa: S606 - our own module
