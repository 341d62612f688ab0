"""Whether a difference may be luck: an exact test of repeated pairs, Holm's correction, one level.

Every verdict of the project ("better", "told apart") means that a p-value is below LEVEL. If a page
has several verdicts, their p-values are corrected for that first.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# A difference is told apart from luck if its p-value, after correction, is below this.
LEVEL = 0.05
# Half of the terms whose sums are enumerated: 2**15 sums, and never 2**30.
_HALF = 15


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the exact permutation test of paired differences.

    If the two sides of a pair are alike, its difference is as likely as its negative. The p-value
    is the share of all 2**n choices of signs whose sum is at least as far from 0 as the observed
    sum. More than 30 differences are summed in 30 groups, whose signs are flipped as a whole: the
    test stays exact, because the sum of a group is as likely as its negative, too.

    Args:
        differences: One finite number a pair, such as the logarithm of a ratio.

    Returns:
        From 2 / 2**n to 1; 1.0 without differences.
    """
    if not len(differences):
        return 1.0
    groups = np.array_split(np.asarray(differences, np.float64), min(len(differences), 2 * _HALF))
    terms = np.array([group.sum() for group in groups])
    # Sums that are equal but for their rounding count as equal.
    observed = abs(terms.sum()) - 1e-9 * float(np.abs(terms).sum())
    first, second = _sums(terms[:_HALF]), np.sort(_sums(terms[_HALF:]))
    above = len(second) - np.searchsorted(second, observed - first, side="left")
    below = np.searchsorted(second, -observed - first, side="right")
    return min(1.0, int((above + below).sum()) / (len(first) * len(second)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests by Holm's method.

    If no difference is real, the chance that any corrected p-value is below a level is at most that
    level, however the tests depend on each other (Holm, Scandinavian Journal of Statistics 6,
    1979).

    Args:
        p_values: 0 to 1, one for each test.

    Returns:
        The corrected p-values in the same order: at least as high, at most 1.
    """
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def pairs_needed(tests: int) -> int:
    """Return how many pairs `sign_flip_p` needs for a corrected p-value below LEVEL.

    Args:
        tests: Tests that are corrected together.

    Returns:
        The lowest n for which `tests` times the lowest p-value, 2 / 2**n, is below LEVEL: 6 for one
        test.
    """
    pairs = 1
    while max(1, tests) * 2 / 2**pairs >= LEVEL:
        pairs += 1
    return pairs


def text(p_value: float) -> str:
    """Return a p-value with as many digits as a verdict needs: "0.031", "< 0.0001"."""
    if p_value < 1e-4:
        return "< 0.0001"
    return f"{p_value:.4f}" if p_value < 0.1 else f"{p_value:.2f}"


def _sums(terms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the sums for every choice of signs: float64, shape (2**n,)."""
    sums = np.zeros(1)
    for term in terms:
        sums = np.concatenate([sums + term, sums - term])
    return sums
