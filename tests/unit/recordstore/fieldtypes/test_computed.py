"""Options of fields that need others."""

from pyat.recordstore.fieldtypes import shown_options


def test_a_field_without_what_it_needs_names_none_of_it() -> None:
    way = {"recordLinkFieldId": "fldNNNNNNNNNNNNNN", "fieldIdInLinkedTable": "fldUUUUUUUUUUUUUU"}
    assert shown_options({**way, "isValid": True, "result": None}) == {**way, "isValid": True, "result": None}
    assert shown_options({**way, "isValid": False}) == dict.fromkeys(way) | {"isValid": False}
