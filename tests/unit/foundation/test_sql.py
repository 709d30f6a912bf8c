"""SQL as values: quoting, and files of named statements."""

from pathlib import Path

import pytest

from pyat.foundation.sql import literal, load_statements, quote


@pytest.mark.parametrize(
    ("names", "text"),
    [(("a",), '"a"'), (("app1", "tbl2"), '"app1"."tbl2"'), (('we"ird',), '"we""ird"'), (("a.b",), '"a.b"')],
)
def test_identifiers_are_quoted(names: tuple[str, ...], text: str) -> None:
    assert quote(*names) == text


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 64, "é" * 32])
def test_what_postgresql_cannot_hold_is_no_identifier(name: str) -> None:
    with pytest.raises(ValueError, match="not an identifier"):
        quote(name)


@pytest.mark.parametrize(
    ("text", "quoted"), [("", "''"), ("it's", "'it''s'"), ("a\\b", "E'a\\\\b'"), ("\\'", "E'\\\\'''")]
)
def test_literals_are_quoted(text: str, quoted: str) -> None:
    assert literal(text) == quoted


def test_a_literal_cannot_hold_nul() -> None:
    with pytest.raises(AssertionError):
        literal("a\x00")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / f"package_of_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_statements_are_found_by_their_headings(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "queries.sql").write_text(
        "-- What this file is.\n\n-- first --\n-- About it.\nSELECT 1;\n\n-- second_2 --\nSELECT '-- third --';\n"
    )
    found = load_statements(package)
    assert {name: (item.name, item.text) for name, item in found.items()} == {
        "first": ("first", "-- About it.\nSELECT 1"),
        "second_2": ("second_2", "SELECT '-- third --'"),
    }


def test_a_statement_cannot_be_named_twice(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "queries.sql").write_text("-- one --\nSELECT 1;\n-- one --\nSELECT 2;\n")
    with pytest.raises(AssertionError, match="names one twice"):
        load_statements(package)
