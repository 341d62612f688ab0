"""Loading and unloading models by name, and the index, over both fronts and both transports."""

import json
import logging
import shutil

import grpc
import keys_files
from calling.access_calls import RELOAD_PATH, named
from calling.rest_client import Http
from keys_files import bearer, entry, key_of
from running import servers
from running.kserve_stub import (
    EXPLICIT,
    EXTENSIONS,
    SERVICE,
    RepositoryStub,
    X,
    infer_request,
    load_request,
    raw_answers,
)
from sample_models import tiny_models

from serving.protos.kserve_pb2 import (
    RepositoryModelUnloadRequest,
)


def test_models_come_and_go_by_name(own_models, server_on_front):
    """Nothing is loaded at first; a loaded model answers until it is unloaded."""
    with (
        server_on_front(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        states = [(stub.ready(), stub.index())]
        stub.load("identity")
        answer = stub.send("ModelInfer", infer_request("identity", X))
        states.append((stub.ready(), stub.index()))
        stub.load("add")
        states.append((stub.ready(), stub.index(ready=True)))
        stub.unload("identity")
        states.append((stub.ready(), stub.index()))
        stub.load("identity")
        states.append((stub.ready(), stub.index()))
        server_ready = stub.call("ServerReady").ready

    never, loaded = ("add", "", "", ""), ("identity", "1", "READY", "")
    assert raw_answers(answer)["y"].tolist() == X.tolist()
    assert server_ready
    assert [state for state, _ in states] == [
        {"identity": False, "add": False},
        {"identity": True, "add": False},
        {"identity": True, "add": True},
        {"identity": False, "add": True},
        {"identity": True, "add": True},
    ]
    assert [found for _, found in states] == [
        [never, ("identity", "", "", "")],
        [never, loaded],
        [("add", "1", "READY", ""), loaded],
        [("add", "1", "READY", ""), ("identity", "1", "UNAVAILABLE", "unloaded")],
        [("add", "1", "READY", ""), loaded],
    ]


def test_rest_loads_unloads_and_lists(own_models, running_server):
    """The routes do the same as the methods, with Triton's paths and bodies."""
    control = "/v2/repository/models/identity/"
    with running_server(own_models, **EXPLICIT) as address:
        rest = Http(address)
        _, metadata = rest.get("/v2")
        _, before = rest.post("/v2/repository/index", b"")
        loaded = rest.ask("POST", control + "load", b"")
        _, during = rest.post("/v2/repository/index", {"ready": True})
        model_ready = rest.get("/v2/models/identity/ready")
        body = json.dumps({"parameters": {"unload_dependents": True}}).encode()
        unloaded = rest.ask("POST", control + "unload", body)
        again = rest.ask("POST", control + "unload", b"{}")
        _, after = rest.post("/v2/repository/index", {})
        wrong = [
            rest.post("/v2/repository/index", {"ready": 1}),
            rest.post(control + "load", {"parameters": []}),
            rest.post(control + "load", b" " * 70_000),
        ]

    assert set(metadata["extensions"]) == EXTENSIONS | {
        "model_repository",
        "model_repository(unload_dependents)",
    }
    assert before == [{"name": "add"}, {"name": "identity"}]
    assert [(status, content) for status, _, content in (loaded, unloaded, again)] == [
        (200, b"")
    ] * 3
    assert during == [{"name": "identity", "version": "1", "state": "READY", "reason": ""}]
    assert model_ready == (200, {"name": "identity", "ready": True})
    assert after[1]["state"] == "UNAVAILABLE"
    assert [status for status, _ in wrong] == [400, 400, 400]
    assert "takes no files" in wrong[2][1]["error"]


def test_a_new_version_comes_with_the_next_load_only(own_models, running_server):
    """A loaded model keeps its version until it is loaded again; another load leaves it alone."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        stub.load("identity")
        tiny_models.identity(own_models, version=2)
        stub.load("add")
        versions = [list(stub.call("ModelMetadata", name="identity").versions)]
        stub.load("identity")
        versions.append(list(stub.call("ModelMetadata", name="identity").versions))

    assert versions == [["1"], ["2"]]


def test_a_load_that_fails_leaves_what_serves(own_models, running_server):
    """If the newest version is broken, the load fails, and the version before still answers."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        stub.load("identity")
        stub.load("add")
        broken = own_models / "identity" / "2"
        broken.mkdir()
        (broken / "model.onnx").write_bytes(b"no graph")
        code, message = stub.refusal("RepositoryModelLoad", load_request("identity"))
        answer = stub.send("ModelInfer", infer_request("identity", X))
        state = stub.ready(), stub.index()
        shutil.rmtree(broken)
        stub.load("identity")

    assert code == "INTERNAL"
    assert message.startswith(
        "failed to load 'identity', 1 model(s) did not become available: "
        "{{{name: identity version: 2} due to error: DATA_LOSS"
    )
    assert raw_answers(answer)["y"].tolist() == X.tolist()
    assert answer.model_version == "1"
    assert state == (
        {"identity": True, "add": True},
        [("add", "1", "READY", ""), ("identity", "1", "READY", "")],
    )


def test_without_explicit_control_nothing_changes(models_dir, server_on_front):
    """By default both calls are refused with Triton's words and the flag; the index answers."""
    with (
        server_on_front(models_dir) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        refusals = [
            stub.refusal("RepositoryModelLoad", load_request("identity")),
            stub.refusal("RepositoryModelUnload", RepositoryModelUnloadRequest(model_name="add")),
        ]
        found = {name: state for name, _, state, _ in stub.index()}

    assert [code for code, _ in refusals] == ["FAILED_PRECONDITION"] * 2
    for _, message in refusals:
        assert message.startswith(
            "explicit model load / unload is not allowed if polling is enabled"
        )
        assert "--model_control_mode=explicit" in message
    assert found["identity"] == found["add"] == "READY"


def test_one_repository_has_no_name(own_models, running_server):
    """A call that names a repository is refused, because the server has one without a name."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        request = load_request("identity")
        request.repository_name = "other"
        code, message = stub.refusal("RepositoryModelLoad", request)

    assert code == "INVALID_ARGUMENT"
    assert message.startswith("'repository_name' is 'other', expected none")


def test_a_reload_and_loads_work_on_the_same_set(own_models, running_server):
    """HandleReloadConfigRequest replaces what loads have loaded, and loads add to its set."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = RepositoryStub(channel)
        stub.load("identity")
        channel.unary_unary(RELOAD_PATH)(
            named(own_models, add="add").SerializeToString(), timeout=30
        )
        replaced = stub.ready()
        stub.load("identity")
        both = stub.ready()

    assert replaced == {"identity": False, "add": True}
    assert both == {"identity": True, "add": True}


def test_changes_are_in_the_audit_log(own_models, tmp_path, caplog, running_server):
    """The audit log has who has loaded and unloaded what, and what was refused."""
    caplog.set_level(logging.INFO, "serving.audit")
    file = keys_files.write(
        tmp_path / "keys.json",
        entry("boss", "admin"),
        entry("part", "admin", models=["add"]),
        entry("user", "predict", "metadata"),
    )
    path = "/v2/repository/models/{}/{}"
    with running_server(own_models, api_keys_file=file, **EXPLICIT) as address:
        rest = Http(address)
        statuses = [
            rest.ask("POST", path.format(*call), b"", x_api_key=key_of(caller))[0]
            for caller, *call in (
                ("boss", "identity", "load"),
                ("boss", "nope", "load"),
                ("part", "identity", "unload"),
                ("user", "identity", "unload"),
                ("boss", "identity", "unload"),
            )
        ]
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(f"{SERVICE}RepositoryModelLoad").future(
                load_request("add").SerializeToString(), metadata=bearer("part")
            )
            code = call.code()
    told = [record.getMessage() for record in caplog.records if record.name == "serving.audit"]
    lines = [line.partition(" from ")[0] + "|" + line.partition(": ")[2] for line in told]

    assert statuses == [200, 500, 403, 403, 200]
    assert code is grpc.StatusCode.OK
    assert [line for line in lines if "nope" not in line] == [
        "models changed by boss|load of identity",
        "models changed by boss|unload of identity",
        "models changed by part|load of add",
    ]
    (refused,) = [line for line in lines if "nope" in line]
    assert refused.startswith("models not changed by boss|asked for load of nope; refused: failed")


def test_the_admin_listener_alone_loads_models(own_models):
    """With --admin_address, only that listener loads, over gRPC and HTTP."""
    path = "/v2/repository/models/identity/load"
    settings = EXPLICIT | {"admin_address": "127.0.0.1:0"}
    with servers.model_server(own_models, **settings) as server:
        open_port, admin = (f"127.0.0.1:{port}" for port in (server.port, server.admin_port))
        refused = Http(open_port).post(path, b"")
        status, _, _ = Http(admin).ask("POST", path, b"")
        with grpc.insecure_channel(open_port) as channel:
            code, message = RepositoryStub(channel).refusal(
                "RepositoryModelLoad", load_request("add")
            )
            still = RepositoryStub(channel).ready()

    assert refused[0] == 403
    assert (code, "--admin_address" in message) == ("PERMISSION_DENIED", True)
    assert status == 200
    assert still == {"identity": True, "add": False}


def test_loads_can_be_switched_off(own_models, running_server):
    """With --enable_reload_rpc=false no call loads a model, over gRPC and HTTP."""
    settings = EXPLICIT | {"enable_reload_rpc": False, "load_models": "add"}
    with (
        running_server(own_models, **settings) as address,
        grpc.insecure_channel(address) as channel,
    ):
        code, _ = RepositoryStub(channel).refusal("RepositoryModelLoad", load_request("identity"))
        status, answer = Http(address).post("/v2/repository/models/identity/load", b"")

    assert (code, status) == ("UNIMPLEMENTED", 501)
    assert "--enable_reload_rpc=false" in answer["error"]


def test_a_refused_load_counts_as_a_refused_reload(own_models, running_server):
    """The metric of refused reloads counts refused loads, so that its alert tells of them."""
    with (
        running_server(own_models, **EXPLICIT) as address,
        grpc.insecure_channel(address) as channel,
    ):
        RepositoryStub(channel).refusal("RepositoryModelLoad", load_request("nope"))
        page = Http(address).ask("GET", "/monitoring/prometheus/metrics")[2].decode()

    assert 'onnx_serving_config_reload_failures_total{source="rpc"} 1' in page
