"""The public operations of formula_engine, below `/api/v1/formulas`."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, get_args

from starlette.requests import Request
from starlette.responses import Response

from pyat.formula import completing, formatting, helping
from pyat.formula.errors import BadSyntax
from pyat.formula.parsing import LENGTH_MAX
from pyat.foundation.errors import InvalidRequest, ModelNotFound, NotPermittedOrNotFound
from pyat.foundation.ids import BaseId, RecordId, is_id
from pyat.foundation.web import Handlers, JsonSchema, Operation, json_response, principal_of, read_json
from pyat.services.formula_engine.contract import (
    FIELDS_MAX,
    Formulas,
    FormulaTooLarge,
    FormulaTooSlow,
    InvalidFormula,
    Problem,
    Subject,
    TypeName,
)

WIDTH_MIN, WIDTH_MAX = 20, 1_000
_TYPES: Final = get_args(TypeName)
_LISTS: Final[Mapping[TypeName, TypeName]] = {
    "number": "numbers",
    "checkbox": "numbers",
    "text": "texts",
    "date": "dates",
}

# --- Shapes, as JSON schema ---------------------------------------------------------------------------------------

_FORMULA: JsonSchema = {"type": "string", "maxLength": LENGTH_MAX}
_TYPE: JsonSchema = {"type": "string", "enum": list(_TYPES)}
_TABLE: Mapping[str, JsonSchema] = {
    "baseId": {"type": "string", "pattern": "^app[0-9A-Za-z]{14}$"},
    "table": {"type": "string", "description": "Name or id of the table whose fields the formula refers to."},
}
_NAMED: Mapping[str, JsonSchema] = {
    **_TABLE,
    "fields": {
        "type": "object",
        "maxProperties": FIELDS_MAX,
        "additionalProperties": _TYPE,
        "description": "Without a table: the fields there are, each with its type.",
    },
    "values": {**_TYPE, "description": "Of a rollup's formula: the type of its `values`."},
}
_VALUED: Mapping[str, JsonSchema] = {
    **_TABLE,
    "recordId": {"type": "string", "pattern": "^rec[0-9A-Za-z]{14}$"},
    "fields": {
        "type": "object",
        "maxProperties": FIELDS_MAX,
        "description": 'Without a table: the fields there are, each with its value: a number, a text, a boolean, null, a list, or `{"date": "2026-01-31"}`; '
        'or with its type too: `{"type": "date", "value": "2026-01-31"}`.',
    },
}
_RANGE: Mapping[str, JsonSchema] = {"start": {"type": "integer"}, "end": {"type": "integer"}}
_PROBLEM: JsonSchema = {
    "type": "object",
    "properties": {"message": {"type": "string"}, **_RANGE, "suggestion": {"type": ["string", "null"]}},
}
_ITEM: JsonSchema = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["function", "field"]},
        "label": {"type": "string"},
        "insert": {"type": "string"},
        "detail": {"type": "string"},
    },
}
_CALL: JsonSchema = {
    "type": ["object", "null"],
    "properties": {"name": {"type": "string"}, "signature": {"type": "string"}, "argument": {"type": "integer"}},
}
_PART: JsonSchema = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        **_RANGE,
        "name": {"type": ["string", "null"]},
        "type": {"type": "string"},
        "isList": {"type": "boolean"},
        "value": {},
        "isCut": {"type": "boolean"},
        "wasSeen": {"type": "boolean"},
        "parts": {"type": "array", "items": {"type": "integer"}},
    },
}
_HELP: JsonSchema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "category": {"type": "string"},
        "signature": {"type": "string"},
        "summary": {"type": "string"},
        "isOperator": {"type": "boolean"},
        "examples": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"formula": {"type": "string"}, "value": {"type": "string"}},
            },
        },
    },
}


def _body(properties: Mapping[str, JsonSchema], *required: str, example: Mapping[str, Any]) -> JsonSchema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
        "examples": [dict(example)],
    }


def _answer(**properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties}


# --- Operations ---------------------------------------------------------------------------------------------------

_PATH = "/api/v1/formulas"
_POSITIONS = "Positions count characters from 0."

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="check_formula",
        method="POST",
        path=f"{_PATH}/check",
        summary="Check a formula",
        scope="schema.bases:read",
        is_metadata=True,
        body=_body(
            {"formula": _FORMULA, **_NAMED},
            "formula",
            example={"formula": "{Price} * {Quantity}", "fields": {"Price": "number", "Quantity": "number"}},
        ),
        answer=_answer(
            isValid={"type": "boolean"},
            problem={**_PROBLEM, "type": ["object", "null"]},
            type={"type": ["string", "null"], "enum": ["number", "text", "date", "blank", "any", None]},
            isList={"type": "boolean"},
            referencedFieldIds={"type": "array", "items": {"type": "string"}},
            functions={"type": "array", "items": {"type": "string"}},
            isVolatile={"type": "boolean"},
        ),
        errors=(NotPermittedOrNotFound, InvalidRequest),
        description=f"Its type and what it refers to, or what is wrong with it. {_POSITIONS}",
    ),
    Operation(
        name="evaluate_formula",
        method="POST",
        path=f"{_PATH}/evaluate",
        summary="Evaluate a formula",
        scope="data.records:read",
        is_metadata=True,
        body=_body({"formula": _FORMULA, **_VALUED}, "formula", example={"formula": "A + 1", "fields": {"A": 2}}),
        answer=_answer(value={}),
        errors=(NotPermittedOrNotFound, ModelNotFound, InvalidRequest, InvalidFormula, FormulaTooSlow, FormulaTooLarge),
        description="For a record of a table, or for values that are given.",
    ),
    Operation(
        name="explain_formula",
        method="POST",
        path=f"{_PATH}/explain",
        summary="Explain the value of a formula",
        scope="data.records:read",
        is_metadata=True,
        body=_body({"formula": _FORMULA, **_VALUED}, "formula", example={"formula": "A + 1", "fields": {"A": 2}}),
        answer=_answer(value={}, parts={"type": "array", "items": _PART}, isCut={"type": "boolean"}),
        errors=(NotPermittedOrNotFound, ModelNotFound, InvalidRequest, InvalidFormula, FormulaTooSlow, FormulaTooLarge),
        description=(
            "As evaluating, with the value of every part of the formula. The first part is the whole formula; `parts` of a part "
            f"are the places of its own in the list. Values are shortened where `isCut` says so. A branch that was not taken has no value. {_POSITIONS}"
        ),
    ),
    Operation(
        name="complete_formula",
        method="POST",
        path=f"{_PATH}/complete",
        summary="Complete a formula at a cursor",
        scope="schema.bases:read",
        is_metadata=True,
        body=_body(
            {"formula": _FORMULA, "cursor": {"type": "integer", "minimum": 0}, **_NAMED},
            "formula",
            "cursor",
            example={"formula": "ROUND({Pr", "cursor": 9, "fields": {"Price": "number"}},
        ),
        answer=_answer(**_RANGE, items={"type": "array", "items": _ITEM}, call=_CALL),
        errors=(NotPermittedOrNotFound, InvalidRequest),
        description=(
            "Functions and fields to put between `start` and `end`, best first, and the call that the cursor stands in with "
            f"the argument that is being written. {_POSITIONS}"
        ),
    ),
    Operation(
        name="format_formula",
        method="POST",
        path=f"{_PATH}/format",
        summary="Lay a formula out",
        is_metadata=True,
        body=_body(
            {"formula": _FORMULA, "width": {"type": "integer", "minimum": WIDTH_MIN, "maximum": WIDTH_MAX}},
            "formula",
            example={"formula": "if(A>1,'yes','no')"},
        ),
        answer=_answer(formula={"type": "string"}),
        errors=(InvalidRequest, InvalidFormula),
        description=f"One line where it fits `width` ({formatting.WIDTH} unless given), else an argument a line.",
    ),
    Operation(
        name="translate_formula",
        method="POST",
        path=f"{_PATH}/translate",
        summary="Put ids for names in a formula, or names for ids",
        scope="schema.bases:read",
        is_metadata=True,
        body=_body(
            {"formula": _FORMULA, **_TABLE, "to": {"type": "string", "enum": ["ids", "names"]}},
            "formula",
            "baseId",
            "table",
            "to",
            example={"formula": "{Name} & 1", "baseId": "appAbCdEfGhIjKlMn", "table": "People", "to": "ids"},
        ),
        answer=_answer(formula={"type": "string"}),
        errors=(NotPermittedOrNotFound, InvalidRequest, InvalidFormula),
        description="What the table has no field for stays as it is.",
    ),
    Operation(
        name="list_functions",
        method="GET",
        path=f"{_PATH}/functions",
        summary="List the functions of formulas",
        is_metadata=True,
        answer=_answer(functions={"type": "array", "items": _HELP}),
        description="With operators, signatures and examples.",
    ),
    Operation(
        name="get_function",
        method="GET",
        path=f"{_PATH}/functions/{{name}}",
        summary="Get the help of a function or operator",
        is_metadata=True,
        answer={
            "type": "object",
            "properties": {
                **_HELP["properties"],
                "parameters": {"type": "array", "items": {"type": "string"}},
                "text": {"type": "string"},
            },
        },
        errors=(ModelNotFound,),
        description="Its name in any case; `text` is all there is to say of it.",
    ),
)


def handlers(formulas: Formulas) -> Handlers:
    """The handler of every operation."""
    routes = FormulaRoutes(formulas)
    return {
        "check_formula": routes.check,
        "evaluate_formula": routes.evaluate,
        "explain_formula": routes.explain,
        "complete_formula": routes.complete,
        "format_formula": routes.format,
        "translate_formula": routes.translate,
        "list_functions": routes.functions,
        "get_function": routes.function,
    }


class FormulaRoutes:
    """Reads requests, calls the contract, writes answers."""

    def __init__(self, formulas: Formulas) -> None:
        self._formulas = formulas

    async def check(self, request: Request) -> Response:
        """See the operation."""
        body = await _read(request, ("formula", *_NAMED))
        found = await self._formulas.check(
            principal=principal_of(request), subject=_subject(body), formula=_formula(body)
        )
        return json_response(
            {
                "isValid": found.problem is None,
                "problem": None if found.problem is None else _problem_json(found.problem),
                "type": found.type,
                "isList": found.is_list,
                "referencedFieldIds": found.field_ids,
                "functions": found.functions,
                "isVolatile": found.is_volatile,
            }
        )

    async def evaluate(self, request: Request) -> Response:
        """See the operation."""
        value = await self._formulas.evaluate(**await _asked(request))
        return json_response({"value": value})

    async def explain(self, request: Request) -> Response:
        """See the operation."""
        found = await self._formulas.explain(**await _asked(request))
        parts = [
            {
                "text": part.text,
                "start": part.start,
                "end": part.end,
                "name": part.name,
                "type": part.type,
                "isList": part.is_list,
                "value": part.value,
                "isCut": part.is_cut,
                "wasSeen": part.was_seen,
                "parts": part.parts,
            }
            for part in found.parts
        ]
        return json_response({"value": found.parts[0].value, "parts": parts, "isCut": found.is_cut})

    async def complete(self, request: Request) -> Response:
        """See the operation."""
        body = await _read(request, ("formula", "cursor", *_NAMED))
        cursor = body.get("cursor")
        if type(cursor) is not int or cursor < 0:
            raise InvalidRequest(reason="The cursor is a whole number from 0.")
        names = await self._formulas.field_names(principal=principal_of(request), subject=_subject(body))
        found = await asyncio.to_thread(completing.completed, _formula(body), cursor, names)
        call = None
        if found.call is not None:
            call = {"name": found.call.name, "signature": found.call.signature, "argument": found.call.argument}
        items = [
            {"kind": item.kind, "label": item.label, "insert": item.insert, "detail": item.detail}
            for item in found.items
        ]
        return json_response({"start": found.start, "end": found.end, "items": items, "call": call})

    async def format(self, request: Request) -> Response:
        """See the operation."""
        body = await _read(request, ("formula", "width"))
        width = body.get("width", formatting.WIDTH)
        if type(width) is not int or not WIDTH_MIN <= width <= WIDTH_MAX:
            raise InvalidRequest(reason=f"The width is a whole number from {WIDTH_MIN} to {WIDTH_MAX:,}.")
        try:
            made = await asyncio.to_thread(formatting.formatted, _formula(body), width=width)
        except BadSyntax as problem:
            raise InvalidFormula(reason=f"{problem.message} (character {problem.start + 1}).") from None
        return json_response({"formula": made})

    async def translate(self, request: Request) -> Response:
        """See the operation."""
        body = await _read(request, ("formula", *_TABLE, "to"))
        subject = _subject(body)
        to = body.get("to")
        if to not in ("ids", "names"):
            raise InvalidRequest(reason='"to" is "ids" or "names".')
        if subject.base_id is None:
            raise InvalidRequest(reason="baseId and table are needed.")
        made = await self._formulas.translate(
            principal=principal_of(request), subject=subject, formula=_formula(body), to=to
        )
        return json_response({"formula": made})

    async def functions(self, request: Request) -> Response:
        """See the operation."""
        return json_response({"functions": [_help_json(one) for one in helping.every().values()]})

    async def function(self, request: Request) -> Response:
        """See the operation."""
        one = helping.every().get(request.path_params["name"].upper())
        if one is None:
            raise ModelNotFound(kind="Function")
        return json_response({**_help_json(one), "parameters": one.parameters, "text": one.text})


async def _read(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    body = await read_json(request)
    for key in body:
        if key not in known:
            raise InvalidRequest(reason=f'"{key[:100]}" is not a key of this request.')
    return body


def _formula(body: Mapping[str, Any]) -> str:
    text = body.get("formula")
    if not isinstance(text, str) or len(text) > LENGTH_MAX:
        raise InvalidRequest(reason=f"The formula is a text of at most {LENGTH_MAX:,} characters.")
    return text


def _place(body: Mapping[str, Any]) -> tuple[BaseId | None, str | None]:
    base_id, table = body.get("baseId"), body.get("table")
    if base_id is None and table is None:
        return None, None
    if not is_id("app", base_id) or not isinstance(table, str):
        raise InvalidRequest(reason="baseId and table go together: an id, and a name or an id.")
    if body.get("fields") is not None:
        raise InvalidRequest(reason="Give either a table or fields.")
    return BaseId(str(base_id)), table


def _fields(body: Mapping[str, Any]) -> dict[str, Any]:
    fields = body.get("fields")
    if fields is None:
        return {}
    if not isinstance(fields, dict) or len(fields) > FIELDS_MAX:
        raise InvalidRequest(reason=f"The fields are an object with at most {FIELDS_MAX} members.")
    return fields


def _subject(body: Mapping[str, Any]) -> Subject:
    base_id, table = _place(body)
    fields = _fields(body)
    for name, kind in fields.items():
        if kind not in _TYPES:
            raise InvalidRequest(reason=f'The type of "{name[:100]}" is one of {", ".join(_TYPES)}.')
    values = body.get("values")
    if values is not None and values not in _TYPES:
        raise InvalidRequest(reason=f"values is one of {', '.join(_TYPES)}.")
    return Subject(base_id, table, fields, values)


async def _asked(request: Request) -> dict[str, Any]:
    body = await _read(request, ("formula", *_VALUED))
    base_id, table = _place(body)
    record_id = body.get("recordId")
    if (base_id is None) != (record_id is None):
        raise InvalidRequest(reason="baseId, table and recordId go together.")
    if record_id is not None and not is_id("rec", record_id):
        raise InvalidRequest(reason="recordId is not the id of a record.")
    given = {name: _given(name, value) for name, value in _fields(body).items()}
    kinds = {name: kind for name, (kind, _) in given.items()}
    values = {name: value for name, (_, value) in given.items()}
    return {
        "principal": principal_of(request),
        "subject": Subject(base_id, table, kinds),
        "formula": _formula(body),
        "record_id": None if record_id is None else RecordId(record_id),
        "values": values,
    }


def _given(name: str, value: Any) -> tuple[TypeName, Any]:
    """The type of a given field, which is its value's unless it is told, and the value."""
    if not isinstance(value, dict) or set(value) != {"type", "value"}:
        return _kind_of(name, value), value
    kind, its_value = value["type"], value["value"]
    if kind not in _TYPES:
        raise InvalidRequest(reason=f'The type of "{name[:100]}" is one of {", ".join(_TYPES)}.')
    if kind == "date" and isinstance(its_value, str):
        its_value = {"date": its_value}
    elif kind == "dates" and isinstance(its_value, list):
        its_value = [{"date": item} if isinstance(item, str) else item for item in its_value]
    is_blank = its_value is None or (
        isinstance(its_value, list) and kind in _LISTS.values() and not any(item is not None for item in its_value)
    )
    # What is known of a type must hold of the value, or a formula would be computed as if it were another.
    if not is_blank and _kind_of(name, its_value) != kind:
        raise InvalidRequest(reason=f'The value of "{name[:100]}" is not of the type {kind}.')
    return kind, its_value


def _kind_of(name: str, value: Any) -> TypeName:
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            raise InvalidRequest(reason=f'The value of "{name[:100]}" cannot be used: lists hold no lists.')
        kinds = {_kind_of(name, item) for item in value if item is not None}
        if len(kinds) > 1:
            raise InvalidRequest(reason=f'The list "{name[:100]}" holds values of several kinds.')
        return _LISTS[kinds.pop()] if kinds else "texts"
    if isinstance(value, bool):
        return "checkbox"
    if isinstance(value, int | float):
        return "number"
    return "date" if isinstance(value, dict) else "text"


def _help_json(one: helping.Help) -> dict[str, Any]:
    return {
        "name": one.name,
        "category": one.category,
        "signature": one.signature,
        "summary": one.summary,
        "isOperator": one.is_operator,
        "examples": [{"formula": each.formula, "value": each.value} for each in one.examples],
    }


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "message": problem.message,
        "start": problem.start,
        "end": problem.end,
        "suggestion": problem.suggestion,
    }
