"""What the acceptance tests share: the account they act for, a table with every field type, plain HTTP calls."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody with a token with every scope."""

    token: str
    user_id: str
    email: str
    workspace_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower case), decoded body and its bytes of a response."""

    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes = b""


def call(
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: Any = None,
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One HTTP request without any client library's help; `raw` sends bytes as they are."""
    sent = {"content-type": "application/json", **(headers or {})}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return _answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.headers, error.read())


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    found = {name.lower(): value for name, value in headers.items()}
    is_json = found.get("content-type", "").startswith("application/json")
    return Answer(status, found, json.loads(body) if is_json and body else body.decode(errors="replace"), body)


def new_table_fields() -> list[dict[str, Any]]:
    """One field of every type there is, as a metadata request names them."""
    when = {
        "dateFormat": {"name": "iso"},
        "timeFormat": {"name": "24hour"},
        "timeZone": "utc",
    }
    choices = [{"name": "Todo"}, {"name": "Doing"}, {"name": "Done, really", "color": "greenBright"}]
    return [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Notes", "type": "multilineText"},
        {"name": "Rich", "type": "richText"},
        {"name": "Email", "type": "email"},
        {"name": "Site", "type": "url"},
        {"name": "Phone", "type": "phoneNumber"},
        {"name": "Amount", "type": "number", "options": {"precision": 3}},
        {"name": "Price", "type": "currency", "options": {"precision": 2, "symbol": "$"}},
        {"name": "Share", "type": "percent", "options": {"precision": 1}},
        {"name": "Time", "type": "duration", "options": {"durationFormat": "h:mm:ss.S"}},
        {"name": "Stars", "type": "rating", "options": {"icon": "star", "max": 5, "color": "yellowBright"}},
        {"name": "Done", "type": "checkbox", "options": {"icon": "check", "color": "greenBright"}},
        {"name": "Day", "type": "date", "options": {"dateFormat": {"name": "us"}}},
        {"name": "Moment", "type": "dateTime", "options": when},
        {"name": "Status", "type": "singleSelect", "options": {"choices": choices}},
        {
            "name": "Tags",
            "type": "multipleSelects",
            "options": {"choices": [{"name": "red"}, {"name": "blue"}, {"name": 'quo"te'}]},
        },
        {"name": "Number", "type": "autoNumber"},
        {"name": "Created", "type": "createdTime"},
        {"name": "Modified", "type": "lastModifiedTime"},
        {"name": "Code", "type": "barcode"},
        {"name": "Owner", "type": "singleCollaborator"},
        {"name": "Team", "type": "multipleCollaborators"},
        {"name": "Maker", "type": "createdBy"},
        {"name": "Editor", "type": "lastModifiedBy"},
        {"name": "Open", "type": "button", "options": {"label": "Open", "url": "https://example.org"}},
        {"name": "Shout", "type": "formula", "options": {"formula": "{Name} & '!'"}},
        {"name": "Summary", "type": "aiText", "options": {"prompt": ["Sum up."]}},
        {"name": "Origin", "type": "externalSyncSource", "options": {"choices": [{"name": "Elsewhere"}]}},
    ]
