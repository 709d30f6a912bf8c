"""Texts (formula reference, section 9). Positions and lengths count units of UTF-16, as JavaScript's do; half of a pair
that a cut leaves over is dropped."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from pyat.formula.functions import texts_sql
from pyat.formula.functions.base import Function, anything, items, number, text
from pyat.formula.functions.texts_sql import LENGTH_MAX
from pyat.formula.types import BLANK, NUMBER, TEXT, Kind, Type
from pyat.formula.values import ERROR, SPACE, Error, Value, items_of, scalar, to_text

if TYPE_CHECKING:
    from pyat.formula.sql import Context, Sql

_CASE_GROWTH = 3
"""A letter in another case is so many characters at most."""
_URL_GROWTH = 12
"""A character in a URL is so many at most."""
_ASTRAL = "\U00010000"


def _units(value: str) -> int:
    """The length in units of UTF-16."""
    return len(value) if value.isascii() else len(value.encode("utf-16-le")) // 2


def _cut(value: str, start: int, end: int | None) -> str:
    """Part of a text by units of UTF-16."""
    if value.isascii() or max(value) < _ASTRAL:
        return value[start:end]
    units = value.encode("utf-16-le")[start * 2 : None if end is None else end * 2]
    return units.decode("utf-16-le", "ignore")


def _position(value: str, index: int) -> int:
    """Where a character stands, in units of UTF-16."""
    return index if value.isascii() else _units(value[:index])


def _count(number: float) -> int:
    """A number of characters: cut to a whole number, none where it is below zero."""
    return int(max(0.0, min(number, float(2**31))))


def _bounded(made: str) -> Value:
    return made if len(made) <= LENGTH_MAX else ERROR


def _text_sql(value: str, error: str | None = None, length_max: int | None = None) -> "Sql":
    from pyat.formula.sql import Sql

    return Sql(value, TEXT, error, is_filled=True, length_max=length_max if error is None else LENGTH_MAX)


def _number_sql(value: str, condition: str | None = None, *, is_filled: bool = True) -> "Sql":
    from pyat.formula.sql import Sql

    return Sql(value, NUMBER, None, condition, is_filled=is_filled, is_finite=True)


def _is_short(length_max: int | None, *more: "Sql") -> bool:
    """Whether a text and others are known not to be too long together."""
    lengths = [length_max, *(one.length_max for one in more)]
    return None not in lengths and sum(length or 0 for length in lengths) <= LENGTH_MAX


def _grown(given: "Sql", factor: int) -> int | None:
    return None if given.length_max is None else given.length_max * factor


def _let(context: "Context", given: "Sequence[Sql]", template: str, **more: str) -> str:
    """A template with `a`, `b`, … for the values of `given`, each of which it may have several times."""
    names = "abcd"[: len(given)]
    return context.let(given, lambda *found: template.format(**dict(zip(names, found, strict=True)), **more))


def _counts(given: "Sql") -> "Sql":
    """A number of characters as an argument for `_let`."""
    return replace(given, value=texts_sql.count(given))


class _Text(Function):
    category = "text"
    result = TEXT


class ARRAYJOIN(_Text):
    """The items of a list as one text, with a separator between them: a comma and a space where none is given.

    >>> ARRAYJOIN("alone")
    "alone"
    >>> ARRAYJOIN(0, "; ")
    "0"
    """

    category = "array"
    parameters = (anything("array"), text("separator", optional=True))

    @staticmethod
    def sql(context: "Context", array: "Sql", separator: "Sql | None" = None) -> "Sql | None":
        """By array_to_string, which leaves NULL out, too."""
        from pyat.formula.sql import constant, to_text

        if not array.type.is_array:
            made = to_text(context, replace(array, error=None))
            if separator is None:
                return made
            # A single item counts with a separator, too.
            total = None if made.length_max is None else made.length_max
            if _is_short(total, separator):
                return made
            error = _let(context, [made, separator], f"length({{a}}) + length({{b}}) > {LENGTH_MAX}")
            is_blank = "" if array.is_filled else f"{array.value} IS NOT NULL AND "
            return replace(made, error=f"({is_blank}{error})")
        between = separator or constant(", ")
        assert between is not None, "a comma is in SQL"
        given = [array, between]
        items = texts_sql.joined_items(array, "{a}", "''")
        size = (
            f"length({items}) + (cardinality({{a}}) - cardinality(array_positions({{a}}, NULL))) * length({{b}})::int8"
        )
        cheap = "" if array.type.kind is Kind.TEXT else "cardinality({a}) * (30 + length({b})::int8) > {most} AND "
        error = _let(context, given, f"({cheap}{size} > {{most}})", most=str(LENGTH_MAX))
        value = f"COALESCE({texts_sql.joined_items(array, '{a}', '{b}')}, '')"
        if between.length_max is None or between.length_max > 100:
            value = f"CASE WHEN {cheap}{size} > {{most}} THEN '' ELSE {value} END"
        return _text_sql(_let(context, given, value, most=str(LENGTH_MAX)), error)

    @staticmethod
    def run(array: Value, separator: str = ", ") -> Value:
        """Blank items are left out."""
        found = [to_text(item) for item in items_of((array,)) if item is not None]
        texts = [item for item in found if isinstance(item, str)]
        if len(texts) < len(found) or sum(map(len, texts)) + len(separator) * len(texts) > LENGTH_MAX:
            return ERROR
        return separator.join(texts)


class CONCATENATE(_Text):
    """All values as one text, without anything between them.

    >>> CONCATENATE("Bob", " - ", 43)
    "Bob - 43"
    >>> CONCATENATE(BLANK(), "x")
    "x"
    """

    parameters = (items("value"),)

    @staticmethod
    def sql(context: "Context", *given: "Sql") -> "Sql | None":
        """By ||."""
        parts = []
        for one in given:
            part = replace(one, error=None)
            if one.type.is_array:
                part = _text_sql(f"""COALESCE({texts_sql.joined_items(one, one.value, "''")}, '')""")
            parts.append(part)
        return texts_sql.joined(context, parts)

    @staticmethod
    def run(*given: Value) -> Value:
        """Lists are joined item by item."""
        found = [to_text(item) for item in items_of(given)]
        texts = [item for item in found if isinstance(item, str)]
        if len(texts) < len(found) or sum(map(len, texts)) > LENGTH_MAX:
            return ERROR
        return "".join(texts)


class ENCODE_URL_COMPONENT(_Text):
    """The text as a part of a URL: all but letters, digits and `-_.~` is written as `%` and two digits.

    >>> ENCODE_URL_COMPONENT("chicken & waffles")
    "chicken%20%26%20waffles"
    >>> ENCODE_URL_COMPONENT("it's ü")
    "it%27s%20%C3%BC"
    """

    parameters = (text("text"),)

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql":
        """By a function of the runtime."""
        value = f"pyat_formula.url_component({text.value})"
        if _is_short(_grown(text, _URL_GROWTH)):
            return _text_sql(value, None, _grown(text, _URL_GROWTH))
        most = LENGTH_MAX // 3
        long = f"length({{a}}) > {most} OR pyat_formula.url_component_length({{a}}) > {LENGTH_MAX}"
        return _text_sql(value, _let(context, [text], f"(octet_length({{a}}) > {most} AND ({long}))"))

    @staticmethod
    def run(text: str) -> Value:
        """From its UTF-8."""
        if len(text) > LENGTH_MAX // 3:
            return ERROR
        return _bounded(quote(text, safe=""))


def _found(needle: str, haystack: str, start: float) -> int:
    """The position of the first hit from 1, or 0; `start` characters are skipped."""
    skipped = _count(start)
    rest = _cut(haystack, skipped, None) if skipped else haystack
    if skipped > _units(haystack):
        return 0
    index = rest.find(needle)
    return 0 if index < 0 else _units(haystack) - _units(rest) + _position(rest, index) + 1


def _position_sql(context: "Context", needle: "Sql", haystack: "Sql", start: "Sql | None") -> tuple[str, str | None]:
    """The position of the first hit from 1, or 0, and the condition that there is one."""
    if start is None or (start.constant is not None and texts_sql.count(start) == "0"):
        slow = "pyat_formula.position_of({a}, {b})"
        fast = 'strpos({b} COLLATE "C", {a})'
        value = f"CASE WHEN {texts_sql.is_ascii('{b}')} THEN {fast} ELSE {slow} END::float8"
        condition = f'(strpos({haystack.value} COLLATE "C", {needle.value}) > 0)'
        return _let(context, [needle, haystack], value), condition
    return f"pyat_formula.position_of({needle.value}, {haystack.value}, {texts_sql.count(start)})", None


class FIND(_Text):
    """Where a text begins in another one, counted from 1; 0 where it does not occur. The case counts.

    >>> FIND("o", "fool")
    2
    >>> FIND("o", "fool", 2)
    3
    >>> FIND("O", "fool")
    0
    """

    parameters = (text("needle"), text("haystack"), number("start", optional=True))
    result = NUMBER

    @staticmethod
    def sql(context: "Context", needle: "Sql", haystack: "Sql", start: "Sql | None" = None) -> "Sql":
        """By strpos; as a condition, that alone."""
        value, condition = _position_sql(context, needle, haystack, start)
        return _number_sql(value, condition)

    @staticmethod
    def run(needle: str, haystack: str, start: float = 0.0) -> float:
        """`start` is how many characters are skipped."""
        return float(_found(needle, haystack, start))


class SEARCH(_Text):
    """Where a text begins in another one, counted from 1; blank where it does not occur. The case counts.

    >>> SEARCH("l", "fool")
    4
    >>> SEARCH("x", "fool")
    blank
    """

    parameters = (text("needle"), text("haystack"), number("start", optional=True))
    result = NUMBER

    @staticmethod
    def sql(context: "Context", needle: "Sql", haystack: "Sql", start: "Sql | None" = None) -> "Sql":
        """By strpos; as a condition, that alone."""
        value, condition = _position_sql(context, needle, haystack, start)
        return _number_sql(f"NULLIF({value}, 0)", condition, is_filled=False)

    @staticmethod
    def run(needle: str, haystack: str, start: float = 0.0) -> Value:
        """`start` is how many characters are skipped."""
        found = _found(needle, haystack, start)
        return float(found) if found else None


class LEFT(_Text):
    """The first characters of a text.

    >>> LEFT("quick brown fox", 5)
    "quick"
    >>> LEFT("abc", -1)
    ""
    """

    parameters = (text("text"), number("count"))

    @staticmethod
    def sql(context: "Context", text: "Sql", count: "Sql") -> "Sql":
        """By left, of ASCII."""
        value = (
            f"CASE WHEN {texts_sql.is_ascii('{a}')} THEN left({{a}}, {{b}}) ELSE pyat_formula.cut({{a}}, 0, {{b}}) END"
        )
        return _text_sql(_let(context, [text, _counts(count)], value), None, text.length_max)

    @staticmethod
    def run(text: str, count: float) -> str:
        """The whole text where it is shorter."""
        return _cut(text, 0, _count(count))


class RIGHT(_Text):
    """The last characters of a text.

    >>> RIGHT("quick brown fox", 5)
    "n fox"
    >>> RIGHT("abc", 10)
    "abc"
    """

    parameters = (text("text"), number("count"))

    @staticmethod
    def sql(context: "Context", text: "Sql", count: "Sql") -> "Sql":
        """By right, of ASCII."""
        units = "length({a}) + pyat_formula.pairs({a})"
        slow = f"pyat_formula.cut({{a}}, greatest({units} - {{b}}, 0), {units})"
        value = f"CASE WHEN {texts_sql.is_ascii('{a}')} THEN right({{a}}, {{b}}) ELSE {slow} END"
        return _text_sql(_let(context, [text, _counts(count)], value), None, text.length_max)

    @staticmethod
    def run(text: str, count: float) -> str:
        """The whole text where it is shorter."""
        return _cut(text, max(0, _units(text) - _count(count)), None)


class MID(_Text):
    """Some characters from a position on, which is counted from 1.

    >>> MID("Hello", 2, 3)
    "ell"
    >>> MID("Hello", 9, 3)
    ""
    """

    parameters = (text("text"), number("start"), number("count"))

    @staticmethod
    def sql(context: "Context", text: "Sql", start: "Sql", count: "Sql") -> "Sql":
        """By substr, of ASCII."""
        first = replace(start, value=texts_sql.count(start, 1))
        slow = "pyat_formula.cut({a}, {b} - 1, {b} - 1 + {c})"
        value = f"CASE WHEN {texts_sql.is_ascii('{a}')} THEN substr({{a}}, {{b}}, {{c}}) ELSE {slow} END"
        return _text_sql(_let(context, [text, first, _counts(count)], value), None, text.length_max)

    @staticmethod
    def run(text: str, start: float, count: float) -> str:
        """A start before the first character is the first."""
        first = max(0, _count(start) - 1)
        return _cut(text, first, first + _count(count))


class LEN(_Text):
    """How many characters a text has.

    >>> LEN("quick brown fox")
    15
    >>> LEN("😀")
    2
    """

    parameters = (text("text"),)
    result = NUMBER

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql":
        """By length; characters of two units are counted again."""
        return _number_sql(
            _let(context, [text], "(length({a}) + pyat_formula.pairs({a}))::float8"), f"({text.value} <> '')"
        )

    @staticmethod
    def run(text: str) -> float:
        """In units of UTF-16."""
        return float(_units(text))


def _case_sql(context: "Context", text: "Sql", name: str) -> "Sql":
    ascii_only = texts_sql.is_ascii("{a}")
    value = f'CASE WHEN {ascii_only} THEN {name}({{a}} COLLATE "C") ELSE pyat_formula.{name}({{a}}) END'
    error = None
    if not _is_short(_grown(text, _CASE_GROWTH)):
        error = f"(octet_length({{a}}) > {LENGTH_MAX // _CASE_GROWTH} AND length(pyat_formula.{name}({{a}})) > {LENGTH_MAX})"
        error = _let(context, [text], error)
    return _text_sql(_let(context, [text], value), error, _grown(text, _CASE_GROWTH))


class LOWER(_Text):
    """The text in small letters.

    >>> LOWER("Hello World")
    "hello world"
    >>> LOWER("ÄÖ")
    "äö"
    """

    parameters = (text("text"),)

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql":
        """By a function of the runtime that has Python's mapping, but for ASCII."""
        return _case_sql(context, text, "lower")

    @staticmethod
    def run(text: str) -> Value:
        """By Unicode's full mapping."""
        return _bounded(text.lower())


