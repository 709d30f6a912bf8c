"""How DATETIME_FORMAT writes dates and DATETIME_PARSE reads them (formula reference, sections 12.3 to 12.5)."""

import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, lru_cache
from typing import Final

from pyat.formula.moments import year_of_two_digits
from pyat.formula.values import ERROR, Error, Moment, moment, moment_of

DEFAULT: Final = "YYYY-MM-DDTHH:mm:ssZ"
FORMAT_MAX: Final = 10_000
"""Of a format, in characters; longer ones are errors. So are texts that are longer where they are read in a format."""
_TOKEN: Final = re.compile(
    r"\[[^\[]*\]|\\.|LTS|LT|L{1,4}|l{1,4}|YYYY|YY|Y|MMMM|MMM|MM|Mo|M|Qo|Q|DDDD|DDDo|DDD|DD|Do|D|dddd|ddd|dd|do|d|"
    r"e|E|ww|wo|w|WW|Wo|W|gggg|gg|GGGG|GG|HH|H|hh|h|kk|k|mm|m|ss|s|S{1,9}|A|a|ZZ|Z|zz|z|X|x|.",
    re.DOTALL,
)
_LONG: Final = re.compile(r"\[[^\[]*\]|MMMM|MM|DD|dddd")


# Locales


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """The words and habits of a locale. Weeks begin on the weekday `week_start`, where Sunday is 0."""

    months: tuple[str, ...]
    short_months: tuple[str, ...]
    weekdays: tuple[str, ...]
    short_weekdays: tuple[str, ...]
    least_weekdays: tuple[str, ...]
    halves: tuple[str, str, str, str]
    """AM, PM, am, pm."""
    formats: Mapping[str, str]
    week_start: int
    week_days_min: int
    """How many days of a year its first week has at least."""
    ordinal: Callable[[int], str]


def _english_ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def _with_short(formats: dict[str, str]) -> dict[str, str]:
    """`l` to `llll` are `L` to `LLLL` with shorter parts."""
    short = {
        name.lower(): _LONG.sub(lambda found: found[0] if found[0][0] == "[" else found[0][1:], format_)
        for name, format_ in formats.items()
        if name[-1] == "L"
    }
    return formats | short


