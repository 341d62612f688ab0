import numpy as np
import pytest

from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Recorder
from loadtest.rows.images import Queries
from loadtest.transports.api import Answer


class FakeApi:
    """An Api whose answers are the classes as digits, optionally followed by `@` and a version."""

    def __init__(self) -> None:
        self.parsed = 0

    def parse(self, response: bytes, rows: int) -> Answer:
        """See Api."""
        self.parsed += 1
        digits, _, version = response.decode().partition("@")
        if len(digits) != rows:
            msg = f"{len(digits)} classes received, expected {rows}"
            raise ValueError(msg)
        classes = np.array([int(digit) for digit in digits], np.int64)
        return Answer(classes, int(version) if version else None, "classes")


# Five images in the order 4, 0, 2, 1, 3: queries (4, 0), (2, 1) and (3,).
QUERIES = Queries(np.array([4, 0, 2, 1, 3]), 2)
LABELS = np.array([0, 1, 2, 3, 4])


def score(*answers: tuple[int, bytes | tuple[str, str]], **options: object):
    recorder = Recorder()
    for number, outcome in answers:
        recorder.sent += 1
        if isinstance(outcome, bytes):
            recorder.answer(number, 100 * number, 100 * number, 100 * number + 7, outcome)
        else:
            recorder.error(number, 100 * number, 100 * number, 100 * number + 9, outcome)
    return Scorer(FakeApi(), QUERIES, LABELS).score(recorder.recording(), **options)


def test_answers_are_scored_against_the_labels_of_the_images_sent():
    """Answers are matched to their images in any order; a short query has an unused place."""
    scores = score((2, b"3"), (0, b"45"), (1, b"20"))

    assert scores.images.tolist() == [[3, -1], [4, 0], [2, 1]]
    assert scores.correct.tolist() == [[True, False], [True, False], [True, False]]
    assert scores.all_correct.tolist() == [True, False, False]
    assert scores.used.sum() == 5


def test_a_second_round_sends_the_same_queries_again():
    """Of three queries request 4 sends query 1 again; of two queries it sends query 0."""
    assert score((4, b"21")).images.tolist() == [[2, 1]]
    assert score((4, b"40"), sent_queries=2).images.tolist() == [[4, 0]]


def test_an_answer_that_cannot_be_scored_is_an_error():
    """Answers with a wrong number of classes count under one kind, with the first message."""
    scores = score((0, b"404"), (1, b"2"), (2, b"3"), (3, b"40"), (4, ("UNAVAILABLE", "gone")))

    assert scores.answered == 2
    assert scores.errors == {
        "BAD_RESPONSE": (2, "3 classes received, expected 2"),
        "UNAVAILABLE": (1, "gone"),
    }
    assert scores.failed == 3
    assert scores.latency_ns.tolist() == [7, 7]


def test_versions_that_answered_are_counted():
    """Answers are counted by model version, and under None if the server names no version."""
    scores = score((0, b"40@1"), (1, b"21@2"), (3, b"40@1"), (2, b"3"))

    assert scores.versions == {None: 1, 1: 2, 2: 1}


def test_equal_answers_to_a_query_are_read_once():
    """An answer that comes a hundred times to the same query is parsed once."""
    api = FakeApi()
    scorer = Scorer(api, QUERIES, LABELS)
    recorder = Recorder()
    for number in range(300):
        recorder.answer(number, 0, 0, 1, b"3" if number % 3 == 2 else b"40")

    scorer.score(recorder.recording())
    scores = scorer.score(recorder.recording())

    assert api.parsed == 3
    assert scores.answered == 300


def test_answers_that_differ_from_their_record_are_found():
    """Answers are compared with the prediction of each image, whether it is right or wrong."""
    recorded = RecordedClasses(np.array([0, 9, 2, 3, 8]))
    scores = score((0, b"80"), (1, b"21"), (2, b"3"), predictions=recorded)

    assert scores.differs.tolist() == [[False, False], [False, True], [False, False]]
    assert scores.wrong.tolist() == [False, True, False]


def test_the_other_class_of_a_near_tie_is_not_wrong():
    """A class that nearly won is counted apart; any other class than the recorded one is wrong."""
    near_ties = np.array([[-1, -1], [7, 1], [-1, -1], [8, -1], [0, 2]])
    recorded = RecordedClasses(np.array([0, 9, 2, 3, 8]), near_ties, 0.2)
    scores = score((0, b"80"), (1, b"21"), (2, b"8"), predictions=recorded)

    assert scores.recorded.tolist() == [[8, 0], [2, 9], [3, -1]]
    assert scores.near_tie.tolist() == [[False, False], [False, True], [True, False]]
    assert scores.differs.tolist() == [[False, False]] * 3

    unlike = score((0, b"18"), (1, b"26"), (2, b"7"), predictions=recorded)
    assert not unlike.near_tie.any()
    assert unlike.differs.tolist() == [[True, True], [False, True], [True, False]]


def test_without_predictions_nothing_is_wrong():
    """Without recorded predictions no answer counts as differing."""
    scores = score((0, b"99"))

    assert scores.differs is None
    assert scores.wrong.tolist() == [False]


@pytest.mark.parametrize("answers", [(), ((0, ("UNAVAILABLE", "gone")),)])
def test_a_run_without_answers_has_no_scores(answers):
    """A run without answers, or with failures only, has zero rows."""
    scores = score(*answers)

    assert scores.answered == 0
    assert scores.failed == len(answers)
    assert scores.images.shape == (0, 2)
    assert scores.output is None


def test_the_problem_of_one_answer_is_a_reason_or_none():
    """The same as for all answers of a recording."""
    scorer = Scorer(FakeApi(), QUERIES, LABELS)

    assert scorer.problem(0, b"12") is None
    assert scorer.problem(2, b"12") == "2 classes received, expected 1"
