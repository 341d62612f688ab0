"""A SavedModel of bfloat16 behind every API, compared with TensorFlow's own answers."""

import asyncio
import json
import re

import grpc
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from calling import every_protocol
from calling.rest_client import Http
from running import servers
from sample_saved_models import tensorflow_models
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.client import AsyncPredictClient, PredictClient, PredictError
from serving.protos.kserve_pb2 import ModelInferRequest, ModelInferResponse

X = np.array([[1, 2, 3], [-1, 0.1, 1e30], [0, -0.0, 1e-39]], ml_dtypes.bfloat16)
HALF = np.array(0.5, ml_dtypes.bfloat16)
CALLERS = 24


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with SavedModels of bfloat16."""
    folder = tmp_path_factory.mktemp("bfloat16")
    tensorflow_models.brain_floats(folder / "brain" / "1")
    tensorflow_models.element_types(folder / "types" / "1")
    return folder


@pytest.fixture(scope="module")
def address(models):
    """Address of a server of these models."""
    with servers.in_this_process(models) as started:
        yield started


@pytest.fixture(scope="module")
def ask_tensorflow(models):
    """A function that returns TensorFlow's answer by output alias."""
    loaded = tf.saved_model.load(str(models / "brain" / "1"))

    def ask(signature="serving_default", **inputs):
        tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
        answer = loaded.signatures[signature](**tensors)
        return {alias: tensor.numpy() for alias, tensor in answer.items()}

    return ask


def assert_bits(received, expected):
    """Assert that both have the same dtype, shape and bits; any NaN equals any NaN."""
    received, expected = np.asarray(received), np.asarray(expected)
    assert (received.dtype, received.shape) == (expected.dtype, expected.shape)
    both_nan = np.isnan(received.astype(np.float32)) & np.isnan(expected.astype(np.float32))
    if expected.dtype == ml_dtypes.bfloat16:
        received, expected = received.view(np.uint16), expected.view(np.uint16)
    assert ((received == expected) | both_nan).all()


def ask_officially(address, request):
    """Send a Predict with the official client's stub; return the outputs."""
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, timeout=20).outputs


@pytest.mark.parametrize("form", ["half_val", "tensor_content"])
def test_predict_in_both_forms(address, ask_tensorflow, form):
    """half_val (16 bits an int32) and tensor_content (2 bytes) get the answers of TensorFlow."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "brain"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    assert request.inputs["x"].tensor_content == X.tobytes()
    if form == "half_val":
        request.inputs["x"].ClearField("tensor_content")
        request.inputs["x"].half_val[:] = X.view(np.uint16).ravel().tolist()
    expected = ask_tensorflow(x=X)

    answers = [ask_officially(address, request) for _ in range(3)]  # a template reads the last one

    for outputs in answers:
        assert outputs["y"].dtype == tf.bfloat16.as_datatype_enum
        assert len(outputs["y"].half_val) == 6
        for alias, array in expected.items():
            assert_bits(tf.make_ndarray(outputs[alias]), array)


def test_one_half_val_stands_for_all(address, ask_tensorflow):
    """A single half_val stands for all elements, as in TensorFlow."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "brain"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].half_val[:] = [0x3FC0]

    outputs = ask_officially(address, request)

    x = np.full((3, 3), 1.5, ml_dtypes.bfloat16)
    assert_bits(tf.make_ndarray(outputs["y"]), ask_tensorflow(x=x)["y"])


def test_answers_may_be_in_tensor_content(models, ask_tensorflow):
    """--enable_serialization_as_tensor_content also applies to bfloat16 outputs."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "brain"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    with servers.in_this_process(models, enable_serialization_as_tensor_content=True) as address:
        outputs = ask_officially(address, request)

    assert len(outputs["y"].tensor_content) == 12
    assert_bits(tf.make_ndarray(outputs["y"]), ask_tensorflow(x=X)["y"])


def test_the_default_and_the_metadata(address, ask_tensorflow):
    """GetModelMetadata has dtype 14 and the default; a request may omit that input."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "brain"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(request, timeout=20)
    found = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    with PredictClient(address) as client:
        predicted = client.predict("brain", {"x": X}, signature_name="biased")

    definition = found.signature_def["biased"]
    assert definition.inputs["x"].dtype == tf.bfloat16.as_datatype_enum
    assert definition.outputs["y"].dtype == tf.bfloat16.as_datatype_enum
    assert_bits(tf.make_ndarray(definition.defaults["bias"]), HALF)
    expected = ask_tensorflow("biased", x=X, bias=HALF)["y"]
    assert_bits(predicted["y"].view(ml_dtypes.bfloat16), expected)


@pytest.mark.parametrize("protocol", ["kserve_grpc", "kserve_binary", "kserve_rest", "tfs_rest"])
def test_other_protocols_answer_bfloat16(address, ask_tensorflow, protocol):
    """KServe and REST answer bfloat16 as TensorFlow does, as raw bytes and as JSON numbers."""
    expected = ask_tensorflow(x=X)
    with getattr(every_protocol, protocol)(address) as ask:
        answer = ask("brain", {"x": X}, expected)

    for alias, array in expected.items():
        assert_bits(answer[alias], array)


