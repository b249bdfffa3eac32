"""The OpenAPI 3.1 document of both families, made from the code; and its two readers: a page and ``docs/api.md``.

The routes of ``/api/v1`` describe themselves. What the original services and the sending paths take is free JSON in
the code, so :data:`SERVICES` describes it here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, Response

from mona_server import __version__
from mona_server.api.answers import JSON
from mona_server.api.identity.roles import Permission
from mona_server.api.service_schemas import SENDING, SERVICES, TOKENS, Operation
from mona_server.api.shapes import Failure

router = APIRouter(tags=["meta"])

_ABOUT = """Two families on one address. The **original services** are POST calls of the public SDK; a caller without the header
`X-Mona-Protocol: 2` gets shapes that every generation of it survives: status 200 with `error_message` for most errors.
**/api/v1** always answers with honest status codes. Times are Unix seconds."""

_CSS = """body { font: 14px system-ui; max-width: 960px; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
summary { padding: .3rem 0; cursor: pointer }
pre { white-space: pre-wrap }
"""


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once per application."""
    made: dict[str, Any] | None = getattr(app.state, "openapi_document", None)
    if made is None:
        made = get_openapi(
            title="Mona", version=__version__, description=_ABOUT, routes=app.routes, openapi_version="3.1.0"
        )
        _describe_failures(made)
        for path, operation in (TOKENS | SENDING | SERVICES).items():
            made["paths"].setdefault(path, {"post": {}})["post"].update(_operation(path, operation))
        made["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "session": {"type": "apiKey", "in": "cookie", "name": "mona_session"},
        }
        made["security"] = [{"bearer": []}, {"session": []}]
        made["paths"] = dict(sorted(made["paths"].items()))
        app.state.openapi_document = made
    return made


@router.get("/openapi.json", include_in_schema=False)
def openapi_json(request: Request) -> Response:
    """This document."""
    return JSON(document(request.app))


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """The document as a page; it needs no network and no script."""
    return HTMLResponse(page(document(request.app)))


@router.get("/docs.css", include_in_schema=False)
def docs_css() -> Response:
    """How the page looks; a file of its own, because the content policy allows no styles inside of a page."""
    return Response(_CSS, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


def _describe_failures(made: dict[str, Any]) -> None:
    """Wrong requests are 400 here, not the framework's 422."""
    schemas = made["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas.setdefault("Failure", Failure.model_json_schema(ref_template="#/components/schemas/{model}"))
    for path, operations in made["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if not path.startswith("/api/v1/"):
                continue
            for status, text in ((412, "Changed since it was read."), (504, "A query took too long.")):
                content = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
                operation["responses"][str(status)] = {"description": text, "content": content}
            if "get" in operations:
                operations["get"]["responses"]["304"] = {"description": "The caller has it already (If-None-Match)."}


def _operation(path: str, described: Operation) -> dict[str, Any]:
    def content(schema: dict[str, Any], example: Any = None) -> dict[str, Any]:
        return {described.media_type: {"schema": schema} | ({} if example is None else {"example": example})}

    responses: dict[str, Any] = {
        "200": {"description": "Done.", "content": {"application/json": {"schema": described.answer}}}
    }
    responses["200"]["content"]["application/json"]["example"] = described.answer_example
    for status, schema in described.failures.items():
        media = "text/plain" if schema.get("type") == "string" else "application/json"
        responses[status] = {"description": "Refused.", "content": {media: {"schema": schema}}}
    return {
        "tags": [described.tag],
        "summary": described.summary,
        "operationId": path.strip("/").replace("/", "_").replace("-", "_"),
        "requestBody": {"required": True, "content": content(described.request, described.example)},
        "responses": responses,
        **({"security": []} if described.open else {}),
    }


# --- readers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One operation, as both readers show it."""

    method: str
    path: str
    tag: str
    summary: str
    request: str
    """Example of the body as JSON text; empty without a body."""


def lines(made: dict[str, Any]) -> Iterator[Line]:
    """All operations by path."""
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {})
            media: dict[str, Any] = next(iter(body.values()), {})
            example = media.get("example", _example(made, media.get("schema", {})) if media else None)
            text = "" if example is None else json.dumps(example, ensure_ascii=False)
            first = (operation.get("description") or operation["summary"]).split("\n")[0]
            yield Line(method.upper(), path, operation["tags"][0], first, text)


def _example(made: dict[str, Any], schema: dict[str, Any]) -> Any:
    """An example of an object from those of its properties."""
    if "$ref" in schema:
        return _example(made, made["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        required = set(schema.get("required", ()))
        found = {name: _example(made, one) for name, one in schema["properties"].items()}
        return {name: value for name, value in found.items() if value is not None or name in required}
    return schema.get("default")


def markdown(made: dict[str, Any]) -> str:
    """``docs/api.md``."""
    out = [
        "# HTTP API",
        "",
        "Generated from the code by `python -m mona_server.api.reference`; do not edit. The complete OpenAPI 3.1 document is",
        "at `/api/v1/openapi.json` of a running server, readable at `/api/v1/docs`.",
        "",
        _ABOUT,
        "",
    ]
    by_tag: dict[str, list[Line]] = {}
    for line in lines(made):
        by_tag.setdefault(line.tag, []).append(line)
    for tag, some in by_tag.items():
        out += [f"## {tag}", "", "| | path | what |", "| --- | --- | --- |"]
        out += [f"| {line.method} | `{line.path}` | {line.summary.replace('|', '&#124;')} |" for line in some]
        out += ["", *(f"`{line.method} {line.path}`: `{line.request}`  " for line in some if line.request), ""]
    out += [
        f"Permissions: {', '.join(f'`{permission}`' for permission in Permission)}; roles are in `security.md`.",
        "",
    ]
    return "\n".join(out)


def page(made: dict[str, Any]) -> str:
    """The same as HTML."""
    rows = []
    tag = None
    for line in sorted(lines(made), key=lambda one: (one.tag, one.path)):
        if line.tag != tag:
            tag = line.tag
            rows.append(f"<h2>{html.escape(tag)}</h2>")
        operation = made["paths"][line.path][line.method.lower()]
        answers = ", ".join(sorted(operation["responses"]))
        body = f"<pre>{html.escape(line.request)}</pre>" if line.request else ""
        parameters = "".join(
            f"<li><code>{html.escape(p['name'])}</code> {html.escape(p.get('description', ''))}</li>"
            for p in operation.get("parameters", ())
        )
        rows.append(
            f"<details><summary><b>{line.method}</b> <code>{html.escape(line.path)}</code> {html.escape(line.summary)}"
            f"</summary>{'<ul>' + parameters + '</ul>' if parameters else ''}{body}<p>answers: {answers}</p></details>"
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Mona API</title><meta name="viewport" '
        'content="width=device-width"><link rel="stylesheet" href="docs.css">'
        f"<h1>Mona API {__version__}</h1><p>{html.escape(_ABOUT)}</p>"
        '<p><a href="openapi.json">openapi.json</a></p>' + "".join(rows) + "</html>"
    )
