"""Tests of deploy/kubernetes: valid for Kubernetes, and in accord with the server."""

import copy

import jsonschema
import kubernetes_validate
import pytest
from manifests.resources import (
    KUBECTL,
    MISSING_KUBECTL,
    NEWEST,
    OLDEST,
    OVERLAYS,
    kustomize,
    only,
    validate,
)

from serving.settings.config import ServerConfig
from serving.settings.flags import parse_config

needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason=MISSING_KUBECTL)
pytestmark = needs_kubectl
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}


@pytest.fixture(params=OVERLAYS)
def resources(request):
    return kustomize(f"overlays/{request.param}")


@pytest.fixture
def pod(resources):
    """The pod that the Deployment makes."""
    return only(resources, "Deployment")["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (found,) = pod["containers"]
    return found


@pytest.fixture
def config(container) -> ServerConfig:
    """The settings that the server reads from the container."""
    environment = {one["name"]: one["value"] for one in container.get("env", [])}
    return parse_config(container["args"], environment)


def bytes_of(quantity):
    """Bytes of a quantity such as 1Gi."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_resource_is_valid(resources, version):
    """Kubernetes' own schemas, or those of the CRD, take every resource and know every field."""
    for resource in resources:
        validate(resource, version)


def test_the_service_monitor_is_valid():
    """It selects the headless Service only, and its port and path."""
    (monitor,) = kustomize("monitoring")
    validate(monitor)
    services = [one for one in kustomize("overlays/cpu") if one["kind"] == "Service"]
    selector = monitor["spec"]["selector"]
    (expression,) = selector["matchExpressions"]
    selected = [
        service
        for service in services
        if selector["matchLabels"].items() <= service["metadata"]["labels"].items()
        and service["metadata"]["labels"].get(expression["key"]) in expression["values"]
    ]

    assert [service["metadata"]["name"] for service in selected] == ["onnx-serving-headless"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in selected[0]["spec"]["ports"]]


def test_a_misspelt_field_is_found():
    """A field that Kubernetes, or the CRD, does not know is an error."""
    deployment = only(kustomize("overlays/cpu"), "Deployment")
    monitor = copy.deepcopy(kustomize("monitoring")[0])
    scaled = only(kustomize("overlays/keda"), "ScaledObject")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    monitor["spec"]["endpoints"][0]["intervall"] = "1s"
    scaled["spec"]["triggers"][0]["metadata"] = {"value": 70}

    for wrong in (deployment, monitor, scaled):
        with pytest.raises(jsonschema.ValidationError):
            validate(wrong)
    with pytest.raises(kubernetes_validate.utils.SchemaNotFoundError):
        validate({"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "one"}})


def test_the_pod_may_stop_in_its_time(pod, container, config):
    """The grace period has room for the sleep, the lame duck, the drain and a reserve."""
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    probe = container["readinessProbe"]
    unready = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]

    assert config.lame_duck_seconds > unready
    stop = sleep + config.lame_duck_seconds + config.drain_seconds
    assert pod["terminationGracePeriodSeconds"] >= stop + 5


def test_the_pod_fits_the_restricted_profile(pod):
    """It fulfils the restricted profile of Kubernetes' Pod Security Standards, and more.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    context = pod["securityContext"]

    assert context["runAsNonRoot"]
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {kind for volume in pod["volumes"] for kind in volume} <= {
        *("name", "emptyDir", "persistentVolumeClaim")
    }
    for one in [*pod["containers"], *pod.get("initContainers", [])]:
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert "privileged" not in one["securityContext"]


def test_limits_match_the_settings(container, config):
    """Without a GPU the threads are as many as the cores; the memory has room for the buffers."""
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    free = bytes_of(limits["memory"]) - config.max_buffered_bytes

    assert requests["memory"] == limits["memory"]
    assert free >= 512 << 20
    if config.device == "cuda":
        assert requests["nvidia.com/gpu"] == limits["nvidia.com/gpu"] == 1
    else:
        assert requests["cpu"] == limits["cpu"]
        assert config.instances * config.intra_op_threads == int(limits["cpu"])


def test_probes_ask_the_health_port(container):
    """All probes ask over gRPC; the port is that of the image's command, which has no TLS."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]

    assert ports == {"grpc": 8500, "http": 8501, "health": 8502}
    assert [probe["grpc"]["port"] for probe in probes] == [8502] * 3


def test_everything_selects_the_pods(resources, container):
    """Services, budget and network policy select the pods' label; all ports they name exist."""
    deployment = only(resources, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"] for port in container["ports"]}
    services = [one for one in resources if one["kind"] == "Service"]
    policy = only(resources, "NetworkPolicy")["spec"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert only(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert policy["podSelector"]["matchLabels"] == labels
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"] == labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_one_autoscaler_has_the_deployment(resources):
    """Exactly one resource scales it, and the Deployment does not set the number itself."""
    scalers = [
        one["spec"]["scaleTargetRef"]["name"]
        for one in resources
        if one["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]

    assert scalers == [only(resources, "Deployment")["metadata"]["name"]]
    assert "replicas" not in only(resources, "Deployment")["spec"]


def test_the_volume_of_the_models_is_mounted_read_only(pod, container):
    """The server cannot write to it, whether it is filled by an image or claimed."""
    (volume,) = pod["volumes"]
    (mount,) = container["volumeMounts"]
    if volume["name"] == "cache":  # the overlay storage has a cache that the server fills itself
        variables = {one["name"]: one.get("value") for one in container["env"]}
        limit = int(variables["SERVING_STORAGE_CACHE_BYTES"])
        assert mount == {"name": "cache", "mountPath": variables["SERVING_STORAGE_CACHE_DIR"]}
        assert volume["emptyDir"] == {"sizeLimit": f"{limit // 10**9 + 1}Gi"}
        assert not pod["initContainers"]
        return

    assert mount == {"name": volume["name"], "mountPath": "/models", "readOnly": True}
    assert ("initContainers" in pod and bool(pod["initContainers"])) == ("emptyDir" in volume)
