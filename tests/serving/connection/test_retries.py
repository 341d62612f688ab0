"""Tests of calls that gRPC sends again: against servers that refuse, and servers that return."""

import asyncio
import json
import math
import socket
import threading
import time

import grpc
import numpy as np
import pytest
from running import servers
from running.refusing_server import refusing
from sample_models import tiny_models

from serving.client import AsyncPredictClient, PredictClient, PredictError, RetryPolicy

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
INPUTS = {"x": np.ones((1, 3), np.float32)}
QUICK = {"first_pause_seconds": 0.01, "pause_factor": 1}


def predict(kind, address: str, inputs=INPUTS, **settings):
    """Call Predict once with a client of one kind."""

    async def call():
        async with AsyncPredictClient(address, **settings) as client:
            return await client.predict("m", inputs)

    if kind is AsyncPredictClient:
        return asyncio.run(call())
    with PredictClient(address, **settings) as client:
        return client.predict("m", inputs)


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_a_call_is_sent_again_after_unavailable(kind):
    """With two retries the third attempt is answered, and the caller sees no error."""
    with refusing(UNAVAILABLE, UNAVAILABLE) as server:
        answer = predict(kind, server.address, retries=RetryPolicy(retries=2, **QUICK))

    assert answer["x"].tolist() == [[1, 1, 1]]
    assert [call.get("grpc-previous-rpc-attempts") for call in server.received] == [None, "1", "2"]


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2)])
def test_a_server_that_goes_on_refusing_is_reported(kind, retries, attempts):
    """After the last attempt the caller gets the server's error; without retries, at once."""
    refusals = [UNAVAILABLE] * 5
    with refusing(*refusals) as server, pytest.raises(PredictError, match="UNAVAILABLE: not now"):
        predict(kind, server.address, retries=retries)

    assert len(server.received) == attempts


@pytest.mark.parametrize(
    ("refusal", "codes", "attempts"),
    [
        (EXHAUSTED, [UNAVAILABLE], 1),
        (EXHAUSTED, [UNAVAILABLE, EXHAUSTED], 2),
        (grpc.StatusCode.INVALID_ARGUMENT, [UNAVAILABLE], 1),
    ],
)
def test_only_the_codes_of_the_policy_are_retried(refusal, codes, attempts):
    """RESOURCE_EXHAUSTED is retried only if the policy names it."""
    policy = RetryPolicy(retries=1, codes=codes, **QUICK)
    with refusing(refusal, refusal) as server, pytest.raises(PredictError) as caught:
        predict(PredictClient, server.address, retries=policy)

    assert caught.value.code is refusal
    assert len(server.received) == attempts


def test_a_large_request_is_sent_again_too():
    """A request of 4 MB, beyond the 256 KiB that gRPC keeps by default, has its second attempt."""
    inputs = {"x": np.ones((1, 1_000_000), np.float32)}
    with refusing(UNAVAILABLE) as server:
        policy = RetryPolicy(retries=1, **QUICK)
        answer = predict(PredictClient, server.address, inputs, retries=policy)

    assert answer["x"].shape == (1, 1_000_000)


def test_the_timeout_includes_the_retries():
    """A pause that ends after the deadline is cut short: the call ends with its timeout."""
    policy = RetryPolicy(retries=4, first_pause_seconds=60, longest_pause_seconds=60)
    with refusing(UNAVAILABLE) as server, pytest.raises(PredictError) as caught:
        predict(PredictClient, server.address, retries=policy, timeout=1)

    assert caught.value.code in {grpc.StatusCode.DEADLINE_EXCEEDED, UNAVAILABLE}
    assert len(server.received) == 1


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_a_model_that_appears_during_the_retries_answers(tmp_path, front):
    """This server's refusals are retried on both fronts: the model is published meanwhile."""
    policy = RetryPolicy(retries=4, first_pause_seconds=1, longest_pause_seconds=20, pause_factor=2)
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    config = tmp_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "m" base_path: "{folder}" }} }}')
    finished = tiny_models.identity(tmp_path, "finished")
    with servers.in_this_process(None, model_config_file=config, front=front) as address:
        with pytest.raises(PredictError) as caught:
            predict(PredictClient, address)
        publishing = threading.Timer(0.2, finished.rename, [folder / "1"])
        publishing.start()
        answer = predict(PredictClient, address, retries=policy)
        publishing.join()

    assert caught.value.code is UNAVAILABLE
    assert answer["y"].tolist() == [[1, 1, 1]]


def test_no_call_is_lost_while_a_server_is_killed_and_started_again(models_dir):
    """With retries and wait_for_ready, a client that calls all the time sees no error."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = str(reserved.getsockname()[1])
    flags = ("--models_dir", str(models_dir), "--port", port)
    answered: list[float] = []
    failures: list[PredictError] = []
    stop = threading.Event()

    def call_all_the_time() -> None:
        with PredictClient(f"127.0.0.1:{port}", retries=4, wait_for_ready=True) as client:
            while not stop.is_set():
                try:
                    client.predict("identity", INPUTS)
                    answered.append(time.monotonic())
                except PredictError as error:
                    failures.append(error)

    caller = threading.Thread(target=call_all_the_time)
    with servers.as_process(*flags) as first:
        first.wait_for("ready: ")
        caller.start()
        time.sleep(0.5)
        first.process.kill()
        first.process.wait()
        killed = time.monotonic()
        with servers.as_process(*flags) as second:
            second.wait_for("ready: ")
            while not stop.wait(0.1):
                if (answered and answered[-1] > killed + 1) or failures:
                    stop.set()
            caller.join()

    assert failures == []
    assert answered[0] < killed


@pytest.mark.parametrize("kind", [PredictClient, AsyncPredictClient])
def test_without_retries_a_server_that_is_gone_is_reported_at_once(kind):
    """Nobody listens, and the call does not wait: UNAVAILABLE long before the timeout."""
    began = time.monotonic()
    with pytest.raises(PredictError) as caught:
        predict(kind, "127.0.0.1:1", timeout=100)

    assert caught.value.code is UNAVAILABLE
    assert time.monotonic() - began < 50


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"retries": 5}, "retries are 5, expected 0 to 4: gRPC makes at most 5 attempts"),
        ({"retries": -1}, "retries are -1, expected 0 to 4"),
        ({"codes": []}, "codes to retry are none, expected one or more"),
        ({"codes": [grpc.StatusCode.OK]}, "codes to retry are OK"),
        ({"first_pause_seconds": 0}, "first_pause_seconds is 0, expected a number above 0"),
        ({"longest_pause_seconds": math.inf}, "longest_pause_seconds is inf"),
        ({"pause_factor": math.nan}, "pause_factor is nan"),
    ],
)
def test_a_policy_that_grpc_would_not_follow_is_refused(values, message):
    """Values that gRPC would refuse or cut are a ValueError with the limits."""
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**values)


def test_retries_and_an_own_service_config_exclude_each_other():
    """Two service configs for one channel are refused, because one of them would be ignored."""
    own = [("grpc.service_config", json.dumps({"methodConfig": []}))]

    with pytest.raises(ValueError, match=r"retries and the channel option grpc\.service_config"):
        PredictClient("127.0.0.1:1", retries=1, options=own)
    PredictClient("127.0.0.1:1", options=own).close()
