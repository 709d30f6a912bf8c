"""How a child process learns that its supervisor is gone: the end of a pipe that only the supervisor holds open."""

import os
import threading
from collections.abc import Callable

PIPE_VARIABLE = "PYAT_PARENT_PIPE"
LISTEN_VARIABLE = "PYAT_LISTEN_FD"


def watch_parent(on_death: Callable[[], None]) -> None:
    """Call `on_death` from a thread of its own when the supervisor dies; nothing where there is no supervisor."""
    text = os.environ.get(PIPE_VARIABLE)
    if text is None:
        return
    descriptor = int(text)

    def wait() -> None:
        # Nobody ever writes: the read returns when the last writer is gone.
        os.read(descriptor, 1)
        on_death()

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()
