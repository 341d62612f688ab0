import asyncio
import functools
import threading

import grpc
import numpy as np
import pytest
import tiny_models
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from serving.client import AsyncPredictClient, PredictClient, PredictError, predict_request
from serving.protos.tensorflow_serving_pb2 import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    PredictRequest,
    PredictResponse,
)
from serving.version_status import State

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def front(request) -> str:
    """Each of the fronts has to pass every test here."""
    return request.param


@pytest.fixture(scope="module")
def running_server(running_server, front):
    """The shared context manager, on one of the fronts."""
    return functools.partial(running_server, front=front)


@pytest.fixture(scope="module")
def target(models_dir, running_server):
    """Address of a server that serves every tiny model on one of the fronts."""
    with running_server(models_dir) as address:
        yield address


@pytest.fixture
def channel(target):
    """A raw channel, for requests that the client would not send."""
    with grpc.insecure_channel(target) as opened:
        yield opened


def call_raw(channel: grpc.Channel, path: str, body: bytes, **options: object) -> bytes:
    return channel.unary_unary(path)(body, timeout=10, **options)


def refusal(channel: grpc.Channel, path: str, body: bytes, **options: object) -> tuple:
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, path, body, **options)
    return caught.value.code(), caught.value.details()


def test_predict_answers_every_output(client):
    """Without a filter every output of the signature comes back, with its dtype."""
    answer = client.predict("add", {"a": np.array([5, 7]), "b": np.array([3, 4])})

    assert answer["sum"].tolist() == [8, 11]
    assert answer["difference"].tolist() == [2, 3]
    assert answer["sum"].dtype == np.int64


def test_predict_computes_only_the_outputs_asked_for(client):
    """An output filter leaves the others out."""
    answer = client.predict("add", {"a": np.array([5]), "b": np.array([3])}, outputs=["sum"])

    assert list(answer) == ["sum"]


def test_predict_classifies_real_images(client, sample_images):
    """uint8 images go in as they are; probabilities and classes come out, one row an image."""
    answer = client.predict("brightness", {"images": sample_images})

    expected = sample_images.reshape(24, -1).mean(axis=1) / 255
    np.testing.assert_allclose(answer["probabilities"][:, 1], expected, rtol=1e-5)
    assert answer["classes"].tolist() == (expected > 0.5).astype(int).tolist()


def test_the_response_says_who_answered(channel):
    """model_spec carries name, resolved version and signature, as with TensorFlow Serving."""
    request = predict_request("identity", {"x": np.ones((1, 3), np.float32)})

    response = PredictResponse.FromString(call_raw(channel, PREDICT, request.SerializeToString()))

    assert response.model_spec.name == "identity"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_typed_fields_are_accepted_and_answered(channel):
    """Clients that fill float_val get float_val back: the official example reads that field."""
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


def test_tensor_content_is_answered_on_demand(models_dir, running_server):
    """--enable_serialization_as_tensor_content switches the answers' form."""
    request = predict_request("identity", {"x": np.ones((1, 3), np.float32)})
    with (
        running_server(models_dir, enable_serialization_as_tensor_content=True) as address,
        grpc.insecure_channel(address) as channel,
    ):
        body = call_raw(channel, PREDICT, request.SerializeToString())

    tensor = PredictResponse.FromString(body).outputs["y"]
    assert tensor.tensor_content == np.ones((1, 3), np.float32).tobytes()
    assert not tensor.float_val


def test_a_version_can_be_named(client):
    """The version that is there answers, another is not found."""
    inputs = {"x": np.ones((1, 3), np.float32)}

    assert client.predict("identity", inputs, version=1)["y"].tolist() == [[1, 1, 1]]
    with pytest.raises(PredictError) as caught:
        client.predict("identity", inputs, version=2)

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.message.startswith("Servable not found for request: Specific(identity, 2)")


ONES = np.ones((1, 3), np.float32)


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
            {"model": "identity", "inputs": {"x": np.ones((0, 3), np.float32)}},
            "INVALID_ARGUMENT",
            'input "x" of identity/1 has shape (0, 3): the batch is empty',
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
            # Over 100 MB: refused by the length in its prefix, before it is read.
            {"model": "identity", "inputs": {"x": np.ones((9_000_000, 3), np.float32)}},
            "RESOURCE_EXHAUSTED",
            "",  # each front has its own words, see below
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


