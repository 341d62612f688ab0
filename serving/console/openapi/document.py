"""The OpenAPI 3.1 document of a table of routes."""

from collections.abc import Iterable
from typing import Any

from serving.access.roles import Role
from serving.console.openapi.components import SCHEMAS, reference
from serving.console.openapi.operations import BYTES, JSON, OPERATIONS, TEXT, Operation
from serving.console.openapi.path_templates import PathTemplate, expand
from serving.transport.route_table import Route

_ABOUT = """\
TensorFlow Serving's REST API, and KServe v2 (Open Inference Protocol) over HTTP with Triton's \
extensions.

Paths under `/v1` match in upper and lower case. `{version}` is a number, `{label}` a version \
label; without them the latest version answers. An answer to a failed call is `{"error": "..."}`. \
A call with the header `X-Server-Timing: 1` is answered with `Server-Timing`: milliseconds in the \
queue, in the model and in total."""
_PARAMETERS = {
    "name": "Name of the model.",
    "version": "Number of the version.",
    "label": "Label of the version.",
}
_STATUSES = {
    400: "The request contradicts the API or the model's signature.",
    401: "The key is missing, unknown or expired.",
    403: "The caller lacks the role, or may not use the model.",
    404: "The server has no such model or version.",
    429: "The caller has used up its limits, or the request is too large.",
    500: "The model failed at run time.",
    501: "The server does not have this feature.",
    503: "The server or the model is starting or stopping, or the queue is full; ask again.",
    504: "The time limit has passed.",
}
_SECURITY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"key": []}]
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def openapi(routes: Iterable[Route], *, title: str, version: str) -> dict[str, Any]:
    """Return the document; routes that are not `described` are left out.

    Args:
        routes: The table of routes, in its order.
        title: Name of the server.
        version: Version of the server.

    Raises:
        KeyError: a route's handler is not in `OPERATIONS`.
        ValueError: the path of a route cannot be expressed; see `path_templates`.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.described:
            continue
        name = route.handler.__qualname__
        for template in expand(route.pattern):
            entry = _operation(OPERATIONS[name], template, name, route.role)
            paths.setdefault(template.path, {}).setdefault(route.method.lower(), entry)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _ABOUT},
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in OPERATIONS.values())],
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": _SCHEMES},
    }


def _operation(
    operation: Operation, template: PathTemplate, name: str, role: Role
) -> dict[str, Any]:
    names = [parameter for parameter, _ in template.parameters]
    needs = "" if role is Role.HEALTH else f" With API keys it needs the role `{role}`."
    entry: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"{operation.summary}.{needs}",
        "operationId": "_".join([name.replace(".", "_"), *names]),
        "security": _SECURITY,
        "parameters": [_parameter(*each) for each in template.parameters],
        "responses": _responses(operation),
    }
    if operation.takes:
        content: dict[str, Any] = {"schema": reference(operation.takes)}
        if operation.example is not None:
            content["example"] = operation.example
        entry["requestBody"] = {
            "required": not operation.may_be_empty,
            "content": {JSON: content} | _bytes(operation),
        }
    if operation.bytes_too:
        entry["parameters"].append(_LENGTH)
    return entry


_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Length of the JSON, if bytes of tensors follow it.",
    "schema": {"type": "integer", "minimum": 0},
}


def _parameter(name: str, values: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PARAMETERS.get(name, ""),
        "schema": {"type": "string", "pattern": f"^{values}$"},
    }


def _bytes(operation: Operation) -> dict[str, Any]:
    """The content of a body of JSON with bytes of tensors after it; empty without one."""
    return (
        {BYTES: {"schema": {"type": "string", "format": "binary"}}} if operation.bytes_too else {}
    )


def _responses(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {TEXT: {"schema": {"type": "string"}}}
    if operation.answers:
        content = {JSON: {"schema": reference(operation.answers)}} | _bytes(operation)
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    if operation.answers is None:
        responses["200"] = {"description": "Done; the answer has no body."}
    if operation.unready:
        responses["503"] = {
            "description": "Not ready, with the reason.",
            "content": {JSON: {"schema": reference(operation.unready)}},
        }
    for status in operation.error_statuses:
        responses[str(status)] = {
            "description": _STATUSES[status],
            "content": {JSON: {"schema": reference("Error")}},
        }
    return responses
