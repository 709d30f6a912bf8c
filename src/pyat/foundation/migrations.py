"""Numbered SQL files, applied once each, in order, by whoever comes first, under an advisory lock.

A file is `NNNN_what_it_does.sql`. An applied file never changes: its checksum is kept and a difference is refused.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

from pyat.foundation.db import Database
from pyat.foundation.sql import Statement

_LOCK_KEY = 0x70796174  # "pyat"
_LOCK = Statement("migration_lock", "SELECT pg_advisory_xact_lock($1)")
_TABLE = (
    "CREATE SCHEMA IF NOT EXISTS pyat;"
    "CREATE TABLE IF NOT EXISTS pyat.migrations (service text NOT NULL, number int NOT NULL, name text NOT NULL,"
    " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (service, number))"
)
_APPLIED = Statement("migrations_applied", "SELECT service, number, checksum FROM pyat.migrations")
_RECORD = Statement(
    "migration_record", "INSERT INTO pyat.migrations (service, number, name, checksum) VALUES ($1, $2, $3, $4)"
)


class MigrationChanged(Exception):
    """A migration that was applied has another text now; restore the file and write a new one instead."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of one service."""

    service: str
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def find(service: str, package: str) -> tuple[Migration, ...]:
    """The migrations in `package`'s folder `migrations`, in order of number; none where there is no such folder."""
    folder = resources.files(package).joinpath("migrations")
    if not folder.is_dir():
        return ()
    found = []
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(service, int(number), name, file.read_text("utf-8")))
    assert len({migration.number for migration in found}) == len(found), f"{package} has two migrations of one number"
    return tuple(sorted(found, key=lambda migration: migration.number))


async def apply(database: Database, migrations: tuple[Migration, ...]) -> tuple[Migration, ...]:
    """Apply what is not applied yet, all in one transaction; returns those. Raises MigrationChanged."""
    async with database.transaction() as connection:
        await connection.run(_LOCK, _LOCK_KEY)
        await connection.script("migration_table", _TABLE)
        applied = {(row["service"], row["number"]): row["checksum"] for row in await connection.rows(_APPLIED)}
        new = []
        for migration in migrations:
            known = applied.get((migration.service, migration.number))
            if known is None:
                await connection.script(f"migrate_{migration.service}_{migration.number}", migration.text)
                await connection.run(_RECORD, migration.service, migration.number, migration.name, migration.checksum)
                new.append(migration)
            elif known != migration.checksum:
                raise MigrationChanged(
                    f"Migration {migration.number} of {migration.service} was changed after it had been applied. "
                    "Restore the file and put the change into a new migration."
                )
        return tuple(new)
