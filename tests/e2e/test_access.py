"""Keys of real server processes: changed while they run, with one worker and with several."""

import re
import subprocess
import sys
from pathlib import Path

import grpc
import keys_files
import numpy as np
import pytest
from calling.rest_client import Http
from keys_files import entry
from running import servers

from serving.client import PREDICT_PATH, predict_request
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest

RELOAD_PATH = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
REQUEST = predict_request("identity", {"x": np.ones((1, 3), np.float32)}).SerializeToString()
ALL = ("predict", "metrics", "admin")
POLL = ("--api_keys_file_poll_wait_seconds", "0.1")
ANY = "0.0.0.0"  # noqa: S104 - what the server warns about
WARNING = "everyone who can reach"
# Connections that together reach every worker.
CONNECTIONS = 16


@pytest.fixture
def path(tmp_path) -> Path:
    """A keys file with the callers `first` and `second`."""
    return keys_files.write(
        tmp_path / "keys.json", entry("first", *ALL), entry("second", "predict")
    )


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def server(request, models_dir, path):
    """A server process with keys, with one worker or two."""
    flags = ("--models_dir", str(models_dir), "--port", "0", "--api_keys_file", str(path))
    with servers.as_process(*flags, *POLL, "--workers", str(request.param)) as process:
        process.port = port_of(process, request.param)
        yield process


def port_of(process, workers):
    """Wait until a server answers; return its port."""
    port = process.wait_for(r"bound 127\.0\.0\.1:(\d+)")[1]
    process.wait_for("ready: 2 workers" if workers > 1 else "ready: identity|ready: ")
    return port


def codes(server, caller) -> set[str]:
    """Return how a caller's Predicts end, over connections to all workers."""
    found = set()
    for _ in range(CONNECTIONS):
        # Without a pool of its own, a channel would share the connection of the one before.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
            call = channel.unary_unary(PREDICT_PATH).future(
                REQUEST, timeout=30, metadata=keys_files.bearer(caller)
            )
            found.add(call.code().name)
    return found


def page(server) -> str:
    key = keys_files.key_of("first")
    return (
        Http(f"127.0.0.1:{server.port}")
        .ask("GET", "/monitoring/prometheus/metrics", x_api_key=key)[2]
        .decode()
    )


def test_keys_change_while_the_server_runs(server, path):
    """All workers refuse a revoked key and accept a new one after the next check of the file."""
    before = [codes(server, caller) for caller in ("first", "second", "third")]
    keys_files.write(path, entry("first", *ALL), entry("third", "predict"))
    server.wait_for(r"serving\.audit: keys changed by file .*: added third; removed second")
    keys_files.wait_until(lambda: codes(server, "second") == {"UNAUTHENTICATED"})
    after = [codes(server, caller) for caller in ("first", "third")]

    assert before == [{"OK"}, {"OK"}, {"UNAUTHENTICATED"}]
    assert after == [{"OK"}, {"OK"}]
    assert server.terminate() == 0
    server.read_to_end()
    assert sum("keys changed by file" in line for line in server.log) == 1


def test_a_broken_file_keeps_the_old_keys(server, path):
    """With a broken file the old keys stay valid; one error is logged, and a metric counts."""
    text = path.read_text()
    keys_files.replace(path, "{")
    server.wait_for("the keys read before stay valid")
    counted = r"onnx_serving_api_keys_file_failures_total\{\} ([\d.]+)"
    keys_files.wait_until(lambda: float(re.search(counted, page(server))[1]) >= 3)
    broken = [codes(server, caller) for caller in ("first", "second")]
    keys_files.replace(path, text.replace('"second"', '"renamed"'))
    server.wait_for("keys changed by file .*: added renamed; removed second")

    assert broken == [{"OK"}, {"OK"}]
    assert codes(server, "second") == {"OK"}  # the same key, under another name
    assert sum("stay valid" in line for line in server.log) == 1


def test_the_command_makes_and_revokes_keys_of_a_running_server(server, path):
    """A key of `python -m serving.keys new` is accepted until `revoke` has removed it."""
    command = [sys.executable, "-m", "serving.keys"]
    new = [*command, "new", "made", "--role", "predict", "--file", str(path)]
    key = subprocess.run(new, check=True, capture_output=True, text=True).stdout.strip()
    rest = Http(f"127.0.0.1:{server.port}")
    body = b'{"instances": [[1, 2, 3]]}'

    def status():
        return rest.ask("POST", "/v1/models/identity:predict", body, x_api_key=key)[0]

    server.wait_for("added made")
    keys_files.wait_until(lambda: {status() for _ in range(CONNECTIONS)} == {200})
    subprocess.run([*command, "revoke", "made", "--file", str(path)], check=True)
    server.wait_for("removed made")
    keys_files.wait_until(lambda: {status() for _ in range(CONNECTIONS)} == {401})


