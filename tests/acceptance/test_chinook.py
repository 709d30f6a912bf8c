"""A real data set whose ids become links: lookups, counts, rollups to the cent, formulas over them, and a storm of edits."""

import csv
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyairtable import Api, Base, Table

from tests.acceptance.commands import run
from tests.acceptance.conftest import account_of
from tests.acceptance.platform import Platform
from tests.acceptance.support import call

CHINOOK = Path(__file__).parents[2].parent / "shared" / "data" / "chinook"
TABLES = ("Artist", "Album", "Track", "Invoice", "InvoiceLine")
WAYS = (
    ("Album", "Artist", "ArtistId"),
    ("Track", "Album", "AlbumId"),
    ("InvoiceLine", "Invoice", "InvoiceId"),
    ("InvoiceLine", "Track", "TrackId"),
)
"""A table, the table it links to, and the column that says so."""
AT_ONCE = 1_000
KEPT_MIN = 13
"""Computed fields that get columns: all of these are over cells that change by writes alone."""


class Shop:
    """The data set in a base, and what its files say."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.api = Api(platform.token, endpoint_url=platform.url)
        workspace = self.api.workspace(account_of(platform, platform.token).workspace_id)
        first = [{"name": "Name", "fields": [{"name": "Name", "type": "singleLineText"}]}]
        self.base: Base = workspace.create_base("Chinook", first)
        for name in TABLES:
            platform.command("import", "csv", str(CHINOOK / f"{name}.csv"), "--base", "Chinook", "--yes")
        self.rows: dict[str, list[dict[str, str]]] = {}
        for name in TABLES:
            with (CHINOOK / f"{name}.csv").open(encoding="utf-8", newline="") as file:
                self.rows[name] = list(csv.DictReader(file))
        self.base.schema(force=True)

    def table(self, name: str) -> Table:
        """One table, by name."""
        return self.base.table(name)

    def add(self, table: str, name: str, kind: str, **options: Any) -> str:
        """A new field; its id."""
        return str(self.table(table).create_field(name, kind, options=options).id)

    def field_id(self, table: str, name: str) -> str:
        """Of a field that is there now."""
        return str(self.base.schema(force=True).table(table).field(name).id)

    def update(self, table: str, changes: list[dict[str, Any]]) -> None:
        """Change many records, by our own endpoint."""
        url = f"{self.platform.url}/api/v1/bases/{self.base.id}/tables/{table}/records"
        for start in range(0, len(changes), AT_ONCE):
            body = {"records": changes[start : start + AT_ONCE]}
            answer = call("PATCH", url, token=self.platform.token, body=body)
            assert answer.status == 200, answer.body

    def all(self, table: str, **query: Any) -> list[dict[str, Any]]:
        """The cells of every record."""
        return [record["fields"] for record in self.table(table).all(**query)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Imported, linked, and with computed fields."""
    if not CHINOOK.is_dir():
        pytest.skip("The data set is not on this machine: ../shared/data/chinook")
    with Platform(tmp_path_factory.mktemp("chinook"), env={"PYAT_SAMPLE": "0", "PYAT_RATE_LIMITS": "off"}) as started:
        made = Shop(started)
        link(made)
        compute(made)
        yield made


def link(shop: Shop) -> None:
    """Turn the columns of ids into links."""
    schema = shop.base.schema(force=True)
    for table, other, _ in WAYS:
        shop.add(table, other, "multipleRecordLinks", linkedTableId=schema.table(other).id)
    for table in ("Album", "Track", "InvoiceLine"):
        changes = []
        for record in shop.table(table).all():
            links = {
                other: [shop_id]
                for own, other, column in WAYS
                if own == table and (shop_id := ids_of(shop, other).get(record["fields"].get(column, 0)))
            }
            changes.append({"id": record["id"], "fields": links})
        shop.update(table, changes)


_ids: dict[tuple[int, str], dict[int, str]] = {}


def ids_of(shop: Shop, table: str) -> dict[int, str]:
    """Record ids by the numbers of the files."""
    key = (id(shop), table)
    if key not in _ids:
        _ids[key] = {record["fields"][f"{table}Id"]: record["id"] for record in shop.table(table).all()}
    return _ids[key]


