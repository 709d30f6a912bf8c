"""What is decided about each column before any row is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyat.recordstore.tabular.formats import DateOrder


@dataclass(frozen=True, slots=True)
class Reading:
    """How the cells of a column are written."""

    decimal: str = "."
    """The decimal sign, `.` or `,`; the other one may group digits."""
    order: DateOrder = DateOrder.MONTH_FIRST
    is_exact: bool = False
    """True rejects a cell of which the field would keep only a part: the zeros of 00123 in a number, the time in a date.

    Set where the type was inferred; somebody who names an existing field has chosen its type.
    """


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """A column of the file and the field that takes it. `options` are in read form (wire reference, section 6.2)."""

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reading: Reading = Reading()