def infer(address, request):
    """Send a ModelInfer request; return the response."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        return call(request, timeout=20)


def test_typed_contents_are_answered_raw(address):
    """A typed request is answered raw: bfloat16 outputs have no typed field."""
    request = ModelInferRequest(model_name="types")
    request.parameters["signature_name"].string_param = "brain"
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[2])
    tensor.contents.fp32_contents[:] = [1, 0.1]

    answer = infer(address, request)

    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BF16", [2])
    expected = np.array([1, 0.1], ml_dtypes.bfloat16)
    assert answer.raw_output_contents[0] == expected.tobytes()


def test_kserve_names_the_datatype_bf16(address):
    """The KServe metadata says BF16; typed contents for it are refused with the way out."""
    metadata = Http(address).get("/v2/models/brain")[1]
    request = ModelInferRequest(model_name="brain")
    tensor = request.inputs.add(name="x", datatype="BF16", shape=[1, 3])
    tensor.contents.fp32_contents[:] = [1, 2, 3]
    with pytest.raises(grpc.RpcError) as caught:
        infer(address, request)

    tensors = metadata["inputs"] + metadata["outputs"]
    assert {each["name"]: each["datatype"] for each in tensors} == {
        "x": "BF16",
        "y": "BF16",
        "float": "FP32",
    }
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "BF16 has no typed contents; send it in raw_input_contents" in caught.value.details()


def test_numbers_beyond_bfloat16_are_refused_by_kserve(address):
    """3.4e38 in JSON is refused for BF16; the message has the largest bfloat16."""
    tensor = {"name": "x", "datatype": "BF16", "shape": [1, 3], "data": [1, 2, 3.4e38]}

    status, answer = Http(address).post("/v2/models/brain/infer", {"inputs": [tensor]})

    assert status == 400
    assert "expected -3.38953138925" in answer["error"]
    assert "for datatype BF16" in answer["error"]


def test_rest_in_rows(address, ask_tensorflow):
    """JSON numbers are rounded to the nearest bfloat16, and answered as float32 values."""
    rows = [[1, 2.003, 0.1], [-1, 1e38, 5]]
    x = np.float32(rows).astype(ml_dtypes.bfloat16)
    expected = ask_tensorflow("biased", x=x, bias=HALF)["y"]

    status, answer = Http(address).post(
        "/v1/models/brain:predict",
        {"signature_name": "biased", "instances": [{"x": row} for row in rows]},
    )

    assert status == 200
    np.testing.assert_array_equal(np.float32(answer["predictions"]), expected.astype(np.float32))


def test_rest_in_tensorflow_servings_layout(models, ask_tensorflow):
    """With --rest_api_tfs_format, JSON answers have the same bfloat16 values."""
    with servers.in_this_process(models, rest_api_tfs_format=True) as address:
        status, _, answer = Http(address).ask(
            "POST", "/v1/models/brain:predict", json.dumps({"inputs": [[1, 2, 3]]}).encode()
        )

    expected = ask_tensorflow(x=X[:1])["y"].astype(np.float32)
    assert status == 200
    np.testing.assert_array_equal(np.float32(json.loads(answer)["outputs"]["y"]), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint16])
def test_another_dtype_is_refused_with_the_way_out(address, dtype):
    """float32, float16 and uint16 inputs are refused for bfloat16; the message has the way out."""
    with PredictClient(address) as client, pytest.raises(PredictError) as caught:
        client.predict("brain", {"x": np.ones((1, 3), dtype)})

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith("Expects arg[0] to be bfloat16 but ")
    assert ".astype(ml_dtypes.bfloat16)" in caught.value.message


def test_rows_are_proved_and_shared(models, ask_tensorflow):
    """24 concurrent callers share runs on one instance, and each gets its own row."""
    questions = [(X[:1] * n).astype(ml_dtypes.bfloat16) for n in range(4 * CALLERS)]

    async def ask(address):
        async with AsyncPredictClient(address) as client:
            return await asyncio.gather(*(client.predict("brain", {"x": x}) for x in questions))

    with servers.in_this_process(models, instances=1) as address:
        answers = asyncio.run(ask(address))
        parameters = Http(address).get("/v2/models/brain")[1]["parameters"]
        page = Http(address).ask("GET", "/monitoring/prometheus/metrics")[2].decode()

    assert parameters["batched"] == "true", parameters
    batches = re.search(r'processed_batch_size_count\{[^}]*"brain"[^}]*\} (\d+)', page)
    assert int(batches.group(1)) < len(questions)
    for x, answer in zip(questions, answers, strict=True):
        assert_bits(answer["y"].view(ml_dtypes.bfloat16), ask_tensorflow(x=x)["y"])


def test_dependent_rows_of_bfloat16_run_alone(models, caplog):
    """The proof compares bfloat16 outputs by their values, not by their bits."""
    with caplog.at_level("INFO"), servers.in_this_process(models):
        pass

    (line,) = (line for line in caplog.messages if "each request to shared runs alone" in line)
    assert re.search(r"differ by up to [0-9.e+]+ in", line)
