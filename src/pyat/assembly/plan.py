"""From the words of `pyat up` to the supervisor's plan: which processes, on which ports, with which arguments."""

import os
import sys
from typing import NoReturn

from pyat.assembly.catalog import CATALOG, GATEWAY, GATEWAY_NEEDS, port_of, preparation_stamp, settings_classes
from pyat.assembly.embedded.home import Home
from pyat.assembly.supervise import PLAN_VARIABLE
from pyat.assembly.supervisor import Plan, ProcessSpec
from pyat.foundation.settings import PlatformSettings

_PROCESS = "pyat.assembly.process"
_SPARE_CONNECTIONS = 20
"""Of PostgreSQL, beside those of the application processes: commands, backups, and the server's own."""
PORT_MAX = 65_535


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def _one_process(host: str, port: int, workers: int) -> tuple[ProcessSpec, ...]:
    names = ["platform"] if workers == 1 else [f"platform-{number}" for number in range(1, workers + 1)]
    return tuple(ProcessSpec(name, _python(_PROCESS), port, host) for name in names)


def _processes(host: str, port: int) -> tuple[ProcessSpec, ...]:
    services = (
        ProcessSpec(entry.name, _python(_PROCESS, entry.name, *_at(entry.needs, port)), _port(entry.name, port))
        for entry in CATALOG
    )
    gateway = _python(_PROCESS, GATEWAY, *_at(GATEWAY_NEEDS, port))
    return (*services, ProcessSpec(GATEWAY, gateway, port, host, is_entry=True))


def _at(names: tuple[str, ...], port: int) -> list[str]:
    return [word for name in names for word in ("--at", f"{name}=http://127.0.0.1:{_port(name, port)}")]


def _port(name: str, public_port: int) -> int:
    return port_of(name, public_port=public_port)


def highest_port(public_port: int) -> int:
    """The highest port of all services when the public one is `public_port`."""
    return max(_port(entry.name, public_port) for entry in CATALOG)


def make(settings: PlatformSettings, *, workers: int, is_many: bool) -> Plan:
    """The plan for these settings. Raises HomeError, and ValidationError for a service's setting that is wrong."""
    for kind in settings_classes():
        kind()  # said here, it is one sentence; said by the process that needs it, it is the end of a log
    home = Home(settings.home)
    has_postgres, has_valkey = settings.database_url is None, settings.valkey_url is None
    # An external server may be another one than last time, or not be there, so it is looked at every time.
    is_prepared = (
        has_postgres
        and has_valkey
        and (home.postgres / "data").exists()
        and home.prepared() == preparation_stamp()
        and bool(home.credentials())
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    processes = (
        _processes(settings.host, settings.port) if is_many else _one_process(settings.host, settings.port, workers)
    )
    return Plan(
        home=str(home.path),
        url=f"http://{host}:{settings.port}",
        mode="processes" if is_many else "workers" if workers > 1 else "one-process",
        processes=processes,
        prepare=None if is_prepared else _python("pyat.assembly.prepare"),
        has_postgres=has_postgres,
        has_valkey=has_valkey,
        connections_max=len(processes) * settings.database_pool_max + _SPARE_CONNECTIONS,
    )


def become_supervisor(plan: Plan) -> NoReturn:
    """Turn this process into the supervisor: the same process id, without the libraries loaded so far."""
    os.environ[PLAN_VARIABLE] = plan.to_json()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, _python("pyat.assembly.supervise"))  # noqa: S606 - our own module