def test_a_large_message_is_told_its_limit(client, front):
    """Both sizes are in the message, in whichever words."""
    with pytest.raises(PredictError) as caught:
        client.predict("identity", {"x": np.ones((6_000_000, 3), np.float32)})

    limit = "at most 67108864; send smaller" if front == "asgi" else "72000045 vs. 67108864"
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "72000045" in caught.value.message
    assert limit in caught.value.message


def test_a_missing_model_spec_is_refused(channel):
    """An empty message is a valid protobuf, but names no model."""
    assert refusal(channel, PREDICT, b"") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_truncated_tensor_content_is_refused(channel):
    """The tensor's name and both byte counts are in the message."""
    request = predict_request("identity", {"x": ONES})
    request.inputs["x"].tensor_content = ONES.tobytes()[:-1]

    assert refusal(channel, PREDICT, request.SerializeToString()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        (
            "tensor parsing error: x: tensor_content has 11 bytes, expected 12 for shape (1, 3) "
            "and dtype DT_FLOAT"
        ),
    )


def test_garbage_bytes_are_refused(channel):
    """Bytes that are no protobuf are the caller's mistake, not an internal error."""
    code, message = refusal(channel, PREDICT, b"\xff" * 100)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == "request of 100 bytes is not a tensorflow.serving.PredictRequest message"


def test_an_unknown_method_is_unimplemented(channel):
    """The path that was called is in the message."""
    code, message = refusal(channel, "/tensorflow.serving.PredictionService/Train", b"")

    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "/tensorflow.serving.PredictionService/Train" in message


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_accepted(channel, compression):
    """GRPC clients may compress what they send."""
    request = predict_request("identity", {"x": np.ones((100, 3), np.float32)})

    body = call_raw(channel, PREDICT, request.SerializeToString(), compression=compression)

    assert len(PredictResponse.FromString(body).outputs["y"].float_val) == 300


def test_metadata_lists_the_signatures(client):
    """Aliases, dtypes, shapes and the SavedModel's own tensor names, as TensorFlow Serving."""
    signature = client.signatures("brightness").signature_def["serving_default"]

    images = signature.inputs["images"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert (images.name, images.dtype) == ("serving_default_images:0", 4)
    assert [dim.size for dim in images.tensor_shape.dim] == [-1, 32, 32, 3]
    assert sorted(signature.outputs) == ["classes", "probabilities"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "weights"], "Metadata field weights is not supported"),
    ],
)
def test_metadata_fields_are_checked(channel, fields, message):
    """Messages are TensorFlow Serving's."""
    request = GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = "identity"

    answer = refusal(
        channel,
        "/tensorflow.serving.PredictionService/GetModelMetadata",
        request.SerializeToString(),
    )

    assert answer == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_status_tells_the_state_of_each_version(client):
    """A loaded version is AVAILABLE without an error."""
    (status,) = client.statuses("identity")

    assert (status.version, status.state) == (1, State.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("nope", None, "Could not find any versions of model nope"),
        ("identity", 7, "Could not find version 7 of model identity"),
    ],
)
def test_status_of_the_unknown_is_not_found(channel, name, version, message):
    """Messages are TensorFlow Serving's."""
    request = GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version

    answer = refusal(
        channel, "/tensorflow.serving.ModelService/GetModelStatus", request.SerializeToString()
    )

    assert answer == (grpc.StatusCode.NOT_FOUND, message)


def test_one_bad_model_leaves_the_others_serving(tmp_path, running_server):
    """A bit-flipped model is refused by its manifest and shows in the status; the rest serve."""
    tiny_models.identity(tmp_path)
    damaged = tiny_models.brightness(tmp_path) / "model.onnx"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    with running_server(tmp_path) as address, PredictClient(address) as client:
        answer = client.predict("identity", {"x": ONES})
        (status,) = client.statuses("brightness")
        health = {name: client.is_serving(name) for name in ("", "identity", "brightness")}
        with pytest.raises(PredictError) as caught:
            client.predict("brightness", {"images": np.zeros((1, 32, 32, 3), np.uint8)})

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert status.state == State.END
    assert status.status.error_code == 15  # DATA_LOSS
    assert "model.onnx has SHA-256" in status.status.error_message
    assert health == {"": True, "identity": True, "brightness": False}
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert "GetModelStatus tells why" in caught.value.message


