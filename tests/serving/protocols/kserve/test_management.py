"""Triton's extensions around inference: configuration, statistics, settings, over both fronts."""

import json
import time
from collections.abc import Iterator

import grpc
import keys_files
import numpy as np
import pytest
from calling.rest_client import Http
from google.protobuf import json_format
from keys_files import bearer, entry, key_of
from running.kserve_stub import EXTENSIONS, SERVICE, Stub, X, infer_request
from sample_models import arithmetic_models, tiny_models, triton_models

from serving.protos import kserve_pb2
from serving.protos.kserve_pb2 import ModelStatisticsRequest

CONFIG = {
    "name": "simple",
    "platform": "onnxruntime_onnx",
    "backend": "onnxruntime",
    "version_policy": {"latest": {"num_versions": 1}},
    "max_batch_size": 16,
    "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 300},
    "instance_group": [{"name": "simple_0", "kind": "KIND_CPU", "count": 3}],
    "default_model_filename": "model.onnx",
    "parameters": {
        "execution_provider": {"string_value": "CPUExecutionProvider"},
        "precision": {"string_value": "fp32"},
    },
    "model_transaction_policy": {"decoupled": False},
    "input": [
        {
            "name": name,
            "data_type": "TYPE_INT32",
            "dims": [16],
            "is_shape_tensor": False,
            "format": "FORMAT_NONE",
            "allow_ragged_batch": False,
            "optional": False,
        }
        for name in ("INPUT0", "INPUT1")
    ],
    "output": [
        {
            "name": name,
            "data_type": "TYPE_INT32",
            "dims": [16],
            "is_shape_tensor": False,
            "label_filename": "",
        }
        for name in ("OUTPUT0", "OUTPUT1")
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with Triton's example models and a few others."""
    models = tmp_path_factory.mktemp("management_models")
    triton_models.write_all(models)
    tiny_models.identity(models)
    tiny_models.lookup(models)
    arithmetic_models.weighted(models)
    return models


@pytest.fixture(scope="module")
def address(folder, running_server) -> Iterator[str]:
    """A server with settings of its own."""
    settings = {"max_batch_size": 16, "batch_timeout_micros": 300, "instances": 3}
    with running_server(folder, **settings) as running:
        yield running


@pytest.fixture
def own_stub(address) -> Iterator[Stub]:
    with grpc.insecure_channel(address) as channel:
        yield Stub(channel)


def as_json(message) -> dict:
    """Return a message in its JSON form, with numbers for 64-bit integers."""
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.loads(text, object_hook=_with_numbers)


def _with_numbers(found: dict) -> dict:
    return {key: _number(value) if key != "version" else value for key, value in found.items()}


def _number(value):
    if isinstance(value, list):
        return [_number(one) for one in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def test_both_transports_describe_what_is_served(own_stub, address):
    """The configuration has the server's own batching, instances and shapes without the batch."""
    status, rest = Http(address).get("/v2/models/simple/versions/1/config")
    rpc = own_stub.call("ModelConfig", name="simple").config

    assert (status, rest) == (200, CONFIG)
    assert as_json(rpc) == CONFIG


@pytest.mark.parametrize(
    ("model", "batch", "dims", "form"),
    [
        ("simple_string", 0, [-1, 16], "FORMAT_NONE"),
        ("densenet_onnx", 0, [3, 224, 224], "FORMAT_NCHW"),
        ("inception_graphdef", 16, [224, 224, 3], "FORMAT_NHWC"),
    ],
)
def test_requests_that_share_no_run_have_no_batch(address, model, batch, dims, form):
    """Without shared runs, max_batch_size is 0 and the shapes are whole; images have a format."""
    _, config = Http(address).get(f"/v2/models/{model}/config")

    (described, *_) = config["input"]
    assert config["max_batch_size"] == batch
    assert ("dynamic_batching" in config) is (batch > 0)
    assert (described["dims"], described["format"]) == (dims, form)


def test_inputs_with_defaults_are_optional(address):
    """An input that requests may omit is optional, and strings have Triton's name."""
    _, weighted = Http(address).get("/v2/models/weighted/config")
    _, strings = Http(address).get("/v2/models/simple_string/config")

    assert {one["name"]: one["optional"] for one in weighted["input"]} == {
        "x": False,
        "factor": True,
        "offset": True,
    }
    assert strings["output"][0]["data_type"] == "TYPE_STRING"


def test_statistics_count_requests_rows_and_runs(folder, running_server):
    """The statistics have the requests, rows, runs, times and batch sizes of a version."""
    inputs = [np.arange(16, dtype=np.int32)[None]] * 2
    before = time.time_ns() // 1_000_000
    with running_server(folder) as address, grpc.insecure_channel(address) as channel:
        stub = Stub(channel)
        for rows in (1, 1, 5):
            arrays = [np.repeat(array, rows, axis=0) for array in inputs]
            stub.send("ModelInfer", infer_request("simple", *arrays, names=["INPUT0", "INPUT1"]))
        stub.refusal("ModelInfer", infer_request("simple", *inputs, names=["INPUT0", "NO"]))
        (found,) = stub.call("ModelStatistics", name="simple").model_stats
        _, rest = Http(address).get("/v2/models/simple/versions/1/stats")
        everything = stub.call("ModelStatistics").model_stats
        _, all_rest = Http(address).get("/v2/models/stats")
        later = time.time_ns() // 1_000_000

    stats = found.inference_stats
    assert (found.name, found.version) == ("simple", "1")
    assert (found.inference_count, found.execution_count) == (7, 3)
    assert before <= found.last_inference <= later
    assert (stats.success.count, stats.fail.count, stats.queue.count) == (3, 1, 3)
    stages = (stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [stage.count for stage in stages] == [3, 3, 3]
    assert all(one.ns > 0 for one in (stats.success, stats.fail, stats.queue, *stages))
    assert sum(one.ns for one in (stats.queue, *stages)) < stats.success.ns
    sizes = {one.batch_size: one.compute_infer.count for one in found.batch_stats}
    assert sizes == {1: 2, 5: 1}
    infer_ns = sum(one.compute_infer.ns for one in found.batch_stats)
    assert infer_ns == pytest.approx(stats.compute_infer.ns, abs=10)
    names = [path.name for path in sorted(folder.iterdir())]
    assert sorted(one.name for one in everything) == names
    assert sorted(one["name"] for one in all_rest["model_stats"]) == names
    (of_rest,) = rest["model_stats"]
    assert of_rest == as_json(found)


def test_a_request_alone_is_one_row(address, own_stub):
    """A request that shares no run counts as one inference of batch size 1, as in Triton."""
    picture = np.zeros((3, 224, 224), np.float32)
    own_stub.send("ModelInfer", infer_request("densenet_onnx", picture, names=["data_0"]))
    (found,) = own_stub.call("ModelStatistics", name="densenet_onnx", version="1").model_stats

    assert (found.inference_count, found.execution_count) == (1, 1)
    assert [one.batch_size for one in found.batch_stats] == [1]


def test_runs_that_fail_count_as_failed_requests_only(own_stub):
    """A run that raises an error is no inference; its request is a failed one."""
    request = infer_request("lookup", np.array([7], np.int64), names=["index"])
    own_stub.refusal("ModelInfer", request)
    (found,) = own_stub.call("ModelStatistics", name="lookup").model_stats

    assert (found.inference_count, found.execution_count) == (0, 0)
    assert found.inference_stats.fail.count == 1
    assert found.inference_stats.success.count == 0
    assert not found.batch_stats


@pytest.mark.parametrize("what", ["ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize(
    ("name", "version", "answer"),
    [
        ("nope", "", ("NOT_FOUND", "Request for unknown model: 'nope' is not found")),
        ("simple", "9", ("NOT_FOUND", "Request for unknown model: 'simple' version 9 is not")),
        ("simple", "x", ("INVALID_ARGUMENT", "failed to get model version from")),
    ],
)
def test_unknown_models_are_refused(own_stub, what, name, version, answer):
    """Configuration and statistics of what is not served are refused like its metadata."""
    request = getattr(kserve_pb2, f"{what}Request")(name=name, version=version)

    code, message = own_stub.refusal(what, request)

    assert code == answer[0]
    assert message.startswith(answer[1])


def test_without_metrics_there_are_no_statistics(models_dir, tmp_path, running_server):
    """A server without metrics says so, and does not claim the extension."""
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config { enable: false }")
    with (
        running_server(models_dir, monitoring_config_file=file) as address,
        grpc.insecure_channel(address) as channel,
    ):
        code, message = Stub(channel).refusal("ModelStatistics", ModelStatisticsRequest())
        _, metadata = Http(address).get("/v2")

    assert code == "FAILED_PRECONDITION"
    assert "--monitoring_config_file disables its metrics" in message
    assert set(metadata["extensions"]) == EXTENSIONS - {"statistics"}


def test_callers_see_their_own_models_only(models_dir, tmp_path, running_server):
    """Statistics of all models and the index have the models that the caller's key may use."""
    file = keys_files.write(
        tmp_path / "keys.json", entry("one", "metadata", models=["add"]), entry("all", "metadata")
    )
    found = {}
    with running_server(models_dir, api_keys_file=file) as address:
        rest = Http(address)
        for caller in ("one", "all"):
            key = {"x_api_key": key_of(caller)}
            stats = json.loads(rest.ask("GET", "/v2/models/stats", **key)[2])["model_stats"]
            index = json.loads(rest.ask("POST", "/v2/repository/index", **key)[2])
            found[caller] = [{one["name"] for one in entries} for entries in (stats, index)]
        refused, _, _ = rest.ask("GET", "/v2/models/identity/stats", x_api_key=key_of("one"))
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(f"{SERVICE}ModelConfig").future(
                kserve_pb2.ModelConfigRequest(name="identity").SerializeToString(),
                metadata=bearer("one"),
            )
            code = call.code()

    assert found["one"] == [{"add"}, {"add"}]
    assert found["all"][0] == found["all"][1] >= {"add", "identity"}
    assert refused == 403
    assert code is grpc.StatusCode.PERMISSION_DENIED


def test_settings_of_traces_and_log_can_be_read(own_stub, address):
    """Both transports answer the settings of traces and of the log."""
    rest = Http(address)
    log = {
        name: getattr(value, value.WhichOneof("parameter_choice"))
        for name, value in own_stub.call("LogSettings").settings.items()
    }
    trace = {
        name: list(value.value) for name, value in own_stub.call("TraceSetting").settings.items()
    }

    assert rest.get("/v2/logging") == (200, log)
    assert (log["log_format"], log["log_error"], log["log_file"]) == ("text", True, "")
    status, traced = rest.get("/v2/models/simple/trace/setting")
    assert status == 200
    assert trace == {
        name: value if isinstance(value, list) else [value] for name, value in traced.items()
    }
    assert traced["trace_level"] == ["OFF"]
    assert rest.post("/v2/trace/setting", b"") == (200, traced)


def test_settings_cannot_be_changed(own_stub, address):
    """A change of traces or log is refused with the flags that set them."""
    rest = Http(address)
    trace = kserve_pb2.TraceSettingRequest()
    trace.settings["trace_level"].value.append("TIMESTAMPS")
    log = kserve_pb2.LogSettingsRequest()
    log.settings["log_verbose_level"].uint32_param = 1

    answers = [own_stub.refusal("TraceSetting", trace), own_stub.refusal("LogSettings", log)]
    statuses = [
        rest.post("/v2/trace/setting", {"trace_level": ["OFF"]}),
        rest.post("/v2/logging", {"log_info": False}),
        rest.post("/v2/logging", []),
        rest.post("/v2/logging", b"{"),
    ]

    assert [code for code, _ in answers] == ["UNIMPLEMENTED", "UNIMPLEMENTED"]
    assert "trace_level" in answers[0][1]
    assert "--enable_tracing" in answers[0][1]
    assert "--log_format" in answers[1][1]
    assert [status for status, _ in statuses] == [501, 501, 400, 400]
    assert rest.get("/v2/models/nope/trace/setting")[0] == 404


def test_the_server_name_is_a_setting(models_dir, running_server):
    """--kserve_server_name is the name in the metadata of both transports."""
    with (
        running_server(models_dir, kserve_server_name="triton") as address,
        grpc.insecure_channel(address) as channel,
    ):
        names = {Http(address).get("/v2")[1]["name"], Stub(channel).call("ServerMetadata").name}

    assert names == {"triton"}


def test_typed_requests_may_get_raw_answers(models_dir, server_on_front):
    """With --kserve_raw_answers every answer is raw, whatever form the request has."""
    with (
        server_on_front(models_dir, kserve_raw_answers=True) as address,
        grpc.insecure_channel(address) as channel,
    ):
        response = Stub(channel).send("ModelInfer", infer_request("identity", X, raw=False))

    assert response.raw_output_contents == [X.tobytes()]
    assert not response.outputs[0].HasField("contents")
