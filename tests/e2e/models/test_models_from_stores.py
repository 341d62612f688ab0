"""A real server whose models lie on a web server, under faults and while the store is away."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from onnx import TensorProto, helper
from running import file_server as faults
from running import servers
from running.file_server import FileServer, file_server
from sample_models import arithmetic_models, tiny_models

from serving.client import PredictClient
from serving.protos import tensorflow_serving_pb2 as messages
from serving.repository import publishing
from serving.tensors.signature import DataType, Signature, TensorSpec

X = np.ones((1, 1), np.float32)


@pytest.fixture
def stored(tmp_path) -> Path:
    folder = tmp_path / "stored"
    arithmetic_models.half_plus_two(folder)
    return folder


@pytest.fixture
def web(stored) -> FileServer:
    with file_server(stored) as server:
        yield server


@pytest.fixture
def start(tmp_path):
    """Start a server with a cache of its own, which looks into stores ten times a second."""

    def run(*flags: str, **environment: str):
        return servers.as_process(
            *("--port=0", "--rest_api_port=0", f"--storage_cache_dir={tmp_path / 'cache'}"),
            *("--storage_poll_wait_seconds=0.1", "--file_system_poll_wait_seconds=0.1", *flags),
            **environment,
        )

    return run


def port_of(server: servers.ServerProcess) -> str:
    return "localhost:" + server.wait_for(r"listening on \S+:(\d+)")[1]


def answer(client: PredictClient, **asked: object) -> float:
    return float(client.predict("half_plus_two", {"x": X}, **asked)["y"][0, 0])


def states(target: str, model: str = "half_plus_two") -> dict[str, tuple[str, str]]:
    """State and error message of each version, as GetModelStatus says it, over REST."""
    found = requests.get(f"http://{target}/v1/models/{model}", timeout=10).json()
    return {
        entry["version"]: (entry["state"], entry["status"].get("error_message", ""))
        for entry in found["model_version_status"]
    }


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_serves_a_folder_of_a_web_server(start, web):
    """--models_dir may be a URI: all models of the folder are served."""
    tiny_models.identity(Path(web.folder))

    with start(f"--models_dir={web.url}") as server, PredictClient(port_of(server)) as client:
        assert answer(client) == 2.5
        y = client.predict("identity", {"x": np.ones((1, 3), np.float32)})["y"]

    assert y.tolist() == [[1, 1, 1]]


def test_a_new_version_takes_over_without_a_gap(start, web, stored):
    """A version that appears in the store is fetched and served; no call fails meanwhile."""
    with (
        start(f"--model_base_path={web.url}/half_plus_two", "--model_name=half_plus_two") as server,
        PredictClient(target := port_of(server)) as client,
    ):
        arithmetic_models.half_plus_two(stored)

        def is_served() -> bool:
            assert answer(client) == 2.5
            return states(target).get("2") == ("AVAILABLE", "")

        eventually(is_served)
        eventually(lambda: states(target)["1"][0] == "END")


def test_a_slow_fetch_is_a_state_and_a_log_line(start, web, stored, monkeypatch):
    """A version that is being fetched is LOADING, its progress is logged, the old one answers."""
    with (
        start(f"--model_base_path={web.url}/half_plus_two", "--model_name=half_plus_two") as server,
        PredictClient(target := port_of(server)) as client,
    ):
        slow = stored / "slow"
        shutil.copytree(stored / "half_plus_two/1", slow)
        (slow / "manifest.json").unlink()
        (slow / "signature.json").unlink()
        (slow / "weights.bin").write_bytes(bytes(4 << 20))
        web.pause = 0.15  # 64 x 0.15 s
        slow.rename(stored / "half_plus_two/2")
        eventually(lambda: "2" in states(target))
        assert states(target)["2"][0] == "LOADING"
        assert answer(client) == 2.5
        assert server.wait_for(
            r"still loading half_plus_two/2 after 5 s: fetching weights.bin: [\d.]+ of 4.2 MB"
        )
        eventually(lambda: states(target)["2"][0] == "AVAILABLE")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.error(403), "access refused"),
        (faults.altered, "SHA-256"),
        (faults.error(404), "is gone since the folder was listed"),
    ],
    ids=["credentials", "digest", "missing file"],
)
def test_what_is_wrong_stands_in_the_status(start, web, stored, fault, reason):
    """The reason is in GetModelStatus; the old version serves throughout."""
    with (
        start(f"--model_base_path={web.url}/half_plus_two", "--model_name=half_plus_two") as server,
        PredictClient(target := port_of(server)) as client,
    ):
        web.faults = [faults.always(fault, of="2/model.onnx")]
        arithmetic_models.half_plus_two(stored)

        eventually(lambda: states(target).get("2", ("", ""))[0] == "END")

        assert reason in states(target)["2"][1]
        assert answer(client) == 2.5
        assert states(target)["1"] == ("AVAILABLE", "")


def test_a_store_that_is_away_takes_nothing_away(start, web):
    """What serves goes on serving; a server that starts meanwhile takes what was fetched before."""
    flags = (f"--models_dir={web.url}",)
    with start(*flags) as server, PredictClient(port_of(server)) as client:
        web.faults = [faults.always(faults.error(500))]
        server.wait_for("cannot be listed")
        for _ in range(20):
            assert answer(client) == 2.5
            time.sleep(0.05)

    with start(*flags) as server, PredictClient(port_of(server)) as client:
        assert answer(client) == 2.5
    assert any("as it was fetched before" in line for line in server.log)


def test_without_a_store_and_a_cache_the_start_fails_with_the_reason(start):
    """Exit code 2 and one line."""
    with start("--models_dir=http://127.0.0.1:1/models") as server:
        assert server.process.wait(30) == 2
        server.read_to_end()

    assert server.log[-1].startswith("error: http://127.0.0.1:1/models: ")


def test_workers_fetch_once(start, web):
    """Three workers fetch a version once, and all of them serve it."""
    with start(f"--models_dir={web.url}", "--workers=3") as server:
        target = port_of(server)
        server.wait_for("all 3 workers are ready|ready: half_plus_two")
        for _ in range(12):
            with PredictClient(target) as client:
                assert answer(client) == 2.5

    assert sum(path.endswith("model.onnx") for path, _ in web.gets) == 1


def test_a_config_file_may_name_stores(start, web, tmp_path):
    """base_path of a model config file may be a URI."""
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "half_plus_two" '
        f'base_path: "{web.url}/half_plus_two" model_platform: "tensorflow" }} }}'
    )

    with start(f"--model_config_file={file}") as server, PredictClient(port_of(server)) as client:
        assert answer(client) == 2.5


def test_callers_without_a_key_cannot_name_other_stores(start, web, stored):
    """A reload may name the server's own store; another one only with a key."""
    with (
        start(f"--models_dir={web.url}") as server,
        file_server(stored) as other,
        grpc.insecure_channel(port_of(server)) as channel,
    ):
        reload = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            request_serializer=messages.ReloadConfigRequest.SerializeToString,
            response_deserializer=messages.ReloadConfigResponse.FromString,
        )
        for url in (web.url, other.url):
            request = messages.ReloadConfigRequest()
            request.config.model_config_list.config.add(
                name="again", base_path=f"{url}/half_plus_two", model_platform="tensorflow"
            )
            if url == web.url:
                reload(request, timeout=30)
                continue
            with pytest.raises(grpc.RpcError, match="in a store that this server does not"):
                reload(request, timeout=30)

    assert not other.gets


