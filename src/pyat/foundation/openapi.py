"""The description of the public API, made from its operations: an OpenAPI 3.1 document and a page for people.

Both hold only what the operations and errors say, so they cannot fall behind the code. The page is one self-contained
HTML file without scripts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

import orjson

from pyat.foundation.errors import (
    AppError,
    AuthenticationRequired,
    BodyTooLarge,
    HeadersTooLarge,
    InvalidBody,
    InvalidRequest,
    InvalidToken,
    NotPermittedOrNotFound,
    RateLimitReached,
    RouteNotFound,
    ServerError,
    ServiceUnavailable,
    UrlTooLong,
)
from pyat.foundation.web import JsonSchema, Operation

_ALWAYS: tuple[type[AppError], ...] = (
    UrlTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    RateLimitReached,
    ServerError,
    ServiceUnavailable,
)
_PARAMETER = re.compile(r"\{([a-z_]+)(?::([a-z]{3}))?\}")
_NOUNS = {
    "app": "base",
    "tbl": "table",
    "fld": "field",
    "viw": "view",
    "rec": "record",
    "usr": "user",
    "wsp": "workspace",
    "com": "comment",
    "ach": "webhook",
    "att": "attachment",
    "upl": "resumable upload",
}
_STATUS_NAMES = {
    200: "OK",
    201: "Created",
    204: "No content",
    400: "Bad request",
    401: "Not authenticated",
    403: "Not permitted, or not found",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Request body too large",
    414: "URL too long",
    415: "Content type not supported",
    416: "Range not satisfiable",
    422: "Invalid request",
    429: "Rate limit reached",
    431: "Request headers too large",
    460: "Checksum mismatch",
    500: "Server error",
    503: "Service unavailable",
}


def errors_of(operation: Operation) -> tuple[type[AppError], ...]:
    """Every error that an operation may answer: its own, and those that its path, body and credentials bring along."""
    found = [*operation.errors, *_ALWAYS]
    has_parameters = "{" in operation.path
    if has_parameters:
        found.append(RouteNotFound)
    if not operation.is_public:
        found += [AuthenticationRequired, InvalidToken]
        if operation.scope is not None or has_parameters:
            found.append(NotPermittedOrNotFound)
    if operation.body is not None:
        found += [InvalidBody, InvalidRequest]
    if operation.query:
        found.append(InvalidRequest)
    return tuple(sorted(dict.fromkeys(found), key=lambda error: (error.status, error.code)))


def group_of(operation: Operation) -> str:
    """The heading an operation stands under: the noun of its path."""
    parts = operation.path.strip("/").split("/")
    if parts[:2] == ["api", "v1"] and len(parts) > 2:
        return parts[2].replace("_", " ").replace("-", " ").capitalize()
    if parts[:2] == ["v0", "meta"]:
        return "Metadata"
    return "Records" if parts[0] == "v0" else parts[0].capitalize()


def document(
    operations: Sequence[Operation], *, title: str, version: str, components: Mapping[str, JsonSchema]
) -> dict[str, Any]:
    """The OpenAPI 3.1 document. `components` are schemas by name, which operations refer to as `#/components/schemas/…`.

    Every status that an operation can answer is there, each with the error types it can carry.
    """
    paths: dict[str, dict[str, Any]] = {}
    shapes: dict[str, str] = {}
    for operation in operations:
        path = _PARAMETER.sub(r"{\1}", operation.path)
        shape = _PARAMETER.sub("{}", operation.path)
        assert shapes.setdefault(shape, path) == path, f"{path} and {shapes[shape]} are the same path to OpenAPI"
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(map(group_of, operations))],
        "paths": paths,
        "components": {
            "schemas": dict(components),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A personal access token, `Authorization: Bearer pat…`.",
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [group_of(operation)],
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation)],
        "responses": _responses(operation),
        "security": [] if operation.is_public else [{"bearer": [] if operation.scope is None else [operation.scope]}],
    }
    if operation.description:
        made["description"] = operation.description
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    return made


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name, prefix in _PARAMETER.findall(path):
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if prefix:
            schema = {"type": "string", "pattern": f"^{prefix}[0-9A-Za-z]{{14}}$"}
            about = f"Id of a {_NOUNS.get(prefix, 'thing')}, `{prefix}` and 14 letters and digits."
        else:
            about = "Id or name, percent-encoded." if name in {"table", "table_id_or_name"} else ""
        yield {"name": name, "in": "path", "required": True, "schema": schema, "description": about}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for parameter in operation.query:
        made = {"name": parameter.name, "in": "query", "required": False, "schema": parameter.schema}
        if parameter.description:
            made["description"] = parameter.description
        yield made


def _responses(operation: Operation) -> dict[str, Any]:
    schema = operation.answer
    success: dict[str, Any] = {"description": _STATUS_NAMES[operation.status]}
    if schema is not None:
        success["content"] = {"application/json": {"schema": schema}}
    made: dict[str, Any] = {str(operation.status): success}
    by_status: dict[int, list[type[AppError]]] = {}
    for error in errors_of(operation):
        by_status.setdefault(error.status, []).append(error)
    for status, errors in by_status.items():
        made[str(status)] = _error_response(status, errors)
    return made


def _error_response(status: int, errors: Sequence[type[AppError]]) -> dict[str, Any]:
    lines = [f"* `{error.wire_type}`: {_first_sentence(error)}" for error in errors]
    made: dict[str, Any] = {
        "description": "\n".join([f"{_STATUS_NAMES.get(status, 'Error')}.", *dict.fromkeys(lines)]),
        "content": {"application/json": {"schema": _error_schema(errors)}},
    }
    if any(error.retry_after_s is not None for error in errors):
        made["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait before trying again.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return made


def _error_schema(errors: Sequence[type[AppError]]) -> JsonSchema:
    """Airtable's two shapes (wire reference, section 4.1): an object with a type, or only the type."""
    bare = sorted({error.wire_type for error in errors if error.is_bare})
    full = sorted({error.wire_type for error in errors if not error.is_bare})
    shapes: list[JsonSchema] = []
    if full:
        inner = {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": full}, "message": {"type": "string"}},
            "additionalProperties": False,
        }
        beside = {name: schema for error in errors for name, schema in error.beside.items()}
        shapes.append(_only("error", inner, beside))
    if bare:
        shapes.append(_only("error", {"enum": bare}))
    return shapes[0] if len(shapes) == 1 else {"oneOf": shapes}