class UPPER(_Text):
    """The text in capital letters.

    >>> UPPER("Hello World")
    "HELLO WORLD"
    >>> UPPER("straße")
    "STRASSE"
    """

    parameters = (text("text"),)

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql":
        """By a function of the runtime that has Python's mapping, but for ASCII."""
        return _case_sql(context, text, "upper")

    @staticmethod
    def run(text: str) -> Value:
        """By Unicode's full mapping."""
        return _bounded(text.upper())


class TRIM(_Text):
    """The text without white space at both ends.

    >>> TRIM("  a  b ")
    "a  b"
    >>> TRIM(BLANK())
    ""
    """

    parameters = (text("text"),)

    @staticmethod
    def sql(context: "Context", text: "Sql") -> "Sql":
        """By btrim."""
        from pyat.formula.sql import text_constant

        return _text_sql(f"btrim({text.value}, {text_constant(SPACE)})", None, text.length_max)

    @staticmethod
    def run(text: str) -> str:
        """White space inside stays."""
        return text.strip(SPACE)


class REPLACE(_Text):
    """The text with some characters from a position on replaced by another text.

    >>> REPLACE("database", 2, 5, "o")
    "dose"
    >>> REPLACE("ab", 9, 1, "c")
    "abc"
    """

    parameters = (text("text"), number("start"), number("count"), text("replacement"))

    @staticmethod
    def sql(context: "Context", text: "Sql", start: "Sql", count: "Sql", replacement: "Sql") -> "Sql":
        """By left and substr, of ASCII."""
        first = replace(start, value=texts_sql.count(start, 1))
        slow = "pyat_formula.cut({a}, 0, {b} - 1) || {d} || pyat_formula.cut({a}, {b} - 1 + {c}, 2000000000)"
        fast = "left({a}, {b} - 1) || {d} || substr({a}, {b} + {c})"
        made = f"CASE WHEN {texts_sql.is_ascii('{a}')} THEN {fast} ELSE {slow} END"
        given = [text, first, _counts(count), replacement]
        if _is_short(text.length_max, replacement):
            total = (text.length_max or 0) + (replacement.length_max or 0)
            return _text_sql(_let(context, given, f"({made})"), None, total)
        # What is too long by both texts may be short enough where much of the first is left out.
        long = f"octet_length({{a}}) + octet_length({{d}}) > {LENGTH_MAX} AND length({made}) > {LENGTH_MAX}"
        value = f"CASE WHEN {long} THEN '' ELSE {made} END"
        return _text_sql(_let(context, given, value), _let(context, given, f"({long})"))

    @staticmethod
    def run(text: str, start: float, count: float, replacement: str) -> Value:
        """The start is counted from 1; past the end the other text is added."""
        first = max(0, _count(start) - 1)
        return _bounded(_cut(text, 0, first) + replacement + _cut(text, first + _count(count), None))


