"""Tests of deploy/swarm: valid for `docker stack`, and in accord with the server and Envoy."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.settings.flags import parse_config

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = [DEPLOY / "swarm" / "stack.yaml", DEPLOY / "swarm" / "models-folder.yaml"]
TEXT = FILES[0].read_text()
STACK = yaml.safe_load(TEXT)
SERVING, ENVOY = STACK["services"]["serving"], STACK["services"]["envoy"]
DOCKER = shutil.which("docker")
# Swarm takes a task out of the name so long before SIGTERM (moby, defaultGossipConvergeDelay).
NAME_SECONDS = 2


def seconds(text):
    """Seconds of a duration such as 40s."""
    return float(text.removesuffix("s"))


def default(text):
    """What a setting is if its variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture
def config():
    """The settings that the server reads from the service."""
    return parse_config([], {name: default(one) for name, one in SERVING["environment"].items()})


@pytest.fixture
def cluster():
    """Envoy's cluster of the replicas."""
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text()
    return yaml.safe_load(text)["static_resources"]["clusters"][0]


def stack_config(folder, *files, **environment):
    """Let `docker stack config` check files, and return what it makes of them."""
    command = [DOCKER, "stack", "config", *(f"--compose-file={file}" for file in files)]
    environment |= {"PATH": str(Path(DOCKER).parent), "HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "docker stack config" not in done.stdout + done.stderr and done.returncode == 125:
        pytest.skip("this docker has no `docker stack config`")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout), done.stderr


@pytest.mark.skipif(DOCKER is None, reason="there is no docker command")
@pytest.mark.parametrize("count", [1, 2])
def test_docker_takes_the_files(count, tmp_path):
    """The command knows every field, and the second file adds the folder of the models."""
    variables = {"SERVING_IMAGE": "classifier:1", "MODELS_DIR": "/srv/models"}
    found, warnings = stack_config(tmp_path, *FILES[:count], **variables)
    mounts = {one["target"]: one for one in found["services"]["serving"]["volumes"]}

    assert "nsupported" not in warnings
    assert found["services"]["serving"]["image"] == "classifier:1"
    assert set(mounts) == ({"/tmp"} if count == 1 else {"/tmp", "/models"})  # noqa: S108
    if count == 2:
        assert mounts["/models"]["source"] == "/srv/models"
        assert mounts["/models"]["read_only"] is True


def test_a_replica_may_stop_in_its_time(config, cluster):
    """The lame duck outlasts Envoy's view of a replica, and the grace period has room for all."""
    (health,) = cluster["health_checks"]
    refresh = cluster["cluster_type"]["typed_config"]["dns_refresh_rate"]
    unseen = seconds(health["interval"]) + seconds(health["timeout"])

    assert config.lame_duck_seconds > unseen
    assert NAME_SECONDS + config.lame_duck_seconds > seconds(refresh) + unseen
    stop = config.lame_duck_seconds + config.drain_seconds
    assert seconds(SERVING["stop_grace_period"]) >= stop + 5


def test_an_update_starts_a_replica_before_it_ends_one(cluster):
    """One at a time, with time for Envoy to find the new address, and back if it fails."""
    update = SERVING["deploy"]["update_config"]
    refresh = cluster["cluster_type"]["typed_config"]["dns_refresh_rate"]

    assert (update["order"], update["parallelism"]) == ("start-first", 1)
    assert update["failure_action"] == "rollback"
    assert seconds(update["delay"]) > seconds(refresh)
    assert SERVING["deploy"]["rollback_config"]["order"] == "start-first"


def test_envoy_asks_for_the_name_of_the_replicas(cluster):
    """The service has the name in Envoy's configuration, with an address for each replica."""
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]

    assert endpoint["endpoint"]["address"]["socket_address"]["address"] in STACK["services"]
    assert SERVING["deploy"]["endpoint_mode"] == "dnsrr"
    assert SERVING["networks"] == ENVOY["networks"]
    (subnet,) = STACK["networks"]["serving"]["ipam"]["config"]
    assert SERVING["environment"]["SERVING_TRUSTED_PROXIES"] == subnet["subnet"]


@pytest.mark.parametrize("service", [SERVING, ENVOY])
def test_a_service_has_no_privileges(service):
    """The file system is read-only, /tmp is in memory, and there are no capabilities."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert [(one["type"], one["target"]) for one in service["volumes"]] == [("tmpfs", "/tmp")]  # noqa: S108
    assert "memory" in service["deploy"]["resources"]["limits"]


def test_the_buffers_fit_into_the_memory(config):
    """Half of a replica's memory is free of buffers of requests."""
    limit = default(SERVING["deploy"]["resources"]["limits"]["memory"])

    assert config.max_buffered_bytes <= int(limit.removesuffix("G")) << 29


def test_every_setting_is_explained_at_the_head():
    """Each variable that the files read is in the comment at the head of its file."""
    for file in FILES:
        head, _, body = file.read_text().partition("\nservices:")
        variables = set(re.findall(r"\$\{(\w+)", body))

        assert {
            name for name in variables if not re.search(rf"^#.*\b{name}\b", head, re.MULTILINE)
        } == set()
