"""/openapi.json against a real server: schemathesis calls every operation with made-up requests."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from running import servers
from sample_models import example_models, tiny_models

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed; it is in the extra dev"
)
from schemathesis import GenerationMode  # noqa: E402 - only if it is installed
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
# Requests of each operation that are answered OK: path, and body.
RIGHT = [
    ("POST", "/v1/models/identity:predict", {"instances": [[1.0, 2.0, 3.0]]}),
    ("POST", "/v1/models/identity/versions/1:predict", {"inputs": {"x": [[1, 2, 3]]}}),
    ("POST", "/v1/models/add:predict", {"instances": [{"a": 1, "b": 2}]}),
    (
        "POST",
        "/v1/models/numbers:classify",
        {"signature_name": "classify", "examples": [{"x": [1.0, 2.0]}]},
    ),
    ("POST", "/v1/models/numbers:regress", {"examples": [{"x": [1.0, 2.0]}]}),
    (
        "POST",
        "/v2/models/identity/infer",
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
    ),
    ("POST", "/v2/repository/index", {"ready": True}),
    ("POST", "/v2/models/identity/trace/setting", {}),
    ("POST", "/v2/logging", {}),
    *(
        ("GET", path, None)
        for path in (
            "/v1/models",
            "/v1/models/identity",
            "/v1/models/identity/versions/1",
            "/v1/models/numbers/metadata",
            "/v2",
            "/v2/models/identity",
            "/v2/models/identity/ready",
            "/v2/models/identity/versions/1/ready",
            "/v2/models/identity/config",
            "/v2/models/identity/versions/1/stats",
            "/v2/models/stats",
            "/v2/models/identity/trace/setting",
            "/v2/trace/setting",
            "/v2/logging",
            "/v2/health/live",
            "/v2/health/ready",
            "/healthz",
            "/readyz",
            "/monitoring/prometheus/metrics",
        )
    ),
]


@pytest.fixture(scope="module")
def schema(tmp_path_factory) -> Any:
    """The description that a server of three models gives of itself, as schemathesis reads it."""
    folder = tmp_path_factory.mktemp("described")
    tiny_models.identity(folder)
    tiny_models.add(folder)
    example_models.numbers(folder)
    with servers.in_this_process(folder) as address:
        yield schemathesis.openapi.from_url(f"http://{address}/openapi.json")


def operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


def test_the_document_is_valid(schema):
    """It is OpenAPI 3.1 by that specification's own schema, and has all 25 handlers."""
    schema.validate()
    names = {each.definition.raw["operationId"].rsplit("_name")[0] for each in operations(schema)}

    assert len(names) == 25


@pytest.mark.parametrize(
    ("mode", "examples"),
    [
        pytest.param(GenerationMode.POSITIVE, 8, id="valid"),
        pytest.param(GenerationMode.NEGATIVE, 20, id="invalid", marks=pytest.mark.slow),
        pytest.param(GenerationMode.POSITIVE, 40, id="valid, more", marks=pytest.mark.slow),
    ],
)
def test_made_up_requests_get_described_answers(schema, mode, examples):
    """Status, content type and body are as described, and no request is an unexpected error."""
    seen: dict[str, set[int]] = {}
    for operation in operations(schema):
        strategy = operation.as_strategy(generation_mode=mode)
        names = st.sampled_from(["identity", "add", "numbers", None])

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy, name=names)
        def call(case, name):
            if name is not None and "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = name  # otherwise hardly any model would be found
            answer = case.call()
            assert answer.status_code != 500, answer.text
            case.validate_response(answer, checks=CHECKS)
            seen.setdefault(case.operation.label, set()).add(answer.status_code)

        try:
            call()
        except Exception as error:
            if mode is GenerationMode.NEGATIVE and type(error).__name__ == "Unsatisfiable":
                continue
            raise

    assert len(seen) >= (20 if mode is GenerationMode.POSITIVE else 10)
    assert any(400 in statuses for statuses in seen.values())


@pytest.mark.parametrize(("method", "path", "body"), RIGHT, ids=lambda value: str(value)[:40])
def test_right_requests_get_described_answers(schema, method, path, body):
    """An answer with status 200 has the described form, for every operation."""
    operation = next(
        each
        for each in operations(schema)
        if each.method.upper() == method and matches(each.path, path)
    )
    case = operation.Case(
        path_parameters=parameters_of(operation.path, path),
        **({"body": body, "media_type": "application/json"} if body is not None else {}),
    )
    answer = case.call()

    assert answer.status_code == 200, answer.text
    case.validate_response(answer, checks=CHECKS)
    if body is not None:
        assert json.loads(case.as_transport_kwargs().get("data", "{}") or "{}") in ({}, body)


def matches(template: str, path: str) -> bool:
    return parameters_of(template, path) is not None


def parameters_of(template: str, path: str) -> dict[str, str] | None:
    """Return the parameters of a path that has the form of a template; None if it has not."""
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(template))
    match = re.fullmatch(pattern, path)
    return None if match is None else match.groupdict()
