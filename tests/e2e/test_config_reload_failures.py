"""The metric of refused changes of the model list, `onnx_serving_config_reload_failures_total`."""

import time

import grpc
import pytest
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models

from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest, ReloadConfigResponse

METRIC = "onnx_serving_config_reload_failures_total"
WAIT_SECONDS = 30


def failures(address: str) -> dict[str, float]:
    """Return the metric's values by source."""
    _, _, page = Http(address).ask("GET", "/monitoring/prometheus/metrics")
    lines = [line for line in page.decode().splitlines() if line.startswith(METRIC)]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


@pytest.mark.parametrize("workers", [1, 2])
def test_refused_changes_of_the_model_list_are_counted(tmp_path, workers):
    """A broken file counts at each check, a refused call once; the page sums all workers."""
    tiny_models.identity(tmp_path)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "identity" base_path: "{tmp_path / "identity"}" '
        'model_platform: "tensorflow" } }'
    )
    flags = [
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.2",
        f"--workers={workers}",
        "--port=0",
    ]
    with servers.as_process(*flags) as server:
        pattern = r"listening on (\S+)," if workers == 1 else r"bound (\S+), starting"
        address = server.wait_for(pattern).group(1)
        server.wait_for("ready: ")
        at_first = failures(address)
        config.write_text("model_config_list {")
        server.wait_for("the models served before stay in service")
        ends = time.monotonic() + WAIT_SECONDS
        while failures(address)["file"] < 2 and time.monotonic() < ends:
            time.sleep(0.1)
        with grpc.insecure_channel(address) as channel:
            reload = channel.unary_unary(
                "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
                request_serializer=ReloadConfigRequest.SerializeToString,
                response_deserializer=ReloadConfigResponse.FromString,
            )
            request = ReloadConfigRequest()
            request.config.model_config_list.config.add(name="nowhere", base_path="/nowhere/at/all")
            with pytest.raises(grpc.RpcError):
                reload(request, timeout=WAIT_SECONDS)
        at_last = failures(address)
        served, _ = Http(address).get("/v1/models/identity")

    assert at_first == {"file": 0, "rpc": 0}
    assert at_last["file"] >= 2
    assert at_last["rpc"] == 1
    assert served == 200
