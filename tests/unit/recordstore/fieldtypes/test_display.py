"""How cells are shown as text: the formats that clients may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.errors import InvalidRequest
from pyat.recordstore.fieldtypes import TextFormat
from pyat.recordstore.fieldtypes.display import LOCALES, date_text, item_text
from pyat.recordstore.fieldtypes.selects import split_names


@pytest.mark.parametrize(
    ("locale", "form"),
    [
        ("en", "M/D/YYYY"),
        ("en-US", "M/D/YYYY"),
        ("en-gb", "D/M/YYYY"),
        ("en-ca", "YYYY-M-D"),
        ("de", "D.M.YYYY"),
        ("de-LI", "D.M.YYYY"),
        ("fr", "D/M/YYYY"),
        ("fr_CH", "D.M.YYYY"),
        ("nl", "D-M-YYYY"),
        ("hu", "YYYY.M.D."),
        ("zh-Hant-TW", "YYYY/M/D"),
        ("sv", "YYYY-M-D"),
    ],
)
def test_locales(locale: str, form: str) -> None:
    assert TextFormat.read("utc", locale) == TextFormat("UTC", form)


@pytest.mark.parametrize("locale", ["", "x", "xx", "e n", "en-", "-en", "en-" + "x" * 40, "client", "en\x00", "日本"])
def test_unknown_locales(locale: str) -> None:
    with pytest.raises(InvalidRequest):
        TextFormat.read("utc", locale)


@pytest.mark.parametrize("zone", ["", "client", "Nowhere/Town", "+02:00", "utc ", "europe/berlin"])
def test_unknown_zones(zone: str) -> None:
    with pytest.raises(InvalidRequest):
        TextFormat.read(zone, "de")


def test_every_locale_names_a_day_a_month_and_a_year() -> None:
    for form in LOCALES.values():
        assert [form.count(part) for part in ("YYYY", "M", "D")] == [1, 1, 1]
    for locale in LOCALES:
        assert LOCALES.get(locale.partition("-")[0]) is not None, f"the language of {locale} is not there"


def test_patterns() -> None:
    german = TextFormat.read("utc", "de")
    for name, expected in (
        ("local", "'FMDD.FMMM.YYYY'"),
        ("us", "'FMMM/FMDD/YYYY'"),
        ("european", "'FMDD/FMMM/YYYY'"),
        ("iso", "'YYYY-MM-DD'"),
        ("friendly", "'FMMonth FMDD, YYYY'"),
    ):
        assert date_text("x", {"dateFormat": {"name": name}}, german) == f"to_char(x, {expected})"
    # A form with two digits is written with two.
    plain = date_text("x", {"dateFormat": {"name": "local"}}, TextFormat("UTC", "YYYY-MM-DD"))
    assert plain == "to_char(x, 'YYYY-MM-DD')"


names = st.text(st.characters(exclude_characters="\x00"), min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(names.filter(lambda name: '"' not in name or "," in name), min_size=1, max_size=4))
def test_names_that_are_shown_can_be_written(written: list[str]) -> None:
    """What a cell shows as text, typecast reads as the same names."""
    shown = ", ".join(map(item_text, written))
    assert [name.strip() for name in split_names(shown) if name.strip()] == written
