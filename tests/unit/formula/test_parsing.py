"""Texts become trees: precedence, positions, sizes, and what is wrong with a text and where."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyat.formula.errors import BadSyntax, FormulaProblem
from pyat.formula.parsing import LENGTH_MAX, PRECEDENCES, parse
from pyat.formula.tree import Call, Node, Number, Reference, Text, postorder
from tests.support.formula_corpus import Problem, corpus
from tests.support.formulas import written

DEEP = 16_000


def shape(root: Node) -> list[tuple[object, ...]]:
    """A tree without its positions."""
    found: list[tuple[object, ...]] = []
    for node in postorder(root):
        if isinstance(node, Call):
            found.append((node.name, node.is_operator, len(node.arguments)))
        elif isinstance(node, Reference):
            found.append(("field", node.name))
        else:
            found.append((type(node).__name__, node.value))
    return found


def read(text: str) -> Node | FormulaProblem:
    """The tree, or why there is none."""
    try:
        return parse(text)
    except FormulaProblem as problem:
        return problem


def call(root: Node) -> Call:
    """The tree, which is a call."""
    assert isinstance(root, Call)
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("1 * 2 + 3", "((1 * 2) + 3)"),
        ("1 - 2 - 3", "((1 - 2) - 3)"),
        ("1 / 2 * 3", "((1 / 2) * 3)"),
        ("-1 * 2", "((-1) * 2)"),
        ("1 - -2", "(1 - (-2))"),
        ("--1", "(-(-1))"),
        ("-(1 + 2)", "(-(1 + 2))"),
        ("1 & 2 + 3", "(1 & (2 + 3))"),
        ("1 + 2 & 3", "((1 + 2) & 3)"),
        ("1 & 2 = 3 & 4", "((1 & 2) = (3 & 4))"),
        ("1 < 2 != 3 >= 4", "(((1 < 2) != 3) >= 4)"),
        ("SUM(1, -2, (3))", "SUM(1, (-2), 3)"),
        ("IF(a > 1, b & c, d)", "IF(({a} > 1), ({b} & {c}), {d})"),
        ("f (1)", "f(1)"),
        ("NOW()", "NOW()"),
        ("f(g(h()))", "f(g(h()))"),
        ("((((1))))", "1"),
        ("(1 + 2) * (3 - 4)", "((1 + 2) * (3 - 4))"),
        ("'a' & \"b\"", '("a" & "b")'),
    ],
)
def test_operators_bind_by_precedence(text: str, expected: str) -> None:
    assert written(parse(text)) == expected


def test_of_any_two_operators_the_tighter_binds_first_and_the_left_of_equals() -> None:
    for outer, inner in itertools.product(PRECEDENCES, repeat=2):
        root = call(parse(f"a {outer} b {inner} c"))
        is_right_first = PRECEDENCES[inner] > PRECEDENCES[outer]
        assert root.name == (outer if is_right_first else inner)
        assert isinstance(root.arguments[1 if is_right_first else 0], Call)


@pytest.mark.parametrize(
    ("text", "name", "part"),
    [
        ("1 + 23 * 4", "*", "23 * 4"),
        ("(1 + 2) * 3", "+", "1 + 2"),
        ("  SUM( 1 , 2 )  ", "SUM", "SUM( 1 , 2 )"),
        ("1 & LEN ('a')", "LEN", "LEN ('a')"),
        ("1 - -x", "negate", "-x"),
        ("IF(a, b = c, d)", "=", "b = c"),
        ("'😀' & MAX(1)", "MAX", "MAX(1)"),
    ],
)
def test_a_call_knows_where_it_stands(text: str, name: str, part: str) -> None:
    node = next(node for node in postorder(parse(text)) if isinstance(node, Call) and node.name == name)
    assert text[node.start : node.end] == part


def test_leaves_know_where_they_stand_and_functions_where_their_names_end() -> None:
    text = "IF({Unit \\} price} >= 12.50, 'it\\'s', Name)"
    nodes = list(postorder(parse(text)))
    parts = [text[node.start : node.end] for node in nodes if not isinstance(node, Call)]
    assert parts == ["{Unit \\} price}", "12.50", "'it\\'s'", "Name"]
    root = call(nodes[-1])
    assert text[root.start : root.name_end] == "IF"
    assert [node.is_braced for node in nodes if isinstance(node, Reference)] == [True, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a\\nb'", "a\nb"),
        ("'\\d'", "\\d"),
        ('"\\""', '"'),
        ("'\\\\'", "\\"),
        ("'\\q\\''", "\\q'"),
        ("'\n'", "\n"),
        ("''", ""),
    ],
)
def test_texts_lose_quotes_and_escapes(text: str, value: str) -> None:
    root = parse(text)
    assert isinstance(root, Text)
    assert root.value == value


@pytest.mark.parametrize(
    ("text", "name"),
    [("{a b}", "a b"), ("{a\\}b\\}}", "a}b}"), ("{a{b}", "a{b"), ("{\\\\}", "\\"), ("{a\\b}", "a\\b"), ("{'}", "'"), ("ä_1", "ä_1"), ("{ x }", " x ")],
)  # fmt: skip
def test_names_lose_braces_and_escapes(text: str, name: str) -> None:
    root = parse(text)
    assert isinstance(root, Reference)
    assert root.name == name


# Sizes


@pytest.mark.parametrize(
    ("opening", "inner", "closing", "levels"),
    [
        ("(", "1", ")", 1_000),
        ("(", "1", ")", DEEP),
        ("ABS(", "1", ")", DEEP),
        ("-", "1", "", DEEP),
        ("IF(1,", "2", ",3)", 1_000),
        ("(1+", "1", ")", 1_000),
        ("1&(", "1", ")", 1_000),
    ],
)
def test_depth_is_bounded_by_the_length_alone(opening: str, inner: str, closing: str, levels: int) -> None:
    nodes = list(postorder(parse(opening * levels + inner + closing * levels)))
    assert len(nodes) >= (1 if opening == "(" else levels)


def test_a_long_chain_is_read_from_the_left() -> None:
    root = call(parse("-".join(["1"] * 20_000)))
    assert isinstance(root.arguments[0], Call)
    assert isinstance(root.arguments[1], Number)
    assert sum(1 for _ in postorder(root)) == 39_999


def test_the_longest_formula_is_read_and_longer_ones_are_refused() -> None:
    longest = "'" + "x" * (LENGTH_MAX - 2) + "'"
    assert isinstance(parse(longest), Text)
    with pytest.raises(BadSyntax, match="at most 100,000 characters"):
        parse(longest + " ")


@pytest.mark.parametrize(
    "text",
    ["(" * 99_999, ")" * 99_999, "'" + "\\" * 99_998, "{" * 99_999, "{" + "\\" * 99_998, "-" * 99_999, "f(" * 49_999, "1 " * 49_999, " " * 99_999 + "1", "1" * 99_999, "!" * 99_999, "a" * 99_999 + "'"],
    ids=lambda text: text[:2],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    found = read(text)
    assert not isinstance(found, FormulaProblem) or 0 <= found.start <= found.end <= len(text)


# Errors


def test_the_first_fault_counts() -> None:
    with pytest.raises(BadSyntax) as caught:
        parse("1 + * 2 (")
    assert (caught.value.start, caught.value.end) == (4, 5)


@given(st.text(st.sampled_from("1.a{}'\"\\()+-*/&=<>!, \n😀;[]%^|"), max_size=30))
@settings(max_examples=200)
def test_any_text_is_read_or_refused_with_a_position(text: str) -> None:
    found = read(text)
    if isinstance(found, FormulaProblem):
        assert found.message
        assert 0 <= found.start <= found.end <= len(text)
    else:
        assert shape(parse(written(found))) == shape(found)


# Written again


def test_every_formula_of_the_corpus_is_the_same_once_written() -> None:
    valid = [case.formula for case in corpus() if not isinstance(case.expected, Problem)]
    trees = [(formula, parse(formula)) for formula in valid]
    assert [formula for formula, root in trees if shape(parse(written(root))) != shape(root)] == []


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8).filter(
    str.strip
)
LEAVES: st.SearchStrategy[Node] = st.one_of(
    st.floats(0, allow_nan=False).map(lambda value: Number(abs(value), 0, 0)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda value: Text(value, 0, 0)),
    NAMES.map(lambda name: Reference(name, True, 0, 0)),
)


def _calls(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    functions = st.builds(
        lambda name, arguments: Call(name, tuple(arguments), False, 0, 0),
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True),
        st.lists(inner, max_size=3),
    )
    operators = st.builds(
        lambda sign, left, right: Call(sign, (left, right), True, 0, 0), st.sampled_from([*PRECEDENCES]), inner, inner
    )
    return st.one_of(functions, operators, inner.map(lambda one: Call("negate", (one,), True, 0, 0)))


@given(st.recursive(LEAVES, _calls, max_leaves=12))
@settings(max_examples=100)
def test_a_written_tree_is_read_back(root: Node) -> None:
    text = written(root)
    assert shape(parse(text)) == shape(root)
    assert written(parse(text)) == text
