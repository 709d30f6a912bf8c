"""The rules of imports: a file is read and checked whole, then its rows go into an existing table in one transaction."""

import asyncio
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId
from pyat.recordstore.errors import UnknownFieldName
from pyat.recordstore.fieldtypes import BadValue, NewChoices, User, Users, find
from pyat.recordstore.fieldtypes.people import UserType
from pyat.recordstore.structure import Base, Field, Table
from pyat.recordstore.tabular import parquet
from pyat.recordstore.tabular.errors import FileRefused
from pyat.recordstore.tabular.portions import Portion, csv_portions, ndjson_portions
from pyat.recordstore.tabular.sheets import xlsx_portions
from pyat.services.airtable_gateway.contract import Imported, ImportRejected, InvalidFile
from pyat.services.airtable_gateway.service.calls import Calls, table_of

REJECTIONS_SHOWN_MAX = 100

ImportFormat = Literal["ndjson", "csv", "xlsx", "parquet"]
_READERS: Mapping[ImportFormat, Callable[[Path], Iterator[Portion]]] = {
    "csv": csv_portions,
    "ndjson": ndjson_portions,
    "xlsx": xlsx_portions,
    # Of the lines that another process has made of it.
    "parquet": ndjson_portions,
}
_DOES_NOT_FIT = "cannot be read as a value of the field"
_FALSE_WORDS = frozenset({"false", "0", "no", "unchecked"})
_TRUE_WORDS = frozenset({"true", "1", "yes", "checked"})


class ImportCalls(Calls):
    """Imports into tables that exist. No part of the contract: a file does not fit through it."""

    async def import_file(
        self,
        *,
        principal: Principal,
        base_id: BaseId,
        table: str,
        path: Path,
        file_format: ImportFormat,
        keeps_going: bool,
    ) -> Imported:
        """All rows of a file as new records, by the names of columns, with typecast; all of them or none.

        With `keeps_going` cells that do not fit stay blank, and rows that cannot be read are left out. Raises InvalidFile,
        ImportRejected, UnknownFieldName and what `create_records` raises. Memory does not grow with the file.
        """

        async def work(base: Base) -> Imported:
            its_table = table_of(base, table)
            users = await self.people.users_for(principal, its_table)
            lines = path
            if file_format == "parquet":
                lines = path.with_suffix(".lines")
                try:
                    await parquet.unpack(path, lines)
                except FileRefused as error:
                    raise InvalidFile(reason=str(error)) from None
            with tempfile.TemporaryFile(prefix="pyat-import-") as staged:
                reading = _Reading(its_table, _READERS[file_format](lines), staged, users)
                try:
                    # Portion by portion in a thread, so that others are answered and a client that has gone stops it.
                    while await asyncio.to_thread(reading.step):
                        pass
                except FileRefused as error:
                    raise InvalidFile(reason=str(error)) from None
                if reading.rejected_count and not keeps_going:
                    raise ImportRejected(count=reading.rejected_count, rejected=reading.rejected)
                await self.people.introduce(base.base_id, principal, reading.named)
                return await self.store.create_many(
                    base,
                    its_table,
                    portions=lambda: _unstaged(staged),
                    new_choices={key: value for key, value in reading.new_choices.items() if value.ids_by_name},
                    user_id=principal.user_id,
                    answer=lambda created: Imported(
                        created, reading.rejected_count, reading.rejected, list(reading.ignored)
                    ),
                )

        return await self.planned(principal, base_id, work)


def _unstaged(staged: BinaryIO) -> Iterator[list[dict[str, Any]]]:
    staged.seek(0)
    while True:
        try:
            yield pickle.load(staged)  # noqa: S301 - written by this process, into a file without a name
        except EOFError:
            return


@dataclass(slots=True)
class _Reading:
    """Turns portions of a file into stored rows, which it puts aside."""

    table: Table
    portions: Iterator[Portion]
    staged: BinaryIO
    users: Users
    named: dict[User, None] = field(default_factory=dict)
    """Users in the cells that were read."""
    rejected_count: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    new_choices: dict[str, NewChoices] = field(default_factory=dict)
    ignored: dict[str, None] = field(default_factory=dict)
    _fields: dict[str, Field] = field(default_factory=dict)

    def step(self) -> bool:
        """Read one portion; False at the end. Raises FileRefused, UnknownFieldName, InvalidFile."""
        portion = next(self.portions, None)
        if portion is None:
            return False
        for unread in portion.unread:
            self._reject(unread.line, None, f"The row {unread.reason}.")
        rows: list[dict[str, Any]] = [{} for _ in portion.lines]
        taken: dict[str, str] = {}
        for name, values in portion.columns.items():
            target = self._field(name)
            if target is None:
                continue
            if taken.setdefault(target.field_id, name) != name:
                raise InvalidFile(reason=f'Two columns, "{taken[target.field_id]}" and "{name}", are the same field.')
            self._read(target, values, portion.lines, rows)
        if rows:
            pickle.dump(rows, self.staged, pickle.HIGHEST_PROTOCOL)
        return True

    def _field(self, name: str) -> Field | None:
        """The field of a column; None for one that the platform fills."""
        if name in self.ignored:
            return None
        found = self._fields.get(name) or self.table.find_field(name) or self._alike(name)
        if found is None:
            raise UnknownFieldName(field=name[:255])
        if find(found.type).is_computed:
            self.ignored[name] = None
            return None
        self._fields[name] = found
        return found

    def _alike(self, name: str) -> Field | None:
        folded = name.strip().casefold()
        return next((item for item in self.table.fields if item.name.strip().casefold() == folded), None)

    def _read(self, target: Field, values: Sequence[Any], lines: Sequence[int], rows: list[dict[str, Any]]) -> None:
        kind = find(target.type)
        wanted = self.new_choices.setdefault(target.field_id, NewChoices())
        for place, value in enumerate(values):
            if value is None or value == "":
                continue
            try:
                if isinstance(kind, UserType):
                    stored = kind.read(value, self.users, typecast=True)
                    self.named |= {self.users.by_id[user_id]: None for user_id in kind.ids(stored)}
                else:
                    stored = kind.typecast(value, target, wanted)
            except BadValue:
                self._reject(lines[place], target, f"The value {_DOES_NOT_FIT}.")
                continue
            except AppError as error:
                self._reject(lines[place], target, f"{error}")
                continue
            if stored is not None:
                rows[place][target.field_id] = stored
            if isinstance(value, str) and not _is_understood(target, value, stored):
                self._reject(lines[place], target, f'The text "{_excerpt(value)}" {_DOES_NOT_FIT}.')

    def _reject(self, line: int, target: Field | None, reason: str) -> None:
        self.rejected_count += 1
        if len(self.rejected) < REJECTIONS_SHOWN_MAX:
            self.rejected.append({"line": line, "field": None if target is None else target.name, "reason": reason})


def _is_understood(target: Field, text: str, stored: Any) -> bool:
    """Whether typecast made of a text what it says, where it would clear the cell without a word."""
    word = text.strip().lower()
    if not word:
        return True
    if target.type == "checkbox":
        return word in (_TRUE_WORDS if stored else _FALSE_WORDS)
    return stored is not None


def _excerpt(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"
