"""The README's figure: throughput and median latency of each model under each load."""

from loadtest.reports.readme.figures import Digest, QuotedLoad
from training.pages.chart import Chart
from training.pages.drawing import COLOURS, Figure, Legend, Marker, missing
from training.pages.scales import logarithmic

_TITLE = "Throughput and latency of the bundled models"
# The marker of each kind of load that has both throughput and median latency.
_MARKERS: dict[str, Marker] = {
    "single-stream": "circle",
    "multi-stream": "square",
    "users": "triangle",
    "offline": "diamond",
}


def figure(document: Digest) -> Figure:
    """Return the figure: a colour for each model, a marker for each load.

    The figure has no drawing if no load of any model has both throughput and latency.
    """
    points = [
        (row, kind, load, load.images_per_second.median, load.p50_ms.median)
        for row in document.rows
        for kind in _MARKERS
        if (load := row.loads.get(kind)) and load.images_per_second and load.p50_ms
    ]
    if not points:
        return missing(_TITLE, "No load was measured in a valid run.")
    chart = Chart(
        logarithmic(x for *_, x, _ in points),
        logarithmic(y for *_, y in points),
        x_label="images/s",
        y_label="p50 latency (ms)",
        name=_TITLE,
    )
    models = list(dict.fromkeys(row.model for row, *_ in points))
    colours = {model: f"m{number % COLOURS}" for number, model in enumerate(models)}
    for row, kind, load, x, y in points:
        text = f"{row.model}, {_label(kind, load)}: {x:,.0f} images/s, {y:,.3g} ms"
        chart.mark((x, y), colours[row.model], _MARKERS[kind], text)
    loads = dict.fromkeys((kind, _label(kind, load)) for _, kind, load, _, _ in points)
    legend = [
        *(Legend(model, line=f"{colour} d0") for model, colour in colours.items()),
        *(Legend(label, mark="m5", shape=_MARKERS[kind]) for kind, label in loads),
    ]
    return Figure(_TITLE, chart.drawing(), legend=legend)


def _label(kind: str, load: QuotedLoad) -> str:
    """Return a load in words."""
    if kind == "single-stream":
        return "1 caller, 1 image at a time"
    if kind == "users":
        return f"{load.load.removeprefix('users ')} callers, 1 image each"
    batch = load.load.partition("batch ")[2] or "1"
    return f"batches of {batch}, {'1 caller' if kind == 'multi-stream' else 'several in flight'}"
