"""The benchmark's rows: ten columns of mixed types, the same for every run."""

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

SEED = 20_240_229

HEADER = ("Name", "Quantity", "Amount", "Due", "Last seen", "Status", "Done", "Email", "Website", "Notes")

PLAIN_COLUMNS = (
    "name text, quantity float8, amount float8, due date, last_seen timestamptz, status text, done bool,"
    " email text, website text, notes text"
)

_FIRST = (
    "Ada Bela Chidi Dilan Emeka Freya Goran Hana Ilse João Kofi Léa Mina Noor Olga Pia Quinn Rosa Sven Tove".split()
)
_LAST = (
    "Abara Brandt Castro Duarte Eriksen Fischer Garcia Hansen Ito Jensen Kovač Lindqvist Müller Novák Okafor".split()
)
_STATUSES = ("Lead", "Contacted", "Qualified", "Proposal sent", "Negotiation", "Won", "Lost", "On hold")
_WORDS = (
    "asked about the price of a larger plan and wants a call next week because their contract ends in spring they use"
    " spreadsheets today and need an export for accounting plus access for two colleagues from the warehouse team"
).split()


class Row(NamedTuple):
    """One row as it stands in the CSV file and as plain COPY takes it."""

    csv: tuple[str, ...]
    copy: tuple[str, ...]


def rows(count: int) -> Iterator[Row]:
    """`count` rows, always the same."""
    random_ = random.Random(SEED)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(count):
        first, last = random_.choice(_FIRST), random_.choice(_LAST)
        cents = random_.randrange(100, 5_000_000)
        due = (start + timedelta(days=random_.randrange(2_500))).date().isoformat()
        seen = (start + timedelta(seconds=random_.randrange(200_000_000))).strftime("%Y-%m-%dT%H:%M:%SZ")
        quantity = "" if random_.random() < 0.05 else str(random_.randrange(1, 2_000))
        is_done = random_.random() < 0.4
        notes = " ".join(random_.choices(_WORDS, k=random_.randrange(5, 40)))
        if random_.random() < 0.1:
            notes = f'{notes},\n"{random_.choice(_WORDS)}"'
        status = random_.choice(_STATUSES)
        name = f"{first} {last} {number}"
        email = f"{first}.{last}.{number}@example.com".lower()
        website = f"https://example.com/customers/{number}?ref={random_.randrange(10**6)}"
        amount = f"{cents // 100:,}.{cents % 100:02d}"
        yield Row(
            (name, quantity, f"${amount}", due, seen, status, str(is_done).lower(), email, website, notes),
            (
                name,
                quantity or "\\N",
                amount.replace(",", ""),
                due,
                seen,
                status,
                "t" if is_done else "\\N",
                email,
                website,
                notes.replace("\n", "\\n"),
            ),
        )


def write(folder: Path, count: int) -> tuple[Path, Path]:
    """The CSV file and the file for plain COPY (PostgreSQL's text format)."""
    csv_path, copy_path = folder / f"{count}.csv", folder / f"{count}.copy"
    with (
        csv_path.open("w", encoding="utf-8", newline="") as csv_file,
        copy_path.open("w", encoding="utf-8") as copy_file,
    ):
        writer = csv.writer(csv_file)
        writer.writerow(HEADER)
        for row in rows(count):
            writer.writerow(row.csv)
            copy_file.write("\t".join(row.copy) + "\n")
    return csv_path, copy_path
