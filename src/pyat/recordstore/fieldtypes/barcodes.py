"""Barcodes: a text that a scanner read, and maybe which kind of code it was in."""

from typing import Any, ClassVar

import orjson

from pyat.recordstore.fieldtypes.base import TEXT_LENGTH_MAX, BadValue, FieldType, NewChoices, StoredValue, is_blank
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.fieldtypes.notation import decimal_text
from pyat.recordstore.structure import Field

SYMBOLOGY_LENGTH_MAX = 100


class Barcode(FieldType):
    """`{"text": "012", "type": "upce"}`; `type` is left out where nobody knows it. Stored as that object."""

    name: ClassVar[str] = "barcode"
    pg_type: ClassVar[str] = "jsonb"
    can_be_primary: ClassVar[bool] = True

    def parse(self, value: Any, field: Field) -> StoredValue:
        """The object; an empty text clears."""
        if type(value) is not dict:
            if is_blank(value):
                return None
            raise BadValue
        if not value.keys() <= {"text", "type"}:
            raise BadValue
        text, symbology = value.get("text"), value.get("type")
        if type(text) is not str or len(text) > TEXT_LENGTH_MAX or "\x00" in text:
            raise BadValue
        if symbology is not None and (type(symbology) is not str or len(symbology) > SYMBOLOGY_LENGTH_MAX):
            raise BadValue
        if symbology and "\x00" in symbology:
            raise BadValue
        if not text:
            return None
        return orjson.dumps({"text": text, "type": symbology} if symbology else {"text": text}).decode()

    def typecast(self, value: Any, field: Field, new_choices: NewChoices) -> StoredValue:
        """A text or a number alone is the text."""
        if type(value) is str:
            value = {"text": value}
        elif type(value) is int or (type(value) is float and value - value == 0.0):
            value = {"text": decimal_text(value)}
        return self.parse(value, field)

    def json_sql(self, field: Field, column: str) -> str:
        """The object as it is stored."""
        return f"{column}::text"

    def text_sql(self, field: Field, column: str, text: TextFormat) -> str:
        """The text."""
        return f"({column} ->> 'text')"

    def sort_sql(self, field: Field, column: str) -> tuple[str, ...]:
        """The text, without regard to case first, then exactly."""
        return f"""lower({column} ->> 'text') COLLATE "C\"""", f"""({column} ->> 'text') COLLATE "C\""""

    def sort_pg_types(self, field: Field) -> tuple[str, ...]:
        """Both keys are text."""
        return "text", "text"
