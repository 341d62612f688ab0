"""Scoring of a recording's answers against the labels and the recorded answers.

Equal answers to the same query are parsed once, however often they came.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from loadtest.figures.agreement import Agreement, Flags, RecordedClasses
from loadtest.generator.recording import Integers, Recording
from loadtest.rows.images import Queries
from loadtest.transports.api import BAD_RESPONSE, Answer, Api

WRONG_ANSWER = "WRONG_ANSWER"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scored answers of a recording: one row for each request with a scorable answer.

    Attributes:
        rows: int64, shape (n,): index into the recording's rows.
        latency_ns: int64, shape (n,): from the due time.
        images: int64, shape (n, batch): test image, or other row, at each place; -1 at unused
            places of a short query.
        classes: int64, shape (n, batch): answered class; -1 at unused places, and everywhere if
            the answers are no classes.
        labels: int64, shape (n, batch): true class; -1 at unused places, and everywhere without
            labels.
        differs: bool, shape (n, batch): whether the answer differs from the recorded one; None
            without recorded answers.
        near_tie: bool, shape (n, batch): whether the answer is not the recorded class but one that
            nearly won; these do not differ.
        recorded: int64, shape (n, batch): recorded class, -1 at unused places; None without
            recorded classes.
        difference: What the first difference is, in words, if the answers are no classes.
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
    near_tie: Flags
    recorded: Integers | None = None
    difference: str | None = None
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
        """Whether each place holds a row: bool, shape (n, batch)."""
        return np.asarray(self.images >= 0)

    @cached_property
    def correct(self) -> Flags:
        """Whether each place was answered with its label: bool, shape (n, batch)."""
        return np.asarray(self.used & (self.classes == self.labels) & (self.labels >= 0))

    @cached_property
    def wrong(self) -> Flags:
        """Whether any row of a request differs from its record: bool, shape (n,)."""
        if self.differs is None:
            return np.zeros(self.answered, np.bool_)
        return np.asarray(self.differs.any(axis=1))

    @cached_property
    def all_correct(self) -> Flags:
        """Whether all images of a request were answered with their label: bool, shape (n,)."""
        return np.asarray((self.correct | ~self.used).all(axis=1))


@dataclass(frozen=True)
class _Read:
    """An answer that was read.

    Attributes:
        answer: The answer; its outputs are dropped after they were compared.
        differs: bool, shape (rows,): whether each row differs from the record; None without one.
        texts: What differs in values, by place.
    """

    answer: Answer
    differs: Flags | None
    texts: dict[int, str]


class Scorer:
    """Parses and scores answers; each distinct (query, answer) pair is parsed once."""

    def __init__(
        self,
        api: Api,
        queries: Queries,
        labels: Integers | None,
        agreement: Agreement | None = None,
    ) -> None:
        """Start without parsed answers.

        Args:
            api: The API that parses answers.
            queries: The images, or other rows, of each query.
            labels: int64, shape (images,): true class of each image; None if unknown.
            agreement: The recorded answers; None without any, or if `score` gets them.
        """
        self._api = api
        self._queries = queries
        self._labels = labels
        self._agreement = agreement
        self._read: dict[tuple[int, bytes], _Read | str] = {}

    def score(
        self,
        recording: Recording,
        *,
        sent_queries: int | None = None,
        predictions: RecordedClasses | None = None,
    ) -> Scores:
        """Parse every answer and compare it with the labels and the recorded answers.

        Args:
            recording: The recording.
            sent_queries: Number of distinct queries that were sent in turn; None for all.
            predictions: Recorded class of each image; None for those of the agreement, if any.
        """
        agreement = self._agreement
        if predictions is None and agreement is not None:
            predictions = agreement.classes
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
        good = np.array([isinstance(answer, _Read) for answer in answers], np.bool_)
        kept = good[inverse] if len(pairs) else np.zeros(0, np.bool_)
        classes = np.full((len(pairs), self._queries.batch), -1, np.int64)
        versions = np.full(len(pairs), -1, np.int64)
        differs = np.zeros(classes.shape, np.bool_)
        for index, read in enumerate(answers):
            if isinstance(read, _Read):
                answer = read.answer
                classes[index, : len(answer.classes)] = answer.classes
                versions[index] = -1 if answer.version is None else answer.version
                if read.differs is not None:
                    differs[index, : len(read.differs)] = read.differs
        images = self._queries.table[queries[kept]]
        answered = classes[inverse[kept]] if len(pairs) else images
        different: Flags | None = None
        near_tie = np.zeros(images.shape, np.bool_)
        if predictions is not None:
            different = predictions.differ(answered, images)
            near_tie = predictions.took_near_tie(answered, images)
        elif agreement is not None:
            different = np.asarray(differs[inverse[kept]] if len(pairs) else images < -1)
        return Scores(
            rows=rows[kept],
            latency_ns=(recording.end_ns - recording.due_ns)[rows[kept]],
            images=images,
            classes=answered,
            labels=of_images(self._labels, images),
            differs=different,
            near_tie=near_tie,
            recorded=None if predictions is None else of_images(predictions.classes, images),
            difference=_first_text(answers, inverse[kept] if len(pairs) else pairs, different),
            model_versions=versions[inverse[kept]],
            output=next((read.answer.output for read in answers if isinstance(read, _Read)), None),
            errors=_errors(recording, answers, inverse),
        )

    def problem(self, query: int, response: bytes) -> str | None:
        """Return the reason why an answer to a query cannot be scored; None if it can."""
        answer = self._answer(query, response)
        return answer if isinstance(answer, str) else None

    def _answer(self, query: int, response: bytes) -> _Read | str:
        """Return the parsed answer, or the reason why it cannot be scored."""
        key = (query, response)
        known = self._read.get(key)
        if known is None:
            row_ids = self._queries.image_ids(query)
            try:
                answer = self._api.parse(response, len(row_ids))
                known = self._compared(answer, query, row_ids)
            except ValueError as error:
                known = str(error)
            self._read[key] = known
        return known

    def _compared(self, answer: Answer, query: int, row_ids: Integers) -> _Read:
        differs, texts = None, dict[int, str]()
        if self._agreement is not None:
            differs, texts = self._agreement.differing(answer, query, row_ids)
        # A run may have millions of answers with large outputs.
        return _Read(answer._replace(outputs={}), differs, texts)


def of_images(values: Integers | None, images: Integers) -> Integers:
    """Return the value of each image; -1 at unused places, and everywhere without values."""
    if values is None:
        return np.full_like(images, -1)
    return np.where(images >= 0, values[images], -1)


def _first_text(answers: list[_Read | str], pairs: Integers, different: Flags | None) -> str | None:
    """Return what the first difference is, in words; None without one, or for classes.

    Args:
        answers: The distinct answers.
        pairs: int64, shape (n,): index of the answer to each answered request.
        different: bool, shape (n, batch).
    """
    if different is None or not different.any():
        return None
    row, place = np.argwhere(different)[0].tolist()
    read = answers[int(pairs[row])]
    return read.texts.get(place) if isinstance(read, _Read) else None


def _errors(
    recording: Recording, answers: list[_Read | str], inverse: Integers
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
