"""The services of compose.yaml, as far as they can be checked without a Docker engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
# Services that run public images.
PUBLIC = {"envoy", "grafana", "prometheus"}


def service(name: str) -> dict[str, Any]:
    """Return a service's settings with those of the service that it extends."""
    own = SERVICES[name]
    if "extends" not in own:
        return own
    base = service(own["extends"]["service"])
    return {**base, **own, "build": {**base["build"], **own.get("build", {})}}


def devices(name: str) -> list[dict[str, Any]]:
    """Return the devices that a service reserves."""
    reservations = service(name).get("deploy", {}).get("resources", {}).get("reservations", {})
    found: list[dict[str, Any]] = reservations.get("devices", [])
    return found


def test_only_the_server_starts_without_a_profile():
    """`docker compose up` starts the server on the CPU and nothing else."""
    assert [name for name in SERVICES if "profiles" not in service(name)] == ["serving"]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - PUBLIC))
def test_a_service_is_built_from_a_stage_of_the_dockerfile(name):
    """Each service names a stage, and passes on the base image and the settings of pip."""
    build = service(name)["build"]

    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert build["target"] in stages
    assert {"BASE_IMAGE", "PIP_INDEX_URL", "PIP_FIND_LINKS"} <= set(build["args"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_privileges_and_writes_only_to_its_volumes(name):
    """The file system is read-only with /tmp in memory, and there are no capabilities."""
    settings = service(name)

    assert settings["read_only"] is True
    assert settings["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize(("name", "count"), [("serving-gpu", 1), ("training-gpu", "all")])
def test_a_service_for_gpus_reserves_them(name, count):
    """The reservation is in the form that Compose 1.29 and 2 read."""
    assert devices(name) == [{"driver": "nvidia", "count": count, "capabilities": ["gpu"]}]


@pytest.mark.parametrize("name", ["serving", "loadtest", "training"])
def test_a_machine_without_a_gpu_can_run_the_other_services(name):
    """No other service reserves a device, which would fail without NVIDIA's container toolkit."""
    assert devices(name) == []


def test_replicas_share_the_name_that_envoy_asks_for():
    """The replicas are the server without its ports, under Envoy's name, and with a lame duck."""
    replica = service("replica")
    shared = dict(service("serving"))
    environment = shared.pop("environment")
    del shared["ports"]
    envoy = yaml.safe_load((ROOT / "deploy" / "envoy" / "envoy.yaml").read_text())
    (cluster,) = envoy["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    (health,) = cluster["health_checks"]
    seconds = sum(float(health[name].rstrip("s")) for name in ("interval", "timeout"))

    assert "ports" not in replica
    assert shared.items() <= replica.items()
    assert environment.items() <= replica["environment"].items()
    assert replica["networks"]["default"]["aliases"] == [
        endpoint["endpoint"]["address"]["socket_address"]["address"]
    ]
    assert float(replica["environment"]["SERVING_LAME_DUCK_SECONDS"]) > seconds
    assert service("envoy")["ports"] == service("serving")["ports"]


def test_prometheus_finds_every_server_by_its_name():
    """The name that prometheus.yml looks up is the server's, and an alias of the others."""
    prometheus = yaml.safe_load((ROOT / "deploy" / "monitoring" / "prometheus.yml").read_text())
    (scrape,) = prometheus["scrape_configs"]
    (discovery,) = scrape["dns_sd_configs"]
    (name,) = discovery["names"]

    assert discovery["port"] == 8501
    assert name == "serving"
    for other in ("serving-gpu", "replica"):
        assert service(other)["networks"] == {"default": {"aliases": [name]}}


@pytest.mark.parametrize(
    ("name", "port"), [("prometheus", "PROMETHEUS_PORT:-9090"), ("grafana", "GRAFANA_PORT:-3000")]
)
def test_only_this_machine_can_connect_to_the_monitoring(name, port):
    """Prometheus and Grafana, which ask for no password, listen on the loopback address."""
    inside = port.rpartition("-")[2]

    assert service(name)["profiles"] == ["monitoring"]
    assert service(name)["ports"] == [f"${{MONITORING_ADDRESS:-127.0.0.1}}:${{{port}}}:{inside}"]


def test_the_monitoring_reads_files_of_the_repository():
    """Each file that Prometheus and Grafana mount is in deploy/monitoring, and is read-only."""
    mounted = [
        volume.split(":")
        for name in ("prometheus", "grafana")
        for volume in service(name)["volumes"]
        if volume.startswith(".")
    ]

    assert len(mounted) == 5
    for source, _, mode in mounted:
        assert (ROOT / source).is_file()
        assert source.startswith("./deploy/monitoring/")
        assert mode == "ro"


def test_grafana_has_no_user_that_could_log_in():
    """There is no admin with a default password: visitors are anonymous and may only look."""
    environment = service("grafana")["environment"]

    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_the_server_on_a_gpu_never_falls_back():
    """The service `serving-gpu` has the ports and models of `serving`, and requires CUDA."""
    gpu, cpu = service("serving-gpu"), service("serving")

    assert gpu["environment"] == {"SERVING_DEVICE": "cuda"}
    assert (gpu["ports"], gpu["volumes"]) == (cpu["ports"], cpu["volumes"])


def test_the_training_writes_where_the_server_reads():
    """Both mount the same folder at /models; only the training can write to it."""
    models = [volume for volume in service("serving")["volumes"] if ":/models" in volume]

    assert models[0].removesuffix(":ro") in service("training")["volumes"]
    assert all(volume.endswith(":ro") for volume in models)


def test_every_setting_is_explained_at_the_head():
    """Each variable that the file reads is in the comment at its head."""
    head = TEXT.partition("\nservices:")[0]
    variables = set(re.findall(r"\$\{(\w+)", TEXT.partition("\nservices:")[2]))

    assert {
        name for name in variables if not re.search(rf"^#   .*\b{name}\b", head, re.MULTILINE)
    } == set()
