"""Identifiers: shape, alphabet, and who counts as one."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.ids import ALPHABET, ID_LENGTH, is_id, new_id, new_ids, random_text

_SHAPE = re.compile(r"[a-z]{3}[0-9A-Za-z]{14}")


def test_a_new_id_has_airtables_shape() -> None:
    for prefix in ("app", "tbl", "fld", "viw", "rec", "usr", "wsp", "sel"):
        made = new_id(prefix)
        assert _SHAPE.fullmatch(made)
        assert is_id(prefix, made)


def test_many_ids_are_all_different_and_all_ids() -> None:
    made = new_ids("rec", 10_000)
    assert len(set(made)) == 10_000
    assert all(is_id("rec", item) for item in made)


def test_no_ids_is_an_empty_list() -> None:
    assert new_ids("rec", 0) == []


@given(st.integers(0, 400))
def test_random_text_has_the_length_asked_for(length: int) -> None:
    assert len(random_text(length)) == length


def test_every_character_is_equally_likely() -> None:
    counts = Counter(random_text(62_000))
    assert set(counts) == set(ALPHABET)
    # 1,000 each; a generator that wraps 256 onto 62 would give the first eight 25 % more. 6 sigma either way.
    assert all(800 < count < 1200 for count in counts.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rec",
        "recABCDEFGHIJKLM",
        "recABCDEFGHIJKLMNO",
        "tblABCDEFGHIJKLMN",
        "RECABCDEFGHIJKLMN",
        "rec-BCDEFGHIJKLMN",
        "rec BCDEFGHIJKLMN",
        "recABCDEFGHIJKLM\n",
        "recABCDEFGHIJKLMé",
        "recABCDEFGHIJKLM٣",
        "recABCDEFGHIJKLM²",
        None,
        17,
        b"recABCDEFGHIJKLMN",
        ["recABCDEFGHIJKLMN"],
    ],
)
def test_what_has_another_shape_is_no_id(text: object) -> None:
    assert not is_id("rec", text)


@given(st.text(min_size=ID_LENGTH, max_size=ID_LENGTH) | st.text().map(lambda text: "rec" + text))
def test_an_id_is_what_the_regular_expression_of_the_reference_says(text: str) -> None:
    assert is_id("rec", text) == bool(re.fullmatch(r"rec[0-9A-Za-z]{14}", text))
