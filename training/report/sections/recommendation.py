"""The recommended recipe for each constraint, in sentences computed from the figures.

Training images that the trainings held out decide; the test images only report.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from training.evaluation import paired, significance
from training.report import formats
from training.report.pages.blocks import Block, Bullets, Card, Cards, Notice, Paragraph
from training.report.sources.answers import RunAnswers
from training.report.sources.candidates import Candidate

_BYTES_PER_PARAMETER = 4  # float32


@dataclass(frozen=True)
class _Cost:
    """A cost to minimise: training time, multiply-accumulates or size.

    Attributes:
        name: Its name in a sentence.
        of: Reads the cost of a candidate.
        describe: Formats a cost in words.
        more: A verb phrase that says how much more a recipe costs; `{}` is a ratio such as
            "2.3 times".
    """

    name: str
    of: Callable[[Candidate], float]
    describe: Callable[[float], str]
    more: str


def _size(parameters: float) -> str:
    weights = formats.megabytes(int(parameters) * _BYTES_PER_PARAMETER)
    return f"{int(parameters):,} parameters, {weights} as float32"


_TIME = _Cost(
    "training time",
    lambda candidate: candidate.seconds,
    lambda seconds: f"{formats.duration(seconds)} of training",
    "takes {} as long",
)
_COMPUTE = _Cost(
    "compute per image",
    lambda candidate: candidate.macs or 0,
    lambda macs: f"{formats.millions(int(macs))} multiply-accumulates an image",
    "needs {} as much",
)
_SIZE = _Cost("size", lambda candidate: candidate.parameters, _size, "is {} as large")


def recommend(candidates: Sequence[Candidate], answers: Mapping[str, RunAnswers]) -> list[Block]:
    """Recommend by accuracy on held-out images, training time, compute per image and size.

    The test images decide nothing; their accuracy is shown beside the decision.

    Args:
        candidates: The most accurate on held-out images first, those without such images last.
        answers: The known answers to the test images, by name of the run.

    Returns:
        A card for each constraint and a conclusion; a notice if the figures are not comparable.
    """
    if len({candidate.digests for candidate in candidates}) > 1:
        text = (
            "The runs were trained or measured on different images, so their accuracies are not "
            "comparable and nothing is recommended. Report runs on the same images together."
        )
        return [Notice(text)]
    ranked = [candidate for candidate in candidates if candidate.held_out is not None]
    if len(candidates) > 1 and len(ranked) < len(candidates):
        chosen = _choice(ranked, answers, alone="can be ranked")
        return [*chosen, _left_out(candidates[len(ranked) :])]
    return _choice(candidates, answers, alone="was given")


def _left_out(unranked: Sequence[Candidate]) -> Notice:
    names = formats.listing(candidate.name for candidate in unranked)
    return Notice(
        f"{names}: not compared here, because no accuracy on held-out training images is known "
        "(validation test holds out none). The test images choose nothing."
    )


def _choice(
    candidates: Sequence[Candidate], answers: Mapping[str, RunAnswers], *, alone: str
) -> list[Block]:
    """Compare candidates, or describe a single one; `alone` is the predicate about that."""
    if not candidates:
        return []
    best = candidates[0]
    costs = _comparable_costs(candidates)
    accuracy = _accuracy(candidates, answers)
    if len(candidates) == 1:
        text = f"Only {best.name} {alone}, so there is nothing to choose between. Its figures:"
        needed = [f"{cost.describe(cost.of(best))}." for cost in costs]
        return [Paragraph(text), Bullets([accuracy, *needed])]
    cards = [Card("If accuracy decides", best.name, accuracy)]
    cards += [_card(cost, candidates) for cost in costs]
    blocks: list[Block] = [Cards(cards), Paragraph(_conclusion(candidates, costs))]
    if _TIME not in costs:
        timed = (
            f"{candidate.name} took {formats.duration(candidate.seconds)} on "
            f"{formats.listing(sorted(candidate.hardware))}"
            for candidate in candidates
        )
        text = (
            "Training times were measured on different hardware and are not comparable: "
            f"{'; '.join(timed)}."
        )
        blocks.append(Notice(text))
    beaten = _beaten(candidates, costs)
    return [*blocks, Bullets(beaten)] if beaten else blocks


def _comparable_costs(candidates: Sequence[Candidate]) -> list[_Cost]:
    """Return the costs known for all candidates; time only if all ran on the same hardware."""
    costs = [_SIZE]
    if all(candidate.macs is not None for candidate in candidates):
        costs.insert(0, _COMPUTE)
    if len(set[str]().union(*(candidate.hardware for candidate in candidates))) == 1:
        costs.insert(0, _TIME)
    return costs


def _accuracy(candidates: Sequence[Candidate], answers: Mapping[str, RunAnswers]) -> str:
    best = candidates[0]
    told = [_held_out(best), _tested(best)]
    if len(candidates) > 1:
        told += _lead(best, candidates[1], answers)
    return " ".join(text for text in told if text)


def _held_out(candidate: Candidate) -> str:
    """Return the accuracy on held-out images; empty if it is not known."""
    if candidate.held_out is None:
        return ""
    shares = candidate.held_out_shares
    if len(shares) > 1:
        return (
            f"{formats.percent(candidate.held_out)} of the held-out training images on average "
            f"over {len(shares)} runs ({formats.percent(min(shares))} to "
            f"{formats.percent(max(shares))})."
        )
    found = candidate.runs[0].held_out
    assert found is not None  # noqa: S101 - the mean of one run is known
    return (
        f"{formats.percent(found.share)} of {found.n:,} held-out training images (95 % interval "
        f"{formats.interval(found.interval)})."
    )


def _tested(candidate: Candidate) -> str:
    if len(candidate.runs) > 1:
        return f"On the test images {formats.percent(candidate.top1)} on average."
    result = candidate.runs[0].result
    return (
        f"On the {result['n']:,} test images {formats.percent(candidate.top1)} (95 % interval "
        f"{formats.interval(result['top1_wilson_95'])})."
    )


def _lead(best: Candidate, second: Candidate, answers: Mapping[str, RunAnswers]) -> list[str]:
    """Return how far the best is ahead of the second, and how clear the difference is."""
    ahead = f"{_gap(best, second)} points ahead of {second.name} on held-out images"
    if len(best.runs) > 1 or len(second.runs) > 1:
        apart = min(best.held_out_shares) > max(second.held_out_shares)
        return [f"{ahead}; {'no run of that is as good' if apart else 'the ranges overlap'}."]
    first, other = (candidate.runs[0].held_out for candidate in (best, second))
    apart = bool(first and other and first.interval[0] > other.interval[1])
    return [
        f"{ahead}; their 95 % intervals {'do not overlap' if apart else 'overlap'}.",
        _tested_lead(best, second, answers),
    ]


def _tested_lead(best: Candidate, second: Candidate, answers: Mapping[str, RunAnswers]) -> str:
    """Return the difference on the test images, from paired answers; empty if they are unknown."""
    first, other = (answers.get(candidate.runs[0].name) for candidate in (best, second))
    if first is None or other is None:
        return ""
    found = paired.compare(first.right, other.right)
    low, high = (formats.points(bound) for bound in found.interval_95)
    verdict = "" if found.is_clear else ": these images do not tell them apart"
    p_text = significance.text(found.p_value)
    p_text = f"p {p_text}" if p_text.startswith("<") else f"p = {p_text}"
    return (
        f"On the same test images the difference is {formats.points(found.difference)} points "
        f"(95 % interval {low} to {high}, McNemar's {p_text}){verdict}."
    )


def _winner(cost: _Cost, candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the lowest cost; of several, the most accurate one."""
    # The candidates are sorted by accuracy, and `min` returns the first of several.
    return min(candidates, key=cost.of)


