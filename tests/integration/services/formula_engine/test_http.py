"""`/api/v1/formulas` on the wire: what it answers and every refusal."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.ids import BaseId
from pyat.foundation.web import Health, Router, ServiceApp
from pyat.services.formula_engine.routes import OPERATIONS, handlers
from pyat.services.formula_engine.service import FormulaService
from pyat.services.formula_engine.settings import FormulaSettings
from tests.support.asgi import serving
from tests.support.schema import OTHER_TENANT, SIGNER, Client, principal
from tests.support.shop import Shop, make_shop

FORMULAS = "/api/v1/formulas"


@pytest_asyncio.fixture
async def shop(database: Database, cache: Cache) -> Shop:
    """Orders with lines, and a total."""
    made = await make_shop(database, cache)
    await made.add("Lines", "Amount", "formula", formula="{Price} * {Quantity}")
    await made.add("Orders", "Total", "rollup", link="Orders.Lines", source="Lines.Amount", formula="SUM(values)")
    return made


@asynccontextmanager
async def served(shop: Shop, *, time_s: float) -> AsyncIterator[Client]:
    """The service over HTTP, whose evaluations end after that time."""
    service = FormulaService(shop.schema, shop.records, FormulaSettings(formula_time_s=time_s))
    app = ServiceApp("formula_engine", OPERATIONS, handlers(service), SIGNER, Health("formula_engine", {}))
    async with serving(app) as origin, aiohttp.ClientSession() as session:
        yield Client(session, origin, router=Router(OPERATIONS))


@pytest_asyncio.fixture
async def client(shop: Shop) -> AsyncIterator[Client]:
    """The service over HTTP."""
    async with served(shop, time_s=10) as made:
        yield made


def at(shop: Shop, table: str = "Lines") -> dict[str, Any]:
    """A table as requests name it."""
    return {"baseId": shop.base_id, "table": table}


async def test_a_formula_over_a_table_is_checked(client: Client, shop: Shop) -> None:
    found = await client.ok(
        "POST", f"{FORMULAS}/check", {**at(shop), "formula": "IF({Amount} > 1, ROUND(Price, 1), TODAY())"}
    )
    assert found == {
        "isValid": True,
        "problem": None,
        "type": "any",
        "isList": False,
        "referencedFieldIds": [shop.ids["Lines.Amount"], shop.ids["Lines.Price"]],
        "functions": ["ROUND", "TODAY", "IF"],
        "isVolatile": True,
    }


@pytest.mark.parametrize(
    ("formula", "message", "span", "suggestion"),
    [
        ("1 + DATETIMEDIF(A)", "Unknown function DATETIMEDIF", (4, 15), "DATETIME_DIFF"),
        ("{Amout} + 1", "Unknown field names: amout", (0, 7), "Amount"),
        ("IF(1)", "IF takes 2 to 3 arguments, not 1", (0, 5), None),
        ("1 +", "A value is missing after +", (3, 3), None),
    ],
)
async def test_what_is_wrong_is_told_with_its_place(
    client: Client, shop: Shop, formula: str, message: str, span: tuple[int, int], suggestion: str | None
) -> None:
    found = await client.ok("POST", f"{FORMULAS}/check", {**at(shop), "formula": formula})
    assert found["isValid"] is False
    assert found["problem"] == {"message": message, "start": span[0], "end": span[1], "suggestion": suggestion}


async def test_fields_may_be_given_with_a_formula(client: Client) -> None:
    body = {"formula": "SUM(values) / Count", "fields": {"Count": "number"}, "values": "numbers"}
    found = await client.ok("POST", f"{FORMULAS}/check", body)
    assert (found["type"], found["referencedFieldIds"]) == ("number", ["Count"])


@pytest.mark.parametrize(
    ("formula", "fields", "value"),
    [
        ("A + B", {"A": 1, "B": True}, 2),
        ("A & '!'", {"A": "ä🐍"}, "ä🐍!"),
        ("A / 0", {"A": -1}, {"specialValue": "-Infinity"}),
        ("ERROR()", {}, {"error": "#ERROR!"}),
        ("DATEADD(D, 1, 'day')", {"D": {"date": "2024-02-28"}}, "2024-02-29T00:00:00.000Z"),
        ("ARRAYUNIQUE(L)", {"L": [1, 1, 2]}, [1, 2]),
        ("A", {"A": None}, None),
        ("A + 1", {"A": {"type": "number", "value": None}}, 1),
        ("DATEADD(D, 1, 'day')", {"D": {"type": "date", "value": "2024-02-28"}}, "2024-02-29T00:00:00.000Z"),
        ("SUM(L)", {"L": {"type": "numbers", "value": [1, None, 2]}}, 3),
        ("COUNTALL(L)", {"L": {"type": "dates", "value": ["2024-02-28"]}}, 1),
        ("ARRAYUNIQUE(L)", {"L": {"type": "texts", "value": []}}, []),
        ("REGEX_EXTRACT(A, '[0-9]+')", {"A": "no 42"}, "42"),
        ("NOW() > DATETIME_PARSE('2020-01-01')", {}, 1),
    ],
)
async def test_values_that_are_given(client: Client, formula: str, fields: dict[str, Any], value: Any) -> None:
    assert await client.ok("POST", f"{FORMULAS}/evaluate", {"formula": formula, "fields": fields}) == {"value": value}


async def test_a_record_gives_the_values(client: Client, shop: Shop) -> None:
    (order,) = await shop.create("Orders", {"Name": "o", "Day": "2024-02-28"})
    (line,) = await shop.create("Lines", {"Name": "l", "Price": 2.5, "Quantity": 4, "Order": [order["id"]]})
    for formula, table, record, value in (
        ("{Amount} & ' ' & {Order}", "Lines", line, "10 o"),
        ("{Total} * 2", "Orders", order, 20),
        ("RECORD_ID() & DATETIME_FORMAT({Day}, 'D')", "Orders", order, f"{order['id']}28"),
        ("REGEX_MATCH({Name}, '^l$')", "Lines", line, 1),
    ):
        body = {**at(shop, table), "recordId": record["id"], "formula": formula}
        assert await client.ok("POST", f"{FORMULAS}/evaluate", body) == {"value": value}


async def test_a_value_is_explained(client: Client) -> None:
    body = {"formula": "IF(A > 1, A * 2, B)", "fields": {"A": 3, "B": "no"}}
    found = await client.ok("POST", f"{FORMULAS}/explain", body)
    assert found["value"] == 6
    assert found["isCut"] is False
    parts = found["parts"]
    condition, product, other = (parts[place] for place in parts[0]["parts"])
    assert (parts[0]["name"], condition["text"], condition["value"]) == ("IF", "A > 1", 1)
    assert (product["name"], product["value"], product["wasSeen"]) == ("*", 6, True)
    assert (other["text"], other["value"]) == ("B", "no")
    body["formula"] = "IF(A > 1, A, B & '!')"
    found = await client.ok("POST", f"{FORMULAS}/explain", body)
    assert [part["text"] for part in found["parts"] if not part["wasSeen"]] == ["B & '!'"]


async def test_an_editor_is_helped(client: Client, shop: Shop) -> None:
    found = await client.ok("POST", f"{FORMULAS}/complete", {**at(shop), "formula": "ROUND({Pr", "cursor": 9})
    assert (found["start"], found["end"]) == (6, 9)
    assert [(item["kind"], item["insert"]) for item in found["items"]] == [("field", "{Price}")]
    assert found["call"] == {"name": "ROUND", "signature": "ROUND(number, precision)", "argument": 0}
    found = await client.ok("POST", f"{FORMULAS}/complete", {"formula": "DATETIME_F", "cursor": 10})
    assert [item["insert"] for item in found["items"]] == ["DATETIME_FORMAT("]


async def test_a_formula_is_laid_out(client: Client) -> None:
    found = await client.ok("POST", f"{FORMULAS}/format", {"formula": "if( (a)>1,\n'yes' , 'no')"})
    assert found == {"formula": "IF(a > 1, 'yes', 'no')"}
    found = await client.ok("POST", f"{FORMULAS}/format", {"formula": "if(a>1,'yes','no')", "width": 20})
    assert found == {"formula": "IF(\n  a > 1,\n  'yes',\n  'no'\n)"}
    assert (await client.refused("POST", f"{FORMULAS}/format", {"formula": "1 +"}))[1] == "INVALID_FORMULA"


async def test_names_become_ids_and_ids_names(client: Client, shop: Shop) -> None:
    body = {**at(shop), "formula": "Price * {Nothing} & '{Price}'", "to": "ids"}
    (made,) = (await client.ok("POST", f"{FORMULAS}/translate", body)).values()
    assert made == f"{{{shop.ids['Lines.Price']}}} * {{Nothing}} & '{{Price}}'"
    body = {**at(shop), "formula": made, "to": "names"}
    assert await client.ok("POST", f"{FORMULAS}/translate", body) == {"formula": "Price * {Nothing} & '{Price}'"}


async def test_every_function_has_help(client: Client) -> None:
    found = (await client.ok("GET", f"{FORMULAS}/functions"))["functions"]
    assert len(found) > 80
    for one in found:
        assert one["summary"] and one["examples"], one["name"]
    by_name = {one["name"]: one for one in found}
    assert by_name["ROUND"]["signature"] == "ROUND(number, precision)"
    assert by_name["+"]["isOperator"] is True


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("check", {}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": 1}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1" * 100_001}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "other": 1}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "fields": {"A": "bool"}}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "fields": []}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "values": 3}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "baseId": "app00000000000000"}, "INVALID_REQUEST_UNKNOWN"),
        ("check", {"formula": "1", "baseId": "x", "table": "T"}, "INVALID_REQUEST_UNKNOWN"),
        (
            "check",
            {"formula": "1", "fields": {f"F{number}": "text" for number in range(501)}},
            "INVALID_REQUEST_UNKNOWN",
        ),
        ("evaluate", {"formula": "1", "recordId": "rec00000000000000"}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"date": "soon"}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"x": 1}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": [[1]]}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": [1, "x"]}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"type": "number", "value": "x"}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"type": "text", "value": [None]}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"type": [], "value": 1}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "A", "fields": {"A": {"type": "date", "value": "soon"}}}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "RECORD_ID()"}, "INVALID_REQUEST_UNKNOWN"),
        ("evaluate", {"formula": "NOTHING()"}, "INVALID_FORMULA"),
        ("explain", {"formula": "A"}, "INVALID_FORMULA"),
        ("complete", {"formula": "A"}, "INVALID_REQUEST_UNKNOWN"),
        ("complete", {"formula": "A", "cursor": -1}, "INVALID_REQUEST_UNKNOWN"),
        ("complete", {"formula": "A", "cursor": True}, "INVALID_REQUEST_UNKNOWN"),
        ("format", {"formula": "A", "width": 1}, "INVALID_REQUEST_UNKNOWN"),
        ("translate", {"formula": "A", "to": "ids"}, "INVALID_REQUEST_UNKNOWN"),
        ("translate", {"formula": "A", "to": "x"}, "INVALID_REQUEST_UNKNOWN"),
    ],
)
async def test_bad_requests(client: Client, path: str, body: dict[str, Any], kind: str) -> None:
    assert (await client.refused("POST", f"{FORMULAS}/{path}", body))[1] == kind


async def test_lists_in_lists_are_refused_however_deep(client: Client) -> None:
    nested = b"[" * 1_000 + b"]" * 1_000
    for value in (nested, b'{"type": "texts", "value": ' + nested + b"}"):
        body = b'{"formula": "A", "fields": {"A": ' + value + b"}}"
        status, kind, message = await client.refused("POST", f"{FORMULAS}/evaluate", raw=body)
        assert (status, kind) == (422, "INVALID_REQUEST_UNKNOWN")
        assert "lists hold no lists" in message


async def test_what_an_evaluation_holds_is_bounded(client: Client) -> None:
    body = {"formula": " & ".join(["LEN(REPT('a', 10000000))"] * 1_000)}
    assert (await client.refused("POST", f"{FORMULAS}/evaluate", body))[1] == "FORMULA_TOO_LARGE"
    assert (await client.refused("POST", f"{FORMULAS}/explain", body))[1] == "FORMULA_TOO_LARGE"


async def test_one_function_has_help(client: Client) -> None:
    found = await client.ok("GET", f"{FORMULAS}/functions/round")
    assert (found["name"], found["parameters"]) == ("ROUND", ["number", "precision"])
    assert found["text"].startswith(found["summary"].split(" ")[0])
    assert (await client.ok("GET", f"{FORMULAS}/functions/%2F"))["isOperator"] is True
    assert (await client.refused("GET", f"{FORMULAS}/functions/NOTHING"))[0] == 404


async def test_deep_and_long_formulas(client: Client) -> None:
    for formula in ("ABS(" * 16_000 + "1" + ")" * 16_000, "1" + "+1" * 49_000, "(" * 50_000 + "1" + ")" * 49_999):
        (valid,) = [(await client.ok("POST", f"{FORMULAS}/check", {"formula": formula}))["isValid"]]
        assert valid is (formula.count("(") == formula.count(")"))
    deep = "ABS(" * 16_000 + "-1" + ")" * 16_000
    assert await client.ok("POST", f"{FORMULAS}/evaluate", {"formula": deep}) == {"value": 1}
    found = await client.ok("POST", f"{FORMULAS}/explain", {"formula": deep})
    assert (found["isCut"], len(found["parts"]), found["value"]) == (True, 1_000, 1)
    assert (await client.ok("POST", f"{FORMULAS}/format", {"formula": deep}))["formula"]


async def test_an_evaluation_ends_in_time(shop: Shop) -> None:
    body = {"formula": "1" + "+1" * 49_000}
    async with served(shop, time_s=0.000_001) as client:
        assert (await client.refused("POST", f"{FORMULAS}/evaluate", body))[1] == "FORMULA_TOO_SLOW"
        assert (await client.refused("POST", f"{FORMULAS}/explain", body))[1] == "FORMULA_TOO_SLOW"


async def test_nobody_reaches_what_is_not_theirs(client: Client, shop: Shop) -> None:
    (line,) = await shop.create("Lines", {"Name": "l", "Price": 1})
    stranger = principal(tenant_id=OTHER_TENANT)
    limited = principal(base_ids=frozenset({BaseId("app00000000000000")}))
    about = {**at(shop), "formula": "Price"}
    for path, more in (
        ("check", {}),
        ("complete", {"cursor": 1}),
        ("translate", {"to": "ids"}),
        ("evaluate", {"recordId": line["id"]}),
        ("explain", {"recordId": line["id"]}),
    ):
        status, kind, _ = await client.refused("POST", f"{FORMULAS}/{path}", {**about, **more}, caller=stranger)
        assert (status, kind) == (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")
        status, _, _ = await client.refused("POST", f"{FORMULAS}/{path}", {**about, **more, "table": "Nothing"})
        assert status == 403
        status, _, _ = await client.refused("POST", f"{FORMULAS}/{path}", {**about, **more}, caller=limited)
        assert status == 403
    nowhere = {**about, "recordId": "rec00000000000000"}
    assert (await client.refused("POST", f"{FORMULAS}/evaluate", nowhere))[0] == 404
