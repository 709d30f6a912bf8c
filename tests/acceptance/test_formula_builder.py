"""pyairtable's formula builder, every function and operator of it, as filters of records whose cells are known."""

import datetime
import inspect
from typing import Any

import pytest
from pyairtable import Api, Table, formulas
from pyairtable import formulas as F  # noqa: N812 - as its documentation calls it

from tests.acceptance.support import Account

DAY = datetime.date(2024, 2, 29)
ROWS: tuple[dict[str, Any], ...] = (
    {"Name": "Ann", "Text": "a 12 b", "Amount": 2.5, "Count": 3, "Done": True, "Day": "2024-02-29"},
    {"Name": "Bob", "Text": 'it\'s "so"', "Amount": -7, "Count": 4, "Day": "2023-12-31"},
    {"Name": "Cid", "Count": 0},
)
NAME, TEXT, AMOUNT, COUNT, DATE = (F.Field(name) for name in ("Name", "Text", "Amount", "Count", "Day"))
ALL = {"Ann", "Bob", "Cid"}

CASES: dict[str, tuple[Any, set[str]]] = {
    "match": (F.match({"Name": "Ann", "Count": (">", 1)}), {"Ann"}),
    "match any": (F.match({"Name": "Ann", "Count": 0}, match_any=True), {"Ann", "Cid"}),
    "match blank": (F.match({"Text": ""}), {"Cid"}),
    "EQ": (F.EQ(NAME, "Bob"), {"Bob"}),
    "NE": (F.NE(NAME, "Bob"), {"Ann", "Cid"}),
    "GT": (F.GT(AMOUNT, 0), {"Ann"}),
    "GTE": (F.GTE(COUNT, 3), {"Ann", "Bob"}),
    "LT": (F.LT(COUNT, 3), {"Cid"}),
    "LTE": (F.LTE(COUNT, 3), {"Ann", "Cid"}),
    "AND": (F.AND(F.GT(COUNT, 2), Name="Bob"), {"Bob"}),
    "OR": (F.OR(Name="Ann", Count=0), {"Ann", "Cid"}),
    "NOT": (F.NOT(F.EQ(NAME, "Ann")), {"Bob", "Cid"}),
    "XOR": (F.XOR(F.Formula("{Done}"), F.GT(COUNT, 2)), {"Bob"}),
    "and or not": (F.EQ(NAME, "Ann") | ~F.EQ(NAME, "Bob") & F.EQ(COUNT, 0), {"Ann", "Cid"}),
    "quotes": (F.EQ(TEXT, 'it\'s "so"'), {"Bob"}),
    "Field.eq": (NAME.eq("Cid"), {"Cid"}),
    "ABS": (F.GT(F.ABS(AMOUNT), 5), {"Bob"}),
    "AVERAGE": (F.EQ(F.AVERAGE(COUNT, 5), 4), {"Ann"}),
    "BLANK": (F.EQ(TEXT, F.BLANK()), {"Cid"}),
    "CEILING": (F.EQ(F.CEILING(AMOUNT, 1), 3), {"Ann"}),
    "CONCATENATE": (F.EQ(F.CONCATENATE(NAME, "-", COUNT), "Bob-4"), {"Bob"}),
    "COUNT": (F.EQ(F.COUNT(AMOUNT, COUNT, NAME), 2), {"Ann", "Bob"}),
    "COUNTA": (F.EQ(F.COUNTA(AMOUNT, COUNT, NAME), 2), {"Cid"}),
    "COUNTALL": (F.EQ(F.COUNTALL(AMOUNT, COUNT, NAME), 3), ALL),
    "CREATED_TIME": (F.IS_BEFORE(F.CREATED_TIME(), "2024-01-01"), set()),
    "DATEADD": (F.EQ(F.DATESTR(F.DATEADD(DATE, 1, "day")), "2024-03-01"), {"Ann"}),
    "DATESTR": (F.EQ(F.DATESTR(DATE), "2023-12-31"), {"Bob"}),
    "DATETIME_DIFF": (F.EQ(F.DATETIME_DIFF(DATE, datetime.date(2024, 1, 1), "days"), 59), {"Ann"}),
    "DATETIME_FORMAT": (F.EQ(F.DATETIME_FORMAT(DATE, "DD/MM/YY"), "29/02/24"), {"Ann"}),
    "DATETIME_PARSE": (F.IS_SAME(DATE, F.DATETIME_PARSE("31 12 2023", "DD MM YYYY"), "day"), {"Bob"}),
    "DAY": (F.EQ(F.DAY(DATE), 29), {"Ann"}),
    "ENCODE_URL_COMPONENT": (F.EQ(F.ENCODE_URL_COMPONENT(TEXT), "a%2012%20b"), {"Ann"}),
    "ERROR": (F.ISERROR(F.IF(F.EQ(NAME, "Ann"), F.ERROR(), 1)), {"Ann"}),
    "EVEN": (F.EQ(F.EVEN(COUNT), 4), {"Ann", "Bob"}),
    "EXP": (F.GT(F.EXP(COUNT), 50), {"Bob"}),
    "FALSE": (F.FALSE(), set()),
    "FIND": (F.EQ(F.FIND("12", TEXT), 3), {"Ann"}),
    "FLOOR": (F.EQ(F.FLOOR(AMOUNT, 1), 2), {"Ann"}),
    "FROMNOW": (F.FIND("year", F.FROMNOW(DATE)), {"Ann", "Bob"}),
    "HOUR": (F.EQ(F.HOUR(F.DATEADD(DATE, 5, "hours")), 5), {"Ann", "Bob"}),
    "IF": (F.IF(F.GT(COUNT, 3), 1, 0), {"Bob"}),
    "INT": (F.EQ(F.INT(AMOUNT), 2), {"Ann"}),
    "ISERROR": (F.ISERROR(F.Formula("1/0")), ALL),
    "IS_AFTER": (F.IS_AFTER(DATE, "2024-01-01"), {"Ann"}),
    "IS_BEFORE": (F.IS_BEFORE(DATE, datetime.date(2024, 1, 1)), {"Bob"}),
    "IS_SAME": (F.IS_SAME(DATE, DAY, "month"), {"Ann"}),
    "LAST_MODIFIED_TIME": (F.IS_AFTER(F.LAST_MODIFIED_TIME(), "2024-01-01"), ALL),
    "LEFT": (F.EQ(F.LEFT(NAME, 1), "A"), {"Ann"}),
    "LEN": (F.EQ(F.LEN(TEXT), 6), {"Ann"}),
    "LOG": (F.EQ(F.LOG(COUNT, 2), 2), {"Bob"}),
    "LOWER": (F.EQ(F.LOWER(NAME), "ann"), {"Ann"}),
    "MAX": (F.EQ(F.MAX(AMOUNT, COUNT), 3), {"Ann"}),
    "MID": (F.EQ(F.MID(TEXT, 3, 2), "12"), {"Ann"}),
    "MIN": (F.EQ(F.MIN(AMOUNT, COUNT), -7), {"Bob"}),
    "MINUTE": (F.EQ(F.MINUTE(F.DATEADD(DATE, 7, "minutes")), 7), {"Ann", "Bob"}),
    "MOD": (F.EQ(F.MOD(COUNT, 2), 1), {"Ann"}),
    "MONTH": (F.EQ(F.MONTH(DATE), 12), {"Bob"}),
    "NOW": (F.IS_BEFORE(DATE, F.NOW()), {"Ann", "Bob"}),
    "ODD": (F.EQ(F.ODD(COUNT), 5), {"Bob"}),
    "POWER": (F.EQ(F.POWER(COUNT, 2), 9), {"Ann"}),
    "RECORD_ID": (F.EQ(F.LEFT(F.RECORD_ID(), 3), "rec"), ALL),
    "REGEX_EXTRACT": (F.EQ(F.REGEX_EXTRACT(TEXT, "[0-9]+"), "12"), {"Ann"}),
    "REGEX_MATCH": (F.REGEX_MATCH(NAME, "^[AB]"), {"Ann", "Bob"}),
    "REGEX_REPLACE": (F.EQ(F.REGEX_REPLACE(TEXT, "[^0-9]", ""), "12"), {"Ann"}),
    "REPLACE": (F.EQ(F.REPLACE(NAME, 1, 1, "Z"), "Zob"), {"Bob"}),
    "REPT": (F.EQ(F.REPT("ab", COUNT), "ababab"), {"Ann"}),
    "RIGHT": (F.EQ(F.RIGHT(NAME, 2), "id"), {"Cid"}),
    "ROUND": (F.EQ(F.ROUND(AMOUNT, 0), 3), {"Ann"}),
    "ROUNDDOWN": (F.EQ(F.ROUNDDOWN(AMOUNT, 0), 2), {"Ann"}),
    "ROUNDUP": (F.EQ(F.ROUNDUP(AMOUNT, 0), 3), {"Ann"}),
    "SEARCH": (F.SEARCH("b", NAME), {"Bob"}),
    "SECOND": (F.EQ(F.SECOND(F.DATEADD(DATE, 9, "seconds")), 9), {"Ann", "Bob"}),
    "SET_LOCALE": (F.EQ(F.DATETIME_FORMAT(F.SET_LOCALE(DATE, "de"), "MMMM"), "Februar"), {"Ann"}),
    "SET_TIMEZONE": (
        F.EQ(F.DATETIME_FORMAT(F.SET_TIMEZONE(DATE, "Asia/Tokyo"), "YYYY-MM-DD HH"), "2024-02-29 09"),
        {"Ann"},
    ),
    "SQRT": (F.EQ(F.SQRT(COUNT), 2), {"Bob"}),
    "SUBSTITUTE": (F.EQ(F.SUBSTITUTE(NAME, "n", "m", 2), "Anm"), {"Ann"}),
    "SUM": (F.EQ(F.SUM(AMOUNT, COUNT), -3), {"Bob"}),
    "SWITCH": (F.EQ(F.SWITCH(NAME, "Ann", 1, "Bob", 2, 3), 2), {"Bob"}),
    "T": (F.EQ(F.T(NAME), "Cid"), {"Cid"}),
    "TIMESTR": (F.EQ(F.TIMESTR(DATE), "00:00:00"), {"Ann", "Bob"}),
    "TODAY": (F.IS_BEFORE(DATE, F.TODAY()), {"Ann", "Bob"}),
    "TONOW": (F.FIND("year", F.TONOW(DATE)), {"Ann", "Bob"}),
    "TRIM": (F.EQ(F.TRIM(F.CONCATENATE("  ", NAME, " ")), "Ann"), {"Ann"}),
    "TRUE": (F.TRUE(), ALL),
    "UPPER": (F.EQ(F.UPPER(NAME), "CID"), {"Cid"}),
    "VALUE": (F.EQ(F.VALUE(F.CONCATENATE(COUNT, "0")), 40), {"Bob"}),
    "WEEKDAY": (F.EQ(F.WEEKDAY(DATE), 4), {"Ann"}),
    "WEEKNUM": (F.EQ(F.WEEKNUM(DATE), 9), {"Ann"}),
    "WORKDAY": (F.EQ(F.DATESTR(F.WORKDAY(DATE, 1)), "2024-03-01"), {"Ann"}),
    "YEAR": (F.EQ(F.YEAR(DATE), 2023), {"Bob"}),
    "WORKDAY_DIFF": (F.EQ(F.WORKDAY_DIFF(DATE, "2024-03-04"), 3), {"Ann"}),
}


