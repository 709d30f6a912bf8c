"""The process that `pyat up` turns into: reads its plan, runs the supervisor, and shows one screen when all is up.

`python -m pyat.assembly.supervise`. Standard library only: it stays in memory as long as the platform runs.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyat import __version__
from pyat.assembly.embedded.errors import Cancelled, HomeError
from pyat.assembly.embedded.home import Home
from pyat.assembly.supervisor import Plan, Supervisor

PLAN_VARIABLE = "PYAT_PLAN"


def screen(home: Home, url: str, names: Iterable[str]) -> Iterator[str]:
    """What a person sees when the platform is up, line by line: where, who, and a snippet that works as pasted."""
    known = home.credentials()
    rule = "─" * 78
    yield rule
    yield f"  PyAirtable {__version__}    {url}    API {url}/docs"
    yield f"  data in {home.path}    processes: {', '.join(names)}"
    if known.get("email"):
        yield f"  administrator  {known['email']}"
        yield f"  password       {known.get('password', '(the one it was given earlier)')}"
    if known.get("token"):
        yield f"  token          {known['token']}"
    if known.get("token") and known.get("sample_base_id"):
        yield ""
        yield "  pip install pyairtable, then:"
        yield ""
        yield "    from pyairtable import Api"
        yield f'    api = Api("{known["token"]}", endpoint_url="{url}")'
        yield f'    table = api.base("{known["sample_base_id"]}").table("{known["sample_table"]}")'
        yield "    print(table.first())"
    yield rule


def run(plan: Plan) -> None:
    """Run it until told to stop. Raises HomeError where it cannot start."""
    home = Home(Path(plan.home))

    def show() -> None:
        # Where the platform listens on every address, this machine is the one to try it from.
        local = plan.url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        print(*screen(home, local, (process.name for process in plan.processes)), sep="\n")
        print(f"PyAirtable is ready: {plan.url}", flush=True)
        logging.getLogger("pyat").setLevel(logging.INFO)

    Supervisor(plan, environ=os.environ, on_ready=show, home=home).run()


def main() -> None:
    """Run the plan; what keeps it from starting is one sentence on standard error and status 1."""
    # Until the screen is shown only troubles are worth a line; afterwards everything that is started again is.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s")
    plan = Plan.from_json(os.environ.pop(PLAN_VARIABLE))
    try:
        run(plan)
    except HomeError as error:
        sys.exit(f"pyat: {error}")
    except Cancelled:
        pass


if __name__ == "__main__":
    main()
