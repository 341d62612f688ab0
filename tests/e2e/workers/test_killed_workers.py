"""Tests of what other clients notice when a worker process is killed."""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from calling.new_connections import calling
from calling.rest_client import Http
from grpc_health.v1 import health_pb2
from running import servers
from running.worker_processes import connections, wait_until, workers_of
from sample_models import tiny_models

from serving.client import PREDICT_PATH, PredictClient, PredictError, predict_request
from serving.workers.environment import VARIABLE

ONES = np.ones((1, 3), np.float32)
PREDICT = predict_request("identity", {"x": ONES}).SerializeToString()
METRICS = "/monitoring/prometheus/metrics"
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@contextmanager
def two_workers(models_dir, *flags):
    """Start a server of two workers; yield it and its address when both are ready."""
    command = ("--models_dir", str(models_dir), "--port=0", "--workers=2", *flags)
    with servers.as_process(*command) as server:
        address = server.wait_for(r"bound (\S+), starting").group(1)
        server.wait_for("ready: 2 workers")
        yield server, address


def kill_one(server) -> None:
    """Kill a worker and return when the supervisor has noticed."""
    os.kill(min(workers_of(server)), signal.SIGKILL)
    server.wait_for(r"worker \d ended by itself \(exit code -9\)")


@contextmanager
def without_replacement(server):
    """Kill a worker, and keep its replacement from starting until the end of the block."""
    before = set(workers_of(server))
    kill_one(server)
    replacement = stopped_replacement(server, before)
    try:
        yield replacement
    finally:
        os.kill(replacement, signal.SIGCONT)


def stopped_replacement(server, before: set[int]) -> int:
    """Stop the next worker that the supervisor starts, and return its process id.

    It is not stopped before it runs its own program, because the supervisor waits for that.
    """
    found: list[int] = []

    def is_started() -> bool:
        found[:] = [
            pid
            for pid in workers_of(server)
            if pid not in before and VARIABLE.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        ]
        return bool(found)

    assert wait_until(is_started)
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


def ask(address: str, path: str = PREDICT_PATH, body: bytes = PREDICT) -> bytes:
    """Send a call over a connection of its own; return the answer."""
    with grpc.insecure_channel(address, OWN_CONNECTION) as channel:
        return channel.unary_unary(path)(body, timeout=10)


@pytest.mark.parametrize("front", ["asgi", "grpcio"])
def test_new_connections_do_not_wait_for_a_replacement(models_dir, front):
    """While a killed worker's replacement has not started, the other one gets all connections."""
    flags = ("--front", front, "--health_port=0")
    with two_workers(models_dir, *flags) as (server, address):
        port = int(address.rpartition(":")[2])
        health = next(line for line in server.log if "health on " in line).split("health on ")[1]
        with without_replacement(server):
            began = time.monotonic()
            answers = {ask(address) for _ in range(16)}
            checks = {ask(health.strip(), "/grpc.health.v1.Health/Check", b"") for _ in range(16)}
            seconds = time.monotonic() - began
        server.wait_for("listening on .*, models are loaded")
        server.wait_for("ready: add")
        spread = spread_over(server, address, port)
        code = server.terminate()

    assert len(answers) == 1
    assert {health_pb2.HealthCheckResponse.FromString(check).status for check in checks} == {1}
    assert seconds < 5
    assert min(spread) > 0
    assert code == 0


def spread_over(server, address: str, port: int) -> list[int]:
    """Open 32 connections; return how many each worker has accepted."""
    channels = [grpc.insecure_channel(address, OWN_CONNECTION) for _ in range(32)]
    try:
        for channel in channels:
            channel.unary_unary(PREDICT_PATH)(PREDICT, timeout=10)
        return [connections(pid, port) for pid in workers_of(server)]
    finally:
        for channel in channels:
            channel.close()


