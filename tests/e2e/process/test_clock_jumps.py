"""Servers whose wall clock jumps by a day, forwards or backwards."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import certificates
import grpc
import keys_files
import numpy as np
import pytest
from google.protobuf import text_format
from running import servers
from sample_models import tiny_models
from simulating.jumping_clock import DAY_SECONDS, JumpingClock

from serving.client import PredictClient, PredictError, tls_credentials
from serving.protos.tfs_config_pb2 import SSLConfig

ONES = {"x": np.ones((1, 3), np.float32)}
JUMPS = pytest.mark.parametrize("seconds", [DAY_SECONDS, -DAY_SECONDS], ids=["forwards", "back"])


def start(clock: JumpingClock, models: Path, *flags: str):
    return servers.as_process(
        *(f"--models_dir={models}", "--port=0", "--file_system_poll_wait_seconds=0.1", *flags),
        **clock.environment,
    )


def address_of(server: servers.ServerProcess) -> str:
    return server.wait_for(r"bound (\S+?);? ").group(1).rstrip(",;")


def date_of(line: str) -> str:
    return line.partition("T")[0]


def test_the_clock_of_the_tests_jumps(tmp_path):
    """A process under the clock sees wall time jump, while its monotonic time and sleeps go on."""
    clock = JumpingClock(tmp_path)
    script = (
        "import sys, time\n"
        "wall, steady = time.time(), time.monotonic()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "time.sleep(0.1)\n"
        "print(time.time() - wall, time.monotonic() - steady)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clock.environment,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        clock.jump_to(DAY_SECONDS)
        passed, _ = process.communicate("\n", timeout=30)
    wall, steady = map(float, passed.split())

    assert wall > DAY_SECONDS
    assert 0.1 <= steady < 20


@JUMPS
def test_polls_retries_and_deadlines_do_not_notice_a_jump(tmp_path, seconds):
    """New versions load, failed ones are retried in time, and no call fails for the jump."""
    clock, models = JumpingClock(tmp_path), tmp_path / "models"
    tiny_models.identity(models)
    broken = models / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"not a graph")
    flags = ("--load_retry_interval_micros=1000000", "--max_num_load_retries=1000")
    with start(clock, models, *flags) as server:
        target = address_of(server)
        server.wait_for("ready: ")
        counts, ended = Counter(), threading.Event()

        def call() -> None:
            with PredictClient(target, timeout=20) as client:
                while not ended.is_set():
                    try:
                        client.predict("identity", ONES)
                        counts["answered"] += 1
                    except PredictError as error:
                        counts[str(error)] += 1

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        server.wait_for("broken/1 is not served")
        clock.jump_to(seconds)
        begin, began = len(server.log), time.monotonic()
        tiny_models.identity(models, version=2)
        server.wait_for("unloaded identity/1", 30)
        for _ in range(3):
            server.wait_for("broken/1 is not served", 30)
        retries = sum("broken/1 is not served" in line for line in server.log[begin:])
        took = time.monotonic() - began
        ended.set()
        caller.join(30)
        last = server.log[-1]
        code = server.terminate()

    assert set(counts) == {"answered"}
    assert retries <= took + 2  # one a second
    assert date_of(last) != date_of(server.log[0])  # the log has the new time: it did jump
    assert code == 0


@JUMPS
def test_rates_hold_across_a_jump(tmp_path, seconds):
    """A caller's rate is neither lifted nor exhausted by a jump."""
    clock, models = JumpingClock(tmp_path), tmp_path / "models"
    tiny_models.identity(models)
    keys = keys_files.write(
        tmp_path / "keys.json",
        keys_files.entry("shop", "predict", requests_per_second=5, burst=1),
    )
    with start(clock, models, f"--api_keys_file={keys}") as server:
        target = address_of(server)
        server.wait_for("ready: ")
        with PredictClient(target, timeout=20, api_key=keys_files.key_of("shop")) as client:

            def allowed(for_seconds: float) -> int:
                answered, ends = 0, time.monotonic() + for_seconds
                while time.monotonic() < ends:
                    try:
                        client.predict("identity", ONES)
                        answered += 1
                    except PredictError as error:
                        if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                            raise
                    time.sleep(0.01)
                return answered

            before = allowed(2)
            clock.jump_to(seconds)
            after = allowed(2)
        code = server.terminate()

    assert 3 <= before <= 12
    assert 3 <= after <= 12
    assert code == 0


@JUMPS
def test_idle_connections_are_closed_in_their_time(tmp_path, seconds):
    """A jump closes no connection at once, and keeps none open for ever."""
    clock, models = JumpingClock(tmp_path), tmp_path / "models"
    tiny_models.identity(models)
    with start(clock, models, "--idle_connection_seconds=3") as server:
        host, _, port = address_of(server).rpartition(":")
        server.wait_for("ready: ")
        with socket.create_connection((host, int(port)), timeout=30) as idle:
            request = "GET /v1/models/identity HTTP/1.1\r\nHost: x\r\n\r\n"
            idle.sendall(request.encode())
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
            clock.jump_to(seconds)
            while idle.recv(65536):
                pass
            took = time.monotonic() - began
        code = server.terminate()

    assert 1.5 < took < 20
    assert code == 0


@JUMPS
def test_a_new_certificate_is_read_after_a_jump(tmp_path, seconds):
    """The TLS files are checked every second, whatever the time is."""
    clock, models = JumpingClock(tmp_path), tmp_path / "models"
    tiny_models.identity(models)
    authority = certificates.Authority(tmp_path / "authority")
    file = tmp_path / "tls.config"

    def write(name: str) -> None:
        pair = authority.issue(name, days=30)
        config = SSLConfig(server_key=pair.key, server_cert=pair.certificate, client_verify=False)
        keys_files.replace(file, text_format.MessageToString(config))

    write("first")
    (tmp_path / "ca.pem").write_text(authority.certificate)
    with start(clock, models, f"--ssl_config_file={file}") as server:
        target = address_of(server)
        server.wait_for("ready: ")
        clock.jump_to(seconds)
        write("second")
        server.wait_for("new certificate of the gRPC port: CN=second", 30)
        credentials = tls_credentials(tmp_path / "ca.pem")
        with PredictClient(target, timeout=20, credentials=credentials) as client:
            answer = client.predict("identity", ONES)["y"].tolist()
        code = server.terminate()

    assert answer == [[1, 1, 1]]
    assert code == 0


@JUMPS
def test_no_worker_is_taken_for_hanging_after_a_jump(tmp_path, seconds):
    """Heartbeats and replacements of workers go on as before."""
    clock, models = JumpingClock(tmp_path), tmp_path / "models"
    tiny_models.identity(models)
    flags = ("--workers=2", "--worker_timeout_seconds=5")
    with start(clock, models, *flags) as server:
        target = address_of(server)
        server.wait_for("ready: 2 workers")
        clock.jump_to(seconds)
        time.sleep(7)
        with PredictClient(target, timeout=20) as client:
            answer = client.predict("identity", ONES)["y"].tolist()
        code = server.terminate()

    assert answer == [[1, 1, 1]]
    assert not re.search(r"ended by itself|has not answered|Traceback", "".join(server.log))
    assert code == 0