def test_a_replaced_worker_starts_with_the_old_keys_of_a_broken_file(models_dir, path):
    """A worker that replaces another one gets the last good keys, even if the file is broken."""
    flags = ("--models_dir", str(models_dir), "--port", "0", "--api_keys_file", str(path))
    with servers.as_process(*flags, *POLL, "--workers", "2") as server:
        server.port = port_of(server, 2)
        keys_files.replace(path, "{")
        server.wait_for("the keys read before stay valid")
        workers = subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], check=True, capture_output=True, text=True
        ).stdout.split()
        subprocess.run(["kill", "-KILL", workers[0]], check=True)
        server.wait_for("ended by itself")
        server.wait_for(r"\[worker \d\].*ready: ")

        assert codes(server, "first") == {"OK"}
        assert codes(server, "third") == {"UNAUTHENTICATED"}


def test_workers_share_limits_and_count_refusals(models_dir, tmp_path):
    """Each worker lets in its share of a caller's burst, and the metrics sum the refusals."""
    limits = {"requests_per_second": 0.001, "burst": 8}
    path = keys_files.write(
        tmp_path / "keys.json", entry("first", *ALL), entry("slow", "predict", **limits)
    )
    flags = ("--models_dir", str(models_dir), "--port", "0", "--api_keys_file", str(path))
    with servers.as_process(*flags, "--workers", "2") as server:
        server.port = port_of(server, 2)
        granted = [codes_of_one_connection(server, "slow", 8) for _ in range(CONNECTIONS)]
        text = page(server)

    refused = sum(codes.count("RESOURCE_EXHAUSTED") for codes in granted)
    assert sum(codes.count("OK") for codes in granted) == 8
    assert f'onnx_serving_access_refusals_total{{reason="limit"}} {refused}\n' in text


def codes_of_one_connection(server, caller, count) -> list[str]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        calls = [
            channel.unary_unary(PREDICT_PATH).future(
                REQUEST, timeout=30, metadata=keys_files.bearer(caller)
            )
            for _ in range(count)
        ]
        return [call.code().name for call in calls]


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
@pytest.mark.parametrize("where", ["127.0.0.1:0", "unix"])
def test_workers_share_the_admin_listener(models_dir, tmp_path, front, where):
    """Several workers answer on one admin address, and a reload there changes all of them."""
    path = tmp_path / "admin.sock"
    address = f"unix:{path}" if where == "unix" else where
    flags = ("--models_dir", str(models_dir), "--port", "0", "--admin_address", address)
    request = ReloadConfigRequest()
    request.config.model_config_list.config.add(name="plus", base_path=str(models_dir / "add"))
    with servers.as_process(*flags, "--front", front, "--workers", "2") as server:
        server.port = server.wait_for(r"bound 127\.0\.0\.1:(\d+)")[1]
        target = server.wait_for(r"administration on (\S+)")[1]
        server.wait_for("ready: 2 workers")
        with grpc.insecure_channel(target) as channel:
            channel.unary_unary(RELOAD_PATH)(request.SerializeToString(), timeout=60)
        keys_files.wait_until(lambda: codes(server, "nobody") == {"NOT_FOUND"})

        assert server.terminate() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        ((), 1),
        (("--workers", "2"), 1),
        (("--host", "127.0.0.1"), 0),
        (("--host", "::1"), 0),
        (("--host", "localhost"), 0),
        (("--enable_reload_rpc=false",), 0),
        (("--admin_address", "127.0.0.1:0"), 0),
        (("--api_keys_file", "keys.json"), 0),
    ],
)
def test_an_open_server_warns_once(models_dir, path, monkeypatch, flags, count):
    """A server that other machines reach and nothing restricts warns once, with any workers."""
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    listed = ("--host", ANY, "--models_dir", str(models_dir), "--port", "0")
    with servers.as_process(*listed, *flags) as server:
        server.wait_for("ready: 2 workers" if "--workers" in flags else "ready: ")
        server.terminate()
        server.read_to_end()

    assert sum(WARNING in line for line in server.log) == count
