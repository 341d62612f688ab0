import pytest
from sample_results import load_reports

from loadtest.report_traffic_schema import LoadPhase
from loadtest.reports import collection
from loadtest.reports.configurations import configurations
from loadtest.reports.plots import latency, rates, traffic
from loadtest.reports.plots.frame import looks


def phases(*planned: float) -> list[LoadPhase]:
    """Phases of ten seconds with these rates."""
    return [
        LoadPhase(
            name=f"{rate:g}/s",
            spans_seconds=[(10.0 * number, 10.0 * (number + 1))],
            planned_rate_per_second=rate,
            scheduled=round(10 * rate),
            answered=round(10 * rate),
            failed=0,
            missed=0,
            wrong=0,
            p50_ms=1.0 + number,
            p90_ms=2.0 + number,
            p99_ms=3.0 + number,
            max_ms=9.0,
            goodput_per_second=rate,
            goodput_share=1.0,
            top1=0.5,
        )
        for number, rate in enumerate(planned)
    ]


def measured(*planned: float, shape: str | None = "a shape", **more):
    """Configurations of a run with phases of these rates."""
    made = load_reports.report(kind="server", rate=75, n=3000)
    changes = {"scenario.shape": shape, "phases": phases(*planned), **more}
    return configurations(collection.single(load_reports.changed(made, changes)).results)


def test_the_offered_rate_is_drawn_beside_the_plan():
    """A shape has a figure with the planned rate; a steady load has none."""
    shaped, steady = measured(50, 100), measured(shape=None)

    (figure,) = traffic.over_time(shaped, looks(shaped))

    assert figure.title == "Offered rate over time: simcnn fp32"
    assert [entry.text for entry in figure.legend][-1] == "planned, mean of each phase"
    assert "a shape" in figure.caption
    assert traffic.over_time(steady, looks(steady)) == []


@pytest.mark.parametrize(
    ("planned", "markers"),
    [
        pytest.param((50, 100, 200), 3, id="rising"),
        pytest.param((200, 100, 50), 3, id="falling"),
        pytest.param((50, 200, 50), 0, id="bursts"),
        pytest.param((), 0, id="replay"),
    ],
)
def test_phases_of_a_ramp_are_points_over_their_rates(planned, markers):
    """Latency and goodput have a marker for each phase whose rates only rise, or only fall."""
    shaped = measured(*planned)

    for figure in (rates.over_rate(shaped, looks(shaped)), rates.goodput(shaped, looks(shaped))):
        shapes = figure.drawing.shapes if figure.drawing is not None else ()
        titles = [one.title for one in shapes if one.attributes.get("class") == "mark m0"]
        assert len(titles) in {markers, 2 * markers}  # of latency p50 and p99
        assert ("each phase is a marker" in figure.caption) == (markers > 0)


def test_loads_of_changing_rate_and_streams_are_drawn_apart():
    """A shape and each stream have a timeline of their own beside the steady load."""
    steady = load_reports.report(kind="server", rate=75, n=3000)
    others = [
        load_reports.changed(steady, {"scenario.shape": "a shape"}),
        load_reports.changed(steady, {"scenario.stream": "small"}),
        load_reports.changed(steady, {"scenario.stream": "large"}),
    ]
    found = configurations(load_reports.collection([steady, *others]).results)

    assert len(latency.representatives(found)) == 4
    assert len(latency.over_time(found, looks(found))) == 4


def test_no_line_joins_the_rates_of_streams_and_shapes():
    """Two streams, a steady load and a ramp of one subject: only the ramp's phases are joined."""
    steady = load_reports.report(kind="server", rate=75, n=3000)
    others = [
        load_reports.changed(steady, {"scenario.stream": "small"}),
        load_reports.changed(
            load_reports.report(kind="server", rate=150, n=3000), {"scenario.stream": "large"}
        ),
        load_reports.changed(
            steady, {"scenario.shape": "a shape", "phases": phases(50, 100, 200, 400)}
        ),
    ]
    found = configurations(load_reports.collection([steady, *others]).results)

    drawing = rates.over_rate(found, looks(found)).drawing

    lines = [
        one.attributes["d"]
        for one in drawing.shapes
        if one.attributes.get("class", "").startswith("line m0")
    ]
    assert [line.count("L") for line in lines] == [3, 3]  # p50 and p99
