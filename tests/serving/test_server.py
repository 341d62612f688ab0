"""Tests of the whole server on each front."""

import asyncio
import json
import logging
import socket
import threading

import grpc
import numpy as np
import pytest
from calling.raw_calls import refusal
from calling.rest_client import Http
from sample_models import tiny_models

from serving.client import PredictClient, PredictError
from serving.engine.catalog import State
from serving.protos.kserve_pb2 import ModelInferRequest
from serving.protos.tensorflow_serving_pb2 import (
    ClassificationRequest,
    GetModelMetadataRequest,
    PredictRequest,
)
from serving.server import ModelServer
from serving.settings.config import ServerConfig

ONES = np.ones((1, 3), np.float32)


def test_one_bad_model_leaves_the_others_serving(tmp_path, server_on_front):
    """A model with a flipped bit fails to load with DATA_LOSS; the other models serve."""
    tiny_models.identity(tmp_path)
    damaged = tiny_models.brightness(tmp_path) / "model.onnx"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)

    with server_on_front(tmp_path) as address, PredictClient(address) as client:
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
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.message.startswith(
        "Servable is not available for request: Latest(brightness); version 1 is END: "
    )
    assert "model.onnx has SHA-256" in caught.value.message


def test_callers_are_refused_until_the_models_are_loaded(tmp_path, front):
    """While models load, the port refuses connections, /healthz answers 200 and /readyz 503."""
    tiny_models.identity(tmp_path)
    begun, release = threading.Event(), threading.Event()
    config = ServerConfig(models_dir=tmp_path, host="127.0.0.1", port=0, health_port=0, front=front)

    async def live():
        server = ModelServer(config)
        load = server.manager._loading._load

        def slow_load(*version):
            begun.set()
            release.wait(30)
            return load(*version)

        server.manager._loading._load = slow_load
        starting = asyncio.create_task(server.start())
        await asyncio.to_thread(begun.wait, 30)
        during = await asyncio.to_thread(look, server)
        release.set()
        await starting
        after = await asyncio.to_thread(answers, server)
        await server.stop()
        return during, after

    def look(server):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        health = Http(f"127.0.0.1:{server.health_port}")
        return [health.get(path)[0] for path in ("/healthz", "/readyz")]

    def answers(server):
        with PredictClient(f"127.0.0.1:{server.port}") as client:
            return client.predict("identity", {"x": ONES})["y"].tolist()

    during, after = asyncio.run(live())

    assert during == [200, 503]
    assert after == [[1, 1, 1]]


CALLS = {
    "/tensorflow.serving.PredictionService/Predict": PredictRequest,
    "/tensorflow.serving.PredictionService/Classify": ClassificationRequest,
    "/tensorflow.serving.PredictionService/GetModelMetadata": GetModelMetadataRequest,
}


def request_of(path: str, name: str) -> bytes:
    request = CALLS[path]()
    request.model_spec.name = name
    if isinstance(request, GetModelMetadataRequest):
        request.metadata_field.append("signature_def")
    return request.SerializeToString()