_MONTHS: Final = tuple("January February March April May June July August September October November December".split())
_WEEKDAYS: Final = tuple("Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split())
ENGLISH: Final = Language(
    _MONTHS,
    tuple(name[:3] for name in _MONTHS),
    _WEEKDAYS,
    tuple(name[:3] for name in _WEEKDAYS),
    tuple(name[:2] for name in _WEEKDAYS),
    ("AM", "PM", "am", "pm"),
    _with_short(
        {
            "LT": "h:mm A",
            "LTS": "h:mm:ss A",
            "L": "MM/DD/YYYY",
            "LL": "MMMM D, YYYY",
            "LLL": "MMMM D, YYYY h:mm A",
            "LLLL": "dddd, MMMM D, YYYY h:mm A",
        }
    ),
    0,
    1,
    _english_ordinal,
)
_LOCALES: Final = frozenset(
    "af ar ar-ma ar-sa ar-tn az be bg bn bo br bs ca cs cv cy da de de-at el en en-au en-ca en-gb en-ie en-nz eo es et eu fa "
    "fi fo fr fr-ca fr-ch fy gl he hi hr hu hy-am id is it ja jv ka kk km ko lb lt lv me mk ml mr ms my nb ne nl nn pl pt "
    "pt-br ro ru si sk sl sq sr sr-cyrl sv ta th tl-ph tr tzl tzm tzm-latn uk uz vi zh-cn zh-tw".split()
)
_CLDR_NAMES: Final[Mapping[str, str]] = {
    "me": "sr_Latn_ME",
    "sr": "sr_Latn",
    "sr-cyrl": "sr_Cyrl",
    "tl-ph": "fil_PH",
    "tzm-latn": "tzm",
    "zh-cn": "zh_Hans_CN",
    "zh-tw": "zh_Hant_TW",
}
_ORDINALS: Final[Mapping[str, str]] = {
    **dict.fromkeys("bs cs da de et fi fo hr hu is lb lv me nb nn pl sk sl sr tr".split(), "{}."),
    **dict.fromkeys("es gl it pt".split(), "{}º"),
    **dict.fromkeys(("af", "nl", "fy", "sv"), "{}e"),
}
_CLDR_FIELD: Final = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|[^A-Za-z']+")
_CLDR_TOKENS: Final[Mapping[str, str]] = {
    "y": "YYYY", "yy": "YY", "yyyy": "YYYY", "M": "M", "MM": "MM", "MMM": "MMM", "MMMM": "MMMM", "L": "M", "LL": "MM", "LLL": "MMM",
    "LLLL": "MMMM", "d": "D", "dd": "DD", "E": "ddd", "EEE": "ddd", "EEEE": "dddd", "ccc": "ddd", "cccc": "dddd", "H": "H", "HH": "HH",
    "h": "h", "hh": "hh", "k": "k", "kk": "kk", "K": "h", "KK": "hh", "m": "m", "mm": "mm", "s": "s", "ss": "ss", "a": "A", "B": "A", "b": "A",
}  # fmt: skip


def locale_of(code: str) -> str | None:
    """A known locale other than plain English; None for English and for codes that nobody knows."""
    lower = code.strip().lower().replace("_", "-")
    return lower if lower in _LOCALES and lower != "en" else None


def language_of(code: str | None) -> Language:
    """Of a locale as `locale_of` gives it; English where its words are not known."""
    return ENGLISH if code is None else _language_of(code)


@cache
def _language_of(code: str) -> Language:
    from babel import localedata
    from babel.core import Locale, UnknownLocaleError, get_global

    name = _CLDR_NAMES.get(code, code.replace("-", "_"))
    # Babel keeps what one locale inherits in data that it shares with others: without this, order would matter.
    localedata._cache.clear()
    try:
        locale = Locale.parse(name)
    except (UnknownLocaleError, ValueError):
        return ENGLISH
    likely = str(get_global("likely_subtags").get(str(locale), ""))
    region = locale if locale.territory or not likely else Locale.parse(likely)
    date_, time = locale.date_formats, locale.time_formats
    clock = _translated(time["short"].pattern)
    short = re.sub(r"(?<![MDY])([MD])(?![MDo])", r"\1\1", _translated(date_["short"].pattern))
    long, full = _translated(date_["long"].pattern), _translated(date_["full"].pattern)
    formats = {
        "LT": clock,
        "LTS": _translated(time["medium"].pattern),
        "L": re.sub(r"Y+", "YYYY", short),
        "LL": long,
        "LLL": f"{long} {clock}",
        "LLLL": f"{full} {clock}",
    }
    days = {width: locale.days["format"][width] for width in ("wide", "abbreviated", "short")}
    halves = locale.day_periods.get("format", {}).get("abbreviated", {})
    am, pm = str(halves.get("am", "AM")), str(halves.get("pm", "PM"))
    pattern = _ORDINALS.get(code.partition("-")[0], "{}")

    def ordinal(number: int) -> str:
        if code.startswith("en"):
            return _english_ordinal(number)
        if code.startswith("fr"):
            return f"{number}er" if number == 1 else f"{number}e" if code != "fr" else f"{number}"
        return pattern.format(number)

    return Language(
        tuple(locale.months["format"]["wide"][month] for month in range(1, 13)),
        tuple(locale.months["format"]["abbreviated"][month] for month in range(1, 13)),
        tuple(days["wide"][(day - 1) % 7] for day in range(7)),
        tuple(days["abbreviated"][(day - 1) % 7] for day in range(7)),
        tuple(days["short"][(day - 1) % 7] for day in range(7)),
        (am.upper(), pm.upper(), am, pm),
        _with_short(formats),
        (region.first_week_day + 1) % 7,
        region.min_week_days,
        ordinal,
    )


def _translated(pattern: str) -> str:
    """A pattern of CLDR as a format; parts that have no token are left out."""
    made: list[str] = []
    for found in _CLDR_FIELD.finditer(pattern):
        part = found[0]
        if part[0] == "'":
            made.append(f"[{part[1:-1] or chr(39)}]")
        else:
            made.append(_CLDR_TOKENS.get(part, "") if found[1] else part)
    return "".join(made).replace("\u202f", " ").strip()


# Time zones


@cache
def _zone_names() -> Mapping[str, str]:
    return {name.lower(): name for name in zoneinfo.available_timezones()}


def zone_of(name: str) -> str | None:
    """The IANA time zone of a name in any case; None where there is none."""
    return _zone_names().get(name.lower())


def local_time(given: Moment) -> datetime | None:
    """On the clocks of its zone; None where that leaves the years 1 to 9999."""
    if given.zone is None:
        return given.datetime()
    try:
        return given.datetime().astimezone(zoneinfo.ZoneInfo(given.zone))
    except (OverflowError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return None


# Writing


@lru_cache(maxsize=256)
def tokens_of(format_: str, language: Language = ENGLISH) -> tuple[tuple[str, bool], ...]:
    """The parts of a format: tokens (true) and literal texts (false). Formats of a locale, such as `LT`, are replaced."""
    found: list[tuple[str, bool]] = []
    for part in _TOKEN.findall(format_):
        if part in language.formats:
            found += tokens_of(language.formats[part], language)
        elif part[0] == "[" and len(part) > 1:
            found.append((part[1:-1], False))
        elif part[0] == "\\":
            found.append((part[1:], False))
        else:
            found.append((part, part.isascii() and part.isalpha() and part[0] in "YMQDdeEwWgGHhkmsSAaZzXx"))
    return tuple(found)


def write(given: Moment, format_: str) -> str | Error:
    """The text of a date in its zone and locale; without a format in ISO 8601."""
    local = local_time(given)
    if local is None or len(format_) > FORMAT_MAX:
        return ERROR
    language = language_of(given.locale)
    parts = tokens_of(format_ or DEFAULT, language)
    return "".join(_written(part, local, given.ms, language) if is_token else part for part, is_token in parts)


def _written(token: str, local: datetime, ms: int, language: Language) -> str:
    if token[0] == "S":
        return f"{local.microsecond // 1000:03d}".ljust(len(token), "0")[: len(token)]
    if token[0] in "dMAaZz" and token in _WORDS:
        return _WORDS[token](local, language)
    if token in _UNIX_TOKENS:
        return str(ms // 1000 if token.isupper() else ms)
    name = token.removesuffix("o")
    number = _NUMBERS[name[0] if name not in ("DDD", "DDDD") else "DDD"](local, language)
    if name != token:
        return language.ordinal(number)
    if name in ("YY", "gg", "GG"):
        return f"{number % 100:02d}"
    # One letter is a plain number, so is DDD; more letters say how many digits there are.
    width = 1 if name == "DDD" else 3 if name == "DDDD" else len(name)
    return f"{number:0{width}d}"


def _weekday(local: datetime) -> int:
    """0 for Sunday."""
    return local.isoweekday() % 7


def week_of(local: datetime, language: Language) -> tuple[int, int]:
    """The year and the number of a week, as a locale counts."""
    year = local.year
    day = local.timetuple().tm_yday
    weekday = (_weekday(local) - language.week_start) % 7
    week = (day - 1 - weekday + 7 - language.week_days_min) // 7 + 1
    if week < 1:
        before = datetime(max(year - 1, 1), 12, 31, tzinfo=UTC)
        return year - 1, week_of(before, language)[1] if year > 1 else 52
    if year < 9999:
        first = datetime(year + 1, 1, 1, tzinfo=UTC)
        days_before = (_weekday(first) - language.week_start) % 7
        length = first.toordinal() - local.toordinal()
        if length <= days_before and 7 - days_before >= language.week_days_min:
            return year + 1, 1
    return year, week


def _offset(local: datetime, separator: str) -> str:
    minutes = int((local.utcoffset() or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{separator}{abs(minutes) % 60:02d}"


_WORDS: Final[Mapping[str, Callable[[datetime, Language], str]]] = {
    "MMM": lambda local, language: language.short_months[local.month - 1],
    "MMMM": lambda local, language: language.months[local.month - 1],
    "dd": lambda local, language: language.least_weekdays[_weekday(local)],
    "ddd": lambda local, language: language.short_weekdays[_weekday(local)],
    "dddd": lambda local, language: language.weekdays[_weekday(local)],
    "A": lambda local, language: language.halves[local.hour // 12],
    "a": lambda local, language: language.halves[2 + local.hour // 12],
    "Z": lambda local, language: _offset(local, ":"),
    "ZZ": lambda local, language: _offset(local, ""),
    "z": lambda local, language: local.tzname() or "UTC",
    "zz": lambda local, language: local.tzname() or "UTC",
}
_NUMBERS: Final[Mapping[str, Callable[[datetime, Language], int]]] = {
    "Y": lambda local, language: local.year,
    "Q": lambda local, language: (local.month + 2) // 3,
    "M": lambda local, language: local.month,
    "D": lambda local, language: local.day,
    "DDD": lambda local, language: local.timetuple().tm_yday,
    "d": lambda local, language: _weekday(local),
    "e": lambda local, language: (_weekday(local) - language.week_start) % 7,
    "E": lambda local, language: local.isoweekday(),
    "w": lambda local, language: week_of(local, language)[1],
    "W": lambda local, language: local.isocalendar().week,
    "g": lambda local, language: week_of(local, language)[0],
    "G": lambda local, language: local.isocalendar().year,
    "H": lambda local, language: local.hour,
    "h": lambda local, language: (local.hour + 11) % 12 + 1,
    "k": lambda local, language: (local.hour + 23) % 24 + 1,
    "m": lambda local, language: local.minute,
    "s": lambda local, language: local.second,
}


# Reading


_DIGITS_MAX: Final[Mapping[str, int]] = {
    "YYYY": 4,
    "Y": 6,
    "GGGG": 4,
    "gggg": 4,
    "DDD": 3,
    "DDDD": 3,
    "Q": 1,
    "E": 1,
    "e": 1,
    "d": 1,
}
_UNIX_TOKENS: Final = frozenset("Xx")
_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_WORD: Final = re.compile(r"[^\W\d_]+\.?")
_HALF: Final = re.compile(r"[ap](?:\.?m\.?)?", re.IGNORECASE)
_ZONE: Final = re.compile(r"[Zz]|[+-]\d\d:?\d\d", re.ASCII)
_UNIX: Final = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,3})?", re.ASCII)


def read(text: str, format_: str, locale: str | None, today: datetime) -> Moment | Error:
    """The instant of a text in a format. Parts that are not in it are those of `today` before the first that is given.

    It is forgiving: what stands between the parts of the text is skipped, and so are signs of the format.
    """
    if max(len(text), len(format_)) > FORMAT_MAX:
        return ERROR
    language = language_of(locale)
    parts: dict[str, int | str] = {}
    at = 0
    for token, is_token in tokens_of(format_, language):
        if not is_token:
            literal = token if any(one.isalnum() for one in token) else ""
            found_at = text.find(literal, at) if literal else -1
            at = found_at + len(literal) if found_at >= 0 else at
            continue
        found = _pattern(token).search(text, at)
        if found is None:
            continue
        at = found.end()
        if not _take(token, found[0], parts, language):
            return ERROR
    return _assembled(parts, today) if parts else ERROR


@cache
def _pattern(token: str) -> re.Pattern[str]:
    if token in ("MMM", "MMMM", "dd", "ddd", "dddd", "z", "zz"):
        return _WORD
    if token in ("A", "a"):
        return _HALF
    if token in ("Z", "ZZ"):
        return _ZONE
    if token in ("X", "x"):
        return _UNIX
    if token[0] == "S":
        return re.compile(r"\d{1,3}" if len(token) <= 3 else r"\d{1,9}", re.ASCII)
    digits = rf"\d{{1,{_DIGITS_MAX.get(token.removesuffix('o'), 2)}}}"
    # What makes the number an ordinal must not be taken for the next word.
    return re.compile(rf"{digits}(?:(?:st|nd|rd|th|er|e)\b)?" if token[-1] == "o" else digits, re.ASCII | re.IGNORECASE)


def _take(token: str, text: str, parts: dict[str, int | str], language: Language) -> bool:
    """Put what a token read among the parts; false where it is nothing that the token stands for."""
    if token in ("MMM", "MMMM"):
        month = _position(text, language.months, language.short_months)
        parts["M"] = month + 1
        return month >= 0
    if token in ("dd", "ddd", "dddd"):
        parts["d"] = _position(text, language.weekdays, language.short_weekdays, language.least_weekdays)
        return int(parts["d"]) >= 0
    if token in ("A", "a", "Z", "ZZ", "X", "x", "z", "zz"):
        parts[token[0].lower() if token[0] in "Aa" else token[0]] = text
    elif token[0] == "S":
        parts["S"] = int((text + "00")[:3])
    elif token in ("YYYY", "YY", "GG", "gg", "GGGG", "gggg"):
        parts[token[0]] = year_of_two_digits(int(text)) if len(text) == 2 else int(text)
    else:
        name = token.removesuffix("o")
        number = int(_DIGITS.findall(text)[0])
        parts["DDD" if name in ("DDD", "DDDD") else "H" if name[0] in "hk" else name[0]] = number
    return True


def _position(text: str, *lists: Sequence[str]) -> int:
    lower = text.lower().rstrip(".")
    for names in lists:
        for number, name in enumerate(names):
            if lower.startswith(name.lower().rstrip(".")):
                return number
    return -1


def _assembled(parts: Mapping[str, int | str], today: datetime) -> Moment | Error:
    for name, scale in (("X", 1000.0), ("x", 1.0)):
        if name in parts:
            # More than 15 digits are beyond the year 9999 anyway.
            return moment(int(float(parts[name]) * scale))
    numbers = {name: value for name, value in parts.items() if isinstance(value, int)}
    hour, half = numbers.get("H", 0), str(parts.get("a", "")).lower()[:1]
    if half == "p" and hour < 12:
        hour += 12
    elif half == "a" and hour == 12:
        hour = 0
    minute, second, millisecond = numbers.get("m", 0), numbers.get("s", 0), numbers.get("S", 0)
    is_next_day = hour == 24 and minute == second == millisecond == 0
    try:
        day = _day(numbers, today)
        instant = day.replace(
            hour=0 if is_next_day else hour, minute=minute, second=second, microsecond=millisecond * 1000
        ) + timedelta(days=is_next_day)
        if "d" in numbers and {"D", "M", "DDD"} & numbers.keys() and numbers["d"] != _weekday(day):
            return ERROR
        offset = str(parts.get("Z", "z"))
        if offset not in ("Z", "z"):
            ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[-2:]))
            instant = instant.replace(tzinfo=timezone(-ahead if offset[0] == "-" else ahead))
        return moment(moment_of(instant).ms)
    except (ValueError, OverflowError):
        return ERROR


def _day(numbers: Mapping[str, int], today: datetime) -> datetime:
    """Midnight. Raises ValueError where there is no such day."""
    year = numbers.get("Y", numbers.get("G", numbers.get("g", today.year)))
    if "DDD" in numbers:
        made = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=numbers["DDD"] - 1)
        if made.year != year:
            raise ValueError("a year has no such day")
        return made
    if "D" not in numbers and "M" not in numbers:
        if "W" in numbers or ("G" in numbers and "E" in numbers):
            weekday = numbers.get("E", (numbers.get("d", 1) + 6) % 7 + 1)
            return datetime.fromisocalendar(year, numbers.get("W", 1), weekday).replace(tzinfo=UTC)
        if "w" in numbers:
            first = datetime(year, 1, 1, tzinfo=UTC)
            days = 7 * (numbers["w"] - 1) - _weekday(first) + numbers.get("d", numbers.get("e", 0))
            return first + timedelta(days=days)
        if "Q" in numbers:
            return datetime(year, numbers["Q"] * 3 - 2, 1, tzinfo=UTC)
        if {"d", "e", "E"} & numbers.keys() and "Y" not in numbers:
            weekday = numbers.get("d", numbers.get("e", numbers.get("E", 0) % 7))
            midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
            return midnight + timedelta(days=weekday - _weekday(midnight))
        if "Y" not in numbers:
            return datetime(today.year, today.month, today.day, tzinfo=UTC)
    month = numbers.get("M", 1 if "Y" in numbers else today.month)
    return datetime(year, month, numbers.get("D", 1), tzinfo=UTC)


# Distances


def in_words(ms: int) -> str:
    """A distance, rounded: `25 days`, `a year`."""
    seconds = abs(ms) / 1000
    minutes, hours, days = _rounded(seconds / 60), _rounded(seconds / 3600), _rounded(seconds / 86_400)
    # A year is 365.2425 days here.
    months = _rounded(seconds / 86_400 * 4800 / 146_097)
    years = _rounded(seconds / 86_400 * 400 / 146_097)
    if _rounded(seconds) < 45:
        return "a few seconds"
    if seconds < 90:
        return "a minute"
    if minutes < 45:
        return f"{max(minutes, 2)} minutes"
    if seconds < 90 * 60:
        return "an hour"
    if hours < 22:
        return f"{max(hours, 2)} hours"
    if seconds < 36 * 3600:
        return "a day"
    if days < 26:
        return f"{max(days, 2)} days"
    if days < 45:
        return "a month"
    if days < 320:
        return f"{max(months, 2)} months"
    return "a year" if days < 548 else f"{max(years, 2)} years"


def _rounded(number: float) -> int:
    return int(number + 0.5)


def now() -> datetime:
    """Of the clock, in UTC."""
    return datetime.now(UTC)
