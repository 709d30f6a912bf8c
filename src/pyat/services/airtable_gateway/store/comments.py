"""Comments of records, and the reactions to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from pyat.foundation.db import Connection
from pyat.foundation.errors import ModelNotFound, OperationNotPermitted
from pyat.foundation.ids import BaseId, RecordId, UserId, new_id
from pyat.foundation.sql import Statement, quote
from pyat.recordstore import changelog, ddl
from pyat.recordstore.changelog import Entry, Kind
from pyat.recordstore.ddl import StructureChanged
from pyat.recordstore.errors import LimitReached
from pyat.recordstore.fieldtypes import User
from pyat.recordstore.structure import Base, Table
from pyat.services.airtable_gateway.store.records import RowsStore, structure_watched

REACTIONS_PER_COMMENT_MAX = 500

_COLUMNS = "c.comment_id, c.n, c.table_id, c.record_id, c.parent_id, c.author_id, c.body, c.created_at, c.updated_at, c.reactions"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as it is stored; `reactions` are the emoji (code points in hexadecimal) and the users who reacted."""

    comment_id: str
    n: int
    """Grows with every comment of the base."""
    table_id: str
    record_id: RecordId
    parent_id: str | None
    author_id: UserId
    body: str
    created_at: datetime
    updated_at: datetime | None
    reactions: tuple[tuple[str, UserId], ...]


def _comment(row: Mapping[str, Any]) -> Comment:
    reactions = tuple((emoji, user_id) for emoji, user_id in orjson.loads(row["reactions"]))
    return Comment(**{**dict(row), "reactions": reactions})


class CommentsStore(RowsStore):
    """Comments of all bases. Every method raises StructureChanged where `base` is not the current structure, and
    ModelNotFound where the record or the comment is not there; the comments of a deleted record wait for its return."""

    async def comments(
        self, base: Base, table: Table, record_id: RecordId, *, before: int | None, rows_max: int
    ) -> list[Comment]:
        """The comments of a record that are older than number `before`, newest first."""
        async with structure_watched(), self.database.connection() as connection:
            await _check_record(connection, base, table, record_id)
            rows = await connection.rows(
                Statement(
                    "list_comments",
                    f"SELECT {_COLUMNS} FROM {quote(base.base_id)}.base_comments c"
                    " WHERE c.record_id = $1 AND ($2::int8 IS NULL OR c.n < $2) ORDER BY c.n DESC LIMIT $3",
                ),
                record_id,
                before,
                rows_max,
            )
            return [_comment(row) for row in rows]

    async def users(self, base_id: BaseId, user_ids: Iterable[str]) -> dict[str, User]:
        """What the base knows of users, by id; those it does not know are left out."""
        async with structure_watched():
            rows = await self.database.rows(
                Statement(
                    "comment_users",
                    "SELECT user_id, coalesce(email, '') AS email, coalesce(name, '') AS name"
                    f" FROM {quote(base_id)}.base_users WHERE user_id = ANY ($1::text[])",
                ),
                sorted(set(user_ids)),
            )
        return {row["user_id"]: User(row["user_id"], row["email"], row["name"]) for row in rows}

    async def add_comment(
        self, base: Base, table: Table, record_id: RecordId, *, author_id: str, body: str, parent_id: str | None
    ) -> Comment:
        """A new comment; `parent_id` is another one of the same record."""

        async def run(connection: Connection, base: Base, table: Table) -> Comment:
            await _check_record(connection, base, table, record_id)
            if parent_id is not None:
                await _locked(connection, base, table, record_id, parent_id, mode="KEY SHARE")
            row = await connection.row(
                Statement(
                    "add_comment",
                    f"INSERT INTO {quote(base.base_id)}.base_comments AS c"
                    " (comment_id, table_id, record_id, parent_id, author_id, body, created_at)"
                    f" VALUES ($1, $2, $3, $4, $5, $6, now()) RETURNING {_COLUMNS}",
                ),
                new_id("com"),
                table.table_id,
                record_id,
                parent_id,
                author_id,
                body,
            )
            assert row is not None, "an INSERT without a condition gives its row"
            comment = _comment(row)
            more = {} if parent_id is None else {"parent": parent_id}
            await _note(connection, base, table, Kind.COMMENT_CREATED, comment, author_id, more)
            return comment

        return await self.write(base, table, {}, run, in_transaction=True)

    async def change_comment(
        self, base: Base, table: Table, record_id: RecordId, comment_id: str, *, user_id: str, body: str
    ) -> Comment:
        """Give a comment another text. Raises OperationNotPermitted where it is not the user's."""

        async def run(connection: Connection, base: Base, table: Table) -> Comment:
            await _check_record(connection, base, table, record_id)
            await _locked(connection, base, table, record_id, comment_id, author_id=user_id)
            row = await connection.row(
                Statement(
                    "change_comment",
                    f"UPDATE {quote(base.base_id)}.base_comments c SET body = $2, updated_at = now()"
                    f" WHERE c.comment_id = $1 RETURNING {_COLUMNS}",
                ),
                comment_id,
                body,
            )
            assert row is not None, "the row is locked"
            comment = _comment(row)
            await _note(connection, base, table, Kind.COMMENT_UPDATED, comment, user_id, {})
            return comment

        return await self.write(base, table, {}, run, in_transaction=True)

    async def remove_comment(
        self, base: Base, table: Table, record_id: RecordId, comment_id: str, *, user_id: str
    ) -> None:
        """Delete a comment; replies to it stay. Raises OperationNotPermitted where it is not the user's."""

        async def run(connection: Connection, base: Base, table: Table) -> None:
            await _check_record(connection, base, table, record_id)
            comment = await _locked(connection, base, table, record_id, comment_id, author_id=user_id)
            await connection.run(
                Statement(
                    "remove_comment", f"DELETE FROM {quote(base.base_id)}.base_comments c WHERE c.comment_id = $1"
                ),
                comment_id,
            )
            await _note(connection, base, table, Kind.COMMENT_DELETED, comment, user_id, {})

        await self.write(base, table, {}, run, in_transaction=True)

    async def place_of_comment(self, base: Base, comment_id: str) -> tuple[Table, RecordId]:
        """The table and the record that a comment is about."""
        async with structure_watched():
            row = await self.database.row(
                Statement(
                    "place_of_comment",
                    f"SELECT c.table_id, c.record_id FROM {quote(base.base_id)}.base_comments c WHERE c.comment_id = $1",
                ),
                comment_id,
            )
        table = None if row is None else base.tables_by_id.get(row["table_id"])
        if row is None or table is None:
            raise ModelNotFound(kind="Comment")
        return table, RecordId(row["record_id"])

    async def react(
        self,
        base: Base,
        table: Table,
        record_id: RecordId,
        comment_id: str,
        *,
        user_id: UserId,
        emoji: str,
        is_there: bool,
    ) -> Comment:
        """Add the user's reaction or take it away; nothing is written where it is so already. Raises LimitReached."""

        async def run(connection: Connection, base: Base, table: Table) -> Comment:
            await _check_record(connection, base, table, record_id)
            comment = await _locked(connection, base, table, record_id, comment_id)
            own = (emoji, user_id)
            if (own in comment.reactions) == is_there:
                return comment
            reactions = [*comment.reactions, own] if is_there else [item for item in comment.reactions if item != own]
            if len(reactions) > REACTIONS_PER_COMMENT_MAX:
                raise LimitReached(what="A comment", limit=REACTIONS_PER_COMMENT_MAX, things="reactions")
            row = await connection.row(
                Statement(
                    "react",
                    f"UPDATE {quote(base.base_id)}.base_comments c SET reactions = $2"
                    f" WHERE c.comment_id = $1 RETURNING {_COLUMNS}",
                ),
                comment_id,
                orjson.dumps(reactions).decode(),
            )
            assert row is not None, "the row is locked"
            changed = _comment(row)
            more = {"reactionAdded" if is_there else "reactionRemoved": emoji}
            await _note(connection, base, table, Kind.COMMENT_UPDATED, changed, user_id, more)
            return changed

        return await self.write(base, table, {}, run, in_transaction=True)


