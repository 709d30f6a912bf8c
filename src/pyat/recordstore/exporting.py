"""Records as lines of files: what PostgreSQL writes for a record in each format, so that no Python runs for a cell.

A cell's typed text is the number with all its digits, `true`, an ISO date or moment in UTC, or else what people read
(choices and linked records by name, joined with `, `); empty cells have none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyat.formula import types
from pyat.foundation.sql import literal
from pyat.recordstore import computing
from pyat.recordstore.columns import column
from pyat.recordstore.fieldtypes import find
from pyat.recordstore.fieldtypes.display import TextFormat
from pyat.recordstore.structure import Field

_PLAIN = TextFormat("UTC", "YYYY-MM-DD")
_NUMBERS = frozenset({"float8", "int2", "int4", "int8", "numeric"})
_XLSX_TEXT_LENGTH_MAX = 32_767
"""What a cell of a worksheet holds; longer texts are cut."""


class Kind(StrEnum):
    """What a column of a file holds."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Form:
    """How records are written one after another: SQL of one (the record is `r`), and what stands between two."""

    item: str
    separator: str = ","


def kind_of(field: Field) -> Kind:
    """What a field's column of a file holds. Of numbers and dates that are computed, those that are errors are left out."""
    computed = computing.scalar_kind(field)
    if computed is types.Kind.NUMBER:
        return Kind.NUMBER
    if computed is types.Kind.DATE:
        return Kind.DATE if field.options["result"]["type"] == "date" else Kind.MOMENT
    pg_type = find(field.type).pg_type
    if pg_type in _NUMBERS:
        return Kind.NUMBER
    if pg_type == "bool":
        return Kind.BOOLEAN
    if pg_type == "date":
        return Kind.DATE
    if pg_type == "timestamptz":
        return Kind.DATE if field.options.get("result", {}).get("type") == "date" else Kind.MOMENT
    return Kind.TEXT


def text_of(field: Field, text: TextFormat | None = None) -> str:
    """SQL of a cell's typed text, or with `text` of the text that people read; NULL where it is empty."""
    kind = find(field.type)
    match kind_of(field):
        case Kind.TEXT:
            return kind.text_sql(field, column(field), text or _PLAIN)
        case _ if text is not None:
            return kind.text_sql(field, column(field), text)
        case Kind.DATE | Kind.MOMENT:
            shown = f"""btrim({kind.json_sql(field, column(field))}, '"')"""
            return shown if field.computed is None else f"nullif({shown}, '{computing.ERROR_JSON}')"
        case Kind.NUMBER if field.computed is not None:
            return computing.finite_sql(field, column(field))
        case _:
            return kind.json_sql(field, column(field))


def csv(fields: Sequence[Field], text: TextFormat | None = None) -> Form:
    """Lines of comma-separated values, quoted where they have to be."""
    # A line without a single character would be taken for no record at all.
    blank = "''" if len(fields) > 1 else "'\"\"'"
    cells = [f"coalesce({_csv_cell(field, text)}, {blank})" for field in fields]
    return Form(" || ',' || ".join(cells) if cells else "''", "\r\n")


def _csv_cell(field: Field, text: TextFormat | None) -> str:
    source = text_of(field, text)
    if text is None and kind_of(field) is not Kind.TEXT:
        return source
    return (
        """(SELECT CASE WHEN v ~ '[",\\r\\n]' OR v ~ '^\\s|\\s$' THEN '"' || replace(v, '"', '""') || '"' ELSE v END"""
        f" FROM (SELECT {source} AS v OFFSET 0) c)"
    )


def values(fields: Sequence[Field]) -> Form:
    """JSON lists of typed cells: numbers, true, texts (also of dates and moments), null."""
    cells = [
        f"coalesce({text_of(field)}, 'null')"
        if kind_of(field) in (Kind.NUMBER, Kind.BOOLEAN)
        else f"coalesce(to_json({text_of(field)})::text, 'null')"
        for field in fields
    ]
    joined = " || ',' || ".join(cells) if cells else "''"
    return Form(f"'[' || {joined} || ']'")


def xlsx(fields: Sequence[Field]) -> Form:
    """Rows of a worksheet (SpreadsheetML). Style 1 is that of dates, style 2 that of moments."""
    cells = [f"coalesce({_xlsx_cell(field)}, '<c/>')" for field in fields]
    joined = " || ".join(cells) if cells else "''"
    return Form(f"'<row>' || {joined} || '</row>'", "")


def _xlsx_cell(field: Field) -> str:
    source = text_of(field)
    match kind_of(field):
        case Kind.NUMBER:
            return f"'<c><v>' || {source} || '</v></c>'"
        case Kind.BOOLEAN:
            return f"CASE WHEN {source} = 'true' THEN '<c t=\"b\"><v>1</v></c>' END"
        case Kind.DATE:
            return _xlsx_time(source, "1", "(v::date - DATE '1899-12-30')")
        case Kind.MOMENT:
            return _xlsx_time(source, "2", "round(extract(epoch FROM v::timestamptz) / 86400 + 25569, 10)")
        case _:
            return f"(SELECT {_xlsx_text('v')} FROM (SELECT {source} AS v OFFSET 0) c)"


def _xlsx_time(source: str, style: str, serial: str) -> str:
    # Worksheets count days from 1900 and take that year for a leap year; what is earlier than its March is text.
    return (
        f"(SELECT CASE WHEN v >= '1900-03-01' AND length(split_part(v, '-', 1)) = 4"
        f" THEN '<c s=\"{style}\"><v>' || {serial} || '</v></c>' ELSE {_xlsx_text('v')} END"
        f" FROM (SELECT {source} AS v OFFSET 0) c)"
    )


def _xlsx_text(source: str) -> str:
    plain = f"left(regexp_replace({source}, '[\\x01-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]', '', 'g'), {_XLSX_TEXT_LENGTH_MAX})"
    return f"'<c t=\"inlineStr\"><is><t xml:space=\"preserve\">' || {_escaped(plain)} || '</t></is></c>'"


def _escaped(source: str) -> str:
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        source = f"replace({source}, {literal(sign)}, {literal(entity)})"
    return source
