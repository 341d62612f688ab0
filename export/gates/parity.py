"""The parity gate: Keras, SavedModel and ONNX must give the same answer to every test image.

The gate compares each pair of the three. A pair passes when

- every logit b of the second artefact is close to the same logit a of the first, as in
  `numpy.allclose`: |b - a| <= ATOL + RTOL * |a|; and every probability is close in the same sense,
  with PROBABILITY_RTOL instead of RTOL;
- both name the same class for every image that is not a tie. A tie is an image whose two largest
  logits in the first artefact differ by less than TIE_MARGIN, so that rounding may decide its
  class. Ties are counted and reported.

The gate checks that a conversion is correct. It reads no labels and chooses nothing between models,
so it may use the test images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from export.errors import GateFailed
from export.gates.answers import Answers

# For float32 arithmetic in another order of operations. Measured deltas are at most a tenth of it.
RTOL = 1e-4
ATOL = 1e-5
# Larger, because softmax turns a logit's absolute error into a relative error of the probability.
PROBABILITY_RTOL = 1e-3
TIE_MARGIN = 1e-4
_WORST = 5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The comparison of two artefacts' answers.

    Attributes:
        reference: The artefact whose answers count as right.
        candidate: The artefact whose answers are judged.
        images: Number of images compared.
        max_abs_delta: Largest difference of two logits.
        max_rel_delta: Largest relative difference, among logits where the relative part of the
            tolerance outweighs the absolute one (|logit| >= ATOL / RTOL = 0.1); 0 if there are
            none.
        tolerance_used: Largest difference of two logits as a share of the tolerance; the pair
            fails above 1.
        max_abs_delta_probabilities: Largest difference of two probabilities.
        outside_tolerance: Number of images with a logit or a probability outside the tolerance.
        ties: Number of images whose class rounding may decide.
        same_class: Number of images for which both name the same class, ties included.
        class_differs: Number of images with different classes that are not ties.
        worst_images: Indices of the failed images, the largest difference first; at most five.
    """

    reference: str
    candidate: str
    images: int
    max_abs_delta: float
    max_rel_delta: float
    tolerance_used: float
    max_abs_delta_probabilities: float
    outside_tolerance: int
    ties: int
    same_class: int
    class_differs: int
    worst_images: tuple[int, ...]

    @property
    def passed(self) -> bool:
        """Whether every image is within the tolerance and has the same class, ties excepted."""
        return not self.outside_tolerance and not self.class_differs

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values for metrics.json; a published pair has no worst images."""
        values = asdict(self)
        del values["worst_images"]
        return values


def compare(reference: Answers, candidate: Answers) -> Pair:
    """Compare two artefacts' answers to the same images; NaN differs from everything."""
    logits = _Deltas(reference.logits, candidate.logits, rtol=RTOL)
    probabilities = _Deltas(reference.probabilities, candidate.probabilities, rtol=PROBABILITY_RTOL)
    ties = tied(reference.logits)
    same_class = reference.classes == candidate.classes
    outside = logits.outside | probabilities.outside
    differs = ~same_class & ~ties
    used = np.maximum(logits.used, probabilities.used).max(axis=1)
    failed = np.flatnonzero(outside | differs)
    worst = failed[np.argsort(-used[failed], kind="stable")][:_WORST]
    return Pair(
        reference=reference.source,
        candidate=candidate.source,
        images=len(ties),
        max_abs_delta=logits.max_abs,
        max_rel_delta=logits.max_rel,
        tolerance_used=float(logits.used.max()),
        max_abs_delta_probabilities=probabilities.max_abs,
        outside_tolerance=int(outside.sum()),
        ties=int(ties.sum()),
        same_class=int(same_class.sum()),
        class_differs=int(differs.sum()),
        worst_images=tuple(int(index) for index in worst),
    )