class SUBSTITUTE(_Text):
    """The text with every occurrence of one text replaced by another, or only the one that the index says.

    >>> SUBSTITUTE("gold mold", "old", "et")
    "get met"
    >>> SUBSTITUTE("gold mold", "old", "et", 1)
    "get mold"
    """

    parameters = (text("text"), text("old"), text("new"), number("index", optional=True))

    @staticmethod
    def sql(context: "Context", text: "Sql", old: "Sql", new: "Sql", index: "Sql | None" = None) -> "Sql":
        """By replace, or a function of the runtime for one occurrence."""
        given = [text, old, new]
        if index is not None:
            made = "pyat_formula.substitute_one({a}, {b}, {c}, {d})"
            given.append(_counts(index))
            length_max = None if text.length_max is None else text.length_max + (new.length_max or 0)
            sizes, size = "octet_length({a}) + octet_length({c})", f"length({made})"
            # An unchanged text may be as long as it is.
            changed = f" AND {made} <> {{a}}"
        else:
            made = 'replace({a} COLLATE "C", {b}, {c})'
            # `old` has one character at least.
            length_max = _grown(text, max(1, new.length_max or 0))
            sizes = "octet_length({a}) * greatest(1, octet_length({c}))::int8"
            size = "length({a}) + pyat_formula.occurrences({a}, {b})::int8 * (length({c}) - length({b}))"
            changed = " AND {b} <> ''"
        if new.length_max is not None and _is_short(length_max):
            return _text_sql(_let(context, given, made), None, length_max)
        long = f"{sizes} > {LENGTH_MAX} AND {size} > {LENGTH_MAX}{changed}"
        value = f"CASE WHEN {long} THEN '' ELSE {made} END"
        return _text_sql(_let(context, given, value), _let(context, given, f"({long})"))

    @staticmethod
    def run(text: str, old: str, new: str, index: float | None = None) -> Value:
        """Occurrences do not overlap; an index that there is none of changes nothing."""
        if not old:
            return text
        if index is None:
            count = text.count(old)
            return text.replace(old, new) if len(text) + count * (len(new) - len(old)) <= LENGTH_MAX else ERROR
        wanted = _count(index)
        at = -len(old)
        for _ in range(min(wanted, len(text) + 1)):
            at = text.find(old, at + len(old))
            if at < 0:
                return text
        return _bounded(text[:at] + new + text[at + len(old) :]) if wanted else text


