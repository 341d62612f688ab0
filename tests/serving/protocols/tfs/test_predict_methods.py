"""Tests of Predict over gRPC on each front."""

import grpc
import numpy as np
import pytest
from calling.raw_calls import call_raw, refusal

from serving.client import PredictError, predict_request
from serving.protos.tensorflow_serving_pb2 import (
    PredictRequest,
    PredictResponse,
)

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


def test_predict_answers_every_output(client):
    """Without an output filter, every output of the signature is answered with its dtype."""
    answer = client.predict("add", {"a": np.array([5, 7]), "b": np.array([3, 4])})

    assert answer["sum"].tolist() == [8, 11]
    assert answer["difference"].tolist() == [2, 3]
    assert answer["sum"].dtype == np.int64


@pytest.mark.parametrize("rows", [100, 5_400, 5_500, 9_999])
def test_a_long_answer_is_the_same_bits(client, rows):
    """An answer has the same bits below and above the size up to which bytes are copied."""
    x = np.random.default_rng(rows).standard_normal((rows, 3), np.float32)

    answers = [client.predict("identity", {"x": x})["y"] for _ in range(2)]

    for answer in answers:
        np.testing.assert_array_equal(answer, x)


def test_predict_computes_only_the_outputs_asked_for(client):
    """With an output filter, only the outputs it names are answered."""
    answer = client.predict("add", {"a": np.array([5]), "b": np.array([3])}, outputs=["sum"])

    assert list(answer) == ["sum"]


def test_a_request_asked_again_gets_the_outputs_that_it_asks_for(client, sample_images):
    """From the second on it is read by a template, which knows the filter of the first."""
    answers = [
        client.predict("brightness", {"images": sample_images[number:][:1]}, outputs=outputs)
        for outputs in (["classes"], ["probabilities"])
        for number in range(4)
    ]

    assert [list(answer) for answer in answers] == [["classes"]] * 4 + [["probabilities"]] * 4


def test_predict_classifies_real_images(client, sample_images):
    """uint8 images are answered with one row of probabilities and one class an image."""
    answer = client.predict("brightness", {"images": sample_images})

    expected = sample_images.reshape(24, -1).mean(axis=1) / 255
    np.testing.assert_allclose(answer["probabilities"][:, 1], expected, rtol=1e-5)
    assert answer["classes"].tolist() == (expected > 0.5).astype(int).tolist()


def test_the_response_says_who_answered(channel):
    """The response's model_spec has the name, the resolved version and the signature."""
    request = predict_request("identity", {"x": np.ones((1, 3), np.float32)})

    response = PredictResponse.FromString(call_raw(channel, PREDICT, request.SerializeToString()))

    assert response.model_spec.name == "identity"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_typed_fields_are_accepted_and_answered(channel):
    """A request in float_val is answered in float_val, which the official example reads."""
    request = PredictRequest()
    request.model_spec.name = "identity"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    tensor.tensor_shape.dim.add().size = 3
    tensor.float_val.extend([1, 2, 3])

    response = PredictResponse.FromString(call_raw(channel, PREDICT, request.SerializeToString()))

    assert response.outputs["y"].float_val == [1, 2, 3]
    assert response.outputs["y"].tensor_content == b""


def test_surplus_values_are_ignored(channel):
    """Values beyond the number of elements of the shape are ignored, as in TensorFlow."""
    request = PredictRequest()
    request.model_spec.name = "identity"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add().size = 1
    tensor.tensor_shape.dim.add().size = 3
    tensor.float_val.extend([1, 2, 3, 4, 5])

    response = PredictResponse.FromString(call_raw(channel, PREDICT, request.SerializeToString()))

    assert response.outputs["y"].float_val == [1, 2, 3]