def _card(cost: _Cost, candidates: Sequence[Candidate]) -> Card:
    best, winner = candidates[0], _winner(cost, candidates)
    needed = cost.of(winner)
    if all(cost.of(candidate) == needed for candidate in candidates):
        text = "All need the same, so accuracy decides."
    elif winner is best:
        text = "It is the most accurate as well."
    else:
        more = cost.more.format(formats.times(cost.of(best) / needed))
        text = f"{best.name} {more} and is {_gap(best, winner)} points more accurate."
    return Card(f"If {cost.name} decides", winner.name, f"{cost.describe(needed)}. {text}")


def _conclusion(candidates: Sequence[Candidate], costs: Sequence[_Cost]) -> str:
    best = candidates[0]
    reasons: dict[str, list[str]] = {}
    for cost in costs:
        winner = _winner(cost, candidates)
        if winner is not best:
            reasons.setdefault(winner.name, []).append(cost.name)
    if not reasons:
        return f"{best.name} is the choice under every constraint compared here."
    others = [
        f"{name} where {formats.listing(names)} must be low" for name, names in reasons.items()
    ]
    return f"No recipe wins everywhere: {'; '.join([f'{best.name} for accuracy', *others])}."


def _beaten(candidates: Sequence[Candidate], costs: Sequence[_Cost]) -> list[str]:
    """Return a sentence for each recipe that a more accurate one beats or equals in every cost."""
    sentences = []
    for number, candidate in enumerate(candidates):
        for better in candidates[:number]:
            if _share(better) > _share(candidate) and all(
                cost.of(better) <= cost.of(candidate) for cost in costs
            ):
                names = formats.listing(cost.name for cost in costs)
                sentences.append(
                    f"Nothing here speaks for {candidate.name}: {better.name} is "
                    f"{_gap(better, candidate)} points more accurate and needs no more in "
                    f"{names}."
                )
                break
    return sentences


def _gap(better: Candidate, worse: Candidate) -> str:
    return f"{100 * (_share(better) - _share(worse)):.2f}"


def _share(candidate: Candidate) -> float:
    """Return the accuracy on held-out images of a candidate for which it is known."""
    return candidate.held_out or 0.0