_REPEATED_PLAINLY = 10_000


class REPT(_Text):
    """The text so many times.

    >>> REPT("ab", 3)
    "ababab"
    >>> REPT("ab", -1)
    #ERROR!
    """

    parameters = (text("text"), number("count"))

    @staticmethod
    def sql(context: "Context", text: "Sql", count: "Sql") -> "Sql":
        """By repeat, once the length is known."""
        times = texts_sql.count(count)
        if count.constant is None:
            times = texts_sql.count(replace(count, value="{b}"))
        error = f"{{b}} < 0 OR length({{a}})::int8 * {times} > {LENGTH_MAX}"
        value = f"CASE WHEN {{a}} = '' OR {error} THEN '' ELSE repeat({{a}}, {times}) END"
        given = [text, count]
        # PostgreSQL repeats an empty text as often as it is told.
        if times.isdigit() and 0 < int(times) <= _REPEATED_PLAINLY:
            length_max = _grown(text, int(times))
            if _is_short(length_max):
                return _text_sql(f"repeat({text.value}, {times})", None, length_max)
        return _text_sql(_let(context, given, value), _let(context, given, f"({error})"))

    @staticmethod
    def run(text: str, count: float) -> Value:
        """A count below zero is an error, and so is more than 10,000,000 characters."""
        return ERROR if count < 0 or len(text) * _count(count) > LENGTH_MAX else text * (_count(count) if text else 0)


