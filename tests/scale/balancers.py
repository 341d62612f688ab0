"""Envoy and HAProxy as processes, with the configurations of deploy/ in front of local replicas."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from running import servers

DEPLOY = Path(__file__).parents[2] / "deploy"
ENVOY = Path(sys.prefix) / "envoy" / "bin" / "envoy"
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
MISSING_ENVOY = "Envoy is missing; `make envoy` installs it"
MISSING_HAPROXY = "HAProxy is missing; on Debian and Ubuntu: apt-get install haproxy"

# A replica: its port for gRPC and REST, and its health port.
Ports = tuple[int, int]


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def envoy_configuration(replicas: Sequence[Ports], ports: Sequence[int], *, retries: bool) -> Any:
    """Return envoy.yaml with the addresses of local replicas.

    Args:
        replicas: The replicas.
        ports: Free ports for the listeners and for the administration.
        retries: Whether the routes keep their retry policies.
    """
    configuration = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text())
    resources = configuration["static_resources"]
    listening = [*resources["listeners"], configuration["admin"]]
    for listener, port in zip(listening, ports, strict=True):
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    (cluster,) = resources["clusters"]
    del cluster["cluster_type"]
    cluster["type"] = "STATIC"
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "health_check_config": {"port_value": health},
            }
        }
        for port, health in replicas
    ]
    if not retries:
        for listener in resources["listeners"]:
            (chain,) = listener["filter_chains"]
            http = chain["filters"][0]["typed_config"]
            for route in http["route_config"]["virtual_hosts"][0]["routes"]:
                route["route"].pop("retry_policy", None)
    return configuration


@contextmanager
def envoy(replicas: Sequence[Ports], folder: Path, *, retries: bool) -> Iterator[str]:
    """Start Envoy in front of replicas; yield its address when all of them are healthy."""
    ports = free_ports(3)
    file = folder / "envoy.yaml"
    file.write_text(json.dumps(envoy_configuration(replicas, ports, retries=retries)))
    command = [str(ENVOY), "-c", str(file), "--concurrency", "1", "--log-level", "warning"]
    with _running([*command, "--use-dynamic-base-id"], folder / "envoy.log"):
        _wait_until_healthy(
            f"http://127.0.0.1:{ports[2]}/stats?filter=membership_healthy",
            rf"membership_healthy: {len(replicas)}\b",
        )
        yield f"127.0.0.1:{ports[0]}"


def haproxy_configuration(replicas: Sequence[Ports], ports: Sequence[int], *, retries: bool) -> str:
    """Return haproxy.cfg with the addresses of local replicas, and a page of its state.

    Args:
        replicas: The replicas.
        ports: Free ports for the frontend's two addresses and for the page.
        retries: Whether it keeps its retries.
    """
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    for shown, port in zip((8500, 8501), ports, strict=False):
        text = text.replace(f"bind :{shown}", f"bind 127.0.0.1:{port}")
    text = re.sub(r"\n    (default-server.*) port 8502", r"\n    \1", text)
    servers_there = "".join(
        f"    server replica{number} 127.0.0.1:{port} port {health}\n"
        for number, (port, health) in enumerate(replicas)
    )
    text = re.sub(r"    server-template .*\n", servers_there, text)
    if not retries:
        text = text.replace("retries 2", "retries 0").replace("option redispatch 1", "")
    page = f"bind 127.0.0.1:{ports[2]}\n    stats enable\n    stats uri /"
    return f"{text}\nfrontend state\n    {page}\n"


@contextmanager
def haproxy(replicas: Sequence[Ports], folder: Path, *, retries: bool) -> Iterator[str]:
    """Start HAProxy in front of replicas; yield its address when all of them are healthy."""
    ports = free_ports(3)
    file = folder / "haproxy.cfg"
    file.write_text(haproxy_configuration(replicas, ports, retries=retries))
    with _running([str(HAPROXY), "-f", str(file)], folder / "haproxy.log"):
        up = rf"(?s)(serving,replica\d+,[^\n]*,UP,.*){{{len(replicas)}}}"
        _wait_until_healthy(f"http://127.0.0.1:{ports[2]}/;csv", up)
        yield f"127.0.0.1:{ports[0]}"


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.kill()
            process.wait(servers.STOP_SECONDS)


def _wait_until_healthy(url: str, pattern: str) -> None:
    """Wait until the page of a balancer's state matches a pattern."""
    give_up_at = time.monotonic() + servers.START_SECONDS
    while True:
        text = ""
        try:
            with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310 - a local page
                text = page.read().decode()
        except OSError:
            pass
        if re.search(pattern, text):
            return
        assert time.monotonic() < give_up_at, text
        time.sleep(0.1)