def test_a_configured_model_that_is_not_loaded_is_unavailable_on_every_api(
    tmp_path, server_on_front
):
    """A model that failed to load or has no version is UNAVAILABLE; other models still serve.

    The ports open although these two models cannot answer. A model that is not configured is
    NOT_FOUND.
    """
    tiny_models.identity(tmp_path)
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    (tmp_path / "empty").mkdir()
    file = tmp_path / "models.config"
    file.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{tmp_path / name}" }}'
            for name in ("broken", "empty", "identity")
        )
        + "}"
    )
    body = json.dumps({"instances": ONES.tolist()}).encode()
    rows = [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": ONES.tolist()}]
    infer = json.dumps({"inputs": rows}).encode()
    paths = [
        ("POST", "/v1/models/{}:predict", body),
        ("POST", "/v1/models/{}/versions/1:predict", body),
        ("POST", "/v1/models/{}:classify", json.dumps({"examples": [{"x": 1}]}).encode()),
        ("GET", "/v1/models/{}/metadata", None),
        ("POST", "/v2/models/{}/infer", infer),
        ("GET", "/v2/models/{}", None),
        ("GET", "/v2/models/{}/ready", None),
    ]
    rest_port = socket.create_server(("127.0.0.1", 0))
    rest = f"127.0.0.1:{rest_port.getsockname()[1]}"
    rest_port.close()

    over_grpc, over_rest = {}, {}
    with (
        server_on_front(
            None, model_config_file=file, rest_api_port=int(rest.rpartition(":")[2])
        ) as address,
        grpc.insecure_channel(address) as channel,
        PredictClient(address) as client,
    ):
        answer = client.predict("identity", {"x": ONES})
        for name in ("broken", "empty", "nobodys"):
            over_grpc[name] = [refusal(channel, path, request_of(path, name)) for path in CALLS]
            message = ModelInferRequest(model_name=name).SerializeToString()
            over_grpc[name].append(
                refusal(channel, "/inference.GRPCInferenceService/ModelInfer", message)
            )
            over_rest[name] = [
                Http(rest).ask(method, path.format(name), content)
                for method, path, content in paths
            ]

    assert answer["y"].tolist() == [[1, 1, 1]]
    reasons = {"broken": "version 1 is END: ", "empty": "No versions of servable empty found"}
    for name, reason in reasons.items():
        assert {code for code, _ in over_grpc[name]} == {grpc.StatusCode.UNAVAILABLE}
        begins = f"Servable is not available for request: Latest({name}); {reason}"
        assert all(message.startswith(begins) for _, message in over_grpc[name])
        assert [status for status, _, _ in over_rest[name]] == [503] * len(paths)
        assert all(reason.encode() in body for _, _, body in over_rest[name])
    assert {code for code, _ in over_grpc["nobodys"]} == {grpc.StatusCode.NOT_FOUND}
    assert [status for status, _, _ in over_rest["nobodys"]] == [404] * len(paths)


def test_a_versions_own_file_raises_the_rows_of_a_request(tmp_path, server_on_front):
    """A version's max_enqueued_batches sets how many rows a request to that version may have."""
    version = tiny_models.identity(tmp_path)
    tiny_models.identity(tmp_path, "other")
    (version / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 1000 } max_enqueued_batches { value: 20 }"
    )
    rows = np.ones((15_000, 3), np.float32)

    with (
        server_on_front(tmp_path, enable_per_model_batching_parameters=True) as address,
        PredictClient(address) as client,
    ):
        answers = [client.predict("identity", {"x": rows}) for _ in range(2)]
        with pytest.raises(PredictError, match="has 15000 rows, expected at most 10000"):
            client.predict("other", {"x": rows})
        with pytest.raises(PredictError, match="has 20001 rows, expected at most 20000"):
            client.predict("identity", {"x": np.ones((20_001, 3), np.float32)})

    assert [answer["y"].shape for answer in answers] == [(15_000, 3)] * 2


def test_two_gibibytes_a_message_are_taken_by_each_front(models_dir, server_on_front):
    """A server whose messages may have almost 2 GiB starts and answers on each front."""
    with (
        server_on_front(models_dir, max_buffered_bytes=8 << 30) as address,
        PredictClient(address) as client,
    ):
        assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["identity"], "ready: identity"),
        (
            ["broken", "identity"],
            "ready: identity; 1 of 2 models not served, reasons above: broken",
        ),
        (["broken"], "ready: no model; 1 of 1 models not served, reasons above: broken"),
    ],
)
def test_the_last_line_of_a_start_counts_models_that_are_not_served(
    tmp_path, running_server, caplog, names, line
):
    """It is a warning if there are any, and the lines before it say why."""
    caplog.set_level(logging.INFO)
    if "identity" in names:
        tiny_models.identity(tmp_path)
    if "broken" in names:
        (tmp_path / "broken" / "1").mkdir(parents=True)
        (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"none")

    with running_server(tmp_path):
        pass

    (ready,) = [record for record in caplog.records if record.message.startswith("ready: ")]
    assert ready.message == line
    assert (ready.levelno == logging.WARNING) == ("broken" in names)