async def _check_record(connection: Connection, base: Base, table: Table, record_id: RecordId) -> None:
    row = await connection.row(
        Statement(
            "has_record",
            f"SELECT (SELECT version FROM {quote(base.base_id)}.base_state) AS version,"
            f" EXISTS (SELECT FROM {ddl.relation(base.base_id, table.table_id)} r WHERE r._id = $1) AS is_there",
        ),
        record_id,
    )
    assert row is not None, "a SELECT without FROM has one row"
    if row["version"] != base.version:
        raise StructureChanged
    if not row["is_there"]:
        raise ModelNotFound(kind="Record")


async def _locked(
    connection: Connection,
    base: Base,
    table: Table,
    record_id: RecordId,
    comment_id: str,
    *,
    author_id: str | None = None,
    mode: str = "UPDATE",
) -> Comment:
    row = await connection.row(
        Statement(
            "lock_comment",
            f"SELECT {_COLUMNS} FROM {quote(base.base_id)}.base_comments c"
            f" WHERE c.comment_id = $1 AND c.record_id = $2 AND c.table_id = $3 FOR {mode}",
        ),
        comment_id,
        record_id,
        table.table_id,
    )
    if row is None:
        raise ModelNotFound(kind="Comment")
    if author_id is not None and row["author_id"] != author_id:
        raise OperationNotPermitted
    return _comment(row)


async def _note(
    connection: Connection,
    base: Base,
    table: Table,
    kind: Kind,
    comment: Comment,
    user_id: str,
    more: Mapping[str, str],
) -> None:
    entries: Sequence[Entry] = [Entry(kind, comment.comment_id, table.number, {"record": comment.record_id, **more})]
    await changelog.append(connection, base.base_id, entries, actor=user_id)
