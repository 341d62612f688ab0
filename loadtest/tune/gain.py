"""The ratio of two cells that were measured in turns, with its 95 % interval.

The interval has the ratios that the exact permutation test of `training.evaluation.significance`
does not reject: it leaves out 1 exactly if the test tells the two cells apart. It assumes nothing
about the distribution of the noise except that the two measurements of a pair are alike but for
their cell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation.significance import LEVEL, pairs_needed, sign_flip_p

# Halvings of the range in which a limit of the interval is searched.
_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A cell's requests/s over those of another.

    Attributes:
        ratio: Geometric mean of the pairs' ratios.
        interval_95: 95 % interval of the ratio.
        p_value: p-value of the exact permutation test.
        pairs: Number of pairs.
    """

    ratio: float
    interval_95: tuple[float, float]
    p_value: float
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether the cell is faster: the interval is above 1."""
        return self.p_value < LEVEL and self.ratio > 1

    def __str__(self) -> str:
        """Return ratio and interval as text: "1.23 (1.18 to 1.29)"."""
        low, high = self.interval_95
        return f"{self.ratio:.3f} ({low:.3f} to {high:.3f})"


def compare(firsts: Sequence[float], others: Sequence[float]) -> Gain | None:
    """Return the gain of a first cell over another.

    Args:
        firsts: Requests/s of the first cell, above 0; one for each pair.
        others: The same of the other cell.

    Returns:
        The gain; None if the pairs are too few for an interval, see `significance.pairs_needed`.
    """
    logs = [math.log(first / other) for first, other in zip(firsts, others, strict=True)]
    if len(logs) < pairs_needed(1):
        return None
    mean = math.fsum(logs) / len(logs)
    low, high = (_limit(logs, mean, end) for end in (min(logs), max(logs)))
    return Gain(
        ratio=math.exp(mean),
        interval_95=(math.exp(low), math.exp(high)),
        p_value=sign_flip_p(logs),
        pairs=len(logs),
    )


def _limit(logs: Sequence[float], inside: float, outside: float) -> float:
    """Return the limit of the interval between two logarithms, by halving their distance.

    Args:
        logs: Logarithms of the pairs' ratios.
        inside: A value that the test does not reject: the mean.
        outside: A value that it rejects: the lowest or the highest of `logs`, because then all
            differences from it have the same sign.
    """
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if sign_flip_p([log - middle for log in logs]) < LEVEL:
            outside = middle
        else:
            inside = middle
    return inside
