"""REST: http_rest_api_handler_test.cc and http_rest_api_handler.cc on half_plus_two."""

from typing import Any

from tfs_parity.pair import Answer, Deviation, Ok, Pair, Refused, Rest, Status

TEST, CODE = "model_servers/http_rest_api_handler_test.cc", "model_servers/http_rest_api_handler.cc"
MODEL = "/v1/models/saved_model_half_plus_two_2_versions"
VERSION, LABEL = f"{MODEL}/versions/123", f"{MODEL}/labels/Version_Label"
# 2^64 - 1, the largest number of uint64.
LARGEST = (1 << 64) - 1


def _post(
    test: str,
    path: str,
    body: str,
    answer: Answer,
    case: str,
    *,
    source: str = TEST,
    deviation: Deviation | None = None,
) -> Pair:
    return Pair(
        source=source,
        test=test,
        case=case,
        request=Rest(path=path, body=body),
        answer=answer,
        deviation=deviation,
    )


def _get(test: str, path: str, answer: Answer, case: str = "", *, source: str = TEST) -> Pair:
    request = Rest(path=path, method="GET")
    return Pair(source=source, test=test, case=case, request=request, answer=answer)


def _refused(begins: str = "", has: str = "", code: str = "INVALID_ARGUMENT") -> Refused:
    return Refused(code, begins=begins, has=has)


def _unsupported(method: str, path: str) -> Pair:
    return Pair(
        source=TEST,
        test="UnsupportedApiCalls",
        case=f"{method} {path.removeprefix('/v1/')}",
        request=Rest(method=method, path=path),
        answer=_refused(f"Malformed request: {method} {path}"),
    )


def _predicted(case: str, path: str, body: str, key: str, values: Any) -> Pair:
    return _post("Predict", f"{path}:predict", body, Ok({key: values}), case)


def _regressed(case: str, path: str) -> Pair:
    body = '{"signature_name": "regress_x_to_y", "examples": [ { "x": 80.0 } ] }'
    return _post("Regress", f"{path}:regress", body, Ok({"results": [42.0]}), case)


def _classified(case: str, path: str, x: float, score: float) -> Pair:
    body = f'{{"signature_name": "classify_x_to_y", "examples": [ {{ "x": {x} }} ] }}'
    return _post("Classify", f"{path}:classify", body, Ok({"results": [[["", score]]]}), case)


def _not_found(request: str) -> Refused:
    return _refused(f"Servable not found for request: {request}", code="NOT_FOUND")


