"""The figures of a run in progress: every recording is scored once, when it is added.

The figures are those that `sections` computes from all recordings merged, to the last digit. They
take 8 bytes for each answered request (its latency, because percentiles are measured values), and
for the rest a size that does not grow with the run.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from loadtest.figures import sections
from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.histogram import LatencyHistogram
from loadtest.figures.percentiles import percentile_of_sorted
from loadtest.figures.scoring import Scorer, Scores
from loadtest.generator.recording import Integers, Recorder, Recording
from loadtest.report_sections_schema import Accuracy, ErrorKind, Latency, Throughput
from loadtest.transports.api import BAD_RESPONSE
from training.data.cifar10 import CLASS_NAMES
from training.evaluation.accuracy import wilson_interval

_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000
_NEVER = np.iinfo(np.int64).max


class RunningFigures:
    """The figures of all recordings that were added.

    Attributes:
        answered: Requests with an answer that could be scored.
        failed: Requests that failed, or whose answer could not be scored.
        versions: Answered requests by model version, in ascending order; key None, the first one,
            if the server named no version.
        differing: Images whose answer differs from the recorded prediction.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        images: int,
        sent_queries: int | None = None,
        predictions: RecordedClasses | None = None,
        class_names: Sequence[str] = CLASS_NAMES,
        with_histogram: bool = True,
    ) -> None:
        """Start without answers.

        Args:
            scorer: Scores the answers.
            images: Number of test images, or of other rows.
            sent_queries: Number of distinct queries that are sent in turn; None for all.
            predictions: Recorded class of each image; None if unknown.
            class_names: Names of the classes; empty for no figures of single classes.
            with_histogram: Whether the latency section has its histogram.
        """
        self.answered = 0
        self.failed = 0
        self.versions: dict[int | None, int] = {}
        self.differing = 0
        self._scorer = scorer
        self._sent_queries = sent_queries
        self._predictions = predictions
        self._seen = np.zeros(images, np.bool_)
        self._sorted_ns = np.zeros(0, np.int64)
        self._sum_ns = 0
        self._histogram = LatencyHistogram() if with_histogram else None
        self._errors: dict[str, tuple[int, str]] = {}
        self._bad_since_ns = _NEVER
        self._requests = 0  # due so far
        self._finished = 0
        self._first_due_ns, self._last_due_ns, self._last_end_ns = _NEVER, -_NEVER, -_NEVER
        nothing = Recorder().recording()
        scores = scorer.score(nothing, sent_queries=sent_queries, predictions=predictions)
        self._no_latency = sections.latency(scores.latency_ns)
        self._class_names = class_names
        self._accuracy = sections.accuracy(scores, None, class_names)
        known = len(class_names)
        self._confusion = np.zeros((known, known + 1 if known else 0), np.int64)

    def add(self, recording: Recording) -> Scores:
        """Score a recording and add its figures to the sums; return the scores."""
        scores = self._scorer.score(
            recording, sent_queries=self._sent_queries, predictions=self._predictions
        )
        self._add_times(recording)
        self._add_latency(scores.latency_ns)
        self._add_accuracy(scores)
        self._add_errors(recording, scores)
        self.answered += scores.answered
        self.failed += scores.failed
        versions = {*self.versions, *scores.versions}
        self.versions = {
            version: self.versions.get(version, 0) + scores.versions.get(version, 0)
            for version in sorted(versions, key=lambda known: -1 if known is None else known)
        }
        if scores.differs is not None:
            self.differing += int(scores.differs.sum())
        return scores

    def add_unscored(self, recording: Recording) -> None:
        """Add answers that are not to be scored: their times and latencies, and no accuracy."""
        self._add_times(recording)
        self._add_latency(recording.end_ns - recording.due_ns)
        self.answered += recording.finished

    def latency(self) -> Latency:
        """Return the latency section; see `sections.latency`."""
        values = self._sorted_ns
        n = len(values)
        if not n:
            return self._no_latency
        changes: dict[str, float | None] = {}
        for name in self._no_latency.requests_needed:
            percent = float(name.removeprefix("p").replace("_", "."))
            value = percentile_of_sorted(values, percent)
            changes[name] = None if value is None else value / _NS_PER_MS
        return structs.replace(
            self._no_latency,
            n=n,
            min=int(values[0]) / _NS_PER_MS,
            mean=self._sum_ns / n / _NS_PER_MS,
            max=int(values[-1]) / _NS_PER_MS,
            histogram=None if self._histogram is None else self._histogram.encode(),
            **changes,
        )

    def throughput(self, *, open_loop: bool) -> Throughput:
        """Return the throughput section; see `sections.throughput`."""
        seconds = 0.0
        if self._finished:
            seconds = float(self._last_end_ns - self._first_due_ns) / _NS_PER_SECOND
        due_seconds = 0.0
        if self._requests:
            due_seconds = float(self._last_due_ns - self._first_due_ns) / _NS_PER_SECOND
        return Throughput(
            window_seconds=seconds,
            offered_requests_per_second=(
                (self._requests - 1) / due_seconds if open_loop and due_seconds else None
            ),
            requests_per_second=self.answered / seconds if seconds else None,
            images_per_second=self._accuracy.n / seconds if seconds else None,
        )

    def accuracy(self) -> Accuracy:
        """Return the accuracy section, without a record; see `sections.accuracy`."""
        return self._accuracy

    def errors(self) -> dict[str, ErrorKind]:
        """Return failures by kind, most frequent first; see `sections.errors`."""
        # Unreadable answers come after equally frequent failures, as in a single scoring.
        kinds = sorted(
            self._errors.items(), key=lambda item: (-item[1][0], item[0] == BAD_RESPONSE)
        )
        return {
            kind: ErrorKind(count=count, first_message=message) for kind, (count, message) in kinds
        }

    def _add_times(self, recording: Recording) -> None:
        for due_ns in (recording.due_ns, recording.missed_due_ns):
            if len(due_ns):
                self._first_due_ns = min(self._first_due_ns, int(due_ns.min()))
                self._last_due_ns = max(self._last_due_ns, int(due_ns.max()))
                self._requests += len(due_ns)
        if recording.finished:
            self._last_end_ns = max(self._last_end_ns, int(recording.end_ns.max()))
            self._finished += recording.finished

    def _add_latency(self, latency_ns: Integers) -> None:
        if not len(latency_ns):
            return
        # A stable sort merges two sorted parts in one pass over them.
        merged = np.concatenate([self._sorted_ns, np.sort(latency_ns)])
        merged.sort(kind="stable")
        self._sorted_ns = merged
        self._sum_ns += int(latency_ns.sum())
        if self._histogram is not None:
            self._histogram.add(latency_ns)

    def _add_accuracy(self, scores: Scores) -> None:
        new = sections.accuracy(scores, None, self._class_names)
        if not new.n:
            return
        self._seen[scores.images[scores.used]] = True
        n, correct = self._accuracy.n + new.n, self._accuracy.correct + new.correct
        distinct = int(self._seen.sum())
        if new.top1 is None:  # there are no labels
            self._accuracy = structs.replace(new, n=n, distinct_images=distinct)
            return
        self._confusion += np.array(new.confusion, np.int64).reshape(self._confusion.shape)
        # Row: true class; column: answered class.
        by_class, right = self._confusion.sum(axis=1), self._confusion.diagonal()
        self._accuracy = structs.replace(
            new,
            n=n,
            correct=correct,
            top1=correct / n,
            wilson_95=wilson_interval(round(correct / n * distinct), distinct),
            distinct_images=distinct,
            per_class={
                name: int(right[label]) / int(by_class[label]) if by_class[label] else None
                for label, name in enumerate(new.per_class)
            },
            confusion=self._confusion.tolist(),
        )

    def _add_errors(self, recording: Recording, scores: Scores) -> None:
        for kind, _ in (*recording.errors, (BAD_RESPONSE, "")):
            count, message = scores.errors.get(kind, (0, ""))
            if not count:
                continue
            before, first = self._errors.get(kind, (0, message))
            if kind == BAD_RESPONSE:
                unread = recording.outcomes >= 0
                unread[scores.rows] = False
                since_ns = int(recording.end_ns[unread].min())
                if since_ns < self._bad_since_ns:
                    self._bad_since_ns, first = since_ns, message
            self._errors[kind] = (before + count, first)
