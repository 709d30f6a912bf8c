"""The records of a table as records of another one that was made like it in the same transaction.

A copy has the creation number of its original, so the links of the originals are those of the copies.
"""

from collections.abc import Sequence

from pyat.foundation.db import Connection
from pyat.foundation.ids import BaseId, RecordId, TableId
from pyat.foundation.sql import Statement, quote
from pyat.recordstore.columns import column_type
from pyat.recordstore.ddl import relation
from pyat.recordstore.links import junction_of
from pyat.recordstore.structure import Field, Table

_LEFT_OUT = "multipleAttachments"
"""An attachment belongs to one cell."""


async def count_records(connection: Connection, base_id: BaseId, table_id: TableId, *, rows_max: int) -> int:
    """How many records a table has; `rows_max` + 1 where there are more than `rows_max`."""
    return await _count(connection, relation(base_id, table_id), rows_max)


async def count_links(connection: Connection, base_id: BaseId, table: Table, *, rows_max: int) -> int:
    """How many links the cells of a table hold; more than `rows_max` stands for all that is more."""
    total = 0
    for field in table.fields:
        if field.link is not None and total <= rows_max:
            total += await _count(connection, junction_of(base_id, field.link), rows_max)
    return total


async def _count(connection: Connection, name: str, rows_max: int) -> int:
    statement = Statement("count_copied", f"SELECT count(*) FROM (SELECT FROM {name} LIMIT {rows_max + 1}) s")
    count: int = await connection.value(statement)
    return count


async def copy_records(
    connection: Connection,
    base_id: BaseId,
    original: TableId,
    copy: TableId,
    fields: Sequence[tuple[Field, Field]],
    *,
    record_ids: Sequence[RecordId],
    actor: str,
) -> None:
    """The oldest records of `original`, one for each id, as new ones of `copy`, which has none; made now by `actor`.

    `fields` are pairs of a field and what it is called in the copy. Attachments are left out; autonumbers stay, and
    later records get numbers after those of the original.
    """
    names, selected = [], []
    for old, new in fields:
        if column_type(new) is None or old.type == _LEFT_OUT:
            continue
        names.append(quote(new.field_id))
        is_moment = old.type == "lastModifiedTime"
        selected.append("date_trunc('milliseconds', now())" if is_moment else f"r.{quote(old.field_id)}")
    target = relation(base_id, copy)
    await connection.run(
        Statement(
            "copy_records",
            f"INSERT INTO {target} (_n, _id, _created, _modified, _created_by, _modified_by"
            f"{''.join(f', {name}' for name in names)})"
            " SELECT r._n, i.id, date_trunc('second', now()), date_trunc('milliseconds', now()), $2::text, $2::text"
            f"{''.join(f', {item}' for item in selected)}"
            f" FROM (SELECT o.*, row_number() OVER (ORDER BY o._n) AS _place FROM {relation(base_id, original)} o) r"
            " JOIN unnest($1::text[]) WITH ORDINALITY AS i(id, place) ON i.place = r._place ORDER BY r._n",
        ),
        list(record_ids),
        actor,
    )
    await connection.value(
        Statement("number_after_copies", f"SELECT setval(pg_get_serial_sequence($1, '_n'), max(r._n)) FROM {target} r"),
        target,
    )
    tables = f"{quote(base_id)}.base_tables"
    await connection.run(
        Statement(
            "copy_auto_number",
            f"UPDATE {tables} c SET auto_number = o.auto_number FROM {tables} o WHERE c.table_id = $1 AND o.table_id = $2",
        ),
        copy,
        original,
    )


async def copy_links(connection: Connection, base_id: BaseId, copy: TableId, old: Field, new: Field) -> None:
    """The links of a field for the copied records, in their order; links within a table go from copy to copy."""
    assert old.link is not None
    assert new.link is not None
    target, own = junction_of(base_id, new.link), relation(base_id, copy)
    within = f" JOIN {own} o ON o._n = l.{old.link.other}" if new.link.linked_table_id == copy else ""
    await connection.run(
        Statement(
            "copy_links",
            f"INSERT INTO {target} ({new.link.own}, {new.link.other}, {new.link.place}, {new.link.other}_place)"
            f" SELECT l.{old.link.own}, l.{old.link.other}, l.{old.link.place}, l.{old.link.other}_place"
            f" FROM {junction_of(base_id, old.link)} l JOIN {own} r ON r._n = l.{old.link.own}{within}",
        )
    )
    # What is linked later from the other side goes last.
    await connection.value(
        Statement(
            "place_after_copies", f"SELECT setval($1::text::regclass, max(greatest(a_place, b_place))) FROM {target}"
        ),
        quote(base_id, f"{new.link.junction}_places"),
    )