def _only(name: str, schema: JsonSchema, beside: Mapping[str, JsonSchema] = MappingProxyType({})) -> JsonSchema:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: schema, **beside},
        "additionalProperties": False,
    }


def _first_sentence(error: type[AppError]) -> str:
    text = " ".join((error.__doc__ or "").split())
    return re.split(r"(?<=[.;])\s", text, maxsplit=1)[0].rstrip(";.") + "."


# ---- the page for people -----------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);--soft:color-mix(in srgb,currentColor 6%,transparent)}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0;display:grid;grid-template-columns:17rem minmax(0,1fr)}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:1rem;border-right:1px solid var(--line);font-size:.875rem}
nav a{display:block;text-decoration:none;color:inherit;padding:.1rem 0}
nav a:hover{text-decoration:underline}
main{padding:1rem 2rem 6rem;max-width:64rem}
h1{margin:.2rem 0}h2{margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;scroll-margin:1rem}
summary{cursor:pointer;padding:.5rem .8rem;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
details>div{padding:0 1rem 1rem}
h4{margin:1.2rem 0 .3rem}
code,pre{font:.85rem/1.5 ui-monospace,monospace}
pre{background:var(--soft);padding:.7rem;border-radius:.3rem;overflow:auto;margin:.3rem 0}
.verb{font-weight:700;font-size:.75rem;min-width:4rem}.get{color:#0a7d38}.post{color:#1559c7}.patch,.put{color:#9a5b00}.delete{color:#c01c28}
.path{font-weight:600;overflow-wrap:anywhere}.about{opacity:.75}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-top:1px solid var(--line)}
ul.schema{list-style:none;margin:0;padding-left:1rem;border-left:1px solid var(--line);font-size:.9rem}
.need{color:#c01c28;font-size:.75rem}
@media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0}}
@media(prefers-color-scheme:dark){.get{color:#57d98a}.post{color:#7fb0ff}.patch,.put{color:#f0b45b}.delete,.need{color:#ff8b8b}}
"""
_DEPTH_MAX = 6


def html(document: Mapping[str, Any]) -> str:
    """The page for `/docs`: groups, operations, parameters, bodies, answers, errors and an example of each call."""
    info = document["info"]
    schemas: Mapping[str, JsonSchema] = document.get("components", {}).get("schemas", {})
    groups: dict[str, list[str]] = {}
    links: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            group = operation["tags"][0]
            groups.setdefault(group, []).append(_operation_html(path, method, operation, schemas))
            link = f'<a href="#{escape(operation["operationId"])}">{escape(operation["summary"])}</a>'
            links.setdefault(group, []).append(link)
    navigation = "".join(f"<h3>{escape(name)}</h3>{''.join(items)}" for name, items in links.items())
    content = "".join(f"<h2>{escape(name)}</h2>{''.join(items)}" for name, items in groups.items())
    named = "".join(
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<div>{_schema_html(schema)}</div></details>"
        for name, schema in schemas.items()
    )
    if named:
        content += f"<h2>Schemas</h2>{named}"
    title = escape(info["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f'<nav><strong>{title}</strong>{navigation}</nav><main><h1>{title}</h1><p class="about">Version '
        f'{escape(info["version"])}. The same as data: <a href="/openapi.json">openapi.json</a>.</p>{content}</main></body></html>'
    )


def _operation_html(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, JsonSchema]) -> str:
    parts = []
    if "description" in operation:
        parts.append(f"<p>{_inline(operation['description'])}</p>")
    scopes = [scope for item in operation["security"] for scope in item["bearer"]]
    if not operation["security"]:
        parts.append("<p>Needs no credentials.</p>")
    elif scopes:
        parts.append(f"<p>Needs a token with the scope <code>{escape(scopes[0])}</code>.</p>")
    else:
        parts.append("<p>Needs any valid token.</p>")
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(item['name'])}</code></td><td>{item['in']}{_need(item['required'])}</td>"
            f"<td>{_type_html(item['schema'])}</td><td>{_inline(item.get('description', ''))}</td></tr>"
            for item in operation["parameters"]
        )
        parts.append(f"<h4>Parameters</h4><table>{rows}</table>")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        parts.append(f"<h4>Body</h4>{_schema_html(body)}")
    parts.append(f"<h4>Example</h4><pre>{escape(_command(path, method, operation, body, schemas))}</pre>")
    for status, response in operation["responses"].items():
        if status == "200":
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            if schema is not None:
                example = orjson.dumps(example_of(schema, schemas), option=orjson.OPT_INDENT_2).decode()
                parts.append(f"<h4>Answer</h4>{_schema_html(schema)}<pre>{escape(example)}</pre>")
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{_lines(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
        if status != "200"
    )
    parts.append(f"<h4>Errors</h4><table>{rows}</table>")
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><span class="verb {escape(method)}">{method.upper()}</span>'
        f'<code class="path">{escape(path)}</code><span class="about">{escape(operation["summary"])}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _command(
    path: str, method: str, operation: Mapping[str, Any], body: JsonSchema | None, schemas: Mapping[str, JsonSchema]
) -> str:
    for item in operation["parameters"]:
        if item["in"] == "path":
            path = path.replace(f"{{{item['name']}}}", str(example_of(item["schema"], schemas, name=item["name"])))
    pieces = [f"curl -X {method.upper()} 'http://127.0.0.1:8080{path}'"]
    if operation["security"]:
        pieces.append("  -H 'Authorization: Bearer YOUR_TOKEN'")
    if body is not None:
        data = orjson.dumps(example_of(body, schemas)).decode().replace("'", "'\\''")
        pieces += ["  -H 'Content-Type: application/json'", f"  -d '{data}'"]
    return " \\\n".join(pieces)


def _need(is_required: bool) -> str:
    return ' <span class="need">required</span>' if is_required else ""


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _lines(text: str) -> str:
    head, *rest = text.split("\n")
    items = "".join(f"<li>{_inline(line.removeprefix('* '))}</li>" for line in rest)
    return f"{_inline(head)}<ul>{items}</ul>" if items else _inline(head)


def _schema_html(schema: JsonSchema, depth: int = 0) -> str:
    """A nested list of an object's properties; other schemas in one line."""
    inner: JsonSchema = schema
    while "items" in inner:
        inner = inner["items"]
    options: Sequence[JsonSchema] = inner.get("anyOf") or inner.get("oneOf") or ()
    properties: Mapping[str, JsonSchema] = inner.get("properties", {})
    head = "" if depth else f"<p>{_type_html(schema)} {_inline(schema.get('description', ''))}</p>"
    if depth >= _DEPTH_MAX:
        return head
    if options:
        return head + "".join(
            f'<ul class="schema"><li>{_type_html(option)} {_inline(option.get("description", ""))}'
            f"{_schema_html(option, depth + 1)}</li></ul>"
            for option in options
            if "properties" in option or "items" in option
        )
    if not properties:
        return head
    required = set(inner.get("required", ()))
    rows = "".join(
        f"<li><code>{escape(name)}</code> {_type_html(item)}{_need(name in required)} {_inline(item.get('description', ''))}"
        f"{_schema_html(item, depth + 1)}</li>"
        for name, item in properties.items()
    )
    return f'{head}<ul class="schema">{rows}</ul>'


def _type_html(schema: JsonSchema) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(orjson.dumps(schema['const']).decode())}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(orjson.dumps(value).decode())}</code>" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(map(_type_html, schema[key])))
    kinds = schema.get("type", "anything")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if text == "array":
        low, high = schema.get("minItems"), schema.get("maxItems")
        return f"list{_bounds(low, high)} of {_type_html(schema.get('items', {}))}"
    if text == "string" and "format" in schema:
        text = str(schema["format"])
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    return escape(text) + _bounds(low, high)


