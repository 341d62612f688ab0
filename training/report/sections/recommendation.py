"""The recommended recipe for each constraint, in sentences computed from the figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from training.evaluation import paired
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
    """Recommend by accuracy, training time, compute per image and size.

    Args:
        candidates: The most accurate first.
        answers: The known answers, by name of the run.

    Returns:
        A card for each constraint and a conclusion; a notice if the figures are not comparable.
    """
    if len({candidate.test_sha256 for candidate in candidates}) > 1:
        text = (
            "The runs were measured on different test images, so their accuracies are not "
            "comparable and nothing is recommended. Report runs on the same images together."
        )
        return [Notice(text)]
    best = candidates[0]
    costs = _comparable_costs(candidates)
    accuracy = _accuracy(candidates, answers)
    if len(candidates) == 1:
        text = f"Only {best.name} was given, so there is nothing to choose between. Its figures:"
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
    if len(best.runs) > 1:
        text = (
            f"{formats.percent(best.top1)} on average over {len(best.runs)} runs "
            f"({formats.percent(min(best.shares))} to {formats.percent(max(best.shares))})."
        )
    else:
        result = best.runs[0].result
        text = (
            f"{formats.percent(best.top1)} of {result['n']:,} test images "
            f"(95 % interval {formats.interval(result['top1_wilson_95'])})."
        )
    return f"{text} {_lead(best, candidates[1], answers)}" if len(candidates) > 1 else text


def _lead(best: Candidate, second: Candidate, answers: Mapping[str, RunAnswers]) -> str:
    """Return how far the best is ahead of the second, and whether the difference is clear."""
    ahead = f"{100 * (best.top1 - second.top1):.2f} points ahead of {second.name}"
    if len(best.runs) > 1 or len(second.runs) > 1:
        apart = min(best.shares) > max(second.shares)
        return f"{ahead}; {'no run of that is as good' if apart else 'the ranges overlap'}."
    first, other = (answers.get(candidate.runs[0].name) for candidate in (best, second))
    if first is not None and other is not None:
        found = paired.compare(first.right, other.right)
        low, high = (formats.points(bound) for bound in found.interval_95)
        verdict = "" if found.is_clear else ": these images do not tell them apart"
        return f"{ahead} on the same images (95 % interval {low} to {high}){verdict}."
    low_of_best = best.runs[0].result["top1_wilson_95"][0]
    high_of_second = second.runs[0].result["top1_wilson_95"][1]
    apart = low_of_best > high_of_second
    return f"{ahead}; their 95 % intervals {'do not overlap' if apart else 'overlap'}."


def _winner(cost: _Cost, candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate of the lowest cost; of several, the most accurate one."""
    return min(candidates, key=lambda candidate: (cost.of(candidate), -candidate.top1))


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
            if better.top1 > candidate.top1 and all(
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
    return f"{100 * (better.top1 - worse.top1):.2f}"
