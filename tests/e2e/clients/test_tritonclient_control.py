"""tritonclient's calls around inference: configuration, statistics, loads, settings, classes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import servers
from running.tensorflow_command import free_port
from sample_models import triton_models

PYTHON = Path(sys.prefix) / "tritonclient" / "bin" / "python"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="tritonclient's environment is missing; `make tritonclient` makes it",
)

PROGRAM = """
import importlib, json, sys
import numpy as np
from tritonclient.utils import InferenceServerException

transport, target = sys.argv[1:]
triton = importlib.import_module("tritonclient." + transport)
client = triton.InferenceServerClient(target)
options = {"as_json": True} if transport == "grpc" else {}


def refusal(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except InferenceServerException as error:
        return error.message()
    return ""


def index():
    found = client.get_model_repository_index(**options)
    return found.get("models", []) if transport == "grpc" else found


report = {"before": index()}
client.load_model("densenet_onnx")
client.load_model("custom_identity_int32", config=json.dumps({"max_batch_size": 4}))
report["loaded"] = index()
report["ready"] = client.is_model_ready("densenet_onnx")
report["config"] = client.get_model_config("custom_identity_int32", **options)

picture = np.zeros((3, 224, 224), np.float32)
picture[1] = 7
tensor = triton.InferInput("data_0", picture.shape, "FP32")
tensor.set_data_from_numpy(picture)
asked = triton.InferRequestedOutput("fc6_1", class_count=2)
classes = client.infer("densenet_onnx", [tensor], outputs=[asked]).as_numpy("fc6_1")
report["classes"] = [text.decode() for text in classes.ravel()]

rows = np.ones((6, 16), np.int32)
tensor = triton.InferInput("INPUT0", rows.shape, "INT32")
tensor.set_data_from_numpy(rows)
client.infer("custom_identity_int32", [tensor])
report["statistics"] = client.get_inference_statistics("custom_identity_int32", **options)
report["all"] = client.get_inference_statistics(**options)

client.unload_model("densenet_onnx")
report["after"] = client.is_model_ready("densenet_onnx")
report["refusals"] = [
    refusal(client.load_model, "nope"),
    refusal(client.load_model, "densenet_onnx", config="{}", files={"file:1/model.onnx": b"a"}),
    refusal(client.update_log_settings, {"log_verbose_level": 1}),
    refusal(client.update_trace_settings, settings={"trace_level": ["TIMESTAMPS"]}),
]
report["log"] = client.get_log_settings(**options)
report["trace"] = client.get_trace_settings(**options)
report["server"] = client.get_server_metadata(**options)
print(json.dumps(report))
"""


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def addresses(request, tmp_path_factory) -> dict[str, str]:
    """The addresses by transport of a server whose models calls load, on each front."""
    folder = tmp_path_factory.mktemp("models")
    triton_models.densenet_onnx(folder)
    triton_models.custom_identity_int32(folder)
    rest_port = free_port()
    flags = (
        *(f"--models_dir={folder}", "--port=0", f"--rest_api_port={rest_port}"),
        *("--model_control_mode=explicit", f"--front={request.param}", "--instances=1"),
    )
    with servers.as_process(*flags) as server:
        address = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for("ready:")
        yield {"grpc": address, "http": f"127.0.0.1:{rest_port}"}


@pytest.fixture(params=["grpc", "http"])
def report(request, addresses) -> dict:
    """The answers that the client got over one transport."""
    transport = request.param
    result = subprocess.run(
        [PYTHON, "-c", PROGRAM, transport, addresses[transport]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def count(statistics: dict, *path: str) -> int:
    """Return a number of the statistics; over gRPC it is a text, and left out if it is 0."""
    found = statistics["model_stats"][0]
    for key in path:
        found = found.get(key, 0)
    return int(found)


def test_the_official_client_controls_the_server(report):
    """Index, loads, configuration, statistics, classes and settings work through the client."""
    names = ["custom_identity_int32", "densenet_onnx"]
    assert [one["name"] for one in report["before"]] == names
    assert {one["name"]: one["state"] for one in report["loaded"]} == dict.fromkeys(names, "READY")
    assert (report["ready"], report["after"]) == (True, False)
    config = report["config"].get("config", report["config"])
    assert (config["name"], config["max_batch_size"]) == ("custom_identity_int32", 4)
    assert config["input"][0]["data_type"] == "TYPE_INT32"
    assert [int(size) for size in config["input"][0]["dims"]] == [16]
    assert report["classes"] == ["7.000000:1:green", "0.000000:0:red"]
    statistics = report["statistics"]
    assert count(statistics, "inference_count") == 6 * count(
        statistics, "inference_stats", "success", "count"
    )
    assert count(statistics, "inference_stats", "compute_infer", "ns") > 0
    sizes = {int(one["batch_size"]) for one in statistics["model_stats"][0]["batch_stats"]}
    assert sizes == {2, 4}
    assert sorted(one["name"] for one in report["all"]["model_stats"]) == names
    unknown, files, log, trace = report["refusals"]
    assert unknown.startswith("failed to load 'nope', failed to poll from model repository")
    assert files.startswith("failed to load 'densenet_onnx', failed to poll from model repository")
    assert log.startswith("log settings cannot be changed by a call")
    assert trace.startswith("trace settings cannot be changed by a call")
    assert report["log"].get("settings", report["log"])["log_file"] is not None
    assert "trace_level" in report["trace"].get("settings", report["trace"])
    assert "model_repository" in report["server"]["extensions"]
