"""Plots of latency: its distribution, over throughput by batch size, and over time."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hdrh.histogram import HdrHistogram

from loadtest.report_schema import Report
from loadtest.report_sections_schema import Window
from loadtest.reports.configurations import Configuration, Subject, unit
from loadtest.reports.measures import Spread
from loadtest.reports.plots.frame import Look, doubt, hover, legend, one_point, repeats_text
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

# Loads that differ in these are drawn apart: subject, shape, replay and stream.
_Drawn = tuple[Subject, str | None, str | None, str | None]


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
            if (histogram := configuration.histogram()) is not None and len(_curve(histogram)) > 1
        ]
        if curves:
            figures.append(_distribution(title, curves, looks))
    if not figures:
        why = "No run of a scenario whose latency counts (all but Offline) has different latencies."
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
        (one, one.spread("images_per_second"), one.spread("p50_ms"))
        for curve in curves.values()
        for one in curve
    ]
    known = [(one, x, y) for one, x, y in points if x is not None and y is not None]
    if not known:
        return missing(title, "No closed-loop run with enough answers for a median.")
    if len(known) == 1:
        ((only, speed, p50),) = known
        figures = f"{speed.median:,.0f} {unit(only.reports)}/s, p50 {p50.median:,.3f} ms"
        return one_point(title, f"{looks[only.subject].label}, {only.load}: {figures}")
    chart = Chart(
        either(value for _, x, _ in known for value in (x.low, x.high)),
        logarithmic(value for *_, y in known for value in (y.low, y.high)),
        x_label=f"throughput ({unit(report for one, *_ in known for report in one.reports)}/s)",
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
            text = hover(look, configuration.load, y, "ms", doubt(configuration))
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
    seen: set[_Drawn] = set()
    figures = []
    for configuration in chosen:
        report = max(configuration.reports, key=lambda report: report.latency_ms.max or 0)
        drawable = sum(window.p50_ms is not None for window in report.windows) > 1
        key = _drawn_as(configuration)
        if key in seen or not drawable:
            continue
        seen.add(key)
        look = looks[configuration.subject]
        stream = configuration.load.stream
        name = look.label if stream is None else f"{look.label}, stream {stream}"
        figures.append(_timeline(f"{title}: {name}", configuration, report, look))
    if not figures:
        why = "No run has two buckets of time with enough answers for a median."
        return [missing(title, why)]
    return figures[:_MOST_TIMELINES]


def representatives(configurations: Iterable[Configuration]) -> list[Configuration]:
    """Return the heaviest VALID load of each subject, or the lightest one if none is VALID.

    A load of changing rate, and each stream of a mix, stands for itself.
    """

    def weight(configuration: Configuration) -> tuple[float, int, int]:
        load = configuration.load
        return load.rate or 0, load.users or 0, -load.batch

    by_subject: dict[_Drawn, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        by_subject[_drawn_as(configuration)].append(configuration)
    return [
        max((one for one in own if one.valid), key=weight, default=min(own, key=weight))
        for own in by_subject.values()
    ]


def _drawn_as(configuration: Configuration) -> _Drawn:
    load = configuration.load
    return configuration.subject, load.shape, load.replay, load.stream


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
    width = windows[0].seconds
    lines = {
        "max_ms": ("faint", "slowest"),
        "p99_ms": ("", "p99"),
        "p50_ms": ("thin", "p50"),
    }
    pieces = {name: _pieces(windows, name) for name in lines}
    values = [value for drawn in pieces.values() for piece in drawn for _, value in piece]
    chart = Chart(
        Linear(0, windows[-1].t_seconds + width),
        logarithmic(values),
        x_label=f"time (s), in buckets of {width:g} s",
        y_label=_LATENCY,
        name=title,
    )
    entries = []
    for name, (style, text) in lines.items():
        for piece in pieces[name]:
            chart.line(piece, f"{look.colour} {style}", stairs=True)
        if pieces[name]:
            entries.append(Legend(text, line=f"{look.colour} {style}"))
    failed = [window for window in windows if window.errors]
    for window in failed:
        start = window.t_seconds
        text = f"{start:g} to {start + width:g} s: {window.errors:,} errors"
        chart.mark((start + width / 2, min(values)), "bad", "triangle", text)
    if failed:
        entries.append(Legend("bucket with errors", mark="bad", shape="triangle"))
    repeats = len(configuration.results)
    which = f"the one of {repeats} repeats with the slowest answer" if repeats > 1 else "one run"
    caption = f"{configuration.load}; {which}. A request counts in the bucket in which it was due."
    if not pieces["p99_ms"]:
        needed = report.latency_ms.requests_needed["p99"]
        caption += f" A p99 needs {needed:,} answers in a bucket."
    return Figure(title, chart.drawing(), caption, entries)


def _pieces(windows: Sequence[Window], name: str) -> list[list[Point]]:
    """Return the stairs of a figure; buckets without it interrupt them."""
    pieces: list[list[Point]] = []
    end = None
    for window in windows:
        value = getattr(window, name)
        if value is None:
            continue
        if window.t_seconds != end:
            pieces.append([])
        start, end = window.t_seconds, window.t_seconds + window.seconds
        # The second point ends the last stair; the next bucket replaces it.
        pieces[-1][-1:] = [(start, value)]
        pieces[-1].append((end, value))
    return pieces
