"""The attachments of a base: rows that name a content, and the cell that holds them.

A row is `pending` until its file is there, then `stored`, or `failed`. It belongs to at most one cell. A cell claims it,
and lets go of it when the cell loses it; a row that is let go of can be claimed again by the same cell until it is
deleted. Every function runs in the caller's transaction.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from pyat.foundation.db import Connection, Row
from pyat.foundation.ids import BaseId, new_ids
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.changelog import Entry, Kind, Source, append

PENDING, STORED, FAILED = "pending", "stored", "failed"
KEPT_AFTER_RELEASE = timedelta(days=7)
"""As long as the trash keeps records, and what can be undone."""
KEPT_UNCLAIMED = timedelta(days=1)

# No JSON text that people write holds these characters as they are: PostgreSQL escapes them. So nobody can forge a mark.
MARK_BEGIN, MARK_END = "E'\\x01'", "E'\\x02'"
"""SQL of the characters around what becomes the URL of a file: `att…/variant/filename`."""
_MARK = re.compile(rb"\x01(att[0-9A-Za-z]{14})/([A-Za-z0-9]+)/([A-Za-z0-9._-]*)\x02")

_COLUMNS = (
    "attachment_id, state, content_hash, filename, size, type, width, height, thumbnails, source_url, failure,"
    " created_at, created_by, table_id, field_id, record_id, released_at"
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of a file once it is stored; `thumbnails` by name, each `{"width", "height", …}`."""

    content_hash: str
    size: int
    type: str
    width: int | None = None
    height: int | None = None
    thumbnails: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """One row."""

    attachment_id: str
    state: str
    filename: str
    content: Content | None
    source_url: str | None
    failure: str | None
    created_at: datetime
    created_by: str | None
    table_id: str | None
    field_id: str | None
    record_id: str | None
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A cell that shall hold an attachment."""

    attachment_id: str
    table_id: str
    field_id: str
    record_id: str


def with_urls(body: bytes, url: Callable[[str, str, str], str]) -> bytes:
    """JSON of records with every mark replaced by `url(attachment id, variant, filename)`.

    Costs nothing to speak of where there is none.
    """
    if b"\x01" not in body:
        return body
    return _MARK.sub(lambda found: url(*(part.decode("ascii") for part in found.groups())).encode(), body)


async def insert_pending(
    connection: Connection, base_id: BaseId, files: Sequence[tuple[str, str]], *, actor: str, now: datetime
) -> list[str]:
    """New rows for files yet to be fetched, as (URL, filename); their ids, in the same order."""
    ids = new_ids("att", len(files))
    await connection.run(
        Statement(
            "insert_pending_attachments",
            f"INSERT INTO {quote(base_id, 'base_attachments')}"
            " (attachment_id, state, source_url, filename, created_at, created_by)"
            f" SELECT i.id, '{PENDING}', i.url, i.filename, $4, $5"
            " FROM unnest($1::text[], $2::text[], $3::text[]) AS i(id, url, filename)",
        ),
        ids,
        [url for url, _ in files],
        [filename for _, filename in files],
        now,
        actor,
    )
    return ids


async def insert_stored(
    connection: Connection, base_id: BaseId, filename: str, content: Content, *, actor: str, now: datetime
) -> str:
    """A new row for a file that is there already; its id."""
    attachment_id = new_ids("att", 1)[0]
    await connection.run(
        Statement(
            "insert_stored_attachment",
            f"INSERT INTO {quote(base_id, 'base_attachments')} (attachment_id, state, filename, content_hash, size, type,"
            " width, height, thumbnails, created_at, created_by)"
            f" VALUES ($1, '{STORED}', $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        ),
        attachment_id,
        filename,
        *_values(content),
        now,
        actor,
    )
    return attachment_id


async def complete(connection: Connection, base_id: BaseId, attachment_id: str, content: Content) -> bool:
    """The file of a pending row has come; False where no such row waits. Goes to the change log, so take it last."""
    row = await connection.row(
        Statement(
            "complete_attachment",
            f"UPDATE {quote(base_id, 'base_attachments')} SET state = '{STORED}', content_hash = $2, size = $3, type = $4,"
            f" width = $5, height = $6, thumbnails = $7 WHERE attachment_id = $1 AND state = '{PENDING}'"
            " RETURNING table_id, field_id, record_id, created_by",
        ),
        attachment_id,
        *_values(content),
    )
    return await _log(connection, base_id, Kind.ATTACHMENT_STORED, attachment_id, row)


async def fail(connection: Connection, base_id: BaseId, attachment_id: str, reason: str) -> bool:
    """The file of a pending row will not come; False where no such row waits. Goes to the change log: take it last."""
    row = await connection.row(
        Statement(
            "fail_attachment",
            f"UPDATE {quote(base_id, 'base_attachments')} SET state = '{FAILED}', failure = $2"
            f" WHERE attachment_id = $1 AND state = '{PENDING}' RETURNING table_id, field_id, record_id, created_by",
        ),
        attachment_id,
        reason,
    )
    return await _log(connection, base_id, Kind.ATTACHMENT_FAILED, attachment_id, row)


async def read(connection: Connection, base_id: BaseId, attachment_ids: Sequence[str]) -> dict[str, Attachment]:
    """The rows that exist, by id."""
    rows = await connection.rows(
        Statement(
            "read_attachments",
            f"SELECT {_COLUMNS} FROM {quote(base_id, 'base_attachments')} WHERE attachment_id = ANY($1)",
        ),
        list(attachment_ids),
    )
    return {row["attachment_id"]: _attachment(row) for row in rows}


async def claim(connection: Connection, base_id: BaseId, claims: Sequence[Claim]) -> frozenset[str]:
    """Give attachments to cells; the ids that are theirs now, new or as before.

    An id that is left out does not exist, or is another cell's: see `copy`. An id may be claimed once in a call.
    """
    rows = await connection.rows(
        Statement(
            "claim_attachments",
            f"UPDATE {quote(base_id, 'base_attachments')} a"
            " SET table_id = c.table_id, field_id = c.field_id, record_id = c.record_id, released_at = NULL"
            " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS c(id, table_id, field_id, record_id)"
            " WHERE a.attachment_id = c.id AND (a.record_id IS NULL"
            " OR (a.table_id, a.field_id, a.record_id) = (c.table_id, c.field_id, c.record_id))"
            " RETURNING a.attachment_id",
        ),
        [item.attachment_id for item in claims],
        [item.table_id for item in claims],
        [item.field_id for item in claims],
        [item.record_id for item in claims],
    )
    return frozenset(row["attachment_id"] for row in rows)


async def copy(
    connection: Connection, base_id: BaseId, claims: Sequence[Claim], *, actor: str, now: datetime
) -> dict[int, str]:
    """New attachments in the given cells with the files of those named; the new ids by place in `claims`.

    A place that is left out names an attachment that does not exist or has no file (yet).
    """
    ids = new_ids("att", len(claims))
    rows = await connection.rows(
        Statement(
            "copy_attachments",
            f"INSERT INTO {quote(base_id, 'base_attachments')} (attachment_id, state, content_hash, filename, size, type,"
            " width, height, thumbnails, source_url, created_at, created_by, table_id, field_id, record_id)"
            " SELECT c.new_id, a.state, a.content_hash, a.filename, a.size, a.type, a.width, a.height, a.thumbnails,"
            " a.source_url, $6, $7, c.table_id, c.field_id, c.record_id"
            " FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])"
            " AS c(new_id, id, table_id, field_id, record_id)"
            f" JOIN {quote(base_id, 'base_attachments')} a ON a.attachment_id = c.id AND a.state = '{STORED}'"
            " RETURNING attachment_id",
        ),
        ids,
        [item.attachment_id for item in claims],
        [item.table_id for item in claims],
        [item.field_id for item in claims],
        [item.record_id for item in claims],
        now,
        actor,
    )
    made = {row["attachment_id"] for row in rows}
    return {place: new_id for place, new_id in enumerate(ids) if new_id in made}


async def release(connection: Connection, base_id: BaseId, attachment_ids: Sequence[str], *, now: datetime) -> None:
    """Cells have lost these attachments; they are deleted a week later unless their cells claim them again."""
    await connection.run(
        Statement(
            "release_attachments",
            f"UPDATE {quote(base_id, 'base_attachments')} SET released_at = $2"
            " WHERE attachment_id = ANY($1) AND released_at IS NULL",
        ),
        list(attachment_ids),
        now,
    )


async def release_of_records(connection: Connection, base_id: BaseId, record_ids: Sequence[str]) -> None:
    """These records are deleted; their attachments stay as long as the trash keeps records."""
    await connection.run(
        Statement(
            "release_attachments_of_records",
            f"UPDATE {quote(base_id, 'base_attachments')} SET released_at = now()"
            " WHERE record_id = ANY($1) AND released_at IS NULL",
        ),
        list(record_ids),
    )


async def reclaim(connection: Connection, base_id: BaseId, attachment_ids: Sequence[str]) -> None:
    """The cells of these attachments are there again."""
    await connection.run(
        Statement(
            "reclaim_attachments",
            f"UPDATE {quote(base_id, 'base_attachments')} SET released_at = NULL WHERE attachment_id = ANY($1)",
        ),
        list(attachment_ids),
    )


async def release_of_missing_fields(connection: Connection, base_id: BaseId, *, now: datetime) -> None:
    """Fields that were removed for good held these attachments. Cost: reads all of the base's attachments."""
    await connection.run(
        Statement(
            "release_attachments_of_fields",
            f"UPDATE {quote(base_id, 'base_attachments')} a SET released_at = $1"
            " WHERE a.released_at IS NULL AND a.record_id IS NOT NULL"
            f" AND NOT EXISTS (SELECT FROM {quote(base_id, 'base_fields')} f WHERE f.field_id = a.field_id)",
        ),
        now,
    )


