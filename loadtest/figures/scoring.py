"""Scoring of a recording's answers against the labels and the recorded predictions.

Equal answers to the same query are parsed once, however often they came.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from loadtest.generator.recording import Integers, Recording
from loadtest.load.images import Queries
from loadtest.transports.api import BAD_RESPONSE, Answer, Api

WRONG_ANSWER = "WRONG_ANSWER"

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scored answers of a recording: one row for each request with a scorable answer.

    Attributes:
        rows: int64, shape (n,): index into the recording's rows.
        latency_ns: int64, shape (n,): from the due time.
        images: int64, shape (n, batch): test image at each place; -1 at unused places of a short
            query.
        classes: int64, shape (n, batch): answered class; -1 at unused places.
        labels: int64, shape (n, batch): true class; -1 at unused places.
        differs: bool, shape (n, batch): whether the answered class differs from the recorded
            prediction; None without predictions.
        model_versions: int64, shape (n,): version that answered; -1 if the server named none.
        output: Name of the output from which classes were read; None without answers.
        errors: (count, first message) of each kind of failure, most frequent first.
    """

    rows: Integers
    latency_ns: Integers
    images: Integers
    classes: Integers
    labels: Integers
    differs: Flags | None
    model_versions: Integers
    output: str | None
    errors: dict[str, tuple[int, str]]

    @property
    def answered(self) -> int:
        """Requests with an answer that could be scored."""
        return len(self.rows)

    @property
    def failed(self) -> int:
        """Requests that failed, or whose answer could not be scored."""
        return sum(count for count, _ in self.errors.values())

    @cached_property
    def versions(self) -> dict[int | None, int]:
        """Answered requests by model version; key None if the server named no version."""
        found, counts = np.unique(self.model_versions, return_counts=True)
        return {
            None if version < 0 else version: count
            for version, count in zip(found.tolist(), counts.tolist(), strict=True)
        }

    @cached_property
    def used(self) -> Flags:
        """Whether each place holds an image: bool, shape (n, batch)."""
        return np.asarray(self.images >= 0)

    @cached_property
    def correct(self) -> Flags:
        """Whether each place was answered with its label: bool, shape (n, batch)."""
        return np.asarray(self.used & (self.classes == self.labels))

    @cached_property
    def wrong(self) -> Flags:
        """Whether any image of a request differs from its prediction: bool, shape (n,)."""
        if self.differs is None:
            return np.zeros(self.answered, np.bool_)
        return np.asarray(self.differs.any(axis=1))

    @cached_property
    def all_correct(self) -> Flags:
        """Whether all images of a request were answered with their label: bool, shape (n,)."""
        return np.asarray((self.correct | ~self.used).all(axis=1))


class Scorer:
    """Parses and scores answers; each distinct (query, answer) pair is parsed once."""

    def __init__(self, api: Api, queries: Queries, labels: Integers) -> None:
        """Start without parsed answers.

        Args:
            api: The API that parses answers.
            queries: The images of each query.
            labels: int64, shape (images,): true class of each image.
        """
        self._api = api
        self._queries = queries
        self._labels = labels
        self._read: dict[tuple[int, bytes], Answer | str] = {}

    def score(
        self,
        recording: Recording,
        *,
        sent_queries: int | None = None,
        predictions: Integers | None = None,
    ) -> Scores:
        """Parse every answer and compare its classes with the labels and the predictions.

        Args:
            recording: The recording.
            sent_queries: Number of distinct queries that were sent in turn; None for all.
            predictions: int64, shape (images,): recorded class of each image; None if unknown.
        """
        count = len(self._queries) if sent_queries is None else sent_queries
        rows = np.flatnonzero(recording.outcomes >= 0)
        queries = recording.numbers[rows] % count
        # Each distinct pair of query and answer is parsed once.
        width = max(1, len(recording.responses))
        pairs, inverse = np.unique(queries * width + recording.outcomes[rows], return_inverse=True)
        answers = [
            self._answer(int(pair // width), recording.responses[int(pair % width)])
            for pair in pairs
        ]
        good = np.array([isinstance(answer, Answer) for answer in answers], np.bool_)
        kept = good[inverse] if len(pairs) else np.zeros(0, np.bool_)
        classes = np.full((len(pairs), self._queries.batch), -1, np.int64)
        versions = np.full(len(pairs), -1, np.int64)
        for index, answer in enumerate(answers):
            if isinstance(answer, Answer):
                classes[index, : len(answer.classes)] = answer.classes
                versions[index] = -1 if answer.version is None else answer.version
        images = self._queries.table[queries[kept]]
        labels = np.where(images >= 0, self._labels[images], -1)
        answered = classes[inverse[kept]] if len(pairs) else images
        return Scores(
            rows=rows[kept],
            latency_ns=(recording.end_ns - recording.due_ns)[rows[kept]],
            images=images,
            classes=answered,
            labels=labels,
            differs=(
                None if predictions is None else (images >= 0) & (answered != predictions[images])
            ),
            model_versions=versions[inverse[kept]],
            output=next((answer.output for answer in answers if isinstance(answer, Answer)), None),
            errors=_errors(recording, answers, inverse),
        )

    def problem(self, query: int, response: bytes) -> str | None:
        """Return the reason why an answer to a query cannot be scored; None if it can."""
        answer = self._answer(query, response)
        return answer if isinstance(answer, str) else None

    def _answer(self, query: int, response: bytes) -> Answer | str:
        """Return the parsed answer, or the reason why it cannot be scored."""
        key = (query, response)
        known = self._read.get(key)
        if known is None:
            rows = len(self._queries.image_ids(query))
            try:
                known = self._api.parse(response, rows)
            except ValueError as error:
                known = str(error)
            self._read[key] = known
        return known


def _errors(
    recording: Recording, answers: list[Answer | str], inverse: Integers
) -> dict[str, tuple[int, str]]:
    """Return transport failures and unreadable answers by kind, most frequent first."""
    failures = ~recording.outcomes[recording.outcomes < 0]
    counts = np.bincount(failures, minlength=len(recording.errors))
    errors = {
        kind: (int(count), message)
        for (kind, message), count in zip(recording.errors, counts, strict=True)
    }
    bad = [index for index, answer in enumerate(answers) if isinstance(answer, str)]
    if bad:
        unread = np.isin(inverse, bad)
        first = answers[int(inverse[unread.argmax()])]
        errors[BAD_RESPONSE] = (int(unread.sum()), str(first))
    return dict(sorted(errors.items(), key=lambda item: -item[1][0]))
