"""Recordings of requests that were answered with a class as a digit, and their scores."""

import numpy as np

from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.scoring import Scorer, Scores
from loadtest.generator.recording import Recorder, Recording
from loadtest.rows.images import Queries
from loadtest.transports.api import Answer

MS = 1_000_000


class DigitApi:
    """An Api whose answer is the class as a digit; more text may make answers distinct."""

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        return Answer(np.full(rows, int(response[:1])), 1, "classes")


def scored(
    recorder: Recorder, labels: np.ndarray, predictions: np.ndarray | None = None, **generator
) -> tuple[Recording, Scores]:
    """A recording of single-image requests, and its scores."""
    recording = recorder.recording(**generator)
    queries = Queries(np.arange(len(labels)), 1)
    scorer = Scorer(DigitApi(), queries, labels)
    return recording, scorer.score(
        recording, predictions=None if predictions is None else RecordedClasses(predictions)
    )


def latencies(*milliseconds: float, spacing_ms: float = 100, lag_ms: float = 0) -> Recorder:
    """Requests due at equal intervals, each answered with class 0 after the given latency."""
    recorder = Recorder()
    for number, latency_ms in enumerate(milliseconds):
        due_ns = int(number * spacing_ms * MS)
        recorder.sent += 1
        recorder.answer(
            number, due_ns, due_ns + int(lag_ms * MS), due_ns + int(latency_ms * MS), b"0"
        )
    return recorder
