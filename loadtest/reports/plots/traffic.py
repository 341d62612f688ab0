"""The offered rate over time of a load whose rate changes."""

from collections.abc import Mapping, Sequence

from loadtest.report_schema import Report
from loadtest.report_traffic_schema import LoadPhase
from loadtest.reports.configurations import Configuration, Subject
from loadtest.reports.plots.frame import Look
from training.pages.chart import Chart, Point
from training.pages.drawing import Figure, Legend
from training.pages.scales import Linear, linear

_MOST_FIGURES = 6


def over_time(
    configurations: Sequence[Configuration], looks: Mapping[Subject, Look]
) -> list[Figure]:
    """Return the offered rate over time of the first run of each shape and replay."""
    found = []
    for one in configurations:
        changes = one.load.shape is not None or one.load.replay is not None
        report = one.reports[0]
        if changes and len(report.windows) > 1:
            found.append(_figure(one, report, looks[one.subject]))
    return found[:_MOST_FIGURES]


def _figure(configuration: Configuration, report: Report, look: Look) -> Figure:
    windows, title = report.windows, f"Offered rate over time: {look.label}"
    width = windows[0].seconds
    offered = [(window.t_seconds, window.scheduled / width) for window in windows]
    good = [(window.t_seconds, (window.scheduled - window.errors) / width) for window in windows]
    planned = _planned(report.phases)
    end = max([windows[-1].t_seconds + width, *(x for x, _ in planned)])
    chart = Chart(
        Linear(0, end),
        linear([0.0, *(rate for line in (offered, good, planned) for _, rate in line)]),
        x_label=f"time (s), in buckets of {width:g} s",
        y_label="requests/s",
        name=title,
    )
    chart.line(planned, "ideal", stairs=True)
    chart.line(_closed(offered, width), look.colour, stairs=True)
    entries = [Legend("due", line=look.colour)]
    if good != offered:
        chart.line(_closed(good, width), f"{look.colour} faint", stairs=True)
        entries.append(Legend("due and answered well", line=f"{look.colour} faint"))
    if planned:
        entries.append(Legend("planned, mean of each phase", line="ideal"))
    caption = (
        f"{configuration.load}. A request counts in the bucket in which it was due; time counts "
        "from the first one, and the run may end within the last bucket."
    )
    if planned:
        caption += " The numbers of Poisson arrivals vary by chance around the plan."
    return Figure(
        title,
        chart.drawing(),
        caption,
        entries,
    )


def _planned(phases: Sequence[LoadPhase]) -> list[Point]:
    """Return the stairs of the planned rate."""
    spans = sorted(
        (start, end, phase.planned_rate_per_second)
        for phase in phases
        for start, end in phase.spans_seconds
    )
    line = [(start, rate) for start, _, rate in spans]
    return [*line, (spans[-1][1], spans[-1][2])] if spans else []


def _closed(line: Sequence[Point], width: float) -> list[Point]:
    """Return stairs with the end of the last one."""
    last, height = line[-1]
    return [*line, (last + width, height)]
