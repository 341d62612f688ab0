"""Plots of accuracy: against latency and throughput, by class, and confusion of classes."""

from collections.abc import Callable, Mapping, Sequence

from loadtest.report_schema import Report
from loadtest.reports.configurations import Configuration, Subject, accuracy, confusion
from loadtest.reports.markup import Element, element
from loadtest.reports.measures import MEASURES
from loadtest.reports.plots.chart import WIDTH, Chart, Linear, either, linear, marker
from loadtest.reports.plots.frame import Figure, Look, legend, missing
from loadtest.reports.summary import class_shares
from training.data.cifar10 import CLASS_NAMES

_TOP1 = "top-1 (%)"
_MOST_MATRICES = 6


def pareto(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> list[Figure]:
    """Accuracy against p99 latency and against throughput, a marker for each subject."""
    return [
        _pareto(
            "Accuracy against latency",
            configurations,
            looks,
            measure="p99_ms",
            x_label="p99 latency (ms), left is better",
            chosen=_calmest,
            missing_text="No run has enough answers for a p99.",
        ),
        _pareto(
            "Accuracy against throughput",
            configurations,
            looks,
            measure="images_per_second",
            x_label="images/s, right is better",
            chosen=_fastest,
            missing_text="No run has answers.",
        ),
    ]


def by_class(configurations: Sequence[Configuration], looks: Mapping[Subject, Look]) -> Figure:
    """Share of each class' images answered correctly."""
    title = "Accuracy by class"
    subjects = _by_subject(configurations)
    shares = {subject: class_shares(reports) for subject, reports in subjects.items()}
    known = [share for values in shares.values() for share in values if share is not None]
    if not known:
        return missing(title, "No answers.")
    left, right, top, step = 86, WIDTH - 14, 10, 24
    bottom = top + step * len(CLASS_NAMES)
    scale = Linear(max(0.0, 10 * (min(known) * 10 // 1) - 5), 101)

    def across(percent: float) -> float:
        return left + scale.share(percent) * (right - left)

    drawn: list[Element] = []
    for value, text in scale.ticks():
        x = across(value)
        drawn.append(element("line", class_="grid", x1=x, x2=x, y1=top, y2=bottom))
        drawn.append(element("text", text, class_="tick middle", x=x, y=bottom + 17))
    for label, name in enumerate(CLASS_NAMES):
        y = top + step * (label + 0.5)
        drawn.append(element("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
        drawn.append(element("text", name, class_="tick end", x=left - 7, y=y + 4.5))
        for subject, values in shares.items():
            share, look = values[label], looks[subject]
            if share is not None:
                text = f"{look.label}, {name}: {100 * share:.1f} %"
                drawn.append(marker(across(100 * share), y, look.colour, look.shape, text))
    middle = (left + right) / 2
    drawn.append(element("text", _TOP1, class_="label middle", x=middle, y=bottom + 38))
    svg = element("svg", drawn, viewBox=f"0 0 {WIDTH} {bottom + 44}", role="img", aria_label=title)
    return Figure(
        title,
        "Of the timed answers of the runs that saw most of the different images.",
        legend([looks[subject] for subject in shares]),
        svg,
    )


def confusions(
    configurations: Sequence[Configuration], looks: Mapping[Subject, Look]
) -> list[Figure]:
    """A confusion matrix for each subject."""
    figures = [
        _confusion(f"Confusion: {looks[subject].label}", matrix, looks[subject])
        for subject, reports in _by_subject(configurations).items()
        if sum(map(sum, matrix := confusion(reports)))
    ]
    return figures[:_MOST_MATRICES] or [missing("Confusion", "No answers.")]


def _pareto(
    title: str,
    configurations: Sequence[Configuration],
    looks: Mapping[Subject, Look],
    *,
    measure: str,
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
    heights = [100 * bound for *_, total in points for bound in (total.low, total.high)]
    chart = Chart(
        either(value for _, _, spread, _ in points for value in (spread.low, spread.high)),
        linear(heights, zero=False),
        x_label=x_label,
        y_label=_TOP1,
        name=title,
    )
    for subject, best, spread, total in points:
        look, at = looks[subject], (spread.median, 100 * total.top1)
        chart.bar((at[0], at[0]), (100 * total.low, 100 * total.high), look.colour)
        chart.bar((spread.low, spread.high), (at[1], at[1]), look.colour)
        text = (
            f"{look.label}, {best.load}: {MEASURES[measure].title} {spread.median:,.2f}, "
            f"top-1 {100 * total.top1:.2f} % ({100 * total.low:.2f} to {100 * total.high:.2f})"
        )
        chart.mark(at, look.mark(valid=best.valid), look.shape, text)
    loads = dict.fromkeys(str(best.load) for _, best, _, _ in points)
    images = sorted({total.distinct_images for *_, total in points})
    caption = (
        f"{'; '.join(loads)}. Upright bars: 95 % Wilson interval for "
        f"{' to '.join(f'{count:,}' for count in images[:: max(1, len(images) - 1)])} "
        "different images; level bars: lowest to highest repeat."
    )
    return Figure(title, caption, legend([looks[subject] for subject, *_ in points]), chart.svg())


def _calmest(configurations: Sequence[Configuration]) -> Configuration | None:
    """The configuration whose p99 is quoted: one request at a time if that was measured."""
    order = ("single-stream", "server", "users", "capacity", "multi-stream")
    able = [
        one for one in configurations if one.load.kind in order and one.spread("p99_ms") is not None
    ]
    return min(able, key=lambda one: order.index(one.load.kind), default=None)


def _fastest(configurations: Sequence[Configuration]) -> Configuration | None:
    """The configuration with the most images a second; a valid one if there is any."""
    able = [one for one in configurations if one.spread("images_per_second") is not None]

    def speed(configuration: Configuration) -> tuple[bool, float]:
        spread = configuration.spread("images_per_second")
        return configuration.valid, spread.median if spread else 0.0

    return max(able, key=speed, default=None)


def _confusion(title: str, matrix: list[list[int]], look: Look) -> Figure:
    others = any(row[len(CLASS_NAMES) :] != [0] * (len(row) - len(CLASS_NAMES)) for row in matrix)
    names = [*CLASS_NAMES, *(["other"] if others else [])]
    left, top, cell = 82, 78, 34
    drawn: list[Element] = []
    for column, name in enumerate(names):
        x = left + cell * (column + 0.5)
        place = f"translate({x + 4:g} {top - 8}) rotate(-55)"
        drawn.append(element("text", name, class_="tick", transform=place))
    for label, row in enumerate(matrix):
        y, total = top + cell * label, sum(row)
        name = CLASS_NAMES[label]
        drawn.append(element("text", name, class_="tick end", x=left - 7, y=y + cell / 2 + 4.5))
        for column, count in enumerate(row[: len(names)]):
            share = count / total if total else 0.0
            text = f"{name} answered as {names[column]}: {count:,} of {total:,}"
            drawn.append(
                element(
                    "rect",
                    element("title", text),
                    class_=f"cell {look.colour}",
                    fill_opacity=round(share**0.6, 2),
                    x=left + cell * column + 1,
                    y=y + 1,
                    width=cell - 2,
                    height=cell - 2,
                    rx=3,
                )
            )
            if share >= 0.005:
                drawn.append(
                    element(
                        *("text", f"{100 * share:.0f}"),
                        class_="count middle" + (" strong" if share > 0.3 else ""),
                        x=left + cell * (column + 0.5),
                        y=y + cell / 2 + 4.5,
                    )
                )
    size = f"0 0 {left + cell * len(names) + 12} {top + cell * len(matrix) + 6}"
    svg = element("svg", drawn, viewBox=size, role="img", aria_label=title)
    n = sum(map(sum, matrix))
    caption = f"Row: the label; column: the answer; percent of the row. n = {n:,} timed answers."
    return Figure(title, caption, (), svg)


def _by_subject(configurations: Sequence[Configuration]) -> dict[Subject, list[Report]]:
    """Reports of each subject, those without answers left out."""
    reports: dict[Subject, list[Report]] = {}
    for configuration in configurations:
        answered = [report for report in configuration.reports if report.accuracy.n]
        if answered:
            reports.setdefault(configuration.subject, []).extend(answered)
    return reports