def _bounds(low: object, high: object) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f" ≥ {low}"
    return f" ≤ {high}" if low is None else f" {low} to {high}"


def example_of(schema: JsonSchema, schemas: Mapping[str, JsonSchema], *, name: str = "", depth: int = 0) -> Any:
    """A value that fits the schema: its own example or default where it has one, else a plausible one."""
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    if "examples" in schema or "enum" in schema:
        return next(iter(schema.get("examples") or schema["enum"]))
    if "$ref" in schema:
        target = schemas.get(str(schema["$ref"]).rpartition("/")[2], {})
        return None if depth > _DEPTH_MAX else example_of(target, schemas, name=name, depth=depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0], schemas, name=name, depth=depth)
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        if depth > _DEPTH_MAX:
            return {}
        return {key: example_of(item, schemas, name=key, depth=depth + 1) for key, item in _shown(schema).items()}
    if kind == "array":
        return [] if depth > _DEPTH_MAX else [example_of(schema.get("items", {}), schemas, depth=depth + 1)]
    return _plain_example(kind, schema, name)


def _shown(schema: JsonSchema) -> Mapping[str, JsonSchema]:
    """The properties an example shows: the required ones, or the first three where none is."""
    properties: Mapping[str, JsonSchema] = schema.get("properties", {})
    required = schema.get("required")
    return {key: properties[key] for key in (required or list(properties)[:3]) if key in properties}


def _plain_example(kind: str, schema: JsonSchema, name: str) -> Any:
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    prefix = re.match(r"\^\(?([a-z]{3})[\[|]", schema.get("pattern", ""))
    if prefix:
        return prefix[1] + "AbCdEfGhIjKlMn"
    formats = {
        "date-time": "2026-01-31T12:00:00.000Z",
        "date": "2026-01-31",
        "email": "ada@example.com",
        "uri": "https://example.com",
    }
    return formats.get(schema.get("format", ""), name.capitalize() or "text")
