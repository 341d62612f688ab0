"""The README's section "Which one?": one sentence for each goal, with the best variant."""

from collections.abc import Callable, Sequence

from export.papers import cells
from export.tables.variant_figures import BatchSpeed, VariantFigures

_BATCH = 32  # images in a batch, for the comparison of CPU time


def sentences(variants: Sequence[VariantFigures]) -> list[str]:
    """One sentence for each goal whose figures are known: accuracy, latency, throughput, size.

    Args:
        variants: Variants of all models. Speeds are compared only if all were measured on the same
            processor with the same number of cores and threads.

    Returns:
        Markdown; empty if there are fewer than two variants, or no figure is known.
    """
    if len(variants) < 2:
        return []
    places = {variant.measured_on for variant in variants if variant.measured_on}
    speed = [_latency(variants), _throughput(variants)]
    if len(places) > 1:
        speed = ["Speeds were measured on different machines, so they are not compared."]
    told = [_accuracy(variants), *speed, _size(variants)]
    if len(places) == 1:
        told.append(_price(variants))
    return [sentence for sentence in told if sentence]


def _accuracy(variants: Sequence[VariantFigures]) -> str:
    known = [(variant.top1, variant) for variant in variants if variant.top1 is not None]
    if not known:
        return ""
    best, other = _best(known)
    text = f"**Highest accuracy:** {best[1].title}, {cells.percent(best[0])} of the test images"
    if other is None:
        return f"{text}."
    lead = f"{cells.points(best[0] - other[0])} points against {other[1].title}"
    doubt = "" if _apart(best[1], other[1]) else ", less than the test images can tell for sure"
    return f"{text} ({lead}{doubt})."


def _latency(variants: Sequence[VariantFigures]) -> str:
    known = [(-variant.speeds[1].ms, variant) for variant in variants if 1 in variant.speeds]

    def ms(variant: VariantFigures) -> str:
        return f"{variant.speeds[1].ms:.3g} ms"

    return _leader("Lowest latency", known, lambda best: f"{ms(best)} for a single image", ms)


def _throughput(variants: Sequence[VariantFigures]) -> str:
    known = [
        (_fastest(variant).images_per_second, variant) for variant in variants if variant.speeds
    ]

    def rate(variant: VariantFigures, unit: str = "") -> str:
        fastest = _fastest(variant)
        return f"{fastest.images_per_second:,.0f}{unit} in batches of {fastest.rows}"

    return _leader("Highest throughput", known, lambda best: rate(best, " images/s"), rate)


def _size(variants: Sequence[VariantFigures]) -> str:
    known = [(-float(variant.bytes), variant) for variant in variants if variant.bytes is not None]

    def size(variant: VariantFigures) -> str:
        return cells.megabytes(variant.bytes)

    return _leader("Smallest file", known, size, size)


def _leader(
    claim: str,
    known: Sequence[tuple[float, VariantFigures]],
    figure: Callable[[VariantFigures], str],
    figure_of_other: Callable[[VariantFigures], str],
) -> str:
    """A sentence that names the best variant, and the best variant of another model.

    Args:
        claim: The goal, such as "Smallest file".
        known: Variants with their values, higher is better; may be empty.
        figure: Function that formats the figure of the best variant.
        figure_of_other: Function that formats the figure of the other variant, in short.
    """
    if not known:
        return ""
    (_, best), other = _best(known)
    text = f"**{claim}:** {best.title}, {figure(best)}"
    return f"{text} ({other[1].title}: {figure_of_other(other[1])})." if other else f"{text}."


def _price(variants: Sequence[VariantFigures]) -> str:
    """The CPU time of the most accurate model compared with the cheapest; empty if it is both."""
    known = [
        (variant.top1, variant.speeds[_BATCH].cpu_ms, variant)
        for variant in variants
        if variant.top1 is not None and _BATCH in variant.speeds
    ]
    if not known:
        return ""
    accurate = max(known, key=lambda entry: (entry[0], -entry[1]))
    cheap = min(known, key=lambda entry: (entry[1], -entry[0]))
    if accurate[2].model == cheap[2].model:
        return ""
    return (
        f"**The price of accuracy:** {100 * (accurate[0] - cheap[0]):.2f} points more cost "
        f"{accurate[2].title} {accurate[1] / cheap[1]:.3g} times the CPU time of {cheap[2].title} "
        f"({accurate[1]:.3g} against {cheap[1]:.3g} ms an image, batches of {_BATCH})."
    )


def _best(
    known: Sequence[tuple[float, VariantFigures]],
) -> tuple[tuple[float, VariantFigures], tuple[float, VariantFigures] | None]:
    """The entry with the highest value, and the highest of another model; of equals the first."""
    best = max(known, key=lambda entry: entry[0])
    others = [entry for entry in known if entry[1].model != best[1].model]
    return best, max(others, key=lambda entry: entry[0]) if others else None


def _fastest(variant: VariantFigures) -> BatchSpeed:
    return max(variant.speeds.values(), key=lambda speed: speed.images_per_second)


def _apart(first: VariantFigures, second: VariantFigures) -> bool:
    """Whether the intervals of two accuracies do not overlap."""
    if first.top1_interval is None or second.top1_interval is None:
        return False
    return first.top1_interval[0] > second.top1_interval[1]
