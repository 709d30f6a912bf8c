"""An application process as the supervisor wants it: serves an inherited socket, ends with its supervisor. Standard library.

Paths: /health/ready, /die (ends at once with status 3), /slow (answers after a second), / (its environment).
`--broken` ends at once with a message; `--ready-after FILE` is ready when that file exists.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pyat.assembly.parent import LISTEN_VARIABLE, watch_parent

options = argparse.Namespace()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self) -> None:
        """See the module's text."""
        if self.path == "/die":
            os._exit(3)
        if self.path == "/slow":
            (Path(os.environ["PYAT_HOME"]) / "slow").touch()
            time.sleep(1)
        is_ready = options.ready_after is None or options.ready_after.exists()
        body = json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}).encode()
        self.send_response(503 if self.path == "/health/ready" and not is_ready else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """Waits for the answers under way when it is closed."""

    daemon_threads = False


def main() -> None:
    """Serve until SIGTERM or the supervisor's end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--broken", action="store_true")
    parser.add_argument("--ready-after", type=Path)
    parser.parse_args(namespace=options)
    if options.broken:
        sys.exit("this application is broken")
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(os.environ[LISTEN_VARIABLE]))
    server.server_address = server.socket.getsockname()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.02)
    server.server_close()


if __name__ == "__main__":
    main()
