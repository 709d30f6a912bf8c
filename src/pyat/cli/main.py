"""The commands. Each imports what it uses when it runs, so that `pyat --help` is quick."""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from pyat import __version__

PORT_MAX = 65_535
WORKERS_MAX = 64

_EPILOGUE = """Data and secrets lie in ~/.pyat, or where PYAT_HOME says. Every setting is an
environment variable PYAT_…; docs/reference/settings.md lists them."""

app = App(
    name="pyat",
    help="PyAirtable: a self-hosted platform that speaks the Airtable Web API.",
    help_epilogue=_EPILOGUE,
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
)
token_app = App(name="token", help="Make, list and revoke personal access tokens.")
tenant_app = App(name="tenant", help="Make organisations: each sees its own bases alone.")
import_app = App(name="import", help="Bring data in.")
check_app = App(name="check", help="Compare what is stored with what it is made from.")
for group in (token_app, tenant_app, import_app, check_app):
    app.command(group)


@app.command
def up(
    *,
    workers: Annotated[int, Parameter(help="Application processes that share the public port.")] = 1,
    processes: Annotated[bool, Parameter(help="Each service in a process and on a port of its own.")] = False,
    host: Annotated[str | None, Parameter(help="Address to listen on; PYAT_HOST, else 127.0.0.1.")] = None,
    port: Annotated[int | None, Parameter(help="Public port; PYAT_PORT, else 8080.")] = None,
) -> None:
    """Run the platform until it is told to stop (Ctrl-C).

    Starts PostgreSQL and Valkey unless PYAT_DATABASE_URL and
    PYAT_VALKEY_URL name running ones, applies migrations, makes the
    administrator, a token and a sample base the first time, and starts
    again whatever dies.
    """
    from pyat.assembly import plan

    settings = _settings(host=host, port=port)
    if not 1 <= workers <= WORKERS_MAX:
        raise _Trouble(f"--workers is {workers}: give a number from 1 to {WORKERS_MAX}.")
    if processes and workers > 1:
        raise _Trouble("--processes and --workers exclude each other: give one of them.")
    if processes and plan.highest_port(settings.port) > PORT_MAX:
        raise _Trouble(f"The services' ports would end beyond {PORT_MAX}: set PYAT_PORT to a lower one.")
    plan.become_supervisor(plan.make(settings, workers=workers, is_many=processes))


@app.command
def serve(
    name: Annotated[str, Parameter(help="The service, such as schema.")],
    *,
    at: Annotated[list[str] | None, Parameter(help="PEER=URL for each service that it calls.")] = None,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, Parameter(help="Port; the service's own (see `pyat status`) unless given.")] = None,
) -> None:
    """Run one service in this process, for containers.

    Needs PYAT_DATABASE_URL, PYAT_VALKEY_URL and PYAT_INTERNAL_KEY (the
    same key for all services), and a database that `pyat migrate` has been
    run on.
    """
    import asyncio

    import uvloop

    from pyat.assembly.catalog import BY_NAME, GATEWAY, GATEWAY_NEEDS, NAMES, port_of, settings_classes
    from pyat.assembly.process import run

    if name not in NAMES:
        raise _Trouble(f"There is no service {name}. There are: {', '.join(NAMES)}.")
    settings = _settings()
    missing = [
        f"PYAT_{setting.upper()}"
        for setting in ("database_url", "valkey_url", "internal_key")
        if getattr(settings, setting) is None
    ]
    if missing:
        raise _Trouble(f"Set {', '.join(missing)} first: a service on its own starts no servers.")
    needs = GATEWAY_NEEDS if name == GATEWAY else BY_NAME[name].needs
    peers: dict[str, str] = {}
    for item in at or ():
        peer, _, url = item.partition("=")
        if peer not in needs or not url.startswith(("http://", "https://")):
            called = ", ".join(needs) or "no other service"
            raise _Trouble(f"--at {item} does not fit: it takes PEER=http://HOST:PORT, and {name} calls {called}.")
        peers[peer] = url
    absent = [need for need in needs if need not in peers]
    if absent:
        raise _Trouble(f"{name} calls {', '.join(absent)}: say where, with --at {absent[0]}=http://HOST:PORT.")
    for kind in settings_classes():
        kind()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run([name], peers, host=host, port=port or port_of(name)))


