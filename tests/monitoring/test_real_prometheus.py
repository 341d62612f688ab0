"""Every query and every recorded series has data in a real Prometheus beside two busy servers."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from monitoring import busy_servers
from monitoring.dashboard import DASHBOARD, FILLED, Query, queries
from monitoring.prometheus_process import MISSING, PROMETHEUS, Prometheus, prometheus
from monitoring.rules_file import RECORDED

pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason=MISSING),
    # The first test waits for the servers to start.
    pytest.mark.timeout(240),
]
# Calls a second of each of three threads: enough for every series, and little CPU time.
RATE = 20
LOAD_SECONDS = 150


class Observed(NamedTuple):
    """A Prometheus that scrapes two servers under load, and the numbers of calls so far."""

    prometheus: Prometheus
    servers: busy_servers.BusyServers
    calls: Counter[tuple[str, str]]


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> Iterator[Observed]:
    """Start servers, load and Prometheus; the load ends after LOAD_SECONDS at the latest."""
    folder = tmp_path_factory.mktemp("monitoring")
    give_up_at = time.monotonic() + LOAD_SECONDS

    def rate(_seconds: float) -> float:
        return RATE if time.monotonic() < give_up_at else 0.1

    with (
        busy_servers.two_servers(folder) as servers,
        busy_servers.load(servers, rate, threads=1) as calls,
        prometheus(servers.pages, folder) as found,
    ):
        yield Observed(found, servers, calls)


@pytest.mark.parametrize("query", queries(), ids=lambda query: f"{query.panel} {query.legend}")
def test_a_query_of_the_dashboard_has_data(observed, query):
    """A query of a panel returns values, and each of its series has a name."""
    found = observed.prometheus.wait_for(query.filled())

    assert found != []
    if query.legend:
        assert all(query.name_of(labels).strip() for labels, _ in found)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_series_has_data(observed, name):
    """A recording rule has written values; those of models are of each job and model."""
    found = observed.prometheus.wait_for(name)

    assert found != []
    if name.startswith("job_model:"):
        assert {frozenset(labels) for labels, _ in found} == {
            frozenset({"__name__", "job", "model_name"})
        }


@pytest.mark.parametrize(
    "variable",
    [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"],
    ids=lambda variable: variable["name"],
)
def test_a_variable_has_values(observed, variable):
    """The query behind a variable, label_values(series, label), finds the label in the series."""
    series, _, label = variable["query"]["query"][len("label_values(") : -1].rpartition(", ")
    found = observed.prometheus.wait_for(series.replace("$job", FILLED["job"]))

    assert found != []
    assert all(labels[label] for labels, _ in found)


def shown(observed: Observed, panel: str, **variables: str) -> list[tuple[dict[str, str], float]]:
    """Return what the first query of a panel shows, with some variables set."""
    query: Query = next(query for query in queries() if query.panel == panel)
    return observed.prometheus.wait_for(query.filled(FILLED | variables))


def test_the_panels_show_what_is_there(observed):
    """Replicas, states, labels and pending alerts are those of the two servers."""
    replicas = shown(observed, "Replicas")
    states = {
        (labels["instance"], labels["model_name"], labels["version"], labels["state"])
        for labels, _ in shown(observed, "Versions")
    }
    pages = observed.servers.pages

    assert [value for _, value in replicas] == [2]
    assert {(page, "simcnn", "1", "AVAILABLE") for page in pages} <= states
    assert (observed.servers.both, "broken", "2", "END") in states
    assert shown(observed, "Labels") == [
        ({"model_name": "identity", "label": "stable", "version": "1"}, 1)
    ]
    alerts = {labels["alertname"] for labels, _ in shown(observed, "Alerts")}
    assert "VersionFailedToLoad" in alerts
    assert alerts & {"ServerDown", "NoServer", "ReplicaWithoutModels", "WorkerMissing"} == set()


def test_the_variables_limit_a_panel(observed):
    """With one model and one replica chosen, a panel shows these alone."""
    (both,) = (page for page in observed.servers.pages if page == observed.servers.both)
    models = {labels["model_name"] for labels, _ in shown(observed, "Requests by model")}
    chosen = shown(observed, "Versions", model_name="identity", instance=both)

    assert {"identity", "simcnn", "fragile", "unknown"} <= models
    assert [(labels["model_name"], labels["instance"]) for labels, _ in chosen] == [
        ("identity", both)
    ]


def test_the_calls_end_as_they_should(observed):
    """The load has answers, callers' errors and errors of the server, of both protocols."""
    while sum(observed.calls.values()) < 500:
        time.sleep(0.2)
    statuses = {
        model: {status for name, status in observed.calls if name == model}
        for model in ("identity", "simcnn", "fragile", "nobody")
    }

    assert statuses["identity"] == {"200", "400", "OK"}
    assert statuses["nobody"] == {"404"}
    assert {"200", "OK"} <= statuses["simcnn"]
    assert statuses["fragile"] & {"200", "OK"} == set()