def compute(shop: Shop) -> None:
    """Fields over fields over links."""

    def way(table: str, name: str, other: str, source: str) -> dict[str, str]:
        return {"recordLinkFieldId": shop.field_id(table, name), "fieldIdInLinkedTable": shop.field_id(other, source)}

    shop.add("Album", "Artist name", "lookup", **way("Album", "Artist", "Artist", "Name"))
    shop.add("Track", "Album title", "lookup", **way("Track", "Album", "Album", "Title"))
    shop.add("Track", "Artist name", "lookup", **way("Track", "Album", "Album", "Artist name"))
    shop.add("Album", "Tracks", "count", recordLinkFieldId=shop.field_id("Album", "Track"))
    shop.add(
        "Album", "Minutes", "rollup", **way("Album", "Track", "Track", "Milliseconds"), formula="SUM(values) / 60000"
    )
    shop.add("InvoiceLine", "Amount", "formula", formula="{UnitPrice} * {Quantity}")
    shop.add(
        "Invoice", "Sum", "rollup", **way("Invoice", "InvoiceLine", "InvoiceLine", "Amount"), formula="SUM(values)"
    )
    shop.add("Invoice", "Size", "formula", formula="IF({Sum} > 10, 'large', IF({Sum} < 1, 'tiny', 'small'))")
    shop.add("InvoiceLine", "What", "lookup", **way("InvoiceLine", "Track", "Track", "Name"))
    shop.add("InvoiceLine", "Who", "lookup", **way("InvoiceLine", "Track", "Track", "Artist name"))
    shop.add(
        "Invoice",
        "Artists",
        "rollup",
        **way("Invoice", "InvoiceLine", "InvoiceLine", "Who"),
        formula="ARRAYUNIQUE(values)",
    )
    shop.add("Track", "Sold", "rollup", **way("Track", "InvoiceLine", "InvoiceLine", "Quantity"), formula="SUM(values)")
    shop.add("Album", "Sold", "rollup", **way("Album", "Track", "Track", "Sold"), formula="SUM(values)")
    shop.add("Artist", "Sold", "rollup", **way("Artist", "Album", "Album", "Sold"), formula="SUM(values)")
    shop.add("Artist", "Rank", "formula", formula="IF({Sold} >= 50, '★ ', '') & UPPER({Name}) & ' (' & {Sold} & ')'")


def test_lookups_go_from_track_to_album_to_artist(shop: Shop) -> None:
    albums = {row["AlbumId"]: row for row in shop.rows["Album"]}
    artists = {row["ArtistId"]: row["Name"] for row in shop.rows["Artist"]}
    found = {cells["TrackId"]: cells for cells in shop.all("Track", fields=["TrackId", "Album title", "Artist name"])}
    assert len(found) == len(shop.rows["Track"])
    for row in shop.rows["Track"]:
        album = albums[row["AlbumId"]]
        cells = found[int(row["TrackId"])]
        assert cells["Album title"] == [album["Title"]]
        assert cells["Artist name"] == [artists[album["ArtistId"]]]


def test_totals_are_those_of_the_file_to_the_cent(shop: Shop) -> None:
    found = {cells["InvoiceId"]: cells for cells in shop.all("Invoice")}
    assert len(found) == len(shop.rows["Invoice"])
    for row in shop.rows["Invoice"]:
        cells = found[int(row["InvoiceId"])]
        assert round(Decimal(str(cells["Sum"])), 2) == Decimal(row["Total"]).quantize(Decimal("0.01"))
        total = Decimal(row["Total"])
        assert cells["Size"] == ("large" if total > 10 else "tiny" if total < 1 else "small")


def test_counts_and_sums_over_three_links(shop: Shop) -> None:
    tracks: dict[str, int] = defaultdict(int)
    length: dict[str, int] = defaultdict(int)
    for row in shop.rows["Track"]:
        tracks[row["AlbumId"]] += 1
        length[row["AlbumId"]] += int(row["Milliseconds"])
    for cells in shop.all("Album"):
        assert cells["Tracks"] == tracks[str(cells["AlbumId"])]
        assert cells["Minutes"] == pytest.approx(length[str(cells["AlbumId"])] / 60000, rel=1e-12)
    album_of = {row["TrackId"]: row["AlbumId"] for row in shop.rows["Track"]}
    artist_of = {row["AlbumId"]: row["ArtistId"] for row in shop.rows["Album"]}
    sold: dict[str, int] = defaultdict(int)
    for row in shop.rows["InvoiceLine"]:
        sold[artist_of[album_of[row["TrackId"]]]] += int(row["Quantity"])
    for cells in shop.all("Artist"):
        count = sold[str(cells["ArtistId"])]
        assert cells["Sold"] == count
        assert cells["Rank"] == f"{'★ ' if count >= 50 else ''}{cells['Name'].upper()} ({count})"


def test_lists_are_filtered_and_sorted_by_what_is_computed(shop: Shop) -> None:
    large = [int(row["InvoiceId"]) for row in shop.rows["Invoice"] if Decimal(row["Total"]) > 10]
    assert [cells["InvoiceId"] for cells in shop.all("Invoice", formula="{Size} = 'large'")] == large
    assert len(shop.all("Invoice", formula="{Sum} > 10")) == len(large)
    best = shop.all("Artist", sort=["-Sold"], max_records=5)
    assert [cells["Sold"] for cells in best] == sorted((cells["Sold"] for cells in shop.all("Artist")), reverse=True)[
        :5
    ]
    found = shop.all("Track", formula="AND(FIND('Iron Maiden', ARRAYJOIN({Artist name})), {Sold} > 1)")
    assert found
    assert all("Iron Maiden" in cells["Artist name"] and cells["Sold"] > 1 for cells in found)
    pattern = shop.all("Track", formula="REGEX_MATCH({Name}, '(?i)^the .*$')", fields=["Name"])
    assert len(pattern) == sum(row["Name"].lower().startswith("the ") for row in shop.rows["Track"])


