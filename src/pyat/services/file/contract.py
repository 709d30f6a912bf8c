"""What other services may see of file."""

from dataclasses import dataclass
from typing import Protocol

from pyat.foundation.errors import AppError
from pyat.foundation.ids import BaseId

ITEMS_MAX = 10_000
"""URLs of one call."""
FILENAME_LENGTH_MAX = 1_000
STORED_BYTES_MAX = 5 * 1024 * 1024
"""Of a file in a call; larger ones go by URL or by upload (wire reference, section 8.2)."""


@dataclass(frozen=True, slots=True)
class UrlItem:
    """A file to be fetched; without a name it gets the last part of the URL's path."""

    url: str
    filename: str | None = None


class InvalidAttachment(AppError):
    """An attachment was given in a form that cannot be used; `reason` says why."""

    code, status, wire_type = "INVALID_ATTACHMENT", 422, "INVALID_ATTACHMENT_OBJECT"
    template = "Invalid attachment: {reason}"


class FileInfected(AppError):
    """The virus scanner found something in the file; nothing was kept."""

    code, status, template = "FILE_INFECTED", 422, "The file was refused by the virus scanner: {finding}"


class Files(Protocol):
    """Attachments of bases: every method makes new ones, which belong to no cell yet.

    One that no cell claims within a day is deleted, and so is one that its cell let go of a week ago. Raises
    NotPermittedOrNotFound for a base that does not exist; whether the caller may write there is the caller's to check.
    """

    async def register_urls(self, *, base_id: BaseId, items: tuple[UrlItem, ...], actor: str) -> tuple[str, ...]:
        """New attachment ids in the order of `items`; the files are fetched in the background, all or nothing.

        Raises InvalidAttachment for addresses that are not http or https, and for names that are no names.
        """
        ...

    async def store_bytes(
        self, *, base_id: BaseId, filename: str, content_type: str | None, data: bytes, actor: str
    ) -> str:
        """A new attachment of these bytes, at most 5 MB, ready at the return; its id.

        `content_type` counts only where the content does not tell. Raises InvalidAttachment, BodyTooLarge, FileInfected.
        """
        ...
