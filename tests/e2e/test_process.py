"""The server as users run it: a process with flags, signals and an exit code."""

import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import servers
import tiny_models

from serving.client import PredictClient

ONES = np.ones((1, 3), np.float32)


def start(models_dir, *flags):
    return servers.as_process("--models_dir", str(models_dir), "--port", "0", *flags)


def address_of(server) -> str:
    return server.wait_for(r"listening on (\S+),").group(1)


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_it_serves_and_stops_on_sigterm(models_dir, front):
    """From the command line to an answer, and exit code 0 on SIGTERM."""
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
    """32 callers are busy when SIGTERM comes: what was accepted is answered, exit code 0."""
    tiny_models.slow(tmp_path)
    outcomes = []
    # One by one, so that they are still at it when the signal comes.
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
            time.sleep(0.3)  # all 32 are on the server; each takes tens of milliseconds there
            answered_before = len(outcomes)
            code = server.terminate()
            for caller in callers:
                caller.join(servers.STOP_SECONDS)

    assert answered_before < 32  # some were still in flight
    assert len(outcomes) == 32
    assert code == 0


def test_a_second_signal_ends_it_at_once(tmp_path):
    """Who does not want to wait for the drain presses Ctrl-C twice."""
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
    """One line that names the setting, exit code 2, no traceback."""
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
    """SERVING_* variables are settings too; a flag beats them."""
    with servers.as_process(
        "--port", "0", SERVING_MODELS_DIR=str(models_dir), SERVING_PORT="1"
    ) as (server):
        server.wait_for("ready: add")
        code = server.terminate()

    assert code == 0


def test_the_healthcheck_command_tells_ready_from_not(models_dir):
    """Exit code 0 while the server is SERVING, 1 when nobody answers."""
    probe = [sys.executable, "-m", "serving.healthcheck"]
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: ")
        healthy = subprocess.run([*probe, address], timeout=60, check=False)
        server.terminate()
    dead = subprocess.run([*probe, address], timeout=60, check=False, capture_output=True)

    assert (healthy.returncode, dead.returncode) == (0, 1)


def test_garbage_connections_hurt_nobody(models_dir):
    """Random bytes, half-sent requests and sudden hang-ups leave other calls untouched."""
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
