"""Links between records: one junction relation for each pair of fields, so that both sides always agree.

A junction `lnk…` has a row for each link: `a` and `b` are the creation numbers of the two records, `a_place` orders the
cell of `a`, `b_place` that of `b`. A cell that a client writes is numbered from 1; a link that comes in from the other
side takes the next number of the junction's sequence, which is higher than any place there is, so it goes last: to link
one more record to a hub costs the same however many it has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from pyat.foundation.db import Connection, Row
from pyat.foundation.ids import BaseId, RecordId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.errors import RowDoesNotExist
from pyat.recordstore.structure import Base, Field, Link, Table

LOGGED_WHOLE_MAX = 100
"""Links of a cell up to which the change log keeps it before and after; of a larger one, what came and went."""


class PrimaryText(str):
    """What a typecast write gives instead of a record id: the primary value of the record to link."""

    __slots__ = ()


def relation_of(base_id: BaseId, table_id: str) -> str:
    """The quoted, qualified relation of a table."""
    return quote(base_id, table_id)


def junction_of(base_id: BaseId, link: Link) -> str:
    """The quoted, qualified junction of a link field."""
    return quote(base_id, link.junction)


def junction_name(field_id: str) -> str:
    """The name of the junction that is made with a link field."""
    return f"lnk{field_id[3:]}"


async def create_junction(connection: Connection, base_id: BaseId, table: Table, field: Field) -> None:
    """The empty junction of a new pair; `field` is its first field, of `table`.

    Raises LockNotAvailableError where the two relations are in use for longer than the lock time-out in force.
    """
    link = field.link
    assert link is not None and link.is_first, "a junction is made with its first field"
    name, places = junction_of(base_id, link), quote(base_id, f"{link.junction}_places")
    first, second = relation_of(base_id, table.table_id), relation_of(base_id, link.linked_table_id)
    await connection.script(
        "create_junction",
        f"CREATE SEQUENCE {places};"
        f"CREATE TABLE {name} ("
        f"a int8 NOT NULL REFERENCES {first} ON DELETE CASCADE,"
        f" b int8 NOT NULL REFERENCES {second} ON DELETE CASCADE,"
        f" a_place int8 NOT NULL DEFAULT nextval('{places}'),"
        f" b_place int8 NOT NULL DEFAULT nextval('{places}'),"
        f" PRIMARY KEY (a, b));"
        f"CREATE UNIQUE INDEX ON {name} (b, a);"
        f"ALTER SEQUENCE {places} OWNED BY {name}.b_place",
    )


def link_fields(table: Table) -> list[Field]:
    """The fields of a table that hold links."""
    return [item for item in table.fields if item.link is not None]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A way in which records of a table are linked from elsewhere; `field` shows it here, where a field does."""

    link: Link
    """As seen from this table."""
    other: Table
    field: Field | None
    inverse: Field | None
    """The field of `other` that shows it there."""


def ways(base: Base, table: Table) -> list[Incoming]:
    """Every junction that has records of `table` on one side; a self link without inverse comes once for each side."""
    found = []
    for own in link_fields(table):
        link = own.link
        assert link is not None
        other = base.tables_by_id.get(link.linked_table_id)
        if other is not None:
            inverse = None if link.inverse_field_id is None else other.fields_by_id.get(link.inverse_field_id)
            found.append(Incoming(link, other, own, inverse))
    for other in base.tables:
        for theirs in link_fields(other):
            link = theirs.link
            assert link is not None
            if link.linked_table_id == table.table_id and link.inverse_field_id is None:
                turned = Link(link.junction, other.table_id, not link.is_first, theirs.field_id)
                found.append(Incoming(turned, other, None, theirs))
    return found


@dataclass(slots=True)
class CellsChange:
    """What became of the link cells of some records: log text by own number, and of the other side by record id."""

    own: dict[int, list[str]] = field(default_factory=dict)
    """JSON members without braces, such as `"12":[[],["rec…"]]`."""
    others: dict[tuple[int, str], dict[str, dict[str, list[str]]]] = field(default_factory=dict)
    """By table number and record id, by field number: record ids that came "in" and went "out"."""

    def note_other(self, table: Table, inverse: Field | None, record_id: str, own_id: str, way: str) -> None:
        """One link more or less in the cell of a record on the other side, where a field shows it."""
        if inverse is not None:
            cells = self.others.setdefault((table.number, record_id), {})
            cells.setdefault(str(inverse.number), {}).setdefault(way, []).append(own_id)


