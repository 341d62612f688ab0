"""Tests of messages, errors and metadata that are the same on both fronts."""

import grpc
import numpy as np
import pytest
from calling.raw_calls import call_raw, refusal

from serving.client import PredictClient, PredictError, predict_request
from serving.protos.tensorflow_serving_pb2 import PredictRequest, PredictResponse

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


def test_a_large_message_is_told_its_limit(models_dir, server_on_front, front):
    """A message over --max_buffered_bytes is RESOURCE_EXHAUSTED; the error has both sizes."""
    with (
        server_on_front(models_dir, max_buffered_bytes=1_000_000) as address,
        PredictClient(address) as client,
        pytest.raises(PredictError) as caught,
    ):
        client.predict("identity", {"x": np.ones((100_000, 3), np.float32)})

    limit = "at most 1000000; send smaller" if front == "asgi" else "1200041 vs. 1000000"
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1200041" in caught.value.message
    assert limit in caught.value.message
    assert front == "grpcio" or "--max_buffered_bytes if it is not set" in caught.value.message


def test_a_message_may_be_larger_than_64_mebibytes(client):
    """Messages over 64 MiB are read, as in TensorFlow Serving; only the rows are refused."""
    with pytest.raises(PredictError) as caught:
        client.predict("identity", {"x": np.ones((6_000_000, 3), np.float32)})

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "has 6000000 rows, expected at most 10000" in caught.value.message


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_the_limit_of_a_message_is_exact(models_dir, server_on_front, compression, over):
    """A message of exactly --max_message_bytes is read, one more byte is not, compressed or not."""
    limit = 3_000_000
    body = predict_request("none", {"x": np.zeros(limit - 100, np.uint8)}).SerializeToString()
    padding = "y" * (limit + over - len(body) - 2)
    body += PredictRequest(output_filter=[padding]).SerializeToString()
    with (
        server_on_front(models_dir, max_message_bytes=limit) as address,
        grpc.insecure_channel(address) as channel,
    ):
        code, _ = refusal(channel, PREDICT, body, compression=compression)

    assert len(body) == limit + over
    assert code is (grpc.StatusCode.RESOURCE_EXHAUSTED if over else grpc.StatusCode.NOT_FOUND)


def test_garbage_bytes_are_refused(channel):
    """Bytes that are not the expected protobuf message are INVALID_ARGUMENT."""
    code, message = refusal(channel, PREDICT, b"\xff" * 100)

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message == "request of 100 bytes is not a tensorflow.serving.PredictRequest message"


def test_an_unknown_method_is_unimplemented(channel):
    """An unknown method is UNIMPLEMENTED; the message has its path."""
    code, message = refusal(channel, "/tensorflow.serving.PredictionService/Train", b"")

    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "/tensorflow.serving.PredictionService/Train" in message


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_accepted(channel, compression):
    """Requests compressed with gzip or deflate are read."""
    request = predict_request("identity", {"x": np.ones((100, 3), np.float32)})

    body = call_raw(channel, PREDICT, request.SerializeToString(), compression=compression)

    assert len(PredictResponse.FromString(body).outputs["y"].float_val) == 300


@pytest.mark.parametrize("length", [10, 3000])
def test_long_messages_are_cut_as_tensorflow_serving_cuts_them(client, length):
    """Status messages over 1024 characters are cut and end in "...TRUNCATED"."""
    with pytest.raises(PredictError) as caught:
        client.predict("x" * length, {})

    assert caught.value.message.endswith("...TRUNCATED") is (length > 1024)
    assert len(caught.value.message) <= 1024 + len("...TRUNCATED")


def test_messages_may_hold_any_character(client):
    """Spaces, percent signs, newlines and non-ASCII letters in a message stay the same."""
    with pytest.raises(PredictError) as caught:
        client.predict("100 % grün\n", {})

    assert "Latest(100 % grün\n)" in caught.value.message


def test_a_failed_request_comes_back_with_its_id(channel):
    """A failed call has the caller's x-request-id in its metadata, to find its log line."""
    with pytest.raises(grpc.RpcError) as caught:
        call_raw(channel, PREDICT, b"", metadata=[("x-request-id", "mine")])

    assert ("x-request-id", "mine") in caught.value.trailing_metadata()


def test_a_request_is_told_where_its_time_went(channel):
    """A call with x-server-timing: 1 gets its stage times in the trailing metadata."""
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
