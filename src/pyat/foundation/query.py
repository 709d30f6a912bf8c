"""Query strings as Airtable's clients write them: every spelling of lists, booleans and empty values.

Source: wire reference, section 1.4. `fields[]=a`, `fields=a&fields=b` and `fields[0]=a` mean the same; an empty
value counts as absent; `1` and `true` are true, `0` and `false` behave as absent.
"""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from pyat.foundation.errors import InvalidRequest

PARAMETERS_MAX = 2_000

_INDEXED = re.compile(r"([A-Za-z]+)(?:\[([0-9]{0,4})\])?(?:\[([A-Za-z]+)\])?")
_TRUE = frozenset({"true", "1"})
_FALSE = frozenset({"false", "0"})


class Query:
    """The parameters of one request. Raises InvalidRequest where a value cannot be read as asked."""

    __slots__ = ("_items", "_objects")

    def __init__(self, raw: bytes) -> None:
        self._items: dict[str, list[tuple[int, str]]] = {}
        self._objects: dict[str, dict[int, dict[str, str]]] = {}
        if not raw:
            return
        pieces = raw.split(b"&")
        if len(pieces) > PARAMETERS_MAX:
            raise InvalidRequest(reason=f"The query string holds more than {PARAMETERS_MAX} parameters.")
        try:
            for piece in pieces:
                if piece:
                    raw_key, _, raw_value = piece.partition(b"=")
                    key = _known_key(raw_key) if len(raw_key) <= _KNOWN_KEY_LENGTH_MAX else _key(raw_key)
                    self._add(*key, _decoded(raw_value))
        except UnicodeDecodeError as error:
            raise InvalidRequest(reason="The query string is not UTF-8.") from error

    def _add(self, name: str, index: int | None, member: str | None, value: str) -> None:
        if "\x00" in value:
            raise InvalidRequest(reason="The query string holds a NUL character.")
        if member is None:
            items = self._items.setdefault(name, [])
            items.append((len(items) if index is None else index, value))
            return
        group = self._objects.setdefault(name, {})
        if index is None:
            # `sort[][field]=A&sort[][direction]=desc&sort[][field]=B`: a member that comes again begins the next object.
            index = max(group, default=0)
            if member in group.get(index, ()):
                index += 1
        group.setdefault(index, {})[member] = value

    def __contains__(self, name: str) -> bool:
        return self.text(name) is not None or name in self._objects

    def text(self, name: str) -> str | None:
        """The last value given, or None when absent or empty."""
        items = self._items.get(name)
        return (items[-1][1] or None) if items else None

    def texts(self, name: str) -> list[str] | None:
        """All values in the order of their indexes, empty ones left out; None when the parameter is absent."""
        items = self._items.get(name)
        if not items:
            return None
        found = [value for _, value in sorted(items, key=lambda item: item[0]) if value]
        return found or None

    def flag(self, name: str) -> bool:
        """A boolean; absent and empty are False."""
        value = self.text(name)
        if value is None:
            return False
        lowered = value.lower()
        if lowered not in _TRUE and lowered not in _FALSE:
            raise InvalidRequest(reason=f"{name} must be true or false.")
        return lowered in _TRUE

    def whole(self, name: str) -> int | None:
        """A whole number, or None when absent."""
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,15}", value):
            raise InvalidRequest(reason=f"{name} must be a whole number.")
        return int(value)

    def objects(self, name: str) -> list[dict[str, str]] | None:
        """Objects such as `sort[0][field]=X&sort[0][direction]=desc`, in the order of their indexes."""
        group = self._objects.get(name)
        if group is None:
            if self.texts(name) is not None:
                raise InvalidRequest(reason=f"{name} must be a list of objects.")
            return None
        return [group[index] for index in sorted(group)]


def _decoded(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")


def _key(raw: bytes) -> tuple[str, int | None, str | None]:
    """Name, index and member of a parameter's key; other keys than `name[index][member]` are names as they stand."""
    text = _decoded(raw)
    found = _INDEXED.fullmatch(text)
    if found is None:
        return text, None, None
    name, index, member = found.groups()
    return name, int(index) if index else None, member


_KNOWN_KEY_LENGTH_MAX = 64
# The same few keys come with every request; reading one costs 3 µs.
_known_key = lru_cache(maxsize=1024)(_key)