async def delete_orphans(connection: Connection, base_id: BaseId, *, now: datetime, count_max: int) -> list[str]:
    """Delete up to `count_max` rows that were let go of or never claimed for long enough; the ids."""
    relation = quote(base_id, "base_attachments")
    rows = await connection.rows(
        Statement(
            "delete_orphan_attachments",
            f"DELETE FROM {relation} WHERE attachment_id IN (SELECT attachment_id FROM {relation}"
            " WHERE released_at < $1 OR (record_id IS NULL AND created_at < $2) LIMIT $3 FOR UPDATE SKIP LOCKED)"
            " RETURNING attachment_id",
        ),
        now - KEPT_AFTER_RELEASE,
        now - KEPT_UNCLAIMED,
        count_max,
    )
    return [row["attachment_id"] for row in rows]


async def contents_in_use(connection: Connection, base_id: BaseId, hashes: Sequence[str]) -> frozenset[str]:
    """Those of the contents that an attachment of the base refers to."""
    rows = await connection.rows(
        Statement(
            "attachment_contents",
            f"SELECT DISTINCT content_hash FROM {quote(base_id, 'base_attachments')} WHERE content_hash = ANY($1)",
        ),
        list(hashes),
    )
    return frozenset(row["content_hash"] for row in rows)


def _values(content: Content) -> tuple[Any, ...]:
    thumbnails = None if content.thumbnails is None else orjson.dumps(content.thumbnails).decode()
    return content.content_hash, content.size, content.type, content.width, content.height, thumbnails


