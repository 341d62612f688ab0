"""The OpenAPI document against the table of routes of a running server."""

import re
from collections.abc import Iterator

import jsonschema
import pytest
from calling.rest_client import Http
from running import servers

from serving.access.roles import Role
from serving.console.openapi.components import SCHEMAS
from serving.console.openapi.document import openapi
from serving.console.openapi.operations import OPERATIONS
from serving.server import ModelServer
from serving.transport.route_table import Route

# Routes that the document leaves out: a refusal, and what the console asks for itself.
NOT_DESCRIBED = {
    "PredictRoutes.nameless",
    "ConsoleRoutes.page",
    "ConsoleRoutes.openapi",
    "ConsoleRoutes.models",
    "ConsoleRoutes.figures",
    "ConsoleRoutes.version",
}


@pytest.fixture(scope="module")
def server(models_dir) -> Iterator[ModelServer]:
    with servers.model_server(models_dir) as running:
        yield running


@pytest.fixture(scope="module")
def rest(server) -> Http:
    return Http(f"127.0.0.1:{server.port}")


@pytest.fixture(scope="module")
def document(rest) -> dict:
    status, answer = rest.get("/openapi.json")
    assert status == 200
    return answer


def test_every_route_is_in_the_document_and_nothing_else(server, document):
    """Each path of the document is answered by the route that it describes; none is missing."""
    described = {
        (method.upper(), path): entry["operationId"]
        for path, methods in document["paths"].items()
        for method, entry in methods.items()
    }
    reached = {}
    for method, path in described:
        example = re.sub(r"\{version\}", "1", path)
        example = re.sub(r"\{\w+\}", "x", example)
        route = next(
            route
            for route in server._services.routes
            if route.method == method and route.pattern.fullmatch(example)
        )
        reached[method, path] = route.handler.__qualname__
    handlers = {route.handler.__qualname__ for route in server._services.routes}

    assert set(reached.values()) == handlers - NOT_DESCRIBED
    assert OPERATIONS.keys() == handlers - NOT_DESCRIBED
    for key, name in reached.items():
        assert described[key].startswith(name.replace(".", "_"))


def test_operations_have_unique_ids(document):
    """Code generators name functions by them."""
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]

    assert len(ids) == len(set(ids))


def test_a_route_without_a_description_is_noticed():
    """A new route needs an entry in the table of operations."""

    async def handler(_request):
        raise NotImplementedError

    route = Route("GET", re.compile("/new"), handler, role=Role.HEALTH)

    with pytest.raises(KeyError):
        openapi([route], title="t", version="1")


def test_schemas_are_valid_and_references_lead_somewhere(document):
    """All schemas are JSON Schema 2020-12, and each reference names one of them."""
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))

    assert named <= document["components"]["schemas"].keys()
    assert document["openapi"] == "3.1.0"


def validator(document: dict, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


@pytest.mark.parametrize(
    ("request_", "body", "name"),
    [
        (("POST", "/v1/models/identity:predict"), {"instances": [[1, 2, 3]]}, "PredictResponse"),
        (("POST", "/v1/models/identity:predict"), {"inputs": [[1, 2, 3]]}, "PredictResponse"),
        (("POST", "/v1/models/identity:predict"), {"instances": [[1]]}, "Error"),
        (("GET", "/v1/models/identity"), None, "StatusResponse"),
        (("GET", "/v1/models/identity/metadata"), None, "MetadataResponse"),
        (("GET", "/v1/models"), None, "ModelsResponse"),
        (("GET", "/v2/models/identity"), None, "ModelMetadata"),
        (("GET", "/v2"), None, "ServerMetadata"),
        (("GET", "/v2/models/identity/config"), None, "ModelConfig"),
        (("GET", "/v2/models/identity/stats"), None, "ModelStatistics"),
        (("GET", "/v2/trace/setting"), None, "TraceSettings"),
        (("GET", "/v2/logging"), None, "LogSettings"),
        (("GET", "/readyz"), None, "Readiness"),
    ],
)
def test_answers_have_the_form_that_is_described(rest, document, request_, body, name):
    """The schemas fit answers of the server, and are no schemas of everything."""
    method, path = request_
    answer = rest.get(path)[1] if method == "GET" else rest.post(path, body)[1]
    check = validator(document, name)

    check.validate(answer)
    assert not check.is_valid({})
    assert not check.is_valid([])


def test_examples_have_the_form_that_is_described(document):
    """An example of a body fits its schema."""
    count = 0
    for methods in document["paths"].values():
        for entry in methods.values():
            content = entry.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                name = content["schema"]["$ref"].split("/")[-1]
                validator(document, name).validate(content["example"])
                count += 1

    assert count
