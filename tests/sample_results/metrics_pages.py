"""A server's metrics page, read by Prometheus' own parser, and managers with counts."""

import re

import numpy as np
from calling.rest_client import Http
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.catalog import Catalog
from serving.engine.managed_model import ManagerConfig
from serving.engine.manager import Manager
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.monitoring.counts import Metrics

PATH = "/monitoring/prometheus/metrics"
ONE = {"instances": [[1, 2, 3]]}
TFS = ":tensorflow:serving:"
ROW = np.ones((1, 3), np.float32)


class Page:
    """A scraped page, read by Prometheus' own parser."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        # The parser adds `_total` to the counters that lack it.
        self._samples = {
            (self._written(sample.name), frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def _written(self, name: str) -> str:
        found = re.search(rf"^{re.escape(name)}[{{ ]", self.text, re.MULTILINE)
        return name if found else name.removesuffix("_total")

    def value(self, name: str, **labels: str) -> float:
        """Return the value of the one sample with exactly these labels."""
        return self._samples[name, frozenset(labels.items())]

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the label sets of all samples with this name."""
        return [dict(labels) for sample, labels in self._samples if sample == name]


def scrape(address: str, path: str = PATH) -> Page:
    status, headers, body = Http(address).ask("GET", path)
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(body.decode())


def load(name, version, path):
    return Servable.load(name, version, path, RuntimeConfig(), BatchingConfig())


def counted_manager(find) -> tuple[Manager, Metrics]:
    """Return a manager that does not poll, and the counts of its models."""
    manager = Manager(find, load, ManagerConfig(poll_seconds=0), Catalog())
    metrics = Metrics(manager.catalog)
    manager.on_load = metrics.watch
    return manager, metrics
