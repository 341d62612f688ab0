"""What happened to every timed request, kept raw until someone asks for a summary.

Appending is all that happens during a run. Greenlets of one process take turns only where they wait
for the network, so `record` runs undisturbed and needs no lock.
"""

from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.client import Outcome
from loadtest.images import Query
from loadtest.percentiles import percentile
from training.accuracy import wilson_interval
from training.cifar10 import CLASS_NAMES

# Failures that say that nobody answers, as opposed to an answer that says no.
CONNECTION_ERRORS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of the timed requests up to a moment.

    Attributes:
        answered: Requests with an answer that could be scored.
        failed: Requests without.
        images: Images answered, repeats included.
        distinct_images: Different images among them.
        correct: Answers that equal the image's label, repeats included.
        top1: correct / images; None before the first answer.
        top1_wilson_95: Bounds for as many trials as there are distinct images: a repeated image
            says nothing new. None before the first answer.
        per_class_accuracy: Share of each class' images answered correctly; None without images.
        p50_ms: Percentiles of the answered requests' latency (see `percentiles`); None if there
            are too few.
        p90_ms: Likewise.
        p99_ms: Likewise.
        mean_ms: None before the first answer, as are the next two.
        min_ms: Fastest answer.
        max_ms: Slowest answer.
        window_seconds: From the first timed request's sending to the last one's end.
        requests_per_second: Answered requests over the window; None for an empty window.
        images_per_second: Answered images over the window; None for an empty window.
        errors: Number of failures by gRPC status name or BAD_RESPONSE, most frequent first.
        error_messages: The first message of each kind.
        versions: Answered requests by model version; key None: the server did not say.
    """

    answered: int
    failed: int
    images: int
    distinct_images: int
    correct: int
    top1: float | None
    top1_wilson_95: tuple[float, float] | None
    per_class_accuracy: dict[str, float | None]
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    window_seconds: float
    requests_per_second: float | None
    images_per_second: float | None
    errors: dict[str, int]
    error_messages: dict[str, str]
    versions: dict[int | None, int]


class Recorder:
    """Raw timings and answers of one run."""

    def __init__(self, labels: npt.NDArray[np.int64]) -> None:
        """Start empty.

        Args:
            labels: int64, shape (n,): the right answer to each test image.
        """
        self._labels = labels
        self._sent_ns = array("q")
        self._latency_ns = array("q")
        self._image_ids = array("q")
        self._answers = array("q")
        self._first_sent_ns: int | None = None
        self._last_end_ns = 0
        self._errors: Counter[str] = Counter()
        self._error_messages: dict[str, str] = {}
        self._versions: Counter[int | None] = Counter()
        self.connection_failures_in_a_row = 0

    def record(self, query: Query, outcome: Outcome) -> None:
        """Keep what became of a timed request."""
        if self._first_sent_ns is None or outcome.sent_ns < self._first_sent_ns:
            self._first_sent_ns = outcome.sent_ns
        self._last_end_ns = max(self._last_end_ns, outcome.sent_ns + outcome.latency_ns)
        if outcome.classes is None:
            kind = outcome.error or "UNKNOWN"
            self._errors[kind] += 1
            self._error_messages.setdefault(kind, outcome.message)
            self.connection_failures_in_a_row = (
                self.connection_failures_in_a_row + 1 if kind in CONNECTION_ERRORS else 0
            )
            return
        self.connection_failures_in_a_row = 0
        self._sent_ns.append(outcome.sent_ns)
        self._latency_ns.append(outcome.latency_ns)
        self._image_ids.frombytes(query.image_ids.tobytes())
        self._answers.frombytes(outcome.classes.tobytes())
        self._versions[outcome.version] += 1

    @property
    def finished(self) -> int:
        """Requests recorded, failures included."""
        return len(self._latency_ns) + self._errors.total()

    @property
    def image_ids(self) -> npt.NDArray[np.int64]:
        """int64, shape (images,): which test image each answer belongs to, in order of arrival."""
        return np.array(self._image_ids, np.int64)

    @property
    def answers(self) -> npt.NDArray[np.int64]:
        """int64, shape (images,): the class answered for each of `image_ids`."""
        return np.array(self._answers, np.int64)

    def save(self, path: Path) -> None:
        """Write the raw values as a NumPy archive.

        `sent_ns` (from the first sending) and `latency_ns` have an entry for each answered request,
        `image_ids` and `answers` for each answered image; all int64.
        """
        sent_ns = np.array(self._sent_ns, np.int64) - (self._first_sent_ns or 0)
        np.savez_compressed(
            path,
            sent_ns=sent_ns,
            latency_ns=np.array(self._latency_ns, np.int64),
            image_ids=self.image_ids,
            answers=self.answers,
        )

    def summary(self) -> Summary:
        """The figures up to now."""
        latency_ns = np.array(self._latency_ns, np.int64)
        image_ids = self.image_ids
        labels = self._labels[image_ids]
        right = self.answers == labels
        images, correct = len(image_ids), int(right.sum())
        distinct = len(np.unique(image_ids))
        window_ns = self._last_end_ns - self._first_sent_ns if self._first_sent_ns else 0
        window_seconds = window_ns / _NS_PER_SECOND
        return Summary(
            answered=len(latency_ns),
            failed=self._errors.total(),
            images=images,
            distinct_images=distinct,
            correct=correct,
            top1=correct / images if images else None,
            top1_wilson_95=(
                wilson_interval(round(correct / images * distinct), distinct) if images else None
            ),
            per_class_accuracy={
                name: float(right[labels == label].mean()) if (labels == label).any() else None
                for label, name in enumerate(CLASS_NAMES)
            },
            p50_ms=_ms(percentile(latency_ns, 50)),
            p90_ms=_ms(percentile(latency_ns, 90)),
            p99_ms=_ms(percentile(latency_ns, 99)),
            mean_ms=_ms(float(latency_ns.mean()) if images else None),
            min_ms=_ms(int(latency_ns.min()) if images else None),
            max_ms=_ms(int(latency_ns.max()) if images else None),
            window_seconds=window_seconds,
            requests_per_second=len(latency_ns) / window_seconds if window_ns else None,
            images_per_second=images / window_seconds if window_ns else None,
            errors=dict(self._errors.most_common()),
            error_messages=dict(self._error_messages),
            versions=dict(sorted(self._versions.items(), key=lambda item: item[0] or 0)),
        )


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _NS_PER_MS