def tied(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which images have their two largest logits less than TIE_MARGIN apart.

    Args:
        logits: float32, shape (n, classes), two classes or more.

    Returns:
        bool, shape (n,).
    """
    two_largest = np.partition(logits, -2, axis=1)[:, -2:]
    return np.asarray(two_largest[:, 1] - two_largest[:, 0] < TIE_MARGIN)


def check(answers: Sequence[Answers], class_names: Sequence[str] = ()) -> list[Pair]:
    """Compare each pair of artefacts; the first of a pair is the reference.

    Args:
        answers: Answers in the order of conversion: Keras, SavedModel, ONNX.
        class_names: Names of the classes, for messages; their numbers if it is empty.

    Raises:
        GateFailed: a pair differs; the message reports every such pair.
    """
    together = list(combinations(answers, 2))
    pairs = [compare(reference, candidate) for reference, candidate in together]
    reports = [
        report(pair, *both, class_names)
        for pair, both in zip(pairs, together, strict=True)
        if not pair.passed
    ]
    if reports:
        raise GateFailed("\n".join([*reports, _way_out(pairs)]))
    return pairs


def report(
    pair: Pair, reference: Answers, candidate: Answers, class_names: Sequence[str] = ()
) -> str:
    """A text that shows where two artefacts differ, with the worst images."""
    tolerance = f"atol {ATOL:g}, rtol {RTOL:g} for logits, {PROBABILITY_RTOL:g} for probabilities"
    outside = f"{pair.outside_tolerance:,} of {pair.images:,} images"
    deltas = f"{pair.max_abs_delta:.3g} absolute, {pair.max_rel_delta:.3g} relative"
    lines = [
        f"parity gate: {pair.candidate} differs from {pair.reference}",
        f"  outside the tolerance ({tolerance}): {outside}",
        f"  another class: {pair.class_differs:,} images ({pair.ties:,} ties not counted)",
        f"  largest delta of the logits: {deltas}; {pair.tolerance_used:.3g} times the tolerance",
        "  worst images (index, answer, class, logits):",
    ]
    for index in pair.worst_images:
        for source in (reference, candidate):
            logits = " ".join(f"{logit:.6g}" for logit in source.logits[index])
            answer = int(source.classes[index])
            name = class_names[answer] if class_names else str(answer)
            lines.append(f"    {index:>5}  {source.source:<10} {name:<10} {logits}")
    return "\n".join(lines)


def _way_out(pairs: Sequence[Pair]) -> str:
    failed = {frozenset((pair.reference, pair.candidate)) for pair in pairs if not pair.passed}
    if all("ONNX" in names for names in failed):
        hint = (
            "Keras and SavedModel agree, so the conversion to ONNX is at fault: compare the "
            "versions of tf2onnx and onnxslim with constraints.txt"
        )
    elif all("Keras" in names for names in failed):
        hint = (
            "SavedModel and ONNX agree, so writing the SavedModel is at fault: look for layers "
            "that compute in another precision, or that differ between training and inference"
        )
    else:
        hint = "look at the worst images above first"
    return f"  way out: {hint}; nothing was published"


class _Deltas:
    """Element-wise differences of two arrays of shape (n, classes)."""

    def __init__(
        self,
        reference: npt.NDArray[np.float32],
        candidate: npt.NDArray[np.float32],
        *,
        rtol: float,
    ) -> None:
        # In float64, so that the subtraction itself does not round.
        a, b = reference.astype(np.float64), candidate.astype(np.float64)
        delta: npt.NDArray[np.float64] = np.nan_to_num(np.abs(b - a), nan=np.inf)
        self.used = np.nan_to_num(delta / (ATOL + rtol * np.abs(a)), nan=np.inf)
        self.outside: npt.NDArray[np.bool_] = np.asarray((self.used > 1).any(axis=1))
        self.max_abs = float(delta.max())
        large = np.abs(a) >= ATOL / rtol
        self.max_rel = float((delta[large] / np.abs(a[large])).max(initial=0))
