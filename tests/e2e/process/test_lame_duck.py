"""Tests of the time after SIGTERM in which the server is not ready, but still answers."""

import http.client
import signal
import threading
import time

import grpc
import numpy as np
import pytest
from calling.rest_client import Http
from grpc_health.v1 import health_pb2
from running import servers

from serving.client import HEALTH_CHECK_PATH, PredictClient

ONES = np.ones((1, 3), np.float32)
# Longer than any test waits, so that a signal ends it, and not the time.
LONG = "--lame_duck_seconds=60"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def start(models_dir, *flags):
    return servers.as_process("--models_dir", str(models_dir), "--port=0", *flags)


def ready(server) -> str:
    """Wait until the server is ready; return its address."""
    address = server.wait_for(r"bound (127\.0\.0\.1:\d+)[;,]").group(1)
    server.wait_for(r"ready: (add|\d workers)")
    return address


def health(address: str) -> int:
    """Ask for the health on a new connection."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = channel.unary_unary(
            HEALTH_CHECK_PATH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return int(check(health_pb2.HealthCheckRequest(), timeout=10).status)


def predict(address: str) -> None:
    """Call a model on a new connection."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with PredictClient(address, options=own) as client:
        assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("flags", [("--front=asgi",), ("--front=grpcio",), ("--workers=2",)])
def test_calls_are_answered_while_health_is_not_serving(models_dir, flags):
    """Old and new connections are served; a second signal starts the drain, which ends with 0."""
    with start(models_dir, LONG, *flags) as server:
        address = ready(server)
        with PredictClient(address) as client:
            client.predict("identity", {"x": ONES})
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(r"SIGTERM: health answers NOT_SERVING, .* for 60 s more")
            # With two workers a connection may reach one that has not got its signal yet.
            while health(address) == SERVING:
                time.sleep(0.01)
            for _ in range(8):
                predict(address)
                assert health(address) == NOT_SERVING
            assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("SIGTERM: finishing the calls in flight; the next ends the process")
        assert server.process.wait(servers.STOP_SECONDS) == 0


def test_the_probe_and_kserve_say_that_the_server_is_not_ready(models_dir):
    """`/readyz` and `/v2/health/ready` refuse, while liveness and predictions work."""
    with start(models_dir, LONG) as server:
        address = ready(server)
        rest = Http(address)
        assert rest.get("/readyz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("SIGTERM: health answers NOT_SERVING")

        assert rest.get("/readyz")[0] == 503
        assert rest.ask("GET", "/v2/health/ready")[0] == 503
        assert rest.get("/healthz")[0] == 200
        answer = rest.post("/v1/models/identity:predict", {"instances": [[1, 2, 3]]})
        assert answer == (200, {"predictions": [[1, 2, 3]]})


def test_a_watch_call_is_told_at_once_and_ends_with_the_drain(models_dir):
    """A watcher gets NOT_SERVING at the signal, and no end of its call before the drain."""
    with start(models_dir, LONG) as server, grpc.insecure_channel(ready(server)) as channel:
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        states = watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(states).status == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert next(states).status == NOT_SERVING
        ended = threading.Event()
        threading.Thread(target=lambda: (list(states), ended.set()), daemon=True).start()
        assert not ended.wait(0.5)
        server.process.send_signal(signal.SIGTERM)
        assert ended.wait(10)


@pytest.mark.parametrize("flags", [(), ("--workers=2",)])
def test_it_ends_after_its_time(models_dir, flags):
    """Without a second signal the drain begins after the lame duck; no later call is answered."""
    with start(models_dir, "--lame_duck_seconds=1", *flags) as server:
        address = ready(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("for 1 s more")
        predict(address)
        assert server.process.wait(servers.STOP_SECONDS) == 0
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection(*address.split(":"), timeout=5).connect()


def test_the_third_signal_ends_the_process_at_once(models_dir):
    """The second signal drains, and a call in flight holds the drain up; the third ends it."""
    with start(models_dir, LONG) as server, grpc.insecure_channel(ready(server)) as channel:
        # A stream whose client sends nothing stays in flight during the drain.
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        silent = threading.Event()
        call = reflect(iter(silent.wait, True), timeout=30)
        try:
            predict_once = channel.unary_unary(HEALTH_CHECK_PATH)
            predict_once(b"", timeout=10)  # the stream's headers were sent before
            for line in ("health answers NOT_SERVING", "finishing the calls in flight"):
                server.process.send_signal(signal.SIGTERM)
                server.wait_for(f"SIGTERM: {line}")
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(servers.STOP_SECONDS) == 128 + signal.SIGTERM
        finally:
            call.cancel()
            silent.set()


def test_a_server_that_is_still_loading_has_none(models_dir):
    """Nobody knows a server that has not been ready, so it stops at once."""
    with start(models_dir, LONG) as server:
        server.wait_for("connections are refused until the models are loaded")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(servers.STOP_SECONDS) == 0