def test_tensor_content_is_answered_on_demand(models_dir, server_on_front):
    """With --enable_serialization_as_tensor_content, answers are in tensor_content."""
    request = predict_request("identity", {"x": np.ones((1, 3), np.float32)})
    with (
        server_on_front(models_dir, enable_serialization_as_tensor_content=True) as address,
        grpc.insecure_channel(address) as channel,
    ):
        body = call_raw(channel, PREDICT, request.SerializeToString())

    tensor = PredictResponse.FromString(body).outputs["y"]
    assert tensor.tensor_content == np.ones((1, 3), np.float32).tobytes()
    assert not tensor.float_val


def test_a_version_can_be_named(client):
    """The named version answers; a version that does not exist is NOT_FOUND."""
    inputs = {"x": np.ones((1, 3), np.float32)}

    assert client.predict("identity", inputs, version=1)["y"].tolist() == [[1, 1, 1]]
    with pytest.raises(PredictError) as caught:
        client.predict("identity", inputs, version=2)

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.message.startswith("Servable not found for request: Specific(identity, 2)")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            {"model": "nope", "inputs": {"x": ONES}},
            "NOT_FOUND",
            "Servable not found for request: Latest(nope)",
        ),
        ({"model": "", "inputs": {}}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            {"model": "identity", "inputs": {"x": ONES}, "version_label": "stable"},
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: stable",
        ),
        (
            {"model": "identity", "inputs": {"x": ONES}, "signature_name": "classify"},
            "FAILED_PRECONDITION",
            'Serving signature key "classify" not found.',
        ),
        (
            {"model": "identity", "inputs": {"z": ONES}},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: x) not found in request",
        ),
        (
            {"model": "identity", "inputs": {}},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1",
        ),
        (
            {"model": "identity", "inputs": {"x": ONES.astype(np.float64)}},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but double is provided",
        ),
        (
            {"model": "identity", "inputs": {"x": ONES.astype(np.complex64)}},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but complex64 is provided",
        ),
        (
            {"model": "identity", "inputs": {"x": np.ones(3, np.float32)}},
            "INVALID_ARGUMENT",
            'input "x" of identity/1 has shape (3,), expected (-1, 3); add the batch dimension',
        ),
        (
            {"model": "identity", "inputs": {"x": np.ones((1, 4), np.float32)}},
            "INVALID_ARGUMENT",
            'input "x" of identity/1 has shape (1, 4), expected (-1, 3)',
        ),
        (
            {"model": "identity", "inputs": {"x": ONES}, "outputs": ["z"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z",
        ),
        (
            {"model": "lookup", "inputs": {"index": np.array([7])}},
            "INVALID_ARGUMENT",
            "the model cannot take this input",
        ),
        (
            {"model": "fragile", "inputs": {"shape": np.array([7])}},
            "INTERNAL",
            "the model failed",
        ),
        (
            # Over 100 MB, which is allowed; its number of rows is not.
            {"model": "identity", "inputs": {"x": np.ones((9_000_000, 3), np.float32)}},
            "INVALID_ARGUMENT",
            "tensor parsing error: x: tensor of shape (9000000, 3) has 9000000 rows, expected",
        ),
    ],
)
def test_bad_requests_get_a_clear_answer_and_the_server_goes_on(client, arguments, code, message):
    """Each mistake has its gRPC code and a message with the way out; the next request works."""
    with pytest.raises(PredictError) as caught:
        client.predict(**arguments)

    assert caught.value.code.name == code
    assert caught.value.message.startswith(message)
    assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]


def test_a_missing_model_spec_is_refused(channel):
    """An empty message is refused for its missing ModelSpec, although it is valid protobuf."""
    assert refusal(channel, PREDICT, b"") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_truncated_tensor_content_is_refused(channel):
    """Truncated tensor_content is refused; the message has the input's name and both sizes."""
    request = predict_request("identity", {"x": ONES})
    request.inputs["x"].tensor_content = ONES.tobytes()[:-1]

    assert refusal(channel, PREDICT, request.SerializeToString()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "tensor parsing error: x: tensor_content has 11 bytes, expected 12 for shape (1, 3) "
            "and dtype DT_FLOAT"
        ),
    )
