"""Attachments: the cell is a list of attachment ids, what they are lies in the base's relation `base_attachments`.

The JSON of a cell holds a mark in place of each URL of a file of ours, because URLs are signed by whoever answers the
request: see `recordstore.attachments.with_urls`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pyat.foundation.ids import is_id
from pyat.foundation.sql import quote
from pyat.recordstore.attachments import MARK_BEGIN, MARK_END
from pyat.recordstore.errors import InvalidAttachmentObject
from pyat.recordstore.fieldtypes.base import BadOptions, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.selects import split_names
from pyat.recordstore.structure import Field, Options

ITEMS_PER_CELL_MAX = 1_000
URL_LENGTH_MAX = 8_192
FILENAME_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class NewFile:
    """What a client wants fetched into a cell; it becomes an attachment id before it is stored."""

    url: str
    filename: str | None = None


class MultipleAttachments(FieldType):
    """Files in the order of the cell."""

    name: ClassVar[str] = "multipleAttachments"
    pg_type: ClassVar[str] = "text[]"

    def parse_options(self, options: Any, *, new_choice_id: Any) -> Options:
        """None to send; read as `{"isReversed": false}`."""
        if options is not None and options != {}:
            raise BadOptions("options", "is not included in the schema")
        return {"isReversed": False}

    def parse(self, value: Any, field: Field) -> StoredValue:
        """A list of `{"url", "filename"?}` or `{"id"}`: attachment ids and `NewFile`s. Raises InvalidAttachmentObject."""
        if type(value) is not list:
            if is_blank(value):
                return None
            raise InvalidAttachmentObject(field=field.name, reason="a list of objects is needed.")
        return _checked([_item(item, field) for item in value], field)

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """Also a URL, several with commas between them, or a list of URLs."""
        if type(value) is str:
            value = [text.strip() for text in split_names(value) if text.strip()]
        elif type(value) is dict:
            value = [value]
        if type(value) is not list:
            return self.parse(value, field)
        items = [_item({"url": item} if type(item) is str else item, field) for item in value]
        return _checked(items, field)

    def json_sql(self, field: Field, column: str) -> str:
        """Airtable's attachment objects; type, size and thumbnails once the file is there."""
        safe_name = "regexp_replace(t.filename, '[^A-Za-z0-9._-]+', '_', 'g')"

        def url(variant: str) -> str:
            return f"{MARK_BEGIN} || t.attachment_id || '/' || {variant} || '/' || {safe_name} || {MARK_END}"

        own = f"""CASE WHEN t.state = 'stored' THEN '"' || {url("'original'")} || '"' ELSE to_json(t.source_url)::text END"""
        thumbnail = (
            f"""to_json(v.key)::text || ':{{"url":"' || {url("v.key")} || '","width":' || (v.value ->> 'width')"""
            """ || ',"height":' || (v.value ->> 'height') || '}'"""
        )
        thumbnails = (
            f"""(SELECT ',"thumbnails":{{' || string_agg({thumbnail}, ',') || '}}'"""
            " FROM jsonb_each(t.thumbnails) v)"
        )
        item = (
            f"""concat('{{"id":"', t.attachment_id, '","url":', coalesce({own}, '""'), ',"filename":', to_json(t.filename),"""
            """ ',"size":' || t.size, ',"type":' || to_json(t.type)::text, ',"width":' || t.width,"""
            f""" ',"height":' || t.height, {thumbnails}, '}}')"""
        )
        return f"(SELECT '[' || string_agg({item}, ',' ORDER BY x.place) || ']' {_rows(field, column)})"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The names of the files."""
        return f"(SELECT string_agg(t.filename, ', ' ORDER BY x.place) {_rows(field, column)})"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The names of the files."""
        return (f"(SELECT string_agg(t.filename, ', ' ORDER BY x.place) {_rows(field, column)})",)

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Text."""
        return ("text",)


def _rows(field: Field, column: str) -> str:
    return (
        f"FROM unnest({column}) WITH ORDINALITY AS x(id, place)"
        f" JOIN {quote(field.base_id, 'base_attachments')} t ON t.attachment_id = x.id"
    )


def _checked(items: list[str | NewFile], field: Field) -> list[str | NewFile] | None:
    if len(items) > ITEMS_PER_CELL_MAX:
        raise InvalidAttachmentObject(field=field.name, reason=f"a cell takes {ITEMS_PER_CELL_MAX:,} attachments.")
    ids = [item for item in items if isinstance(item, str)]
    if len(set(ids)) != len(ids):
        raise InvalidAttachmentObject(field=field.name, reason="an attachment is there twice.")
    return items or None


def _item(item: Any, field: Field) -> str | NewFile:
    if type(item) is not dict:
        raise InvalidAttachmentObject(field=field.name, reason="an item must be an object with a url or an id.")
    # Objects as they were read are sent back with their url; the id decides.
    if item.get("id") is not None:
        if not is_id("att", item["id"]):
            raise InvalidAttachmentObject(field=field.name, reason="id is not the id of an attachment.")
        found: str = item["id"]
        return found
    url, filename = item.get("url"), item.get("filename")
    if type(url) is not str or not url.lower().startswith(("http://", "https://")) or len(url) > URL_LENGTH_MAX:
        raise InvalidAttachmentObject(field=field.name, reason="url must be an http or https address.")
    if filename is not None and (
        type(filename) is not str or not 0 < len(filename) <= FILENAME_LENGTH_MAX or "\x00" in filename
    ):
        raise InvalidAttachmentObject(
            field=field.name, reason=f"filename must be a text of 1 to {FILENAME_LENGTH_MAX} characters."
        )
    return NewFile(url, filename)