@app.command
def status() -> None:
    """Show every service with port, version, health and latency."""
    from pyat.cli.status import show

    sys.exit(show(_settings()))


@app.command
def run(
    *command: Annotated[str, Parameter(help="The program and its arguments, after `--`.")],
    url: Annotated[
        str | None, Parameter(help="URL of the platform; that of the one running here unless given.")
    ] = None,
    token: Annotated[
        str | None, Parameter(help="Token for the program; AIRTABLE_API_KEY, else the administrator's of this home.")
    ] = None,
) -> None:
    """Run a program whose requests to Airtable's hosts go to this platform.

    For Python and Node programs that name no other endpoint. Requests to
    api.airtable.com, content.airtable.com and airtable.com are sent to the
    platform, all others are left alone. The program finds its token in
    AIRTABLE_API_KEY. Ends with the program's own status.
    """
    from pyat.cli.run import become, prepared

    try:
        become(command, prepared(_settings(), url=url, token=token, environ=os.environ))
    except ValueError as error:
        raise _Trouble(str(error)) from error


@app.command
def doctor() -> None:
    """Say what is wrong with this machine and what to do about it."""
    from pyat.cli.doctor import show

    sys.exit(show(_settings()))


@app.command
def migrate() -> None:
    """Apply the database migrations that are missing."""
    from pyat.cli.operate import migrate as work

    _run(work(_settings()))


@app.command(name="export-openapi")
def export_openapi(
    file: Annotated[Path | None, Parameter(help="Where to write it; standard output unless given.")] = None,
) -> None:
    """Write the OpenAPI document of the public API."""
    import orjson

    from pyat.assembly.process import openapi_document

    text = orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if file is None:
        sys.stdout.buffer.write(text)
        return
    try:
        file.write_bytes(text)
    except OSError as error:
        raise _Trouble(f"{file} cannot be written ({error.strerror}): name another file.") from error


@token_app.command(name="create")
def token_create(
    *,
    name: Annotated[str, Parameter(help="What it is for.")],
    scope: Annotated[
        list[str] | None, Parameter(help="A scope it holds; may be repeated. Every scope unless given.")
    ] = None,
    base: Annotated[
        list[str] | None, Parameter(help="Id of a base it reaches; may be repeated. Every base unless given.")
    ] = None,
    email: Annotated[str | None, Parameter(help="Whose token; the administrator's unless given.")] = None,
) -> None:
    """Make a personal access token and print it, this once."""
    from pyat.cli.operate import create_token as work

    _run(work(_settings(), name=name, scopes=scope, base_ids=base, email=email))


@token_app.command(name="list")
def token_list(
    *, email: Annotated[str | None, Parameter(help="Whose tokens; everybody's unless given.")] = None
) -> None:
    """Show tokens, never their secrets."""
    from pyat.cli.operate import list_tokens as work

    _run(work(_settings(), email=email))


@token_app.command(name="revoke")
def token_revoke(token_id: Annotated[str, Parameter(help="The part before the dot, as `list` shows it.")]) -> None:
    """End a token at once, everywhere."""
    from pyat.cli.operate import revoke_token as work

    _run(work(_settings(), token_id=token_id))


@tenant_app.command(name="create")
def tenant_create(
    name: Annotated[str, Parameter(help="Name of the organisation.")],
    *,
    admin_email: Annotated[str, Parameter(help="E-mail of its first administrator.")],
) -> None:
    """Make an organisation with an administrator; prints password and token, this once."""
    from pyat.cli.operate import create_tenant as work

    _run(work(_settings(), name=name, email=admin_email))


