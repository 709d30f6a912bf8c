"""Query strings: every spelling that clients use means the same, and nothing makes the reader fail."""

from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyat.foundation.errors import InvalidRequest
from pyat.foundation.query import PARAMETERS_MAX, Query

_values = st.text().filter(lambda text: text and "\x00" not in text)
_names = st.from_regex(r"[A-Za-z]+", fullmatch=True)


@pytest.mark.parametrize(
    "raw",
    [
        b"fields[]=a&fields[]=b",
        b"fields%5B%5D=a&fields%5B%5D=b",
        b"fields%5b%5d=a&fields%5b%5d=b",
        b"fields=a&fields=b",
        b"fields[0]=a&fields[1]=b",
        b"fields[1]=b&fields[0]=a",
        b"fields%5B9%5D=b&fields%5B3%5D=a",
        b"&&fields[]=a&fields[]=&fields[]=b&",
        b"fields=a&fields[]=b",
    ],
)
def test_every_spelling_of_a_list_means_the_same(raw: bytes) -> None:
    assert Query(raw).texts("fields") == ["a", "b"]


@given(st.lists(_values, min_size=1, max_size=8), _names)
def test_lists_arrive_whatever_they_hold_and_however_they_are_written(values: list[str], name: str) -> None:
    written = [
        urlencode([(f"{name}[]", value) for value in values]),
        urlencode([(name, value) for value in values], quote_via=quote),
        urlencode([(f"{name}[{index}]", value) for index, value in enumerate(values)]),
        "&".join(f"{name}[]={quote(value, safe='')}" for value in values),
    ]
    for text in written:
        query = Query(text.encode("ascii"))
        assert query.texts(name) == values
        assert query.text(name) == values[-1]
        assert name in query


@pytest.mark.parametrize(
    "raw",
    [
        b"sort[0][field]=Name&sort[0][direction]=desc&sort[1][field]=Age",
        b"sort%5B0%5D%5Bdirection%5D=desc&sort%5B0%5D%5Bfield%5D=Name&sort%5B1%5D%5Bfield%5D=Age",
        b"sort[1][field]=Age&sort[0][direction]=desc&sort[0][field]=Name",
        b"sort[][field]=Name&sort[][direction]=desc&sort[][field]=Age",
        b"sort[5][field]=Name&sort[5][direction]=desc&sort[77][field]=Age",
    ],
)
def test_every_spelling_of_a_sort_means_the_same(raw: bytes) -> None:
    assert Query(raw).objects("sort") == [{"field": "Name", "direction": "desc"}, {"field": "Age"}]


@given(st.lists(st.tuples(_values, st.none() | st.sampled_from(["asc", "desc"])), min_size=1, max_size=5))
def test_sorts_arrive_whatever_they_hold(keys: list[tuple[str, str | None]]) -> None:
    pairs = []
    for index, (field, direction) in enumerate(keys):
        if direction:
            pairs.append((f"sort[{index}][direction]", direction))
        pairs.append((f"sort[{index}][field]", field))
    expected = [{"field": field} | ({"direction": direction} if direction else {}) for field, direction in keys]
    assert Query(urlencode(pairs).encode()).objects("sort") == expected


def test_blanks_may_be_plus_or_percent_20() -> None:
    query = Query(b"view=Grid+view&other=Grid%20view&plus=a%2Bb")
    assert (query.text("view"), query.text("other"), query.text("plus")) == ("Grid view", "Grid view", "a+b")


def test_utf_8_is_read_with_and_without_percent_signs() -> None:
    assert Query(b"view=%C3%89t%C3%A9").text("view") == Query("view=Été".encode()).text("view") == "Été"


@pytest.mark.parametrize("raw", [b"", b"offset", b"offset=", b"offset=&offset=", b"other=1", b"offset[]="])
def test_an_empty_value_is_an_absent_one(raw: bytes) -> None:
    query = Query(raw)
    assert query.text("offset") is None
    assert query.texts("offset") is None
    assert query.whole("offset") is None
    assert query.flag("offset") is False
    assert "offset" not in query


def test_an_equals_sign_in_a_value_is_part_of_it() -> None:
    assert Query(b"filterByFormula={a}='b=c'").text("filterByFormula") == "{a}='b=c'"


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("TRUE", True), ("false", False), ("0", False)]
)
def test_booleans_have_two_spellings_each(text: str, value: bool) -> None:
    assert Query(f"flag={text}".encode()).flag("flag") is value


@pytest.mark.parametrize("text", ["yes", "2", "tru", "null", "-1", " true"])
def test_other_words_are_no_booleans(text: str) -> None:
    with pytest.raises(InvalidRequest, match="flag must be true or false"):
        Query(f"flag={quote(text)}".encode()).flag("flag")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-5", -5), ("100", 100), ("007", 7)])
def test_whole_numbers(text: str, value: int) -> None:
    assert Query(f"n={text}".encode()).whole("n") == value


@pytest.mark.parametrize("text", ["1.0", "1e3", "ten", "٣", " 1", "1_000", "9" * 16, "0x10", "+1"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="n must be a whole number"):
        Query(f"n={quote(text)}".encode()).whole("n")


def test_a_plain_list_is_no_list_of_objects() -> None:
    with pytest.raises(InvalidRequest, match="list of objects"):
        Query(b"sort=Name").objects("sort")


def test_an_absent_list_of_objects_is_none() -> None:
    assert Query(b"a=b").objects("sort") is None
    assert "sort" in Query(b"sort[0][field]=x")


@pytest.mark.parametrize("raw", [b"a=%ff", b"a=\xff", b"%ff=a", b"a=%C3", b"a=%00", b"a[]=x%00y", b"s[0][f]=%00"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Query(raw)


@pytest.mark.parametrize("raw", [b"a=%", b"a=%zz", b"a=100%", b"%=1"])
def test_a_percent_sign_alone_is_a_percent_sign(raw: bytes) -> None:
    query = Query(raw)
    name, _, value = raw.decode().partition("=")
    assert query.text(name) == value


def test_the_number_of_parameters_is_bounded() -> None:
    Query(b"&".join([b"a=1"] * PARAMETERS_MAX))
    with pytest.raises(InvalidRequest, match="more than 2000 parameters"):
        Query(b"&".join([b"a=1"] * (PARAMETERS_MAX + 1)))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        query = Query(raw)
        for name in ("a", "fields", "sort", ""):
            query.text(name)
            query.texts(name)
    except InvalidRequest:
        pass


@given(st.dictionaries(st.text(alphabet="abc[]0%&=+ é"), _values, max_size=5))
def test_keys_that_are_no_lists_are_names_as_they_stand(values: dict[str, str]) -> None:
    odd = {
        key: value for key, value in values.items() if key and not key.isalpha() and "]" not in key and "[" not in key
    }
    query = Query("&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in odd.items()).encode())
    assert {key: query.text(key) for key in odd} == odd
