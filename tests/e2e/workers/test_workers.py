"""Tests of several worker processes behind one port."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from calling.rest_client import Http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running import servers
from running.worker_processes import connections, wait_until, workers_of
from running.worker_servers import ONES, address_of, reload, served, start
from sample_models import tiny_models

from serving.client import PredictClient, PredictError

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_connections_are_spread_over_the_workers(models_dir, front):
    """32 connections to one port are spread over both workers; all are answered; exit code 0."""
    with start(models_dir, "--front", front) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        port = int(address.rpartition(":")[2])
        # By default, channels of one process share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.insecure_channel(address, options) for _ in range(32)]
        for channel in channels:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
        spread = [connections(pid, port) for pid in workers_of(server)]
        for channel in channels:
            channel.close()
        code = server.terminate()

    assert sum(spread) == 32
    assert min(spread) > 0
    assert code == 0


def test_no_worker_listens_before_all_have_loaded(tmp_path):
    """While one worker still loads, the port refuses connections and health is NOT_SERVING."""
    tiny_models.identity(tmp_path)
    with start(tmp_path, "--health_port", "0") as server:
        address = address_of(server)
        assert wait_until(lambda: len(workers_of(server)) == 2)
        sleeper = workers_of(server)[0]
        os.kill(sleeper, signal.SIGSTOP)
        health = server.wait_for(r"health on (\S+)").group(1)
        server.wait_for("loaded identity/1")
        states = {health_of(health) for _ in range(16)}
        with pytest.raises(ConnectionRefusedError):
            connect(address)
        os.kill(sleeper, signal.SIGCONT)
        server.wait_for("ready: 2 workers")
        connect(address)
        is_ready = wait_until(lambda: {health_of(health) for _ in range(16)} == {SERVING})
        code = server.terminate()

    assert states - {None} == {NOT_SERVING}
    assert is_ready
    assert code == 0


def connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()


def health_of(address: str) -> int | None:
    """Return the server's health on a new connection; None if it does not answer in time."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            return stub.Check(health_pb2.HealthCheckRequest(), timeout=0.5).status
        except grpc.RpcError:
            return None