def _attachment(row: Row) -> Attachment:
    content = None
    if row["content_hash"] is not None:
        thumbnails = row["thumbnails"]
        content = Content(
            row["content_hash"],
            row["size"],
            row["type"],
            row["width"],
            row["height"],
            None if thumbnails is None else orjson.loads(thumbnails),
        )
    return Attachment(
        attachment_id=row["attachment_id"],
        state=row["state"],
        filename=row["filename"],
        content=content,
        source_url=row["source_url"],
        failure=row["failure"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        table_id=row["table_id"],
        field_id=row["field_id"],
        record_id=row["record_id"],
        released_at=row["released_at"],
    )


async def _log(connection: Connection, base_id: BaseId, kind: Kind, attachment_id: str, row: Row | None) -> bool:
    if row is None:
        return False
    table_number = None
    cells = None
    if row["table_id"] is not None:
        table_number = await connection.value(
            Statement(
                "attachment_table",
                f"SELECT position::int4 FROM {quote(base_id, 'base_tables')} WHERE table_id = $1",
            ),
            row["table_id"],
        )
        cells = {"record": row["record_id"], "field": row["field_id"]}
    entry = Entry(kind, attachment_id, table_number, cells)
    await append(connection, base_id, [entry], actor=row["created_by"] or "", source=Source.SYSTEM)
    return True
