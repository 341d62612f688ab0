"""Metadata: get_model_metadata_impl_test.cc and the JSON file of TensorFlow Serving's tests."""

from typing import Any

from tfs_parity import examples
from tfs_parity.pair import Answer, Grpc, Ok, Pair, Refused, Rest

TEST = "servables/tensorflow/get_model_metadata_impl_test.cc"
PREDICT, CLASSIFY, REGRESS = (
    f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")
)
# Method, input alias, input dtype and name, output alias and name, as in half_plus_two.
SIGNATURES = {
    "serving_default": (PREDICT, "x", "DT_FLOAT", "x:0", "y", "y:0"),
    "regress_x_to_y": (REGRESS, "inputs", "DT_STRING", "tf_example:0", "outputs", "y:0"),
    "regress_x_to_y2": (REGRESS, "inputs", "DT_STRING", "tf_example:0", "outputs", "y2:0"),
    "regress_x2_to_y3": (REGRESS, "inputs", "DT_FLOAT", "x2:0", "outputs", "y3:0"),
    "classify_x_to_y": (CLASSIFY, "inputs", "DT_STRING", "tf_example:0", "scores", "y:0"),
    "classify_x2_to_y3": (CLASSIFY, "inputs", "DT_FLOAT", "x2:0", "scores", "y3:0"),
}
FIELD = 'metadata_field: "signature_def"'


def _tensor(dtype: str, name: str) -> str:
    column = "" if dtype == "DT_STRING" else " dim { size: 1 }"
    return f'name: "{name}" dtype: {dtype} tensor_shape {{ dim {{ size: -1 }}{column} }}'


def _signature(method: str, *parts: str) -> str:
    alias, dtype, name, output, output_name = parts
    return (
        f'inputs {{ key: "{alias}" value {{ {_tensor(dtype, name)} }} }} '
        f'outputs {{ key: "{output}" value {{ {_tensor("DT_FLOAT", output_name)} }} }} '
        f'method_name: "{method}"'
    )


def _metadata(name: str, version: int) -> Ok:
    signatures = " ".join(
        f'signature_def {{ key: "{key}" value {{ {_signature(*parts)} }} }}'
        for key, parts in SIGNATURES.items()
    )
    packed = f"[type.googleapis.com/tensorflow.serving.SignatureDefMap] {{ {signatures} }}"
    return Ok(
        f"{examples.spec(name, version=version)} "
        f'metadata {{ key: "signature_def" value {{ {packed} }} }}'
    )


