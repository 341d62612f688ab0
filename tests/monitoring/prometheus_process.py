"""Debian's Prometheus as a process with the configuration and rules of deploy/monitoring."""

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from running import servers
from scale.balancers import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = DEPLOY / "rules.yaml"
_UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"
MISSING = (
    "Prometheus is missing; `make prometheus` unpacks Debian's package, "
    "and apt-get install prometheus installs it"
)


def _find(name: str) -> str | None:
    """Return the path of a program, preferably of those that `make prometheus` has unpacked."""
    return shutil.which(name, path=_UNPACKED) or shutil.which(name)


PROMETHEUS, PROMTOOL = _find("prometheus"), _find("promtool")


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Return the `data` of an answer.

        Raises:
            urllib.error.HTTPError: the expression or a parameter is wrong.
        """
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as page:
            return json.load(page)["data"]

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series of an expression now; NaN is left out."""
        data = self.ask("query", query=expression)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        found = [(one["metric"], float(one["value"][1])) for one in data["result"]]
        return [(labels, value) for labels, value in found if value == value]  # noqa: PLR0124

    def wait_for(self, expression: str, seconds: float = 60) -> list[tuple[dict[str, str], float]]:
        """Return the series of an expression as soon as there are any; empty if there are none."""
        give_up_at = time.monotonic() + seconds
        while not (found := self.values(expression)) and time.monotonic() < give_up_at:
            time.sleep(0.5)
        return found


def configuration(targets: Sequence[str]) -> dict[str, Any]:
    """Return prometheus.yml with these targets in place of the discovery, and intervals of 1 s."""
    read = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    read["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    read["rule_files"] = [str(DEPLOY / name) for name in read["rule_files"]]
    (scrape,) = read["scrape_configs"]
    del scrape["dns_sd_configs"]
    scrape["static_configs"] = [{"targets": list(targets)}]
    return read


@contextmanager
def prometheus(targets: Sequence[str], folder: Path) -> Iterator[Prometheus]:
    """Start Prometheus, which scrapes these addresses; yield it when it is ready."""
    assert PROMETHEUS is not None
    (port,) = free_ports(1)
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration(targets)))
    command = [PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=output
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/-/ready", process, log)
        yield Prometheus(f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait(servers.STOP_SECONDS)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + servers.START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a local page
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up_at, log.read_text()
        time.sleep(0.1)
