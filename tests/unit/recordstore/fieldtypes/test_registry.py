"""The types of this release and what they are, against section 6.1 of the wire reference."""

from dataclasses import replace

import pytest

from pyat.foundation.ids import FieldId
from pyat.recordstore.fieldtypes import REGISTRY, find
from pyat.recordstore.structure import Field
from tests.support.field_values import APART, WRITABLE, make_field

TABLE = """
name              column       primary  merge  computed
singleLineText    text         yes      yes    no
multilineText     text         yes      yes    no
richText          text         no       no     no
email             text         yes      yes    no
url               text         yes      yes    no
phoneNumber       text         yes      yes    no
number            float8       yes      yes    no
currency          float8       yes      yes    no
percent           float8       yes      yes    no
duration          float8       yes      yes    no
rating            int2         no       yes    no
checkbox          bool         no       yes    no
date              date         yes      yes    no
dateTime          timestamptz  yes      yes    no
singleSelect      text         no       yes    no
multipleSelects   text[]       no       yes    no
barcode               jsonb        yes  no  no
singleCollaborator    text         no   no  no
multipleCollaborators text[]       no   no  no
autoNumber            int8         yes  no  yes
createdTime           timestamptz  no   no  yes
lastModifiedTime      timestamptz  no   no  yes
createdBy             text         no   no  yes
lastModifiedBy        text         no   no  yes
button                text         no   no  yes
count                 int8         no   no  yes
rollup                text         no   no  yes
multipleLookupValues  text         no   no  yes
formula               text         yes  no  yes
aiText                jsonb        no   no  yes
externalSyncSource    text         no   no  yes
"""


def test_types() -> None:
    rows = [line.split() for line in TABLE.strip().splitlines()[1:]]
    words = {True: "yes", False: "no"}
    found = [
        [name, kind.pg_type, words[kind.can_be_primary], words[kind.can_merge_on], words[kind.is_computed]]
        for name, kind in REGISTRY.items()
        if name not in APART
    ]
    assert found == rows


def test_find() -> None:
    assert find("number") is REGISTRY["number"]
    with pytest.raises(KeyError):
        find("longText")


def test_which_fields_have_a_column() -> None:
    assert all(find(field.type).has_column_for(field) for field in WRITABLE)
    assert find("autoNumber").has_column_for(make_field("autoNumber"))
    assert not find("createdTime").has_column_for(make_field("createdTime"))
    modified = make_field("lastModifiedTime")
    assert not find("lastModifiedTime").has_column_for(modified)
    watching = replace(modified, options={**modified.options, "referencedFieldIds": ["fldAAAAAAAAAAAAAA"]})
    assert find("lastModifiedTime").has_column_for(watching)
    unstored = {
        "createdTime",
        "createdBy",
        "lastModifiedBy",
        "button",
        "count",
        "rollup",
        "multipleLookupValues",
        "formula",
    }
    for name in ("aiText", "externalSyncSource", *unstored):
        assert find(name).has_column_for(Field(FieldId("fldAAAAAAAAAAAAAA"), "F", name)) == (name not in unstored)


def test_every_sort_key_has_a_type() -> None:
    system = [make_field(name) for name in ("autoNumber", "createdTime", "lastModifiedTime")]
    for field in [*WRITABLE, *system]:
        kind = find(field.type)
        assert len(kind.sort_sql(field, 'r."x"')) == len(kind.sort_pg_types(field))
