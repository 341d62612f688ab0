"""Tests of the server as users run it: a process with flags, signals and an exit code."""

import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient

ONES = np.ones((1, 3), np.float32)


def start(models_dir, *flags):
    return servers.as_process("--models_dir", str(models_dir), "--port", "0", *flags)


def address_of(server) -> str:
    return server.wait_for(r"listening on (\S+),").group(1)


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_it_serves_and_stops_on_sigterm(models_dir, front):
    """A server started from the command line answers and exits with code 0 on SIGTERM."""
    with start(models_dir, "--front", front) as server:
        address = address_of(server)
        server.wait_for("ready: add, brightness, fragile, identity, lookup")
        with PredictClient(address) as client:
            answer = client.predict("identity", {"x": ONES})
        code = server.terminate()

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert code == 0


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_calls_in_flight_are_answered_on_sigterm(tmp_path, front):
    """With 32 calls in flight at SIGTERM, all are answered and the exit code is 0."""
    tiny_models.slow(tmp_path)
    outcomes = []
    # One at a time, so that calls are still in flight at the signal.
    with start(tmp_path, "--enable_batching=false", "--instances=1", "--front", front) as server:
        address = address_of(server)
        server.wait_for("ready: slow")
        with PredictClient(address) as client:
            client.predict("slow", {"x": np.ones((1, tiny_models.SLOW_SIZE), np.float32)})
            accepted = threading.Barrier(33)

            def call() -> None:
                accepted.wait()
                outcomes.append(
                    client.predict("slow", {"x": np.ones((1, tiny_models.SLOW_SIZE), np.float32)})
                )

            callers = [threading.Thread(target=call, daemon=True) for _ in range(32)]
            for caller in callers:
                caller.start()
            accepted.wait()
            time.sleep(0.3)  # all 32 are on the server, where each takes tens of milliseconds
            answered_before = len(outcomes)
            code = server.terminate()
            for caller in callers:
                caller.join(servers.STOP_SECONDS)

    assert answered_before < 32  # some were in flight
    assert len(outcomes) == 32
    assert code == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    """A second SIGINT ends the server at once, without the rest of the drain."""
    tiny_models.identity(tmp_path)
    with start(tmp_path, "--drain_seconds", "60") as server:
        address = address_of(server)
        server.wait_for("ready: identity")
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as stalled:
            # A connection in the middle of a request keeps the drain waiting.
            stalled.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            server.process.send_signal(signal.SIGINT)
            server.wait_for("SIGINT: finishing the calls in flight")
            server.process.send_signal(signal.SIGINT)
            code = server.process.wait(10)

    assert code == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models_dir", "/nowhere"], "error: models_dir '/nowhere' is not a folder; expected"),
        (["--models_dir", "{empty}"], "error: no model found in"),
        (["--models_dir", "{models}", "--device", "cuda"], 'error: device "cuda" requested but'),
        (["--models_dir", "{models}", "--port", "{taken}"], "error: cannot listen on 127.0.0.1:"),
        (["--models_dir", "{models}", "--host", "256.1.1.1"], "error: cannot listen on 256.1.1.1"),
        (
            ["--models_dir", "{models}", "--port", "{taken}", "--front", "grpcio"],
            "error: cannot listen on 127.0.0.1:",
        ),
        (
            ["--models_dir", "{models}", "--front=grpcio", "--grpc_channel_arguments=x"],
            "error: --grpc_channel_arguments has 'x', expected key=value,key=value",
        ),
        (
            ["--models_dir", "{models}", "--rest_api_port", "{taken}"],
            "choose another --rest_api_port",
        ),
        (["--model_base_path", "{empty}"], "error: no version of default found in"),
        (
            ["--model_config_file", "{broken}"],
            "broken.config:2: Error parsing text-format tensorflow.serving.ModelServerConfig: 2",
        ),
        (
            ["--model_config_file", "{labelled}"],
            "Request to assign label to version 7 of model m, which is not currently available",
        ),
        (
            ["--models_dir", "{models}", "--model_config_file", "{broken}"],
            "error: --models_dir and --model_config_file given, expected one of them",
        ),
        (
            ["--models_dir", "{models}", "--batching_parameters_file", "{broken}"],
            "broken.config:2: Error parsing text-format tensorflow.serving.BatchingParameters: 2:1",
        ),
        (
            ["--models_dir", "{models}", "--ssl_config_file", "{broken}"],
            "broken.config:2: Error parsing text-format tensorflow.serving.SSLConfig: 2:1",
        ),
        (
            ["--models_dir", "{models}", "--grpc_socket_path", "{models}"],
            "expected --grpc_socket_path to name a path for a new socket",
        ),
    ],
)
def test_it_says_why_it_cannot_start(models_dir, tmp_path, flags, message):
    """A server that cannot start prints one line that names the setting, and exits with code 2."""
    broken = tmp_path / "broken.config"
    broken.write_text("# a comment\nnonsense: 1\n")
    labelled = tmp_path / "labelled.config"
    labelled.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{models_dir / "identity"}" '
        'version_labels { key: "stable" value: 7 } } }'
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        values = {
            "broken": broken,
            "labelled": labelled,
            "empty": tmp_path,
            "models": models_dir,
            "taken": taken.getsockname()[1],
        }
        result = subprocess.run(
            [
                *(sys.executable, "-m", "serving", "--host", "127.0.0.1", "--port", "0"),
                *(flag.format(**values) for flag in flags),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_environment_sets_it_up(models_dir):
    """SERVING_* variables set the server up; a flag is preferred to a variable."""
    with servers.as_process(
        "--port", "0", SERVING_MODELS_DIR=str(models_dir), SERVING_PORT="1"
    ) as (server):
        server.wait_for("ready: add")
        code = server.terminate()

    assert code == 0


def test_the_healthcheck_command_tells_ready_from_not(models_dir):
    """The healthcheck command exits with 0 while the server is SERVING, and 1 without a server."""
    probe = [sys.executable, "-m", "serving.healthcheck"]
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: ")
        healthy = subprocess.run([*probe, address], timeout=60, check=False)
        server.terminate()
    dead = subprocess.run([*probe, address], timeout=60, check=False, capture_output=True)

    assert (healthy.returncode, dead.returncode) == (0, 1)


def test_garbage_connections_hurt_nobody(models_dir):
    """Random bytes, partial requests and sudden disconnects do not affect other calls."""
    random = np.random.default_rng(0)
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: ")
        host, port = address.split(":")
        with PredictClient(address) as client:
            for attempt in range(50):
                with socket.create_connection((host, int(port)), timeout=5) as garbage:
                    if attempt % 2:
                        garbage.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                    garbage.sendall(random.bytes(500))
                assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]
        code = server.terminate()

    assert code == 0
