"""Plots over the offered rate of the open loop: latency and goodput."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loadtest.report_schema import CapacityStep, Report
from loadtest.reports.configurations import CAPACITY, Configuration, LoadKey, Subject
from loadtest.reports.measures import Spread, value_at
from loadtest.reports.plots.frame import Look, doubt, hover, legend, one_point, repeats_text
from training.pages.chart import Chart, Point
from training.pages.drawing import Figure, Legend, missing
from training.pages.scales import Linear, either, linear, logarithmic

# Steps of a search whose rates differ by less than this factor are one point with its spread,
# because they scatter near the highest rate.
_SAME_RATE = 1.1
_FLOOR_LINES = ("p50_ms", "p99_ms")
# What the points of one line have in common: subject, batch, shape and stream.
CurveKey = tuple[Subject, int, str | None, str | None]
_CUT_SHORT = "hollow faint"


@dataclass(frozen=True)
class RatePoint:
    """The figures at one offered rate: of repeated runs, or of steps of find-capacity.

    Attributes:
        load: The load at this rate.
        rate: Requests per second.
        p50_ms: Median latency.
        tail_ms: Latency at the percentile of the bound.
        goodput: Good answers per second.
        why_hollow: Why the figures do not count: runs are INVALID, or the client was the limit;
            empty if they count.
        cut_short: Whether these are steps that ended as soon as they could no longer pass.
    """

    load: LoadKey
    rate: float
    p50_ms: Spread | None
    tail_ms: Spread | None
    goodput: Spread | None
    why_hollow: str
    cut_short: bool = False


def over_rate(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> Figure:
    """Return median and tail latency over the offered rate, with null server and bound."""
    title = "Latency over the offered rate"
    curves = _rate_curves(configurations)
    values = [
        value
        for points in curves.values()
        for point in points
        for spread in (point.p50_ms, point.tail_ms)
        if spread is not None
        for value in (spread.low, spread.high)
    ]
    if not values:
        return missing(title, "No open-loop run (Server, find-capacity) was measured.")
    reports = [
        report for one in configurations if one.load.loop == "open" for report in one.reports
    ]
    percentile = next((report.scenario.slo_percentile for report in reports), 99.0)
    if (only := _only(curves)) is not None:
        names = (("p50", only[1].p50_ms), (f"p{percentile:g}", only[1].tail_ms))
        known = (f"{name} {spread.median:,.3f} ms" for name, spread in names if spread is not None)
        return one_point(title, f"{looks[only[0]].label}, {only[1].load}: {', '.join(known)}")
    bounds = sorted({slo.limit_ms for report in reports if (slo := report.slo)})
    floors = _floors(reports)
    floor_values = [value for line in floors.values() for _, value in line]
    rates = [point.rate for points in curves.values() for point in points]
    chart = Chart(
        either(rates),
        logarithmic([*values, *bounds, *floor_values]),
        x_label="offered rate (requests/s)",
        y_label="latency (ms)",
        name=title,
    )
    for bound in bounds:
        chart.rule(bound, "slo", f"bound {bound:g} ms")
    for line in floors.values():
        chart.line(line, "floor")
        if len(line) == 1:
            chart.mark(line[0], "floor hollow", "circle", "null server")
    for (subject, *_), points in curves.items():
        look = looks[subject]
        for style, name in ((f"{look.line} thin", "p50_ms"), (look.line, "tail_ms")):
            _draw_rates(chart, points, look, style, name=name)
    lines = legend([looks[subject] for subject, *_ in curves])
    lines += _cut_short_legend(curves, looks)
    if floors:
        lines.append(Legend("null server: client and network alone", line="floor"))
    return Figure(
        title,
        chart.drawing(),
        f"Thick: p{percentile:g}; thin: p50; from the moment a request was due. "
        f"{_phases_text(configurations)}"
        f"Hollow markers are INVALID, or limited by the client. {_repeats(configurations)}",
        lines,
    )


def goodput(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> Figure:
    """Return good answers (within the bound and not wrong) over the offered rate."""
    title = "Goodput over the offered rate"
    curves = {
        key: points
        for key, all_points in _rate_curves(configurations).items()
        if (points := [point for point in all_points if point.goodput is not None])
    }
    if not curves:
        why = "No open-loop run (Server, find-capacity) with a latency bound was measured."
        return missing(title, why)
    if (only := _only(curves)) is not None and only[1].goodput is not None:
        figures = f"{only[1].goodput.median:,.1f} good answers/s"
        return one_point(title, f"{looks[only[0]].label}, {only[1].load}: {figures}")
    rates = [point.rate for points in curves.values() for point in points]
    scale = either(rates)
    heights = [
        max(point.goodput.high, 0.02 * point.rate)
        for points in curves.values()
        for point in points
        if point.goodput is not None
    ]
    y_scale = (
        linear([*heights, *rates]) if isinstance(scale, Linear) else logarithmic([*heights, *rates])
    )
    chart = Chart(
        scale, y_scale, x_label="offered rate (requests/s)", y_label="goodput (1/s)", name=title
    )
    ends = (min(rates), max(rates))
    chart.line([(end, end) for end in ends], "ideal")
    for (subject, *_), points in curves.items():
        look = looks[subject]
        _draw_rates(chart, points, look, look.line, name="goodput", unit="good answers/s")
    return Figure(
        title,
        chart.drawing(),
        "Answers per second that are OK, within the bound and the recorded ones; on the dotted "
        f"line every request gets one. {_phases_text(configurations)}{_repeats(configurations)}",
        [*legend([looks[subject] for subject, *_ in curves]), *_cut_short_legend(curves, looks)],
    )


def _only(
    curves: Mapping[CurveKey, Sequence[RatePoint]],
) -> tuple[Subject, RatePoint] | None:
    """Return the single point of all curves, with its subject; None if there are more."""
    points = [(subject, point) for (subject, *_), curve in curves.items() for point in curve]
    return points[0] if len(points) == 1 else None


def _cut_short_legend(
    curves: Mapping[CurveKey, Sequence[RatePoint]], looks: Mapping[Subject, Look]
) -> list[Legend]:
    """Return the legend entry of the steps that were cut short, if there are any."""
    found = [looks[key[0]] for key, curve in curves.items() if any(at.cut_short for at in curve)]
    if not found:
        return []
    first = found[0]
    text = "search step cut short, not joined by the line"
    return [Legend(text, mark=f"{first.colour} {_CUT_SHORT}", shape=first.shape)]


def _rate_curves(
    configurations: Sequence[Configuration],
) -> dict[CurveKey, list[RatePoint]]:
    """Return the open-loop points of each line, in the order of their rates."""
    curves: dict[CurveKey, list[RatePoint]] = defaultdict(list)
    for configuration in configurations:
        load = configuration.load
        key = configuration.subject, load.batch, load.shape, load.stream
        if configuration.load.kind == CAPACITY:
            curves[key] += _steps(configuration)
        elif configuration.load.rate is not None:
            curves[key].append(_rate_point(configuration, configuration.load.rate))
        elif points := _phases(configuration):
            curves[key] += points
    for curve in curves.values():
        curve.sort(key=lambda point: point.rate)
    return dict(curves)


def _rate_point(configuration: Configuration, rate: float) -> RatePoint:
    percent = configuration.reports[0].scenario.slo_percentile
    return RatePoint(
        load=configuration.load,
        rate=rate,
        p50_ms=configuration.spread("p50_ms"),
        tail_ms=Spread.of(
            report.latency_ms.percentile(percent) for report in configuration.reports
        ),
        goodput=configuration.spread("goodput_per_second"),
        why_hollow=doubt(configuration),
    )


def _steps(configuration: Configuration) -> list[RatePoint]:
    """Return the steps of find-capacity; steps at nearly the same rate are one point.

    Steps that were cut short and full steps are separate points.
    """
    steps = [
        step
        for report in configuration.reports
        if (capacity := report.capacity)
        for step in capacity.steps
    ]
    full = _groups(step for step in steps if not step.cut_short)
    points = []
    for tried in full + _groups(step for step in steps if step.cut_short):
        rate = statistics.median(map(_rate_of, tried))
        points.append(
            RatePoint(
                load=replace(configuration.load, rate=rate),
                rate=rate,
                p50_ms=Spread.of(step.p50_ms for step in tried),
                tail_ms=Spread.of(step.percentile_ms for step in tried),
                goodput=Spread.of(step.goodput_per_second for step in tried),
                why_hollow="limited by the client"
                if any(step.client_limited for step in tried)
                else "",
                cut_short=tried[0].cut_short,
            )
        )
    return points


def _phases(configuration: Configuration) -> list[RatePoint]:
    """Return the phases of a ramp, or of steps that only rise or only fall.

    The other shapes come to the same rate by different ways, which one line cannot show.
    """
    runs = [report.phases for report in configuration.reports]
    rates = [phase.planned_rate_per_second for phase in runs[0]]
    if rates not in (sorted(set(rates)), sorted(set(rates), reverse=True)):
        return []
    tail = f"p{configuration.reports[0].scenario.slo_percentile:g}_ms"
    return [
        RatePoint(
            load=replace(configuration.load, detail=phases[0].name),
            rate=phases[0].planned_rate_per_second,
            p50_ms=Spread.of(phase.p50_ms for phase in phases),
            tail_ms=Spread.of(getattr(phase, tail, None) for phase in phases),
            goodput=Spread.of(phase.goodput_per_second for phase in phases),
            why_hollow=doubt(configuration),
        )
        for phases in zip(*runs, strict=True)
    ]


def _groups(steps: Iterable[CapacityStep]) -> list[list[CapacityStep]]:
    """Return the steps by nearly the same rate, in the order of their rates."""
    groups: list[list[CapacityStep]] = []
    for step in sorted(steps, key=_rate_of):
        if groups and _rate_of(step) <= _SAME_RATE * _rate_of(groups[-1][0]):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _rate_of(step: CapacityStep) -> float:
    return step.offered_rate_per_second


def _draw_rates(
    chart: Chart,
    points: Sequence[RatePoint],
    look: Look,
    style: str,
    *,
    name: str,
    unit: str = "ms",
) -> None:
    known = [(point, spread) for point in points if (spread := getattr(point, name)) is not None]
    full = [(point.rate, spread.median) for point, spread in known if not point.cut_short]
    chart.line(full, style)
    for point, spread in known:
        text = hover(look, point.load, spread, unit, point.why_hollow)
        mark = look.mark(valid=not point.why_hollow)
        if point.cut_short:
            text, mark = f"{text}; cut short", f"{look.colour} {_CUT_SHORT}"
        else:
            chart.bar((point.rate, point.rate), (spread.low, spread.high), look.colour)
        chart.mark((point.rate, spread.median), mark, look.shape, text)


def _floors(reports: Sequence[Report]) -> dict[str, list[Point]]:
    """Return median and p99 of the null server over the offered rate."""
    lines: dict[str, list[Point]] = {}
    for name in _FLOOR_LINES:
        by_rate: dict[float, list[float]] = defaultdict(list)
        for report in reports:
            rate = report.scenario.offered_rate_per_second
            value: float | None = value_at(report.floor, name)
            if rate is not None and value is not None:
                by_rate[rate].append(value)
        if by_rate:
            lines[name] = [
                (rate, spread.median)
                for rate in sorted(by_rate)
                if (spread := Spread.of(by_rate[rate]))
            ]
    return lines


def _phases_text(configurations: Sequence[Configuration]) -> str:
    drawn = any(_phases(one) for one in configurations)
    return "Of a shape, each phase is a marker at its mean planned rate. " if drawn else ""


def _repeats(configurations: Sequence[Configuration]) -> str:
    return repeats_text([one for one in configurations if one.load.loop == "open"])