@import_app.command(name="csv")
def import_csv(
    file: Annotated[Path, Parameter(help="The CSV file.")],
    *,
    base: Annotated[str, Parameter(help="Name or id of the base.")],
    table: Annotated[str | None, Parameter(help="Name of the table; the file's name unless given.")] = None,
    keep_going: Annotated[bool, Parameter(help="Load what fits and leave rejected cells blank.")] = False,
    delimiter: Annotated[str | None, Parameter(help="Found out unless given.")] = None,
    encoding: Annotated[str | None, Parameter(help="Found out unless given.")] = None,
    email: Annotated[str | None, Parameter(help="Who imports; the administrator unless given.")] = None,
    yes: Annotated[bool, Parameter(help="Do not ask before loading.")] = False,
) -> None:
    """Load a CSV file into a new table, or add its rows to one that exists.

    Finds delimiter, encoding and field types, shows a preview, loads by
    COPY, and reports rejected cells by line. Nothing is loaded if any cell
    is rejected, unless --keep-going.
    """
    from pyat.cli.operate import import_csv as work

    _run(
        work(
            _settings(),
            file=file,
            base=base,
            table=table,
            keep_going=keep_going,
            delimiter=delimiter,
            encoding=encoding,
            email=email,
            is_confirmed=yes,
        )
    )


@check_app.command(name="base")
def check_base(
    base: Annotated[str, Parameter(help="Name or id of the base.")],
    *,
    repair: Annotated[bool, Parameter(help="Fill what differs anew.")] = False,
    email: Annotated[str | None, Parameter(help="Whose base; the administrator's unless given.")] = None,
) -> None:
    """Compute every computed cell that is kept anew, and say which differ.

    Reads one snapshot of the base, while others read and write. Ends with
    status 1 where something differs.
    """
    from pyat.cli.operate import check_base as work

    _run(work(_settings(), base=base, repair=repair, email=email))


class _Trouble(Exception):
    """A sentence for the person at the terminal."""


def _settings(**overrides: Any) -> Any:
    """The platform's settings; an option of the command line wins over its variable."""
    from pyat.foundation.settings import PlatformSettings

    return PlatformSettings(**{name: value for name, value in overrides.items() if value is not None})


def _run(work: "Coroutine[Any, Any, int | None]") -> None:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(work) or 0)


def _sentence(error: Exception) -> str | None:
    """What went wrong and what to do, for everything that is declared; None for what is a fault of ours."""
    if isinstance(error, CycloptsError):
        error.verbose = False
        words = " ".join(("pyat", *(error.command_chain or ())))
        return f"{' '.join(str(error).split())} See `{words} --help`."
    if isinstance(error, _Trouble):
        return str(error)

    from pydantic import ValidationError

    from pyat.assembly.embedded.errors import HomeError
    from pyat.foundation.errors import AppError
    from pyat.foundation.migrations import MigrationChanged

    if isinstance(error, ValidationError):
        wrong = error.errors(include_input=False)[0]
        return f"The setting PYAT_{str(wrong['loc'][0]).upper()} cannot be used: {wrong['msg']}."
    if isinstance(error, HomeError | AppError | MigrationChanged):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        variable = _file_variable(str(error.filename))
        if variable is not None:
            return f"{variable} names {error.filename}, which cannot be read ({error.strerror}): correct it."
    return None


def _file_variable(path: str) -> str | None:
    named = (name for name, value in os.environ.items() if name.startswith("PYAT_") and value == path)
    return next((name for name in named if name.endswith("_FILE")), None)


def _guarded(command: Callable[[], Any]) -> None:
    """Run, and turn declared troubles into one sentence and status 1."""
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone, such as `head`; what is left of it must not be written at exit either.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the process ends
        sys.exit(1)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        sys.exit(f"pyat: {sentence}")


def main() -> None:
    """The command `pyat`."""
    _guarded(lambda: app(sys.argv[1:], exit_on_error=False, print_error=False))


if __name__ == "__main__":
    main()
