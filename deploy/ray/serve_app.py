"""Replicas of the server as a deployment of Ray Serve; requests do not pass through Ray.

Ray Serve places the replicas on its nodes, keeps as many as are wanted, and replaces those that
fail. Each replica runs the server as a child process, and enters its address in a file that Envoy
watches.

    serve run serve_app:app replicas=2 models_dir=/srv/models cores=2
    envoy -c /tmp/onnx-serving/envoy.json
"""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ENVOY_FILE = Path(__file__).parents[1] / "envoy" / "envoy.yaml"
# Another Python may have the server: SERVING_COMMAND="/opt/onnx-serving/bin/python -m serving".
COMMAND = os.environ.get("SERVING_COMMAND", f"{sys.executable} -m serving")
LAME_DUCK_SECONDS = 2
DRAIN_SECONDS = 25
START_SECONDS = 600

# Host, port of gRPC and REST, and health port of a replica.
Address = tuple[str, int, int]


@ray.remote(num_cpus=0)
class Endpoints:
    """Envoy's list of the replicas, on the node where Envoy runs."""

    def __init__(self, folder: str) -> None:
        """Write Envoy's configuration and an empty list into a folder."""
        self._file = Path(folder) / "endpoints.json"
        self._addresses: list[Address] = []
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        configuration = envoy_configuration(yaml.safe_load(ENVOY_FILE.read_text()), self._file)
        (Path(folder) / "envoy.json").write_text(json.dumps(configuration, indent=1))

    def add(self, address: Address) -> None:
        """Enter a replica, which has loaded its models."""
        self._addresses.append(address)
        self._write()

    def remove(self, address: Address) -> None:
        """Strike a replica, before it ends."""
        with contextlib.suppress(ValueError):
            self._addresses.remove(address)
        self._write()

    def _write(self) -> None:
        # Envoy reads the file when another one is moved to its name.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"resources": [assignment(self._addresses)]}))
        new.replace(self._file)


def assignment(addresses: list[Address]) -> dict[str, Any]:
    """Return Envoy's list of endpoints of the cluster `serving`."""
    endpoints = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": host, "port_value": port}},
                "health_check_config": {"port_value": health},
            }
        }
        for host, port, health in addresses
    ]
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "serving",
        "endpoints": [{"lb_endpoints": endpoints}],
    }


def envoy_configuration(configuration: dict[str, Any], endpoints: Path) -> dict[str, Any]:
    """Return the configuration with the replicas of a file in place of those of a DNS name."""
    (cluster,) = configuration["static_resources"]["clusters"]
    del cluster["cluster_type"], cluster["load_assignment"]
    source = {"path_config_source": {"path": str(endpoints)}, "resource_api_version": "V3"}
    cluster |= {"type": "EDS", "eds_cluster_config": {"eds_config": source}}
    return configuration | {"node": {"id": "envoy", "cluster": "serving"}}


@serve.deployment(
    health_check_period_s=2,
    health_check_timeout_s=5,
    graceful_shutdown_timeout_s=LAME_DUCK_SECONDS + DRAIN_SECONDS + 5,
)
class Replica:
    """A server in a child process, which lives as long as the replica."""

    def __init__(
        self,
        models_dir: str,
        cores: int,
        host: str,
        endpoints: Any,  # noqa: ANN401 - Ray's
    ) -> None:
        """Start the server, and return once its models are loaded.

        Raises:
            RuntimeError: the server ended, or has not loaded its models in ten minutes.
        """
        host = host or ray.util.get_node_ip_address()
        port, health = free_ports(host, 2)
        self._endpoints, self._address = endpoints, (host, port, health)
        flags = [
            *(f"--host={host}", f"--port={port}", f"--health_port={health}"),
            *(f"--models_dir={models_dir}", f"--instances={cores}", "--intra_op_threads=1"),
            *(f"--lame_duck_seconds={LAME_DUCK_SECONDS}", f"--drain_seconds={DRAIN_SECONDS}"),
        ]
        self._server = subprocess.Popen([*shlex.split(COMMAND), *flags])
        give_up_at = time.monotonic() + START_SECONDS
        while not ready(host, health):
            self.check_health()
            if time.monotonic() > give_up_at:
                self._server.kill()
                msg = f"the server on {host}:{port} has not loaded its models in {START_SECONDS} s"
                raise RuntimeError(msg)
            time.sleep(0.2)
        ray.get(endpoints.add.remote(self._address))

    def check_health(self) -> None:
        """Let Ray Serve replace the replica if its server has ended.

        Raises:
            RuntimeError: it has.
        """
        if (code := self._server.poll()) is not None:
            msg = f"the server on {self._address} ended with code {code}; its log has the reason"
            raise RuntimeError(msg)

    def __call__(self) -> Address:
        """Return the server's address."""
        return self._address

    def __del__(self) -> None:
        """Strike the server from Envoy's list, and let it answer what it has."""
        if hasattr(self, "_server"):
            ray.get(self._endpoints.remove.remote(self._address))
            self._server.send_signal(signal.SIGTERM)
            self._server.wait()


def free_ports(host: str, count: int) -> list[int]:
    """Return ports of an address of this node that nobody listens on."""
    taken = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def ready(host: str, health_port: int) -> bool:
    """Return whether a server has loaded its models."""
    try:
        with socket.create_connection((host, health_port), timeout=2) as connection:
            connection.sendall(
                b"GET /readyz HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n"
            )
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def app(arguments: dict[str, str]) -> serve.Application:
    """Build the application for `serve run` and `serve build`.

    Args:
        arguments: `models_dir`; `replicas` (1) and `cores` of each (1); `envoy_dir`, the folder of
            this node for Envoy's files (/tmp/onnx-serving); and `host`, the address that the
            servers listen on (their node's; 127.0.0.1 if there is only this node).
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    endpoints = Endpoints.options(
        name="onnx-serving-endpoints",
        get_if_exists=True,
        lifetime="detached",
        scheduling_strategy=here,
    ).remote(arguments.get("envoy_dir", "/tmp/onnx-serving"))  # noqa: S108 - the user chooses
    cores = int(arguments.get("cores", "1"))
    deployment = Replica.options(
        num_replicas=int(arguments.get("replicas", "1")),
        ray_actor_options={"num_cpus": cores},
    )
    host = arguments.get("host", "")
    return deployment.bind(arguments["models_dir"], cores, host, endpoints)
