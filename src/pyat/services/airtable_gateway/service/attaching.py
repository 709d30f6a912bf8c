"""New files of a write: what clients name becomes attachments of the base before a cell holds it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyat.recordstore.fieldtypes.attachments import NewFile
from pyat.recordstore.structure import Base, Table
from pyat.services.airtable_gateway.store.records import attachment_fields
from pyat.services.file.contract import Files, UrlItem


async def with_attachments(
    files: Files, base: Base, table: Table, rows: Sequence[Mapping[str, Any]], *, actor: str
) -> list[dict[str, Any]]:
    """Rows of stored values with new files registered: from here on their cells hold attachment ids only.

    Files are fetched in the background; those that no cell claims in the end are collected. Raises InvalidAttachment.
    """
    own = [field.field_id for field in attachment_fields(table)]
    new = [item for row in rows for field_id in own for item in row.get(field_id) or () if isinstance(item, NewFile)]
    if not new:
        return [dict(row) for row in rows]
    items = tuple(UrlItem(item.url, item.filename) for item in new)
    ids = iter(await files.register_urls(base_id=base.base_id, items=items, actor=actor))
    found = []
    for row in rows:
        cells = dict(row)
        for field_id in own:
            if row.get(field_id):
                cells[field_id] = [next(ids) if isinstance(item, NewFile) else item for item in row[field_id]]
        found.append(cells)
    return found
