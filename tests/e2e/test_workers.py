"""Several worker processes behind one port."""

import os
import re
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
import servers
import tiny_models
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import PredictClient, PredictError

ONES = np.ones((1, 3), np.float32)
ESTABLISHED = "01"


def start(models_dir, *flags, workers=2, port=0):
    return servers.as_process(
        *("--models_dir", str(models_dir), "--port", str(port), "--workers", str(workers)), *flags
    )


def address_of(server) -> str:
    return server.wait_for(r"listening on (\S+), starting").group(1)


def workers_of(server) -> list[int]:
    """Process ids of the workers that run now."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def sockets(port: int) -> set[str]:
    """Inodes of the established TCP connections on a local port."""
    tables = [Path("/proc/net") / table for table in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    return {
        row[9]
        for row in rows
        if int(row[1].rpartition(":")[2], 16) == port and row[3] == ESTABLISHED
    }


def connections(pid: int, port: int) -> int:
    """How many connections to a port a process has."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", str(entry.readlink())))
        except FileNotFoundError:
            continue
    return len(inodes & sockets(port))


def wait_until(condition) -> bool:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_connections_are_spread_over_the_workers(models_dir, front):
    """32 clients on one port: every worker gets some, all are answered, exit code 0."""
    with start(models_dir, "--front", front) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        port = int(address.rpartition(":")[2])
        # Channels of one process share a connection unless they are told not to.
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


def states(address: str) -> set[int | None]:
    """What the server says of itself on 16 connections; None where nobody answers in time."""
    found = set()
    for _ in range(16):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            try:
                health = health_pb2_grpc.HealthStub(channel)
                found.add(health.Check(health_pb2.HealthCheckRequest(), timeout=0.5).status)
            except grpc.RpcError:
                found.add(None)
    return found


def test_nobody_is_ready_before_everybody_is(tmp_path):
    """A load balancer sends nothing while one worker still loads."""
    tiny_models.identity(tmp_path)
    with start(tmp_path) as server:
        address = address_of(server)
        assert wait_until(lambda: len(workers_of(server)) == 2)
        sleeper = workers_of(server)[0]
        os.kill(sleeper, signal.SIGSTOP)
        server.wait_for("loaded identity/1")
        before = states(address)
        os.kill(sleeper, signal.SIGCONT)
        server.wait_for("ready: 2 workers")
        ready = wait_until(lambda: states(address) == {health_pb2.HealthCheckResponse.SERVING})
        code = server.terminate()

    assert before - {None} == {health_pb2.HealthCheckResponse.NOT_SERVING}
    assert ready
    assert code == 0


def test_calls_in_flight_are_answered_by_all_workers_on_sigterm(tmp_path):
    """The supervisor passes SIGTERM on; what was accepted is answered, and then nobody listens."""
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

        callers = [threading.Thread(target=call) for _ in range(16)]
        for caller in callers:
            caller.start()
        accepted.wait()
        time.sleep(0.2)  # all 16 are on the server; each takes tens of milliseconds there
        code = server.terminate()
        for caller in callers:
            caller.join(servers.STOP_SECONDS)

    assert len(outcomes) == 16
    assert code == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_a_worker_that_dies_is_replaced(models_dir):
    """Its successor answers, the other worker stays the same, and the exit code is still 0."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        before = set(workers_of(server))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(r"worker \d ended by itself \(exit code -9\); starting it again in 0.2 s")
        replaced = wait_until(
            lambda: len(workers_of(server)) == 2 and victim not in workers_of(server)
        )
        after = set(workers_of(server))
        answers = []
        for _ in range(16):
            with PredictClient(address, timeout=10) as client:
                answers.append(client.predict("identity", {"x": ONES})["y"].tolist())
        code = server.terminate()

    assert replaced
    assert len(before & after) == 1
    assert answers == [[[1, 1, 1]]] * 16
    assert code == 0


def test_no_worker_outlives_its_supervisor(models_dir):
    """Even one that had no chance to say goodbye."""
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
def test_it_says_once_why_it_cannot_start(models_dir, tmp_path, flags, message):
    """One line, however many workers there are, and exit code 2."""
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
    """Workers share theirs among themselves; a second server is told that it is taken."""
    with start(models_dir) as first:
        port = int(address_of(first).rpartition(":")[2])
        with start(models_dir, port=port) as second:
            second.wait_for(f"error: cannot listen on 127.0.0.1:{port}")
            code = second.process.wait(servers.STOP_SECONDS)

    assert code == 2


def test_a_reload_request_is_refused(models_dir):
    """It would reach one worker alone; the message names what reaches all of them."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        path = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"", timeout=10)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "--model_config_file" in caught.value.details()


def test_workers_share_a_unix_socket(models_dir, tmp_path):
    """It is opened once, and goes when the server does."""
    path = tmp_path / "serving.sock"
    with start(models_dir, "--grpc_socket_path", str(path)) as server:
        server.wait_for("ready: 2 workers")
        with PredictClient(f"unix:{path}") as client:
            answer = client.predict("identity", {"x": ONES})
        code = server.terminate()

    assert answer["y"].tolist() == [[1, 1, 1]]
    assert code == 0
    assert not path.exists()


def test_it_can_be_stopped_while_it_starts(models_dir):
    """Workers that do not listen to signals yet end all the same, and that is no failure."""
    with start(models_dir) as server:
        address_of(server)
        assert wait_until(lambda: len(workers_of(server)) == 2)
        code = server.terminate()

    assert code == 0
