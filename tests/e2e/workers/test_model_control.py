"""Loads, unloads and statistics with several workers."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from running import worker_servers
from running.kserve_stub import RepositoryStub, X, infer_request, load_request
from running.worker_processes import wait_until, workers_of
from sample_models import tiny_models

CONNECTIONS = 12
FLAGS = ("--model_control_mode=explicit",)


@pytest.fixture
def models(tmp_path):
    """A folder with two models, which the test may change."""
    tiny_models.identity(tmp_path)
    tiny_models.add(tmp_path)
    return tmp_path


@pytest.fixture(params=["asgi", "grpcio"])
def server(request, models):
    """A server of two workers that begin with the model identity, on each front."""
    flags = (*FLAGS, "--load_models=identity", f"--front={request.param}")
    with worker_servers.start(models, *flags) as running:
        address = worker_servers.address_of(running)
        running.wait_for("ready: 2 workers")
        # Each worker hears of that a moment later.
        assert wait_until(lambda: ready(address) == {(True, False)})
        yield running, address


def over_connections(address: str, ask):
    """Return the answers of a function of a stub, over several connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    found = []
    for _ in range(CONNECTIONS):
        with grpc.insecure_channel(address, options) as channel:
            found.append(ask(RepositoryStub(channel)))
    return found


def ready(address: str) -> set[tuple[bool, ...]]:
    """Return the sets of models that answer, over all connections."""
    return set(
        over_connections(address, lambda stub: tuple(stub.ready("identity", "add").values()))
    )


def test_a_load_takes_effect_in_all_workers(server):
    """A model that one worker is told to load or unload comes and goes in both."""
    _, address = server
    states = []
    with grpc.insecure_channel(address) as channel:
        stub = RepositoryStub(channel)
        stub.load("add")
        states.append(ready(address))
        stub.unload("identity")
        states.append(ready(address))
    index = over_connections(address, lambda stub: stub.index())

    assert states == [{(True, True)}, {(False, True)}]
    assert {tuple(one) for one in index} == {
        (("add", "1", "READY", ""), ("identity", "1", "UNAVAILABLE", "unloaded"))
    }


def test_loads_through_different_workers_add_up(server, models):
    """Loads that arrive at different workers at the same time all take effect."""
    _, address = server
    names = [f"m{number}" for number in range(6)]
    for name in names:
        tiny_models.identity(models, name)

    def load(name: str) -> None:
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            RepositoryStub(channel).load(name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(load, names))
    found = over_connections(address, lambda stub: tuple(stub.ready(*names).values()))

    assert set(found) == {(True,) * len(names)}


def test_a_load_that_fails_in_the_workers_changes_nothing(server, models):
    """If the version cannot be loaded, both workers serve what they served before."""
    _, address = server
    broken = models / "identity" / "2"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")
    with grpc.insecure_channel(address) as channel:
        stub = RepositoryStub(channel)
        code, message = stub.refusal("RepositoryModelLoad", load_request("identity"))
    answers = over_connections(
        address, lambda stub: stub.send("ModelInfer", infer_request("identity", X)).model_version
    )

    assert code == "INTERNAL"
    assert message.startswith("failed to load 'identity', 1 model(s) did not become available")
    assert set(answers) == {"1"}


def test_a_worker_that_comes_back_serves_what_was_loaded(server, models):
    """The successor of a killed worker serves the loaded set and versions, not the first ones."""
    running, address = server
    with grpc.insecure_channel(address) as channel:
        stub = RepositoryStub(channel)
        stub.load("add")
        stub.unload("identity")
    tiny_models.add(models, version=2)
    os.kill(min(workers_of(running)), signal.SIGKILL)
    running.wait_for("worker . ended")
    running.wait_for("serving.server: ready: add")
    assert wait_until(lambda: len(workers_of(running)) == 2)
    versions = over_connections(
        address, lambda stub: tuple(stub.call("ModelMetadata", name="add").versions)
    )

    assert set(versions) == {("1",)}
    assert ready(address) == {(False, True)}


def test_statistics_are_those_of_all_workers(server):
    """Each worker answers with the requests, rows and batch sizes of both."""
    _, address = server
    before = time.time_ns() // 1_000_000
    rows = [1, 2, 3]

    def ask(stub: RepositoryStub) -> None:
        for number in rows:
            array = np.ones((number, 3), np.float32)
            stub.send("ModelInfer", infer_request("identity", array))

    over_connections(address, ask)
    found = over_connections(
        address, lambda stub: stub.call("ModelStatistics", name="identity").model_stats[0]
    )

    expected = {1: CONNECTIONS, 2: CONNECTIONS, 3: CONNECTIONS}
    for one in found:
        assert one.inference_stats.success.count == CONNECTIONS * len(rows)
        assert one.inference_count == CONNECTIONS * sum(rows)
        assert {size.batch_size: size.compute_infer.count for size in one.batch_stats} == expected
        assert one.last_inference >= before


def test_all_workers_begin_with_the_same_version(tmp_path):
    """A version that appears during the start is served by all workers or by none."""
    tiny_models.identity(tmp_path)
    with worker_servers.start(tmp_path, *FLAGS, "--load_models=identity") as running:
        address = worker_servers.address_of(running)
        while running.process.poll() is None and not _loads_begin(running):
            time.sleep(0.01)
        shutil.copytree(tmp_path / "identity" / "1", tmp_path / "identity" / "2")
        running.wait_for("ready: 2 workers")
        versions = over_connections(
            address, lambda stub: tuple(stub.call("ModelMetadata", name="identity").versions)
        )

    assert len(set(versions)) == 1


def _loads_begin(running) -> bool:
    return any("execution provider" in line for line in running.log)
