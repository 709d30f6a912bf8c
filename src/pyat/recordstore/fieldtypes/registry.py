"""Every field type by the name that the metadata API gives it."""

from collections.abc import Mapping
from types import MappingProxyType

from pyat.recordstore.fieldtypes import (
    attachments,
    barcodes,
    computed,
    dates,
    links,
    numbers,
    people,
    selects,
    system,
    text,
)
from pyat.recordstore.fieldtypes.base import FieldType

_TYPES: tuple[FieldType, ...] = (
    text.SingleLineText(),
    text.MultilineText(),
    text.RichText(),
    text.Email(),
    text.Url(),
    text.PhoneNumber(),
    numbers.Number(),
    numbers.Currency(),
    numbers.Percent(),
    numbers.Duration(),
    numbers.Rating(),
    numbers.Checkbox(),
    dates.Date(),
    dates.DateTime(),
    selects.SingleSelect(),
    selects.MultipleSelects(),
    links.MultipleRecordLinks(),
    attachments.MultipleAttachments(),
    barcodes.Barcode(),
    people.SingleCollaborator(),
    people.MultipleCollaborators(),
    system.AutoNumber(),
    system.CreatedTime(),
    system.LastModifiedTime(),
    people.CreatedBy(),
    people.LastModifiedBy(),
    computed.Button(),
    computed.Count(),
    computed.Rollup(),
    computed.Lookup(),
    computed.Formula(),
    computed.AiText(),
    computed.ExternalSyncSource(),
)

REGISTRY: Mapping[str, FieldType] = MappingProxyType({kind.name: kind for kind in _TYPES})
"""The types of this release; a new one joins by an instance in the tuple above."""


def find(type_name: str) -> FieldType:
    """The type of a stored field. Raises KeyError for a name that is not in `REGISTRY`."""
    return REGISTRY[type_name]
