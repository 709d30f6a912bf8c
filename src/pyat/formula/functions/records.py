"""The record itself (formula reference, section 14). The checker makes inputs of these calls, so nothing runs here."""

from collections.abc import Sequence

from pyat.formula.functions.base import Function, reference
from pyat.formula.types import DATE, TEXT


class _Record(Function):
    category = "record"
    result = DATE
    is_input = True


class RECORD_ID(_Record):
    """The record's id, which never changes.

    >>> RECORD_ID()
    "rec00000000000001"
    >>> "https://example.com/" & RECORD_ID()
    "https://example.com/rec00000000000001"
    """

    result = TEXT


class CREATED_TIME(_Record):
    """When the record was created.

    >>> CREATED_TIME()
    2024-01-31T08:30:00.000Z
    >>> DATETIME_FORMAT(CREATED_TIME(), "MMM D")
    "Jan 31"
    """


class LAST_MODIFIED_TIME(_Record):
    """When somebody last changed the record, or one of the fields that are named.

    >>> LAST_MODIFIED_TIME()
    2024-03-01T23:59:59.999Z
    >>> IS_AFTER(LAST_MODIFIED_TIME({Name}, {Price}), CREATED_TIME())
    1
    """

    parameters = (reference("field"),)


FUNCTIONS: Sequence[type[Function]] = (CREATED_TIME, LAST_MODIFIED_TIME, RECORD_ID)
