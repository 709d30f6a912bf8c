"""Identifiers in Airtable's shapes: a three-letter prefix and 14 characters of base 62, 17 in all.

Source: Airtable Web API, section 1.2 of the wire reference. Clients decide "id or name" by prefix and length.
"""

import os
from typing import NewType

BaseId = NewType("BaseId", str)
TableId = NewType("TableId", str)
FieldId = NewType("FieldId", str)
ViewId = NewType("ViewId", str)
RecordId = NewType("RecordId", str)
UserId = NewType("UserId", str)
WorkspaceId = NewType("WorkspaceId", str)
TenantId = NewType("TenantId", str)
ChoiceId = NewType("ChoiceId", str)
TokenId = NewType("TokenId", str)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 14
ID_LENGTH = 17

# A byte below 248 = 4 * 62 maps evenly onto the alphabet; the rest would favour its first letters and are dropped.
_EVEN = 248
_BY_BYTE = bytes(ALPHABET[byte % 62].encode()[0] for byte in range(256))
_UNEVEN = bytes(range(_EVEN, 256))


def random_text(length: int) -> str:
    """`length` unguessable characters of base 62 (5.95 bits each), from the operating system's generator."""
    text = ""
    while len(text) < length:
        text += os.urandom(length + 6).translate(_BY_BYTE, _UNEVEN).decode("ascii")
    return text[:length]


def new_id(prefix: str) -> str:
    """A new id such as `recAbCdEfGhIjKlMn` (83 random bits; about a microsecond)."""
    return prefix + random_text(RANDOM_LENGTH)


def new_ids(prefix: str, count: int) -> list[str]:
    """`count` new ids from few calls to the operating system, for bulk loads."""
    text = random_text(RANDOM_LENGTH * count)
    return [prefix + text[start : start + RANDOM_LENGTH] for start in range(0, len(text), RANDOM_LENGTH)]


def is_id(prefix: str, text: object) -> bool:
    """Whether `text` has the shape of an id with this prefix; says nothing about existence."""
    return (
        isinstance(text, str)
        and len(text) == ID_LENGTH
        and text.startswith(prefix)
        and text.isascii()
        and text.isalnum()
    )
