"""Comparison of the answers of two sides to the same images: how often they agree and are right.

Two separate accuracies of 10,000 images each are uncertain by most of a percentage point. A paired
comparison of the same images detects differences of a tenth of that (McNemar, Psychometrika 12,
1947).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from loadtest.report_file import ReportError
from loadtest.report_schema import RAW_FILE, Result
from training import schemas
from training.evaluation import paired
from training.evaluation.significance import LEVEL

_NEEDED = ("image_ids", "answers", "labels")

Integers = npt.NDArray[np.int64]
AnswersVerdict = Literal["better", "worse", "not told apart"]


@dataclass(frozen=True)
class PairedAnswers:
    """Two results on the images that both answered.

    Attributes:
        images: Distinct images that both sides answered; a repeated image counts with its first
            answer.
        same: Images that both sides answered with the same class.
        difference: Top-1 of the other side minus top-1 of the first, with its interval.
        p_holm: p-value of McNemar's exact test, corrected for all figures of the comparison.
        verdict: "better" or "worse" if `p_holm` is below LEVEL.
    """

    images: int
    same: int
    difference: paired.PairedDifference
    p_holm: float = 1.0
    verdict: AnswersVerdict = "not told apart"

    def judged(self, p_holm: float) -> Self:
        """Return the same answers with their verdict."""
        verdict: AnswersVerdict = "not told apart"
        if p_holm < LEVEL:
            verdict = "better" if self.difference.difference > 0 else "worse"
        return replace(self, p_holm=p_holm, verdict=verdict)


def compare(first: Sequence[Result], other: Sequence[Result]) -> PairedAnswers | None:
    """Compare all answers of two sides; return None if they have no image with a label in common.

    Raises:
        ReportError: A newer program wrote the answers.
    """
    ours, theirs = _answers(first), _answers(other)
    if ours is None or theirs is None:
        return None
    images, mine, yours = np.intersect1d(ours[0], theirs[0], return_indices=True)
    if not len(images):
        return None
    before, after, labels = ours[1][mine], theirs[1][yours], ours[2][mine]
    return PairedAnswers(
        images=len(images),
        same=int((before == after).sum()),
        difference=paired.compare(after == labels, before == labels),
    )


def _answers(results: Sequence[Result]) -> tuple[Integers, Integers, Integers] | None:
    """Return distinct images, their first answers and labels; None without raw values or labels."""
    columns: list[list[Integers]] = [[], [], []]
    for result in results:
        path = Path(result.folder or "") / RAW_FILE
        if result.folder is None or not path.is_file():
            continue
        with np.load(path) as archive:
            if "schema_version" in archive:
                _check(archive["schema_version"].item(), path)
            if not set(_NEEDED).issubset(archive.files):
                continue
            rows = np.ones(len(archive["answers"]), np.bool_)
            if "latency_ns" in archive:  # version 2 has the requests without an answer, too
                rows = archive["latency_ns"] >= 0
            for column, name in zip(columns, _NEEDED, strict=True):
                column.append(archive[name][rows].ravel())
    if not columns[0]:
        return None
    images, answers, labels = (np.concatenate(column) for column in columns)
    used = (images >= 0) & (labels >= 0)
    known, places = np.unique(images[used], return_index=True)
    return known, answers[used][places], labels[used][places]


def _check(version: object, path: Path) -> None:
    try:
        schemas.SAMPLES.check(version, path)
    except schemas.SchemaError as error:
        raise ReportError(str(error)) from error