@pytest.fixture(scope="module")
def known(platform: Any, account: Account) -> Table:
    """Three records."""
    api = Api(account.token, endpoint_url=platform.url)
    fields = [
        {"name": "Name", "type": "singleLineText"},
        {"name": "Text", "type": "multilineText"},
        {"name": "Amount", "type": "number", "options": {"precision": 2}},
        {"name": "Count", "type": "number", "options": {"precision": 0}},
        {"name": "Done", "type": "checkbox", "options": {"icon": "check", "color": "greenBright"}},
        {"name": "Day", "type": "date", "options": {"dateFormat": {"name": "iso"}}},
    ]
    base = api.workspace(account.workspace_id).create_base("Builder", [{"name": "Known", "fields": fields}])
    table = base.table("Known")
    table.batch_create(list(ROWS))
    return table


def test_no_function_is_left_out() -> None:
    every = {
        name
        for name, value in vars(formulas).items()
        if (name.isupper() and inspect.isfunction(value))
        or (inspect.isclass(value) and name in ("EQ", "NE", "GT", "GTE", "LT", "LTE"))
    }
    assert len(every) > 80
    assert every <= set(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_filters_that_the_builder_makes(known: Table, case: tuple[Any, set[str]]) -> None:
    formula, names = case
    assert {record["fields"]["Name"] for record in known.all(formula=formula)} == names
    # Long formulas go in the body.
    padded = F.OR(formula, F.AND(F.FALSE(), F.EQ("x" * 16_000, "y")))
    assert {record["fields"]["Name"] for record in known.all(formula=padded)} == names
