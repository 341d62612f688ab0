"""The README's section "Which one?": one sentence for each goal, with the best variant.

Accuracies are ranked by the training images that the training held out, and then reported on the
test images, which decide nothing.
"""

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
    known = _with_accuracy(variants)
    if not known:
        return ""
    (_, best), other = _best([(held_out, variant) for held_out, _, variant in known])
    top1 = {variant.title: share for _, share, variant in known}
    text = (
        f"**Highest accuracy on held-out images:** {best.title}, "
        f"{cells.percent(top1[best.title])} of the test images"
    )
    if other is None:
        return f"{text}."
    lead = top1[best.title] - top1[other[1].title]
    doubt = "" if _apart(best, other[1]) else ", less than the test images can tell for sure"
    return f"{text} ({cells.points(lead)} points against {other[1].title}{doubt})."


def _with_accuracy(
    variants: Sequence[VariantFigures],
) -> list[tuple[float, float, VariantFigures]]:
    """The variants with known accuracies: on the held-out images, and on the test images."""
    return [
        (variant.held_out, variant.top1, variant)
        for variant in variants
        if variant.held_out is not None and variant.top1 is not None
    ]


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
        (held_out, top1, variant.speeds[_BATCH].cpu_ms, variant)
        for held_out, top1, variant in _with_accuracy(variants)
        if _BATCH in variant.speeds
    ]
    if not known:
        return ""
    _, top1, cost, accurate = max(known, key=lambda entry: (entry[0], -entry[2]))
    _, top1_of_cheap, low_cost, cheap = min(known, key=lambda entry: (entry[2], -entry[0]))
    if accurate.model == cheap.model:
        return ""
    return (
        f"**The price of accuracy:** {100 * (top1 - top1_of_cheap):.2f} points more cost "
        f"{accurate.title} {cost / low_cost:.3g} times the CPU time of {cheap.title} "
        f"({cost:.3g} against {low_cost:.3g} ms an image, batches of {_BATCH})."
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
