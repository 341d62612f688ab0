"""Plots of latency: its distribution, over throughput by batch size, and over time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hdrh.histogram import HdrHistogram

from loadtest.report_schema import Report
from loadtest.reports.configurations import Configuration, Subject
from loadtest.reports.measures import Spread
from loadtest.reports.plots.frame import Look, hover, legend, repeats_text
from training.pages.chart import Chart, Point
from training.pages.drawing import Figure, Legend, missing
from training.pages.scales import Linear, Percentiles, either, logarithmic

# A percentile p has 99 % confidence if n is at least 6.638 / (1 - p), for n in the hundreds and
# more; see `percentiles.samples_needed`.
_VALUES_OVER = 6.638
_LATENCY = "latency (ms)"
_TITLES = {
    "single-stream": "Latency distribution, SingleStream",
    "multi-stream": "Latency distribution, MultiStream",
    "server": "Latency distribution, Server",
    "users": "Latency distribution, users",
    "capacity": "Latency distribution at the capacity found",
}
_MOST_TIMELINES = 6
_MARKED = (50, 90, 99, 99.9, 99.99)


def distributions(
    configurations: Sequence[Configuration], looks: Mapping[Subject, Look]
) -> list[Figure]:
    """Return latency over the percentile, a plot for each scenario with answers."""
    figures = []
    for kind, title in _TITLES.items():
        chosen = representatives(
            configuration for configuration in configurations if configuration.load.kind == kind
        )
        curves = [
            (configuration, histogram)
            for configuration in chosen
            if (histogram := configuration.histogram()) is not None
        ]
        if curves:
            figures.append(_distribution(title, curves, looks))
    if not figures:
        why = "No run of a scenario whose latency counts (all but Offline) has answers."
        return [missing("Latency distribution", why)]
    return figures


def per_batch(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> Figure:
    """Return median latency over throughput of closed loops, a curve for each batch size."""
    title = "Latency over throughput by batch size"
    curves: dict[tuple[Subject, int], list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        if configuration.load.loop == "closed" and configuration.spread("images_per_second"):
            curves[configuration.subject, configuration.load.batch].append(configuration)
    points = [
        (configuration.spread("images_per_second"), configuration.spread("p50_ms"))
        for curve in curves.values()
        for configuration in curve
    ]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    if not known:
        return missing(title, "No closed-loop run with enough answers for a median.")
    chart = Chart(
        either(value for x, _ in known for value in (x.low, x.high)),
        logarithmic(value for _, y in known for value in (y.low, y.high)),
        x_label="throughput (images/s)",
        y_label="p50 latency (ms)",
        name=title,
    )
    for (subject, batch), curve in curves.items():
        curve.sort(key=lambda configuration: configuration.load.in_flight_cap)
        look = looks[subject]
        line: list[Point] = []
        for configuration in curve:
            x, y = configuration.spread("images_per_second"), configuration.spread("p50_ms")
            if x is None or y is None:
                continue
            line.append((x.median, y.median))
            chart.bar((x.low, x.high), (y.median, y.median), look.colour)
            chart.bar((x.median, x.median), (y.low, y.high), look.colour)
        chart.line(line, f"{look.line} thin")
        for configuration, point in zip(curve, line, strict=False):
            y = configuration.spread("p50_ms")
            assert y is not None  # noqa: S101 - it is on the line
            text = hover(look, configuration.load, y, "ms", valid=configuration.valid)
            chart.mark(point, look.mark(valid=configuration.valid), look.shape, text)
        if line:
            chart.note(line[-1], f"{batch}", look.colour)
    return Figure(
        title,
        chart.drawing(),
        "Closed loops; along a line more requests are under way. The number is the batch size. "
        + repeats_text([configuration for curve in curves.values() for configuration in curve]),
        legend([looks[subject] for subject, _ in curves]),
    )


def over_time(
    configurations: Sequence[Configuration], looks: Mapping[Subject, Look]
) -> list[Figure]:
    """Return latency over time, of the run with the slowest answer of each subject."""
    title = "Latency over time"
    chosen = [
        configuration
        for kind in ("server", "capacity", "users", "single-stream")
        for configuration in representatives(
            configuration for configuration in configurations if configuration.load.kind == kind
        )
    ]
    seen: set[Subject] = set()
    figures = []
    for configuration in chosen:
        report = max(configuration.reports, key=lambda report: report.latency_ms.max or 0)
        drawable = sum(window.p50_ms is not None for window in report.windows) > 1
        if configuration.subject in seen or not drawable:
            continue
        seen.add(configuration.subject)
        look = looks[configuration.subject]
        figures.append(_timeline(f"{title}: {look.label}", configuration, report, look))
    if not figures:
        return [missing(title, "No run lasted two seconds with enough answers in each.")]
    return figures[:_MOST_TIMELINES]


def representatives(configurations: Iterable[Configuration]) -> list[Configuration]:
    """Return the heaviest VALID load of each subject, or the lightest one if none is VALID."""

    def weight(configuration: Configuration) -> tuple[float, int, int]:
        load = configuration.load
        return load.rate or 0, load.users or 0, -load.batch

    by_subject: dict[Subject, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        by_subject[configuration.subject].append(configuration)
    return [
        max((one for one in own if one.valid), key=weight, default=min(own, key=weight))
        for own in by_subject.values()
    ]


def _distribution(
    title: str,
    curves: Sequence[tuple[Configuration, HdrHistogram]],
    looks: Mapping[Subject, Look],
) -> Figure:
    lines = {id(configuration): _curve(histogram) for configuration, histogram in curves}
    floor = _floor([configuration for configuration, _ in curves])
    values = [latency for line in (*lines.values(), floor) for _, latency in line]
    top = max(percent for line in lines.values() for percent, _ in line)
    chart = Chart(
        Percentiles(max(top, 99.0)),
        logarithmic(values),
        x_label="percentile, each nine as wide",
        y_label=_LATENCY,
        name=title,
    )
    parts, entries = [], []
    for configuration, histogram in curves:
        look, line = looks[configuration.subject], lines[id(configuration)]
        carried = 100 * (1 - _VALUES_OVER / histogram.total_count)
        solid = [point for point in line if point[0] <= carried]
        chart.line(solid, look.line, stairs=True)
        chart.line(line[max(0, len(solid) - 1) :], f"{look.line} faint", stairs=True)
        for percent in _MARKED:
            if percent <= carried:
                latency = histogram.get_value_at_percentile(percent) / 1000
                text = f"{look.label}, {configuration.load}: p{percent:g} {latency:,.3f} ms"
                chart.mark((percent, latency), look.colour, look.shape, text)
        entries += legend([replace(look, label=f"{look.label}: {configuration.load}")])
        parts.append(f"{histogram.total_count:,}")
    for percent, latency in floor:
        text = f"null server: p{percent:g} {latency:,.3f} ms"
        chart.mark((percent, latency), "floor hollow", "circle", text)
    if floor:
        entries.append(Legend("null server: client and network alone", mark="floor hollow"))
    caption = (
        f"n = {', '.join(parts)} requests, repeats together. "
        "Faint where n is too small for 99 % confidence."
    )
    return Figure(title, chart.drawing(), caption, entries)


def _floor(configurations: Sequence[Configuration]) -> list[Point]:
    """Return median and p99 of the null server under the same loads."""
    points = []
    for percent, name in ((50.0, "floor_p50_ms"), (99.0, "floor_p99_ms")):
        measured = [one.spread(name) for one in configurations]
        spread = Spread.of(one.median for one in measured if one is not None)
        if spread is not None:
            points.append((percent, spread.median))
    return points


def _curve(histogram: HdrHistogram) -> list[Point]:
    """Return (percentile, latency in ms) points, without steps too small to be visible."""
    n = histogram.total_count
    line: list[Point] = []
    for item in histogram.get_recorded_iterator():
        percent = 100 * (item.total_count_to_this_value - item.count_at_value_iterated_to) / n
        point = (percent, item.value_iterated_to / 1000)
        # A point is kept if 1 / (1 - p) grows by 0.5 % or the latency by 1 %.
        if line and (100 - line[-1][0]) / (100 - percent) < 1.005 and point[1] < 1.01 * line[-1][1]:
            continue
        line.append(point)
    return line


def _timeline(title: str, configuration: Configuration, report: Report, look: Look) -> Figure:
    windows = report.windows
    lines = {
        "max_ms": ("faint", "slowest"),
        "p99_ms": ("", "p99"),
        "p50_ms": ("thin", "p50"),
    }
    points: dict[str, list[Point]] = {
        name: [
            (window.t_seconds, value)
            for window in windows
            if (value := getattr(window, name)) is not None
        ]
        for name in lines
    }
    values = [value for line in points.values() for _, value in line]
    chart = Chart(
        Linear(0, windows[-1].t_seconds + 1),
        logarithmic(values),
        x_label="time (s)",
        y_label=_LATENCY,
        name=title,
    )
    entries = []
    for name, (style, text) in lines.items():
        if len(points[name]) > 1:
            chart.line(points[name], f"{look.colour} {style}", stairs=True)
            entries.append(Legend(text, line=f"{look.colour} {style}"))
    failed = [window for window in windows if window.errors]
    for window in failed:
        text = f"second {window.t_seconds:g}: {window.errors:,} errors"
        chart.mark((window.t_seconds + 0.5, min(values)), "bad", "triangle", text)
    if failed:
        entries.append(Legend("second with errors", mark="bad", shape="triangle"))
    repeats = len(configuration.results)
    which = f"the one of {repeats} repeats with the slowest answer" if repeats > 1 else "one run"
    caption = f"{configuration.load}; {which}, second by second."
    return Figure(title, chart.drawing(), caption, entries)
