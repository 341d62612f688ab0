"""The requests that Locust's users send and their recorded answers, in one process or several.

The web UI or the command line starts and stops users; they send the images in one shuffled order,
repeatedly. In a distributed run each worker adds its recording to every report to the master, so
that counts and percentiles come from all workers' raw values. Answers are scored once: those of
this process when the page next asks for figures, those of workers when they are handed over.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from loadtest.figures import sections
from loadtest.figures.running import RunningFigures
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder, Recording
from loadtest.report_sections_schema import Accuracy, ErrorKind, Latency, Throughput
from loadtest.rows.images import Queries
from loadtest.transports.api import Api


@dataclass(frozen=True)
class Summary:
    """The figures of a run so far; `report_sections_schema` describes the sections."""

    answered: int
    failed: int
    latency_ms: Latency
    throughput: Throughput
    accuracy: Accuracy
    errors: dict[str, ErrorKind]
    answers_by_version: dict[str, int]


class LocustRun:
    """One run; all calls come from greenlets of one thread, so no locks are needed."""

    def __init__(
        self,
        api: Api,
        queries: Queries,
        labels: npt.NDArray[np.int64],
        payloads: Sequence[bytes],
        class_names: Sequence[str] = (),
    ) -> None:
        """Start a run without answers.

        Args:
            api: The API that parses answers.
            queries: The images of each query.
            labels: int64, shape (images,): true class of each image.
            payloads: Request body of each query; empty if no requests are to be sent.
            class_names: Names of the classes; empty for no figures of single classes.
        """
        self._api = api
        self._queries = queries
        self._images = len(labels)
        self._scorer = Scorer(api, queries, labels)
        self._payloads = payloads
        self._numbers = itertools.count()
        self._recorder = Recorder()
        self._class_names = class_names
        self._figures = self._no_figures()
        self._counting_since_ns = 0

    def next_request(self) -> tuple[int, bytes] | None:
        """Return number and body of the next request; None if there are no payloads."""
        if not self._payloads:
            return None
        number = next(self._numbers)
        return number, self._payloads[number % len(self._payloads)]

    def answer(self, number: int, sent_ns: int, end_ns: int, response: bytes) -> str | None:
        """Record an answer; return the reason if it cannot be scored, else None."""
        if sent_ns >= self._counting_since_ns:
            self._recorder.sent += 1
            self._recorder.answer(number, sent_ns, sent_ns, end_ns, response)
        return self._scorer.problem(number % len(self._queries), response)

    def error(self, number: int, sent_ns: int, end_ns: int, failure: tuple[str, str]) -> None:
        """Record a failure: its kind and message."""
        if sent_ns >= self._counting_since_ns:
            self._recorder.sent += 1
            self._recorder.error(number, sent_ns, sent_ns, end_ns, failure)

    def reset(self) -> None:
        """Drop all figures; answers to requests sent before this call will not be counted."""
        self._recorder = Recorder()
        self._figures = self._no_figures()
        self._counting_since_ns = time.monotonic_ns()

    def _no_figures(self) -> RunningFigures:
        return RunningFigures(self._scorer, images=self._images, class_names=self._class_names)

    def hand_over(self) -> Recording:
        """Return the recording since the last call, for the master, and drop it here.

        Times are converted to the wall clock, because monotonic clocks differ between machines.
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
        """Add a recording that a worker handed over."""
        self._figures.add(recording)

    def summary(self) -> Summary:
        """Return the figures so far; only what is new since the last call is scored."""
        figures = self._figures
        figures.add(self._recorder.recording())
        self._recorder = Recorder()
        return Summary(
            answered=figures.answered,
            failed=figures.failed,
            latency_ms=figures.latency(),
            throughput=figures.throughput(open_loop=False),
            accuracy=figures.accuracy(),
            errors=figures.errors(),
            answers_by_version=sections.answers_by_version(figures.versions),
        )
