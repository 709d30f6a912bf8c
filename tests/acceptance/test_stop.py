"""SIGTERM with a process for each service: what the gateway has accepted is answered with the help of the others."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import Answer, call

STOP_WITHIN_S = 10.0


def new_table(platform: Platform) -> str:
    """The path of a table with one field, `Name`."""
    body = {
        "name": "Stop",
        "workspaceId": account_of(platform, platform.token).workspace_id,
        "tables": [{"name": "T", "fields": [{"name": "Name", "type": "singleLineText"}]}],
    }
    base = call("POST", f"{platform.url}/v0/meta/bases", token=platform.token, body=body).body
    return f"/v0/{base['id']}/{base['tables'][0]['id']}"


def test_a_request_that_still_needs_other_services_is_answered(tmp_path: Path) -> None:
    with Platform(tmp_path / "home", mode="processes", env={"PYAT_SAMPLE": "0"}) as platform:
        path = new_table(platform)
        # One that the gateway has not seen, so that it has to ask auth, and then airtable_gateway, which asks schema.
        token = platform.command("token", "create", "--name", "fresh").stdout.strip()
        auth_pid = platform.children()["auth"]["pid"]
        answers: list[Answer] = []
        took_s: list[float] = []

        def create() -> None:
            body: dict[str, Any] = {"fields": {"Name": "under way"}}
            answers.append(call("POST", platform.url + path, token=token, body=body))

        request = threading.Thread(target=create)
        stop = threading.Thread(target=lambda: took_s.append(platform.stop()))
        os.kill(auth_pid, signal.SIGSTOP)
        try:
            request.start()
            time.sleep(0.5)
            assert not answers, "it waits for auth"
            stop.start()
            time.sleep(0.5)
        finally:
            os.kill(auth_pid, signal.SIGCONT)
        request.join(STOP_WITHIN_S)
        stop.join(2 * STOP_WITHIN_S)
        assert [answer.status for answer in answers] == [200], platform.logs()
        assert took_s[0] < STOP_WITHIN_S
        platform.start()
        found = call("GET", platform.url + path, token=token).body["records"]
        assert [record["fields"]["Name"] for record in found] == ["under way"]


def test_told_twice_nobody_is_waited_for(tmp_path: Path) -> None:
    with Platform(tmp_path / "home", mode="processes", env={"PYAT_SAMPLE": "0"}) as platform:
        os.kill(platform.children()["api_gateway"]["pid"], signal.SIGSTOP)
        started_s = time.monotonic()
        os.kill(platform.supervisor_pid, signal.SIGTERM)
        time.sleep(0.3)
        os.kill(platform.supervisor_pid, signal.SIGTERM)
        assert platform.wait() == 0
        # A process that hangs would have been waited for until its time was over.
        assert time.monotonic() - started_s < 4