def test_a_storm_of_edits_leaves_everything_right(shop: Shop) -> None:
    chosen = random.Random(42)
    lines, invoices = shop.table("InvoiceLine"), shop.table("Invoice")
    line_ids = [record["id"] for record in lines.all(fields=["InvoiceLineId"])]
    invoice_ids = list(ids_of(shop, "Invoice").values())
    track_ids = list(ids_of(shop, "Track").values())
    for turn in range(60):
        roll = chosen.random()
        if roll < 0.3:
            rows: list[dict[str, Any]] = [
                {
                    "UnitPrice": chosen.choice([0.99, 1.99, 3.5]),
                    "Quantity": chosen.randrange(1, 9),
                    "Invoice": [chosen.choice(invoice_ids)],
                    "Track": [chosen.choice(track_ids)],
                }
                for _ in range(10)
            ]
            line_ids += [record["id"] for record in lines.batch_create(rows)]
        elif roll < 0.6:
            some = chosen.sample(line_ids, 10)
            lines.batch_update([{"id": one, "fields": {"Quantity": chosen.randrange(5)}} for one in some])
        elif roll < 0.75:
            some = chosen.sample(line_ids, 5)
            lines.batch_update([{"id": one, "fields": {"Invoice": [chosen.choice(invoice_ids)]}} for one in some])
        elif roll < 0.85:
            gone = chosen.sample(line_ids, 5)
            lines.batch_delete(gone)
            line_ids = [one for one in line_ids if one not in gone]
        elif roll < 0.95:
            cells: dict[str, Any] = {"InvoiceLine": chosen.sample(line_ids, chosen.randrange(6))}
            invoices.update(chosen.choice(invoice_ids), cells)
        else:
            shop.table("Artist").update(chosen.choice(list(ids_of(shop, "Artist").values())), {"Name": f"Band {turn}"})
    check_all(shop)


def check_all(shop: Shop) -> None:
    """Every computed cell is what plain Python makes of the cells that people write."""
    artists = {record["id"]: record["fields"] for record in shop.table("Artist").all()}
    albums = {record["id"]: record["fields"] for record in shop.table("Album").all()}
    tracks = {record["id"]: record["fields"] for record in shop.table("Track").all()}
    lines = {record["id"]: record["fields"] for record in shop.table("InvoiceLine").all()}
    names = {
        track_id: [artists[artist]["Name"] for album in cells.get("Album", ()) for artist in albums[album]["Artist"]]
        for track_id, cells in tracks.items()
    }
    for cells in lines.values():
        assert cells["Amount"] == pytest.approx(cells["UnitPrice"] * cells["Quantity"], abs=1e-12)
        who = [name for track in cells.get("Track", ()) for name in names[track]]
        assert cells.get("Who", []) == who
    for record in shop.table("Invoice").all():
        own = [lines[line] for line in record["fields"].get("InvoiceLine", ())]
        total = record["fields"]["Sum"]
        assert total == pytest.approx(sum(cells["Amount"] for cells in own), abs=1e-9)
        assert record["fields"]["Size"] == ("large" if total > 10 else "tiny" if total < 1 else "small")
        assert record["fields"].get("Artists", []) == list(
            dict.fromkeys(name for cells in own for name in cells.get("Who", ()))
        )
    for cells in tracks.values():
        assert cells["Sold"] == sum(lines[line]["Quantity"] for line in cells.get("InvoiceLine", ()))
    for cells in albums.values():
        assert cells["Sold"] == sum(tracks[track]["Sold"] for track in cells.get("Track", ()))
    for cells in artists.values():
        assert cells["Sold"] == sum(albums[album]["Sold"] for album in cells.get("Album", ()))


def test_the_check_of_the_base_finds_nothing(shop: Shop) -> None:
    ends_s = time.monotonic() + 30
    while True:
        done = run(shop.platform, "check", "base", "Chinook")
        assert done.returncode == 0, done.stdout + done.stderr
        match = re.search(r"6,\d{3} records, (\d+) computed fields with columns", done.stdout)
        assert match is not None, done.stdout
        if int(match[1]) >= KEPT_MIN or time.monotonic() > ends_s:
            break
        time.sleep(0.5)
    assert int(match[1]) >= KEPT_MIN
    assert "Nothing differs." in done.stdout


def test_a_formula_that_changes_is_right_at_once_and_after(shop: Shop) -> None:
    field = shop.base.schema(force=True).table("InvoiceLine").field("Amount")
    url = f"{shop.platform.url}/api/v1/bases/{shop.base.id}/tables/InvoiceLine/fields/{field.id}"
    body = {"options": {"formula": "ROUND({UnitPrice} * {Quantity} * 2, 2)"}}
    before = {record["id"]: record["fields"]["Sum"] for record in shop.table("Invoice").all(fields=["Sum"])}
    assert call("PATCH", url, token=shop.platform.token, body=body).status == 200
    for _ in range(3):
        after = {record["id"]: record["fields"]["Sum"] for record in shop.table("Invoice").all(fields=["Sum"])}
        assert all(after[one] == pytest.approx(2 * total, abs=1e-6) for one, total in before.items())
        time.sleep(0.5)
    assert run(shop.platform, "check", "base", "Chinook").returncode == 0
