"""Tests of deploy/kserve: valid for KServe's CRDs, and a server takes the runtime's arguments."""

import copy

import jsonschema
import numpy as np
import pytest
from calling.every_protocol import kserve_grpc, kserve_rest, tfs_grpc, tfs_rest
from manifests.resources import ROOT, read, validate
from running import servers
from running.tensorflow_command import free_port
from sample_models import tiny_models

# The protocols by KServe's names: https://kserve.github.io/website/docs/concepts/architecture/data-plane
PROTOCOLS = {"grpc-v1": tfs_grpc, "v1": tfs_rest, "grpc-v2": kserve_grpc, "v2": kserve_rest}
GRPC_PORT, REST_PORT, HEALTH_PORT = 9000, 8080, 8502


@pytest.fixture
def runtime():
    (found,) = read("kserve/runtime.yaml")
    return found


@pytest.fixture
def container(runtime):
    (found,) = runtime["spec"]["containers"]
    return found


@pytest.mark.parametrize("file", ["runtime.yaml", "models.yaml"])
def test_every_resource_is_valid(file):
    """KServe's schemas, and Kubernetes' for the container, take it and know every field."""
    for resource in read(f"kserve/{file}"):
        validate(resource)


def test_misspelt_fields_are_found(runtime):
    """A field that KServe, or Kubernetes in the container, does not know is an error."""
    of_kserve, of_kubernetes = copy.deepcopy(runtime), copy.deepcopy(runtime)
    of_kserve["spec"]["supportedModelFormats"][0]["autoselect"] = True
    of_kubernetes["spec"]["containers"][0]["readinessProbe"]["gRPC"] = {"port": 8502}
    (service, _) = read("kserve/models.yaml")
    service["spec"]["predictor"]["model"]["storageURI"] = "pvc://models/simcnn"

    for wrong in (of_kserve, of_kubernetes, service):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong)


def test_the_services_are_the_bundled_models(runtime):
    """Each InferenceService names a folder of models/, and a format and protocol of the runtime."""
    formats = {one["name"] for one in runtime["spec"]["supportedModelFormats"]}
    services = read("kserve/models.yaml")

    assert {one["metadata"]["name"] for one in services} == {"simcnn", "resnet50"}
    for service in services:
        model = service["spec"]["predictor"]["model"]
        name = service["metadata"]["name"]
        assert (ROOT / "models" / name).is_dir()
        assert model["storageUri"] == f"pvc://models/{name}"
        assert model["runtime"] == runtime["metadata"]["name"]
        assert model["modelFormat"]["name"] in formats
        assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_a_server_with_the_runtimes_arguments_speaks_its_protocols(tmp_path, container, runtime):
    """With KServe's placeholder and folder filled in, it answers each protocol on its port."""
    tiny_models.identity(tmp_path, "mine")
    ports = {str(port): str(free_port()) for port in (GRPC_PORT, REST_PORT, HEALTH_PORT)}
    flags = []
    for argument in container["args"]:
        flag, _, value = argument.partition("=")
        value = value.replace("{{.Name}}", "mine").replace("/mnt/models", str(tmp_path / "mine"))
        flags.append(f"{flag}={ports.get(value, value)}")
    inputs = {"x": np.float32([[1, 2, 3]])}

    assert {*PROTOCOLS} == {*runtime["spec"]["protocolVersions"]}
    with servers.as_process(*flags) as server:
        server.wait_for("ready: mine")
        for name, ask in PROTOCOLS.items():
            port = ports[str(GRPC_PORT if "grpc" in name else REST_PORT)]
            with ask(f"127.0.0.1:{port}") as answer:
                found = answer("mine", inputs, {"y": inputs["x"]})
            np.testing.assert_array_equal(found["y"], inputs["x"])


def test_probes_ask_the_health_port(container):
    """It is the port that --health_port names."""
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness")]

    assert f"--health_port={HEALTH_PORT}" in container["args"]
    assert [probe["grpc"]["port"] for probe in probes] == [HEALTH_PORT] * 2
    assert container["livenessProbe"]["httpGet"]["port"] == HEALTH_PORT
