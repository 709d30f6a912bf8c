"""Runs of the command `pyat` that may fail, as somebody at a terminal or a script would see them."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.platform import Platform

TIMEOUT_S = 60.0


def run(platform: Platform, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `pyat` on a platform's home and hand back status and output, whatever they are."""
    return subprocess.run(
        [sys.executable, "-m", "pyat", *words],
        env={**platform.env, "COLUMNS": "200", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def refusal(platform: Platform, *words: str, env: Mapping[str, str] | None = None) -> str:
    """What a command says that must fail: status 1 and no traceback."""
    finished = run(platform, *words, env=env)
    said = finished.stdout + finished.stderr
    assert finished.returncode == 1, f"pyat {' '.join(words)}: {finished.returncode} {said}"
    assert "Traceback" not in said, said
    return said


def at_terminal(platform: Platform, *words: str, question: str, answer: str) -> tuple[int, str]:
    """Run `pyat` at a terminal, answer a question, and hand back status and what was shown."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pyat", *words],
            env={**platform.env, "COLUMNS": "200", "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        slave = -1
        shown = b""
        deadline_s = time.monotonic() + TIMEOUT_S
        has_answered = False
        while time.monotonic() < deadline_s:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    piece = os.read(master, 65_536)
                except OSError:  # the other side is closed
                    break
                shown += piece
            if not has_answered and question.encode() in shown:
                has_answered = True
                os.write(master, answer.encode())
        status = process.wait(10)
        assert has_answered, shown.decode()
        return status, shown.decode()
    finally:
        os.close(master)
        if slave != -1:
            os.close(slave)


def log_texts(home: Path) -> dict[str, str]:
    """Every log of a home by its name."""
    return {path.name: path.read_text("utf-8", "replace") for path in sorted((home / "logs").iterdir())}
