"""The sample base: the same everywhere, and made of values that its own fields take."""

from pyat.assembly import sample
from pyat.recordstore.fieldtypes import find

ROWS = {"Projects": sample._projects, "Tasks": sample._tasks, "People": sample._people}


def test_it_is_three_tables_with_about_two_hundred_records() -> None:
    assert [table.name for table in sample.TABLES] == list(ROWS)
    assert 190 <= sum(len(rows()) for rows in ROWS.values()) <= 220


def test_it_is_the_same_each_time() -> None:
    for rows in ROWS.values():
        assert rows() == rows()


def test_rows_have_cells_of_fields_that_clients_fill() -> None:
    for table in sample.TABLES:
        filled = {field.name for field in table.fields if not find(field.type).is_computed}
        used = {name for row in ROWS[table.name]() for name in row}
        assert used == filled, "every field has cells, and every cell a field"


def test_choices_are_among_the_options() -> None:
    for table in sample.TABLES:
        for field in table.fields:
            if field.type not in ("singleSelect", "multipleSelects"):
                continue
            names = {choice["name"] for choice in field.options["choices"]}
            cells = [row[field.name] for row in ROWS[table.name]() if field.name in row]
            for cell in cells:
                assert {cell} <= names if isinstance(cell, str) else set(cell) <= names


def test_it_shows_most_field_types_and_no_real_address() -> None:
    types = {field.type for table in sample.TABLES for field in table.fields}
    assert len(types) >= 15
    for row in sample._people():
        assert row["E-mail"].endswith(".example")
    for row in sample._projects():
        assert row["Website"].endswith(".example")
