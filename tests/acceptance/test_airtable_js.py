"""The unmodified airtable.js client from npm against a started platform, in one process and in many."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, call, new_table_fields

CLIENTS = Path(__file__).parent / "clients"


def _modules() -> Path | None:
    """Where the npm clients are installed; the test command puts them there and names the folder."""
    named = os.environ.get("PYAT_TEST_NODE_MODULES")
    found = Path(named) if named else CLIENTS / "node_modules"
    return found if (found / "airtable").is_dir() else None


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed; airtable.js cannot run")
@pytest.mark.skipif(
    _modules() is None, reason="airtable.js is not installed: run ./test-all-services.sh with npm on the PATH"
)
def test_airtable_js_does_all_it_can(platform: Platform, account: Account) -> None:
    created = call(
        "POST",
        f"{platform.url}/v0/meta/bases",
        token=account.token,
        body={
            "name": "airtable.js",
            "workspaceId": account.workspace_id,
            "tables": [{"name": "All / of it", "fields": new_table_fields()}],
        },
    )
    assert created.status == 200, created.body
    node = shutil.which("node")
    assert node is not None
    finished = subprocess.run(
        [node, str(CLIENTS / "airtable.test.cjs")],
        env={
            **os.environ,
            "NODE_PATH": str(_modules()),
            "AIRTABLE_ENDPOINT_URL": platform.url,
            "AIRTABLE_API_KEY": account.token,
            "BASE_ID": created.body["id"],
            "TABLE_NAME": "All / of it",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    done = json.loads(finished.stdout.splitlines()[-1])
    assert done["checks"] >= 25
