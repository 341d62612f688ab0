"""Plots of accuracy: against latency and throughput, by class, and confusion matrices."""

from collections.abc import Callable, Mapping, Sequence

from loadtest.report_schema import Report
from loadtest.reports.configurations import (
    Configuration,
    Subject,
    accuracy,
    class_names,
    confusion,
)
from loadtest.reports.measures import MEASURES
from loadtest.reports.plots.frame import Look, doubt, legend, one_point
from loadtest.reports.summary import class_shares
from training.pages.chart import Chart
from training.pages.drawing import Figure, missing
from training.pages.rows import RowValue, matrix_chart, rows_chart
from training.pages.scales import Linear, either, linear

_TOP1 = "top-1 (%)"
_MOST_MATRICES = 6


def pareto(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> list[Figure]:
    """Return accuracy over p99 latency and over throughput, a marker for each subject."""
    return [
        _pareto(
            "Accuracy against latency",
            configurations,
            looks,
            measure="p99_ms",
            unit="ms p99",
            x_label="p99 latency (ms), left is better",
            chosen=_calmest,
            missing_text="No run of images with labels has enough answers for a p99.",
        ),
        _pareto(
            "Accuracy against throughput",
            configurations,
            looks,
            measure="images_per_second",
            unit="images/s",
            x_label="images/s, right is better",
            chosen=_fastest,
            missing_text="No run has answers to images with labels.",
        ),
    ]


def by_class(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> Figure:
    """Return the share of each class' images answered correctly."""
    title = "Accuracy by class"
    subjects = _by_subject(configurations)
    shares = {subject: class_shares(reports) for subject, reports in subjects.items()}
    known = [share for found in shares.values() for share in found.values() if share is not None]
    if not known:
        return missing(title, "No answers to images with labels.")
    names = class_names(report for reports in subjects.values() for report in reports)
    values = [
        RowValue(
            row=names.index(name),
            value=100 * share,
            style=looks[subject].colour,
            shape=looks[subject].shape,
            text=f"{looks[subject].label}, {name}: {100 * share:.1f} %",
        )
        for subject, of_class in shares.items()
        for name, share in of_class.items()
        if share is not None
    ]
    scale = Linear(max(0.0, 10 * (min(known) * 10 // 1) - 5), 101)
    return Figure(
        title,
        rows_chart(names, values, scale, x_label=_TOP1, name=title),
        "Of the timed answers of the runs that saw most of the different images.",
        legend([looks[subject] for subject in shares]),
    )


def confusions(
    configurations: Sequence[Configuration], looks: Mapping[Subject, Look]
) -> list[Figure]:
    """Return a confusion matrix for each subject."""
    figures = [
        _confusion(
            f"Confusion: {looks[subject].label}", class_names(reports), matrix, looks[subject]
        )
        for subject, reports in _by_subject(configurations).items()
        if sum(map(sum, matrix := confusion(reports)))
    ]
    return figures[:_MOST_MATRICES] or [missing("Confusion", "No answers to images with labels.")]


def _pareto(
    title: str,
    configurations: Sequence[Configuration],
    looks: Mapping[Subject, Look],
    *,
    measure: str,
    unit: str,
    x_label: str,
    chosen: Callable[[Sequence[Configuration]], Configuration | None],
    missing_text: str,
) -> Figure:
    points = []
    for subject, reports in _by_subject(configurations).items():
        best = chosen([one for one in configurations if one.subject == subject])
        total = accuracy(reports)
        spread = best and best.spread(measure)
        if best and total and spread:
            points.append((subject, best, spread, total))
    if not points:
        return missing(title, missing_text)
    texts = [
        f"{looks[subject].label}, {best.load}: {MEASURES[measure].text(spread.median)} {unit}, "
        f"top-1 {100 * total.top1:.2f} % ({100 * total.low:.2f} to {100 * total.high:.2f})"
        + (f"; {why_hollow}" if (why_hollow := doubt(best)) else "")
        for subject, best, spread, total in points
    ]
    if len(points) == 1:
        return one_point(title, texts[0])
    heights = [100 * bound for *_, total in points for bound in (total.low, total.high)]
    chart = Chart(
        either(value for _, _, spread, _ in points for value in (spread.low, spread.high)),
        linear(heights, zero=False),
        x_label=x_label,
        y_label=_TOP1,
        name=title,
    )
    for text, (subject, best, spread, total) in zip(texts, points, strict=True):
        look, at = looks[subject], (spread.median, 100 * total.top1)
        chart.bar((at[0], at[0]), (100 * total.low, 100 * total.high), look.colour)
        chart.bar((spread.low, spread.high), (at[1], at[1]), look.colour)
        chart.mark(at, look.mark(valid=best.valid), look.shape, text)
    loads = dict.fromkeys(str(best.load) for _, best, _, _ in points)
    images = sorted({total.distinct_images for *_, total in points})
    caption = (
        f"{'; '.join(loads)}. Upright bars: 95 % Wilson interval for "
        f"{' to '.join(f'{count:,}' for count in images[:: max(1, len(images) - 1)])} "
        "different images; level bars: lowest to highest repeat."
    )
    return Figure(
        title, chart.drawing(), caption, legend([looks[subject] for subject, *_ in points])
    )


def _calmest(configurations: Sequence[Configuration]) -> Configuration | None:
    """Return the configuration whose p99 is quoted: SingleStream if it was measured."""
    order = ("single-stream", "server", "users", "capacity", "multi-stream")
    able = [
        one for one in configurations if one.load.kind in order and one.spread("p99_ms") is not None
    ]
    return min(able, key=lambda one: order.index(one.load.kind), default=None)


def _fastest(configurations: Sequence[Configuration]) -> Configuration | None:
    """Return the configuration with the most images/s; a VALID one if there is any."""
    able = [one for one in configurations if one.spread("images_per_second") is not None]

    def speed(configuration: Configuration) -> tuple[bool, float]:
        spread = configuration.spread("images_per_second")
        return configuration.valid, spread.median if spread else 0.0

    return max(able, key=speed, default=None)


def _confusion(title: str, classes: Sequence[str], matrix: list[list[int]], look: Look) -> Figure:
    others = any(row[len(classes) :] != [0] * (len(row) - len(classes)) for row in matrix)
    names = [*classes, *(["other"] if others else [])]
    drawing = matrix_chart(
        classes,
        names,
        matrix,
        style=look.colour,
        name=title,
        cell_text=lambda _, share: f"{100 * share:.0f}" if share >= 0.005 else "",
    )
    n = sum(map(sum, matrix))
    caption = f"Row: the label; column: the answer; percent of the row. n = {n:,} timed answers."
    return Figure(title, drawing, caption)


def _by_subject(configurations: Sequence[Configuration]) -> dict[Subject, list[Report]]:
    """Return the reports of each subject that have answers."""
    reports: dict[Subject, list[Report]] = {}
    for configuration in configurations:
        answered = [report for report in configuration.reports if report.accuracy.n]
        if answered:
            reports.setdefault(configuration.subject, []).extend(answered)
    return reports
