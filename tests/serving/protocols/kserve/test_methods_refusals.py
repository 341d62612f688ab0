"""Tests of the requests that KServe's gRPC methods refuse."""

import pytest
from running.kserve_stub import X, infer_request, raw_answers

from serving.protos import kserve_pb2
from serving.protos.kserve_pb2 import InferParameter

VERSION = "failed to get model version from specified version string"


@pytest.mark.parametrize(
    ("name", "version", "answer"),
    [
        ("nope", "", ("NOT_FOUND", "Request for unknown model: 'nope' is not found; Servable not")),
        (
            "add",
            "7",
            ("NOT_FOUND", "Request for unknown model: 'add' version 7 is not found; Ser"),
        ),
        ("add", "latest", ("INVALID_ARGUMENT", f"{VERSION} 'latest', expected a number")),
        ("add", "-1", ("INVALID_ARGUMENT", f"{VERSION} '-1'")),
        ("add", "9" * 5000, ("INVALID_ARGUMENT", f"{VERSION} '999")),
    ],
)
@pytest.mark.parametrize("method", ["ModelMetadata", "ModelInfer"])
def test_unknown_models_and_versions_are_refused(stub, method, name, version, answer):
    """ModelMetadata and ModelInfer refuse unknown models and versions with the same messages."""
    request = (
        kserve_pb2.ModelMetadataRequest(name=name, version=version)
        if method == "ModelMetadata"
        else infer_request(name, X, model_version=version)
    )

    code, message = stub.refusal(method, request)

    assert code == answer[0]
    assert message.startswith(answer[1])


def _change(change):
    """Return a request for the identity model after one change."""
    request = infer_request("identity", X)
    change(request)
    return request


def _shared_memory(request):
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"


def _classes(**choice):
    def change(request):
        request.outputs.add(name="y").parameters["classification"].CopyFrom(
            InferParameter(**choice)
        )

    return change


def _sequence(**choice):
    def change(request):
        request.parameters["sequence_id"].CopyFrom(InferParameter(**choice))

    return change


def _signature(**choice):
    def change(request):
        request.parameters["signature_name"].CopyFrom(InferParameter(**choice))

    return change


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            lambda request: request.inputs[0].contents.fp32_contents.extend([1, 2, 3]),
            "INVALID_ARGUMENT",
            "contents field must not be specified when using raw_input_contents for 'x' for model",
        ),
        (
            lambda request: request.raw_input_contents.append(b""),
            "INVALID_ARGUMENT",
            "raw_input_contents has 2 entries, expected 1, one for each input",
        ),
        (
            lambda request: request.raw_input_contents.__setitem__(0, bytes(11)),
            "INVALID_ARGUMENT",
            "tensor parsing error: x: raw content has 11 bytes, expected 12 for shape (1, 3)",
        ),
        (
            lambda request: request.raw_input_contents.pop(),
            "INVALID_ARGUMENT",
            "tensor parsing error: x: fp32_contents has 0 elements, expected 3",
        ),
        (
            lambda request: setattr(request.inputs[0], "datatype", "FLOAT"),
            "INVALID_ARGUMENT",
            "tensor parsing error: x: datatype 'FLOAT' is unknown; expected one of BOOL",
        ),
        (
            lambda request: setattr(request.inputs[0], "datatype", "INT32"),
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but int32 is provided",
        ),
        (
            lambda request: request.inputs[0].shape.__setitem__(slice(None), [3]),
            "INVALID_ARGUMENT",
            'input "x" of identity/1 has shape (3,), expected (-1, 3)',
        ),
        (
            lambda request: setattr(request.inputs[0], "name", "z"),
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: x) not found in request",
        ),
        (
            lambda request: request.MergeFrom(infer_request("identity", X)),
            "INVALID_ARGUMENT",
            'input "x" is given twice',
        ),
        (
            lambda request: request.outputs.add(name="z"),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z",
        ),
        (
            lambda request: [request.outputs.add(name="y") for _ in range(2)],
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: y",
        ),
        (_signature(string_param="train"), "FAILED_PRECONDITION", 'Serving signature key "train"'),
        (
            _signature(int64_param=7),
            "INVALID_ARGUMENT",
            "parameter signature_name is 7, expected a string",
        ),
        (_signature(), "INVALID_ARGUMENT", "parameter signature_name is None, expected a string"),
        (
            _shared_memory,
            "UNIMPLEMENTED",
            'input "x" has the parameter shared_memory_region, which this server does not support',
        ),
        (
            _classes(int64_param=-1),
            "INVALID_ARGUMENT",
            'parameter classification of output "y" is -1, expected a whole number',
        ),
        (
            _classes(string_param="3"),
            "INVALID_ARGUMENT",
            "parameter classification of output \"y\" is '3', expected a whole number",
        ),
        (
            _sequence(int64_param=7),
            "UNIMPLEMENTED",
            "the request has the parameter sequence_id, which this server does not support",
        ),
        (_sequence(string_param="a"), "UNIMPLEMENTED", "the request has the parameter sequence_id"),
        (
            lambda request: setattr(request, "model_name", ""),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
    ],
)
def test_bad_requests_get_a_clear_answer_and_the_server_goes_on(stub, change, code, message):
    """Each mistake has its gRPC code and a message with both sides; the next request works."""
    answer = stub.refusal("ModelInfer", _change(change))

    assert answer[0] == code
    assert answer[1].startswith(message)
    assert raw_answers(stub.send("ModelInfer", infer_request("identity", X)))["y"].tolist() == [
        [1, 2, 3]
    ]
