import numpy as np
import pytest

from loadtest.client import BAD_RESPONSE, Outcome
from loadtest.images import Query
from loadtest.recorder import Recorder
from training.cifar10 import CLASS_NAMES

MS = 1_000_000


def query(*image_ids: int) -> Query:
    return Query(payload=b"", image_ids=np.array(image_ids, np.int64))


def answer(*classes: int, sent_ms: int = 1, latency_ms: float = 1, version: int = 1) -> Outcome:
    return Outcome(
        sent_ns=sent_ms * MS,
        latency_ns=int(latency_ms * MS),
        classes=np.array(classes, np.int64),
        version=version,
    )


def failure(kind: str, message: str = "", *, sent_ms: int = 1, latency_ms: int = 1) -> Outcome:
    return Outcome(sent_ns=sent_ms * MS, latency_ns=latency_ms * MS, error=kind, message=message)


def test_an_empty_recorder_reports_nothing_rather_than_zero():
    """Before the first answer there is no accuracy, latency or throughput."""
    summary = Recorder(np.arange(10)).summary()

    assert (summary.answered, summary.failed, summary.images) == (0, 0, 0)
    assert summary.top1 is None
    assert summary.top1_wilson_95 is None
    assert summary.p50_ms is None
    assert summary.mean_ms is None
    assert summary.requests_per_second is None


def test_answers_are_scored_against_the_labels_of_the_images_sent():
    """Labels are looked up by image number, in whatever order and batches the answers come."""
    recorder = Recorder(np.array([5, 6, 7, 8]))
    recorder.record(query(3, 0), answer(8, 1))
    recorder.record(query(1), answer(6))

    summary = recorder.summary()

    assert (summary.correct, summary.images, summary.distinct_images) == (2, 3, 3)
    assert summary.top1 == 2 / 3
    assert summary.per_class_accuracy == dict.fromkeys(CLASS_NAMES) | {
        "dog": 0.0,
        "frog": 1.0,
        "ship": 1.0,
    }


def test_wilson_interval_of_a_published_example():
    """81 of 263: 0.2553 to 0.3662 (R. G. Newcombe, Statistics in Medicine 17, 1998, table I)."""
    recorder = Recorder(np.zeros(263, np.int64))
    recorder.record(query(*range(263)), answer(*[0] * 81, *[1] * 182))

    low, high = recorder.summary().top1_wilson_95

    assert low == pytest.approx(0.2553, abs=5e-5)
    assert high == pytest.approx(0.3662, abs=5e-5)


def test_images_sent_again_do_not_narrow_the_interval():
    """Asking the same question ten times says nothing new about accuracy."""
    once, often = Recorder(np.zeros(20, np.int64)), Recorder(np.zeros(20, np.int64))
    request, outcome = query(*range(20)), answer(*[0] * 15, *[1] * 5)
    once.record(request, outcome)
    for _ in range(10):
        often.record(request, outcome)

    assert often.summary().images == 200
    assert often.summary().top1 == once.summary().top1
    assert often.summary().top1_wilson_95 == once.summary().top1_wilson_95


def test_latency_keeps_what_locust_would_round_away():
    """Percentiles come from nanoseconds: 1.234 ms stays 1.234 ms."""
    recorder = Recorder(np.zeros(1, np.int64))
    for _ in range(11):
        recorder.record(query(0), answer(0, latency_ms=1.234))

    summary = recorder.summary()

    assert summary.p50_ms == summary.mean_ms == summary.min_ms == summary.max_ms == 1.234
    assert summary.p90_ms is None


def test_failures_are_counted_by_kind_and_have_no_latency():
    """Only answered requests enter the percentiles; the first message of each kind is kept."""
    recorder = Recorder(np.zeros(4, np.int64))
    recorder.record(query(0), answer(0, latency_ms=2))
    recorder.record(query(1), failure("NOT_FOUND", "no such model", latency_ms=900))
    recorder.record(query(2), failure("NOT_FOUND", "later words"))
    recorder.record(query(3), failure(BAD_RESPONSE, "wrong shape"))

    summary = recorder.summary()

    assert (summary.answered, summary.failed, summary.images) == (1, 3, 1)
    assert summary.max_ms == 2
    assert summary.errors == {"NOT_FOUND": 2, BAD_RESPONSE: 1}
    assert summary.error_messages == {"NOT_FOUND": "no such model", BAD_RESPONSE: "wrong shape"}


def test_the_window_runs_from_the_first_sending_to_the_last_end():
    """Requests overlap and end in any order, failures included; only answers are counted."""
    recorder = Recorder(np.zeros(4, np.int64))
    recorder.record(query(0), failure("UNAVAILABLE", sent_ms=200, latency_ms=90))
    recorder.record(query(2, 3), answer(0, 0, sent_ms=90, latency_ms=20))
    recorder.record(query(0, 1), answer(0, 0, sent_ms=100, latency_ms=50))

    summary = recorder.summary()

    assert summary.window_seconds == pytest.approx(0.2)
    assert summary.requests_per_second == pytest.approx(10)
    assert summary.images_per_second == pytest.approx(20)


def test_versions_that_answered_are_counted():
    """A version swapped in during a run shows."""
    recorder = Recorder(np.zeros(1, np.int64))
    for version in (2, 1, 2):
        recorder.record(query(0), answer(0, version=version))

    assert recorder.summary().versions == {1: 1, 2: 2}


def test_connection_failures_in_a_row_end_with_any_answer():
    """A refusal is an answer too: somebody is there."""
    recorder = Recorder(np.zeros(1, np.int64))
    counts = []
    for outcome in (
        failure("UNAVAILABLE"),
        failure("DEADLINE_EXCEEDED"),
        failure("INVALID_ARGUMENT"),
        failure("UNAVAILABLE"),
        answer(0),
    ):
        recorder.record(query(0), outcome)
        counts.append(recorder.connection_failures_in_a_row)

    assert counts == [1, 2, 0, 1, 0]
