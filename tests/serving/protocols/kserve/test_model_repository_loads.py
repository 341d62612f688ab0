"""Loads by name that fail, change settings or run together, and the models of the start."""

import json
import threading

import grpc
import numpy as np
import pytest
from running import servers
from running.kserve_stub import (
    EXPLICIT,
    SERVICE,
    RepositoryStub,
    infer_request,
    load_request,
)
from sample_models import endless_models, tiny_models


def test_the_server_starts_with_the_models_of_a_setting(own_models, running_server):
    """--load_models names what is loaded at the start; * loads all."""
    found = []
    for names in ("add", "identity, add", "*"):
        settings = EXPLICIT | {"load_models": names}
        with (
            running_server(own_models, **settings) as address,
            grpc.insecure_channel(address) as channel,
        ):
            found.append(RepositoryStub(channel).ready())

    assert found == [
        {"identity": False, "add": True},
        {"identity": True, "add": True},
        {"identity": True, "add": True},
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("add,nope", "--load_models names nope, expected names out of add, broken, identity"),
        ("add,broken", "--load_models names broken, which cannot be loaded: version 1 is END: "),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_without_a_model_of_the_setting_does_not_start(
    own_models, names, message, workers
):
    """A model of --load_models that is not there, or cannot be loaded, stops the start."""
    broken = own_models / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"no graph")

    flags = ("--model_control_mode=explicit", f"--load_models={names}", f"--workers={workers}")
    with servers.as_process(f"--models_dir={own_models}", "--port=0", *flags) as server:
        code = server.process.wait(servers.START_SECONDS)
        server.read_to_end()

    assert code == 2
    assert f"error: {message}" in "".join(server.log)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "nope",
            {},
            "failed to load 'nope', failed to poll from model repository: the server's folder",
        ),
        ("../models/identity", {}, "failed to load '../models/identity', failed to poll"),
        (
            "identity",
            {"config": "{}", "file_1/model.onnx": b"a"},
            "failed to load 'identity', failed to poll from model repository: files in a load",
        ),
        (
            "identity",
            {"config": '"a": {{}}'},
            "failed to load 'identity', its config cannot be read, expected a ModelConfig as JSON",
        ),
        (
            "identity",
            {"config": '{"optimization": {}}'},
            "failed to load 'identity', its config cannot be read",
        ),
        (
            "identity",
            {"config": '{"name": "identity", "input": [{"name": "x"}]}'},
            "failed to load 'identity', its config has input, expected only max_batch_size",
        ),
        (
            "identity",
            {"config": '{"name": "other"}'},
            "failed to load 'identity', its config has the name 'other'",
        ),
        (
            "identity",
            {"config": '{"dynamic_batching": {"preferred_batch_size": [4]}}'},
            "failed to load 'identity', its config has preferred_batch_size, expected only",
        ),
        (
            "identity",
            {"config": '{"max_batch_size": -1}'},
            "failed to load 'identity', its config has max_batch_size -1",
        ),
        (
            "identity",
            {"config": '{"version_policy": {"specific": {"versions": [7]}}}'},
            "failed to load 'identity', no version of identity to load",
        ),
        (
            "identity",
            {"unknown": "a"},
            "failed to load 'identity', parameter unknown is 'a', expected only config",
        ),
    ],
)
def test_loads_that_cannot_be_done_are_refused(
    own_models, running_server, name, parameters, message
):
    """A load that cannot be done is INTERNAL, as in Triton, with the reason; nothing is loaded."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        code, text = stub.refusal("RepositoryModelLoad", load_request(name, **parameters))
        state = stub.ready()

    assert code == "INTERNAL"
    assert text.startswith(message)
    assert state == {"identity": False, "add": False}


def test_a_load_may_change_batches_and_versions(own_models, running_server):
    """The config of a load sets the largest batch, the wait for more rows, and the versions."""
    tiny_models.identity(own_models, version=2)
    config = {
        "max_batch_size": "16",
        "dynamic_batching": {"max_queue_delay_microseconds": 700},
        "version_policy": {"all": {}},
    }
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        stub.load("identity")
        before = stub.call("ModelConfig", name="identity").config
        stub.load("identity", config=json.dumps(config))
        changed = stub.call("ModelConfig", name="identity").config
        versions = list(stub.call("ModelMetadata", name="identity").versions)
        stub.load("add")
        kept = stub.call("ModelConfig", name="identity").config
        rows = np.ones((40, 3), np.float32)
        stub.send("ModelInfer", infer_request("identity", rows))
        (stats,) = stub.call("ModelStatistics", name="identity", version="2").model_stats
        stub.load("identity", config='{"version_policy": {"latest": {"num_versions": 2}}}')
        after = stub.call("ModelConfig", name="identity").config

    assert (before.max_batch_size, list(before.version_policy.specific.versions)) == (64, [2])
    assert changed.max_batch_size == 16
    assert changed.dynamic_batching.max_queue_delay_microseconds == 700
    assert list(changed.version_policy.specific.versions) == [1, 2]
    assert versions == ["1", "2"]
    assert kept == changed
    assert {one.batch_size for one in stats.batch_stats} == {8, 16}
    assert stats.inference_count == 40
    assert (after.max_batch_size, after.dynamic_batching.max_queue_delay_microseconds) == (64, 0)


def test_loads_at_the_same_time_all_take_effect(tmp_path, running_server):
    """Loads that arrive together are done one after another, and none undoes another one."""
    names = [f"m{number}" for number in range(6)]
    for name in names:
        tiny_models.identity(tmp_path, name)
    with running_server(tmp_path, **EXPLICIT) as address, grpc.insecure_channel(address) as channel:
        stub = RepositoryStub(channel)
        threads = [threading.Thread(target=stub.load, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        found = [name for name, _, state, _ in stub.index() if state == "READY"]

    assert found == names


def test_no_call_is_lost_by_an_unload(own_models, running_server):
    """A request that runs while its model is unloaded is answered."""
    endless_models.loop(own_models)
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        stub.load("loop")
        request = infer_request("loop", np.array([300_000], np.int64), names=["trips"])
        call = channel.unary_unary(f"{SERVICE}ModelInfer").future(request.SerializeToString())
        stub.unload("loop")
        still = stub.call("ModelReady", name="loop").ready
        code = call.code()

    assert not still
    assert code is grpc.StatusCode.OK
