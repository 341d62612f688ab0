"""Status and the whole server: get_model_status_impl_test.cc and the Python server test."""

from typing import Any

from tfs_parity import examples
from tfs_parity.examples import example
from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused, Rest, Status

TEST = "model_servers/get_model_status_impl_test.cc"
CODE = "model_servers/get_model_status_impl.cc"
SERVER = "model_servers/tensorflow_model_server_test.py"
BOTH = "half_plus_two_2_versions"
REGRESS, CLASSIFY = "tensorflow/serving/regress", "tensorflow/serving/classify"
X2 = examples.of_list(example(x=[2.0]))


def _versions(*versions: int) -> Ok:
    return Ok(
        " ".join(
            f"model_version_status {{ version: {version} state: AVAILABLE status {{}} }}"
            for version in versions
        )
    )


def _json_versions(*versions: int) -> Ok:
    status = {"error_code": "OK", "error_message": ""}
    entries = [
        {"version": str(version), "state": "AVAILABLE", "status": status} for version in versions
    ]
    return Ok({"model_version_status": entries})


def _status(test: str, message: str, answer: Answer, case: str = "", source: str = TEST) -> Pair:
    request = Grpc(method="GetModelStatus", message=message)
    return Pair(source=source, test=test, case=case, request=request, answer=answer)


def _get(test: str, path: str, answer: Answer, case: str = "", source: str = TEST) -> Pair:
    request = Rest(method="GET", path=f"/v1/models/{path}")
    return Pair(source=source, test=test, case=case, request=request, answer=answer)


def _server(test: str, request: Grpc | Rest, content: Any, case: str = "") -> Pair:
    return Pair(source=SERVER, test=test, case=case, request=request, answer=Ok(content))


def _predict(name: str, output: str = "", signature: str = "") -> Grpc:
    tensor = "dtype: DT_FLOAT float_val: 2 tensor_shape {}"
    wanted = f'output_filter: "{output}"' if output else ""
    spec = examples.spec(name, signature)
    return Grpc(
        method="Predict", message=f'{spec} inputs {{ key: "x" value {{ {tensor} }} }} {wanted}'
    )


def _predicted(name: str, value: float) -> str:
    tensor = f"dtype: DT_FLOAT tensor_shape {{}} float_val: {value}"
    served = examples.spec(name, "serving_default", 123)
    return f'{served} outputs {{ key: "y" value {{ {tensor} }} }}'


def _no_model(name: str) -> Refused:
    return Refused("NOT_FOUND", begins=f"Could not find any versions of model {name}")


NO_VERSION = Refused("NOT_FOUND", begins=f"Could not find version 125 of model {BOTH}")
TASKS = " ".join(
    f'tasks {{ {examples.spec("default", signature)} method_name: "{method}" }}'
    for signature, method in (("regress_x_to_y", REGRESS), ("classify_x_to_y", CLASSIFY))
)
SCORED = examples.classifications([("", 3)])
REGRESSED = examples.regressions(3)
TF1_CLASSIFY, TF1_REGRESS = (
    examples.spec("default", name, 123) for name in ("classify_x_to_y", "regress_x_to_y")
)
INFERRED = (
    f"results {{ {TF1_REGRESS} regression_result {{ {REGRESSED} }} }} "
    f"results {{ {TF1_CLASSIFY} classification_result {{ {SCORED} }} }}"
)