def test_calls_in_flight_are_answered_by_all_workers_on_sigterm(tmp_path):
    """The supervisor passes SIGTERM on; calls in flight are answered, then the port is closed."""
    tiny_models.slow(tmp_path)
    outcomes = []
    with start(tmp_path, "--enable_batching=false", "--instances=1") as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        accepted = threading.Barrier(17)

        def call() -> None:
            with PredictClient(address) as client:
                inputs = {"x": np.ones((1, tiny_models.SLOW_SIZE), np.float32)}
                client.predict("slow", inputs)
                accepted.wait()
                outcomes.append(client.predict("slow", inputs))

        callers = [threading.Thread(target=call, daemon=True) for _ in range(16)]
        for caller in callers:
            caller.start()
        accepted.wait()
        time.sleep(0.2)  # all 16 are on the server, where each takes tens of milliseconds
        code = server.terminate()
        for caller in callers:
            caller.join(servers.STOP_SECONDS)

    assert len(outcomes) == 16
    assert code == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_no_worker_outlives_its_supervisor(models_dir):
    """If the supervisor is killed, its workers end."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        pids = workers_of(server)
        server.process.kill()
        gone = wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))

    assert len(pids) == 2
    assert gone
    with PredictClient(address, timeout=2) as client, pytest.raises(PredictError):
        client.predict("identity", {"x": ONES})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models_dir", "{empty}"], "error: no model found in"),
        (["--models_dir", "{models}", "--device", "cuda"], 'error: device "cuda" requested but'),
        (["--models_dir", "{models}", "--port", "{taken}"], "error: cannot listen on 127.0.0.1:"),
    ],
)
def test_a_failed_start_is_one_error_line(models_dir, tmp_path, flags, message):
    """Workers that cannot start print one error line in total; the exit code is 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"empty": tmp_path, "models": models_dir, "taken": taken.getsockname()[1]}
        result = subprocess.run(
            [
                *(sys.executable, "-m", "serving", "--host", "127.0.0.1", "--port", "0"),
                *("--workers=3", *(flag.format(**values) for flag in flags)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert result.returncode == 2
    assert result.stderr.count("error: ") == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_two_servers_do_not_share_a_port(models_dir):
    """Workers share a port, but a second server on the port is refused."""
    with start(models_dir) as first:
        port = int(address_of(first).rpartition(":")[2])
        with start(models_dir, port=port) as second:
            second.wait_for(f"error: cannot listen on 127.0.0.1:{port}")
            code = second.process.wait(servers.STOP_SECONDS)

    assert code == 2


def test_a_reload_reaches_all_workers_or_none(tmp_path):
    """A reload changes all workers, also those started later; a refused set changes none."""
    old = tiny_models.identity(tmp_path / "old").parent
    new = tiny_models.identity(tmp_path / "new", "other").parent
    with start(tmp_path / "old") as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        with pytest.raises(grpc.RpcError) as caught:
            reload(address, identity=old, other=tmp_path / "nowhere")
        after_refusal = served(address)
        reload(address, other=new)
        after_reload = served(address)
        for victim in workers_of(server):
            os.kill(victim, signal.SIGKILL)
        for _ in range(2):
            server.wait_for("listening on .*, models are loaded")
        after_restart = served(address)

    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "did not become available: {{{name: other" in caught.value.details()
    assert after_refusal == {("identity",)}
    assert after_reload == {("other",)}
    assert after_restart == {("other",)}


def test_a_model_config_file_is_followed_by_all_workers(tmp_path):
    """The supervisor reads the changed file, and all workers change together."""
    base_path = tiny_models.identity(tmp_path).parent
    file = tmp_path / "models.config"

    def write(name: str) -> None:
        model = f'config {{ name: "{name}" base_path: "{base_path}" }}'
        file.write_text(f"model_config_list {{ {model} }}")

    write("identity")
    flags = ["--host", "127.0.0.1", "--port=0", "--workers=2", "--model_config_file", str(file)]
    with servers.as_process(*flags, "--model_config_file_poll_wait_seconds=0.1") as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        before = served(address)
        write("other")
        server.wait_for("has changed; now serving other")
        after = served(address)

    assert before == {("identity",)}
    assert after == {("other",)}


def scrape(address: str) -> dict[str, float]:
    """Return the samples of the metrics page by name and labels as they are written."""
    _, _, body = Http(address).ask("GET", "/monitoring/prometheus/metrics")
    lines = (line for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


COUNT = ':tensorflow:serving:request_count{model_name="identity",status="OK"}'


def test_any_worker_answers_for_the_metrics_of_all(models_dir):
    """Each worker's metrics page has the counts of all workers, which do not fall if one dies."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        for _ in range(16):
            with PredictClient(address) as client:
                client.predict("identity", {"x": ONES})
        pages = [scrape(address) for _ in range(8)]
        victim = min(workers_of(server))
        os.kill(victim, signal.SIGKILL)
        server.wait_for("listening on .*, models are loaded")
        restarted = wait_until(lambda: scrape(address)["onnx_serving_workers_ready{}"] == 2)
        after = scrape(address)

    assert {page[COUNT] for page in pages} == {16}
    assert {page["onnx_serving_workers_ready{}"] for page in pages} == {2}
    build = [value for name, value in pages[0].items() if name.startswith("onnx_serving_build")]
    assert build == [1]
    assert restarted
    assert after[COUNT] == 16
    assert after["onnx_serving_worker_restarts_total{}"] == 1


def test_workers_share_a_unix_socket(models_dir, tmp_path):
    """Workers share one Unix socket, which is removed when the server ends."""
    path = tmp_path / "serving.sock"
    with start(models_dir, "--grpc_socket_path", str(path)) as server:
        server.wait_for("ready: 2 workers")
        with PredictClient(f"unix:{path}") as client:
            answer = client.predict("identity", {"x": ONES})
        code = server.terminate()

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert code == 0
    assert not path.exists()


def test_a_starting_server_can_be_stopped(models_dir):
    """SIGTERM during the start ends workers that do not handle signals yet; the exit code is 0."""
    with start(models_dir) as server:
        address_of(server)
        assert wait_until(lambda: len(workers_of(server)) == 2)
        code = server.terminate()

    assert code == 0
