"""Tests of the start as callers see it: refused connections first, then right answers."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from calling.rest_client import Http
from onnx import TensorProto, helper, numpy_helper
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient, PredictError

ONES = np.ones((1, 3), np.float32)
POLL_SECONDS = 0.002
ENOUGH_ANSWERS = 20
REFUSED, ANSWERED = "refused", "answered"


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def predict_over_grpc(address: str) -> str:
    """Send one Predict over its own connection; return how it ended."""
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    try:
        with PredictClient(address, timeout=30, options=own_connection) as client:
            answer = client.predict("identity", {"x": ONES})
    except PredictError as error:
        return f"{error.code.name}: {error.message}"
    return ANSWERED if answer["y"].tolist() == ONES.tolist() else f"wrong: {answer}"


def predict_over_rest(address: str) -> str:
    """Send one Predict over REST; return how it ended."""
    status, _, body = Http(address).ask(
        "POST", "/v1/models/identity:predict", json.dumps({"instances": ONES.tolist()}).encode()
    )
    right = status == 200 and json.loads(body) == {"predictions": ONES.tolist()}
    return ANSWERED if right else f"{status}: {body.decode()}"


class Caller(threading.Thread):
    """Calls a port until it has enough answers; records how each call ended."""

    def __init__(self, port: int, predict: Callable[[str], str]) -> None:
        super().__init__(daemon=True)
        self.outcomes: list[str] = []
        self._port = port
        self._predict = predict

    def run(self) -> None:
        """Call until there are enough answers, or START_SECONDS have passed."""
        give_up_at = time.monotonic() + servers.START_SECONDS
        while self.outcomes.count(ANSWERED) < ENOUGH_ANSWERS and time.monotonic() < give_up_at:
            self.outcomes.append(self._call())
            time.sleep(POLL_SECONDS)

    def _call(self) -> str:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=30).close()
        except ConnectionRefusedError:
            return REFUSED
        return self._predict(f"127.0.0.1:{self._port}")


def outcomes_of_a_start(models_dir, *flags: str) -> list[list[str]]:
    """Return how the calls over gRPC and REST ended, from before the process started."""
    grpc_port, rest_port = free_ports(2)
    callers = [Caller(grpc_port, predict_over_grpc), Caller(rest_port, predict_over_rest)]
    for caller in callers:
        caller.start()
    with servers.as_process(
        *("--models_dir", str(models_dir), "--port", str(grpc_port)),
        *("--rest_api_port", str(rest_port), *flags),
    ):
        for caller in callers:
            caller.join(servers.START_SECONDS)
    return [caller.outcomes for caller in callers]


def check(outcomes: list[str]) -> None:
    """Assert that calls are refused at first, and all are answered after the first answer."""
    first = outcomes.index(ANSWERED)

    assert set(outcomes[:first]) == {REFUSED}
    assert outcomes[first:] == [ANSWERED] * ENOUGH_ANSWERS


KINDS = [
    pytest.param((), id="asgi"),
    pytest.param(("--front", "grpcio"), id="grpcio"),
    pytest.param(("--workers", "2"), id="workers"),
]


@pytest.mark.parametrize("flags", KINDS)
def test_callers_see_no_server_before_its_models(models_dir, flags):
    """A client that calls from the start gets refused connections, then answers, nothing else."""
    for outcomes in outcomes_of_a_start(models_dir, *flags):
        check(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("flags", KINDS)
def test_callers_see_no_server_before_its_models_in_20_starts(models_dir, flags):
    """In each of 20 starts, callers get refused connections, then answers, nothing else."""
    for _ in range(20):
        for outcomes in outcomes_of_a_start(models_dir, *flags):
            check(outcomes)


def large_graph(models_dir) -> None:
    """Save a graph that ONNX Runtime prepares for many seconds: a chain of 40,000 additions."""
    count = 40_000
    names = ["x", *(f"t{number}" for number in range(1, count)), "y"]
    nodes = [
        helper.make_node("Add", [source, f"w{number}"], [result])
        for number, (source, result) in enumerate(itertools.pairwise(names))
    ]
    weights = [
        numpy_helper.from_array(np.full(3, number, np.float32), f"w{number}")
        for number in range(count)
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"
    ]
    file = models_dir / "large" / "1" / "model.onnx"
    tiny_models.save(file, nodes, tensors[:1], tensors[1:], weights)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_on_sigterm_while_it_loads(tmp_path, workers):
    """SIGTERM during a load ends the server without waiting; health answers until then."""
    large_graph(tmp_path)
    port, health_port = free_ports(2)
    with servers.as_process(
        *("--models_dir", str(tmp_path), "--port", str(port), "--workers", workers),
        *("--health_port", str(health_port), "--drain_seconds", "1"),
    ) as server:
        for _ in range(int(workers)):
            server.wait_for("health on")
        time.sleep(0.5)  # long enough to begin loading
        health = Http(f"127.0.0.1:{health_port}")
        alive, ready = health.get("/healthz"), health.get("/readyz")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        code = server.terminate()
        server.read_to_end()

    assert alive == (200, {"status": "alive"})
    assert (ready[0], ready[1]["status"]) == (503, "NOT_SERVING")
    assert "exiting while still loading large/1" in "".join(server.log)
    assert code == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_a_loading_server_has_is_taken(tmp_path, workers):
    """A second server on the port of a loading server ends with an error before it loads."""
    large_graph(tmp_path / "large")
    tiny_models.identity(tmp_path / "small")
    flags = ("--port", *map(str, free_ports(1)), "--workers", workers)
    with servers.as_process("--models_dir", str(tmp_path / "large"), *flags) as first:
        address = first.wait_for(r"bound (\S+)[;,]").group(1)
        with servers.as_process("--models_dir", str(tmp_path / "small"), *flags) as second:
            second.wait_for(f"error: cannot listen on {address}: Address already in use")
            code = second.process.wait(servers.STOP_SECONDS)
            second.read_to_end()
        log = "".join(first.log)

    assert code == 2
    assert "loaded identity/1" not in "".join(second.log)
    assert "listening on" not in log
