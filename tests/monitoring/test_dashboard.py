"""Tests of the dashboard that need no server: its panels are complete, its queries well formed."""

from xml.etree import ElementTree as ET

import pytest
import yaml
from monitoring.dashboard import DASHBOARD, metrics_of, panels, queries
from monitoring.prometheus_process import DEPLOY
from monitoring.rules_file import KNOWN


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel):
    """A panel has a title, a sentence of description, a unit, and queries of the data source."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_do_not_cover_each_other():
    """No two panels share a cell of the grid of 24 columns, and their numbers are distinct."""
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_variables_are_data_source_job_model_and_replica():
    """The dashboard can be limited to a data source, jobs, models and replicas."""
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]

    assert names == ["datasource", "job", "model_name", "instance"]


@pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.panel} {query.legend}")
def test_a_query_uses_metrics_that_exist_and_the_variables(query):
    """A query reads known series, and is limited to the chosen jobs."""
    assert metrics_of(query.filled()) - KNOWN - {"ALERTS"} == set()
    assert "$job" in query.expression
    # Series that Prometheus records are of all replicas together.
    if "job_model:" not in query.expression and query.panel != "Alerts":
        assert "$instance" in query.expression


def test_grafana_reads_the_dashboard_from_where_compose_mounts_it():
    """The provider's folder is the one that compose.yaml mounts the dashboard into."""
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    compose = yaml.safe_load((DEPLOY.parents[1] / "compose.yaml").read_text())
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]

    assert f"{provider['options']['path']}/onnx-serving.json" in mounted


def test_grafana_asks_the_prometheus_of_compose_as_often_as_it_scrapes():
    """The data source is the service `prometheus`, with the interval of its configuration."""
    file = DEPLOY / "grafana" / "data-source.yaml"
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_the_picture_shows_panels_and_says_what_it_is():
    """docs/monitoring.svg is small, has the titles of panels, and says that it is no screenshot."""
    file = DEPLOY.parents[1] / "docs" / "monitoring.svg"
    drawn = ET.parse(file)  # noqa: S314 - a file of this repository
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    titles = {panel["title"] for panel in panels()}

    assert file.stat().st_size < 100_000
    assert len(texts & titles) == 12
    assert any("not a screenshot of Grafana" in str(text) for text in texts)