def test_a_rest_port_does_not_wait_for_a_replacement(models_dir):
    """The other worker answers on the REST port, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with two_workers(models_dir, f"--rest_api_port={port}") as (server, _):
        with without_replacement(server):
            statuses = [Http(f"127.0.0.1:{port}").ask("GET", "/healthz")[0] for _ in range(16)]
        code = server.terminate()

    assert statuses == [200] * 16
    assert code == 0


def test_a_new_connection_waits_less_than_three_seconds_under_load(models_dir):
    """With eight busy clients, no new connection waits long after two kills."""
    over = threading.Event()

    def load(address: str) -> None:
        while not over.is_set():
            with PredictClient(address, options=OWN_CONNECTION) as client:
                try:
                    while not over.is_set():
                        client.predict("identity", {"x": ONES})
                except PredictError:
                    continue

    with two_workers(models_dir) as (server, address):
        busy = [threading.Thread(target=load, args=(address,), daemon=True) for _ in range(8)]
        for thread in busy:
            thread.start()
        with calling(address, PREDICT_PATH, PREDICT) as waits:
            for _ in range(2):
                began = time.monotonic()
                kill_one(server)
                server.wait_for("listening on .*, models are loaded")
                server.wait_for("ready: add")
        over.set()
        for thread in busy:
            thread.join(30)
        code = server.terminate()

    assert waits.errors == []
    assert waits.longest(0, began + 60) < 3
    assert code == 0


def test_connections_to_a_killed_worker_lose_no_call(models_dir):
    """Calls over connections that the kernel gave to a dead worker are answered by the other one.

    They were reset, and their clients failed every call for the second after which gRPC connects
    again.
    """
    with two_workers(models_dir) as (server, address):
        # It does not notice the kill before the connections wait on the worker's socket.
        server.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(min(workers_of(server)), signal.SIGKILL)
            channels = [grpc.insecure_channel(address, OWN_CONNECTION) for _ in range(32)]
            calls = [
                channel.unary_unary(PREDICT_PATH).future(PREDICT, timeout=20)
                for channel in channels
            ]
            assert wait_until(lambda: any(call.done() for call in calls))
            time.sleep(0.5)
            waiting = sum(not call.done() for call in calls)
        finally:
            server.process.send_signal(signal.SIGCONT)
        codes = [call.code() for call in calls]
        for channel in channels:
            channel.close()
        code = server.terminate()

    assert waiting
    assert set(codes) == {grpc.StatusCode.OK}
    assert code == 0


def test_connections_wait_when_no_worker_is_left(models_dir):
    """If all workers are killed, connections are not refused: a replacement answers them."""
    with two_workers(models_dir) as (server, address):
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)
        for _ in range(2):
            server.wait_for(r"worker \d ended by itself \(exit code -9\)")
        with calling(address, PREDICT_PATH, PREDICT) as waits:
            server.wait_for("listening on .*, models are loaded")
            server.wait_for("listening on .*, models are loaded")
        code = server.terminate()

    assert waits.errors == []
    assert waits.repeated == 0
    assert code == 0, "\n".join(server.log)


@pytest.mark.parametrize("rest", [False, True])
def test_the_first_replacement_answers_those_that_wait(models_dir, rest):
    """Connections that wait for one killed worker are answered by the other one's replacement."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with two_workers(models_dir, f"--rest_api_port={port}") as (server, address):
        rpc_port = int(address.rpartition(":")[2])
        with without_replacement(server) as first:
            (last,) = set(workers_of(server)) - {first}
            os.kill(last, signal.SIGKILL)
            server.wait_for(r"worker \d ended by itself \(exit code -9\)")
            # The other replacement is then the first one that answers.
            second = stopped_replacement(server, {first})
            asked = [begin_get("127.0.0.1", port if rest else rpc_port) for _ in range(16)]
        server.wait_for("listening on .*, models are loaded")
        answers = [finish_get(connection) for connection in asked]
        os.kill(second, signal.SIGCONT)
        server.wait_for("listening on .*, models are loaded")
        server.wait_for("ready: add")
        spread = spread_over(server, address, rpc_port)
        code = server.terminate()

    assert answers == [200] * 16
    assert min(spread) > 0
    assert code == 0


def begin_get(host: str, port: int) -> http.client.HTTPConnection:
    """Send a request over a new connection."""
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", "/healthz")
    return connection


def finish_get(connection: http.client.HTTPConnection) -> int:
    """Return the status of the answer."""
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_a_scrape_while_a_worker_starts_is_answered(models_dir):
    """Scrapes from the kill of a worker until it is replaced get status 200, and no traceback."""
    with two_workers(models_dir) as (server, address):
        answers = []
        kill_one(server)
        give_up_at = time.monotonic() + 60
        while not any(b"\nonnx_serving_workers_ready{} 2" in body for _, _, body in answers[-1:]):
            assert time.monotonic() < give_up_at
            began = time.monotonic()
            status, body = scrape(address)
            answers.append((status, time.monotonic() - began, body))
        code = server.terminate()
        log = "".join(server.log)

    assert {status for status, _, _ in answers} == {200}
    assert max(seconds for _, seconds, _ in answers) < 4
    assert "Traceback" not in log
    assert code == 0


def scrape(address: str) -> tuple[int, bytes]:
    """Return status and body of the metrics page, over a connection of its own."""
    status, _, body = Http(address).ask("GET", METRICS)
    return status, body


@pytest.mark.timeout(240)  # the drain takes its time on a busy machine
def test_a_draining_worker_gets_no_new_connections(tmp_path):
    """After SIGTERM to one worker, calls over new connections do not wait for the end of its drain.

    They came to its socket, which nobody accepted on any more, and were reset at its end.
    """
    tiny_models.slow(tmp_path)
    tiny_models.identity(tmp_path)
    body = predict_request(
        "slow", {"x": np.ones((1, tiny_models.SLOW_SIZE), np.float32)}
    ).SerializeToString()
    flags = ("--enable_batching=false", "--instances=1", "--drain_seconds=120")
    with two_workers(tmp_path, *flags) as (server, address):
        port = int(address.rpartition(":")[2])
        with grpc.insecure_channel(address, OWN_CONNECTION) as channel:
            slow = channel.unary_unary(PREDICT_PATH)
            slow(body, timeout=30)
            (draining,) = [pid for pid in workers_of(server) if connections(pid, port)]
            in_flight = [slow.future(body, timeout=120) for _ in range(120)]
            time.sleep(0.5)  # all are on the server, where each takes tens of milliseconds
            os.kill(draining, signal.SIGTERM)
            began = time.monotonic()
            for _ in range(16):
                ask(address)
            seconds = time.monotonic() - began
            still_drains = not all(call.done() for call in in_flight)
            codes = {call.code() for call in in_flight}
            server.wait_for("worker . ended by itself")
        code = server.terminate()

    assert still_drains, (seconds, codes)
    assert seconds < 5
    assert codes == {grpc.StatusCode.OK}
    assert code == 0, "\n".join(server.log)