class T(_Text):
    """The value where it is a text, else blank.

    >>> T("text")
    "text"
    >>> T(43)
    blank
    """

    parameters = (anything("value"),)
    takes_infinite = True

    @classmethod
    def result_of(cls, arguments: Sequence[Type]) -> Type:
        """Blank where no argument is a text."""
        return TEXT if arguments[0].kind in (Kind.TEXT, Kind.ANY) else BLANK

    @staticmethod
    def sql(context: "Context", value: "Sql") -> "Sql":
        """What it is, by its kind."""
        from pyat.formula.sql import null

        if value.type.kind is not Kind.TEXT:
            return null(BLANK)
        if not value.type.is_array:
            return replace(value, error=None)
        many = "CASE WHEN cardinality(array_remove({a}, NULL)) > 0 THEN array_to_string({a}, ', ') END"
        made = _let(context, [value], f"CASE WHEN cardinality({{a}}) < 2 THEN ({{a}})[1] ELSE {many} END")
        return replace(_text_sql(made), is_filled=False)

    @staticmethod
    def run(value: Value) -> Value:
        """A list of texts is their joined text."""
        found = scalar(value)
        if isinstance(found, tuple):
            made = to_text(found)
            return made if not isinstance(made, Error) and any(isinstance(item, str) for item in found) else None
        return found if isinstance(found, str) else None


FUNCTIONS: Sequence[type[Function]] = (
    ARRAYJOIN,
    CONCATENATE,
    ENCODE_URL_COMPONENT,
    FIND,
    LEFT,
    LEN,
    LOWER,
    MID,
    REPLACE,
    REPT,
    RIGHT,
    SEARCH,
    SUBSTITUTE,
    T,
    TRIM,
    UPPER,
)
