"""The contract `Formulas`, on the local and on the remote binding."""

from typing import Any

import pytest
import pytest_asyncio

from pyat.foundation.cache import Cache
from pyat.foundation.db import Database
from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, RecordId
from pyat.services.airtable_gateway.contract import Records
from pyat.services.formula_engine.contract import Formulas, FormulaTooLarge, FormulaTooSlow, InvalidFormula, Subject
from pyat.services.formula_engine.service import FormulaService
from pyat.services.formula_engine.settings import FormulaSettings
from pyat.services.schema.contract import Schema
from tests.contract.conftest import Bind
from tests.support.schema import OTHER_TENANT, principal
from tests.support.shop import Shop, make_shop

ME = principal()


@pytest_asyncio.fixture
async def shop(database: Database, cache: Cache) -> Shop:
    """Lines with an amount, which is kept."""
    made = await make_shop(database, cache)
    made.is_kept = True
    await made.add("Lines", "Amount", "formula", formula="{Price} * {Quantity}")
    return made


@pytest_asyncio.fixture
async def formulas(shop: Shop, bind: Bind) -> Formulas:
    """The contract as a peer gets it; the service's own peers are bound the same way."""
    schema, records = await bind(Schema, shop.schema), await bind(Records, shop.records)
    return await bind(Formulas, FormulaService(schema, records, FormulaSettings()))


async def test_a_record_of_a_table(formulas: Formulas, shop: Shop) -> None:
    (line,) = await shop.create("Lines", {"Name": "l", "Price": 2.5, "Quantity": 4})
    about = Subject(shop.base_id, "Lines")
    checked = await formulas.check(principal=ME, subject=about, formula="{Amount} > 1")
    assert (checked.problem, checked.type, checked.field_ids) == (None, "number", (shop.ids["Lines.Amount"],))
    to: dict[str, Any] = {"principal": ME, "subject": about, "formula": "{Amount} / 0", "values": {}}
    assert await formulas.evaluate(**to, record_id=RecordId(line["id"])) == {"specialValue": "Infinity"}
    explained = await formulas.explain(**to, record_id=RecordId(line["id"]))
    assert [part.value for part in explained.parts] == [{"specialValue": "Infinity"}, 10, 0]
    with pytest.raises(ModelNotFound):
        await formulas.evaluate(**to, record_id=RecordId("rec00000000000000"))
    names = await formulas.field_names(principal=ME, subject=about)
    assert ("Amount", "formula") in names
    made = await formulas.translate(principal=ME, subject=about, formula="Amount", to="ids")
    assert made == f"{{{shop.ids['Lines.Amount']}}}"


async def test_values_that_are_given(formulas: Formulas) -> None:
    to: dict[str, Any] = {"principal": ME, "subject": Subject(fields={"A": "number"}), "record_id": None}
    assert await formulas.evaluate(**to, formula="A + 1", values={"A": 1}) == 2
    with pytest.raises(InvalidFormula, match="character 5"):
        await formulas.evaluate(**to, formula="A + B", values={"A": 1})
    with pytest.raises(InvalidRequest):
        await formulas.evaluate(**to, formula="A", values={"A": {}})
    with pytest.raises(FormulaTooLarge):
        await formulas.evaluate(**to, formula="+".join(["LEN(REPT('ab', 4000000))"] * 2_000), values={})


async def test_an_evaluation_ends_in_time(shop: Shop, bind: Bind) -> None:
    hurried = FormulaService(shop.schema, shop.records, FormulaSettings(formula_time_s=0.000_001))
    formulas = await bind(Formulas, hurried)
    with pytest.raises(FormulaTooSlow):
        await formulas.evaluate(principal=ME, subject=Subject(), formula="1 + 1", record_id=None, values={})


async def test_who_does_not_reach_a_base_learns_nothing(formulas: Formulas, shop: Shop) -> None:
    for caller, about in (
        (principal(tenant_id=OTHER_TENANT), Subject(shop.base_id, "Lines")),
        (ME, Subject(shop.base_id, "Nothing")),
        (ME, Subject(BaseId("app00000000000000"), "Lines")),
    ):
        with pytest.raises(NotPermittedOrNotFound):
            await formulas.check(principal=caller, subject=about, formula="1")
