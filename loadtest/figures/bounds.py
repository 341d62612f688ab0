"""Sections of a report about a latency bound, computed from a recording and its scores."""

from typing import Final

import numpy as np
import numpy.typing as npt

from loadtest.figures import correlation
from loadtest.figures.percentiles import over_allowed
from loadtest.figures.scoring import Scores
from loadtest.figures.sections import window_seconds
from loadtest.generator.recording import Recording
from loadtest.report_sections_schema import DurationClass, Goodput, Slo

# MLPerf Inference's minimum duration of a run (inference_rules.adoc), and a tenth of it.
FULL_SECONDS: Final = 600.0
QUICK_SECONDS: Final = 60.0
# The last arrival may come a little before the planned end of a run.
_SHARE = 0.99
_NEVER = np.iinfo(np.int64).max
_NS_PER_MS = 1_000_000


def slo(recording: Recording, scores: Scores, limit_ms: float, percent: float) -> Slo:
    """Return whether a latency bound holds for a percentile, with the counts.

    Args:
        recording: The recording.
        scores: Its answers.
        limit_ms: Latency bound in milliseconds.
        percent: Percentile, above 0 and below 100.
    """
    finished, missed = recording.finished, len(recording.missed_due_ns)
    n = finished + missed
    over, latency_ns = np.ones(n, np.bool_), np.full(n, _NEVER)
    over[scores.rows] = ~_good(scores, limit_ms)
    latency_ns[scores.rows] = scores.latency_ns
    due_ns = np.concatenate([recording.due_ns, recording.missed_due_ns])
    inflation = correlation.inflation(over, latency_ns, due_ns, percent)
    allowed = over_allowed(n, percent, inflation)
    count = int(over.sum())
    return Slo(
        limit_ms=limit_ms,
        percentile=percent,
        n=n,
        over=count,
        over_allowed=allowed,
        met=allowed is not None and count <= allowed,
        inflation=inflation,
        duration=duration_class(window_seconds(recording)),
    )


def duration_class(seconds: float) -> DurationClass:
    """Return the label of a run's duration: "full" from 600 s on, "quick" from 60 s on."""
    if seconds >= _SHARE * FULL_SECONDS:
        return "full"
    return "quick" if seconds >= _SHARE * QUICK_SECONDS else "short"


def goodput(recording: Recording, scores: Scores, limit_ms: float) -> Goodput:
    """Return rates and shares of the answers that came in time and match their record.

    Args:
        recording: The recording.
        scores: Its answers.
        limit_ms: Latency bound in milliseconds.
    """
    good = _good(scores, limit_ms)
    correct = int((good & scores.all_correct).sum())
    labelled = not (scores.used & (scores.labels < 0)).any()
    scheduled = recording.sent + len(recording.missed_due_ns)
    seconds = window_seconds(recording)
    return Goodput(
        slo_ms=limit_ms,
        per_second=int(good.sum()) / seconds if seconds else None,
        share=int(good.sum()) / scheduled if scheduled else None,
        correct_per_second=correct / seconds if seconds and labelled else None,
        correct_share=correct / scheduled if scheduled and labelled else None,
    )


def _good(scores: Scores, limit_ms: float) -> npt.NDArray[np.bool_]:
    return (scores.latency_ns <= limit_ms * _NS_PER_MS) & ~scores.wrong
