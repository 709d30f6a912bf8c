"""Why an import stops. Each message is one or two sentences for the person who gave the file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyat.recordstore.tabular.load import LoadReport


class ImportStopped(Exception):
    """Base of everything that stops an import; nothing is loaded."""


class FileRefused(ImportStopped):
    """The file is not there, is not text, is broken, or goes over a bound.

    `line` counts from 1; `byte_offset` from 0, both in the file, where they are known.
    """

    def __init__(self, reason: str, *, line: int | None = None, byte_offset: int | None = None) -> None:
        super().__init__(reason)
        self.line = line
        self.byte_offset = byte_offset


class ColumnsRefused(ImportStopped):
    """Columns that the table has no field for, or whose field takes no values."""

    def __init__(self, reason: str, *, columns: Sequence[str]) -> None:
        super().__init__(reason)
        self.columns = tuple(columns)


class RowsRejected(ImportStopped):
    """Some cells or rows do not fit and the caller did not ask to keep going; roll the transaction back."""

    def __init__(self, report: "LoadReport") -> None:
        what = "1 cell or row does" if report.rejected == 1 else f"{report.rejected:,} cells or rows do"
        super().__init__(f"{what} not fit, so nothing was imported.")
        self.report = report
