import re

import grpc
import numpy as np
import pytest
from running import servers

from serving.client import predict_request
from serving.engine.servable import Servable

ROW = np.ones((1, 3), np.float32)


async def predict(servable: Servable) -> None:
    await servable.predict("serving_default", {"x": ROW}, ["y"])


def timed(channel: grpc.Channel, metadata: list[tuple[str, str]]) -> dict[str, str]:
    request = predict_request("identity", {"x": ROW}).SerializeToString()
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    _, answered = call.with_call(request, timeout=10, metadata=metadata)
    return dict(answered.trailing_metadata())


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_grpc_calls_are_told_their_times_on_request(models_dir, front):
    """Stage times are milliseconds that sum to at most the total; only calls that ask get them."""
    with (
        servers.in_this_process(models_dir, front=front) as address,
        grpc.insecure_channel(address) as channel,
    ):
        trailers = timed(channel, [("x-server-timing", "1")])
        without = [timed(channel, []), timed(channel, [("x-server-timing", "0")])]

    header = trailers["server-timing"]
    match = re.fullmatch(r"queue;dur=(\S+), compute;dur=(\S+), total;dur=(\S+)", header)
    queue, compute, total = map(float, match.groups())
    assert queue >= 0
    assert compute > 0
    assert queue + compute <= total + 0.002  # both are rounded to microseconds
    assert not any("server-timing" in answered for answered in without)


def test_calls_at_the_same_time_are_told_their_own_times(models_dir):
    """Of 200 concurrent calls, exactly those that ask for stage times get them."""
    request = predict_request("identity", {"x": ROW}).SerializeToString()
    with (
        servers.in_this_process(models_dir) as address,
        grpc.insecure_channel(address) as channel,
    ):
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        futures = [
            predict.future(request, timeout=30, metadata=[("x-server-timing", str(number % 2))])
            for number in range(200)
        ]
        told = ["server-timing" in dict(future.trailing_metadata()) for future in futures]

    assert told == [bool(number % 2) for number in range(200)]


def test_a_large_request_has_one_set_of_times(models_dir):
    """A request that runs in several parts gets one set of stage times for the whole request."""
    request = predict_request("identity", {"x": np.ones((100, 3), np.float32)})
    with (
        servers.in_this_process(models_dir, max_batch_size=8) as address,
        grpc.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        _, answered = call.with_call(
            request.SerializeToString(), timeout=10, metadata=[("x-server-timing", "1")]
        )

    header = dict(answered.trailing_metadata())["server-timing"]
    queue, compute, total = (float(part.split("=")[1]) for part in header.split(", "))
    assert compute > 0
    assert queue + compute <= total + 0.002


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_failed_grpc_calls_carry_their_request_id(models_dir, front):
    """A failed call returns the caller's request id in its metadata, or a new id without one."""
    with (
        servers.in_this_process(models_dir, front=front) as address,
        grpc.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answered = []
        for metadata in ([("x-request-id", "mine")], []):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=10, metadata=metadata)
            error = caught.value
            both = [*error.initial_metadata(), *error.trailing_metadata()]
            answered.append(dict(both)["x-request-id"])

    assert answered[0] == "mine"
    assert re.fullmatch("[0-9a-f]{32}", answered[1])