AVAILABLE = Ok(
    {
        "model_version_status": [
            {
                "version": "123",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
)
ONE = '{ "instances": [1] }'
NO_LABEL = _refused("Unrecognized servable version label: Version_Nonexistent")

MODEL_FIRST = Deviation(
    reason="The model is looked up before the body is parsed, so that a body for an unknown model "
    "costs nothing.",
    answer=_not_found("Latest(foo)"),
)
UNSUPPORTED = [
    _unsupported(method, path)
    for method, path in (
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("GET", "/v1/models/debug/model_name"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/version/50:regress"),
        ("POST", "/v1/models/foo/versions/HELLO:regress"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo/label/some_label:regress"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
        ("POST", "/v1/models/foo/versions/some_label:regress"),
    )
]
TESTS = [
    Pair(
        source=TEST,
        test="kPathRegex",
        case="models",
        request=Rest(path="/v1/models", method="GET"),
        answer=_refused("Missing model name in request."),
        deviation=Deviation(
            reason="`GET /v1/models` lists the models with their versions and labels; TensorFlow "
            "Serving has no such list.",
            answer=Status(200),
        ),
    ),
    _get("kPathRegex", "/statuspage", Status(404), "statuspage"),
    _get("kPathRegex", "/index", Status(404), "index"),
    *UNSUPPORTED,
    _post(
        "PredictModelNameVersionErrors",
        "/v1/models/foo:predict",
        ONE,
        _not_found("Latest(foo)"),
        "no model",
    ),
    _post(
        "PredictModelNameVersionErrors",
        "/v1/models/foo/versions/50:predict",
        ONE,
        _not_found("Specific(foo, 50)"),
        "no model, a version",
    ),
    _post(
        "PredictModelNameVersionErrors",
        f"{MODEL}99:predict",
        ONE,
        _not_found("Latest(saved_model_half_plus_two_2_versions99)"),
        "another name",
    ),
    _post(
        "PredictModelNameVersionErrors",
        f"{MODEL}/versions/99:predict",
        ONE,
        _not_found("Specific(saved_model_half_plus_two_2_versions, 99)"),
        "no version",
    ),
    _post(
        "PredictRequestErrors",
        f"{MODEL}:predict",
        "",
        _refused("JSON Parse error: The document is empty"),
        "empty",
    ),
    _post(
        "PredictRequestErrors",
        f"{MODEL}:predict",
        "instances = [1, 2]",
        _refused("JSON Parse error: Invalid value. at offset: 0"),
        "no JSON",
    ),
    _post(
        "PredictRequestErrors",
        f"{MODEL}:predict",
        '{ "instances": ["x", "y"] }',
        _refused(has="not of expected type: float"),
        "strings",
    ),
    _post(
        "PredictRequestErrors",
        f"{MODEL}/labels/Version_Nonexistent:predict",
        '{ "instances": ["x", "y"] }',
        NO_LABEL,
        "no label",
    ),
    _post(
        "PredictRequestErrors",
        f"{MODEL}:predict",
        '{ "signature_name": 100 }',
        _refused(has="'signature_name' key must be a string value."),
        "a number for the signature",
    ),
    _predicted(
        "latest",
        MODEL,
        '{"instances": [[1.0, 2.0], [3.0, 4.0]]}',
        "predictions",
        [[2.5, 3.0], [3.5, 4.0]],
    ),
    _predicted("version", VERSION, '{"instances": [1.0, 2.0]}', "predictions", [2.5, 3.0]),
    _predicted("label", LABEL, '{"instances": [1.0, 2.0]}', "predictions", [2.5, 3.0]),
    _predicted(
        "signature",
        VERSION,
        '{"signature_name": "serving_default", "instances": [3.0, 4.0]}',
        "predictions",
        [3.5, 4.0],
    ),
    _predicted(
        "columns",
        VERSION,
        '{"signature_name": "serving_default", "inputs": [3.0, 4.0]}',
        "outputs",
        [3.5, 4.0],
    ),
    _regressed("latest", MODEL),
    _regressed("version", VERSION),
    _regressed("label", LABEL),
    _classified("latest", MODEL, 20.0, 12.0),
    _classified("label", LABEL, 10.0, 7.0),
    _get("GetStatus", MODEL, AVAILABLE, "all versions"),
    _get("GetStatus", VERSION, AVAILABLE, "version"),
    _get("GetStatus", LABEL, AVAILABLE, "label"),
]
SOURCES = [
    _post(
        "GetInfoMap",
        f"{MODEL}:predict",
        '{"signature_name": "nope", "instances": [1.0]}',
        _refused('Serving signature name: "nope" not found in signature def'),
        "no signature",
        source=CODE,
    ),
    _post(
        "ProcessPredictRequest",
        "/v1/models/foo:predict",
        "instances",
        _refused("JSON Parse error: Invalid value."),
        "the body before the model",
        source=CODE,
        deviation=MODEL_FIRST,
    ),
    _post(
        "ProcessPredictRequest",
        "/v1/models/foo:predict",
        "{}",
        _not_found("Latest(foo)"),
        "the model before the keys",
        source=CODE,
    ),
    _post(
        "ProcessRegressRequest",
        "/v1/models/foo:regress",
        "{}",
        _refused(has="key 'examples' is expected and was not found"),
        "the body before the model",
        source=CODE,
        deviation=MODEL_FIRST,
    ),
    _post(
        "ProcessClassifyRequest",
        "/v1/models/foo:classify",
        '{"examples": [{}]}',
        _not_found("Latest(foo)"),
        "no model",
        source=CODE,
    ),
    _get(
        "ProcessModelMetadataRequest",
        "/v1/models/metadata",
        _refused("Could not find any versions of model metadata", code="NOT_FOUND"),
        "a model called metadata",
        source=CODE,
    ),
    _post(
        "ProcessRequest",
        "/V1/Models/saved_model_half_plus_two_2_versions:Predict",
        "{}",
        _refused("Malformed request: POST /V1/Models/saved_model_half_plus_two_2_versions:Predict"),
        "a method in capitals",
        source=CODE,
    ),
    Pair(
        source=CODE,
        test="ProcessRequest",
        case="PUT",
        request=Rest(method="PUT", path=f"{MODEL}:predict", body=ONE),
        answer=_refused(f"Malformed request: PUT {MODEL}:predict"),
    ),
    Pair(
        source=CODE,
        test="ProcessRequest",
        case="DELETE",
        request=Rest(method="DELETE", path=MODEL),
        answer=_refused(f"Malformed request: DELETE {MODEL}"),
    ),
]
PAIRS = TESTS + SOURCES
