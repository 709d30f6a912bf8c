"""Changes of structure on a table that is read and written all the time: nobody is refused, nothing is lost.

The longest wait of a reader and of a writer is shown (`pytest -rP`); `benchmarks/scale` measures it at a million records.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.scale.generate import Generated, generate
from benchmarks.scale.run import Client, Stalls
from tests.acceptance.platform import Platform

ROWS = 20_000


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of this module's own, since it is kept busy."""
    env = {"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}
    with Platform(tmp_path_factory.mktemp("structure"), env=env) as started:
        yield started


@pytest.fixture(scope="module")
def base(platform: Platform) -> Generated:
    return generate(platform, ROWS)


def test_changes_of_structure_let_readers_and_writers_go_on(platform: Platform, base: Generated) -> None:
    with contextlib.closing(Client(platform)) as client:
        change_everything(platform, base, client)


def change_everything(platform: Platform, base: Generated, client: Client) -> None:
    meta = f"/v0/meta/bases/{base.base_id}/tables/{base.table_id}/fields"
    own = f"/api/v1/bases/{base.base_id}/tables/{base.table_id}/fields"
    path = f"/v0/{base.base_id}/{base.table_id}"
    ids = [record["id"] for record in client("GET", f"{path}?fields[]=Name")["records"]]
    digits = {record["id"]: record["fields"].get("Digits") for record in client("GET", path)["records"]}
    added: dict[str, Any] = {}
    convert = {"type": "number", "options": {"precision": 0}}
    changes: dict[str, Callable[[], Any]] = {
        "add a field": lambda: added.update(client("POST", meta, {"name": "Added", "type": "singleLineText"})),
        "rename a field": lambda: client("PATCH", f"{meta}/{base.fields['City']}", {"name": "Town"}),
        "delete a field": lambda: client("DELETE", f"{own}/{added['id']}"),
        "convert text to number": lambda: client("POST", f"{own}/{base.fields['Digits']}/convert", convert),
        "add an autonumber": lambda: client("POST", meta, {"name": "No", "type": "autoNumber"}),
    }
    for kind, change in changes.items():
        stalls = Stalls(platform, base, ids)
        with stalls.watched():
            change()
        assert stalls.requests["read"] > 0 and stalls.requests["write"] > 0
        print(f"{kind}: longest read {stalls.longest_ms['read']:.0f} ms, write {stalls.longest_ms['write']:.0f} ms")
    names = [field["name"] for field in client("GET", f"/v0/meta/bases/{base.base_id}/tables")["tables"][0]["fields"]]
    assert "Town" in names and "No" in names and "Added" not in names
    records = client("GET", path)["records"]
    for record in records:
        text = digits[record["id"]]
        assert record["fields"].get("Digits") == (None if text in (None, "none") else int(text))
        assert record["fields"]["Notes"]
    assert sorted(record["fields"]["No"] for record in records) == list(range(1, 101))
