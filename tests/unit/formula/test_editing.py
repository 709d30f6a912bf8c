"""What editors use: layout, completion, explanation and help."""

import random

import pytest

from pyat.formula import types
from pyat.formula.checking import Known, Scope, check
from pyat.formula.completing import completed
from pyat.formula.explaining import ITEMS_MAX, PARTS_MAX, TEXT_MAX, explained
from pyat.formula.formatting import formatted
from pyat.formula.functions import FUNCTIONS, OPERATORS
from pyat.formula.helping import every
from pyat.formula.parsing import LENGTH_MAX, parse
from pyat.formula.tree import Call, Reference, postorder
from tests.support.formula_corpus import Problem, corpus

FIELDS = (("Price", "currency"), ("Unit price", "number"), ("a}b", "text"), ("Round", "text"))


def shape(text: str) -> list[object]:
    """A formula's tree without places in the text."""
    found: list[object] = []
    for node in postorder(parse(text)):
        if isinstance(node, Call):
            found.append((node.name if node.is_operator else node.name.upper(), len(node.arguments)))
        else:
            found.append(node.name if isinstance(node, Reference) else node.value)
    return found


@pytest.mark.parametrize(
    ("written", "laid_out"),
    [
        ("1+2*3", "1 + 2 * 3"),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("((1))", "1"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("(1-2)-3", "1 - 2 - 3"),
        ("-(1+2)", "-(1 + 2)"),
        ("- -{A}", "--{A}"),
        ("-1*2", "-1 * 2"),
        ("1&(2&3)", "1 & (2 & 3)"),
        ("(1<2)=(3>=4)", "1 < 2 = (3 >= 4)"),
        ("sum ( 1 ,2 )", "SUM(1, 2)"),
        ("now( )", "NOW()"),
        ("'it\\'s'&\"x\"", "'it\\'s' & \"x\""),
        ("{ a b }", "{ a b }"),
    ],
)
def test_layout(written: str, laid_out: str) -> None:
    assert formatted(written) == laid_out


def test_what_does_not_fit_stands_line_by_line() -> None:
    made = formatted("IF(AND({Price} > 10, {Round} = 'x'), SUM(1, 2), CONCATENATE('some text', 'more'))", width=40)
    assert made.split("\n") == [
        "IF(",
        "  AND({Price} > 10, {Round} = 'x'),",
        "  SUM(1, 2),",
        "  CONCATENATE('some text', 'more')",
        ")",
    ]


def test_a_layout_means_the_same_and_stays_as_it_is() -> None:
    chosen = random.Random(7)
    texts = [case.formula for case in corpus() if not isinstance(case.expected, Problem)]
    for text in chosen.sample(texts, 600):
        for width in (20, 80):
            made = formatted(text, width=width)
            assert shape(made) == shape(text), text
            assert formatted(made, width=width) == made


def test_thousands_of_levels_stay_a_formula() -> None:
    deep = "ABS(" * 16_000 + "1" + ")" * 16_000
    assert len(formatted(deep)) <= LENGTH_MAX


@pytest.mark.parametrize(
    ("text", "span", "inserted"),
    [
        ("DATETIME_P|", (0, 10), ["DATETIME_PARSE("]),
        ("{Pri|", (0, 4), ["{Price}", "{Unit price}"]),
        ("{Pri|}", (0, 5), ["{Price}", "{Unit price}"]),
        ("1 + {a\\}|", (4, 8), ["{a\\}b}"]),
        ("Pri|", (0, 3), ["Price", "{Unit price}"]),
        ("'Pri|", (4, 4), []),
        ("{Price} |", (8, 8), []),
        ("1 |", (2, 2), []),
        ("Roun|", (0, 4), ["{Round}", "ROUND(", "ROUNDDOWN(", "ROUNDUP("]),
    ],
)
def test_completion(text: str, span: tuple[int, int], inserted: list[str]) -> None:
    cursor = text.index("|")
    found = completed(text.replace("|", ""), cursor, FIELDS)
    assert (found.start, found.end) == span
    assert [item.insert for item in found.items] == [name.replace("{Round}", "Round") for name in inserted]


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("|", None),
        ("ROUND(|", ("ROUND", 0)),
        ("ROUND(1, |", ("ROUND", 1)),
        ("ROUND(SUM(1, 2), |", ("ROUND", 1)),
        ("ROUND(SUM(1, (2 + |", ("SUM", 1)),
        ("ROUND(1, 2)|", None),
        ("IF({a,b(}, ',', |", ("IF", 2)),
        ("NOTHING(1, |", None),
    ],
)
def test_the_call_around_a_cursor(text: str, call: tuple[str, int] | None) -> None:
    found = completed(text.replace("|", ""), text.index("|"), FIELDS).call
    assert (None if found is None else (found.name, found.argument)) == call


def test_any_text_can_be_completed() -> None:
    chosen = random.Random(3)
    signs = ["{", "}", "'", '"', "\\", "SUM", "(", ")", ",", " ", "Pri", "1", "+", "é", "\ud83d", "|"]
    for _ in range(2_000):
        text = "".join(chosen.choice(signs) for _ in range(chosen.randrange(12)))
        found = completed(text, chosen.randrange(15), FIELDS)
        assert 0 <= found.start <= found.end <= len(text)


def test_a_branch_that_is_not_taken_has_no_value() -> None:
    names = {"A": Known("fldA", "A", types.NUMBER)}
    formula = check("SWITCH({A}, 1, 'one', 2, UPPER('two'), ERROR())", Scope(names.get))
    parts = explained(formula, [2.0]).parts
    assert parts[0].value == "TWO"
    assert [part.text for part in parts if not part.was_seen] == ["ERROR()"]


def test_an_explanation_is_bounded() -> None:
    found = explained(check("+".join(["1"] * 5_000), Scope(lambda name: None)), [])
    assert found.is_cut
    assert len(found.parts) <= PARTS_MAX
    assert found.parts[0].value == 5_000


def test_an_explained_value_and_its_text_are_shortened() -> None:
    names = {"A": Known("fldA", "A", types.TEXT.array), "B": Known("fldB", "B", types.TEXT)}
    formula = check("IF(1, ARRAYUNIQUE({A}), {B}" + " & {B}" * 400 + ")", Scope(names.get))
    for given, shown, is_cut in (
        (("x", "y"), 2, False),
        (tuple(str(number) for number in range(500)), ITEMS_MAX, True),
        (("x" * TEXT_MAX, "y"), 1, True),
    ):
        part = explained(formula, [given, "b"]).parts[0]
        assert isinstance(part.value, tuple)
        assert (len(part.value), part.is_cut) == (shown, is_cut)
        assert (len(part.text), part.end) == (TEXT_MAX, len(formula.text))
    (text,) = explained(check("{B}", Scope(names.get)), ["b" * (TEXT_MAX + 1)]).parts
    assert (text.value, text.is_cut) == ("b" * TEXT_MAX, True)


def test_every_entry_has_help() -> None:
    assert set(every()) == {*FUNCTIONS, *OPERATORS}
    for one in every().values():
        assert one.summary.endswith("."), one.name
        assert one.signature
        assert one.category