def test_health_follows_grpc_health_v1(channel):
    """Every service and model is SERVING; an unknown name is NOT_FOUND."""
    stub = health_pb2_grpc.HealthStub(channel)

    for service in ("", "tensorflow.serving.PredictionService", "ModelService", "identity"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert response.status == health_pb2.HealthCheckResponse.SERVING

    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_can_be_watched_until_the_server_stops(models_dir, running_server):
    """Watch tells the state at once, and NOT_SERVING when the server begins to stop."""
    states = []
    with running_server(models_dir) as address:
        channel = grpc.insecure_channel(address)
        watching = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=30
        )
        states.append(next(watching).status)
        reader = threading.Thread(target=lambda: states.append(next(watching).status))
        reader.start()
    reader.join(10)
    channel.close()

    assert states == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]


def test_reflection_describes_the_services(channel):
    """Grpcurl and the like can list the services and read their messages."""
    database = ProtoReflectionDescriptorDatabase(channel)

    assert list(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]
    file = database.FindFileContainingSymbol("tensorflow.serving.PredictRequest")
    assert "PredictRequest" in [message.name for message in file.message_type]


@pytest.mark.parametrize("length", [10, 3000])
def test_long_messages_are_cut_as_tensorflow_serving_cuts_them(client, length):
    """Status messages hold 1024 characters; what is left out is said to be."""
    with pytest.raises(PredictError) as caught:
        client.predict("x" * length, {})

    assert caught.value.message.endswith("...TRUNCATED") is (length > 1024)
    assert len(caught.value.message) <= 1024 + len("...TRUNCATED")


def test_messages_may_hold_any_character(client):
    """Names with spaces, percent signs and non-ASCII letters come back as they were."""
    with pytest.raises(PredictError) as caught:
        client.predict("100 % grün\n", {})

    assert "Latest(100 % grün\n)" in caught.value.message


async def ask_asynchronously(target: str) -> tuple:
    async with AsyncPredictClient(target) as client:
        answer = await client.predict("identity", {"x": ONES})
        with pytest.raises(PredictError) as caught:
            await client.predict("nope", {"x": ONES})
        signatures = await client.signatures("identity")
        statuses = await client.statuses("identity")
        return answer, caught.value.code, signatures, statuses, await client.is_serving()


def test_the_asyncio_client_does_the_same(target):
    """AsyncPredictClient mirrors PredictClient."""
    answer, code, signatures, statuses, serving = asyncio.run(ask_asynchronously(target))

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert code is grpc.StatusCode.NOT_FOUND
    assert list(signatures.signature_def) == ["serving_default"]
    assert [status.version for status in statuses] == [1]
    assert serving


def test_the_client_refuses_what_cannot_be_sent(client):
    """A dtype without a tensor type fails before anything is sent, naming the input."""
    with pytest.raises(ValueError, match='input "x": dtype datetime64'):
        client.predict("identity", {"x": np.array(["2026"], "datetime64[Y]")})
    with pytest.raises(ValueError, match="expected one of them"):
        client.predict("identity", {"x": ONES}, version=1, version_label="stable")


def test_the_client_says_when_nobody_answers():
    """A dead address ends in UNAVAILABLE within the timeout."""
    with PredictClient("127.0.0.1:1", timeout=2) as client, pytest.raises(PredictError) as caught:
        client.predict("identity", {"x": ONES})

    assert caught.value.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_failed_request_comes_back_with_its_id(channel):
    """The id that the caller gave, so that answer and log line can be brought together."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, PREDICT, b"", metadata=[("x-request-id", "mine")])

    assert ("x-request-id", "mine") in caught.value.trailing_metadata()


def test_a_request_is_told_where_its_time_went(channel):
    """Those that ask for it get the stages in their trailing metadata."""
    request = predict_request("identity", {"x": ONES})

    _, call = channel.unary_unary(PREDICT).with_call(
        request.SerializeToString(), metadata=[("x-server-timing", "1")], timeout=10
    )

    (timing,) = (value for key, value in call.trailing_metadata() if key == "server-timing")
    assert [stage.partition(";")[0] for stage in timing.split(", ")] == [
        "queue",
        "compute",
        "total",
    ]