STATUSES = [
    _status(
        "MissingOrEmptyModelSpecFailure",
        "",
        Refused("INVALID_ARGUMENT", begins="Missing ModelSpec"),
    ),
    _status(
        "InvalidModelNameFailure",
        examples.spec("nonexistent_model"),
        _no_model("nonexistent_model"),
    ),
    _get("InvalidModelNameFailure", "nonexistent_model", _no_model("nonexistent_model")),
    _status("InvalidModelVersionFailure", examples.spec(BOTH, version=125), NO_VERSION),
    _get("InvalidModelVersionFailure", f"{BOTH}/versions/125", NO_VERSION),
    _status("AllVersionsSuccess", examples.spec(BOTH), _versions(124, 123)),
    _get("AllVersionsSuccess", BOTH, _json_versions(124, 123)),
    _status("SingleVersionSuccess", examples.spec(BOTH, version=123), _versions(123)),
    _get("SingleVersionSuccess", f"{BOTH}/versions/123", _json_versions(123)),
    _status(
        "ModelSpecOverride", examples.spec(BOTH, version=124), _versions(124), "the request's own"
    ),
    _status(
        "GetModelStatusWithModelSpec",
        'model_spec { name: "" }',
        _no_model(""),
        "no name",
        CODE,
    ),
    _status(
        "GetModelStatusWithModelSpec",
        f'model_spec {{ name: "{BOTH}" version_label: "A" }}',
        _versions(124, 123),
        "a label is no choice",
        CODE,
    ),
    _status(
        "GetModelStatusWithModelSpec",
        f'model_spec {{ name: "{BOTH}" version_label: "nope" }}',
        _versions(124, 123),
        "nor is an unknown one",
        CODE,
    ),
    _get(
        "GetModelStatusWithModelSpec",
        f"{BOTH}/labels/A",
        _json_versions(124, 123),
        "a label is no choice",
        CODE,
    ),
    _status(
        "GetModelStatusWithModelSpec",
        'model_spec { name: "nope" version { value: 1 } }',
        Refused("NOT_FOUND", begins="Could not find version 1 of model nope"),
        "a version of no model",
        CODE,
    ),
]
SERVERS = [
    _status("testGetModelStatus", examples.spec("default"), _versions(123), source=SERVER),
    _get("testGetStatusREST", "default", _json_versions(123), source=SERVER),
    _server(
        "testClassify",
        Grpc(method="Classify", message=f"{examples.spec('default', 'classify_x_to_y')} {X2}"),
        f"{TF1_CLASSIFY} result {{ {SCORED} }}",
    ),
    _server(
        "testRegress",
        Grpc(method="Regress", message=f"{examples.spec('default', 'regress_x_to_y')} {X2}"),
        f"{TF1_REGRESS} result {{ {REGRESSED} }}",
    ),
    _server("testMultiInference", Grpc(method="MultiInference", message=f"{TASKS} {X2}"), INFERRED),
    _server("testPredictSavedModel", _predict("default", "y"), _predicted("default", 3)),
    _server(
        "testGoodModelConfig", _predict("half_plus_two", "y"), _predicted("half_plus_two", 3), "two"
    ),
    _server(
        "testGoodModelConfig",
        _predict("half_plus_two"),
        _predicted("half_plus_two", 3),
        "two without a filter",
    ),
    _server(
        "testGoodModelConfig",
        _predict("half_plus_three", "y"),
        _predicted("half_plus_three", 4),
        "three",
    ),
    _server(
        "testGoodModelConfig",
        _predict("half_plus_three"),
        _predicted("half_plus_three", 4),
        "three without a filter",
    ),
    _server(
        "testClassifyREST",
        Rest(
            path="/v1/models/default:classify",
            body='{"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}',
        ),
        {"results": [[["", 3.0]]]},
    ),
    _server(
        "testRegressREST",
        Rest(
            path="/v1/models/default:regress",
            body='{"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}',
        ),
        {"results": [3.0]},
    ),
    _server(
        "testPredictREST",
        Rest(path="/v1/models/default:predict", body='{"instances": [2.0, 3.0, 4.0]}'),
        {"predictions": [3.0, 3.5, 4.0]},
    ),
    _server(
        "testPredictColumnarREST",
        Rest(path="/v1/models/default:predict", body='{"inputs": [2.0, 3.0, 4.0]}'),
        {"outputs": [3.0, 3.5, 4.0]},
    ),
    Pair(
        source=SERVER,
        test="testPrometheusEndpoint",
        request=Rest(method="GET", path="/monitoring/prometheus/metrics"),
        answer=Status(200),
    ),
]
PAIRS = STATUSES + SERVERS
