"""Signed URLs of files: whoever holds one may read that one file in that one form until it expires, without a token.

The signature is HMAC-SHA256, cut to 128 bits, over base, attachment, variant and expiry, with a key made from the
installation's internal key. Expiry is rounded up to the hour, so that the same file has the same URL for that long and
caches hold it.
"""

import hmac
import re
from datetime import UTC, datetime

from pyat.foundation.errors import AppError
from pyat.foundation.identity import Signer

PREFIX = "/api/v1/files"
LIFETIME_S_MIN = 7_200
"""URLs live at least two hours (wire reference, section 6.6)."""
ROUNDING_S = 3_600
_NAME_LENGTH_MAX = 100
_PURPOSE = "file URLs, 1"
_SIGNATURE_LENGTH = 32
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_EXPIRES_DIGITS_MAX = 12


class FileUrlInvalid(AppError):
    """The URL of a file was changed, or was not made by this installation."""

    code, status, template = "FILE_URL_INVALID", 403, "This file URL is not valid."


class FileUrlExpired(AppError):
    """The URL of a file was good, and its time is over; reading the record again gives a new one."""

    code, status, template = (
        "FILE_URL_EXPIRED",
        410,
        "This file URL has expired. Read the record again to get a new one.",
    )


class FileUrls:
    """Makes and checks the URLs of files; every process of an installation makes the same ones."""

    def __init__(self, key: bytes, lifetime_s: int) -> None:
        assert lifetime_s >= LIFETIME_S_MIN, "clients may rely on two hours"
        self._key = key
        self._lifetime_s = lifetime_s

    @classmethod
    def of(cls, signer: Signer, lifetime_s: int) -> "FileUrls":
        """With the key of the installation that `signer` belongs to."""
        return cls(signer.derived(_PURPOSE), lifetime_s)

    def expires_s(self, now: datetime) -> int:
        """When URLs made now expire, in seconds of Unix time: in one lifetime to one lifetime and an hour."""
        return (int(now.timestamp()) // ROUNDING_S + 1) * ROUNDING_S + self._lifetime_s

    def url(self, origin: str, base_id: str, attachment_id: str, variant: str, filename: str, now: datetime) -> str:
        """The URL of one form of an attachment (`original`, or a thumbnail's name), under `origin` (`https://host`)."""
        expires_s = self.expires_s(now)
        signature = self._signature(base_id, attachment_id, variant, expires_s)
        return f"{origin}{PREFIX}/{base_id}/{attachment_id}/{variant}/{expires_s}/{signature}/{url_filename(filename)}"

    def verify(
        self, base_id: str, attachment_id: str, variant: str, expires: str, signature: str, now: datetime
    ) -> datetime:
        """When the URL expires. Raises FileUrlInvalid, FileUrlExpired; the filename in it means nothing."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= _EXPIRES_DIGITS_MAX):
            raise FileUrlInvalid
        wanted = self._signature(base_id, attachment_id, variant, int(expires))
        if not hmac.compare_digest(wanted.encode(), signature.encode()) or str(int(expires)) != expires:
            raise FileUrlInvalid
        moment = datetime.fromtimestamp(int(expires), UTC)
        if moment <= now:
            raise FileUrlExpired
        return moment

    def _signature(self, base_id: str, attachment_id: str, variant: str, expires_s: int) -> str:
        message = f"{base_id}/{attachment_id}/{variant}/{expires_s}".encode()
        return hmac.digest(self._key, message, "sha256").hex()[:_SIGNATURE_LENGTH]


def url_filename(filename: str) -> str:
    """A file's name as the last segment of its URL: letters, digits, `.`, `_` and `-`, its end kept, never empty."""
    return _UNSAFE.sub("_", filename)[-_NAME_LENGTH_MAX:].lstrip(".") or "file"
