"""What Locust's users send and what became of it, in one process or merged from many.

Users start and stop as the web UI or the command line says, and images are sent again and again in
the same shuffled order. In a distributed run each worker hands its recording over with every report
to the master, which merges them: counts and percentiles are those of all workers' raw values.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loadtest.figures import sections
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder, Recording, merge
from loadtest.load.images import Queries
from loadtest.report_sections_schema import Accuracy, ErrorKind, Latency, Throughput
from loadtest.transports.api import Api


@dataclass(frozen=True)
class Summary:
    """Figures up to a moment; see `report_sections_schema`."""

    answered: int
    failed: int
    latency_ms: Latency
    throughput: Throughput
    accuracy: Accuracy
    errors: dict[str, ErrorKind]
    answers_by_version: dict[str, int]


class LocustRun:
    """One run; everything happens in the greenlets of one process, so there are no locks."""

    def __init__(
        self,
        api: Api,
        queries: Queries,
        labels: npt.NDArray[np.int64],
        payloads: Sequence[bytes],
    ) -> None:
        """Start empty.

        Args:
            api: Reads answers.
            queries: Which images each query holds.
            labels: int64, shape (images,): the right answer to each.
            payloads: A body for each query; none where users shall find nothing to do.
        """
        self._api = api
        self._queries = queries
        self._scorer = Scorer(api, queries, labels)
        self._payloads = payloads
        self._numbers = itertools.count()
        self._recorder = Recorder()
        self._handed_over: list[Recording] = []
        self._counting_since_ns = 0

    def next_request(self) -> tuple[int, bytes] | None:
        """Number and body of the next request; None if there is nothing to send."""
        if not self._payloads:
            return None
        number = next(self._numbers)
        return number, self._payloads[number % len(self._payloads)]

    def answer(self, number: int, sent_ns: int, end_ns: int, response: bytes) -> str | None:
        """Keep an answer; gives what is wrong with one that cannot be scored."""
        if sent_ns >= self._counting_since_ns:
            self._recorder.sent += 1
            self._recorder.answer(number, sent_ns, sent_ns, end_ns, response)
        return self._scorer.problem(number % len(self._queries), response)

    def error(self, number: int, sent_ns: int, end_ns: int, failure: tuple[str, str]) -> None:
        """Keep a failure."""
        if sent_ns >= self._counting_since_ns:
            self._recorder.sent += 1
            self._recorder.error(number, sent_ns, sent_ns, end_ns, failure)

    def reset(self) -> None:
        """Count afresh: answers to requests already sent are not counted any more."""
        self._recorder = Recorder()
        self._handed_over = []
        self._counting_since_ns = time.monotonic_ns()

    def hand_over(self) -> Recording:
        """What was recorded since the last time, for the master; it is forgotten here.

        Times are on the wall clock, the only one that machines share.
        """
        recording = self._recorder.recording()
        self._recorder = Recorder()
        to_wall_ns = time.time_ns() - time.monotonic_ns()
        return replace(
            recording,
            due_ns=recording.due_ns + to_wall_ns,
            sent_ns=recording.sent_ns + to_wall_ns,
            end_ns=recording.end_ns + to_wall_ns,
        )

    def take_over(self, recording: Recording) -> None:
        """Add what a worker handed over."""
        self._handed_over.append(recording)

    def summary(self) -> Summary:
        """The figures up to now."""
        self._handed_over = [merge([*self._handed_over, self._recorder.recording()])]
        self._recorder = Recorder()
        (recording,) = self._handed_over
        scores = self._scorer.score(recording)
        return Summary(
            answered=scores.answered,
            failed=scores.failed,
            latency_ms=sections.latency(scores.latency_ns),
            throughput=sections.throughput(recording, scores, open_loop=False),
            accuracy=sections.accuracy(scores, None),
            errors=sections.errors(scores, None),
            answers_by_version=sections.answers_by_version(scores.versions),
        )