async def lock(
    connection: Connection, base: Base, table: Table, own_ids: Iterable[str], linked: Mapping[str, Iterable[str]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Keep the records whose link cells are about to be written, and those to be linked (by table id), as they are.

    Whoever writes the cell of a record waits for whoever links it from the other side, so that what each of them notes
    in the log is true. Rows are locked table by table in one order everywhere, so that nobody waits in a circle.
    Gives the creation numbers of the own records that are there, and of the linked ones. Raises RowDoesNotExist for a
    linked one that is not.
    """
    own = set(own_ids)
    wanted = {table_id: dict.fromkeys(record_ids) for table_id, record_ids in linked.items()}
    found_own: dict[str, int] = {}
    found: dict[str, int] = {}
    for other in sorted(base.tables, key=lambda item: item.number):
        ids = wanted.get(other.table_id, {})
        is_own = other.table_id == table.table_id and bool(own)
        if not ids and not is_own:
            continue
        # Kept cells of linked records may be set by the links: who holds only a share of a record cannot set them.
        is_set = is_own or any(item.stored is not None for item in other.fields)
        mode = "NO KEY UPDATE" if is_set else "SHARE"
        statement = Statement(
            "lock_linked_records",
            f"SELECT r._id, r._n FROM {relation_of(base.base_id, other.table_id)} r WHERE r._id = ANY ($1::text[])"
            f" ORDER BY r._n FOR {mode}",
        )
        rows = await connection.rows(statement, [*ids, *(own if is_own else ())])
        numbers = {row["_id"]: row["_n"] for row in rows}
        for record_id in ids:
            if record_id not in numbers:
                raise RowDoesNotExist(record_id=record_id)
            found[record_id] = numbers[record_id]
        if is_own:
            found_own = {record_id: numbers[record_id] for record_id in own if record_id in numbers}
    return found_own, found


async def replace_cells(
    connection: Connection,
    base: Base,
    own: Field,
    *,
    cells: Mapping[int, Sequence[RecordId]],
    own_ids: Mapping[int, RecordId],
    numbers: Mapping[str, int],
    are_new: bool,
    change: CellsChange,
) -> set[int]:
    """Make the link cells of some records what `cells` says (by own number, in order), and note it in `change`.

    `numbers` are those of the linked records; `are_new` says that the records had no links. Returns the own numbers
    whose cells differ now. Two statements, one where `are_new`.
    """
    link = own.link
    assert link is not None
    other_table = base.tables_by_id[link.linked_table_id]
    inverse = None if link.inverse_field_id is None else other_table.fields_by_id.get(link.inverse_field_id)
    before: dict[int, list[Row]] = {number: [] for number in cells}
    if not are_new:
        for found in await connection.rows(_current(base.base_id, link), list(cells)):
            before[found["own"]].append(found)
    gone: list[tuple[int, int]] = []
    put: list[tuple[int, int, int]] = []
    changed = set()
    for number, record_ids in cells.items():
        known = {row["id"]: row for row in before[number]}
        if list(known) == list(record_ids):
            continue
        changed.add(number)
        removed = [record_id for record_id in known if record_id not in set(record_ids)]
        added = [record_id for record_id in record_ids if record_id not in known]
        gone += [(number, known[record_id]["other"]) for record_id in removed]
        for place, record_id in enumerate(record_ids, 1):
            link_row = known.get(record_id)
            if link_row is None or link_row["place"] != place:
                put.append((number, numbers[record_id] if link_row is None else link_row["other"], place))
        text = _list_text(own, record_ids) if are_new else _cell_text(own, list(known), record_ids, added, removed)
        change.own.setdefault(number, []).append(text)
        for way, ids in (("in", added), ("out", removed)):
            for record_id in ids:
                change.note_other(other_table, inverse, record_id, own_ids[number], way)
    if gone or put:
        await connection.run(
            _write(base.base_id, link),
            [pair[0] for pair in gone],
            [pair[1] for pair in gone],
            [item[0] for item in put],
            [item[1] for item in put],
            [item[2] for item in put],
        )
    return changed


def _cell_text(
    own: Field, before: Sequence[str], after: Sequence[str], added: Sequence[str], removed: Sequence[str]
) -> str:
    if max(len(before), len(after)) <= LOGGED_WHOLE_MAX:
        value: Any = [before, after]
    else:
        value = {sign: ids for sign, ids in (("+", added), ("-", removed)) if ids}
    return f'"{own.number}":{orjson.dumps(value).decode()}'


def _current(base_id: BaseId, link: Link) -> Statement:
    return Statement(
        "current_links",
        f"SELECT l.{link.own} AS own, l.{link.other} AS other, l.{link.place} AS place, o._id AS id"
        f" FROM {junction_of(base_id, link)} l JOIN {relation_of(base_id, link.linked_table_id)} o"
        f" ON o._n = l.{link.other} WHERE l.{link.own} = ANY ($1::int8[])"
        f" ORDER BY l.{link.own}, l.{link.place}, l.{link.other} FOR UPDATE OF l",
    )


def _write(base_id: BaseId, link: Link) -> Statement:
    name = junction_of(base_id, link)
    return Statement(
        "write_links",
        f"WITH gone AS (DELETE FROM {name} l USING unnest($1::int8[], $2::int8[]) AS g(own, other)"
        f" WHERE l.{link.own} = g.own AND l.{link.other} = g.other)"
        f" INSERT INTO {name} AS l ({link.own}, {link.other}, {link.place})"
        " SELECT p.own, p.other, p.place FROM unnest($3::int8[], $4::int8[], $5::int8[]) AS p(own, other, place)"
        f" ORDER BY least(p.own, p.other), greatest(p.own, p.other)"
        f" ON CONFLICT (a, b) DO UPDATE SET {link.place} = EXCLUDED.{link.place}",
    )


async def current_ids(
    connection: Connection, base_id: BaseId, table: Table, own: Field, record_id: RecordId
) -> list[RecordId]:
    """The link cell of one record of `table`, in order."""
    link = own.link
    assert link is not None
    rows = await connection.rows(
        Statement(
            "link_cell",
            f"SELECT o._id FROM {relation_of(base_id, table.table_id)} r"
            f" JOIN {junction_of(base_id, link)} l ON l.{link.own} = r._n"
            f" JOIN {relation_of(base_id, link.linked_table_id)} o ON o._n = l.{link.other}"
            f" WHERE r._id = $1 ORDER BY l.{link.place}, l.{link.other}",
        ),
        record_id,
    )
    return [row["_id"] for row in rows]


async def remove_all(
    connection: Connection, base: Base, table: Table, own_ids: Mapping[int, RecordId], change: CellsChange
) -> None:
    """Take the links of records that are about to be deleted, and note them; one statement for each junction."""
    for way in ways(base, table):
        link = way.link
        rows = await connection.rows(
            Statement(
                "remove_links",
                f"WITH gone AS (DELETE FROM {junction_of(base.base_id, link)} l WHERE l.{link.own} = ANY ($1::int8[])"
                f" RETURNING l.{link.own} AS own, l.{link.other} AS other, l.{link.place} AS place)"
                f" SELECT g.own, o._id AS id FROM gone g"
                f" JOIN {relation_of(base.base_id, link.linked_table_id)} o ON o._n = g.other"
                " ORDER BY g.own, g.place, g.other",
            ),
            list(own_ids),
        )
        cells: dict[int, list[str]] = {}
        for row in rows:
            cells.setdefault(row["own"], []).append(row["id"])
            if row["id"] not in own_ids.values():
                change.note_other(way.other, way.inverse, row["id"], own_ids[row["own"]], "out")
        if way.field is not None:
            for number, ids in cells.items():
                change.own.setdefault(number, []).append(_list_text(way.field, ids))


def _list_text(own: Field, ids: Sequence[str]) -> str:
    return f'"{own.number}":{orjson.dumps(ids).decode()}'
