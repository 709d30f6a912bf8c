"""Cells as text (`cellFormat=string`): the format a client asks for, and the SQL that several types share.

Source: wire reference, section 6.5. The order and the signs of a numeric date are facts of each language; months of the
`friendly` format are English everywhere, as that format's name stands for one form.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.sql import literal
from pyat.recordstore.fieldtypes.zones import zone_names
from pyat.recordstore.structure import Options

_LOCALES_BY_DATE = {
    "D/M/YYYY": (
        "af ar ar-ma ar-sa ar-tn bn bo br ca cy el en-au en-gb en-ie en-nz en-in en-za es fa fo fr gl he hi id it jv ka km"
        " ml mr ms my ne pt pt-br ro-md sq ta th tzm tzm-latn uz vi"
    ),
    "D.M.YYYY": "az be bg bs cs da de de-at de-ch et fi fr-ch hr hy hy-am is lb me mk nb nn no pl ro ru sk sl sr sr-cyrl tr tzl uk",
    "D.M.YYYY.": "lv",
    "D-M-YYYY": "cv fy nl",
    "M/D/YYYY": "en en-us tl tl-ph",
    "YYYY-M-D": "en-ca eo eu fr-ca lt sv",
    "YYYY/M/D": "ja si zh zh-cn zh-tw",
    "YYYY.M.D.": "hu ko",
}
LOCALES: Mapping[str, str] = MappingProxyType(
    {locale: form for form, locales in _LOCALES_BY_DATE.items() for locale in locales.split()}
)
"""How a short date is written, by locale in small letters: the locales that a client may name, and their languages."""

_LOCALE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}")
_PARTS = {"YYYY": "YYYY", "MM": "MM", "M": "FMMM", "DD": "DD", "D": "FMDD"}


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How cells are written as text. `read` checks what a client sent; the constructor does not."""

    time_zone: str
    """A name that PostgreSQL knows too; for fields that show moments in the viewer's own zone."""
    date: str
    """The form of a date in the viewer's language, such as `D/M/YYYY`."""

    @classmethod
    def read(cls, time_zone: str | None, locale: str | None) -> "TextFormat":
        """From `timeZone` and `userLocale`, both needed. Raises InvalidRequest.

        A region that is not known is read as its language: `de-li` as `de`.
        """
        if not time_zone or not locale:
            raise InvalidRequest(reason="cellFormat=string needs timeZone and userLocale.")
        zone = "UTC" if time_zone == "utc" else time_zone
        if zone not in zone_names():
            raise InvalidRequest(reason=f'There is no time zone "{time_zone[:100]}".')
        folded = locale.lower().replace("_", "-")
        form = None
        if len(folded) <= 30 and _LOCALE.fullmatch(folded):
            form = LOCALES.get(folded) or LOCALES.get(folded.partition("-")[0])
        if form is None:
            raise InvalidRequest(reason=f'userLocale "{locale[:100]}" is not known.')
        return cls(zone, form)


# SQL


def date_text(source: str, options: Options, text: TextFormat) -> str:
    """SQL of a date (`date` or `timestamp`) by a field's options."""
    return f"to_char({source}, {literal(_date_pattern(options, text))})"


def moment_text(source: str, options: Options, text: TextFormat) -> str:
    """SQL of a moment (`timestamptz`) by a field's options, in the field's zone or in the viewer's."""
    zone: str = options["timeZone"]
    zone = {"utc": "UTC", "client": text.time_zone}.get(zone, zone)
    time = "FMHH12:MIam" if options["timeFormat"]["name"] == "12hour" else "HH24:MI"
    return f"to_char({source} AT TIME ZONE {literal(zone)}, {literal(f'{_date_pattern(options, text)} {time}')})"


def _date_pattern(options: Options, text: TextFormat) -> str:
    name = options["dateFormat"]["name"]
    if name == "friendly":
        return "FMMonth FMDD, YYYY"
    if name == "iso":
        return "YYYY-MM-DD"
    form = {"us": "M/D/YYYY", "european": "D/M/YYYY"}.get(name, text.date)
    return re.sub("YYYY|MM?|DD?", lambda part: _PARTS[part[0]], form)


def rounded(source: str, precision: int) -> str:
    """SQL of a double as `numeric` with so many decimals, halves away from nought."""
    # By way of the text: a cast would keep 15 digits of it.
    return f"round({source}::text::numeric, {precision})"


def amount_text(source: str, precision: int, symbol: str) -> str:
    """SQL of a sum of money: `$1,234.50`, with the sign before the symbol."""
    end = r"\." if precision else "$"
    grouped = rf"regexp_replace(abs(n)::text, '(\d)(?=(?:\d{{3}})+{end})', '\1,', 'g')"
    sign = "CASE WHEN n < 0 THEN '-' ELSE '' END"
    return f"(SELECT {sign} || {literal(symbol)} || {grouped} FROM (SELECT {rounded(source, precision)} AS n) a)"


def duration_text(source: str, form: str) -> str:
    """SQL of a length of time in seconds by a format such as `h:mm:ss.S`, rounded to what that shows."""
    decimals = len(form.partition(".")[2])
    has_seconds = "ss" in form
    units = f"abs({source}::text::numeric) * {10**decimals}" if has_seconds else f"abs({source}::text::numeric) / 60"
    a_minute = 60 * 10**decimals if has_seconds else 1
    parts = [
        f"CASE WHEN n > 0 AND {source} < 0 THEN '-' ELSE '' END || div(n, {60 * a_minute})::text",
        f"lpad(div(mod(n, {60 * a_minute}), {a_minute})::text, 2, '0')",
    ]
    if has_seconds:
        parts.append(f"lpad(div(mod(n, {a_minute}), {10**decimals})::text, 2, '0')")
    shown = " || ':' || ".join(parts)
    if decimals:
        shown += f" || '.' || lpad(mod(n, {10**decimals})::text, {decimals}, '0')"
    return f"(SELECT {shown} FROM (SELECT round({units}) AS n) d)"


def item_text(item: str) -> str:
    """One of several items that are joined with `, `: quoted where it holds a comma."""
    return '"' + item.replace('"', '""') + '"' if "," in item else item


def item_sql(source: str) -> str:
    """The same in SQL; `source` is evaluated more than once."""
    return (
        f"""CASE WHEN position(',' IN {source}) > 0 THEN '"' || replace({source}, '"', '""') || '"' ELSE {source} END"""
    )
