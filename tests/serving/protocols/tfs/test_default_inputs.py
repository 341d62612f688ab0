"""Tests of inputs that a request may omit because the signature has defaults for them."""

import asyncio

import numpy as np
import pytest
from calling import every_protocol
from calling.rest_client import Http
from sample_models import arithmetic_models

from serving.client import AsyncPredictClient, PredictError
from serving.protocols.tfs import tensor_proto

ROW, ROWS = np.array([[1, 2]], np.float32), np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def target(tmp_path_factory, running_server):
    """Address of a server of a model with defaults."""
    models_dir = tmp_path_factory.mktemp("models")
    arithmetic_models.weighted(models_dir)
    with running_server(models_dir, max_batch_size=4) as address:
        yield address


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"x": ROW}, [[10, 200]]),
        ({"x": ROWS}, [[10, 200], [30, 400]]),
        ({"x": np.ones((6, 2), np.float32)}, [[10, 100]] * 6),
        ({"x": ROWS, "factor": ROWS}, [[1, 4], [9, 16]]),
        ({"x": ROWS, "offset": ROWS}, [[11, 202], [33, 404]]),
        ({"x": ROWS, "offset": ROWS, "factor": ROWS}, [[2, 6], [12, 20]]),
        ({"x": np.array([2, 3], np.float32)}, [[20, 300]]),
    ],
)
def test_a_default_replaces_an_omitted_input(client, inputs, expected):
    """An omitted input gets its default; other inputs are used as they are.

    Each request is sent three times, because a template reads the third one. The default has one
    row here: beside two rows the request runs alone, and the graph broadcasts the default. Six rows
    are more than max_batch_size, but the request must not be split.
    """
    for _ in range(3):
        assert client.predict("weighted", inputs)["y"].tolist() == expected


@pytest.mark.parametrize("protocol", ["TFS gRPC", "KServe gRPC", "KServe REST"])
def test_inputs_with_a_default_may_be_omitted_in_every_protocol(target, protocol):
    """An omitted input gets its default over every protocol."""
    with every_protocol.PROTOCOLS[protocol](target) as ask:
        answer = ask("weighted", {"x": ROW}, {"y": np.zeros(0, np.float32)})

    assert answer["y"].tolist() == [[10, 200]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"factor": ROW},
            (
                "Signature input alias: x(feed name: x:0) not found in request and no default "
                "value provided. Inputs expected to be in the request {factor}, or default input "
                "alias set: factor,offset"
            ),
        ),
        (
            {},
            (
                "Signature input alias: x(feed name: x:0) not found in request and no default "
                "value provided. Inputs expected to be in the request {}, or default input alias "
                "set: factor,offset"
            ),
        ),
        (
            {"x": ROW, "z": ROW},
            "Inputs contains invalid name. Used request inputs: x, request input: x,z",
        ),
        (
            {"x": ROW, "factor": ROW, "offset": ROW, "z": ROW},
            "input size does not match signature: 4!=3 len({factor,offset,x,z})",
        ),
        ({"x": ROW, "factor": ROW.astype(int)}, "Expects arg[0] to be float but int64 is"),
    ],
)
def test_other_mistakes_get_tensorflows_messages(client, inputs, message):
    """A default excuses only the absence of its own input."""
    with pytest.raises(PredictError) as caught:
        client.predict("weighted", inputs)

    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert caught.value.message.startswith(message)


def test_requests_with_and_without_defaults_do_not_mix(target):
    """Of 60 concurrent requests, the default is used for exactly those that omit the input."""

    async def call_all():
        async with AsyncPredictClient(target) as caller:
            requests = [
                {"x": np.full((1 + number % 3, 2), number, np.float32)}
                | ({"factor": np.full((1 + number % 3, 2), 2, np.float32)} if number % 2 else {})
                for number in range(60)
            ]
            calls = (caller.predict("weighted", inputs) for inputs in requests)
            return requests, await asyncio.gather(*calls)

    requests, answers = asyncio.run(call_all())

    for inputs, answer in zip(requests, answers, strict=True):
        factor = inputs.get("factor", np.array([[10, 100]], np.float32))
        np.testing.assert_array_equal(answer["y"], inputs["x"] * factor)


def test_metadata_over_grpc_shows_the_defaults(client):
    """GetModelMetadata answers the signature with its defaults, as in TensorFlow Serving."""
    signature = client.signatures("weighted").signature_def["serving_default"]

    assert sorted(signature.defaults) == ["factor", "offset"]
    assert tensor_proto.decode(signature.defaults["factor"]).tolist() == [[10, 100]]


def test_a_request_of_nothing_but_defaults_is_answered(tmp_path, running_server):
    """A request without any input is answered if each input has a default."""
    arithmetic_models.half_plus_two(tmp_path, defaults={"x": np.array([[6]], np.float32)})
    with running_server(tmp_path) as address:
        answer = Http(address).post("/v2/models/half_plus_two/infer", {"inputs": []})

    assert answer[0] == 200
    assert answer[1]["outputs"][0]["data"] == [5.0]
