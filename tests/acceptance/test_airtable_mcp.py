"""The unmodified airtable-mcp-server from npm, as agents start it, against a started platform: every tool it has."""

import base64
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.platform import Platform
from tests.acceptance.support import Account, call
from tests.acceptance.test_airtable_js import _modules

TOOLS = {
    "create_comment",
    "create_field",
    "create_record",
    "create_table",
    "delete_records",
    "describe_table",
    "get_record",
    "list_bases",
    "list_comments",
    "list_records",
    "list_tables",
    "search_records",
    "update_field",
    "update_records",
    "update_table",
    "upload_attachment",
}

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed; the MCP server cannot run"),
    pytest.mark.skipif(
        _modules() is None,
        reason="airtable-mcp-server is not installed: run ./test-all-services.sh with npm on the PATH",
    ),
]


class Server:
    """The server as an agent has it: JSON-RPC over its standard input and output, a message a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._numbers = itertools.count(1)

    def request(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a request."""
        number = next(self._numbers)
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
        raise AssertionError(f"the server ended while it was asked {method}")

    def notify(self, method: str) -> None:
        """Say something that has no answer."""
        self._send({"jsonrpc": "2.0", "method": method})

    def use(self, tool: str, **arguments: Any) -> Any:
        """What a tool gives."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        return result["structuredContent"]

    def refusal(self, tool: str, **arguments: Any) -> str:
        """What a tool says when it fails."""
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        assert result.get("isError"), result
        return str(result["content"][0]["text"])

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


@pytest.fixture
def server(platform: Platform, account: Account) -> Iterator[Server]:
    """A running server whose requests to Airtable's hosts come here."""
    main = (_modules() or platform.home.path) / "airtable-mcp-server" / "dist" / "main.js"
    words = [sys.executable, "-m", "pyat", "run", "--token", account.token, "--", "node", str(main)]
    env = {name: value for name, value in platform.env.items() if not name.startswith("AIRTABLE_")}
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        server = Server(process)
        server.request(
            "initialize",
            {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
        )
        server.notify("notifications/initialized")
        yield server
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def test_every_tool_works(platform: Platform, account: Account, server: Server) -> None:
    assert {tool["name"] for tool in server.request("tools/list", {})["tools"]} == TOOLS
    made = call(
        "POST",
        f"{platform.url}/v0/meta/bases",
        token=account.token,
        body={
            "name": "For agents",
            "workspaceId": account.workspace_id,
            "tables": [{"name": "Notes", "fields": [{"name": "Title", "type": "singleLineText"}]}],
        },
    )
    base = {"baseId": made.body["id"]}
    assert made.body["id"] in {found["id"] for found in server.use("list_bases")["bases"]}
    assert [found["name"] for found in server.use("list_tables", **base)["tables"]] == ["Notes"]

    fields = [{"name": "Name", "type": "singleLineText"}, {"name": "Body", "type": "multilineText"}]
    table = server.use("create_table", **base, name="Letters", fields=fields)["table"]
    at = {**base, "tableId": table["id"]}
    assert server.use("update_table", **at, name="Mail", description="what came")
    draft = {"field": {"name": "Files", "type": "multipleAttachments"}}
    field = server.use("create_field", **at, nested=draft)["field"]
    assert field["name"] == "Files"
    assert server.use("update_field", **at, fieldId=field["id"], name="Scans")
    described = server.use("describe_table", **at)["table"]
    assert (described["name"], [one["name"] for one in described["fields"]]) == ("Mail", ["Name", "Body", "Scans"])

    ids = [server.use("create_record", **at, fields={"Name": f"letter {number}"})["id"] for number in range(3)]
    changes = [{"id": ids[0], "fields": {"Body": 'about a "blue" house'}}]
    assert server.use("update_records", **at, records=changes)["records"][0]["id"] == ids[0]
    assert server.use("get_record", **at, recordId=ids[0])["fields"]["Body"] == 'about a "blue" house'
    assert [
        one["id"] for one in server.use("list_records", **at, sort=[{"field": "Name", "direction": "desc"}])["records"]
    ] == ids[::-1]
    assert [one["id"] for one in server.use("search_records", **at, searchTerm="blue")["records"]] == ids[:1]
    wanted = {"filterByFormula": 'RIGHT({Name}, 1) != "1"'}
    assert {one["id"] for one in server.use("list_records", **at, **wanted)["records"]} == {ids[0], ids[2]}
    assert "INVALID_FILTER_BY_FORMULA" in server.refusal("list_records", **at, filterByFormula="NOTHING(1)")

    comment = server.use("create_comment", **at, recordId=ids[0], text="seen")["comment"]
    assert [one["id"] for one in server.use("list_comments", **at, recordId=ids[0])["comments"]] == [comment["id"]]
    scan = base64.b64encode(b"a scan").decode()
    server.use(
        "upload_attachment",
        **base,
        recordId=ids[0],
        attachmentFieldIdOrName="Scans",
        file=scan,
        filename="scan.txt",
        contentType="text/plain",
    )
    (file,) = server.use("get_record", **at, recordId=ids[0])["fields"]["Scans"]
    assert call("GET", file["url"]).raw == b"a scan"
    assert server.use("delete_records", **at, recordIds=ids[:2])
    assert [one["id"] for one in server.use("list_records", **at)["records"]] == ids[2:]