def test_a_stop_during_a_fetch_is_quick(start, web, stored):
    """SIGTERM while a version is fetched ends the server within its drain time."""
    web.faults = [faults.always(faults.hanging(60), of="model.onnx")]
    with start(f"--models_dir={web.url}", "--drain_seconds=1") as server:
        eventually(lambda: any(path.endswith("model.onnx") for path, _ in web.gets))
        began = time.monotonic()
        server.terminate()

    assert time.monotonic() - began < 5


def publish_factor(models_dir: Path, version: int) -> None:
    """Publish `y = version * x`, float32 (batch, 1), as the next version of the model `factor`."""
    value = TensorProto.FLOAT

    def write(path: Path) -> None:
        tiny_models.save(
            path / "model.onnx",
            [helper.make_node("Mul", ["x", "factor"], ["y"])],
            [helper.make_tensor_value_info("x", value, ["batch", 1])],
            [helper.make_tensor_value_info("y", value, ["batch", 1])],
            [helper.make_tensor("factor", value, [], [float(version)])],
        )
        x, y = (
            TensorSpec(dtype=DataType.DT_FLOAT, shape=(-1, 1), tensor=name, graph_name=f"{name}:0")
            for name in "xy"
        )
        signature = Signature(
            method_name="tensorflow/serving/predict",
            file="model.onnx",
            inputs={"x": x},
            outputs={"y": y},
        )
        publishing.write_signatures(path, {"serving_default": signature})

    assert publishing.publish(models_dir / "factor", write).name == str(version)


def test_a_storm_of_faults_brings_no_wrong_answer(start, tmp_path):
    """Half of all GETs fail in some way while versions come; every call is answered rightly."""
    stored, random = tmp_path / "versions", np.random.default_rng(7)
    publish_factor(stored, 1)
    kinds = [
        *(faults.error(500), faults.error(503), faults.error(404), faults.reset),
        *(faults.truncated, faults.altered, faults.hanging(0.3)),
    ]

    def storm(handler: faults.Handler) -> bool:
        is_file = Path(handler.translate_path(handler.path)).is_file()
        return bool(is_file and random.random() < 0.5 and kinds[random.integers(7)](handler))

    with file_server(stored) as web:
        flags = ("--load_retry_interval_micros=100000", "--max_num_load_retries=100000")
        with (
            start(f"--models_dir={web.url}", *flags) as server,
            PredictClient(target := port_of(server)) as client,
        ):
            web.faults = [storm]
            seen: list[float] = []

            def served() -> float:
                seen.append(float(client.predict("factor", {"x": X})["y"][0, 0]))
                return seen[-1]

            for version in range(2, 6):
                publish_factor(stored, version)
                eventually(lambda: served() == version, seconds=60)  # noqa: B023 - called at once
            versions = states(target, "factor")

    assert seen == sorted(seen)
    assert set(seen) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert {version for version, (state, _) in versions.items() if state == "AVAILABLE"} == {"5"}
