"""What a request asks of its write beside the write itself: to happen once, and only to a record as the client saw it.

The terms of a request travel in its context, because every write takes them, whatever it is called. They are kept in the
write's own transaction: an answer is remembered exactly when what it tells of has happened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import orjson

from pyat.foundation.db import Connection, Database
from pyat.foundation.errors import ModelNotFound
from pyat.foundation.ids import BaseId, RecordId, UserId
from pyat.foundation.sql import Statement, load_statements
from pyat.recordstore.columns import record_json
from pyat.recordstore.ddl import relation
from pyat.recordstore.structure import Base, Table
from pyat.services.airtable_gateway.contract import (
    IdempotencyKeyBusy,
    IdempotencyKeyReused,
    Imported,
    RecordChanged,
    Upserted,
)

ANSWER_KEPT_H = 24
"""How long the answer to a request with a key is kept."""

_SQL = load_statements("pyat.services.airtable_gateway")
_KEPT = timedelta(hours=ANSWER_KEPT_H)


@dataclass(slots=True)
class Once:
    """A request that is to happen once, whoever repeats it; `digest` tells it from other requests with the same key."""

    user_id: UserId
    base_id: BaseId
    key: str
    digest: bytes
    kept: bytes | None = None
    """The answer, once it is known that there is one."""
    is_replayed: bool = False

    @property
    def _name(self) -> tuple[str, str, str]:
        return self.user_id, self.base_id, self.key

    async def find(self, database: Database | Connection) -> bool:
        """Look the answer up. Raises IdempotencyKeyReused where it belongs to another request."""
        row = await database.row(_SQL["find_answer"], *self._name, _KEPT)
        if row is None:
            return False
        if row["digest"] != self.digest:
            raise IdempotencyKeyReused(key=self.key)
        self.kept = row["answer"]
        return True

    async def begin(self, connection: Connection) -> None:
        """Claim the key until the transaction ends. Raises IdempotencyKeyBusy, IdempotencyKeyReused."""
        if not await connection.value(_SQL["lock_answer"], *self._name):
            raise IdempotencyKeyBusy(key=self.key)
        # A statement of its own: its snapshot has to be younger than the lock.
        await self.find(connection)

    async def keep(self, connection: Connection, answer: object) -> None:
        """Keep the answer with what the transaction writes."""
        await connection.run(_SQL["keep_answer"], *self._name, self.digest, _text_of(answer), _KEPT)

    def answer(self) -> Any:
        """The answer that was found."""
        assert self.kept is not None, "whoever asks has found an answer"
        self.is_replayed = True
        return _read(self.kept)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A record that has to have one of these tags when it is written; None of them is any."""

    record_id: RecordId
    tags: frozenset[str] | None

    async def begin(self, connection: Connection, base: Base, table: Table) -> None:
        """Lock the record and look at it. Raises RecordChanged, ModelNotFound."""
        name = relation(base.base_id, table.table_id)
        lock = Statement("lock_record", f"SELECT r._n FROM {name} r WHERE r._id = $1 FOR NO KEY UPDATE")
        if await connection.value(lock, self.record_id) is None:
            raise ModelNotFound(kind="Record")
        if self.tags is None:
            return
        # Of its own too: links lie in other relations, which the first statement read before it had the lock.
        tag = await connection.value(
            Statement("record_tag", f"SELECT {tag_sql(table)} FROM {name} r WHERE r._id = $1"), self.record_id
        )
        if tag not in self.tags:
            raise RecordChanged(record_id=self.record_id)


def tag_sql(table: Table) -> str:
    """SQL of a record's tag: a digest of what a client sees of it, but for what is computed from other records or the time."""
    fields = [field for field in table.fields if field.computed is None]
    return f"encode(substr(sha256(convert_to({record_json(table, by_id=False, fields=fields)}, 'UTF8')), 1, 16), 'hex')"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one request asks for."""

    once: Once | None = None
    unchanged: Unchanged | None = None

    async def begin(self, connection: Connection, base: Base, table: Table) -> bool:
        """First in the transaction; True where the answer is there already and nothing is to be written."""
        if self.once is not None:
            await self.once.begin(connection)
            if self.once.kept is not None:
                return True
        if self.unchanged is not None:
            await self.unchanged.begin(connection, base, table)
        return False

    def answer(self) -> Any:
        """What `begin` has found."""
        assert self.once is not None, "only a request with a key has an answer to find"
        return self.once.answer()

    async def end(self, connection: Connection, answer: object) -> None:
        """Last in the transaction."""
        if self.once is not None:
            await self.once.keep(connection, answer)


_current: ContextVar[Terms | None] = ContextVar("write_terms", default=None)


def current() -> Terms | None:
    """The terms of the request that is being answered; None is by far the usual."""
    return _current.get()


def kept_answer() -> Once | None:
    """Where the request's answer was found before anything was done for it."""
    terms = _current.get()
    return None if terms is None or terms.once is None or terms.once.kept is None else terms.once


@contextmanager
def under(terms: Terms) -> Iterator[None]:
    """Writes inside keep to the terms."""
    token = _current.set(terms)
    try:
        yield
    finally:
        _current.reset(token)


def _text_of(answer: object) -> bytes:
    match answer:
        case None:
            return b"n"
        case bytes():
            return b"b" + answer
        case Upserted():
            ids = orjson.dumps([answer.created_ids, answer.updated_ids])
            return b"u" + ids + b"\n" + answer.records
        case Imported():
            return b"i" + orjson.dumps(asdict(answer))
        case _:
            raise AssertionError(f"a write does not answer with {type(answer).__name__}")


def _read(text: bytes) -> Any:
    kind, rest = text[:1], text[1:]
    if kind == b"n":
        return None
    if kind == b"b":
        return rest
    if kind == b"i":
        return Imported(**orjson.loads(rest))
    ids, _, records = rest.partition(b"\n")
    created, updated = orjson.loads(ids)
    return Upserted(records, tuple(created), tuple(updated))