def _json_tensor(dtype: str, name: str) -> dict[str, Any]:
    sizes = ["-1"] if dtype == "DT_STRING" else ["-1", "1"]
    dims = [{"size": size, "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}


def _json_metadata(name: str, version: int) -> Ok:
    signatures = {
        key: {
            "inputs": {alias: _json_tensor(dtype, tensor)},
            "outputs": {output: _json_tensor("DT_FLOAT", output_tensor)},
            "method_name": method,
            "defaults": {},
        }
        for key, (method, alias, dtype, tensor, output, output_tensor) in SIGNATURES.items()
    }
    return Ok(
        {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }
    )


def _grpc(test: str, case: str, message: str, answer: Answer) -> Pair:
    return Pair(
        source=TEST,
        test=test,
        case=case,
        request=Grpc(method="GetModelMetadata", message=message),
        answer=answer,
    )


def _rest(test: str, case: str, path: str, answer: Answer) -> Pair:
    request = Rest(method="GET", path=f"/v1/models/{path}/metadata")
    return Pair(source=TEST, test=test, case=case, request=request, answer=answer)


def _refused(message: str, code: str = "INVALID_ARGUMENT") -> Refused:
    return Refused(code, begins=message)


SPEC = examples.spec("test_model", version=123)
FIELDS, SPECS = "EmptyOrInvalidMetadataFieldList", "MissingOrEmptyModelSpec"
VALID, OVERRIDE = "ReturnsSignaturesForValidModel", "ModelSpecOverride"
NO_SPEC = _refused("Missing ModelSpec")
NO_FIELD = _refused("GetModelMetadataRequest must specify at least one metadata_field")
NO_STUFF = _refused("Metadata field some_stuff is not supported")
BOTH_VERSIONS = "half_plus_two_2_versions"
UNKNOWN = _refused("Servable not found for request: Latest(test)", "NOT_FOUND")

PAIRS = [
    _grpc(FIELDS, "no field and no spec", "", NO_SPEC),
    _grpc(FIELDS, "another field and no spec", 'metadata_field: "some_stuff"', NO_SPEC),
    _grpc(FIELDS, "no field", SPEC, NO_FIELD),
    _grpc(FIELDS, "another field", f'{SPEC} metadata_field: "some_stuff"', NO_STUFF),
    _grpc(FIELDS, "one of two fields", f'{SPEC} {FIELD} metadata_field: "some_stuff"', NO_STUFF),
    _grpc(
        FIELDS,
        "the fields before the model",
        'model_spec { name: "test" } metadata_field: "some_stuff"',
        NO_STUFF,
    ),
    _grpc(SPECS, "no spec", FIELD, NO_SPEC),
    _grpc(
        SPECS, "no name", f"model_spec {{}} {FIELD}", _refused("ModelSpec has no name specified.")
    ),
    _grpc(SPECS, "wrong name", f'model_spec {{ name: "test" }} {FIELD}', UNKNOWN),
    _rest(SPECS, "wrong name", "test", UNKNOWN),
    _grpc(VALID, "version", f"{SPEC} {FIELD}", _metadata("test_model", 123)),
    _grpc(VALID, "the field twice", f"{SPEC} {FIELD} {FIELD}", _metadata("test_model", 123)),
    _grpc(
        VALID,
        "a signature is no choice",
        f"{examples.spec('test_model', 'regress_x_to_y')} {FIELD}",
        _metadata("test_model", 123),
    ),
    _grpc(
        VALID,
        "the latest of two versions",
        f"{examples.spec(BOTH_VERSIONS)} {FIELD}",
        _metadata(BOTH_VERSIONS, 124),
    ),
    _grpc(
        VALID,
        "the version of a label",
        f'model_spec {{ name: "{BOTH_VERSIONS}" version_label: "A" }} {FIELD}',
        _metadata(BOTH_VERSIONS, 123),
    ),
    _grpc(
        SPECS,
        "wrong version",
        f"{examples.spec('test_model', version=7)} {FIELD}",
        _refused("Servable not found for request: Specific(test_model, 7)", "NOT_FOUND"),
    ),
    _grpc(
        SPECS,
        "wrong label",
        f'model_spec {{ name: "test_model" version_label: "nope" }} {FIELD}',
        _refused("Unrecognized servable version label: nope"),
    ),
    _grpc(
        OVERRIDE,
        "the request's own",
        f"{examples.spec('test_model')} {FIELD}",
        _metadata("test_model", 123),
    ),
    _grpc(
        OVERRIDE,
        "another model",
        f"{examples.spec('nonexistent_model')} {FIELD}",
        _refused("Servable not found for request: Latest(nonexistent_model)", "NOT_FOUND"),
    ),
    _rest(VALID, "version", "test_model/versions/123", _json_metadata("test_model", 123)),
    _rest(VALID, "latest", BOTH_VERSIONS, _json_metadata(BOTH_VERSIONS, 124)),
    _rest(VALID, "label", f"{BOTH_VERSIONS}/labels/A", _json_metadata(BOTH_VERSIONS, 123)),
    Pair(
        source="model_servers/http_rest_api_handler_test.cc",
        test="GetModelMetadata",
        request=Rest(method="GET", path="/v1/models/saved_model_half_plus_two_2_versions/metadata"),
        answer=_json_metadata("saved_model_half_plus_two_2_versions", 123),
    ),
    Pair(
        source="model_servers/tensorflow_model_server_test.py",
        test="testGetModelMetadata",
        request=Grpc(method="GetModelMetadata", message=f"{examples.spec('default')} {FIELD}"),
        answer=_metadata("default", 123),
    ),
    Pair(
        source="model_servers/tensorflow_model_server_test.py",
        test="testGetModelMetadataREST",
        request=Rest(method="GET", path="/v1/models/default/metadata"),
        answer=_json_metadata("default", 123),
    ),
]
